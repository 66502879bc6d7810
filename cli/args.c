/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines, by the table: options and clusters of letters as getopt_long(3) has them. */
#include "args.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>

/* --- likely names ------------------------------------------------------------ */

#define MAX_NAME 24

/* How many letters must be put in, taken out or changed to make @b of @a; many if they are long. */
static size_t distance(const char *a, const char *b)
{
	size_t row[MAX_NAME + 1];
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);

	if (a_len > MAX_NAME || b_len > MAX_NAME)
		return MAX_NAME;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[b_len];
}

/* Keeps in *best the nearer of it and @name to what was written. */
static void consider(const char *written, const char *name, const char **best, size_t *edits)
{
	size_t d = name ? distance(written, name) : MAX_NAME;

	if (d < *edits) {
		*edits = d;
		*best = name;
	}
}

/* More edits than this make another word. */
static size_t limit(const char *written)
{
	return strlen(written) <= 3 ? 2 : 3;
}

int verb_find(const char *name, const struct verb **ret, kiln_error *err)
{
	const char *best = NULL;
	size_t edits = limit(name);

	for (const struct verb *verb = verbs; verb->name; verb++) {
		if (strcmp(verb->name, name) == 0 ||
		    (verb->alias && strcmp(verb->alias, name) == 0)) {
			*ret = verb;
			return 0;
		}
		consider(name, verb->name, &best, &edits);
	}
	kiln__fail(err, KILN_EINVAL, "there is no command \"%.40s\"", name);
	if (best)
		kiln__hint(err, "did you mean \"kiln %s\"?", best);
	else
		kiln__hint(err, "see \"kiln --help\"");
	return KILN_EINVAL;
}

/* --- options ----------------------------------------------------------------- */

const struct option *option_next(const struct verb *verb, const struct option *at)
{
	const struct option_group *const *group = verb->groups;

	if (!at)
		return *group ? (*group)->options : common_options.options;
	if (at[1].name)
		return at + 1;
	for (; *group; group++) {
		const struct option *last = (*group)->options;

		while (last[1].name)
			last++;
		if (last == at)
			return group[1] ? group[1]->options : common_options.options;
	}
	return NULL;
}

static const struct option *find_letter(const struct verb *verb, char letter)
{
	const struct option *at = NULL;

	while ((at = option_next(verb, at)))
		if (at->letter == letter)
			return at;
	return NULL;
}

static const struct option *find_name(const struct verb *verb, const char *name, size_t len)
{
	const struct option *at = NULL;

	while ((at = option_next(verb, at)))
		if (strlen(at->name) == len && memcmp(at->name, name, len) == 0)
			return at;
	return NULL;
}

/* Docker's options that somebody will try here: not ours, or not yet, which is not a typing error.
 */
static const struct foreign {
	char letter;
	const char *name;
	bool later; /* a later version has it; else it means nothing to a machine */
	const char *hint;
} foreign[] = {
	{0, "mount", true, "attach a disk by --disk, or copy by exec -i"},
	{0, "volumes-from", true, "attach a disk by --disk, or copy by exec -i"},
	{0, "restart", true, "have a service manager start it, or use \"kiln restart\""},
	{0, "expose", true, "publish ports one by one: -p PORT"},
	{0, "mac-address", true, "set it: --set networks[0].mac=ADDRESS"},
	{0, "add-host", true, "write the guest's /etc/hosts"},
	{0, "ip", true, "user networks have addresses of their own; publish ports by -p"},
	{0, "device", true, "attach a block device by --disk"},
	{0, "gpus", true, "devices of the host cannot be passed through"},
	{0, "shm-size", true, "mount /dev/shm anew in the guest"},
	{0, "sig-proxy", true, "signals are always passed on"},
	{0, "cidfile", true, "\"kiln run -d\" prints the id"},
	{'f', "filter", true, "filter what --format json prints"},
	{0, "no-trunc", true, "-q and --format json print whole ids"},
	{0, "format", false, "leave it out: this verb has one format"},
	{0, "no-stream", false, "leave it out: that is how it is"},
	{0, "cpu-shares", false, "a machine has processors of its own: --cpus"},
	{0, "cpuset-cpus", false, "a machine has processors of its own: --cpus"},
	{0, "memory-swap", false, "a machine has memory of its own: --memory"},
	{0, "privileged", false, "leave it out: root in a machine has all of that machine"},
	{0, "cap-add", false, "leave it out: root in a machine has all of that machine"},
	{0, "cap-drop", false, "leave it out: the machine is the boundary"},
	{0, "security-opt", false, "leave it out: the machine is the boundary"},
	{0, "userns", false, "leave it out: the machine is the boundary"},
	{0, "pid", false, "leave it out: a machine shares no processes with the host"},
	{0, "ipc", false, "leave it out: a machine shares no memory with the host"},
	{0, "sysctl", false, "write to the guest's /proc/sys, or use --cmdline"},
	{0, "ulimit", false, "set limits in the guest"},
	{0, "runtime", false, "see --backend for what runs the machine"},
	{0, NULL, false, NULL},
};

/* False if @written is none of them. */
static bool refuse_foreign(const struct verb *verb, const char *written, kiln_error *err)
{
	bool is_long = strncmp(written, "--", 2) == 0;
	size_t len = is_long ? strcspn(written + 2, "=") : 0;

	for (const struct foreign *at = foreign; at->name; at++) {
		if (is_long ? strlen(at->name) != len || memcmp(at->name, written + 2, len) != 0
			    : !at->letter || written[1] != at->letter)
			continue;
		kiln__fail(err, KILN_ENOTSUP,
			   at->later ? "%s: not supported yet by this version: %s%.1s%s--%s"
				     : "%s: has no meaning for machines: %s%.1s%s--%s",
			   verb->name, at->letter ? "-" : "", at->letter ? &at->letter : "",
			   at->letter ? ", " : "", at->name);
		kiln__hint(err, "%s", at->hint);
		return true;
	}
	return false;
}

static int refuse(const struct verb *verb, const char *written, kiln_error *err)
{
	const struct option *at = NULL;
	const char *best = NULL;
	char name[MAX_NAME + 1] = "";
	size_t edits;

	if (refuse_foreign(verb, written, err))
		return KILN_ENOTSUP;
	if (strncmp(written, "--", 2) == 0 && strcspn(written + 2, "=") < sizeof(name))
		memcpy(name, written + 2, strcspn(written + 2, "="));
	edits = limit(name);
	while (name[0] && (at = option_next(verb, at)))
		consider(name, at->name, &best, &edits);
	kiln__fail(err, KILN_EINVAL, "%s: there is no option %.40s", verb->name, written);
	if (best)
		kiln__hint(err, "did you mean --%s?", best);
	else
		kiln__hint(err, "see \"kiln %s --help\"", verb->name);
	return KILN_EINVAL;
}

struct checking {
	const char *value;
	bool found;
};

/* A word that ends with a colon is followed by something. */
static void check_word(void *data, const char *word, size_t len)
{
	struct checking *checking = data;
	bool open = word[len - 1] == ':';

	if (strncmp(checking->value, word, len) == 0 && (open || !checking->value[len]))
		checking->found = true;
}

void words_each(const char *words, void (*fn)(void *data, const char *word, size_t len), void *data)
{
	for (size_t len; *words; words += len + (words[len] == '|')) {
		len = strcspn(words, "|");
		fn(data, words, len);
	}
}

static int add(struct args *args, const struct option *option, const char *value, kiln_error *err)
{
	struct checking checking = {.value = value};

	if (option->words && value) {
		words_each(option->words, check_word, &checking);
		if (!checking.found) {
			kiln__fail(err, KILN_EINVAL, "--%s cannot be \"%.40s\"", option->name,
				   value);
			kiln__hint(err, "it can be %s", option->words);
			return KILN_EINVAL;
		}
	}
	args->given[args->given_count++] = (struct given){option, value};
	return 0;
}

static int lacks(const struct option *option, kiln_error *err)
{
	kiln__fail(err, KILN_EINVAL, "--%s needs an argument: %s", option->name, option->arg);
	if (option->words)
		kiln__hint(err, "it can be %s", option->words);
	else
		kiln__hint(err, "write --%s=%s", option->name, option->arg);
	return KILN_EINVAL;
}

/* "--name", "--name=value", "--name value": @at moves over what it takes. */
static int parse_long(struct args *args, int argc, char **argv, int *at, kiln_error *err)
{
	const char *name = argv[*at] + 2;
	size_t len = strcspn(name, "=");
	const struct option *option = find_name(args->verb, name, len);

	if (!option)
		return refuse(args->verb, argv[*at], err);
	if (!option->arg && name[len]) {
		kiln__fail(err, KILN_EINVAL, "--%s takes no argument", option->name);
		kiln__hint(err, "write --%s, or leave it out", option->name);
		return KILN_EINVAL;
	}
	if (!option->arg)
		return add(args, option, NULL, err);
	if (name[len])
		return add(args, option, name + len + 1, err);
	if (*at + 1 >= argc)
		return lacks(option, err);
	return add(args, option, argv[++*at], err);
}

/* "-a", "-ab", "-nvalue", "-n=value", "-n value" */
static int parse_letters(struct args *args, int argc, char **argv, int *at, kiln_error *err)
{
	for (const char *letter = argv[*at] + 1; *letter; letter++) {
		const struct option *option = find_letter(args->verb, *letter);
		const char alone[] = {'-', *letter, '\0'};
		int r;

		if (!option)
			return refuse(args->verb, alone, err);
		if (option->arg) {
			if (letter[1])
				return add(args, option, letter + 1 + (letter[1] == '='), err);
			if (*at + 1 >= argc)
				return lacks(option, err);
			return add(args, option, argv[++*at], err);
		}
		r = add(args, option, NULL, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_count(const struct args *args, kiln_error *err)
{
	const struct verb *verb = args->verb;

	if (args_has(args, OPT_HELP))
		return 0;
	if (args->count < verb->min)
		kiln__fail(err, KILN_EINVAL, "%s: an argument is missing", verb->name);
	else if (verb->max >= 0 && args->count > verb->max)
		kiln__fail(err, KILN_EINVAL, "%s: unexpected argument \"%.40s\"", verb->name,
			   args->positional[verb->max]);
	else
		return 0;
	kiln__hint(err, "usage: kiln %s %s", verb->name, verb->synopsis);
	return KILN_EINVAL;
}

int args_parse(struct args *ret, const struct verb *verb, int argc, char **argv, kiln_error *err)
{
	size_t room = 0;
	int at;
	int r;

	*ret = (struct args){.verb = verb};
	/* A cluster of letters is the only argument that may hold several options. */
	for (at = 0; at < argc && strcmp(argv[at], "--") != 0; at++)
		room += argv[at][0] == '-' ? strlen(argv[at]) : 0;
	ret->given = calloc(room + 1, sizeof(*ret->given));
	ret->positional = calloc((size_t)argc + 1, sizeof(*ret->positional));
	if (!ret->given || !ret->positional)
		return kiln__fail_nomem(err);
	for (at = 0; at < argc; at++) {
		if (argv[at][0] != '-' || !argv[at][1]) {
			if (verb->command)
				break;
			ret->positional[ret->count++] = argv[at];
			continue;
		}
		if (strcmp(argv[at], "--") == 0) {
			ret->ended = ret->count == 0;
			at++;
			break;
		}
		if (argv[at][1] == '-')
			r = parse_long(ret, argc, argv, &at, err);
		else
			r = parse_letters(ret, argc, argv, &at, err);
		if (r < 0)
			return r;
	}
	for (; at < argc; at++)
		ret->positional[ret->count++] = argv[at];
	return check_count(ret, err);
}

void args_done(struct args *args)
{
	free(args->given);
	free(args->positional);
	*args = (struct args){0};
}

bool args_has(const struct args *args, enum option_id id)
{
	for (size_t i = 0; i < args->given_count; i++)
		if (args->given[i].option->id == id)
			return true;
	return false;
}

const char *args_value(const struct args *args, enum option_id id)
{
	for (size_t i = args->given_count; i-- > 0;)
		if (args->given[i].option->id == id)
			return args->given[i].value;
	return NULL;
}

bool args_is(const struct args *args, enum option_id id, const char *word)
{
	const char *value = args_value(args, id);

	return value && strcmp(value, word) == 0;
}
