/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is on disk about a running VM: state.json, replaced whole at each transition
 * (synced only at the end: while it runs, the lock is what counts), and the events
 * file, one JSON object a line.
 */
#include "runner.h"

#include "buf.h"
#include "err.h"
#include "log.h"
#include "os.h"
#include "syscalls.h"
#include "vmfiles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

KILN__SYSCALLS(getpid, getrusage);

/* Most VMs run, and are gone, sooner than anybody could read that they are starting or stopping. */
#define SOON_OVER_MS 50

static json_t *exit_json(kiln_exit how)
{
	const char *kind = kiln_exit_kind_name(how.kind);
	int status = kiln_exit_status(how);

	if (how.kind == KILN_EXIT_NONE)
		return json_null();
	if (how.kind == KILN_EXIT_EXITED)
		return json_pack("{s:s, s:i, s:i}", "kind", kind, "code", how.code, "status",
				 status);
	if (how.kind == KILN_EXIT_SIGNALED)
		return json_pack("{s:s, s:i, s:i}", "kind", kind, "signal", how.code, "status",
				 status);
	return json_pack("{s:s, s:i}", "kind", kind, "status", status);
}

/* Nanoseconds from the begin of the start to each stage that was reached. */
static json_t *stages_json(const struct kiln__stages *stages)
{
	json_t *object = json_object();
	const struct {
		const char *name;
		int64_t at;
	} rows[] = {
		{"prepared_ns", stages->prepared},
		{"running_ns", stages->running},
		{"hello_ns", stages->hello},
		{"ready_ns", stages->ready},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].at)
			json_object_set_new(object, rows[i].name,
					    json_integer(rows[i].at - stages->begun));
	return object;
}

static json_t *ports_json(const struct kiln__spec *spec)
{
	json_t *list = json_array();

	for (size_t i = 0; i < spec->port_count; i++) {
		const struct kiln__port *port = &spec->ports[i];

		json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:s}", "host_ip",
						      port->host_ip ? port->host_ip : "127.0.0.1",
						      "host_port", port->host_port, "guest_port",
						      port->guest_port, "protocol",
						      port->udp ? "udp" : "tcp"));
	}
	return list;
}

/* CPU time of children that have ended and were reaped: the VMM's, once the VM is over. */
static json_int_t ended_children_cpu_ns(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_CHILDREN, &usage) < 0)
		return 0;
	return ((json_int_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
	       ((json_int_t)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

json_t *runner_state(const struct runner *runner)
{
	const kiln_machine *m = runner->machine;
	const kiln_error *failure = m ? kiln_machine_failure(m) : NULL;
	json_t *state = json_object();

	json_object_set_new(state, "id", json_string(runner->id));
	json_object_set_new(state, "name", runner->name ? json_string(runner->name) : json_null());
	json_object_set_new(
		state, "state",
		json_string(kiln_state_name(m ? kiln_machine_state(m) : KILN_STATE_CREATED)));
	json_object_set_new(state, "foreground", json_boolean(runner->foreground));
	json_object_set_new(state, "pid", json_integer(getpid()));
	json_object_set_new(state, "created", kiln__control_time_json(runner->created_ns));
	json_object_set_new(state, "started", kiln__control_time_json(runner->started_ns));
	json_object_set_new(state, "ready", kiln__control_time_json(runner->ready_ns));
	json_object_set_new(state, "finished", kiln__control_time_json(runner->finished_ns));
	if (!m)
		return state;
	json_object_set_new(state, "backend", json_string(kiln_machine_backend(m)));
	json_object_set_new(state, "accel", json_string(runner->accel));
	json_object_set_new(state, "accel_reason",
			    runner->accel_reason[0] ? json_string(runner->accel_reason)
						    : json_null());
	json_object_set_new(state, "vmm_pid", json_integer(kiln__machine_vmm_pid(m)));
	json_object_set_new(state, "vmm_cpu_ns", json_integer(ended_children_cpu_ns()));
	json_object_set_new(state, "exit", exit_json(kiln_machine_exit(m)));
	json_object_set_new(state, "failure",
			    failure ? kiln__control_failure_json(failure) : json_null());
	json_object_set_new(state, "stages", stages_json(kiln__machine_stages(m)));
	json_object_set_new(state, "health", health_json(runner->health));
	json_object_set_new(state, "ports", ports_json(kiln__machine_spec(m)));
	json_object_set_new(state, "jail",
			    json_pack("{s:b, s:i}", "own_root", runner->jail.own_root, "landlock",
				      runner->jail.landlock));
	return state;
}

static int write_to_lock(const struct runner *runner, const void *bytes, size_t len, uint64_t at,
			 kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/lock", runner->vm_dir);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_open(&fd, path, KILN__OPEN_WRITE, err);
	return r < 0 ? r : kiln__os_pwrite_full(fd, bytes, len, at, err);
}

int runner_record_leaves(void *data, const char *leaves, kiln_error *err)
{
	struct runner *runner = data;

	if (strlen(leaves) >= KILN__VM_LEAVES_SIZE)
		return kiln__fail(err, KILN_EOVERFLOW, "too many cgroups of one VM");
	runner->leaves = true;
	return write_to_lock(runner, leaves, strlen(leaves) + 1, KILN__VM_LEAVES_AT, err);
}

int runner_record_processes(const struct runner *runner, bool recorded, kiln_error *err)
{
	char text[64] = "";

	if (recorded && !kiln__machine_vmm_pid(runner->machine))
		return 0;
	snprintf(text, sizeof(text), KILN__VM_PROCESSES, (long long)getpid(),
		 (long long)kiln__machine_vmm_pid(runner->machine));
	/* With the zeros behind it, so that a longer one of an earlier life is gone. */
	return write_to_lock(runner, text, sizeof(text), KILN__VM_PROCESSES_AT, err);
}

json_t *runner_event_json(const kiln_event *event)
{
	json_t *object = json_pack(
		"{s:o, s:s, s:s}", "time", kiln__control_time_json(event->realtime_ns), "event",
		kiln_state_name(event->to), "from", kiln_state_name(event->from));

	if (event->to == KILN_STATE_STOPPED)
		json_object_set_new(object, "exit", exit_json(event->exit));
	if (event->err)
		json_object_set_new(object, "failure", kiln__control_failure_json(event->err));
	return object;
}

/* --- the events file and runner.log ---------------------------------------------------------- */

static int open_events(struct runner *runner, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/events", runner->dir);

	if (runner->events != KILN_FD_NONE)
		return 0;
	return path ? kiln__os_open_lines(&runner->events, path, err) : kiln__fail_nomem(err);
}

/* One write: the lines are there whole or, on a full disk, perhaps not at all. */
static void write_events(struct runner *runner)
{
	kiln_error err;
	int r = open_events(runner, &err);

	if (r == 0 && runner->later.failed)
		r = kiln__fail_nomem(&err);
	if (r == 0)
		r = kiln__os_append_full(runner->events, runner->later.data, runner->later.len,
					 &err);
	kiln__buf_done(&runner->later);
	if (r < 0)
		kiln__log(&runner->logger, KILN_LOG_ERROR, "cannot write events: %s", err.message);
}

static void append_event(struct runner *runner, const json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);

	if (!text)
		return;
	kiln__buf_addf(&runner->later, "%s\n", text);
	free(text);
}

static void write_untold(struct runner *runner)
{
	if (runner->untold.len)
		logfile_write(&runner->diagnostics, runner->untold.data, runner->untold.len);
	kiln__buf_done(&runner->untold);
}

void runner_diagnose(struct runner *runner, enum kiln_log_level level, const char *line)
{
	kiln__buf_adds(&runner->untold, line);
	if (level >= KILN_LOG_WARN || !runner->starting)
		write_untold(runner);
}

/* --- state.json ---------------------------------------------------------------------------------
 */

static void write_state(struct runner *runner, bool durable)
{
	kiln__autofree char *path = kiln__strf(
		"%s/" KILN__VM_STATE_FILE, runner->ephemeral ? runner->runtime_dir : runner->dir);
	json_t *state = runner_state(runner);
	char *text = json_dumps(state, JSON_INDENT(1));
	kiln_error err;

	json_decref(state);
	if (!path || !text)
		kiln__log(&runner->logger, KILN_LOG_ERROR,
			  "cannot write state.json: out of memory");
	else if (kiln__os_save_record(path, text, durable, &err) < 0)
		kiln__log(&runner->logger, KILN_LOG_ERROR, "%s", err.message);
	free(text);
}

void runner_save(struct runner *runner)
{
	runner->starting = false;
	write_untold(runner);
	if (runner->later.len)
		write_events(runner);
	write_state(runner, false);
}

void runner_record_health(struct runner *runner, const char *from, const char *to)
{
	json_t *object = json_pack("{s:o, s:s, s:s}", "time",
				   kiln__control_time_json(kiln__os_realtime_ns()), "event", to,
				   "from", from);

	append_event(runner, object);
	write_events(runner);
	server_notify(runner->server, object);
	json_decref(object);
	write_state(runner, false);
}

void runner_record(struct runner *runner, const kiln_event *event)
{
	bool ended = event->to == KILN_STATE_STOPPED || event->to == KILN_STATE_FAILED;
	json_t *object;

	if (event->to == KILN_STATE_RUNNING && !runner->started_ns)
		runner->started_ns = event->realtime_ns;
	if (event->to == KILN_STATE_READY && !runner->ready_ns)
		runner->ready_ns = event->realtime_ns;
	if (ended) {
		runner->finished_ns = event->realtime_ns;
		runner->over = true;
	}
	object = runner_event_json(event);
	append_event(runner, object);
	json_decref(object);
	kiln__timer_stop(runner->saving);
	runner->starting = event->to == KILN_STATE_STARTING;
	if (event->to == KILN_STATE_STARTING || event->to == KILN_STATE_STOPPING) {
		kiln__timer_start(runner->saving, SOON_OVER_MS);
		if (event->to == KILN_STATE_STOPPING)
			write_events(runner);
		return;
	}
	write_untold(runner);
	write_events(runner);
	write_state(runner, ended && !runner->ephemeral);
}
