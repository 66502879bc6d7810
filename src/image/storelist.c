/* SPDX-License-Identifier: Apache-2.0 */
/* The images that are here: listed, looked up, given names, and what they take of the disk. */
#include "arch.h"
#include "internal.h"
#include "storedir.h"

#include "buf.h"
#include "err.h"
#include "join.h"
#include "timefmt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the list -------------------------------------------------------------------------------- */

void kiln__store_list_done(struct kiln__image_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		json_decref(list->entries[i].about);
	free(list->entries);
	*list = (struct kiln__image_list){.entries = NULL};
}

static uint64_t size_at(const json_t *descriptor)
{
	json_int_t size = json_integer_value(json_object_get(descriptor, "size"));

	return size > 0 ? (uint64_t)size : 0;
}

static uint64_t root_size(const struct kiln__images *images, const json_t *about)
{
	kiln__autofree char *name = kiln__store_root_name(about);
	kiln__autofree char *path =
		name ? kiln__join(kiln__cache_path(images->cache), "/objects/", name, NULL) : NULL;
	struct kiln__os_stat st;

	return path && kiln__os_stat(path, &st, NULL) == 0 ? st.size : 0;
}

static void fill_entry(const struct kiln__images *images, const json_t *item,
		       struct kiln__image_entry *entry)
{
	const char *name = kiln__index_name(item);
	const json_t *layer;
	const char *created;
	size_t i;

	snprintf(entry->digest, sizeof(entry->digest), "%s", kiln__index_digest(item));
	snprintf(entry->arch, sizeof(entry->arch), "%s", kiln__index_arch(item));
	if (name && strlen(name) < sizeof(entry->name))
		strcpy(entry->name, name);
	entry->size = size_at(item);
	if (kiln__store_about(images, entry->digest, &entry->about, NULL) < 0)
		return;
	entry->size += size_at(json_object_get(entry->about, "config"));
	json_array_foreach (json_object_get(entry->about, "layers"), i, layer)
		entry->size += size_at(layer);
	entry->root_size = root_size(images, entry->about);
	created = json_string_value(json_object_get(entry->about, "created"));
	entry->created_ns = created ? kiln__time_parse(created) : 0;
	if (entry->created_ns < 0)
		entry->created_ns = 0;
}

int kiln__store_list(const struct kiln__images *images, struct kiln__image_list *ret,
		     kiln_error *err)
{
	struct kiln__image_list list = {.entries = NULL};
	autojson *index = NULL;
	const json_t *manifests, *item;
	size_t i;
	int r = kiln__index_load(images, &index, err);

	if (r < 0)
		return r;
	manifests = json_object_get(index, "manifests");
	list.entries = calloc(json_array_size(manifests) + 1, sizeof(*list.entries));
	if (!list.entries)
		return kiln__fail_nomem(err);
	json_array_foreach (manifests, i, item)
		if (kiln__index_digest(item))
			fill_entry(images, item, &list.entries[list.count++]);
	*ret = list;
	return 0;
}

static int find_by_digest(const struct kiln__image_list *list, const char *text,
			  const struct kiln__image_entry **ret, kiln_error *err)
{
	const char *hex = strncmp(text, "sha256:", 7) == 0 ? text + 7 : text;
	const struct kiln__image_entry *found = NULL;
	size_t len = strlen(hex);

	if (len < 4 || len > 64 || strspn(hex, "0123456789abcdef") != len)
		return KILN_ENOENT;
	for (size_t i = 0; i < list->count; i++) {
		const struct kiln__image_entry *entry = &list->entries[i];

		if (strncmp(entry->digest + 7, hex, len) != 0)
			continue;
		if (found && strcmp(found->digest, entry->digest) != 0)
			return kiln__fail(err, KILN_EINVAL, "\"%.80s\" may be several images",
					  text);
		found = entry;
	}
	if (!found)
		return KILN_ENOENT;
	*ret = found;
	return 0;
}

bool kiln__store_is_name(const struct kiln__image_entry *entry, const char *text)
{
	struct kiln__reference reference;
	char name[KILN__REFERENCE_TEXT_MAX];

	if (kiln__reference_parse(&reference, text, NULL) < 0)
		return false;
	kiln__store_name(&reference, name);
	return strcmp(entry->name, name) == 0;
}

bool kiln__store_is_for(const struct kiln__image_entry *entry, const char *arch)
{
	return !arch || !entry->arch[0] || strcmp(entry->arch, arch) == 0;
}

static const struct kiln__image_entry *find_by_name(const struct kiln__image_list *list,
						    const char *text, const char *arch)
{
	const struct kiln__image_entry *found = NULL;

	for (size_t i = 0; i < list->count; i++) {
		const struct kiln__image_entry *entry = &list->entries[i];

		if (!kiln__store_is_for(entry, arch) || !kiln__store_is_name(entry, text))
			continue;
		if (kiln__store_is_for(entry, kiln__os_arch()))
			return entry;
		found = found ? found : entry;
	}
	return found;
}

static int not_here(const char *text, const char *arch, kiln_error *err)
{
	struct kiln__reference reference;
	char name[KILN__REFERENCE_TEXT_MAX];

	if (kiln__is_sha256(text)) {
		snprintf(name, sizeof(name), "%s", text);
	} else {
		int r = kiln__reference_parse(&reference, text, err);

		if (r < 0)
			return r;
		kiln__store_name(&reference, name);
	}
	kiln__fail(err, KILN_ENOENT, "there is no image %s%s%s here", name,
		   arch ? " for linux/" : "", arch ? kiln__arch_of_images(arch) : "");
	kiln__hint(err, "\"kiln image ls\" lists those that there are");
	return KILN_ENOENT;
}

/* NAME@DIGEST, where the image has come by another name. */
static const struct kiln__image_entry *find_pinned(const struct kiln__image_list *list,
						   const char *text)
{
	struct kiln__reference reference;

	if (kiln__reference_parse(&reference, text, NULL) < 0 || !reference.digest[0])
		return NULL;
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->entries[i].digest, reference.digest) == 0)
			return &list->entries[i];
	return NULL;
}

/* A name may look like the beginning of a digest, but not like a whole one. */
int kiln__store_find(const struct kiln__image_list *list, const char *text, const char *arch,
		     const struct kiln__image_entry **ret, kiln_error *err)
{
	const struct kiln__image_entry *found =
		kiln__is_sha256(text) ? NULL : find_by_name(list, text, arch);
	int r = found ? 0 : find_by_digest(list, text, &found, err);

	if (r == KILN_ENOENT && (found = find_pinned(list, text)))
		r = 0;
	if (r == KILN_ENOENT || (r == 0 && !kiln__store_is_for(found, arch)))
		return not_here(text, arch, err);
	if (r == 0)
		*ret = found;
	return r;
}

/* With the store held: what was listed before may have been removed since. */
static int record_again(const struct kiln__images *images, const struct kiln__image_entry *entry,
			const char *name, kiln_error *err)
{
	kiln__autoclose kiln_fd held = KILN_FD_NONE;
	autojson *about = NULL;
	const char *arch;
	int r = kiln__store_hold(images, &held, err);

	if (r == 0)
		r = kiln__store_about(images, entry->digest, &about, err);
	if (r == KILN_ENOENT)
		return kiln__fail(err, KILN_ENOENT, "the image %s has been removed meanwhile",
				  entry->name[0] ? entry->name : entry->digest);
	if (r < 0)
		return r;
	arch = json_string_value(json_object_get(about, "arch"));
	return kiln__store_record(images, name,
				  arch && *arch ? kiln__arch_of_uname(arch) : kiln__os_arch(),
				  about, NULL, err);
}

int kiln__store_tag(const struct kiln__images *images, const struct kiln__image_entry *entry,
		    const char *name, kiln_error *err)
{
	struct kiln__reference reference;
	char whole[KILN__REFERENCE_TEXT_MAX];
	int r = kiln__reference_parse(&reference, name, err);

	if (r < 0)
		return r;
	if (reference.digest[0])
		return kiln__fail(err, KILN_EINVAL,
				  "a digest cannot be given to an image as a name");
	if (!entry->about)
		return kiln__fail(err, KILN_ENOENT, "nothing is known of %s: pull it again",
				  entry->name);
	kiln__store_name(&reference, whole);
	return record_again(images, entry, whole, err);
}

/* --- what it takes --------------------------------------------------------------------------- */

static int add_sizes(char *path, const char *prefix, uint64_t *ret, kiln_error *err)
{
	kiln__autofree char *dir = path;
	char **names = NULL;
	int r = dir ? kiln__os_list_dir(dir, &names, err) : kiln__fail_nomem(err);

	if (r == KILN_ENOENT)
		return 0;
	for (size_t i = 0; r == 0 && names[i]; i++) {
		kiln__autofree char *file = kiln__strf("%s/%s", dir, names[i]);
		struct kiln__os_stat st;

		if (strncmp(names[i], prefix, strlen(prefix)) == 0 && file &&
		    kiln__os_stat(file, &st, NULL) == 0)
			*ret += st.allocated;
	}
	kiln__os_free_names(names);
	return r;
}

int kiln__store_usage(const struct kiln__images *images, uint64_t *ret_blobs, uint64_t *ret_roots,
		      kiln_error *err)
{
	int r;

	*ret_blobs = *ret_roots = 0;
	r = add_sizes(kiln__store_path(images, "blobs/sha256", NULL, ""), "", ret_blobs, err);
	if (r == 0)
		r = add_sizes(kiln__strf("%s/objects", kiln__cache_path(images->cache)), "root-",
			      ret_roots, err);
	return r;
}
