/* SPDX-License-Identifier: Apache-2.0 */
/* image ls, df, inspect, history: what there is to see of the images that are here. */
#include "image.h"

#include "err.h"
#include "timefmt.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

KILN__DEFINE_AUTOPTR(json_t, json_decref)
#define autojson kiln__cleanup(json_decref_autop) json_t

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
		table_add(table, "%s", image_short_digest(entry->digest, digest));
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

/* Those for one architecture alone. */
static void keep_arch(struct kiln__image_list *list, const char *arch)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (kiln__store_is_for(&list->entries[i], arch))
			list->entries[kept++] = list->entries[i];
		else
			json_decref(list->entries[i].about);
	}
	list->count = kept;
}

int image_ls(struct image_context *context, kiln_error *err)
{
	struct kiln__image_list list;
	const char *arch;
	int r = image_wanted_arch(context->args, &arch, err);

	if (r == 0)
		r = kiln__store_list(&context->images, &list, err);
	if (r < 0)
		return r;
	keep_arch(&list, arch);
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

int image_df(struct image_context *context, kiln_error *err)
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

static int inspect_one(struct image_context *context, const struct kiln__image_entry *entry,
		       void *data, kiln_error *err)
{
	json_t *object = entry_json(entry);

	(void)context;
	json_object_update_missing(object, entry->about);
	return json_array_append_new(data, object) ? kiln__fail_nomem(err) : 0;
}

int image_inspect(struct image_context *context, kiln_error *err)
{
	json_t *array = json_array();
	int r = image_for_each(context, inspect_one, array, err);

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

static int history_one(struct image_context *context, const struct kiln__image_entry *entry,
		       void *data, kiln_error *err)
{
	autojson *steps = history_of(entry);

	(void)data;
	if (args_is(context->args, OPT_FORMAT, "json"))
		return print_json(json_incref(steps), err);
	print_history(steps);
	return 0;
}

int image_history(struct image_context *context, kiln_error *err)
{
	return image_for_each(context, history_one, NULL, err);
}
