/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device against a driver in memory. */
#include "kiln_test.h"

#include "rng.h"
#include "virtio_guest.h"

#include <string.h>

struct fixture {
	kiln_loop *loop;
	struct kiln__rng *rng;
	struct virtio_guest guest;
};

static void set_up(struct fixture *f)
{
	kiln_error err;

	memset(f, 0, sizeof(*f));
	kiln_ok(kiln_loop_new(&f->loop, &err), &err);
	kiln_ok(kiln__rng_new(&f->rng, f->loop, NULL, &err), &err);
	virtio_guest_init(&f->guest, kiln__rng_device(f->rng), ~0ULL, 64);
}

static void tear_down(struct fixture *f)
{
	virtio_guest_done(&f->guest);
	kiln__rng_free(f->rng);
	kiln_loop_free(f->loop);
}

static unsigned zeros(const unsigned char *bytes, size_t len)
{
	unsigned n = 0;

	for (size_t i = 0; i < len; i++)
		n += bytes[i] == 0;
	return n;
}

static void buffers_are_filled(void **state)
{
	struct vring_part parts[] = {{VG_BUFFERS, 64}, {VG_SEAM - 32, 64}};
	struct fixture f;
	uint32_t len = 0;

	(void)state;
	set_up(&f);
	virtio_guest_send(&f.guest, 0, parts, 0, 2);
	assert_int_equal(vring_take(&f.guest.rings[0], &len), 0);
	assert_int_equal(len, 128);
	assert_true(zeros(f.guest.memory + VG_BUFFERS, 64) < 8);
	assert_true(zeros(f.guest.memory + VG_SEAM - 32, 64) < 8);
	assert_int_equal(zeros(f.guest.memory + VG_BUFFERS + 64, 64), 64);
	assert_int_equal(f.guest.notified[0], 1);
	tear_down(&f);
}

static void a_request_is_bounded_and_so_is_a_round(void **state)
{
	struct vring_part part = {VG_BUFFERS, 1u << 20};
	struct fixture f;
	unsigned count = 0;
	uint32_t len = 0;

	(void)state;
	set_up(&f);
	for (unsigned i = 0; i < 40; i++)
		assert_true(vring_add(&f.guest.rings[0], &part, 0, 1) >= 0);
	virtio_guest_kick(&f.guest, 0);
	while (vring_take(&f.guest.rings[0], &len) >= 0) {
		assert_int_equal(len, 4096);
		count++;
	}
	assert_true(count > 0 && count < 40);
	kiln_test_settle(f.loop);
	while (vring_take(&f.guest.rings[0], &len) >= 0)
		count++;
	assert_int_equal(count, 40);
	tear_down(&f);
}

static void a_buffer_to_be_read_breaks_the_device(void **state)
{
	struct vring_part part = {VG_BUFFERS, 64};
	struct fixture f;
	uint32_t len = 0;

	(void)state;
	set_up(&f);
	virtio_guest_send(&f.guest, 0, &part, 1, 0);
	assert_int_equal(f.guest.needs_reset, 1);
	virtio_guest_restart(&f.guest, ~0ULL, 64);
	virtio_guest_send(&f.guest, 0, &part, 0, 1);
	assert_int_equal(vring_take(&f.guest.rings[0], &len), 0);
	tear_down(&f);
}

/* As Linux's khwrngd asks: but the first ones wait, and nobody is notified meanwhile. */
static void who_asks_slowly_waits(void **state)
{
	const struct kiln__rng_pace pace = {.quiet = 0, .wait = 5};
	struct vring_part part = {VG_BUFFERS, 64};
	struct fixture f;
	kiln_error err;
	uint32_t len = 0;

	(void)state;
	memset(&f, 0, sizeof(f));
	kiln_ok(kiln_loop_new(&f.loop, &err), &err);
	kiln_ok(kiln__rng_new(&f.rng, f.loop, &pace, &err), &err);
	virtio_guest_init(&f.guest, kiln__rng_device(f.rng), ~0ULL, 64);
	for (unsigned i = 0; i < 2; i++) {
		virtio_guest_send(&f.guest, 0, &part, 0, 1);
		assert_true(vring_take(&f.guest.rings[0], &len) >= 0);
	}
	virtio_guest_send(&f.guest, 0, &part, 0, 1);
	assert_true(vring_take(&f.guest.rings[0], &len) < 0);
	while (vring_take(&f.guest.rings[0], &len) < 0)
		kiln_loop_step(f.loop);
	assert_int_equal(len, 64);
	/* A guest that boots anew is seeded at once. */
	virtio_guest_send(&f.guest, 0, &part, 0, 1);
	virtio_guest_restart(&f.guest, ~0ULL, 64);
	virtio_guest_send(&f.guest, 0, &part, 0, 1);
	assert_true(vring_take(&f.guest.rings[0], &len) >= 0);
	tear_down(&f);
}

/* A reader of /dev/hwrng must not stall where somebody is at work in the guest. */
static void who_is_not_alone_does_not_wait(void **state)
{
	const struct kiln__rng_pace pace = {.quiet = 3600000, .wait = 3600000};
	struct vring_part part = {VG_BUFFERS, 64};
	struct fixture f;
	kiln_error err;
	uint32_t len = 0;

	(void)state;
	memset(&f, 0, sizeof(f));
	kiln_ok(kiln_loop_new(&f.loop, &err), &err);
	kiln_ok(kiln__rng_new(&f.rng, f.loop, &(struct kiln__rng_pace){.wait = 3600000}, &err),
		&err);
	virtio_guest_init(&f.guest, kiln__rng_device(f.rng), ~0ULL, 64);
	for (unsigned i = 0; i < 2; i++) {
		virtio_guest_send(&f.guest, 0, &part, 0, 1);
		assert_true(vring_take(&f.guest.rings[0], &len) >= 0);
	}
	virtio_guest_send(&f.guest, 0, &part, 0, 1);
	assert_true(vring_take(&f.guest.rings[0], &len) < 0);
	kiln__rng_others_active(f.rng); /* what waits is answered */
	assert_true(vring_take(&f.guest.rings[0], &len) >= 0);
	assert_int_equal(len, 64);
	kiln__rng_others_active(f.rng); /* nothing waits */
	assert_true(vring_take(&f.guest.rings[0], &len) < 0);
	tear_down(&f);

	memset(&f, 0, sizeof(f));
	kiln_ok(kiln_loop_new(&f.loop, &err), &err);
	kiln_ok(kiln__rng_new(&f.rng, f.loop, &pace, &err), &err);
	virtio_guest_init(&f.guest, kiln__rng_device(f.rng), ~0ULL, 64);
	kiln__rng_others_active(f.rng);
	for (unsigned i = 0; i < 3; i++) { /* not quiet for so long: the third neither */
		virtio_guest_send(&f.guest, 0, &part, 0, 1);
		assert_true(vring_take(&f.guest.rings[0], &len) >= 0);
	}
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(buffers_are_filled),
		kiln_test(a_request_is_bounded_and_so_is_a_round),
		kiln_test(who_asks_slowly_waits),
		kiln_test(who_is_not_alone_does_not_wait),
		kiln_test(a_buffer_to_be_read_breaks_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
