/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon with a hostile driver. Besides memory errors: nothing is given back but whole pages
 * of guest memory, and each question is answered once.
 */
#include "balloon.h"
#include "hostile.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct fuzz {
	struct hostile hostile; /* first */
	struct kiln__balloon *balloon;
	bool asked;
};

static void discard(void *data, uint64_t gpa, uint64_t len)
{
	struct fuzz *f = data;

	if (len == 0 || gpa % 4096 || len % 4096 ||
	    !kiln__gmem_contains(&f->hostile.guest.gmem, gpa, len))
		abort();
}

static void resized(void *data, uint64_t actual)
{
	(void)data;
	if (actual % 4096)
		abort();
}

static void on_stats(void *data, const struct kiln__balloon_stats *stats, const kiln_error *err)
{
	struct fuzz *f = data;

	if (!stats != (err != NULL) || !f->asked)
		abort();
	if (!err || err->code != KILN_EBUSY)
		f->asked = false;
}

static void request(struct hostile *hostile)
{
	unsigned queue = hostile_byte(hostile) % 5;
	uint8_t what = hostile_byte(hostile);
	uint32_t len = hostile_len(hostile) % 20000;
	struct vring_part part = {hostile_room(hostile, len), len};

	if (queue < 2) {
		uint32_t page = hostile_u16(hostile);

		for (uint32_t i = 0; i + 4 <= len; i += 4) {
			memcpy(hostile->guest.memory + part.gpa + i, &page, 4);
			page += what & 1 ? 1u
					 : (uint32_t)hostile_byte(hostile) << (what >> 3) |
						   (what & 2 ? UINT32_MAX : 0);
		}
	} else if (queue >= 3) {
		part = (struct vring_part){hostile_gpa(hostile), hostile_len(hostile)};
	}
	hostile_send(hostile, queue, &part, queue < 3, queue >= 3);
}

static void host(struct hostile *hostile)
{
	struct fuzz *f = (struct fuzz *)(void *)hostile;
	uint8_t what = hostile_byte(hostile);

	switch (what & 3) {
	case 0:
		kiln__balloon_set_target(f->balloon, (uint64_t)hostile_u32(hostile) << (what >> 2),
					 NULL);
		break;
	case 1:
		kiln__balloon_cancel_stats(f->balloon);
		f->asked = false;
		break;
	default:
		f->asked = true;
		kiln__balloon_request_stats(f->balloon, on_stats, f);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct fuzz f = {.hostile = {.request = request, .host = host}};
	struct kiln__balloon_options options = {discard, resized, &f};
	kiln_loop *loop = NULL;

	if (kiln_loop_new(&loop, NULL) < 0 ||
	    kiln__balloon_new(&f.balloon, loop, &options, NULL) < 0)
		abort();
	hostile_run(&f.hostile, kiln__balloon_device(f.balloon), loop, bytes, len);
	kiln__balloon_free(f.balloon);
	kiln_loop_free(loop);
	return 0;
}
