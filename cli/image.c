/* SPDX-License-Identifier: Apache-2.0 */
/* image, pull: the images that are here, and how they come and go. */
#include "cli.h"

#include "buf.h"
#include "err.h"
#include "homes.h"
#include "images.h"
#include "os.h"
#include "outfile.h"
#include "store.h"
#include "timefmt.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

KILN__DEFINE_AUTOPTR(json_t, json_decref)
#define autojson kiln__cleanup(json_decref_autop) json_t

struct context {
	struct cli *cli;
	const struct args *args;
	struct kiln__images images;
	char **rest; /* arguments behind the subcommand, NULL-terminated */
	int count;
};

static int print_json(json_t *value, kiln_error *err)
{
	char *text = value ? json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	if (!text)
		return kiln__fail_nomem(err);
	printf("%s\n", text);
	free(text);
	return 0;
}

/* Digests are long: twelve digits tell images apart, and are accepted. */
static const char *short_digest(const char *digest, char text[16])
{
	snprintf(text, 16, "%.12s", strlen(digest) > 7 ? digest + 7 : digest);
	return text;
}

static int arch_of(const struct args *args, const char **ret, kiln_error *err)
{
	const char *platform = args_value(args, OPT_PLATFORM);

	*ret = kiln__os_arch();
	return platform ? parse_platform(platform, ret, err) : 0;
}

/* --- pull ---------------------------------------------------------------------- */

static int pull_one(struct cli *cli, const struct args *args, const struct kiln__images *images,
		    const char *name, kiln_error *err)
{
	struct kiln__image_request request = {
		.reference = name,
		.pull = KILN__PULL_ALWAYS,
		.transfer = show_transfer,
		.data = cli,
	};
	kiln__autofree char *root = NULL;
	struct kiln__image image;
	int r = arch_of(args, &request.arch, err);

	if (r == 0)
		r = kiln__image_get(images, &request, &image, err);
	if (r < 0)
		return r;
	r = kiln__image_root(images, &request, &image, &root, err);
	if (r == 0 && !args_has(args, OPT_QUIET))
		printf("%s %s\n", image.name, image.digest);
	kiln__image_done(&image);
	return r;
}

static int pull_all(struct cli *cli, const struct args *args, char **names)
{
	struct kiln__images images = {0};
	kiln_error err = KILN_ERROR_INIT;
	int code = 0;

	if (open_images(cli, &images, &err) < 0)
		return complain("pull", &err);
	for (; *names; names++) {
		int r = pull_one(cli, args, &images, *names, &err);

		if (cli->drawn)
			fputs("\r\033[K", stderr);
		cli->drawn = false;
		if (r < 0)
			code = complain("pull", &err);
	}
	close_images(&images);
	return code;
}

int verb_pull(struct cli *cli, const struct args *args)
{
	cli_progress(cli, args);
	return pull_all(cli, args, args->positional);
}

/* --- ls, df ----------------------------------------------------------------------- */

static json_t *entry_json(const struct kiln__image_entry *entry)
{
	json_t *object = json_pack("{s:s, s:s, s:I, s:I}", "name", entry->name, "digest",
				   entry->digest, "size", (json_int_t)entry->size, "root_size",
				   (json_int_t)entry->root_size);
	const json_t *created = json_object_get(entry->about, "created");
	const json_t *arch = json_object_get(entry->about, "arch");

	if (created)
		json_object_set(object, "created", (json_t *)created);
	if (arch)
		json_object_set(object, "arch", (json_t *)arch);
	return object;
}

static void print_table(const struct kiln__image_list *list)
{
	static const char *const heads[] = {"NAME", "DIGEST", "ARCH", "CREATED",
					    "SIZE", "ROOT",   NULL};
	struct table *table = table_new(heads);

	for (size_t i = 0; i < list->count; i++) {
		const struct kiln__image_entry *entry = &list->entries[i];
		const char *arch = json_string_value(json_object_get(entry->about, "arch"));
		char digest[16], ago[32], size[32], root[32];

		table_add(table, "%s", entry->name[0] ? entry->name : "-");
		table_add(table, "%s", short_digest(entry->digest, digest));
		table_add(table, "%s", arch && *arch ? arch : "-");
		table_add(table, "%s",
			  entry->created_ns ? format_ago(entry->created_ns, ago, sizeof(ago))
					    : "-");
		table_add(table, "%s", format_bytes(entry->size, size, sizeof(size)));
		table_add(table, "%s",
			  entry->root_size ? format_bytes(entry->root_size, root, sizeof(root))
					   : "-");
	}
	table_print(table);
}

static int image_ls(struct context *context, kiln_error *err)
{
	struct kiln__image_list list;
	int r = kiln__store_list(&context->images, &list, err);

	if (r < 0)
		return r;
	if (args_is(context->args, OPT_FORMAT, "json")) {
		json_t *array = json_array();

		for (size_t i = 0; i < list.count; i++)
			json_array_append_new(array, entry_json(&list.entries[i]));
		r = print_json(array, err);
	} else if (args_has(context->args, OPT_QUIET)) {
		for (size_t i = 0; i < list.count; i++)
			printf("%s\n", list.entries[i].digest);
	} else {
		print_table(&list);
	}
	kiln__store_list_done(&list);
	return r;
}

static int image_df(struct context *context, kiln_error *err)
{
	static const char *const heads[] = {"WHAT", "SIZE", NULL};
	struct table *table;
	uint64_t blobs, roots;
	char text[32];
	int r = kiln__store_usage(&context->images, &blobs, &roots, err);

	if (r < 0)
		return r;
	if (args_is(context->args, OPT_FORMAT, "json"))
		return print_json(json_pack("{s:I, s:I}", "layers", (json_int_t)blobs, "roots",
					    (json_int_t)roots),
				  err);
	table = table_new(heads);
	table_add(table, "layers");
	table_add(table, "%s", format_bytes(blobs, text, sizeof(text)));
	table_add(table, "root images");
	table_add(table, "%s", format_bytes(roots, text, sizeof(text)));
	table_print(table);
	return 0;
}

/* --- inspect, history ------------------------------------------------------------------ */

/* Calls @fn for each image that is named. */
static int for_each(struct context *context,
		    int (*fn)(struct context *context, const struct kiln__image_entry *entry,
			      void *data, kiln_error *err),
		    void *data, kiln_error *err)
{
	struct kiln__image_list list;
	int r = kiln__store_list(&context->images, &list, err);

	if (r < 0)
		return r;
	for (char **name = context->rest; r == 0 && *name; name++) {
		const struct kiln__image_entry *entry;

		r = kiln__store_find(&list, *name, &entry, err);
		if (r == KILN_ENOENT && !err->code)
			kiln__fail(err, KILN_ENOENT, "there is no image \"%.100s\" here", *name);
		if (r == 0 && !entry->about)
			r = kiln__fail(err, KILN_ENOENT, "nothing is known of %s: pull it again",
				       entry->name);
		if (r == 0)
			r = fn(context, entry, data, err);
	}
	kiln__store_list_done(&list);
	return r;
}

static int inspect_one(struct context *context, const struct kiln__image_entry *entry, void *data,
		       kiln_error *err)
{
	json_t *object = entry_json(entry);

	(void)context;
	json_object_update_missing(object, entry->about);
	return json_array_append_new(data, object) ? kiln__fail_nomem(err) : 0;
}

static int image_inspect(struct context *context, kiln_error *err)
{
	json_t *array = json_array();
	int r = for_each(context, inspect_one, array, err);

	if (r == 0)
		return print_json(array, err);
	json_decref(array);
	return r;
}

/* Steps with the sizes of the layers that they made, the newest first. */
static json_t *history_of(const struct kiln__image_entry *entry)
{
	const json_t *history = json_object_get(entry->about, "history"), *item;
	const json_t *layers = json_object_get(entry->about, "layers");
	json_t *array = json_array();
	size_t layer = 0;
	size_t i;

	json_array_foreach (history, i, item) {
		json_t *step = json_deep_copy(item);
		bool empty = json_is_true(json_object_get(item, "empty"));

		json_object_set_new(step, "size", json_integer(0));
		if (!empty && layer < json_array_size(layers))
			json_object_set(step, "size",
					json_object_get(json_array_get(layers, layer++), "size"));
		json_array_insert_new(array, 0, step);
	}
	return array;
}

static void print_history(const json_t *steps)
{
	static const char *const heads[] = {"CREATED", "SIZE", "MADE BY", NULL};
	struct table *table = table_new(heads);
	const json_t *step;
	size_t i;

	json_array_foreach (steps, i, step) {
		const char *created = json_string_value(json_object_get(step, "created"));
		const char *by = json_string_value(json_object_get(step, "created_by"));
		int64_t ns = created ? kiln__time_parse(created) : 0;
		char text[64];

		table_add(table, "%s", ns > 0 ? format_ago(ns, text, sizeof(text)) : "-");
		table_add(table, "%s",
			  format_bytes((uint64_t)json_integer_value(json_object_get(step, "size")),
				       text, sizeof(text)));
		table_add(table, "%.100s", by ? by : "-");
	}
	table_print(table);
}

static int history_one(struct context *context, const struct kiln__image_entry *entry, void *data,
		       kiln_error *err)
{
	autojson *steps = history_of(entry);

	(void)data;
	if (args_is(context->args, OPT_FORMAT, "json"))
		return print_json(json_incref(steps), err);
	print_history(steps);
	return 0;
}

static int image_history(struct context *context, kiln_error *err)
{
	return for_each(context, history_one, NULL, err);
}

/* --- tag, rm, prune ---------------------------------------------------------------------- */

static int image_tag(struct context *context, kiln_error *err)
{
	const struct kiln__image_entry *entry;
	struct kiln__image_list list;
	int r = kiln__store_list(&context->images, &list, err);

	if (r < 0)
		return r;
	r = kiln__store_find(&list, context->rest[0], &entry, err);
	if (r == 0)
		r = kiln__store_tag(&context->images, entry, context->rest[1], err);
	kiln__store_list_done(&list);
	return r;
}

/* The manifests that VMs are made of, NULL-terminated; free with free_used(). */
static void free_used(char **used)
{
	for (char **at = used; at && *at; at++)
		free(*at);
	free(used);
}

struct using
{
	struct cli *cli;
	char **digests; /* NULL-terminated */
	size_t count;
};

static int add_used(void *data, const kiln_vm_info *info)
{
	struct using *using = data;
	kiln_config *config = NULL;
	const char *image, *at;
	kiln_vm *vm = NULL;
	char **grown;
	int r = 0;

	/* One that goes meanwhile uses nothing any more. */
	if (kiln_manager_find(using->cli->manager, info->id, &vm, NULL) < 0)
		return 0;
	if (kiln_vm_config(vm, &config, NULL) == 0 &&
	    kiln_config_get(config, "root.image", &image, NULL) == 0 && (at = strchr(image, '@'))) {
		grown = realloc(using->digests, (using->count + 2) * sizeof(*grown));
		if (grown) {
			using->digests = grown;
			grown[using->count] = strdup(at + 1);
			grown[using->count + 1] = NULL;
		}
		if (!grown || !grown[using->count++])
			r = KILN_ENOMEM;
	}
	kiln_config_free(config);
	kiln_vm_free(vm);
	return r;
}

static int list_used(struct context *context, char ***ret, kiln_error *err)
{
	struct using using = {.cli = context->cli, .digests = calloc(1, sizeof(char *))};
	int r = using.digests ? cli_manager(context->cli, err) : kiln__fail_nomem(err);

	if (r == 0)
		r = kiln_manager_list(context->cli->manager, add_used, &using, err);
	if (r == 0)
		r = kiln__homes_used(context->images.cache, &using.digests, err);
	if (r == KILN_ENOMEM)
		kiln__fail_nomem(err);
	if (r < 0) {
		free_used(using.digests);
		return r;
	}
	*ret = using.digests;
	return 0;
}

static bool is_used(char *const *used, const char *digest)
{
	for (; *used; used++)
		if (strcmp(*used, digest) == 0)
			return true;
	return false;
}

static void print_freed(const struct kiln__freed *freed)
{
	char text[32];

	fprintf(stderr, "%s freed\n", format_bytes(freed->bytes, text, sizeof(text)));
}

/* Also what nothing is known of any more: one that is broken can be removed. */
static int rm_one(struct context *context, const struct kiln__image_list *list, const char *text,
		  char *const *used, kiln_error *err)
{
	bool force = args_has(context->args, OPT_FORCE);
	const struct kiln__image_entry *entry;
	struct kiln__freed freed;
	int r = kiln__store_find(list, text, &entry, err);

	if (r < 0)
		return r;
	if (is_used(used, entry->digest) && !force) {
		kiln__fail(err, KILN_EBUSY, "a VM is made of %s", entry->name);
		kiln__hint(err, "remove the VM first, or use --force: it is pulled again then");
		return KILN_EBUSY;
	}
	return kiln__store_remove(
		&context->images, kiln__store_is_name(entry, text) ? entry->name : NULL,
		entry->digest, force ? NULL : (const char *const *)used, &freed, err);
}

static int rm_all(struct context *context, char *const *used, kiln_error *err)
{
	struct kiln__image_list list;
	int r = kiln__store_list(&context->images, &list, err);

	if (r < 0)
		return r;
	for (char **name = context->rest; r == 0 && *name; name++)
		r = rm_one(context, &list, *name, used, err);
	kiln__store_list_done(&list);
	return r;
}

/* What VMs use is listed when no more of them can come to use an image. */
static int image_rm(struct context *context, kiln_error *err)
{
	struct kiln__removal removal;
	char **used = NULL;
	int r = kiln__store_begin_removal(&context->images, &removal, err);

	if (r < 0)
		return r;
	r = list_used(context, &used, err);
	if (r == 0)
		r = rm_all(context, used, err);
	kiln__store_end_removal(&removal);
	free_used(used);
	return r;
}

static int image_prune(struct context *context, kiln_error *err)
{
	struct kiln__removal removal;
	struct kiln__freed freed;
	char **used = NULL;
	int r = kiln__store_begin_removal(&context->images, &removal, err);

	if (r < 0)
		return r;
	r = list_used(context, &used, err);
	if (r == 0)
		r = kiln__store_prune(&context->images, args_has(context->args, OPT_ALL),
				      (const char *const *)used, &freed, err);
	kiln__store_end_removal(&removal);
	free_used(used);
	if (r == 0)
		print_freed(&freed);
	return r;
}

/* --- load, import, save --------------------------------------------------------------------- */

static int take_in(struct context *context, enum kiln__image_source source, const char *path,
		   const char *inside, const char *name, kiln_error *err)
{
	struct kiln__image image;
	const char *arch;
	int r = arch_of(context->args, &arch, err);

	if (r == 0)
		r = kiln__image_load(&context->images, source, path, STDIN_FILENO, inside, name,
				     arch, &image, err);
	if (r < 0)
		return r;
	printf("%s %s\n", image.name, image.digest);
	kiln__image_done(&image);
	return 0;
}

/* "KIND:PATH[:NAME]", where a PATH has no colon. */
static int image_load(struct context *context, kiln_error *err)
{
	enum kiln__image_source source = KILN__SOURCE_ARCHIVE;
	const char *file = args_value(context->args, OPT_IMAGE_FILE);
	const char *name = context->count > 1 ? context->rest[1] : NULL;
	kiln__autofree char *path = NULL;
	const char *rest;
	char *inside;

	if (context->count == 0)
		return take_in(context, source, file, NULL, NULL, err);
	if (file)
		return take_in(context, source, file, NULL, context->rest[0], err);
	if (!kiln__image_source_of(context->rest[0], &source, &rest))
		rest = context->rest[0];
	if (strcmp(rest, "-") == 0)
		return take_in(context, source, NULL, NULL, name, err);
	path = strdup(rest);
	if (!path)
		return kiln__fail_nomem(err);
	inside = source == KILN__SOURCE_ARCHIVE || source == KILN__SOURCE_DIR ? NULL
									      : strchr(path, ':');
	if (inside)
		*inside++ = '\0';
	return take_in(context, source, path, inside, name, err);
}

static int image_import(struct context *context, kiln_error *err)
{
	bool standard = strcmp(context->rest[0], "-") == 0;

	return take_in(context, KILN__SOURCE_TAR, standard ? NULL : context->rest[0], NULL,
		       context->rest[1], err);
}

static int save_one(struct context *context, const struct kiln__image_entry *entry, void *data,
		    kiln_error *err)
{
	const char *path = args_value(context->args, OPT_OUTPUT);
	struct outfile file;
	int r;

	(void)data;
	if (!path && isatty(STDOUT_FILENO)) {
		kiln__fail(err, KILN_EINVAL, "an archive is not written to a terminal");
		kiln__hint(err, "use --output FILE");
		return KILN_EINVAL;
	}
	if (!path)
		return kiln__image_save(&context->images, entry, STDOUT_FILENO, err);
	r = outfile_open(&file, path, err);
	if (r < 0)
		return r;
	r = kiln__image_save(&context->images, entry, file.fd, err);
	if (r == 0)
		return outfile_keep(&file, err);
	outfile_drop(&file);
	return r;
}

static int image_save(struct context *context, kiln_error *err)
{
	return for_each(context, save_one, NULL, err);
}

/* --- the verb -------------------------------------------------------------------------------- */

static const struct subcommand {
	const char *name;
	int min, max; /* arguments; max -1: any number */
	int (*run)(struct context *context, kiln_error *err);
	const char *usage;
} subcommands[] = {
	{"ls", 0, 0, image_ls, "ls"},
	{"df", 0, 0, image_df, "df"},
	{"inspect", 1, -1, image_inspect, "inspect IMAGE..."},
	{"history", 1, 1, image_history, "history IMAGE"},
	{"tag", 2, 2, image_tag, "tag IMAGE NAME"},
	{"rm", 1, -1, image_rm, "rm IMAGE..."},
	{"prune", 0, 0, image_prune, "prune"},
	{"load", 0, 2, image_load, "load [SOURCE [NAME]]"},
	{"import", 2, 2, image_import, "import FILE NAME"},
	{"save", 1, 1, image_save, "save IMAGE"},
};

static int run_subcommand(struct context *context, const struct subcommand *sub, kiln_error *err)
{
	int r;

	if (context->count < sub->min || (sub->max >= 0 && context->count > sub->max)) {
		kiln__fail(err, KILN_EINVAL, "image %s: %s", sub->name,
			   context->count < sub->min ? "an argument is missing"
						     : "there are too many arguments");
		kiln__hint(err, "usage: kiln image %s", sub->usage);
		return KILN_EINVAL;
	}
	r = open_images(context->cli, &context->images, err);
	if (r < 0)
		return r;
	r = sub->run(context, err);
	close_images(&context->images);
	return r;
}

int verb_image(struct cli *cli, const struct args *args)
{
	struct context context = {
		.cli = cli,
		.args = args,
		.rest = args->positional + 1,
		.count = args->count - 1,
	};
	kiln_error err = KILN_ERROR_INIT;

	cli_progress(cli, args);
	if (strcmp(args->positional[0], "pull") == 0 && context.count > 0)
		return pull_all(cli, args, context.rest);
	for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++) {
		if (strcmp(args->positional[0], subcommands[i].name) != 0)
			continue;
		return run_subcommand(&context, &subcommands[i], &err) < 0 ? complain("image", &err)
									   : 0;
	}
	kiln__fail(&err, KILN_EINVAL, "image: there is no command \"%.40s\"", args->positional[0]);
	kiln__hint(&err, "see \"kiln image --help\"");
	return complain(NULL, &err);
}
