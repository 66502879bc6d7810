/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames and records from anything, in pieces of any size. What can be unpacked must
 * survive being packed and unpacked again.
 */
#include "agentmsg.h"
#include "buf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const struct kiln__record *const records[] = {
	&kiln__agent_hello_record,     &kiln__agent_error_record,
	&kiln__agent_setup_record,     &kiln__agent_setup_done_record,
	&kiln__agent_start_record,     &kiln__agent_attach_record,
	&kiln__agent_started_record,   &kiln__agent_ack_record,
	&kiln__agent_stdin_ack_record, &kiln__agent_resize_record,
	&kiln__agent_signal_record,    &kiln__agent_exit_record,
	&kiln__agent_stats_record,     &kiln__agent_list_record,
	&kiln__agent_shutdown_record,  &kiln__agent_wait_port_record,
	&kiln__agent_event_oom_record, &kiln__agent_event_shutdown_record,
};

#define RECORDS (sizeof(records) / sizeof(records[0]))

static void round_trip(const struct kiln__record *record, const uint8_t *bytes, size_t len)
{
	struct kiln__buf first = KILN__BUF_INIT;
	struct kiln__buf second = KILN__BUF_INIT;
	void *value = malloc(record->size);

	if (kiln__record_unpack(record, bytes, len, value, NULL) == 0) {
		kiln__record_pack(&first, record, value);
		if (first.failed ||
		    kiln__record_unpack(record, first.data, first.len, value, NULL) < 0)
			abort();
		kiln__record_pack(&second, record, value);
		if (first.len != second.len ||
		    (first.len && memcmp(first.data, second.data, first.len) != 0))
			abort();
	}
	kiln__buf_done(&first);
	kiln__buf_done(&second);
	free(value);
}

static void use_frame(const struct kiln__frame *frame)
{
	const uint8_t *bytes;
	uint64_t offset;
	size_t len;

	if (frame->len > kiln__agent_limit(frame->type))
		abort();
	if (kiln__frame_data(frame, &offset, &bytes, &len, NULL) == 0 && len + 8 != frame->len)
		abort();
	round_trip(records[frame->type % RECORDS], frame->body, frame->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct kiln__frame_reader reader;
	struct kiln__frame frame;
	size_t piece = len ? (size_t)bytes[0] + 1 : 1;
	size_t at = 1;
	bool whole;

	kiln__frame_reader_init(&reader, kiln__agent_limit);
	while (at < len) {
		size_t n = len - at < piece ? len - at : piece;
		int64_t used = kiln__frame_read(&reader, bytes + at, n, &frame, &whole, NULL);

		if (used < 0)
			break;
		if ((size_t)used > n || (used == 0 && !whole))
			abort();
		at += (size_t)used;
		if (whole)
			use_frame(&frame);
	}
	kiln__frame_reader_done(&reader);
	return 0;
}
