/* SPDX-License-Identifier: Apache-2.0 */
/* Windows over byte streams, compared with the stream itself. */
#include "kiln_test.h"

#include "window.h"

#include <string.h>

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 31 + offset / 256);
}

static void check(const struct kiln__window *window)
{
	uint64_t at = window->start;

	while (at < window->end) {
		const uint8_t *bytes;
		size_t len = kiln__window_at(window, at, &bytes);

		assert_true(len > 0 && len <= window->end - at);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(bytes[i], byte_at(at + i));
		at += len;
	}
}

static void bytes_are_where_their_offsets_say_around_the_ring(void **state)
{
	struct kiln__window window;
	uint32_t seed = 1;

	(void)state;
	kiln__window_init(&window, 64);
	for (int i = 0; i < 5000; i++) {
		uint8_t bytes[80];
		size_t len;
		size_t room = kiln__window_room(&window);

		seed = seed * 1103515245 + 12345;
		len = (seed >> 16) % sizeof(bytes);
		for (size_t b = 0; b < len; b++)
			bytes[b] = byte_at(window.end + b);
		assert_int_equal(kiln__window_put(&window, bytes, len), len < room ? len : room);
		check(&window);
		kiln__window_drop(&window,
				  window.start + (seed >> 8) % (kiln__window_used(&window) + 1));
		check(&window);
	}
	assert_true(window.end > 64 * 100);
	kiln__window_done(&window);
}

static void space_and_added_do_the_same_without_a_copy(void **state)
{
	struct kiln__window window;

	(void)state;
	kiln__window_init(&window, 16);
	for (int i = 0; i < 1000; i++) {
		uint8_t *to;
		size_t room = kiln__window_space(&window, &to);

		for (size_t b = 0; b < room; b++)
			to[b] = byte_at(window.end + b);
		kiln__window_added(&window, room > 5 ? 5 : room);
		check(&window);
		if (i % 3 == 0)
			kiln__window_drop(&window, window.end - kiln__window_used(&window) / 2);
	}
	assert_true(kiln__window_used(&window) <= 16);
	kiln__window_done(&window);
}

static void an_empty_window_has_no_memory(void **state)
{
	struct kiln__window window;
	const uint8_t *bytes;

	(void)state;
	kiln__window_init(&window, 1 << 20);
	assert_null(window.data);
	assert_int_equal(kiln__window_at(&window, 0, &bytes), 0);
	assert_true(kiln__window_holds(&window, 0));
	assert_false(kiln__window_holds(&window, 1));
	kiln__window_done(&window);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(bytes_are_where_their_offsets_say_around_the_ring),
		kiln_test(space_and_added_do_the_same_without_a_copy),
		kiln_test(an_empty_window_has_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
