/* SPDX-License-Identifier: Apache-2.0 */
#include "detach.h"

#include "err.h"

#include <string.h>

/* One key, of @len bytes; 0 if it is none. */
static char parse_key(const char *text, size_t len)
{
	char c = text[len - 1];

	if (len == 1)
		return c > ' ' && c < 0x7f ? c : 0;
	if (len != 6 || strncmp(text, "ctrl-", 5) != 0)
		return 0;
	if (c >= 'a' && c <= 'z')
		return (char)(c - 'a' + 1);
	/* ctrl-[ is escape, 0x1b, and so on, as on the keys of ASCII; ctrl-@ would be NUL. */
	return strchr("[\\]^_", c) ? (char)(c - '@') : 0;
}

int detach_parse(const char *text, struct detach_keys *ret, kiln_error *err)
{
	const char *rest = text ? text : "ctrl-p,ctrl-q";
	struct detach_keys keys = {.count = 0};

	for (;;) {
		size_t len = strcspn(rest, ",");
		char key = len ? parse_key(rest, len) : 0;

		if (!key || keys.count == DETACH_KEYS_MAX) {
			kiln__fail(err, KILN_EINVAL, "--detach-keys cannot be \"%.40s\"", text);
			kiln__hint(err,
				   "up to %d of a character or ctrl-a to ctrl-z, joined by commas",
				   DETACH_KEYS_MAX);
			return KILN_EINVAL;
		}
		keys.bytes[keys.count++] = key;
		if (!rest[len])
			break;
		rest += len + 1;
	}
	*ret = keys;
	return 0;
}

/* The most of the first @held keys that is an end of them, and a beginning, too. */
static size_t border(const struct detach_keys *keys, size_t held)
{
	size_t k = held - 1;

	while (k > 0 && memcmp(keys->bytes, keys->bytes + held - k, k) != 0)
		k--;
	return k;
}

bool detach_feed(const struct detach_keys *keys, size_t *held, char c, char ret[DETACH_KEYS_MAX],
		 size_t *ret_count)
{
	size_t count = 0;

	while (*held > 0 && c != keys->bytes[*held]) {
		size_t kept = border(keys, *held);

		/* Those before are no keys after all; they stand at the sequence's beginning. */
		memcpy(ret + count, keys->bytes, *held - kept);
		count += *held - kept;
		*held = kept;
	}
	if (c == keys->bytes[*held])
		++*held;
	else
		ret[count++] = c;
	*ret_count = count;
	return *held == keys->count;
}
