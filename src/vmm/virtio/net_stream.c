/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream socket as a network back-end: each frame after its length, 4 bytes, big-endian, which is
 * what passt and QEMU's "stream" netdev speak. No offloads: passt wants whole segments with
 * checksums.
 *
 * Frames are copied once, into a buffer that goes out by one call for a round of them, and out of
 * one that was filled by one call. Both buffers are made at first use. The process at the other end
 * is not trusted: a length that no frame can have ends the connection.
 *
 * No threads. System calls: those of kiln__os_read() and kiln__os_write().
 */
#include "err.h"
#include "net_backend.h"
#include "os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH    4u
#define MIN_FRAME 14u
#define MAX_FRAME (KILN__NET_MAX_FRAME - KILN__NET_HEADER)
#define BUFFER    ((size_t)128 * 1024)

_Static_assert(BUFFER >= LENGTH + MAX_FRAME, "one frame at least");

struct stream {
	struct kiln__net_backend backend; /* first */
	unsigned char *out;
	size_t out_len;
	unsigned char *in;
	size_t in_at; /* of what is not yet given */
	size_t in_len;
};

static struct stream *stream_of(struct kiln__net_backend *backend)
{
	return (struct stream *)(void *)backend;
}

static bool have(unsigned char **buffer)
{
	if (!*buffer)
		*buffer = malloc(BUFFER);
	return *buffer != NULL;
}

static int negotiated(struct kiln__net_backend *backend, uint64_t features)
{
	(void)backend;
	(void)features; /* nothing depends on them */
	return 0;
}

/* --- out ------------------------------------------------------------------------------- */

static int stream_flush(struct kiln__net_backend *backend)
{
	struct stream *stream = stream_of(backend);
	ssize_t n;

	if (stream->out_len == 0)
		return 0;
	n = kiln__os_write(backend->fd, stream->out, stream->out_len);
	if (n == -EAGAIN)
		return -EAGAIN;
	if (n < 0)
		return -EPIPE;
	stream->out_len -= (size_t)n;
	memmove(stream->out, stream->out + n, stream->out_len);
	return stream->out_len ? -EAGAIN : 0;
}

static int stream_send(struct kiln__net_backend *backend, const struct iovec *iov, int count)
{
	struct stream *stream = stream_of(backend);
	size_t skip = KILN__NET_HEADER;
	size_t len = 0;
	unsigned char *at;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	if (len < KILN__NET_HEADER + MIN_FRAME || len > KILN__NET_MAX_FRAME)
		return -EINVAL;
	len -= KILN__NET_HEADER;
	if (!have(&stream->out))
		return -ENOMEM;
	if (LENGTH + len > BUFFER - stream->out_len) {
		int r = stream_flush(backend);

		if (r == -EPIPE || LENGTH + len > BUFFER - stream->out_len)
			return r;
	}
	at = stream->out + stream->out_len;
	for (unsigned i = 0; i < LENGTH; i++)
		*at++ = (unsigned char)(len >> (24 - 8 * i));
	for (int i = 0; i < count; i++) {
		size_t n = iov[i].iov_len;
		size_t cut = skip < n ? skip : n;

		memcpy(at, (const char *)iov[i].iov_base + cut, n - cut);
		at += n - cut;
		skip -= cut;
	}
	stream->out_len += LENGTH + len;
	return 0;
}

/* --- in ---------------------------------------------------------------------------------- */

/* The size of the frame that begins the buffer, as far as it is known; 0: no frame has that. */
static size_t frame_len(const struct stream *stream)
{
	const unsigned char *at = stream->in + stream->in_at;
	size_t len = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];

	return len >= MIN_FRAME && len <= MAX_FRAME ? len : 0;
}

/* Reads once: 0, -EAGAIN or -EPIPE. */
static int fill(struct stream *stream)
{
	ssize_t n;

	if (!have(&stream->in))
		return -EAGAIN;
	stream->in_len -= stream->in_at;
	memmove(stream->in, stream->in + stream->in_at, stream->in_len);
	stream->in_at = 0;
	n = kiln__os_read(stream->backend.fd, stream->in + stream->in_len, BUFFER - stream->in_len);
	if (n == -EAGAIN)
		return -EAGAIN;
	if (n <= 0)
		return -EPIPE;
	stream->in_len += (size_t)n;
	return 0;
}

/* Copies behind the header, which is all zero. */
static void give(const struct iovec *iov, int count, const unsigned char *frame, size_t len)
{
	size_t at = 0;

	len += KILN__NET_HEADER;
	for (int i = 0; i < count && at < len; i++) {
		unsigned char *to = iov[i].iov_base;
		size_t n = iov[i].iov_len < len - at ? iov[i].iov_len : len - at;
		size_t zeros = at < KILN__NET_HEADER ? KILN__NET_HEADER - at : 0;

		if (zeros > n)
			zeros = n;
		memset(to, 0, zeros);
		if (n > zeros)
			memcpy(to + zeros, frame + (at + zeros - KILN__NET_HEADER), n - zeros);
		at += n;
	}
}

static ssize_t stream_receive(struct kiln__net_backend *backend, const struct iovec *iov, int count)
{
	struct stream *stream = stream_of(backend);
	size_t len = 0;

	for (;;) {
		size_t there = stream->in_len - stream->in_at;
		int r;

		if (there >= LENGTH) {
			len = frame_len(stream);
			if (len == 0)
				return -EPIPE;
			if (there >= LENGTH + len)
				break;
		}
		r = fill(stream);
		if (r < 0)
			return r;
	}
	give(iov, count, stream->in + stream->in_at + LENGTH, len);
	stream->in_at += LENGTH + len;
	return (ssize_t)(KILN__NET_HEADER + len);
}

/* --- making and freeing --------------------------------------------------------------------- */

static void stream_free(struct kiln__net_backend *backend)
{
	struct stream *stream = stream_of(backend);

	kiln__os_close(backend->fd);
	free(stream->out);
	free(stream->in);
	free(stream);
}

static const struct kiln__net_backend_ops stream_ops = {
	.negotiated = negotiated,
	.send = stream_send,
	.flush = stream_flush,
	.receive = stream_receive,
	.free = stream_free,
};

int kiln__net_stream_take(struct kiln__net_backend **ret, kiln_fd fd, kiln_error *err)
{
	struct stream *stream;
	int r = kiln__os_set_nonblocking(fd, true, err);

	if (r < 0)
		return r;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return kiln__fail_nomem(err);
	stream->backend.ops = &stream_ops;
	stream->backend.fd = fd;
	stream->backend.vhost = KILN_FD_NONE;
	*ret = &stream->backend;
	return 0;
}
