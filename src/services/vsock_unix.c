/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each connection is a struct link, in one of three stages: its peer's line is being
 * read (bounded in length and time), the guest is being connected, or both are
 * spliced. Those from the guest begin spliced. All on the loop's thread.
 *
 * Peers are programs of the same user, trusted with the guest but not to behave: what
 * they send before the splice is bounded, and so is the number of those that
 * have not said yet what they want. When that is reached, or descriptors run out,
 * accepting pauses.
 */
#include "vsock_unix.h"

#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "list.h"
#include "os.h"
#include "splice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_LEN    32 /* "CONNECT 4294967295\n" has 19 */
#define LINE_MS         10000
#define MAX_NEW_LINKS   128
#define ACCEPT_AGAIN_MS 1000
#define PATH_MAX_LEN    (107 - 11) /* sun_path without "_4294967295" and the NUL */

struct kiln__vsock_unix {
	kiln_loop *loop;
	char *path;
	kiln__port_connect_fn connect;
	void *connect_data;
	kiln_fd listener;
	struct kiln__watch *watch;
	struct kiln__timer *again; /* accepts anew after descriptors had run out */
	struct kiln__list links;
	unsigned new_links; /* not spliced yet */
	uint32_t number;    /* for "OK" */
};

struct link {
	struct kiln__vsock_unix *service; /* NULL: freed while the guest was being connected */
	struct kiln__list all;
	struct kiln__stream *peer;
	struct kiln__timer *timer;      /* bounds the reading of its line */
	struct kiln__deferred *connect; /* the line is complete */
	struct kiln__splice *splice;
	char line[LINE_MAX_LEN];
	size_t line_len;
	bool complete;   /* the line is */
	bool swallow;    /* its newline, next */
	bool connecting; /* done() is due, and frees what is gone */
	bool is_new;
};

static void accept_more(struct kiln__vsock_unix *service)
{
	bool room = service->new_links < MAX_NEW_LINKS && !kiln__timer_armed(service->again);

	kiln__watch_set(service->watch, room ? KILN__READABLE : 0);
}

static void no_longer_new(struct link *link)
{
	kiln__timer_free(kiln__take(link->timer));
	kiln__deferred_free(kiln__take(link->connect));
	if (link->is_new && link->service) {
		link->service->new_links--;
		accept_more(link->service);
	}
	link->is_new = false;
}

static void link_free(struct link *link)
{
	no_longer_new(link);
	kiln__list_remove(&link->all);
	kiln__splice_free(link->splice);
	link->splice = NULL;
	kiln__stream_close(link->peer);
	link->peer = NULL;
	link->service = NULL;
	if (!link->connecting)
		free(link);
}

static struct link *link_new(struct kiln__vsock_unix *service)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->service = service;
	kiln__list_append(&service->links, &link->all);
	return link;
}

static void on_splice_end(void *data, const kiln_error *err)
{
	(void)err;
	link_free(data);
}

/* --- towards the guest ------------------------------------------------------------ */

static bool answer(struct link *link)
{
	char text[LINE_MAX_LEN];
	int len = snprintf(text, sizeof(text), "OK %u\n", ++link->service->number);

	/* The first bytes on a connection: they fit, or it is broken. */
	return kiln__stream_write(link->peer, text, (size_t)len) == len;
}

static void on_connected(void *data, struct kiln__stream *guest, const kiln_error *err)
{
	struct link *link = data;
	struct kiln__stream *peer = link->peer;

	(void)err;
	link->connecting = false;
	if (!link->service) { /* link_free() came first */
		kiln__stream_close(guest);
		free(link);
		return;
	}
	if (!guest || !answer(link)) {
		kiln__stream_close(guest);
		link_free(link);
		return;
	}
	no_longer_new(link);
	link->swallow = true;
	kiln__stream_resume(peer);
	link->peer = NULL;
	/* Ends in on_splice_end(), perhaps from within. */
	if (kiln__splice_new(&link->splice, peer, guest, on_splice_end, link, NULL) < 0) {
		kiln__stream_close(peer);
		kiln__stream_close(guest);
		link_free(link);
	}
}

/* "CONNECT <port>" without its newline: true, and the port, if it is that and no more. */
static bool parse_line(const char *line, size_t len, uint32_t *ret_port)
{
	static const char word[] = "CONNECT ";
	size_t at = sizeof(word) - 1;
	uint64_t port = 0;

	if (len <= at || len > at + 10 || memcmp(line, word, at) != 0)
		return false;
	for (; at < len; at++) {
		if (line[at] < '0' || line[at] > '9')
			return false;
		port = port * 10 + (uint64_t)(line[at] - '0');
	}
	if (port > UINT32_MAX)
		return false;
	*ret_port = (uint32_t)port;
	return true;
}

/*
 * The newline is left unconsumed, which pauses the stream: what follows it, the end of
 * file included, stays where it is until there is a guest to pass it to.
 */
static size_t on_line_data(void *data, const void *bytes, size_t len)
{
	struct link *link = data;
	const char *newline;
	size_t n;

	if (link->complete) {
		n = link->swallow ? 1 : 0;
		link->swallow = false;
		return n;
	}
	newline = memchr(bytes, '\n', len);
	n = newline ? (size_t)(newline - (const char *)bytes) : len;
	if (n >= sizeof(link->line) - link->line_len) {
		link_free(link);
		return 0;
	}
	memcpy(link->line + link->line_len, bytes, n);
	link->line_len += n;
	if (!newline)
		return len;
	link->complete = true;
	kiln__timer_stop(link->timer);
	kiln__deferred_schedule(link->connect); /* not from within a handler */
	return n;
}

static void on_line_eof(void *data)
{
	link_free(data);
}

static void on_line_error(void *data, const kiln_error *err)
{
	(void)err;
	link_free(data);
}

static const struct kiln__stream_handler line_handler = {
	.on_data = on_line_data,
	.on_eof = on_line_eof,
	.on_error = on_line_error,
};

static void on_line(void *data)
{
	struct link *link = data;
	uint32_t port;

	if (!parse_line(link->line, link->line_len, &port)) {
		link_free(link);
		return;
	}
	link->connecting = true;
	link->service->connect(link->service->connect_data, port, on_connected, link);
}

static void on_slow_line(void *data)
{
	link_free(data);
}

static void add_peer(struct kiln__vsock_unix *service, kiln_fd fd)
{
	struct link *link = link_new(service);

	if (!link) {
		kiln__os_close(fd);
		return;
	}
	link->is_new = true;
	service->new_links++;
	if (kiln__fdstream_new(&link->peer, service->loop, fd, NULL) < 0) {
		kiln__os_close(fd);
		link_free(link);
		return;
	}
	if (kiln__timer_new(&link->timer, service->loop, on_slow_line, link, NULL) < 0 ||
	    kiln__deferred_new(&link->connect, service->loop, on_line, link, NULL) < 0) {
		link_free(link);
		return;
	}
	kiln__timer_start(link->timer, LINE_MS);
	kiln__stream_set_handler(link->peer, &line_handler, link);
	kiln__stream_resume(link->peer);
}

static void on_listener(void *data, int events)
{
	struct kiln__vsock_unix *service = data;
	kiln_fd fd;
	int r = 0;

	(void)events;
	while (service->new_links < MAX_NEW_LINKS) {
		r = kiln__os_accept(&fd, service->listener, NULL);
		if (r < 0)
			break;
		add_peer(service, fd);
	}
	/* Out of descriptors or memory: the connection waits, and we would be told of it for ever.
	 */
	if (r < 0 && r != KILN_ENOENT)
		kiln__timer_start(service->again, ACCEPT_AGAIN_MS);
	accept_more(service);
}

static void on_again(void *data)
{
	accept_more(data);
}

/* --- from the guest ---------------------------------------------------------------- */

bool kiln__vsock_unix_incoming(struct kiln__vsock_unix *service, uint32_t port,
			       struct kiln__stream *stream)
{
	kiln__autofree char *path = kiln__strf("%s_%u", service->path, port);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct kiln__stream *peer;
	struct link *link;

	if (!path || kiln__os_local_try_connect(&fd, path, NULL) < 0)
		return false;
	if (kiln__fdstream_new(&peer, service->loop, fd, NULL) < 0)
		return false;
	kiln__take_fd(&fd);
	link = link_new(service);
	if (!link || kiln__splice_new(&link->splice, stream, peer, on_splice_end, link, NULL) < 0) {
		if (link)
			link_free(link);
		kiln__stream_close(peer);
		return false;
	}
	return true;
}

/* --- making and freeing -------------------------------------------------------------- */

int kiln__vsock_unix_new(struct kiln__vsock_unix **ret, kiln_loop *loop, const char *path,
			 kiln__port_connect_fn connect, void *data, kiln_error *err)
{
	struct kiln__vsock_unix *service;
	int r;

	if (strlen(path) > PATH_MAX_LEN)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "vsock socket path %s is longer than %d bytes", path,
				  PATH_MAX_LEN);
	service = calloc(1, sizeof(*service));
	if (!service)
		return kiln__fail_nomem(err);
	kiln__list_init(&service->links);
	service->loop = loop;
	service->connect = connect;
	service->connect_data = data;
	service->number = 0x40000000;
	service->listener = KILN_FD_NONE;
	r = kiln__os_local_listen(&service->listener, path, err);
	if (r == 0) {
		service->path = strdup(path);
		if (!service->path) {
			kiln__os_remove(path, NULL);
			r = kiln__fail_nomem(err);
		}
	}
	if (r == 0)
		r = kiln__timer_new(&service->again, loop, on_again, service, err);
	if (r == 0)
		r = kiln__watch_new(&service->watch, loop, service->listener, on_listener, service,
				    err);
	if (r < 0) {
		kiln__vsock_unix_free(service);
		return r;
	}
	accept_more(service);
	*ret = service;
	return 0;
}

void kiln__vsock_unix_free(struct kiln__vsock_unix *service)
{
	if (!service)
		return;
	while (!kiln__list_empty(&service->links))
		link_free(kiln__list_entry(service->links.next, struct link, all));
	kiln__watch_free(service->watch);
	kiln__timer_free(service->again);
	kiln__os_close(service->listener);
	if (service->path)
		kiln__os_remove(service->path, NULL);
	free(service->path);
	free(service);
}
