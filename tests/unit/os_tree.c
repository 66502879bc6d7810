/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "buf.h"
#include "os.h"

#include <string.h>
#ifndef _WIN32
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

static void touch(const char *path)
{
	kiln_error err;

	kiln_ok(kiln__os_replace_file(path, "", 0, 0600, false, &err), &err);
}

static bool is_there(const char *path)
{
	struct kiln__os_stat st;

	return kiln__os_stat(path, &st, NULL) == 0;
}

static void directories_are_made_with_all_above_them(void **state)
{
	const char *path = kiln_test_path("a//b/c/");
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir_p(path, 0700, &err), &err);
	kiln_ok(kiln__os_mkdir_p(path, 0700, &err), &err);
	assert_true(is_there(kiln_test_path("a/b/c")));
	assert_int_equal(kiln__os_mkdir(kiln_test_path("a/b"), 0700, &err), KILN_EEXIST);
	assert_int_equal(kiln__os_mkdir(kiln_test_path("x/y"), 0700, &err), KILN_ENOENT);
	touch(kiln_test_path("file"));
	assert_true(kiln__os_mkdir_p(kiln_test_path("file"), 0700, &err) < 0);
	assert_true(kiln__os_mkdir_p(kiln_test_path("file/under"), 0700, &err) < 0);
	assert_true(kiln__os_mkdir_p("", 0700, &err) < 0);
}

static void names_are_listed_sorted_and_whole(void **state)
{
	char **names;
	kiln_error err;

	(void)state;
	for (int i = 99; i >= 0; i--) {
		kiln__autofree char *path = kiln__strf("%s/%02d", kiln_test_dir(), i);

		touch(path);
	}
	kiln_ok(kiln__os_list_dir(kiln_test_dir(), &names, &err), &err);
	for (int i = 0; i < 100; i++) {
		kiln__autofree char *name = kiln__strf("%02d", i);

		assert_string_equal(names[i], name);
	}
	assert_null(names[100]);
	kiln__os_free_names(names);
	assert_int_equal(kiln__os_list_dir(kiln_test_path("absent"), &names, &err), KILN_ENOENT);
	kiln__os_free_names(NULL);
}

static void removing_takes_files_and_empty_directories_and_what_is_gone(void **state)
{
	kiln_error err;

	(void)state;
	touch(kiln_test_path("file"));
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("full/dir"), 0700, &err), &err);
	kiln_ok(kiln__os_remove(kiln_test_path("file"), &err), &err);
	kiln_ok(kiln__os_remove(kiln_test_path("file"), &err), &err);
	assert_int_equal(kiln__os_remove(kiln_test_path("full"), &err), KILN_EBUSY);
	kiln_ok(kiln__os_remove(kiln_test_path("full/dir"), &err), &err);
	kiln_ok(kiln__os_remove(kiln_test_path("full"), &err), &err);
	assert_false(is_there(kiln_test_path("full")));
}

static void a_tree_is_removed_whole_and_an_absent_one_is_fine(void **state)
{
	const char *tree = kiln_test_path("tree");
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("tree/a/b"), 0700, &err), &err);
	touch(kiln_test_path("tree/a/b/file"));
	touch(kiln_test_path("tree/file"));
	kiln_ok(kiln__os_remove_tree(tree, &err), &err);
	assert_false(is_there(tree));
	kiln_ok(kiln__os_remove_tree(tree, &err), &err);
	touch(tree);
	kiln_ok(kiln__os_remove_tree(tree, &err), &err);
	assert_false(is_there(tree));
}

#ifndef _WIN32
static void removing_a_tree_does_not_follow_links(void **state)
{
	const char *tree = kiln_test_path("tree");
	struct stat st;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("tree/a"), 0700, &err), &err);
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("outside"), 0700, &err), &err);
	touch(kiln_test_path("outside/file"));
	assert_int_equal(symlink(kiln_test_path("outside"), kiln_test_path("tree/a/link")), 0);
	assert_int_equal(symlink("..", kiln_test_path("tree/a/up")), 0);
	kiln_ok(kiln__os_remove_tree(tree, &err), &err);
	assert_false(is_there(tree));
	assert_true(is_there(kiln_test_path("outside/file")));
	/* Nor where the tree itself is a link. */
	assert_int_equal(symlink(kiln_test_path("outside"), tree), 0);
	kiln_ok(kiln__os_remove_tree(tree, &err), &err);
	assert_int_equal(lstat(tree, &st), -1);
	assert_true(is_there(kiln_test_path("outside/file")));
}

static void a_very_deep_tree_is_removed_with_few_descriptors(void **state)
{
	const char *tree = kiln_test_path("tree");
	int at = AT_FDCWD;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir(tree, 0700, &err), &err);
	at = open(tree, O_DIRECTORY | O_CLOEXEC);
	for (int depth = 0; depth < 3000; depth++) {
		int next;

		assert_int_equal(mkdirat(at, "kiln-deep-0", 0700), 0);
		next = openat(at, "kiln-deep-0", O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	kiln_ok(kiln__os_remove_tree(tree, &err), &err);
	assert_false(is_there(tree));
}

static void a_private_directory_is_one_that_others_cannot_write(void **state)
{
	const char *path = kiln_test_path("a/private");
	struct stat st;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_make_private_dir(path, &err), &err);
	kiln_ok(kiln__os_make_private_dir(path, &err), &err);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(chmod(path, 0770), 0);
	assert_int_equal(kiln__os_make_private_dir(path, &err), KILN_EACCES);
	assert_int_equal(chmod(path, 0700), 0);
	assert_int_equal(symlink(path, kiln_test_path("link")), 0);
	assert_int_equal(kiln__os_make_private_dir(kiln_test_path("link"), &err), KILN_EACCES);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 1, 1), 0);
		assert_int_equal(kiln__os_make_private_dir(path, &err), KILN_EACCES);
	}
}
#endif

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(directories_are_made_with_all_above_them),
		kiln_test(names_are_listed_sorted_and_whole),
		kiln_test(removing_takes_files_and_empty_directories_and_what_is_gone),
		kiln_test(a_tree_is_removed_whole_and_an_absent_one_is_fine),
#ifndef _WIN32
		kiln_test(removing_a_tree_does_not_follow_links),
		kiln_test(a_very_deep_tree_is_removed_with_few_descriptors),
		kiln_test(a_private_directory_is_one_that_others_cannot_write),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
