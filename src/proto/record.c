/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include "err.h"
#include "frame.h"

#include <stdbool.h>
#include <string.h>

#define FIELD_HEAD 4
#define FIELD_MAX  (((size_t)1 << 24) - 1)

/* --- packing -------------------------------------------------------------------- */

static void pack_value(struct kiln__buf *buf, uint8_t number, const void *value, size_t len)
{
	uint8_t head[FIELD_HEAD];

	if (len > FIELD_MAX) {
		buf->failed = true;
		return;
	}
	kiln__put_le(head, len << 8 | number, sizeof(head));
	kiln__buf_add(buf, head, sizeof(head));
	kiln__buf_add(buf, value, len);
}

static void pack_number(struct kiln__buf *buf, uint8_t number, uint64_t value, size_t size)
{
	uint8_t bytes[8];

	kiln__put_le(bytes, value, size);
	pack_value(buf, number, bytes, size);
}

static void pack_sub(struct kiln__buf *buf, uint8_t number, const struct kiln__record *record,
		     const void *value)
{
	size_t at = buf->len;
	size_t len;

	pack_value(buf, number, NULL, 0);
	kiln__record_pack(buf, record, value);
	if (buf->failed)
		return;
	len = buf->len - at - FIELD_HEAD;
	if (len > FIELD_MAX)
		buf->failed = true;
	else
		kiln__put_le((uint8_t *)buf->data + at, len << 8 | number, FIELD_HEAD);
}

static void pack_list(struct kiln__buf *buf, const struct kiln__field *field, const uint8_t *base)
{
	const uint8_t *elements = base + field->offset;
	size_t count;

	memcpy(&count, base + field->count_offset, sizeof(count));
	if (count > field->max) {
		buf->failed = true;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if (field->kind == KILN__FIELD_U32S)
			pack_number(buf, field->number,
				    ((const uint32_t *)(const void *)elements)[i], 4);
		else
			pack_sub(buf, field->number, field->record,
				 elements + i * field->record->size);
	}
}

static void pack_field(struct kiln__buf *buf, const struct kiln__field *field, const uint8_t *base)
{
	const void *at = base + field->offset;

	switch ((enum kiln__field_kind)field->kind) {
	case KILN__FIELD_BOOL:
		if (*(const bool *)at)
			pack_number(buf, field->number, 1, 1);
		break;
	case KILN__FIELD_U32:
		if (*(const uint32_t *)at)
			pack_number(buf, field->number, *(const uint32_t *)at, 4);
		break;
	case KILN__FIELD_U64:
		if (*(const uint64_t *)at)
			pack_number(buf, field->number, *(const uint64_t *)at, 8);
		break;
	case KILN__FIELD_STR:
		if (*(const char *const *)at)
			pack_value(buf, field->number, *(const char *const *)at,
				   strlen(*(const char *const *)at) + 1);
		break;
	case KILN__FIELD_BYTES:
		if (((const struct kiln__bytes *)at)->len)
			pack_value(buf, field->number, ((const struct kiln__bytes *)at)->at,
				   ((const struct kiln__bytes *)at)->len);
		break;
	case KILN__FIELD_STRS:
		if (((const struct kiln__strs *)at)->len)
			pack_value(buf, field->number, ((const struct kiln__strs *)at)->at,
				   ((const struct kiln__strs *)at)->len);
		break;
	case KILN__FIELD_RECORD:
		pack_sub(buf, field->number, field->record, at);
		break;
	case KILN__FIELD_U32S:
	case KILN__FIELD_RECORDS:
		pack_list(buf, field, base);
		break;
	}
}

void kiln__record_pack(struct kiln__buf *buf, const struct kiln__record *record, const void *value)
{
	for (size_t i = 0; i < record->field_count; i++)
		pack_field(buf, &record->fields[i], value);
}

/* --- unpacking ------------------------------------------------------------------ */

struct raw_field {
	uint8_t number;
	const uint8_t *at;
	size_t len;
};

static int bad_field(const struct kiln__record *record, const struct raw_field *raw,
		     const char *what, kiln_error *err)
{
	return kiln__fail(err, KILN_EPROTO, "field %u of a %s message %s", raw->number,
			  record->name, what);
}

static const struct kiln__field *find_field(const struct kiln__record *record, uint8_t number)
{
	for (size_t i = 0; i < record->field_count; i++)
		if (record->fields[i].number == number)
			return &record->fields[i];
	return NULL;
}

static bool is_string(const struct raw_field *raw)
{
	return raw->len > 0 && memchr(raw->at, 0, raw->len) == raw->at + raw->len - 1;
}

static int unpack_list(const struct kiln__record *record, const struct kiln__field *field,
		       const struct raw_field *raw, uint8_t *base, kiln_error *err)
{
	uint8_t *elements = base + field->offset;
	size_t count;
	int r = 0;

	memcpy(&count, base + field->count_offset, sizeof(count));
	if (count >= field->max)
		return bad_field(record, raw, "is there too often", err);
	if (field->kind == KILN__FIELD_RECORDS)
		r = kiln__record_unpack(field->record, raw->at, raw->len,
					elements + count * field->record->size, err);
	else if (raw->len != 4)
		return bad_field(record, raw, "has a wrong length", err);
	else
		((uint32_t *)(void *)elements)[count] = (uint32_t)kiln__get_le(raw->at, 4);
	count++;
	memcpy(base + field->count_offset, &count, sizeof(count));
	return r;
}

static int unpack_number(const struct kiln__record *record, const struct raw_field *raw,
			 size_t size, uint64_t *ret, kiln_error *err)
{
	if (raw->len != size)
		return bad_field(record, raw, "has a wrong length", err);
	*ret = kiln__get_le(raw->at, size);
	if (size == 1 && *ret > 1)
		return bad_field(record, raw, "is neither true nor false", err);
	return 0;
}

static int unpack_field(const struct kiln__record *record, const struct kiln__field *field,
			const struct raw_field *raw, uint8_t *base, kiln_error *err)
{
	void *at = base + field->offset;
	uint64_t number = 0;
	int r;

	switch ((enum kiln__field_kind)field->kind) {
	case KILN__FIELD_BOOL:
		r = unpack_number(record, raw, 1, &number, err);
		if (r == 0)
			*(bool *)at = number != 0;
		return r;
	case KILN__FIELD_U32:
		r = unpack_number(record, raw, 4, &number, err);
		if (r == 0)
			*(uint32_t *)at = (uint32_t)number;
		return r;
	case KILN__FIELD_U64:
		return unpack_number(record, raw, 8, at, err);
	case KILN__FIELD_STR:
		if (!is_string(raw))
			return bad_field(record, raw, "is no string", err);
		*(const char **)at = (const char *)raw->at;
		return 0;
	case KILN__FIELD_BYTES:
		*(struct kiln__bytes *)at = (struct kiln__bytes){raw->at, raw->len};
		return 0;
	case KILN__FIELD_STRS:
		if (raw->len == 0 || raw->at[raw->len - 1] != 0)
			return bad_field(record, raw, "is no list of strings", err);
		*(struct kiln__strs *)at = (struct kiln__strs){(const char *)raw->at, raw->len};
		return 0;
	case KILN__FIELD_RECORD:
		return kiln__record_unpack(field->record, raw->at, raw->len, at, err);
	case KILN__FIELD_U32S:
	case KILN__FIELD_RECORDS:
		return unpack_list(record, field, raw, base, err);
	}
	return bad_field(record, raw, "has no kind", err);
}

/* Takes the next field off the bytes. Their nesting is bounded by that of the tables. */
static int next_field(const struct kiln__record *record, const uint8_t **at, size_t *left,
		      struct raw_field *ret, kiln_error *err)
{
	uint32_t head;

	if (*left < FIELD_HEAD)
		return kiln__fail(err, KILN_EPROTO, "a %s message ends within a field",
				  record->name);
	head = (uint32_t)kiln__get_le(*at, FIELD_HEAD);
	ret->number = (uint8_t)head;
	ret->len = head >> 8;
	ret->at = *at + FIELD_HEAD;
	if (ret->len > *left - FIELD_HEAD)
		return bad_field(record, ret, "is longer than the message", err);
	*at += FIELD_HEAD + ret->len;
	*left -= FIELD_HEAD + ret->len;
	return 0;
}

int kiln__record_unpack(const struct kiln__record *record, const void *bytes, size_t len, void *ret,
			kiln_error *err)
{
	const uint8_t *at = bytes;
	const struct kiln__field *field;
	struct raw_field raw = {0};
	int r;

	memset(ret, 0, record->size);
	while (len > 0) {
		r = next_field(record, &at, &len, &raw, err);
		if (r < 0)
			return r;
		field = find_field(record, raw.number);
		if (field)
			r = unpack_field(record, field, &raw, ret, err);
		else if (raw.number >= KILN__FIELD_CRITICAL)
			r = kiln__fail(err, KILN_ENOTSUP,
				       "field %u of a %s message is not supported here", raw.number,
				       record->name);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- lists of strings ------------------------------------------------------------- */

void kiln__strs_add(struct kiln__buf *buf, const char *text)
{
	kiln__buf_add(buf, text, strlen(text) + 1);
}

void kiln__strs_add_all(struct kiln__buf *buf, const char *const *strings)
{
	for (; strings && *strings; strings++)
		kiln__strs_add(buf, *strings);
}

const char *kiln__strs_next(const struct kiln__strs *strs, const char *previous)
{
	const char *next = previous ? previous + strlen(previous) + 1 : strs->at;

	return strs->len > 0 && next < strs->at + strs->len ? next : NULL;
}

size_t kiln__strs_count(const struct kiln__strs *strs)
{
	size_t count = 0;

	for (const char *s = kiln__strs_next(strs, NULL); s; s = kiln__strs_next(strs, s))
		count++;
	return count;
}
