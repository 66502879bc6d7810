/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"
#include "os.h"
#include "source.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/kiln-source-test-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return kiln__os_remove_tree(dir, NULL);
}

static void put(const char *name, const char *text)
{
	kiln__autofree char *path = kiln__strf("%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static struct kiln__source_id tree(void)
{
	struct kiln__source_id id;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(kiln__source_tree(fd, dir, &id, NULL), 0);
	assert_true(id.settled);
	close(fd);
	return id;
}

static void expect_change(struct kiln__source_id *id, bool changed)
{
	struct kiln__source_id now = tree();

	if (changed)
		assert_string_not_equal(now.hex, id->hex);
	else
		assert_string_equal(now.hex, id->hex);
	*id = now;
}

static void whatever_changes_in_a_tree_changes_its_id(void **state)
{
	kiln__autofree char *sub = kiln__strf("%s/sub", dir),
			    *file = kiln__strf("%s/sub/file", dir);
	kiln__autofree char *moved = kiln__strf("%s/sub/moved", dir),
			    *link = kiln__strf("%s/link", dir);
	struct timespec old[2] = {{1, 0}, {1, 0}};
	struct kiln__source_id id;
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(mkdir(sub, 0755), 0);
	put("sub/file", "contents");
	id = tree();
	expect_change(&id, false);
	assert_int_equal(kiln__os_read_file(file, 100, &text, &len, NULL),
			 0); /* reading is no change */
	free(text);
	expect_change(&id, false);
	put("sub/file", "CONTENTS"); /* in place, of the same length: no directory changes */
	expect_change(&id, true);
	assert_int_equal(utimensat(AT_FDCWD, file, old, 0), 0); /* the time set back */
	expect_change(&id, true);
	assert_int_equal(chmod(file, 0600), 0);
	expect_change(&id, true);
	assert_int_equal(rename(file, moved), 0);
	expect_change(&id, true);
	assert_int_equal(symlink("sub", link), 0);
	expect_change(&id, true);
	assert_int_equal(unlink(link), 0);
	expect_change(&id, true);
	assert_int_equal(chmod(dir, 0711), 0);
	expect_change(&id, true);
}

static void files_are_known_by_their_stat(void **state)
{
	kiln__autofree char *path = kiln__strf("%s/file", dir), *copy = kiln__strf("%s/copy", dir);
	struct kiln__source_id a, b;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	put("file", "one");
	put("copy", "one");
	assert_int_equal(kiln__source_file(path, &a, NULL), 0);
	assert_int_equal(kiln__source_file(path, &b, NULL), 0);
	assert_string_equal(a.hex, b.hex);
	assert_int_equal(kiln__source_file(copy, &b, NULL), 0);
	assert_string_not_equal(a.hex, b.hex);
	assert_int_equal(chmod(path, 0600), 0);
	(void)tree(); /* which goes on until the clock has ticked */
	assert_int_equal(kiln__source_file(path, &b, NULL), 0);
	assert_true(b.settled);
	assert_string_not_equal(a.hex, b.hex);
	assert_int_equal(kiln__source_file(dir, &b, &err), KILN_EINVAL);
	assert_non_null(strstr(err.message, "is a directory"));
	unlink(path);
	assert_int_equal(kiln__source_file(path, &b, &err), KILN_ENOENT);
	assert_non_null(strstr(err.message, path));
}

static void a_file_of_this_very_tick_is_not_settled(void **state)
{
	kiln__autofree char *path = kiln__strf("%s/file", dir);
	struct kiln__source_id id;
	bool seen = false;

	(void)state;
	put("file", "one");
	/* A tick may end between two calls; not each time. */
	for (int i = 0; i < 1000 && !seen; i++) {
		assert_int_equal(chmod(path, i & 1 ? 0600 : 0644), 0);
		assert_int_equal(kiln__source_file(path, &id, NULL), 0);
		seen = !id.settled;
	}
	assert_true(seen);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(whatever_changes_in_a_tree_changes_its_id),
		TEST(files_are_known_by_their_stat),
		TEST(a_file_of_this_very_tick_is_not_settled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
