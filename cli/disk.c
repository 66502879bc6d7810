/* SPDX-License-Identifier: Apache-2.0 */
/* disk: images of disks as files. */
#include "cli.h"

#include "check.h"
#include "cloud.h"
#include "disk.h"
#include "err.h"
#include "home.h"
#include "os.h"
#include "vm_specs.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int parse_size_of(const char *what, const char *text, uint64_t *ret, kiln_error *err)
{
	int64_t size;

	if (!kiln__parse_size(text, &size) || size <= 0) {
		kiln__fail(err, KILN_EINVAL, "%s cannot be \"%.40s\"", what, text);
		kiln__hint(err, "give a size such as 512M or 10G");
		return KILN_EINVAL;
	}
	*ret = (uint64_t)size;
	return 0;
}

static int refuse_count(const char *usage, kiln_error *err)
{
	kiln__fail(err, KILN_EINVAL, "disk: the arguments do not fit");
	kiln__hint(err, "usage: kiln disk %s", usage);
	return KILN_EINVAL;
}

/* --- create, clone, resize --------------------------------------------------- */

static int create(const struct args *args, kiln_error *err)
{
	uint64_t size;
	int r;

	if (args->count != 3)
		return refuse_count("create FILE SIZE", err);
	r = parse_size_of("a disk's size", args->positional[2], &size, err);
	if (r == 0)
		r = kiln__disk_create(args->positional[1], size, err);
	if (r == 0)
		printf("%s\n", args->positional[1]);
	return r;
}

/* --- cloud images by name ----------------------------------------------------- */

static const char *arch_of(const struct args *args)
{
	const char *given = args_value(args, OPT_ARCH);

	return given ? given : kiln__os_arch();
}

static void on_progress(void *data, const char *text)
{
	tell(data, "%s", text);
}

static int pull(struct cli *cli, const struct args *args, const struct kiln__home *home,
		kiln_error *err)
{
	kiln__cleanup(kiln__catalogue_free_autop) struct kiln__catalogue *catalogue = NULL;
	const struct kiln__cloud_image *image = NULL;
	kiln__autofree char *path = NULL;
	bool fresh;
	int r;

	if (args->count != 2)
		return refuse_count("pull [--arch ARCH] NAME", err);
	r = kiln__cloud_catalogue(home, &catalogue, err);
	if (r == 0)
		r = kiln__catalogue_find(catalogue, args->positional[1], arch_of(args), &image,
					 err);
	if (r == 0)
		r = kiln__cloud_pull(home, image, on_progress, cli, &fresh, err);
	if (r < 0)
		return r;
	path = kiln__cloud_path(home, image);
	if (!fresh)
		tell(cli, "%s is what its vendor has", image->name);
	printf("%s\n", path ? path : "");
	return 0;
}

static int list(const struct args *args, const struct kiln__home *home, kiln_error *err)
{
	static const char *const heads[] = {"NAME", "ARCH", "PULLED", "URL", NULL};
	kiln__cleanup(kiln__catalogue_free_autop) struct kiln__catalogue *catalogue = NULL;
	bool json = args_is(args, OPT_FORMAT, "json");
	const struct kiln__cloud_image *image;
	json_t *array = json_array();
	struct table *table = NULL;
	int r = kiln__cloud_catalogue(home, &catalogue, err);

	if (r == 0 && !json)
		table = table_new(heads);
	for (size_t i = 0; r == 0 && (image = kiln__catalogue_at(catalogue, i)); i++) {
		kiln__autofree char *path = kiln__cloud_path(home, image);
		struct kiln__os_stat st;
		bool there = path && kiln__os_stat(path, &st, NULL) == 0;

		json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:s*}", "name", image->name,
						       "arch", image->arch, "url", image->url,
						       "path", there ? path : NULL));
		if (!table)
			continue;
		table_add(table, "%s", image->name);
		table_add(table, "%s", image->arch);
		table_add(table, "%s", there ? "yes" : "no");
		table_add(table, "%s", image->url);
	}
	if (table)
		table_print(table);
	if (json && r == 0)
		r = print_json(json_incref(array), err);
	json_decref(array);
	return r;
}

/* A file, or the name of an image that has been pulled. */
static int find_original(const struct args *args, const struct kiln__home *home, char **ret,
			 kiln_error *err)
{
	kiln__cleanup(kiln__catalogue_free_autop) struct kiln__catalogue *catalogue = NULL;
	const struct kiln__cloud_image *image = NULL;
	const char *given = args->positional[1];
	kiln__autofree char *path = NULL;
	struct kiln__os_stat st;

	if (!strchr(given, '/') && kiln__os_stat(given, &st, NULL) == KILN_ENOENT &&
	    kiln__cloud_catalogue(home, &catalogue, NULL) == 0 &&
	    kiln__catalogue_find(catalogue, given, arch_of(args), &image, NULL) == 0) {
		path = kiln__cloud_path(home, image);
		if (path && kiln__os_stat(path, &st, NULL) < 0) {
			kiln__fail(err, KILN_ENOENT, "the image \"%s\" has not been pulled", given);
			kiln__hint(err, "get it: kiln disk pull %s", given);
			return KILN_ENOENT;
		}
	} else {
		path = strdup(given);
	}
	*ret = kiln__take(path);
	return *ret ? 0 : kiln__fail_nomem(err);
}

static int clone(const struct cli *cli, const struct args *args, const struct kiln__home *home,
		 kiln_error *err)
{
	const char *given = args_value(args, OPT_SIZE);
	kiln__autofree char *original = NULL;
	uint64_t size = 0;
	bool shared;
	int r;

	if (args->count != 3)
		return refuse_count("clone [--size SIZE] ORIGINAL FILE", err);
	r = given ? parse_size_of("--size", given, &size, err) : 0;
	if (r == 0)
		r = find_original(args, home, &original, err);
	if (r == 0)
		r = kiln__disk_clone(original, args->positional[2], size, &shared, err);
	if (r < 0)
		return r;
	tell(cli, shared ? "%s shares the blocks of %s" : "%s is a copy of %s", args->positional[2],
	     args->positional[1]);
	printf("%s\n", args->positional[2]);
	return 0;
}

/* SIZE, or +SIZE: that much more. */
static int resize(const struct args *args, kiln_error *err)
{
	struct kiln__image_info info;
	const char *text;
	uint64_t size;
	int r;

	if (args->count != 3)
		return refuse_count("resize [--force] FILE [+]SIZE", err);
	text = args->positional[2];
	r = parse_size_of("a disk's size", text + (*text == '+'), &size, err);
	if (r == 0 && *text == '+') {
		r = kiln__disk_info(args->positional[1], &info, err);
		if (r == 0 && __builtin_add_overflow(info.size, size, &size))
			r = kiln__fail(err, KILN_EOVERFLOW, "the size is too large");
	}
	return r < 0 ? r
		     : kiln__disk_resize(args->positional[1], size, args_has(args, OPT_FORCE), err);
}

/* --- info -------------------------------------------------------------------- */

static int look(const struct kiln__home *home, const char *path, struct kiln__image_info *ret,
		struct kiln__disk_users *ret_users, kiln_error *err)
{
	struct kiln__os_stat st;
	int r = kiln__disk_info(path, ret, err);

	if (r == 0)
		r = kiln__os_stat(path, &st, err);
	if (r == 0)
		r = kiln__disk_users(home, &st, NULL, ret_users, err);
	return r;
}

static int info(const struct args *args, const struct kiln__home *home, kiln_error *err)
{
	static const char *const heads[] = {"FILE",      "FORMAT",    "SIZE",
					    "ALLOCATED", "IN USE BY", NULL};
	bool json = args_is(args, OPT_FORMAT, "json");
	json_t *array = json_array();
	struct table *table;
	struct kiln__image_info image;
	struct kiln__disk_users users;
	char text[32];
	int r = args->count < 2 ? refuse_count("info FILE...", err) : 0;

	/* Heads over nothing say no more than the error. */
	if (r == 0)
		r = look(home, args->positional[1], &image, &users, err);
	table = json || r < 0 ? NULL : table_new(heads);
	for (char **path = args->positional + 1; r == 0 && *path; path++) {
		r = look(home, *path, &image, &users, err);
		if (r < 0)
			break;
		json_array_append_new(
			array, json_pack("{s:s, s:s, s:I, s:I, s:b, s:s*}", "file", *path, "format",
					 image.format, "virtual_size", (json_int_t)image.size,
					 "allocated", (json_int_t)image.allocated, "in_use",
					 users.alive || image.locked, "used_by",
					 users.first[0] ? users.first : NULL));
		if (!table)
			continue;
		table_add(table, "%s", *path);
		table_add(table, "%s", image.format);
		table_add(table, "%s", format_bytes(image.size, text, sizeof(text)));
		table_add(table, "%s", format_bytes(image.allocated, text, sizeof(text)));
		table_add(table, "%s",
			  users.first[0] ? users.first
			  : image.locked ? "(something else)"
					 : "");
	}
	if (json && r == 0)
		r = print_json(json_incref(array), err);
	json_decref(array);
	if (table)
		table_print(table);
	return r;
}

static int run(struct cli *cli, const struct args *args, const struct kiln__home *home,
	       kiln_error *err)
{
	const char *what = args->positional[0];

	if (strcmp(what, "create") == 0)
		return create(args, err);
	if (strcmp(what, "clone") == 0)
		return clone(cli, args, home, err);
	if (strcmp(what, "resize") == 0)
		return resize(args, err);
	if (strcmp(what, "info") == 0)
		return info(args, home, err);
	if (strcmp(what, "pull") == 0)
		return pull(cli, args, home, err);
	if (strcmp(what, "ls") == 0)
		return list(args, home, err);
	kiln__fail(err, KILN_EINVAL, "disk: there is no command \"%.40s\"", what);
	kiln__hint(err, "see \"kiln disk --help\"");
	return KILN_EINVAL;
}

int verb_disk(struct cli *cli, const struct args *args)
{
	struct kiln__home home = {0};
	kiln_error err = KILN_ERROR_INIT;
	int r = kiln__home_init(&home, NULL, NULL, NULL, &err);

	cli_progress(cli, args);
	if (r == 0)
		r = run(cli, args, &home, &err);
	kiln__home_done(&home);
	return r < 0 ? complain(NULL, &err) : 0;
}
