/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device between a guest that sends any packet and a host whose users do
 * anything with their streams. Input: a byte for the features, then steps: a code and its
 * arguments. Checked besides memory errors: no stream gets data after its end, the
 * device never sends beyond the guest's credit, and all of it is freed in the end.
 */
#include "loop.h"
#include "vsock_conn.h"
#include "vsock_guest.h"

#include <stdlib.h>
#include <string.h>

#define STREAMS   8
#define MAX_STEPS 400

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct user {
	struct kiln__stream *stream;
	bool connecting;
	bool ended;
	uint8_t mood; /* what it does with data */
};

static struct {
	kiln_loop *loop;
	struct kiln__vsock *vsock;
	struct vsock_guest guest;
	struct user users[STREAMS];
	const uint8_t *at;
	const uint8_t *end;
	uint32_t ports[4]; /* of the host, that the guest knows */
	unsigned port_at;
	bool odd; /* the guest has put up receive buffers that are not as its driver makes them */
} f;

static unsigned char payload[65536];

static uint8_t next(void)
{
	return f.at < f.end ? *f.at++ : 0;
}

static void close_user(struct user *user)
{
	struct kiln__stream *stream = user->stream;

	user->stream = NULL;
	kiln__stream_close(stream);
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct user *user = data;
	volatile unsigned char sink = 0;

	if (user->ended || !user->stream || len == 0)
		abort();
	for (size_t i = 0; i < len; i += 512)
		sink = (unsigned char)(sink + ((const unsigned char *)bytes)[i]);
	switch (user->mood & 7) {
	case 0:
		return 0;
	case 1:
		return len / 2;
	case 2:
		close_user(user);
		return len;
	case 3:
		kiln__stream_resume(user->stream);
		return len > 1000 ? 1000 : len; /* resumed, so asked again until all is gone */
	case 4:
		kiln__stream_write(user->stream, payload, len);
		return len;
	case 5: /* close another */
		close_user(&f.users[user->mood >> 5]);
		return len;
	default:
		return len;
	}
}

static void on_eof(void *data)
{
	struct user *user = data;

	if (user->ended)
		abort();
	user->ended = true;
	if (user->mood & 8)
		close_user(user);
}

static void on_writable(void *data)
{
	struct user *user = data;

	if (user->mood & 16)
		kiln__stream_write(user->stream, payload, 3000);
	else if (user->mood & 32)
		close_user(user);
}

static void on_error(void *data, const kiln_error *err)
{
	struct user *user = data;

	if (err->code >= 0)
		abort();
	user->ended = true;
	if (user->mood & 64)
		close_user(user);
}

static const struct kiln__stream_handler handler = {
	.on_data = on_data, .on_eof = on_eof, .on_writable = on_writable, .on_error = on_error};

static void take(struct user *user, struct kiln__stream *stream)
{
	user->stream = stream;
	user->ended = false;
	kiln__stream_set_handler(stream, &handler, user);
	if (user->mood & 128)
		kiln__stream_resume(stream);
}

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct user *user = data;

	if (!user->connecting || !stream != (err != NULL))
		abort();
	user->connecting = false;
	if (stream)
		take(user, stream);
}

static bool on_accept(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	(void)data;
	(void)from;
	for (unsigned i = 0; i < STREAMS; i++) {
		struct user *user = &f.users[(port + i) % STREAMS];

		if (!user->stream && !user->connecting) {
			take(user, stream);
			return true;
		}
	}
	return false;
}

/* --- the guest's steps --------------------------------------------------------------- */

static void drain(unsigned count)
{
	struct vsock_packet packet;
	uint32_t len;

	/* Odd buffers are taken back unread. */
	while (f.odd && count > 0 && vring_take(&f.guest.rx, &len) >= 0)
		count--;
	while (!f.odd && count-- > 0 && vsock_guest_receive(&f.guest, &packet, false)) {
		if (packet.header.op == KILN__VSOCK_REQUEST)
			f.ports[f.port_at++ % 4] = packet.header.src_port;
		if (packet.header.op < KILN__VSOCK_REQUEST ||
		    packet.header.op > KILN__VSOCK_CREDIT_REQUEST)
			abort();
	}
}

static void guest_sends(void)
{
	uint8_t what = next();
	uint8_t flags = next();
	struct kiln__vsock_header header = vsock_guest_header(
		what >> 6, flags & 64 ? f.ports[flags & 3] : flags & 3, what & 7);
	size_t len = 0;

	header.flags = flags >> 2 & 3;
	if (flags & 16)
		header.buf_alloc = (uint32_t)next() << 8;
	if (flags & 32)
		header.fwd_cnt = (uint32_t)next() << 6;
	if ((what & 7) == KILN__VSOCK_RW)
		len = (size_t)next() << (flags & 128 ? 8 : 1);
	if (what & 8)
		header.type = next();
	if (what & 16)
		header.dst_cid = next();
	vsock_guest_send(&f.guest, &header, payload, len);
}

/* A packet whose chain is odd: too short, in the wrong direction, with a false length. */
static void guest_sends_oddly(void)
{
	struct kiln__vsock_header header = vsock_guest_header(1, f.ports[0], KILN__VSOCK_RW);
	uint64_t at = f.guest.tx_gpa + (uint64_t)f.guest.tx.free_head * (65536 + 64);
	uint8_t shape = next();
	struct vring_part parts[3] = {{at, 44}, {at + 44, next()}, {at + 300, next()}};

	unsigned out = shape >> 2 & 1;
	unsigned in = shape >> 3 & 1;

	if (shape & 1)
		parts[0].len = next();
	if (shape & 2)
		f.odd = true;
	header.len = next();
	memcpy(f.guest.memory + at, &header, sizeof(header));
	if (vring_add(shape & 2 ? &f.guest.rx : &f.guest.tx, parts, 1 + out - in, 2 * in) >= 0)
		kiln__virtio_kick(f.guest.device, shape & 2 ? KILN__VSOCK_RX : KILN__VSOCK_TX);
}

static void guest_starts(uint64_t features)
{
	/* One memory for all runs: only what the rings hold matters, and they are cleared. */
	static unsigned char *memory;

	if (!memory)
		memory = calloc(1, GUEST_MEMORY);
	if (!memory)
		abort();
	vsock_guest_init_in(&f.guest, kiln__vsock_device(f.vsock), features, memory);
	vsock_guest_start(&f.guest);
	f.odd = false;
}

static void guest_restarts(void)
{
	kiln__virtio_reset(f.guest.device);
	guest_starts(KILN__VIRTIO_RING_FEATURES);
}

/* --- the host's ------------------------------------------------------------------------ */

static void host_acts(uint8_t what)
{
	struct user *user = &f.users[what & 7];

	if (!user->stream) {
		if (user->connecting)
			return;
		user->mood = next();
		user->connecting = true;
		kiln__vsock_connect(f.vsock, what >> 3 & 3, on_connected, user);
		return;
	}
	switch (what >> 3 & 7) {
	case 0:
		close_user(user);
		break;
	case 1:
		kiln__stream_shutdown(user->stream);
		break;
	case 2:
		user->mood = next();
		break;
	case 3:
		kiln__stream_write(user->stream, payload, (size_t)next() << 8);
		break;
	default:
		kiln__stream_resume(user->stream);
		break;
	}
}

/* As if the time of one connection were up. */
static void time_passes(void)
{
	kiln__list_foreach (link, &f.vsock->conns) {
		struct kiln__vsock_conn *conn =
			kiln__list_entry(link, struct kiln__vsock_conn, all);

		if (conn->deadline) {
			kiln__vsock_conn_expired(conn);
			return;
		}
	}
}

static void step(void)
{
	uint8_t code = next();

	switch (code & 15) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		guest_sends();
		break;
	case 5:
	case 6:
		vsock_guest_give_buffers(&f.guest, code >> 4);
		break;
	case 7:
	case 8:
		drain(code >> 4);
		break;
	case 9:
		guest_sends_oddly();
		break;
	case 10:
		kiln_loop_dispatch(f.loop);
		break;
	case 11:
		time_passes();
		break;
	case 12:
		if (code < 32)
			guest_restarts();
		else if (code < 64)
			kiln__vsock_transport_reset(f.vsock);
		else
			kiln__virtio_queue_stop(f.guest.device, code >> 6 & 1);
		break;
	case 13:
		if (!f.guest.device->queues[code >> 6 & 1].ready)
			kiln__virtio_queue_start(f.guest.device, code >> 6 & 1, &f.guest.gmem,
						 f.guest.device->queues[code >> 6 & 1].next_avail,
						 NULL);
		break;
	default:
		host_acts(next());
		break;
	}
}

static void check(void)
{
	unsigned count = 0;
	unsigned deadlines = 0;
	uint32_t credit = 0;

	kiln__list_foreach (link, &f.vsock->conns) {
		struct kiln__vsock_conn *conn =
			kiln__list_entry(link, struct kiln__vsock_conn, all);

		count++;
		deadlines += conn->deadline != 0;
		credit += conn->buf_alloc;
		if (conn->held_end - conn->held_at > conn->buf_alloc || conn->calls)
			abort();
		if (conn->rx_cnt - conn->fwd_cnt > conn->buf_alloc)
			abort();
	}
	if (deadlines != f.vsock->deadlines || count != f.vsock->conn_count ||
	    credit != f.vsock->credit_given)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (len < 2)
		return 0;
	memset(&f, 0, sizeof(f));
	f.at = bytes;
	f.end = bytes + len;
	if (kiln_loop_new(&f.loop, NULL) < 0 ||
	    kiln__vsock_new(&f.vsock, f.loop, GUEST_CID, NULL) < 0)
		abort();
	f.vsock->seed = 0; /* the same each time */
	kiln__vsock_listen(f.vsock, on_accept, NULL);
	guest_starts(next() & 1 ? KILN__VIRTIO_RING_FEATURES : KILN__VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < MAX_STEPS && f.at < f.end; i++) {
		step();
		check();
	}
	kiln__virtio_reset(f.guest.device);
	kiln__virtio_attach(f.guest.device, NULL, NULL);
	kiln__vsock_free(f.vsock);
	for (unsigned i = 0; i < STREAMS; i++)
		close_user(&f.users[i]);
	kiln_loop_free(f.loop);
	return 0;
}
