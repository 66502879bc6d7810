/* SPDX-License-Identifier: Apache-2.0 */
#include "base64.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *kiln__base64_encode(const char *text)
{
	size_t len = strlen(text);
	char *out = malloc(len / 3 * 4 + 8);
	char *at = out;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t word = (uint32_t)(uint8_t)text[i] << 16;

		if (i + 1 < len)
			word |= (uint32_t)(uint8_t)text[i + 1] << 8;
		if (i + 2 < len)
			word |= (uint8_t)text[i + 2];
		*at++ = digits[word >> 18];
		*at++ = digits[word >> 12 & 63];
		*at++ = i + 1 < len ? digits[word >> 6 & 63] : '=';
		*at++ = i + 2 < len ? digits[word & 63] : '=';
	}
	*at = '\0';
	return out;
}

char *kiln__base64_decode(const char *text)
{
	char *out = malloc(strlen(text) / 4 * 3 + 4);
	size_t len = 0;
	uint32_t word = 0;
	unsigned bits = 0;

	for (; out && *text && *text != '='; text++) {
		const char *digit = strchr(digits, *text);

		if (!digit) {
			free(out);
			return NULL;
		}
		word = word << 6 | (uint32_t)(digit - digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[len++] = (char)(word >> bits & 0xff);
		}
	}
	if (out)
		out[len] = '\0';
	if (out && strlen(out) != len) {
		free(out);
		return NULL;
	}
	return out;
}
