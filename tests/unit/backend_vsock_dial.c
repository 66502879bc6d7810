/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to a guest's ports at a VMM's Unix socket, and from the guest. */
#include "kiln_test.h"

#include "acceptor.h"
#include "os.h"
#include "vsock_dial.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
	kiln_loop *loop;
	struct kiln__acceptor *acceptor;
	struct kiln__vsock_dialer *dialer;
	const char *path;
	kiln_fd peer; /* the VMM's end of the last connection */
	bool connected;
	bool done;
	unsigned count;
	struct kiln__stream *stream;
	kiln_error err;
	char got[64];
	size_t got_len;
	bool has_got;
	uint32_t incoming_port;
	bool incoming;
	bool refuse;
} t;

static void on_connection(void *data, kiln_fd fd)
{
	(void)data;
	t.peer = fd;
	t.connected = true;
}

static bool on_incoming(void *data, uint32_t port, struct kiln__stream *stream)
{
	(void)data;
	t.incoming_port = port;
	t.incoming = true;
	if (!t.refuse)
		kiln__stream_close(stream);
	return !t.refuse;
}

static void begin(void)
{
	static const uint32_t ports[] = {13, 0};
	kiln_fd listener;
	kiln_error err;

	memset(&t, 0, sizeof(t));
	t.peer = KILN_FD_NONE;
	t.path = kiln_test_path("v.sock");
	kiln_ok(kiln_loop_new(&t.loop, &err), &err);
	kiln_ok(kiln__os_local_listen(&listener, t.path, &err), &err);
	kiln_ok(kiln__acceptor_new(&t.acceptor, t.loop, listener, on_connection, NULL, &err), &err);
	kiln__acceptor_set(t.acceptor, true);
	kiln_ok(kiln__vsock_dialer_new(&t.dialer, t.loop, t.path, ports, on_incoming, NULL, &err),
		&err);
}

static void end(void)
{
	kiln__stream_close(t.stream);
	kiln__vsock_dialer_free(t.dialer);
	kiln__acceptor_free(t.acceptor);
	kiln__os_close(t.peer);
	kiln_test_settle(t.loop);
	kiln_loop_free(t.loop);
	unlink(t.path);
}

static void on_dialed(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	(void)data;
	assert_int_equal(stream == NULL, err != NULL);
	t.count++;
	t.done = true;
	t.stream = stream;
	t.err = err ? *err : (kiln_error)KILN_ERROR_INIT;
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	(void)data;
	memcpy(t.got + t.got_len, bytes, len);
	t.got_len += len;
	t.has_got = true;
	return len;
}

static void on_eof(void *data)
{
	(void)data;
}

static const struct kiln__stream_handler handler = {.on_data = on_data, .on_eof = on_eof};

/* The VMM has the line, and says @answer; NULL: it hangs up. */
static void dial(const char *answer)
{
	char line[32];
	ssize_t n;

	kiln__vsock_dial(t.dialer, 1024, on_dialed, NULL);
	kiln_test_run_until(t.loop, &t.connected);
	n = kiln__os_read(t.peer, line, sizeof(line));
	assert_int_equal(n, 13);
	assert_memory_equal(line, "CONNECT 1024\n", 13);
	if (answer)
		assert_int_equal(kiln__os_write(t.peer, answer, strlen(answer)), strlen(answer));
	else
		kiln__os_close(kiln__take_fd(&t.peer));
	kiln_test_run_until(t.loop, &t.done);
	kiln_test_settle(t.loop);
	assert_int_equal(t.count, 1);
}

static void what_follows_the_answer_is_the_guests(void **state)
{
	(void)state;
	begin();
	dial("OK 1073741824\nhello");
	assert_non_null(t.stream);
	kiln__stream_set_handler(t.stream, &handler, NULL);
	kiln__stream_resume(t.stream);
	kiln_test_run_until(t.loop, &t.has_got);
	assert_int_equal(t.got_len, 5);
	assert_memory_equal(t.got, "hello", 5);
	end();
}

static void refuse(const char *answer, const char *word)
{
	begin();
	dial(answer);
	assert_int_equal(t.err.code, KILN_EIO);
	if (!strstr(t.err.message, word))
		fail_msg("%s", t.err.message);
	end();
}

static void all_else_is_a_refusal(void **state)
{
	(void)state;
	refuse(NULL, "nothing listens there");
	refuse("NO\n", "does not answer as it should");
	refuse("OK 11111111111111111111111111111111111111111111", "does not end");
}

static void no_vmm_is_no_connection(void **state)
{
	(void)state;
	begin();
	kiln__acceptor_free(t.acceptor);
	t.acceptor = NULL;
	unlink(t.path);
	kiln__vsock_dial(t.dialer, 1024, on_dialed, NULL);
	assert_true(t.done);
	assert_int_equal(t.err.code, KILN_EIO);
	end();
}

static void a_socket_of_anothers_is_asked_nothing(void **state)
{
	char byte;

	(void)state;
	begin();
	kiln__vsock_dialer_expect(t.dialer, geteuid() + 1);
	kiln__vsock_dial(t.dialer, 1024, on_dialed, NULL);
	assert_int_equal(t.count, 1);
	assert_true(strstr(t.err.message, "another user"));
	kiln_test_run_until(t.loop, &t.connected);
	assert_int_equal(kiln__os_read(t.peer, &byte, 1), 0);
	kiln__vsock_dialer_expect(t.dialer, geteuid());
	t.count = 0;
	t.connected = t.done = false;
	kiln__os_close(kiln__take_fd(&t.peer));
	dial("OK 1\n");
	assert_non_null(t.stream);
	end();
}

static void what_is_pending_ends_with_it(void **state)
{
	(void)state;
	begin();
	kiln__vsock_dial(t.dialer, 1024, on_dialed, NULL);
	assert_false(t.done);
	kiln__vsock_dialer_free(t.dialer);
	t.dialer = NULL;
	assert_int_equal(t.err.code, KILN_ECANCELED);
	end();
}

static void the_guest_reaches_its_ports_and_no_other(void **state)
{
	kiln_fd fd;
	kiln_error err;
	char byte;

	(void)state;
	for (int i = 0; i < 2; i++) {
		begin();
		t.refuse = i == 1;
		kiln_ok(kiln__os_local_connect(&fd, kiln_test_path("v.sock_13"), &err), &err);
		kiln_test_run_until(t.loop, &t.incoming);
		assert_int_equal(t.incoming_port, 13);
		kiln_test_settle(t.loop);
		assert_int_equal(kiln__os_read(fd, &byte, 1), 0); /* closed, by whoever had it */
		kiln__os_close(fd);
		assert_int_equal(kiln__os_local_connect(&fd, kiln_test_path("v.sock_14"), &err),
				 KILN_ENOENT);
		end();
		assert_int_equal(access(kiln_test_path("v.sock_13"), F_OK), -1);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(what_follows_the_answer_is_the_guests),
		kiln_test(all_else_is_a_refusal),
		kiln_test(no_vmm_is_no_connection),
		kiln_test(a_socket_of_anothers_is_asked_nothing),
		kiln_test(what_is_pending_ends_with_it),
		kiln_test(the_guest_reaches_its_ports_and_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
