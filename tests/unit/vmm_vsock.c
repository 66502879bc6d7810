/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock device against a driver in memory. */
#include "kiln_test.h"

#include "buf.h"
#include "vsock_conn.h"
#include "vsock_guest.h"

#include <stdlib.h>
#include <string.h>

#define GUEST_PORT 700
#define HOST_PORT  800
#define FEATURES   KILN__VIRTIO_RING_FEATURES

struct fixture {
	kiln_loop *loop;
	struct kiln__vsock *vsock;
	struct vsock_guest guest;
	uint32_t host_port; /* of the last connection made by open_from_host() */
};

/* The user of a stream: keeps what comes, and takes as much at once as it is allowed. */
struct user {
	struct kiln__stream *stream;
	struct kiln__buf got;
	size_t allowance; /* bytes it still takes */
	unsigned writable;
	unsigned eof;
	unsigned errors;
	int code;
	bool close_in_data;
	bool close_in_eof;
	bool resume_in_data;
};

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct user *user = data;

	assert_int_equal(user->eof, 0);
	assert_int_equal(user->errors, 0);
	if (user->close_in_data) {
		kiln__stream_close(user->stream);
		user->stream = NULL;
		return len;
	}
	if (user->resume_in_data && len > 1) {
		len = 1;
		kiln__stream_resume(user->stream);
	}
	if (len > user->allowance)
		len = user->allowance;
	user->allowance -= len;
	kiln__buf_add(&user->got, bytes, len);
	return len;
}

static void on_eof(void *data)
{
	struct user *user = data;

	user->eof++;
	if (user->close_in_eof) {
		kiln__stream_close(user->stream);
		user->stream = NULL;
	}
}

static void on_writable(void *data)
{
	struct user *user = data;

	user->writable++;
}

static void on_error(void *data, const kiln_error *err)
{
	struct user *user = data;

	user->errors++;
	user->code = err->code;
}

static const struct kiln__stream_handler handler = {
	.on_data = on_data, .on_eof = on_eof, .on_writable = on_writable, .on_error = on_error};

static void user_done(struct user *user)
{
	kiln__stream_close(user->stream);
	kiln__buf_done(&user->got);
}

static void set_up_with(struct fixture *f, uint64_t features)
{
	kiln_error err;

	memset(f, 0, sizeof(*f));
	kiln_ok(kiln_loop_new(&f->loop, &err), &err);
	kiln_ok(kiln__vsock_new(&f->vsock, f->loop, GUEST_CID, &err), &err);
	vsock_guest_init(&f->guest, kiln__vsock_device(f->vsock), features);
	vsock_guest_start(&f->guest);
}

static void set_up(struct fixture *f)
{
	set_up_with(f, FEATURES);
	vsock_guest_give_buffers(&f->guest, GUEST_RING);
}

static void tear_down(struct fixture *f)
{
	vsock_guest_done(&f->guest);
	kiln__vsock_free(f->vsock);
	kiln_loop_free(f->loop);
}

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct user *user = data;

	assert_null(user->stream);
	assert_int_equal(user->code, 0);
	user->stream = stream;
	if (stream)
		kiln__stream_set_handler(stream, &handler, user);
	else
		user->code = err->code;
}

/* The next packet to the guest, which must be of this operation. */
static struct vsock_packet expect(struct fixture *f, uint16_t op)
{
	struct vsock_packet packet;

	assert_true(vsock_guest_receive(&f->guest, &packet, true));
	assert_int_equal(packet.header.op, op);
	assert_int_equal(packet.header.src_cid, KILN__VSOCK_HOST_CID);
	assert_int_equal(packet.header.dst_cid, GUEST_CID);
	return packet;
}

static void expect_nothing(struct fixture *f)
{
	struct vsock_packet packet;

	assert_false(vsock_guest_receive(&f->guest, &packet, true));
}

static void send_op(struct fixture *f, uint32_t host_port, uint16_t op, uint32_t flags)
{
	struct kiln__vsock_header header = vsock_guest_header(GUEST_PORT, host_port, op);

	header.flags = flags;
	vsock_guest_send(&f->guest, &header, NULL, 0);
}

static void send_data(struct fixture *f, uint32_t host_port, const void *bytes, size_t len)
{
	struct kiln__vsock_header header =
		vsock_guest_header(GUEST_PORT, host_port, KILN__VSOCK_RW);

	vsock_guest_send(&f->guest, &header, bytes, len);
}

/* Credit that the guest gives: @fwd_cnt bytes consumed of a buffer of @buf_alloc. */
static void send_credit(struct fixture *f, uint32_t host_port, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	struct kiln__vsock_header header =
		vsock_guest_header(GUEST_PORT, host_port, KILN__VSOCK_CREDIT_UPDATE);

	header.buf_alloc = buf_alloc;
	header.fwd_cnt = fwd_cnt;
	vsock_guest_send(&f->guest, &header, NULL, 0);
}

static void open_from_host(struct fixture *f, struct user *user)
{
	struct vsock_packet packet;

	kiln__vsock_connect(f->vsock, GUEST_PORT, on_connected, user);
	packet = expect(f, KILN__VSOCK_REQUEST);
	assert_int_equal(packet.header.dst_port, GUEST_PORT);
	f->host_port = packet.header.src_port;
	send_op(f, f->host_port, KILN__VSOCK_RESPONSE, 0);
	assert_non_null(user->stream);
	assert_int_equal(kiln__vsock_local_port(user->stream), f->host_port);
}

static bool accept_it(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	struct user *user = data;

	assert_int_equal(port, HOST_PORT);
	assert_int_equal(from, GUEST_PORT);
	user->stream = stream;
	kiln__stream_set_handler(stream, &handler, user);
	return true;
}

static void open_from_guest(struct fixture *f, struct user *user)
{
	kiln__vsock_listen(f->vsock, accept_it, user);
	send_op(f, HOST_PORT, KILN__VSOCK_REQUEST, 0);
	expect(f, KILN__VSOCK_RESPONSE);
	assert_non_null(user->stream);
	f->host_port = HOST_PORT;
}

/* --- opening ------------------------------------------------------------------------- */

static void impossible_context_ids_are_refused(void **state)
{
	static const uint64_t cids[] = {0, 1, 2, 0xffffffffULL, 0x100000003ULL};
	struct kiln__vsock *vsock;
	kiln_loop *loop;

	(void)state;
	assert_int_equal(kiln_loop_new(&loop, NULL), 0);
	for (size_t i = 0; i < sizeof(cids) / sizeof(cids[0]); i++)
		assert_int_equal(kiln__vsock_new(&vsock, loop, cids[i], NULL), KILN_EINVAL);
	kiln_loop_free(loop);
}

static void configuration_space_is_the_context_id(void **state)
{
	struct fixture f;
	uint64_t cid = 0;
	uint8_t high[4];

	(void)state;
	set_up(&f);
	assert_int_equal(kiln__virtio_config_read(f.guest.device, 0, &cid, 8, NULL), 0);
	assert_int_equal(cid, GUEST_CID);
	assert_int_equal(kiln__virtio_config_read(f.guest.device, 4, high, 4, NULL), 0);
	assert_int_equal(kiln__virtio_config_read(f.guest.device, 4, high, 5, NULL), KILN_EPROTO);
	assert_int_equal(kiln__virtio_config_read(f.guest.device, UINT32_MAX, high, 2, NULL),
			 KILN_EPROTO);
	assert_int_equal(kiln__virtio_config_write(f.guest.device, 0, high, 4, NULL), KILN_EPROTO);
	assert_int_equal(kiln__virtio_negotiate(f.guest.device, 2, NULL),
			 KILN_EPROTO); /* SEQPACKET */
	tear_down(&f);
}

static void the_host_connects_and_data_flows_both_ways(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct vsock_packet packet;
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	assert_int_equal(kiln__stream_write(user.stream, "question", 8), 8);
	packet = expect(&f, KILN__VSOCK_RW);
	assert_int_equal(packet.header.len, 8);
	assert_memory_equal(packet.payload, "question", 8);
	send_data(&f, f.host_port, "answer", 6);
	assert_string_equal(user.got.data, "answer");
	assert_false(kiln__timer_armed(f.vsock->timer)); /* nothing is due any more */
	user_done(&user);
	tear_down(&f);
}

static void the_guest_connects_to_who_listens(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;

	(void)state;
	set_up(&f);
	send_op(&f, HOST_PORT, KILN__VSOCK_REQUEST, 0);
	expect(&f, KILN__VSOCK_RST); /* nobody listens */
	open_from_guest(&f, &user);
	kiln__stream_resume(user.stream);
	send_data(&f, HOST_PORT, "hi", 2);
	assert_string_equal(user.got.data, "hi");
	user_done(&user);
	tear_down(&f);
}

static bool refuse_it(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	(void)data;
	(void)port;
	(void)from;
	(void)stream;
	return false;
}

static bool write_and_close_it(void *data, uint32_t port, uint32_t from,
			       struct kiln__stream *stream)
{
	(void)data;
	(void)port;
	(void)from;
	kiln__stream_close(stream);
	return true;
}

static void a_refused_connection_is_reset_and_gone(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	kiln__vsock_listen(f.vsock, refuse_it, NULL);
	send_op(&f, HOST_PORT, KILN__VSOCK_REQUEST, 0);
	expect(&f, KILN__VSOCK_RST);
	kiln__vsock_listen(f.vsock, write_and_close_it, NULL);
	send_op(&f, HOST_PORT, KILN__VSOCK_REQUEST, 0);
	expect(&f, KILN__VSOCK_RST);
	assert_int_equal(f.vsock->conn_count, 0);
	assert_int_equal(f.vsock->credit_given, 0);
	expect_nothing(&f);
	tear_down(&f);
}

static void a_port_that_the_guest_refuses_says_so(void **state)
{
	struct user user = {0};
	struct vsock_packet packet;
	struct fixture f;

	(void)state;
	set_up(&f);
	kiln__vsock_connect(f.vsock, GUEST_PORT, on_connected, &user);
	packet = expect(&f, KILN__VSOCK_REQUEST);
	send_op(&f, packet.header.src_port, KILN__VSOCK_RST, 0);
	assert_int_equal(user.code, KILN_EIO);
	assert_int_equal(f.vsock->conn_count, 0);
	expect_nothing(&f);
	tear_down(&f);
}

static void without_a_driver_connecting_fails_at_once(void **state)
{
	struct user user = {0};
	kiln_loop *loop;
	struct kiln__vsock *vsock;

	(void)state;
	assert_int_equal(kiln_loop_new(&loop, NULL), 0);
	assert_int_equal(kiln__vsock_new(&vsock, loop, GUEST_CID, NULL), 0);
	kiln__vsock_connect(vsock, 1, on_connected, &user);
	assert_int_equal(user.code, KILN_ESTATE);
	kiln__vsock_free(vsock);
	kiln_loop_free(loop);
}

static void a_guest_that_never_answers_is_given_up(void **state)
{
	struct user user = {0};
	struct fixture f;

	(void)state;
	set_up(&f);
	kiln__vsock_connect(f.vsock, GUEST_PORT, on_connected, &user);
	expect(&f, KILN__VSOCK_REQUEST);
	/* As if the time had passed. */
	kiln__list_foreach (link, &f.vsock->conns)
		kiln__list_entry(link, struct kiln__vsock_conn, all)->deadline = 1;
	kiln__timer_start(f.vsock->timer, 0);
	while (user.code == 0)
		kiln_loop_step(f.loop);
	assert_int_equal(user.code, KILN_ETIMEDOUT);
	expect(&f, KILN__VSOCK_RST);
	assert_int_equal(f.vsock->conn_count, 0);
	tear_down(&f);
}

/* --- credit -------------------------------------------------------------------------- */

static void the_host_sends_no_more_than_its_credit(void **state)
{
	static unsigned char bytes[GUEST_BUF_ALLOC + 5000];
	struct user user = {.allowance = SIZE_MAX};
	struct vsock_packet packet;
	struct fixture f;
	size_t seen = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 7);
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	assert_int_equal(kiln__stream_write(user.stream, bytes, sizeof(bytes)), GUEST_BUF_ALLOC);
	while (vsock_guest_receive(&f.guest, &packet, true) && packet.header.op == KILN__VSOCK_RW) {
		assert_memory_equal(packet.payload, bytes + seen, packet.header.len);
		seen += packet.header.len;
	}
	assert_int_equal(seen, GUEST_BUF_ALLOC);
	assert_int_equal(packet.header.op, KILN__VSOCK_CREDIT_REQUEST); /* once */
	assert_int_equal(kiln__stream_write(user.stream, bytes, 1), 0);
	expect_nothing(&f);
	assert_int_equal(user.writable, 0);
	send_credit(&f, f.host_port, GUEST_BUF_ALLOC, 1000);
	assert_int_equal(user.writable, 1);
	assert_int_equal(kiln__stream_write(user.stream, bytes, 5000), 1000);
	assert_int_equal(expect(&f, KILN__VSOCK_RW).header.len, 1000);
	expect(&f, KILN__VSOCK_CREDIT_REQUEST); /* dry again: once again */
	expect_nothing(&f);
	user_done(&user);
	tear_down(&f);
}

static void nonsense_credit_is_no_credit(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	send_credit(&f, f.host_port, 100, 5); /* consumed what was never sent */
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), 0);
	send_credit(&f, f.host_port, 0, 0);
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), 0);
	send_credit(&f, f.host_port, UINT32_MAX, 0);
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), 1);
	user_done(&user);
	tear_down(&f);
}

static void what_is_not_consumed_is_held_and_earns_no_credit(void **state)
{
	static unsigned char bytes[65536];
	struct user user = {.allowance = 10};
	struct vsock_packet packet;
	struct fixture f;
	uint32_t share;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 13);
	set_up(&f);
	open_from_host(&f, &user);
	share = kiln__list_entry(f.vsock->conns.next, struct kiln__vsock_conn, all)->buf_alloc;
	assert_int_equal(share, KILN__VSOCK_SHARE_MAX);
	/* Not resumed yet: nothing is delivered. */
	send_data(&f, f.host_port, bytes, 1000);
	assert_int_equal(user.got.len, 0);
	kiln__stream_resume(user.stream);
	assert_int_equal(user.got.len, 10);
	for (uint32_t sent = 1000; sent < 200000; sent += 1000)
		send_data(&f, f.host_port, bytes + sent % 60000, 1000);
	assert_int_equal(user.got.len, 10);
	expect_nothing(&f);
	send_op(&f, f.host_port, KILN__VSOCK_CREDIT_REQUEST, 0);
	packet = expect(&f, KILN__VSOCK_CREDIT_UPDATE);
	assert_int_equal(packet.header.buf_alloc, share);
	assert_int_equal(packet.header.fwd_cnt, 10);
	user.allowance = SIZE_MAX;
	kiln__stream_resume(user.stream);
	assert_int_equal(user.got.len, 200000);
	assert_memory_equal(user.got.data, bytes, 1000);
	assert_memory_equal(user.got.data + 61000, bytes + 1000, 1000);
	packet = expect(&f, KILN__VSOCK_CREDIT_UPDATE);
	assert_int_equal(packet.header.fwd_cnt, 200000);
	user_done(&user);
	tear_down(&f);
}

static void consuming_returns_credit_before_the_guest_runs_dry(void **state)
{
	static unsigned char bytes[65536];
	struct user user = {.allowance = SIZE_MAX};
	struct vsock_packet packet;
	struct fixture f;
	uint32_t known = 0;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	for (uint32_t sent = 0; sent < 4u << 20; sent += sizeof(bytes)) {
		assert_true(sent + sizeof(bytes) - known <= KILN__VSOCK_SHARE_MAX);
		send_data(&f, f.host_port, bytes, sizeof(bytes));
		while (vsock_guest_receive(&f.guest, &packet, true))
			known = packet.header.fwd_cnt;
	}
	assert_int_equal(user.got.len, 4u << 20);
	user_done(&user);
	tear_down(&f);
}

static void a_guest_that_exceeds_its_credit_is_reset(void **state)
{
	static unsigned char bytes[65536];
	struct user user = {.allowance = 0};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	for (uint32_t sent = 0; sent < KILN__VSOCK_SHARE_MAX; sent += sizeof(bytes))
		send_data(&f, f.host_port, bytes, sizeof(bytes));
	expect_nothing(&f);
	send_data(&f, f.host_port, bytes, 1);
	expect(&f, KILN__VSOCK_RST);
	/* What it had credit for is still delivered, then the error. */
	assert_int_equal(user.errors, 0);
	user.allowance = SIZE_MAX;
	kiln__stream_resume(user.stream);
	assert_int_equal(user.got.len, KILN__VSOCK_SHARE_MAX);
	assert_int_equal(user.errors, 1);
	assert_int_equal(user.code, KILN_EPROTO);
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), KILN_EIO);
	user_done(&user);
	tear_down(&f);
}

static void the_sum_of_all_credit_is_bounded(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	for (uint32_t i = 0; i < KILN__VSOCK_MAX_CONNS; i++)
		assert_non_null(kiln__vsock_conn_new(f.vsock, 1, i, KILN__VSOCK_OPEN));
	assert_true(f.vsock->credit_given <=
		    KILN__VSOCK_BUDGET + KILN__VSOCK_MAX_CONNS * KILN__VSOCK_SHARE_MIN);
	assert_null(kiln__vsock_conn_new(f.vsock, 2, 1, KILN__VSOCK_OPEN));
	kiln__list_foreach (link, &f.vsock->conns)
		kiln__list_entry(link, struct kiln__vsock_conn, all)->user_gone = true;
	tear_down(&f);
}

static void the_guests_connections_leave_room_for_the_hosts(void **state)
{
	struct fixture f;
	uint32_t of_guest = 0;

	(void)state;
	set_up(&f);
	while (kiln__vsock_conn_new(f.vsock, 1, of_guest, KILN__VSOCK_ACCEPTING))
		of_guest++;
	assert_int_equal(of_guest, KILN__VSOCK_MAX_GUEST_CONNS);
	for (uint32_t i = 0; i < KILN__VSOCK_MAX_CONNS - KILN__VSOCK_MAX_GUEST_CONNS; i++)
		assert_non_null(kiln__vsock_conn_new(f.vsock, 2, i, KILN__VSOCK_CONNECTING));
	kiln__list_foreach (link, &f.vsock->conns)
		kiln__list_entry(link, struct kiln__vsock_conn, all)->user_gone = true;
	tear_down(&f);
}

static void resuming_from_inside_is_asked_again(void **state)
{
	struct user user = {.allowance = SIZE_MAX, .resume_in_data = true};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	send_data(&f, f.host_port, "byte by byte", 12);
	assert_string_equal(user.got.data, "byte by byte");
	user_done(&user);
	tear_down(&f);
}

/* --- receive buffers ----------------------------------------------------------------- */

static void without_receive_buffers_writers_wait_their_turn(void **state)
{
	struct user a = {.allowance = SIZE_MAX};
	struct user b = {.allowance = SIZE_MAX};
	static unsigned char bytes[32768];
	struct vsock_packet packet;
	struct fixture f;
	unsigned used = 0;

	(void)state;
	set_up(&f);
	open_from_host(&f, &a);
	open_from_host(&f, &b);
	/* 64 descriptors are 32 buffers of 4 KiB; b finds what a leaves. */
	send_credit(&f, kiln__vsock_local_port(a.stream), UINT32_MAX, 0);
	send_credit(&f, kiln__vsock_local_port(b.stream), UINT32_MAX, 0);
	while (kiln__stream_write(a.stream, bytes, sizeof(bytes)) == sizeof(bytes))
		;
	assert_int_equal(kiln__stream_write(b.stream, bytes, sizeof(bytes)), 0);
	while (vsock_guest_receive(&f.guest, &packet, false))
		used++;
	assert_int_equal(used, GUEST_RING / 2);
	assert_int_equal(a.writable, 0);
	vsock_guest_give_buffers(&f.guest, 4); /* kicks: the device had asked for it */
	assert_int_equal(a.writable, 1);
	assert_int_equal(b.writable, 1);
	/* Nobody waits any more: no kicks for the next buffers. */
	f.guest.rx.kicked_at = f.guest.rx.avail[1];
	vsock_guest_give_buffers(&f.guest, 4);
	assert_int_equal(a.writable, 1);
	user_done(&a);
	user_done(&b);
	tear_down(&f);
}

static void control_packets_wait_for_buffers_in_order(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;

	(void)state;
	set_up_with(&f, FEATURES); /* no buffers yet */
	kiln__vsock_listen(f.vsock, accept_it, &user);
	send_op(&f, HOST_PORT, KILN__VSOCK_REQUEST, 0);
	assert_non_null(user.stream);
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), 0); /* not before the response */
	send_op(&f, 99, KILN__VSOCK_RW, 0);                           /* a stranger */
	expect_nothing(&f);
	vsock_guest_give_buffers(&f.guest, GUEST_RING);
	expect(&f, KILN__VSOCK_RST);
	expect(&f, KILN__VSOCK_RESPONSE);
	assert_int_equal(user.writable, 1);
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), 1);
	kiln__stream_shutdown(user.stream);
	expect(&f, KILN__VSOCK_RW);
	expect(&f, KILN__VSOCK_SHUTDOWN);
	user_done(&user);
	tear_down(&f);
}

static void a_flood_of_strangers_stalls_the_guest_not_the_host(void **state)
{
	struct kiln__vsock_header header;
	struct vsock_packet packet;
	unsigned resets = 0;
	struct fixture f;

	(void)state;
	set_up_with(&f, FEATURES);
	/* More than can be remembered, in rings of what the transmit queue holds. */
	for (unsigned i = 0; i < KILN__VSOCK_MAX_RESETS + 20; i++) {
		header = vsock_guest_header(1000 + i, 1, KILN__VSOCK_RW);
		vsock_guest_send(&f.guest, &header, NULL, 0);
	}
	assert_int_equal(f.vsock->reset_count, KILN__VSOCK_MAX_RESETS);
	assert_true(f.vsock->tx_stalled);
	vsock_guest_give_buffers(&f.guest, GUEST_RING);
	while (vsock_guest_receive(&f.guest, &packet, true)) {
		assert_int_equal(packet.header.op, KILN__VSOCK_RST);
		assert_int_equal(packet.header.dst_port, 1000 + resets);
		resets++;
	}
	assert_int_equal(resets, KILN__VSOCK_MAX_RESETS + 20);
	tear_down(&f);
}

/* --- closing ------------------------------------------------------------------------- */

static void the_guests_end_of_sending_is_the_end_of_file(void **state)
{
	struct user user = {.allowance = 3};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	send_data(&f, f.host_port, "last words", 10);
	send_op(&f, f.host_port, KILN__VSOCK_SHUTDOWN, KILN__VSOCK_NO_SEND);
	assert_int_equal(user.eof, 0); /* what is held comes first */
	user.allowance = SIZE_MAX;
	kiln__stream_resume(user.stream);
	assert_string_equal(user.got.data, "last words");
	assert_int_equal(user.eof, 1);
	/* The other direction stays open. */
	assert_int_equal(kiln__stream_write(user.stream, "answer", 6), 6);
	expect(&f, KILN__VSOCK_RW);
	kiln__stream_shutdown(user.stream);
	assert_int_equal(expect(&f, KILN__VSOCK_SHUTDOWN).header.flags, KILN__VSOCK_NO_SEND);
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), KILN_ESTATE);
	send_op(&f, f.host_port, KILN__VSOCK_RST, 0); /* both ended in order: no error */
	assert_int_equal(user.errors, 0);
	assert_int_equal(user.eof, 1);
	user_done(&user);
	assert_int_equal(f.vsock->conn_count, 0);
	tear_down(&f);
}

static void shutdown_of_both_directions_is_answered_by_reset(void **state)
{
	struct user user = {.allowance = 0};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	send_data(&f, f.host_port, "data", 4);
	send_op(&f, f.host_port, KILN__VSOCK_SHUTDOWN, KILN__VSOCK_NO_RECEIVE);
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), KILN_EIO);
	expect_nothing(&f);
	send_op(&f, f.host_port, KILN__VSOCK_SHUTDOWN, KILN__VSOCK_NO_SEND); /* hints add up */
	expect(&f, KILN__VSOCK_RST);
	assert_null(kiln__vsock_conn_find(f.vsock, f.host_port, GUEST_PORT));
	user.allowance = SIZE_MAX;
	kiln__stream_resume(user.stream);
	assert_string_equal(user.got.data, "data"); /* nothing was lost */
	assert_int_equal(user.eof, 1);
	assert_int_equal(user.errors, 0);
	user_done(&user);
	tear_down(&f);
}

static void closing_shuts_down_and_waits_for_the_reset(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_close(user.stream);
	assert_int_equal(expect(&f, KILN__VSOCK_SHUTDOWN).header.flags, KILN__VSOCK_NO_BOTH);
	send_data(&f, f.host_port, "too late", 8); /* crossed: dropped, not answered */
	expect_nothing(&f);
	assert_int_equal(f.vsock->conn_count, 1);
	send_op(&f, f.host_port, KILN__VSOCK_RST, 0);
	assert_int_equal(f.vsock->conn_count, 0);
	expect_nothing(&f); /* a reset is never answered */
	tear_down(&f);
}

static void both_sides_closing_at_once_ends_it(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_close(user.stream);
	expect(&f, KILN__VSOCK_SHUTDOWN);
	send_op(&f, f.host_port, KILN__VSOCK_SHUTDOWN, KILN__VSOCK_NO_BOTH);
	expect(&f, KILN__VSOCK_RST);
	assert_int_equal(f.vsock->conn_count, 0);
	tear_down(&f);
}

static void a_guest_that_ignores_a_close_is_reset_in_time(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_close(user.stream);
	expect(&f, KILN__VSOCK_SHUTDOWN);
	assert_true(kiln__timer_armed(f.vsock->timer));
	kiln__list_entry(f.vsock->conns.next, struct kiln__vsock_conn, all)->deadline = 1;
	kiln__timer_start(f.vsock->timer, 0);
	while (f.vsock->conn_count > 0)
		kiln_loop_step(f.loop);
	expect(&f, KILN__VSOCK_RST);
	tear_down(&f);
}

static void a_reset_is_an_error_after_what_is_held(void **state)
{
	struct user user = {.allowance = 0};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	send_data(&f, f.host_port, "data", 4);
	send_credit(&f, f.host_port, 0, 0);
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), 0);
	send_op(&f, f.host_port, KILN__VSOCK_RST, 0);
	assert_int_equal(user.errors, 0);
	assert_int_equal(user.writable, 1); /* who waits to write learns it now */
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), KILN_EIO);
	user.allowance = SIZE_MAX;
	kiln__stream_resume(user.stream);
	assert_string_equal(user.got.data, "data");
	assert_int_equal(user.errors, 1);
	assert_int_equal(user.code, KILN_EIO);
	user_done(&user);
	tear_down(&f);
}

static void a_handler_may_close_its_stream(void **state)
{
	struct user user = {.allowance = SIZE_MAX, .close_in_data = true};
	struct user other = {.allowance = SIZE_MAX, .close_in_eof = true};
	static unsigned char bytes[65536];
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	send_data(&f, f.host_port, "held", 4);
	kiln__stream_resume(user.stream); /* closes in on_data of what was held */
	assert_null(user.stream);
	expect(&f, KILN__VSOCK_SHUTDOWN);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	send_data(&f, f.host_port, bytes, sizeof(bytes)); /* and of what has just come */
	assert_null(user.stream);
	expect(&f, KILN__VSOCK_SHUTDOWN);
	open_from_host(&f, &other);
	kiln__stream_resume(other.stream);
	send_op(&f, f.host_port, KILN__VSOCK_SHUTDOWN, KILN__VSOCK_NO_BOTH);
	assert_null(other.stream);
	expect(&f, KILN__VSOCK_RST);
	assert_int_equal(f.vsock->conn_count, 2);
	kiln__buf_done(&user.got);
	tear_down(&f);
}

/* --- strangers and rule breakers ------------------------------------------------------- */

static void packets_without_connection_are_reset(void **state)
{
	static const uint16_t ops[] = {KILN__VSOCK_RESPONSE,
				       KILN__VSOCK_SHUTDOWN,
				       KILN__VSOCK_RW,
				       KILN__VSOCK_CREDIT_UPDATE,
				       KILN__VSOCK_CREDIT_REQUEST,
				       0,
				       99};
	struct vsock_packet packet;
	struct fixture f;

	(void)state;
	set_up(&f);
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		send_op(&f, HOST_PORT, ops[i], 0);
		packet = expect(&f, KILN__VSOCK_RST);
		assert_int_equal(packet.header.src_port, HOST_PORT);
		assert_int_equal(packet.header.dst_port, GUEST_PORT);
	}
	send_op(&f, HOST_PORT, KILN__VSOCK_RST, 0);
	expect_nothing(&f);
	tear_down(&f);
}

static void other_types_and_addresses_are_refused(void **state)
{
	struct kiln__vsock_header header =
		vsock_guest_header(GUEST_PORT, HOST_PORT, KILN__VSOCK_REQUEST);
	struct user user = {.allowance = SIZE_MAX};
	struct vsock_packet packet;
	struct fixture f;

	(void)state;
	set_up(&f);
	kiln__vsock_listen(f.vsock, accept_it, &user);
	header.type = 2; /* SEQPACKET */
	vsock_guest_send(&f.guest, &header, NULL, 0);
	packet = expect(&f, KILN__VSOCK_RST);
	assert_int_equal(packet.header.type, 2);
	header.type = KILN__VSOCK_TYPE_STREAM;
	header.dst_cid = 77; /* another guest */
	vsock_guest_send(&f.guest, &header, NULL, 0);
	assert_true(vsock_guest_receive(&f.guest, &packet, true));
	assert_int_equal(packet.header.op, KILN__VSOCK_RST);
	assert_int_equal(packet.header.src_cid, 77);
	header.dst_cid = KILN__VSOCK_HOST_CID;
	header.src_cid = 1234; /* not this guest */
	vsock_guest_send(&f.guest, &header, NULL, 0);
	expect_nothing(&f);
	assert_null(user.stream);
	tear_down(&f);
}

static void breaking_the_protocol_ends_only_that_connection(void **state)
{
	struct user users[4] = {{0}};
	struct user other = {.allowance = SIZE_MAX};
	struct kiln__vsock_header header;
	uint32_t ports[4];
	uint32_t other_port;
	struct fixture f;

	(void)state;
	set_up(&f);
	for (unsigned i = 0; i < 4; i++) {
		users[i].allowance = SIZE_MAX;
		open_from_host(&f, &users[i]);
		kiln__stream_resume(users[i].stream);
		ports[i] = f.host_port;
	}
	open_from_host(&f, &other);
	kiln__stream_resume(other.stream);
	other_port = f.host_port;
	send_op(&f, ports[0], KILN__VSOCK_REQUEST, 0);
	send_op(&f, ports[1], KILN__VSOCK_RESPONSE, 0);
	send_op(&f, ports[2], 42, 0);
	/* A length beyond what the packet has. */
	header = vsock_guest_header(GUEST_PORT, ports[3], KILN__VSOCK_RW);
	vsock_guest_send(&f.guest, &header, "abcd", 4);
	assert_string_equal(users[3].got.data, "abcd");
	memset(f.guest.memory + f.guest.tx_gpa, 0, 16);
	header.len = 5000;
	{
		uint64_t at = f.guest.tx_gpa + (uint64_t)f.guest.tx.free_head * (65536 + 64);
		struct vring_part part = {at, sizeof(header) + 4};

		memcpy(f.guest.memory + at, &header, sizeof(header));
		vring_add(&f.guest.tx, &part, 1, 0);
		kiln__virtio_kick(f.guest.device, KILN__VSOCK_TX);
	}
	for (unsigned i = 0; i < 4; i++) {
		expect(&f, KILN__VSOCK_RST);
		assert_int_equal(users[i].code, KILN_EPROTO);
		user_done(&users[i]);
	}
	send_data(&f, other_port, "fine", 4);
	assert_string_equal(other.got.data, "fine");
	assert_int_equal(f.guest.needs_reset, 0);
	user_done(&other);
	tear_down(&f);
}

static void data_after_the_end_of_sending_is_a_breach(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	send_op(&f, f.host_port, KILN__VSOCK_SHUTDOWN, KILN__VSOCK_NO_SEND);
	send_data(&f, f.host_port, "x", 1);
	expect(&f, KILN__VSOCK_RST);
	assert_int_equal(user.code, KILN_EPROTO);
	user_done(&user);
	tear_down(&f);
}

static void a_broken_queue_breaks_the_device_until_reset(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct user again = {.allowance = SIZE_MAX};
	struct vring_part part = {0x1000, 20}; /* no room for a header */
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	vring_add(&f.guest.tx, &part, 1, 0);
	kiln__virtio_kick(f.guest.device, KILN__VSOCK_TX);
	assert_int_equal(f.guest.needs_reset, 1);
	assert_non_null(f.guest.fault);
	kiln_test_settle(f.loop); /* users learn it from the loop */
	assert_int_equal(user.errors, 1);
	assert_int_equal(user.code, KILN_EPROTO);
	kiln__vsock_connect(f.vsock, GUEST_PORT, on_connected, &again);
	assert_int_equal(again.code, KILN_ESTATE);
	vsock_guest_done(&f.guest);
	vsock_guest_init(&f.guest, kiln__vsock_device(f.vsock), FEATURES);
	vsock_guest_start(&f.guest);
	vsock_guest_give_buffers(&f.guest, GUEST_RING);
	again.code = 0;
	open_from_host(&f, &again);
	user_done(&user);
	user_done(&again);
	tear_down(&f);
}

static void a_receive_buffer_without_room_breaks_the_device(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct vring_part part = {0x1000, sizeof(struct kiln__vsock_header)};
	struct fixture f;

	(void)state;
	set_up_with(&f, FEATURES);
	vring_add(&f.guest.rx, &part, 0, 1);
	kiln__virtio_kick(f.guest.device, KILN__VSOCK_RX);
	kiln__vsock_connect(f.vsock, GUEST_PORT, on_connected, &user);
	assert_int_equal(f.guest.needs_reset, 1);
	assert_int_equal(user.code, 0); /* not from inside */
	kiln_test_settle(f.loop);
	assert_int_equal(user.code, KILN_EPROTO);
	tear_down(&f);
}

/* --- the whole device ------------------------------------------------------------------ */

static void a_driver_reset_ends_all_connections(void **state)
{
	struct user open = {.allowance = SIZE_MAX};
	struct user closing = {.allowance = SIZE_MAX};
	struct user connecting = {0};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &closing);
	kiln__stream_close(closing.stream);
	expect(&f, KILN__VSOCK_SHUTDOWN);
	open_from_host(&f, &open);
	kiln__stream_resume(open.stream);
	kiln__vsock_connect(f.vsock, GUEST_PORT, on_connected, &connecting);
	kiln__virtio_reset(f.guest.device);
	assert_int_equal(open.errors, 1);
	assert_int_equal(open.code, KILN_EDIED);
	assert_int_equal(connecting.code, KILN_EDIED);
	assert_int_equal(f.vsock->conn_count, 1); /* the user's, until it closes */
	user_done(&open);
	assert_int_equal(f.vsock->conn_count, 0);
	tear_down(&f);
}

static void connections_survive_a_stop_of_the_queues(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	for (unsigned i = 0; i < KILN__VSOCK_QUEUES; i++)
		kiln__virtio_queue_stop(f.guest.device, i);
	assert_int_equal(kiln__stream_write(user.stream, "while paused", 12), 0);
	send_data(&f, f.host_port, "sent before", 11); /* stays in the ring */
	assert_int_equal(user.got.len, 0);
	assert_int_equal(user.errors, 0);
	vsock_guest_start(&f.guest);
	assert_string_equal(user.got.data, "sent before");
	assert_int_equal(user.writable, 1);
	assert_int_equal(kiln__stream_write(user.stream, "after", 5), 5);
	expect(&f, KILN__VSOCK_RW);
	user_done(&user);
	tear_down(&f);
}

static void a_transport_reset_is_told_by_event(void **state)
{
	struct vring_part part;
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;
	uint32_t event;
	uint32_t len;

	(void)state;
	set_up(&f);
	part = (struct vring_part){f.guest.event_gpa, sizeof(event)};
	memset(f.guest.memory + f.guest.event_gpa, 0xff, sizeof(event));
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	kiln__vsock_transport_reset(f.vsock);
	assert_int_equal(user.errors, 1);
	assert_int_equal(vring_take(&f.guest.event, &len), -1); /* no buffer yet */
	vring_add(&f.guest.event, &part, 0, 1);
	assert_true(vring_wants_kick(&f.guest.event));
	kiln__virtio_kick(f.guest.device, KILN__VSOCK_EVENT);
	assert_true(vring_take(&f.guest.event, &len) >= 0);
	assert_int_equal(len, sizeof(event));
	memcpy(&event, f.guest.memory + f.guest.event_gpa, sizeof(event));
	assert_int_equal(event, KILN__VSOCK_EVENT_TRANSPORT_RESET);
	expect_nothing(&f);
	user_done(&user);
	tear_down(&f);
}

static void streams_outlive_their_device(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	struct fixture f;

	(void)state;
	set_up(&f);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	vsock_guest_done(&f.guest);
	kiln__vsock_free(f.vsock);
	assert_int_equal(user.errors, 1);
	assert_int_equal(user.code, KILN_EDIED);
	assert_int_equal(kiln__stream_write(user.stream, "x", 1), KILN_EIO);
	kiln__stream_shutdown(user.stream);
	kiln__stream_resume(user.stream);
	user_done(&user);
	kiln_loop_free(f.loop);
}

static void a_full_transmit_queue_lets_the_loop_breathe(void **state)
{
	struct kiln__vsock_header header = vsock_guest_header(GUEST_PORT, 1, KILN__VSOCK_RST);
	struct vring_part part;
	struct fixture f;

	(void)state;
	set_up(&f);
	part = (struct vring_part){f.guest.tx_gpa, 65536};
	memcpy(f.guest.memory + f.guest.tx_gpa, &header, sizeof(header));
	for (unsigned i = 0; i < GUEST_RING; i++)
		assert_int_not_equal(vring_add(&f.guest.tx, &part, 1, 0), -1);
	kiln__virtio_kick(f.guest.device, KILN__VSOCK_TX);
	/* 4 MiB are more than a turn. */
	assert_in_range(f.guest.tx.used[1], 1, GUEST_RING - 1);
	kiln_test_settle(f.loop);
	assert_int_equal(f.guest.tx.used[1], GUEST_RING);
	tear_down(&f);
}

static void it_works_without_event_index(void **state)
{
	struct user user = {.allowance = SIZE_MAX};
	static unsigned char bytes[65536];
	struct vsock_packet packet;
	struct fixture f;
	size_t seen = 0;

	(void)state;
	set_up_with(&f, KILN__VIRTIO_F_VERSION_1);
	vsock_guest_give_buffers(&f.guest, GUEST_RING);
	open_from_host(&f, &user);
	kiln__stream_resume(user.stream);
	for (unsigned i = 0; i < 100; i++)
		send_data(&f, f.host_port, bytes, 100);
	assert_int_equal(user.got.len, 10000);
	assert_int_equal(kiln__stream_write(user.stream, bytes, sizeof(bytes)), sizeof(bytes));
	while (vsock_guest_receive(&f.guest, &packet, true))
		seen += packet.header.len;
	assert_int_equal(seen, sizeof(bytes));
	user_done(&user);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(impossible_context_ids_are_refused),
		kiln_test(configuration_space_is_the_context_id),
		kiln_test(the_host_connects_and_data_flows_both_ways),
		kiln_test(the_guest_connects_to_who_listens),
		kiln_test(a_refused_connection_is_reset_and_gone),
		kiln_test(a_port_that_the_guest_refuses_says_so),
		kiln_test(without_a_driver_connecting_fails_at_once),
		kiln_test(a_guest_that_never_answers_is_given_up),
		kiln_test(the_host_sends_no_more_than_its_credit),
		kiln_test(nonsense_credit_is_no_credit),
		kiln_test(what_is_not_consumed_is_held_and_earns_no_credit),
		kiln_test(consuming_returns_credit_before_the_guest_runs_dry),
		kiln_test(a_guest_that_exceeds_its_credit_is_reset),
		kiln_test(the_sum_of_all_credit_is_bounded),
		kiln_test(the_guests_connections_leave_room_for_the_hosts),
		kiln_test(resuming_from_inside_is_asked_again),
		kiln_test(without_receive_buffers_writers_wait_their_turn),
		kiln_test(control_packets_wait_for_buffers_in_order),
		kiln_test(a_flood_of_strangers_stalls_the_guest_not_the_host),
		kiln_test(the_guests_end_of_sending_is_the_end_of_file),
		kiln_test(shutdown_of_both_directions_is_answered_by_reset),
		kiln_test(closing_shuts_down_and_waits_for_the_reset),
		kiln_test(both_sides_closing_at_once_ends_it),
		kiln_test(a_guest_that_ignores_a_close_is_reset_in_time),
		kiln_test(a_reset_is_an_error_after_what_is_held),
		kiln_test(a_handler_may_close_its_stream),
		kiln_test(packets_without_connection_are_reset),
		kiln_test(other_types_and_addresses_are_refused),
		kiln_test(breaking_the_protocol_ends_only_that_connection),
		kiln_test(data_after_the_end_of_sending_is_a_breach),
		kiln_test(a_broken_queue_breaks_the_device_until_reset),
		kiln_test(a_receive_buffer_without_room_breaks_the_device),
		kiln_test(a_driver_reset_ends_all_connections),
		kiln_test(connections_survive_a_stop_of_the_queues),
		kiln_test(a_transport_reset_is_told_by_event),
		kiln_test(streams_outlive_their_device),
		kiln_test(a_full_transmit_queue_lets_the_loop_breathe),
		kiln_test(it_works_without_event_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
