/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte stream to a guest, with back-pressure and half close.
 *
 * Owned by who was given it, used on its loop's thread only. Data comes by
 * callbacks once reading was allowed with kiln_stream_resume().
 */
#ifndef KILN_STREAM_H
#define KILN_STREAM_H

#include <kiln/error.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kiln_stream kiln_stream;

typedef struct kiln_stream_callbacks {
	size_t size; /* set by KILN_STREAM_CALLBACKS_INIT */
	/*
	 * Bytes have come, valid during the call. Returns how many were consumed; after
	 * fewer than @len no more come until kiln_stream_resume().
	 */
	size_t (*on_data)(void *data, const void *bytes, size_t len);
	/* The guest has closed its writing side; writing may go on. May be NULL. */
	void (*on_eof)(void *data);
	/* There is room again, after a short kiln_stream_write(). May be NULL. */
	void (*on_writable)(void *data);
	/* The stream broke, in both directions. May be NULL. */
	void (*on_error)(void *data, const kiln_error *err);
	void *data;
} kiln_stream_callbacks;

#define KILN_STREAM_CALLBACKS_INIT                                                                 \
	{                                                                                          \
		.size = sizeof(kiln_stream_callbacks)                                              \
	}

/* Sets who is told; @callbacks is copied. Nothing comes before the first kiln_stream_resume(). */
KILN_PUBLIC void kiln_stream_listen(kiln_stream *stream, const kiln_stream_callbacks *callbacks);

/* Lets data come. It may come from inside this call; do not call it from on_data. */
KILN_PUBLIC void kiln_stream_resume(kiln_stream *stream);

/*
 * Sends what there is room for: returns the number of bytes taken, 0 to @len, or a
 * negative KILN_E... code once the stream is broken. After a short count on_writable
 * says when to go on.
 */
KILN_PUBLIC int64_t kiln_stream_write(kiln_stream *stream, const void *bytes, size_t len);

/* Writes no more: the guest sees the end after what was written. Reading may go on. */
KILN_PUBLIC void kiln_stream_shutdown(kiln_stream *stream);

/* Ends both directions and frees the stream; no callback comes any more. Allowed in callbacks; NULL
 * too. */
KILN_PUBLIC void kiln_stream_close(kiln_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
