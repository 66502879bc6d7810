/* SPDX-License-Identifier: Apache-2.0 */
#include "sha256.h"

#include "hash.h"

#include "err.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct sha256 {
	struct hash *hash;
	bool failed; /* out of memory: no digest will match */
};

int sha256_new(struct sha256 **ret, kiln_error *err)
{
	struct sha256 *sha = calloc(1, sizeof(*sha));

	if (sha)
		sha->hash = hash_new(HASH_SHA256);
	if (!sha || !sha->hash) {
		sha256_free(sha);
		return kiln__fail_nomem(err);
	}
	*ret = sha;
	return 0;
}

void sha256_free(struct sha256 *sha)
{
	if (sha)
		hash_free(sha->hash);
	free(sha);
}

void sha256_add(struct sha256 *sha, const void *bytes, size_t len)
{
	if (!hash_add(sha->hash, bytes, len))
		sha->failed = true;
}

void sha256_finish(struct sha256 *sha, char ret[SHA256_TEXT])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[HASH_MAX] = {0};
	unsigned len;
	char *at = ret + 7;

	if (!hash_so_far(sha->hash, bytes, &len))
		sha->failed = true;
	memcpy(ret, "sha256:", 7);
	for (size_t i = 0; i < 32; i++) {
		*at++ = sha->failed ? '?' : digits[bytes[i] >> 4];
		*at++ = digits[bytes[i] & 15];
	}
	*at = '\0';
	if (!hash_begin(sha->hash))
		sha->failed = true;
}

int sha256_of(const void *bytes, size_t len, char ret[SHA256_TEXT], kiln_error *err)
{
	kiln__cleanup(sha256_free_autop) struct sha256 *sha = NULL;
	int r = sha256_new(&sha, err);

	if (r < 0)
		return r;
	sha256_add(sha, bytes, len);
	sha256_finish(sha, ret);
	return 0;
}
