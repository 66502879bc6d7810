/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of a VM.
 *
 * A machine owns one backend instance from prepare to the VM's end. Events come from inside the
 * transition: what is recorded of a state is there before anything is done in it. Its user may do
 * anything with the machine in one, as in a completion (waiting.c), freeing it included: whatever
 * enters a state looks whether there is a machine left.
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

bool kiln__machine_has_ended(const kiln_machine *m)
{
	return m->state == KILN_STATE_STOPPED || m->state == KILN_STATE_FAILED ||
	       m->state == KILN_STATE_CREATED;
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

bool kiln__machine_enter(kiln_machine *m, enum kiln_state to)
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
 * kiln__machine_enter(). */
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
		if (!kiln__machine_enter(m, KILN_STATE_FAILED))
			return false;
		kiln__waiting_complete(m, KILN__WAITS_STOPPED, &over);
	} else {
		kiln__fail(&over, KILN_EDIED, "the machine has ended (%s)",
			   kiln_exit_kind_name(m->exit.kind));
		if (!kiln__machine_enter(m, KILN_STATE_STOPPED))
			return false;
		kiln__waiting_complete(m, KILN__WAITS_STOPPED, NULL);
	}
	kiln__waiting_complete(m, KILN__WAITS_START, &over);
	kiln__waiting_complete(m, KILN__WAITS_READY, &over);
	kiln__waiting_complete(m, KILN__WAITS_PAUSE, &over);
	kiln__waiting_complete(m, KILN__WAITS_UPDATE, &over);
	kiln__waiting_complete(m, KILN__WAITS_STOP, NULL);
	return true;
}

void kiln__machine_reap(void *data)
{
	kiln_machine *m = data;

	if (m->instance && kiln__machine_has_ended(m)) {
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
	if (kiln__machine_has_ended(m) || m->failure.code)
		return;
	set_failure(m, stage, err);
	m->backend->kill(m->instance);
}

void kiln__machine_on_ready_timeout(void *data)
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

void kiln__machine_on_stop_timeout(void *data)
{
	kiln_machine *m = data;

	kiln__log(&m->options.log, KILN_LOG_WARN, "the guest did not stop in time and is killed");
	m->backend->kill(m->instance);
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
	if (kiln__machine_enter(m, KILN_STATE_READY))
		kiln__waiting_complete(m, KILN__WAITS_READY, NULL);
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
	if (m->state == KILN_STATE_READY && !kiln__machine_enter(m, KILN_STATE_RUNNING))
		return;
	kiln__ready_begin(m->ready);
}

/* --- the start -------------------------------------------------------------------------- */

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

	if (!kiln__machine_has_ended(m))
		return kiln__fail(err, KILN_ESTATE, "cannot start a machine that is %s",
				  kiln_state_name(m->state));
	forget_last_run(m);
	m->stages.begun = kiln__os_monotonic_ns();
	if (!kiln__machine_enter(m, KILN_STATE_STARTING))
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
	if (!kiln__machine_enter(m, KILN_STATE_RUNNING))
		return;
	kiln__waiting_complete(m, KILN__WAITS_START, NULL);
	if (m->ready)
		kiln__ready_begin(m->ready);
}

void kiln_machine_start(kiln_machine *m, kiln_done_fn done, void *data)
{
	kiln_error err = KILN_ERROR_INIT;
	int r = 0;
	bool prepared = m->state == KILN_STATE_STARTING && m->instance && !m->vmm_started;

	if (!prepared && !kiln__machine_has_ended(m)) {
		kiln__waiting_refuse(m, "start", done, data);
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
		kiln__waiting_answer(m, done, data, &err);
		return;
	}
	if (!kiln__waiting_new(m, KILN__WAITS_START, done, data))
		return;
	m->vmm_started = true;
	/* If it need not be ready, it is only the VMM that has to be. */
	kiln__timer_start(m->ready_timer, m->spec->readiness.timeout_ms);
	m->backend->start(m->instance, on_started, m);
}

void kiln__machine_set_failure(kiln_machine *m, const char *stage, const kiln_error *err)
{
	if (!kiln__machine_has_ended(m) && !m->failure.code)
		set_failure(m, stage, err);
}
