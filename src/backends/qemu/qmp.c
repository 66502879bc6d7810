/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP: one JSON object a line in each direction. The server greets, the client
 * negotiates capabilities, then each command is answered in order by "return" or
 * "error", with events in between. QEMU is not trusted to be well-formed: lines are
 * bounded, and anything that is no message ends the connection.
 */
#include "qmp.h"

#include "buf.h"
#include "err.h"
#include "fdstream.h"

#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES ((size_t)1 << 20)

struct pending {
	struct pending *next;
	const char *command;
	kiln_done_fn done;
	void *data;
	bool sent;
};

struct kiln__qmp {
	struct kiln__stream *stream;
	struct kiln__deferred *failing; /* reports a broken connection from the loop */
	struct kiln__buf in;
	struct kiln__buf out; /* what the socket did not take yet */
	struct pending *first;
	struct pending **last;
	const struct kiln__qmp_handler *handler;
	void *data;
	bool greeted;
	bool closed;
};

static void flush(struct kiln__qmp *qmp)
{
	ssize_t n;

	if (qmp->closed || !qmp->out.len)
		return;
	n = kiln__stream_write(qmp->stream, qmp->out.data, qmp->out.len);
	if (n < 0)
		kiln__deferred_schedule(qmp->failing);
	else
		kiln__buf_drop(&qmp->out, (size_t)n);
}

static void send_waiting(struct kiln__qmp *qmp)
{
	for (struct pending *p = qmp->first; p && qmp->greeted; p = p->next) {
		if (p->sent)
			continue;
		kiln__buf_addf(&qmp->out, "{\"execute\":\"%s\"}\n", p->command);
		p->sent = true;
	}
	flush(qmp);
}

static void complete_first(struct kiln__qmp *qmp, int result, const kiln_error *err)
{
	struct pending *p = qmp->first;

	if (!p)
		return;
	qmp->first = p->next;
	if (!qmp->first)
		qmp->last = &qmp->first;
	if (p->done)
		p->done(p->data, result, err);
	free(p);
}

static void over(struct kiln__qmp *qmp)
{
	if (qmp->closed)
		return;
	qmp->closed = true;
	qmp->handler->closed(qmp->data);
}

static void on_failing(void *data)
{
	over(data);
}

static void take_error(struct kiln__qmp *qmp, const json_t *error)
{
	const char *text = json_string_value(json_object_get(error, "desc"));
	kiln_error err;

	kiln__fail(&err, KILN_EIO, "QEMU refused '%s': %s", qmp->first ? qmp->first->command : "?",
		   text ? text : "no reason given");
	complete_first(qmp, err.code, &err);
}

static bool take_message(struct kiln__qmp *qmp, const json_t *message)
{
	const char *event = json_string_value(json_object_get(message, "event"));
	const json_t *error = json_object_get(message, "error");

	if (event)
		qmp->handler->event(qmp->data, event, json_object_get(message, "data"));
	else if (error)
		take_error(qmp, error);
	else if (json_object_get(message, "return"))
		complete_first(qmp, 0, NULL);
	else if (json_object_get(message, "QMP") && !qmp->greeted) {
		qmp->greeted = true;
		send_waiting(qmp);
	} else
		return false;
	return true;
}

static bool take_line(struct kiln__qmp *qmp, const char *line, size_t len)
{
	json_t *message = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	bool good = message && take_message(qmp, message);

	json_decref(message);
	return good;
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct kiln__qmp *qmp = data;
	char *end;

	kiln__buf_add(&qmp->in, bytes, len);
	while (!qmp->closed && !qmp->in.failed && qmp->in.len &&
	       (end = memchr(qmp->in.data, '\n', qmp->in.len))) {
		size_t line = (size_t)(end - qmp->in.data);

		if (!take_line(qmp, qmp->in.data, line)) {
			kiln__deferred_schedule(qmp->failing);
			return len;
		}
		kiln__buf_drop(&qmp->in, line + 1);
	}
	if (qmp->in.failed || qmp->in.len > LINE_MAX_BYTES)
		kiln__deferred_schedule(qmp->failing);
	return len;
}

static void on_eof(void *data)
{
	over(data);
}

static void on_writable(void *data)
{
	flush(data);
}

static void on_error(void *data, const kiln_error *err)
{
	(void)err;
	over(data);
}

static const struct kiln__stream_handler stream_handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_writable = on_writable,
	.on_error = on_error,
};

int kiln__qmp_new(struct kiln__qmp **ret, kiln_loop *loop, kiln_fd socket,
		  const struct kiln__qmp_handler *handler, void *data, kiln_error *err)
{
	struct kiln__qmp *qmp = calloc(1, sizeof(*qmp));
	int r;

	if (!qmp)
		return kiln__fail_nomem(err);
	qmp->last = &qmp->first;
	qmp->handler = handler;
	qmp->data = data;
	r = kiln__deferred_new(&qmp->failing, loop, on_failing, qmp, err);
	if (r == 0)
		r = kiln__fdstream_new(&qmp->stream, loop, socket, err);
	if (r < 0) {
		kiln__deferred_free(qmp->failing);
		free(qmp);
		return r;
	}
	kiln__stream_set_handler(qmp->stream, &stream_handler, qmp);
	kiln__stream_resume(qmp->stream);
	kiln__qmp_send(qmp, "qmp_capabilities", NULL, NULL);
	*ret = qmp;
	return 0;
}

void kiln__qmp_send(struct kiln__qmp *qmp, const char *command, kiln_done_fn done, void *data)
{
	struct pending *p = qmp->closed ? NULL : calloc(1, sizeof(*p));
	kiln_error err;

	if (!p) {
		kiln__fail(&err, qmp->closed ? KILN_EDIED : KILN_ENOMEM, "cannot send '%s' to QEMU",
			   command);
		if (done)
			done(data, err.code, &err);
		return;
	}
	*p = (struct pending){.command = command, .done = done, .data = data};
	*qmp->last = p;
	qmp->last = &p->next;
	send_waiting(qmp);
}

void kiln__qmp_end(struct kiln__qmp *qmp, const kiln_error *why)
{
	qmp->closed = true;
	while (qmp->first)
		complete_first(qmp, why->code, why);
}

void kiln__qmp_free(struct kiln__qmp *qmp)
{
	kiln_error err;

	if (!qmp)
		return;
	kiln__fail(&err, KILN_ECANCELED, "QEMU: canceled");
	kiln__qmp_end(qmp, &err);
	kiln__stream_close(qmp->stream);
	kiln__deferred_free(qmp->failing);
	kiln__buf_done(&qmp->in);
	kiln__buf_done(&qmp->out);
	free(qmp);
}
