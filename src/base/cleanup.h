/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound cleanup: the one cleanup idiom of the project. A variable declared
 * with one of these attributes is released when it goes out of scope; hand the
 * value on with kiln__take(), which leaves the empty value behind.
 */
#ifndef KILN_BASE_CLEANUP_H
#define KILN_BASE_CLEANUP_H

#include <stdlib.h>
#include <string.h>

#define kiln__cleanup(fn) __attribute__((cleanup(fn)))

static inline void kiln__freep(void *pointer)
{
	free(*(void **)pointer);
}
#define kiln__autofree kiln__cleanup(kiln__freep)

/* Overwrites a secret that is about to be freed: memset(), but never optimized away. */
static inline void kiln__wipe(void *bytes, size_t len)
{
	memset(bytes, 0, len);
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

/* Yields *pointer and leaves NULL there: the caller now owns it. */
#define kiln__take(pointer)                                                                        \
	({                                                                                         \
		__typeof__(&(pointer)) take_at_ = &(pointer);                                      \
		__typeof__(pointer) taken_ = *take_at_;                                            \
		*take_at_ = NULL;                                                                  \
		taken_;                                                                            \
	})

/* Defines name_autop(), the cleanup function of a "free"-style destructor. */
#define KILN__DEFINE_AUTOPTR(type, free_fn)                                                        \
	static inline void free_fn##_autop(type **pointer)                                         \
	{                                                                                          \
		if (*pointer)                                                                      \
			free_fn(*pointer);                                                         \
	}

#endif
