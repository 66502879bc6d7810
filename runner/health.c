/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the main process is well: a command in the guest, again and again, by docker's rules
 * (health in kiln-config(5)). One at a time, each over a connection of its own to the agent, with a
 * deadline; the next begins an interval after the last has ended. What changes is in state.json and
 * an event. On the loop's thread; what the command writes is the guest's, and only its beginning is
 * kept, for inspect.
 */
#include "runner.h"

#include "err.h"
#include "log.h"
#include "os.h"
#include "session.h"
#include "setup.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OUTPUT 4096

/* How long one that was killed may take to be gone, before it is forgotten. */
#define KILL_MS 5000

enum phase { PHASE_OFF, PHASE_PAUSE, PHASE_CONNECT, PHASE_RUN, PHASE_KILL };

struct health {
	struct runner *runner;
	struct kiln__timer *timer; /* of the phase */
	struct kiln__session *session;
	enum phase phase;
	enum health_status status;
	unsigned connecting;     /* connections asked for: the answer to an older one is too late */
	unsigned failures;       /* in a row */
	int64_t since;           /* the process's start, monotonic */
	bool told_well;          /* the start period is over */
	int code;                /* of the last; -1: it was killed or could not run */
	struct kiln__buf output; /* of the one that runs */
	struct kiln__buf last;   /* of the one before */
};

static const char *const names[] = {"none", "starting", "healthy", "unhealthy"};

static const struct kiln__health *spec_of(const struct health *h)
{
	return &kiln__machine_spec(h->runner->machine)->health;
}

static void set_status(struct health *h, enum health_status status)
{
	enum health_status from = h->status;

	if (from == status)
		return;
	h->status = status;
	if (status != HEALTH_NONE && from != HEALTH_NONE)
		runner_record_health(h->runner, names[from], names[status]);
	else
		runner_save(h->runner);
}

static void drop_session(struct health *h)
{
	kiln__session_free(h->session);
	h->session = NULL;
}

static void wait_interval(struct health *h)
{
	h->phase = PHASE_PAUSE;
	kiln__timer_start(h->timer, spec_of(h)->interval_ms);
}

/* --- what comes of one ------------------------------------------------------------------ */

static void finish(struct health *h, int code)
{
	const struct kiln__health *spec = spec_of(h);
	int64_t age_ms = (kiln__os_monotonic_ns() - h->since) / 1000000;
	enum kiln_state state = kiln_machine_state(h->runner->machine);

	drop_session(h);
	if (state != KILN_STATE_RUNNING && state != KILN_STATE_READY) {
		wait_interval(h); /* it was cut off, which says nothing of health */
		return;
	}
	kiln__buf_done(&h->last);
	h->last = h->output;
	h->output = (struct kiln__buf)KILN__BUF_INIT;
	h->code = code;
	if (code == 0) {
		h->told_well = true;
		h->failures = 0;
		set_status(h, HEALTH_HEALTHY);
	} else if (h->told_well || (uint64_t)age_ms >= spec->start_period_ms) {
		h->failures += h->failures < spec->retries;
		if (h->failures >= spec->retries)
			set_status(h, HEALTH_UNHEALTHY);
	}
	wait_interval(h);
}

static void say(struct health *h, const char *text)
{
	kiln__buf_clear(&h->output);
	kiln__buf_adds(&h->output, text);
}

static void on_started(void *data, uint32_t pid)
{
	(void)data;
	(void)pid;
}

static size_t on_output(void *data, int stream, const void *bytes, size_t len)
{
	struct health *h = data;
	size_t room = MAX_OUTPUT - h->output.len;

	(void)stream;
	kiln__buf_add(&h->output, bytes, len < room ? len : room);
	return len;
}

static void on_exited(void *data, const struct kiln__agent_exit *how)
{
	struct health *h = data;

	if (h->phase == PHASE_KILL)
		say(h, "it took longer than health.timeout, and was killed");
	finish(h, h->phase == PHASE_KILL || how->signal ? -1 : (int)(how->code & 0xff));
}

static void on_failed(void *data, const kiln_error *err, bool lost)
{
	struct health *h = data;

	(void)lost;
	say(h, err->message);
	finish(h, -1);
}

static const struct kiln__session_handler session_handler = {
	.started = on_started,
	.output = on_output,
	.exited = on_exited,
	.failed = on_failed,
};

/* --- one -------------------------------------------------------------------------------- */

static int run(struct health *h, struct kiln__stream *stream, kiln_error *err)
{
	const struct kiln__process *process = &kiln__machine_spec(h->runner->machine)->process;
	kiln__autobuf argv = KILN__BUF_INIT;
	kiln__autobuf env = KILN__BUF_INIT;
	struct kiln__agent_start start = {.id = 0};

	kiln__strs_add_all(&argv, spec_of(h)->command);
	kiln__strs_add_all(&env, process->env);
	start.argv = (struct kiln__strs){argv.data, argv.len};
	start.env = (struct kiln__strs){env.data, env.len};
	start.cwd = process->cwd;
	start.user = process->user;
	return kiln__session_start(&h->session, h->runner->loop, stream, &start, &session_handler,
				   h, err);
}

static void on_stream(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct health *h = data;
	bool current = --h->connecting == 0 && h->phase == PHASE_CONNECT;
	kiln_error why;

	if (!current) {
		if (stream)
			kiln__stream_close(stream);
		return;
	}
	if (!stream) {
		on_failed(h, err, true);
	} else if (run(h, stream, &why) < 0) {
		kiln__stream_close(stream);
		on_failed(h, &why, false);
	} else {
		h->phase = PHASE_RUN;
	}
}

static void on_timer(void *data)
{
	struct health *h = data;

	/* A guest that stands still is neither well nor ill. */
	if (h->phase != PHASE_OFF && kiln_machine_state(h->runner->machine) == KILN_STATE_PAUSED) {
		kiln__timer_start(h->timer, spec_of(h)->interval_ms);
		return;
	}
	switch (h->phase) {
	case PHASE_OFF:
		return;
	case PHASE_PAUSE:
		h->phase = PHASE_CONNECT;
		h->connecting++;
		kiln__timer_start(h->timer, spec_of(h)->timeout_ms);
		kiln__machine_connect(h->runner->machine, KILN__AGENT_PORT, on_stream, h);
		return;
	case PHASE_RUN:
		h->phase = PHASE_KILL;
		kiln__timer_start(h->timer, KILL_MS);
		kiln__session_signal(h->session, SIGKILL, true);
		return;
	case PHASE_CONNECT:
	case PHASE_KILL:
		say(h, "the guest's agent has not answered within health.timeout");
		finish(h, -1);
	}
}

/* --- the main process's life -------------------------------------------------------------- */

void health_begin(struct health *h)
{
	kiln_error err;

	if (!spec_of(h)->command || h->phase != PHASE_OFF)
		return;
	if (!h->timer && kiln__timer_new(&h->timer, h->runner->loop, on_timer, h, &err) < 0) {
		kiln__log(&h->runner->logger, KILN_LOG_WARN, "no health checks: %s", err.message);
		return;
	}
	h->since = kiln__os_monotonic_ns();
	h->told_well = false;
	h->failures = 0;
	h->code = 0;
	set_status(h, HEALTH_STARTING);
	wait_interval(h);
}

void health_end(struct health *h)
{
	if (h->phase == PHASE_OFF)
		return;
	h->phase = PHASE_OFF;
	kiln__timer_stop(h->timer);
	drop_session(h);
	h->status = HEALTH_NONE; /* written with the VM's end, which follows */
}

/* Where it was cut, a character of up to four bytes may have been. */
static json_t *output_json(const struct kiln__buf *output)
{
	json_t *text = json_stringn(output->data ? output->data : "", output->len);

	for (size_t less = 1; !text && less < 4 && less <= output->len; less++)
		text = json_stringn(output->data, output->len - less);
	return text;
}

json_t *health_json(const struct health *h)
{
	json_t *output;

	if (!h || h->status == HEALTH_NONE)
		return json_null();
	output = output_json(&h->last);
	return json_pack("{s:s, s:i, s:i, s:o}", "status", names[h->status], "failures",
			 (int)h->failures, "code", h->code, "output",
			 output ? output : json_string("(not UTF-8)"));
}

int health_new(struct health **ret, struct runner *runner, kiln_error *err)
{
	struct health *h = calloc(1, sizeof(*h));

	if (!h)
		return kiln__fail_nomem(err);
	h->runner = runner;
	*ret = h;
	return 0;
}

void health_free(struct health *h)
{
	if (!h)
		return;
	kiln__timer_free(h->timer);
	kiln__session_free(h->session);
	kiln__buf_done(&h->output);
	kiln__buf_done(&h->last);
	free(h);
}
