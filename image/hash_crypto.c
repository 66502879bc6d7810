/* SPDX-License-Identifier: Apache-2.0 */
/* Digests by OpenSSL's libcrypto: EVP_DigestInit(3). */
#include "hash.h"

#include <openssl/evp.h>
#include <stdlib.h>

_Static_assert(EVP_MAX_MD_SIZE <= HASH_MAX, "a digest fits");

struct hash {
	const EVP_MD *kind;
	EVP_MD_CTX *context;
};

struct hash *hash_new(enum hash_kind kind)
{
	struct hash *hash = calloc(1, sizeof(*hash));

	if (!hash)
		return NULL;
	hash->kind = kind == HASH_SHA256 ? EVP_sha256() : EVP_sha512();
	hash->context = EVP_MD_CTX_new();
	if (hash->context && hash_begin(hash))
		return hash;
	hash_free(hash);
	return NULL;
}

void hash_free(struct hash *hash)
{
	if (hash)
		EVP_MD_CTX_free(hash->context);
	free(hash);
}

bool hash_begin(struct hash *hash)
{
	return EVP_DigestInit_ex(hash->context, hash->kind, NULL);
}

bool hash_add(struct hash *hash, const void *bytes, size_t len)
{
	return EVP_DigestUpdate(hash->context, bytes, len);
}

bool hash_so_far(const struct hash *hash, unsigned char ret[HASH_MAX], unsigned *ret_len)
{
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	bool good = copy && EVP_MD_CTX_copy_ex(copy, hash->context) &&
		    EVP_DigestFinal_ex(copy, ret, ret_len);

	EVP_MD_CTX_free(copy);
	return good;
}
