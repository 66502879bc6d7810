/* SPDX-License-Identifier: Apache-2.0 */
/* console: a VM's serial line on this terminal, until ctrl-p ctrl-q, a signal or the VM's end. */
#include "cli.h"

#include "err.h"
#include "inout.h"
#include "signals.h"
#include "terminal.h"

#include <kiln/stream.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* On the heap, since a VM that is asked for its console answers some day: see console_free(). */
struct console {
	kiln_loop *loop;
	bool asked;  /* for the stream, which has not come */
	bool orphan; /* freed, but for that answer */
	kiln_stream *stream;
	struct input *input;
	struct output *output;
	struct signals *signals;
	bool raw;
	const char *keys; /* these leave it; NULL: none do */
	struct input_sink sink;
	bool over;
	int code;
	int killed_by;
	kiln_error err; /* code 0: none */
};

static void finish(struct console *console, int code)
{
	console->over = true;
	console->code = code;
}

static void fail(struct console *console, const kiln_error *err)
{
	console->err = *err;
	finish(console, EXIT_KILN);
}

/* --- from here --------------------------------------------------------------- */

static ssize_t on_input(void *data, const void *bytes, size_t len)
{
	struct console *console = data;

	return (ssize_t)kiln_stream_write(console->stream, bytes, len);
}

/* The end of a file of commands is not the end of what the guest has to say to them. */
static void on_input_end(void *data)
{
	(void)data;
}

static void on_detach(void *data)
{
	finish(data, 0);
}

/* --- from there -------------------------------------------------------------- */

static void on_room(void *data)
{
	struct console *console = data;

	kiln_stream_resume(console->stream);
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct console *console = data;
	ssize_t n = output_write(console->output, bytes, len);
	kiln_error err;

	if (n >= 0)
		return (size_t)n;
	if (n == -EPIPE) {
		console->killed_by = SIGPIPE;
		finish(console, 128 + SIGPIPE);
	} else {
		kiln__fail_errno(&err, (int)-n, "cannot write to standard output");
		fail(console, &err);
	}
	return len;
}

static void on_eof(void *data)
{
	finish(data, 0);
}

static void on_writable(void *data)
{
	struct console *console = data;

	if (console->input)
		input_resume(console->input);
}

static void on_error(void *data, const kiln_error *err)
{
	/* The VM has ended, and its runner with it. */
	if (err->code == KILN_EDIED)
		finish(data, 0);
	else
		fail(data, err);
}

static void on_signal(void *data, int number)
{
	struct console *console = data;

	if (number == SIGCONT && console->raw) {
		terminal_raw(false);
	} else if (number != SIGCONT && number != SIGWINCH) {
		console->killed_by = number;
		finish(console, 128 + number);
	}
}

static void on_stream(void *data, kiln_stream *stream, const kiln_error *err)
{
	struct console *console = data;
	kiln_stream_callbacks callbacks = KILN_STREAM_CALLBACKS_INIT;
	kiln_error why;

	console->asked = false;
	if (console->orphan) {
		kiln_stream_close(stream);
		free(console);
		return;
	}
	if (!stream) {
		fail(console, err);
		return;
	}
	callbacks.on_data = on_data;
	callbacks.on_eof = on_eof;
	callbacks.on_writable = on_writable;
	callbacks.on_error = on_error;
	callbacks.data = console;
	console->stream = stream;
	kiln_stream_listen(stream, &callbacks);
	if (console->raw) {
		if (console->sink.detach)
			fprintf(stderr, "kiln: on the console; %s leaves it\n", console->keys);
		terminal_raw(false);
	}
	if (input_new(&console->input, console->loop, &console->sink, console, &why) == 0)
		input_resume(console->input);
	kiln_stream_resume(stream);
}

static void console_free(struct console *console)
{
	terminal_restore();
	input_free(console->input);
	kiln_stream_close(console->stream);
	output_free(console->output);
	signals_free(console->signals);
	console->orphan = true;
	if (!console->asked)
		free(console);
}

int console_run(struct cli *cli, kiln_vm *vm, const char *keys, int *ret_code, kiln_error *err)
{
	struct console *console = calloc(1, sizeof(*console));
	int r;

	if (!console)
		return kiln__fail_nomem(err);
	console->loop = kiln_manager_loop(cli->manager);
	console->raw = terminal_is_input();
	console->keys = keys;
	console->sink = (struct input_sink){.write = on_input, .end = on_input_end};
	r = keys ? detach_parse(keys, &console->sink.keys, err) : 0;
	if (console->raw && keys)
		console->sink.detach = on_detach;
	signal(SIGPIPE, SIG_IGN);
	if (r == 0)
		r = output_new(&console->output, console->loop, STDOUT_FILENO, on_room, console,
			       err);
	if (r == 0)
		r = signals_new(&console->signals, console->loop, on_signal, console, err);
	if (r == 0) {
		console->asked = true;
		kiln_vm_console(vm, on_stream, console);
	}
	while (r == 0 && !console->over && kiln_loop_step(console->loop))
		;
	if (r == 0) {
		cli->killed_by = console->killed_by;
		*ret_code = console->code;
		r = console->err.code;
		if (r < 0)
			*err = console->err;
	}
	console_free(console);
	return r;
}

int verb_console(struct cli *cli, const struct args *args)
{
	const char *keys = args_value(args, OPT_DETACH_KEYS);
	kiln_error err = KILN_ERROR_INIT;
	kiln_vm *vm = NULL;
	int code = 0;
	int r = cli_manager(cli, &err);

	if (r == 0)
		r = cli_find(cli, args->positional[0], &vm, &err);
	if (r == 0)
		r = console_run(cli, vm, keys ? keys : "ctrl-p,ctrl-q", &code, &err);
	kiln_vm_free(vm);
	return r < 0 ? complain(args->positional[0], &err) : code;
}
