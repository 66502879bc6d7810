/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "err.h"

#include <errno.h>
#include <string.h>

static void every_code_has_a_name_and_a_text_of_its_own(void **state)
{
	(void)state;
	for (int code = KILN_ESYSTEM; code < 0; code++) {
		assert_string_not_equal(kiln_error_name(code), "EUNKNOWN");
		for (int other = code + 1; other < 0; other++) {
			assert_string_not_equal(kiln_error_name(code), kiln_error_name(other));
			assert_string_not_equal(kiln_error_text(code), kiln_error_text(other));
		}
	}
	assert_string_equal(kiln_error_name(0), "OK");
	assert_string_equal(kiln_error_name(KILN_ESYSTEM - 1), "EUNKNOWN");
	assert_string_equal(kiln_error_name(1), "EUNKNOWN");
}

static void codes_keep_their_numbers(void **state)
{
	(void)state;
	assert_int_equal(KILN_EINVAL, -1);
	assert_int_equal(KILN_EDIED, -15);
	assert_int_equal(KILN_ESYSTEM, -19);
}

static void failing_fills_the_whole_error(void **state)
{
	kiln_error err;

	(void)state;
	memset(&err, 'x', sizeof(err));
	assert_int_equal(kiln__fail(&err, KILN_EBUSY, "vm %s", "web"), KILN_EBUSY);
	assert_int_equal(err.code, KILN_EBUSY);
	assert_int_equal(err.os_errno, 0);
	assert_string_equal(err.message, "vm web");
	assert_string_equal(err.stage, "");
	assert_string_equal(err.hint, "");
}

static void an_error_is_optional(void **state)
{
	(void)state;
	assert_int_equal(kiln__fail(NULL, KILN_EIO, "x"), KILN_EIO);
	assert_int_equal(kiln__fail_errno(NULL, ENOENT, "x"), KILN_ENOENT);
	assert_int_equal(kiln__fail_nomem(NULL), KILN_ENOMEM);
	assert_int_equal(kiln__stage(NULL, "x"), 0);
	assert_int_equal(kiln__hint(NULL, "x"), 0);
	assert_int_equal(kiln__prefix(NULL, "x"), 0);
}

static void errno_values_find_their_code(void **state)
{
	kiln_error err;

	(void)state;
	assert_int_equal(kiln__fail_errno(&err, EACCES, "cannot open %s", "/x"), KILN_EACCES);
	assert_int_equal(err.os_errno, EACCES);
	assert_non_null(strstr(err.message, "cannot open /x: "));
	assert_string_equal(err.message + strlen("cannot open /x: "), strerror(EACCES));
	assert_int_equal(kiln__code_of_errno(ENOTDIR), KILN_ENOENT);
	assert_int_equal(kiln__code_of_errno(EPIPE), KILN_EIO);
	assert_int_equal(kiln__code_of_errno(ENAMETOOLONG), KILN_EOVERFLOW);
	assert_int_equal(kiln__code_of_errno(ECHILD), KILN_ESYSTEM);
}

static void the_innermost_stage_and_hint_win(void **state)
{
	kiln_error err;

	(void)state;
	kiln__fail(&err, KILN_EINVAL, "bad");
	assert_int_equal(kiln__stage(&err, "kernel"), KILN_EINVAL);
	kiln__stage(&err, "start");
	kiln__hint(&err, "give a %s", "bzImage");
	kiln__hint(&err, "something vague");
	assert_string_equal(err.stage, "kernel");
	assert_string_equal(err.hint, "give a bzImage");
}

static void prefixes_go_before_and_cut_the_tail(void **state)
{
	char long_text[1000];
	kiln_error err;

	(void)state;
	kiln__fail(&err, KILN_EINVAL, "no such file");
	assert_int_equal(kiln__prefix(&err, "disk %d", 2), KILN_EINVAL);
	assert_string_equal(err.message, "disk 2: no such file");
	memset(long_text, 'l', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	kiln__fail(&err, KILN_EINVAL, "%s", long_text);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	kiln__prefix(&err, "head");
	assert_memory_equal(err.message, "head: lll", 9);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	kiln__prefix(&err, "%s", long_text);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(every_code_has_a_name_and_a_text_of_its_own),
		kiln_test(codes_keep_their_numbers),
		kiln_test(failing_fills_the_whole_error),
		kiln_test(an_error_is_optional),
		kiln_test(errno_values_find_their_code),
		kiln_test(the_innermost_stage_and_hint_win),
		kiln_test(prefixes_go_before_and_cut_the_tail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
