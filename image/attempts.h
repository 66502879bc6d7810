/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a download that is cut off again and again is worth going on with. Who gets on is not at
 * the end of its attempts; but by what is new, not by what was got twice, and at no less than the
 * rate that one transfer must have (HTTP_SLOWEST), pauses and all: a server that gives a byte each
 * time is given up like one that gives none.
 */
#ifndef KILN_IMAGE_ATTEMPTS_H
#define KILN_IMAGE_ATTEMPTS_H

#include <stdbool.h>
#include <stdint.h>

#define ATTEMPTS_MAX 5

struct attempts {
	unsigned failures; /* without getting on between them */
	uint64_t most;     /* how far it has been, ever */
	int64_t since_ns;  /* when it was there last: monotonic */
};

/* Before the first, with @length of it there already. */
void attempts_begin(struct attempts *attempts, uint64_t length, int64_t now_ns);

/* One has failed at @length. Whether there may be another; the pause is registry_backoff()'s. */
bool attempts_failed(struct attempts *attempts, uint64_t length, int64_t now_ns);

#endif
