/* SPDX-License-Identifier: Apache-2.0 */
/* Digests by CommonCrypto, which is part of macOS's libSystem: CC_SHA(3cc). None of it fails. */
#include "hash.h"

#include <CommonCrypto/CommonDigest.h>
#include <stdlib.h>

#define AT_ONCE ((size_t)1 << 30) /* CC_LONG has 32 bits */

struct hash {
	enum hash_kind kind;
	union {
		CC_SHA256_CTX sha256;
		CC_SHA512_CTX sha512;
	} context;
};

struct hash *hash_new(enum hash_kind kind)
{
	struct hash *hash = calloc(1, sizeof(*hash));

	if (!hash)
		return NULL;
	hash->kind = kind;
	hash_begin(hash);
	return hash;
}

void hash_free(struct hash *hash)
{
	free(hash);
}

bool hash_begin(struct hash *hash)
{
	if (hash->kind == HASH_SHA256)
		CC_SHA256_Init(&hash->context.sha256);
	else
		CC_SHA512_Init(&hash->context.sha512);
	return true;
}

bool hash_add(struct hash *hash, const void *bytes, size_t len)
{
	const unsigned char *at = bytes;

	while (len) {
		size_t part = len < AT_ONCE ? len : AT_ONCE;

		if (hash->kind == HASH_SHA256)
			CC_SHA256_Update(&hash->context.sha256, at, (CC_LONG)part);
		else
			CC_SHA512_Update(&hash->context.sha512, at, (CC_LONG)part);
		at += part;
		len -= part;
	}
	return true;
}

bool hash_so_far(const struct hash *hash, unsigned char ret[HASH_MAX], unsigned *ret_len)
{
	struct hash copy = *hash;

	if (copy.kind == HASH_SHA256) {
		CC_SHA256_Final(ret, &copy.context.sha256);
		*ret_len = CC_SHA256_DIGEST_LENGTH;
	} else {
		CC_SHA512_Final(ret, &copy.context.sha512);
		*ret_len = CC_SHA512_DIGEST_LENGTH;
	}
	return true;
}
