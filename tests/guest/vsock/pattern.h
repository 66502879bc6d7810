/* SPDX-License-Identifier: Apache-2.0 */
/* What host and guest of the vsock test agree on: requests, and bytes that both can make and check.
 */
#ifndef TESTS_VSOCK_PATTERN_H
#define TESTS_VSOCK_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define GUEST_PORT 6000 /* the guest serves requests here */
#define HELLO_PORT 5000 /* the guest connects here when it is up */

/* The first 16 bytes of a connection to GUEST_PORT, by the host. */
struct request {
	uint32_t op;
	uint32_t port;
	uint64_t length;
};

enum {
	OP_SINK = 1, /* read length bytes of the pattern, answer with struct result */
	OP_SOURCE,   /* send length bytes of the pattern, close */
	OP_ECHO,     /* send back what comes until the end, then end */
	OP_COUNT,    /* read until the end, only then answer with struct result */
	OP_DIAL, /* connect to the host's port, send length bytes there, answer with struct result
		  */
	OP_HOLD, /* say one byte, then wait for the end */
};

struct result {
	int64_t status;  /* 0, or a negative errno */
	uint64_t length; /* bytes seen or sent */
	uint64_t wrong;  /* of them, not the pattern's */
};

/* Byte @at of the pattern: long period, cheap at both ends. */
static inline unsigned char pattern_byte(uint64_t at)
{
	uint64_t x = (at >> 3) * 0x9e3779b97f4a7c15ULL;

	x ^= x >> 29;
	return (unsigned char)(x >> ((at & 7) * 8));
}

static inline void pattern_fill(unsigned char *bytes, size_t len, uint64_t at)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = pattern_byte(at + i);
}

static inline uint64_t pattern_wrong(const unsigned char *bytes, size_t len, uint64_t at)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < len; i++)
		wrong += bytes[i] != pattern_byte(at + i);
	return wrong;
}

#endif
