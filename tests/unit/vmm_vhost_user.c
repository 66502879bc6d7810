/* SPDX-License-Identifier: Apache-2.0 */
/* The vhost-user server, with the test as the front-end and its guest. */
#include "kiln_test.h"

#include "os.h"
#include "vhost_user.h"
#include "vhost_user_msg.h"
#include "vring.h"
#include "vsock.h"
#include "vsock_guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY    ((size_t)1 << 20)
#define USER_BASE 0x7f0000000000ULL /* where the front-end claims to have it */
#define ACK       KILN__VU_NEED_REPLY
#define RX        KILN__VSOCK_RX
#define TX        KILN__VSOCK_TX

struct fixture {
	kiln_loop *loop;
	struct kiln__vsock *vsock;
	struct kiln__vhost_user *server;
	kiln_fd socket;
	kiln_fd memfd;
	unsigned char *memory;
	struct vring rings[2];
	kiln_fd kick[2];
	kiln_fd call[2];
	kiln_fd error[2];
	bool ended;
	int code; /* with which it ended */
	char why[512];
	struct kiln__stream *stream;
	int stream_code;
	bool writable;
};

static void on_end(void *data, const kiln_error *err)
{
	struct fixture *f = data;

	assert_false(f->ended);
	f->ended = true;
	if (err) {
		f->code = err->code;
		snprintf(f->why, sizeof(f->why), "%s", err->message);
	}
}

static void set_up(struct fixture *f)
{
	kiln_error err;
	kiln_fd ends[2];

	memset(f, 0, sizeof(*f));
	kiln_ok(kiln_loop_new(&f->loop, &err), &err);
	kiln_ok(kiln__vsock_new(&f->vsock, f->loop, GUEST_CID, &err), &err);
	kiln_ok(kiln__os_socket_pair(ends, &err), &err);
	f->socket = ends[1];
	kiln_ok(kiln__vhost_user_new(&f->server, f->loop, ends[0], kiln__vsock_device(f->vsock),
				     &err),
		&err);
	kiln__vhost_user_on_end(f->server, on_end, f);
	kiln_ok(kiln__os_shared_memory(&f->memfd, "test", MEMORY, &err), &err);
	f->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, f->memfd, 0);
	assert_ptr_not_equal(f->memory, MAP_FAILED);
	for (unsigned i = 0; i < 2; i++) {
		f->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		f->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		f->error[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
}

static void tear_down(struct fixture *f)
{
	kiln__stream_close(f->stream);
	kiln__vhost_user_free(f->server);
	kiln__vsock_free(f->vsock);
	for (unsigned i = 0; i < 2; i++) {
		close(f->kick[i]);
		close(f->call[i]);
		close(f->error[i]);
	}
	munmap(f->memory, MEMORY);
	close(f->memfd);
	kiln__os_close(f->socket);
	kiln_loop_free(f->loop);
}

/* --- the front-end's side ------------------------------------------------------------ */

static void send_raw(struct fixture *f, uint32_t request, uint32_t flags, const void *payload,
		     uint32_t size, const kiln_fd *fds, size_t fd_count)
{
	unsigned char bytes[1024];
	struct kiln__vu_header header = {request, flags, size};

	memcpy(bytes, &header, sizeof(header));
	if (size)
		memcpy(bytes + sizeof(header), payload, size);
	assert_int_equal(kiln__os_send_fds(f->socket, bytes, sizeof(header) + size, fds, fd_count),
			 sizeof(header) + size);
	kiln_test_settle(f->loop);
}

static void send_u64(struct fixture *f, uint32_t request, uint32_t flags, uint64_t value)
{
	send_raw(f, request, KILN__VU_VERSION | flags, &value, sizeof(value), NULL, 0);
}

static void send_event(struct fixture *f, uint32_t request, uint64_t value, kiln_fd fd)
{
	send_raw(f, request, KILN__VU_VERSION, &value, sizeof(value), &fd, 1);
}

static void send_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num)
{
	struct kiln__vu_state state = {index, num};

	send_raw(f, request, KILN__VU_VERSION, &state, sizeof(state), NULL, 0);
}

/* The reply to @request; its payload is in ret->u64 and so on. */
static struct kiln__vu_msg reply_to(struct fixture *f, uint32_t request)
{
	struct kiln__vu_msg msg;
	ssize_t n = recv(f->socket, &msg, sizeof(msg.header), MSG_DONTWAIT);

	assert_int_equal(n, sizeof(msg.header));
	assert_int_equal(msg.header.request, request);
	assert_int_equal(msg.header.flags, KILN__VU_VERSION | KILN__VU_REPLY);
	if (msg.header.size)
		assert_int_equal(recv(f->socket, &msg.u64, msg.header.size, MSG_DONTWAIT),
				 msg.header.size);
	return msg;
}

static uint64_t ask_u64(struct fixture *f, uint32_t request)
{
	struct kiln__vu_msg msg;

	send_raw(f, request, KILN__VU_VERSION, NULL, 0, NULL, 0);
	msg = reply_to(f, request);
	assert_int_equal(msg.header.size, 8);
	return msg.u64;
}

static struct kiln__vu_memory table_of(const struct fixture *f)
{
	(void)f;
	return (struct kiln__vu_memory){.count = 1, .regions = {{0, MEMORY, USER_BASE, 0}}};
}

static void send_table(struct fixture *f, const struct kiln__vu_memory *table, uint32_t flags,
		       const kiln_fd *fds, size_t fd_count)
{
	send_raw(f, KILN__VU_SET_MEM_TABLE, KILN__VU_VERSION | flags, table,
		 KILN__VU_MEMORY_HEADER + table->count * (uint32_t)sizeof(table->regions[0]), fds,
		 fd_count);
}

static void negotiate(struct fixture *f)
{
	uint64_t features = ask_u64(f, KILN__VU_GET_FEATURES);

	assert_true(features & KILN__VU_F_PROTOCOL_FEATURES);
	send_u64(f, KILN__VU_SET_PROTOCOL_FEATURES, 0, ask_u64(f, KILN__VU_GET_PROTOCOL_FEATURES));
	send_u64(f, KILN__VU_SET_FEATURES, 0, features);
}

static void describe(struct fixture *f, unsigned i, uint16_t base)
{
	const struct vring *ring = &f->rings[i];
	struct kiln__vu_addr addr = {
		.index = i,
		.desc = USER_BASE + ring->desc_gpa,
		.avail = USER_BASE + ring->avail_gpa,
		.used = USER_BASE + ring->used_gpa,
	};

	send_state(f, KILN__VU_SET_VRING_NUM, i, ring->size);
	send_state(f, KILN__VU_SET_VRING_BASE, i, base);
	send_raw(f, KILN__VU_SET_VRING_ADDR, KILN__VU_VERSION, &addr, sizeof(addr), NULL, 0);
	send_event(f, KILN__VU_SET_VRING_KICK, i, f->kick[i]);
	send_event(f, KILN__VU_SET_VRING_CALL, i, f->call[i]);
	send_event(f, KILN__VU_SET_VRING_ERR, i, f->error[i]);
}

static void start_rings(struct fixture *f, uint16_t rx_base, uint16_t tx_base)
{
	describe(f, RX, rx_base);
	describe(f, TX, tx_base);
	send_state(f, KILN__VU_SET_VRING_ENABLE, RX, 1);
	send_state(f, KILN__VU_SET_VRING_ENABLE, TX, 1);
}

static void start(struct fixture *f)
{
	struct kiln__vu_memory table = table_of(f);

	negotiate(f);
	send_table(f, &table, 0, &f->memfd, 1);
	vring_init(&f->rings[RX], f->memory, 0x1000, 16, true);
	vring_init(&f->rings[TX], f->memory, 0x2000, 16, true);
	start_rings(f, 0, 0);
	assert_false(f->ended);
}

/* What a pause does; returns the rings' bases. */
static void stop_rings(struct fixture *f, uint16_t bases[2])
{
	for (unsigned i = 0; i < 2; i++)
		send_state(f, KILN__VU_SET_VRING_ENABLE, i, 0);
	for (unsigned i = 0; i < 2; i++) {
		send_state(f, KILN__VU_GET_VRING_BASE, i, 0);
		bases[i] = (uint16_t)reply_to(f, KILN__VU_GET_VRING_BASE).state.num;
	}
}

static uint64_t take_event(kiln_fd fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void kick(struct fixture *f, unsigned i)
{
	uint64_t one = 1;

	assert_int_equal(write(f->kick[i], &one, sizeof(one)), sizeof(one));
	kiln_test_settle(f->loop);
}

/* The guest sends a packet without payload. */
static void guest_sends(struct fixture *f, uint32_t host_port, uint16_t op)
{
	struct kiln__vsock_header header = vsock_guest_header(9, host_port, op);
	struct vring_part part = {0x8000, sizeof(header)};

	memcpy(f->memory + 0x8000, &header, sizeof(header));
	vring_add(&f->rings[TX], &part, 1, 0);
	kick(f, TX);
}

/* The next packet that the guest gets: gives a buffer first. */
static struct kiln__vsock_header guest_receives(struct fixture *f)
{
	struct vring_part part = {0x9000, 4096};
	struct kiln__vsock_header header;
	uint32_t len;

	vring_add(&f->rings[RX], &part, 0, 1);
	kick(f, RX);
	assert_true(vring_take(&f->rings[RX], &len) >= 0);
	memcpy(&header, f->memory + 0x9000, sizeof(header));
	return header;
}

static void on_error(void *data, const kiln_error *err)
{
	((struct fixture *)data)->stream_code = err->code;
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	(void)data;
	(void)bytes;
	return len;
}

static void on_writable(void *data)
{
	((struct fixture *)data)->writable = true;
}

static const struct kiln__stream_handler handler = {
	.on_data = on_data, .on_error = on_error, .on_writable = on_writable};

static bool accept_it(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	struct fixture *f = data;

	(void)port;
	(void)from;
	f->stream = stream;
	kiln__stream_set_handler(stream, &handler, f);
	kiln__stream_resume(stream);
	return true;
}

static void open_from_guest(struct fixture *f)
{
	kiln__vsock_listen(f->vsock, accept_it, f);
	guest_sends(f, 5000, KILN__VSOCK_REQUEST);
	assert_non_null(f->stream);
	assert_int_equal(guest_receives(f).op, KILN__VSOCK_RESPONSE);
}

/* --- what must work -------------------------------------------------------------------- */

static void configuration_space_is_read_by_message(void **state)
{
	struct kiln__vu_config config = {.offset = 0, .size = 8};
	struct kiln__vu_msg msg;
	struct fixture f;
	uint64_t cid;

	(void)state;
	set_up(&f);
	send_raw(&f, KILN__VU_GET_CONFIG, KILN__VU_VERSION, &config, 20, NULL, 0);
	msg = reply_to(&f, KILN__VU_GET_CONFIG);
	assert_int_equal(msg.header.size, 20);
	memcpy(&cid, msg.config.bytes, sizeof(cid));
	assert_int_equal(cid, GUEST_CID);
	config.offset = 4; /* out of it: an answer without contents */
	send_raw(&f, KILN__VU_GET_CONFIG, KILN__VU_VERSION, &config, 20, NULL, 0);
	assert_int_equal(reply_to(&f, KILN__VU_GET_CONFIG).header.size, 0);
	assert_int_equal(ask_u64(&f, KILN__VU_GET_QUEUE_NUM), KILN__VSOCK_QUEUES);
	tear_down(&f);
}

static void packets_flow_and_events_tell_of_them(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	start(&f);
	take_event(f.call[RX]);
	open_from_guest(&f);
	assert_true(take_event(f.call[RX]) > 0);
	assert_true(take_event(f.call[TX]) > 0);
	assert_int_equal(kiln__stream_write(f.stream, "x", 1), 0); /* no buffer left */
	assert_int_equal(take_event(f.error[TX]), 0);
	tear_down(&f);
	assert_true(f.stream_code == 0);
}

static void a_ring_runs_only_while_enabled(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	start(&f);
	send_state(&f, KILN__VU_SET_VRING_ENABLE, TX, 0);
	kiln__vsock_listen(f.vsock, accept_it, &f);
	guest_sends(&f, 5000, KILN__VSOCK_REQUEST);
	assert_null(f.stream);
	send_state(&f, KILN__VU_SET_VRING_ENABLE, TX, 1);
	assert_non_null(f.stream);
	tear_down(&f);
}

static void without_protocol_features_rings_begin_enabled(void **state)
{
	struct kiln__vu_memory table;
	struct fixture f;

	(void)state;
	set_up(&f);
	table = table_of(&f);
	send_u64(&f, KILN__VU_SET_FEATURES, 0, KILN__VIRTIO_RING_FEATURES);
	send_table(&f, &table, 0, &f.memfd, 1);
	vring_init(&f.rings[RX], f.memory, 0x1000, 16, true);
	vring_init(&f.rings[TX], f.memory, 0x2000, 16, true);
	describe(&f, RX, 0);
	describe(&f, TX, 0);
	open_from_guest(&f);
	tear_down(&f);
}

static void connections_survive_a_pause(void **state)
{
	struct vring_part part = {0x9000, 4096};
	uint16_t bases[2];
	struct fixture f;

	(void)state;
	set_up(&f);
	start(&f);
	open_from_guest(&f);
	stop_rings(&f, bases);
	assert_int_equal(bases[RX], 1);
	assert_int_equal(bases[TX], 1);
	negotiate(&f); /* as QEMU does again */
	start_rings(&f, bases[RX], bases[TX]);
	assert_int_equal(f.stream_code, 0);
	assert_int_equal(kiln__stream_write(f.stream, "x", 1), 0);
	assert_false(f.writable);
	vring_add(&f.rings[RX], &part, 0, 1);
	kick(&f, RX);
	assert_true(f.writable);
	assert_int_equal(kiln__stream_write(f.stream, "x", 1), 1);
	tear_down(&f);
}

static void a_driver_that_begins_anew_resets_the_device(void **state)
{
	uint16_t bases[2];
	struct fixture f;

	(void)state;
	set_up(&f);
	start(&f);
	open_from_guest(&f);
	stop_rings(&f, bases);
	assert_int_equal(f.stream_code, 0); /* not known yet */
	vring_init(&f.rings[RX], f.memory, 0x1000, 16, true);
	vring_init(&f.rings[TX], f.memory, 0x2000, 16, true);
	start_rings(&f, 0, 0);
	assert_int_equal(f.stream_code, KILN_EDIED);
	kiln__stream_close(f.stream);
	f.stream = NULL;
	open_from_guest(&f); /* the same ports: nothing of the old connection is left */
	tear_down(&f);
}

static void reset_device_forgets_everything(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	start(&f);
	open_from_guest(&f);
	send_raw(&f, KILN__VU_RESET_DEVICE, KILN__VU_VERSION, NULL, 0, NULL, 0);
	assert_int_equal(f.stream_code, KILN_EDIED);
	assert_false(f.ended);
	kick(&f, TX); /* nobody listens to it any more */
	assert_true(take_event(f.kick[TX]) > 0);
	tear_down(&f);
}

static void memory_may_change_while_rings_run(void **state)
{
	struct kiln__vu_memory table;
	kiln_fd fds[2];
	struct fixture f;

	(void)state;
	set_up(&f);
	start(&f);
	open_from_guest(&f);
	/* A second region, as memory hotplug brings; the first may be cut in two. */
	table = (struct kiln__vu_memory){
		.count = 2,
		.regions = {{0, 0x10000, USER_BASE, 0},
			    {0x10000, MEMORY - 0x10000, USER_BASE + 0x10000, 0x10000}}};
	fds[0] = fds[1] = f.memfd;
	send_table(&f, &table, ACK, fds, 2);
	assert_int_equal(reply_to(&f, KILN__VU_SET_MEM_TABLE).u64, 0);
	assert_int_equal(f.stream_code, 0);
	guest_sends(&f, 5000, KILN__VSOCK_SHUTDOWN);
	guest_sends(&f, 77, KILN__VSOCK_RW);
	assert_int_equal(guest_receives(&f).op, KILN__VSOCK_RST);
	tear_down(&f);
}

static void a_broken_queue_signals_the_error_event(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	start(&f);
	vring_offer(&f.rings[TX], 99);
	kick(&f, TX);
	assert_true(take_event(f.error[TX]) > 0);
	assert_false(f.ended); /* the session is the front-end's, the fault its guest's */
	tear_down(&f);
}

static void the_front_ends_end_is_an_end_in_order(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	start(&f);
	open_from_guest(&f);
	kiln__os_close(f.socket);
	f.socket = KILN_FD_NONE;
	kiln_test_run_until(f.loop, &f.ended);
	assert_int_equal(f.code, 0);
	assert_int_equal(f.stream_code, KILN_EDIED);
	tear_down(&f);
}

static void a_message_may_come_in_pieces(void **state)
{
	struct {
		struct kiln__vu_header header;
		struct kiln__vu_state state;
	} msg = {{KILN__VU_GET_VRING_BASE, KILN__VU_VERSION, 8}, {1, 0}};
	struct fixture f;

	(void)state;
	set_up(&f);
	for (size_t i = 0; i < sizeof(msg); i++) {
		assert_int_equal(write(f.socket, (char *)&msg + i, 1), 1);
		kiln_test_settle(f.loop);
	}
	assert_int_equal(reply_to(&f, KILN__VU_GET_VRING_BASE).state.index, 1);
	tear_down(&f);
}

/* --- what must not ------------------------------------------------------------------------- */

/* Sends it in a session of its own, which it ends. */
static void assert_ends(uint32_t request, uint32_t flags, const void *payload, uint32_t size,
			size_t fd_count)
{
	kiln_fd fds[16];
	struct fixture f;

	set_up(&f);
	negotiate(&f);
	for (size_t i = 0; i < fd_count; i++)
		fds[i] = f.memfd;
	send_raw(&f, request, flags, payload, size, fds, fd_count);
	if (!f.ended)
		print_error("request %u, flags %x, %u bytes, %zu descriptors\n", request, flags,
			    size, fd_count);
	assert_true(f.ended);
	assert_int_not_equal(f.code, 0);
	tear_down(&f);
}

static void broken_messages_end_the_session(void **state)
{
	static const unsigned char zeros[1024];

	(void)state;
	assert_ends(KILN__VU_GET_FEATURES, 0, NULL, 0, 0); /* no version */
	assert_ends(KILN__VU_GET_FEATURES, 2, NULL, 0, 0); /* another one */
	assert_ends(KILN__VU_GET_FEATURES, KILN__VU_VERSION | KILN__VU_REPLY, NULL, 0, 0);
	assert_ends(KILN__VU_GET_FEATURES, KILN__VU_VERSION, zeros, 8, 0);
	assert_ends(KILN__VU_SET_FEATURES, KILN__VU_VERSION, zeros, 4, 0);
	assert_ends(KILN__VU_SET_FEATURES, KILN__VU_VERSION, NULL, 0, 0);
	assert_ends(KILN__VU_SET_FEATURES, KILN__VU_VERSION, zeros, 8, 1);
	assert_ends(KILN__VU_SET_VRING_ADDR, KILN__VU_VERSION, zeros, 39, 0);
	assert_ends(KILN__VU_SET_MEM_TABLE, KILN__VU_VERSION, zeros, 7, 0);
	assert_ends(KILN__VU_SET_MEM_TABLE, KILN__VU_VERSION, zeros, 300, 0);
	assert_ends(KILN__VU_SET_MEM_TABLE, KILN__VU_VERSION, zeros, 8, 9);
	assert_ends(KILN__VU_GET_CONFIG, KILN__VU_VERSION, zeros, 11, 0);
	assert_ends(KILN__VU_GET_CONFIG, KILN__VU_VERSION, zeros, 20, 0);
	assert_ends(KILN__VU_SET_CONFIG, KILN__VU_VERSION, zeros, 12, 0); /* nothing is writable */
	assert_ends(0, KILN__VU_VERSION, NULL, 0, 0);
	assert_ends(12345, KILN__VU_VERSION, zeros, 8, 0);
	assert_ends(UINT32_MAX, KILN__VU_VERSION, NULL, 0, 0);
	assert_ends(KILN__VU_SET_LOG_BASE, KILN__VU_VERSION, zeros, 8, 0);
}

static void impossible_rings_end_the_session(void **state)
{
	static const struct kiln__vu_state nums[] = {
		{0, 0}, {0, 3}, {0, 2048}, {3, 16}, {UINT32_MAX, 16}};
	static const struct kiln__vu_state bases[] = {{0, 65536}, {3, 0}};
	static const struct kiln__vu_state enables[] = {{0, 2}, {3, 1}};
	struct kiln__vu_state state99 = {99, 0};
	struct kiln__vu_addr logged = {.flags = 1};
	uint64_t no_kick = KILN__VU_RING_NOFD;
	uint64_t events[] = {0, 3, 0x200, UINT64_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(nums) / sizeof(nums[0]); i++)
		assert_ends(KILN__VU_SET_VRING_NUM, KILN__VU_VERSION, &nums[i], 8, 0);
	for (size_t i = 0; i < 2; i++)
		assert_ends(KILN__VU_SET_VRING_BASE, KILN__VU_VERSION, &bases[i], 8, 0);
	for (size_t i = 0; i < 2; i++)
		assert_ends(KILN__VU_SET_VRING_ENABLE, KILN__VU_VERSION, &enables[i], 8, 0);
	assert_ends(KILN__VU_GET_VRING_BASE, KILN__VU_VERSION, &state99, 8, 0);
	assert_ends(KILN__VU_SET_VRING_ADDR, KILN__VU_VERSION, &logged, sizeof(logged), 0);
	assert_ends(KILN__VU_SET_VRING_KICK, KILN__VU_VERSION, &no_kick, 8, 0);
	for (size_t i = 0; i < 4; i++)
		assert_ends(KILN__VU_SET_VRING_CALL, KILN__VU_VERSION, &events[i], 8, 0);
	/* A memory file is no event. */
	assert_ends(KILN__VU_SET_VRING_CALL, KILN__VU_VERSION, &events[0], 8, 1);
	assert_ends(KILN__VU_SET_VRING_KICK, KILN__VU_VERSION, &events[0], 8, 1);
}

static void impossible_memory_is_refused(void **state)
{
	static const struct kiln__vu_region bad[] = {
		{0, MEMORY + 1, USER_BASE, 0},         /* beyond the file */
		{0, MEMORY, USER_BASE, 4096},          /* at its end */
		{0, 0, USER_BASE, 0},                  /* empty */
		{UINT64_MAX, 4096, USER_BASE, 0},      /* wraps */
		{0, 4096, UINT64_MAX, 0},              /* wraps in the front-end */
		{0, 4096, USER_BASE, UINT64_MAX - 10}, /* wraps in the file */
		{0, UINT64_MAX, USER_BASE, 0},
	};
	struct kiln__vu_memory table;
	kiln_fd fds[2];
	struct fixture f;
	kiln_fd soft;

	(void)state;
	set_up(&f);
	negotiate(&f);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		table = (struct kiln__vu_memory){.count = 1};
		table.regions[0] = bad[i];
		send_table(&f, &table, ACK, &f.memfd, 1);
		assert_int_equal(reply_to(&f, KILN__VU_SET_MEM_TABLE).u64, 1);
	}
	/* Regions that overlap. */
	table = (struct kiln__vu_memory){
		.count = 2,
		.regions = {{0, 8192, USER_BASE, 0}, {4096, 8192, USER_BASE + 8192, 0}}};
	fds[0] = fds[1] = f.memfd;
	send_table(&f, &table, ACK, fds, 2);
	assert_int_equal(reply_to(&f, KILN__VU_SET_MEM_TABLE).u64, 1);
	/* A file that may shrink under us. */
	soft = memfd_create("soft", MFD_CLOEXEC);
	assert_int_equal(ftruncate(soft, MEMORY), 0);
	table = table_of(&f);
	send_table(&f, &table, ACK, &soft, 1);
	assert_int_equal(reply_to(&f, KILN__VU_SET_MEM_TABLE).u64, 1);
	close(soft);
	/* No file at all. */
	send_table(&f, &table, ACK, &f.kick[0], 1);
	assert_int_equal(reply_to(&f, KILN__VU_SET_MEM_TABLE).u64, 1);
	/* Fewer descriptors than regions. */
	send_table(&f, &table, ACK, NULL, 0);
	assert_int_equal(reply_to(&f, KILN__VU_SET_MEM_TABLE).u64, 1);
	assert_false(f.ended);
	tear_down(&f);
}

static void without_an_ack_a_failed_request_ends_the_session(void **state)
{
	struct kiln__vu_memory table = {.count = 1, .regions = {{0, MEMORY * 2, USER_BASE, 0}}};
	struct fixture f;

	(void)state;
	set_up(&f);
	negotiate(&f);
	send_table(&f, &table, 0, &f.memfd, 1);
	assert_true(f.ended);
	assert_int_equal(f.code, KILN_EPROTO);
	assert_non_null(strstr(f.why, "beyond its file's end"));
	tear_down(&f);
}

static void rings_outside_memory_do_not_start(void **state)
{
	struct kiln__vu_addr addr = {.index = 0, .desc = 4096, .avail = 4096, .used = 4096};
	struct kiln__vu_memory table;
	struct fixture f;

	(void)state;
	set_up(&f);
	table = table_of(&f);
	negotiate(&f);
	send_table(&f, &table, 0, &f.memfd, 1);
	send_state(&f, KILN__VU_SET_VRING_NUM, 0, 16);
	send_state(&f, KILN__VU_SET_VRING_ENABLE, 0, 1);
	send_event(&f, KILN__VU_SET_VRING_KICK, 0, f.kick[0]);
	send_raw(&f, KILN__VU_SET_VRING_ADDR, KILN__VU_VERSION | ACK, &addr, sizeof(addr), NULL, 0);
	assert_int_equal(reply_to(&f, KILN__VU_SET_VRING_ADDR).u64, 1);
	addr.desc = addr.avail = addr.used = USER_BASE + MEMORY - 16; /* only its beginning */
	send_raw(&f, KILN__VU_SET_VRING_ADDR, KILN__VU_VERSION | ACK, &addr, sizeof(addr), NULL, 0);
	assert_int_equal(reply_to(&f, KILN__VU_SET_VRING_ADDR).u64, 1);
	assert_false(kiln__vsock_device(f.vsock)->queues[0].ready);
	tear_down(&f);
}

static void a_running_ring_cannot_be_moved(void **state)
{
	struct kiln__vu_state size = {0, 8};
	struct fixture f;

	(void)state;
	set_up(&f);
	start(&f);
	send_raw(&f, KILN__VU_SET_VRING_NUM, KILN__VU_VERSION | ACK, &size, 8, NULL, 0);
	assert_int_equal(reply_to(&f, KILN__VU_SET_VRING_NUM).u64, 1);
	send_u64(&f, KILN__VU_SET_FEATURES, ACK, KILN__VIRTIO_F_VERSION_1);
	assert_int_equal(reply_to(&f, KILN__VU_SET_FEATURES).u64, 1);
	tear_down(&f);
}

static void what_was_not_offered_cannot_be_accepted(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	negotiate(&f);
	send_u64(&f, KILN__VU_SET_FEATURES, ACK, 1ULL << 34 /* RING_PACKED */);
	assert_int_equal(reply_to(&f, KILN__VU_SET_FEATURES).u64, 1);
	send_u64(&f, KILN__VU_SET_PROTOCOL_FEATURES, ACK, 1ULL << 16 /* STATUS */);
	assert_int_equal(reply_to(&f, KILN__VU_SET_PROTOCOL_FEATURES).u64, 1);
	tear_down(&f);
}

static void a_front_end_that_takes_no_replies_is_given_up(void **state)
{
	struct kiln__vu_header ask = {KILN__VU_GET_FEATURES, KILN__VU_VERSION, 0};
	struct fixture f;

	(void)state;
	set_up(&f);
	for (unsigned i = 0; i < 100000 && !f.ended; i++) {
		ssize_t n = send(f.socket, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(n == sizeof(ask) || errno == EAGAIN || errno == EPIPE);
		kiln_loop_dispatch(f.loop);
	}
	assert_true(f.ended);
	assert_int_equal(f.code, KILN_EPROTO);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(configuration_space_is_read_by_message),
		kiln_test(packets_flow_and_events_tell_of_them),
		kiln_test(a_ring_runs_only_while_enabled),
		kiln_test(without_protocol_features_rings_begin_enabled),
		kiln_test(connections_survive_a_pause),
		kiln_test(a_driver_that_begins_anew_resets_the_device),
		kiln_test(reset_device_forgets_everything),
		kiln_test(memory_may_change_while_rings_run),
		kiln_test(a_broken_queue_signals_the_error_event),
		kiln_test(the_front_ends_end_is_an_end_in_order),
		kiln_test(a_message_may_come_in_pieces),
		kiln_test(broken_messages_end_the_session),
		kiln_test(impossible_rings_end_the_session),
		kiln_test(impossible_memory_is_refused),
		kiln_test(without_an_ack_a_failed_request_ends_the_session),
		kiln_test(rings_outside_memory_do_not_start),
		kiln_test(a_running_ring_cannot_be_moved),
		kiln_test(what_was_not_offered_cannot_be_accepted),
		kiln_test(a_front_end_that_takes_no_replies_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
