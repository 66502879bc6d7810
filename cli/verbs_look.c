/* SPDX-License-Identifier: Apache-2.0 */
/* ls, inspect, stats: looking at VMs without changing anything. */
#include "cli.h"

#include "err.h"
#include "timefmt.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static bool is_alive(const kiln_vm_info *info)
{
	return info->state != KILN_STATE_CREATED && info->state != KILN_STATE_STOPPED &&
	       info->state != KILN_STATE_FAILED;
}

static bool wants_json(const struct args *args)
{
	return args_is(args, OPT_FORMAT, "json");
}

/* --- ls ---------------------------------------------------------------------- */

struct listing {
	const struct args *args;
	struct table *table;
	json_t *array;
};

static json_t *exit_json(const kiln_vm_info *info)
{
	const char *kind = kiln_exit_kind_name(info->exit.kind);
	int status = kiln_exit_status(info->exit);

	if (info->exit.kind == KILN_EXIT_NONE)
		return json_null();
	if (info->exit.kind == KILN_EXIT_EXITED)
		return json_pack("{s:s, s:i, s:i}", "kind", kind, "code", info->exit.code, "status",
				 status);
	if (info->exit.kind == KILN_EXIT_SIGNALED)
		return json_pack("{s:s, s:i, s:i}", "kind", kind, "signal", info->exit.code,
				 "status", status);
	return json_pack("{s:s, s:i}", "kind", kind, "status", status);
}

static json_t *or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

static json_t *vm_json(const kiln_vm_info *info)
{
	char created[KILN__TIME_TEXT];

	kiln__time_format(info->created_ns, created);
	return json_pack("{s:s, s:o, s:s, s:o, s:o, s:s, s:o, s:o, s:b}", "id", info->id, "name",
			 or_null(info->name), "state", kiln_state_name(info->state), "backend",
			 or_null(info->backend), "accel", or_null(info->accel), "created", created,
			 "exit", exit_json(info), "pid",
			 info->pid ? json_integer(info->pid) : json_null(), "ephemeral",
			 info->ephemeral);
}

static void add_exit(struct table *table, const kiln_vm_info *info)
{
	if (info->state == KILN_STATE_FAILED)
		table_add(table, "%s", info->failure.message);
	else if (info->exit.kind == KILN_EXIT_NONE)
		table_add(table, "-");
	else if (info->exit.kind == KILN_EXIT_EXITED)
		table_add(table, "%d", info->exit.code);
	else if (info->exit.kind == KILN_EXIT_SIGNALED)
		table_add(table, "signal %d", info->exit.code);
	else
		table_add(table, "%s", kiln_exit_kind_name(info->exit.kind));
}

static void add_row(struct table *table, const kiln_vm_info *info)
{
	char ago[64];

	table_add(table, "%.12s", info->id);
	table_add(table, "%s", info->name[0] ? info->name : "-");
	table_add(table, "%s", kiln_state_name(info->state));
	table_add(table, "%s", info->backend[0] ? info->backend : "-");
	table_add(table, "%s", info->accel[0] ? info->accel : "-");
	table_add(table, "%s", format_ago(info->created_ns, ago, sizeof(ago)));
	add_exit(table, info);
}

static int on_vm(void *data, const kiln_vm_info *info)
{
	struct listing *listing = data;

	if (!is_alive(info) && !args_has(listing->args, OPT_ALL))
		return 0;
	if (args_has(listing->args, OPT_QUIET))
		printf("%s\n", info->id);
	else if (listing->array)
		json_array_append_new(listing->array, vm_json(info));
	else
		add_row(listing->table, info);
	return 0;
}

int verb_ls(struct cli *cli, const struct args *args)
{
	static const char *const heads[] = {"ID",    "NAME",    "STATE", "BACKEND",
					    "ACCEL", "CREATED", "EXIT",  NULL};
	bool quiet = args_has(args, OPT_QUIET);
	struct listing listing = {.args = args};
	kiln_error err = KILN_ERROR_INIT;
	int r = cli_manager(cli, &err);

	if (!quiet && wants_json(args))
		listing.array = json_array();
	else if (!quiet)
		listing.table = table_new(heads);
	if (r == 0)
		r = kiln_manager_list(cli->manager, on_vm, &listing, &err);
	if (r < 0)
		return complain(NULL, &err);
	if (listing.array)
		print_json(listing.array, NULL);
	else if (listing.table)
		table_print(listing.table);
	return 0;
}

/* --- inspect ----------------------------------------------------------------- */

int verb_inspect(struct cli *cli, const struct args *args)
{
	json_t *array = json_array();
	kiln_error err = KILN_ERROR_INIT;
	int code = 0;

	if (cli_manager(cli, &err) < 0)
		return complain(NULL, &err);
	for (int i = 0; i < args->count; i++) {
		kiln_vm *vm = NULL;
		char *text = NULL;
		int r = cli_find(cli, args->positional[i], &vm, &err);

		if (r == 0)
			r = kiln_vm_inspect_sync(vm, &text, -1, &err);
		if (r == 0)
			json_array_append_new(array, json_loads(text, 0, NULL));
		else
			code = complain(args->positional[i], &err);
		free(text);
		kiln_vm_free(vm);
	}
	print_json(array, NULL);
	return code;
}

/* --- stats ------------------------------------------------------------------- */

struct measuring {
	struct cli *cli;
	json_t *array;
	int code;
};

static void measure(struct measuring *m, const char *name)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_vm *vm = NULL;
	char *text = NULL;
	json_t *stats = NULL;
	int r = cli_find(m->cli, name, &vm, &err);

	if (r == 0)
		r = kiln_vm_stats_sync(vm, &text, -1, &err);
	if (r == 0)
		stats = json_loads(text, 0, NULL);
	if (stats) {
		json_t *row = json_pack("{s:s, s:o}", "id", kiln_vm_id(vm), "name",
					or_null(kiln_vm_name(vm) ? kiln_vm_name(vm) : ""));

		json_object_update(row, stats);
		json_array_append_new(m->array, row);
	} else {
		m->code = complain(name, &err);
	}
	json_decref(stats);
	free(text);
	kiln_vm_free(vm);
}

static int collect_alive(void *data, const kiln_vm_info *info)
{
	if (is_alive(info))
		json_array_append_new(data, json_string(info->id));
	return 0;
}

static uint64_t number(const json_t *row, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(row, key));

	return value > 0 ? (uint64_t)value : 0;
}

static void print_stats(const json_t *array)
{
	static const char *const heads[] = {"ID", "NAME", "CPU TIME", "MEMORY", "RUNNER", NULL};
	struct table *table = table_new(heads);

	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *row = json_array_get(array, i);
		const char *name = json_string_value(json_object_get(row, "name"));
		char text[32];

		table_add(table, "%.12s", json_string_value(json_object_get(row, "id")));
		table_add(table, "%s", name ? name : "-");
		table_add(table, "%.1f s", (double)number(row, "cpu_ns") / 1e9);
		table_add(table, "%s", format_bytes(number(row, "memory"), text, sizeof(text)));
		table_add(table, "%s",
			  format_bytes(number(row, "runner_private"), text, sizeof(text)));
	}
	table_print(table);
}

int verb_stats(struct cli *cli, const struct args *args)
{
	struct measuring m = {.cli = cli, .array = json_array()};
	json_t *ids = json_array();
	kiln_error err = KILN_ERROR_INIT;
	int r = cli_manager(cli, &err);

	if (r == 0 && args->count == 0)
		r = kiln_manager_list(cli->manager, collect_alive, ids, &err);
	if (r < 0)
		return complain(NULL, &err);
	for (int i = 0; i < args->count; i++)
		measure(&m, args->positional[i]);
	for (size_t i = 0; i < json_array_size(ids); i++)
		measure(&m, json_string_value(json_array_get(ids, i)));
	json_decref(ids);
	if (wants_json(args)) {
		print_json(m.array, NULL);
	} else {
		print_stats(m.array);
		json_decref(m.array);
	}
	return m.code;
}
