/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes are never kept here: output that standard output has no room for stays with the
 * session, which makes the guest's process wait, and input is read only once there is
 * room for it on the way to the guest.
 *
 * Signals: until the process runs, one that would end this command ends the run. From
 * then on INT, TERM, HUP, QUIT, USR1 and USR2 are the process's; with a terminal,
 * the keys reach the guest's terminal as bytes, and TERM and HUP mean this command. A process
 * that heeds no signal would leave no way out: the third INT or TERM means this command, too.
 */
#include "foreground.h"

#include "err.h"
#include "inout.h"
#include "signals.h"
#include "terminal.h"
#include "trace.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct foreground {
	struct cli *cli;
	struct foreground_options options;
	kiln_vm *vm;
	struct signals *signals;
	struct input_sink sink;
	struct input *input;
	struct output *out, *err;
	kiln_session *session;
	bool starting; /* a start that was asked for has not ended */
	bool orphan;   /* freed, but for what the start is still to be told to */
	bool running;  /* the process is */
	bool raw;      /* the terminal is to be */
	bool over;
	unsigned urges; /* INT and TERM passed on so far */
	enum foreground_end end;
	int code;
	kiln_error
		lost; /* what the session said while the start, which may tell more, was not done */
};

static void finish(struct foreground *fg, enum foreground_end end, int code)
{
	if (fg->over)
		return;
	fg->over = true;
	fg->end = end;
	fg->code = code;
}

static void fail(struct foreground *fg, const kiln_error *err)
{
	int code = exit_code_of_error(err);

	if (fg->over)
		return;
	terminal_restore();
	complain(NULL, err);
	/* Where there is no such command, the VM ends by itself, and with that code. */
	finish(fg, code == EXIT_KILN ? FOREGROUND_FAILED : FOREGROUND_EXITED, code);
}

/* --- input ------------------------------------------------------------------- */

static ssize_t on_input(void *data, const void *bytes, size_t len)
{
	struct foreground *fg = data;

	return (ssize_t)kiln_session_write(fg->session, bytes, len);
}

static void on_input_end(void *data)
{
	struct foreground *fg = data;

	kiln_session_close_stdin(fg->session);
}

static void on_detach(void *data)
{
	finish(data, FOREGROUND_DETACHED, 0);
}

static void begin_input(struct foreground *fg)
{
	kiln_error err;

	if (!fg->options.input || fg->input)
		return;
	fg->sink = (struct input_sink){
		.write = on_input,
		.end = on_input_end,
		.detach = fg->options.keys.count && fg->raw ? on_detach : NULL,
		.keys = fg->options.keys,
	};
	if (input_new(&fg->input, kiln_manager_loop(fg->cli->manager), &fg->sink, fg, &err) < 0)
		kiln_session_close_stdin(fg->session); /* descriptor 0 is closed */
	else
		input_resume(fg->input);
}

/* --- output ------------------------------------------------------------------ */

static void on_room(void *data)
{
	struct foreground *fg = data;

	if (fg->session && !fg->over)
		kiln_session_resume(fg->session);
}

static void output_failed(struct foreground *fg, int os_errno)
{
	kiln_error err;

	if (os_errno == EPIPE) {
		kiln_session_signal(fg->session, SIGPIPE);
		fg->cli->killed_by = SIGPIPE;
		finish(fg, FOREGROUND_BROKEN, 128 + SIGPIPE);
		return;
	}
	kiln__fail_errno(&err, os_errno, "cannot write to standard output");
	fail(fg, &err);
}

static size_t on_output(void *data, int fd, const void *bytes, size_t len)
{
	struct foreground *fg = data;
	ssize_t n;

	trace_once(fg->cli->trace, TRACE_OUTPUT);
	if (fg->over)
		return len;
	n = output_write(fd == 2 ? fg->err : fg->out, bytes, len);
	if (n >= 0)
		return (size_t)n;
	/* Of messages that nobody can see any more there is nothing to tell, either. */
	if (fd != 2)
		output_failed(fg, (int)-n);
	return len;
}

/* --- the process ------------------------------------------------------------- */

static void send_size(struct foreground *fg)
{
	unsigned rows, cols;

	if (fg->options.tty && terminal_size(&rows, &cols))
		kiln_session_resize(fg->session, rows, cols);
}

static void on_started(void *data)
{
	struct foreground *fg = data;

	trace_once(fg->cli->trace, TRACE_PROCESS);
	fg->running = true;
	if (fg->raw)
		terminal_raw(false);
	send_size(fg); /* it may have changed meanwhile */
	begin_input(fg);
}

static void on_writable(void *data)
{
	struct foreground *fg = data;

	if (fg->input)
		input_resume(fg->input);
}

static void on_exit_of_process(void *data, kiln_exit how, const kiln_error *err)
{
	struct foreground *fg = data;

	trace_once(fg->cli->trace, TRACE_EXIT);
	if (!err)
		finish(fg, FOREGROUND_EXITED, kiln_exit_status(how));
	else if (fg->starting)
		fg->lost = *err;
	else
		fail(fg, err);
}

static kiln_session_callbacks callbacks_of(struct foreground *fg)
{
	kiln_session_callbacks callbacks = KILN_SESSION_CALLBACKS_INIT;

	callbacks.on_output = on_output;
	callbacks.on_started = on_started;
	callbacks.on_writable = on_writable;
	callbacks.on_exit = on_exit_of_process;
	callbacks.data = fg;
	return callbacks;
}

static void on_start_done(void *data, int result, const kiln_error *err)
{
	struct foreground *fg = data;

	fg->starting = false;
	if (fg->orphan) {
		free(fg);
		return;
	}
	trace_once(fg->cli->trace, TRACE_RUNNING);
	if (result < 0) {
		if (err->code != KILN_ECANCELED)
			fail(fg, err);
	} else if (fg->lost.code) {
		fail(fg, &fg->lost);
	} else {
		tell_emulation(fg->cli, fg->vm);
	}
}

/* --- signals ----------------------------------------------------------------- */

/* As docker has it. */
#define URGES_MAX 3

static void interrupted(struct foreground *fg, int number)
{
	fg->cli->killed_by = number;
	finish(fg, FOREGROUND_INTERRUPTED, 128 + number);
}

static void pass_on(struct foreground *fg, int number)
{
	if ((number == SIGINT || number == SIGTERM) && ++fg->urges == URGES_MAX) {
		fprintf(stderr, "kiln: %u signals have not ended the process: leaving it\n",
			fg->urges);
		interrupted(fg, number);
	} else {
		kiln_session_signal(fg->session, number);
	}
}

static void on_signal(void *data, int number)
{
	struct foreground *fg = data;
	bool keys = fg->raw && fg->running; /* the terminal makes no signals now */

	if (fg->over) {
		/* The VM is being ended, which may take its time; nobody must wait for it. */
		if (number != SIGWINCH && number != SIGCONT && number != SIGUSR1 &&
		    number != SIGUSR2)
			signals_die(number);
	} else if (number == SIGWINCH || number == SIGCONT) {
		if (number == SIGCONT && fg->raw)
			terminal_raw(!fg->running); /* a shell may have put it back */
		if (fg->session)
			send_size(fg);
	} else if (!fg->running || (keys && (number == SIGTERM || number == SIGHUP))) {
		/* Nobody there to take it, or it means the terminal's end. */
		interrupted(fg, number);
	} else {
		pass_on(fg, number);
	}
}

static int take_over(struct foreground *fg, kiln_error *err)
{
	int r = signals_new(&fg->signals, kiln_manager_loop(fg->cli->manager), on_signal, fg, err);

	if (r == 0 && fg->raw)
		terminal_raw(true);
	return r;
}

/* --- beginning --------------------------------------------------------------- */

int foreground_attach(struct foreground *fg, kiln_vm *vm, const kiln_start_options *start,
		      kiln_error *err)
{
	kiln_attach_options options = KILN_ATTACH_OPTIONS_INIT;
	kiln_session_callbacks callbacks = callbacks_of(fg);
	int r;

	fg->vm = vm;
	if (start) {
		fg->starting = true;
		kiln_vm_start(vm, start, on_start_done, fg);
	}
	r = take_over(fg, err);
	if (r < 0)
		return r;
	options.stdin_open = fg->options.input;
	if (fg->options.tty)
		terminal_size(&options.rows, &options.cols);
	return kiln_vm_attach(vm, &options, &callbacks, &fg->session, err);
}

int foreground_exec(struct foreground *fg, kiln_vm *vm, kiln_exec_options *options, kiln_error *err)
{
	kiln_session_callbacks callbacks = callbacks_of(fg);
	int r = take_over(fg, err);

	if (r < 0)
		return r;
	fg->vm = vm;
	options->stdin_open = fg->options.input;
	options->tty = fg->options.tty;
	if (options->tty)
		terminal_size(&options->rows, &options->cols);
	return kiln_vm_exec(vm, options, &callbacks, &fg->session, err);
}

/* --- life -------------------------------------------------------------------- */

int foreground_new(struct foreground **ret, struct cli *cli,
		   const struct foreground_options *options, kiln_error *err)
{
	struct foreground *fg = calloc(1, sizeof(*fg));
	kiln_loop *loop = kiln_manager_loop(cli->manager);
	int r;

	if (!fg)
		return kiln__fail_nomem(err);
	fg->cli = cli;
	fg->options = *options;
	fg->raw = options->input && options->tty && terminal_is_input();
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is told by EPIPE */
	r = output_new(&fg->out, loop, STDOUT_FILENO, on_room, fg, err);
	if (r == 0)
		r = output_new(&fg->err, loop, STDERR_FILENO, on_room, fg, err);
	if (r < 0) {
		foreground_free(fg);
		return r;
	}
	*ret = fg;
	return 0;
}

void foreground_free(struct foreground *fg)
{
	if (!fg)
		return;
	terminal_restore();
	input_free(fg->input);
	kiln_session_free(fg->session);
	output_free(fg->out);
	output_free(fg->err);
	signals_free(fg->signals);
	fg->orphan = true;
	if (!fg->starting)
		free(fg);
}

enum foreground_end foreground_run(struct foreground *fg, int *ret_code)
{
	while (!fg->over && kiln_loop_step(kiln_manager_loop(fg->cli->manager)))
		;
	terminal_restore();
	*ret_code = fg->code;
	return fg->end;
}
