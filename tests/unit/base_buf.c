/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "buf.h"

#include <stdio.h>
#include <string.h>

static void appends_grow_and_stay_terminated(void **state)
{
	kiln__autobuf buf = KILN__BUF_INIT;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		kiln__buf_addc(&buf, (char)('a' + i % 26));
		assert_int_equal(buf.len, i + 1);
		assert_int_equal(buf.data[buf.len], '\0');
	}
	kiln__buf_add(&buf, "\0x", 2);
	assert_int_equal(buf.len, 1002);
	assert_memory_equal(buf.data + 1000, "\0x", 3);
	assert_false(buf.failed);
}

static void formatted_text_is_exact_at_every_length(void **state)
{
	(void)state;
	for (int width = 0; width < 300; width++) {
		kiln__autobuf buf = KILN__BUF_INIT;

		kiln__buf_addf(&buf, "<%*s>", width, "");
		assert_int_equal(buf.len, width + 2);
		assert_int_equal(buf.data[width + 1], '>');
		assert_int_equal(buf.data[width + 2], '\0');
	}
}

static void dropping_keeps_the_rest(void **state)
{
	kiln__autobuf buf = KILN__BUF_INIT;

	(void)state;
	kiln__buf_drop(&buf, 0); /* with no storage yet */
	kiln__buf_adds(&buf, "hello world");
	kiln__buf_drop(&buf, 6);
	assert_string_equal(buf.data, "world");
	kiln__buf_drop(&buf, 5);
	assert_int_equal(buf.len, 0);
	assert_string_equal(buf.data, "");
}

static void dropping_moves_nothing(void **state)
{
	kiln__autobuf buf = KILN__BUF_INIT;
	const char *begin;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		kiln__buf_addf(&buf, "%03u", i);
	begin = buf.data;
	kiln__buf_drop(&buf, 3);
	assert_ptr_equal(buf.data, begin + 3);
	assert_memory_equal(buf.data, "001002", 6);
}

static void a_queue_stays_as_small_as_what_is_in_it(void **state)
{
	kiln__autobuf buf = KILN__BUF_INIT;
	char expected[4];

	(void)state;
	kiln__buf_adds(&buf, "000001002");
	for (unsigned i = 3; i < 1000; i++) {
		kiln__buf_addf(&buf, "%03u", i);
		snprintf(expected, sizeof(expected), "%03u", i - 3);
		assert_memory_equal(buf.data, expected, 3);
		kiln__buf_drop(&buf, 3);
	}
	assert_string_equal(buf.data, "997998999");
	assert_true(buf.head + buf.cap <= 64);
}

static void what_is_left_of_a_queue_is_stolen_whole(void **state)
{
	kiln__autobuf buf = KILN__BUF_INIT;
	kiln__autofree char *text = NULL;

	(void)state;
	kiln__buf_adds(&buf, "hello world");
	kiln__buf_drop(&buf, 6);
	text = kiln__buf_steal(&buf);
	assert_string_equal(text, "world");
}

static void stealing_hands_over_and_empties(void **state)
{
	kiln__autobuf buf = KILN__BUF_INIT;
	kiln__autofree char *empty = kiln__buf_steal(&buf);
	kiln__autofree char *text = NULL;

	(void)state;
	assert_string_equal(empty, "");
	kiln__buf_adds(&buf, "text");
	text = kiln__buf_steal(&buf);
	assert_string_equal(text, "text");
	assert_null(buf.data);
	assert_int_equal(buf.len, 0);
}

static void an_impossible_size_fails_and_stays_failed(void **state)
{
	kiln__autobuf buf = KILN__BUF_INIT;

	(void)state;
	kiln__buf_adds(&buf, "kept");
	assert_int_equal(kiln__buf_reserve(&buf, SIZE_MAX), KILN_ENOMEM);
	assert_int_equal(kiln__buf_reserve(&buf, SIZE_MAX - 5), KILN_ENOMEM);
	kiln__buf_adds(&buf, "lost");
	assert_true(buf.failed);
	assert_string_equal(buf.data, "kept");
	assert_null(kiln__buf_steal(&buf));
	assert_null(buf.data);
}

static void clearing_keeps_storage_and_forgives(void **state)
{
	kiln__autobuf buf = KILN__BUF_INIT;
	char *storage;

	(void)state;
	kiln__buf_adds(&buf, "text");
	storage = buf.data;
	kiln__buf_reserve(&buf, SIZE_MAX);
	kiln__buf_clear(&buf);
	assert_false(buf.failed);
	assert_ptr_equal(buf.data, storage);
	kiln__buf_adds(&buf, "new");
	assert_string_equal(buf.data, "new");
}

static void strf_formats_into_a_string_of_its_own(void **state)
{
	kiln__autofree char *text = kiln__strf("%s-%d", "vm", 7);

	(void)state;
	assert_string_equal(text, "vm-7");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(appends_grow_and_stay_terminated),
		kiln_test(formatted_text_is_exact_at_every_length),
		kiln_test(dropping_keeps_the_rest),
		kiln_test(dropping_moves_nothing),
		kiln_test(a_queue_stays_as_small_as_what_is_in_it),
		kiln_test(what_is_left_of_a_queue_is_stolen_whole),
		kiln_test(stealing_hands_over_and_empties),
		kiln_test(an_impossible_size_fails_and_stays_failed),
		kiln_test(clearing_keeps_storage_and_forgives),
		kiln_test(strf_formats_into_a_string_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
