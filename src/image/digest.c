/* SPDX-License-Identifier: Apache-2.0 */
#include "digest.h"

#include "cleanup.h"
#include "err.h"
#include "os.h"

#include <stdbool.h>
#include <string.h>

/* RFC 7693, section 2.6: the initialisation vector is that of SHA-512. */
static const uint64_t iv[8] = {
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

/* Section 2.7: the message word schedule; rounds 10 and 11 repeat 0 and 1. */
static const uint8_t sigma[10][16] = {
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
	{11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
	{7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
	{9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
	{2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
	{12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
	{13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
	{6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
	{10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static inline uint64_t rotate(uint64_t word, unsigned bits)
{
	return (word >> bits) | (word << (64 - bits));
}

static inline uint64_t load64(const uint8_t *bytes)
{
	uint64_t word = 0;

	for (unsigned i = 0; i < 8; i++)
		word |= (uint64_t)bytes[i] << (8 * i);
	return word;
}

static inline void mix(uint64_t v[16], unsigned a, unsigned b, unsigned c, unsigned d, uint64_t x,
		       uint64_t y)
{
	v[a] = v[a] + v[b] + x;
	v[d] = rotate(v[d] ^ v[a], 32);
	v[c] = v[c] + v[d];
	v[b] = rotate(v[b] ^ v[c], 24);
	v[a] = v[a] + v[b] + y;
	v[d] = rotate(v[d] ^ v[a], 16);
	v[c] = v[c] + v[d];
	v[b] = rotate(v[b] ^ v[c], 63);
}

static void compress(struct kiln__digest *digest, const uint8_t *block, uint64_t total, bool last)
{
	uint64_t v[16], m[16];

	for (unsigned i = 0; i < 16; i++)
		m[i] = load64(block + 8 * i);
	memcpy(v, digest->state, sizeof(digest->state));
	memcpy(v + 8, iv, sizeof(iv));
	v[12] ^= total;
	if (last)
		v[14] = ~v[14];
	for (unsigned round = 0; round < 12; round++) {
		const uint8_t *s = sigma[round % 10];

		mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
		mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
		mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
		mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
		mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
		mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
		mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
		mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
	}
	for (unsigned i = 0; i < 8; i++)
		digest->state[i] ^= v[i] ^ v[i + 8];
}

void kiln__digest_init(struct kiln__digest *digest)
{
	memset(digest, 0, sizeof(*digest));
	memcpy(digest->state, iv, sizeof(iv));
	/* Section 2.5, the parameter block: 32 bytes out, no key, fanout and depth 1. */
	digest->state[0] ^= 0x01010000 ^ KILN__DIGEST_SIZE;
}

void kiln__digest_add(struct kiln__digest *digest, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	while (len) {
		size_t part = sizeof(digest->block) - digest->fill;

		/* A full block is compressed only when more follows: the last one is marked. */
		if (!part) {
			digest->total += sizeof(digest->block);
			compress(digest, digest->block, digest->total, false);
			digest->fill = 0;
			continue;
		}
		if (!digest->fill && len > sizeof(digest->block)) {
			digest->total += sizeof(digest->block);
			compress(digest, bytes, digest->total, false);
			part = sizeof(digest->block);
		} else {
			part = part < len ? part : len;
			memcpy(digest->block + digest->fill, bytes, part);
			digest->fill += part;
		}
		bytes += part;
		len -= part;
	}
}

void kiln__digest_adds(struct kiln__digest *digest, const char *text)
{
	kiln__digest_add(digest, text, strlen(text) + 1);
}

void kiln__digest_addu(struct kiln__digest *digest, uint64_t value)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	kiln__digest_add(digest, bytes, sizeof(bytes));
}

void kiln__digest_final(struct kiln__digest *digest, uint8_t ret[KILN__DIGEST_SIZE])
{
	memset(digest->block + digest->fill, 0, sizeof(digest->block) - digest->fill);
	compress(digest, digest->block, digest->total + digest->fill, true);
	for (unsigned i = 0; i < KILN__DIGEST_SIZE; i++)
		ret[i] = (uint8_t)(digest->state[i / 8] >> (8 * (i % 8)));
}

void kiln__digest_final_hex(struct kiln__digest *digest, char ret[KILN__DIGEST_HEX])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[KILN__DIGEST_SIZE];

	kiln__digest_final(digest, bytes);
	for (unsigned i = 0; i < KILN__DIGEST_SIZE; i++) {
		ret[2 * i] = digits[bytes[i] >> 4];
		ret[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret[KILN__DIGEST_HEX - 1] = '\0';
}

int kiln__digest_file(kiln_fd fd, char ret[KILN__DIGEST_HEX], kiln_error *err)
{
	const size_t size = 1 << 18;
	kiln__autofree uint8_t *buffer = malloc(size);
	struct kiln__digest digest;
	uint64_t offset = 0;
	ssize_t got;

	if (!buffer)
		return kiln__fail_nomem(err);
	kiln__digest_init(&digest);
	do {
		got = kiln__os_pread_full(fd, buffer, size, offset, err);
		if (got < 0)
			return (int)got;
		kiln__digest_add(&digest, buffer, (size_t)got);
		offset += (uint64_t)got;
	} while ((size_t)got == size);
	kiln__digest_final_hex(&digest, ret);
	return 0;
}
