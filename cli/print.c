/* SPDX-License-Identifier: Apache-2.0 */
/* What people read: errors, tables, times; and the few things they write. */
#include "cli.h"
#include "spec.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "printable.h"
#include "timefmt.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* --- errors ------------------------------------------------------------------ */

/* What to do about an error that does not say so itself. */
static const char *advice(const kiln_error *err)
{
	if (strcmp(err->stage, "config") == 0)
		return "see kiln-config(5), or kiln schema, for what it may be";
	if (strcmp(err->stage, "kernel") == 0 && err->os_errno == 0)
		return "without a kernel of your own kiln fetches Debian's";
	if (err->code == KILN_ENOCMD)
		return "is it in the root, and its directory in the PATH there?";
	if (err->code == KILN_ENOENT && err->os_errno == ENOENT)
		return "check the path";
	if (err->code == KILN_EACCES && err->os_errno == EACCES)
		return "kiln reads it as the user who runs it: check its owner and mode";
	return "";
}

/* Messages may quote a guest or an image. */
int complain(const char *what, const kiln_error *err)
{
	kiln_error shown = *err;

	if (what)
		fprintf(stderr, "kiln: %s: %s\n", what, kiln__printable(shown.message));
	else
		fprintf(stderr, "kiln: %s\n", kiln__printable(shown.message));
	kiln__printable(shown.hint);
	if (shown.hint[0] || advice(err)[0])
		fprintf(stderr, "      %s\n", shown.hint[0] ? shown.hint : advice(err));
	return EXIT_KILN;
}

void tell(const struct cli *cli, const char *fmt, ...)
{
	kiln__autobuf text = KILN__BUF_INIT;
	va_list args;

	if (!cli->talks)
		return;
	va_start(args, fmt);
	kiln__buf_vaddf(&text, fmt, args);
	va_end(args);
	if (text.data)
		fprintf(stderr, "kiln: %s\n", kiln__printable(text.data));
}

int exit_code_of_error(const kiln_error *err)
{
	if (err->code == KILN_ENOCMD)
		return EXIT_NOCMD;
	return err->code == KILN_ENOEXEC ? EXIT_NOEXEC : EXIT_KILN;
}

/* --- documents --------------------------------------------------------------- */

void print_json_text(const char *json)
{
	kiln__autofree char *shown = kiln__printable_json(json);

	if (shown)
		printf("%s\n", shown);
}

int print_json(json_t *value, kiln_error *err)
{
	kiln__autofree char *text =
		value ? json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	if (!text)
		return kiln__fail_nomem(err);
	print_json_text(text);
	return 0;
}

/* --- tables ------------------------------------------------------------------ */

struct table {
	size_t columns;
	size_t count; /* cells, the heads included */
	size_t room;
	char **cells;
};

static void add_cell(struct table *table, char *text)
{
	if (table->count == table->room) {
		table->room = table->room * 2 + 32;
		table->cells = realloc(table->cells, table->room * sizeof(*table->cells));
	}
	if (!text || !table->cells)
		abort(); /* out of memory for a few words: nothing can be said any more */
	table->cells[table->count++] = kiln__printable(text);
}

struct table *table_new(const char *const *heads)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		abort();
	for (; heads[table->columns]; table->columns++)
		add_cell(table, strdup(heads[table->columns]));
	return table;
}

void table_add(struct table *table, const char *fmt, ...)
{
	kiln__autobuf text = KILN__BUF_INIT;
	va_list args;

	va_start(args, fmt);
	kiln__buf_vaddf(&text, fmt, args);
	va_end(args);
	add_cell(table, kiln__buf_steal(&text));
}

static size_t width_of(const struct table *table, size_t column)
{
	size_t width = 0;

	for (size_t i = column; i < table->count; i += table->columns)
		if (strlen(table->cells[i]) > width)
			width = strlen(table->cells[i]);
	return width;
}

void table_print(struct table *table)
{
	kiln__autofree size_t *widths = calloc(table->columns, sizeof(*widths));

	if (!widths)
		abort();
	for (size_t i = 0; i < table->columns; i++)
		widths[i] = width_of(table, i);
	for (size_t i = 0; i < table->count; i++) {
		bool last = (i + 1) % table->columns == 0;

		printf("%-*s%s", last ? 0 : (int)widths[i % table->columns], table->cells[i],
		       last ? "\n" : "   ");
	}
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}

const char *format_ago(int64_t realtime_ns, char *text, size_t size)
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
	int64_t seconds = (kiln__os_realtime_ns() - realtime_ns) / 1000000000;

	snprintf(text, size, "now");
	if (!realtime_ns)
		snprintf(text, size, "-");
	for (size_t i = 0; realtime_ns && i < sizeof(units) / sizeof(units[0]); i++) {
		int64_t n = seconds / units[i].seconds;

		if (n <= 0)
			continue;
		snprintf(text, size, "%lld %s%s ago", (long long)n, units[i].name,
			 n == 1 ? "" : "s");
		break;
	}
	return text;
}

const char *format_bytes(uint64_t bytes, char *text, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	snprintf(text, size, "%.*f %s", unit ? 1 : 0, value, units[unit]);
	return text;
}

/* --- what people write ------------------------------------------------------- */

int parse_duration(const char *text, uint64_t *ret_ms, kiln_error *err)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"", 1000},   {"s", 1000},    {"ms", 1},
		     {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	for (size_t i = 0; isdigit((unsigned char)text[0]) && i < sizeof(units) / sizeof(units[0]);
	     i++)
		if (strcmp(end, units[i].name) == 0 && value < (UINT64_C(1) << 40)) {
			*ret_ms = value * units[i].ms;
			return 0;
		}
	kiln__fail(err, KILN_EINVAL, "\"%.40s\" is not a duration", text);
	kiln__hint(err, "write seconds, or a unit: 10, 500ms, 2m, 1h");
	return KILN_EINVAL;
}

int parse_time(const char *text, int64_t *ret_realtime_ns, kiln_error *err)
{
	int64_t time = kiln__time_parse(text);
	uint64_t ms;

	if (time < 0) {
		if (parse_duration(text, &ms, NULL) < 0) {
			kiln__fail(err, KILN_EINVAL, "\"%.40s\" is not a time", text);
			kiln__hint(err, "write 2026-01-31T12:00:00Z, or 10m for ten minutes ago");
			return KILN_EINVAL;
		}
		time = kiln__os_realtime_ns() - (int64_t)ms * 1000000;
	}
	*ret_realtime_ns = time;
	return 0;
}

int parse_signal(const char *text, int *ret, kiln_error *err)
{
	unsigned number = kiln__signal_number(text);

	if (number) {
		*ret = (int)number;
		return 0;
	}
	kiln__fail(err, KILN_EINVAL, "there is no signal \"%.40s\"", text);
	kiln__hint(err, "write a name such as TERM, or a number from 1 to 64");
	return KILN_EINVAL;
}
