/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock connections: their state, credit, the bytes that wait for a slow user, and
 * struct kiln__stream on top.
 *
 * Towards the guest a connection holds no data: a write copies into the guest's
 * receive buffers, as far as there are any and the guest's credit goes, and takes
 * no more. From the guest, bytes go straight to the user's on_data; what that
 * leaves is held, in a buffer that exists only then and that the guest cannot make
 * larger than the credit it was given. Consuming gives credit back.
 *
 * A connection is freed when its user has closed it, no callback of it is on the
 * stack, and the guest need not be told anything any more: maybe_free() decides,
 * and is called at the end of whatever may have changed one of these.
 */
#include "vsock_conn.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>

#define BIT(op) (1u << (op))

/* This side's ports of connections that it begins: 2^31 and up, away from those with a meaning. */
#define PORT_FIRST 0x80000000u

/* --- the table ---------------------------------------------------------------- */

static struct kiln__vsock_conn **bucket(struct kiln__vsock *vsock, uint32_t local_port,
					uint32_t peer_port)
{
	uint64_t key = ((uint64_t)local_port << 32 | peer_port) ^ vsock->seed;

	key *= 0x9e3779b97f4a7c15U; /* 2^64 over the golden ratio: mixes the high bits */
	return &vsock->buckets[key >> 56];
}

struct kiln__vsock_conn *kiln__vsock_conn_find(struct kiln__vsock *vsock, uint32_t local_port,
					       uint32_t peer_port)
{
	struct kiln__vsock_conn *conn = *bucket(vsock, local_port, peer_port);

	while (conn && (conn->local_port != local_port || conn->peer_port != peer_port))
		conn = conn->hash_next;
	return conn;
}

static void unhash(struct kiln__vsock_conn *conn)
{
	struct kiln__vsock_conn **at = bucket(conn->vsock, conn->local_port, conn->peer_port);

	while (*at != conn)
		at = &(*at)->hash_next;
	*at = conn->hash_next;
	conn->hash_next = NULL;
}

static const struct kiln__stream_ops stream_ops;

struct kiln__vsock_conn *kiln__vsock_conn_new(struct kiln__vsock *vsock, uint32_t local_port,
					      uint32_t peer_port, enum kiln__vsock_state state)
{
	struct kiln__vsock_conn **at = bucket(vsock, local_port, peer_port);
	struct kiln__vsock_conn *conn;
	uint32_t left = 0;

	bool of_guest = state == KILN__VSOCK_ACCEPTING;

	if (vsock->conn_count == KILN__VSOCK_MAX_CONNS ||
	    (of_guest && vsock->guest_count == KILN__VSOCK_MAX_GUEST_CONNS))
		return NULL;
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return NULL;
	if (vsock->credit_given < KILN__VSOCK_BUDGET)
		left = (KILN__VSOCK_BUDGET - vsock->credit_given) / 8;
	if (left > KILN__VSOCK_SHARE_MAX)
		left = KILN__VSOCK_SHARE_MAX;
	if (left < KILN__VSOCK_SHARE_MIN)
		left = KILN__VSOCK_SHARE_MIN;
	conn->buf_alloc = left;
	conn->stream.ops = &stream_ops;
	conn->vsock = vsock;
	conn->state = state;
	conn->local_port = local_port;
	conn->peer_port = peer_port;
	conn->hash_next = *at;
	*at = conn;
	kiln__list_append(&vsock->conns, &conn->all);
	kiln__list_init(&conn->sending);
	kiln__list_init(&conn->writing);
	conn->of_guest = of_guest;
	vsock->guest_count += of_guest;
	vsock->conn_count++;
	vsock->credit_given += conn->buf_alloc;
	return conn;
}

/* Frees the connection if nobody needs it any more; false then. */
static bool maybe_free(struct kiln__vsock_conn *conn)
{
	if (!conn->user_gone || conn->calls || conn->pending || conn->state != KILN__VSOCK_FINISHED)
		return true;
	kiln__list_remove(&conn->all);
	kiln__list_remove(&conn->sending);
	kiln__list_remove(&conn->writing);
	if (conn->vsock) {
		conn->vsock->conn_count--;
		conn->vsock->guest_count -= conn->of_guest;
		conn->vsock->credit_given -= conn->buf_alloc;
	}
	free(conn->held);
	free(conn);
	return false;
}

/* The guest knows it no more, or is about to be told. What is held stays. */
static void finish(struct kiln__vsock_conn *conn)
{
	if (conn->state == KILN__VSOCK_FINISHED)
		return;
	unhash(conn);
	conn->state = KILN__VSOCK_FINISHED;
	kiln__vsock_clear_deadline(conn);
	conn->pending = 0;
	kiln__list_remove(&conn->sending);
	kiln__list_remove(&conn->writing);
}

static void enter(struct kiln__vsock_conn *conn)
{
	conn->calls++;
}

static bool leave(struct kiln__vsock_conn *conn)
{
	conn->calls--;
	return maybe_free(conn);
}

/* --- control packets ------------------------------------------------------------- */

/* Sends what is pending, in the order that the protocol needs; false if buffers ran out. */
static bool send_pending(struct kiln__vsock_conn *conn)
{
	static const enum kiln__vsock_op order[] = {
		KILN__VSOCK_REQUEST,        KILN__VSOCK_RESPONSE, KILN__VSOCK_CREDIT_UPDATE,
		KILN__VSOCK_CREDIT_REQUEST, KILN__VSOCK_SHUTDOWN, KILN__VSOCK_RST,
	};

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		enum kiln__vsock_op op = order[i];
		uint32_t flags = op == KILN__VSOCK_SHUTDOWN ? conn->local_shutdown : 0;

		if (!(conn->pending & BIT(op)))
			continue;
		if (kiln__vsock_send(conn->vsock, conn, op, flags, NULL, 0) < 0)
			return false;
		conn->pending &= ~BIT(op);
	}
	return true;
}

/* Sends a control packet now, or when there is a buffer for it. Does not free. */
static void control(struct kiln__vsock_conn *conn, enum kiln__vsock_op op)
{
	conn->pending |= BIT(op);
	if (kiln__list_empty(&conn->sending) && !send_pending(conn))
		kiln__list_append(&conn->vsock->senders, &conn->sending);
}

bool kiln__vsock_conn_flush(struct kiln__vsock_conn *conn)
{
	kiln__list_remove(&conn->sending);
	if (!send_pending(conn)) {
		kiln__list_append(&conn->vsock->senders, &conn->sending);
		return false;
	}
	maybe_free(conn);
	return true;
}

/* Ends the connection with a RST. */
static void finish_with_rst(struct kiln__vsock_conn *conn)
{
	finish(conn);
	control(conn, KILN__VSOCK_RST);
}

/* --- towards the user --------------------------------------------------------------- */

/* Gives the guest credit for what was consumed, before it runs dry but not for each packet. */
static void return_credit(struct kiln__vsock_conn *conn)
{
	if (conn->state == KILN__VSOCK_OPEN && !(conn->peer_shutdown & KILN__VSOCK_NO_SEND) &&
	    conn->fwd_cnt - conn->told_fwd_cnt >= conn->buf_alloc / 4)
		control(conn, KILN__VSOCK_CREDIT_UPDATE);
}

static size_t held_len(const struct kiln__vsock_conn *conn)
{
	return conn->held_end - conn->held_at;
}

static void drop_held(struct kiln__vsock_conn *conn)
{
	free(conn->held);
	conn->held = NULL;
	conn->held_at = conn->held_end = conn->held_cap = 0;
}

/* Keeps bytes until they are wanted. Never more than buf_alloc in all: credit was checked. */
static int hold(struct kiln__vsock_conn *conn, const unsigned char *bytes, size_t len)
{
	size_t have = held_len(conn);
	size_t cap = conn->held_cap ? conn->held_cap : 4096;
	unsigned char *larger;

	if (have + len > conn->held_cap) {
		while (cap < have + len)
			cap *= 2;
		larger = malloc(cap);
		if (!larger)
			return KILN_ENOMEM;
		if (have)
			memcpy(larger, conn->held + conn->held_at, have);
		free(conn->held);
		conn->held = larger;
		conn->held_cap = cap;
		conn->held_at = 0;
		conn->held_end = have;
	} else if (conn->held_end + len > conn->held_cap) {
		memmove(conn->held, conn->held + conn->held_at, have);
		conn->held_at = 0;
		conn->held_end = have;
	}
	memcpy(conn->held + conn->held_end, bytes, len);
	conn->held_end += len;
	return 0;
}

/* One on_data; returns how much of it the user took. */
static size_t offer(struct kiln__vsock_conn *conn, const unsigned char *bytes, size_t len)
{
	size_t n;

	conn->delivering = true;
	conn->resumed = false;
	n = conn->stream.handler->on_data(conn->stream.handler_data, bytes, len);
	conn->delivering = false;
	if (n < len && !conn->resumed)
		conn->paused = true;
	conn->fwd_cnt += (uint32_t)n;
	return n;
}

static void tell_end(struct kiln__vsock_conn *conn)
{
	const struct kiln__stream_handler *handler = conn->stream.handler;
	kiln_error err;

	if ((conn->peer_shutdown & KILN__VSOCK_NO_SEND) && !conn->eof_told) {
		conn->eof_told = true;
		if (handler->on_eof)
			handler->on_eof(conn->stream.handler_data);
	}
	if (conn->user_gone || !conn->failure || conn->failure_told)
		return;
	conn->failure_told = true;
	kiln__fail(&err, conn->failure, "vsock connection lost: %s", conn->failure_text);
	handler->on_error(conn->stream.handler_data, &err);
}

/*
 * Gives the user what is due: held bytes, then the end of file, then the failure.
 * May free the connection; false then.
 */
static bool deliver(struct kiln__vsock_conn *conn)
{
	if (!conn->started || conn->delivering || conn->user_gone)
		return maybe_free(conn);
	enter(conn);
	while (!conn->paused && !conn->user_gone && held_len(conn) > 0) {
		size_t n = offer(conn, conn->held + conn->held_at, held_len(conn));

		if (!conn->user_gone)
			conn->held_at += n;
	}
	if (conn->user_gone || held_len(conn) == 0)
		drop_held(conn);
	if (!conn->user_gone && !conn->held)
		tell_end(conn);
	if (!conn->user_gone)
		return_credit(conn);
	return leave(conn);
}

void kiln__vsock_conn_writable(struct kiln__vsock_conn *conn)
{
	if (!conn->want_write || conn->user_gone)
		return;
	conn->want_write = false;
	kiln__list_remove(&conn->writing);
	enter(conn);
	if (conn->stream.handler && conn->stream.handler->on_writable)
		conn->stream.handler->on_writable(conn->stream.handler_data);
	leave(conn);
}

/* The answer to kiln__vsock_connect() is no; nobody has the stream. */
static void fail_connect(struct kiln__vsock_conn *conn, int code, const char *text)
{
	kiln__vsock_connected_fn connected = conn->connected;
	kiln_error err;

	conn->connected = NULL;
	conn->user_gone = true;
	kiln__fail(&err, code, "cannot connect to the guest's port %u: %s", conn->peer_port, text);
	enter(conn);
	connected(conn->connected_data, NULL, &err);
	leave(conn);
}

/*
 * The other side, or the whole device, is gone: the user learns it after what is held, but if it
 * waits to write, at once, by the write that fails.
 */
static void fail(struct kiln__vsock_conn *conn, int code, const char *text)
{
	if (conn->connected) {
		fail_connect(conn, code, text);
		return;
	}
	if (!conn->failure) {
		conn->failure = code;
		conn->failure_text = text;
	}
	enter(conn);
	kiln__vsock_conn_writable(conn);
	if (leave(conn))
		deliver(conn);
}

void kiln__vsock_conn_abort(struct kiln__vsock_conn *conn, int code, const char *text)
{
	finish_with_rst(conn);
	fail(conn, code, text);
}

void kiln__vsock_conn_end_all(struct kiln__vsock *vsock, int code, const char *text)
{
	struct kiln__list ended;
	struct kiln__list *link;

	/* All are ended before the first handler runs, which may close any of them. */
	kiln__list_foreach (at, &vsock->conns) {
		struct kiln__vsock_conn *conn = kiln__list_entry(at, struct kiln__vsock_conn, all);

		if (conn->state != KILN__VSOCK_FINISHED) {
			finish(conn);
			if (!conn->failure) {
				conn->failure = code;
				conn->failure_text = text;
			}
		}
		conn->pending = 0;
		kiln__list_remove(&conn->sending);
	}
	kiln__list_init(&ended);
	while (!kiln__list_empty(&vsock->conns)) {
		link = vsock->conns.next;
		kiln__list_remove(link);
		kiln__list_append(&ended, link);
	}
	while (!kiln__list_empty(&ended)) {
		struct kiln__vsock_conn *conn =
			kiln__list_entry(ended.next, struct kiln__vsock_conn, all);

		kiln__list_remove(&conn->all);
		kiln__list_append(&vsock->conns, &conn->all);
		if (conn->failure)
			fail(conn, conn->failure, conn->failure_text);
		else
			maybe_free(conn);
	}
}

void kiln__vsock_conn_expired(struct kiln__vsock_conn *conn)
{
	kiln__vsock_clear_deadline(conn);
	if (conn->state == KILN__VSOCK_CONNECTING || conn->state == KILN__VSOCK_CLOSING)
		kiln__vsock_conn_abort(conn, KILN_ETIMEDOUT, "the guest did not answer in time");
}

/* Its user is to be told when the guest has given receive buffers. */
static void wait_for_buffer(struct kiln__vsock_conn *conn)
{
	if (kiln__list_empty(&conn->writing))
		kiln__list_append(&conn->vsock->writers, &conn->writing);
}

void kiln__vsock_conn_offer(struct kiln__vsock_conn *conn)
{
	struct kiln__vsock *vsock = conn->vsock;
	bool taken;

	enter(conn);
	taken = vsock->accept(vsock->accept_data, conn->local_port, conn->peer_port, &conn->stream);
	if (!taken)
		conn->user_gone = true;
	if (conn->state == KILN__VSOCK_ACCEPTING) {
		if (taken) {
			conn->state = KILN__VSOCK_OPEN;
			control(conn, KILN__VSOCK_RESPONSE);
			if (conn->local_shutdown)
				control(conn, KILN__VSOCK_SHUTDOWN);
			if (!conn->pending)
				kiln__vsock_conn_writable(conn);
			else if (conn->want_write)
				wait_for_buffer(conn);
		} else {
			finish_with_rst(conn);
		}
	}
	leave(conn);
}

/* --- packets from the guest ------------------------------------------------------------ */

static uint32_t credit(const struct kiln__vsock_conn *conn)
{
	uint32_t in_flight = conn->tx_cnt - conn->peer_fwd_cnt;

	return in_flight < conn->peer_buf_alloc ? conn->peer_buf_alloc - in_flight : 0;
}

static void on_response(struct kiln__vsock_conn *conn)
{
	kiln__vsock_connected_fn connected = conn->connected;

	if (conn->state != KILN__VSOCK_CONNECTING) {
		kiln__vsock_conn_abort(conn, KILN_EPROTO, "the guest accepted it twice");
		return;
	}
	conn->state = KILN__VSOCK_OPEN;
	kiln__vsock_clear_deadline(conn);
	conn->connected = NULL;
	connected(conn->connected_data, &conn->stream, NULL);
}

static void on_rst(struct kiln__vsock_conn *conn)
{
	bool refused = conn->state == KILN__VSOCK_CONNECTING;

	finish(conn);
	/* Both directions had ended in order: the RST is what says that all is done. */
	if (!refused && (conn->peer_shutdown & KILN__VSOCK_NO_SEND) &&
	    (conn->local_shutdown & KILN__VSOCK_NO_SEND))
		deliver(conn);
	else if (refused)
		fail(conn, KILN_EIO, "connection refused");
	else
		fail(conn, KILN_EIO, "reset by the guest");
}

/*
 * 5.10.6.6: SHUTDOWN for both directions asks for a RST, which we send at once: all that
 * the guest had sent is here, and it need not wait until it is consumed.
 */
static void on_shutdown(struct kiln__vsock_conn *conn, uint32_t flags)
{
	if (conn->state == KILN__VSOCK_CONNECTING) {
		kiln__vsock_conn_abort(conn, KILN_EPROTO,
				       "the guest shut it down before it accepted");
		return;
	}
	conn->peer_shutdown |= flags & KILN__VSOCK_NO_BOTH;
	if (conn->peer_shutdown == KILN__VSOCK_NO_BOTH)
		finish_with_rst(conn);
	enter(conn);
	if (conn->peer_shutdown & KILN__VSOCK_NO_RECEIVE)
		kiln__vsock_conn_writable(conn); /* the write will fail: that is to be noticed */
	if (leave(conn))
		deliver(conn);
}

/* Copies payload out of guest memory, piece by piece, to the user or to what is held. */
static void receive(struct kiln__vsock_conn *conn, const struct kiln__chain *chain, uint32_t len)
{
	unsigned char *bounce = conn->vsock->bounce;
	size_t at = sizeof(struct kiln__vsock_header);
	size_t end = at + len;
	size_t n;
	size_t taken;

	while (at < end && conn->state == KILN__VSOCK_OPEN && !conn->user_gone) {
		n = end - at < KILN__VSOCK_CHUNK ? end - at : KILN__VSOCK_CHUNK;
		n = kiln__chain_read(chain, at, bounce, n);
		at += n;
		taken = 0;
		if (conn->started && !conn->paused && held_len(conn) == 0)
			taken = offer(conn, bounce, n);
		if (taken < n && !conn->user_gone && hold(conn, bounce + taken, n - taken) < 0)
			kiln__vsock_conn_abort(conn, KILN_ENOMEM, "out of memory");
	}
}

static void on_rw(struct kiln__vsock_conn *conn, const struct kiln__vsock_header *header,
		  const struct kiln__chain *chain)
{
	uint32_t under_way = conn->rx_cnt - conn->fwd_cnt;
	const char *fault = NULL;

	if (conn->state == KILN__VSOCK_CLOSING)
		return; /* sent before the guest saw that nobody reads any more */
	if (conn->state != KILN__VSOCK_OPEN)
		fault = "the guest sent data before it was open";
	else if (conn->peer_shutdown & KILN__VSOCK_NO_SEND)
		fault = "the guest sent data after its end";
	else if (header->len > chain->read_len - sizeof(*header))
		fault = "the guest sent less data than it said";
	else if (header->len > conn->buf_alloc - under_way)
		fault = "the guest sent more data than it had credit for";
	if (fault) {
		kiln__vsock_conn_abort(conn, KILN_EPROTO, fault);
		return;
	}
	if (!conn->vsock->bounce)
		conn->vsock->bounce = malloc(KILN__VSOCK_CHUNK);
	if (!conn->vsock->bounce) {
		kiln__vsock_conn_abort(conn, KILN_ENOMEM, "out of memory");
		return;
	}
	conn->rx_cnt += header->len;
	enter(conn);
	receive(conn, chain, header->len);
	if (leave(conn))
		deliver(conn);
}

void kiln__vsock_conn_packet(struct kiln__vsock_conn *conn, const struct kiln__vsock_header *header,
			     const struct kiln__chain *chain)
{
	conn->peer_buf_alloc = header->buf_alloc;
	conn->peer_fwd_cnt = header->fwd_cnt;
	enter(conn);
	switch (header->op) {
	case KILN__VSOCK_RESPONSE:
		on_response(conn);
		break;
	case KILN__VSOCK_RST:
		on_rst(conn);
		break;
	case KILN__VSOCK_SHUTDOWN:
		on_shutdown(conn, header->flags);
		break;
	case KILN__VSOCK_RW:
		on_rw(conn, header, chain);
		break;
	case KILN__VSOCK_CREDIT_UPDATE:
		break; /* every packet is one */
	case KILN__VSOCK_CREDIT_REQUEST:
		control(conn, KILN__VSOCK_CREDIT_UPDATE);
		break;
	default:
		kiln__vsock_conn_abort(conn, KILN_EPROTO, "the guest sent an unknown operation");
		break;
	}
	if (conn->state == KILN__VSOCK_OPEN && credit(conn) > 0) {
		conn->credit_asked = false;
		if (kiln__list_empty(&conn->writing))
			kiln__vsock_conn_writable(conn);
	}
	leave(conn);
}

/* --- the stream ---------------------------------------------------------------------------- */

static struct kiln__vsock_conn *conn_of(struct kiln__stream *stream)
{
	return (struct kiln__vsock_conn *)(void *)stream;
}

static ssize_t stream_write(struct kiln__stream *stream, const void *bytes, size_t len)
{
	struct kiln__vsock_conn *conn = conn_of(stream);
	const unsigned char *from = bytes;
	size_t done = 0;

	if (conn->local_shutdown & KILN__VSOCK_NO_SEND)
		return KILN_ESTATE;
	if (conn->state == KILN__VSOCK_FINISHED || (conn->peer_shutdown & KILN__VSOCK_NO_RECEIVE))
		return KILN_EIO;
	while (done < len && conn->state == KILN__VSOCK_OPEN) {
		size_t n = len - done;
		ssize_t sent;

		if (n > credit(conn))
			n = credit(conn);
		if (n == 0) {
			if (!conn->credit_asked)
				control(conn, KILN__VSOCK_CREDIT_REQUEST);
			conn->credit_asked = true;
			break;
		}
		/* Overtakes no control packet: while one waits, there is no buffer for this either.
		 */
		sent = kiln__vsock_send(conn->vsock, conn, KILN__VSOCK_RW, 0, from + done, n);
		if (sent < 0) {
			wait_for_buffer(conn);
			break;
		}
		conn->tx_cnt += (uint32_t)sent;
		done += (size_t)sent;
	}
	if (done < len)
		conn->want_write = true;
	return (ssize_t)done;
}

static void stream_shutdown(struct kiln__stream *stream)
{
	struct kiln__vsock_conn *conn = conn_of(stream);

	if (conn->local_shutdown & KILN__VSOCK_NO_SEND)
		return;
	conn->local_shutdown |= KILN__VSOCK_NO_SEND;
	conn->want_write = false;
	kiln__list_remove(&conn->writing);
	if (conn->state == KILN__VSOCK_OPEN)
		control(conn, KILN__VSOCK_SHUTDOWN);
}

static void stream_resume(struct kiln__stream *stream)
{
	struct kiln__vsock_conn *conn = conn_of(stream);

	conn->started = true;
	conn->paused = false;
	conn->resumed = true;
	deliver(conn);
}

static void stream_close(struct kiln__stream *stream)
{
	struct kiln__vsock_conn *conn = conn_of(stream);

	conn->user_gone = true;
	conn->want_write = false;
	kiln__list_remove(&conn->writing);
	/* While on_data is on the stack it may be looking at what is held. */
	if (!conn->delivering)
		drop_held(conn);
	switch (conn->state) {
	case KILN__VSOCK_ACCEPTING:
		finish_with_rst(conn);
		break;
	case KILN__VSOCK_OPEN:
		conn->state = KILN__VSOCK_CLOSING;
		conn->local_shutdown = KILN__VSOCK_NO_BOTH;
		kiln__vsock_set_deadline(conn, KILN__VSOCK_CLOSE_MS);
		control(conn, KILN__VSOCK_SHUTDOWN);
		break;
	case KILN__VSOCK_CONNECTING: /* nobody has the stream yet */
	case KILN__VSOCK_CLOSING:
	case KILN__VSOCK_FINISHED:
		break;
	}
	maybe_free(conn);
}

static const struct kiln__stream_ops stream_ops = {
	.write = stream_write,
	.shutdown = stream_shutdown,
	.resume = stream_resume,
	.close = stream_close,
};

/* A port of ours that has no connection with @peer_port yet. There are more ports than connections.
 */
static uint32_t free_port(struct kiln__vsock *vsock, uint32_t peer_port)
{
	do {
		vsock->next_port++;
		if (vsock->next_port < PORT_FIRST ||
		    vsock->next_port == UINT32_MAX) /* VMADDR_PORT_ANY */
			vsock->next_port = PORT_FIRST;
	} while (kiln__vsock_conn_find(vsock, vsock->next_port, peer_port));
	return vsock->next_port;
}

void kiln__vsock_connect(struct kiln__vsock *vsock, uint32_t port, kiln__vsock_connected_fn done,
			 void *data)
{
	struct kiln__vsock_conn *conn = NULL;
	kiln_error err;

	if (!vsock->driver_seen || vsock->virtio.broken) {
		kiln__fail(&err, KILN_ESTATE, "the guest's vsock driver has not started");
	} else if (vsock->conn_count == KILN__VSOCK_MAX_CONNS) {
		kiln__fail(&err, KILN_EBUSY, "more than %d vsock connections",
			   KILN__VSOCK_MAX_CONNS);
	} else {
		conn = kiln__vsock_conn_new(vsock, free_port(vsock, port), port,
					    KILN__VSOCK_CONNECTING);
		if (!conn)
			kiln__fail_nomem(&err);
	}
	if (!conn) {
		done(data, NULL, &err);
		return;
	}
	conn->connected = done;
	conn->connected_data = data;
	kiln__vsock_set_deadline(conn, KILN__VSOCK_CONNECT_MS);
	control(conn, KILN__VSOCK_REQUEST);
}

uint32_t kiln__vsock_local_port(const struct kiln__stream *stream)
{
	return ((const struct kiln__vsock_conn *)(const void *)stream)->local_port;
}
