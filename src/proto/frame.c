/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>

void kiln__frame_reader_init(struct kiln__frame_reader *reader, size_t (*limit)(uint8_t type))
{
	*reader = (struct kiln__frame_reader){.limit = limit};
}

void kiln__frame_reader_done(struct kiln__frame_reader *reader)
{
	free(reader->body);
	reader->body = NULL;
}

static void fill_frame(const struct kiln__frame_reader *reader, const uint8_t *body,
		       struct kiln__frame *ret)
{
	*ret = (struct kiln__frame){
		.type = reader->header[4],
		.flags = reader->header[5],
		.tag = (uint16_t)kiln__get_le(reader->header + 6, 2),
		.body = body,
		.len = reader->len,
	};
}

/* Gathers header bytes. Returns how many it took; the header is whole if have reached its size. */
static size_t take_header(struct kiln__frame_reader *reader, const uint8_t *bytes, size_t len)
{
	size_t n = KILN__FRAME_HEADER - reader->have;

	if (n > len)
		n = len;
	memcpy(reader->header + reader->have, bytes, n);
	reader->have += n;
	return n;
}

static int check_header(struct kiln__frame_reader *reader, kiln_error *err)
{
	uint8_t type = reader->header[4];

	reader->len = (size_t)kiln__get_le(reader->header, 4);
	if (reader->len > reader->limit(type))
		return kiln__fail(err, KILN_EPROTO,
				  "a frame of type %u has %zu bytes, more than %zu", type,
				  reader->len, reader->limit(type));
	return 0;
}

/* Gathers body bytes in the reader's own storage. */
static int64_t take_body(struct kiln__frame_reader *reader, const uint8_t *bytes, size_t len,
			 kiln_error *err)
{
	size_t got = reader->have - KILN__FRAME_HEADER;
	size_t n = reader->len - got;

	if (n > len)
		n = len;
	if (n == 0)
		return 0;
	if (!reader->body)
		reader->body = malloc(reader->len);
	if (!reader->body)
		return kiln__fail_nomem(err);
	memcpy(reader->body + got, bytes, n);
	reader->have += n;
	return (int64_t)n;
}

int64_t kiln__frame_read(struct kiln__frame_reader *reader, const void *bytes, size_t len,
			 struct kiln__frame *ret_frame, bool *ret_whole, kiln_error *err)
{
	const uint8_t *at = bytes;
	size_t used = 0;
	int64_t n;

	*ret_whole = false;
	if (reader->have == 0) { /* the frame handed out last is over */
		free(reader->body);
		reader->body = NULL;
	}
	if (reader->have < KILN__FRAME_HEADER) {
		used = take_header(reader, at, len);
		if (reader->have < KILN__FRAME_HEADER)
			return (int64_t)used;
		n = check_header(reader, err);
		if (n < 0)
			return n;
		if (len - used >= reader->len) { /* all of it is here */
			fill_frame(reader, at + used, ret_frame);
			reader->have = 0;
			*ret_whole = true;
			return (int64_t)(used + reader->len);
		}
	}
	n = take_body(reader, at + used, len - used, err);
	if (n < 0)
		return n;
	if (reader->have == KILN__FRAME_HEADER + reader->len) {
		fill_frame(reader, reader->body, ret_frame);
		reader->have = 0;
		*ret_whole = true;
	}
	return (int64_t)used + n;
}

void kiln__frame_pack(struct kiln__buf *buf, uint8_t type, uint8_t flags, uint16_t tag,
		      const struct kiln__record *record, const void *value)
{
	uint8_t header[KILN__FRAME_HEADER] = {0};
	size_t at = buf->len;

	header[4] = type;
	header[5] = flags;
	kiln__put_le(header + 6, tag, 2);
	kiln__buf_add(buf, header, sizeof(header));
	if (record)
		kiln__record_pack(buf, record, value);
	if (!buf->failed)
		kiln__put_le((uint8_t *)buf->data + at, buf->len - at - KILN__FRAME_HEADER, 4);
}

void kiln__frame_data_head(uint8_t head[KILN__FRAME_DATA_HEAD], uint8_t type, uint8_t flags,
			   uint64_t offset, size_t len)
{
	kiln__put_le(head, len + 8, 4);
	head[4] = type;
	head[5] = flags;
	kiln__put_le(head + 6, 0, 2);
	kiln__put_le(head + 8, offset, 8);
}

int kiln__frame_data(const struct kiln__frame *frame, uint64_t *ret_offset,
		     const uint8_t **ret_bytes, size_t *ret_len, kiln_error *err)
{
	if (frame->len < 8)
		return kiln__fail(err, KILN_EPROTO, "a data frame has no offset");
	*ret_offset = kiln__get_le(frame->body, 8);
	*ret_bytes = frame->body + 8;
	*ret_len = frame->len - 8;
	return 0;
}
