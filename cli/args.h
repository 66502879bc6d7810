/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command's verbs and options: one table (verbs.c), from which the parser, --help
 * and the shells' completions are made, and against which the man pages are tested.
 */
#ifndef KILN_CLI_ARGS_H
#define KILN_CLI_ARGS_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stddef.h>

struct cli;

enum option_id {
	OPT_HELP,
	OPT_ACCEL,
	OPT_ADD,
	OPT_ADD_DISK,
	OPT_ADD_NET,
	OPT_ADDRESS,
	OPT_ADD_USER,
	OPT_ALL,
	OPT_ARCH,
	OPT_ATTACH,
	OPT_BACKEND,
	OPT_BALLOON,
	OPT_CMDLINE,
	OPT_CONFIG,
	OPT_CONSOLE,
	OPT_CPUS,
	OPT_DETACH,
	OPT_DETACH_KEYS,
	OPT_DISK,
	OPT_DNS,
	OPT_DNS_SEARCH,
	OPT_ENTRYPOINT,
	OPT_ENV,
	OPT_ENV_FILE,
	OPT_FOLLOW,
	OPT_FORCE,
	OPT_FORMAT,
	OPT_FIRMWARE,
	OPT_FROM_CLOUD_HYPERVISOR,
	OPT_FROM_FIRECRACKER,
	OPT_GATEWAY,
	OPT_HOSTNAME,
	OPT_IMAGE_FILE,
	OPT_INIT,
	OPT_INITRD,
	OPT_INTERACTIVE,
	OPT_JAILER,
	OPT_KERNEL,
	OPT_LABEL,
	OPT_MEMORY,
	OPT_META_DATA,
	OPT_NAME,
	OPT_NETWORK,
	OPT_NETWORK_CONFIG,
	OPT_NO_STDIN,
	OPT_OUTPUT,
	OPT_OVERLAY_SIZE,
	OPT_PACKAGE,
	OPT_PASSWORD_STDIN,
	OPT_PLATFORM,
	OPT_POWER_BUTTON,
	OPT_BASE,
	OPT_PROGRESS,
	OPT_PUBLISH,
	OPT_PUBLISH_ALL,
	OPT_PULL,
	OPT_QUIET,
	OPT_READ_ONLY,
	OPT_READY,
	OPT_REMOVE,
	OPT_RESIZE_DISK,
	OPT_RESIZE_ZONE,
	OPT_RM,
	OPT_RUN_COMMAND,
	OPT_SEED_ENV,
	OPT_SEED_MOUNT,
	OPT_SIZE,
	OPT_SSH_KEY,
	OPT_ROOTFS,
	OPT_ROSETTA,
	OPT_RUNNER,
	OPT_SET,
	OPT_SHARE,
	OPT_TMPFS,
	OPT_SIGNAL,
	OPT_SINCE,
	OPT_STOP_SIGNAL,
	OPT_STOP_TIMEOUT,
	OPT_HEALTH_CMD,
	OPT_HEALTH_INTERVAL,
	OPT_HEALTH_RETRIES,
	OPT_HEALTH_START_PERIOD,
	OPT_HEALTH_TIMEOUT,
	OPT_NESTED,
	OPT_NO_HEALTHCHECK,
	OPT_TAIL,
	OPT_TIMEOUT,
	OPT_TIMESTAMPS,
	OPT_TRACE,
	OPT_TTY,
	OPT_UNTIL,
	OPT_USER,
	OPT_USER_DATA,
	OPT_USERNAME,
	OPT_VOLUME,
	OPT_WORKDIR,
};

/* What a shell offers in a word's place. */
enum complete {
	COMPLETE_NOTHING,
	COMPLETE_FILE,
	COMPLETE_VM,   /* names and ids of VMs */
	COMPLETE_WORD, /* of "words" */
};

/* How an option's argument enters the configuration (configure.c). */
enum enters {
	ENTERS_NOT,
	ENTERS_AS_IS,   /* the value at "key"; "true" of an option without argument */
	ENTERS_AS_PATH, /* made absolute */
	ENTERS_SECONDS, /* a plain number means seconds, as docker has it */
	ENTERS_BY_RULE, /* by a function of its own */
};

struct option {
	enum option_id id;
	char letter;      /* '\0': none */
	const char *name; /* without dashes; NULL ends a table */
	const char *arg;  /* what --help calls its argument; NULL: it takes none */
	const char *help; /* one sentence without a full stop */
	enum complete complete;
	const char *words; /* "auto|tap:": nothing else is accepted, behind a colon anything; NULL:
			      anything */
	enum enters enters;
	const char *key; /* the configuration's */
};

struct option_group {
	const char *title;
	const struct option *options;
};

struct args;

struct verb {
	const char *name; /* NULL ends the table */
	const char *alias;
	const char *synopsis;                     /* behind the name */
	const char *summary;                      /* one sentence without a full stop */
	const struct option_group *const *groups; /* NULL-terminated; --help is everybody's */
	int min, max;                             /* positional arguments; max -1: any number */
	bool command; /* options end at the first positional argument: a command follows */
	enum complete complete; /* of positional arguments */
	const char *words;
	int (*run)(struct cli *cli, const struct args *args);
};

extern const struct verb verbs[];
extern const struct option_group common_options; /* of every verb */

struct given {
	const struct option *option;
	const char *value; /* NULL: takes none */
};

/* What stands on a command line. Strings are argv's. */
struct args {
	const struct verb *verb;
	struct given *given; /* in their order */
	size_t given_count;
	char **positional; /* NULL-terminated */
	int count;
	bool ended; /* "--" came before the first positional argument */
};

/* @name is a verb or its alias. KILN_EINVAL with a likely one in the hint. */
int verb_find(const char *name, const struct verb **ret, kiln_error *err);

/* Parses what stands behind the verb. Release it with args_done(), also after a failure. */
int args_parse(struct args *ret, const struct verb *verb, int argc, char **argv, kiln_error *err);
void args_done(struct args *args);

bool args_has(const struct args *args, enum option_id id);

/* The value of the last of its occurrences, or NULL. */
const char *args_value(const struct args *args, enum option_id id);

/* The same for an option whose values are words: true if it is @word. */
bool args_is(const struct args *args, enum option_id id, const char *word);

/* Walks a verb's options, its groups' and the common: @at begins with NULL. */
const struct option *option_next(const struct verb *verb, const struct option *at);

/* --- help.c ------------------------------------------------------------------ */

void help_all(void);
void help_verb(const struct verb *verb);

/* Calls @fn for each part of "a|b|c". */
void words_each(const char *words, void (*fn)(void *data, const char *word, size_t len),
		void *data);

#endif
