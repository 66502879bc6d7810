/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device against a driver in memory, on real files: by io_uring and by threads, through
 * the page cache and past it.
 */
#include "kiln_test.h"

#include "blk.h"
#include "os.h"
#include "virtio_guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/loop.h>

#define ALL    (~0ULL)
#define FLUSH  (1ULL << 9)
#define WCE    (1ULL << 11)
#define RING   128
#define SECTOR 512u

#define T_IN           0u
#define T_OUT          1u
#define T_FLUSH        4u
#define T_GET_ID       8u
#define T_DISCARD      11u
#define T_WRITE_ZEROES 13u
#define S_OK           0
#define S_IOERR        1
#define S_UNSUPP       2
#define S_NONE         0xee

#define DISK_SIZE ((size_t)4 << 20)

struct fixture {
	kiln_loop *loop;
	struct kiln__blk *blk;
	struct virtio_guest guest;
	const char *path;
};

struct header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};

struct segment {
	uint64_t sector;
	uint32_t count;
	uint32_t flags;
};

/* One request, from being sent until its status is there. */
struct request {
	uint64_t header;
	uint64_t data;
	uint64_t status;
	size_t len;
	int head;
	bool done;
	uint32_t used;
};

static unsigned char pattern(uint64_t at, unsigned seed)
{
	uint64_t x = (at + 1) * 0x9e3779b97f4a7c15ULL + seed;

	return (unsigned char)((x ^ x >> 29) >> 13);
}

static void make_disk(const char *path, size_t size)
{
	unsigned char *bytes = malloc(size);
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(bytes && fd >= 0);
	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(i, 0);
	assert_int_equal(write(fd, bytes, size), size);
	free(bytes);
	close(fd);
}

static struct kiln__blk_options options_of(const char *path)
{
	return (struct kiln__blk_options){.path = path, .fd = KILN_FD_NONE, .serial = "disk-one"};
}

static void set_up_with(struct fixture *f, const struct kiln__blk_options *options,
			uint64_t features)
{
	kiln_error err;

	memset(f, 0, sizeof(*f));
	f->path = options->path;
	kiln_ok(kiln_loop_new(&f->loop, &err), &err);
	kiln_ok(kiln__blk_new(&f->blk, f->loop, options, &err), &err);
	virtio_guest_init(&f->guest, kiln__blk_device(f->blk), features, RING);
}

static void set_up(struct fixture *f)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));

	make_disk(options.path, DISK_SIZE);
	options.discard = true;
	set_up_with(f, &options, ALL);
}

static void tear_down(struct fixture *f)
{
	virtio_guest_done(&f->guest);
	kiln__blk_free(f->blk);
	kiln_loop_free(f->loop);
}

/* --- requests ---------------------------------------------------------------------- */

/* Lays a request out, its data cut into @pieces, and puts it up; no kick. */
static void put(struct fixture *f, struct request *req, uint32_t type, uint64_t sector, size_t len,
		unsigned pieces)
{
	struct header header = {type, 0, sector};
	struct vring_part parts[64];
	unsigned count = 0;
	bool in = type == T_IN || type == T_GET_ID;

	if (!req->data)
		req->data = virtio_guest_alloc(&f->guest, len, 512);
	req->header = virtio_guest_alloc(&f->guest, sizeof(header), 1);
	req->status = virtio_guest_alloc(&f->guest, 1, 1);
	req->len = len;
	req->done = false;
	memcpy(f->guest.memory + req->header, &header, sizeof(header));
	f->guest.memory[req->status] = S_NONE;
	parts[count++] = (struct vring_part){req->header, sizeof(header)};
	for (unsigned i = 0; i < pieces && len > 0; i++) {
		size_t from = len * i / pieces;
		size_t to = len * (i + 1) / pieces;

		parts[count++] = (struct vring_part){req->data + from, (uint32_t)(to - from)};
	}
	parts[count++] = (struct vring_part){req->status, 1};
	req->head = vring_add(&f->guest.rings[0], parts, in ? 1 : count - 1, in ? count - 1 : 1);
	assert_true(req->head >= 0);
}

static unsigned collect(struct fixture *f, struct request *reqs, unsigned count)
{
	unsigned n = 0;
	uint32_t len;
	int head;

	while ((head = vring_take(&f->guest.rings[0], &len)) >= 0) {
		bool found = false;

		for (unsigned i = 0; i < count && !found; i++) {
			if (reqs[i].done || reqs[i].head != head)
				continue;
			found = reqs[i].done = true;
			reqs[i].used = len;
		}
		assert_true(found);
		n++;
	}
	vring_ask_interrupt(&f->guest.rings[0]);
	return n;
}

/* Kicks and waits until all of the requests are done. */
static void run(struct fixture *f, struct request *reqs, unsigned count)
{
	unsigned left = count;
	int64_t deadline = kiln__os_monotonic_ns() + (int64_t)KILN_TEST_DEADLINE_MS * 1000000;

	virtio_guest_kick(&f->guest, 0);
	left -= collect(f, reqs, count);
	while (left > 0) {
		kiln_loop_step(f->loop);
		left -= collect(f, reqs, count);
		assert_true(kiln__os_monotonic_ns() < deadline);
	}
}

static int status_of(struct fixture *f, const struct request *req)
{
	return f->guest.memory[req->status];
}

static int do_request(struct fixture *f, struct request *req, uint32_t type, uint64_t sector,
		      size_t len, unsigned pieces)
{
	put(f, req, type, sector, len, pieces);
	run(f, req, 1);
	return status_of(f, req);
}

static int do_segments(struct fixture *f, uint32_t type, const struct segment *segments,
		       unsigned count)
{
	struct request req = {.data = virtio_guest_alloc(&f->guest, 4096, 16)};

	memcpy(f->guest.memory + req.data, segments, count * sizeof(*segments));
	return do_request(f, &req, type, 0, count * sizeof(*segments), 1);
}

static void assert_data(struct fixture *f, const struct request *req, uint64_t from, unsigned seed)
{
	for (size_t i = 0; i < req->len; i++)
		if (f->guest.memory[req->data + i] != pattern(from + i, seed))
			fail_msg("byte %zu differs", i);
}

static void fill(struct fixture *f, const struct request *req, uint64_t from, unsigned seed,
		 size_t len)
{
	for (size_t i = 0; i < len; i++)
		f->guest.memory[req->data + i] = pattern(from + i, seed);
}

static void assert_file(const char *path, uint64_t offset, size_t len, int seed)
{
	unsigned char *bytes = malloc(len);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(bytes && fd >= 0);
	assert_int_equal(pread(fd, bytes, len, (off_t)offset), len);
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != (seed < 0 ? 0 : pattern(offset + i, (unsigned)seed)))
			fail_msg("byte %llu of the file differs", (unsigned long long)(offset + i));
	free(bytes);
	close(fd);
}

static unsigned count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* --- data ---------------------------------------------------------------------------- */

static const struct {
	size_t len;
	unsigned pieces;
} shapes[] = {{512, 1},
	      {512, 5},
	      {1024, 7},
	      {4096, 1},
	      {8192, 8},
	      {65536, 13},
	      {(size_t)1 << 20, 61},
	      {(size_t)1 << 20, 1}};

/* Reads and writes of all shapes, from aligned and odd memory, at odd places. */
static void exercise(const struct kiln__blk_options *options)
{
	struct fixture f;
	unsigned seed = 1;

	set_up_with(&f, options, ALL);
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
		for (unsigned shift = 0; shift < 2; shift++) {
			uint64_t sector = 3 + 11 * s;
			struct request out = {0};
			struct request in = {0};

			/* Across the seam of two regions, too, and to an odd address. */
			out.data = s & 1 ? VG_SEAM - 512 + shift
					 : virtio_guest_alloc(&f.guest, shapes[s].len + 8, 512) +
						   shift;
			fill(&f, &out, options->offset + sector * SECTOR, ++seed, shapes[s].len);
			assert_int_equal(do_request(&f, &out, T_OUT, sector, shapes[s].len,
						    shapes[s].pieces),
					 S_OK);
			assert_int_equal(out.used, 1);
			assert_file(f.path, options->offset + sector * SECTOR, shapes[s].len,
				    (int)seed);
			in.data = virtio_guest_alloc(&f.guest, shapes[s].len + 8, 512) + shift;
			assert_int_equal(
				do_request(&f, &in, T_IN, sector, shapes[s].len, shapes[s].pieces),
				S_OK);
			assert_int_equal(in.used, shapes[s].len + 1);
			assert_data(&f, &in, options->offset + sector * SECTOR, seed);
		}
	assert_int_equal(f.guest.needs_reset, 0);
	tear_down(&f);
}

static void data_goes_both_ways_in_all_modes(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		make_disk(options.path, DISK_SIZE);
		options.cache = i % 3 == 0   ? KILN__BLK_WRITEBACK
				: i % 3 == 1 ? KILN__BLK_DIRECT
					     : KILN__BLK_UNSAFE;
		options.no_ring = i / 3 & 1;
		options.offset = i < 6 ? 0 : 65536;
		options.length = i < 6 ? 0 : (uint64_t)2 << 20;
		exercise(&options);
		if (i >= 6) { /* nothing beside the range was touched */
			assert_file(options.path, 0, 65536, 0);
			assert_file(options.path, 65536 + ((uint64_t)2 << 20), 65536, 0);
		}
	}
}

static void many_requests_under_way_keep_apart(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));

	(void)state;
	for (unsigned mode = 0; mode < 4; mode++) {
		struct request reqs[40] = {{0}};
		struct fixture f;
		unsigned before;

		make_disk(options.path, DISK_SIZE);
		options.no_ring = mode & 1;
		options.cache = mode & 2 ? KILN__BLK_DIRECT : KILN__BLK_WRITEBACK;
		set_up_with(&f, &options, ALL);
		for (unsigned round = 0; round < 20; round++) {
			memset(reqs, 0, sizeof(reqs));
			before = f.guest.kicks;
			for (unsigned i = 0; i < 40; i++)
				put(&f, &reqs[i], T_IN, (i * 37 + round) % 4096, 4096, 1);
			run(&f, reqs, 40);
			assert_true(f.guest.kicks <= before + 1);
			for (unsigned i = 0; i < 40; i++) {
				assert_int_equal(status_of(&f, &reqs[i]), S_OK);
				assert_data(&f, &reqs[i], (i * 37 + round) % 4096 * SECTOR, 0);
			}
		}
		tear_down(&f);
	}
}

/* Forty cached reads end within the kick: one notification. */
static void a_batch_costs_one_kick_and_one_notification(void **state)
{
	struct request reqs[40] = {{0}};
	struct fixture f;

	(void)state;
	set_up(&f);
	if (!kiln__blk_prepare(f.blk)) {
		tear_down(&f);
		print_message("no io_uring here\n");
		skip();
	}
	for (unsigned i = 0; i < 40; i++)
		put(&f, &reqs[i], T_IN, i * 8, 4096, 1);
	virtio_guest_kick(&f.guest, 0);
	assert_int_equal(collect(&f, reqs, 40), 40);
	assert_int_equal(f.guest.kicks, 1);
	assert_int_equal(f.guest.notified[0], 1);
	tear_down(&f);
}

/*
 * What a disk costs in kicks and notifications with 32 reads under way all the time. This driver
 * has its turn only when the loop has none, so a guest beside it will see more of both; but one of
 * each for each read would be two.
 */
static void at_depth_32_kicks_and_notifications_are_few(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));
	struct request reqs[32] = {{0}};
	unsigned total = 4000;
	unsigned sent = 0;
	unsigned done = 0;
	struct fixture f;
	double each;

	(void)state;
	make_disk(options.path, DISK_SIZE);
	options.cache = KILN__BLK_DIRECT;
	set_up_with(&f, &options, ALL);
	while (done < total) {
		for (unsigned i = 0; i < 32 && sent < total; i++) {
			if (sent >= 32 && !reqs[i].done)
				continue;
			reqs[i].data = VG_BUFFERS + ((uint64_t)1 << 20) + i * 4096u;
			put(&f, &reqs[i], T_IN, sent++ * 13 % 8000, 4096, 1);
		}
		virtio_guest_kick(&f.guest, 0);
		done += collect(&f, reqs, 32);
		if (done < sent) /* else all were done at once */
			kiln_loop_step(f.loop);
		done += collect(&f, reqs, 32);
	}
	each = (double)(f.guest.kicks + f.guest.notified[0]) / total;
	print_message("%.3f kicks and notifications a read\n", each);
	assert_true(each < 1.0);
	tear_down(&f);
}

/* --- other requests --------------------------------------------------------------------- */

static void flush_serial_and_unknown_requests(void **state)
{
	struct request req = {0};
	struct fixture f;
	char id[21] = {0};

	(void)state;
	set_up(&f);
	assert_int_equal(do_request(&f, &req, T_FLUSH, 0, 0, 0), S_OK);
	req = (struct request){0};
	assert_int_equal(do_request(&f, &req, T_GET_ID, 0, 20, 1), S_OK);
	memcpy(id, f.guest.memory + req.data, 20);
	assert_string_equal(id, "disk-one");
	assert_int_equal(req.used, 21);
	req = (struct request){0};
	assert_int_equal(do_request(&f, &req, 99, 0, 512, 1), S_UNSUPP);
	tear_down(&f);
}

static void what_is_not_on_the_disk_is_an_error(void **state)
{
	static const struct {
		uint64_t sector;
		size_t len;
		int status;
	} cases[] = {
		{DISK_SIZE / SECTOR - 1, 512, S_OK},
		{DISK_SIZE / SECTOR - 1, 1024, S_IOERR},
		{DISK_SIZE / SECTOR, 512, S_IOERR},
		{UINT64_MAX, 512, S_IOERR},
		{UINT64_MAX / SECTOR, 512, S_IOERR},
		{(uint64_t)1 << 55, 512, S_IOERR},
		{0, 511, S_IOERR},
		{0, 1, S_IOERR},
	};
	struct fixture f;

	(void)state;
	set_up(&f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (uint32_t type = T_IN; type <= T_OUT; type++) {
			struct request req = {0};

			assert_int_equal(
				do_request(&f, &req, type, cases[i].sector, cases[i].len, 1),
				cases[i].status);
		}
	assert_int_equal(f.guest.needs_reset, 0);
	tear_down(&f);
}

static void a_readonly_disk_refuses_to_be_changed(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));
	struct segment segment = {0, 8, 0};
	struct request req = {0};
	struct fixture f;

	(void)state;
	make_disk(options.path, DISK_SIZE);
	options.readonly = true;
	options.discard = true;
	set_up_with(&f, &options, ALL);
	assert_true(f.guest.device->ops->features & 1u << 5);
	assert_int_equal(do_request(&f, &req, T_OUT, 0, 512, 1), S_IOERR);
	assert_int_equal(do_segments(&f, T_DISCARD, &segment, 1), S_UNSUPP);
	assert_int_equal(do_segments(&f, T_WRITE_ZEROES, &segment, 1), S_UNSUPP);
	req = (struct request){0};
	assert_int_equal(do_request(&f, &req, T_FLUSH, 0, 0, 0), S_OK);
	req = (struct request){0};
	assert_int_equal(do_request(&f, &req, T_IN, 0, 4096, 3), S_OK);
	assert_data(&f, &req, 0, 0);
	assert_file(f.path, 0, 65536, 0);
	tear_down(&f);
}

static void discard_gives_blocks_back(void **state)
{
	static const struct segment segments[] = {{128, 1024, 0}, {4096, 64, 0}};
	struct fixture f;
	struct stat before;
	struct stat after;

	(void)state;
	set_up(&f);
	assert_int_equal(stat(f.path, &before), 0);
	assert_int_equal(do_segments(&f, T_DISCARD, segments, 2), S_OK);
	assert_int_equal(stat(f.path, &after), 0);
	assert_true(after.st_blocks + 1024 <= before.st_blocks);
	assert_int_equal(after.st_size, before.st_size);
	assert_file(f.path, 128 * SECTOR, 1024 * SECTOR, -1);
	assert_file(f.path, 4096 * SECTOR, 64 * SECTOR, -1);
	assert_file(f.path, 0, 128 * SECTOR, 0);
	assert_file(f.path, 1152 * SECTOR, 4096, 0);
	tear_down(&f);
}

static void zeroes_are_written_and_unmapped_where_allowed(void **state)
{
	static const struct segment keep[] = {{16, 1000, 0}};
	static const struct segment unmap[] = {{2048, 1024, 1}};
	struct fixture f;
	struct stat before;
	struct stat after;

	(void)state;
	set_up(&f);
	assert_int_equal(stat(f.path, &before), 0);
	assert_int_equal(do_segments(&f, T_WRITE_ZEROES, keep, 1), S_OK);
	assert_int_equal(stat(f.path, &after), 0);
	assert_true(after.st_blocks >= before.st_blocks);
	assert_file(f.path, 16 * SECTOR, 1000 * SECTOR, -1);
	assert_file(f.path, 0, 16 * SECTOR, 0);
	assert_file(f.path, 1016 * SECTOR, 4096, 0);
	assert_int_equal(do_segments(&f, T_WRITE_ZEROES, unmap, 1), S_OK);
	assert_int_equal(stat(f.path, &after), 0);
	assert_true(after.st_blocks + 1024 <= before.st_blocks);
	assert_file(f.path, 2048 * SECTOR, 1024 * SECTOR, -1);
	tear_down(&f);
}

/* tmpfs has no FALLOC_FL_ZERO_RANGE: zeros are written, in pieces. */
static void zeroes_are_written_by_hand_where_the_file_system_cannot(void **state)
{
	static const struct segment segment = {16, 3000, 0};
	char path[64];
	struct kiln__blk_options options = options_of(path);
	struct fixture f;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/dev/shm/kiln-test-%d", (int)getpid());
	make_disk(path, DISK_SIZE);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE, 0, 512) == 0)
		print_message("this tmpfs can: nothing special to show\n");
	make_disk(path, DISK_SIZE);
	close(fd);
	set_up_with(&f, &options, ALL);
	assert_int_equal(do_segments(&f, T_WRITE_ZEROES, &segment, 1), S_OK);
	assert_file(path, 16 * SECTOR, 3000 * SECTOR, -1);
	assert_file(path, 0, 16 * SECTOR, 0);
	assert_file(path, 3016 * SECTOR, 65536, 0);
	tear_down(&f);
	unlink(path);
}

static void impossible_segments_are_refused(void **state)
{
	static const struct segment good = {0, 8, 0};
	static const struct segment beyond = {DISK_SIZE / SECTOR - 4, 8, 0};
	static const struct segment wraps = {UINT64_MAX - 3, 8, 0};
	static const struct segment flags = {0, 8, 2};
	static const struct segment unmap = {0, 8, 1};
	struct segment many[33];
	struct fixture f;

	(void)state;
	set_up(&f);
	for (unsigned i = 0; i < 33; i++)
		many[i] = good;
	assert_int_equal(do_segments(&f, T_DISCARD, &beyond, 1), S_IOERR);
	assert_int_equal(do_segments(&f, T_DISCARD, &wraps, 1), S_IOERR);
	assert_int_equal(do_segments(&f, T_WRITE_ZEROES, &flags, 1), S_UNSUPP);
	assert_int_equal(do_segments(&f, T_DISCARD, &unmap, 1), S_UNSUPP);
	assert_int_equal(do_segments(&f, T_DISCARD, many, 33), S_IOERR);
	many[31] = beyond; /* nothing of it is done */
	assert_int_equal(do_segments(&f, T_DISCARD, many, 32), S_IOERR);
	assert_file(f.path, 0, 4096, 0);
	/* What was not negotiated is unknown. */
	virtio_guest_restart(&f.guest, KILN__VIRTIO_RING_FEATURES, RING);
	assert_int_equal(do_segments(&f, T_DISCARD, &good, 1), S_UNSUPP);
	assert_int_equal(do_segments(&f, T_WRITE_ZEROES, &good, 1), S_UNSUPP);
	assert_int_equal(f.guest.needs_reset, 0);
	tear_down(&f);
}

static void the_cache_can_be_switched_off_and_is_on_after_a_reset(void **state)
{
	struct fixture f;
	struct request req = {0};
	uint8_t value = 0;
	kiln_error err;

	(void)state;
	set_up(&f);
	kiln_ok(kiln__virtio_config_write(f.guest.device, 32, &value, 1, &err), &err);
	value = 9;
	kiln_ok(kiln__virtio_config_read(f.guest.device, 32, &value, 1, &err), &err);
	assert_int_equal(value, 0);
	fill(&f, &req, 0, 3, 0);
	assert_int_equal(do_request(&f, &req, T_OUT, 0, 4096, 1), S_OK);
	virtio_guest_restart(&f.guest, ALL, RING);
	kiln_ok(kiln__virtio_config_read(f.guest.device, 32, &value, 1, &err), &err);
	assert_int_equal(value, 1);
	virtio_guest_restart(&f.guest, ALL & ~WCE, RING);
	value = 0;
	kiln_ok(kiln__virtio_config_write(f.guest.device, 32, &value, 1, &err), &err);
	kiln_ok(kiln__virtio_config_read(f.guest.device, 32, &value, 1, &err), &err);
	assert_int_equal(value, 1);
	tear_down(&f);
}

/* What the threads ask of the kernel passes through here (see meson.build). */
ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

static atomic_uint durable_writes;
static atomic_uint syncs;

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	if (flags & RWF_DSYNC)
		atomic_fetch_add(&durable_writes, 1);
	return __real_pwritev64v2(fd, iov, count, offset, flags);
}

int __wrap_fdatasync(int fd)
{
	atomic_fetch_add(&syncs, 1);
	return __real_fdatasync(fd);
}

static void write_and_flush(struct fixture *f)
{
	struct request req = {0};

	durable_writes = syncs = 0;
	assert_int_equal(do_request(f, &req, T_OUT, 0, 4096, 1), S_OK);
	req = (struct request){0};
	assert_int_equal(do_request(f, &req, T_FLUSH, 0, 0, 0), S_OK);
}

static void writes_last_when_they_have_to(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));
	uint8_t off = 0;
	struct fixture f;
	kiln_error err;

	(void)state;
	make_disk(options.path, DISK_SIZE);
	options.no_ring = true;
	set_up_with(&f, &options, ALL);
	write_and_flush(&f);
	assert_int_equal(durable_writes, 0);
	assert_int_equal(syncs, 1);
	kiln_ok(kiln__virtio_config_write(f.guest.device, 32, &off, 1, &err), &err);
	write_and_flush(&f);
	assert_int_equal(durable_writes, 1);
	virtio_guest_restart(&f.guest, ALL & ~FLUSH, RING);
	write_and_flush(&f);
	assert_int_equal(durable_writes, 1);
	tear_down(&f);
	options.cache = KILN__BLK_UNSAFE;
	set_up_with(&f, &options, ALL & ~FLUSH);
	write_and_flush(&f);
	assert_int_equal(durable_writes + syncs, 0);
	tear_down(&f);
}

static void configuration_space_describes_the_disk(void **state)
{
	struct fixture f;
	unsigned char config[60];
	uint64_t capacity;
	uint32_t value;
	kiln_error err;

	(void)state;
	set_up(&f);
	kiln_ok(kiln__virtio_config_read(f.guest.device, 0, config, 60, &err), &err);
	memcpy(&capacity, config, 8);
	assert_int_equal(capacity, DISK_SIZE / SECTOR);
	memcpy(&value, config + 20, 4);
	assert_int_equal(value, 512);
	assert_int_equal(kiln__virtio_config_read(f.guest.device, 59, config, 2, &err),
			 KILN_EPROTO);
	assert_int_equal(kiln__blk_size(f.blk), DISK_SIZE);
	tear_down(&f);
}

/* --- life ---------------------------------------------------------------------------------- */

/* Many requests are put under way, by threads, and the queue stops: all of them are back then. */
static void a_stop_and_a_reset_wait_for_what_is_under_way(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));
	struct request reqs[20] = {{0}};
	struct fixture f;

	(void)state;
	make_disk(options.path, DISK_SIZE);
	for (unsigned mode = 0; mode < 4; mode++) {
		options.no_ring = mode & 1;
		options.cache = mode & 2 ? KILN__BLK_DIRECT : KILN__BLK_WRITEBACK;
		set_up_with(&f, &options, ALL);
		memset(reqs, 0, sizeof(reqs));
		for (unsigned i = 0; i < 20; i++)
			put(&f, &reqs[i], T_IN, i * 300, 65536, 1);
		virtio_guest_kick(&f.guest, 0);
		virtio_guest_stop(&f.guest);
		assert_int_equal(collect(&f, reqs, 20), 20);
		for (unsigned i = 0; i < 20; i++)
			assert_data(&f, &reqs[i], i * 300 * SECTOR, 0);
		virtio_guest_start(&f.guest);
		reqs[0].data = 0;
		assert_int_equal(do_request(&f, &reqs[0], T_IN, 5, 4096, 1), S_OK);

		memset(reqs, 0, sizeof(reqs));
		for (unsigned i = 0; i < 20; i++)
			put(&f, &reqs[i], T_IN, i * 300, 65536, 1);
		virtio_guest_kick(&f.guest, 0);
		kiln__virtio_reset(f.guest.device);
		memset(f.guest.memory, 0x55, VG_MEMORY);
		kiln_test_settle(f.loop); /* nothing comes late */
		for (size_t i = 0; i < VG_MEMORY; i++)
			assert_int_equal(f.guest.memory[i], 0x55);
		tear_down(&f);
	}
}

static void on_drained(void *data)
{
	*(bool *)data = true;
}

static void a_drained_device_holds_requests_back(void **state)
{
	struct request reqs[8] = {{0}};
	struct request late = {0};
	bool drained = false;
	struct fixture f;

	(void)state;
	set_up(&f);
	for (unsigned i = 0; i < 8; i++)
		put(&f, &reqs[i], T_IN, i, 65536, 1);
	virtio_guest_kick(&f.guest, 0);
	kiln__blk_drain(f.blk, on_drained, &drained);
	assert_false(drained);
	kiln_test_run_until(f.loop, &drained);
	assert_int_equal(collect(&f, reqs, 8), 8);
	put(&f, &late, T_IN, 0, 4096, 1);
	kiln__virtio_kick(f.guest.device, 0);
	kiln_test_settle(f.loop);
	assert_int_equal(collect(&f, &late, 1), 0);
	kiln__blk_resume(f.blk);
	run(&f, &late, 1);
	assert_int_equal(status_of(&f, &late), S_OK);
	drained = false;
	kiln__blk_drain(f.blk, on_drained, &drained);
	kiln__blk_resume(f.blk);
	kiln_test_settle(f.loop);
	assert_false(drained);
	tear_down(&f);
}

static void an_unused_disk_has_neither_ring_nor_thread(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));
	unsigned threads = count_entries("/proc/self/task");
	unsigned fds = count_entries("/proc/self/fd");
	struct request req = {0};
	struct fixture f;

	(void)state;
	make_disk(options.path, DISK_SIZE);
	options.no_ring = true;
	set_up_with(&f, &options, ALL);
	/* The loop's own four, the file, and its locks. */
	assert_true(count_entries("/proc/self/fd") <= fds + 6);
	assert_int_equal(count_entries("/proc/self/task"), threads);
	assert_int_equal(do_request(&f, &req, T_IN, 0, 4096, 1), S_OK);
	assert_int_equal(count_entries("/proc/self/task"), threads + 1);
	for (unsigned i = 0; i < 50; i++) {
		req.data = 0;
		assert_int_equal(do_request(&f, &req, T_IN, 0, 4096, 1), S_OK);
	}
	/* One at a time needs one thread (or two, where the first was not idle again yet). */
	assert_true(count_entries("/proc/self/task") <= threads + 2);
	tear_down(&f);
	assert_int_equal(count_entries("/proc/self/task"), threads);
}

static void a_malformed_request_breaks_the_device_until_reset(void **state)
{
	struct vring_part no_status[] = {{VG_BUFFERS, 16}};
	struct vring_part no_header[] = {{VG_BUFFERS, 15}, {VG_BUFFERS + 64, 1}};
	struct request req = {0};
	struct fixture f;

	(void)state;
	set_up(&f);
	virtio_guest_send(&f.guest, 0, no_status, 1, 0);
	assert_int_equal(f.guest.needs_reset, 1);
	virtio_guest_restart(&f.guest, ALL, RING);
	virtio_guest_send(&f.guest, 0, no_header, 1, 1);
	assert_int_equal(f.guest.needs_reset, 2);
	virtio_guest_restart(&f.guest, ALL, RING);
	assert_int_equal(do_request(&f, &req, T_IN, 0, 512, 1), S_OK);
	tear_down(&f);
}

static void a_file_that_has_become_shorter_is_an_error(void **state)
{
	struct request req = {0};
	struct fixture f;

	(void)state;
	set_up(&f);
	assert_int_equal(truncate(f.path, 65536 + 1000), 0);
	assert_int_equal(do_request(&f, &req, T_IN, 0, 65536, 1), S_OK);
	req.data = 0;
	assert_int_equal(do_request(&f, &req, T_IN, 64, 65536, 3), S_IOERR);
	req.data = 0;
	assert_int_equal(do_request(&f, &req, T_IN, 1024, 512, 1), S_IOERR);
	tear_down(&f);
}

/* --- opening and locks ------------------------------------------------------------------------ */

static int try_open(struct kiln__blk **ret, kiln_loop *loop, struct kiln__blk_options options,
		    bool readonly, uint64_t offset, uint64_t length)
{
	kiln_error err = KILN_ERROR_INIT;
	int r;

	*ret = NULL;
	options.readonly = readonly;
	options.offset = offset;
	options.length = length;
	r = kiln__blk_new(ret, loop, &options, &err);
	if (r == KILN_EBUSY)
		assert_non_null(strstr(err.message, "is in use"));
	return r;
}

static void a_disk_in_use_is_refused(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));
	struct kiln__blk *a;
	struct kiln__blk *b;
	struct kiln__blk *c;
	kiln_loop *loop = NULL;
	kiln_error err;

	(void)state;
	make_disk(options.path, DISK_SIZE);
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	/* A writer is alone; readers share. */
	assert_int_equal(try_open(&a, loop, options, false, 0, 0), 0);
	assert_int_equal(try_open(&b, loop, options, false, 0, 0), KILN_EBUSY);
	assert_int_equal(try_open(&b, loop, options, true, 0, 0), KILN_EBUSY);
	assert_int_equal(try_open(&b, loop, options, true, 4096, 4096), KILN_EBUSY);
	kiln__blk_free(a);
	assert_int_equal(try_open(&a, loop, options, true, 0, 0), 0);
	assert_int_equal(try_open(&b, loop, options, true, 0, 0), 0);
	assert_int_equal(try_open(&c, loop, options, false, 0, 0), KILN_EBUSY);
	kiln__blk_free(a);
	kiln__blk_free(b);
	/* Ranges of one file are disks of their own. */
	assert_int_equal(try_open(&a, loop, options, false, 0, 65536), 0);
	assert_int_equal(try_open(&b, loop, options, false, 65536, 65536), 0);
	assert_int_equal(try_open(&c, loop, options, true, 65536 + 512, 512), KILN_EBUSY);
	assert_int_equal(try_open(&c, loop, options, false, 0, 0), KILN_EBUSY);
	kiln__blk_free(b);
	assert_int_equal(try_open(&b, loop, options, true, 65536, 0), 0);
	kiln__blk_free(a);
	kiln__blk_free(b);
	kiln_loop_free(loop);
}

/* The bytes that QEMU locks (its docs: "image locking"): one that reads, one that writes. */
static void a_disk_that_qemu_has_is_refused(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};
	struct kiln__blk *a;
	kiln_loop *loop = NULL;
	kiln_error err;
	int fd;

	(void)state;
	make_disk(options.path, DISK_SIZE);
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	fd = open(options.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(try_open(&a, loop, options, false, 0, 0), KILN_EBUSY);
	assert_int_equal(try_open(&a, loop, options, true, 0, 0), 0);
	kiln__blk_free(a);
	lock.l_start = 101;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(try_open(&a, loop, options, true, 0, 0), KILN_EBUSY);
	close(fd);
	kiln_loop_free(loop);
}

static void impossible_disks_are_refused(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));
	struct kiln__blk *blk;
	kiln_loop *loop = NULL;
	kiln_error err;

	(void)state;
	make_disk(options.path, 65536);
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	assert_int_equal(try_open(&blk, loop, options, true, 65536, 0), KILN_EINVAL);
	assert_int_equal(try_open(&blk, loop, options, true, 70000, 0), KILN_EINVAL);
	assert_int_equal(try_open(&blk, loop, options, true, 512, 65536), KILN_EINVAL);
	assert_int_equal(try_open(&blk, loop, options, true, UINT64_MAX, 2), KILN_EINVAL);
	assert_int_equal(try_open(&blk, loop, options, true, 100, 0), KILN_EINVAL);
	assert_int_equal(try_open(&blk, loop, options, true, 0, 511), KILN_EINVAL);
	options.path = "/dev/null";
	assert_int_equal(try_open(&blk, loop, options, true, 0, 0), KILN_EINVAL);
	options.path = "/nonexistent/disk";
	assert_int_equal(try_open(&blk, loop, options, true, 0, 0), KILN_ENOENT);
	options.serial = "a serial number that is too long";
	assert_int_equal(try_open(&blk, loop, options, true, 0, 0), KILN_EINVAL);
	kiln_loop_free(loop);
}

static void an_inherited_descriptor_is_a_disk(void **state)
{
	struct kiln__blk_options options = options_of(kiln_test_path("disk"));
	struct kiln__blk *blk = NULL;
	struct request req = {0};
	struct fixture f;
	kiln_error err;
	int fd;

	(void)state;
	make_disk(options.path, DISK_SIZE);
	fd = open(options.path, O_RDONLY | O_CLOEXEC);
	options.path = NULL;
	options.fd = fd;
	kiln_ok(kiln_loop_new(&f.loop, &err), &err);
	assert_int_equal(kiln__blk_new(&blk, f.loop, &options, &err), KILN_EACCES);
	kiln_loop_free(f.loop);
	options.readonly = true;
	options.cache = KILN__BLK_DIRECT;
	set_up_with(&f, &options, ALL);
	assert_int_equal(do_request(&f, &req, T_IN, 9, 4096, 1), S_OK);
	assert_data(&f, &req, 9 * SECTOR, 0);
	tear_down(&f);
	close(fd);
}

/* --- block devices ------------------------------------------------------------------------------
 */

/* A loop device over the file, or -1 and why there is none. */
static int make_loop_device(const char *file, char *path, size_t size, const char **why)
{
	struct loop_config config = {.block_size = 4096};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number;
	int fd;

	*why = "no /dev/loop-control for this user";
	if (control < 0)
		return -1;
	number = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(path, size, "/dev/loop%d", number);
	fd = number < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
	*why = "no free loop device";
	if (fd < 0)
		return -1;
	config.fd = (uint32_t)open(file, O_RDWR | O_CLOEXEC);
	if (ioctl(fd, LOOP_CONFIGURE, &config) < 0) {
		close((int)config.fd);
		close(fd);
		return -1;
	}
	close((int)config.fd);
	return fd;
}

static void a_block_device_with_large_sectors_is_a_disk(void **state)
{
	struct segment segment = {64, 64, 0};
	struct segment odd = {65, 64, 0};
	char path[64];
	struct kiln__blk_options options = options_of(path);
	const char *file = kiln_test_path("disk");
	const char *why = NULL;
	struct request req = {0};
	struct fixture f;
	uint32_t block;
	kiln_error err;
	int fd;

	(void)state;
	make_disk(file, DISK_SIZE);
	fd = make_loop_device(file, path, sizeof(path), &why);
	if (fd < 0) {
		print_message("skipped: %s\n", why);
		skip();
	}
	options.cache = KILN__BLK_DIRECT;
	options.discard = true;
	set_up_with(&f, &options, ALL);
	kiln_ok(kiln__virtio_config_read(f.guest.device, 20, &block, 4, &err), &err);
	assert_int_equal(block, 4096);
	/* Aligned and odd memory; sectors that are no whole blocks are refused. */
	req.data = virtio_guest_alloc(&f.guest, 65536, 4096);
	assert_int_equal(do_request(&f, &req, T_IN, 8, 32768, 1), S_OK);
	assert_data(&f, &req, 4096, 0);
	req.data += 512;
	assert_int_equal(do_request(&f, &req, T_IN, 16, 32768, 5), S_OK);
	assert_data(&f, &req, 8192, 0);
	fill(&f, &req, 8192, 5, 8192);
	assert_int_equal(do_request(&f, &req, T_OUT, 16, 8192, 2), S_OK);
	req.data = 0;
	assert_int_equal(do_request(&f, &req, T_FLUSH, 0, 0, 0), S_OK);
	assert_file(path, 8192, 8192, 5);
	req.data = 0;
	assert_int_equal(do_request(&f, &req, T_IN, 1, 4096, 1), S_IOERR);
	req.data = 0;
	assert_int_equal(do_request(&f, &req, T_IN, 8, 512, 1), S_IOERR);
	assert_int_equal(do_segments(&f, T_DISCARD, &odd, 1), S_IOERR);
	assert_int_equal(do_segments(&f, T_DISCARD, &segment, 1), S_OK);
	assert_file(path, 64 * SECTOR, 64 * SECTOR, -1);
	segment.sector = 256;
	assert_int_equal(do_segments(&f, T_WRITE_ZEROES, &segment, 1), S_OK);
	assert_file(path, 256 * SECTOR, 64 * SECTOR, -1);
	tear_down(&f);
	assert_int_equal(ioctl(fd, LOOP_CLR_FD), 0);
	close(fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(data_goes_both_ways_in_all_modes),
		kiln_test(many_requests_under_way_keep_apart),
		kiln_test(a_batch_costs_one_kick_and_one_notification),
		kiln_test(at_depth_32_kicks_and_notifications_are_few),
		kiln_test(flush_serial_and_unknown_requests),
		kiln_test(what_is_not_on_the_disk_is_an_error),
		kiln_test(a_readonly_disk_refuses_to_be_changed),
		kiln_test(discard_gives_blocks_back),
		kiln_test(zeroes_are_written_and_unmapped_where_allowed),
		kiln_test(zeroes_are_written_by_hand_where_the_file_system_cannot),
		kiln_test(impossible_segments_are_refused),
		kiln_test(the_cache_can_be_switched_off_and_is_on_after_a_reset),
		kiln_test(writes_last_when_they_have_to),
		kiln_test(configuration_space_describes_the_disk),
		kiln_test(a_stop_and_a_reset_wait_for_what_is_under_way),
		kiln_test(a_drained_device_holds_requests_back),
		kiln_test(an_unused_disk_has_neither_ring_nor_thread),
		kiln_test(a_malformed_request_breaks_the_device_until_reset),
		kiln_test(a_file_that_has_become_shorter_is_an_error),
		kiln_test(a_disk_in_use_is_refused),
		kiln_test(a_disk_that_qemu_has_is_refused),
		kiln_test(impossible_disks_are_refused),
		kiln_test(an_inherited_descriptor_is_a_disk),
		kiln_test(a_block_device_with_large_sectors_is_a_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
