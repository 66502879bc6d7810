/* SPDX-License-Identifier: Apache-2.0 */
/* update, nmi, reset, dump: what is done to a VM while it runs, beside its life. */
#include "cli.h"

#include "cleanup.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

/* --- devices ----------------------------------------------------------------- */

/* "ID=REST" in two; *ret_id is malloc'ed. */
static int split(const char *option, const char *text, char **ret_id, const char **ret_rest,
		 kiln_error *err)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text || !equals[1])
		return kiln__fail(err, KILN_EINVAL, "--%s: '%.80s' is not ID=...", option, text);
	*ret_id = strndup(text, (size_t)(equals - text));
	*ret_rest = equals + 1;
	return *ret_id ? 0 : kiln__fail_nomem(err);
}

static int disk_config(const char *text, char **ret, kiln_error *err)
{
	size_t len = strlen(text);
	bool readonly = len > 3 && strcmp(text + len - 3, ":ro") == 0;
	kiln__autofree char *file = strndup(text, readonly ? len - 3 : len);
	kiln__autofree char *path = NULL;
	json_t *config;
	int r = file ? absolute_path(file, &path, err) : kiln__fail_nomem(err);

	if (r < 0)
		return r;
	config = json_pack("{s:s, s:b}", "path", path, "readonly", readonly);
	*ret = json_dumps(config, JSON_COMPACT);
	json_decref(config);
	return *ret ? 0 : kiln__fail_nomem(err);
}

static int net_config(const char *tap, char **ret, kiln_error *err)
{
	json_t *config = json_pack("{s:s, s:s}", "kind", "tap", "interface", tap);

	*ret = json_dumps(config, JSON_COMPACT);
	json_decref(config);
	return *ret ? 0 : kiln__fail_nomem(err);
}

/* "KIND:JSON", which kiln has words for or has not. */
static int other_device(const char *text, kiln_change *change, char **ret_device, char **ret_config,
			kiln_error *err)
{
	const char *colon = strchr(text, ':');

	if (!colon)
		return kiln__fail(err, KILN_EINVAL, "--add: '%.80s' is not KIND:JSON", text);
	*ret_device = strndup(text, (size_t)(colon - text));
	*ret_config = strdup(colon + 1);
	if (!*ret_device || !*ret_config)
		return kiln__fail_nomem(err);
	change->device = *ret_device;
	if (strcmp(*ret_device, "disk") == 0 || strcmp(*ret_device, "net") == 0)
		change->config = *ret_config;
	else
		change->own = *ret_config;
	return 0;
}

/* One option of update's that changes devices. */
static int change_by(kiln_vm *vm, const struct given *given, kiln_error *err)
{
	kiln__autofree char *id = NULL;
	kiln__autofree char *device = NULL;
	kiln__autofree char *config = NULL;
	kiln_change change = KILN_CHANGE_INIT;
	const char *rest = given->value;
	int r = 0;

	if (given->option->id != OPT_REMOVE)
		r = split(given->option->name, given->value, &id, &rest, err);
	change.id = id ? id : rest;
	if (r < 0)
		return r;
	switch ((int)given->option->id) {
	case OPT_ADD:
		r = other_device(rest, &change, &device, &config, err);
		break;
	case OPT_ADD_DISK:
		change.device = "disk";
		r = disk_config(rest, &config, err);
		change.config = config;
		break;
	case OPT_ADD_NET:
		change.device = "net";
		r = net_config(rest, &config, err);
		change.config = config;
		break;
	case OPT_REMOVE:
		change.kind = KILN_CHANGE_REMOVE;
		break;
	default:
		change.kind = given->option->id == OPT_RESIZE_DISK ? KILN_CHANGE_RESIZE_DISK
								   : KILN_CHANGE_RESIZE_ZONE;
		r = parse_size_of(change.kind == KILN_CHANGE_RESIZE_DISK ? "--resize-disk"
									 : "--resize-zone",
				  rest, &change.bytes, err);
	}
	return r < 0 ? r : kiln_vm_change_sync(vm, &change, -1, err);
}

static bool is_change(const struct given *given)
{
	switch ((int)given->option->id) {
	case OPT_ADD:
	case OPT_ADD_DISK:
	case OPT_ADD_NET:
	case OPT_REMOVE:
	case OPT_RESIZE_DISK:
	case OPT_RESIZE_ZONE:
		return true;
	default:
		return false;
	}
}

/* --- update ------------------------------------------------------------------ */

struct updating {
	kiln_update update;
	bool has_update;
	const struct args *args;
};

/* What update() has first, then devices in the order of their options. */
static int update_one(kiln_vm *vm, const void *data, const char *name, kiln_error *err)
{
	const struct updating *updating = data;
	int r = updating->has_update ? kiln_vm_update_sync(vm, &updating->update, -1, err) : 0;

	for (size_t i = 0; r == 0 && i < updating->args->given_count; i++)
		if (is_change(&updating->args->given[i]))
			r = change_by(vm, &updating->args->given[i], err);
	return print_name(r, name);
}

static int get_cpus(const char *text, uint64_t *ret, kiln_error *err)
{
	size_t digits = strspn(text, "0123456789");

	if (!digits || text[digits] || digits > 4)
		return kiln__fail(err, KILN_EINVAL, "--cpus: '%s' is no number of processors",
				  text);
	*ret = (uint64_t)strtoul(text, NULL, 10);
	return 0;
}

static int get_update(const struct args *args, struct updating *ret, kiln_error *err)
{
	const char *cpus = args_value(args, OPT_CPUS);
	const char *memory = args_value(args, OPT_MEMORY);
	const char *balloon = args_value(args, OPT_BALLOON);
	bool devices = false;
	int r = 0;

	for (size_t i = 0; i < args->given_count; i++)
		devices = devices || is_change(&args->given[i]);
	ret->args = args;
	ret->update.config = args_value(args, OPT_CONFIG);
	ret->has_update = cpus || memory || balloon || ret->update.config;
	if (!ret->has_update && !devices)
		r = kiln__fail(err, KILN_EINVAL, "nothing is to be changed");
	if (r == 0 && cpus)
		r = get_cpus(cpus, &ret->update.cpus, err);
	if (r == 0 && memory)
		r = parse_size_of("--memory", memory, &ret->update.memory, err);
	if (r == 0 && balloon)
		r = parse_size_of("--balloon", balloon, &ret->update.balloon, err);
	return r;
}

int verb_update(struct cli *cli, const struct args *args)
{
	struct updating updating = {.update = KILN_UPDATE_INIT};
	kiln_error err = KILN_ERROR_INIT;

	if (get_update(args, &updating, &err) < 0)
		return complain("update", &err);
	return for_each_vm(cli, args, update_one, &updating);
}

/* --- nmi, reset, the power button -------------------------------------------- */

static int change_one(kiln_vm *vm, const void *data, const char *name, kiln_error *err)
{
	kiln_change change = KILN_CHANGE_INIT;

	change.kind = *(const enum kiln_change_kind *)data;
	return print_name(kiln_vm_change_sync(vm, &change, -1, err), name);
}

int verb_nmi(struct cli *cli, const struct args *args)
{
	return for_each_vm(cli, args, change_one, &(const enum kiln_change_kind){KILN_CHANGE_NMI});
}

int verb_reset(struct cli *cli, const struct args *args)
{
	return for_each_vm(cli, args, change_one,
			   &(const enum kiln_change_kind){KILN_CHANGE_RESET});
}

int press_button(struct cli *cli, const struct args *args)
{
	return for_each_vm(cli, args, change_one,
			   &(const enum kiln_change_kind){KILN_CHANGE_POWER_BUTTON});
}

/* --- dump -------------------------------------------------------------------- */

static int dump(kiln_vm *vm, const char *file, const void *data, kiln_error *err)
{
	kiln_change change = KILN_CHANGE_INIT;

	(void)data;
	change.kind = KILN_CHANGE_DUMP;
	change.file = file;
	return kiln_vm_change_sync(vm, &change, -1, err);
}

/* Paused for as long as that takes, unless it is done, or refused by a backend that cannot. */
static int take_dump(kiln_vm *vm, const char *file, const void *data, kiln_error *err)
{
	int r = dump(vm, file, data, err);

	return r == KILN_ESTATE ? while_paused(vm, dump, file, data, err) : r;
}

int verb_dump(struct cli *cli, const struct args *args)
{
	return for_vm_and_path(cli, args, take_dump, NULL);
}
