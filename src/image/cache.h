/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content cache: kernels, initramfs and root images, made once and shared by
 * every process of this user.
 *
 * Layout under one directory (mode 0700):
 *   objects/NAME   what was made, a file or a directory; complete and immutable
 *   index/RECORD   a symbolic link to ../objects/NAME: what an input was found to make
 *   lock/NAME      locked (flock) by whoever makes NAME; gone when nobody does
 *   tmp/NAME       what is being made, by the holder of that lock
 *
 * NAME is made of the digest of all that goes into the object, RECORD of what is
 * cheap to know of an input: a file's device, inode, size and times. A hit is thus
 * one stat of the input and one readlink, and nothing is hashed or read.
 *
 * An object appears by rename, synced, so that it is seen whole or not at all,
 * also after a power failure. A maker killed at any moment leaves a lock file that nobody
 * holds; the next maker of any object removes it with its temporary.
 *
 * A struct kiln__cache is immutable: any thread, and any number of them.
 */
#ifndef KILN_IMAGE_CACHE_H
#define KILN_IMAGE_CACHE_H

#include <kiln/error.h>

#include "cleanup.h"

#include <stdbool.h>
#include <stdint.h>

struct kiln__cache;

/*
 * A cache in the directory @path. Nothing is created until something is made. KILN_EACCES if it is
 * there and not a directory that only this user may write.
 */
int kiln__cache_new(struct kiln__cache **ret, const char *path, kiln_error *err);
void kiln__cache_free(struct kiln__cache *cache); /* NULL is allowed */
const char *kiln__cache_path(const struct kiln__cache *cache);

KILN__DEFINE_AUTOPTR(struct kiln__cache, kiln__cache_free)

/*
 * The path (malloc'ed) of the object that @record leads to. KILN_ENOENT if there is no
 * such record or its object is gone. Two system calls.
 */
int kiln__cache_find(const struct kiln__cache *cache, const char *record, char **ret_path,
		     kiln_error *err);

/* When @record was made or made again, in ns since 1970; 0 if there is none. */
int64_t kiln__cache_record_time(const struct kiln__cache *cache, const char *record);

/*
 * Makes @path, a file or a directory that is not there yet, complete. On failure
 * whatever it made is removed by the cache.
 */
typedef int (*kiln__cache_make_fn)(void *data, const char *path, kiln_error *err);

/*
 * The path (malloc'ed) of the object @name, made by @make if it is not there; waits
 * while another process makes it, and makes it if that fails. @make is called at
 * most once. Blocks. A full disk is KILN_ENOSPC, with nothing left of the object.
 */
int kiln__cache_get(const struct kiln__cache *cache, const char *name, kiln__cache_make_fn make,
		    void *data, char **ret_path, kiln_error *err);

/*
 * Takes the object @name away, unseen by whoever makes it or asks for it meanwhile: waits while one
 * is being made. Absent is success. Blocks.
 */
int kiln__cache_drop(const struct kiln__cache *cache, const char *name, kiln_error *err);

/* Lets @record lead to the object @name from now on, replacing what it led to. */
int kiln__cache_record(const struct kiln__cache *cache, const char *record, const char *name,
		       kiln_error *err);

/*
 * Removes temporaries and locks of makers that are gone. kiln__cache_get() does
 * so before it makes anything. Failures are passed over: the next call tries again.
 */
void kiln__cache_sweep(const struct kiln__cache *cache);

#endif
