/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for kiln-runner that keeps to docs/control-protocol.md without running
 * anything, or breaks it in a chosen way: labels.mode of the configuration says which.
 *
 *   fail         the launch is refused         silent   no request is ever answered
 *   die          it ends at the launch         rubbish  it says no JSON, but to its launcher
 *   old          it lacks the feature "stats"  linger   it stays a while after the VM's end
 *   unready      it becomes running, not ready
 *
 * A process that sleeps for ever and is tied to its life stands for the VMM.
 */
#include "buf.h"
#include "control.h"
#include "err.h"
#include "fdstream.h"
#include "os.h"
#include "vmfiles.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINGER_MS 300

struct client {
	struct client *next;
	struct kiln__control *control;
	struct kiln__control_call *waits; /* for "ready" or the end */
	bool waits_end;
	struct kiln__control_call *stops;
	bool follows;
	bool launcher;
};

static kiln_loop *loop;
static const char *id;
static char *dir;
static char *runtime;
static bool ephemeral;
static char *socket_path;
static char mode[32];
static char state[16] = "created";
static bool foreground;
static bool launched;
static kiln_fd listener = KILN_FD_NONE;
static struct kiln__watch *watch;
static struct kiln__child *vmm;
static struct client *clients;
static struct kiln__timer *linger;

static bool is_mode(const char *name)
{
	return strcmp(mode, name) == 0;
}

static json_t *state_json(void)
{
	bool ended = strcmp(state, "stopped") == 0;
	json_t *object =
		json_pack("{s:s, s:s, s:i, s:s, s:s, s:I}", "id", id, "state", state, "pid",
			  (int)getpid(), "backend", "fake", "accel", "none", "vmm_pid",
			  vmm ? (json_int_t)kiln__child_pid(vmm) : (json_int_t)0);

	if (ended)
		json_object_set_new(object, "exit",
				    json_pack("{s:s, s:i}", "kind", "exited", "code", 0));
	return object;
}

static void append(const char *name, const char *text)
{
	kiln__autofree char *path = kiln__strf("%s/%s", dir, name);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;

	if (kiln__os_open(&fd, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_APPEND,
			  NULL) == 0)
		kiln__os_write_full(fd, text, strlen(text), NULL);
}

static void answer_waits(void)
{
	bool ended = strcmp(state, "stopped") == 0;
	bool ready = strcmp(state, "ready") == 0;
	kiln_error err;

	for (struct client *c = clients; c; c = c->next) {
		if (!c->waits || (!ended && (c->waits_end || !ready)))
			continue;
		if (ended && !c->waits_end) {
			kiln__fail(&err, KILN_ESTATE, "it has ended");
			kiln__control_fail(kiln__take(c->waits), &err);
		} else {
			kiln__control_answer(kiln__take(c->waits), state_json());
		}
	}
}

static void enter_state(const char *name)
{
	kiln__autofree char *path =
		kiln__strf("%s/" KILN__VM_STATE_FILE, ephemeral ? runtime : dir);
	kiln__autofree char *event = NULL;
	json_t *object;
	char *text;

	event = kiln__strf(
		"{\"time\":\"2026-01-01T00:00:00.%09lldZ\",\"event\":\"%s\",\"from\":\"%s\"}\n",
		(long long)(kiln__os_monotonic_ns() % 1000000000), name, state);
	snprintf(state, sizeof(state), "%s", name);
	object = state_json();
	text = json_dumps(object, JSON_INDENT(1));
	kiln__os_replace_file(path, text, strlen(text), 0600, false, NULL);
	append("events", event);
	free(text);
	json_decref(object);
	answer_waits();
}

static void on_linger(void *data)
{
	(void)data;
	kiln_loop_stop(loop);
}

static void on_vmm_gone(void *data, struct kiln__exit how)
{
	(void)data;
	(void)how;
	enter_state("stopped");
	for (struct client *c = clients; c; c = c->next)
		if (c->stops)
			kiln__control_answer(kiln__take(c->stops), NULL);
	kiln__timer_start(linger, is_mode("linger") ? LINGER_MS : 1);
}

static void end(void)
{
	kiln__child_kill(vmm);
}

/* --- methods ---------------------------------------------------------------------------------- */

static void start_vmm(void)
{
	kiln__autofree char *self = NULL;
	const char *argv[] = {"fake-vmm", "vmm", id, NULL};
	struct kiln__spawn spawn = {.argv = argv, .die_with_parent = true};

	if (kiln__os_exe_path(&self, NULL) < 0)
		exit(1);
	spawn.path = self;
	if (kiln__child_spawn(&vmm, &spawn, NULL) < 0 ||
	    kiln__child_watch(vmm, loop, on_vmm_gone, NULL, NULL) < 0)
		exit(1);
}

static void record_processes(const char *vm_dir)
{
	kiln__autofree char *path = kiln__strf("%s/lock", vm_dir);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	char text[64] = "";

	snprintf(text, sizeof(text), KILN__VM_PROCESSES, (long long)getpid(),
		 (long long)kiln__child_pid(vmm));
	if (kiln__os_open(&fd, path, KILN__OPEN_WRITE, NULL) == 0)
		kiln__os_pwrite_full(fd, text, sizeof(text), KILN__VM_PROCESSES_AT, NULL);
}

static void on_listener(void *data, int events);

static void launch(struct kiln__control_call *call, json_t *params)
{
	json_t *config = json_object_get(params, "config");
	const char *vm_dir;
	const char *label =
		json_string_value(json_object_get(json_object_get(config, "labels"), "mode"));
	kiln_error err;

	snprintf(mode, sizeof(mode), "%s", label ? label : "");
	vm_dir = json_string_value(json_object_get(params, "dir"));
	dir = kiln__strf("%s/" KILN__VM_STATE, vm_dir);
	runtime = strdup(json_string_value(json_object_get(params, "runtime_dir")));
	ephemeral = json_is_true(json_object_get(params, "ephemeral"));
	foreground = json_is_true(json_object_get(params, "foreground"));
	if (is_mode("die"))
		exit(1);
	if (is_mode("fail")) {
		kiln__fail(&err, KILN_EFORMAT, "the kernel is none");
		kiln__stage(&err, "kernel");
		kiln__control_fail(call, &err);
		return;
	}
	socket_path = kiln__strf("%s/control.sock", runtime);
	if (kiln__os_local_listen(&listener, socket_path, &err) < 0 ||
	    kiln__watch_new(&watch, loop, listener, on_listener, NULL, &err) < 0) {
		kiln__control_fail(call, &err);
		return;
	}
	kiln__watch_set(watch, KILN__READABLE);
	launched = true;
	append("console.log", "console line\n");
	append("log", "1700000000000000000 1 4\nout\n\n1700000000000000001 2 4\nerr\n\n");
	start_vmm();
	record_processes(vm_dir);
	enter_state("starting");
	enter_state("running");
	kiln__control_answer(call, NULL);
	if (!is_mode("unready"))
		enter_state("ready");
}

static void on_raw(void *data, struct kiln__stream *stream, const kiln_error *err);

static void dispatch(struct client *c, struct kiln__control_call *call, const char *method,
		     json_t *params)
{
	const char *until = json_string_value(json_object_get(params, "until"));

	if (strcmp(method, "inspect") == 0) {
		kiln__control_answer(call, state_json());
	} else if (strcmp(method, "stats") == 0) {
		kiln__control_answer(call, json_pack("{s:i}", "cpu_ns", 1));
	} else if (strcmp(method, "wait") == 0) {
		c->waits = call;
		c->waits_end = strcmp(until, "stopped") == 0;
		if (strcmp(until, "running") == 0)
			kiln__control_answer(kiln__take(c->waits), state_json());
		answer_waits();
	} else if (strcmp(method, "stop") == 0 || strcmp(method, "kill") == 0) {
		if (strcmp(state, "stopped") == 0) {
			kiln__control_answer(call, NULL);
		} else {
			c->stops = call;
			end();
		}
	} else if (strcmp(method, "pause") == 0 || strcmp(method, "resume") == 0) {
		enter_state(method[0] == 'p' ? "paused" : "ready");
		kiln__control_answer(call, NULL);
	} else if (strcmp(method, "connect") == 0 || strcmp(method, "console") == 0) {
		kiln__control_hold(call);
		kiln__control_answer_raw(call, on_raw, c);
	} else {
		kiln__control_fail_unknown(call, method);
	}
}

static void on_request(void *data, struct kiln__control_call *call, const char *method,
		       json_t *params)
{
	struct client *c = data;

	if (strcmp(method, "launch") == 0)
		launch(call, params);
	else if (is_mode("silent"))
		return; /* @call leaks: so does a runner that hangs */
	else
		dispatch(c, call, method, params);
}

/* --- connections --------------------------------------------------------------------- */

/* Sends back what comes. */
static size_t echo(void *data, const void *bytes, size_t len)
{
	ssize_t n = kiln__stream_write(data, bytes, len);

	return n < 0 ? len : (size_t)n;
}

static void echo_eof(void *data)
{
	kiln__stream_shutdown(data);
}

static void echo_writable(void *data)
{
	kiln__stream_resume(data);
}

static void echo_error(void *data, const kiln_error *err)
{
	(void)err;
	kiln__stream_close(data);
}

static const struct kiln__stream_handler echo_handler = {echo, echo_eof, echo_writable, echo_error};

static void client_free(struct client *c)
{
	struct client **at = &clients;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	free(c);
}

static void on_raw(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	(void)err;
	client_free(data);
	kiln__stream_set_handler(stream, &echo_handler, stream);
	kiln__stream_resume(stream);
}

static void on_closed(void *data, const kiln_error *err)
{
	struct client *c = data;
	bool launcher = c->launcher;

	(void)err;
	kiln__control_free(c->control);
	client_free(c);
	if (launcher && (!launched || foreground)) {
		if (launched && strcmp(state, "stopped") != 0)
			end();
		else
			kiln_loop_stop(loop);
	}
}

static const struct kiln__control_handler handler = {on_request, NULL, on_closed};

static void serve(kiln_fd fd, bool launcher)
{
	static const char *const features[] = {"inspect", "wait",   "events", "stop",
					       "kill",    "pause",  "resume", "connect",
					       "console", "signal", "stats",  NULL};
	const char *known[sizeof(features) / sizeof(features[0])];
	struct client *c = calloc(1, sizeof(*c));
	struct kiln__stream *stream;

	memcpy(known, features, sizeof(known));
	if (is_mode("old"))
		known[sizeof(known) / sizeof(known[0]) - 2] = NULL;
	c->launcher = launcher;
	if (is_mode("rubbish"))
		kiln__os_write(fd, "\xff rubbish\n", 10);
	if (kiln__fdstream_new(&stream, loop, fd, NULL) < 0 ||
	    kiln__control_new(&c->control, loop, stream, true, &handler, c, NULL) < 0)
		exit(1);
	c->next = clients;
	clients = c;
	kiln__control_send_hello(c->control, id, is_mode("old") ? "0.0.9" : "0.1.0", known);
}

static void on_listener(void *data, int events)
{
	kiln_fd fd;

	(void)data;
	(void)events;
	while (kiln__os_accept(&fd, listener, NULL) == 0)
		serve(fd, false);
}

int main(int argc, char **argv)
{
	kiln_fd launch_fd;
	kiln_fd lock;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && strcmp(argv[1], "vmm") == 0)
		for (;;)
			pause();
	if (argc != 2)
		return 2;
	id = argv[1];
	if (kiln__os_inherited(&launch_fd, 3, NULL) < 0 || kiln__os_inherited(&lock, 4, NULL) < 0 ||
	    kiln_loop_new(&loop, NULL) < 0 ||
	    kiln__timer_new(&linger, loop, on_linger, NULL, NULL) < 0)
		return 1;
	serve(launch_fd, true);
	kiln_loop_run(loop);
	/* The system closes all; what has a name is taken away here. */
	if (socket_path)
		kiln__os_remove(socket_path, NULL);
	return 0;
}
