/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vendor's checksums from anybody. What is found is a
 * digest of the length asked for, which stands in the text.
 */
#include "sums.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static void find(const char *text, size_t len, size_t digits)
{
	kiln_error err = KILN_ERROR_INIT;
	char digest[KILN__SUMS_HEX] = "untouched";
	int r = kiln__sums_find(text, len, "image.raw", digits, digest, &err);

	if (r < 0) {
		CHECK(err.code == r && err.message[0] && strcmp(digest, "untouched") == 0);
		return;
	}
	CHECK(strlen(digest) == digits && strspn(digest, "0123456789abcdef") == digits);
	CHECK(memmem(text, len, "image.raw", 9));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char *text = malloc(len ? len : 1); /* of exactly this size: what reads beyond is seen */

	CHECK(text);
	if (len)
		memcpy(text, bytes, len);
	find(text, len, 64);
	find(text, len, 128);
	free(text);
	return 0;
}
