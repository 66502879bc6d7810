/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "printable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_becomes(const char *from, const char *to)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", from);
	assert_ptr_equal(kiln__printable(text), text);
	assert_string_equal(text, to);
}

static void text_stays_as_it_is(void **state)
{
	(void)state;
	assert_becomes("", "");
	assert_becomes("plain ~ text", "plain ~ text");
	assert_becomes("Gr\xc3\xb6\xc3\x9f"
		       "e, \xe6\x96\x87, \xf0\x9f\x94\xa5, \xc2\xa0",
		       "Gr\xc3\xb6\xc3\x9f"
		       "e, \xe6\x96\x87, \xf0\x9f\x94\xa5, \xc2\xa0");
}

static void control_characters_of_both_ranges_go(void **state)
{
	char text[3] = "\xc2";

	(void)state;
	assert_becomes("\x1b[2J", "?[2J");
	assert_becomes("a\r\n\tb\x7f", "a???b?");
	assert_becomes("\xc2\x9b"
		       "2J",
		       "??2J"); /* U+009B: a control sequence begins */
	for (int c = 0x80; c < 0xa0; c++) {
		text[1] = (char)c;
		assert_becomes(text, "??");
	}
}

static void what_is_no_utf8_goes(void **state)
{
	(void)state;
	assert_becomes("\x9b"
		       "2J",
		       "?2J"); /* as a terminal of eight bits has it */
	assert_becomes("cut \xc3", "cut ?");
	assert_becomes("cut \xf0\x9f\x94", "cut ???");
	assert_becomes("\xc1\xbf", "??");           /* too long a form */
	assert_becomes("\xe0\x82\x9b", "???");      /* of U+009B */
	assert_becomes("\xed\xa0\x80", "???");      /* a surrogate */
	assert_becomes("\xf4\x90\x80\x80", "????"); /* beyond the last */
	assert_becomes("\xff\xfe", "??");
	assert_becomes("\xe6\x1b[2J", "??[2J"); /* a control within a sequence */
}

static void json_is_escaped_where_it_must_be(void **state)
{
	static const char *const documents[][2] = {
		{"{\"a\":\"\xc2\x9b\"}", "{\"a\":\"\\u009b\"}"},
		{"\"\x7f\xc2\x80\xc2\x9f\"", "\"\\u007f\\u0080\\u009f\""},
		{"\"\xc2\xa0\xc3\xa4\xe2\x82\xac\\n\"", "\"\xc2\xa0\xc3\xa4\xe2\x82\xac\\n\""},
		{"\xc2", "\xc2"}, /* cut: nothing behind the end is looked at */
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
		char *shown = kiln__printable_json(documents[i][0]);

		assert_non_null(shown);
		assert_string_equal(shown, documents[i][1]);
		free(shown);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(text_stays_as_it_is),
		kiln_test(control_characters_of_both_ranges_go),
		kiln_test(what_is_no_utf8_goes),
		kiln_test(json_is_escaped_where_it_must_be),
	};

	return cmocka_run_group_tests_name("base_printable", tests, NULL, NULL);
}
