/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completion scripts, made from the table. What only a run can tell, the names of VMs,
 * the scripts ask kiln itself for.
 */
#include "cli.h"

#include "err.h"

#include <string.h>

static void print_word(void *data, const char *word, size_t len)
{
	const char *separator = data;

	printf("%s%.*s", separator, (int)len, word);
}

/* --- bash -------------------------------------------------------------------- */

static void bash_options(const struct verb *verb)
{
	const struct option *at = NULL;

	printf("\t\toptions=\"");
	while ((at = option_next(verb, at))) {
		printf("--%s ", at->name);
		if (at->letter)
			printf("-%c ", at->letter);
	}
	printf("\"\n");
}

/* What to offer behind options with an argument: a case by the option before. */
static void bash_arguments(const struct verb *verb)
{
	const struct option *at = NULL;

	printf("\t\tcase $prev in\n");
	while ((at = option_next(verb, at))) {
		if (!at->arg)
			continue;
		printf("\t\t--%s", at->name);
		if (at->letter)
			printf("|-%c", at->letter);
		printf(") ");
		if (at->complete == COMPLETE_FILE) {
			printf("compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))");
		} else if (at->complete == COMPLETE_WORD) {
			printf("COMPREPLY=($(compgen -W \"");
			words_each(at->words, print_word, (char[]){" "});
			printf("\" -- \"$cur\"))");
		} else {
			printf(":");
		}
		printf("; return ;;\n");
	}
	printf("\t\tesac\n");
}

static void bash_positional(const struct verb *verb)
{
	if (verb->complete == COMPLETE_VM) {
		printf("\t\twords=$(kiln ls -a --format json 2>/dev/null | "
		       "sed -n 's/^ *\"\\(id\\|name\\)\": \"\\(.*\\)\",*$/\\2/p')\n");
	} else if (verb->complete == COMPLETE_WORD) {
		printf("\t\twords=\"");
		words_each(verb->words, print_word, (char[]){" "});
		printf("\"\n");
	}
}

static void bash(void)
{
	printf("# bash completion of kiln\n"
	       "_kiln() {\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	       "\tlocal options= words=\n"
	       "\tif [ \"$COMP_CWORD\" = 1 ]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"help");
	for (const struct verb *verb = verbs; verb->name; verb++)
		printf(" %s", verb->name);
	printf("\" -- \"$cur\"))\n\t\treturn\n\tfi\n\tcase ${COMP_WORDS[1]} in\n");
	for (const struct verb *verb = verbs; verb->name; verb++) {
		printf("\t%s%s%s)\n", verb->name, verb->alias ? "|" : "",
		       verb->alias ? verb->alias : "");
		bash_options(verb);
		bash_arguments(verb);
		bash_positional(verb);
		printf("\t\t;;\n");
	}
	printf("\tesac\n"
	       "\tcase $cur in\n"
	       "\t-*) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")) ;;\n"
	       "\t*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
	       "\tesac\n"
	       "}\n"
	       "complete -o bashdefault -F _kiln kiln\n");
}

/* --- zsh --------------------------------------------------------------------- */

/* In a single-quoted specification of _arguments. */
static void zsh_text(const char *text)
{
	for (; *text; text++) {
		if (*text == '\'')
			printf("'\\''");
		else if (strchr("[]:\\", *text))
			printf("\\%c", *text);
		else
			putchar(*text);
	}
}

static void zsh_action(enum complete complete, const char *words)
{
	if (complete == COMPLETE_FILE)
		printf("_files");
	else if (complete == COMPLETE_VM)
		printf("_kiln_vms");
	if (complete != COMPLETE_WORD)
		return;
	putchar('(');
	words_each(words, print_word, (char[]){" "});
	putchar(')');
}

static void zsh_spec(const struct option *option, const char *dashes, const char *name, int len)
{
	printf(" \\\n\t\t'*%s%.*s", dashes, len, name);
	if (option->arg && dashes[1])
		putchar('=');
	putchar('[');
	zsh_text(option->help);
	putchar(']');
	if (option->arg) {
		putchar(':');
		zsh_text(option->arg);
		putchar(':');
		zsh_action(option->complete, option->words);
	}
	putchar('\'');
}

static void zsh_verb(const struct verb *verb)
{
	const struct option *at = NULL;

	printf("\t(%s%s%s)\n\t\t_arguments -s -S", verb->name, verb->alias ? "|" : "",
	       verb->alias ? verb->alias : "");
	while ((at = option_next(verb, at))) {
		zsh_spec(at, "--", at->name, (int)strlen(at->name));
		if (at->letter)
			zsh_spec(at, "-", &at->letter, 1);
	}
	if (verb->complete != COMPLETE_NOTHING) {
		printf(" \\\n\t\t'%s:argument:", verb->command || verb->max == 1 ? "1" : "*");
		zsh_action(verb->complete, verb->words);
		putchar('\'');
	}
	if (verb->command)
		printf(" \\\n\t\t'*::command:_normal'");
	printf("\n\t\t;;\n");
}

static void zsh(void)
{
	printf("#compdef kiln\n"
	       "_kiln_vms() {\n"
	       "\tlocal -a vms\n"
	       "\tvms=(${(f)\"$(kiln ls -a --format json 2>/dev/null | "
	       "sed -n 's/^ *\"\\(id\\|name\\)\": \"\\(.*\\)\",*$/\\2/p')\"})\n"
	       "\tcompadd -a vms\n"
	       "}\n"
	       "_kiln() {\n"
	       "\tlocal -a commands\n"
	       "\tcommands=(\n\t\t'help:Show help'\n");
	for (const struct verb *verb = verbs; verb->name; verb++) {
		printf("\t\t'%s:", verb->name);
		zsh_text(verb->summary);
		printf("'\n");
	}
	printf("\t)\n"
	       "\tif (( CURRENT == 2 )); then\n"
	       "\t\t_describe command commands\n"
	       "\t\treturn\n"
	       "\tfi\n"
	       "\tlocal verb=$words[2]\n"
	       "\tshift words\n"
	       "\t(( CURRENT-- ))\n"
	       "\tcase $verb in\n");
	for (const struct verb *verb = verbs; verb->name; verb++)
		zsh_verb(verb);
	printf("\tesac\n}\n"
	       "if [ \"$funcstack[1]\" = _kiln ]; then\n"
	       "\t_kiln \"$@\"\n"
	       "else\n"
	       "\tcompdef _kiln kiln\n"
	       "fi\n");
}

/* --- fish -------------------------------------------------------------------- */

static void fish_text(const char *text)
{
	putchar('\'');
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('\'');
}

static void fish_condition(const struct verb *verb)
{
	printf("complete -c kiln -n '__fish_seen_subcommand_from %s%s%s'", verb->name,
	       verb->alias ? " " : "", verb->alias ? verb->alias : "");
}

static void fish_verb(const struct verb *verb)
{
	const struct option *at = NULL;

	printf("complete -c kiln -n __fish_use_subcommand -a %s -d ", verb->name);
	fish_text(verb->summary);
	putchar('\n');
	while ((at = option_next(verb, at))) {
		fish_condition(verb);
		printf(" -l %s", at->name);
		if (at->letter)
			printf(" -s %c", at->letter);
		if (at->arg)
			printf(at->complete == COMPLETE_FILE ? " -r -F" : " -x");
		if (at->complete == COMPLETE_WORD) {
			printf(" -a '");
			words_each(at->words, print_word, (char[]){" "});
			putchar('\'');
		}
		printf(" -d ");
		fish_text(at->help);
		putchar('\n');
	}
	if (verb->complete == COMPLETE_NOTHING)
		return;
	fish_condition(verb);
	printf(" -a '");
	if (verb->complete == COMPLETE_VM)
		printf("(__kiln_vms)");
	else
		words_each(verb->words, print_word, (char[]){" "});
	printf("'\n");
}

static void fish(void)
{
	printf("# fish completion of kiln\n"
	       "function __kiln_vms\n"
	       "\tkiln ls -a --format json 2>/dev/null | "
	       "string replace -rf '^ *\"(?:id|name)\": \"(.*)\",?$' '$1'\n"
	       "end\n"
	       "complete -c kiln -f\n");
	for (const struct verb *verb = verbs; verb->name; verb++)
		fish_verb(verb);
}

int verb_completion(struct cli *cli, const struct args *args)
{
	const char *shell = args->positional[0];
	kiln_error err = KILN_ERROR_INIT;

	(void)cli;
	if (strcmp(shell, "bash") == 0) {
		bash();
	} else if (strcmp(shell, "zsh") == 0) {
		zsh();
	} else if (strcmp(shell, "fish") == 0) {
		fish();
	} else {
		kiln__fail(&err, KILN_EINVAL, "there is no completion for \"%.40s\"", shell);
		kiln__hint(&err, "there is one for bash, zsh and fish");
		return complain("completion", &err);
	}
	return 0;
}
