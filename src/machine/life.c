/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for what becomes of a machine, and ending it. */
#include "instance.h"

#include "err.h"
#include "log.h"

/* Waits for a state on the way up: @reached already, or it cannot be any more. */
static void wait_up(kiln_machine *m, bool reached, enum kiln__waits waits, kiln_done_fn done,
		    void *data)
{
	kiln_error err;

	if (reached) {
		kiln__waiting_answer(m, done, data, NULL);
	} else if (m->state == KILN_STATE_FAILED) {
		kiln__waiting_answer(m, done, data, &m->failure);
	} else if (m->state == KILN_STATE_STOPPED || m->state == KILN_STATE_STOPPING) {
		kiln__fail(&err, KILN_EDIED, "the machine is %s", kiln_state_name(m->state));
		kiln__waiting_answer(m, done, data, &err);
	} else {
		kiln__waiting_new(m, waits, done, data);
	}
}

void kiln_machine_wait_ready(kiln_machine *m, kiln_done_fn done, void *data)
{
	wait_up(m, m->state == KILN_STATE_READY, KILN__WAITS_READY, done, data);
}

void kiln__machine_wait_running(kiln_machine *m, kiln_done_fn done, void *data)
{
	bool runs = m->state == KILN_STATE_RUNNING || m->state == KILN_STATE_READY ||
		    m->state == KILN_STATE_PAUSED;

	wait_up(m, runs, KILN__WAITS_START, done, data);
}

void kiln_machine_wait_stopped(kiln_machine *m, kiln_done_fn done, void *data)
{
	if (m->state == KILN_STATE_FAILED)
		kiln__waiting_answer(m, done, data, &m->failure);
	else if (m->state == KILN_STATE_STOPPED)
		kiln__waiting_answer(m, done, data, NULL);
	else
		kiln__waiting_new(m, KILN__WAITS_STOPPED, done, data);
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

	if (kiln__machine_has_ended(m)) {
		kiln__waiting_answer(m, done, data, NULL);
		return;
	}
	if (!kiln__waiting_new(m, KILN__WAITS_STOP, done, data))
		return;
	if (m->state == KILN_STATE_STOPPING) /* the earlier of two deadlines holds */
		return;
	m->ending = true;
	kiln__timer_stop(m->ready_timer);
	if (!kiln__machine_enter(m, KILN_STATE_STOPPING))
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
	if (kiln__machine_has_ended(m)) {
		kiln__waiting_answer(m, done, data, NULL);
		return;
	}
	if (!kiln__waiting_new(m, KILN__WAITS_STOP, done, data))
		return;
	m->ending = true;
	kiln__timer_stop(m->ready_timer);
	if (m->state == KILN_STATE_STOPPING || kiln__machine_enter(m, KILN_STATE_STOPPING))
		m->backend->kill(m->instance);
}
