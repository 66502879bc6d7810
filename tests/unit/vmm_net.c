/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device against a driver in memory: with the test at the other end of a stream
 * socket, with a real passt, and with a real TAP interface in a network namespace of its own.
 */
#include "kiln_test.h"

#include "net.h"
#include "os.h"
#include "virtio_guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RX, TX };

#define ALL    (~0ULL)
#define NO_MRG (~KILN__NET_F_MRG_RXBUF)
#define RING   256
#define HEADER KILN__NET_HEADER
#define BIG    65549u

struct fixture {
	kiln_loop *loop;
	struct kiln__net *net;
	struct virtio_guest guest;
	kiln_fd peer; /* the other end of a stream */
	unsigned broken;
	uint64_t buffers[256]; /* by head */
};

static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

static void on_broken(void *data, const kiln_error *err)
{
	struct fixture *f = data;

	assert_int_equal(err->code, KILN_EDIED);
	f->broken++;
}

static unsigned char pattern(size_t at, unsigned seed)
{
	return (unsigned char)((at * 2654435761u >> 11) + seed * 97);
}

static void set_up_on(struct fixture *f, struct kiln__net_backend *backend, uint64_t features)
{
	struct kiln__net_options options = {.mtu = 1400, .broken = on_broken, .data = f};
	kiln_error err;

	memcpy(options.mac, mac, sizeof(mac));
	kiln_ok(kiln__net_new(&f->net, f->loop, backend, &options, &err), &err);
	virtio_guest_init(&f->guest, kiln__net_device(f->net), features, RING);
}

static void set_up(struct fixture *f, uint64_t features)
{
	struct kiln__net_backend *backend = NULL;
	kiln_fd ends[2];
	kiln_error err;

	memset(f, 0, sizeof(*f));
	kiln_ok(kiln_loop_new(&f->loop, &err), &err);
	kiln_ok(kiln__os_socket_pair(ends, &err), &err);
	f->peer = ends[1];
	kiln_ok(kiln__os_set_nonblocking(f->peer, true, &err), &err);
	kiln_ok(kiln__net_stream_take(&backend, ends[0], &err), &err);
	set_up_on(f, backend, features);
}

static void tear_down(struct fixture *f)
{
	virtio_guest_done(&f->guest);
	kiln__net_free(f->net);
	kiln_loop_free(f->loop);
	kiln__os_close(f->peer);
}

/* --- the guest ------------------------------------------------------------------------- */

static void give_buffers(struct fixture *f, unsigned count, uint32_t size)
{
	for (unsigned i = 0; i < count; i++) {
		/* In two pieces, cut in the middle of the header. */
		struct vring_part parts[2] = {{virtio_guest_alloc(&f->guest, size, 1), 11}, {0, 0}};
		int head;

		parts[1] = (struct vring_part){parts[0].gpa + 11, size - 11};
		head = vring_add(&f->guest.rings[RX], parts, 0, 2);
		assert_true(head >= 0);
		f->buffers[head] = parts[0].gpa;
	}
	virtio_guest_kick(&f->guest, RX);
}

/* Takes one frame, of whatever number of buffers. Its length, 0 if there is none. */
static size_t guest_receives(struct fixture *f, unsigned char *frame, size_t size)
{
	struct vring *ring = &f->guest.rings[RX];
	uint32_t len = 0;
	int head = vring_take(ring, &len);
	unsigned buffers;
	size_t n;

	if (head < 0)
		return 0;
	assert_true(len > HEADER && len - HEADER <= size);
	buffers = f->guest.memory[f->buffers[head] + 10] +
		  256u * f->guest.memory[f->buffers[head] + 11];
	n = len - HEADER;
	memcpy(frame, f->guest.memory + f->buffers[head] + HEADER, n);
	for (unsigned i = 1; i < buffers; i++) {
		head = vring_take(ring, &len);
		assert_true(head >= 0 && n + len <= size);
		memcpy(frame + n, f->guest.memory + f->buffers[head], len);
		n += len;
	}
	return n;
}

/* Puts a frame up for sending, without kick. False if the ring is full. */
static bool guest_queues(struct fixture *f, const unsigned char *frame, size_t len)
{
	uint64_t at = virtio_guest_alloc(&f->guest, HEADER + len, 1);
	uint32_t cut = (uint32_t)len / 3;
	struct vring_part parts[] = {
		{at, HEADER}, {at + HEADER, cut}, {at + HEADER + cut, (uint32_t)len - cut}};

	memset(f->guest.memory + at, 0, HEADER);
	memcpy(f->guest.memory + at + HEADER, frame, len);
	return vring_add(&f->guest.rings[TX], parts, 3, 0) >= 0;
}

static unsigned sent(struct fixture *f)
{
	uint32_t len;
	unsigned n = 0;

	while (vring_take(&f->guest.rings[TX], &len) >= 0)
		n++;
	return n;
}

/* --- the peer ---------------------------------------------------------------------------- */

static void make_frame(unsigned char *frame, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = pattern(i, seed);
}

static void assert_frame(const unsigned char *frame, size_t got, size_t len, unsigned seed)
{
	assert_int_equal(got, len);
	for (size_t i = 0; i < len; i++)
		if (frame[i] != pattern(i, seed))
			fail_msg("byte %zu of %zu differs", i, len);
}

static void peer_sends(struct fixture *f, const unsigned char *frame, size_t len)
{
	unsigned char bytes[4 + BIG];

	for (unsigned i = 0; i < 4; i++)
		bytes[i] = (unsigned char)(len >> (24 - 8 * i));
	memcpy(bytes + 4, frame, len);
	assert_int_equal(write(f->peer, bytes, 4 + len), 4 + len);
}

static void read_all(struct fixture *f, unsigned char *bytes, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ssize_t n = read(f->peer, bytes + at, len - at);

		if (n < 0 && errno == EAGAIN) {
			kiln_loop_step(f->loop);
			continue;
		}
		assert_true(n > 0);
		at += (size_t)n;
	}
}

static size_t peer_receives(struct fixture *f, unsigned char *frame, size_t size)
{
	unsigned char length[4];
	size_t len;

	read_all(f, length, 4);
	len = (size_t)length[2] << 8 | length[3] | (size_t)length[1] << 16;
	assert_true(len <= size);
	read_all(f, frame, len);
	return len;
}

/* --- the stream ----------------------------------------------------------------------------- */

static const size_t sizes[] = {14, 15, 60, 1500, 1514, 9000, 30000, BIG};

static void frames_go_both_ways(void **state)
{
	static unsigned char frame[BIG + 100];
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		make_frame(frame, sizes[i], i);
		assert_true(guest_queues(&f, frame, sizes[i]));
		virtio_guest_kick(&f.guest, TX);
		memset(frame, 0, sizeof(frame));
		assert_frame(frame, peer_receives(&f, frame, sizeof(frame)), sizes[i], i);
	}
	kiln_test_settle(f.loop);
	assert_int_equal(sent(&f), sizeof(sizes) / sizeof(sizes[0]));
	/* Small buffers: a large frame takes many of them. */
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (uint32_t size = 3000; size <= 70000; size += 67000) {
			give_buffers(&f, size == 3000 ? 24 : 1, size);
			make_frame(frame, sizes[i], i);
			peer_sends(&f, frame, sizes[i]);
			kiln_test_settle(f.loop);
			memset(frame, 0, sizeof(frame));
			assert_frame(frame, guest_receives(&f, frame, sizeof(frame)), sizes[i], i);
			virtio_guest_restart(&f.guest, ALL, RING);
		}
	}
	assert_int_equal(f.guest.needs_reset + f.broken, 0);
	tear_down(&f);
}

static void without_buffers_nothing_is_read_and_nothing_lost(void **state)
{
	static unsigned char frame[BIG];
	struct pollfd idle;
	struct fixture f;
	unsigned n = 0;

	(void)state;
	set_up(&f, ALL);
	make_frame(frame, 1000, 1);
	for (unsigned i = 0; i < 20; i++) {
		make_frame(frame, 1000 + i, i);
		peer_sends(&f, frame, 1000 + i);
	}
	kiln_test_settle(f.loop);
	/* What cannot be read now wakes nobody. */
	idle = (struct pollfd){kiln_loop_fd(f.loop), POLLIN, 0};
	assert_int_equal(poll(&idle, 1, 0), 0);
	while (n < 20) {
		give_buffers(&f, 3, 600); /* one frame and a half */
		kiln_test_settle(f.loop);
		for (size_t len; (len = guest_receives(&f, frame, sizeof(frame))) > 0; n++)
			assert_frame(frame, len, 1000 + n, n);
	}
	assert_int_equal(f.broken, 0);
	tear_down(&f);
}

static void frames_that_cannot_fit_are_dropped(void **state)
{
	static unsigned char frame[BIG];
	struct fixture f;

	(void)state;
	set_up(&f, NO_MRG);
	give_buffers(&f, 2, 1000);
	make_frame(frame, 2000, 1);
	peer_sends(&f, frame, 2000);
	make_frame(frame, 500, 2);
	peer_sends(&f, frame, 500);
	kiln_test_settle(f.loop);
	assert_frame(frame, guest_receives(&f, frame, sizeof(frame)), 500, 2);
	assert_int_equal(guest_receives(&f, frame, sizeof(frame)), 0);
	tear_down(&f);
}

static void a_full_peer_holds_the_guest_back(void **state)
{
	static unsigned char frame[BIG];
	struct fixture f;
	unsigned queued = 0;
	unsigned back = 0;

	(void)state;
	set_up(&f, ALL);
	for (unsigned round = 0; round < 100; round++) {
		make_frame(frame, 30000, queued);
		if (!guest_queues(&f, frame, 30000))
			break;
		queued++;
		virtio_guest_kick(&f.guest, TX);
		kiln_test_settle(f.loop);
		back += sent(&f);
	}
	assert_true(queued < 100 && back < queued);
	/* A pause in between. */
	virtio_guest_stop(&f.guest);
	kiln_test_settle(f.loop);
	virtio_guest_start(&f.guest);
	for (unsigned i = 0; i < queued; i++)
		assert_frame(frame, peer_receives(&f, frame, sizeof(frame)), 30000, i);
	kiln_test_settle(f.loop);
	assert_int_equal(back + sent(&f), queued);
	tear_down(&f);
}

static void a_batch_costs_one_kick_and_one_notification(void **state)
{
	static unsigned char frame[BIG];
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	make_frame(frame, 100, 0);
	for (unsigned i = 0; i < 20; i++)
		assert_true(guest_queues(&f, frame, 100));
	virtio_guest_kick(&f.guest, TX);
	assert_int_equal(sent(&f), 20);
	assert_int_equal(f.guest.notified[TX], 1);
	/* All twenty left in one write: as one read shows. */
	assert_int_equal(read(f.peer, frame, sizeof(frame)), 20 * 104);
	give_buffers(&f, 30, 600);
	for (unsigned i = 0; i < 20; i++)
		peer_sends(&f, frame, 100);
	kiln_test_settle(f.loop);
	assert_int_equal(f.guest.notified[RX], 1);
	tear_down(&f);
}

/* All of them in one write, so that one read has them: no event tells of those after the first
 * round. */
static void more_than_a_round_arrives(void **state)
{
	static unsigned char frame[BIG];
	static unsigned char many[200 * 64];
	struct fixture f;
	unsigned n = 0;

	(void)state;
	set_up(&f, ALL);
	for (unsigned i = 0; i < 200; i++)
		many[i * 64 + 3] = 60;
	assert_int_equal(write(f.peer, many, sizeof(many)), sizeof(many));
	for (unsigned round = 0; round < 100 && n < 200; round++) {
		give_buffers(&f, f.guest.rings[RX].free_count / 2, 100);
		kiln_test_settle(f.loop);
		while (guest_receives(&f, frame, sizeof(frame)))
			n++;
	}
	assert_int_equal(n, 200);
	tear_down(&f);
}

static void a_peer_that_ends_or_lies_takes_the_link_down(void **state)
{
	static const unsigned char lies[][4] = {
		{0, 0, 0, 13}, {0, 1, 0, 15}, {255, 255, 255, 255}, {0, 0, 0, 0}};
	unsigned char lie[60] = {0};
	struct fixture f;
	uint16_t status;
	kiln_error err;

	(void)state;
	for (unsigned i = 0; i <= sizeof(lies) / sizeof(lies[0]); i++) {
		set_up(&f, ALL);
		give_buffers(&f, 2, 2000);
		kiln_ok(kiln__virtio_config_read(f.guest.device, 6, &status, 2, &err), &err);
		assert_int_equal(status, 1);
		if (i < sizeof(lies) / sizeof(lies[0])) {
			assert_int_equal(write(f.peer, lies[i], 4), 4);
		} else {
			kiln__os_close(f.peer);
			f.peer = KILN_FD_NONE;
		}
		kiln_test_settle(f.loop);
		assert_int_equal(f.broken, 1);
		assert_int_equal(f.guest.config_changes, 1);
		kiln_ok(kiln__virtio_config_read(f.guest.device, 6, &status, 2, &err), &err);
		assert_int_equal(status, 0);
		/* The guest's frames go nowhere, and it is not held up. */
		assert_true(guest_queues(&f, lie, sizeof(lie)));
		virtio_guest_kick(&f.guest, TX);
		assert_int_equal(sent(&f), 1);
		assert_int_equal(f.guest.needs_reset, 0);
		tear_down(&f);
	}
}

static void configuration_and_cable(void **state)
{
	unsigned char config[12];
	unsigned char frame[100] = {0};
	struct fixture f;
	kiln_error err;

	(void)state;
	set_up(&f, ALL);
	kiln_ok(kiln__virtio_config_read(f.guest.device, 0, config, 12, &err), &err);
	assert_memory_equal(config, mac, 6);
	assert_int_equal(config[8], 1);
	assert_int_equal(config[10] + 256 * config[11], 1400);
	/* No offloads by a stream. */
	assert_int_equal(
		f.guest.device->ops->features & (KILN__NET_F_CSUM | KILN__NET_F_GUEST_TSO4), 0);
	give_buffers(&f, 4, 2000);
	kiln__net_set_link(f.net, false);
	assert_int_equal(f.guest.config_changes, 1);
	peer_sends(&f, frame, 100);
	kiln_test_settle(f.loop);
	assert_int_equal(guest_receives(&f, frame, sizeof(frame)), 0);
	assert_true(guest_queues(&f, frame, 60));
	virtio_guest_kick(&f.guest, TX);
	assert_int_equal(sent(&f), 1);
	kiln__net_set_link(f.net, true);
	kiln_test_settle(f.loop);
	assert_int_equal(guest_receives(&f, frame, sizeof(frame)), 100);
	assert_int_equal(read(f.peer, frame, 100), -1);
	tear_down(&f);
}

static void malformed_buffers_and_old_drivers_break_the_device(void **state)
{
	struct vring_part part = {VG_BUFFERS, 20};
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	virtio_guest_send(&f.guest, TX, &part, 1, 0);
	assert_int_equal(f.guest.needs_reset, 1);
	virtio_guest_restart(&f.guest, ALL, RING);
	virtio_guest_send(&f.guest, RX, &part, 0, 1);
	peer_sends(&f, mac, 6);
	kiln_test_settle(f.loop);
	assert_int_equal(f.guest.needs_reset, 2);
	virtio_guest_restart(&f.guest, ALL & ~KILN__VIRTIO_F_VERSION_1, RING);
	assert_int_equal(f.guest.needs_reset, 3);
	tear_down(&f);
}

/* --- vhost ------------------------------------------------------------------------------- */

static unsigned handed_over[2];
static unsigned given_back[2];

static int queue_fds(void *data, unsigned queue, kiln_fd *ret_kick, kiln_fd *ret_call)
{
	(void)data;
	if (!ret_kick) {
		given_back[queue]++;
		return 0;
	}
	handed_over[queue]++;
	*ret_kick = *ret_call = 0;
	return 0;
}

/* What is no vhost refuses every request: then frames go by hand, as if it had not been tried. */
static void a_vhost_that_refuses_is_done_without(void **state)
{
	static unsigned char frame[BIG];
	struct kiln__net_backend *backend = NULL;
	kiln_fd ends[2];
	struct fixture f;
	kiln_error err;

	(void)state;
	memset(&f, 0, sizeof(f));
	kiln_ok(kiln_loop_new(&f.loop, &err), &err);
	kiln_ok(kiln__os_socket_pair(ends, &err), &err);
	f.peer = ends[1];
	kiln_ok(kiln__os_set_nonblocking(f.peer, true, &err), &err);
	kiln_ok(kiln__net_stream_take(&backend, ends[0], &err), &err);
	backend->vhost = open("/dev/null", O_RDWR | O_CLOEXEC);
	set_up_on(&f, backend, ALL);
	f.guest.queue_fds = queue_fds;
	virtio_guest_restart(&f.guest, ALL, RING);
	assert_false(kiln__net_is_in_kernel(f.net));
	assert_int_equal(handed_over[0] + handed_over[1], given_back[0] + given_back[1]);
	make_frame(frame, 100, 1);
	assert_true(guest_queues(&f, frame, 100));
	virtio_guest_kick(&f.guest, TX);
	assert_frame(frame, peer_receives(&f, frame, sizeof(frame)), 100, 1);
	kiln__os_close(backend->vhost);
	backend->vhost = KILN_FD_NONE;
	tear_down(&f);
}

/* --- TAP --------------------------------------------------------------------------------- */

/* A network namespace of the test's own, in a child process: what it returns is the exit code. */
static int in_namespace(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) < 0)
			_exit(77);
		alarm(KILN_TEST_DEADLINE_MS / 1000);
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int make_tap(const char *name)
{
	struct ifreq request;
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memset(&request, 0, sizeof(request));
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		return -1;
	close(fd);
	request.ifr_flags = IFF_UP;
	if (ioctl(s, SIOCSIFFLAGS, &request) < 0)
		return -1;
	close(s);
	return 0;
}

/* A socket that sees and sends frames at the interface. */
static int packet_socket(const char *name)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = (int)if_nametoindex(name)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	return fd;
}

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                 \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static bool is_ours(const unsigned char *frame, size_t len)
{
	return len > 14 && frame[12] == 0x88 && frame[13] == 0xb5; /* for experiments */
}

static int tap_steps(void)
{
	static unsigned char frame[BIG];
	static unsigned char other[BIG];
	struct kiln__net_backend *backend = NULL;
	struct kiln__net_backend *second = NULL;
	struct fixture f;
	kiln_error err = KILN_ERROR_INIT;
	unsigned count = 0;
	int packets;

	memset(&f, 0, sizeof(f));
	f.peer = KILN_FD_NONE;
	CHECK(kiln__net_tap_open(&backend, "absent0", true, &err) == KILN_ENOENT);
	CHECK(strstr(err.message, "there is no TAP interface absent0") && err.hint[0]);
	CHECK(if_nametoindex("absent0") == 0);
	CHECK(kiln__net_tap_open(&backend, "lo", true, &err) == KILN_EINVAL);
	CHECK(kiln__net_tap_open(&backend, "a-name-that-is-too-long", true, &err) == KILN_EINVAL);
	if (make_tap("tap0") < 0)
		return 77;
	CHECK(kiln__net_tap_open(&backend, "tap0", true, &err) == 0);
	CHECK(kiln__net_tap_open(&second, "tap0", true, &err) == KILN_EBUSY);
	packets = packet_socket("tap0");
	CHECK(packets >= 0);
	CHECK(kiln_loop_new(&f.loop, &err) == 0);
	set_up_on(&f, backend, ALL);
	CHECK(f.guest.device->features & KILN__NET_F_CSUM);
	make_frame(frame, 1000, 1);
	memcpy(frame, "\xff\xff\xff\xff\xff\xff", 6);
	memcpy(frame + 6, "\x52\x54\x00\x01\x02\x03\x88\xb5", 8);
	for (unsigned i = 0; i < 20; i++)
		CHECK(guest_queues(&f, frame, 1000));
	virtio_guest_kick(&f.guest, TX);
	CHECK(sent(&f) == 20);
	CHECK(f.guest.notified[TX] == 1);
	while (count < 20) {
		struct pollfd p = {packets, POLLIN, 0};
		ssize_t n;

		CHECK(poll(&p, 1, 10000) == 1);
		n = recv(packets, other, sizeof(other), 0);
		if (n < 0 || !is_ours(other, (size_t)n))
			continue;
		CHECK(n == 1000 && memcmp(frame, other, 1000) == 0);
		count++;
	}
	give_buffers(&f, 30, 1800);
	for (count = 0; count < 10; count++)
		CHECK(send(packets, frame, 1000, 0) == 1000);
	for (count = 0; count < 10;) {
		size_t n = guest_receives(&f, other, sizeof(other));

		if (n == 0) {
			kiln_loop_step(f.loop);
			continue;
		}
		if (!is_ours(other, n))
			continue; /* neighbour discovery */
		CHECK(n == 1000 && memcmp(frame, other, 1000) == 0);
		count++;
	}
	tear_down(&f);
	close(packets);
	return 0;
}

static void a_tap_interface_carries_frames(void **state)
{
	int code = in_namespace(tap_steps);

	(void)state;
	if (code == 77) {
		print_message("skipped: no network namespace or no TAP for this user\n");
		skip();
	}
	assert_int_equal(code, 0);
}

static int passt_steps(void)
{
	static unsigned char frame[1600];
	static const char *const argv[] = {"passt", "--foreground", "--quiet",    "--fd",
					   "10",    "--address",    "192.0.2.15", "--netmask",
					   "24",    "--gateway",    "192.0.2.2",  "--ipv4-only",
					   NULL};
	struct kiln__net_backend *backend = NULL;
	kiln__autofree char *path = NULL;
	struct kiln__child *passt = NULL;
	struct kiln__exit how;
	struct fixture f;
	kiln_error err = KILN_ERROR_INIT;
	kiln_fd ends[2];
	size_t n = 0;
	/* Who has 192.0.2.2? Tell 192.0.2.15. */
	static const unsigned char arp[42] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    1,    2,   3, 8, 6,
		0,    1,    8,    0,    6,    4,    0,    1,    0x52, 0x54, 0,   1, 2, 3,
		192,  0,    2,    15,   0,    0,    0,    0,    0,    0,    192, 0, 2, 2};

	memset(&f, 0, sizeof(f));
	f.peer = KILN_FD_NONE;
	if (kiln__os_find_program(&path, "passt", &err) < 0)
		return 77;
	if (make_tap("up0") < 0) /* passt wants an interface to copy addresses from */
		return 77;
	if (system("ip addr add 192.0.2.15/24 dev up0 && ip route add default via 192.0.2.2") != 0)
		return 77;
	CHECK(kiln__os_socket_pair(ends, &err) == 0);
	struct kiln__spawn_fd fds[] = {{ends[1], 10}, {2, 2}};
	struct kiln__spawn spawn = {
		.path = path, .argv = argv, .fds = fds, .fd_count = 2, .die_with_parent = true};
	CHECK(kiln__child_spawn(&passt, &spawn, &err) == 0);
	kiln__os_close(ends[1]);
	CHECK(kiln__net_stream_take(&backend, ends[0], &err) == 0);
	CHECK(kiln_loop_new(&f.loop, &err) == 0);
	set_up_on(&f, backend, ALL);
	give_buffers(&f, 20, 2000);
	CHECK(guest_queues(&f, arp, sizeof(arp)));
	virtio_guest_kick(&f.guest, TX);
	while (!f.broken) {
		n = guest_receives(&f, frame, sizeof(frame));
		if (n >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2)
			break;
		if (n == 0)
			kiln_loop_step(f.loop);
	}
	CHECK(!f.broken);
	CHECK(memcmp(frame, mac, 6) == 0 && memcmp(frame + 28, "\xc0\x00\x02\x02", 4) == 0);
	/* The end of passt is the end of the link. */
	kiln__child_kill(passt);
	while (!f.broken)
		kiln_loop_step(f.loop);
	CHECK(kiln__child_wait(passt, 10000, &how, &err) == 0);
	kiln__child_free(passt);
	tear_down(&f);
	return 0;
}

static void a_real_passt_answers(void **state)
{
	int code = in_namespace(passt_steps);

	(void)state;
	if (code == 77) {
		print_message("skipped: no passt, or no network namespace for this user\n");
		skip();
	}
	assert_int_equal(code, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(frames_go_both_ways),
		kiln_test(without_buffers_nothing_is_read_and_nothing_lost),
		kiln_test(frames_that_cannot_fit_are_dropped),
		kiln_test(a_full_peer_holds_the_guest_back),
		kiln_test(a_batch_costs_one_kick_and_one_notification),
		kiln_test(more_than_a_round_arrives),
		kiln_test(a_peer_that_ends_or_lies_takes_the_link_down),
		kiln_test(configuration_and_cable),
		kiln_test(malformed_buffers_and_old_drivers_break_the_device),
		kiln_test(a_vhost_that_refuses_is_done_without),
		kiln_test(a_tap_interface_carries_frames),
		kiln_test(a_real_passt_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
