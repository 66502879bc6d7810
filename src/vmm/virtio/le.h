/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian numbers, the byte order of everything in virtio (1.2, section
 * 1.4), and single reads and writes of memory that a guest may change meanwhile.
 */
#ifndef KILN_VMM_LE_H
#define KILN_VMM_LE_H

#include <stdint.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define KILN__LE16(x) ((uint16_t)(x))
#define KILN__LE32(x) ((uint32_t)(x))
#define KILN__LE64(x) ((uint64_t)(x))
#else
#define KILN__LE16(x) __builtin_bswap16(x)
#define KILN__LE32(x) __builtin_bswap32(x)
#define KILN__LE64(x) __builtin_bswap64(x)
#endif

/* Exactly one load or store each, so that what was checked is what is used. */
static inline uint16_t kiln__load16(const uint16_t *at)
{
	return KILN__LE16(__atomic_load_n(at, __ATOMIC_RELAXED));
}

static inline uint32_t kiln__load32(const uint32_t *at)
{
	return KILN__LE32(__atomic_load_n(at, __ATOMIC_RELAXED));
}

static inline uint64_t kiln__load64(const uint64_t *at)
{
	return KILN__LE64(__atomic_load_n(at, __ATOMIC_RELAXED));
}

static inline void kiln__store16(uint16_t *at, uint16_t value)
{
	__atomic_store_n(at, KILN__LE16(value), __ATOMIC_RELAXED);
}

static inline void kiln__store32(uint32_t *at, uint32_t value)
{
	__atomic_store_n(at, KILN__LE32(value), __ATOMIC_RELAXED);
}

#endif
