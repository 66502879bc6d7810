/* SPDX-License-Identifier: Apache-2.0 */
/* Frames out of a stream that is split anywhere. */
#include "kiln_test.h"

#include "agentmsg.h"
#include "frame.h"

#include <string.h>

static void pack_three(struct kiln__buf *buf)
{
	const struct kiln__agent_resize size = {24, 80};
	uint8_t head[KILN__FRAME_DATA_HEAD];

	kiln__frame_pack(buf, KILN__AGENT_RESIZE, 0, 7, &kiln__agent_resize_record, &size);
	kiln__frame_data_head(head, KILN__AGENT_STDOUT, KILN__FRAME_END, 0x123456789abcdef, 5);
	kiln__buf_add(buf, head, sizeof(head));
	kiln__buf_add(buf, "hello", 5);
	kiln__frame_pack(buf, KILN__AGENT_DONE, KILN__FRAME_OPTIONAL, 0, NULL, NULL);
	assert_false(buf->failed);
}

static void check_frame(unsigned number, const struct kiln__frame *frame)
{
	struct kiln__agent_resize size;
	const uint8_t *bytes;
	uint64_t offset;
	size_t len;
	kiln_error err;

	switch (number) {
	case 0:
		assert_int_equal(frame->type, KILN__AGENT_RESIZE);
		assert_int_equal(frame->tag, 7);
		kiln_ok(kiln__record_unpack(&kiln__agent_resize_record, frame->body, frame->len,
					    &size, &err),
			&err);
		assert_int_equal(size.rows, 24);
		assert_int_equal(size.cols, 80);
		break;
	case 1:
		assert_int_equal(frame->type, KILN__AGENT_STDOUT);
		assert_int_equal(frame->flags, KILN__FRAME_END);
		kiln_ok(kiln__frame_data(frame, &offset, &bytes, &len, &err), &err);
		assert_true(offset == 0x123456789abcdef);
		assert_int_equal(len, 5);
		assert_memory_equal(bytes, "hello", 5);
		break;
	default:
		assert_int_equal(frame->type, KILN__AGENT_DONE);
		assert_int_equal(frame->flags, KILN__FRAME_OPTIONAL);
		assert_int_equal(frame->len, 0);
	}
}

static void frames_come_whole_however_the_stream_is_split(void **state)
{
	struct kiln__buf buf = KILN__BUF_INIT;
	struct kiln__frame frame;
	kiln_error err;
	bool whole;

	(void)state;
	pack_three(&buf);
	for (size_t piece = 1; piece <= buf.len; piece++) {
		struct kiln__frame_reader reader;
		unsigned count = 0;
		size_t at = 0;

		kiln__frame_reader_init(&reader, kiln__agent_limit);
		while (at < buf.len) {
			size_t len = buf.len - at < piece ? buf.len - at : piece;
			int64_t n =
				kiln__frame_read(&reader, buf.data + at, len, &frame, &whole, &err);

			kiln_ok(n, &err);
			at += (size_t)n;
			if (whole)
				check_frame(count++, &frame);
		}
		assert_int_equal(count, 3);
		kiln__frame_reader_done(&reader);
	}
	kiln__buf_done(&buf);
}

static void a_frame_s_length_is_checked_before_anything_is_kept(void **state)
{
	uint8_t header[KILN__FRAME_HEADER] = {0};
	static const struct {
		uint8_t type;
		uint32_t len;
		bool ok;
	} cases[] = {
		{KILN__AGENT_STDIN, 65536 + 8, true},   {KILN__AGENT_STDIN, 65536 + 9, false},
		{KILN__AGENT_START, 1 << 20, true},     {KILN__AGENT_START, (1 << 20) + 1, false},
		{KILN__AGENT_LIST, 65536, true},        {KILN__AGENT_LIST, 65537, false},
		{KILN__AGENT_HELLO, UINT32_MAX, false}, {255, 65537, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kiln__frame_reader reader;
		struct kiln__frame frame;
		kiln_error err = KILN_ERROR_INIT;
		bool whole;
		int64_t n;

		kiln__frame_reader_init(&reader, kiln__agent_limit);
		kiln__put_le(header, cases[i].len, 4);
		header[4] = cases[i].type;
		n = kiln__frame_read(&reader, header, sizeof(header), &frame, &whole, &err);
		assert_int_equal(n, cases[i].ok ? (int64_t)sizeof(header) : KILN_EPROTO);
		assert_null(reader.body);
		kiln__frame_reader_done(&reader);
	}
}

static void a_data_frame_without_an_offset_is_refused(void **state)
{
	const struct kiln__frame frame = {
		.type = KILN__AGENT_STDIN, .body = (const uint8_t *)"1234567", .len = 7};
	const uint8_t *bytes;
	uint64_t offset;
	size_t len;

	(void)state;
	assert_int_equal(kiln__frame_data(&frame, &offset, &bytes, &len, NULL), KILN_EPROTO);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(frames_come_whole_however_the_stream_is_split),
		kiln_test(a_frame_s_length_is_checked_before_anything_is_kept),
		kiln_test(a_data_frame_without_an_offset_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
