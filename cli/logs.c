/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs and events.
 *
 * Log records are pieces as they were written, not lines: a line may come in several, and
 * those of standard output and error may alternate. Lines are put together only where
 * lines are asked for (--tail, --timestamps); else bytes pass as they are.
 */
#include "cli.h"

#include "err.h"
#include "printable.h"
#include "timefmt.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* --- logs -------------------------------------------------------------------- */

struct logs {
	struct cli *cli;
	bool timestamps;
	int64_t since_ns;
	uint64_t lines; /* counted, in the first pass of --tail */
	uint64_t skip;  /* lines not to be shown */
	bool counting;
	bool inside[3]; /* a line of this descriptor has begun */
	bool done;
	int result;
	kiln_error err;
};

static void begin_line(struct logs *logs, FILE *to, int64_t time_ns)
{
	char text[KILN__TIME_TEXT];

	if (!logs->timestamps || !time_ns)
		return;
	kiln__time_format(time_ns, text);
	fprintf(to, "%s ", text);
}

/* One line, or a piece of one, with its newline if that has come. */
static void on_piece(struct logs *logs, int64_t time_ns, int fd, const char *bytes, size_t len)
{
	FILE *to = fd == 2 ? stderr : stdout;
	bool begins = !logs->inside[fd];

	logs->inside[fd] = bytes[len - 1] != '\n';
	if (logs->counting) {
		logs->lines += begins;
		return;
	}
	if (logs->skip) {
		logs->skip -= !logs->inside[fd];
		return;
	}
	if (begins)
		begin_line(logs, to, time_ns);
	fwrite(bytes, 1, len, to);
}

static void on_log(void *data, int64_t time_ns, int fd, const void *bytes, size_t len)
{
	struct logs *logs = data;
	const char *at = bytes;

	if (time_ns && time_ns < logs->since_ns)
		return;
	fd = fd == 2 ? 2 : 1;
	while (len > 0) {
		const char *newline = memchr(at, '\n', len);
		size_t n = newline ? (size_t)(newline - at) + 1 : len;

		on_piece(logs, time_ns, fd, at, n);
		at += n;
		len -= n;
	}
	/* Who follows wants to see it now. */
	if (!logs->counting)
		fflush(fd == 2 ? stderr : stdout);
}

static void on_logs_done(void *data, int result, const kiln_error *err)
{
	struct logs *logs = data;

	logs->done = true;
	logs->result = result;
	if (err)
		logs->err = *err;
}

static int read_logs(struct logs *logs, kiln_vm *vm, enum kiln_logs_kind kind, bool follow,
		     kiln_error *err)
{
	kiln_loop *loop = kiln_manager_loop(logs->cli->manager);
	kiln_follower *follower;
	int r;

	logs->done = false;
	memset(logs->inside, 0, sizeof(logs->inside));
	r = kiln_vm_logs(vm, kind, follow, on_log, on_logs_done, logs, &follower, err);
	if (r < 0)
		return r;
	while (!logs->done && !ferror(stdout) && kiln_loop_step(loop))
		;
	kiln_follower_free(follower);
	if (logs->done && logs->result < 0)
		*err = logs->err;
	return logs->result;
}

static int parse_tail(const char *text, uint64_t *ret, kiln_error *err)
{
	char *end;

	if (strcmp(text, "all") == 0) {
		*ret = UINT64_MAX;
		return 0;
	}
	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno) {
		kiln__fail(err, KILN_EINVAL, "--tail needs a number of lines, not \"%.40s\"", text);
		kiln__hint(err, "write --tail=10, or --tail=all");
		return KILN_EINVAL;
	}
	return 0;
}

static enum kiln_logs_kind which(const struct args *args)
{
	if (args_has(args, OPT_CONSOLE))
		return KILN_LOGS_CONSOLE;
	return args_has(args, OPT_RUNNER) ? KILN_LOGS_RUNNER : KILN_LOGS_PROCESS;
}

/* Lines are counted first, then all but the last are left out. */
static int show_logs(struct logs *logs, const struct args *args, kiln_vm *vm, uint64_t tail,
		     kiln_error *err)
{
	int r = 0;

	if (tail != UINT64_MAX) {
		logs->counting = true;
		r = read_logs(logs, vm, which(args), false, err);
		logs->counting = false;
		logs->skip = logs->lines > tail ? logs->lines - tail : 0;
	}
	return r < 0 ? r : read_logs(logs, vm, which(args), args_has(args, OPT_FOLLOW), err);
}

int verb_logs(struct cli *cli, const struct args *args)
{
	const char *since = args_value(args, OPT_SINCE);
	const char *last = args_value(args, OPT_TAIL);
	struct logs logs = {.cli = cli, .timestamps = args_has(args, OPT_TIMESTAMPS)};
	kiln_error err = KILN_ERROR_INIT;
	uint64_t tail = UINT64_MAX;
	kiln_vm *vm = NULL;
	int r = last ? parse_tail(last, &tail, &err) : 0;

	if (r == 0 && since)
		r = parse_time(since, &logs.since_ns, &err);
	if (r == 0)
		r = cli_manager(cli, &err);
	if (r == 0)
		r = cli_find(cli, args->positional[0], &vm, &err);
	if (r == 0)
		r = show_logs(&logs, args, vm, tail, &err);
	kiln_vm_free(vm);
	return r < 0 ? complain(args->positional[0], &err) : 0;
}

/* --- events ------------------------------------------------------------------ */

struct events {
	bool json;
	int64_t since_ns;
	bool done;
	int result;
	kiln_error err;
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* "stopped (exited 0)", "failed (QEMU died ...)" */
static void print_event(const json_t *event)
{
	const json_t *how = json_object_get(event, "exit");
	const json_t *failure = json_object_get(event, "failure");
	const char *name = text_of(event, "name");
	char line[1024];
	int len;

	len = snprintf(line, sizeof(line), "%s  %.12s  %s  %s", text_of(event, "time"),
		       text_of(event, "id"), name[0] ? name : "-", text_of(event, "event"));
	if (json_object_get(how, "code"))
		snprintf(line + len, sizeof(line) - (size_t)len, " (%s %lld)", text_of(how, "kind"),
			 (long long)json_integer_value(json_object_get(how, "code")));
	else if (json_object_get(how, "signal"))
		snprintf(line + len, sizeof(line) - (size_t)len, " (signal %lld)",
			 (long long)json_integer_value(json_object_get(how, "signal")));
	else if (json_is_object(how))
		snprintf(line + len, sizeof(line) - (size_t)len, " (%s)", text_of(how, "kind"));
	else if (json_is_object(failure))
		snprintf(line + len, sizeof(line) - (size_t)len, " (%s)",
			 text_of(failure, "message"));
	printf("%s\n", kiln__printable(line));
}

static void on_event(void *data, const char *json)
{
	struct events *events = data;
	json_t *event = json_loads(json, 0, NULL);
	int64_t time = event ? kiln__time_parse(text_of(event, "time")) : -1;

	if (event && time >= events->since_ns) {
		if (events->json)
			print_json_text(json);
		else
			print_event(event);
		fflush(stdout);
	}
	json_decref(event);
}

static void on_events_done(void *data, int result, const kiln_error *err)
{
	struct events *events = data;

	events->done = true;
	events->result = result;
	if (err)
		events->err = *err;
}

int verb_events(struct cli *cli, const struct args *args)
{
	const char *since = args_value(args, OPT_SINCE);
	struct events events = {.json = args_is(args, OPT_FORMAT, "json")};
	kiln_error err = KILN_ERROR_INIT;
	kiln_follower *follower = NULL;
	kiln_vm *vm = NULL;
	int r = since ? parse_time(since, &events.since_ns, &err) : 0;

	if (r == 0)
		r = cli_manager(cli, &err);
	if (r == 0 && args->count > 0)
		r = cli_find(cli, args->positional[0], &vm, &err);
	if (r == 0)
		r = kiln_manager_events(cli->manager, vm, args_has(args, OPT_FOLLOW), on_event,
					on_events_done, &events, &follower, &err);
	while (r == 0 && !events.done && !ferror(stdout) &&
	       kiln_loop_step(kiln_manager_loop(cli->manager)))
		;
	if (r == 0 && events.result < 0) {
		r = events.result;
		err = events.err;
	}
	kiln_follower_free(follower);
	kiln_vm_free(vm);
	return r < 0 ? complain(NULL, &err) : 0;
}
