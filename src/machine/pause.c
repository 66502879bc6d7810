/* SPDX-License-Identifier: Apache-2.0 */
/* Pausing a running machine, and letting it go on. */
#include "instance.h"

#include "err.h"

/* How long a VMM may take to say that it has paused a guest, or lets it go on. */
#define PAUSE_MS 30000

static void pause_over(kiln_machine *m, const kiln_error *err)
{
	kiln__timer_stop(m->pause_timer);
	kiln__waiting_complete(m, KILN__WAITS_PAUSE, err);
}

/* If it comes about later all the same, the state follows. */
void kiln__machine_on_pause_timeout(void *data)
{
	kiln_machine *m = data;
	kiln_error err;

	kiln__fail(&err, KILN_ETIMEDOUT, "the VMM has not answered within %d ms", PAUSE_MS);
	kiln__waiting_complete(m, KILN__WAITS_PAUSE, &err);
}

static void on_paused(void *data, int result, const kiln_error *err)
{
	kiln_machine *m = data;

	if (result == 0 && (m->state == KILN_STATE_RUNNING || m->state == KILN_STATE_READY)) {
		m->before_pause = m->state;
		kiln__timer_stop(m->ready_timer);
		if (!kiln__machine_enter(m, KILN_STATE_PAUSED))
			return;
	}
	pause_over(m, err);
}

static void on_resumed(void *data, int result, const kiln_error *err)
{
	kiln_machine *m = data;

	if (result == 0 && m->state == KILN_STATE_PAUSED) {
		if (!kiln__machine_enter(m, m->before_pause))
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
		kiln__waiting_answer(m, done, data, &err);
		return false;
	}
	if (kiln__waiting_any(m, KILN__WAITS_PAUSE)) {
		kiln__fail(&err, KILN_EBUSY, "another pause or resume is under way");
		kiln__waiting_answer(m, done, data, &err);
		return false;
	}
	return true;
}

void kiln_machine_pause(kiln_machine *m, kiln_done_fn done, void *data)
{
	if (m->state == KILN_STATE_PAUSED && !kiln__waiting_any(m, KILN__WAITS_PAUSE))
		kiln__waiting_answer(m, done, data, NULL);
	else if (m->state != KILN_STATE_RUNNING && m->state != KILN_STATE_READY &&
		 m->state != KILN_STATE_PAUSED)
		kiln__waiting_refuse(m, "pause", done, data);
	else if (may_pause(m, "pause", done, data) &&
		 kiln__waiting_new(m, KILN__WAITS_PAUSE, done, data)) {
		kiln__timer_start(m->pause_timer, PAUSE_MS);
		m->backend->pause(m->instance, on_paused, m);
	}
}

void kiln_machine_resume(kiln_machine *m, kiln_done_fn done, void *data)
{
	bool runs = m->state == KILN_STATE_RUNNING || m->state == KILN_STATE_READY;

	if (runs && !kiln__waiting_any(m, KILN__WAITS_PAUSE))
		kiln__waiting_answer(m, done, data, NULL);
	else if (m->state != KILN_STATE_PAUSED && !runs)
		kiln__waiting_refuse(m, "resume", done, data);
	else if (may_pause(m, "resume", done, data) &&
		 kiln__waiting_new(m, KILN__WAITS_PAUSE, done, data)) {
		kiln__timer_start(m->pause_timer, PAUSE_MS);
		m->backend->resume(m->instance, on_resumed, m);
	}
}
