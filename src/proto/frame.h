/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames: what every byte stream between host and guest is cut into.
 *
 *     u32 length of the body | u8 type | u8 flags | u16 tag | body
 *
 * little-endian. A tag joins a reply to its request. Three types of frames carry
 * stream data and have a body of their own: u64 offset of the first byte, then the
 * bytes. All others carry one record (record.h).
 */
#ifndef KILN_PROTO_FRAME_H
#define KILN_PROTO_FRAME_H

#include <kiln/error.h>

#include "buf.h"
#include "record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KILN__FRAME_HEADER    8
#define KILN__FRAME_DATA_HEAD 16                  /* header and offset of a data frame */
#define KILN__FRAME_MAX_DATA  ((size_t)64 * 1024) /* stream bytes in one frame */
#define KILN__FRAME_MAX_BODY  ((size_t)1 << 20)   /* of any frame there is */

#define KILN__FRAME_END      0x01 /* data: the stream ends after these bytes */
#define KILN__FRAME_OPTIONAL 0x80 /* who does not know the type ignores the frame */

struct kiln__frame {
	uint8_t type;
	uint8_t flags;
	uint16_t tag;
	const uint8_t *body;
	size_t len;
};

/*
 * Takes frames out of a stream that may be split anywhere. A frame that lies whole
 * in the bytes given is not copied; one that does not is gathered here, in storage
 * that exists only meanwhile.
 */
struct kiln__frame_reader {
	/* The longest body accepted of a type, at most KILN__FRAME_MAX_BODY. */
	size_t (*limit)(uint8_t type);
	uint8_t header[KILN__FRAME_HEADER];
	size_t have; /* bytes of header and body gathered so far */
	size_t len;  /* of the body, once the header is whole */
	uint8_t *body;
};

void kiln__frame_reader_init(struct kiln__frame_reader *reader, size_t (*limit)(uint8_t type));
void kiln__frame_reader_done(struct kiln__frame_reader *reader);

/*
 * Consumes bytes up to the end of one frame. Returns how many were consumed, with
 * *ret_whole telling whether *ret_frame now holds a frame, valid until the next call
 * and as long as @bytes are. KILN_EPROTO for a body over its limit, KILN_ENOMEM; no
 * further call may be made then.
 */
int64_t kiln__frame_read(struct kiln__frame_reader *reader, const void *bytes, size_t len,
			 struct kiln__frame *ret_frame, bool *ret_whole, kiln_error *err);

/* Appends a frame with one record as its body; @record NULL makes an empty body. */
void kiln__frame_pack(struct kiln__buf *buf, uint8_t type, uint8_t flags, uint16_t tag,
		      const struct kiln__record *record, const void *value);

/* Header and offset of a data frame whose @len bytes follow from elsewhere. */
void kiln__frame_data_head(uint8_t head[KILN__FRAME_DATA_HEAD], uint8_t type, uint8_t flags,
			   uint64_t offset, size_t len);

/* The body of a data frame. KILN_EPROTO if it is too short to have an offset. */
int kiln__frame_data(const struct kiln__frame *frame, uint64_t *ret_offset,
		     const uint8_t **ret_bytes, size_t *ret_len, kiln_error *err);

/* Little-endian numbers, whatever this machine's order and alignment rules. */
static inline void kiln__put_le(uint8_t *to, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static inline uint64_t kiln__get_le(const uint8_t *from, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

#endif
