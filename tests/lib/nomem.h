/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations that fail. A program linked with nomem_dep has malloc() and its kin, of the
 * libraries that are linked into it statically too, pass through here: the Nth on the testing
 * thread fails, and what is allocated and not freed is counted. (What the C library
 * allocates for itself does not pass, but strdup() and strndup() do.)
 */
#ifndef TESTS_LIB_NOMEM_H
#define TESTS_LIB_NOMEM_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stddef.h>

/* The allocation after @count more fails, once, if it is made by this thread. */
void nomem_arm(long count);

/* No more; true if one has failed since nomem_arm(). */
bool nomem_disarm(void);

/* No failures meanwhile, for what is the test's own; _resume() takes what _suspend() returned. */
long nomem_suspend(void);
void nomem_resume(long suspended);

/* malloc() that does not fail, for libraries that are given theirs. */
void *nomem_spared_malloc(size_t size);

/* Blocks allocated and not yet freed, by all threads. */
long nomem_live(void);

/*
 * Does something from beginning to end, and frees what it has made. A result below 0, with
 * @err filled, if memory ran out; it may disarm and arm around what is none of its subject.
 */
typedef int (*nomem_fn)(void *data, kiln_error *err);

enum nomem_rule {
	NOMEM_TOLD,      /* each failure is reported, as KILN_ENOMEM */
	NOMEM_TOLERATED, /* or got over: what fails may be of no consequence */
	NOMEM_SURVIVED,  /* or seen by a peer, which reports it as it likes: any error is right */
};

/*
 * Calls @fn with its first, second ... allocation failing, until none of its fails. Each
 * time it must say so, by @rule, and have left no memory and no descriptor behind.
 */
void nomem_each(nomem_fn fn, void *data, enum nomem_rule rule);

#endif
