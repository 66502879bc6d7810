/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine tells of itself, and what its runner adds: no transition begins here. */
#include "instance.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>

enum kiln_state kiln_machine_state(const kiln_machine *m)
{
	return m->state;
}

kiln_exit kiln_machine_exit(const kiln_machine *m)
{
	return m->exit;
}

const char *kiln_machine_id(const kiln_machine *m)
{
	return m->id;
}

const char *kiln_machine_backend(const kiln_machine *m)
{
	return m->backend->name;
}

const char *kiln_machine_accel(const kiln_machine *m)
{
	return m->instance ? m->backend->accel(m->instance) : "";
}

const kiln_error *kiln_machine_failure(const kiln_machine *m)
{
	return m->state == KILN_STATE_FAILED ? &m->failure : NULL;
}

/* --- for the runner ------------------------------------------------------------------ */

void kiln__machine_connect(kiln_machine *m, uint32_t port, kiln__connect_fn done, void *data)
{
	kiln_error err;

	if (m->state == KILN_STATE_RUNNING || m->state == KILN_STATE_READY) {
		m->backend->connect(m->instance, port, done, data);
		return;
	}
	kiln__fail(&err, KILN_ESTATE, "cannot connect to a machine that is %s",
		   kiln_state_name(m->state));
	done(data, NULL, &err);
}

void kiln__machine_on_incoming(kiln_machine *m,
			       bool (*fn)(void *data, uint32_t port, struct kiln__stream *stream),
			       void *data)
{
	m->incoming = fn;
	m->incoming_data = data;
}

void kiln__machine_on_agent_up(kiln_machine *m, void (*fn)(void *data), void *data)
{
	m->agent_up = fn;
	m->agent_up_data = data;
}

void kiln__machine_on_rebooted(kiln_machine *m, void (*fn)(void *data), void *data)
{
	m->rebooted = fn;
	m->rebooted_data = data;
}

int kiln__machine_set_runtime_dir(kiln_machine *m, const char *path, kiln_error *err)
{
	char *copy = strdup(path);

	if (!copy)
		return kiln__fail_nomem(err);
	free(m->runtime_dir);
	m->runtime_dir = copy;
	return 0;
}

int kiln__machine_moved(kiln_machine *m, const char *runtime_dir, kiln_error *err)
{
	m->state_dir = NULL; /* only prepare() asks for it */
	return m->instance && m->backend->moved ? m->backend->moved(m->instance, runtime_dir, err)
						: 0;
}

bool kiln__machine_owns_vsock(const kiln_machine *m)
{
	return m->backend->features & KILN__OWNS_VSOCK;
}

const char *kiln__machine_disk_serial(const kiln_machine *m, const char *serial)
{
	return m->instance && m->backend->disk_serial ? m->backend->disk_serial(m->instance, serial)
						      : serial;
}

bool kiln__machine_ends_by_reset(const kiln_machine *m)
{
	return m->backend->features & KILN__ENDS_BY_RESET;
}

size_t kiln__machine_console_write(kiln_machine *m, const void *bytes, size_t len)
{
	return m->instance ? m->backend->console_write(m->instance, bytes, len) : 0;
}

struct kiln__agent *kiln__machine_agent(const kiln_machine *m)
{
	return m->ready ? kiln__ready_agent(m->ready) : NULL;
}

bool kiln__machine_counters(kiln_machine *m, kiln__text_fn done, void *data)
{
	if (!m->backend->counters || !m->instance ||
	    (m->state != KILN_STATE_RUNNING && m->state != KILN_STATE_READY &&
	     m->state != KILN_STATE_PAUSED))
		return false;
	return m->backend->counters(m->instance, done, data);
}

const struct kiln__spec *kiln__machine_spec(const kiln_machine *m)
{
	return m->spec;
}

const char *kiln__machine_accel_reason(const kiln_machine *m)
{
	const char *reason = m->instance && m->backend->accel_reason
				     ? m->backend->accel_reason(m->instance)
				     : NULL;

	return reason ? reason : "";
}

int64_t kiln__machine_vmm_pid(const kiln_machine *m)
{
	return m->instance ? m->backend->pid(m->instance) : 0;
}

int kiln__machine_keep_processes(kiln_machine *m, kiln_error *err)
{
	unsigned count = 0;

	return m->instance && m->backend->keep ? m->backend->keep(m->instance, &count, err) : 0;
}

void kiln__machine_on_leaving(kiln_machine *m, kiln__leaving_fn *fn, void *data)
{
	m->leaving = fn;
	m->leaving_data = data;
}

void kiln__machine_set_exit(kiln_machine *m, kiln_exit exit)
{
	m->main_exit = exit;
}

void kiln__machine_keep_in(kiln_machine *m, const char *dir)
{
	m->state_dir = dir;
}

void kiln__machine_vouch(kiln_machine *m, bool kernel, bool initrd)
{
	m->spec->kernel.immutable = kernel;
	m->spec->initrd.immutable = initrd;
}

int kiln__machine_add_scratch(kiln_machine *m, const char *path, kiln_error *err)
{
	int r = kiln__spec_add_scratch(m->spec, path, err);

	return r < 0 ? r : kiln__backend_check(m->backend, m->spec, err);
}

int kiln__machine_add_disk(kiln_machine *m, const struct kiln__disk *disk, kiln_error *err)
{
	int r = kiln__spec_add_disk(m->spec, disk, err);

	return r < 0 ? r : kiln__backend_check(m->backend, m->spec, err);
}

const struct kiln__stages *kiln__machine_stages(const kiln_machine *m)
{
	return &m->stages;
}

const char *kiln__machine_name(const kiln_machine *m)
{
	return m->name;
}

kiln_loop *kiln__machine_loop(const kiln_machine *m)
{
	return m->loop;
}

void kiln__machine_guest_stages(kiln_machine *m, const struct kiln__agent_setup_done *done)
{
	m->stages.guest_modules = done->modules_ns;
	m->stages.guest_root = done->root_ns;
	m->stages.guest_ready = done->ready_ns;
}
