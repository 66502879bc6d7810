/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake backend: the whole contract, in memory, on one thread.
 *
 * Whatever is asked for is put on a list that one deferred call works off, so each
 * operation completes in a later round of the loop, as a real VMM's do. What the
 * guest does by itself (power off, crash) is noted and takes effect there too. A
 * paused machine's guest is frozen: the power key, connections and its crash wait
 * until it goes on, and kill does not.
 *
 * Callbacks may free the instance: it is then released when the last of them has
 * returned.
 */
#include "fake.h"

#include "agentmsg.h"
#include "err.h"
#include "guest.h"
#include "list.h"
#include "log.h"
#include "pair.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK        ((size_t)16 * 1024) /* of a vsock connection: bytes of one delivery, and kept */
#define ROOM         ((size_t)64 * 1024)
#define CONSOLE_ROOM 4096 /* bytes of input that wait for the guest */

enum op_kind {
	OP_START,
	OP_SHUTDOWN,
	OP_PAUSE,
	OP_RESUME,
	OP_CONNECT,
};

struct op {
	struct kiln__list link;
	enum op_kind kind;
	uint32_t port;
	kiln_done_fn done;
	kiln__connect_fn connected;
	void *data;
};

struct kiln__instance {
	struct kiln__backend_host host;
	struct kiln__fake_guest *guest; /* while it runs */
	struct kiln__deferred *turn;
	struct kiln__timer *start_timer;
	struct kiln__timer *crash_timer;
	struct kiln__list ops; /* oldest first */
	bool prepared;
	bool start_due; /* the start has taken as long as it should */
	bool running;
	bool boots; /* runs, and has not said anything yet */
	bool paused;
	bool ended;
	/* What will end it in the next round. */
	bool killed;
	bool crashed;
	bool powered_off;
	bool reset;
	char console[CONSOLE_ROOM]; /* input on its way */
	size_t console_len;
	char line[64]; /* being typed */
	size_t line_len;
	unsigned busy; /* callbacks on the stack */
	bool freed;
};

static void release(struct kiln__instance *vm)
{
	kiln__fake_guest_free(vm->guest);
	kiln__deferred_free(vm->turn);
	kiln__timer_free(vm->start_timer);
	kiln__timer_free(vm->crash_timer);
	free(vm);
}

static void leave(struct kiln__instance *vm)
{
	if (--vm->busy == 0 && vm->freed)
		release(vm);
}

/* --- operations --------------------------------------------------------------------- */

static void complete(struct op *op, struct kiln__stream *stream, const kiln_error *err)
{
	kiln__list_remove(&op->link);
	if (op->connected)
		op->connected(op->data, stream, err);
	else if (op->done)
		op->done(op->data, err ? err->code : 0, err);
	free(op);
}

static void complete_all(struct kiln__instance *vm, const kiln_error *err)
{
	while (!kiln__list_empty(&vm->ops))
		complete(kiln__list_entry(vm->ops.next, struct op, link), NULL, err);
}

/* The VM is over. */
static void finish(struct kiln__instance *vm, enum kiln__end how, const kiln_error *why)
{
	kiln_error err;

	vm->ended = true;
	vm->running = false;
	kiln__timer_stop(vm->start_timer);
	kiln__timer_stop(vm->crash_timer);
	kiln__fake_guest_free(vm->guest);
	vm->guest = NULL;
	kiln__fail(&err, KILN_EDIED, "the machine has ended");
	complete_all(vm, why ? why : &err);
	if (!vm->freed)
		vm->host.ended(vm->host.data, how, why);
}

static void on_power(void *data, bool reset)
{
	struct kiln__instance *vm = data;

	if (vm->host.spec->fake.ignore_stop)
		return;
	vm->powered_off = true;
	vm->reset = reset;
	kiln__deferred_schedule(vm->turn);
}

/* The guest's agent connects to the host, if that listens. */
static int boot_agent(struct kiln__instance *vm, kiln_error *err)
{
	struct kiln__stream *ends[2];
	int r = kiln__pair_new(ends, vm->host.loop, CHUNK, ROOM, err);

	if (r < 0)
		return r;
	if (!vm->host.incoming(vm->host.data, KILN__AGENT_BOOT_PORT, ends[0])) {
		kiln__stream_close(ends[0]);
		kiln__stream_close(ends[1]);
		return 0;
	}
	r = kiln__fake_guest_boot(vm->guest, ends[1], err);
	if (r < 0)
		kiln__stream_close(ends[1]);
	return r;
}

static void say(struct kiln__instance *vm, const char *text)
{
	vm->host.console(vm->host.data, text, strlen(text));
}

/* The guest's first words. */
static void boot_guest(struct kiln__instance *vm)
{
	const struct kiln__fake *fake = &vm->host.spec->fake;
	kiln_error err;

	vm->boots = false;
	if (fake->crash_after_ms)
		kiln__timer_start(vm->crash_timer, fake->crash_after_ms);
	if (fake->never_ready)
		return;
	if (fake->console)
		say(vm, fake->console);
	if (vm->host.spec->vsock && !vm->freed && boot_agent(vm, &err) < 0)
		kiln__log(vm->host.log, KILN_LOG_WARN, "the fake guest's agent: %s", err.message);
}

static void do_start(struct kiln__instance *vm, struct op *op)
{
	kiln_error err = KILN_ERROR_INIT;
	int r;

	if (vm->host.spec->fake.fail_start)
		r = kiln__fail(&err, KILN_EIO, "the start fails, as fake.fail_start asks");
	else
		r = kiln__fake_guest_new(&vm->guest, vm->host.loop, on_power, vm, &err);
	vm->running = r == 0;
	complete(op, NULL, r < 0 ? &err : NULL);
	vm->boots = r == 0;
	kiln__deferred_schedule(vm->turn);
}

static void do_pause(struct kiln__instance *vm, struct op *op, bool pause)
{
	kiln_error err;

	if (pause && vm->host.spec->fake.fail_pause) {
		kiln__fail(&err, KILN_EIO, "the pause fails, as fake.fail_pause asks");
		complete(op, NULL, &err);
		return;
	}
	vm->paused = pause;
	kiln__fake_guest_freeze(vm->guest, pause);
	kiln__deferred_schedule(vm->turn); /* for what waited */
	complete(op, NULL, NULL);
}

static void do_connect(struct kiln__instance *vm, struct op *op)
{
	struct kiln__stream *ends[2];
	kiln_error err;
	int r;

	if (!vm->host.spec->vsock)
		r = kiln__fail(&err, KILN_ENOTSUP, "the machine has no vsock device");
	else if (!kiln__fake_guest_listens(op->port) || vm->host.spec->fake.never_ready)
		r = kiln__fail(&err, KILN_EIO, "nothing listens on the guest's vsock port %u",
			       op->port);
	else
		r = kiln__pair_new(ends, vm->host.loop, CHUNK, ROOM, &err);
	if (r == 0) {
		r = kiln__fake_guest_accept(vm->guest, op->port, ends[1], &err);
		if (r < 0) {
			kiln__stream_close(ends[0]);
			kiln__stream_close(ends[1]);
		}
	}
	complete(op, r < 0 ? NULL : ends[0], r < 0 ? &err : NULL);
}

/* Works off one operation. False if it has to wait. */
static bool step(struct kiln__instance *vm, struct op *op)
{
	kiln_error err;

	if (op->kind == OP_START) {
		if (!vm->start_due)
			return false;
		do_start(vm, op);
		return true;
	}
	if (!vm->running) {
		kiln__fail(&err, KILN_ESTATE, "the machine does not run");
		complete(op, NULL, &err);
		return true;
	}
	switch (op->kind) {
	case OP_START:
		break;
	case OP_SHUTDOWN: /* the key is pressed; whether the guest sees it is another matter */
		on_power(vm, false);
		complete(op, NULL, NULL);
		break;
	case OP_PAUSE:
	case OP_RESUME:
		do_pause(vm, op, op->kind == OP_PAUSE);
		break;
	case OP_CONNECT:
		if (vm->paused)
			return false;
		do_connect(vm, op);
		break;
	}
	return true;
}

/* --- the loop's rounds ----------------------------------------------------------------- */

static void on_crash(void *data)
{
	struct kiln__instance *vm = data;

	vm->crashed = true;
	kiln__deferred_schedule(vm->turn);
}

/* A line was typed at the guest. */
static void on_line(struct kiln__instance *vm, const char *line)
{
	bool panic = strcmp(line, "kernel panic") == 0;

	if (strcmp(line, "crash") == 0)
		on_crash(vm);
	if (panic) {
		say(vm, "Kernel panic - not syncing: asked for\n");
		if (!vm->freed)
			vm->host.panicked(vm->host.data);
	}
	vm->reset = panic || strcmp(line, "reset") == 0;
	vm->powered_off = vm->reset || strcmp(line, "poweroff") == 0;
	if (vm->powered_off)
		kiln__deferred_schedule(vm->turn);
}

/* The guest echoes what it reads, and does what some lines say. */
static void read_console(struct kiln__instance *vm)
{
	char bytes[CONSOLE_ROOM];
	size_t len = vm->console_len;

	if (len == 0)
		return;
	memcpy(bytes, vm->console, len);
	vm->console_len = 0;
	vm->host.console(vm->host.data, bytes, len);
	for (size_t i = 0; i < len && !vm->freed && !vm->powered_off; i++) {
		if (bytes[i] != '\n') {
			if (vm->line_len < sizeof(vm->line) - 1)
				vm->line[vm->line_len++] = bytes[i];
			continue;
		}
		vm->line[vm->line_len] = '\0';
		vm->line_len = 0;
		on_line(vm, vm->line);
	}
}

static void run_guest(struct kiln__instance *vm)
{
	if (vm->boots)
		boot_guest(vm);
	if (!vm->freed)
		read_console(vm);
}

/* Whatever ends it. Returns whether it did. */
static bool check_end(struct kiln__instance *vm)
{
	kiln_error err;

	if (vm->killed) {
		finish(vm, KILN__END_KILLED, NULL);
	} else if (vm->paused) {
		return false;
	} else if (vm->crashed) {
		kiln__fail(&err, KILN_EDIED, "the fake machine crashed, as it was asked to");
		finish(vm, KILN__END_FAILED, &err);
	} else if (vm->powered_off) {
		finish(vm, vm->reset ? KILN__END_RESET : KILN__END_POWEROFF, NULL);
	} else {
		return false;
	}
	return true;
}

static void on_turn(void *data)
{
	struct kiln__instance *vm = data;
	struct kiln__list *next;

	vm->busy++;
	if (!vm->ended && !check_end(vm)) {
		if (vm->running && !vm->paused)
			run_guest(vm);
		/* What callbacks add comes behind, and has its turn in the next round. */
		for (struct kiln__list *link = vm->ops.next, *last = vm->ops.prev;
		     !vm->freed && link != &vm->ops; link = next) {
			bool is_last = link == last;

			next = link->next;
			step(vm, kiln__list_entry(link, struct op, link));
			if (is_last)
				break;
		}
	}
	leave(vm);
}

static void on_start_timer(void *data)
{
	struct kiln__instance *vm = data;

	vm->start_due = true;
	kiln__deferred_schedule(vm->turn);
}

static void ask(struct kiln__instance *vm, struct op what)
{
	struct op *op = vm->ended ? NULL : malloc(sizeof(*op));
	kiln_error err;

	if (op) {
		*op = what;
		kiln__list_append(&vm->ops, &op->link);
		kiln__deferred_schedule(vm->turn);
		return;
	}
	if (vm->ended)
		kiln__fail(&err, KILN_EDIED, "the machine has ended");
	else
		kiln__fail_nomem(&err);
	if (what.connected)
		what.connected(what.data, NULL, &err);
	else if (what.done)
		what.done(what.data, err.code, &err);
}

/* --- the contract ------------------------------------------------------------------------ */

static void fake_probe(const char *arch, struct kiln__probe *ret)
{
	(void)arch;
	*ret = (struct kiln__probe){.usable = true, .accel = "none"};
}

static int refuse(const char *key, const char *what, kiln_error *err)
{
	return kiln__fail(err, KILN_ENOTSUP, "%s: the fake backend has no %s", key, what);
}

static int fake_check(const struct kiln__spec *spec, kiln_error *err)
{
	if (strcmp(spec->accel, "auto") != 0)
		return refuse("accel", "acceleration", err);
	if (spec->network_count)
		return refuse("networks[0]", "networks", err);
	if (spec->port_count)
		return refuse("ports[0]", "networks", err);
	if (spec->readiness.kind == KILN__READY_TCP)
		return refuse("readiness", "networks", err);
	return 0;
}

static int make_handles(struct kiln__instance *vm, kiln_error *err)
{
	kiln_loop *loop = vm->host.loop;
	int r = kiln__deferred_new(&vm->turn, loop, on_turn, vm, err);

	if (r == 0)
		r = kiln__timer_new(&vm->start_timer, loop, on_start_timer, vm, err);
	if (r == 0)
		r = kiln__timer_new(&vm->crash_timer, loop, on_crash, vm, err);
	return r;
}

static int fake_open(struct kiln__instance **ret, const struct kiln__backend_host *host,
		     kiln_error *err)
{
	struct kiln__instance *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return kiln__fail_nomem(err);
	vm->host = *host;
	kiln__list_init(&vm->ops);
	r = make_handles(vm, err);
	if (r < 0) {
		release(vm);
		return r;
	}
	*ret = vm;
	return 0;
}

static int fake_prepare(struct kiln__instance *vm, kiln_error *err)
{
	if (vm->host.spec->fake.fail_prepare)
		return kiln__fail(err, KILN_EIO,
				  "it cannot be prepared, as fake.fail_prepare asks");
	vm->prepared = true;
	return 0;
}

static void fake_start(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	uint64_t delay = vm->host.spec->fake.start_delay_ms;

	vm->start_due = delay == 0;
	if (delay)
		kiln__timer_start(vm->start_timer, delay);
	ask(vm, (struct op){.kind = OP_START, .done = done, .data = data});
}

static void fake_shutdown(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	ask(vm, (struct op){.kind = OP_SHUTDOWN, .done = done, .data = data});
}

static void fake_kill(struct kiln__instance *vm)
{
	vm->killed = true;
	kiln__deferred_schedule(vm->turn);
}

static void fake_pause(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	ask(vm, (struct op){.kind = OP_PAUSE, .done = done, .data = data});
}

static void fake_resume(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	ask(vm, (struct op){.kind = OP_RESUME, .done = done, .data = data});
}

static void fake_connect(struct kiln__instance *vm, uint32_t port, kiln__connect_fn done,
			 void *data)
{
	ask(vm, (struct op){.kind = OP_CONNECT, .port = port, .connected = done, .data = data});
}

static size_t fake_console_write(struct kiln__instance *vm, const void *bytes, size_t len)
{
	size_t room = vm->running ? sizeof(vm->console) - vm->console_len : 0;

	if (len > room)
		len = room;
	memcpy(vm->console + vm->console_len, bytes, len);
	vm->console_len += len;
	if (len)
		kiln__deferred_schedule(vm->turn);
	return len;
}

static const char *fake_accel(const struct kiln__instance *vm)
{
	return vm->prepared ? "none" : "";
}

static int64_t fake_pid(const struct kiln__instance *vm)
{
	(void)vm;
	return 0;
}

static void fake_free(struct kiln__instance *vm)
{
	kiln_error err;

	if (!vm || vm->freed)
		return;
	vm->freed = true;
	vm->ended = true;
	kiln__fail(&err, KILN_EDIED, "the machine was freed");
	vm->busy++;
	complete_all(vm, &err);
	leave(vm);
}

const struct kiln__backend kiln__backend_fake = {
	.name = "fake",
	.summary = "runs nothing, in memory; for tests",
	.features = KILN__CAN_PAUSE | KILN__CAN_POWER_KEY | KILN__CAN_VSOCK | KILN__CAN_CONSOLE,
	.probe = fake_probe,
	.check = fake_check,
	.open = fake_open,
	.prepare = fake_prepare,
	.start = fake_start,
	.shutdown = fake_shutdown,
	.kill = fake_kill,
	.pause = fake_pause,
	.resume = fake_resume,
	.connect = fake_connect,
	.console_write = fake_console_write,
	.accel = fake_accel,
	.pid = fake_pid,
	.free = fake_free,
};
