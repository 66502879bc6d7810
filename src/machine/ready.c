/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness. The agent connects to the host's boot port as soon as vsock works; it is
 * told what this boot is to be (root, host name, network, clock ...), and when it has
 * done that the guest is ready, unless the configuration names another sign.
 *
 * Nothing polls: the agent speaks first, the console is read as it comes, ports are
 * waited for inside the guest, by the agent. Only the command that a user named is run
 * again until it succeeds, since nothing else tells when it would.
 */
#include "ready.h"

#include "console_scan.h"
#include "err.h"
#include "log.h"
#include "machine.h"
#include "os.h"
#include "session.h"
#include "setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the guest only root may bind a port below this one (Linux, net/vmw_vsock/af_vsock.c). */
#define PRIVILEGED_PORTS 1024

/* Between two runs of the readiness command: doubled from the first to the second. */
#define AGAIN_MIN_MS 100
#define AGAIN_MAX_MS 2000

struct kiln__ready {
	kiln_machine *machine;
	const struct kiln__spec *spec;
	const struct kiln__ready_handler *handler;
	void *data;
	struct kiln__agent *agent;
	struct kiln__session *command; /* the readiness command while it runs */
	struct kiln__timer *again;     /* armed between two of its runs */
	uint64_t again_ms;
	struct kiln__agent_exit last; /* how it ended */
	struct kiln__console_scan scan;
	char describe[400];
	bool begun;   /* the VMM says that the guest runs */
	bool set_up;  /* the agent has done what it was told */
	bool up;      /* and the handler knows: once, whatever agents come after the first */
	bool signed_; /* the configured sign has been seen */
	bool told;
};

static void check(struct kiln__ready *ready)
{
	enum kiln__ready_kind kind = ready->spec->readiness.kind;
	bool done = ready->signed_ || kind == KILN__READY_NONE;

	/* A guest with kiln's agent is not ready before the agent is: there is nothing to exec in.
	 */
	if (!ready->begun || ready->told || !done || (ready->agent && !ready->set_up))
		return;
	ready->told = true;
	ready->handler->ready(ready->data);
}

static void sign(struct kiln__ready *ready)
{
	ready->signed_ = true;
	check(ready);
}

/* --- signs that need the agent's help -------------------------------------------------- */

static size_t on_command_output(void *data, int stream, const void *bytes, size_t len)
{
	(void)data;
	(void)stream;
	(void)bytes;
	return len;
}

static void on_command_started(void *data, uint32_t pid)
{
	(void)data;
	(void)pid;
}

static void run_again(struct kiln__ready *ready)
{
	ready->again_ms = ready->again_ms ? ready->again_ms * 2 : AGAIN_MIN_MS;
	if (ready->again_ms > AGAIN_MAX_MS)
		ready->again_ms = AGAIN_MAX_MS;
	kiln__timer_start(ready->again, ready->again_ms);
}

static void on_command_exited(void *data, const struct kiln__agent_exit *how)
{
	struct kiln__ready *ready = data;

	kiln__session_free(ready->command);
	ready->command = NULL;
	if (how->code == 0 && how->signal == 0) {
		sign(ready);
		return;
	}
	ready->last = *how;
	run_again(ready);
}

static void on_command_failed(void *data, const kiln_error *err, bool lost)
{
	struct kiln__ready *ready = data;
	kiln_error why = *err;

	kiln__session_free(ready->command);
	ready->command = NULL;
	if (lost) { /* the guest is paused, or goes down, or its agent is being started again */
		run_again(ready);
		return;
	}
	kiln__prefix(&why, "the readiness command");
	ready->handler->failed(ready->data, &why);
}

static const struct kiln__session_handler command_handler = {
	.started = on_command_started,
	.output = on_command_output,
	.exited = on_command_exited,
	.failed = on_command_failed,
};

static void on_command_stream(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct kiln__ready *ready = data;
	struct kiln__buf argv = KILN__BUF_INIT;
	struct kiln__agent_start start = {.id = 0};
	kiln_error why;

	(void)err;
	if (!stream) {
		run_again(ready);
		return;
	}
	kiln__strs_add_all(&argv, ready->spec->readiness.command);
	start.argv = (struct kiln__strs){argv.data, argv.len};
	if (kiln__session_start(&ready->command, kiln__machine_loop(ready->machine), stream, &start,
				&command_handler, ready, &why) < 0) {
		kiln__stream_close(stream);
		ready->handler->failed(ready->data, &why);
	}
	kiln__buf_done(&argv);
}

static void run_command(void *data)
{
	struct kiln__ready *ready = data;
	enum kiln_state state = kiln_machine_state(ready->machine);

	if (state == KILN_STATE_PAUSED)
		run_again(ready); /* it would not answer */
	else if (state == KILN_STATE_RUNNING)
		kiln__machine_connect(ready->machine, KILN__AGENT_PORT, on_command_stream, ready);
}

static void on_port(void *data, const void *result, const kiln_error *err)
{
	struct kiln__ready *ready = data;

	(void)result;
	if (!err)
		sign(ready);
	else if (err->code != KILN_EIO) /* the connection's end is reported by itself */
		ready->handler->failed(ready->data, err);
}

static void wait_for_port(struct kiln__ready *ready)
{
	const struct kiln__readiness *wanted = &ready->spec->readiness;
	const struct kiln__agent_wait_port wait = {
		.port = wanted->port,
		.vsock = wanted->kind == KILN__READY_VSOCK,
	};
	kiln_error err;

	if (kiln__agent_request(ready->agent,
				&(struct kiln__agent_call){
					.type = KILN__AGENT_WAIT_PORT,
					.record = &kiln__agent_wait_port_record,
					.value = &wait,
					.reply = on_port,
					.data = ready,
				},
				&err) < 0)
		ready->handler->failed(ready->data, &err);
}

/* The agent is up and set up: now for the sign that the configuration names. */
static void seek_sign(struct kiln__ready *ready)
{
	switch (ready->spec->readiness.kind) {
	case KILN__READY_AGENT:
		sign(ready);
		break;
	case KILN__READY_TCP:
	case KILN__READY_VSOCK:
		wait_for_port(ready);
		break;
	case KILN__READY_COMMAND:
		run_command(ready);
		break;
	case KILN__READY_CONSOLE:
	case KILN__READY_NONE:
		check(ready);
		break;
	}
}

/* Processes can be started: the main one first, since the sign may be of its making (a port). */
static void agent_up(struct kiln__ready *ready)
{
	if (ready->up)
		return;
	ready->up = true;
	ready->handler->agent_up(ready->data);
	seek_sign(ready);
}

/* --- the agent ------------------------------------------------------------------------------- */

static void on_set_up(void *data, const void *result, const kiln_error *err)
{
	struct kiln__ready *ready = data;
	const struct kiln__agent_setup_done *done = result;
	kiln_error why;

	/* An agent that was started again is told its part; without it the guest runs on. */
	if (err && ready->set_up)
		return;
	/* The machine ends, and its end says more than this; or the agent is started again, and is
	 * told then; or the deadline of the start comes. */
	if (err && err->code == KILN_EDIED)
		return;
	if (err) {
		why = *err;
		kiln__prefix(&why, "the guest could not be set up");
		ready->handler->failed(ready->data, &why);
		return;
	}
	kiln__machine_guest_stages(ready->machine, done);
	ready->set_up = true;
	if (ready->begun)
		agent_up(ready);
}

static void on_hello(void *data, const struct kiln__agent_hello *hello)
{
	struct kiln__ready *ready = data;
	kiln_error err;

	ready->handler->hello(ready->data, hello);
	if (kiln__setup_send(ready->agent, ready->machine, hello, on_set_up, ready, &err) < 0 &&
	    !ready->set_up)
		ready->handler->failed(ready->data, &err);
}

static void on_agent_closed(void *data, const kiln_error *err)
{
	struct kiln__ready *ready = data;

	(void)err; /* a guest that goes down closes it too: what happened shows soon */
	kiln__agent_free(ready->agent);
	ready->agent = NULL;
}

static const struct kiln__agent_handler agent_handler = {
	.hello = on_hello,
	.closed = on_agent_closed,
};

bool kiln__ready_incoming(struct kiln__ready *ready, uint32_t from, struct kiln__stream *stream)
{
	if (from >= PRIVILEGED_PORTS)
		return false;
	/* The agent again, after it was restarted by the guest's own init, say. */
	kiln__agent_free(ready->agent);
	ready->agent = NULL;
	return kiln__agent_new(&ready->agent, kiln__machine_loop(ready->machine), stream,
			       &agent_handler, ready, NULL) == 0;
}

void kiln__ready_resumed(struct kiln__ready *ready)
{
	if (ready->agent && ready->set_up)
		kiln__setup_clock(ready->agent);
}

int kiln__ready_power_off(struct kiln__ready *ready)
{
	const struct kiln__agent_shutdown how = {.action = KILN__AGENT_POWEROFF};

	if (!ready->agent || !(kiln__agent_features(ready->agent) & KILN__AGENT_FEATURE_POWER))
		return KILN_ENOTSUP;
	return kiln__agent_request(ready->agent,
				   &(struct kiln__agent_call){
					   .type = KILN__AGENT_SHUTDOWN,
					   .record = &kiln__agent_shutdown_record,
					   .value = &how,
				   },
				   NULL);
}

struct kiln__agent *kiln__ready_agent(const struct kiln__ready *ready)
{
	return ready->set_up ? ready->agent : NULL;
}

/* --- the console --------------------------------------------------------------------------------
 */

void kiln__ready_console(struct kiln__ready *ready, const void *bytes, size_t len)
{
	if (!kiln__console_scan(&ready->scan, bytes, len))
		return;
	if (ready->scan.panic[0])
		ready->handler->panicked(ready->data, ready->scan.panic);
	if (ready->scan.ready && ready->spec->readiness.kind == KILN__READY_CONSOLE)
		sign(ready);
}

const char *kiln__ready_describe(struct kiln__ready *ready)
{
	char ended[64];
	const char *what = "it has not made its sign";

	if (ready->last.signal || ready->last.code) {
		snprintf(ended, sizeof(ended), "the readiness command last %s %u",
			 ready->last.signal ? "was killed by signal" : "exited with code",
			 ready->last.signal ? ready->last.signal : ready->last.code);
		what = ended;
	}
	if (!ready->agent)
		what = "no word from its agent";
	else if (!ready->set_up)
		what = "its agent is still setting it up";
	snprintf(ready->describe, sizeof(ready->describe), "%s%s%s", what,
		 ready->scan.last[0] ? "; last on its console: " : "", ready->scan.last);
	return ready->describe;
}

/* --- life
 * ------------------------------------------------------------------------------------------ */

void kiln__ready_begin(struct kiln__ready *ready)
{
	ready->begun = true;
	if (ready->set_up)
		agent_up(ready);
	else
		check(ready);
}

int kiln__ready_new(struct kiln__ready **ret, kiln_machine *machine,
		    const struct kiln__ready_handler *handler, void *data, kiln_error *err)
{
	struct kiln__ready *ready = calloc(1, sizeof(*ready));
	int r = 0;

	if (!ready)
		return kiln__fail_nomem(err);
	ready->machine = machine;
	ready->spec = kiln__machine_spec(machine);
	ready->handler = handler;
	ready->data = data;
	if (ready->spec->readiness.kind == KILN__READY_COMMAND)
		r = kiln__timer_new(&ready->again, kiln__machine_loop(machine), run_command, ready,
				    err);
	if (r < 0) {
		free(ready);
		return r;
	}
	*ret = ready;
	return 0;
}

void kiln__ready_free(struct kiln__ready *ready)
{
	if (!ready)
		return;
	kiln__timer_free(ready->again);
	kiln__session_free(ready->command);
	kiln__agent_free(ready->agent);
	free(ready);
}
