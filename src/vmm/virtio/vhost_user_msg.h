/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user wire format (QEMU's documentation, docs/interop/vhost-user.rst).
 * Numbers are in the host's byte order: both ends are on one machine.
 */
#ifndef KILN_VMM_VHOST_USER_MSG_H
#define KILN_VMM_VHOST_USER_MSG_H

#include <stdint.h>

struct kiln__vu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload */
};

#define KILN__VU_VERSION_MASK 0x3u
#define KILN__VU_VERSION      0x1u
#define KILN__VU_REPLY        0x4u
#define KILN__VU_NEED_REPLY   0x8u

/* Name, number: as the document has them, front-end to back-end. */
#define KILN__VU_REQUESTS(X)                                                                       \
	X(GET_FEATURES, 1)                                                                         \
	X(SET_FEATURES, 2)                                                                         \
	X(SET_OWNER, 3)                                                                            \
	X(RESET_OWNER, 4)                                                                          \
	X(SET_MEM_TABLE, 5)                                                                        \
	X(SET_LOG_BASE, 6)                                                                         \
	X(SET_LOG_FD, 7)                                                                           \
	X(SET_VRING_NUM, 8)                                                                        \
	X(SET_VRING_ADDR, 9)                                                                       \
	X(SET_VRING_BASE, 10)                                                                      \
	X(GET_VRING_BASE, 11)                                                                      \
	X(SET_VRING_KICK, 12)                                                                      \
	X(SET_VRING_CALL, 13)                                                                      \
	X(SET_VRING_ERR, 14)                                                                       \
	X(GET_PROTOCOL_FEATURES, 15)                                                               \
	X(SET_PROTOCOL_FEATURES, 16)                                                               \
	X(GET_QUEUE_NUM, 17)                                                                       \
	X(SET_VRING_ENABLE, 18)                                                                    \
	X(GET_CONFIG, 24)                                                                          \
	X(SET_CONFIG, 25)                                                                          \
	X(RESET_DEVICE, 34)

enum kiln__vu_request {
#define KILN__VU_ENUM(name, number) KILN__VU_##name = number,
	KILN__VU_REQUESTS(KILN__VU_ENUM)
#undef KILN__VU_ENUM
};

/* A feature bit that no virtio device has: "I speak protocol features". */
#define KILN__VU_F_PROTOCOL_FEATURES (1ULL << 30)

#define KILN__VU_PROTOCOL_F_MQ           (1ULL << 0)
#define KILN__VU_PROTOCOL_F_REPLY_ACK    (1ULL << 3)
#define KILN__VU_PROTOCOL_F_CONFIG       (1ULL << 9)
#define KILN__VU_PROTOCOL_F_RESET_DEVICE (1ULL << 13)

/* Of the number in SET_VRING_KICK, _CALL and _ERR. */
#define KILN__VU_RING_MASK 0xffu
#define KILN__VU_RING_NOFD 0x100u

#define KILN__VU_MAX_REGIONS 8
#define KILN__VU_MAX_CONFIG  256

struct kiln__vu_state {
	uint32_t index;
	uint32_t num;
};

struct kiln__vu_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc; /* addresses as the front-end maps them ("user addresses") */
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};

struct kiln__vu_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t user_addr;
	uint64_t mmap_offset;
};

struct kiln__vu_memory {
	uint32_t count;
	uint32_t padding;
	struct kiln__vu_region regions[KILN__VU_MAX_REGIONS];
};

struct kiln__vu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t bytes[KILN__VU_MAX_CONFIG];
};

#define KILN__VU_CONFIG_HEADER 12u
#define KILN__VU_MEMORY_HEADER 8u

struct kiln__vu_msg {
	struct kiln__vu_header header;
	union {
		uint64_t u64;
		struct kiln__vu_state state;
		struct kiln__vu_addr addr;
		struct kiln__vu_memory memory;
		struct kiln__vu_config config;
	} __attribute__((packed, aligned(4)));
};

_Static_assert(sizeof(struct kiln__vu_header) == 12, "payload follows at once");
_Static_assert(sizeof(struct kiln__vu_addr) == 40, "as the document has it");
_Static_assert(sizeof(struct kiln__vu_memory) == 264, "as the document has it");
_Static_assert(sizeof(struct kiln__vu_config) == 268, "as the document has it");
_Static_assert(__builtin_offsetof(struct kiln__vu_msg, u64) == 12, "as the document has it");

#endif
