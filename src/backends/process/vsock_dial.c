/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dial is a connection whose answer line, "OK <number>\n", is being read; what the guest sends
 * may follow it at once, so no byte more is read. All on the loop's thread. The VMM is not
 * trusted to answer, so that has a deadline, nor to be brief.
 */
#include "vsock_dial.h"

#include "acceptor.h"
#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "list.h"
#include "os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ANSWER_MS     10000
#define ANSWER_MAX    32 /* "OK 4294967295\n" has 14 */
#define MAX_LISTENERS 8

struct listener {
	struct kiln__vsock_dialer *dialer;
	struct kiln__acceptor *acceptor;
	uint32_t port;
	char *path;
};

struct kiln__vsock_dialer {
	kiln_loop *loop;
	char *path;
	struct kiln__list dials;
	struct listener listeners[MAX_LISTENERS];
	size_t listener_count;
	bool expects; /* whose the VMM's socket is to be: the user's */
	uint32_t user;
	bool (*incoming)(void *data, uint32_t port, struct kiln__stream *stream);
	void *data;
};

struct dial {
	struct kiln__list all;
	struct kiln__vsock_dialer *dialer;
	kiln_fd fd;
	struct kiln__watch *watch;
	struct kiln__timer *timer;
	char line[ANSWER_MAX];
	size_t line_len;
	uint32_t port;
	kiln__dialed_fn done;
	void *data;
};

static void dial_end(struct dial *dial, const kiln_error *err)
{
	struct kiln__stream *stream = NULL;
	kiln_loop *loop = dial->dialer->loop;
	kiln__dialed_fn done = dial->done;
	void *data = dial->data;
	kiln_error why;

	kiln__list_remove(&dial->all);
	kiln__timer_free(dial->timer);
	kiln__watch_free(dial->watch);
	if (!err && kiln__fdstream_new(&stream, loop, dial->fd, &why) < 0)
		err = &why;
	if (err)
		kiln__os_close(dial->fd);
	free(dial);
	done(data, stream, err);
}

static void refuse(struct dial *dial, const char *what)
{
	kiln_error err;

	kiln__fail(&err, KILN_EIO, "guest port %u: %s", dial->port, what);
	dial_end(dial, &err);
}

/* Byte by byte up to the line's end: what follows is the stream's. */
static void on_readable(void *data, int events)
{
	struct dial *dial = data;

	(void)events;
	while (dial->line_len < sizeof(dial->line)) {
		ssize_t n = kiln__os_read(dial->fd, &dial->line[dial->line_len], 1);

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			refuse(dial, "nothing listens there");
			return;
		}
		if (dial->line[dial->line_len++] != '\n')
			continue;
		if (strncmp(dial->line, "OK ", 3) == 0)
			dial_end(dial, NULL);
		else
			refuse(dial, "the VMM's vsock socket does not answer as it should");
		return;
	}
	refuse(dial, "the answer of the VMM's vsock socket does not end");
}

static void on_slow(void *data)
{
	struct dial *dial = data;
	kiln_error err;

	kiln__fail(&err, KILN_ETIMEDOUT, "the VMM has not connected to guest port %u within %d ms",
		   dial->port, ANSWER_MS);
	dial_end(dial, &err);
}

static int dial_begin(struct dial *dial, kiln_error *err)
{
	struct kiln__vsock_dialer *dialer = dial->dialer;
	char text[ANSWER_MAX];
	int len = snprintf(text, sizeof(text), "CONNECT %u\n", dial->port);
	int r = kiln__os_local_try_connect(&dial->fd, dialer->path, err);

	if (r == 0 && dialer->expects)
		r = kiln__os_check_peer_is(dial->fd, dialer->user, err);
	if (r == 0)
		r = kiln__watch_new(&dial->watch, dialer->loop, dial->fd, on_readable, dial, err);
	if (r == 0)
		r = kiln__timer_new(&dial->timer, dialer->loop, on_slow, dial, err);
	/* The first bytes on a connection: they fit, or it is broken. */
	if (r == 0 && kiln__os_write(dial->fd, text, (size_t)len) != len)
		r = kiln__fail(err, KILN_EIO, "cannot ask the VMM's vsock socket");
	return r;
}

void kiln__vsock_dial(struct kiln__vsock_dialer *dialer, uint32_t port, kiln__dialed_fn done,
		      void *data)
{
	struct dial *dial = calloc(1, sizeof(*dial));
	kiln_error err;

	if (!dial) {
		kiln__fail_nomem(&err);
		done(data, NULL, &err);
		return;
	}
	*dial = (struct dial){
		.dialer = dialer,
		.fd = KILN_FD_NONE,
		.port = port,
		.done = done,
		.data = data,
	};
	kiln__list_append(&dialer->dials, &dial->all);
	if (dial_begin(dial, &err) < 0) {
		err.code = KILN_EIO;
		dial_end(dial, &err);
		return;
	}
	kiln__timer_start(dial->timer, ANSWER_MS);
	kiln__watch_set(dial->watch, KILN__READABLE);
}

/* --- from the guest ------------------------------------------------------------------------- */

static void on_connection(void *data, kiln_fd fd)
{
	struct listener *listener = data;
	struct kiln__vsock_dialer *dialer = listener->dialer;
	struct kiln__stream *stream;

	if (kiln__fdstream_new(&stream, dialer->loop, fd, NULL) < 0) {
		kiln__os_close(fd);
		return;
	}
	if (!dialer->incoming(dialer->data, listener->port, stream))
		kiln__stream_close(stream);
}

static int listen_at(struct kiln__vsock_dialer *dialer, uint32_t port, kiln_error *err)
{
	struct listener *listener = &dialer->listeners[dialer->listener_count];
	kiln__autofree char *path = kiln__strf("%s_%u", dialer->path, port);
	kiln_fd fd;
	int r;

	if (dialer->listener_count == MAX_LISTENERS)
		return kiln__fail(err, KILN_EOVERFLOW, "too many vsock ports of the host");
	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_local_listen(&fd, path, err);
	if (r < 0)
		return r;
	*listener = (struct listener){.dialer = dialer, .port = port, .path = kiln__take(path)};
	dialer->listener_count++;
	r = kiln__acceptor_new(&listener->acceptor, dialer->loop, fd, on_connection, listener, err);
	if (r == 0)
		kiln__acceptor_set(listener->acceptor, true);
	return r;
}

void kiln__vsock_dialer_expect(struct kiln__vsock_dialer *dialer, uint32_t user)
{
	dialer->expects = true;
	dialer->user = user;
}

int kiln__vsock_dialer_new(struct kiln__vsock_dialer **ret, kiln_loop *loop, const char *path,
			   const uint32_t *ports,
			   bool (*incoming)(void *data, uint32_t port, struct kiln__stream *stream),
			   void *data, kiln_error *err)
{
	struct kiln__vsock_dialer *dialer = calloc(1, sizeof(*dialer));
	int r = 0;

	if (!dialer)
		return kiln__fail_nomem(err);
	kiln__list_init(&dialer->dials);
	dialer->loop = loop;
	dialer->incoming = incoming;
	dialer->data = data;
	dialer->path = strdup(path);
	if (!dialer->path)
		r = kiln__fail_nomem(err);
	for (; r == 0 && ports && *ports; ports++)
		r = listen_at(dialer, *ports, err);
	if (r < 0) {
		kiln__vsock_dialer_free(dialer);
		return r;
	}
	*ret = dialer;
	return 0;
}

int kiln__vsock_dialer_open(struct kiln__vsock_dialer *dialer, kiln_error *err)
{
	for (size_t i = 0; i < dialer->listener_count; i++)
		if (chmod(dialer->listeners[i].path, 0666) < 0)
			return kiln__fail_errno(err, errno, "cannot open %s to a jail",
						dialer->listeners[i].path);
	return 0;
}

int kiln__vsock_dialer_moved(struct kiln__vsock_dialer *dialer, const char *path, kiln_error *err)
{
	char *copy = strdup(path);

	if (!copy)
		return kiln__fail_nomem(err);
	free(dialer->path);
	dialer->path = copy;
	for (size_t i = 0; i < dialer->listener_count; i++) {
		struct listener *listener = &dialer->listeners[i];
		char *own = kiln__strf("%s_%u", path, listener->port);

		if (!own)
			return kiln__fail_nomem(err);
		free(listener->path);
		listener->path = own;
	}
	return 0;
}

void kiln__vsock_dialer_free(struct kiln__vsock_dialer *dialer)
{
	kiln_error err;

	if (!dialer)
		return;
	kiln__fail(&err, KILN_ECANCELED, "the machine has ended");
	while (!kiln__list_empty(&dialer->dials))
		dial_end(kiln__list_entry(dialer->dials.next, struct dial, all), &err);
	for (size_t i = 0; i < dialer->listener_count; i++) {
		kiln__acceptor_free(dialer->listeners[i].acceptor);
		kiln__os_remove(dialer->listeners[i].path, NULL);
		free(dialer->listeners[i].path);
	}
	free(dialer->path);
	free(dialer);
}
