/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what a configuration asks for to files that a VMM can open: the kernel, an
 * initramfs with the modules that this configuration needs, and the root as a squashfs.
 * Found in the image cache, at once, or made, which takes seconds: on a thread of its own.
 */
#ifndef KILN_MANAGER_RESOLVE_H
#define KILN_MANAGER_RESOLVE_H

#include <kiln/error.h>

#include "cache.h"
#include "home.h"
#include "loop.h"
#include "spec.h"
#include "vmdir.h"

#include <jansson.h>

struct kiln__resolving;

struct kiln__resolving_handler {
	/* What is being made. */
	void (*progress)(void *data, const char *text);
	/*
	 * @resolved is the "resolved" object of docs/control-protocol.md; NULL on failure. It and
	 * @spec are valid during the call. @config is the VM's new document, if what its image
	 * says of the process was filled in, which @spec is made of then; else NULL.
	 * @kvm: whether it works, for a backend that needs it. The resolving is freed.
	 */
	void (*done)(void *data, const struct kiln__spec *spec, const char *config,
		     json_t *resolved, const struct kiln__kvm_verdict *kvm, const kiln_error *err);
};

/* True of a machine that boots nothing. */
bool kiln__resolve_is_needless(const struct kiln__spec *spec);

/*
 * For the VM @vm, whose document is @config. Takes @spec, which was made of it, also on failure.
 * Handlers are called on the loop's thread. Returns 1 if @done has been called already, since all
 * was there: then *ret is untouched.
 */
int kiln__resolve(struct kiln__resolving **ret, kiln_loop *loop, const struct kiln__vmdir *vm,
		  struct kiln__spec *spec, const char *config,
		  const struct kiln__resolving_handler *handler, void *data, kiln_error *err);

/* No handler is called any more. What is being made is made nevertheless, for the next time. */
void kiln__resolving_abandon(struct kiln__resolving *resolving); /* NULL is allowed */

/*
 * Adds the ephemeral disk for the root's writes to @resolved, if @spec wants one: made anew in
 * @dir, the VM's directory. For who holds the VM's lock.
 */
int kiln__resolve_overlay(const struct kiln__spec *spec, const char *dir, json_t *resolved,
			  kiln_error *err);

/* The cache that a home's machines use: $KILN_IMAGE_CACHE, or "images" in it. The caller frees it.
 */
int kiln__resolve_cache(const struct kiln__home *home, struct kiln__cache **ret, kiln_error *err);

/* The kernel that a machine gets when its configuration names none. */
struct kiln__default_kernel {
	char *path;         /* malloc'ed */
	char release[80];   /* as uname -r says it; empty if unknown */
	int64_t fetched_ns; /* when the distribution was last asked, since 1970 */
};

/* For @arch. Downloads nothing: KILN_ENOENT if there is none yet. */
int kiln__resolve_default_kernel(const struct kiln__home *home, const char *arch,
				 struct kiln__default_kernel *ret, kiln_error *err);

/*
 * Asks the distribution for its newest and gets that, telling @progress (which may be NULL) in
 * lines. Blocks, for as long as that takes. Where it fails, the one that was there stays.
 */
int kiln__resolve_renew_kernel(const struct kiln__home *home, const char *arch,
			       void (*progress)(void *data, const char *text), void *data,
			       struct kiln__default_kernel *ret, kiln_error *err);

#endif
