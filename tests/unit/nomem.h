/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failing allocations, for a program linked with --wrap of malloc, calloc and realloc:
 * its own, and those of what is linked into it statically. Included by its one source file.
 */
#ifndef NOMEM_H
#define NOMEM_H

#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

/* How many allocations still succeed; negative: all. */
static long allowed = -1;
static bool failed;

static bool fails(void)
{
	if (allowed < 0)
		return false;
	if (allowed-- > 0)
		return false;
	allowed = -1; /* one failure at a time */
	failed = true;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

#endif
