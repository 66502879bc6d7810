/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory and the virtqueue walker. */
#include "kiln_test.h"

#include "virtio.h"
#include "vring.h"

#include <stdlib.h>
#include <string.h>

#define SIZE   8
#define MEMORY 65536
#define ALL    KILN__VIRTIO_RING_FEATURES

struct fixture {
	unsigned char *memory;
	struct kiln__gmem gmem;
	struct vring ring;
	struct kiln__queue queue;
};

static void set_up(struct fixture *f, uint64_t features)
{
	kiln_error err;

	memset(f, 0, sizeof(*f));
	f->memory = calloc(1, MEMORY);
	assert_non_null(f->memory);
	/* Two regions that touch, the second 4 KiB. */
	kiln_ok(kiln__gmem_add(&f->gmem, 0, MEMORY - 4096, f->memory, &err), &err);
	kiln_ok(kiln__gmem_add(&f->gmem, MEMORY - 4096, 4096, f->memory + MEMORY - 4096, &err),
		&err);
	vring_init(&f->ring, f->memory, 256, SIZE, features & KILN__VIRTIO_F_EVENT_IDX);
	f->queue.max_size = 16;
	vring_describe(&f->ring, &f->queue);
	kiln_ok(kiln__queue_start(&f->queue, &f->gmem, features, 0, &err), &err);
}

static void tear_down(struct fixture *f)
{
	kiln__queue_stop(&f->queue);
	free(f->memory);
}

/* --- guest memory ------------------------------------------------------------------ */

static void regions_must_not_be_empty_wrap_or_overlap(void **state)
{
	static unsigned char host[4096];
	struct kiln__gmem mem = {0};

	(void)state;
	assert_int_equal(kiln__gmem_add(&mem, 0x1000, 0, host, NULL), KILN_EINVAL);
	assert_int_equal(kiln__gmem_add(&mem, UINT64_MAX - 0xffe, 0x1000, host, NULL), KILN_EINVAL);
	assert_int_equal(kiln__gmem_add(&mem, 0x2000, 0x1000, host, NULL), 0);
	assert_int_equal(kiln__gmem_add(&mem, 0x2fff, 1, host, NULL), KILN_EINVAL);
	assert_int_equal(kiln__gmem_add(&mem, 0x1000, 0x1001, host, NULL), KILN_EINVAL);
	assert_int_equal(kiln__gmem_add(&mem, 0x1800, 0x2000, host, NULL), KILN_EINVAL);
	assert_int_equal(kiln__gmem_add(&mem, 0x1000, 0x1000, host, NULL), 0);
	assert_int_equal(kiln__gmem_add(&mem, 0x3000, 0x1000, host, NULL), 0);
	assert_int_equal(kiln__gmem_add(&mem, UINT64_MAX - 0xfff, 0x1000, host, NULL), 0);
	assert_int_equal(mem.count, 4);
	assert_int_equal(mem.regions[0].gpa, 0x1000);
}

static void the_table_of_regions_is_bounded(void **state)
{
	static unsigned char host[1];
	struct kiln__gmem mem = {0};

	(void)state;
	for (unsigned i = 0; i < KILN__GMEM_MAX_REGIONS; i++)
		assert_int_equal(kiln__gmem_add(&mem, i * 2, 1, host, NULL), 0);
	assert_int_equal(kiln__gmem_add(&mem, 1000, 1, host, NULL), KILN_ENOSPC);
}

static void accesses_span_touching_regions_and_stop_at_holes(void **state)
{
	unsigned char low[16] = "0123456789abcdef";
	unsigned char high[16] = "ghijklmnopqrstuv";
	struct kiln__gmem mem = {0};
	unsigned char out[32];

	(void)state;
	assert_int_equal(kiln__gmem_add(&mem, 0x100, 16, low, NULL), 0);
	assert_int_equal(kiln__gmem_add(&mem, 0x110, 16, high, NULL), 0);
	assert_int_equal(kiln__gmem_read(&mem, 0x10c, out, 8), 0);
	assert_memory_equal(out, "cdefghij", 8);
	assert_null(kiln__gmem_ptr(&mem, 0x10c, 8));
	assert_ptr_equal(kiln__gmem_ptr(&mem, 0x10c, 4), low + 12);
	assert_int_equal(kiln__gmem_write(&mem, 0x10f, "XY", 2), 0);
	assert_int_equal(low[15], 'X');
	assert_int_equal(high[0], 'Y');
	/* All or nothing. */
	assert_int_equal(kiln__gmem_write(&mem, 0x11f, "ZZ", 2), KILN_EOVERFLOW);
	assert_int_equal(high[15], 'v');
	assert_int_equal(kiln__gmem_read(&mem, 0xff, out, 2), KILN_EOVERFLOW);
	assert_false(kiln__gmem_contains(&mem, 0x100, UINT64_MAX));
	assert_true(kiln__gmem_contains(&mem, 0x100, 32));
	assert_false(kiln__gmem_contains(&mem, UINT64_MAX, 2));
}

static void an_access_does_not_wrap_around_the_top(void **state)
{
	unsigned char top[16];
	unsigned char bottom[16];
	struct kiln__gmem mem = {0};

	(void)state;
	assert_int_equal(kiln__gmem_add(&mem, UINT64_MAX - 15, 16, top, NULL), 0);
	assert_int_equal(kiln__gmem_add(&mem, 0, 16, bottom, NULL), 0);
	assert_true(kiln__gmem_contains(&mem, UINT64_MAX - 15, 16));
	assert_false(kiln__gmem_contains(&mem, UINT64_MAX - 15, 17));
}

/* --- starting ----------------------------------------------------------------------- */

static void impossible_settings_do_not_start(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	kiln__queue_stop(&f.queue);
	static const uint16_t sizes[] = {0, 3, 32};

	for (size_t i = 0; i < 3; i++) {
		vring_describe(&f.ring, &f.queue);
		f.queue.size = sizes[i];
		assert_int_equal(kiln__queue_start(&f.queue, &f.gmem, ALL, 0, NULL), KILN_EINVAL);
	}
	vring_describe(&f.ring, &f.queue);
	f.queue.desc_gpa += 8;
	assert_int_equal(kiln__queue_start(&f.queue, &f.gmem, ALL, 0, NULL), KILN_EINVAL);
	vring_describe(&f.ring, &f.queue);
	f.queue.avail_gpa = MEMORY - 4;
	assert_int_equal(kiln__queue_start(&f.queue, &f.gmem, ALL, 0, NULL), KILN_EINVAL);
	vring_describe(&f.ring, &f.queue);
	f.queue.used_gpa = UINT64_MAX - 3;
	assert_int_equal(kiln__queue_start(&f.queue, &f.gmem, ALL, 0, NULL), KILN_EINVAL);
	assert_false(f.queue.ready);
	tear_down(&f);
}

/* --- well-formed chains ---------------------------------------------------------------- */

static void a_chain_has_its_readable_then_its_writable_parts(void **state)
{
	struct vring_part parts[] = {{0x1000, 10}, {0x2000, 20}, {0x3000, 30}};
	struct kiln__chain chain;
	struct fixture f;
	uint32_t len;
	int head;

	(void)state;
	set_up(&f, ALL);
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 0);
	head = vring_add(&f.ring, parts, 2, 1);
	assert_true(kiln__queue_has_chain(&f.queue));
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 1);
	assert_int_equal(chain.head, head);
	assert_int_equal(chain.readable_count, 2);
	assert_int_equal(chain.read_len, 30);
	assert_int_equal(chain.writable_count, 1);
	assert_int_equal(chain.write_len, 30);
	assert_ptr_equal(chain.writable[0].host, f.memory + 0x3000);
	kiln__queue_push(&f.queue, chain.head, 7);
	assert_int_equal(vring_take(&f.ring, &len), head);
	assert_int_equal(len, 7);
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 0);
	tear_down(&f);
}

static void a_buffer_may_span_touching_regions(void **state)
{
	struct vring_part parts[] = {{MEMORY - 4096 - 3, 6}};
	struct kiln__chain chain;
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	vring_add(&f.ring, parts, 0, 1);
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 1);
	assert_int_equal(chain.writable_count, 2);
	assert_int_equal(chain.write_len, 6);
	assert_int_equal(kiln__chain_write(&chain, 1, "abcdefgh", 8), 5);
	assert_memory_equal(f.memory + MEMORY - 4096 - 2, "abcde", 5);
	tear_down(&f);
}

static void chain_contents_are_copied_across_spans(void **state)
{
	struct vring_part parts[] = {{0x1000, 3}, {0x2000, 4}};
	struct kiln__chain chain;
	struct fixture f;
	char out[8] = "";

	(void)state;
	set_up(&f, ALL);
	memcpy(f.memory + 0x1000, "abc", 3);
	memcpy(f.memory + 0x2000, "defg", 4);
	vring_add(&f.ring, parts, 2, 0);
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 1);
	assert_int_equal(kiln__chain_read(&chain, 2, out, 8), 5);
	assert_string_equal(out, "cdefg");
	assert_int_equal(kiln__chain_read(&chain, 7, out, 1), 0);
	assert_int_equal(kiln__chain_write(&chain, 0, "x", 1), 0);
	tear_down(&f);
}

/* An indirect table of @count descriptors at 0x4000, offered as descriptor 0. */
static struct vring_desc *indirect(struct fixture *f, uint32_t len, uint16_t flags)
{
	struct vring_desc *table = (struct vring_desc *)(void *)(f->memory + 0x4000);

	f->ring.desc[0] = (struct vring_desc){0x4000, len, flags, 0};
	for (unsigned i = 0; i < len / 16; i++)
		table[i] = (struct vring_desc){
			0x5000 + i * 16, 16, i + 1 < len / 16 ? VRING_NEXT : 0, (uint16_t)(i + 1)};
	vring_offer(&f->ring, 0);
	return table;
}

static void indirect_tables_are_followed(void **state)
{
	struct kiln__chain chain;
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	indirect(&f, SIZE * 16, VRING_INDIRECT);
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 1);
	assert_int_equal(chain.readable_count, SIZE);
	assert_int_equal(chain.head, 0);
	tear_down(&f);
}

static void indices_wrap_at_two_to_the_sixteenth(void **state)
{
	struct vring_part parts[] = {{0x1000, 4}};
	struct kiln__chain chain;
	struct fixture f;
	uint32_t len;

	(void)state;
	set_up(&f, ALL);
	for (unsigned i = 0; i < 70000; i++) {
		assert_int_not_equal(vring_add(&f.ring, parts, 1, 0), -1);
		assert_int_equal(kiln__queue_pop(&f.queue, &chain), 1);
		kiln__queue_push(&f.queue, chain.head, 0);
		assert_int_equal(vring_take(&f.ring, &len), chain.head);
	}
	tear_down(&f);
}

static void a_queue_goes_on_where_it_was_stopped(void **state)
{
	struct vring_part parts[] = {{0x1000, 4}};
	struct kiln__chain chain;
	struct fixture f;
	uint32_t len;

	(void)state;
	set_up(&f, ALL);
	vring_add(&f.ring, parts, 1, 0);
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 1);
	kiln__queue_push(&f.queue, chain.head, 1);
	vring_add(&f.ring, parts, 1, 0);
	kiln__queue_stop(&f.queue);
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 0);
	assert_int_equal(kiln__queue_start(&f.queue, &f.gmem, ALL, f.queue.next_avail, NULL), 0);
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 1);
	kiln__queue_push(&f.queue, chain.head, 2);
	assert_true(vring_take(&f.ring, &len) >= 0);
	assert_int_equal(len, 1);
	assert_true(vring_take(&f.ring, &len) >= 0);
	assert_int_equal(len, 2);
	tear_down(&f);
}

/* --- what no driver may write -------------------------------------------------------------- */

static void assert_breaks(struct fixture *f)
{
	struct kiln__chain chain;

	assert_int_equal(kiln__queue_pop(&f->queue, &chain), KILN_EPROTO);
	assert_non_null(f->queue.fault);
	/* And stays so, whatever comes. */
	assert_int_equal(kiln__queue_pop(&f->queue, &chain), KILN_EPROTO);
	assert_false(kiln__queue_has_chain(&f->queue));
	tear_down(f);
}

static void chains_that_are_put_back_come_again(void **state)
{
	struct vring_part parts[] = {{4096, 10}, {4200, 10}};
	struct kiln__chain chain;
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	for (unsigned i = 0; i < 3; i++)
		assert_true(vring_add(&f.ring, parts, 1, 0) >= 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(kiln__queue_pop(&f.queue, &chain), 1);
	kiln__queue_unpop(&f.queue, 2);
	for (uint16_t i = 1; i < 3; i++) {
		assert_int_equal(kiln__queue_pop(&f.queue, &chain), 1);
		assert_int_equal(chain.head, i);
		assert_int_equal(chain.read_len, 10);
	}
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 0);
	/* Back-ends of the kernel count on by themselves: one chain more, taken and pushed. */
	assert_true(vring_add(&f.ring, parts, 1, 0) >= 0);
	f.ring.used[1] = 4;
	kiln__queue_move(&f.queue, 4);
	assert_int_equal(kiln__queue_pop(&f.queue, &chain), 0);
	kiln__queue_push(&f.queue, 0, 0);
	assert_int_equal(f.ring.used[1], 5);
	tear_down(&f);
}

static void host_memory_leads_back_to_its_address(void **state)
{
	struct fixture f;
	uint64_t gpa = 1;

	(void)state;
	set_up(&f, ALL);
	assert_true(kiln__gmem_gpa(&f.gmem, f.memory, &gpa));
	assert_int_equal(gpa, 0);
	assert_true(kiln__gmem_gpa(&f.gmem, f.memory + MEMORY - 1, &gpa));
	assert_int_equal(gpa, MEMORY - 1);
	assert_false(kiln__gmem_gpa(&f.gmem, f.memory + MEMORY, &gpa));
	assert_false(kiln__gmem_gpa(&f.gmem, &f, &gpa));
	tear_down(&f);
}

static void an_available_index_too_far_ahead_breaks_the_queue(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	f.ring.avail[1] = SIZE + 1;
	assert_breaks(&f);
}

static void an_available_index_that_went_back_breaks_the_queue(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	f.ring.avail[1] = 0xffff;
	assert_breaks(&f);
}

static void a_head_out_of_range_breaks_the_queue(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	vring_offer(&f.ring, SIZE);
	assert_breaks(&f);
}

static void a_successor_out_of_range_breaks_the_queue(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	f.ring.desc[0] = (struct vring_desc){0x1000, 4, VRING_NEXT, SIZE};
	vring_offer(&f.ring, 0);
	assert_breaks(&f);
}

static void a_loop_breaks_the_queue(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	f.ring.desc[0] = (struct vring_desc){0x1000, 4, VRING_NEXT, 1};
	f.ring.desc[1] = (struct vring_desc){0x1000, 0, VRING_NEXT, 0}; /* no bytes, no progress */
	vring_offer(&f.ring, 0);
	assert_breaks(&f);
}

static void a_writable_part_before_a_readable_one_breaks_the_queue(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, ALL);
	f.ring.desc[0] = (struct vring_desc){0x1000, 4, VRING_NEXT | VRING_WRITE, 1};
	f.ring.desc[1] = (struct vring_desc){0x1000, 4, 0, 0};
	vring_offer(&f.ring, 0);
	assert_breaks(&f);
}

static void a_buffer_outside_memory_breaks_the_queue(void **state)
{
	static const struct vring_part parts[] = {{MEMORY - 1, 2},
						  {MEMORY, 1},
						  {UINT64_MAX, 1},
						  {UINT64_MAX - 1, 4},
						  {0x1000, UINT32_MAX}};
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		set_up(&f, ALL);
		vring_add(&f.ring, &parts[i], 1, 0);
		assert_breaks(&f);
	}
}

static void an_indirect_table_must_be_negotiated(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, ALL & ~KILN__VIRTIO_F_INDIRECT_DESC);
	indirect(&f, 16, VRING_INDIRECT);
	assert_breaks(&f);
}

static void malformed_indirect_tables_break_the_queue(void **state)
{
	struct vring_desc *table;
	struct fixture f;

	(void)state;
	set_up(&f, ALL); /* odd length */
	indirect(&f, 24, VRING_INDIRECT);
	assert_breaks(&f);
	set_up(&f, ALL); /* empty */
	indirect(&f, 0, VRING_INDIRECT);
	assert_breaks(&f);
	set_up(&f, ALL); /* with a successor */
	indirect(&f, 16, VRING_INDIRECT | VRING_NEXT);
	assert_breaks(&f);
	set_up(&f, ALL); /* nested */
	table = indirect(&f, 32, VRING_INDIRECT);
	table[1].flags = VRING_INDIRECT;
	assert_breaks(&f);
	set_up(&f, ALL); /* out of the table, though within the queue */
	table = indirect(&f, 32, VRING_INDIRECT);
	table[1].flags = VRING_NEXT;
	table[1].next = 2;
	assert_breaks(&f);
	set_up(&f, ALL); /* longer than the queue */
	indirect(&f, (SIZE + 1) * 16, VRING_INDIRECT);
	assert_breaks(&f);
	set_up(&f, ALL); /* not in memory */
	f.ring.desc[0] = (struct vring_desc){MEMORY - 16, 32, VRING_INDIRECT, 0};
	vring_offer(&f.ring, 0);
	assert_breaks(&f);
}

/* --- notifications --------------------------------------------------------------------------- */

/* The device's half: take one and give it back. */
static void serve(struct fixture *f)
{
	struct kiln__chain chain;

	assert_int_equal(kiln__queue_pop(&f->queue, &chain), 1);
	kiln__queue_push(&f->queue, chain.head, 0);
}

static void without_event_index_the_flags_say_who_wants_notifications(void **state)
{
	struct vring_part parts[] = {{0x1000, 4}};
	struct fixture f;

	(void)state;
	set_up(&f, KILN__VIRTIO_F_VERSION_1);
	assert_false(kiln__queue_wants_notify(&f.queue)); /* nothing was pushed */
	vring_add(&f.ring, parts, 1, 0);
	assert_true(vring_wants_kick(&f.ring));
	serve(&f);
	assert_true(kiln__queue_wants_notify(&f.queue));
	assert_false(kiln__queue_wants_notify(&f.queue));
	f.ring.avail[0] = 1; /* VIRTQ_AVAIL_F_NO_INTERRUPT */
	kiln__queue_kicks_off(&f.queue);
	vring_add(&f.ring, parts, 1, 0);
	assert_false(vring_wants_kick(&f.ring));
	serve(&f);
	assert_false(kiln__queue_wants_notify(&f.queue));
	assert_false(kiln__queue_kicks_on(&f.queue));
	vring_add(&f.ring, parts, 1, 0);
	assert_true(vring_wants_kick(&f.ring));
	tear_down(&f);
}

static void event_index_notifies_when_the_threshold_is_passed(void **state)
{
	struct vring_part parts[] = {{0x1000, 4}};
	struct fixture f;
	uint32_t len;

	(void)state;
	set_up(&f, ALL);
	for (unsigned i = 0; i < 4; i++)
		vring_add(&f.ring, parts, 1, 0);
	assert_true(vring_wants_kick(&f.ring));
	serve(&f);
	assert_true(kiln__queue_wants_notify(&f.queue)); /* the first, always */
	f.ring.avail[2 + SIZE] = 2; /* used_event: tell me when the third is used */
	serve(&f);
	assert_false(kiln__queue_wants_notify(&f.queue));
	serve(&f);
	assert_true(kiln__queue_wants_notify(&f.queue));
	serve(&f);
	assert_false(kiln__queue_wants_notify(&f.queue));
	while (vring_take(&f.ring, &len) >= 0)
		;
	/* Kicks stay off until they are asked for. */
	vring_add(&f.ring, parts, 1, 0);
	assert_false(vring_wants_kick(&f.ring));
	assert_true(kiln__queue_kicks_on(&f.queue)); /* one waits: look again */
	serve(&f);
	assert_false(kiln__queue_kicks_on(&f.queue));
	vring_add(&f.ring, parts, 1, 0);
	assert_true(vring_wants_kick(&f.ring));
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(regions_must_not_be_empty_wrap_or_overlap),
		kiln_test(the_table_of_regions_is_bounded),
		kiln_test(accesses_span_touching_regions_and_stop_at_holes),
		kiln_test(an_access_does_not_wrap_around_the_top),
		kiln_test(impossible_settings_do_not_start),
		kiln_test(a_chain_has_its_readable_then_its_writable_parts),
		kiln_test(a_buffer_may_span_touching_regions),
		kiln_test(chain_contents_are_copied_across_spans),
		kiln_test(indirect_tables_are_followed),
		kiln_test(indices_wrap_at_two_to_the_sixteenth),
		kiln_test(a_queue_goes_on_where_it_was_stopped),
		kiln_test(chains_that_are_put_back_come_again),
		kiln_test(host_memory_leads_back_to_its_address),
		kiln_test(an_available_index_too_far_ahead_breaks_the_queue),
		kiln_test(an_available_index_that_went_back_breaks_the_queue),
		kiln_test(a_head_out_of_range_breaks_the_queue),
		kiln_test(a_successor_out_of_range_breaks_the_queue),
		kiln_test(a_loop_breaks_the_queue),
		kiln_test(a_writable_part_before_a_readable_one_breaks_the_queue),
		kiln_test(a_buffer_outside_memory_breaks_the_queue),
		kiln_test(an_indirect_table_must_be_negotiated),
		kiln_test(malformed_indirect_tables_break_the_queue),
		kiln_test(without_event_index_the_flags_say_who_wants_notifications),
		kiln_test(event_index_notifies_when_the_threshold_is_passed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
