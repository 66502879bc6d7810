/* SPDX-License-Identifier: Apache-2.0 */
/* volume: what VMs keep. */
#include "cli.h"

#include "buf.h"
#include "err.h"
#include "home.h"
#include "volume.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct listing {
	struct table *table; /* or */
	json_t *array;       /* or names only */
};

static int create(const struct args *args, const struct kiln__home *home, kiln_error *err)
{
	const char *given = args_value(args, OPT_SIZE);
	uint64_t size = 0;
	int r = given ? parse_size_of("--size", given, &size, err) : 0;

	if (r == 0 && args->count != 2) {
		r = kiln__fail(err, KILN_EINVAL, "volume: the arguments do not fit");
		kiln__hint(err, "usage: kiln volume create [--size SIZE] NAME");
	}
	if (r == 0)
		r = kiln__volume_create(home, args->positional[1], size, err);
	if (r == 0)
		printf("%s\n", args->positional[1]);
	return r;
}

static int on_listed(void *data, const struct kiln__volume_info *info, kiln_error *err)
{
	struct listing *listing = data;
	char text[32];

	(void)err;
	if (listing->array) {
		json_array_append_new(
			listing->array,
			json_pack("{s:s, s:s, s:I, s:I, s:b, s:s*, s:I}", "name", info->name,
				  "mountpoint", info->path, "size", (json_int_t)info->size,
				  "allocated", (json_int_t)info->allocated, "in_use",
				  info->user[0] != '\0', "used_by",
				  info->user[0] ? info->user : NULL, "vms", (json_int_t)info->vms));
		return 0;
	}
	if (!listing->table) {
		printf("%s\n", info->name);
		return 0;
	}
	table_add(listing->table, "%s", info->name);
	table_add(listing->table, "%s", format_bytes(info->size, text, sizeof(text)));
	table_add(listing->table, "%s", format_bytes(info->allocated, text, sizeof(text)));
	table_add(listing->table, "%s", info->user);
	return 0;
}

static int list(const struct args *args, const struct kiln__home *home, kiln_error *err)
{
	static const char *const heads[] = {"NAME", "SIZE", "ALLOCATED", "IN USE BY", NULL};
	bool json = args_is(args, OPT_FORMAT, "json");
	struct listing listing = {.array = json ? json_array() : NULL};
	int r;

	if (!json && !args_has(args, OPT_QUIET))
		listing.table = table_new(heads);
	r = kiln__volume_each(home, NULL, on_listed, &listing, err);
	if (listing.table)
		table_print(listing.table);
	if (json)
		print_json(listing.array, NULL);
	return r;
}

/* Each by itself, as docker does it: what fails is said, and the others are done. */
static int each_named(const struct args *args, const struct kiln__home *home,
		      int (*fn)(const struct kiln__home *home, const struct args *args,
				const char *name, kiln_error *err))
{
	int code = 0;
	kiln_error err = KILN_ERROR_INIT;

	if (args->count < 2) {
		kiln__fail(&err, KILN_EINVAL, "volume %s: a name is missing", args->positional[0]);
		return complain(NULL, &err);
	}
	for (char **name = args->positional + 1; *name; name++)
		if (fn(home, args, *name, &err) < 0)
			code = complain(NULL, &err);
	return code;
}

static int remove_one(const struct kiln__home *home, const struct args *args, const char *name,
		      kiln_error *err)
{
	int r = kiln__volume_remove(home, name, args_has(args, OPT_FORCE), err);

	if (r == 0)
		printf("%s\n", name);
	return r;
}

static int inspect(const struct args *args, const struct kiln__home *home)
{
	struct listing listing = {.array = json_array()};
	kiln_error err = KILN_ERROR_INIT;
	int code = 0;

	for (char **name = args->positional + 1; *name; name++)
		if (kiln__volume_each(home, *name, on_listed, &listing, &err) < 0)
			code = complain(NULL, &err);
	print_json(listing.array, NULL);
	return code;
}

/* --- prune ------------------------------------------------------------------- */

static int on_candidate(void *data, const struct kiln__volume_info *info, kiln_error *err)
{
	json_t *names = data;

	(void)err;
	if (!info->vms)
		json_object_set_new(names, info->name, json_integer((json_int_t)info->allocated));
	return 0;
}

static int prune(const struct cli *cli, const struct args *args, const struct kiln__home *home,
		 kiln_error *err)
{
	json_t *names = json_object();
	const char *name;
	json_t *allocated;
	uint64_t freed = 0;
	char text[32];
	int r = kiln__volume_each(home, NULL, on_candidate, names, err);

	json_object_foreach (names, name, allocated) {
		if (r < 0)
			break;
		if (args_has(args, OPT_FORCE))
			r = kiln__volume_remove(home, name, false, err);
		if (r == 0) {
			printf("%s\n", name);
			freed += (uint64_t)json_integer_value(allocated);
		}
	}
	if (r == 0 && !args_has(args, OPT_FORCE) && json_object_size(names)) {
		r = kiln__fail(err, KILN_EINVAL,
			       "these volumes belong to no VM, and would be removed with all that "
			       "is in them");
		kiln__hint(err, "add --force to do it");
	} else if (r == 0) {
		tell(cli, "%s are free again", format_bytes(freed, text, sizeof(text)));
	}
	json_decref(names);
	return r;
}

static int run(struct cli *cli, const struct args *args, const struct kiln__home *home)
{
	const char *what = args->positional[0];
	kiln_error err = KILN_ERROR_INIT;
	int r = 0;

	if (strcmp(what, "rm") == 0)
		return each_named(args, home, remove_one);
	if (strcmp(what, "inspect") == 0)
		return inspect(args, home);
	if (strcmp(what, "create") == 0) {
		r = create(args, home, &err);
	} else if (strcmp(what, "ls") == 0) {
		r = list(args, home, &err);
	} else if (strcmp(what, "prune") == 0) {
		r = prune(cli, args, home, &err);
	} else {
		r = kiln__fail(&err, KILN_EINVAL, "volume: there is no command \"%.40s\"", what);
		kiln__hint(&err, "see \"kiln volume --help\"");
	}
	return r < 0 ? complain(NULL, &err) : 0;
}

int verb_volume(struct cli *cli, const struct args *args)
{
	struct kiln__home home = {0};
	kiln_error err = KILN_ERROR_INIT;
	int code;

	cli_progress(cli, args);
	if (kiln__home_init(&home, NULL, NULL, NULL, &err) < 0)
		return complain("volume", &err);
	code = run(cli, args, &home);
	kiln__home_done(&home);
	return code;
}
