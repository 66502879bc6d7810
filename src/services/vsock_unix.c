/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each connection is a struct link, in one of three stages: its peer's line is being
 * read (bounded in length and time), the guest is being connected, or both are
 * spliced. Those from the guest begin spliced. All on the loop's thread.
 *
 * Peers are programs of the same user, trusted with the guest but not to behave: what
 * they send before the splice is bounded, and so is their number, which is the guest's to
 * raise too, and that of those who have not said yet what they want. When a bound is
 * reached, or descriptors run out, accepting pauses.
 */
#include "vsock_unix.h"

#include "acceptor.h"
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

#define LINE_MAX_LEN  32 /* "CONNECT 4294967295\n" has 19 */
#define LINE_MS       10000
#define MAX_NEW_LINKS 128
#define PATH_MAX_LEN  (107 - 11) /* sun_path without "_4294967295" and the NUL */

struct kiln__vsock_unix {
	kiln_loop *loop;
	char *path;
	kiln__port_connect_fn connect;
	void *connect_data;
	struct kiln__acceptor *acceptor;
	bool accepts;
	struct kiln__list links;
	unsigned count; /* of links, each of which has a descriptor */
	unsigned max_links;
	unsigned new_links; /* of them, those not spliced yet */
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
	if (service->acceptor && service->accepts)
		kiln__acceptor_set(service->acceptor, service->new_links < MAX_NEW_LINKS &&
							      service->count < service->max_links);
}

static void no_longer_new(struct link *link)
{
	kiln__timer_free(kiln__take(link->timer));
	kiln__deferred_free(kiln__take(link->connect));
	if (!link->is_new)
		return;
	link->is_new = false;
	link->service->new_links--;
	accept_more(link->service);
}

static void link_free(struct link *link)
{
	no_longer_new(link);
	if (link->service) {
		link->service->count--;
		accept_more(link->service);
	}
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
	service->count++;
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

static void add_peer(void *data, kiln_fd fd)
{
	struct kiln__vsock_unix *service = data;
	struct link *link = link_new(service);

	if (!link) {
		kiln__os_close(fd);
		return;
	}
	link->is_new = true;
	service->new_links++;
	accept_more(service);
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

/* --- from the guest ---------------------------------------------------------------- */

bool kiln__vsock_unix_incoming(struct kiln__vsock_unix *service, uint32_t port,
			       struct kiln__stream *stream)
{
	kiln__autofree char *path = kiln__strf("%s_%u", service->path, port);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct kiln__stream *peer;
	struct link *link;

	if (service->count >= service->max_links || !path ||
	    kiln__os_local_try_connect(&fd, path, NULL) < 0)
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
			 unsigned max_links, kiln__port_connect_fn connect, void *data,
			 kiln_error *err)
{
	struct kiln__vsock_unix *service;
	kiln_fd listener;
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
	service->max_links = max_links;
	r = kiln__os_local_listen(&listener, path, err);
	if (r == 0) {
		service->path = strdup(path);
		if (!service->path) {
			kiln__os_remove(path, NULL);
			kiln__os_close(listener);
			r = kiln__fail_nomem(err);
		}
	}
	if (r == 0)
		r = kiln__acceptor_new(&service->acceptor, loop, listener, add_peer, service, err);
	if (r < 0) {
		kiln__vsock_unix_free(service);
		return r;
	}
	*ret = service;
	return 0;
}

void kiln__vsock_unix_accept(struct kiln__vsock_unix *service)
{
	service->accepts = true;
	accept_more(service);
}

int kiln__vsock_unix_moved(struct kiln__vsock_unix *service, const char *directory, kiln_error *err)
{
	char *path = kiln__strf("%s%s", directory, strrchr(service->path, '/'));

	if (!path)
		return kiln__fail_nomem(err);
	free(service->path);
	service->path = path;
	return 0;
}

void kiln__vsock_unix_free(struct kiln__vsock_unix *service)
{
	if (!service)
		return;
	kiln__acceptor_free(kiln__take(service->acceptor));
	while (!kiln__list_empty(&service->links))
		link_free(kiln__list_entry(service->links.next, struct link, all));
	if (service->path)
		kiln__os_remove(service->path, NULL);
	free(service->path);
	free(service);
}
