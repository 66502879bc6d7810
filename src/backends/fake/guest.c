/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake guest's connections. Nothing happens in it but as the answer to what
 * arrives, so a frozen guest is one that takes no bytes from its streams.
 */
#include "conn.h"

#include "buf.h"
#include "err.h"
#include "frame.h"
#include "os.h"

#include <stdlib.h>

uint64_t kiln__fake_guest_now(const struct kiln__fake_guest *guest)
{
	return (uint64_t)(kiln__os_monotonic_ns() - guest->start_ns);
}

/* --- the echo service ----------------------------------------------------------- */

struct echo {
	struct kiln__list link;
	struct kiln__fake_guest *guest;
	struct kiln__stream *stream;
};

static void echo_free(struct echo *echo)
{
	kiln__list_remove(&echo->link);
	kiln__stream_close(echo->stream);
	free(echo);
}

static size_t echo_data(void *data, const void *bytes, size_t len)
{
	struct echo *echo = data;
	ssize_t n = echo->guest->frozen ? 0 : kiln__stream_write(echo->stream, bytes, len);

	return n < 0 ? len : (size_t)n; /* nobody listens: dropped, and the end is told soon */
}

static void echo_eof(void *data)
{
	echo_free(data);
}

static void echo_writable(void *data)
{
	struct echo *echo = data;

	kiln__stream_resume(echo->stream);
}

static void echo_error(void *data, const kiln_error *err)
{
	(void)err;
	echo_free(data);
}

static const struct kiln__stream_handler echo_handler = {
	.on_data = echo_data,
	.on_eof = echo_eof,
	.on_writable = echo_writable,
	.on_error = echo_error,
};

static int echo_new(struct kiln__fake_guest *guest, struct kiln__stream *stream, kiln_error *err)
{
	struct echo *echo = calloc(1, sizeof(*echo));

	if (!echo)
		return kiln__fail_nomem(err);
	echo->guest = guest;
	echo->stream = stream;
	kiln__list_append(&guest->echoes, &echo->link);
	kiln__stream_set_handler(stream, &echo_handler, echo);
	kiln__stream_resume(stream);
	return 0;
}

/* --- the agent's connections -------------------------------------------------------- */

static void conn_leave(struct kiln__fake_conn *conn)
{
	if (--conn->busy > 0 || !conn->dead)
		return;
	kiln__frame_reader_done(&conn->reader);
	kiln__buf_done(&conn->out);
	free(conn);
}

void kiln__fake_conn_close(struct kiln__fake_conn *conn)
{
	if (conn->dead)
		return;
	conn->busy++;
	conn->dead = true;
	kiln__list_remove(&conn->link);
	if (conn->session)
		kiln__fake_session_detach(conn->session);
	if (conn->guest->boot == conn)
		conn->guest->boot = NULL;
	kiln__stream_close(conn->stream);
	conn_leave(conn);
}

void kiln__fake_conn_flush(struct kiln__fake_conn *conn)
{
	conn->busy++;
	while (!conn->dead &&
	       (conn->out.len || (conn->session && kiln__fake_session_next_frame(conn->session)))) {
		ssize_t n = conn->out.failed ? KILN_ENOMEM
					     : kiln__stream_write(conn->stream, conn->out.data,
								  conn->out.len);

		if (n < 0)
			kiln__fake_conn_close(conn);
		if (n <= 0)
			break;
		kiln__buf_drop(&conn->out, (size_t)n);
	}
	if (!conn->dead && conn->ending && conn->out.len == 0)
		kiln__fake_conn_close(conn);
	conn_leave(conn);
}

void kiln__fake_conn_send(struct kiln__fake_conn *conn, uint8_t type, uint16_t tag,
			  const struct kiln__record *record, const void *value)
{
	if (!conn->dead && !conn->ending)
		kiln__frame_pack(&conn->out, type, 0, tag, record, value);
}

void kiln__fake_conn_send_error(struct kiln__fake_conn *conn, uint16_t tag, const kiln_error *err)
{
	const struct kiln__agent_error error = {
		.code = (uint32_t)-err->code,
		.stage = err->stage[0] ? err->stage : NULL,
		.message = err->message,
	};

	kiln__fake_conn_send(conn, KILN__AGENT_ERROR, tag, &kiln__agent_error_record, &error);
}

void kiln__fake_conn_fail(struct kiln__fake_conn *conn, const kiln_error *err)
{
	kiln__fake_conn_send_error(conn, 0, err);
	conn->ending = true;
}

static int on_hello(struct kiln__fake_conn *conn, const struct kiln__frame *frame, kiln_error *err)
{
	const struct kiln__agent_hello own = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
	};
	struct kiln__agent_hello hello;
	int r;

	if (frame->type != KILN__AGENT_HELLO)
		return kiln__fail(err, KILN_EPROTO, "the host did not say hello");
	r = kiln__record_unpack(&kiln__agent_hello_record, frame->body, frame->len, &hello, err);
	if (r < 0)
		return r;
	if (!kiln__agent_agree(&own, &hello))
		return kiln__fail(err, KILN_EPROTO, "no common version of the protocol");
	conn->hello = true;
	return 0;
}

static void on_frame(struct kiln__fake_conn *conn, const struct kiln__frame *frame)
{
	kiln_error err;
	int r;

	if (!conn->hello)
		r = on_hello(conn, frame, &err);
	else
		r = conn->session ? kiln__fake_session_frame(conn->session, frame, &err) : 0;
	if (r < 0)
		kiln__fake_conn_fail(conn, &err);
	else if (r == 0 && frame->type != KILN__AGENT_HELLO)
		kiln__fake_request(conn, frame);
}

static size_t conn_data(void *data, const void *bytes, size_t len)
{
	struct kiln__fake_conn *conn = data;
	const uint8_t *at = bytes;
	size_t done = 0;
	struct kiln__frame frame;
	kiln_error err;
	bool whole;

	conn->stalled = conn->guest->frozen;
	if (conn->stalled)
		return 0;
	conn->busy++;
	while (done < len && !conn->dead && !conn->ending) {
		int64_t n = kiln__frame_read(&conn->reader, at + done, len - done, &frame, &whole,
					     &err);

		if (n < 0)
			kiln__fake_conn_fail(conn, &err);
		else
			done += (size_t)n;
		if (n >= 0 && whole)
			on_frame(conn, &frame);
	}
	if (!conn->dead)
		kiln__fake_conn_flush(conn);
	conn_leave(conn);
	return len;
}

static void conn_eof(void *data)
{
	kiln__fake_conn_close(data);
}

static void conn_writable(void *data)
{
	struct kiln__fake_conn *conn = data;

	if (!conn->guest->frozen)
		kiln__fake_conn_flush(conn);
}

static void conn_error(void *data, const kiln_error *err)
{
	(void)err;
	kiln__fake_conn_close(data);
}

static const struct kiln__stream_handler conn_handler = {
	.on_data = conn_data,
	.on_eof = conn_eof,
	.on_writable = conn_writable,
	.on_error = conn_error,
};

static int conn_new(struct kiln__fake_conn **ret, struct kiln__fake_guest *guest,
		    struct kiln__stream *stream, kiln_error *err)
{
	struct kiln__fake_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return kiln__fail_nomem(err);
	conn->guest = guest;
	conn->stream = stream;
	kiln__frame_reader_init(&conn->reader, kiln__agent_limit);
	kiln__list_append(&guest->conns, &conn->link);
	kiln__stream_set_handler(stream, &conn_handler, conn);
	kiln__stream_resume(stream);
	*ret = conn;
	return 0;
}

/* --- the guest ------------------------------------------------------------------------- */

bool kiln__fake_guest_listens(uint32_t port)
{
	return port == KILN__AGENT_PORT || port == KILN__FAKE_ECHO_PORT;
}

int kiln__fake_guest_accept(struct kiln__fake_guest *guest, uint32_t port,
			    struct kiln__stream *stream, kiln_error *err)
{
	const struct kiln__agent_hello hello = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
	};
	struct kiln__fake_conn *conn;
	int r;

	if (port == KILN__FAKE_ECHO_PORT)
		return echo_new(guest, stream, err);
	r = conn_new(&conn, guest, stream, err);
	if (r < 0)
		return r;
	kiln__fake_conn_send(conn, KILN__AGENT_HELLO, 0, &kiln__agent_hello_record, &hello);
	kiln__fake_conn_flush(conn);
	return 0;
}

int kiln__fake_guest_boot(struct kiln__fake_guest *guest, struct kiln__stream *stream,
			  kiln_error *err)
{
	const struct kiln__agent_hello hello = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
		.features = KILN__AGENT_FEATURE_SETUP | KILN__AGENT_FEATURE_POWER,
		.agent = "fake",
		.kernel = "none",
		.arch = kiln__os_arch(),
		.init_ns = kiln__fake_guest_now(guest),
		.vsock_ns = kiln__fake_guest_now(guest),
	};
	int r = conn_new(&guest->boot, guest, stream, err);

	if (r < 0)
		return r;
	kiln__fake_conn_send(guest->boot, KILN__AGENT_HELLO, 0, &kiln__agent_hello_record, &hello);
	kiln__fake_conn_flush(guest->boot);
	return 0;
}

void kiln__fake_guest_freeze(struct kiln__fake_guest *guest, bool frozen)
{
	struct kiln__list *next;

	guest->frozen = frozen;
	if (frozen)
		return;
	for (struct kiln__list *link = guest->conns.next; link != &guest->conns; link = next) {
		struct kiln__fake_conn *conn = kiln__list_entry(link, struct kiln__fake_conn, link);

		next = link->next;
		if (conn->stalled)
			kiln__stream_resume(conn->stream);
		kiln__fake_conn_flush(conn);
	}
	kiln__list_foreach (link, &guest->echoes) {
		kiln__stream_resume(kiln__list_entry(link, struct echo, link)->stream);
	}
}

int kiln__fake_guest_new(struct kiln__fake_guest **ret, kiln_loop *loop,
			 void (*power)(void *data, bool reset), void *data, kiln_error *err)
{
	struct kiln__fake_guest *guest = calloc(1, sizeof(*guest));

	if (!guest)
		return kiln__fail_nomem(err);
	guest->loop = loop;
	guest->power = power;
	guest->data = data;
	guest->start_ns = kiln__os_monotonic_ns();
	guest->last_pid = 1; /* the agent */
	kiln__list_init(&guest->conns);
	kiln__list_init(&guest->echoes);
	kiln__list_init(&guest->sessions);
	*ret = guest;
	return 0;
}

void kiln__fake_guest_free(struct kiln__fake_guest *guest)
{
	if (!guest)
		return;
	while (!kiln__list_empty(&guest->conns))
		kiln__fake_conn_close(
			kiln__list_entry(guest->conns.next, struct kiln__fake_conn, link));
	while (!kiln__list_empty(&guest->echoes))
		echo_free(kiln__list_entry(guest->echoes.next, struct echo, link));
	while (!kiln__list_empty(&guest->sessions))
		kiln__fake_session_free(kiln__fake_session_of(guest->sessions.next));
	free(guest);
}
