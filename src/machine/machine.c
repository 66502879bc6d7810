/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of a VM.
 *
 * A machine owns one backend instance from prepare to the VM's end, and a list of
 * operations that wait for something: each names the kind of event that completes it.
 * Every completion goes through a queue that one deferred call empties, so that none
 * runs inside the call that began the operation. Events come from inside the transition:
 * what is recorded of a state is there before anything is done in it. Either may do
 * anything with the machine, freeing it included: whatever enters a state looks whether
 * there is a machine left.
 *
 * All on the loop's thread. The backend is trusted to keep its contract; what the
 * guest says (console, agent) is not trusted.
 */
#include "instance.h"

#include "err.h"
#include "log.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a VMM may take to say that it has paused a guest, or lets it go on. */
#define PAUSE_MS 30000

/* What an operation waits for. */
enum waits {
	WAITS_START,
	WAITS_READY,
	WAITS_STOPPED,
	WAITS_STOP, /* as STOPPED, but any end is success: it was asked for */
	WAITS_PAUSE,
	WAITS_UPDATE,
	WAITS_NOTHING, /* complete: in the queue */
};

struct op {
	struct op *next;
	enum waits waits;
	kiln_done_fn done;
	void *data;
	kiln_error err; /* code 0: success */
};

static bool has_ended(const kiln_machine *m)
{
	return m->state == KILN_STATE_STOPPED || m->state == KILN_STATE_FAILED ||
	       m->state == KILN_STATE_CREATED;
}

/* --- operations ------------------------------------------------------------------ */

static void append(struct op **list, struct op *op)
{
	while (*list)
		list = &(*list)->next;
	op->next = NULL;
	*list = op;
}

static void complete(kiln_machine *m, struct op *op, const kiln_error *err)
{
	op->waits = WAITS_NOTHING;
	op->err = err ? *err : (kiln_error)KILN_ERROR_INIT;
	append(&m->queue, op);
	kiln__deferred_schedule(m->teller);
}

/* Completes all operations that wait for @waits. */
static void complete_all(kiln_machine *m, enum waits waits, const kiln_error *err)
{
	struct op **at = &m->ops;

	while (*at) {
		struct op *op = *at;

		if (op->waits != waits) {
			at = &op->next;
			continue;
		}
		*at = op->next;
		complete(m, op, err);
	}
}

static bool is_waiting(const kiln_machine *m, enum waits waits)
{
	for (const struct op *op = m->ops; op; op = op->next)
		if (op->waits == waits)
			return true;
	return false;
}

static void tell(void *data)
{
	kiln_machine *m = data;
	bool freed = false;

	m->freed = &freed;
	while (m->queue) {
		struct op *op = m->queue;

		m->queue = op->next;
		if (op->done)
			op->done(op->data, op->err.code, op->err.code ? &op->err : NULL);
		free(op);
		if (freed)
			return;
	}
	m->freed = NULL;
}

/*
 * A new operation, waiting. Without memory it cannot even be told so later: the
 * one case in which a completion comes from inside the call.
 */
static struct op *op_new(kiln_machine *m, enum waits waits, kiln_done_fn done, void *data)
{
	struct op *op = calloc(1, sizeof(*op));
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

/* Completes an operation that was just made. */
static void answer(kiln_machine *m, kiln_done_fn done, void *data, const kiln_error *err)
{
	struct op *op = op_new(m, WAITS_NOTHING, done, data);

	if (op)
		complete_all(m, WAITS_NOTHING, err);
}

static void refuse(kiln_machine *m, const char *what, kiln_done_fn done, void *data)
{
	kiln_error err;

	kiln__fail(&err, KILN_ESTATE, "cannot %s a machine that is %s", what,
		   kiln_state_name(m->state));
	answer(m, done, data, &err);
}

/* --- transitions -------------------------------------------------------------------- */

static bool tell_event(kiln_machine *m, const kiln_event *event)
{
	bool *outer = m->freed;
	bool freed = false;

	if (!m->options.on_event)
		return true;
	m->freed = &freed;
	m->options.on_event(m->options.data, event);
	if (!freed)
		m->freed = outer;
	else if (outer)
		*outer = true;
	return !freed;
}

/* False if its user has freed the machine because of it. */
static bool enter(kiln_machine *m, enum kiln_state to)
{
	kiln_event event = {
		.size = sizeof(event),
		.from = m->state,
		.to = to,
		.realtime_ns = kiln__os_realtime_ns(),
		.monotonic_ns = kiln__os_monotonic_ns(),
		.exit = m->exit,
		.err = to == KILN_STATE_FAILED ? &m->failure : NULL,
	};

	m->state = to;
	kiln__log(&m->options.log, KILN_LOG_INFO, "%s -> %s", kiln_state_name(event.from),
		  kiln_state_name(to));
	return tell_event(m, &event);
}

/* "System is deadlocked on memory", "Out of memory and no killable processes" (mm/oom_kill.c). */
static void set_panic(kiln_machine *m)
{
	kiln__fail(&m->failure, KILN_EDIED, "the guest's kernel panicked: %s", m->panic);
	if (strstr(m->panic, "memory"))
		kiln__hint(&m->failure, "give the machine more memory than %llu MiB",
			   (unsigned long long)(m->spec->memory >> 20));
	else
		kiln__hint(&m->failure,
			   "all of a named machine's console is in kiln logs --console");
}

static void set_failure(kiln_machine *m, const char *stage, const kiln_error *err)
{
	m->failure = *err;
	if (m->panic[0])
		set_panic(m);
	kiln__stage(&m->failure, stage);
}

static const char *stage_of(enum kiln_state state)
{
	switch (state) {
	case KILN_STATE_STARTING:
		return "start";
	case KILN_STATE_RUNNING:
		return "boot";
	case KILN_STATE_STOPPING:
		return "stop";
	default:
		return "run";
	}
}

static void set_exit(kiln_machine *m, enum kiln__end how)
{
	if (m->main_exit.kind != KILN_EXIT_NONE)
		m->exit = m->main_exit;
	else if (how == KILN__END_POWEROFF)
		m->exit = (kiln_exit){.kind = KILN_EXIT_POWEROFF};
	else if (how == KILN__END_RESET)
		m->exit = (kiln_exit){.kind = KILN_EXIT_RESET};
	else
		m->exit = (kiln_exit){.kind = KILN_EXIT_KILLED};
}

/* The VM has ended and its instance is gone or going: settles state and operations. False as
 * enter(). */
static bool settle(kiln_machine *m, enum kiln__end how, const kiln_error *err)
{
	kiln_error over;

	kiln__timer_stop(m->ready_timer);
	kiln__timer_stop(m->stop_timer);
	kiln__timer_stop(m->pause_timer);
	kiln__ready_free(m->ready);
	m->ready = NULL;
	set_exit(m, how);
	/* A panic ends in a reset that nobody wanted; an end that the host asked for is no failure.
	 */
	if (m->failure.code || (!m->ending && (how == KILN__END_FAILED || m->panic[0]))) {
		if (!m->failure.code) {
			kiln__fail(&over, KILN_EDIED, "the guest reset itself");
			set_failure(m, stage_of(m->state), err ? err : &over);
		}
		over = m->failure;
		if (!enter(m, KILN_STATE_FAILED))
			return false;
		complete_all(m, WAITS_STOPPED, &over);
	} else {
		kiln__fail(&over, KILN_EDIED, "the machine has ended (%s)",
			   kiln_exit_kind_name(m->exit.kind));
		if (!enter(m, KILN_STATE_STOPPED))
			return false;
		complete_all(m, WAITS_STOPPED, NULL);
	}
	complete_all(m, WAITS_START, &over);
	complete_all(m, WAITS_READY, &over);
	complete_all(m, WAITS_PAUSE, &over);
	complete_all(m, WAITS_UPDATE, &over);
	complete_all(m, WAITS_STOP, NULL);
	return true;
}

static void reap(void *data)
{
	kiln_machine *m = data;

	if (m->instance && has_ended(m)) {
		m->backend->free(m->instance);
		m->instance = NULL;
	}
}

static void on_ended(void *data, enum kiln__end how, const kiln_error *err)
{
	kiln_machine *m = data;

	kiln__deferred_schedule(m->reaper);
	settle(m, how, err);
}

static void on_panicked(void *data)
{
	kiln_machine *m = data;

	if (!m->panic[0])
		snprintf(m->panic, sizeof(m->panic), "no reason seen on the console");
}

static void on_console(void *data, const void *bytes, size_t len)
{
	kiln_machine *m = data;

	if (m->ready)
		kiln__ready_console(m->ready, bytes, len);
	if (m->options.on_console)
		m->options.on_console(m->options.data, bytes, len);
}

static bool on_incoming(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	kiln_machine *m = data;

	if (port == KILN__AGENT_BOOT_PORT)
		return m->ready && kiln__ready_incoming(m->ready, from, stream);
	return m->incoming && m->incoming(m->incoming_data, port, stream);
}

/* Ends the VM because of @err, which becomes its failure. */
static void fail_running(kiln_machine *m, const char *stage, const kiln_error *err)
{
	if (has_ended(m) || m->failure.code)
		return;
	set_failure(m, stage, err);
	m->backend->kill(m->instance);
}

static void on_ready_timeout(void *data)
{
	kiln_machine *m = data;
	kiln_error err;

	if (m->state == KILN_STATE_STARTING && m->spec->readiness.kind == KILN__READY_NONE) {
		kiln__fail(&err, KILN_ETIMEDOUT, "the VMM has not started the guest within %llu ms",
			   (unsigned long long)m->spec->readiness.timeout_ms);
		fail_running(m, "start", &err);
		return;
	}
	kiln__fail(&err, KILN_ETIMEDOUT, "the guest was not ready within %llu ms%s%s",
		   (unsigned long long)m->spec->readiness.timeout_ms, m->ready ? ": " : "",
		   m->ready ? kiln__ready_describe(m->ready) : "");
	kiln__hint(&err, "allow more time (readiness.timeout); all of a named machine's console is "
			 "in kiln logs --console");
	fail_running(m, "ready", &err);
}

static void on_stop_timeout(void *data)
{
	kiln_machine *m = data;

	kiln__log(&m->options.log, KILN_LOG_WARN, "the guest did not stop in time and is killed");
	m->backend->kill(m->instance);
}

static void pause_over(kiln_machine *m, const kiln_error *err)
{
	kiln__timer_stop(m->pause_timer);
	complete_all(m, WAITS_PAUSE, err);
}

/* If it comes about later all the same, the state follows. */
static void on_pause_timeout(void *data)
{
	kiln_machine *m = data;
	kiln_error err;

	kiln__fail(&err, KILN_ETIMEDOUT, "the VMM has not answered within %d ms", PAUSE_MS);
	complete_all(m, WAITS_PAUSE, &err);
}

/* --- readiness: called by ready.c ------------------------------------------------------ */

static void on_hello(void *data, const struct kiln__agent_hello *hello)
{
	kiln_machine *m = data;

	m->stages.hello = kiln__os_monotonic_ns();
	m->stages.guest_init = hello->init_ns;
	m->stages.guest_vsock = hello->vsock_ns;
}

static void on_agent_up(void *data)
{
	kiln_machine *m = data;

	if (m->agent_up)
		m->agent_up(m->agent_up_data);
}

static void on_ready(void *data)
{
	kiln_machine *m = data;

	if (m->state != KILN_STATE_RUNNING)
		return;
	if (!kiln__ready_agent(m->ready))
		on_agent_up(m);
	kiln__timer_stop(m->ready_timer);
	m->stages.ready = kiln__os_monotonic_ns();
	if (enter(m, KILN_STATE_READY))
		complete_all(m, WAITS_READY, NULL);
}

static void on_ready_failed(void *data, const kiln_error *err)
{
	kiln_machine *m = data;

	/* What goes down has no sign to make any more. */
	if (m->state != KILN_STATE_STOPPING)
		fail_running(m, "ready", err);
}

static void on_guest_panic(void *data, const char *text)
{
	kiln_machine *m = data;

	snprintf(m->panic, sizeof(m->panic), "%s", text);
}

static const struct kiln__ready_handler ready_handler = {
	.hello = on_hello,
	.agent_up = on_agent_up,
	.ready = on_ready,
	.failed = on_ready_failed,
	.panicked = on_guest_panic,
};

/* --- a guest that reboots: called by the backend ---------------------------------------------- */

/* One that was to end, or that panicked, ends. */
static bool on_rebooting(void *data)
{
	const kiln_machine *m = data;

	return strcmp(m->spec->on_reboot, "restart") == 0 && !m->ending && !m->failure.code &&
	       !m->panic[0] && (m->state == KILN_STATE_RUNNING || m->state == KILN_STATE_READY);
}

/* It is a running guest again, which is not ready yet. */
static void on_rebooted(void *data)
{
	kiln_machine *m = data;
	struct kiln__ready *ready;
	kiln_error err;

	if (kiln__ready_new(&ready, m, &ready_handler, m, &err) < 0) {
		fail_running(m, "boot", &err);
		return;
	}
	kiln__ready_free(m->ready);
	m->ready = ready;
	m->main_exit = (kiln_exit){.kind = KILN_EXIT_NONE};
	if (m->rebooted)
		m->rebooted(m->rebooted_data);
	if (m->spec->readiness.kind != KILN__READY_NONE)
		kiln__timer_start(m->ready_timer, m->spec->readiness.timeout_ms);
	if (m->state == KILN_STATE_READY && !enter(m, KILN_STATE_RUNNING))
		return;
	kiln__ready_begin(m->ready);
}

/* --- making and freeing ------------------------------------------------------------------- */

static void set_names(kiln_machine *m)
{
	uint8_t bytes[16];

	if (m->options.id) {
		snprintf(m->id, sizeof(m->id), "%s", m->options.id);
	} else {
		kiln__os_random(bytes, sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes); i++)
			snprintf(m->id + 2 * i, 3, "%02x", bytes[i]);
	}
	snprintf(m->name, sizeof(m->name), "%.*s", (int)sizeof(m->name) - 1,
		 m->options.name ? m->options.name : "");
	if (!m->name[0])
		snprintf(m->name, sizeof(m->name), "%.12s", m->id);
	m->options.id = m->id;
	m->options.name = m->name;
}

static int choose_backend(kiln_machine *m, kiln_error *err)
{
	int r;

	if (strcmp(m->spec->backend, "auto") == 0)
		r = kiln__backend_choose(m->spec, &m->backend, err);
	else
		r = kiln__backend_find(m->spec->backend, &m->backend, err);
	if (r == 0 && m->spec->snapshot && !(m->backend->features & KILN__CAN_SNAPSHOT))
		r = kiln__fail(err, KILN_ENOTSUP, "snapshot: the %s backend cannot begin from one",
			       m->backend->name);
	if (r == 0 && m->spec->snapshot && m->spec->root.overlay == KILN__OVERLAY_DISK)
		r = kiln__fail(err, KILN_ENOTSUP,
			       "snapshot: root.overlay.kind is disk, and that is made anew");
	if (r == 0)
		r = kiln__backend_check(m->backend, m->spec, err);
	return r;
}

static int make_handles(kiln_machine *m, kiln_error *err)
{
	int r = kiln__deferred_new(&m->teller, m->loop, tell, m, err);

	if (r == 0)
		r = kiln__deferred_new(&m->reaper, m->loop, reap, m, err);
	if (r == 0)
		r = kiln__timer_new(&m->ready_timer, m->loop, on_ready_timeout, m, err);
	if (r == 0)
		r = kiln__timer_new(&m->stop_timer, m->loop, on_stop_timeout, m, err);
	if (r == 0)
		r = kiln__timer_new(&m->pause_timer, m->loop, on_pause_timeout, m, err);
	return r;
}

int kiln_machine_new(kiln_machine **ret_machine, kiln_loop *loop, const kiln_config *config,
		     const kiln_machine_options *options, kiln_error *err)
{
	return kiln__machine_new(ret_machine, loop, config, options, NULL, err);
}

int kiln__machine_new(kiln_machine **ret_machine, kiln_loop *loop, const kiln_config *config,
		      const kiln_machine_options *options, const struct kiln__kvm_verdict *kvm,
		      kiln_error *err)
{
	kiln_machine *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return kiln__fail_nomem(err);
	m->loop = loop;
	m->options = (kiln_machine_options)KILN_MACHINE_OPTIONS_INIT;
	if (options)
		memcpy(&m->options, options,
		       options->size < sizeof(m->options) ? options->size : sizeof(m->options));
	set_names(m);
	r = kiln__config_spec(config, &m->spec, err);
	if (r == 0) {
		if (kvm)
			m->spec->kvm = *kvm;
		kiln__machine_set_macs(m->spec, m->id);
	}
	if (r == 0)
		r = choose_backend(m, err);
	if (r == 0)
		r = make_handles(m, err);
	if (r < 0) {
		kiln_machine_free(m);
		return kiln__stage(err, "config"), r;
	}
	*ret_machine = m;
	return 0;
}

void kiln_machine_free(kiln_machine *m)
{
	kiln_error err;

	if (!m)
		return;
	if (m->instance)
		m->backend->free(m->instance);
	m->instance = NULL;
	kiln__ready_free(m->ready);
	m->ready = NULL;
	kiln__fail(&err, KILN_ECANCELED, "the machine was freed");
	for (enum waits w = WAITS_START; w < WAITS_NOTHING; w++)
		complete_all(m, w, &err);
	if (m->freed)
		*m->freed = true;
	if (m->teller)
		tell(m);
	kiln__deferred_free(m->teller);
	kiln__deferred_free(m->reaper);
	kiln__timer_free(m->ready_timer);
	kiln__timer_free(m->stop_timer);
	kiln__timer_free(m->pause_timer);
	kiln__spec_free(m->spec);
	free(m->runtime_dir);
	free(m);
}

/* --- operations of the public interface ------------------------------------------------------ */

static void forget_last_run(kiln_machine *m)
{
	if (m->instance)
		m->backend->free(m->instance);
	m->instance = NULL;
	m->exit = (kiln_exit){.kind = KILN_EXIT_NONE};
	m->main_exit = m->exit;
	m->failure = (kiln_error)KILN_ERROR_INIT;
	m->stages = (struct kiln__stages){0};
	m->panic[0] = '\0';
	m->vmm_started = m->ending = false;
}

/*
 * What the machine itself takes from the guest. Which others somebody listens for shows only
 * when a guest connects: they are for VMMs that need not listen beforehand.
 */
static const uint32_t served_ports[] = {KILN__AGENT_BOOT_PORT, 0};

static int on_leaving(void *data, const char *leaves, kiln_error *err)
{
	kiln_machine *m = data;

	return m->leaving ? m->leaving(m->leaving_data, leaves, err) : 0;
}

int kiln__machine_prepare(kiln_machine *m, kiln_error *err)
{
	struct kiln__backend_host host = {
		.loop = m->loop,
		.log = &m->options.log,
		.spec = m->spec,
		.id = m->id,
		.listen_ports = served_ports,
		.runtime_dir = m->runtime_dir,
		.state_dir = m->state_dir,
		.data = m,
		.leaving = on_leaving,
		.ended = on_ended,
		.panicked = on_panicked,
		.rebooting = on_rebooting,
		.rebooted = on_rebooted,
		.console = on_console,
		.incoming = on_incoming,
	};
	int r;

	if (!has_ended(m))
		return kiln__fail(err, KILN_ESTATE, "cannot start a machine that is %s",
				  kiln_state_name(m->state));
	forget_last_run(m);
	m->stages.begun = kiln__os_monotonic_ns();
	if (!enter(m, KILN_STATE_STARTING))
		return kiln__fail(err, KILN_ECANCELED, "the machine was freed");
	r = kiln__ready_new(&m->ready, m, &ready_handler, m, err);
	if (r == 0)
		r = m->backend->open(&m->instance, &host, err);
	if (r == 0)
		r = m->backend->prepare(m->instance, err);
	if (r < 0) {
		kiln_error why = err ? *err : (kiln_error){.code = r};

		if (m->instance)
			m->backend->free(m->instance);
		m->instance = NULL;
		set_failure(m, "prepare", &why);
		if (err)
			*err = m->failure;
		if (!settle(m, KILN__END_FAILED, &why))
			return kiln__fail(err, KILN_ECANCELED, "the machine was freed");
		return r;
	}
	m->stages.prepared = kiln__os_monotonic_ns();
	return 0;
}

static void on_started(void *data, int result, const kiln_error *err)
{
	kiln_machine *m = data;

	if (m->state != KILN_STATE_STARTING)
		return;
	if (result < 0) {
		fail_running(m, "start", err);
		return;
	}
	m->stages.running = kiln__os_monotonic_ns();
	if (m->spec->readiness.kind == KILN__READY_NONE)
		kiln__timer_stop(m->ready_timer);
	if (!enter(m, KILN_STATE_RUNNING))
		return;
	complete_all(m, WAITS_START, NULL);
	if (m->ready)
		kiln__ready_begin(m->ready);
}

void kiln_machine_start(kiln_machine *m, kiln_done_fn done, void *data)
{
	kiln_error err = KILN_ERROR_INIT;
	int r = 0;
	bool prepared = m->state == KILN_STATE_STARTING && m->instance && !m->vmm_started;

	if (!prepared && !has_ended(m)) {
		refuse(m, "start", done, data);
		return;
	}
	if (!prepared)
		r = kiln__machine_prepare(m, &err);
	if (r == KILN_ECANCELED) { /* by its own event */
		if (done)
			done(data, r, &err);
		return;
	}
	if (r < 0) {
		answer(m, done, data, &err);
		return;
	}
	if (!op_new(m, WAITS_START, done, data))
		return;
	m->vmm_started = true;
	/* If it need not be ready, it is only the VMM that has to be. */
	kiln__timer_start(m->ready_timer, m->spec->readiness.timeout_ms);
	m->backend->start(m->instance, on_started, m);
}

/* Waits for a state on the way up: @reached already, or it cannot be any more. */
static void wait_up(kiln_machine *m, bool reached, enum waits waits, kiln_done_fn done, void *data)
{
	kiln_error err;

	if (reached) {
		answer(m, done, data, NULL);
	} else if (m->state == KILN_STATE_FAILED) {
		answer(m, done, data, &m->failure);
	} else if (m->state == KILN_STATE_STOPPED || m->state == KILN_STATE_STOPPING) {
		kiln__fail(&err, KILN_EDIED, "the machine is %s", kiln_state_name(m->state));
		answer(m, done, data, &err);
	} else {
		op_new(m, waits, done, data);
	}
}

void kiln_machine_wait_ready(kiln_machine *m, kiln_done_fn done, void *data)
{
	wait_up(m, m->state == KILN_STATE_READY, WAITS_READY, done, data);
}

void kiln__machine_wait_running(kiln_machine *m, kiln_done_fn done, void *data)
{
	bool runs = m->state == KILN_STATE_RUNNING || m->state == KILN_STATE_READY ||
		    m->state == KILN_STATE_PAUSED;

	wait_up(m, runs, WAITS_START, done, data);
}

void kiln_machine_wait_stopped(kiln_machine *m, kiln_done_fn done, void *data)
{
	if (m->state == KILN_STATE_FAILED)
		answer(m, done, data, &m->failure);
	else if (m->state == KILN_STATE_STOPPED)
		answer(m, done, data, NULL);
	else
		op_new(m, WAITS_STOPPED, done, data);
}

static void on_shutdown_asked(void *data, int result, const kiln_error *err)
{
	kiln_machine *m = data;

	if (result == 0 || m->state != KILN_STATE_STOPPING)
		return;
	kiln__log(&m->options.log, KILN_LOG_WARN, "cannot ask the guest to stop: %s", err->message);
	m->backend->kill(m->instance);
}

/* Asks the guest, by its agent if there is one, else by the power key. */
static void ask_to_stop(kiln_machine *m)
{
	if (m->ready && kiln__ready_power_off(m->ready) == 0)
		return;
	if (m->backend->features & KILN__CAN_POWER_KEY)
		m->backend->shutdown(m->instance, on_shutdown_asked, m);
	else
		m->backend->kill(m->instance);
}

void kiln_machine_stop(kiln_machine *m, uint64_t timeout_ms, kiln_done_fn done, void *data)
{
	bool was_paused = m->state == KILN_STATE_PAUSED;
	bool was_starting = m->state == KILN_STATE_STARTING;

	if (has_ended(m)) {
		answer(m, done, data, NULL);
		return;
	}
	if (!op_new(m, WAITS_STOP, done, data))
		return;
	if (m->state == KILN_STATE_STOPPING) /* the earlier of two deadlines holds */
		return;
	m->ending = true;
	kiln__timer_stop(m->ready_timer);
	if (!enter(m, KILN_STATE_STOPPING))
		return;
	if (was_starting || timeout_ms == 0) {
		m->backend->kill(m->instance);
		return;
	}
	kiln__timer_start(m->stop_timer, timeout_ms);
	if (was_paused)
		m->backend->resume(m->instance, NULL, NULL);
	ask_to_stop(m);
}

void kiln_machine_kill(kiln_machine *m, kiln_done_fn done, void *data)
{
	if (has_ended(m)) {
		answer(m, done, data, NULL);
		return;
	}
	if (!op_new(m, WAITS_STOP, done, data))
		return;
	m->ending = true;
	kiln__timer_stop(m->ready_timer);
	if (m->state == KILN_STATE_STOPPING || enter(m, KILN_STATE_STOPPING))
		m->backend->kill(m->instance);
}

static void on_paused(void *data, int result, const kiln_error *err)
{
	kiln_machine *m = data;

	if (result == 0 && (m->state == KILN_STATE_RUNNING || m->state == KILN_STATE_READY)) {
		m->before_pause = m->state;
		kiln__timer_stop(m->ready_timer);
		if (!enter(m, KILN_STATE_PAUSED))
			return;
	}
	pause_over(m, err);
}

static void on_resumed(void *data, int result, const kiln_error *err)
{
	kiln_machine *m = data;

	if (result == 0 && m->state == KILN_STATE_PAUSED) {
		if (!enter(m, m->before_pause))
			return;
		if (m->state == KILN_STATE_RUNNING && m->spec->readiness.kind != KILN__READY_NONE)
			kiln__timer_start(m->ready_timer, m->spec->readiness.timeout_ms);
		if (m->ready)
			kiln__ready_resumed(m->ready);
	}
	pause_over(m, err);
}

/* Pause and resume are one at a time: their order is what the guest sees. */
static bool may_pause(kiln_machine *m, const char *what, kiln_done_fn done, void *data)
{
	kiln_error err;

	if (!(m->backend->features & KILN__CAN_PAUSE)) {
		kiln__fail(&err, KILN_ENOTSUP, "the %s backend cannot %s", m->backend->name, what);
		answer(m, done, data, &err);
		return false;
	}
	if (is_waiting(m, WAITS_PAUSE)) {
		kiln__fail(&err, KILN_EBUSY, "another pause or resume is under way");
		answer(m, done, data, &err);
		return false;
	}
	return true;
}

void kiln_machine_pause(kiln_machine *m, kiln_done_fn done, void *data)
{
	if (m->state == KILN_STATE_PAUSED && !is_waiting(m, WAITS_PAUSE))
		answer(m, done, data, NULL);
	else if (m->state != KILN_STATE_RUNNING && m->state != KILN_STATE_READY &&
		 m->state != KILN_STATE_PAUSED)
		refuse(m, "pause", done, data);
	else if (may_pause(m, "pause", done, data) && op_new(m, WAITS_PAUSE, done, data)) {
		kiln__timer_start(m->pause_timer, PAUSE_MS);
		m->backend->pause(m->instance, on_paused, m);
	}
}

void kiln_machine_resume(kiln_machine *m, kiln_done_fn done, void *data)
{
	bool runs = m->state == KILN_STATE_RUNNING || m->state == KILN_STATE_READY;

	if (runs && !is_waiting(m, WAITS_PAUSE))
		answer(m, done, data, NULL);
	else if (m->state != KILN_STATE_PAUSED && !runs)
		refuse(m, "resume", done, data);
	else if (may_pause(m, "resume", done, data) && op_new(m, WAITS_PAUSE, done, data)) {
		kiln__timer_start(m->pause_timer, PAUSE_MS);
		m->backend->resume(m->instance, on_resumed, m);
	}
}

static void on_updated(void *data, int result, const kiln_error *err)
{
	(void)result;
	complete_all(data, WAITS_UPDATE, err);
}

void kiln_machine_snapshot(kiln_machine *m, const char *directory, const char *base,
			   kiln_done_fn done, void *data)
{
	kiln_error err;

	if (m->state != KILN_STATE_PAUSED) {
		refuse(m, "snapshot", done, data);
	} else if (!m->backend->snapshot) {
		kiln__fail(&err, KILN_ENOTSUP, "the %s backend has no snapshots", m->backend->name);
		answer(m, done, data, &err);
	} else if (is_waiting(m, WAITS_UPDATE) || is_waiting(m, WAITS_PAUSE)) {
		kiln__fail(&err, KILN_EBUSY, "another operation is under way");
		answer(m, done, data, &err);
	} else if (op_new(m, WAITS_UPDATE, done, data)) {
		m->backend->snapshot(m->instance, directory, base, on_updated, m);
	}
}

void kiln_machine_update(kiln_machine *m, const kiln_update *update, kiln_done_fn done, void *data)
{
	kiln_update whole = KILN_UPDATE_INIT;
	kiln_error err;

	memcpy(&whole, update, update->size < sizeof(whole) ? update->size : sizeof(whole));
	if (m->state != KILN_STATE_RUNNING && m->state != KILN_STATE_READY) {
		refuse(m, "update", done, data);
	} else if (!m->backend->update) {
		kiln__fail(&err, KILN_ENOTSUP, "the %s backend cannot change a running machine",
			   m->backend->name);
		answer(m, done, data, &err);
	} else if (is_waiting(m, WAITS_UPDATE)) {
		kiln__fail(&err, KILN_EBUSY, "another update is under way");
		answer(m, done, data, &err);
	} else if (op_new(m, WAITS_UPDATE, done, data)) {
		m->backend->update(m->instance, &whole, on_updated, m);
	}
}

/* A machine that would end by its guest's reset is not reset. */
static int may_reset(const kiln_machine *m, kiln_error *err)
{
	if (strcmp(m->spec->on_reboot, "restart") == 0)
		return 0;
	kiln__fail(err, KILN_ENOTSUP, "reset: this machine ends by a reset (on_reboot)");
	return kiln__hint(err, "set on_reboot to \"restart\", or restart the machine"),
	       KILN_ENOTSUP;
}

void kiln_machine_change(kiln_machine *m, const kiln_change *change, kiln_done_fn done, void *data)
{
	bool runs = m->state == KILN_STATE_RUNNING || m->state == KILN_STATE_READY;
	bool paused = m->state == KILN_STATE_PAUSED;
	kiln_change whole = KILN_CHANGE_INIT;
	struct kiln__spec *parts = NULL;
	kiln_error err;
	int r;

	memcpy(&whole, change, change->size < sizeof(whole) ? change->size : sizeof(whole));
	r = kiln__change_check(m->backend, &whole, &parts, &err);
	if (r == 0 && whole.kind == KILN_CHANGE_RESET)
		r = may_reset(m, &err);
	if (r < 0)
		answer(m, done, data, &err);
	else if (whole.kind == KILN_CHANGE_DUMP ? !paused : !runs)
		refuse(m, kiln__change_names[whole.kind], done, data);
	else if (is_waiting(m, WAITS_UPDATE) || is_waiting(m, WAITS_PAUSE)) {
		kiln__fail(&err, KILN_EBUSY, "another operation is under way");
		answer(m, done, data, &err);
	} else if (op_new(m, WAITS_UPDATE, done, data)) {
		if (whole.kind == KILN_CHANGE_POWER_BUTTON)
			m->backend->shutdown(m->instance, on_updated, m);
		else
			m->backend->change(m->instance, &whole, parts, on_updated, m);
	}
	kiln__spec_free(parts);
}

void kiln__machine_set_failure(kiln_machine *m, const char *stage, const kiln_error *err)
{
	if (!has_ended(m) && !m->failure.code)
		set_failure(m, stage, err);
}
