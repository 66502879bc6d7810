/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-vsock device: queues and packets. Connections are in vsock_conn.c.
 *
 * The transmit queue is worked off when it is kicked, a bounded number of packets a
 * round of the loop; kicks are off meanwhile. Packets to the guest go straight into
 * its receive buffers. When there are none ("starved") the driver is asked to kick
 * the receive queue, and until it does, control packets wait as bits of their
 * connections (senders), users as on_writable due (writers), RSTs to strangers in a
 * fixed ring. When that ring is full the transmit queue waits too (5.10.6.1), so
 * nothing here grows with what the guest does but the connections, which are counted.
 *
 * Trusts nothing of the guest: a packet is copied before it is looked at. A queue that
 * a driver cannot have made so breaks the device; a packet that breaks the protocol
 * only ends its connection; one from a foreign context id is dropped.
 *
 * No system calls but those of the transport's notifications and of the loop's timer.
 */
#include "err.h"
#include "le.h"
#include "os.h"
#include "vsock_conn.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROUND_PACKETS 256
#define ROUND_BYTES   ((size_t)1 << 20)

static void fail_device(struct kiln__vsock *vsock, unsigned queue)
{
	kiln__virtio_fail(&vsock->virtio, queue);
	/* Not from here: a user's write may be on the stack. */
	kiln__deferred_schedule(vsock->deferred);
}

/* --- to the guest ---------------------------------------------------------------- */

/* The next receive buffer; false if there is none: then a kick is asked for. */
static bool next_buffer(struct kiln__vsock *vsock, struct kiln__chain *ret_chain)
{
	struct kiln__queue *rx = &vsock->virtio.queues[KILN__VSOCK_RX];
	int r;

	if (vsock->starved || !kiln__virtio_usable(&vsock->virtio, KILN__VSOCK_RX)) {
		vsock->starved = true;
		return false;
	}
	do {
		r = kiln__queue_pop(rx, ret_chain);
	} while (r == 0 && kiln__queue_kicks_on(rx));
	if (r == 0)
		vsock->starved = true;
	if (r > 0 &&
	    (ret_chain->read_len || ret_chain->write_len <= sizeof(struct kiln__vsock_header))) {
		kiln__queue_break(rx, "a receive buffer that holds no packet");
		r = KILN_EPROTO;
	}
	if (r < 0)
		fail_device(vsock, KILN__VSOCK_RX);
	return r > 0;
}

/* Sends one packet (header in host byte order, its len still open). Returns the payload sent, -1 if
 * there is no buffer. */
static ssize_t send_packet(struct kiln__vsock *vsock, const struct kiln__vsock_header *header,
			   const void *bytes, size_t len)
{
	struct kiln__queue *rx = &vsock->virtio.queues[KILN__VSOCK_RX];
	struct kiln__vsock_header wire;
	struct kiln__chain chain;

	if (!next_buffer(vsock, &chain))
		return -1;
	if (len > chain.write_len - sizeof(wire))
		len = chain.write_len - sizeof(wire);
	wire = (struct kiln__vsock_header){
		.src_cid = KILN__LE64(header->src_cid),
		.dst_cid = KILN__LE64(vsock->guest_cid),
		.src_port = KILN__LE32(header->src_port),
		.dst_port = KILN__LE32(header->dst_port),
		.len = KILN__LE32((uint32_t)len),
		.type = KILN__LE16(header->type),
		.op = KILN__LE16(header->op),
		.flags = KILN__LE32(header->flags),
		.buf_alloc = KILN__LE32(header->buf_alloc),
		.fwd_cnt = KILN__LE32(header->fwd_cnt),
	};
	kiln__chain_write(&chain, 0, &wire, sizeof(wire));
	if (len)
		kiln__chain_write(&chain, sizeof(wire), bytes, len);
	kiln__queue_push(rx, chain.head, (uint32_t)(sizeof(wire) + len));
	kiln__virtio_notify(&vsock->virtio, KILN__VSOCK_RX);
	return (ssize_t)len;
}

ssize_t kiln__vsock_send(struct kiln__vsock *vsock, struct kiln__vsock_conn *conn,
			 enum kiln__vsock_op op, uint32_t flags, const void *bytes, size_t len)
{
	struct kiln__vsock_header header = {
		.src_cid = KILN__VSOCK_HOST_CID,
		.src_port = conn->local_port,
		.dst_port = conn->peer_port,
		.type = KILN__VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.flags = flags,
		.buf_alloc = conn->buf_alloc,
		.fwd_cnt = conn->fwd_cnt,
	};
	ssize_t sent = send_packet(vsock, &header, bytes, len);

	if (sent >= 0)
		conn->told_fwd_cnt = conn->fwd_cnt;
	return sent;
}

static bool send_reset(struct kiln__vsock *vsock, const struct kiln__vsock_reset *reset)
{
	struct kiln__vsock_header header = {
		.src_cid = reset->cid,
		.src_port = reset->local_port,
		.dst_port = reset->peer_port,
		.type = reset->type,
		.op = KILN__VSOCK_RST,
	};

	return send_packet(vsock, &header, NULL, 0) >= 0;
}

/* Answers a packet that belongs to no connection. There is room: tx processing saw to it. */
static void reset_stranger(struct kiln__vsock *vsock, const struct kiln__vsock_header *packet)
{
	struct kiln__vsock_reset reset = {
		.cid = packet->dst_cid,
		.local_port = packet->dst_port,
		.peer_port = packet->src_port,
		.type = packet->type,
	};
	unsigned at = (vsock->reset_at + vsock->reset_count) % KILN__VSOCK_MAX_RESETS;

	if (packet->op == KILN__VSOCK_RST)
		return; /* a RST is never answered */
	if (vsock->reset_count == 0 && send_reset(vsock, &reset))
		return;
	vsock->resets[at] = reset;
	vsock->reset_count++;
}

/* There are receive buffers again: whoever waited has a turn, in order. */
static void flush(struct kiln__vsock *vsock)
{
	while (vsock->reset_count > 0) {
		if (!send_reset(vsock, &vsock->resets[vsock->reset_at]))
			return;
		vsock->reset_at = (vsock->reset_at + 1) % KILN__VSOCK_MAX_RESETS;
		vsock->reset_count--;
	}
	while (!kiln__list_empty(&vsock->senders))
		if (!kiln__vsock_conn_flush(kiln__list_entry(vsock->senders.next,
							     struct kiln__vsock_conn, sending)))
			return;
	while (!vsock->starved && !kiln__list_empty(&vsock->writers)) {
		struct kiln__vsock_conn *conn =
			kiln__list_entry(vsock->writers.next, struct kiln__vsock_conn, writing);

		kiln__list_remove(&conn->writing);
		kiln__vsock_conn_writable(conn);
	}
}

/* --- from the guest ---------------------------------------------------------------- */

static void read_header(const struct kiln__chain *chain, struct kiln__vsock_header *ret)
{
	struct kiln__vsock_header wire;

	kiln__chain_read(chain, 0, &wire, sizeof(wire));
	*ret = (struct kiln__vsock_header){
		.src_cid = KILN__LE64(wire.src_cid),
		.dst_cid = KILN__LE64(wire.dst_cid),
		.src_port = KILN__LE32(wire.src_port),
		.dst_port = KILN__LE32(wire.dst_port),
		.len = KILN__LE32(wire.len),
		.type = KILN__LE16(wire.type),
		.op = KILN__LE16(wire.op),
		.flags = KILN__LE32(wire.flags),
		.buf_alloc = KILN__LE32(wire.buf_alloc),
		.fwd_cnt = KILN__LE32(wire.fwd_cnt),
	};
}

static void on_request(struct kiln__vsock *vsock, const struct kiln__vsock_header *packet)
{
	struct kiln__vsock_conn *conn = NULL;

	if (vsock->accept)
		conn = kiln__vsock_conn_new(vsock, packet->dst_port, packet->src_port,
					    KILN__VSOCK_ACCEPTING);
	if (!conn) {
		reset_stranger(vsock, packet);
		return;
	}
	conn->peer_buf_alloc = packet->buf_alloc;
	conn->peer_fwd_cnt = packet->fwd_cnt;
	kiln__vsock_conn_offer(conn);
}

static void on_packet(struct kiln__vsock *vsock, const struct kiln__chain *chain)
{
	struct kiln__vsock_header packet;
	struct kiln__vsock_conn *conn;

	read_header(chain, &packet);
	if (packet.src_cid != vsock->guest_cid)
		return; /* there is nobody of that name to answer to */
	if (packet.dst_cid != KILN__VSOCK_HOST_CID || packet.type != KILN__VSOCK_TYPE_STREAM) {
		reset_stranger(vsock, &packet);
		return;
	}
	conn = kiln__vsock_conn_find(vsock, packet.dst_port, packet.src_port);
	if (conn && packet.op == KILN__VSOCK_REQUEST)
		kiln__vsock_conn_abort(conn, KILN_EPROTO, "the guest asked for it again");
	else if (conn)
		kiln__vsock_conn_packet(conn, &packet, chain);
	else if (packet.op == KILN__VSOCK_REQUEST)
		on_request(vsock, &packet);
	else
		reset_stranger(vsock, &packet);
}

/* Takes the next packet; 0 if none, negative if the queue is broken. */
static int next_packet(struct kiln__vsock *vsock, struct kiln__chain *ret_chain)
{
	struct kiln__queue *tx = &vsock->virtio.queues[KILN__VSOCK_TX];
	int r;

	do {
		r = kiln__queue_pop(tx, ret_chain);
	} while (r == 0 && kiln__queue_kicks_on(tx));
	if (r > 0 &&
	    (ret_chain->write_len || ret_chain->read_len < sizeof(struct kiln__vsock_header))) {
		kiln__queue_break(tx, "a transmit buffer that holds no packet");
		r = KILN_EPROTO;
	}
	if (r < 0)
		fail_device(vsock, KILN__VSOCK_TX);
	return r;
}

static void process_tx(struct kiln__vsock *vsock)
{
	struct kiln__queue *tx = &vsock->virtio.queues[KILN__VSOCK_TX];
	struct kiln__chain chain;
	size_t bytes = 0;
	unsigned packets = 0;

	vsock->tx_stalled = false;
	kiln__queue_kicks_off(tx);
	while (kiln__virtio_usable(&vsock->virtio, KILN__VSOCK_TX)) {
		if (vsock->reset_count == KILN__VSOCK_MAX_RESETS) {
			vsock->tx_stalled = true;
			break;
		}
		if (packets++ == ROUND_PACKETS || bytes > ROUND_BYTES) {
			kiln__deferred_schedule(vsock->deferred); /* others have a turn */
			break;
		}
		if (next_packet(vsock, &chain) <= 0)
			break;
		on_packet(vsock, &chain);
		kiln__queue_push(tx, chain.head, 0);
		bytes += chain.read_len;
	}
	kiln__virtio_notify(&vsock->virtio, KILN__VSOCK_TX);
}

/* --- events --------------------------------------------------------------------------- */

static void send_event(struct kiln__vsock *vsock)
{
	struct kiln__queue *queue = &vsock->virtio.queues[KILN__VSOCK_EVENT];
	uint32_t event = KILN__LE32(KILN__VSOCK_EVENT_TRANSPORT_RESET);
	struct kiln__chain chain;
	int r;

	if (!vsock->event_due || !kiln__virtio_usable(&vsock->virtio, KILN__VSOCK_EVENT))
		return;
	do {
		r = kiln__queue_pop(queue, &chain);
	} while (r == 0 && kiln__queue_kicks_on(queue));
	if (r > 0 && (chain.read_len || chain.write_len < sizeof(event))) {
		kiln__queue_break(queue, "an event buffer that holds no event");
		r = KILN_EPROTO;
	}
	if (r < 0)
		fail_device(vsock, KILN__VSOCK_EVENT);
	if (r <= 0)
		return;
	kiln__chain_write(&chain, 0, &event, sizeof(event));
	kiln__queue_push(queue, chain.head, sizeof(event));
	vsock->event_due = false;
	kiln__virtio_notify(&vsock->virtio, KILN__VSOCK_EVENT);
}

void kiln__vsock_transport_reset(struct kiln__vsock *vsock)
{
	kiln__vsock_conn_end_all(vsock, KILN_EIO, "the transport was reset");
	vsock->reset_count = 0;
	vsock->event_due = true;
	send_event(vsock);
}

/* --- the device ------------------------------------------------------------------------- */

static struct kiln__vsock *vsock_of(struct kiln__virtio *dev)
{
	return (struct kiln__vsock *)(void *)dev;
}

/* 5.10.4: configuration space is the guest's context id. */
static void config_read(struct kiln__virtio *dev, uint32_t offset, void *bytes, uint32_t len)
{
	uint64_t cid = KILN__LE64(vsock_of(dev)->guest_cid);

	memcpy(bytes, (unsigned char *)&cid + offset, len);
}

static void rx_notified(struct kiln__vsock *vsock)
{
	vsock->starved = false;
	kiln__queue_kicks_off(&vsock->virtio.queues[KILN__VSOCK_RX]);
	flush(vsock);
	if (vsock->tx_stalled && vsock->reset_count < KILN__VSOCK_MAX_RESETS)
		process_tx(vsock);
}

static void notified(struct kiln__virtio *dev, unsigned queue)
{
	struct kiln__vsock *vsock = vsock_of(dev);

	if (dev->queues[KILN__VSOCK_RX].ready && dev->queues[KILN__VSOCK_TX].ready)
		vsock->driver_seen = true;
	switch (queue) {
	case KILN__VSOCK_RX:
		rx_notified(vsock);
		break;
	case KILN__VSOCK_TX:
		process_tx(vsock);
		break;
	case KILN__VSOCK_EVENT:
		send_event(vsock);
		break;
	}
}

static void reset(struct kiln__virtio *dev)
{
	struct kiln__vsock *vsock = vsock_of(dev);

	vsock->driver_seen = false;
	vsock->starved = true; /* until the receive queue is there */
	vsock->tx_stalled = false;
	vsock->event_due = false;
	vsock->reset_count = 0;
	kiln__vsock_conn_end_all(vsock, KILN_EDIED, "the guest's vsock driver has gone");
}

static void on_deferred(void *data)
{
	struct kiln__vsock *vsock = data;

	if (vsock->virtio.broken) {
		kiln__vsock_conn_end_all(vsock, KILN_EPROTO,
					 "the guest's vsock driver broke a queue");
		return;
	}
	if (!vsock->starved)
		flush(vsock);
	if (!vsock->tx_stalled)
		process_tx(vsock);
}

/* --- deadlines ------------------------------------------------------------------------------ */

static void arm_timer(struct kiln__vsock *vsock, uint64_t at, uint64_t now)
{
	if (kiln__timer_armed(vsock->timer) && vsock->timer_at <= at)
		return;
	vsock->timer_at = at;
	kiln__timer_start(vsock->timer, at > now ? at - now : 0);
}

void kiln__vsock_set_deadline(struct kiln__vsock_conn *conn, uint64_t ms)
{
	uint64_t now = kiln__loop_now(conn->vsock->loop);

	kiln__vsock_clear_deadline(conn);
	if (__builtin_add_overflow(now, ms, &conn->deadline))
		conn->deadline = UINT64_MAX;
	conn->vsock->deadlines++;
	arm_timer(conn->vsock, conn->deadline, now);
}

void kiln__vsock_clear_deadline(struct kiln__vsock_conn *conn)
{
	if (conn->deadline == 0)
		return;
	conn->deadline = 0;
	/* An idle device does not wake up to find that nothing is due. */
	if (--conn->vsock->deadlines == 0)
		kiln__timer_stop(conn->vsock->timer);
}

/* One connection whose time is up, or NULL; *ret_next is the earliest deadline of the others, 0 if
 * none. */
static struct kiln__vsock_conn *find_expired(struct kiln__vsock *vsock, uint64_t now,
					     uint64_t *ret_next)
{
	uint64_t next = 0;

	kiln__list_foreach (link, &vsock->conns) {
		struct kiln__vsock_conn *conn =
			kiln__list_entry(link, struct kiln__vsock_conn, all);

		if (conn->deadline && conn->deadline <= now)
			return conn;
		if (conn->deadline && (next == 0 || conn->deadline < next))
			next = conn->deadline;
	}
	*ret_next = next;
	return NULL;
}

static void on_timer(void *data)
{
	struct kiln__vsock *vsock = data;
	uint64_t now = kiln__loop_now(vsock->loop);
	struct kiln__vsock_conn *conn;
	uint64_t next = 0;

	/* From the beginning each time: the callback may have closed any of the others. */
	while ((conn = find_expired(vsock, now, &next)))
		kiln__vsock_conn_expired(conn);
	if (next)
		arm_timer(vsock, next, now);
}

/* --- making and freeing -------------------------------------------------------------- */

/* What the transports of other VMMs may choose: QEMU's virtio-mmio lets drivers have 1024. */
static const uint16_t queue_sizes[KILN__VSOCK_QUEUES] = {1024, 1024, 1024};

/* Stream sockets only: SEQPACKET (VIRTIO_VSOCK_F_SEQPACKET) is not offered, and its packets get a
 * RST. */
static const struct kiln__virtio_ops virtio_ops = {
	.name = "vsock",
	.id = KILN__VSOCK_DEVICE_ID,
	.queue_count = KILN__VSOCK_QUEUES,
	.queue_sizes = queue_sizes,
	.features = KILN__VIRTIO_RING_FEATURES,
	.config_size = sizeof(uint64_t),
	.config_read = config_read,
	.notified = notified,
	.reset = reset,
};

int kiln__vsock_new(struct kiln__vsock **ret, kiln_loop *loop, uint64_t guest_cid, kiln_error *err)
{
	struct kiln__vsock *vsock;
	int r;

	if (guest_cid < KILN__VSOCK_MIN_GUEST_CID || guest_cid > KILN__VSOCK_MAX_GUEST_CID)
		return kiln__fail(err, KILN_EINVAL, "vsock: impossible guest context id %" PRIu64,
				  guest_cid);
	vsock = calloc(1, sizeof(*vsock));
	if (!vsock)
		return kiln__fail_nomem(err);
	kiln__virtio_init(&vsock->virtio, &virtio_ops);
	kiln__list_init(&vsock->conns);
	kiln__list_init(&vsock->senders);
	kiln__list_init(&vsock->writers);
	vsock->loop = loop;
	vsock->guest_cid = guest_cid;
	vsock->starved = true;
	kiln__os_random(&vsock->seed, sizeof(vsock->seed));
	r = kiln__deferred_new(&vsock->deferred, loop, on_deferred, vsock, err);
	if (r == 0)
		r = kiln__timer_new(&vsock->timer, loop, on_timer, vsock, err);
	if (r < 0) {
		kiln__vsock_free(vsock);
		return r;
	}
	*ret = vsock;
	return 0;
}

void kiln__vsock_free(struct kiln__vsock *vsock)
{
	if (!vsock)
		return;
	kiln__vsock_conn_end_all(vsock, KILN_EDIED, "the device has gone");
	while (!kiln__list_empty(&vsock->conns)) {
		struct kiln__vsock_conn *conn =
			kiln__list_entry(vsock->conns.next, struct kiln__vsock_conn, all);

		kiln__list_remove(&conn->all);
		conn->vsock = NULL; /* its user's from here on */
	}
	kiln__virtio_done(&vsock->virtio);
	kiln__deferred_free(vsock->deferred);
	kiln__timer_free(vsock->timer);
	free(vsock->bounce);
	free(vsock);
}

struct kiln__virtio *kiln__vsock_device(struct kiln__vsock *vsock)
{
	return &vsock->virtio;
}

void kiln__vsock_listen(struct kiln__vsock *vsock, kiln__vsock_accept_fn accept, void *data)
{
	vsock->accept = accept;
	vsock->accept_data = data;
}
