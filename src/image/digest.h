/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE2b-256 (RFC 7693), unkeyed: what names objects in the cache.
 *
 * Chosen over SHA-256 because in plain C it is about three times as fast on 64-bit
 * machines, and a root archive of some hundred megabytes is hashed on each miss.
 */
#ifndef KILN_IMAGE_DIGEST_H
#define KILN_IMAGE_DIGEST_H

#include <kiln/error.h>

#include "fd.h"

#include <stddef.h>
#include <stdint.h>

#define KILN__DIGEST_SIZE 32
#define KILN__DIGEST_HEX  (2 * KILN__DIGEST_SIZE + 1)

struct kiln__digest {
	uint64_t state[8];
	uint64_t total;
	uint8_t block[128];
	size_t fill;
};

void kiln__digest_init(struct kiln__digest *digest);
void kiln__digest_add(struct kiln__digest *digest, const void *bytes, size_t len);

/*
 * Adds a string with its terminating NUL, or an integer as eight little-endian
 * bytes: unlike kiln__digest_add(), no two sequences of fields look the same.
 */
void kiln__digest_adds(struct kiln__digest *digest, const char *text);
void kiln__digest_addu(struct kiln__digest *digest, uint64_t value);

void kiln__digest_final(struct kiln__digest *digest, uint8_t ret[KILN__DIGEST_SIZE]);

/* The same as lower-case hexadecimal digits and a NUL. */
void kiln__digest_final_hex(struct kiln__digest *digest, char ret[KILN__DIGEST_HEX]);

/* Of a whole file, from its start, by position (the descriptor's offset is not used). Blocks. */
int kiln__digest_file(kiln_fd fd, char ret[KILN__DIGEST_HEX], kiln_error *err);

#endif
