/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Apple's Virtualization.framework as a backend: the half on the loop.
 *
 * The framework is loaded at run time, so that kiln starts on a Mac without it and says so. The VM
 * itself runs in a service that macOS starts; here are its objects, which live on a serial queue
 * (vm.c) and are made from the configuration (config.c) by messages of the Objective-C runtime
 * (objc.c).
 *
 * Each operation is a counted record that goes to the queue and comes back by vm.c's list; those
 * that nobody has been told of yet are also on this half's list, so that the end and free() tell
 * them.
 *
 * What it trusts: the framework. What the guest says arrives as bytes of the console and of vsock
 * connections only.
 */
#include "vz.h"

#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "log.h"
#include "os.h"
#include "stage.h"
#include "vm.h"

#include <stdlib.h>
#include <string.h>

/* How long a stop may take: then the VM is given up, and goes with the runner. */
#define KILL_MS 10000

#define CONSOLE_CHUNK 16384
#define CONSOLE_REST  (1024 * 1024) /* read at most at the end */

struct kiln__instance {
	struct kiln__backend_host host;
	struct kiln__waker *waker;
	struct kiln__timer *kill_timer;
	struct kiln__vz_vm *vm;
	struct kiln__list ops; /* begun, and not told yet */
	kiln_fd console;       /* our end */
	struct kiln__watch *console_watch;
	char *stage_dir;    /* with what was staged for the framework; removed with the instance */
	char *machine_id;   /* the file that holds the guest's hardware identity */
	kiln_error no_save; /* why its state cannot be saved; code 0: it can */
	bool prepared;
	bool killed;
	bool ended;
	unsigned busy; /* callbacks on the stack */
	bool freed;
};

static void release(struct kiln__instance *instance)
{
	kiln__watch_free(instance->console_watch);
	kiln__os_close(instance->console);
	kiln__timer_free(instance->kill_timer);
	kiln__waker_free(instance->waker);
	kiln__stage_remove(instance->stage_dir);
	free(instance->machine_id);
	free(instance);
}

static void leave(struct kiln__instance *instance)
{
	if (--instance->busy == 0 && instance->freed)
		release(instance);
}

/* --- what comes back ------------------------------------------------------------------ */

/* Takes it off the list and tells; its result is @err, or a stream. */
static void complete(struct kiln__instance *instance, struct kiln__vz_op *op,
		     struct kiln__stream *stream, const kiln_error *err)
{
	(void)instance;
	kiln__list_remove(&op->link);
	kiln__list_init(&op->link);
	if (op->connected)
		op->connected(op->data, stream, err);
	else if (op->done)
		op->done(op->data, err ? err->code : 0, err);
	kiln__vz_op_unref(op);
}

static void complete_all(struct kiln__instance *instance, const kiln_error *err)
{
	while (!kiln__list_empty(&instance->ops))
		complete(instance, kiln__list_entry(instance->ops.next, struct kiln__vz_op, link),
			 NULL, err);
}

static struct kiln__stream *stream_of(struct kiln__instance *instance, struct kiln__vz_op *op,
				      kiln_error *err)
{
	struct kiln__stream *stream = NULL;

	if (kiln__fdstream_new(&stream, instance->host.loop, op->fd, err) == 0)
		op->fd = KILN_FD_NONE;
	return stream;
}

static void take_incoming(struct kiln__instance *instance, struct kiln__vz_op *op)
{
	kiln_error err = KILN_ERROR_INIT;
	struct kiln__stream *stream = stream_of(instance, op, &err);

	if (!stream)
		kiln__log(instance->host.log, KILN_LOG_WARN, "a guest's connection: %s",
			  err.message);
	else if (!instance->host.incoming(instance->host.data, op->port, op->from, stream))
		kiln__stream_close(stream);
}

static void take(struct kiln__instance *instance, struct kiln__vz_op *op)
{
	struct kiln__stream *stream = NULL;
	kiln_error err = op->err;

	if (op->what == KILN__VZ_INCOMING) {
		take_incoming(instance, op);
		return;
	}
	if (op->what == KILN__VZ_WARNING) {
		kiln__log(instance->host.log, KILN_LOG_WARN, "%s", op->err.message);
		return;
	}
	if (kiln__list_empty(&op->link)) /* told already: it came too late */
		return;
	if (op->what == KILN__VZ_CONNECT && !err.code)
		stream = stream_of(instance, op, &err);
	complete(instance, op, stream, err.code ? &err : NULL);
}

/* Reads what there is, once or until nothing is left. Whether there may be more. */
static bool read_console(struct kiln__instance *instance)
{
	char bytes[CONSOLE_CHUNK];
	ssize_t n = kiln__os_read(instance->console, bytes, sizeof(bytes));

	if (n == 0)
		kiln__watch_set(instance->console_watch, 0);
	if (n <= 0)
		return false;
	instance->host.console(instance->host.data, bytes, (size_t)n);
	return true;
}

static void on_console(void *data, int events)
{
	struct kiln__instance *instance = data;

	(void)events;
	instance->busy++;
	read_console(instance);
	leave(instance);
}

static void finish(struct kiln__instance *instance, enum kiln__end how, const kiln_error *why)
{
	kiln_error err;

	instance->ended = true;
	kiln__timer_stop(instance->kill_timer);
	/* What the guest said last is with us already: the framework's ends are closed. */
	for (size_t rest = CONSOLE_REST; rest >= CONSOLE_CHUNK && !instance->freed;
	     rest -= CONSOLE_CHUNK)
		if (!read_console(instance))
			break;
	if (instance->console_watch)
		kiln__watch_set(instance->console_watch, 0);
	kiln__fail(&err, KILN_EDIED, "the machine has ended");
	complete_all(instance, why ? why : &err);
	if (!instance->freed)
		instance->host.ended(instance->host.data, how, why);
}

static void on_wake(void *data)
{
	struct kiln__instance *instance = data;
	kiln_error why = KILN_ERROR_INIT;
	struct kiln__vz_op *op;
	enum kiln__end how;

	instance->busy++;
	while (!instance->ended && !instance->freed && (op = kiln__vz_vm_next(instance->vm))) {
		take(instance, op);
		kiln__vz_op_unref(op);
	}
	if (!instance->ended && !instance->freed && kiln__vz_vm_ended(instance->vm, &how, &why))
		finish(instance, how, how == KILN__END_FAILED ? &why : NULL);
	leave(instance);
}

static void on_kill_timer(void *data)
{
	struct kiln__instance *instance = data;
	kiln_error err;

	kiln__fail(&err, KILN_ETIMEDOUT,
		   "Virtualization.framework did not stop the machine in %d ms", KILL_MS);
	kiln__hint(&err, "it ends with its kiln-runner at the latest");
	kiln__log(instance->host.log, KILN_LOG_WARN, "%s; it ends with this process", err.message);
	instance->busy++;
	finish(instance, KILN__END_FAILED, &err);
	leave(instance);
}

/* --- preparing ------------------------------------------------------------------------ */

/* The console is a socket pair: of the framework's end one duplicate for each direction. */
static int make_console(struct kiln__instance *instance, struct kiln__vz_plan *plan,
			kiln_error *err)
{
	kiln_fd ends[2];
	int r = kiln__os_socket_pair(ends, err);

	if (r < 0)
		return r;
	instance->console = ends[0];
	plan->console_in = ends[1];
	r = kiln__os_dup(&plan->console_out, ends[1], err);
	if (r == 0)
		r = kiln__os_set_nonblocking(instance->console, true, err);
	if (r == 0)
		r = kiln__watch_new(&instance->console_watch, instance->host.loop,
				    instance->console, on_console, instance, err);
	if (r == 0)
		kiln__watch_set(instance->console_watch, KILN__READABLE);
	return r;
}

/* What must be found by a path: in the stage if it has none; what lasts, in the VM's directory. */
static int stage(struct kiln__instance *instance, struct kiln__vz_plan *plan, char *paths[3],
		 kiln_error *err)
{
	const struct kiln__spec *spec = plan->spec;
	const char *dir = instance->host.state_dir;
	int r = kiln__stage_make(&instance->stage_dir, "vz", instance->host.id, err);

	if (r == 0 && spec->firmware == KILN__FIRMWARE_NONE)
		r = kiln__stage_source(&paths[0], &spec->kernel, instance->stage_dir, "kernel",
				       err);
	if (r == 0 && kiln__source_is_set(&spec->initrd))
		r = kiln__stage_source(&paths[1], &spec->initrd, instance->stage_dir, "initrd",
				       err);
	if (r < 0)
		return r;
	instance->machine_id = kiln__strf("%s/vz-machine-id", spec->snapshot ? spec->snapshot
							      : dir          ? dir
									     : instance->stage_dir);
	if (dir)
		paths[2] = kiln__strf("%s/vz-efi-variables", dir);
	plan->kernel = paths[0];
	plan->initrd = paths[1];
	plan->machine_id = instance->machine_id;
	plan->efi_store = paths[2];
	plan->stage_dir = instance->stage_dir;
	return instance->machine_id && (!dir || paths[2]) ? 0 : kiln__fail_nomem(err);
}

static int vz_prepare(struct kiln__instance *instance, kiln_error *err)
{
	char *paths[3] = {NULL};
	struct kiln__vz_plan plan = {
		.spec = instance->host.spec,
		.console_in = KILN_FD_NONE,
		.console_out = KILN_FD_NONE,
	};
	int r = kiln__objc_load(KILN__VZ_FRAMEWORK, "VZVirtualMachine", err);

	if (r == 0)
		r = stage(instance, &plan, paths, err);
	if (r == 0)
		r = make_console(instance, &plan, err);
	if (r == 0)
		r = kiln__vz_vm_new(&instance->vm, instance->waker, err);
	if (r == 0)
		r = kiln__vz_vm_build(instance->vm, &plan, instance->host.listen_ports, err);
	kiln__os_close(plan.console_in);
	kiln__os_close(plan.console_out);
	for (size_t i = 0; i < 3; i++)
		free(paths[i]);
	instance->no_save = plan.no_save;
	instance->prepared = r == 0;
	return r;
}

/* --- the contract --------------------------------------------------------------------- */

static void vz_probe(const char *arch, struct kiln__probe *ret)
{
	kiln__autopool;

	*ret = (struct kiln__probe){.usable = false, .accel = "vz"};
	if (kiln__objc_load(KILN__VZ_FRAMEWORK, "VZVirtualMachine", &ret->reason) < 0) {
		kiln__hint(&ret->reason, "the vz backend needs macOS 13 or later");
		return;
	}
	if (strcmp(arch, kiln__os_arch()) != 0)
		kiln__fail(&ret->reason, KILN_ENOTSUP,
			   "Virtualization.framework runs guests of this Mac's kind (%s) only",
			   kiln__os_arch());
	else if (!kiln__send_class(BOOL, VZVirtualMachine, "isSupported", ()))
		kiln__fail(
			&ret->reason, KILN_ENOTSUP,
			"Virtualization.framework says that this Mac cannot run virtual machines");
	else
		ret->usable = true;
}

static int vz_works(const char *arch, bool quick, kiln_error *why)
{
	struct kiln__probe probe;

	(void)quick; /* it always is */
	vz_probe(arch, &probe);
	if (!probe.usable)
		*why = probe.reason;
	return probe.usable ? 0 : probe.reason.code;
}

static int vz_check(const struct kiln__spec *spec, kiln_error *err)
{
	int r = kiln__objc_load(KILN__VZ_FRAMEWORK, "VZVirtualMachine", err);
	kiln__autopool;

	return r < 0 ? r : kiln__vz_check(spec, err);
}

static int vz_open(struct kiln__instance **ret, const struct kiln__backend_host *host,
		   kiln_error *err)
{
	struct kiln__instance *instance = calloc(1, sizeof(*instance));
	int r;

	if (!instance)
		return kiln__fail_nomem(err);
	instance->host = *host;
	instance->console = KILN_FD_NONE;
	kiln__list_init(&instance->ops);
	r = kiln__waker_new(&instance->waker, host->loop, on_wake, instance, err);
	if (r == 0)
		r = kiln__timer_new(&instance->kill_timer, host->loop, on_kill_timer, instance,
				    err);
	if (r < 0) {
		release(instance);
		return r;
	}
	*ret = instance;
	return 0;
}

/* Begins what is told by one of @done and @connected; consumes its path. */
static void ask(struct kiln__instance *instance, struct kiln__vz_op what)
{
	struct kiln__vz_op *op = NULL;
	kiln_error err = what.err;

	if (err.code)
		;
	else if (instance->ended || !instance->vm)
		kiln__fail(&err, KILN_EDIED, "the machine has ended");
	else if (!(op = kiln__vz_op_new(instance->vm, what.what)))
		kiln__fail_nomem(&err);
	if (!op) {
		free(what.path);
		if (what.connected)
			what.connected(what.data, NULL, &err);
		else if (what.done)
			what.done(what.data, err.code, &err);
		return;
	}
	op->port = what.port;
	op->memory = what.memory;
	op->path = what.path;
	op->done = what.done;
	op->connected = what.connected;
	op->data = what.data;
	kiln__list_append(&instance->ops, &op->link);
	kiln__vz_vm_ask(instance->vm, op);
}

#define ASKING(function, operation)                                                                \
	static void function(struct kiln__instance *instance, kiln_done_fn done, void *data)       \
	{                                                                                          \
		ask(instance,                                                                      \
		    (struct kiln__vz_op){.what = (operation), .done = done, .data = data});        \
	}
ASKING(boot, KILN__VZ_START)
ASKING(vz_shutdown, KILN__VZ_SHUTDOWN)
ASKING(vz_pause, KILN__VZ_PAUSE)
ASKING(vz_resume, KILN__VZ_RESUME)

static void vz_connect(struct kiln__instance *instance, uint32_t port, kiln__connect_fn done,
		       void *data)
{
	ask(instance, (struct kiln__vz_op){
			      .what = KILN__VZ_CONNECT,
			      .port = port,
			      .connected = done,
			      .data = data,
		      });
}

static struct kiln__vz_op on_state(enum kiln__vz_what what, const char *dir, kiln_done_fn done,
				   void *data)
{
	struct kiln__vz_op op = {.what = what, .done = done, .data = data};

	op.path = kiln__strf("%s/vz-state", dir);
	if (!op.path)
		kiln__fail_nomem(&op.err);
	return op;
}

static void vz_start(struct kiln__instance *instance, kiln_done_fn done, void *data)
{
	const char *snapshot = instance->host.spec->snapshot;

	if (snapshot)
		ask(instance, on_state(KILN__VZ_RESTORE, snapshot, done, data));
	else
		boot(instance, done, data);
}

/* With the identity, since only a VM of the same can be made of the state. */
static void vz_snapshot(struct kiln__instance *instance, const char *directory, const char *base,
			kiln_done_fn done, void *data)
{
	struct kiln__vz_op op = on_state(KILN__VZ_SAVE, directory, done, data);
	kiln__autofree char *path = kiln__strf("%s/vz-machine-id", directory);
	kiln__autofree char *bytes = NULL;
	size_t len;

	if (base)
		kiln__fail(&op.err, KILN_ENOTSUP,
			   "base: Virtualization.framework saves whole states only");
	else if (instance->no_save.code)
		op.err = instance->no_save;
	else if (!path)
		kiln__fail_nomem(&op.err);
	else if (kiln__os_read_file(instance->machine_id, 4096, &bytes, &len, &op.err) == 0)
		kiln__os_replace_file(path, bytes, len, 0600, true, &op.err);
	ask(instance, op);
}

static void vz_update(struct kiln__instance *instance, const kiln_update *update, kiln_done_fn done,
		      void *data)
{
	uint64_t memory = instance->host.spec->memory;
	struct kiln__vz_op op = {.what = KILN__VZ_BALLOON, .done = done, .data = data};

	if (update->cpus != KILN_UPDATE_KEEP || update->memory != KILN_UPDATE_KEEP)
		kiln__fail(&op.err, KILN_ENOTSUP,
			   "%s: Virtualization.framework changes a "
			   "running machine's balloon only",
			   update->cpus != KILN_UPDATE_KEEP ? "cpus" : "memory");
	else if (update->config || update->balloon == KILN_UPDATE_KEEP)
		kiln__fail(&op.err, KILN_ENOTSUP,
			   "config: Virtualization.framework has no words of its own");
	else
		op.memory = kiln__vz_target(memory, update->balloon, &op.err);
	ask(instance, op);
}

static void vz_kill(struct kiln__instance *instance)
{
	if (instance->ended || instance->killed || !instance->vm)
		return;
	instance->killed = true;
	kiln__timer_start(instance->kill_timer, KILL_MS);
	kiln__vz_vm_kill(instance->vm);
}

static size_t vz_console_write(struct kiln__instance *instance, const void *bytes, size_t len)
{
	ssize_t n = instance->ended || instance->console == KILN_FD_NONE
			    ? 0
			    : kiln__os_write(instance->console, bytes, len);

	return n > 0 ? (size_t)n : 0;
}

static const char *vz_accel(const struct kiln__instance *instance)
{
	return instance->prepared ? "vz" : "";
}

static int64_t vz_pid(const struct kiln__instance *instance)
{
	(void)instance;
	return 0; /* the VM's process is macOS's */
}

static void vz_free(struct kiln__instance *instance)
{
	kiln_error err;

	if (!instance || instance->freed)
		return;
	instance->freed = true;
	instance->ended = true;
	kiln__vz_vm_free(kiln__take(instance->vm));
	kiln__fail(&err, KILN_EDIED, "the machine was freed");
	instance->busy++;
	complete_all(instance, &err);
	leave(instance);
}

const struct kiln__backend kiln__backend_vz = {
	.name = "vz",
	.summary = "Apple's Virtualization.framework, on macOS",
	.features = KILN__CAN_PAUSE | KILN__CAN_POWER_KEY | KILN__CAN_VSOCK | KILN__CAN_CONSOLE |
		    KILN__CAN_VZ | KILN__CAN_NETWORK | KILN__CAN_FIRMWARE | KILN__CAN_UPDATE |
		    KILN__CAN_SNAPSHOT | KILN__CAN_SHARE | KILN__CAN_ROSETTA | KILN__CAN_NEST |
		    KILN__CAN_NBD | KILN__CAN_CONSOLE_PORTS | KILN__CAN_SWITCH,
	.probe = vz_probe,
	.works = vz_works,
	.check = vz_check,
	.open = vz_open,
	.prepare = vz_prepare,
	.start = vz_start,
	.shutdown = vz_shutdown,
	.kill = vz_kill,
	.pause = vz_pause,
	.resume = vz_resume,
	.update = vz_update,
	.snapshot = vz_snapshot,
	.connect = vz_connect,
	.console_write = vz_console_write,
	.accel = vz_accel,
	.pid = vz_pid,
	.free = vz_free,
};
