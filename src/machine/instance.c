/* SPDX-License-Identifier: Apache-2.0 */
/* Making a machine, and freeing it. */
#include "instance.h"

#include "err.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	int r = kiln__deferred_new(&m->teller, m->loop, kiln__waiting_tell, m, err);

	if (r == 0)
		r = kiln__deferred_new(&m->reaper, m->loop, kiln__machine_reap, m, err);
	if (r == 0)
		r = kiln__timer_new(&m->ready_timer, m->loop, kiln__machine_on_ready_timeout, m,
				    err);
	if (r == 0)
		r = kiln__timer_new(&m->stop_timer, m->loop, kiln__machine_on_stop_timeout, m, err);
	if (r == 0)
		r = kiln__timer_new(&m->pause_timer, m->loop, kiln__machine_on_pause_timeout, m,
				    err);
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
	for (enum kiln__waits w = KILN__WAITS_START; w < KILN__WAITS_NOTHING; w++)
		kiln__waiting_complete(m, w, &err);
	if (m->freed)
		*m->freed = true;
	if (m->teller)
		kiln__waiting_tell(m);
	kiln__deferred_free(m->teller);
	kiln__deferred_free(m->reaper);
	kiln__timer_free(m->ready_timer);
	kiln__timer_free(m->stop_timer);
	kiln__timer_free(m->pause_timer);
	kiln__spec_free(m->spec);
	free(m->runtime_dir);
	free(m);
}
