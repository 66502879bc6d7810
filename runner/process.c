/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main process: started when the guest is ready, read by the runner for its life.
 * What it writes goes to the log and to every client attached; the slowest of them holds
 * it back, as a terminal would. When it ends, the VM does: its exit is the VM's.
 */
#include "runner.h"

#include "attach.h"
#include "err.h"
#include "log.h"
#include "logfmt.h"
#include "os.h"
#include "session.h"
#include "setup.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* How long a VM with disks to flush may take to power off once its process has ended. */
#define POWEROFF_MS 10000

/* A connection that is lost is made anew, this often without a byte between, with longer and longer
 * pauses. */
#define RETRIES_MAX 6
#define RETRY_MS    50

struct client {
	struct client *next;
	struct process *process;
	struct attached *attached;
	bool launcher;
};

struct process {
	struct runner *runner;
	struct kiln__session *session;
	struct kiln__timer *retry; /* once its connection was lost */
	unsigned retries;
	kiln_error lost;
	struct client *clients;
	bool wanted;   /* the guest is ready for it */
	bool attached; /* somebody has attached, or is not coming any more */
	uint32_t pid;  /* 0: does not run (yet) */
	bool started;
	bool ended;
	struct kiln__agent_exit how;
	bool failed; /* it could not be started, or the VM ended first */
	kiln_error why;
};

/* --- output -------------------------------------------------------------------------- */

static bool all_have_room(const struct process *p)
{
	for (const struct client *c = p->clients; c; c = c->next)
		if (!attached_has_room(c->attached))
			return false;
	return true;
}

static size_t on_output(void *data, int stream, const void *bytes, size_t len)
{
	struct process *p = data;
	char head[KILN__LOG_HEAD];

	if (!all_have_room(p))
		return 0;
	p->retries = 0;
	kiln__log_head(head, kiln__os_realtime_ns(), stream, len);
	logfile_write_record(&p->runner->log, head, bytes, len);
	for (struct client *c = p->clients; c; c = c->next)
		attached_output(c->attached, stream, bytes, len);
	return len;
}

/* --- life ------------------------------------------------------------------------------ */

static void on_started(void *data, uint32_t pid)
{
	struct process *p = data;

	p->started = true;
	p->pid = pid;
	health_begin(p->runner->health);
	for (struct client *c = p->clients; c; c = c->next)
		attached_started(c->attached, kiln__session_id(p->session), pid);
}

static void drop_session(struct process *p)
{
	health_end(p->runner->health);
	kiln__timer_free(kiln__take(p->retry));
	kiln__session_free(p->session);
	p->session = NULL;
	p->pid = 0;
}

static void log_end(void *data, int result, const kiln_error *err)
{
	struct runner *runner = data;

	if (result < 0)
		kiln__log(&runner->logger, KILN_LOG_WARN, "ending the VM: %s", err->message);
}

/* Disks that outlive the VM want to be synced and unmounted; without any, nothing is lost. */
static bool has_lasting_disks(const struct kiln__spec *spec)
{
	if (kiln__root_is_writable(&spec->root))
		return true;
	for (size_t i = 0; i < spec->disk_count; i++) {
		if (!spec->disks[i].readonly && !spec->disks[i].scratch)
			return true;
	}
	return false;
}

static void end_vm(struct process *p)
{
	struct runner *runner = p->runner;

	if (has_lasting_disks(kiln__machine_spec(runner->machine)))
		kiln_machine_stop(runner->machine, POWEROFF_MS, log_end, runner);
	else
		kiln_machine_kill(runner->machine, log_end, runner);
}

static void on_exited(void *data, const struct kiln__agent_exit *how)
{
	struct process *p = data;
	kiln_exit exit = {.kind = KILN_EXIT_EXITED, .code = (int)(how->code & 0xff)};

	if (how->signal)
		exit = (kiln_exit){.kind = KILN_EXIT_SIGNALED, .code = (int)(how->signal & 0x7f)};
	p->ended = true;
	p->how = *how;
	drop_session(p);
	kiln__machine_set_exit(p->runner->machine, exit);
	for (struct client *c = p->clients; c; c = c->next)
		attached_exit(c->attached, how);
	end_vm(p);
}

static void fail(struct process *p, const kiln_error *err)
{
	p->failed = true;
	p->why = *err;
	for (struct client *c = p->clients; c; c = c->next)
		attached_fail(c->attached, err);
}

/* What a shell says of a command that it cannot run. */
static int exit_code_of(const kiln_error *err)
{
	return err->code == KILN_ENOCMD ? 127 : err->code == KILN_ENOEXEC ? 126 : 125;
}

/* --- a connection that is lost ------------------------------------------------------------ */

/*
 * Nobody can say any more how the process fares: whoever waits for it would wait for ever, so
 * the VM ends, and has failed. One that is going down has lost its connection by that.
 */
static void give_up(struct process *p)
{
	kiln_machine *machine = p->runner->machine;
	kiln_error why = p->lost;

	if (kiln_machine_state(machine) == KILN_STATE_STOPPING) {
		drop_session(p);
		return;
	}
	kiln__prefix(&why, "the guest's main process was lost");
	kiln__stage(&why, "process");
	drop_session(p);
	kiln__machine_set_failure(machine, "process", &why);
	fail(p, &why);
	end_vm(p);
}

static void try_again(struct process *p)
{
	if (p->retries == RETRIES_MAX) {
		give_up(p);
		return;
	}
	kiln__timer_start(p->retry, (uint64_t)RETRY_MS << p->retries++);
}

static void on_stream(void *data, struct kiln__stream *stream, const kiln_error *err);

static void on_retry(void *data)
{
	struct process *p = data;

	kiln__machine_connect(p->runner->machine, KILN__AGENT_PORT, on_stream, p);
}

/* The agent may have been started again by the guest's init, or cut off by a reset of vsock. */
static void on_lost(struct process *p, const kiln_error *err)
{
	p->lost = *err;
	kiln__log(&p->runner->logger, KILN_LOG_WARN, "connection to the main process: %s",
		  p->lost.message);
	if (!p->retry && kiln__timer_new(&p->retry, p->runner->loop, on_retry, p, &p->lost) < 0)
		give_up(p);
	else
		try_again(p);
}

static void on_failed(void *data, const kiln_error *err, bool lost)
{
	struct process *p = data;
	kiln_error why = *err;

	if (lost) {
		on_lost(p, err);
		return;
	}
	if (p->started) {
		p->lost = *err;
		give_up(p);
		return;
	}
	drop_session(p);
	kiln__stage(&why, "process");
	kiln__machine_set_exit(p->runner->machine,
			       (kiln_exit){.kind = KILN_EXIT_EXITED, .code = exit_code_of(&why)});
	fail(p, &why);
	end_vm(p);
}

static void on_writable(void *data);

static const struct kiln__session_handler session_handler = {
	.started = on_started,
	.output = on_output,
	.writable = on_writable,
	.exited = on_exited,
	.failed = on_failed,
};

static int start_session(struct process *p, struct kiln__stream *stream, kiln_error *err)
{
	const struct kiln__process *spec = &kiln__machine_spec(p->runner->machine)->process;
	kiln__autobuf argv = KILN__BUF_INIT;
	kiln__autobuf env = KILN__BUF_INIT;
	struct kiln__agent_start start = {.main = true};

	kiln__strs_add_all(&argv, spec->argv);
	kiln__strs_add_all(&env, spec->env);
	start.argv = (struct kiln__strs){argv.data, argv.len};
	start.env = (struct kiln__strs){env.data, env.len};
	start.cwd = spec->cwd;
	start.user = spec->user;
	start.tty = spec->tty;
	start.input = spec->stdin_open;
	return kiln__session_start(&p->session, p->runner->loop, stream, &start, &session_handler,
				   p, err);
}

/* A connection to the agent, for the first time or again. */
static void on_stream(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct process *p = data;
	kiln_error why;

	if (p->ended || p->failed) { /* with its VM, meanwhile */
		kiln__stream_close(stream);
	} else if (!stream) {
		on_lost(p, err);
	} else if (p->session) {
		if (kiln__session_reattach(p->session, stream, &why) < 0) {
			kiln__stream_close(stream);
			on_lost(p, &why);
		}
	} else if (start_session(p, stream, &why) < 0) {
		kiln__stream_close(stream);
		on_failed(p, &why, false);
	}
}

void process_start(struct process *p)
{
	const struct kiln__spec *spec = kiln__machine_spec(p->runner->machine);

	p->wanted = true;
	if (!spec->process.argv || p->session || p->started || p->failed)
		return;
	if (p->runner->attach_first && !p->attached)
		return;
	if (kiln__machine_agent(p->runner->machine)) {
		kiln__machine_connect(p->runner->machine, KILN__AGENT_PORT, on_stream, p);
		return;
	}
	kiln__fail(&p->why, KILN_ENOTSUP,
		   "process: this guest does not run kiln's agent, which would start it");
	on_failed(p, &p->why, false);
}

void process_release(struct process *p)
{
	bool waited = p->runner->attach_first && !p->attached && p->wanted;

	p->attached = true;
	if (waited)
		process_start(p);
}

void process_vm_ended(struct process *p)
{
	const kiln_error *failure = kiln_machine_failure(p->runner->machine);
	kiln_exit how = kiln_machine_exit(p->runner->machine);
	kiln_error why;

	if (p->ended || p->failed)
		return;
	drop_session(p);
	if (failure) {
		fail(p, failure);
	} else if (how.kind == KILN_EXIT_KILLED) {
		/* To its clients the process was killed, as far as anyone can tell. */
		p->ended = true;
		p->how = (struct kiln__agent_exit){.signal = SIGKILL};
		for (struct client *c = p->clients; c; c = c->next)
			attached_exit(c->attached, &p->how);
	} else {
		kiln__fail(&why, KILN_EDIED, "the guest ended (%s) before its process did",
			   kiln_exit_kind_name(how.kind));
		fail(p, &why);
	}
}

void process_rebooted(struct process *p)
{
	drop_session(p);
	p->started = p->wanted = false;
}

int process_signal(struct process *p, unsigned number, kiln_error *err)
{
	if (!p->session || !p->pid)
		return kiln__fail(err, KILN_ESTATE, "no main process is running");
	kiln__session_signal(p->session, number, false);
	return 0;
}

/* --- clients -------------------------------------------------------------------------------- */

static size_t on_input(void *data, const void *bytes, size_t len)
{
	struct client *c = data;

	return c->process->session ? kiln__session_write(c->process->session, bytes, len) : len;
}

static void on_input_end(void *data)
{
	struct client *c = data;

	if (c->process->session)
		kiln__session_end_input(c->process->session);
}

static void on_resize(void *data, uint32_t rows, uint32_t cols)
{
	struct client *c = data;

	if (c->process->session)
		kiln__session_resize(c->process->session, rows, cols);
}

static void on_signal(void *data, uint32_t number, bool group)
{
	struct client *c = data;

	if (c->process->session)
		kiln__session_signal(c->process->session, number, group);
}

static void on_drained(void *data)
{
	struct client *c = data;

	if (c->process->session && all_have_room(c->process))
		kiln__session_resume(c->process->session);
	runner_maybe_end(c->process->runner);
}

static void on_gone(void *data, struct attached *attached)
{
	struct client *c = data;
	struct process *p = c->process;
	struct client **at = &p->clients;
	bool launcher = c->launcher;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	attached_free(attached);
	free(c);
	/* The others may have been waiting for this one. */
	if (p->session && all_have_room(p))
		kiln__session_resume(p->session);
	if (launcher)
		runner_launcher_gone(p->runner);
	runner_maybe_end(p->runner);
}

/* One who wants every byte has come, if it was him that the process waited for. */
static void on_asked(void *data)
{
	struct client *c = data;

	process_release(c->process);
}

static const struct attached_handler attached_handler = {
	.asked = on_asked,
	.input = on_input,
	.input_end = on_input_end,
	.resize = on_resize,
	.signal = on_signal,
	.drained = on_drained,
	.gone = on_gone,
};

static void on_writable(void *data)
{
	struct process *p = data;

	for (struct client *c = p->clients; c; c = c->next)
		attached_resume(c->attached);
}

void process_attach(struct process *p, struct kiln__stream *stream, bool with_stdin, bool launcher)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c) {
		kiln__stream_close(stream);
		return;
	}
	c->process = p;
	c->launcher = launcher;
	if (attached_new(&c->attached, p->runner->loop, stream,
			 with_stdin && kiln__machine_spec(p->runner->machine)->process.stdin_open,
			 &attached_handler, c, NULL) < 0) {
		free(c);
		if (launcher)
			runner_launcher_gone(p->runner);
		return;
	}
	c->next = p->clients;
	p->clients = c;
	if (p->started)
		attached_started(c->attached, 0, p->pid);
	if (p->failed)
		attached_fail(c->attached, &p->why);
	else if (p->ended)
		attached_exit(c->attached, &p->how);
}

size_t process_clients(const struct process *p)
{
	size_t count = 0;

	for (const struct client *c = p ? p->clients : NULL; c; c = c->next)
		count++;
	return count;
}

bool process_is_over(const struct process *p)
{
	return p && p->ended;
}

bool process_busy(const struct process *p)
{
	return p && p->clients;
}

bool process_owes(const struct process *p)
{
	for (const struct client *c = p ? p->clients : NULL; c; c = c->next)
		if (attached_is_owed(c->attached))
			return true;
	return false;
}

int process_new(struct process **ret, struct runner *runner, kiln_error *err)
{
	struct process *p = calloc(1, sizeof(*p));

	if (!p)
		return kiln__fail_nomem(err);
	p->runner = runner;
	*ret = p;
	return 0;
}

void process_free(struct process *p)
{
	if (!p)
		return;
	while (p->clients) {
		struct client *c = p->clients;

		p->clients = c->next;
		attached_free(c->attached);
		free(c);
	}
	kiln__timer_free(p->retry);
	kiln__session_free(p->session);
	free(p);
}
