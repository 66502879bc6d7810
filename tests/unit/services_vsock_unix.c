/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's ports as Unix sockets, with the guest played by streams in memory. */
#include "kiln_test.h"

#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "mempair.h"
#include "os.h"
#include "vsock_unix.h"

#include <stdio.h>
#include <string.h>

#define PORT 1234

/* Of a service, in most tests more than there are. */
static unsigned max_links = 5000;

struct peer {
	struct kiln__stream *stream;
	struct kiln__buf got;
	bool over; /* end of file or error */
	bool has_line;
};

static struct {
	kiln_loop *loop;
	struct kiln__vsock_unix *service;
	const char *path;
	struct peer guest; /* the guest's end of the last connection */
	unsigned connects;
	bool defer; /* answer later */
	bool refuse;
	kiln__port_done_fn done;
	void *done_data;
} t;

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct peer *peer = data;

	kiln__buf_add(&peer->got, bytes, len);
	peer->has_line = memchr(peer->got.data, '\n', peer->got.len) != NULL;
	return len;
}

static void on_eof(void *data)
{
	((struct peer *)data)->over = true;
}

static void on_error(void *data, const kiln_error *err)
{
	(void)err;
	((struct peer *)data)->over = true;
}

static void on_writable(void *data)
{
	(void)data;
}

static const struct kiln__stream_handler handler = {
	.on_data = on_data, .on_eof = on_eof, .on_error = on_error, .on_writable = on_writable};

static void answer(void)
{
	struct kiln__stream *pair[2];
	kiln_error err;

	if (t.refuse) {
		kiln__fail(&err, KILN_EIO, "connection refused");
		t.done(t.done_data, NULL, &err);
		return;
	}
	assert_int_equal(mempair_new(pair, t.loop, 1000, 1000), 0);
	t.guest.stream = pair[0];
	kiln__stream_set_handler(pair[0], &handler, &t.guest);
	kiln__stream_resume(pair[0]);
	t.done(t.done_data, pair[1], NULL);
}

static void connect_guest(void *data, uint32_t port, kiln__port_done_fn done, void *done_data)
{
	(void)data;
	assert_int_equal(port, PORT);
	t.connects++;
	t.done = done;
	t.done_data = done_data;
	if (!t.defer)
		answer();
}

static void set_up(void)
{
	kiln_error err;

	memset(&t, 0, sizeof(t));
	kiln_ok(kiln_loop_new(&t.loop, &err), &err);
	kiln_test_dir();
	t.path = kiln_test_path("v");
	kiln_ok(kiln__vsock_unix_new(&t.service, t.loop, t.path, max_links, connect_guest, NULL,
				     &err),
		&err);
	kiln__vsock_unix_accept(t.service);
}

static void peer_done(struct peer *peer)
{
	kiln__stream_close(peer->stream);
	kiln__buf_done(&peer->got);
	peer->stream = NULL;
}

static void tear_down(void)
{
	struct kiln__os_stat st;

	kiln__vsock_unix_free(t.service);
	assert_int_equal(kiln__os_stat(t.path, &st, NULL), KILN_ENOENT);
	peer_done(&t.guest);
	kiln_loop_free(t.loop);
}

static void dial(struct peer *peer, const char *text)
{
	kiln_error err;
	kiln_fd fd;

	memset(peer, 0, sizeof(*peer));
	kiln_ok(kiln__os_local_connect(&fd, t.path, &err), &err);
	kiln_ok(kiln__fdstream_new(&peer->stream, t.loop, fd, &err), &err);
	kiln__stream_set_handler(peer->stream, &handler, peer);
	kiln__stream_resume(peer->stream);
	assert_int_equal(kiln__stream_write(peer->stream, text, strlen(text)), strlen(text));
}

static void wait_for(const struct kiln__buf *buf, const char *text)
{
	bool done = false;
	unsigned rounds = 0;

	while (!done && rounds++ < 10000) {
		kiln_loop_step(t.loop);
		done = buf->data && buf->len >= strlen(text) &&
		       memcmp(buf->data + buf->len - strlen(text), text, strlen(text)) == 0;
	}
	assert_true(done);
}

static void a_connect_line_leads_to_the_guest(void **state)
{
	unsigned number;
	struct peer peer;

	(void)state;
	set_up();
	dial(&peer, "CONNECT 1234\nfirst bytes");
	kiln_test_run_until(t.loop, &peer.has_line);
	assert_int_equal(sscanf(peer.got.data, "OK %u\n", &number), 1);
	wait_for(&t.guest.got, "first bytes");
	assert_int_equal(t.guest.got.len, 11); /* the line itself is not for the guest */
	kiln__buf_clear(&peer.got);
	kiln__stream_write(t.guest.stream, "answer", 6);
	wait_for(&peer.got, "answer");
	kiln__stream_shutdown(peer.stream);
	kiln_test_run_until(t.loop, &t.guest.over);
	kiln__stream_close(t.guest.stream);
	t.guest.stream = NULL;
	kiln_test_run_until(t.loop, &peer.over);
	peer_done(&peer);
	tear_down();
}

static void an_end_of_file_right_after_the_line_reaches_the_guest(void **state)
{
	struct peer peer;

	(void)state;
	set_up();
	t.defer = true;
	dial(&peer, "CONNECT 1234\n");
	kiln__stream_shutdown(peer.stream);
	while (t.connects == 0)
		kiln_loop_step(t.loop);
	kiln_test_settle(t.loop);
	answer();
	kiln_test_run_until(t.loop, &t.guest.over);
	assert_int_equal(t.guest.got.len, 0);
	peer_done(&peer);
	tear_down();
}

static void a_line_may_come_in_pieces(void **state)
{
	static const char line[] = "CONNECT 1234\n";
	struct peer peer;

	(void)state;
	set_up();
	dial(&peer, "");
	for (size_t i = 0; i < sizeof(line) - 1; i++) {
		assert_int_equal(t.connects, 0);
		assert_int_equal(kiln__stream_write(peer.stream, line + i, 1), 1);
		kiln_test_settle(t.loop);
	}
	kiln_test_run_until(t.loop, &peer.has_line);
	peer_done(&peer);
	tear_down();
}

static void broken_lines_are_hung_up_on(void **state)
{
	static const char *const lines[] = {
		"CONNECT\n",
		"CONNECT \n",
		"connect 1234\n",
		"CONNECT 12a\n",
		"CONNECT -1\n",
		"CONNECT 4294967296\n",
		"CONNECT 99999999999\n",
		"GET / HTTP/1.1\n",
		"\n",
		"CONNECT 1234 \n",
		"CONNECT 1234\r\n",
		"CONNECT 000000000000000000000000000001234",
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
	struct peer peer;

	(void)state;
	set_up();
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		dial(&peer, lines[i]);
		kiln_test_run_until(t.loop, &peer.over);
		assert_int_equal(peer.got.len, 0);
		peer_done(&peer);
	}
	assert_int_equal(t.connects, 0);
	tear_down();
}

static void a_refusal_hangs_up_without_an_answer(void **state)
{
	struct peer peer;

	(void)state;
	set_up();
	t.refuse = true;
	dial(&peer, "CONNECT 1234\n");
	kiln_test_run_until(t.loop, &peer.over);
	assert_int_equal(peer.got.len, 0);
	assert_int_equal(t.connects, 1);
	peer_done(&peer);
	tear_down();
}

static void freeing_while_the_guest_is_being_connected_is_safe(void **state)
{
	struct peer peer;

	(void)state;
	set_up();
	t.defer = true;
	dial(&peer, "CONNECT 1234\n");
	while (t.connects == 0)
		kiln_loop_step(t.loop);
	kiln__vsock_unix_free(t.service);
	t.service = NULL;
	answer(); /* too late: its stream is closed */
	kiln_test_run_until(t.loop, &t.guest.over);
	peer_done(&peer);
	tear_down();
}

static void silent_peers_are_bounded(void **state)
{
	struct peer peers[140];
	unsigned over = 0;
	struct peer last;

	(void)state;
	set_up();
	for (size_t i = 0; i < 140; i++)
		dial(&peers[i], "");
	kiln_test_settle(t.loop);
	/* The others wait unaccepted; hanging up makes room for them. */
	dial(&last, "CONNECT 1234\n");
	kiln_test_settle(t.loop);
	assert_int_equal(t.connects, 0);
	for (size_t i = 0; i < 140; i++) {
		over += peers[i].over;
		peer_done(&peers[i]);
	}
	assert_int_equal(over, 0);
	kiln_test_run_until(t.loop, &last.has_line);
	peer_done(&last);
	tear_down();
}

static void a_guests_connection_reaches_its_ports_socket(void **state)
{
	struct kiln__stream *pair[2];
	struct peer daemon = {0};
	kiln_error err;
	kiln_fd listener;
	kiln_fd fd;
	char path[128];

	(void)state;
	set_up();
	assert_int_equal(mempair_new(pair, t.loop, 1000, 1000), 0);
	assert_false(kiln__vsock_unix_incoming(t.service, 5000, pair[1])); /* nobody listens */
	snprintf(path, sizeof(path), "%s_5000", t.path);
	kiln_ok(kiln__os_local_listen(&listener, path, &err), &err);
	assert_true(kiln__vsock_unix_incoming(t.service, 5000, pair[1]));
	kiln_ok(kiln__os_accept(&fd, listener, &err), &err);
	kiln_ok(kiln__fdstream_new(&daemon.stream, t.loop, fd, &err), &err);
	kiln__stream_set_handler(daemon.stream, &handler, &daemon);
	kiln__stream_resume(daemon.stream);
	t.guest.stream = pair[0];
	kiln__stream_set_handler(pair[0], &handler, &t.guest);
	kiln__stream_resume(pair[0]);
	kiln__stream_write(pair[0], "from the guest", 14);
	wait_for(&daemon.got, "from the guest");
	kiln__stream_write(daemon.stream, "to the guest", 12);
	wait_for(&t.guest.got, "to the guest");
	peer_done(&daemon);
	kiln_test_run_until(t.loop, &t.guest.over);
	kiln__os_close(listener);
	tear_down();
}

/* Whatever the guest does: descriptors are left for others. */
static void connections_are_bounded_in_number(void **state)
{
	struct kiln__stream *pairs[4][2];
	kiln_error err;
	kiln_fd listener;
	char path[128];

	(void)state;
	max_links = 3;
	set_up();
	max_links = 5000;
	snprintf(path, sizeof(path), "%s_5000", t.path);
	kiln_ok(kiln__os_local_listen(&listener, path, &err), &err);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(mempair_new(pairs[i], t.loop, 1000, 1000), 0);
		kiln__stream_set_handler(pairs[i][0], &handler, &t.guest);
		assert_true(kiln__vsock_unix_incoming(t.service, 5000, pairs[i][1]) == (i < 3));
	}
	kiln__stream_close(pairs[0][0]);
	kiln__stream_close(pairs[3][0]);
	kiln__os_close(listener); /* and with it what was not accepted */
	for (int i = 0; i < 100; i++)
		kiln_loop_dispatch(t.loop);
	kiln__os_remove(path, NULL);
	kiln_ok(kiln__os_local_listen(&listener, path, &err), &err);
	assert_true(kiln__vsock_unix_incoming(t.service, 5000, pairs[3][1]));
	kiln__os_close(listener);
	kiln__stream_close(pairs[1][0]);
	kiln__stream_close(pairs[2][0]);
	tear_down();
}

static void a_listener_that_does_not_accept_refuses_instead_of_blocking(void **state)
{
	struct kiln__stream *pair[2];
	unsigned taken = 0;
	kiln_error err;
	kiln_fd listener;
	char path[128];

	(void)state;
	set_up();
	snprintf(path, sizeof(path), "%s_5000", t.path);
	kiln_ok(kiln__os_local_listen(&listener, path, &err), &err);
	for (;;) {
		assert_int_equal(mempair_new(pair, t.loop, 1000, 1000), 0);
		kiln__stream_set_handler(pair[0], &handler, &t.guest);
		if (!kiln__vsock_unix_incoming(t.service, 5000, pair[1]))
			break;
		kiln__stream_close(pair[0]);
		kiln_test_settle(t.loop);
		taken++;
		assert_true(taken < 100000);
	}
	kiln__stream_close(pair[0]);
	kiln__stream_close(pair[1]);
	assert_true(taken > 0);
	kiln__os_close(listener);
	tear_down();
}

static void a_path_too_long_for_its_ports_is_refused(void **state)
{
	struct kiln__vsock_unix *service;
	char path[104];

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	memcpy(path, "/tmp/", 5);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(
		kiln__vsock_unix_new(&service, NULL, path, max_links, connect_guest, NULL, NULL),
		KILN_EOVERFLOW);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_connect_line_leads_to_the_guest),
		kiln_test(an_end_of_file_right_after_the_line_reaches_the_guest),
		kiln_test(a_line_may_come_in_pieces),
		kiln_test(broken_lines_are_hung_up_on),
		kiln_test(a_refusal_hangs_up_without_an_answer),
		kiln_test(freeing_while_the_guest_is_being_connected_is_safe),
		kiln_test(silent_peers_are_bounded),
		kiln_test(a_guests_connection_reaches_its_ports_socket),
		kiln_test(connections_are_bounded_in_number),
		kiln_test(a_listener_that_does_not_accept_refuses_instead_of_blocking),
		kiln_test(a_path_too_long_for_its_ports_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
