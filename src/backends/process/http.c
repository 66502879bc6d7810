/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One struct exchange is a request and what is owed to its sender. The first of the list is
 * the one under way: sent as far as the socket takes it, then its answer is read. All on the loop's
 * thread.
 *
 * The server is not trusted to keep to HTTP (http_reply.h), nor to answer, nor to be silent when
 * nothing was asked: bytes without a request end the connection.
 */
#include "http.h"

#include "buf.h"
#include "err.h"
#include "http_reply.h"
#include "os.h"
#include "printable.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct exchange {
	struct exchange *next;
	struct kiln__buf text; /* what is not sent yet of it */
	char what[128];        /* "PUT /version" */
	kiln_fd fds[KILN__OS_MAX_FDS];
	size_t fd_count;
	bool begun;
	uint64_t deadline_ms;
	kiln__http_done_fn done;
	void *data;
};

struct kiln__http {
	kiln_loop *loop;
	char *path;
	char *name;
	kiln_fd fd;
	struct kiln__watch *watch;
	struct kiln__timer *timer;
	struct kiln__deferred *failing;
	kiln_error failure; /* of the connection, with a request under way */
	struct exchange *first;
	struct kiln__http_reply reply;
	unsigned count;
	bool expects; /* whose it is to be: the user's */
	uint32_t user;
	bool over;    /* nothing can be sent any more */
	bool telling; /* a completion is being told: the next request waits for its end */
	bool lost;    /* the connection was, in the middle of a request */
	bool *gone;   /* set if it is freed in a completion */
	const struct kiln__http_handler *handler;
	void *data;
};

static void exchange_free(struct exchange *exchange)
{
	for (size_t i = 0; i < exchange->fd_count; i++)
		kiln__os_close(exchange->fds[i]);
	kiln__buf_done(&exchange->text);
	free(exchange);
}

static void disconnect(struct kiln__http *http)
{
	kiln__watch_free(kiln__take(http->watch));
	kiln__os_close(kiln__take_fd(&http->fd));
}

/* Tells the sender of the first request. False if the client was freed by that. */
static bool complete(struct kiln__http *http, const struct kiln__http_answer *answer,
		     const kiln_error *err)
{
	struct exchange *exchange = http->first;
	bool *outer = http->gone;
	bool gone = false;

	http->first = exchange->next;
	kiln__timer_stop(http->timer);
	http->gone = &gone;
	http->telling = true;
	if (exchange->done)
		exchange->done(exchange->data, answer, err);
	exchange_free(exchange);
	if (gone) {
		if (outer)
			*outer = true;
		return false;
	}
	http->gone = outer;
	http->telling = false;
	return true;
}

/* --- the connection ----------------------------------------------------------------------- */

/* What goes wrong with it is told from the loop, never from inside a call. */
static void lose(struct kiln__http *http, const kiln_error *why)
{
	disconnect(http);
	if (!http->first || !http->first->begun)
		return; /* the next request makes another */
	http->failure = *why;
	http->lost = true;
	kiln__deferred_schedule(http->failing);
}

static void on_failing(void *data)
{
	struct kiln__http *http = data;
	kiln_error err = http->failure;

	if (!http->lost || !http->first || http->over)
		return;
	kiln__timer_stop(http->timer);
	kiln__prefix(&err, "%s: %s", http->name, http->first->what);
	http->handler->lost(http->data, &err);
}

static void begin_first(struct kiln__http *http);

/* One that is alive but does not answer: whatever it still says belongs to nobody. */
static void on_deadline(void *data)
{
	struct kiln__http *http = data;
	struct exchange *exchange = http->first;
	kiln_error err;

	kiln__fail(&err, KILN_ETIMEDOUT, "%s has not answered %s within %llu ms", http->name,
		   exchange->what, (unsigned long long)exchange->deadline_ms);
	disconnect(http);
	if (complete(http, NULL, &err))
		begin_first(http);
}

static void send_first(struct kiln__http *http)
{
	struct exchange *exchange = http->first;

	while (exchange->text.len) {
		ssize_t n = kiln__os_send_fds(http->fd, exchange->text.data, exchange->text.len,
					      exchange->fds, exchange->fd_count);
		kiln_error err;

		if (n == -EAGAIN)
			break;
		if (n < 0) {
			kiln__fail_errno(&err, (int)-n, "cannot send it");
			lose(http, &err);
			return;
		}
		for (size_t i = 0; i < exchange->fd_count; i++)
			kiln__os_close(exchange->fds[i]);
		exchange->fd_count = 0;
		kiln__buf_drop(&exchange->text, (size_t)n);
	}
	kiln__watch_set(http->watch, KILN__READABLE | (exchange->text.len ? KILN__WRITABLE : 0));
}

static void begin_first(struct kiln__http *http)
{
	struct exchange *exchange = http->first;
	kiln_error err;

	if (!exchange || exchange->begun || http->over || http->lost || http->telling)
		return;
	exchange->begun = true;
	kiln__http_reply_reset(&http->reply);
	if (http->fd == KILN_FD_NONE && kiln__http_connect(http, &err) < 0) {
		lose(http, &err);
		return;
	}
	http->count++;
	kiln__timer_start(http->timer, exchange->deadline_ms);
	send_first(http);
}

/* --- answers -------------------------------------------------------------------------------- */

/* "a: b: c" of an array of texts; false if it is something else. */
static bool join_texts(const json_t *list, struct kiln__buf *out)
{
	const json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		if (!json_is_string(item))
			return false;
		kiln__buf_addf(out, "%s%s", i ? ": " : "", json_string_value(item));
	}
	return i > 0;
}

void kiln__http_words(const char *body, size_t len, char *ret, size_t size)
{
	json_t *json = json_loadb(body, len, JSON_DECODE_ANY, NULL);
	const char *text = json_string_value(json);
	kiln__autobuf joined = KILN__BUF_INIT;

	if (!text)
		text = json_string_value(json_object_get(json, "fault_message"));
	if (!text && join_texts(json, &joined))
		text = joined.data;
	snprintf(ret, size, "%.*s", text ? (int)size - 1 : (int)(len < size ? len : size - 1),
		 text ? text : body);
	json_decref(json);
	for (char *at = ret; *at; at++)
		if (*at == '\n' || *at == '\r' || *at == '\t')
			*at = ' ';
	kiln__printable(ret);
}

static bool answer(struct kiln__http *http)
{
	struct kiln__http_reply *reply = &http->reply;
	const struct kiln__http_answer answer = {
		.status = reply->status,
		.body = reply->body.len ? reply->body.data : "",
		.len = reply->body.len,
	};
	char words[300];
	kiln_error err;

	if (answer.status >= 200 && answer.status < 300)
		return complete(http, &answer, NULL);
	kiln__http_words(answer.body, answer.len, words, sizeof(words));
	kiln__fail(&err, answer.status == 404 ? KILN_ENOENT : KILN_EIO, "%s refused %s: %s%s(%d)",
		   http->name, http->first->what, words, words[0] ? " " : "", answer.status);
	return complete(http, NULL, &err);
}

static void take(struct kiln__http *http, const char *bytes, size_t len)
{
	kiln_error err;

	while (len) {
		ssize_t n;

		if (!http->first || !http->first->begun) {
			disconnect(http); /* it says what nobody asked */
			return;
		}
		n = kiln__http_reply_feed(&http->reply, bytes, len, &err);
		if (n < 0) {
			lose(http, &err);
			return;
		}
		bytes += n;
		len -= (size_t)n;
		if (http->reply.phase != KILN__HTTP_COMPLETE)
			continue;
		/* What follows an answer is none that was asked for. */
		if (http->reply.closes || http->first->text.len || len)
			disconnect(http);
		if (answer(http))
			begin_first(http);
		return;
	}
}

static void on_end(struct kiln__http *http, const kiln_error *why)
{
	kiln_error err = *why;
	int r = http->first && http->first->begun ? kiln__http_reply_end(&http->reply, &err) : 0;

	if (!http->first || !http->first->begun || http->reply.phase != KILN__HTTP_COMPLETE) {
		lose(http, r < 0 ? &err : why);
		return;
	}
	disconnect(http);
	if (answer(http))
		begin_first(http);
}

static void on_socket(void *data, int events)
{
	struct kiln__http *http = data;
	char bytes[16384];
	kiln_error err;
	ssize_t n;

	if ((events & KILN__WRITABLE) && http->first && http->first->begun) {
		send_first(http);
		if (http->fd == KILN_FD_NONE)
			return;
	}
	if (!(events & KILN__READABLE))
		return;
	n = kiln__os_read(http->fd, bytes, sizeof(bytes));
	if (n == -EAGAIN)
		return;
	if (n > 0) {
		take(http, bytes, (size_t)n);
		return;
	}
	kiln__fail(&err, KILN_EDIED, "the connection ended: %s",
		   n < 0 ? strerror((int)-n) : "closed");
	on_end(http, &err);
}

/* --- for its user ------------------------------------------------------------------------- */

int kiln__http_connect(struct kiln__http *http, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r;

	if (http->fd != KILN_FD_NONE)
		return 0;
	r = kiln__os_local_try_connect(&fd, http->path, err);
	if (r == 0 && http->expects)
		r = kiln__os_check_peer_is(fd, http->user, err);
	if (r == 0)
		r = kiln__watch_new(&http->watch, http->loop, fd, on_socket, http, err);
	if (r < 0)
		return r;
	http->fd = kiln__take_fd(&fd);
	kiln__watch_set(http->watch, KILN__READABLE);
	return 0;
}

void kiln__http_expect(struct kiln__http *http, uint32_t user)
{
	http->expects = true;
	http->user = user;
}

int kiln__http_moved(struct kiln__http *http, const char *path, kiln_error *err)
{
	char *copy = strdup(path);

	if (!copy)
		return kiln__fail_nomem(err);
	free(http->path);
	http->path = copy;
	return 0;
}

int kiln__http_new(struct kiln__http **ret, kiln_loop *loop, const char *path, const char *name,
		   const struct kiln__http_handler *handler, void *data, kiln_error *err)
{
	struct kiln__http *http = calloc(1, sizeof(*http));
	int r = 0;

	if (!http)
		return kiln__fail_nomem(err);
	http->loop = loop;
	http->fd = KILN_FD_NONE;
	http->handler = handler;
	http->data = data;
	http->path = strdup(path);
	http->name = strdup(name);
	if (!http->path || !http->name)
		r = kiln__fail_nomem(err);
	if (r == 0)
		r = kiln__timer_new(&http->timer, loop, on_deadline, http, err);
	if (r == 0)
		r = kiln__deferred_new(&http->failing, loop, on_failing, http, err);
	if (r < 0) {
		kiln__http_free(http);
		return r;
	}
	*ret = http;
	return 0;
}

static int fill(struct exchange *exchange, const struct kiln__http_request *request,
		kiln_error *err)
{
	const char *body = request->body ? request->body : "";

	snprintf(exchange->what, sizeof(exchange->what), "%s %s", request->method, request->target);
	kiln__buf_addf(&exchange->text,
		       "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n",
		       request->method, request->target);
	if (request->body)
		kiln__buf_addf(&exchange->text,
			       "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			       strlen(body));
	else if (strcmp(request->method, "GET") != 0)
		kiln__buf_adds(&exchange->text, "Content-Length: 0\r\n");
	kiln__buf_addf(&exchange->text, "\r\n%s", body);
	for (size_t i = 0; i < request->fd_count; i++) {
		int r = kiln__os_dup(&exchange->fds[i], request->fds[i], err);

		if (r < 0)
			return r;
		exchange->fd_count++;
	}
	exchange->deadline_ms = request->deadline_ms;
	exchange->done = request->done;
	exchange->data = request->data;
	return exchange->text.failed ? kiln__fail_nomem(err) : 0;
}

void kiln__http_send(struct kiln__http *http, const struct kiln__http_request *request)
{
	struct exchange *exchange = NULL;
	struct exchange **last = &http->first;
	kiln_error err;
	int r;

	if (http->over || http->lost)
		r = kiln__fail(&err, KILN_EDIED, "%s does not answer any more", http->name);
	else if (request->fd_count > KILN__OS_MAX_FDS)
		r = kiln__fail(&err, KILN_EOVERFLOW, "too many descriptors for one request");
	else
		r = (exchange = calloc(1, sizeof(*exchange))) ? fill(exchange, request, &err)
							      : kiln__fail_nomem(&err);
	if (r < 0) {
		if (exchange)
			exchange_free(exchange);
		if (request->done)
			request->done(request->data, NULL, &err);
		return;
	}
	while (*last)
		last = &(*last)->next;
	*last = exchange;
	begin_first(http);
}

unsigned kiln__http_count(const struct kiln__http *http)
{
	return http->count;
}

void kiln__http_end(struct kiln__http *http, const kiln_error *why)
{
	http->over = true;
	disconnect(http);
	while (http->first)
		if (!complete(http, NULL, why))
			return;
}

void kiln__http_free(struct kiln__http *http)
{
	kiln_error err;

	if (!http)
		return;
	http->over = true;
	kiln__fail(&err, KILN_ECANCELED, "%s: canceled", http->name ? http->name : "HTTP");
	disconnect(http);
	while (http->first)
		complete(http, NULL, &err); /* nobody frees it a second time in that */
	if (http->gone)
		*http->gone = true;
	kiln__timer_free(http->timer);
	kiln__deferred_free(http->failing);
	kiln__http_reply_done(&http->reply);
	free(http->path);
	free(http->name);
	free(http);
}
