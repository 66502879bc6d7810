/* SPDX-License-Identifier: Apache-2.0 */
/* Changes to a machine that runs, and snapshots of one that is paused: change.c says what may be
 * asked. */
#include "instance.h"

#include "err.h"

#include <string.h>

static void on_updated(void *data, int result, const kiln_error *err)
{
	(void)result;
	kiln__waiting_complete(data, KILN__WAITS_UPDATE, err);
}

void kiln_machine_snapshot(kiln_machine *m, const char *directory, const char *base,
			   kiln_done_fn done, void *data)
{
	kiln_error err;

	if (m->state != KILN_STATE_PAUSED) {
		kiln__waiting_refuse(m, "snapshot", done, data);
	} else if (!m->backend->snapshot) {
		kiln__fail(&err, KILN_ENOTSUP, "the %s backend has no snapshots", m->backend->name);
		kiln__waiting_answer(m, done, data, &err);
	} else if (kiln__waiting_any(m, KILN__WAITS_UPDATE) ||
		   kiln__waiting_any(m, KILN__WAITS_PAUSE)) {
		kiln__fail(&err, KILN_EBUSY, "another operation is under way");
		kiln__waiting_answer(m, done, data, &err);
	} else if (kiln__waiting_new(m, KILN__WAITS_UPDATE, done, data)) {
		m->backend->snapshot(m->instance, directory, base, on_updated, m);
	}
}

void kiln_machine_update(kiln_machine *m, const kiln_update *update, kiln_done_fn done, void *data)
{
	kiln_update whole = KILN_UPDATE_INIT;
	kiln_error err;

	memcpy(&whole, update, update->size < sizeof(whole) ? update->size : sizeof(whole));
	if (m->state != KILN_STATE_RUNNING && m->state != KILN_STATE_READY) {
		kiln__waiting_refuse(m, "update", done, data);
	} else if (!m->backend->update) {
		kiln__fail(&err, KILN_ENOTSUP, "the %s backend cannot change a running machine",
			   m->backend->name);
		kiln__waiting_answer(m, done, data, &err);
	} else if (kiln__waiting_any(m, KILN__WAITS_UPDATE)) {
		kiln__fail(&err, KILN_EBUSY, "another update is under way");
		kiln__waiting_answer(m, done, data, &err);
	} else if (kiln__waiting_new(m, KILN__WAITS_UPDATE, done, data)) {
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
		kiln__waiting_answer(m, done, data, &err);
	else if (whole.kind == KILN_CHANGE_DUMP ? !paused : !runs)
		kiln__waiting_refuse(m, kiln__change_names[whole.kind], done, data);
	else if (kiln__waiting_any(m, KILN__WAITS_UPDATE) ||
		 kiln__waiting_any(m, KILN__WAITS_PAUSE)) {
		kiln__fail(&err, KILN_EBUSY, "another operation is under way");
		kiln__waiting_answer(m, done, data, &err);
	} else if (kiln__waiting_new(m, KILN__WAITS_UPDATE, done, data)) {
		if (whole.kind == KILN_CHANGE_POWER_BUTTON)
			m->backend->shutdown(m->instance, on_updated, m);
		else
			m->backend->change(m->instance, &whole, parts, on_updated, m);
	}
	kiln__spec_free(parts);
}
