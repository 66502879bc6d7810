/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operations have in common: asking the runner, being answered or finding that
 * nobody is there, and telling the user.
 */
#include "manager.h"

#include "buf.h"
#include "err.h"
#include "fdstream.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A connection for which a runner has no room is tried again, with growing pauses, for about ten
 * seconds. */
#define BUSY_MS        UINT64_C(10)
#define BUSY_TRIES_MAX 20

/* --- life ------------------------------------------------------------------------------- */

struct kiln__op *kiln__op_new(kiln_vm *vm, const struct kiln__op_kind *kind, void *data)
{
	struct kiln__op *op = calloc(1, sizeof(*op));
	struct kiln__op **at;

	if (!op)
		return NULL;
	op->vm = vm;
	op->kind = kind;
	op->data = data;
	for (at = &vm->ops; *at; at = &(*at)->next)
		;
	*at = op;
	return op;
}

static void unlink_op(struct kiln__op *op)
{
	struct kiln__op **at = &op->vm->ops;

	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
}

/* Forgets the request, if one is under way. */
static void unask(struct kiln__op *op)
{
	kiln_vm *vm = op->vm;

	if (op->own) {
		kiln__control_free(kiln__take(op->own));
	} else if (op->number && op->lifeline) {
		/* It is to become a stream that nobody wants: the runner must not wait for its
		 * reader. */
		kiln__control_free(kiln__take(vm->lifeline));
	} else if (op->number && vm->control) {
		kiln__control_forget(vm->control, op->number);
	}
	op->number = 0;
}

static void release(struct kiln__op *op)
{
	unask(op);
	kiln__timer_free(op->patience);
	kiln__timer_free(op->again);
	json_decref(op->params);
	kiln__stream_close(op->got);
	free(op->text);
	free(op);
}

void kiln__op_drop(struct kiln__op *op)
{
	unlink_op(op);
	release(op);
}

static void tell_stream(struct kiln__op *op, const kiln_error *err)
{
	kiln_stream *stream = NULL;
	kiln_error nomem;

	if (op->got) {
		stream = kiln__stream_wrap(op->got);
		if (stream)
			op->got = NULL;
		else
			kiln__fail_nomem(&nomem);
	}
	op->public_stream(op->data, stream, op->got ? &nomem : err);
}

/* Takes it off the list and tells its user. The VM may be gone afterwards, unless held. */
static void tell(struct kiln__op *op)
{
	const kiln_error *err = op->failed ? &op->err : NULL;

	unlink_op(op);
	if (op->json)
		op->json(op->data, op->text, err);
	else if (op->stream)
		op->stream(op->data, kiln__take(op->got), err);
	else if (op->public_stream)
		tell_stream(op, err);
	else if (op->done)
		op->done(op->data, err ? err->code : 0, err);
	release(op);
}

void kiln__ops_tell(void *data)
{
	kiln_vm *vm = data;
	struct kiln__op *op = vm->ops;

	kiln__vm_hold(vm);
	while (op) {
		if (op->phase == KILN__OP_OVER) {
			tell(op);
			op = vm->ops; /* the callback may have changed the list */
		} else {
			op = op->next;
		}
	}
	kiln__vm_let_go(vm);
}

void kiln__op_finish(struct kiln__op *op, const kiln_error *err)
{
	unask(op);
	op->phase = KILN__OP_OVER;
	if (err) {
		op->failed = true;
		op->err = *err;
	}
	kiln__deferred_schedule(op->vm->teller);
}

void kiln__op_fail(struct kiln__op *op, int code, const char *fmt, ...)
{
	kiln_error err = {.code = code};
	va_list args;

	va_start(args, fmt);
	vsnprintf(err.message, sizeof(err.message), fmt, args);
	va_end(args);
	kiln__op_finish(op, &err);
}

void kiln__ops_cancel(kiln_vm *vm)
{
	while (vm->ops) {
		struct kiln__op *op = vm->ops;

		if (op->phase != KILN__OP_OVER) {
			unask(op);
			op->failed = true;
			kiln__fail(&op->err, KILN_ECANCELED, "the VM's handle was freed");
		}
		tell(op);
	}
}

/* --- nobody there --------------------------------------------------------------------------- */

void kiln__not_alive_error(const struct kiln__vmstate *state, kiln_error *ret)
{
	if (state->state == KILN_STATE_FAILED && state->failure.message[0]) {
		*ret = state->failure;
		kiln__prefix(ret, "the VM has failed");
		return;
	}
	if (kiln__vmstate_is_alive(state->state)) {
		kiln__fail(ret, KILN_EDIED, "the VM has ended meanwhile");
		return;
	}
	kiln__fail(ret, KILN_ESTATE, "the VM is %s",
		   state->state == KILN_STATE_CREATED ? "not started"
						      : kiln_state_name(state->state));
	kiln__hint(ret, "start it first");
}

void kiln__fail_not_alive(struct kiln__op *op, const struct kiln__vmstate *state)
{
	kiln_error err;

	kiln__not_alive_error(state, &err);
	if (err.code != KILN_EDIED)
		err.code = KILN_ESTATE;
	kiln__op_finish(op, &err);
}

/* The VM cannot be looked at because of @err. One that a runner was asked about, and that is no
 * more, has ended, and was removed: by its end, or by another. */
static void lost_sight(struct kiln__op *op, const kiln_error *err)
{
	if (err->code == KILN_ENOENT && op->asked)
		op->kind->not_alive(op, &(struct kiln__vmstate){.state = KILN_STATE_STOPPED});
	else
		kiln__op_finish(op, err);
}

void kiln__op_await_end(struct kiln__op *op)
{
	kiln_error err;

	unask(op);
	op->phase = KILN__OP_WAITS_END;
	if (kiln__end_await(op->vm, &err) < 0)
		lost_sight(op, &err);
}

void kiln__ops_runner_gone(kiln_vm *vm)
{
	struct kiln__vmstate state;
	kiln_error err;
	int r = kiln__vmdir_status(vm->dir, &state, NULL, &err);
	struct kiln__op *next;

	for (struct kiln__op *op = vm->ops; op; op = next) {
		next = op->next;
		if (op->phase != KILN__OP_WAITS_END)
			continue;
		if (r < 0)
			lost_sight(op, &err);
		else if (r > 0 && !op->answered)
			kiln__op_ask(
				op); /* somebody has started it again: it is that which is meant */
		else
			op->kind->not_alive(op, &state);
	}
}

void kiln__ops_go_on(kiln_vm *vm)
{
	struct kiln__op *next;

	for (struct kiln__op *op = vm->ops; op; op = next) {
		next = op->next;
		if (op->phase == KILN__OP_WAITS_START)
			kiln__op_ask(op);
	}
}

/* --- asking -------------------------------------------------------------------------- */

static void on_control_closed(void *data, const kiln_error *err)
{
	kiln_vm *vm = data;

	/* Its requests have been told already. The next operation connects anew. */
	(void)err;
	kiln__control_free(kiln__take(vm->control));
}

const struct kiln__control_handler kiln__vm_control_handler = {.on_closed = on_control_closed};

/* A connection for one request tells its end through that. */
static const struct kiln__control_handler own_handler = {0};

static void on_still_there(void *data)
{
	struct kiln__op *op = data;

	if (op->phase == KILN__OP_WAITS_END)
		kiln__op_fail(op, KILN_EDIED,
			      "the VM's runner has cut the connection, but goes on running");
}

/*
 * The connection ends with the runner, whose end is then waited for: only what is recorded
 * is the truth. But one that has only cut the connection is not waited for for ever.
 */
static void on_lost(struct kiln__op *op, const struct kiln__control *control, const kiln_error *err)
{
	if (!control || !kiln__control_has_ended(control) || err->code != KILN_EDIED) {
		kiln__op_finish(op, err);
		return;
	}
	/* It may be the second runner that this operation has lost. */
	if (op->patience ||
	    kiln__timer_new(&op->patience, op->vm->manager->loop, on_still_there, op, NULL) == 0)
		kiln__timer_start(op->patience, KILN__RUNNER_END_MS);
	kiln__op_await_end(op);
}

static void on_answer(void *data, json_t *result, const kiln_error *err)
{
	struct kiln__op *op = data;

	op->number = 0;
	if (err)
		on_lost(op, op->vm->control, err);
	else
		op->kind->answered(op, result);
}

static void on_raw(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct kiln__op *op = data;
	kiln_vm *vm = op->vm;

	op->number = 0;
	if (err) {
		on_lost(op, op->own ? op->own : vm->lifeline, err);
		return;
	}
	/* The connection has become the stream, which may speak at any time: it is given on at
	 * once. */
	if (op->own)
		op->own = NULL;
	else
		vm->lifeline = NULL;
	op->got = stream;
	kiln__vm_hold(vm);
	tell(op);
	kiln__vm_let_go(vm);
}

static bool wants_stream(const struct kiln__op *op)
{
	return op->stream || op->public_stream;
}

static int connect_runner(kiln_vm *vm, const struct kiln__control_handler *handler, void *data,
			  struct kiln__control **ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/control.sock", vm->dir->runtime);
	kiln__cleanup(kiln__stream_close_autop) struct kiln__stream *stream = NULL;
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	/* Whoever listens there is sent what the guest is to do: only this user may have made it.
	 */
	r = kiln__vmdir_check_runtime(vm->dir, err);
	if (r == 0)
		r = kiln__os_local_try_connect(&fd, path, err);
	if (r == 0)
		r = kiln__os_check_peer(fd, err);
	if (r == 0)
		r = kiln__fdstream_new(&stream, vm->manager->loop, fd, err);
	if (r < 0)
		return r;
	kiln__take_fd(&fd);
	r = kiln__control_new(ret, vm->manager->loop, stream, false, handler, data, err);
	if (r == 0)
		kiln__take(stream);
	return r;
}

/* The connection that @op is to ask on. */
static int reach(struct kiln__op *op, struct kiln__control **ret, kiln_error *err)
{
	kiln_vm *vm = op->vm;
	int r = 0;

	if (wants_stream(op) && op->lifeline && vm->lifeline) {
		*ret = vm->lifeline;
	} else if (wants_stream(op)) {
		op->lifeline = false;
		r = connect_runner(vm, &own_handler, NULL, &op->own, err);
		*ret = op->own;
	} else {
		if (!vm->control || kiln__control_has_ended(vm->control)) {
			kiln__control_free(kiln__take(vm->control));
			r = connect_runner(vm, &kiln__vm_control_handler, vm, &vm->control, err);
		}
		*ret = vm->control;
	}
	return r;
}

/*
 * Nobody listens. Either there is no runner; or another process is just starting one;
 * or there is one that has seen its VM end and is about to go itself.
 */
static void find_out(struct kiln__op *op)
{
	struct kiln__vmstate state;
	kiln_error err;
	int alive = kiln__vmdir_status(op->vm->dir, &state, NULL, &err);
	int r;

	if (alive < 0) {
		lost_sight(op, &err);
		return;
	}
	if (!alive) {
		op->kind->not_alive(op, &state);
		return;
	}
	op->phase = KILN__OP_WAITS_END;
	op->unreached = true;
	r = kiln__end_await_socket(op->vm, &err);
	if (r < 0)
		kiln__op_finish(op, &err);
	else if (r > 0)
		kiln__op_ask(op); /* it may have begun to listen before it was looked for */
}

void kiln__ops_reach_again(kiln_vm *vm)
{
	struct kiln__op *next;

	for (struct kiln__op *op = vm->ops; op; op = next) {
		next = op->next;
		if (op->phase == KILN__OP_WAITS_END && op->unreached)
			kiln__op_ask(op);
	}
}

static void on_again(void *data)
{
	struct kiln__op *op = data;

	if (op->phase == KILN__OP_WAITS_ROOM)
		kiln__op_ask(op);
}

/*
 * More wait for the runner than it keeps in its queue: it is stopped, or very busy. Nothing
 * tells when there is room.
 */
static void ask_again(struct kiln__op *op, const kiln_error *err)
{
	kiln_error own;

	if (op->busy_tries == BUSY_TRIES_MAX) {
		kiln__op_finish(op, err);
		return;
	}
	if (!op->again &&
	    kiln__timer_new(&op->again, op->vm->manager->loop, on_again, op, &own) < 0) {
		kiln__op_finish(op, &own);
		return;
	}
	op->phase = KILN__OP_WAITS_ROOM;
	kiln__timer_start(op->again, BUSY_MS << (op->busy_tries < 6 ? op->busy_tries : 6));
	op->busy_tries++;
}

void kiln__op_ask(struct kiln__op *op)
{
	struct kiln__control_request request = {.method = op->kind->method, .data = op};
	struct kiln__control *control;
	kiln_error err;
	int r;

	if (op->vm->start) {
		op->phase = KILN__OP_WAITS_START;
		return;
	}
	r = reach(op, &control, &err);
	if (r == KILN_ENOENT || r == KILN_EDIED) {
		find_out(op);
		return;
	}
	if (r == KILN_EBUSY) {
		ask_again(op, &err);
		return;
	}
	op->unreached = false;
	if (op->patience)
		kiln__timer_stop(op->patience);
	if (r == 0) {
		op->phase = KILN__OP_ASKED;
		request.params = json_incref(op->params);
		if (wants_stream(op))
			request.raw = on_raw;
		else
			request.answer = on_answer;
		r = kiln__control_request(control, &request, &op->number, &err);
		op->asked |= r == 0;
	}
	if (r < 0)
		kiln__op_finish(op, &err);
}
