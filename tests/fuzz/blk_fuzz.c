/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device with a hostile driver, on a file of a megabyte in memory. The input's first byte
 * is how it is opened. Besides memory errors: nothing is under way after a reset, and what is
 * beside the disk in its file stays as it was.
 */
#include "blk.h"
#include "hostile.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE   ((size_t)1 << 20)
#define MARGIN 4096u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct fuzz {
	struct hostile hostile; /* first */
	struct kiln__blk *blk;
	bool drained;
};

static void on_drained(void *data)
{
	((struct fuzz *)data)->drained = true;
}

static void request(struct hostile *hostile)
{
	static const uint8_t types[] = {0, 1, 0, 1, 4, 8, 11, 13};
	uint8_t what = hostile_byte(hostile);
	uint32_t len = hostile_len(hostile) % 70000;
	uint32_t header[4] = {types[what & 7], 0, hostile_u16(hostile), 0};
	struct vring_part parts[3] = {{hostile_room(hostile, 16), 16}, {0, len}, {0, 1}};
	bool in = (what & 7) == 0 || (what & 7) == 2 || (what & 7) == 5;

	if (what & 8)
		len = parts[1].len = 512u * (1u + (what >> 4));
	parts[1].gpa = what & 16 ? hostile_gpa(hostile) : hostile_room(hostile, len);
	parts[2].gpa = hostile_room(hostile, 1);
	if (header[0] >= 11) {
		uint32_t segment[4] = {hostile_u16(hostile), what & 32 ? UINT32_MAX : 0,
				       hostile_byte(hostile), hostile_byte(hostile) & 3};

		parts[1] = (struct vring_part){hostile_room(hostile, 16), 16};
		memcpy(hostile->guest.memory + parts[1].gpa, segment, 16);
	}
	memcpy(hostile->guest.memory + parts[0].gpa, header, 16);
	hostile_send(hostile, 0, parts, in ? 1 : 2, in ? 2 : 1);
}

static void host(struct hostile *hostile)
{
	struct fuzz *f = (struct fuzz *)(void *)hostile;

	switch (hostile_byte(hostile) & 3) {
	case 0:
		kiln__blk_drain(f->blk, on_drained, f);
		break;
	case 1:
		kiln_loop_dispatch(hostile->loop);
		break;
	default:
		kiln__blk_resume(f->blk);
		break;
	}
}

static void check_margins(int fd)
{
	unsigned char bytes[MARGIN];

	for (unsigned i = 0; i < 2; i++) {
		if (pread(fd, bytes, MARGIN, i ? (off_t)(SIZE - MARGIN) : 0) != MARGIN)
			abort();
		for (unsigned k = 0; k < MARGIN; k++)
			if (bytes[k] != 0xa5)
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static int fd = -1;
	struct kiln__blk_options options = {
		.fd = -1, .offset = MARGIN, .length = SIZE - 2 * MARGIN};
	struct fuzz f = {.hostile = {.request = request, .host = host}};
	kiln_loop *loop = NULL;

	if (len < 2)
		return 0;
	if (fd < 0) {
		static unsigned char margin[MARGIN];

		memset(margin, 0xa5, MARGIN);
		fd = memfd_create("disk", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, SIZE) < 0 || pwrite(fd, margin, MARGIN, 0) != MARGIN ||
		    pwrite(fd, margin, MARGIN, SIZE - MARGIN) != MARGIN)
			abort();
	}
	options.fd = fd;
	options.readonly = bytes[0] & 1;
	options.discard = bytes[0] & 2;
	options.cache = bytes[0] & 4 ? KILN__BLK_UNSAFE : KILN__BLK_WRITEBACK;
	if (bytes[0] & 8)
		options.cache = KILN__BLK_DIRECT;
	options.no_ring = (bytes[0] & 0x70) == 0x70;
	if (kiln_loop_new(&loop, NULL) < 0 || kiln__blk_new(&f.blk, loop, &options, NULL) < 0) {
		options.cache = KILN__BLK_WRITEBACK; /* no O_DIRECT here */
		if (!loop || kiln__blk_new(&f.blk, loop, &options, NULL) < 0)
			abort();
	}
	hostile_run(&f.hostile, kiln__blk_device(f.blk), loop, bytes + 1, len - 1);
	kiln__blk_drain(f.blk, on_drained, &f);
	f.drained = false;
	kiln_loop_dispatch(loop);
	kiln_loop_dispatch(loop);
	if (!f.drained)
		abort();
	check_margins(fd);
	kiln__blk_free(f.blk);
	kiln_loop_free(loop);
	return 0;
}
