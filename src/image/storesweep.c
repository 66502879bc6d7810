/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nothing leads to any more goes: an image by its names, then its blobs, description and root.
 * Who removes excludes who adds (PART_BLOBS); a VM's image stays by the digest that it names.
 */
#include "internal.h"
#include "storedir.h"

#include "buf.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

/* Names (of blobs, images, objects) that something leads to: sets. */
struct marks {
	json_t *blobs;
	json_t *images;
	json_t *roots;
};

static int mark_image(const struct kiln__images *images, const char *digest, struct marks *marks,
		      kiln_error *err)
{
	autojson *about = NULL;
	kiln__autofree char *root = NULL;
	const json_t *layer;
	const char *config;
	size_t i;
	int r = kiln__store_about(images, digest, &about, err);

	if (r < 0)
		return r;
	config = json_string_value(json_object_get(json_object_get(about, "config"), "digest"));
	json_object_set_new(marks->images, digest + 7, json_true());
	json_object_set_new(marks->blobs, digest + 7, json_true());
	if (kiln__is_sha256(config))
		json_object_set_new(marks->blobs, config + 7, json_true());
	json_array_foreach (json_object_get(about, "layers"), i, layer)
		if (kiln__index_digest(layer))
			json_object_set_new(marks->blobs, kiln__index_digest(layer) + 7,
					    json_true());
	root = kiln__store_root_name(about);
	if (root)
		json_object_set_new(marks->roots, root, json_true());
	return 0;
}

static int mark_all(const struct kiln__images *images, const json_t *manifests,
		    const char *const *keep, struct marks *marks, kiln_error *err)
{
	const json_t *item;
	size_t i;
	int r = 0;

	json_array_foreach (manifests, i, item) {
		if (!kiln__index_digest(item))
			continue;
		r = mark_image(images, kiln__index_digest(item), marks, err);
		if (r == KILN_ENOENT) {
			/* Its layers are not known: nothing is safe to remove. */
			kiln__fail(err, KILN_EFORMAT, "the image store has lost what it knew of %s",
				   kiln__index_name(item) ? kiln__index_name(item)
							  : kiln__index_digest(item));
			kiln__hint(err, "pull that image again, or remove it: \"kiln image rm\"");
			return KILN_EFORMAT;
		}
		if (r < 0)
			return r;
	}
	for (; keep && *keep; keep++) {
		if (strncmp(*keep, "root-", 5) == 0)
			json_object_set_new(marks->roots, *keep, json_true());
		r = kiln__is_sha256(*keep) ? mark_image(images, *keep, marks, err) : 0;
		if (r < 0 && r != KILN_ENOENT)
			return r;
	}
	return 0;
}

/* Also "HEX.run" and the like of a HEX, but nothing that was being written. */
static bool is_marked(const json_t *marks, const char *name)
{
	char hex[65];
	size_t len = strcspn(name, ".");

	if (len >= sizeof(hex) || strcmp(name + len, ".partial") == 0)
		return false;
	memcpy(hex, name, len);
	hex[len] = '\0';
	return json_object_get(marks, hex) != NULL;
}

/* Removes what is in the folder, but for what is marked. */
static int sweep_folder(const struct kiln__images *images, const char *folder, const json_t *marks,
			unsigned *count, uint64_t *bytes, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, folder, NULL, "");
	char **names = NULL;
	int r = path ? kiln__os_list_dir(path, &names, err) : kiln__fail_nomem(err);

	for (size_t i = 0; r == 0 && names[i]; i++) {
		kiln__autofree char *file = NULL;
		struct kiln__os_stat st = {.allocated = 0};

		if (is_marked(marks, names[i]))
			continue;
		file = kiln__strf("%s/%s", path, names[i]);
		if (!file)
			r = kiln__fail_nomem(err);
		else if (kiln__os_stat(file, &st, NULL) < 0)
			st.allocated = 0;
		if (r == 0)
			r = kiln__os_remove(file, err);
		*bytes += r == 0 ? st.allocated : 0;
		*count += r == 0;
	}
	kiln__os_free_names(names);
	return r;
}

/* Links to descriptions that are gone. */
static int sweep_refs(const struct kiln__images *images, const struct marks *marks, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "refs", NULL, "");
	char **names = NULL;
	int r = path ? kiln__os_list_dir(path, &names, err) : kiln__fail_nomem(err);

	for (size_t i = 0; r == 0 && names[i]; i++) {
		kiln__autofree char *file = kiln__strf("%s/%s", path, names[i]);
		kiln__autofree char *target = NULL;

		if (!file)
			r = kiln__fail_nomem(err);
		else if (kiln__os_read_link(file, &target, NULL) < 0 ||
			 strncmp(target, "../images/", 10) != 0 ||
			 !json_object_get(marks->images, target + 10))
			r = kiln__os_remove(file, err);
	}
	kiln__os_free_names(names);
	return r;
}

/* --- roots ----------------------------------------------------------------------------------- */

/* The objects that records of archives lead to: a set. Records whose object is gone go. */
static int look_at_records(const struct kiln__images *images, json_t *recorded, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/index", kiln__cache_path(images->cache));
	char **names = NULL;
	int r = path ? kiln__os_list_dir(path, &names, err) : kiln__fail_nomem(err);

	if (r == KILN_ENOENT)
		return 0;
	for (size_t i = 0; r == 0 && names[i]; i++) {
		kiln__autofree char *object = NULL;
		kiln__autofree char *record = NULL;

		if (strncmp(names[i], "root-", 5) != 0)
			continue;
		record = kiln__strf("%s/%s", path, names[i]);
		if (!record)
			r = kiln__fail_nomem(err);
		else if (kiln__cache_find(images->cache, names[i], &object, NULL) == 0)
			json_object_set_new(recorded, strrchr(object, '/') + 1, json_true());
		else
			r = kiln__os_remove(record, err);
	}
	kiln__os_free_names(names);
	return r;
}

/*
 * An image's root is there for the image. That of an archive is found by a record, which is named
 * by the archive as it was; that of a directory by looking through it, so that nobody can tell
 * which of them will not be found again.
 */
static bool stays(const char *name, const struct marks *marks, const json_t *recorded,
		  bool all_unused)
{
	kiln__autofree char *ours = kiln__strf("root-%d-", KILN__IMAGE_FORMAT);
	size_t len = ours ? strlen(ours) : 0;

	if (!ours || json_object_get(marks->roots, name))
		return true;
	if (all_unused || strncmp(name, ours, len) != 0)
		return false;
	return strncmp(name + len, "tree-", 5) == 0 ||
	       (strncmp(name + len, "tar-", 4) == 0 && json_object_get(recorded, name));
}

static int drop_roots(const struct kiln__images *images, const struct marks *marks,
		      const json_t *recorded, bool all_unused, struct kiln__freed *freed,
		      kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/objects", kiln__cache_path(images->cache));
	char **names = NULL;
	int r = path ? kiln__os_list_dir(path, &names, err) : kiln__fail_nomem(err);

	if (r == KILN_ENOENT)
		return 0;
	for (size_t i = 0; r == 0 && names[i]; i++) {
		kiln__autofree char *file = NULL;
		struct kiln__os_stat st;

		if (strncmp(names[i], "root-", 5) != 0 ||
		    stays(names[i], marks, recorded, all_unused))
			continue;
		file = kiln__strf("%s/%s", path, names[i]);
		if (file && kiln__os_stat(file, &st, NULL) == 0)
			freed->bytes += st.allocated;
		r = kiln__cache_drop(images->cache, names[i], err);
		freed->roots += r == 0;
	}
	kiln__os_free_names(names);
	return r;
}

static int sweep_roots(const struct kiln__images *images, const struct marks *marks,
		       bool all_unused, struct kiln__freed *freed, kiln_error *err)
{
	autojson *recorded = json_object();
	int r = recorded ? look_at_records(images, recorded, err) : kiln__fail_nomem(err);

	if (r == 0)
		r = drop_roots(images, marks, recorded, all_unused, freed, err);
	/* Some lead nowhere now. */
	return r < 0 ? r : look_at_records(images, recorded, err);
}

/* --- all of it ------------------------------------------------------------------------------- */

static int sweep(const struct kiln__images *images, const json_t *manifests,
		 const char *const *keep, bool all_unused, struct kiln__freed *freed,
		 kiln_error *err)
{
	struct marks marks = {json_object(), json_object(), json_object()};
	unsigned ignored = 0;
	uint64_t small = 0;
	int r = mark_all(images, manifests, keep, &marks, err);

	if (r == 0)
		r = sweep_refs(images, &marks, err);
	if (r == 0)
		r = sweep_folder(images, "images", marks.images, &ignored, &small, err);
	if (r == 0)
		r = sweep_folder(images, "blobs/sha256", marks.blobs, &freed->blobs, &freed->bytes,
				 err);
	if (r == 0)
		r = sweep_roots(images, &marks, all_unused, freed, err);
	json_decref(marks.blobs);
	json_decref(marks.images);
	json_decref(marks.roots);
	return r;
}

/* --- what came for nothing ------------------------------------------------------------------- */

int kiln__store_blob_names(const struct kiln__images *images, json_t **ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "blobs/sha256", NULL, "");
	autojson *set = json_object();
	char **names = NULL;
	int r = path && set ? kiln__os_list_dir(path, &names, err) : kiln__fail_nomem(err);

	for (size_t i = 0; r == 0 && names[i]; i++)
		if (json_object_set_new(set, names[i], json_true()))
			r = kiln__fail_nomem(err);
	kiln__os_free_names(names);
	if (r == 0)
		*ret = kiln__take(set);
	return r;
}

/* All that is on record, with a name or without one: more than a prune would keep. */
static int mark_records(const struct kiln__images *images, struct marks *marks, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "images", NULL, "");
	char **names = NULL;
	int r = path ? kiln__os_list_dir(path, &names, err) : kiln__fail_nomem(err);

	for (size_t i = 0; r == 0 && names[i]; i++) {
		kiln__autofree char *digest = kiln__strf("sha256:%s", names[i]);

		if (!digest)
			r = kiln__fail_nomem(err);
		else if (kiln__is_sha256(digest)) /* and not HEX.run */
			r = mark_image(images, digest, marks, err);
	}
	kiln__os_free_names(names);
	return r;
}

/* A download that was cut off has the name that it will have: the next pull goes on with it. */
static bool is_download(const char *name)
{
	const char *dot = strchr(name, '.');

	return dot && dot - name == 64 && strcmp(dot, ".partial") == 0;
}

static void undo(const struct kiln__images *images, const json_t *before, const json_t *marks)
{
	kiln__autofree char *path = kiln__store_path(images, "blobs/sha256", NULL, "");
	char **names = NULL;

	if (!path || kiln__os_list_dir(path, &names, NULL) < 0)
		return;
	for (size_t i = 0; names[i]; i++) {
		kiln__autofree char *file = NULL;

		if (json_object_get(before, names[i]) || is_marked(marks, names[i]) ||
		    is_download(names[i]))
			continue;
		file = kiln__strf("%s/%s", path, names[i]);
		if (file)
			kiln__os_remove(file, NULL);
	}
	kiln__os_free_names(names);
}

void kiln__store_undo(const struct kiln__images *images, const json_t *before)
{
	struct marks marks = {json_object(), json_object(), json_object()};
	kiln__autoclose kiln_fd blobs = KILN_FD_NONE;

	if (kiln__store_lock_now(images, PART_BLOBS, &blobs, NULL) == 0 &&
	    mark_records(images, &marks, NULL) == 0)
		undo(images, before, marks.blobs);
	json_decref(marks.blobs);
	json_decref(marks.images);
	json_decref(marks.roots);
}

/* --- removal --------------------------------------------------------------------------------- */

/* Waits for pulls, and for nobody else: the index is written with the lock of its own. */
int kiln__store_begin_removal(const struct kiln__images *images, struct kiln__removal *ret,
			      kiln_error *err)
{
	kiln__autoclose kiln_fd blobs = KILN_FD_NONE;
	kiln__autoclose kiln_fd index = KILN_FD_NONE;
	int r = kiln__store_lock(images, PART_BLOBS, &blobs, err);

	if (r == 0)
		r = kiln__store_lock(images, PART_INDEX, &index, err);
	if (r < 0)
		return r;
	ret->blobs = kiln__take_fd(&blobs);
	ret->index = kiln__take_fd(&index);
	return 0;
}

void kiln__store_end_removal(struct kiln__removal *removal)
{
	kiln__os_close(removal->index);
	kiln__os_close(removal->blobs);
}

static int drop_entry(const struct kiln__images *images, json_t *manifests, size_t i,
		      kiln_error *err)
{
	const json_t *item = json_array_get(manifests, i);
	const char *name = kiln__index_name(item);
	int r = name ? kiln__index_drop_ref(images, name, kiln__index_arch(item), err) : 0;

	if (r == 0)
		json_array_remove(manifests, i);
	return r;
}

static bool is_entry(const json_t *item, const char *name, const char *arch, const char *digest)
{
	const char *found = name ? kiln__index_name(item) : kiln__index_digest(item);

	return found && strcmp(found, name ? name : digest) == 0 &&
	       (!name || !arch || strcmp(kiln__index_arch(item), arch) == 0);
}

int kiln__store_remove(const struct kiln__images *images, const char *name, const char *arch,
		       const char *digest, const char *const *keep, struct kiln__freed *ret,
		       kiln_error *err)
{
	struct kiln__freed freed = {.bytes = 0};
	autojson *index = NULL;
	json_t *manifests;
	int r = kiln__index_load(images, &index, err);

	manifests = json_object_get(index, "manifests");
	for (size_t i = json_array_size(manifests); r == 0 && i-- > 0;)
		if (is_entry(json_array_get(manifests, i), name, arch, digest))
			r = drop_entry(images, manifests, i, err);
	if (r == 0)
		r = kiln__index_save(images, index, err);
	if (r == 0)
		r = sweep(images, manifests, keep, false, &freed, err);
	if (r == 0)
		*ret = freed;
	return r;
}

static bool is_kept(const char *const *keep, const char *digest)
{
	for (; keep && *keep; keep++)
		if (strcmp(*keep, digest) == 0)
			return true;
	return false;
}

int kiln__store_prune(const struct kiln__images *images, bool all_unused, const char *const *keep,
		      struct kiln__freed *ret, kiln_error *err)
{
	struct kiln__freed freed = {.bytes = 0};
	autojson *index = NULL;
	json_t *manifests;
	int r = kiln__index_load(images, &index, err);

	manifests = json_object_get(index, "manifests");
	for (size_t i = json_array_size(manifests); r == 0 && all_unused && i-- > 0;) {
		const char *digest = kiln__index_digest(json_array_get(manifests, i));

		if (!digest || !is_kept(keep, digest))
			r = drop_entry(images, manifests, i, err);
	}
	if (r == 0 && all_unused)
		r = kiln__index_save(images, index, err);
	if (r == 0)
		r = sweep(images, manifests, keep, all_unused, &freed, err);
	if (r == 0)
		*ret = freed;
	return r;
}
