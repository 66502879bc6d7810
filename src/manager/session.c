/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes in the guest: exec, and attaching to the main one.
 *
 * A session begins as an operation that asks the runner for a stream; the agent's
 * protocol is spoken over that (session.h of the machine). A connection that is lost is
 * asked for anew, and the session taken up where it was: if that is refused, the
 * reason is the truth about the VM, and what the user is told.
 */
#include "session.h"

#include "manager.h"

#include "buf.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

/* Connections lost in a row, without a byte of output between, before a session is given up. */
#define RETRIES_MAX 3

#define DEFAULT_ROWS 24
#define DEFAULT_COLS 80

struct kiln_session {
	kiln_vm *vm;
	const struct kiln__op_kind *kind; /* exec or attach */
	kiln_session_callbacks callbacks;
	struct kiln__op *op;         /* asks for the stream */
	struct kiln__session *inner; /* once there was one */
	struct kiln__buf argv;       /* exec: what is to be started */
	struct kiln__buf env;
	char *cwd;
	char *user;
	bool tty;
	bool input;
	unsigned rows; /* the terminal's; 0: as it is */
	unsigned cols;
	bool input_short; /* on_writable is due once there is a stream */
	bool input_ended;
	bool running;
	uint64_t signals; /* asked for before it ran: bit N - 1 for signal N */
	unsigned retries;
	kiln_error lost; /* why the last connection was */
};

static void release(kiln_session *session)
{
	kiln__session_free(session->inner);
	kiln__buf_done(&session->argv);
	kiln__buf_done(&session->env);
	free(session->cwd);
	free(session->user);
	free(session);
}

void kiln_session_free(kiln_session *session)
{
	if (!session)
		return;
	if (session->op)
		kiln__op_drop(session->op);
	release(session);
}

/* The last that the user hears. */
static void tell_exit(kiln_session *session, kiln_exit how, const kiln_error *err)
{
	if (session->callbacks.on_exit)
		session->callbacks.on_exit(session->callbacks.data, how, err);
}

static void tell_error(kiln_session *session, const kiln_error *err)
{
	tell_exit(session, (kiln_exit){KILN_EXIT_NONE, 0}, err);
}

/* --- from the agent ------------------------------------------------------------------------ */

static void on_started(void *data, uint32_t pid)
{
	kiln_session *session = data;

	(void)pid;
	session->running = true;
	for (int number = 1; session->signals; number++) {
		if (session->signals & 1)
			kiln__session_signal(session->inner, (uint32_t)number, false);
		session->signals >>= 1;
	}
	if (session->callbacks.on_started)
		session->callbacks.on_started(session->callbacks.data);
}

static size_t on_output(void *data, int stream, const void *bytes, size_t len)
{
	kiln_session *session = data;

	session->retries = 0;
	if (!session->callbacks.on_output)
		return len;
	return session->callbacks.on_output(session->callbacks.data, stream, bytes, len);
}

static void on_writable(void *data)
{
	kiln_session *session = data;

	if (session->callbacks.on_writable)
		session->callbacks.on_writable(session->callbacks.data);
}

static void on_exited(void *data, const struct kiln__agent_exit *how)
{
	kiln_exit exit = {KILN_EXIT_EXITED, (int)(how->code & 0xff)};

	if (how->signal)
		exit = (kiln_exit){KILN_EXIT_SIGNALED, (int)(how->signal & 0x7f)};
	tell_exit(data, exit, NULL);
}

static const struct kiln__op_kind exec_kind = {"exec", NULL, kiln__fail_not_alive};
static const struct kiln__op_kind attach_kind = {"attach", NULL, kiln__fail_not_alive};

static void ask(kiln_session *session);

/* A VM that failed took the connection with it: why is on record, with stage and hint, which the
 * agent's protocol does not carry. */
static void complete_from_record(const kiln_session *session, kiln_error *err)
{
	struct kiln__vmstate state;

	if (kiln__vmdir_status(session->vm->dir, &state, NULL, NULL) >= 0 &&
	    state.state == KILN_STATE_FAILED)
		*err = state.failure;
}

static void on_failed(void *data, const kiln_error *err, bool lost)
{
	kiln_session *session = data;

	session->lost = *err;
	if (lost && session->running && session->retries++ < RETRIES_MAX) {
		ask(session);
		return;
	}
	if (lost || session->kind == &attach_kind)
		complete_from_record(session, &session->lost);
	tell_error(session, &session->lost);
}

static const struct kiln__session_handler handler = {
	.started = on_started,
	.output = on_output,
	.writable = on_writable,
	.exited = on_exited,
	.failed = on_failed,
};

/* --- the stream ---------------------------------------------------------------------- */

static int start_process(kiln_session *session, struct kiln__stream *stream, kiln_error *err)
{
	const struct kiln__agent_start start = {
		.argv = {session->argv.data, session->argv.len},
		.env = {session->env.data, session->env.len},
		.cwd = session->cwd,
		.user = session->user,
		.tty = session->tty,
		.rows = session->rows,
		.cols = session->cols,
		.input = session->input,
	};

	return kiln__session_start(&session->inner, session->vm->manager->loop, stream, &start,
				   &handler, session, err);
}

static int join_process(kiln_session *session, struct kiln__stream *stream, kiln_error *err)
{
	const struct kiln__agent_attach attach = {.id = 1};
	int r = kiln__session_attach(&session->inner, session->vm->manager->loop, stream, &attach,
				     &handler, session, err);

	if (r < 0)
		return r;
	if (session->rows)
		kiln__session_resize(session->inner, session->rows, session->cols);
	return 0;
}

static int use_stream(kiln_session *session, struct kiln__stream *stream, kiln_error *err)
{
	int r;

	if (session->inner)
		return kiln__session_reattach(session->inner, stream, err);
	r = session->kind == &exec_kind ? start_process(session, stream, err)
					: join_process(session, stream, err);
	if (r < 0)
		return r;
	if (session->input_ended)
		kiln__session_end_input(session->inner);
	return 0;
}

/*
 * An attached client lost its runner before it was told the end: how the process ended is on
 * record, but not how much it had written, so this is no success.
 */
static bool ended_on_record(const kiln_session *session, kiln_error *ret)
{
	struct kiln__vmstate state;
	bool signaled;

	if (session->kind != &attach_kind || !session->inner ||
	    kiln__vmdir_status(session->vm->dir, &state, NULL, NULL) != 0 ||
	    state.state != KILN_STATE_STOPPED ||
	    (state.exit.kind != KILN_EXIT_EXITED && state.exit.kind != KILN_EXIT_SIGNALED))
		return false;
	signaled = state.exit.kind == KILN_EXIT_SIGNALED;
	kiln__fail(ret, KILN_EIO, "output was cut: the runner has gone before all of it was taken");
	kiln__hint(ret, "the process %s %d; see the VM's log for what it wrote",
		   signaled ? "was killed by signal" : "exited with code", state.exit.code);
	return true;
}

static void on_stream(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	kiln_session *session = data;
	kiln_error why;

	session->op = NULL;
	if (stream && use_stream(session, stream, &why) < 0) {
		kiln__stream_close(stream);
		err = &why;
		stream = NULL;
	}
	if (!stream) {
		tell_error(session, ended_on_record(session, &why) ? &why : err);
	} else if (session->input_short) {
		session->input_short = false;
		on_writable(session);
	}
}

static void ask(kiln_session *session)
{
	session->op = kiln__op_new(session->vm, session->kind, session);
	if (!session->op) {
		kiln__fail_nomem(&session->lost);
		tell_error(session, &session->lost);
		return;
	}
	session->op->stream = on_stream;
	session->op->lifeline = session->kind == &attach_kind;
	if (session->kind == &attach_kind)
		session->op->params = json_pack("{s:b}", "stdin", session->input);
	kiln__op_ask(session->op);
}

/* --- exec and attach ----------------------------------------------------------------- */

static kiln_session *session_new(kiln_vm *vm, const struct kiln__op_kind *kind,
				 const kiln_session_callbacks *callbacks)
{
	kiln_session *session = calloc(1, sizeof(*session));
	size_t size = sizeof(session->callbacks);

	if (!session)
		return NULL;
	session->vm = vm;
	session->kind = kind;
	if (callbacks)
		memcpy(&session->callbacks, callbacks,
		       callbacks->size < size ? callbacks->size : size);
	return session;
}

static char *copy(const char *text, bool *failed)
{
	char *copied = text ? strdup(text) : NULL;

	*failed |= text && !copied;
	return copied;
}

int kiln_vm_exec(kiln_vm *vm, const kiln_exec_options *options,
		 const kiln_session_callbacks *callbacks, kiln_session **ret_session,
		 kiln_error *err)
{
	kiln_exec_options given = KILN_EXEC_OPTIONS_INIT;
	kiln_session *session;
	bool failed = false;

	memcpy(&given, options, options->size < sizeof(given) ? options->size : sizeof(given));
	if (!given.argv || !given.argv[0])
		return kiln__fail(err, KILN_EINVAL, "there is no command to run");
	session = session_new(vm, &exec_kind, callbacks);
	if (!session)
		return kiln__fail_nomem(err);
	kiln__strs_add_all(&session->argv, given.argv);
	kiln__strs_add_all(&session->env, given.env);
	session->cwd = copy(given.cwd, &failed);
	session->user = copy(given.user, &failed);
	session->tty = given.tty;
	session->input = given.stdin_open;
	session->rows = given.rows ? given.rows : DEFAULT_ROWS;
	session->cols = given.cols ? given.cols : DEFAULT_COLS;
	if (failed || session->argv.failed || session->env.failed) {
		release(session);
		return kiln__fail_nomem(err);
	}
	*ret_session = session;
	ask(session);
	return 0;
}

int kiln_vm_attach(kiln_vm *vm, const kiln_attach_options *options,
		   const kiln_session_callbacks *callbacks, kiln_session **ret_session,
		   kiln_error *err)
{
	kiln_attach_options given = KILN_ATTACH_OPTIONS_INIT;
	kiln_session *session = session_new(vm, &attach_kind, callbacks);

	if (!session)
		return kiln__fail_nomem(err);
	if (options)
		memcpy(&given, options,
		       options->size < sizeof(given) ? options->size : sizeof(given));
	session->input = given.stdin_open;
	session->rows = given.rows;
	session->cols = given.cols;
	*ret_session = session;
	ask(session);
	return 0;
}

/* --- from the user ------------------------------------------------------------------- */

void kiln_session_resume(kiln_session *session)
{
	if (session->inner)
		kiln__session_resume(session->inner);
}

int64_t kiln_session_write(kiln_session *session, const void *bytes, size_t len)
{
	if (!session->input || session->input_ended)
		return KILN_ESTATE;
	if (!session->inner) {
		session->input_short = len > 0;
		return 0;
	}
	if (kiln__session_input_closed(session->inner))
		return KILN_EIO;
	return (int64_t)kiln__session_write(session->inner, bytes, len);
}

void kiln_session_close_stdin(kiln_session *session)
{
	session->input_ended = true;
	if (session->inner)
		kiln__session_end_input(session->inner);
}

void kiln_session_resize(kiln_session *session, unsigned rows, unsigned cols)
{
	session->rows = rows;
	session->cols = cols;
	if (session->inner)
		kiln__session_resize(session->inner, rows, cols);
}

void kiln_session_signal(kiln_session *session, int number)
{
	if (number < 1 || number > 64)
		return;
	if (session->running)
		kiln__session_signal(session->inner, (uint32_t)number, false);
	else
		session->signals |= UINT64_C(1) << (number - 1);
}

/* --- to its end, blocking ------------------------------------------------------------ */

struct collecting {
	struct kiln__buf output[2];
	size_t limit;
	bool truncated;
	bool over;
	kiln_exit how;
	kiln_error err;
};

static size_t collect(void *data, int fd, const void *bytes, size_t len)
{
	struct collecting *c = data;
	struct kiln__buf *buf = &c->output[fd == 2];
	size_t room = c->limit - buf->len;

	c->truncated |= len > room;
	kiln__buf_add(buf, bytes, len < room ? len : room);
	return len;
}

static void collected(void *data, kiln_exit how, const kiln_error *err)
{
	struct collecting *c = data;

	c->over = true;
	c->how = how;
	if (err)
		c->err = *err;
}

static int give_result(struct collecting *c, kiln_exec_result *ret, kiln_error *err)
{
	kiln_exec_result result = {
		.size = ret->size < sizeof(result) ? ret->size : sizeof(result),
		.exit = c->how,
		.out_len = c->output[0].len,
		.err_len = c->output[1].len,
		.truncated = c->truncated,
	};

	result.out = kiln__buf_steal(&c->output[0]);
	result.err = kiln__buf_steal(&c->output[1]);
	if (!result.out || !result.err) {
		free(result.out);
		free(result.err);
		return kiln__fail_nomem(err);
	}
	memcpy(ret, &result, result.size);
	return 0;
}

int kiln_vm_exec_sync(kiln_vm *vm, const kiln_exec_options *options, size_t limit,
		      kiln_exec_result *ret_result, int timeout_ms, kiln_error *err)
{
	struct collecting c = {.limit = limit};
	kiln_session_callbacks callbacks = KILN_SESSION_CALLBACKS_INIT;
	kiln_session *session;
	int r;

	callbacks.on_output = collect;
	callbacks.on_exit = collected;
	callbacks.data = &c;
	r = kiln_vm_exec(vm, options, &callbacks, &session, err);
	if (r < 0)
		return r;
	r = kiln__run_until(vm->manager->loop, &c.over, timeout_ms, err);
	kiln_session_free(session);
	if (r == 0 && c.err.code) {
		r = c.err.code;
		if (err)
			*err = c.err;
	}
	if (r == 0)
		r = give_result(&c, ret_result, err);
	kiln__buf_done(&c.output[0]);
	kiln__buf_done(&c.output[1]);
	return r;
}

void kiln_exec_result_done(kiln_exec_result *result)
{
	free(result->out);
	free(result->err);
	result->out = result->err = NULL;
}
