/* SPDX-License-Identifier: Apache-2.0 */
#include "printable.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The length of the UTF-8 sequence at @at, or 0 where there is none: RFC 3629, section 4. The
 * text's NUL is no continuation, so nothing behind it is looked at.
 */
static size_t sequence(const unsigned char *at, uint32_t *ret_character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = *at < 0x80 ? 1 : *at < 0xc0 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
	uint32_t character = len == 1 ? *at : *at & (0x7fu >> len);

	if (!len || *at > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		character = character << 6 | (at[i] & 0x3f);
	}
	if (character < least[len] || character > 0x10ffff ||
	    (character >= 0xd800 && character < 0xe000)) /* surrogates */
		return 0;
	*ret_character = character;
	return len;
}

char *kiln__printable(char *text)
{
	unsigned char *at = (unsigned char *)text;

	while (*at) {
		uint32_t character = 0;
		size_t len = sequence(at, &character);

		if (len && character >= 0x20 && (character < 0x7f || character >= 0xa0)) {
			at += len;
			continue;
		}
		for (len = len ? len : 1; len; len--)
			*at++ = '?';
	}
	return text;
}

/* How long what a terminal could take for a command is, in a text of UTF-8 without C0: or 0. */
static size_t command(const unsigned char *at)
{
	if (*at == 0x7f)
		return 1;
	return at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0 ? 2 : 0;
}

#define ESCAPE 6 /* "\\u009b" */

char *kiln__printable_json(const char *json)
{
	const unsigned char *at = (const unsigned char *)json;
	size_t commands = 0;
	char *copy;
	char *to;

	for (; *at; at++)
		commands += command(at) != 0;
	to = copy = malloc(strlen(json) + commands * ESCAPE + 1);
	if (!copy)
		return NULL;
	for (at = (const unsigned char *)json; *at;) {
		size_t len = command(at);

		if (len)
			to += snprintf(to, ESCAPE + 1, "\\u%04x", at[len - 1]);
		else
			*to++ = (char)*at;
		at += len ? len : 1;
	}
	*to = '\0';
	return copy;
}
