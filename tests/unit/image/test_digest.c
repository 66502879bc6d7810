/* SPDX-License-Identifier: Apache-2.0 */
#include "digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void check(const void *bytes, size_t len, size_t step, const char *expected)
{
	struct kiln__digest digest;
	char hex[KILN__DIGEST_HEX];

	kiln__digest_init(&digest);
	for (size_t at = 0; at < len; at += step)
		kiln__digest_add(&digest, (const char *)bytes + at,
				 len - at < step ? len - at : step);
	kiln__digest_final_hex(&digest, hex);
	assert_string_equal(hex, expected);
}

/* Made with Python's hashlib.blake2b(digest_size=32). */
static void digests_agree_with_an_independent_implementation(void **state)
{
	uint8_t bytes[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
	check("", 0, 1, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
	check("abc", 3, 3, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
	check(bytes, 127, 127, "3b03a73c3c02e3eef11be3e2e16c12ccf6090dea00aa861ded320910892e13ac");
	check(bytes, 128, 128, "6b89237e0a469a721c700b8bbcb51b6231c48e71ff023e0e3444ec84882ae32e");
	check(bytes, 129, 129, "524a9dc9d008a9ce1d9d2a111bcd10d2461a02dadf30ec5a47225501608a87eb");
	check(bytes, 256, 256, "e7001e3026924e6650fcd5b274bc3ddf556a6c7fedfe038383c0f4ad5f26cfc9");
	check(bytes, 1000, 1000,
	      "1d16566788d72e44f7c8ca9aaf73edc64bb03fc69322cb735f49974d7c9ce383");
}

static void pieces_of_any_size_give_the_same_digest(void **state)
{
	static const size_t steps[] = {1, 3, 64, 127, 128, 129, 256, 999};
	uint8_t bytes[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		check(bytes, sizeof(bytes), steps[i],
		      "1d16566788d72e44f7c8ca9aaf73edc64bb03fc69322cb735f49974d7c9ce383");
}

static void fields_do_not_run_into_each_other(void **state)
{
	struct kiln__digest a, b;
	char x[KILN__DIGEST_HEX], y[KILN__DIGEST_HEX];

	(void)state;
	kiln__digest_init(&a);
	kiln__digest_adds(&a, "ab");
	kiln__digest_adds(&a, "c");
	kiln__digest_final_hex(&a, x);
	kiln__digest_init(&b);
	kiln__digest_adds(&b, "a");
	kiln__digest_adds(&b, "bc");
	kiln__digest_final_hex(&b, y);
	assert_string_not_equal(x, y);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_agree_with_an_independent_implementation),
		cmocka_unit_test(pieces_of_any_size_give_the_same_digest),
		cmocka_unit_test(fields_do_not_run_into_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
