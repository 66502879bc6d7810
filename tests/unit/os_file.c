/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "os.h"

#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

static void write_file(const char *path, const char *text)
{
	kiln_error err;

	kiln_ok(kiln__os_replace_file(path, text, strlen(text), 0600, false, &err), &err);
}

static void assert_contents(const char *path, const char *text)
{
	kiln__autofree char *got = NULL;
	size_t len;
	kiln_error err;

	kiln_ok(kiln__os_read_file(path, 1 << 20, &got, &len, &err), &err);
	assert_int_equal(len, strlen(text));
	assert_string_equal(got, text);
}

static size_t count_names(const char *path)
{
	size_t count = 0;
	char **names;
	kiln_error err;

	kiln_ok(kiln__os_list_dir(path, &names, &err), &err);
	while (names[count])
		count++;
	kiln__os_free_names(names);
	return count;
}

static void opening_obeys_its_flags(void **state)
{
	const char *path = kiln_test_path("file");
	unsigned create = KILN__OPEN_WRITE | KILN__OPEN_CREATE;
	kiln_fd fd;
	kiln_error err;

	(void)state;
	assert_int_equal(kiln__os_open(&fd, path, KILN__OPEN_WRITE, NULL), KILN_ENOENT);
	kiln_ok(kiln__os_open(&fd, path, create | KILN__OPEN_EXCLUSIVE, &err), &err);
	kiln_ok(kiln__os_write_full(fd, "one", 3, &err), &err);
	kiln__os_close(fd);
	assert_int_equal(kiln__os_open(&fd, path, create | KILN__OPEN_EXCLUSIVE, NULL),
			 KILN_EEXIST);
	kiln_ok(kiln__os_open(&fd, path, KILN__OPEN_WRITE | KILN__OPEN_APPEND, &err), &err);
	kiln_ok(kiln__os_write_full(fd, "two", 3, &err), &err);
	kiln__os_close(fd);
	assert_contents(path, "onetwo");
	kiln_ok(kiln__os_open(&fd, path, KILN__OPEN_READ, &err), &err);
	assert_true(kiln__os_write(fd, "x", 1) < 0);
	kiln__os_close(fd);
	kiln_ok(kiln__os_open(&fd, path, KILN__OPEN_WRITE | KILN__OPEN_TRUNCATE, &err), &err);
	kiln__os_close(fd);
	assert_contents(path, "");
	assert_true(kiln__os_open(&fd, path, KILN__OPEN_DIRECTORY, NULL) < 0);
	kiln_ok(kiln__os_open(&fd, kiln_test_dir(), KILN__OPEN_DIRECTORY, &err), &err);
	kiln__os_close(fd);
}

static void a_file_too_large_is_not_read(void **state)
{
	const char *path = kiln_test_path("file");
	char *got = NULL;

	(void)state;
	write_file(path, "12345");
	assert_int_equal(kiln__os_read_file(path, 4, &got, NULL, NULL), KILN_EOVERFLOW);
	assert_null(got);
	assert_int_equal(kiln__os_read_file(path, 5, &got, NULL, NULL), 0);
	free(got);
}

static void replacing_shows_the_new_file_whole_and_leaves_nothing_else(void **state)
{
	const char *path = kiln_test_path("file");
	kiln_fd old;
	char bytes[8] = {0};
	kiln_error err;

	(void)state;
	write_file(path, "old");
	kiln_ok(kiln__os_replace_file(path, "new!", 4, 0600, true, &err), &err);
	assert_contents(path, "new!");
	assert_int_equal(count_names(kiln_test_dir()), 1);
	if (kiln_test_on_wine())
		return; /* has no FileRenameInfoEx: does not replace a file that is open */
	/* Who has it open still reads the old one. */
	kiln_ok(kiln__os_open(&old, path, KILN__OPEN_READ, &err), &err);
	kiln_ok(kiln__os_replace_file(path, "third", 5, 0600, true, &err), &err);
	assert_contents(path, "third");
	assert_int_equal(kiln__os_read_full(old, bytes, sizeof(bytes), &err), 4);
	assert_memory_equal(bytes, "new!", 4);
	kiln__os_close(old);
	assert_int_equal(count_names(kiln_test_dir()), 1);
}

static void a_failed_replacement_leaves_nothing(void **state)
{
	const char *path = kiln_test_path("target");
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir(path, 0700, &err), &err);
	assert_true(kiln__os_replace_file(path, "x", 1, 0600, false, &err) < 0);
	assert_non_null(strstr(err.message, "target"));
	assert_int_equal(count_names(kiln_test_dir()), 1);
	assert_int_equal(
		kiln__os_replace_file(kiln_test_path("absent/file"), "x", 1, 0600, false, &err),
		KILN_ENOENT);
}

static void a_name_is_claimed_only_once(void **state)
{
	const char *from = kiln_test_path("from");
	const char *to = kiln_test_path("to");
	kiln_error err;

	(void)state;
	write_file(from, "mine");
	kiln_ok(kiln__os_link_new(from, to, &err), &err);
	assert_int_equal(kiln__os_link_new(from, to, &err), KILN_EEXIST);
	assert_contents(to, "mine");
	write_file(from, "other");
	kiln_ok(kiln__os_rename(from, to, &err), &err);
	assert_contents(to, "other");
	assert_int_equal(kiln__os_rename(from, to, &err), KILN_ENOENT);
}

static void a_lock_belongs_to_the_open_file_and_its_duplicates(void **state)
{
	const char *path = kiln_test_path("lock");
	kiln_fd first;
	kiln_fd second;
	kiln_fd copy;
	kiln_error err;

	(void)state;
	write_file(path, "");
	kiln_ok(kiln__os_open(&first, path, KILN__OPEN_WRITE, &err), &err);
	kiln_ok(kiln__os_open(&second, path, KILN__OPEN_WRITE, &err), &err);
	kiln_ok(kiln__os_try_lock(first, &err), &err);
	assert_int_equal(kiln__os_try_lock(second, &err), KILN_EBUSY);
	kiln_ok(kiln__os_dup(&copy, first, &err), &err);
	kiln__os_close(first);
	assert_int_equal(kiln__os_try_lock(second, &err), KILN_EBUSY);
	kiln__os_close(copy);
	kiln_ok(kiln__os_lock(second, &err), &err);
	kiln__os_unlock(second);
	kiln_ok(kiln__os_open(&first, path, KILN__OPEN_WRITE, &err), &err);
	kiln_ok(kiln__os_try_lock(first, &err), &err);
	kiln__os_close(first);
	kiln__os_close(second);
}

static void parts_are_locked_one_by_one_and_apart_from_the_whole(void **state)
{
	const char *path = kiln_test_path("lock");
	kiln_fd first;
	kiln_fd second;
	kiln_fd copy;
	kiln_error err;

	(void)state;
	write_file(path, "read me");
	kiln_ok(kiln__os_open(&first, path, KILN__OPEN_WRITE, &err), &err);
	kiln_ok(kiln__os_open(&second, path, KILN__OPEN_WRITE, &err), &err);
	kiln_ok(kiln__os_lock_part(first, 1, false, &err), &err);
	assert_int_equal(kiln__os_part_is_locked(second, 1, &err), 1);
	assert_int_equal(kiln__os_part_is_locked(second, 0, &err), 0);
	assert_int_equal(kiln__os_part_is_locked(second, 2, &err), 0);
	assert_int_equal(kiln__os_lock_part(second, 1, false, &err), KILN_EBUSY);
	kiln_ok(kiln__os_lock_part(second, 2, true, &err), &err);
	kiln_ok(kiln__os_try_lock(second, &err), &err);
	assert_contents(path, "read me");
	/* A duplicate holds it on. */
	kiln_ok(kiln__os_dup(&copy, first, &err), &err);
	kiln__os_close(first);
	assert_int_equal(kiln__os_part_is_locked(second, 1, &err), 1);
	kiln__os_unlock_part(copy, 1);
	assert_int_equal(kiln__os_part_is_locked(second, 1, &err), 0);
	kiln_ok(kiln__os_lock_part(copy, 1, true, &err), &err);
	kiln__os_close(copy);
	assert_int_equal(kiln__os_part_is_locked(second, 1, &err), 0);
	kiln__os_close(second);
}

static void set(void *data)
{
	*(bool *)data = true;
}

static void who_waits_for_a_part_is_told_once_it_is_free(void **state)
{
	const char *path = kiln_test_path("lock");
	struct kiln__lockwait *wait;
	struct kiln__lockwait *other;
	kiln_loop *loop;
	kiln_fd holder;
	bool told = false;
	bool other_told = false;
	kiln_error err;

	(void)state;
	if (kiln_test_on_wine())
		skip(); /* says that a lock is pending, and never that it was got */
	write_file(path, "");
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	kiln_ok(kiln__os_open(&holder, path, KILN__OPEN_WRITE, &err), &err);
	kiln_ok(kiln__os_lock_part(holder, 3, false, &err), &err);
	kiln_ok(kiln__lockwait_new(&wait, loop, path, 3, set, &told, &err), &err);
	/* Another part is free, and so at once. */
	kiln_ok(kiln__lockwait_new(&other, loop, path, 4, set, &other_told, &err), &err);
	kiln_test_run_until(loop, &other_told);
	assert_false(told);
	kiln__lockwait_free(other);
	/* One that is given up while it waits. */
	kiln_ok(kiln__lockwait_new(&other, loop, path, 3, set, &other_told, &err), &err);
	kiln__lockwait_free(other);
	kiln__os_close(holder);
	kiln_test_run_until(loop, &told);
	kiln__lockwait_free(wait);
	kiln__lockwait_free(NULL);
	assert_int_equal(
		kiln__lockwait_new(&wait, loop, kiln_test_path("absent"), 3, set, &told, NULL),
		KILN_ENOENT);
	kiln_loop_free(loop);
}

static void a_link_says_what_it_was_made_to_say(void **state)
{
	const char *path = kiln_test_path("link");
	kiln__autofree char *target = NULL;
	kiln_error err;

	(void)state;
	if (kiln_test_on_wine())
		skip(); /* says that it made one, and made none */
	kiln_ok(kiln__os_symlink_new("where/it/leads", path, &err), &err);
	assert_int_equal(kiln__os_symlink_new("elsewhere", path, &err), KILN_EEXIST);
	kiln_ok(kiln__os_read_link(path, &target, &err), &err);
#ifdef _WIN32
	assert_string_equal(target, "where\\it\\leads");
#else
	assert_string_equal(target, "where/it/leads");
#endif
	write_file(kiln_test_path("file"), "");
	assert_true(kiln__os_read_link(kiln_test_path("file"), &target, &err) < 0);
}

static void what_a_file_is_can_be_told(void **state)
{
	struct kiln__os_stat st;
	struct kiln__os_stat again;
	kiln_error err;

	(void)state;
	write_file(kiln_test_path("file"), "12345");
	kiln_ok(kiln__os_stat(kiln_test_path("file"), &st, &err), &err);
	assert_true(st.is_file && !st.is_directory && !st.is_block_device);
	assert_int_equal(st.size, 5);
	assert_in_range(kiln__os_realtime_ns() - st.mtime_ns + 1000000000, 0, 120000000000);
	kiln_ok(kiln__os_stat(kiln_test_dir(), &again, &err), &err);
	assert_true(again.is_directory && !again.is_file);
	assert_true(again.device == st.device && again.inode != st.inode);
	assert_int_equal(kiln__os_stat(kiln_test_path("absent"), &st, NULL), KILN_ENOENT);
}

static void opening_beneath_stays_beneath(void **state)
{
	kiln_fd root;
	kiln_fd fd;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("root/sub"), 0700, &err), &err);
	write_file(kiln_test_path("secret"), "secret");
	write_file(kiln_test_path("root/sub/file"), "open");
	kiln_ok(kiln__os_open(&root, kiln_test_path("root"), KILN__OPEN_DIRECTORY, &err), &err);
	kiln_ok(kiln__os_open_beneath(&fd, root, "sub/file", 0, &err), &err);
	kiln__os_close(fd);
	kiln_ok(kiln__os_open_beneath(&fd, root, "new", KILN__OPEN_WRITE | KILN__OPEN_CREATE, &err),
		&err);
	kiln__os_close(fd);
	assert_int_equal(kiln__os_open_beneath(&fd, root, "absent", 0, &err), KILN_ENOENT);
	assert_int_equal(kiln__os_open_beneath(&fd, root, "../secret", 0, &err), KILN_EACCES);
	assert_int_equal(kiln__os_open_beneath(&fd, root, "sub/../../secret", 0, &err),
			 KILN_EACCES);
	assert_int_equal(kiln__os_open_beneath(&fd, root, kiln_test_path("secret"), 0, &err),
			 KILN_EACCES);
	kiln__os_close(root);
}

#ifndef _WIN32
static void links_do_not_lead_out_from_beneath(void **state)
{
	kiln_fd root;
	kiln_fd fd;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir(kiln_test_path("root"), 0700, &err), &err);
	write_file(kiln_test_path("secret"), "secret");
	write_file(kiln_test_path("root/file"), "open");
	assert_int_equal(symlink("../secret", kiln_test_path("root/up")), 0);
	assert_int_equal(symlink(kiln_test_path("secret"), kiln_test_path("root/absolute")), 0);
	assert_int_equal(symlink("file", kiln_test_path("root/inside")), 0);
	kiln_ok(kiln__os_open(&root, kiln_test_path("root"), KILN__OPEN_DIRECTORY, &err), &err);
	assert_int_equal(kiln__os_open_beneath(&fd, root, "up", 0, &err), KILN_EACCES);
	assert_int_equal(kiln__os_open_beneath(&fd, root, "absolute", 0, &err), KILN_EACCES);
	kiln_ok(kiln__os_open_beneath(&fd, root, "inside", 0, &err), &err);
	kiln__os_close(fd);
	kiln__os_close(root);
}

static void a_replaced_file_has_the_mode_asked_for_whatever_the_umask(void **state)
{
	const char *path = kiln_test_path("file");
	mode_t mask = umask(0777);
	struct stat st;
	kiln_error err;
	int r = kiln__os_replace_file(path, "x", 1, 0640, false, &err);

	(void)state;
	umask(mask);
	kiln_ok(r, &err);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void shared_memory_is_zero_shared_and_of_fixed_size(void **state)
{
	char *first;
	char *second;
	kiln_fd fd;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_shared_memory(&fd, "test", 1 << 20, &err), &err);
	first = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	second = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(first != MAP_FAILED && second != MAP_FAILED);
	assert_int_equal(first[(1 << 20) - 1], 0);
	first[100] = 7;
	assert_int_equal(second[100], 7);
#ifdef __linux__
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(ftruncate(fd, 1 << 21), -1);
#endif
	munmap(first, 1 << 20);
	munmap(second, 1 << 20);
	kiln__os_close(fd);
}
#endif

static void several_may_share_a_lock(void **state)
{
	const char *path = kiln_test_path("lock");
	kiln_error err = KILN_ERROR_INIT;
	kiln_fd fds[3];

	(void)state;
	write_file(path, "");
	for (size_t i = 0; i < 3; i++)
		kiln_ok(kiln__os_open(&fds[i], path, KILN__OPEN_WRITE, &err), &err);
	kiln_ok(kiln__os_try_lock_shared(fds[0], &err), &err);
	kiln_ok(kiln__os_try_lock_shared(fds[1], &err), &err);
	assert_int_equal(kiln__os_try_lock(fds[2], &err), KILN_EBUSY);
	kiln__os_unlock(fds[0]);
	assert_int_equal(kiln__os_try_lock(fds[2], &err), KILN_EBUSY);
	kiln__os_unlock(fds[1]);
	kiln_ok(kiln__os_try_lock(fds[2], &err), &err);
	assert_int_equal(kiln__os_try_lock_shared(fds[0], &err), KILN_EBUSY);
	for (size_t i = 0; i < 3; i++)
		kiln__os_close(fds[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(opening_obeys_its_flags),
		kiln_test(a_file_too_large_is_not_read),
		kiln_test(replacing_shows_the_new_file_whole_and_leaves_nothing_else),
		kiln_test(a_failed_replacement_leaves_nothing),
		kiln_test(a_name_is_claimed_only_once),
		kiln_test(a_lock_belongs_to_the_open_file_and_its_duplicates),
		kiln_test(several_may_share_a_lock),
		kiln_test(parts_are_locked_one_by_one_and_apart_from_the_whole),
		kiln_test(who_waits_for_a_part_is_told_once_it_is_free),
		kiln_test(a_link_says_what_it_was_made_to_say),
		kiln_test(what_a_file_is_can_be_told),
		kiln_test(opening_beneath_stays_beneath),
#ifndef _WIN32
		kiln_test(links_do_not_lead_out_from_beneath),
		kiln_test(a_replaced_file_has_the_mode_asked_for_whatever_the_umask),
		kiln_test(shared_memory_is_zero_shared_and_of_fixed_size),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
