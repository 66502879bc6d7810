/* SPDX-License-Identifier: Apache-2.0 */
#include "trace.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "timefmt.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* Rows: Chrome's threads of one process. */
enum row { ROW_KILN = 1, ROW_RUNNER, ROW_GUEST };

struct trace {
	char *path;
	int64_t moments[TRACE_MOMENTS]; /* ns since 1970; 0: did not come */
	json_t *events;
};

static int64_t ns_of(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int trace_new(struct trace **ret, const char *path, kiln_error *err)
{
	struct trace *trace = calloc(1, sizeof(*trace));
	struct timespec cpu;

	if (!trace)
		return kiln__fail_nomem(err);
	trace->path = strdup(path);
	trace->events = json_array();
	if (!trace->path || !trace->events) {
		trace_free(trace);
		return kiln__fail_nomem(err);
	}
	/* When the process was made is known to ten milliseconds only; what it has used since,
	 * exactly. */
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	trace_once(trace, TRACE_MAIN);
	trace->moments[TRACE_EXEC] = trace->moments[TRACE_MAIN] - ns_of(cpu);
	*ret = trace;
	return 0;
}

void trace_once(struct trace *trace, enum trace_moment moment)
{
	if (trace && !trace->moments[moment])
		trace->moments[moment] = kiln__os_realtime_ns();
}

void trace_free(struct trace *trace)
{
	if (!trace)
		return;
	json_decref(trace->events);
	free(trace->path);
	free(trace);
}

/* --- writing ----------------------------------------------------------------- */

/* A complete event ("X"); nothing if either end did not come. */
static void span(struct trace *trace, enum row row, const char *name, int64_t from, int64_t to)
{
	double origin = (double)trace->moments[TRACE_EXEC];

	if (!from || !to || to < from)
		return;
	json_array_append_new(trace->events,
			      json_pack("{s:s, s:s, s:i, s:i, s:f, s:f}", "name", name, "ph", "X",
					"pid", 1, "tid", row, "ts", ((double)from - origin) / 1e3,
					"dur", (double)(to - from) / 1e3));
}

static void name_row(struct trace *trace, enum row row, const char *name)
{
	json_array_append_new(trace->events,
			      json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "name", "thread_name",
					"ph", "M", "pid", 1, "tid", row, "args", "name", name));
}

static void add_own(struct trace *trace)
{
	static const struct {
		const char *name;
		enum trace_moment from, to;
	} spans[] = {
		{"load", TRACE_EXEC, TRACE_MAIN},
		{"configure and create", TRACE_MAIN, TRACE_CREATED},
		{"start", TRACE_CREATED, TRACE_RUNNING},
		{"wait for the process", TRACE_RUNNING, TRACE_PROCESS},
		{"wait for output", TRACE_PROCESS, TRACE_OUTPUT},
		{"until the process has ended", TRACE_OUTPUT, TRACE_EXIT},
		{"until the VM has ended", TRACE_EXIT, TRACE_STOPPED},
	};

	name_row(trace, ROW_KILN, "kiln");
	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
		span(trace, ROW_KILN, spans[i].name, trace->moments[spans[i].from],
		     trace->moments[spans[i].to]);
}

/* When the VM went from state to state, from its events. */
struct transitions {
	int64_t starting, stopping, stopped;
	bool done;
};

static void on_event(void *data, const char *json)
{
	struct transitions *t = data;
	json_t *event = json_loads(json, 0, NULL);
	const char *name = json_string_value(json_object_get(event, "event"));
	const char *text = json_string_value(json_object_get(event, "time"));
	int64_t time = text ? kiln__time_parse(text) : -1;

	if (name && time > 0 && strcmp(name, "starting") == 0)
		t->starting = time;
	else if (name && time > 0 && strcmp(name, "stopping") == 0)
		t->stopping = time;
	else if (name && time > 0 && (strcmp(name, "stopped") == 0 || strcmp(name, "failed") == 0))
		t->stopped = time;
	json_decref(event);
}

static void on_events_done(void *data, int result, const kiln_error *err)
{
	struct transitions *t = data;

	(void)result;
	(void)err;
	t->done = true;
}

static void get_transitions(kiln_manager *manager, kiln_vm *vm, struct transitions *ret)
{
	kiln_follower *follower;

	if (kiln_manager_events(manager, vm, false, on_event, on_events_done, ret, &follower,
				NULL) < 0)
		return;
	while (!ret->done && kiln_loop_step(kiln_manager_loop(manager)))
		;
	kiln_follower_free(follower);
}

/* Nanoseconds since the start that @stages has under @name, as a moment; 0 if there are none. */
static int64_t stage(const json_t *stages, const char *name, int64_t begun)
{
	json_int_t ns = json_integer_value(json_object_get(stages, name));

	return begun && ns > 0 ? begun + ns : 0;
}

static void add_runner(struct trace *trace, const json_t *state, const struct transitions *t)
{
	const json_t *stages = json_object_get(state, "stages");
	int64_t prepared = stage(stages, "prepared_ns", t->starting);
	int64_t running = stage(stages, "running_ns", t->starting);
	int64_t hello = stage(stages, "hello_ns", t->starting);
	int64_t ready = stage(stages, "ready_ns", t->starting);

	name_row(trace, ROW_RUNNER, "kiln-runner and VMM");
	span(trace, ROW_RUNNER, "launch", trace->moments[TRACE_CREATED], t->starting);
	span(trace, ROW_RUNNER, "prepare", t->starting, prepared);
	span(trace, ROW_RUNNER, "VMM starts", prepared, running);
	span(trace, ROW_RUNNER, "guest runs", running, t->stopping ? t->stopping : t->stopped);
	span(trace, ROW_RUNNER, "stop", t->stopping, t->stopped);
	name_row(trace, ROW_GUEST, "guest");
	span(trace, ROW_GUEST, "boot to the agent's hello", running, hello);
	span(trace, ROW_GUEST, "set up until ready", hello, ready);
	span(trace, ROW_GUEST, "start the process", ready, trace->moments[TRACE_PROCESS]);
	span(trace, ROW_GUEST, "process", trace->moments[TRACE_PROCESS],
	     trace->moments[TRACE_EXIT]);
}

static int64_t cpu_of(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return ((int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
	       ((int64_t)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/*
 * What kiln's own processes used: this one, and its children with theirs, but not the VMM,
 * which is the runner's child and counted for it by the runner.
 */
static json_t *other_data(const json_t *state)
{
	int64_t vmm = (int64_t)json_integer_value(json_object_get(state, "vmm_cpu_ns"));
	int64_t self = cpu_of(RUSAGE_SELF);
	int64_t children = cpu_of(RUSAGE_CHILDREN);

	return json_pack("{s:I, s:I, s:I, s:I}", "kiln_cpu_ns", (json_int_t)(self + children - vmm),
			 "command_cpu_ns", (json_int_t)self, "runner_cpu_ns",
			 (json_int_t)(children - vmm), "vmm_cpu_ns", (json_int_t)vmm);
}

int trace_write(struct trace *trace, kiln_manager *manager, kiln_vm *vm, kiln_error *err)
{
	kiln__autofree char *inspected = NULL;
	struct transitions transitions = {0};
	json_t *state = NULL;
	json_t *document;
	char *text;
	int r;

	if (kiln_vm_inspect_sync(vm, &inspected, -1, NULL) == 0)
		state = json_loads(inspected, 0, NULL);
	get_transitions(manager, vm, &transitions);
	add_own(trace);
	add_runner(trace, state, &transitions);
	document = json_pack("{s:O, s:s, s:o}", "traceEvents", trace->events, "displayTimeUnit",
			     "ms", "otherData", other_data(state));
	text = json_dumps(document, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
	json_decref(document);
	json_decref(state);
	r = text ? kiln__os_replace_file(trace->path, text, strlen(text), 0644, false, err)
		 : kiln__fail_nomem(err);
	free(text);
	return r;
}
