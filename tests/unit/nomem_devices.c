/* SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out while the guest's devices are made, and while they work. */
#include "kiln_test.h"

#include "balloon.h"
#include "blk.h"
#include "console.h"
#include "net.h"
#include "nomem.h"
#include "os.h"
#include "rng.h"
#include "virtio_guest.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *disk;

static int with_loop(int (*fn)(kiln_loop *loop, kiln_error *err), kiln_error *err)
{
	kiln_loop *loop = NULL;
	int r = kiln_loop_new(&loop, err);

	if (r < 0)
		return r;
	r = fn(loop, err);
	kiln_loop_free(loop);
	return r;
}

static void begin(struct virtio_guest *guest, struct kiln__virtio *device)
{
	long suspended = nomem_suspend();

	virtio_guest_init(guest, device, ~0ULL, 16);
	nomem_resume(suspended);
}

/* --- small ones ---------------------------------------------------------------------- */

static int make_rng(kiln_loop *loop, kiln_error *err)
{
	struct kiln__rng *rng = NULL;
	int r = kiln__rng_new(&rng, loop, NULL, err);

	kiln__rng_free(rng);
	return r;
}

static void discard(void *data, uint64_t gpa, uint64_t len)
{
	(void)data;
	(void)gpa;
	(void)len;
}

static int make_balloon(kiln_loop *loop, kiln_error *err)
{
	struct kiln__balloon_options options = {.discard = discard};
	struct kiln__balloon *balloon = NULL;
	int r = kiln__balloon_new(&balloon, loop, &options, err);

	kiln__balloon_free(balloon);
	return r;
}

static size_t output(void *data, unsigned port, const void *bytes, size_t len)
{
	(void)data;
	(void)port;
	(void)bytes;
	return len;
}

static int make_console(kiln_loop *loop, kiln_error *err)
{
	static const struct kiln__console_handler handler = {.output = output};
	struct kiln__console_options options = {.port_count = 1, .handler = &handler};
	struct kiln__console *console = NULL;
	int r = kiln__console_new(&console, loop, &options, err);

	kiln__console_free(console);
	return r;
}

/* --- blk --------------------------------------------------------------------------------- */

static int make_blk(struct kiln__blk **ret, kiln_loop *loop, bool threads, kiln_error *err)
{
	struct kiln__blk_options options = {
		.path = disk, .fd = KILN_FD_NONE, .cache = KILN__BLK_DIRECT, .no_ring = threads};

	return kiln__blk_new(ret, loop, &options, err);
}

static int make_disk(kiln_loop *loop, kiln_error *err)
{
	struct kiln__blk *blk = NULL;
	int r = make_blk(&blk, loop, false, err);

	kiln__blk_free(blk);
	return r;
}

/* A read into odd memory, which takes a bounce buffer: done, or refused by its status. */
static int read_disk(kiln_loop *loop, bool threads, kiln_error *err)
{
	struct vring_part parts[] = {
		{VG_BUFFERS, 16}, {VG_BUFFERS + 4097, 4096}, {VG_BUFFERS + 64, 1}};
	struct kiln__blk *blk = NULL;
	struct virtio_guest guest;
	uint32_t len;
	int r = make_blk(&blk, loop, threads, err);

	if (r < 0)
		return r;
	begin(&guest, kiln__blk_device(blk));
	guest.memory[VG_BUFFERS + 64] = 0xee;
	virtio_guest_send(&guest, 0, parts, 1, 2);
	virtio_guest_stop(&guest); /* which waits */
	assert_true(vring_take(&guest.rings[0], &len) >= 0);
	assert_true(guest.memory[VG_BUFFERS + 64] <= 1);
	if (guest.memory[VG_BUFFERS + 64] == 0)
		assert_int_equal(guest.memory[VG_BUFFERS + 4097], 'k');
	assert_int_equal(guest.needs_reset, 0);
	virtio_guest_done(&guest);
	kiln__blk_free(blk);
	return 0;
}

static int read_by_ring(kiln_loop *loop, kiln_error *err)
{
	return read_disk(loop, false, err);
}

static int read_by_threads(kiln_loop *loop, kiln_error *err)
{
	return read_disk(loop, true, err);
}

/* --- net --------------------------------------------------------------------------------- */

static int make_net(struct kiln__net **ret, kiln_loop *loop, kiln_fd *ret_peer, kiln_error *err)
{
	struct kiln__net_options options = {.mtu = 0};
	struct kiln__net_backend *backend = NULL;
	kiln_fd ends[2];
	int r = kiln__os_socket_pair(ends, err);

	if (r < 0)
		return r;
	r = kiln__net_stream_take(&backend, ends[0], err);
	if (r < 0)
		kiln__os_close(ends[0]);
	if (r == 0) {
		r = kiln__net_new(ret, loop, backend, &options, err);
		if (r < 0)
			kiln__net_backend_free(backend);
	}
	if (r < 0)
		kiln__os_close(ends[1]);
	else
		*ret_peer = ends[1];
	return r;
}

static int make_network(kiln_loop *loop, kiln_error *err)
{
	struct kiln__net *net = NULL;
	kiln_fd peer = KILN_FD_NONE;
	int r = make_net(&net, loop, &peer, err);

	kiln__net_free(net);
	kiln__os_close(peer);
	return r;
}

/* A frame out and a frame in: there, or lost, but never the device. */
static int move_frames(kiln_loop *loop, kiln_error *err)
{
	static unsigned char frame[4 + 60] = {0, 0, 0, 60};
	struct vring_part out = {VG_BUFFERS, 12 + 60};
	struct vring_part in = {VG_BUFFERS + 4096, 2048};
	struct virtio_guest guest;
	struct kiln__net *net = NULL;
	kiln_fd peer = KILN_FD_NONE;
	int r = make_net(&net, loop, &peer, err);

	if (r < 0)
		return r;
	begin(&guest, kiln__net_device(net));
	assert_int_equal(write(peer, frame, sizeof(frame)), sizeof(frame));
	virtio_guest_send(&guest, 1, &out, 1, 0);
	virtio_guest_send(&guest, 0, &in, 0, 1);
	for (unsigned i = 0; i < 5; i++)
		kiln_loop_dispatch(loop);
	assert_int_equal(guest.needs_reset, 0);
	virtio_guest_done(&guest);
	kiln__net_free(net);
	kiln__os_close(peer);
	return 0;
}

/* --- the rules --------------------------------------------------------------------------- */

static int run(void *data, kiln_error *err)
{
	int (*fn)(kiln_loop *, kiln_error *);

	memcpy(&fn, data, sizeof(fn));
	return with_loop(fn, err);
}

static void write_disk(void)
{
	char block[4096];
	int fd;

	disk = kiln_test_path("disk");
	fd = open(disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	memset(block, 'k', sizeof(block));
	assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
	close(fd);
}

static void making_a_device_fails_whole(void **state)
{
	int (*makers[])(kiln_loop *, kiln_error *) = {make_rng, make_balloon, make_console,
						      make_disk, make_network};

	(void)state;
	write_disk();
	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++)
		nomem_each(run, &makers[i], NOMEM_TOLD);
}

static void a_device_at_work_gets_over_it(void **state)
{
	int (*workers[])(kiln_loop *, kiln_error *) = {read_by_ring, read_by_threads, move_frames};

	(void)state;
	write_disk();
	for (size_t i = 0; i < sizeof(workers) / sizeof(workers[0]); i++)
		nomem_each(run, &workers[i], NOMEM_TOLERATED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(making_a_device_fails_whole),
		kiln_test(a_device_at_work_gets_over_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
