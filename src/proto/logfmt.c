/* SPDX-License-Identifier: Apache-2.0 */
#include "logfmt.h"

#include "err.h"

#include <inttypes.h>
#include <stdio.h>

#define RECORD_MAX ((uint64_t)1 << 30)

size_t kiln__log_head(char head[KILN__LOG_HEAD], int64_t realtime_ns, int stream, size_t len)
{
	return (size_t)snprintf(head, KILN__LOG_HEAD, "%" PRId64 " %d %zu\n", realtime_ns, stream,
				len);
}

static int take_head(struct kiln__log_reader *reader, kiln_error *err)
{
	int used = 0;

	reader->head[reader->head_len] = '\0';
	if (sscanf(reader->head, "%20" SCNd64 " %1d %10" SCNu64 "%n", &reader->time,
		   &reader->stream, &reader->left, &used) != 3 ||
	    (size_t)used != reader->head_len || reader->stream < 1 || reader->stream > 2 ||
	    reader->left > RECORD_MAX)
		return kiln__fail(err, KILN_EFORMAT, "the log is damaged");
	reader->head_len = 0;
	reader->left++; /* the newline behind the bytes */
	return 0;
}

int kiln__log_read(struct kiln__log_reader *reader, const void *bytes, size_t len, kiln__log_fn fn,
		   void *data, kiln_error *err)
{
	const char *at = bytes;
	const char *end = at + len;

	while (at < end) {
		if (reader->left > 1) {
			size_t n = (size_t)(end - at);

			if (n > reader->left - 1)
				n = (size_t)(reader->left - 1);
			fn(data, reader->time, reader->stream, at, n);
			reader->left -= n;
			at += n;
		} else if (reader->left == 1) {
			if (*at++ != '\n')
				return kiln__fail(err, KILN_EFORMAT, "the log is damaged");
			reader->left = 0;
		} else if (*at == '\n') {
			at++;
			if (take_head(reader, err) < 0)
				return KILN_EFORMAT;
		} else if (reader->head_len < sizeof(reader->head) - 1) {
			reader->head[reader->head_len++] = *at++;
		} else {
			return kiln__fail(err, KILN_EFORMAT, "the log is damaged");
		}
	}
	return 0;
}
