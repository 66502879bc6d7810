/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on a VM: what each asks, and what its answer, or nobody's being there, means. */
#include "manager.h"

#include "change_names.h"
#include "check.h"
#include "err.h"
#include "timefmt.h"

#include <stdlib.h>
#include <string.h>

/* --- common ends ---------------------------------------------------------------------- */

static void answered_done(struct kiln__op *op, json_t *result)
{
	(void)result;
	kiln__op_finish(op, NULL);
}

/* The VM has stopped, says the runner; now that has to go. */
static void answered_then_end(struct kiln__op *op, json_t *result)
{
	(void)result;
	op->answered = true;
	kiln__op_await_end(op);
}

static void not_alive_is_fine(struct kiln__op *op, const struct kiln__vmstate *state)
{
	(void)state;
	kiln__op_finish(op, NULL);
}

/* A new operation told by @done, with @params, which are taken. NULL when out of memory: told. */
static struct kiln__op *begin(kiln_vm *vm, const struct kiln__op_kind *kind, json_t *params,
			      kiln_done_fn done, void *data)
{
	struct kiln__op *op = kiln__op_new(vm, kind, data);
	kiln_error err;

	if (!op) {
		json_decref(params);
		kiln__fail_nomem(&err);
		if (done)
			done(data, err.code, &err);
		return NULL;
	}
	op->done = done;
	op->params = params;
	return op;
}

/*
 * What the runner is told goes as JSON, which is UTF-8: other text is refused, not left out. NULL
 * is left out.
 */
static int add_text(json_t *params, const char *key, const char *text, kiln_error *err)
{
	json_t *value = text ? json_string(text) : NULL;

	if (!text)
		return 0;
	if (!value && !kiln__is_utf8(text))
		return kiln__fail(err, KILN_EINVAL, "%s: not UTF-8, which kiln cannot pass on: %s",
				  key, text);
	/* Also without @params, or memory. */
	return json_object_set_new(params, key, value) ? kiln__fail_nomem(err) : 0;
}

static void ask(kiln_vm *vm, const struct kiln__op_kind *kind, json_t *params, kiln_done_fn done,
		void *data)
{
	struct kiln__op *op = begin(vm, kind, params, done, data);

	if (op)
		kiln__op_ask(op);
}

/* The same, but for @r, which is how its parameters came about. */
static void ask_if(int r, const kiln_error *err, kiln_vm *vm, const struct kiln__op_kind *kind,
		   json_t *params, kiln_done_fn done, void *data)
{
	struct kiln__op *op = begin(vm, kind, params, done, data);

	if (op && r < 0)
		kiln__op_finish(op, err);
	else if (op)
		kiln__op_ask(op);
}

/* --- start, stop and what is like them --------------------------------------------------- */

static void not_alive_start(struct kiln__op *op, const struct kiln__vmstate *state)
{
	kiln_error err;

	if (kiln__vmstate_is_alive(state->state))
		kiln__op_finish(op, kiln__running_error(op->vm, &err));
	else
		kiln__vm_start_for(op);
}

static const struct kiln__op_kind start_kind = {NULL, NULL, not_alive_start};

void kiln_vm_start(kiln_vm *vm, const kiln_start_options *options, kiln_done_fn done, void *data)
{
	struct kiln__op *op = begin(vm, &start_kind, NULL, done, data);

	if (!op)
		return;
	if (options)
		memcpy(&op->start, options,
		       options->size < sizeof(op->start) ? options->size : sizeof(op->start));
	kiln__vm_start_for(op);
}

static const struct kiln__op_kind stop_kind = {"stop", answered_then_end, not_alive_is_fine};
static const struct kiln__op_kind kill_kind = {"kill", answered_then_end, not_alive_is_fine};
static const struct kiln__op_kind restart_kind = {"stop", answered_then_end, not_alive_start};

static json_t *stop_params(uint64_t timeout_ms)
{
	if (timeout_ms == KILN_STOP_TIMEOUT_CONFIGURED)
		return NULL;
	if (timeout_ms > INT64_MAX)
		timeout_ms = INT64_MAX;
	return json_pack("{s:I}", "timeout", (json_int_t)timeout_ms);
}

void kiln_vm_stop(kiln_vm *vm, uint64_t timeout_ms, kiln_done_fn done, void *data)
{
	ask(vm, &stop_kind, stop_params(timeout_ms), done, data);
}

void kiln_vm_kill(kiln_vm *vm, kiln_done_fn done, void *data)
{
	ask(vm, &kill_kind, NULL, done, data);
	kiln__start_cancel(vm->start);
}

void kiln_vm_restart(kiln_vm *vm, uint64_t timeout_ms, kiln_done_fn done, void *data)
{
	ask(vm, &restart_kind, stop_params(timeout_ms), done, data);
}

static void answered_background(struct kiln__op *op, json_t *result)
{
	op->vm->foreground = false;
	answered_done(op, result);
}

static void not_alive_background(struct kiln__op *op, const struct kiln__vmstate *state)
{
	kiln__fail_not_alive(op, state);
}

static const struct kiln__op_kind background_kind = {"background", answered_background,
						     not_alive_background};

void kiln_vm_background(kiln_vm *vm, kiln_done_fn done, void *data)
{
	ask(vm, &background_kind, NULL, done, data);
}

/* --- wait ---------------------------------------------------------------------------- */

static void answered_wait(struct kiln__op *op, json_t *result)
{
	if (op->until == KILN_STATE_STOPPED)
		answered_then_end(op, result);
	else
		kiln__op_finish(op, NULL);
}

static void not_alive_wait(struct kiln__op *op, const struct kiln__vmstate *state)
{
	kiln_error err;

	if (op->until == KILN_STATE_STOPPED && state->state != KILN_STATE_CREATED) {
		kiln__op_finish(op, NULL);
		return;
	}
	kiln__not_alive_error(state, &err);
	kiln__op_finish(op, &err);
}

static const struct kiln__op_kind wait_kind = {"wait", answered_wait, not_alive_wait};

void kiln_vm_wait(kiln_vm *vm, enum kiln_state until, kiln_done_fn done, void *data)
{
	struct kiln__op *op = begin(
		vm, &wait_kind, json_pack("{s:s}", "until", kiln_state_name(until)), done, data);

	if (!op)
		return;
	op->until = until;
	if (until == KILN_STATE_STOPPED && vm->end)
		kiln__op_await_end(op); /* its end is being watched for: nobody need be asked */
	else if (until == KILN_STATE_RUNNING || until == KILN_STATE_READY ||
		 until == KILN_STATE_STOPPED)
		kiln__op_ask(op);
	else
		kiln__op_fail(op, KILN_EINVAL, "a VM cannot be waited for until it is \"%s\"",
			      kiln_state_name(until));
}

struct kiln__op *kiln__vm_wait_end(kiln_vm *vm, kiln_done_fn done, void *data)
{
	struct kiln__op *op = kiln__op_new(vm, &wait_kind, data);

	if (!op)
		return NULL;
	op->done = done;
	op->until = KILN_STATE_STOPPED;
	op->params = json_pack("{s:s}", "until", kiln_state_name(KILN_STATE_STOPPED));
	if (vm->end)
		kiln__op_await_end(op);
	else
		kiln__op_ask(op);
	return op;
}

/* --- signal, pause, resume ----------------------------------------------------------- */

static const struct kiln__op_kind signal_kind = {"signal", answered_done, kiln__fail_not_alive};
static const struct kiln__op_kind snapshot_kind = {"snapshot", answered_done, kiln__fail_not_alive};
static const struct kiln__op_kind update_kind = {"update", answered_done, kiln__fail_not_alive};
static const struct kiln__op_kind change_kind = {"change", answered_done, kiln__fail_not_alive};
static const struct kiln__op_kind pause_kind = {"pause", answered_done, kiln__fail_not_alive};
static const struct kiln__op_kind resume_kind = {"resume", answered_done, kiln__fail_not_alive};

void kiln_vm_signal(kiln_vm *vm, int number, kiln_done_fn done, void *data)
{
	ask(vm, &signal_kind, json_pack("{s:i}", "signal", number), done, data);
}

void kiln_vm_pause(kiln_vm *vm, kiln_done_fn done, void *data)
{
	ask(vm, &pause_kind, NULL, done, data);
}

void kiln_vm_snapshot(kiln_vm *vm, const char *directory, const char *base, kiln_done_fn done,
		      void *data)
{
	json_t *params = json_object();
	kiln_error err;
	int r = add_text(params, "directory", directory, &err);

	if (r == 0)
		r = add_text(params, "base", base, &err);
	ask_if(r, &err, vm, &snapshot_kind, params, done, data);
}

static int add_number(json_t *params, const char *key, uint64_t value, kiln_error *err)
{
	return json_object_set_new(params, key, json_integer((json_int_t)value))
		       ? kiln__fail_nomem(err)
		       : 0;
}

static int add_update(json_t *params, const kiln_update *update, kiln_error *err)
{
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{"cpus", update->cpus}, {"memory", update->memory}, {"balloon", update->balloon}};
	int r = add_text(params, "config", update->config, err);

	for (size_t i = 0; r == 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (numbers[i].value != KILN_UPDATE_KEEP)
			r = add_number(params, numbers[i].key, numbers[i].value, err);
	return r;
}

void kiln_vm_update(kiln_vm *vm, const kiln_update *update, kiln_done_fn done, void *data)
{
	kiln_update whole = KILN_UPDATE_INIT;
	json_t *params = json_object();
	kiln_error err;
	int r;

	memcpy(&whole, update, update->size < sizeof(whole) ? update->size : sizeof(whole));
	r = add_update(params, &whole, &err);
	ask_if(r, &err, vm, &update_kind, params, done, data);
}

/* Text that is to be an object; what is none is refused by the runner. */
static int add_object(json_t *params, const char *key, const char *text, kiln_error *err)
{
	json_t *value =
		text ? json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL) : NULL;

	if (!value)
		return add_text(params, key, text, err);
	return json_object_set_new(params, key, value) ? kiln__fail_nomem(err) : 0;
}

void kiln_vm_change(kiln_vm *vm, const kiln_change *change, kiln_done_fn done, void *data)
{
	kiln_change whole = KILN_CHANGE_INIT;
	json_t *params = json_object();
	kiln_error err;
	int r;

	memcpy(&whole, change, change->size < sizeof(whole) ? change->size : sizeof(whole));
	r = add_text(params, "change", kiln__change_name(whole.kind), &err);
	if (r == 0)
		r = add_text(params, "device", whole.device, &err);
	if (r == 0)
		r = add_text(params, "id", whole.id, &err);
	if (r == 0)
		r = add_text(params, "file", whole.file, &err);
	if (r == 0)
		r = add_object(params, "config", whole.config, &err);
	if (r == 0)
		r = add_object(params, "own", whole.own, &err);
	if (r == 0)
		r = add_number(params, "bytes", whole.bytes, &err);
	ask_if(r, &err, vm, &change_kind, params, done, data);
}

void kiln_vm_resume(kiln_vm *vm, kiln_done_fn done, void *data)
{
	ask(vm, &resume_kind, NULL, done, data);
}

/* --- remove -------------------------------------------------------------------------- */

static void remove_now(struct kiln__op *op)
{
	kiln_error err;
	int r = kiln__vmdir_remove(&op->vm->manager->home, op->vm->dir->id, &err);

	if (r == KILN_EBUSY && !err.hint[0])
		kiln__hint(&err, "stop it first, or remove it by force");
	kiln__op_finish(op, r < 0 ? &err : NULL);
}

static void not_alive_remove(struct kiln__op *op, const struct kiln__vmstate *state)
{
	(void)state;
	remove_now(op);
}

static const struct kiln__op_kind remove_kind = {"kill", answered_then_end, not_alive_remove};

void kiln_vm_remove(kiln_vm *vm, bool force, kiln_done_fn done, void *data)
{
	struct kiln__vmstate state;
	struct kiln__op *op = begin(vm, &remove_kind, NULL, done, data);

	if (!op)
		return;
	if (force) {
		kiln__op_ask(op);
		kiln__start_cancel(vm->start);
	} else if (kiln__vmdir_status(vm->dir, &state, NULL, NULL) == 1 &&
		   !kiln__vmstate_is_alive(state.state)) {
		kiln__op_await_end(op); /* it has ended, and its runner is about to go */
	} else {
		remove_now(op);
	}
}

/* --- inspect and stats --------------------------------------------------------------- */

static int read_document(const struct kiln__vmdir *dir, json_t **ret, kiln_error *err)
{
	kiln__autofree char *config = NULL;
	json_error_t why;
	int r = kiln__vmdir_read_config(dir, &config, err);

	if (r < 0)
		return r;
	*ret = json_loads(config, 0, &why);
	if (*ret)
		return 0;
	if (json_error_code(&why) == json_error_out_of_memory)
		return kiln__fail_nomem(err);
	kiln__fail(err, KILN_EFORMAT, "%s/config.json is damaged: line %d: %s", dir->path, why.line,
		   why.text);
	kiln__hint(err, "mend it, or remove the VM");
	return KILN_EFORMAT;
}

/* The state, as the runner or the disk has it, and what is fixed for life; takes @state. */
static int describe(const struct kiln__vmdir *dir, json_t *state, char **ret, kiln_error *err)
{
	static const char *const pids[] = {"pid", "vmm_pid"};
	char created[KILN__TIME_TEXT];
	json_t *document;
	int failed = 0;
	int r = read_document(dir, &document, err);

	if (r < 0) {
		json_decref(state);
		return r;
	}
	kiln__time_format(dir->created_ns, created);
	for (size_t i = 0; i < sizeof(pids) / sizeof(pids[0]); i++)
		if (json_integer_value(json_object_get(state, pids[i])) == 0)
			failed |= json_object_set_new(state, pids[i], json_null());
	failed |= json_object_set_new(state, "id", json_string(dir->id));
	failed |= json_object_set_new(state, "name",
				      dir->name ? json_string(dir->name) : json_null());
	failed |= json_object_set_new(state, "ephemeral", json_boolean(dir->ephemeral));
	failed |= json_object_set_new(state, "created", json_string(created));
	failed |= json_object_set_new(state, "directory", json_string(dir->path));
	failed |= json_object_set_new(state, "config", document);
	*ret = failed ? NULL : json_dumps(state, JSON_INDENT(2));
	json_decref(state);
	return *ret ? 0 : kiln__fail_nomem(err);
}

static void answered_inspect(struct kiln__op *op, json_t *result)
{
	kiln_error err;

	if (!json_is_object(result))
		kiln__op_fail(op, KILN_EPROTO, "the runner's answer to \"inspect\" is no object");
	else if (describe(op->vm->dir, json_incref(result), &op->text, &err) < 0)
		kiln__op_finish(op, &err);
	else
		kiln__op_finish(op, NULL);
}

static void not_alive_inspect(struct kiln__op *op, const struct kiln__vmstate *state)
{
	const char *name = kiln_state_name(state->state);
	kiln_error err;
	json_t *object;
	int r = kiln__vmdir_read_state(op->vm->dir, &object, &err);

	if (r == 0) {
		json_object_set_new(object, "state", json_string(name));
		json_object_set_new(object, "pid", json_integer(state->pid));
		json_object_set_new(object, "vmm_pid", json_integer(state->vmm_pid));
		r = describe(op->vm->dir, object, &op->text, &err);
	}
	kiln__op_finish(op, r < 0 ? &err : NULL);
}

static void answered_stats(struct kiln__op *op, json_t *result)
{
	op->text = json_dumps(result, JSON_INDENT(2) | JSON_ENCODE_ANY);
	if (op->text)
		kiln__op_finish(op, NULL);
	else
		kiln__op_fail(op, KILN_ENOMEM, "out of memory");
}

static const struct kiln__op_kind inspect_kind = {"inspect", answered_inspect, not_alive_inspect};
static const struct kiln__op_kind stats_kind = {"stats", answered_stats, kiln__fail_not_alive};

static void ask_json(kiln_vm *vm, const struct kiln__op_kind *kind, kiln_json_fn fn, void *data)
{
	struct kiln__op *op = kiln__op_new(vm, kind, data);
	kiln_error err;

	if (!op) {
		kiln__fail_nomem(&err);
		fn(data, NULL, &err);
		return;
	}
	op->json = fn;
	kiln__op_ask(op);
}

void kiln_vm_inspect(kiln_vm *vm, kiln_json_fn fn, void *data)
{
	ask_json(vm, &inspect_kind, fn, data);
}

void kiln_vm_stats(kiln_vm *vm, kiln_json_fn fn, void *data)
{
	ask_json(vm, &stats_kind, fn, data);
}
