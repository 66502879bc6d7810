/* SPDX-License-Identifier: Apache-2.0 */
#include "conn.h"

#include "err.h"
#include "files.h"
#include "session.h"
#include "waitport.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

/* With this much unsent, requests are not read: a host that does not listen gets no more answers.
 */
#define OUT_ENOUGH ((size_t)64 * 1024)

static void conn_event(void *data, uint32_t events);

static void send_hello(struct conn *conn)
{
	struct agent *agent = conn->agent;
	struct kiln__agent_hello hello = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
		.features = agent->ops->features,
	};
	struct utsname name;
	char boot_id[40];

	if (conn->boot) {
		uname(&name);
		hello.agent = KILN_VERSION;
		hello.kernel = name.release;
		hello.arch = name.machine;
		if (read_small_file("/proc/sys/kernel/random/boot_id", boot_id, sizeof(boot_id)) >
		    0)
			hello.boot_id = boot_id;
		hello.init_ns = (uint64_t)agent->init_ns;
		hello.vsock_ns = (uint64_t)agent->vsock_ns;
	}
	conn_send(conn, KILN__AGENT_HELLO, 0, 0, &kiln__agent_hello_record, &hello);
}

struct conn *conn_new(struct agent *agent, int fd, bool boot, bool connecting)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		close(fd);
		return NULL;
	}
	conn->agent = agent;
	conn->since_ns = monotonic_ns();
	conn->boot = boot;
	conn->connecting = connecting;
	conn->source = (struct source){.fd = fd, .fn = conn_event, .data = conn};
	kiln__frame_reader_init(&conn->reader, kiln__agent_limit);
	conn->next = agent->conns;
	conn->link = &agent->conns;
	if (conn->next)
		conn->next->link = &conn->next;
	agent->conns = conn;
	if (!connecting)
		send_hello(conn);
	source_want(&agent->loop, &conn->source, connecting ? EPOLLOUT : EPOLLIN | EPOLLOUT);
	return conn;
}

static void conn_free(struct conn *conn)
{
	*conn->link = conn->next;
	if (conn->next)
		conn->next->link = conn->link;
	kiln__frame_reader_done(&conn->reader);
	kiln__buf_done(&conn->out);
	free(conn);
}

void conn_close(struct conn *conn)
{
	struct agent *agent = conn->agent;

	if (!conn->dead) {
		conn->dead = true;
		source_close(&agent->loop, &conn->source);
		if (conn->session)
			session_detach(conn->session);
		wait_port_forget(agent, conn);
		if (agent->boot == conn)
			agent_boot_lost(agent, conn->since_ns);
		agent_connection_ended(agent);
		if (agent->on_change)
			agent->on_change(agent);
	}
	if (conn->busy == 0)
		conn_free(conn);
}

static void leave(struct conn *conn)
{
	if (--conn->busy == 0 && conn->dead)
		conn_free(conn);
}

/* --- sending ----------------------------------------------------------------------- */

void conn_send(struct conn *conn, uint8_t type, uint8_t flags, uint16_t tag,
	       const struct kiln__record *record, const void *value)
{
	kiln__frame_pack(&conn->out, type, flags, tag, record, value);
}

void conn_send_error(struct conn *conn, uint16_t tag, const kiln_error *err)
{
	struct kiln__agent_error error = {
		.code = (uint32_t)-err->code,
		.os_errno = (uint32_t)err->os_errno,
		.stage = err->stage[0] ? err->stage : NULL,
		.message = err->message,
	};

	conn_send(conn, KILN__AGENT_ERROR, 0, tag, &kiln__agent_error_record, &error);
}

/* Copies what is left of the data frame in progress, because its session goes elsewhere. */
static void absorb_data(struct conn *conn)
{
	struct kiln__buf whole = KILN__BUF_INIT;

	if (!conn->data.active)
		return;
	kiln__buf_add(&whole, conn->data.head + conn->data.head_at,
		      KILN__FRAME_DATA_HEAD - conn->data.head_at);
	kiln__buf_add(&whole, conn->data.bytes + conn->data.at, conn->data.len - conn->data.at);
	if (conn->out.len > 0)
		kiln__buf_add(&whole, conn->out.data + conn->out_at, conn->out.len - conn->out_at);
	whole.failed |= conn->out.failed;
	kiln__buf_done(&conn->out);
	conn->out = whole;
	conn->out_at = 0;
	conn->data.active = false;
}

void conn_fail(struct conn *conn, const kiln_error *err)
{
	if (conn->session) {
		absorb_data(conn);
		session_detach(conn->session);
	}
	conn_send_error(conn, 0, err);
	conn->ending = true;
}

/* Writes once. Returns bytes written, 0 if the socket is full, -1 if the connection is gone. */
static ssize_t write_some(struct conn *conn, struct iovec *iov, size_t count)
{
	struct msghdr msg = {.msg_iov = iov};
	ssize_t n;

	msg.msg_iovlen = (__typeof__(msg.msg_iovlen))count; /* libcs differ in its type */
	do {
		n = sendmsg(conn->source.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == EAGAIN ? 0 : -1;
}

static ssize_t flush_out(struct conn *conn)
{
	struct iovec iov = {conn->out.data + conn->out_at, conn->out.len - conn->out_at};
	ssize_t n = write_some(conn, &iov, 1);

	if (n > 0)
		conn->out_at += (size_t)n;
	if (conn->out_at == conn->out.len) {
		kiln__buf_done(&conn->out);
		conn->out_at = 0;
	}
	return n;
}

static ssize_t flush_data(struct conn *conn)
{
	struct iovec iov[2] = {
		{conn->data.head + conn->data.head_at, KILN__FRAME_DATA_HEAD - conn->data.head_at},
		{(void *)(uintptr_t)(conn->data.bytes + conn->data.at),
		 conn->data.len - conn->data.at},
	};
	ssize_t n = write_some(conn, iov, 2);
	size_t head;

	if (n <= 0)
		return n;
	head = (size_t)n < iov[0].iov_len ? (size_t)n : iov[0].iov_len;
	conn->data.head_at += head;
	conn->data.at += (size_t)n - head;
	if (conn->data.head_at == KILN__FRAME_DATA_HEAD && conn->data.at == conn->data.len) {
		conn->data.active = false;
		session_sent(conn->session, conn->data.stream, conn->data.len);
	}
	return n;
}

/* Sends one piece of whatever is next. 1: go on; 0: blocked or nothing to send; -1: gone. */
static int flush_step(struct conn *conn)
{
	ssize_t n;

	if (conn->out.failed)
		return -1;
	if (conn->data.active)
		n = flush_data(conn);
	else if (conn->out.len > 0)
		n = flush_out(conn);
	else if (conn->session && session_next_frame(conn->session, conn))
		return 1;
	else
		return 0;
	return n > 0 ? 1 : (int)n;
}

void conn_flush(struct conn *conn)
{
	uint32_t wanted = EPOLLIN;
	int r;

	if (conn->dead || conn->connecting)
		return;
	do {
		r = flush_step(conn);
	} while (r > 0);
	if (r < 0) {
		conn_close(conn);
		return;
	}
	if (conn->data.active || conn->out.len > 0)
		wanted |= EPOLLOUT;
	else if (conn->ending)
		shutdown(conn->source.fd,
			 SHUT_WR); /* and wait for the host to close, lest the last frame be lost */
	if (conn->out.len - conn->out_at > OUT_ENOUGH)
		wanted &= ~(uint32_t)EPOLLIN;
	source_want(&conn->agent->loop, &conn->source, wanted);
}

/* --- receiving --------------------------------------------------------------------- */

static void on_hello(struct conn *conn, const struct kiln__frame *frame)
{
	struct kiln__agent_hello own = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
	};
	struct kiln__agent_hello hello;
	kiln_error err;

	if (frame->type != KILN__AGENT_HELLO) {
		kiln__fail(&err, KILN_EPROTO, "the connection does not begin with a hello");
		conn_fail(conn, &err);
		return;
	}
	if (kiln__record_unpack(&kiln__agent_hello_record, frame->body, frame->len, &hello, &err) <
	    0) {
		conn_fail(conn, &err);
		return;
	}
	conn->version = kiln__agent_agree(&own, &hello);
	if (!conn->version) {
		kiln__fail(&err, KILN_ENOTSUP,
			   "the agent speaks protocol versions %#x to %#x, the host %#x to %#x",
			   own.version_min, own.version_max, hello.version_min, hello.version_max);
		conn_fail(conn, &err);
	}
}

static void on_frame(struct conn *conn, const struct kiln__frame *frame)
{
	if (!conn->version)
		on_hello(conn, frame);
	else if (conn->session && session_frame(conn->session, conn, frame))
		return;
	else
		agent_request(conn->agent, conn, frame);
}

static void on_bytes(struct conn *conn, const uint8_t *bytes, size_t len)
{
	struct kiln__frame frame;
	kiln_error err;
	bool whole;

	while (len > 0 && !conn->dead && !conn->ending) {
		int64_t n = kiln__frame_read(&conn->reader, bytes, len, &frame, &whole, &err);

		if (n < 0) {
			conn_fail(conn, &err);
			return;
		}
		bytes += n;
		len -= (size_t)n;
		if (whole)
			on_frame(conn, &frame);
	}
}

static void on_readable(struct conn *conn)
{
	static uint8_t bytes[64 * 1024]; /* one for all: it is empty between events */
	ssize_t n = recv(conn->source.fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n > 0)
		on_bytes(conn, bytes, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		conn_close(conn);
}

/* The connection to the boot port is made, or is not. */
static void on_connected(struct conn *conn)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(conn->source.fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		conn_close(conn);
		return;
	}
	conn->connecting = false;
	send_hello(conn);
}

static void conn_event(void *data, uint32_t events)
{
	struct conn *conn = data;

	conn->busy++;
	if (conn->connecting)
		on_connected(conn);
	else if (events & ~(uint32_t)EPOLLOUT)
		on_readable(conn);
	conn_flush(conn);
	leave(conn);
}
