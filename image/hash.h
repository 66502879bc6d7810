/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running digests, by the library that the system has for them and that uses the processor's
 * instructions: libcrypto, on macOS CommonCrypto (hash_crypto.c, hash_common.c).
 */
#ifndef KILN_IMAGE_HASH_H
#define KILN_IMAGE_HASH_H

#include <stdbool.h>
#include <stddef.h>

#define HASH_MAX 64 /* bytes of the longest digest */

enum hash_kind { HASH_SHA256, HASH_SHA512 };

struct hash;

struct hash *hash_new(enum hash_kind kind); /* NULL when out of memory */
void hash_free(struct hash *hash);          /* NULL is allowed */

/* These fail when the library has no memory. */
bool hash_begin(struct hash *hash); /* anew */
bool hash_add(struct hash *hash, const void *bytes, size_t len);

/* The digest so far, and its length; more may be added after it. */
bool hash_so_far(const struct hash *hash, unsigned char ret[HASH_MAX], unsigned *ret_len);

#endif
