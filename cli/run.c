/* SPDX-License-Identifier: Apache-2.0 */
/* run, create, start: VMs that begin. exec and attach: processes in those that are there. */
#include "cli.h"

#include "buf.h"
#include "err.h"
#include "foreground.h"
#include "signals.h"
#include "trace.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void on_progress(void *data, const char *text)
{
	const struct cli *cli = data;

	tell(cli, "%s", text);
}

static bool is_true(const kiln_config *config, const char *key)
{
	const char *value;

	return kiln_config_get(config, key, &value, NULL) == 0 && strcmp(value, "true") == 0;
}

static int create(struct cli *cli, const struct args *args, const kiln_config *config,
		  bool ephemeral, kiln_vm **ret, kiln_error *err)
{
	kiln_create_options options = KILN_CREATE_OPTIONS_INIT;
	int r = cli_manager(cli, err);

	options.name = args_value(args, OPT_NAME);
	options.ephemeral = ephemeral;
	if (r == 0)
		r = kiln_manager_create(cli->manager, config, &options, ret, err);
	/* Whoever removes images sees the VM now. */
	kiln__os_close(cli->image_held);
	cli->image_held = KILN_FD_NONE;
	trace_once(cli->trace, TRACE_CREATED);
	return r;
}

int verb_create(struct cli *cli, const struct args *args)
{
	kiln_config *config = NULL;
	kiln_vm *vm = NULL;
	kiln_error err = KILN_ERROR_INIT;
	int r;

	cli_progress(cli, args);
	r = configure(cli, args, &config, &err);

	if (r == 0)
		r = create(cli, args, config, false, &vm, &err);
	if (r == 0)
		printf("%s\n", kiln_vm_id(vm));
	kiln_vm_free(vm);
	kiln_config_free(config);
	return r < 0 ? complain(NULL, &err) : 0;
}

/* --- run -d, start ----------------------------------------------------------- */

/* Until the process runs, or it is known that it will not. */
struct starting {
	bool begun;     /* the start is done, well or badly */
	bool over;      /* and so is the process's */
	kiln_error err; /* code 0: none */
};

static void note(struct starting *starting, const kiln_error *err)
{
	starting->over = true;
	if (err && !starting->err.code)
		starting->err = *err;
}

static void on_start(void *data, int result, const kiln_error *err)
{
	struct starting *starting = data;

	starting->begun = true;
	if (result < 0) {
		starting->err = *err; /* what the session has to say of it follows from this */
		starting->over = true;
	}
}

static void on_process(void *data)
{
	note(data, NULL);
}

/* One that has ended already has run. */
static void on_process_exit(void *data, kiln_exit how, const kiln_error *err)
{
	(void)how;
	note(data, err);
}

/* Its output is in its log; nothing of it is wanted here. */
static size_t on_process_output(void *data, int fd, const void *bytes, size_t len)
{
	(void)data;
	(void)fd;
	(void)bytes;
	return len;
}

static int start_process(struct cli *cli, kiln_vm *vm, const kiln_start_options *options,
			 kiln_error *err)
{
	kiln_session_callbacks callbacks = KILN_SESSION_CALLBACKS_INIT;
	kiln_loop *loop = kiln_manager_loop(cli->manager);
	struct starting starting = {0};
	kiln_session *session = NULL;
	int r;

	callbacks.on_started = on_process;
	callbacks.on_output = on_process_output;
	callbacks.on_exit = on_process_exit;
	callbacks.data = &starting;
	kiln_vm_start(vm, options, on_start, &starting);
	r = kiln_vm_attach(vm, NULL, &callbacks, &session, err);
	while (!(starting.begun && (starting.over || r < 0)) && !cli->killed_by &&
	       kiln_loop_step(loop))
		;
	kiln_session_free(session);
	/* Whatever has happened, the start is done first: it is told to this frame. */
	while (!starting.begun && kiln_loop_step(loop))
		;
	if (r == 0 && starting.err.code) {
		*err = starting.err;
		r = err->code;
	}
	return r;
}

static bool has_process(const kiln_config *config)
{
	const char *value;

	return kiln_config_get(config, "process.args[0]", &value, NULL) == 0 ||
	       kiln_config_get(config, "process.entrypoint[0]", &value, NULL) == 0;
}

/* Starts it and leaves it: once this has returned it is ready, and its process runs. */
static int start_detached(struct cli *cli, kiln_vm *vm, const kiln_config *config, kiln_error *err)
{
	kiln_start_options options = KILN_START_OPTIONS_INIT;
	kiln_vm_info info = KILN_VM_INFO_INIT;
	bool started;
	int r;

	options.on_progress = on_progress;
	options.data = cli;
	r = has_process(config) ? start_process(cli, vm, &options, err)
				: kiln_vm_start_sync(vm, &options, -1, err);
	started = r == 0;
	if (started)
		tell_emulation(cli, vm);
	if (started)
		r = kiln_vm_wait_sync(vm, KILN_STATE_READY, -1, err);
	/* A process may be so short that the VM has ended again, well. */
	if (r < 0 && started && kiln_vm_status(vm, &info, NULL) == 0 &&
	    info.state == KILN_STATE_STOPPED)
		r = 0;
	return r;
}

/*
 * Of a VM whose id was not printed nobody knows: a signal until then removes it. Removing it
 * cancels its start, so that this may happen while that is waited for.
 */
struct detaching {
	struct cli *cli;
	kiln_vm *vm;
	bool removed;
};

static void on_removed(void *data, int result, const kiln_error *err)
{
	struct detaching *detaching = data;

	detaching->removed = true;
	if (result < 0 && result != KILN_ENOENT)
		complain("interrupted, but the VM could not be removed", err);
	else
		fputs("kiln: interrupted: the VM is removed\n", stderr);
}

static void on_signal_detaching(void *data, int number)
{
	struct detaching *detaching = data;

	if (number == SIGWINCH || number == SIGCONT || number == SIGUSR1 || number == SIGUSR2)
		return;
	if (detaching->cli->killed_by)
		signals_die(number); /* who asks twice does not wait */
	detaching->cli->killed_by = number;
	kiln_vm_remove(detaching->vm, true, on_removed, detaching);
}

static int run_detached(struct cli *cli, const struct args *args, const kiln_config *config,
			kiln_error *err)
{
	struct detaching detaching = {.cli = cli};
	struct signals *signals = NULL;
	int r = cli_manager(cli, err);

	if (r == 0)
		r = signals_new(&signals, kiln_manager_loop(cli->manager), on_signal_detaching,
				&detaching, err);
	if (r == 0)
		r = create(cli, args, config, args_has(args, OPT_RM), &detaching.vm, err);
	if (r == 0)
		r = start_detached(cli, detaching.vm, config, err);
	while (cli->killed_by && !detaching.removed &&
	       kiln_loop_step(kiln_manager_loop(cli->manager)))
		;
	if (r == 0 && !cli->killed_by)
		printf("%s\n", kiln_vm_id(detaching.vm));
	fflush(stdout); /* before a signal kills again; main() tells of failures */
	signals_free(signals);
	kiln_vm_free(detaching.vm);
	if (cli->killed_by)
		return 128 + cli->killed_by;
	return r < 0 ? (complain(NULL, err), exit_code_of_error(err)) : 0;
}

/* --- run in the foreground --------------------------------------------------- */

/* The VM ends with its process; the code is that process's, whatever comes of the rest. */
/* A VM that was left by the detach keys goes on, as one that was started with -d. */
static void end_vm(struct cli *cli, kiln_vm *vm, enum foreground_end end)
{
	kiln_error err = KILN_ERROR_INIT;

	if (end == FOREGROUND_DETACHED && kiln_vm_background_sync(vm, -1, &err) == 0)
		tell(cli, "left running: %s", kiln_vm_name(vm) ? kiln_vm_name(vm) : kiln_vm_id(vm));
	else if (end == FOREGROUND_DETACHED)
		complain(NULL, &err);
	else if (end != FOREGROUND_EXITED)
		kiln_vm_kill_sync(vm, -1, NULL);
	else if (kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, -1, &err) < 0)
		complain(NULL, &err);
}

static void write_trace(struct cli *cli, kiln_vm *vm)
{
	kiln_error err = KILN_ERROR_INIT;

	if (!cli->trace)
		return;
	trace_once(cli->trace, TRACE_STOPPED);
	if (trace_write(cli->trace, cli->manager, vm, &err) < 0)
		complain("--trace", &err);
}

static int run_foreground(struct cli *cli, kiln_vm *vm, const kiln_config *config,
			  const struct detach_keys *keys)
{
	const struct foreground_options options = {
		.keys = *keys,
		.input = is_true(config, "process.stdin"),
		.tty = is_true(config, "process.tty"),
	};
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	enum foreground_end end = FOREGROUND_FAILED;
	kiln_error err = KILN_ERROR_INIT;
	struct foreground *fg = NULL;
	int code;
	int r = foreground_new(&fg, cli, &options, &err);

	start.foreground = true;
	start.attach = true;
	start.on_progress = on_progress;
	start.data = cli;
	if (r == 0)
		r = foreground_attach(fg, vm, &start, &err);
	if (r < 0) {
		foreground_free(fg);
		return complain(NULL, &err);
	}
	end = foreground_run(fg, &code);
	/* What is still attached to a VM that is to be killed would be waited for by its runner. */
	if (end != FOREGROUND_EXITED && end != FOREGROUND_DETACHED)
		foreground_free(kiln__take(fg));
	end_vm(cli, vm, end);
	foreground_free(fg);
	write_trace(cli, vm);
	return code;
}

/*
 * A VM with an init of its own and no process of ours: its console is what there is. Standard
 * input goes there, as a serial line has no other.
 */
static int run_console(struct cli *cli, kiln_vm *vm)
{
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	kiln_vm_info info = KILN_VM_INFO_INIT;
	kiln_error err = KILN_ERROR_INIT;
	int code = EXIT_KILN;
	int r;

	start.foreground = true;
	start.on_progress = on_progress;
	start.data = cli;
	r = kiln_vm_start_sync(vm, &start, -1, &err);
	if (r == 0)
		tell_emulation(cli, vm);
	if (r == 0)
		r = console_run(cli, vm, NULL, &code, &err);
	if (r == 0 && cli->killed_by)
		kiln_vm_kill_sync(vm, -1, NULL);
	if (r == 0)
		r = kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, -1, &err);
	if (r == 0)
		r = kiln_vm_status(vm, &info, &err);
	if (r < 0)
		return complain(NULL, &err);
	if (info.state == KILN_STATE_FAILED)
		return complain(NULL, &info.failure);
	write_trace(cli, vm);
	return cli->killed_by ? code : kiln_exit_status(info.exit);
}

/* What has no process of ours must have an init of its own. */
static int need_command(const kiln_config *config, kiln_error *err)
{
	const char *init;

	if (has_process(config) ||
	    (kiln_config_get(config, "init", &init, NULL) == 0 && strcmp(init, "root") == 0) ||
	    kiln_config_get(config, "initrd.path", &init, NULL) == 0)
		return 0;
	kiln__fail(err, KILN_EINVAL, "run: there is no command to run");
	kiln__hint(err, "put one behind the options, or use --init root, or -d");
	return KILN_EINVAL;
}

static int run_vm(struct cli *cli, const struct args *args, const kiln_config *config,
		  kiln_error *err)
{
	bool ephemeral = args_has(args, OPT_RM) || !args_has(args, OPT_NAME);
	struct detach_keys keys;
	kiln_vm *vm;
	int code;
	int r;

	if (args_has(args, OPT_DETACH))
		return run_detached(cli, args, config, err);
	r = need_command(config, err);
	if (r == 0)
		r = detach_parse(args_value(args, OPT_DETACH_KEYS), &keys, err);

	if (r == 0)
		r = create(cli, args, config, ephemeral, &vm, err);
	if (r < 0)
		return complain(NULL, err);
	if (has_process(config))
		code = run_foreground(cli, vm, config, &keys);
	else
		code = run_console(cli, vm);
	kiln_vm_free(vm);
	return code;
}

int verb_run(struct cli *cli, const struct args *args)
{
	const char *path = args_value(args, OPT_TRACE);
	kiln_config *config = NULL;
	kiln_error err = KILN_ERROR_INIT;
	int code;
	int r = path ? trace_new(&cli->trace, path, &err) : 0;

	cli_progress(cli, args);
	if (r == 0)
		r = configure(cli, args, &config, &err);
	code = r < 0 ? complain(NULL, &err) : run_vm(cli, args, config, &err);
	kiln_config_free(config);
	trace_free(cli->trace);
	return code;
}

/* Runs what was begun, in the foreground of a VM that lives its own life. */
static int finish_foreground(struct foreground *fg, int r, kiln_error *err)
{
	int code = EXIT_KILN;

	if (r == 0)
		foreground_run(fg, &code);
	foreground_free(fg);
	return r < 0 ? complain(NULL, err) : code;
}

/* --- start ------------------------------------------------------------------- */

static int start_attached(struct cli *cli, const struct args *args, kiln_vm *vm,
			  const kiln_config *config)
{
	struct foreground_options options = {
		.tty = is_true(config, "process.tty"),
		.input = is_true(config, "process.stdin") && args_has(args, OPT_INTERACTIVE),
	};
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	struct foreground *fg = NULL;
	kiln_error err = KILN_ERROR_INIT;
	int r = detach_parse(args_value(args, OPT_DETACH_KEYS), &options.keys, &err);

	if (r == 0)
		r = foreground_new(&fg, cli, &options, &err);

	start.attach = true;
	start.on_progress = on_progress;
	start.data = cli;
	if (r == 0)
		r = foreground_attach(fg, vm, &start, &err);
	return finish_foreground(fg, r, &err);
}

static int start_one(struct cli *cli, const struct args *args, const char *name)
{
	bool attach = args_has(args, OPT_ATTACH);
	kiln_config *config = NULL;
	kiln_error err = KILN_ERROR_INIT;
	kiln_vm *vm = NULL;
	int code = 0;
	int r = cli_find(cli, name, &vm, &err);

	if (r == 0)
		r = kiln_vm_config(vm, &config, &err);
	if (r == 0 && attach)
		code = start_attached(cli, args, vm, config);
	else if (r == 0)
		r = start_detached(cli, vm, config, &err);
	if (r == 0 && !attach)
		printf("%s\n", name);
	kiln_config_free(config);
	kiln_vm_free(vm);
	return r < 0 ? complain(name, &err) : code;
}

int verb_start(struct cli *cli, const struct args *args)
{
	kiln_error err = KILN_ERROR_INIT;
	int code = 0;

	cli_progress(cli, args);
	if (args_has(args, OPT_ATTACH) && args->count > 1) {
		kiln__fail(&err, KILN_EINVAL, "start: --attach takes one VM");
		kiln__hint(&err, "start them without it, and attach to one");
		return complain(NULL, &err);
	}
	if (cli_manager(cli, &err) < 0)
		return complain(NULL, &err);
	for (int i = 0; i < args->count; i++) {
		int one = start_one(cli, args, args->positional[i]);

		code = one ? one : code;
	}
	return code;
}

/* --- exec and attach --------------------------------------------------------- */

static int add_env(void *data, const char *value, kiln_error *err)
{
	struct kiln__buf *list = data; /* of pointers */
	const char *own = strchr(value, '=') ? NULL : getenv(value);
	char *pair;

	if (!strchr(value, '=') && !own)
		return 0;
	pair = own ? kiln__strf("%s=%s", value, own) : strdup(value);
	if (!pair)
		return kiln__fail_nomem(err);
	kiln__buf_add(list, &pair, sizeof(pair));
	return 0;
}

/* -e and --env-file, in their order, as a NULL-terminated list of malloc'ed strings. */
static int collect_env(const struct args *args, struct kiln__buf *list, kiln_error *err)
{
	char *end = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < args->given_count; i++) {
		if (args->given[i].option->id == OPT_ENV)
			r = add_env(list, args->given[i].value, err);
		else if (args->given[i].option->id == OPT_ENV_FILE)
			r = env_file_each(args->given[i].value, add_env, list, err);
	}
	kiln__buf_add(list, &end, sizeof(end));
	return r == 0 && list->failed ? kiln__fail_nomem(err) : r;
}

static void free_env(struct kiln__buf *list)
{
	for (size_t i = 0; !list->failed && i + 1 < list->len / sizeof(char *); i++)
		free(((char **)(void *)list->data)[i]);
	kiln__buf_done(list);
}

int verb_exec(struct cli *cli, const struct args *args)
{
	struct foreground_options fg_options = {
		.input = args_has(args, OPT_INTERACTIVE),
		.tty = args_has(args, OPT_TTY),
	};
	kiln_exec_options options = KILN_EXEC_OPTIONS_INIT;
	struct kiln__buf env = KILN__BUF_INIT;
	struct foreground *fg = NULL;
	kiln_error err = KILN_ERROR_INIT;
	kiln_vm *vm = NULL;
	char **argv = args->positional + 1;
	int code;
	int r = collect_env(args, &env, &err);

	if (strcmp(argv[0], "--") == 0)
		argv++;
	if (r == 0 && !argv[0]) {
		r = kiln__fail(&err, KILN_EINVAL, "exec: there is no command to run");
		kiln__hint(&err, "usage: kiln exec %s", args->verb->synopsis);
	}
	if (r == 0)
		r = detach_parse(args_value(args, OPT_DETACH_KEYS), &fg_options.keys, &err);
	options.argv = (const char *const *)argv;
	options.env = (const char *const *)(void *)env.data;
	options.cwd = args_value(args, OPT_WORKDIR);
	options.user = args_value(args, OPT_USER);
	if (r == 0)
		r = cli_manager(cli, &err);
	if (r == 0)
		r = cli_find(cli, args->positional[0], &vm, &err);
	if (r == 0)
		r = foreground_new(&fg, cli, &fg_options, &err);
	if (r == 0)
		r = foreground_exec(fg, vm, &options, &err);
	code = finish_foreground(fg, r, &err);
	kiln_vm_free(vm);
	free_env(&env);
	return code;
}

int verb_attach(struct cli *cli, const struct args *args)
{
	struct foreground_options options = {.tty = false};
	struct foreground *fg = NULL;
	kiln_config *config = NULL;
	kiln_error err = KILN_ERROR_INIT;
	kiln_vm *vm = NULL;
	int code;
	int r = detach_parse(args_value(args, OPT_DETACH_KEYS), &options.keys, &err);

	if (r == 0)
		r = cli_find(cli, args->positional[0], &vm, &err);
	if (r == 0)
		r = kiln_vm_config(vm, &config, &err);
	if (r == 0) {
		options.tty = is_true(config, "process.tty");
		options.input = is_true(config, "process.stdin") && !args_has(args, OPT_NO_STDIN);
		r = foreground_new(&fg, cli, &options, &err);
	}
	if (r == 0)
		r = foreground_attach(fg, vm, NULL, &err);
	code = finish_foreground(fg, r, &err);
	kiln_config_free(config);
	kiln_vm_free(vm);
	return code;
}
