/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon against a driver in memory. */
#include "kiln_test.h"

#include "balloon.h"
#include "virtio_guest.h"

#include <string.h>

enum { INFLATE, DEFLATE, STATS, HINTS, REPORTING };

#define ALL           (~0ULL)
#define F_STATS_VQ    (1ULL << 1)
#define F_PAGE_POISON (1ULL << 4)

struct fixture {
	kiln_loop *loop;
	struct kiln__balloon *balloon;
	struct virtio_guest guest;
	struct {
		uint64_t gpa;
		uint64_t len;
	} discards[64];
	unsigned discard_count;
	uint64_t actual;
	unsigned resized;
	struct kiln__balloon_stats stats;
	unsigned answers;
	int code;
};

static void discard(void *data, uint64_t gpa, uint64_t len)
{
	struct fixture *f = data;

	assert_true(kiln__gmem_contains(&f->guest.gmem, gpa, len));
	assert_true(f->discard_count < 64);
	f->discards[f->discard_count].gpa = gpa;
	f->discards[f->discard_count++].len = len;
}

static void resized(void *data, uint64_t actual)
{
	struct fixture *f = data;

	f->actual = actual;
	f->resized++;
}

static void on_stats(void *data, const struct kiln__balloon_stats *stats, const kiln_error *err)
{
	struct fixture *f = data;

	f->answers++;
	f->code = err ? err->code : 0;
	if (stats)
		f->stats = *stats;
}

static void set_up_with(struct fixture *f, uint64_t features)
{
	struct kiln__balloon_options options = {discard, resized, f};
	kiln_error err;

	memset(f, 0, sizeof(*f));
	kiln_ok(kiln_loop_new(&f->loop, &err), &err);
	kiln_ok(kiln__balloon_new(&f->balloon, f->loop, &options, &err), &err);
	virtio_guest_init(&f->guest, kiln__balloon_device(f->balloon), features, 64);
}

static void tear_down(struct fixture *f)
{
	virtio_guest_done(&f->guest);
	kiln__balloon_free(f->balloon);
	kiln_loop_free(f->loop);
}

static void send_pages(struct fixture *f, unsigned queue, const uint32_t *pages, unsigned count)
{
	struct vring_part part = {virtio_guest_alloc(&f->guest, count * 4, 4), count * 4};
	uint32_t len = 0;

	memcpy(f->guest.memory + part.gpa, pages, count * 4);
	assert_true(virtio_guest_send(&f->guest, queue, &part, 1, 0) >= 0);
	assert_true(vring_take(&f->guest.rings[queue], &len) >= 0);
	assert_int_equal(len, 0);
}

static void assert_discard(struct fixture *f, unsigned index, uint64_t gpa, uint64_t len)
{
	assert_true(index < f->discard_count);
	assert_int_equal(f->discards[index].gpa, gpa);
	assert_int_equal(f->discards[index].len, len);
}

static void pages_that_follow_each_other_go_together(void **state)
{
	static const uint32_t pages[] = {300, 301, 302, 400, 399, 398, 397, 500, 500, 2047, 2048};
	struct fixture f;

	(void)state;
	set_up_with(&f, ALL);
	send_pages(&f, INFLATE, pages, 11);
	assert_int_equal(f.discard_count, 5);
	assert_discard(&f, 0, 300 * 4096, 3 * 4096);
	assert_discard(&f, 1, 397 * 4096, 4 * 4096);
	assert_discard(&f, 2, 500 * 4096, 4096);
	assert_discard(&f, 3, 500 * 4096, 4096);
	assert_discard(&f, 4, VG_SEAM - 4096, 8192); /* across the seam of two regions */
	f.discard_count = 0;
	send_pages(&f, DEFLATE, pages, 11);
	assert_int_equal(f.discard_count, 0);
	tear_down(&f);
}

static void a_long_list_is_one_run(void **state)
{
	struct fixture f;
	uint32_t pages[1000];

	(void)state;
	set_up_with(&f, ALL);
	for (uint32_t i = 0; i < 1000; i++)
		pages[i] = 256 + i;
	send_pages(&f, INFLATE, pages, 1000);
	assert_int_equal(f.discard_count, 1);
	assert_discard(&f, 0, 256 * 4096, 1000 * 4096);
	tear_down(&f);
}

/* The fixture's discard() insists that all is memory. */
static void pages_outside_of_memory_are_ignored(void **state)
{
	static const uint32_t pages[] = {UINT32_MAX, 0xfffff, 0x100000, 0x10000f, 0x100010,
					 4095,       4096,    4094,     0,        UINT32_MAX - 1};
	struct fixture f;

	(void)state;
	set_up_with(&f, ALL);
	send_pages(&f, INFLATE, pages, 10);
	/* 0x100000 and 0x10000f lie in the high region; 4095 and 4096 are one run, half of it
	 * memory. */
	assert_int_equal(f.discard_count, 5);
	assert_discard(&f, 0, VG_HIGH, 4096);
	assert_discard(&f, 1, VG_HIGH + 15 * 4096, 4096);
	assert_discard(&f, 2, 4094 * 4096, 4096);
	assert_discard(&f, 3, 4095 * 4096, 4096);
	assert_discard(&f, 4, 0, 4096);
	assert_int_equal(f.guest.needs_reset, 0);
	tear_down(&f);
}

static void the_target_is_told_and_the_size_comes_back(void **state)
{
	uint32_t value;
	struct fixture f;
	kiln_error err;

	(void)state;
	set_up_with(&f, ALL);
	kiln_ok(kiln__balloon_set_target(f.balloon, (5u << 20) + 100, &err), &err);
	assert_int_equal(f.guest.config_changes, 1);
	kiln_ok(kiln__balloon_set_target(f.balloon, 5u << 20, &err), &err);
	assert_int_equal(f.guest.config_changes, 1);
	assert_int_equal(kiln__balloon_target(f.balloon), 5u << 20);
	kiln_ok(kiln__virtio_config_read(f.guest.device, 0, &value, 4, &err), &err);
	assert_int_equal(value, 1280);
	value = 700;
	kiln_ok(kiln__virtio_config_write(f.guest.device, 4, &value, 4, &err), &err);
	assert_int_equal(f.resized, 1);
	assert_int_equal(f.actual, 700 * 4096);
	assert_int_equal(kiln__balloon_actual(f.balloon), 700 * 4096);
	/* The target is not the guest's to write. */
	kiln_ok(kiln__virtio_config_write(f.guest.device, 0, &value, 4, &err), &err);
	assert_int_equal(kiln__balloon_target(f.balloon), 5u << 20);
	assert_int_equal(kiln__balloon_set_target(f.balloon, 1ULL << 45, &err), KILN_EOVERFLOW);
	virtio_guest_restart(&f.guest, ALL, 64);
	assert_int_equal(kiln__balloon_actual(f.balloon), 0);
	assert_int_equal(kiln__balloon_target(f.balloon), 5u << 20);
	tear_down(&f);
}

/* --- reports ---------------------------------------------------------------------------- */

static void report(struct fixture *f, unsigned queue, uint64_t gpa, uint32_t len)
{
	struct vring_part parts[] = {{gpa, len}, {VG_BUFFERS, 8192}};
	uint32_t used = 0;

	assert_true(virtio_guest_send(&f->guest, queue, parts, 0, 2) >= 0);
	assert_true(vring_take(&f->guest.rings[queue], &used) >= 0);
}

static void reported_pages_go_whichever_queue_the_driver_uses(void **state)
{
	struct fixture f;

	(void)state;
	set_up_with(&f, ALL);
	report(&f, REPORTING, 2u << 20, 2u << 20);
	assert_int_equal(f.discard_count, 2);
	assert_discard(&f, 0, 2u << 20, 2u << 20);
	assert_discard(&f, 1, VG_BUFFERS, 8192);
	report(&f, HINTS, (2u << 20) + 100, 3 * 4096);
	assert_discard(&f, 2, (2u << 20) + 4096, 2 * 4096);
	f.discard_count = 0;
	virtio_guest_restart(&f.guest, ALL & ~F_STATS_VQ, 64);
	report(&f, STATS, 3u << 20, 4096);
	assert_discard(&f, 0, 3u << 20, 4096);
	report(&f, HINTS, VG_SEAM - 4096, 8192); /* two pieces, as its regions are */
	assert_discard(&f, 2, VG_SEAM - 4096, 4096);
	assert_discard(&f, 3, VG_SEAM, 4096);
	tear_down(&f);
}

static void poisoned_pages_stay(void **state)
{
	uint32_t poison = 0xaaaaaaaa;
	struct fixture f;
	kiln_error err;

	(void)state;
	set_up_with(&f, ALL);
	kiln_ok(kiln__virtio_config_write(f.guest.device, 12, &poison, 4, &err), &err);
	report(&f, REPORTING, 2u << 20, 2u << 20);
	assert_int_equal(f.discard_count, 0);
	poison = 0;
	kiln_ok(kiln__virtio_config_write(f.guest.device, 12, &poison, 4, &err), &err);
	report(&f, REPORTING, 2u << 20, 2u << 20);
	assert_int_equal(f.discard_count, 2);
	tear_down(&f);
}

/* --- statistics ---------------------------------------------------------------------------- */

/* Puts statistics up: free memory and one that nobody knows. */
static void put_stats(struct fixture *f, uint64_t free_bytes)
{
	struct vring_part part = {virtio_guest_alloc(&f->guest, 20, 1), 20};
	unsigned char *at = f->guest.memory + part.gpa;
	uint16_t tag = 4;

	memcpy(at, &tag, 2);
	memcpy(at + 2, &free_bytes, 8);
	tag = 999;
	memcpy(at + 10, &tag, 2);
	memset(at + 12, 7, 8);
	assert_true(virtio_guest_send(&f->guest, STATS, &part, 1, 0) >= 0);
}

static void statistics_come_when_asked_for(void **state)
{
	struct fixture f;
	uint32_t len = 0;

	(void)state;
	set_up_with(&f, ALL);
	kiln__balloon_request_stats(f.balloon, on_stats, &f);
	assert_int_equal(f.code, KILN_ESTATE);
	put_stats(&f, 1000);
	assert_int_equal(f.answers, 1); /* what a driver begins with is no answer */
	assert_int_equal(vring_take(&f.guest.rings[STATS], &len), -1);
	kiln__balloon_request_stats(f.balloon, on_stats, &f);
	assert_int_equal(vring_take(&f.guest.rings[STATS], &len), 0);
	assert_int_equal(f.guest.notified[STATS], 1);
	kiln__balloon_request_stats(f.balloon, on_stats, &f);
	assert_int_equal(f.code, KILN_EBUSY);
	put_stats(&f, 123456);
	assert_int_equal(f.answers, 3);
	assert_int_equal(f.code, 0);
	assert_int_equal(f.stats.known, 1u << KILN__BALLOON_FREE);
	assert_int_equal(f.stats.values[KILN__BALLOON_FREE], 123456);
	/* One who has given up hears nothing, and the next one can ask. */
	kiln__balloon_request_stats(f.balloon, on_stats, &f);
	kiln__balloon_cancel_stats(f.balloon);
	put_stats(&f, 1);
	assert_int_equal(f.answers, 3);
	kiln__balloon_request_stats(f.balloon, on_stats, &f);
	kiln__virtio_reset(f.guest.device);
	assert_int_equal(f.answers, 4);
	assert_int_equal(f.code, KILN_EDIED);
	tear_down(&f);
}

static void a_pause_holds_no_buffer(void **state)
{
	struct fixture f;
	uint32_t len = 0;

	(void)state;
	set_up_with(&f, ALL);
	put_stats(&f, 1000);
	virtio_guest_stop(&f.guest);
	assert_int_equal(vring_take(&f.guest.rings[STATS], &len), 0);
	assert_int_equal(f.guest.notified[STATS], 1);
	virtio_guest_start(&f.guest);
	put_stats(&f, 2000);
	kiln__balloon_request_stats(f.balloon, on_stats, &f);
	put_stats(&f, 3000);
	assert_int_equal(f.stats.values[KILN__BALLOON_FREE], 3000);
	tear_down(&f);
}

static void buffers_in_the_wrong_direction_break_the_device(void **state)
{
	struct vring_part part = {VG_BUFFERS, 64};
	struct fixture f;

	(void)state;
	set_up_with(&f, ALL);
	virtio_guest_send(&f.guest, INFLATE, &part, 0, 1);
	assert_int_equal(f.guest.needs_reset, 1);
	virtio_guest_restart(&f.guest, ALL, 64);
	virtio_guest_send(&f.guest, REPORTING, &part, 1, 0);
	assert_int_equal(f.guest.needs_reset, 2);
	assert_int_equal(f.discard_count, 0);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(pages_that_follow_each_other_go_together),
		kiln_test(a_long_list_is_one_run),
		kiln_test(pages_outside_of_memory_are_ignored),
		kiln_test(the_target_is_told_and_the_size_comes_back),
		kiln_test(reported_pages_go_whichever_queue_the_driver_uses),
		kiln_test(poisoned_pages_stay),
		kiln_test(statistics_come_when_asked_for),
		kiln_test(a_pause_holds_no_buffer),
		kiln_test(buffers_in_the_wrong_direction_break_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
