/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "os.h"

#include <errno.h>
#include <string.h>
#ifndef _WIN32
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

static kiln_fd listen_at(const char *path)
{
	kiln_fd fd;
	kiln_error err;
	int r = kiln__os_local_listen(&fd, path, &err);

	if (r == KILN_ENOTSUP && kiln_test_on_wine())
		skip();
	kiln_ok(r, &err);
	return fd;
}

static void a_connection_carries_bytes_both_ways(void **state)
{
	const char *path = kiln_test_path("socket");
	kiln_fd listener = listen_at(path);
	kiln_fd client;
	kiln_fd server;
	char bytes[4];
	kiln_error err;

	(void)state;
	assert_int_equal(kiln__os_accept(&server, listener, &err), KILN_ENOENT);
	kiln_ok(kiln__os_local_connect(&client, path, &err), &err);
	kiln_ok(kiln__os_accept(&server, listener, &err), &err);
	kiln_ok(kiln__os_write_full(client, "ping", 4, &err), &err);
	/* In blocking mode: waits for all four. */
	assert_int_equal(kiln__os_read_full(server, bytes, 4, &err), 4);
	assert_memory_equal(bytes, "ping", 4);
	kiln_ok(kiln__os_write_full(server, "pong", 4, &err), &err);
	kiln__os_shutdown_write(server);
	assert_int_equal(kiln__os_read_full(client, bytes, 4, &err), 4);
	assert_int_equal(kiln__os_read(client, bytes, 1), 0);
	kiln__os_close(client);
	kiln__os_close(server);
	kiln__os_close(listener);
}

static void a_taken_path_an_absent_one_and_a_dead_one_are_told_apart(void **state)
{
	const char *path = kiln_test_path("socket");
	kiln_fd listener = listen_at(path);
	kiln_fd fd;
	kiln_error err;

	(void)state;
	assert_int_equal(kiln__os_local_listen(&fd, path, &err), KILN_EEXIST);
	assert_non_null(strstr(err.message, path));
	kiln__os_close(listener);
	assert_int_equal(kiln__os_local_connect(&fd, path, &err), KILN_EDIED);
	assert_int_equal(err.code, KILN_EDIED);
	kiln_ok(kiln__os_remove(path, &err), &err);
	assert_int_equal(kiln__os_local_connect(&fd, path, &err), KILN_ENOENT);
}

static void a_path_too_long_is_refused_not_cut(void **state)
{
	char path[200];
	kiln_fd fd;

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(kiln__os_local_listen(&fd, path, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__os_local_connect(&fd, path, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__os_local_listen(&fd, "", NULL), KILN_EINVAL);
}

#ifndef _WIN32
static void only_this_user_may_connect(void **state)
{
	const char *path = kiln_test_path("socket");
	mode_t mask = umask(0);
	kiln_fd listener = listen_at(path);
	struct stat st;

	(void)state;
	umask(mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	kiln__os_close(listener);
}

static void the_peer_is_this_user(void **state)
{
	const char *path = kiln_test_path("socket");
	kiln_fd listener = listen_at(path);
	kiln_fd client;
	kiln_fd server;
	uint32_t uid = 4711;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_local_connect(&client, path, &err), &err);
	kiln_ok(kiln__os_accept(&server, listener, &err), &err);
	kiln_ok(kiln__os_peer_user(server, &uid, &err), &err);
	assert_int_equal(uid, geteuid());
	kiln__os_close(client);
	kiln__os_close(server);
	kiln__os_close(listener);
}

static void a_listener_of_another_user_is_refused(void **state)
{
	const char *path = kiln_test_path("socket");
	kiln_fd listener;
	kiln_fd client;
	kiln_error err;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(kiln_test_dir(), 0777), 0);
	assert_int_equal(seteuid(65534), 0);
	listener = listen_at(path);
	assert_int_equal(seteuid(0), 0);
	kiln_ok(kiln__os_local_connect(&client, path, &err), &err);
	assert_int_equal(kiln__os_check_peer(client, &err), KILN_EACCES);
	kiln__os_close(client);
	kiln__os_close(listener);
	assert_int_equal(unlink(path), 0);
	listener = listen_at(path);
	kiln_ok(kiln__os_local_connect(&client, path, &err), &err);
	kiln_ok(kiln__os_check_peer(client, &err), &err);
	kiln__os_close(client);
	kiln__os_close(listener);
}

static bool same_file(kiln_fd a, kiln_fd b)
{
	struct kiln__os_stat first;
	struct kiln__os_stat second;

	return kiln__os_fstat(a, &first, NULL) == 0 && kiln__os_fstat(b, &second, NULL) == 0 &&
	       first.device == second.device && first.inode == second.inode;
}

static void open_pair_and_file(kiln_fd pair[2], kiln_fd *file)
{
	kiln_error err;

	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	kiln_ok(kiln__os_open(file, kiln_test_path("file"), KILN__OPEN_WRITE | KILN__OPEN_CREATE,
			      &err),
		&err);
}

static void descriptors_travel_with_the_bytes(void **state)
{
	kiln_fd pair[2];
	kiln_fd sent[KILN__OS_MAX_FDS];
	kiln_fd got[KILN__OS_MAX_FDS];
	size_t count = KILN__OS_MAX_FDS;
	char bytes[8];

	(void)state;
	open_pair_and_file(pair, &sent[0]);
	for (size_t i = 1; i < KILN__OS_MAX_FDS; i++)
		sent[i] = sent[0];
	assert_int_equal(kiln__os_send_fds(pair[0], "hello", 5, sent, KILN__OS_MAX_FDS), 5);
	assert_int_equal(kiln__os_recv_fds(pair[1], bytes, sizeof(bytes), got, &count), 5);
	assert_memory_equal(bytes, "hello", 5);
	assert_int_equal(count, KILN__OS_MAX_FDS);
	for (size_t i = 0; i < count; i++) {
		assert_true(same_file(sent[0], got[i]));
		kiln__os_close(got[i]);
	}
	/* And without any. */
	assert_int_equal(kiln__os_send_fds(pair[0], "x", 1, NULL, 0), 1);
	count = KILN__OS_MAX_FDS;
	assert_int_equal(kiln__os_recv_fds(pair[1], bytes, sizeof(bytes), got, &count), 1);
	assert_int_equal(count, 0);
	kiln__os_close(sent[0]);
	kiln__os_close(pair[0]);
	kiln__os_close(pair[1]);
}

static void descriptors_nobody_asked_for_are_closed(void **state)
{
	kiln_fd pair[2];
	kiln_fd sent[3];
	kiln_fd got[2];
	size_t count = 2;
	char bytes[8];

	(void)state;
	open_pair_and_file(pair, &sent[0]);
	sent[1] = sent[2] = sent[0];
	assert_int_equal(kiln__os_send_fds(pair[0], "hello", 5, sent, 3), 5);
	assert_int_equal(kiln__os_recv_fds(pair[1], bytes, sizeof(bytes), got, &count), -EMSGSIZE);
	kiln__os_close(sent[0]);
	kiln__os_close(pair[0]);
	kiln__os_close(pair[1]);
	/* The end of the test finds any that were kept. */
}

static void more_descriptors_than_the_limit_are_closed(void **state)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * (KILN__OS_MAX_FDS + 4))];
	} control = {0};
	char x = 'x';
	struct iovec iov = {&x, 1};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	kiln_fd pair[2];
	kiln_fd got[KILN__OS_MAX_FDS];
	kiln_fd file;
	size_t count = KILN__OS_MAX_FDS;
	char byte;

	(void)state;
	open_pair_and_file(pair, &file);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int) * (KILN__OS_MAX_FDS + 4));
	for (size_t i = 0; i < KILN__OS_MAX_FDS + 4; i++)
		memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &file, sizeof(int));
	assert_int_equal(sendmsg(pair[0], &msg, 0), 1);
	assert_int_equal(kiln__os_recv_fds(pair[1], &byte, 1, got, &count), -EMSGSIZE);
	kiln__os_close(file);
	kiln__os_close(pair[0]);
	kiln__os_close(pair[1]);
}
#endif

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_connection_carries_bytes_both_ways),
		kiln_test(a_taken_path_an_absent_one_and_a_dead_one_are_told_apart),
		kiln_test(a_path_too_long_is_refused_not_cut),
#ifndef _WIN32
		kiln_test(only_this_user_may_connect),
		kiln_test(the_peer_is_this_user),
		kiln_test(a_listener_of_another_user_is_refused),
		kiln_test(descriptors_travel_with_the_bytes),
		kiln_test(descriptors_nobody_asked_for_are_closed),
		kiln_test(more_descriptors_than_the_limit_are_closed),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
