/* SPDX-License-Identifier: Apache-2.0 */
/* The keys that leave a guest's terminal, and finding them among what is typed. */
#ifndef KILN_CLI_DETACH_H
#define KILN_CLI_DETACH_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stddef.h>

#define DETACH_KEYS_MAX 8

struct detach_keys {
	char bytes[DETACH_KEYS_MAX];
	size_t count;
};

/* As docker writes them: characters and "ctrl-x", joined by commas. NULL: ctrl-p,ctrl-q. */
int detach_parse(const char *text, struct detach_keys *ret, kiln_error *err);

/*
 * Takes one byte that was typed; @held, 0 in the beginning, counts the keys that came last.
 * True if they are complete; else *@ret_count bytes of @ret are for the guest now, at most one more
 * than were held.
 */
bool detach_feed(const struct detach_keys *keys, size_t *held, char c, char ret[DETACH_KEYS_MAX],
		 size_t *ret_count);

#endif
