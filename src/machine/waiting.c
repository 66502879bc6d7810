/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations that wait for something: each names the kind of event that completes it. Every
 * completion goes through a queue that one deferred call empties, so that none runs inside the call
 * that began the operation. On the loop's thread.
 */
#include "instance.h"

#include "err.h"

#include <stdlib.h>

struct kiln__waiting {
	struct kiln__waiting *next;
	enum kiln__waits waits;
	kiln_done_fn done;
	void *data;
	kiln_error err; /* code 0: success */
};

static void append(struct kiln__waiting **list, struct kiln__waiting *op)
{
	while (*list)
		list = &(*list)->next;
	op->next = NULL;
	*list = op;
}

static void complete(kiln_machine *m, struct kiln__waiting *op, const kiln_error *err)
{
	op->waits = KILN__WAITS_NOTHING;
	op->err = err ? *err : (kiln_error)KILN_ERROR_INIT;
	append(&m->queue, op);
	kiln__deferred_schedule(m->teller);
}

void kiln__waiting_complete(kiln_machine *m, enum kiln__waits waits, const kiln_error *err)
{
	struct kiln__waiting **at = &m->ops;

	while (*at) {
		struct kiln__waiting *op = *at;

		if (op->waits != waits) {
			at = &op->next;
			continue;
		}
		*at = op->next;
		complete(m, op, err);
	}
}

bool kiln__waiting_any(const kiln_machine *m, enum kiln__waits waits)
{
	for (const struct kiln__waiting *op = m->ops; op; op = op->next)
		if (op->waits == waits)
			return true;
	return false;
}

void kiln__waiting_tell(void *data)
{
	kiln_machine *m = data;
	bool freed = false;

	m->freed = &freed;
	while (m->queue) {
		struct kiln__waiting *op = m->queue;

		m->queue = op->next;
		if (op->done)
			op->done(op->data, op->err.code, op->err.code ? &op->err : NULL);
		free(op);
		if (freed)
			return;
	}
	m->freed = NULL;
}

struct kiln__waiting *kiln__waiting_new(kiln_machine *m, enum kiln__waits waits, kiln_done_fn done,
					void *data)
{
	struct kiln__waiting *op = calloc(1, sizeof(*op));
	kiln_error err;

	if (!op) {
		kiln__fail_nomem(&err);
		if (done)
			done(data, err.code, &err);
		return NULL;
	}
	op->waits = waits;
	op->done = done;
	op->data = data;
	append(&m->ops, op);
	return op;
}

void kiln__waiting_answer(kiln_machine *m, kiln_done_fn done, void *data, const kiln_error *err)
{
	struct kiln__waiting *op = kiln__waiting_new(m, KILN__WAITS_NOTHING, done, data);

	if (op)
		kiln__waiting_complete(m, KILN__WAITS_NOTHING, err);
}

void kiln__waiting_refuse(kiln_machine *m, const char *what, kiln_done_fn done, void *data)
{
	kiln_error err;

	kiln__fail(&err, KILN_ESTATE, "cannot %s a machine that is %s", what,
		   kiln_state_name(m->state));
	kiln__waiting_answer(m, done, data, &err);
}
