/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: connections, and the methods of docs/control-protocol.md.
 *
 * Each connection is a struct client: a JSON-RPC end, or, after exec, connect and
 * console, a raw stream spliced to another. A client that attaches is handed over to
 * process.c with its stream. Peers are of this user (or root), and not trusted.
 */
#include "change.h"
#include "runner.h"

#include "acceptor.h"
#include "agentmsg.h"
#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "log.h"
#include "os.h"
#include "splice.h"
#include "syscalls.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

KILN__SYSCALLS(getpid, getuid);

/* Attached ones too. Each has a descriptor. */
#define MAX_CLIENTS RUNNER_MAX_CLIENTS

struct client {
	struct client *next;
	struct server *server;
	struct kiln__control *control; /* until it becomes raw */
	struct kiln__splice *splice;   /* once it is joined to a stream of the guest */
	struct kiln__stream *guest;    /* the guest's side while the answer is on its way */
	struct kiln__stream *console;  /* a console client */
	bool launcher;
	bool asked;   /* something, ever */
	bool follows; /* wants events */
	bool attach_stdin;
};

struct server {
	struct runner *runner;
	struct client *clients;
	size_t count;
	struct kiln__stream *launch; /* the launcher's, while nobody watches it */
	bool listens;                /* at control.sock, which is there then */
	struct kiln__acceptor *acceptor;
};

static const char *const features[] = {
	"launch",  "inspect", "wait",       "events", "stop",  "kill", "signal",
	"pause",   "update",  "snapshot",   "resume", "stats", "exec", "attach",
	"connect", "console", "background", "change", NULL,
};

/* --- clients ---------------------------------------------------------------------------- */

static void client_free(struct client *client)
{
	struct server *server = client->server;
	struct client **at = &server->clients;
	bool launcher = client->launcher;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	server->count--;
	if (launcher)
		server->launch = NULL;
	kiln__control_free(client->control);
	kiln__splice_free(client->splice);
	kiln__stream_close(client->guest);
	kiln__stream_close(client->console);
	free(client);
	if (launcher)
		runner_launcher_gone(server->runner);
	runner_maybe_end(server->runner);
}

static void on_closed(void *data, const kiln_error *err)
{
	(void)err;
	client_free(data);
}

/* Perhaps the last answer was what the end waited for. */
static void on_idle(void *data)
{
	struct client *client = data;

	runner_maybe_end(client->server->runner);
}

static void on_request(void *data, struct kiln__control_call *call, const char *method,
		       json_t *params);

static const struct kiln__control_handler control_handler = {
	.on_request = on_request,
	.on_idle = on_idle,
	.on_closed = on_closed,
};

/* Takes @fd, also on failure. */
static int client_new(struct server *server, kiln_fd fd, bool launcher, kiln_error *err)
{
	struct runner *runner = server->runner;
	struct client *client = calloc(1, sizeof(*client));
	struct kiln__stream *stream = NULL;
	int r = 0;

	if (!client)
		r = kiln__fail_nomem(err);
	if (r == 0 && launcher)
		r = kiln__fdstream_new_unwatched(&stream, runner->loop, fd, err);
	else if (r == 0)
		r = kiln__fdstream_new(&stream, runner->loop, fd, err);
	if (r < 0)
		kiln__os_close(fd);
	if (r == 0)
		r = kiln__control_new(&client->control, runner->loop, stream, true,
				      &control_handler, client, err);
	if (r < 0) {
		kiln__stream_close(stream);
		free(client);
		return r;
	}
	client->server = server;
	client->launcher = launcher;
	if (launcher)
		server->launch = stream;
	client->next = server->clients;
	server->clients = client;
	server->count++;
	kiln__control_send_hello(client->control, runner->id, KILN_VERSION, features);
	return 0;
}

static void watch_launch(struct server *server)
{
	if (server->launch)
		kiln__fdstream_watch(kiln__take(server->launch));
}

/* --- simple methods: one machine operation each ---------------------------------------------- */

static void answer_done(void *data, int result, const kiln_error *err)
{
	struct kiln__control_call *call = data;

	if (result < 0)
		kiln__control_fail(call, err);
	else
		kiln__control_answer(call, NULL);
}

static int bad_param(const char *what, kiln_error *err)
{
	return kiln__fail(err, KILN_EINVAL, "%s", what);
}

/* The state as it is recorded, but for what would be old as soon as it was. */
static void do_inspect(struct client *client, struct kiln__control_call *call, json_t *params)
{
	const struct runner *runner = client->server->runner;
	int64_t vmm_pid = kiln__machine_vmm_pid(runner->machine);
	json_t *state = runner_state(runner);
	struct kiln__os_usage vmm;

	(void)params;
	if (vmm_pid && kiln__os_process_usage(vmm_pid, &vmm, NULL) == 0)
		json_object_set_new(state, "vmm_cpu_ns", json_integer((json_int_t)vmm.cpu_ns));
	kiln__control_answer(call, state);
}

struct waiting {
	struct runner *runner;
	struct kiln__control_call *call;
};

static void answer_state(void *data, int result, const kiln_error *err)
{
	struct waiting *waiting = data;

	/* A machine that has failed has ended too: who waits for the end learns how from the state.
	 */
	if (result < 0)
		kiln__control_fail(waiting->call, err);
	else
		kiln__control_answer(waiting->call, runner_state(waiting->runner));
	free(waiting);
}

static void answer_end(void *data, int result, const kiln_error *err)
{
	bool ended = result == 0 || err->code != KILN_ECANCELED;

	answer_state(data, ended ? 0 : result, ended ? NULL : err);
}

static void do_wait(struct client *client, struct kiln__control_call *call, json_t *params)
{
	kiln_machine *machine = client->server->runner->machine;
	const char *until = json_string_value(json_object_get(params, "until"));
	struct waiting *waiting = malloc(sizeof(*waiting));
	kiln_error err;

	if (!waiting) {
		kiln__fail_nomem(&err);
		kiln__control_fail(call, &err);
		return;
	}
	*waiting = (struct waiting){.runner = client->server->runner, .call = call};
	if (until && strcmp(until, "ready") == 0) {
		kiln_machine_wait_ready(machine, answer_state, waiting);
	} else if (until && strcmp(until, "running") == 0) {
		kiln__machine_wait_running(machine, answer_state, waiting);
	} else if (until && strcmp(until, "stopped") == 0) {
		kiln_machine_wait_stopped(machine, answer_end, waiting);
	} else {
		free(waiting);
		bad_param("until: must be \"running\", \"ready\" or \"stopped\"", &err);
		kiln__control_fail(call, &err);
	}
}

static void do_events(struct client *client, struct kiln__control_call *call, json_t *params)
{
	client->follows = json_is_true(json_object_get(params, "follow"));
	kiln__control_answer(call, NULL);
}

static void do_stop(struct client *client, struct kiln__control_call *call, json_t *params)
{
	struct runner *runner = client->server->runner;
	const json_t *value = json_object_get(params, "timeout");
	uint64_t timeout = kiln__machine_spec(runner->machine)->stop_timeout_ms;
	kiln_error err;

	if (value && (!json_is_integer(value) || json_integer_value(value) < 0)) {
		bad_param("timeout: must be a number of milliseconds", &err);
		kiln__control_fail(call, &err);
		return;
	}
	if (value)
		timeout = (uint64_t)json_integer_value(value);
	runner_hurry(runner);
	kiln_machine_stop(runner->machine, timeout, answer_done, call);
}

static void do_kill(struct client *client, struct kiln__control_call *call, json_t *params)
{
	(void)params;
	runner_hurry(client->server->runner);
	kiln_machine_kill(client->server->runner->machine, answer_done, call);
}

static void do_pause(struct client *client, struct kiln__control_call *call, json_t *params)
{
	(void)params;
	kiln_machine_pause(client->server->runner->machine, answer_done, call);
}

static void do_resume(struct client *client, struct kiln__control_call *call, json_t *params)
{
	(void)params;
	kiln_machine_resume(client->server->runner->machine, answer_done, call);
}

/* A number of bytes or processors; absent: it stays. */
static int take_change(json_t *params, const char *key, uint64_t *ret, kiln_error *err)
{
	json_t *value = json_object_get(params, key);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return kiln__fail(err, KILN_EINVAL, "%s: must be a number", key);
	*ret = (uint64_t)json_integer_value(value);
	return 1;
}

static void do_update(struct client *client, struct kiln__control_call *call, json_t *params)
{
	kiln_update update = KILN_UPDATE_INIT;
	kiln_error err;
	int cpus = take_change(params, "cpus", &update.cpus, &err);
	int memory = cpus < 0 ? cpus : take_change(params, "memory", &update.memory, &err);
	int balloon = memory < 0 ? memory : take_change(params, "balloon", &update.balloon, &err);

	if (balloon < 0) {
		kiln__control_fail(call, &err);
		return;
	}
	update.config = json_string_value(json_object_get(params, "config"));
	kiln_machine_update(client->server->runner->machine, &update, answer_done, call);
}

static void do_change(struct client *client, struct kiln__control_call *call, json_t *params)
{
	struct runner_change change;
	kiln_error err;

	if (runner_change_take(&change, params, &err) < 0)
		kiln__control_fail(call, &err);
	else
		kiln_machine_change(client->server->runner->machine, &change.change, answer_done,
				    call);
	runner_change_done(&change);
}

static void do_snapshot(struct client *client, struct kiln__control_call *call, json_t *params)
{
	const char *directory = json_string_value(json_object_get(params, "directory"));
	const char *base = json_string_value(json_object_get(params, "base"));
	kiln_error err;

	if (!directory || directory[0] != '/' || (base && base[0] != '/')) {
		bad_param("directory, base: must be absolute paths", &err);
		kiln__control_fail(call, &err);
		return;
	}
	kiln_machine_snapshot(client->server->runner->machine, directory, base, answer_done, call);
}

static void do_background(struct client *client, struct kiln__control_call *call, json_t *params)
{
	struct runner *runner = client->server->runner;

	(void)params;
	if (runner->foreground) {
		runner->foreground = false;
		runner_save(runner);
	}
	answer_done(call, 0, NULL);
}

static void do_signal(struct client *client, struct kiln__control_call *call, json_t *params)
{
	json_int_t number = json_integer_value(json_object_get(params, "signal"));
	kiln_error err = KILN_ERROR_INIT;
	int r;

	/* Linux's signals: 1 to 64. */
	if (number < 1 || number > 64)
		r = bad_param("signal: must be a signal's number", &err);
	else
		r = process_signal(client->server->runner->process, (unsigned)number, &err);
	if (r < 0)
		kiln__control_fail(call, &err);
	else
		kiln__control_answer(call, NULL);
}

/* What the process tables say of it. */
static json_t *usage_of(const struct runner *runner)
{
	struct kiln__os_usage own = {0};
	struct kiln__os_usage vmm = {0};
	int64_t vmm_pid = kiln__machine_vmm_pid(runner->machine);

	kiln__os_process_usage(getpid(), &own, NULL);
	if (vmm_pid)
		kiln__os_process_usage(vmm_pid, &vmm, NULL);
	return json_pack("{s:I, s:I, s:I, s:I}", "cpu_ns", (json_int_t)(own.cpu_ns + vmm.cpu_ns),
			 "memory", (json_int_t)(own.resident + vmm.resident), "memory_limit",
			 (json_int_t)kiln__machine_spec(runner->machine)->memory, "runner_private",
			 (json_int_t)own.private_bytes);
}

/* A VMM that does not say what it counts leaves the rest as it is. */
struct counting {
	struct kiln__control_call *call;
	json_t *stats;
};

static void on_counters(void *data, const char *text, const kiln_error *err)
{
	struct counting *counting = data;
	json_t *counters = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;

	(void)err;
	if (json_is_object(counters))
		json_object_set(counting->stats, "counters", counters);
	json_decref(counters);
	kiln__control_answer(counting->call, counting->stats);
	free(counting);
}

static void do_stats(struct client *client, struct kiln__control_call *call, json_t *params)
{
	const struct runner *runner = client->server->runner;
	struct counting *counting = malloc(sizeof(*counting));
	kiln_error err;

	(void)params;
	if (!counting) {
		kiln__fail_nomem(&err);
		kiln__control_fail(call, &err);
		return;
	}
	*counting = (struct counting){.call = call, .stats = usage_of(runner)};
	if (!kiln__machine_counters(runner->machine, on_counters, counting))
		on_counters(counting, NULL, NULL);
}

/* --- methods that turn the connection into a raw stream -----------------------------------------
 */

static void on_splice_end(void *data, const kiln_error *err)
{
	(void)err;
	client_free(data);
}

/* The connection is raw now: joined to the guest's stream, which was waiting for it. */
static void on_raw(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct client *client = data;
	struct kiln__stream *guest = client->guest;

	(void)err;
	if (!stream) /* its end is reported by on_closed */
		return;
	client->control = NULL;
	client->guest = NULL;
	if (kiln__splice_new(&client->splice, stream, guest, on_splice_end, client, NULL) < 0) {
		kiln__stream_close(stream);
		kiln__stream_close(guest);
		client_free(client);
	}
}

/* A request that waits for a guest's connection; the client may go meanwhile. */
struct connecting {
	struct server *server;
	struct client *client;
	struct kiln__control_call *call;
};

static bool is_client(const struct server *server, const struct client *client)
{
	for (const struct client *c = server->clients; c; c = c->next)
		if (c == client)
			return true;
	return false;
}

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct connecting *c = data;
	bool alive = kiln__control_of(c->call) && is_client(c->server, c->client);

	if (!stream || !alive) {
		kiln_error gone;

		kiln__fail(&gone, KILN_ECANCELED, "the client has gone");
		kiln__stream_close(stream);
		kiln__control_fail(c->call, err ? err : &gone);
	} else {
		c->client->guest = stream;
		kiln__control_answer_raw(c->call, on_raw, c->client);
	}
	free(c);
}

static void connect_guest(struct client *client, struct kiln__control_call *call, uint32_t port)
{
	struct connecting *c = malloc(sizeof(*c));
	kiln_error err;

	if (!c) {
		kiln__fail_nomem(&err);
		kiln__control_fail(call, &err);
		return;
	}
	*c = (struct connecting){.server = client->server, .client = client, .call = call};
	kiln__control_hold(call);
	kiln__machine_connect(client->server->runner->machine, port, on_connected, c);
}

static void do_exec(struct client *client, struct kiln__control_call *call, json_t *params)
{
	kiln_machine *machine = client->server->runner->machine;
	enum kiln_state state = kiln_machine_state(machine);
	kiln_error err;

	(void)params;
	if (kiln__machine_agent(machine) &&
	    (state == KILN_STATE_RUNNING || state == KILN_STATE_READY)) {
		connect_guest(client, call, KILN__AGENT_PORT);
		return;
	}
	if (state == KILN_STATE_READY) {
		kiln__fail(&err, KILN_ENOTSUP,
			   "exec needs kiln's agent, which this guest does not run");
		kiln__hint(&err, "boot it with kiln's own initramfs");
	} else {
		kiln__fail(&err, KILN_ESTATE, "cannot exec in a machine that is %s",
			   kiln_state_name(state));
		kiln__hint(&err, state == KILN_STATE_PAUSED ? "resume it first"
							    : "wait until it is ready");
	}
	kiln__control_fail(call, &err);
}

static void do_connect(struct client *client, struct kiln__control_call *call, json_t *params)
{
	json_int_t port = json_integer_value(json_object_get(params, "port"));
	kiln_error err;

	/* VMADDR_PORT_ANY (2^32 - 1) is no port; the agent's has a protocol that only exec speaks.
	 */
	if (port < 1 || port >= UINT32_MAX || port == KILN__AGENT_PORT) {
		bad_param("port: must be a vsock port of the guest", &err);
		kiln__control_fail(call, &err);
		return;
	}
	connect_guest(client, call, (uint32_t)port);
}

static void on_attach_raw(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct client *client = data;
	struct process *process = client->server->runner->process;
	bool with_stdin = client->attach_stdin;

	(void)err;
	if (!stream)
		return;
	client->control = NULL;
	watch_launch(client->server);
	process_attach(process, stream, with_stdin, client->launcher);
	client->launcher = false; /* process.c reports that one's end from here on */
	client_free(client);
}

static void do_attach(struct client *client, struct kiln__control_call *call, json_t *params)
{
	client->attach_stdin = json_is_true(json_object_get(params, "stdin"));
	kiln__control_hold(call);
	kiln__control_answer_raw(call, on_attach_raw, client);
}

/* --- the console
 * -------------------------------------------------------------------------------------- */

static size_t on_console_input(void *data, const void *bytes, size_t len)
{
	struct client *client = data;

	kiln__machine_console_write(client->server->runner->machine, bytes, len);
	return len;
}

static void on_console_eof(void *data)
{
	client_free(data);
}

static void on_console_error(void *data, const kiln_error *err)
{
	(void)err;
	client_free(data);
}

static const struct kiln__stream_handler console_handler = {
	.on_data = on_console_input,
	.on_eof = on_console_eof,
	.on_error = on_console_error,
};

static void on_console_raw(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct client *client = data;

	(void)err;
	if (!stream)
		return;
	client->control = NULL;
	client->console = stream;
	kiln__stream_set_handler(stream, &console_handler, client);
	kiln__stream_resume(stream);
}

static void do_console(struct client *client, struct kiln__control_call *call, json_t *params)
{
	(void)params;
	kiln__control_hold(call);
	kiln__control_answer_raw(call, on_console_raw, client);
}

void server_console(struct server *server, const void *bytes, size_t len)
{
	/* A console is a line without flow control: who does not keep up misses bytes. */
	for (struct client *c = server->clients; c; c = c->next)
		if (c->console)
			kiln__stream_write(c->console, bytes, len);
}

/* --- dispatch
 * --------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*fn)(struct client *client, struct kiln__control_call *call, json_t *params);
} methods[] = {
	{"inspect", do_inspect}, {"wait", do_wait},
	{"events", do_events},   {"stop", do_stop},
	{"kill", do_kill},       {"signal", do_signal},
	{"update", do_update},   {"snapshot", do_snapshot},
	{"pause", do_pause},     {"resume", do_resume},
	{"stats", do_stats},     {"exec", do_exec},
	{"attach", do_attach},   {"connect", do_connect},
	{"console", do_console}, {"background", do_background},
	{"change", do_change},
};

static void on_request(void *data, struct kiln__control_call *call, const char *method,
		       json_t *params)
{
	struct client *client = data;
	struct runner *runner = client->server->runner;
	kiln_error err;

	client->asked = true;
	if (strcmp(method, "launch") == 0 && client->launcher && !runner->machine) {
		runner_launch(runner, call, params);
		return;
	}
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (strcmp(methods[i].name, method) != 0)
			continue;
		if (runner->machine) {
			methods[i].fn(client, call, params);
			return;
		}
		kiln__fail(&err, KILN_ESTATE, "nothing has been launched");
		kiln__control_fail(call, &err);
		return;
	}
	kiln__control_fail_unknown(call, method);
}

void server_notify(struct server *server, json_t *event)
{
	for (struct client *c = server->clients; c; c = c->next)
		if (c->follows && c->control)
			kiln__control_notify(c->control, "event", json_incref(event));
}

void server_event(struct server *server, const kiln_event *event)
{
	for (struct client *c = server->clients; c; c = c->next)
		if (c->follows && c->control)
			kiln__control_notify(c->control, "event", runner_event_json(event));
}

/* --- the listening socket
 * ------------------------------------------------------------------------------------ */

/* Connections that nothing was ever asked on must not keep out who wants to stop the VM: the oldest
 * of them, if there is one, goes. */
static bool make_room(struct server *server)
{
	struct client *silent = NULL;

	for (struct client *c = server->clients; c; c = c->next)
		if (!c->asked && !c->launcher)
			silent = c;
	if (silent)
		client_free(silent);
	return silent != NULL;
}

/* Tells a client that it is one too many: closed without a word it would take the VM for ended. */
static void turn_away(kiln_fd fd)
{
	kiln_error err;
	json_t *answer;
	char *text;

	kiln__fail(&err, KILN_EBUSY, "the VM's runner serves %d clients already", MAX_CLIENTS);
	answer = json_pack("{s:s, s:n, s:o}", "jsonrpc", "2.0", "id", "error",
			   kiln__control_error_json(&err));
	text = json_dumps(answer, JSON_COMPACT);
	/* The first bytes on a connection fit. */
	if (text && kiln__os_write(fd, text, strlen(text)) > 0)
		kiln__os_write(fd, "\n", 1);
	free(text);
	json_decref(answer);
}

static void on_connection(void *data, kiln_fd fd)
{
	struct server *server = data;
	uint32_t user;

	if (kiln__os_peer_user(fd, &user, NULL) < 0 || (user != 0 && user != getuid())) {
		kiln__os_close(fd);
		return;
	}
	if (server->count + process_clients(server->runner->process) >= MAX_CLIENTS &&
	    !make_room(server)) {
		turn_away(fd);
		kiln__os_close(fd);
		return;
	}
	client_new(server, fd, false, NULL);
}

int server_listen(struct server *server, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/control.sock", server->runner->runtime_dir);
	kiln_fd listener;
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_local_listen(&listener, path, err);
	if (r < 0)
		return r;
	server->listens = true;
	return kiln__acceptor_new(&server->acceptor, server->runner->loop, listener, on_connection,
				  server, err);
}

void server_launch(struct server *server)
{
	kiln__fdstream_read_first(server->launch);
	if (!server->acceptor) /* nothing was launched, or not yet all of it read */
		server_accept(server);
}

void server_accept(struct server *server)
{
	watch_launch(server);
	if (server->acceptor)
		kiln__acceptor_set(server->acceptor, true);
}

int server_new(struct server **ret, struct runner *runner, kiln_fd launch, kiln_error *err)
{
	struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return kiln__fail_nomem(err);
	server->runner = runner;
	r = client_new(server, launch, true, err);
	if (r < 0) {
		free(server);
		return r;
	}
	*ret = server;
	return 0;
}

bool server_busy(const struct server *server)
{
	for (const struct client *c = server->clients; c; c = c->next)
		if (c->splice || (c->control && kiln__control_pending(c->control)))
			return true;
	return false;
}

static void remove_socket(const struct server *server)
{
	kiln__autofree char *path = kiln__strf("%s/control.sock", server->runner->runtime_dir);

	if (path && server->listens)
		kiln__os_remove(path, NULL);
}

void server_free(struct server *server)
{
	if (!server)
		return;
	while (server->clients) {
		server->clients->launcher = false;
		client_free(server->clients);
	}
	kiln__acceptor_free(server->acceptor);
	remove_socket(server);
	free(server);
}
