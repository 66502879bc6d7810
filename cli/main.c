/* SPDX-License-Identifier: Apache-2.0 */
/* The beginning and the end: see cli.h. */
#include "cli.h"

#include "err.h"
#include "os.h"
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static void on_log(void *data, enum kiln_log_level level, const char *text)
{
	(void)level;
	tell(data, "%s", text);
}

int cli_manager(struct cli *cli, kiln_error *err)
{
	kiln_manager_options options = KILN_MANAGER_OPTIONS_INIT;

	if (cli->manager)
		return 0;
	if (cli->talks)
		options.log = (kiln_log){.fn = on_log, .data = cli, .level = KILN_LOG_INFO};
	return kiln_manager_new(&cli->manager, NULL, &options, err);
}

int cli_find(struct cli *cli, const char *name, kiln_vm **ret, kiln_error *err)
{
	int r = cli_manager(cli, err);

	if (r < 0)
		return r;
	r = kiln_manager_find(cli->manager, name, ret, err);
	if (r == KILN_ENOENT)
		kiln__hint(err, "\"kiln ls -a\" lists those that there are");
	else if (r == KILN_EINVAL)
		kiln__hint(err, "write more of its id, or its name");
	return r;
}

void cli_progress(struct cli *cli, const struct args *args)
{
	bool plain = args_is(args, OPT_PROGRESS, "plain");
	bool terminal = isatty(STDERR_FILENO);

	cli->silent = args_is(args, OPT_PROGRESS, "none");
	cli->bar = terminal && !cli->silent && !plain;
	cli->talks = plain || (terminal && !cli->silent);
}

/* Data that could not be written is a failure, whatever else went well. */
static int flush(int code)
{
	kiln_error err;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	kiln__fail_errno(&err, errno, "cannot write to standard output");
	return complain(NULL, &err);
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
	struct cli cli = {.image_held = KILN_FD_NONE};
	struct args args;
	kiln_error err = KILN_ERROR_INIT;
	int code;

	if (args_parse(&args, verb, argc, argv, &err) < 0) {
		code = complain(NULL, &err);
	} else if (args_has(&args, OPT_HELP)) {
		help_verb(verb);
		code = 0;
	} else {
		code = verb->run(&cli, &args);
	}
	kiln__os_close(cli.image_held);
	kiln_manager_free(cli.manager);
	args_done(&args);
	if (cli.killed_by)
		signals_die(cli.killed_by);
	return code;
}

/* "kiln help VERB" */
static int help(int argc, char **argv)
{
	const struct verb *verb;
	kiln_error err = KILN_ERROR_INIT;

	if (argc == 0) {
		help_all();
		return 0;
	}
	if (verb_find(argv[0], &verb, &err) < 0)
		return complain(NULL, &err);
	help_verb(verb);
	return 0;
}

/*
 * A descriptor that was closed when we began must not be given to something else, which
 * would then be read or written as if it were the user's. What stands in fails as a
 * closed one does: it is open the wrong way round.
 */
static void hold_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			_exit(EXIT_KILN);
}

int main(int argc, char **argv)
{
	const char *name = argv[1];
	const struct verb *verb;
	kiln_error err = KILN_ERROR_INIT;
	size_t seed;

	hold_standard_descriptors();
	kiln__os_random(&seed, sizeof(seed));
	json_object_seed(seed);   /* it would open a device for one */
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk */
	if (argc < 2) {
		fputs("kiln: there is no command\n      see \"kiln --help\"\n", stderr);
		return EXIT_KILN;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
		return flush(help(argc - 2, argv + 2));
	if (strcmp(name, "--version") == 0)
		name = "version";
	if (name[0] == '-') {
		kiln__fail(&err, KILN_EINVAL,
			   "options come behind the command, not %.40s before it", name);
		kiln__hint(&err, "see \"kiln --help\"");
		return complain(NULL, &err);
	}
	if (verb_find(name, &verb, &err) < 0)
		return complain(NULL, &err);
	return flush(run_verb(verb, argc - 2, argv + 2));
}
