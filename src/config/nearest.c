/* SPDX-License-Identifier: Apache-2.0 */
/* Which key somebody meant who wrote one that there is not. */
#include "schema.h"

#include <stdio.h>
#include <string.h>

#define MAX_NAME 32 /* longer than any key; what is longer resembles none */

/* Edits (insert, delete, replace, swap neighbours) that lead from @a to @b. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][MAX_NAME + 1];
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);
	size_t *before = rows[0], *last = rows[1], *row = rows[2], *recycled;

	for (size_t j = 0; j <= b_len; j++)
		last[j] = before[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = last[j - 1] + (a[i - 1] != b[j - 1]);
			if (last[j] + 1 < row[j])
				row[j] = last[j] + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		recycled = before;
		before = last;
		last = row;
		row = recycled;
	}
	return last[b_len];
}

/* Finds a key called just @name anywhere below @object, whose own path is @path. */
static bool find_below(const struct kiln__key *object, const char *path, const char *name,
		       char *out, size_t size)
{
	const struct kiln__key *inner;
	char here[KILN__MAX_PATH];

	for (const struct kiln__key *key = object->keys; key->name; key++) {
		if (kiln__schema_is_absent(key))
			continue;
		inner = key->type == KILN__TYPE_LIST ? key->element : key;
		snprintf(here, sizeof(here), "%s%s%s%s", path, *path ? "." : "", key->name,
			 inner != key ? "[]" : "");
		if (strcmp(key->name, name) == 0) {
			snprintf(out, size, "%s", here);
			return true;
		}
		if (inner->type == KILN__TYPE_OBJECT && find_below(inner, here, name, out, size))
			return true;
	}
	return false;
}

void kiln__schema_nearest(const struct kiln__key *object, const char *path, const char *name,
			  char *out, size_t size)
{
	size_t len = strlen(name);
	size_t best = len <= 4 ? 2 : 3; /* so many edits make another word */
	size_t edits, shorter;

	out[0] = '\0';
	if (len == 0 || len > MAX_NAME)
		return;
	for (const struct kiln__key *key = object->keys; key->name; key++) {
		if (kiln__schema_is_absent(key))
			continue;
		edits = distance(name, key->name);
		/* "mem" and "mac_address" mean what they begin with. */
		shorter = len < strlen(key->name) ? len : strlen(key->name);
		if (edits >= best && shorter >= 3 && memcmp(name, key->name, shorter) == 0)
			edits = best - 1;
		if (edits < best) {
			best = edits;
			snprintf(out, size, "%s%s%s", path, *path ? "." : "", key->name);
		}
	}
	if (!out[0])
		find_below(&kiln__schema, "", name, out, size);
}
