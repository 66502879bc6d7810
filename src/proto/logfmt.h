/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The format of a VM's "log" file, what its main process wrote: records of
 *
 *     <ns since 1970> <stream: 1 or 2> <length>\n<bytes>\n
 *
 * in plain decimal. Binary-safe, exact, and readable with less. A file may begin in the
 * middle of nothing (it was cut off or replaced) only at a record's beginning.
 */
#ifndef KILN_PROTO_LOGFMT_H
#define KILN_PROTO_LOGFMT_H

#include <kiln/error.h>

#include <stddef.h>
#include <stdint.h>

#define KILN__LOG_HEAD 64 /* room for a head with its newline and NUL */

/* Writes a head; returns its length. */
size_t kiln__log_head(char head[KILN__LOG_HEAD], int64_t realtime_ns, int stream, size_t len);

typedef void (*kiln__log_fn)(void *data, int64_t realtime_ns, int stream, const void *bytes,
			     size_t len);

/* Reads records from bytes that come in any split; all-zero is the beginning. */
struct kiln__log_reader {
	char head[KILN__LOG_HEAD];
	size_t head_len;
	int64_t time;
	int stream;
	uint64_t left; /* of the record's bytes, its final newline included */
};

/* Takes bytes; @fn gets each record in one or more pieces. KILN_EFORMAT if it is no log. */
int kiln__log_read(struct kiln__log_reader *reader, const void *bytes, size_t len, kiln__log_fn fn,
		   void *data, kiln_error *err);

#endif
