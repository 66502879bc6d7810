/* SPDX-License-Identifier: Apache-2.0 */
/* The wire format of virtio-vsock: virtio 1.2, section 5.10. */
#ifndef KILN_VMM_VSOCK_PACKET_H
#define KILN_VMM_VSOCK_PACKET_H

#include <stdint.h>

#define KILN__VSOCK_DEVICE_ID 19 /* section 5 */

/* 5.10.2: queues. */
#define KILN__VSOCK_RX     0
#define KILN__VSOCK_TX     1
#define KILN__VSOCK_EVENT  2
#define KILN__VSOCK_QUEUES 3

/* 5.10.4, 5.10.6.3: context ids. */
#define KILN__VSOCK_HOST_CID      2
#define KILN__VSOCK_MIN_GUEST_CID 3
#define KILN__VSOCK_MAX_GUEST_CID 0xfffffffeU

/* 5.10.6: the header before each packet's payload. Little-endian. */
struct kiln__vsock_header {
	uint64_t src_cid;
	uint64_t dst_cid;
	uint32_t src_port;
	uint32_t dst_port;
	uint32_t len;
	uint16_t type;
	uint16_t op;
	uint32_t flags;
	uint32_t buf_alloc;
	uint32_t fwd_cnt;
} __attribute__((packed));

_Static_assert(sizeof(struct kiln__vsock_header) == 44, "virtio 1.2, 5.10.6");

#define KILN__VSOCK_TYPE_STREAM 1

enum kiln__vsock_op {
	KILN__VSOCK_REQUEST = 1,
	KILN__VSOCK_RESPONSE = 2,
	KILN__VSOCK_RST = 3,
	KILN__VSOCK_SHUTDOWN = 4,
	KILN__VSOCK_RW = 5,
	KILN__VSOCK_CREDIT_UPDATE = 6,
	KILN__VSOCK_CREDIT_REQUEST = 7,
};

/* Flags of SHUTDOWN: what its sender will not do any more. */
#define KILN__VSOCK_NO_RECEIVE 1u
#define KILN__VSOCK_NO_SEND    2u
#define KILN__VSOCK_NO_BOTH    3u

/* 5.10.6.7: the only event. */
#define KILN__VSOCK_EVENT_TRANSPORT_RESET 0

#endif
