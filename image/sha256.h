/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256, which names what registries hold. */
#ifndef KILN_IMAGE_SHA256_H
#define KILN_IMAGE_SHA256_H

#include <kiln/error.h>

#include "cleanup.h"

#include <stddef.h>

/* "sha256:", 64 digits and a NUL. */
#define SHA256_TEXT 72

struct sha256; /* a running digest */

int sha256_new(struct sha256 **ret, kiln_error *err);
void sha256_free(struct sha256 *sha); /* NULL is allowed */
void sha256_add(struct sha256 *sha, const void *bytes, size_t len);

/* Its text; then it begins anew. */
void sha256_finish(struct sha256 *sha, char ret[SHA256_TEXT]);

/* Of bytes in memory. */
int sha256_of(const void *bytes, size_t len, char ret[SHA256_TEXT], kiln_error *err);

KILN__DEFINE_AUTOPTR(struct sha256, sha256_free)

#endif
