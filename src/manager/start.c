/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing a runner up: what it needs is resolved, on a thread where that takes time; the VM's lock
 * is taken, the runner is spawned with one end of a socket pair and the lock, and told what to run.
 *
 * Until the runner has answered, this process holds the lock too: should the runner
 * fail, nobody can get between its end and the record of why. From its answer on
 * the lock is the runner's alone.
 *
 * In the background the launch connection becomes the one that operations share. In
 * the foreground it is the VM's lifeline: whoever attaches first gets it.
 */
#include "manager.h"

#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "handle.h"
#include "log.h"
#include "resolve.h"
#include "timefmt.h"

#include <stdlib.h>
#include <string.h>

/* The runner's descriptors, docs/control-protocol.md. */
#define FD_LAUNCH 3
#define FD_LOCK   4

struct kiln__start {
	kiln_vm *vm;
	struct kiln__op *op;
	bool foreground;
	bool attach;
	struct kiln__kvm_verdict kvm;
	char *config; /* the document, */
	json_t *doc;  /* parsed */
	struct kiln__resolving *resolving;
	kiln_fd life;
	struct kiln__child *runner;
	struct kiln__timer *patience;
	kiln_error why; /* once it has failed */
};

static void release(struct kiln__start *start)
{
	start->vm->start = NULL;
	free(start->config);
	json_decref(start->doc);
	kiln__resolving_abandon(start->resolving);
	kiln__os_close(start->life);
	kiln__child_free(start->runner);
	kiln__timer_free(start->patience);
	free(start);
}

void kiln__start_abandon(struct kiln__start *start)
{
	struct kiln__exit how;

	if (!start)
		return;
	if (start->foreground && start->runner) {
		kiln__control_free(kiln__take(start->vm->lifeline));
		if (kiln__child_wait(start->runner, KILN__RUNNER_END_MS, &how, NULL) < 0)
			kiln__child_kill(start->runner);
	}
	release(start);
}

/* --- failing ------------------------------------------------------------------------------ */

/* No runner runs: records why, and tells. */
static void fail_now(struct kiln__start *start)
{
	kiln_vm *vm = start->vm;
	struct kiln__op *op = start->op;
	kiln_error why = start->why;
	kiln_error err;
	int r = 0;

	/* What failed before the lock was taken is the VM's failure too, unless somebody else runs
	 * it. */
	if (start->life == KILN_FD_NONE)
		kiln__vmdir_take(vm->dir, &start->life, NULL);
	if (start->life != KILN_FD_NONE)
		r = kiln__vmdir_record_failure(vm->dir, &why, &err);
	if (r < 0)
		kiln__log(&vm->manager->home.log, KILN_LOG_WARN,
			  "VM %s: cannot record why it failed: %s", vm->dir->id, err.message);
	release(start);
	kiln__vmdir_settle(&vm->manager->home, vm->dir->id, false, true, NULL);
	kiln__op_finish(op, &why);
	kiln__ops_go_on(vm);
}

static void on_runner_gone(void *data, struct kiln__exit how)
{
	(void)how;
	fail_now(data);
}

static void on_impatient(void *data)
{
	struct kiln__start *start = data;

	kiln__child_kill(start->runner);
}

/* The runner, if there is one, goes when its launch connection does. */
static void fail(struct kiln__start *start, const kiln_error *why)
{
	kiln_vm *vm = start->vm;

	start->why = *why;
	kiln__stage(&start->why, "launch");
	kiln__control_free(kiln__take(vm->control));
	kiln__control_free(kiln__take(vm->lifeline));
	if (!start->runner ||
	    kiln__child_watch(start->runner, vm->manager->loop, on_runner_gone, start, NULL) < 0) {
		if (start->runner)
			kiln__child_kill(start->runner);
		fail_now(start);
		return;
	}
	if (kiln__timer_new(&start->patience, vm->manager->loop, on_impatient, start, NULL) == 0)
		kiln__timer_start(start->patience, KILN__RUNNER_END_MS);
}

void kiln__start_cancel(struct kiln__start *start)
{
	kiln_error why;

	if (!start || start->why.code)
		return;
	kiln__fail(&why, KILN_ECANCELED, "the VM was killed while it was being started");
	kiln__resolving_abandon(kiln__take(start->resolving));
	/* Nothing of the guest runs yet: there is nothing to be ended with care. */
	if (start->runner)
		kiln__child_kill(start->runner);
	fail(start, &why);
}

/* --- the runner's program ------------------------------------------------------------------- */

static int spawn(struct kiln__start *start, kiln_fd launch, kiln_error *err)
{
	const char *const argv[] = {"kiln-runner", start->vm->dir->id, NULL};
	const struct kiln__spawn_fd fds[] = {{launch, FD_LAUNCH}, {start->life, FD_LOCK}};
	struct kiln__spawn spawn = {
		.path = start->vm->manager->runner,
		.argv = argv,
		.fds = fds,
		.fd_count = sizeof(fds) / sizeof(fds[0]),
		.new_session = true,
		.detached = !start->foreground,
	};
	kiln__autofree char *found = NULL;

	if (!spawn.path) {
		int r = kiln__os_find_helper(&found, "kiln-runner", "KILN_RUNNER", err);

		if (r < 0)
			return r;
		spawn.path = found;
	}
	return kiln__child_spawn(&start->runner, &spawn, err);
}

/* --- the launch ---------------------------------------------------------------------- */

static void on_lifeline_closed(void *data, const kiln_error *err)
{
	kiln_vm *vm = data;

	(void)err;
	kiln__control_free(kiln__take(vm->lifeline));
}

static const struct kiln__control_handler lifeline_handler = {.on_closed = on_lifeline_closed};

static void on_launched(void *data, json_t *result, const kiln_error *err)
{
	struct kiln__start *start = data;
	kiln_vm *vm = start->vm;
	struct kiln__op *op = start->op;
	kiln_error died;

	(void)result;
	if (err && err->code == KILN_EDIED &&
	    kiln__control_has_ended(start->foreground ? vm->lifeline : vm->control)) {
		kiln__fail(&died, KILN_EDIED, "the runner died while it was starting the VM");
		kiln__hint(&died, "see the VM's runner.log");
		err = &died;
	}
	if (err) {
		fail(start, err);
		return;
	}
	vm->foreground = start->foreground;
	if (kiln__end_watch_child(vm, start->runner, NULL) == 0)
		start->runner = NULL;
	release(start);
	kiln__op_finish(op, NULL);
	kiln__ops_go_on(vm);
}

static bool utf8(const char *text)
{
	json_t *string = json_string(text);
	bool good = string != NULL;

	json_decref(string);
	return good;
}

/* A new reference: true, why not, or false where nobody has asked. */
static json_t *kvm_json(const struct kiln__kvm_verdict *kvm)
{
	if (kvm->known && kvm->why.code)
		return kiln__control_error_json(&kvm->why);
	return json_boolean(kvm->known);
}

/*
 * A runner that is told the root made of an image has no use for the image's name, which takes its
 * time to be printed, sent and parsed. The document is nobody else's by now.
 */
static void leave_out_image(json_t *doc, const json_t *resolved)
{
	json_t *root = json_object_get(doc, "root");

	if (!json_object_get(resolved, "root"))
		return;
	json_object_del(root, "image");
	json_object_del(root, "image_applied");
}

/* What the runner is told. A new reference. */
static int launch_params(const struct kiln__start *start, json_t *resolved, json_t **ret,
			 kiln_error *err)
{
	const struct kiln__vmdir *dir = start->vm->dir;
	char created[KILN__TIME_TEXT];

	kiln__time_format(dir->created_ns, created);
	*ret = json_pack("{s:s, s:s*, s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:o, s:O, s:O}", "id",
			 dir->id, "name", dir->name, "created", created, "dir", dir->path,
			 "runtime_dir", dir->runtime, "foreground", start->foreground, "attach",
			 start->attach, "ephemeral", dir->ephemeral, "recorded", true, "kvm",
			 kvm_json(&start->kvm), "config", start->doc, "resolved", resolved);
	if (*ret)
		return 0;
	if (!utf8(dir->path) || !utf8(dir->runtime))
		return kiln__fail(
			err, KILN_EINVAL,
			"the path of the VM's directory is not UTF-8, which kiln cannot pass "
			"on: %s",
			utf8(dir->path) ? dir->runtime : dir->path);
	return kiln__fail_nomem(err);
}

/* Makes @fd, our end of the pair, the connection that the launch is asked for on. Takes @fd. */
static int ask(struct kiln__start *start, kiln_fd fd, json_t *params, kiln_error *err)
{
	kiln__cleanup(kiln__stream_close_autop) struct kiln__stream *stream = NULL;
	kiln_vm *vm = start->vm;
	struct kiln__control **control = start->foreground ? &vm->lifeline : &vm->control;
	struct kiln__control_request request = {
		.method = "launch",
		.params = params,
		.eager = true,
		.answer = on_launched,
		.data = start,
	};
	/* The message may be longer than the socket's buffer, and its reader be stopped. */
	int r = kiln__os_set_nonblocking(fd, true, err);

	if (r == 0)
		r = kiln__fdstream_new_unwatched(&stream, vm->manager->loop, fd, err);
	if (r < 0)
		kiln__os_close(fd);
	if (r == 0) {
		kiln__control_free(kiln__take(*control)); /* of an earlier life */
		r = kiln__control_new(
			control, vm->manager->loop, stream, false,
			start->foreground ? &lifeline_handler : &kiln__vm_control_handler, vm, err);
	}
	if (r < 0) {
		json_decref(params);
		return r;
	}
	r = kiln__control_request(*control, &request, NULL, err);
	kiln__fdstream_watch(kiln__take(stream));
	return r;
}

/* What was found out of the image is the VM's configuration from now on. */
static int take_config(struct kiln__start *start, const char *config, kiln_error *err)
{
	json_t *doc = json_loads(config, 0, NULL);
	int r = doc ? kiln__vmdir_replace_config(start->vm->dir, config, err)
		    : kiln__fail_nomem(err);

	if (r < 0) {
		json_decref(doc);
		return r;
	}
	json_decref(start->doc);
	start->doc = doc;
	return 0;
}

static int launch(struct kiln__start *start, const struct kiln__spec *spec, const char *config,
		  json_t *resolved, kiln_error *err)
{
	struct kiln__vmdir *dir = start->vm->dir;
	kiln__autoclose kiln_fd theirs = KILN_FD_NONE;
	kiln_fd ours = KILN_FD_NONE;
	kiln_fd pair[2];
	json_t *params = NULL;
	int r = kiln__vmdir_take(dir, &start->life, err);

	if (r == 0 && config)
		r = take_config(start, config, err);
	if (r == 0)
		r = kiln__resolve_overlay(spec, dir->path, resolved, err);
	if (r == 0) {
		leave_out_image(start->doc, resolved);
		r = launch_params(start, resolved, &params, err);
	}
	if (r == 0)
		r = kiln__os_socket_pair(pair, err);
	if (r < 0) {
		json_decref(params);
		return r;
	}
	ours = pair[0];
	theirs = pair[1];
	r = spawn(start, theirs, err);
	if (r == 0)
		r = kiln__vmdir_record_runner(dir, kiln__child_pid(start->runner), err);
	if (r < 0) {
		kiln__os_close(ours);
		json_decref(params);
		return r;
	}
	return ask(start, ours, params, err);
}

/* --- before it ----------------------------------------------------------------------- */

static void on_progress(void *data, const char *text)
{
	struct kiln__start *start = data;
	const kiln_start_options *options = &start->op->start;

	/* Once: who asked for it may well be who logs. */
	if (options->on_progress)
		options->on_progress(options->data, text);
	else
		kiln__log(&start->vm->manager->home.log, KILN_LOG_INFO, "VM %s: %s",
			  start->vm->dir->id, text);
}

/* All is there that the VM boots from, or not. */
static void on_resolved(void *data, const struct kiln__spec *spec, const char *config,
			json_t *resolved, const struct kiln__kvm_verdict *kvm,
			const kiln_error *err)
{
	struct kiln__start *start = data;
	kiln_error why;

	start->resolving = NULL;
	start->kvm = *kvm;
	if (err)
		fail(start, err);
	else if (launch(start, spec, config, resolved, &why) < 0)
		fail(start, &why);
}

static int read_spec(struct kiln__start *start, struct kiln__spec **ret, kiln_error *err)
{
	kiln_config *config = kiln__take(start->vm->made);
	int r = 0;

	if (config)
		start->config = kiln__take(start->vm->made_text);
	else
		r = kiln__vmdir_parse_config(start->vm->dir, &config, &start->config, err);
	if (r < 0)
		return r;
	start->doc = json_incref(kiln__config_doc(config));
	r = kiln__config_spec(config, ret, err);
	kiln_config_free(config);
	return r;
}

static int launch_without_files(struct kiln__start *start, struct kiln__spec *spec, kiln_error *err)
{
	json_t *resolved = json_object();
	int r = launch(start, spec, NULL, resolved, err);

	json_decref(resolved);
	kiln__spec_free(spec);
	return r;
}

/* Finds or makes what the VM boots from, and goes on from there. */
static int begin(struct kiln__start *start, kiln_error *err)
{
	static const struct kiln__resolving_handler handler = {on_progress, on_resolved};
	kiln_manager *manager = start->vm->manager;
	struct kiln__spec *spec;
	int r = read_spec(start, &spec, err);

	if (r < 0)
		return r;
	if (kiln__resolve_is_needless(spec))
		return launch_without_files(start, spec, err);
	return kiln__resolve(&start->resolving, manager->loop, start->vm->dir, spec, start->config,
			     &handler, start, err);
}

const kiln_error *kiln__running_error(const kiln_vm *vm, kiln_error *ret)
{
	const struct kiln__vmdir *dir = vm->dir;

	kiln__fail(ret, KILN_ESTATE, "the VM %.12s is running already", dir->id);
	if (dir->name)
		kiln__fail(ret, KILN_ESTATE, "the VM \"%s\" is running already", dir->name);
	kiln__hint(ret, "attach to it, or restart it");
	return ret;
}

/* False if it has found an end. */
static bool may_start(struct kiln__op *op)
{
	struct kiln__vmstate state;
	kiln_error err;
	int alive;

	if (op->vm->start) {
		kiln__op_fail(op, KILN_EBUSY, "the VM is being started already");
		return false;
	}
	if (op->vm->dir->fresh)
		return true;
	alive = kiln__vmdir_status(op->vm->dir, &state, NULL, &err);
	if (alive == 0)
		return true;
	if (alive < 0)
		kiln__op_finish(op, &err);
	else if (state.state == KILN_STATE_STOPPED || state.state == KILN_STATE_FAILED)
		kiln__op_await_end(op); /* its runner is about to go: then it can be started */
	else
		kiln__op_finish(op, kiln__running_error(op->vm, &err));
	return false;
}

void kiln__vm_start_for(struct kiln__op *op)
{
	struct kiln__start *start;
	kiln_error err;

	if (!may_start(op))
		return;
	start = calloc(1, sizeof(*start));
	if (!start) {
		kiln__op_fail(op, KILN_ENOMEM, "out of memory");
		return;
	}
	*start = (struct kiln__start){
		.vm = op->vm,
		.op = op,
		.foreground = op->start.foreground,
		.attach = op->start.attach,
		.life = KILN_FD_NONE,
	};
	op->vm->start = start;
	if (begin(start, &err) < 0)
		fail(start, &err);
}
