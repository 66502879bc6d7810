/* SPDX-License-Identifier: Apache-2.0 */
#include "sums.h"

#include "err.h"

#include <stdbool.h>
#include <string.h>

struct word {
	const char *at;
	size_t len;
};

static bool is_hex(const char *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!at[i] || !strchr("0123456789abcdefABCDEF", at[i]))
			return false;
	return true;
}

static bool is_text(const struct word *word, const char *text)
{
	return word->len == strlen(text) && memcmp(word->at, text, word->len) == 0;
}

/* "DIGEST  NAME" or "DIGEST *NAME": sha256sum(1). A name with a folder before it is another file.
 */
static bool gnu_line(const char *line, size_t len, size_t digits, struct word *name,
		     struct word *digest)
{
	if (len < digits + 3 || !is_hex(line, digits) || line[digits] != ' ' ||
	    (line[digits + 1] != ' ' && line[digits + 1] != '*'))
		return false;
	*digest = (struct word){line, digits};
	*name = (struct word){line + digits + 2, len - digits - 2};
	if (name->len > 2 && memcmp(name->at, "./", 2) == 0)
		*name = (struct word){name->at + 2, name->len - 2};
	return true;
}

/* "SHA256 (NAME) = DIGEST" */
static bool bsd_line(const char *line, size_t len, size_t digits, struct word *name,
		     struct word *digest)
{
	static const char between[] = ") = ";
	const char *kind = digits == 64 ? "SHA256 (" : "SHA512 (";
	size_t before = strlen(kind);
	size_t rest = digits + strlen(between);

	if (len <= before + rest || memcmp(line, kind, before) != 0 ||
	    memcmp(line + len - rest, between, strlen(between)) != 0 ||
	    !is_hex(line + len - digits, digits))
		return false;
	*name = (struct word){line + before, len - before - rest};
	*digest = (struct word){line + len - digits, digits};
	return true;
}

static void lower(const struct word *digest, char *out)
{
	for (size_t i = 0; i < digest->len; i++)
		out[i] = digest->at[i] >= 'A' && digest->at[i] <= 'F'
				 ? (char)(digest->at[i] - 'A' + 'a')
				 : digest->at[i];
	out[digest->len] = '\0';
}

int kiln__sums_find(const char *text, size_t len, const char *name, size_t digits,
		    char ret[KILN__SUMS_HEX], kiln_error *err)
{
	char found[KILN__SUMS_HEX] = "";
	char other[KILN__SUMS_HEX];
	const char *end = text + len;
	struct word file, digest;

	if (digits != 64 && digits != 128)
		return kiln__fail(err, KILN_EINVAL, "no digest has %zu digits", digits);
	for (const char *next; text < end; text = next) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t line = (size_t)((newline ? newline : end) - text);

		next = newline ? newline + 1 : end;
		if (line && text[line - 1] == '\r')
			line--;
		if ((!gnu_line(text, line, digits, &file, &digest) &&
		     !bsd_line(text, line, digits, &file, &digest)) ||
		    !is_text(&file, name))
			continue;
		lower(&digest, other);
		if (found[0] && strcmp(found, other) != 0)
			return kiln__fail(err, KILN_EFORMAT,
					  "the checksums have two different ones of %s", name);
		strcpy(found, other);
	}
	if (!found[0])
		return kiln__fail(err, KILN_ENOENT, "the checksums have none of %s", name);
	strcpy(ret, found);
	return 0;
}
