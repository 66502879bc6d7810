/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#ifndef _WIN32
#include <unistd.h>
#endif

static kiln_fd open_new(const char *name)
{
	kiln_fd fd;
	kiln_error err;

	kiln_ok(kiln__os_open(&fd, kiln_test_path(name), KILN__OPEN_WRITE | KILN__OPEN_CREATE,
			      &err),
		&err);
	return fd;
}

static void whole_reads_and_writes_at_offsets(void **state)
{
	kiln__autoclose kiln_fd fd = open_new("file");
	char bytes[16] = {0};
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_write_full(fd, "0123456789", 10, &err), &err);
	kiln_ok(kiln__os_pwrite_full(fd, "AB", 2, 8, &err), &err);
	assert_int_equal(kiln__os_pread_full(fd, bytes, 4, 6, &err), 4);
	assert_memory_equal(bytes, "67AB", 4);
	/* Short at the end of the file, and there only. */
	assert_int_equal(kiln__os_pread_full(fd, bytes, sizeof(bytes), 8, &err), 2);
	assert_int_equal(kiln__os_pread_full(fd, bytes, sizeof(bytes), 100, &err), 0);
	/* The position is where write_full() left it. */
	assert_int_equal(kiln__os_read_full(fd, bytes, sizeof(bytes), &err), 0);
}

static void offsets_beyond_a_file_offset_are_refused(void **state)
{
	kiln__autoclose kiln_fd fd = open_new("file");
	char byte;

	(void)state;
	assert_int_equal(kiln__os_pread_full(fd, &byte, 1, UINT64_MAX, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__os_pread_full(fd, &byte, 1, INT64_MAX, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__os_pwrite_full(fd, &byte, 1, UINT64_MAX, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__os_set_size(fd, UINT64_MAX, NULL), KILN_EOVERFLOW);
}

static void a_size_can_be_set_and_grows_with_zeros(void **state)
{
	kiln__autoclose kiln_fd fd = open_new("file");
	struct kiln__os_stat st;
	char bytes[8];
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_write_full(fd, "abcdef", 6, &err), &err);
	kiln_ok(kiln__os_set_size(fd, 2, &err), &err);
	kiln_ok(kiln__os_set_size(fd, 8, &err), &err);
	kiln_ok(kiln__os_sync(fd, &err), &err);
	kiln_ok(kiln__os_fstat(fd, &st, &err), &err);
	assert_int_equal(st.size, 8);
	assert_int_equal(kiln__os_pread_full(fd, bytes, 8, 0, &err), 8);
	assert_memory_equal(bytes, "ab\0\0\0\0\0\0", 8);
}

static void reading_whole_from_a_socket_waits_for_the_end(void **state)
{
	kiln_fd pair[2];
	char bytes[8];
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	kiln_ok(kiln__os_write_full(pair[0], "abc", 3, &err), &err);
	kiln__os_shutdown_write(pair[0]);
	assert_int_equal(kiln__os_read_full(pair[1], bytes, sizeof(bytes), &err), 3);
	assert_memory_equal(bytes, "abc", 3);
	kiln__os_close(pair[0]);
	kiln__os_close(pair[1]);
}

static void writing_to_a_closed_socket_fails_and_raises_nothing(void **state)
{
	kiln_fd pair[2];
	char byte;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	kiln__os_close(pair[1]);
	/* A pair made of TCP (Windows) learns of it by the answer to its first write. */
	kiln__os_write(pair[0], "x", 1);
	kiln__os_read(pair[0], &byte, 1);
	assert_true(kiln__os_write(pair[0], "x", 1) < 0);
	assert_int_equal(kiln__os_write_full(pair[0], "x", 1, &err), KILN_EIO);
	kiln__os_close(pair[0]);
}

static void a_nonblocking_descriptor_says_so_instead_of_waiting(void **state)
{
	kiln_fd pair[2];
	char byte;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	kiln_ok(kiln__os_set_nonblocking(pair[0], true, &err), &err);
	assert_int_equal(kiln__os_read(pair[0], &byte, 1), -EAGAIN);
	kiln__os_close(pair[0]);
	kiln__os_close(pair[1]);
}

static void sockets_are_told_from_files(void **state)
{
	kiln__autoclose kiln_fd fd = open_new("file");
	kiln_fd pair[2];
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	assert_true(kiln__os_is_socket(pair[0]));
	assert_false(kiln__os_is_socket(fd));
	kiln__os_close(pair[0]);
	kiln__os_close(pair[1]);
}

static void a_duplicate_outlives_its_original(void **state)
{
	kiln_fd fd = open_new("file");
	kiln__autoclose kiln_fd copy = KILN_FD_NONE;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_dup(&copy, fd, &err), &err);
	kiln__os_close(fd);
	kiln_ok(kiln__os_write_full(copy, "x", 1, &err), &err);
}

static void closing_keeps_errno_and_allows_none(void **state)
{
	(void)state;
	errno = EDOM;
	kiln__os_close(KILN_FD_NONE);
	assert_int_equal(errno, EDOM);
}

static void failures_leave_the_result_untouched(void **state)
{
	kiln_fd fd = 1234;
	kiln_error err;

	(void)state;
	assert_int_equal(kiln__os_open(&fd, kiln_test_path("absent"), 0, &err), KILN_ENOENT);
	assert_non_null(strstr(err.message, "absent"));
	assert_true(kiln__os_dup(&fd, KILN_FD_NONE, &err) < 0);
	assert_true(kiln__os_inherited(&fd, 200, &err) < 0);
	assert_int_equal(fd, 1234);
}

#ifndef _WIN32
static void everything_is_close_on_exec(void **state)
{
	kiln_fd fds[6];
	kiln_error err;

	(void)state;
	fds[0] = open_new("file");
	kiln_ok(kiln__os_dup(&fds[1], fds[0], &err), &err);
	kiln_ok(kiln__os_socket_pair(&fds[2], &err), &err);
	kiln_ok(kiln__os_shared_memory(&fds[4], "test", 4096, &err), &err);
	kiln_ok(kiln__os_local_listen(&fds[5], kiln_test_path("socket"), &err), &err);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		kiln__os_close(fds[i]);
	}
}

static void an_inherited_descriptor_is_inherited_no_further(void **state)
{
	kiln_fd fd = open_new("file");
	kiln_fd taken;
	int raw = dup(fd);
	kiln_error err;

	(void)state;
	kiln__os_close(fd);
	kiln_ok(kiln__os_inherited(&taken, raw, &err), &err);
	assert_int_equal(fcntl(taken, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	kiln__os_close(taken);
}
#endif

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(whole_reads_and_writes_at_offsets),
		kiln_test(offsets_beyond_a_file_offset_are_refused),
		kiln_test(a_size_can_be_set_and_grows_with_zeros),
		kiln_test(reading_whole_from_a_socket_waits_for_the_end),
		kiln_test(writing_to_a_closed_socket_fails_and_raises_nothing),
		kiln_test(a_nonblocking_descriptor_says_so_instead_of_waiting),
		kiln_test(sockets_are_told_from_files),
		kiln_test(a_duplicate_outlives_its_original),
		kiln_test(closing_keeps_errno_and_allows_none),
		kiln_test(failures_leave_the_result_untouched),
#ifndef _WIN32
		kiln_test(everything_is_close_on_exec),
		kiln_test(an_inherited_descriptor_is_inherited_no_further),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
