/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocking twins: an operation is begun, and the loop is run until it is over or
 * the deadline has passed. What it completes into lies on the heap, since it may
 * complete later than we have returned.
 */
#include "manager.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>

struct waiting {
	bool over;
	bool left; /* nobody waits any more: the completion frees it */
	int result;
	kiln_error err;
	char *text;
};

static struct waiting *waiting_new(kiln_error *err)
{
	struct waiting *waiting = calloc(1, sizeof(*waiting));

	if (!waiting)
		kiln__fail_nomem(err);
	return waiting;
}

static void complete(struct waiting *waiting, int result, const kiln_error *err)
{
	if (waiting->left) {
		free(waiting->text);
		free(waiting);
		return;
	}
	waiting->over = true;
	waiting->result = result;
	if (err)
		waiting->err = *err;
}

static void on_done(void *data, int result, const kiln_error *err)
{
	complete(data, result, err);
}

static void on_json(void *data, const char *json, const kiln_error *err)
{
	struct waiting *waiting = data;
	kiln_error nomem;

	waiting->text = json ? strdup(json) : NULL;
	if (json && !waiting->text) {
		kiln__fail_nomem(&nomem);
		err = &nomem;
	}
	complete(waiting, err ? err->code : 0, err);
}

static void on_deadline(void *data)
{
	*(bool *)data = true;
}

int kiln__run_until(kiln_loop *loop, const bool *over, int timeout_ms, kiln_error *err)
{
	struct kiln__timer *timer = NULL;
	bool late = false;
	int r = 0;

	if (timeout_ms >= 0 && !*over) {
		r = kiln__timer_new(&timer, loop, on_deadline, &late, err);
		if (r < 0)
			return r;
		kiln__timer_start(timer, (uint64_t)timeout_ms);
	}
	while (!*over && !late)
		kiln_loop_step(loop);
	kiln__timer_free(timer);
	return *over ? 0 : kiln__fail(err, KILN_ETIMEDOUT, "not done after %d ms", timeout_ms);
}

/* Waits for what was begun into @waiting, and frees it or leaves it to the completion. */
static int finish(kiln_vm *vm, struct waiting *waiting, int timeout_ms, char **ret_text,
		  kiln_error *err)
{
	int r = kiln__run_until(vm->manager->loop, &waiting->over, timeout_ms, err);

	if (r < 0) {
		waiting->left = true;
		return r;
	}
	r = waiting->result;
	if (r < 0 && err)
		*err = waiting->err;
	if (r == 0 && ret_text)
		*ret_text = kiln__take(waiting->text);
	free(waiting->text);
	free(waiting);
	return r;
}

int kiln_vm_start_sync(kiln_vm *vm, const kiln_start_options *options, int timeout_ms,
		       kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	kiln_vm_start(vm, options, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

int kiln_vm_wait_sync(kiln_vm *vm, enum kiln_state until, int timeout_ms, kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	kiln_vm_wait(vm, until, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

int kiln_vm_stop_sync(kiln_vm *vm, uint64_t stop_timeout_ms, int timeout_ms, kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	kiln_vm_stop(vm, stop_timeout_ms, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

int kiln_vm_restart_sync(kiln_vm *vm, uint64_t stop_timeout_ms, int timeout_ms, kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	kiln_vm_restart(vm, stop_timeout_ms, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

int kiln_vm_signal_sync(kiln_vm *vm, int number, int timeout_ms, kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	kiln_vm_signal(vm, number, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

int kiln_vm_snapshot_sync(kiln_vm *vm, const char *directory, const char *base, int timeout_ms,
			  kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	kiln_vm_snapshot(vm, directory, base, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

int kiln_vm_update_sync(kiln_vm *vm, const kiln_update *update, int timeout_ms, kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	kiln_vm_update(vm, update, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

int kiln_vm_change_sync(kiln_vm *vm, const kiln_change *change, int timeout_ms, kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	kiln_vm_change(vm, change, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

int kiln_vm_remove_sync(kiln_vm *vm, bool force, int timeout_ms, kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	kiln_vm_remove(vm, force, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

/* Those that take nothing else. */
static int plain(kiln_vm *vm, void (*fn)(kiln_vm *vm, kiln_done_fn done, void *data),
		 int timeout_ms, kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	fn(vm, on_done, waiting);
	return finish(vm, waiting, timeout_ms, NULL, err);
}

int kiln_vm_background_sync(kiln_vm *vm, int timeout_ms, kiln_error *err)
{
	return plain(vm, kiln_vm_background, timeout_ms, err);
}

int kiln_vm_kill_sync(kiln_vm *vm, int timeout_ms, kiln_error *err)
{
	return plain(vm, kiln_vm_kill, timeout_ms, err);
}

int kiln_vm_pause_sync(kiln_vm *vm, int timeout_ms, kiln_error *err)
{
	return plain(vm, kiln_vm_pause, timeout_ms, err);
}

int kiln_vm_resume_sync(kiln_vm *vm, int timeout_ms, kiln_error *err)
{
	return plain(vm, kiln_vm_resume, timeout_ms, err);
}

static int text(kiln_vm *vm, void (*fn)(kiln_vm *vm, kiln_json_fn fn, void *data), char **ret_json,
		int timeout_ms, kiln_error *err)
{
	struct waiting *waiting = waiting_new(err);

	if (!waiting)
		return KILN_ENOMEM;
	fn(vm, on_json, waiting);
	return finish(vm, waiting, timeout_ms, ret_json, err);
}

int kiln_vm_inspect_sync(kiln_vm *vm, char **ret_json, int timeout_ms, kiln_error *err)
{
	return text(vm, kiln_vm_inspect, ret_json, timeout_ms, err);
}

int kiln_vm_stats_sync(kiln_vm *vm, char **ret_json, int timeout_ms, kiln_error *err)
{
	return text(vm, kiln_vm_stats, ret_json, timeout_ms, err);
}
