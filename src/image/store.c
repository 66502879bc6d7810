/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"
#include "internal.h"
#include "storedir.h"

#include "buf.h"
#include "digest.h"
#include "err.h"
#include "timefmt.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INDEX (64u << 20)
#define MAX_ABOUT (16u << 20)

#define REF_NAME "org.opencontainers.image.ref.name"
#define LAYOUT   "{\"imageLayoutVersion\":\"1.0.0\"}"

/* Parts of the lock file. */
#define PART_BLOBS 0
#define PART_INDEX 1

KILN__DEFINE_AUTOPTR(json_t, json_decref)
#define autojson kiln__cleanup(json_decref_autop) json_t

/* --- the directory --------------------------------------------------------------------------- */

char *kiln__store_path(const struct kiln__images *images, const char *fmt, ...)
{
	kiln__autobuf text = KILN__BUF_INIT;
	va_list args;

	kiln__buf_addf(&text, "%s/store/", kiln__cache_path(images->cache));
	va_start(args, fmt);
	kiln__buf_vaddf(&text, fmt, args);
	va_end(args);
	return kiln__buf_steal(&text);
}

static int make(const struct kiln__images *images, kiln_error *err)
{
	static const char *const folders[] = {"blobs/sha256", "images", "refs"};
	kiln__autofree char *layout = kiln__store_path(images, "oci-layout");
	struct kiln__os_stat st;
	int r;

	if (!layout)
		return kiln__fail_nomem(err);
	if (kiln__os_stat(layout, &st, NULL) == 0)
		return 0;
	r = kiln__os_make_private_dir(kiln__cache_path(images->cache), err);
	for (size_t i = 0; r == 0 && i < sizeof(folders) / sizeof(folders[0]); i++) {
		kiln__autofree char *path = kiln__store_path(images, "%s", folders[i]);

		r = path ? kiln__os_mkdir_p(path, 0700, err) : kiln__fail_nomem(err);
	}
	if (r == 0)
		r = kiln__os_replace_file(layout, LAYOUT, strlen(LAYOUT), 0600, false, err);
	if (r < 0)
		kiln__prefix(err, "cannot make the image store");
	return r;
}

static int open_lock(const struct kiln__images *images, kiln_fd *ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "lock");
	int r = make(images, err);

	if (r < 0)
		return r;
	return path ? kiln__os_open(ret, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE, err)
		    : kiln__fail_nomem(err);
}

static int lock(const struct kiln__images *images, unsigned part, kiln_fd *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = open_lock(images, &fd, err);

	if (r == 0)
		r = kiln__os_lock_part(fd, part, true, err);
	if (r == 0)
		*ret = kiln__take_fd(&fd);
	return r;
}

int kiln__store_hold(const struct kiln__images *images, kiln_fd *ret_lock, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "lock");
	kiln__autoclose kiln_fd made = KILN_FD_NONE;
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = open_lock(images, &made, err);

	if (r == 0)
		r = path ? kiln__os_open(&fd, path, KILN__OPEN_READ, err) : kiln__fail_nomem(err);
	if (r == 0)
		r = kiln__os_hold_part(fd, PART_BLOBS, err);
	if (r == 0)
		*ret_lock = kiln__take_fd(&fd);
	return r;
}

int kiln__store_blobs(const struct kiln__images *images, kiln_fd *ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "blobs/sha256");

	return path ? kiln__os_open(ret, path, KILN__OPEN_READ | KILN__OPEN_DIRECTORY, err)
		    : kiln__fail_nomem(err);
}

/* --- what is known of an image --------------------------------------------------------------- */

const char *kiln__about_digest(const json_t *about)
{
	const char *digest =
		json_string_value(json_object_get(json_object_get(about, "manifest"), "digest"));

	return kiln__is_sha256(digest) ? digest : "";
}

char *kiln__store_root_name(const json_t *about)
{
	const char *chain = json_string_value(json_object_get(about, "chain"));

	return kiln__is_sha256(chain)
		       ? kiln__strf("root-%d-chain-%s", KILN__IMAGE_FORMAT, chain + 7)
		       : NULL;
}

static int load_json(const char *path, size_t max, json_t **ret, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	size_t len;
	int r = kiln__os_read_file(path, max, &text, &len, err);

	if (r < 0)
		return r;
	*ret = json_loadb(text, len, 0, NULL);
	if (json_is_object(*ret))
		return 0;
	json_decref(*ret);
	*ret = NULL;
	return kiln__fail(err, KILN_EFORMAT, "%s is damaged", path);
}

int kiln__store_about(const struct kiln__images *images, const char *digest, json_t **ret,
		      kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "images/%s", digest + 7);

	return path ? load_json(path, MAX_ABOUT, ret, err) : kiln__fail_nomem(err);
}

void kiln__store_name(const struct kiln__reference *reference, char ret[KILN__REFERENCE_TEXT_MAX])
{
	struct kiln__reference plain = *reference;

	if (plain.digest[0])
		plain.tag[0] = '\0';
	kiln__reference_print(&plain, ret);
}

static char *ref_path(const struct kiln__images *images, const char *name, const char *arch)
{
	struct kiln__digest digest;
	char hex[KILN__DIGEST_HEX];

	kiln__digest_init(&digest);
	kiln__digest_adds(&digest, name);
	kiln__digest_adds(&digest, arch);
	kiln__digest_final_hex(&digest, hex);
	return kiln__store_path(images, "refs/%s", hex);
}

int kiln__store_digest_of(const struct kiln__images *images, const char *name, const char *arch,
			  char ret[KILN__SHA256_TEXT + 1], kiln_error *err)
{
	static const char prefix[] = "../images/";
	kiln__autofree char *path = ref_path(images, name, arch);
	kiln__autofree char *target = NULL;
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_read_link(path, &target, err);
	if (r < 0)
		return r;
	if (strncmp(target, prefix, strlen(prefix)) != 0 ||
	    strlen(target) != strlen(prefix) + KILN__SHA256_TEXT - 7)
		return kiln__fail(err, KILN_ENOENT, "%s is no record of this store", path);
	strcpy(stpcpy(ret, "sha256:"), target + strlen(prefix));
	return 0;
}

/* --- what of it a warm run needs ------------------------------------------------------------- */

/*
 * images/HEX.run: fields that end in a NUL, each begun by a letter that says what it is. A
 * document of JSON costs ten times as much to be read, on every run.
 */
static const struct brief_field {
	char letter;
	bool list;
	const char *key;
} brief_fields[] = {
	{'E', true, "entrypoint"}, {'C', true, "cmd"},     {'V', true, "env"},
	{'U', false, "user"},      {'W', false, "cwd"},    {'S', false, "stop_signal"},
	{'P', true, "ports"},      {'O', true, "volumes"},
};
#define BRIEF_FIELDS (sizeof(brief_fields) / sizeof(brief_fields[0]))
#define BRIEF_REST   'J' /* labels and healthcheck, which few images have: an object of them */

static void add_field(struct kiln__buf *buf, char letter, const char *text)
{
	if (!text)
		return;
	kiln__buf_addc(buf, letter);
	kiln__buf_add(buf, text, strlen(text) + 1);
}

static int print_brief(const json_t *process, struct kiln__buf *buf, kiln_error *err)
{
	json_t *rest = json_pack("{s:O*, s:O*}", "labels", json_object_get(process, "labels"),
				 "healthcheck", json_object_get(process, "healthcheck"));
	kiln__autofree char *text = json_object_size(rest) ? json_dumps(rest, JSON_COMPACT) : NULL;

	json_decref(rest);
	for (size_t i = 0; i < BRIEF_FIELDS; i++) {
		const json_t *value = json_object_get(process, brief_fields[i].key);
		const json_t *item;
		size_t k;

		add_field(buf, brief_fields[i].letter, json_string_value(value));
		json_array_foreach (value, k, item)
			add_field(buf, brief_fields[i].letter, json_string_value(item));
	}
	add_field(buf, BRIEF_REST, text);
	return buf->failed ? kiln__fail_nomem(err) : 0;
}

static void take_field(json_t *process, const char *text)
{
	for (size_t i = 0; i < BRIEF_FIELDS; i++) {
		const struct brief_field *field = &brief_fields[i];
		json_t *list;

		if (field->letter != *text)
			continue;
		if (!field->list) {
			json_object_set_new(process, field->key, json_string(text + 1));
			return;
		}
		list = json_object_get(process, field->key);
		if (!list) {
			list = json_array();
			json_object_set_new(process, field->key, list);
		}
		json_array_append_new(list, json_string(text + 1));
		return;
	}
	if (*text == BRIEF_REST) {
		json_t *rest = json_loads(text + 1, 0, NULL);

		json_object_update(process, rest);
		json_decref(rest);
	}
}

int kiln__store_brief(const struct kiln__images *images, const char *digest, json_t **ret,
		      kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "images/%s.run", digest + 7);
	kiln__autofree char *text = NULL;
	json_t *process;
	size_t len;
	int r = path ? kiln__os_read_file(path, MAX_ABOUT, &text, &len, err)
		     : kiln__fail_nomem(err);

	if (r < 0)
		return r;
	if (*text == '{') /* of an older version of kiln */
		return load_json(path, MAX_ABOUT, ret, err);
	process = json_object();
	for (size_t at = 0; at < len; at += strlen(text + at) + 1)
		take_field(process, text + at);
	*ret = json_pack("{s:o}", "process", process);
	return *ret ? 0 : kiln__fail_nomem(err);
}

int kiln__store_made_root(const struct kiln__images *images, const char *digest, char **ret,
			  kiln_error *err)
{
	kiln__autofree char *link = kiln__store_path(images, "images/%s.root", digest + 7);
	kiln__autofree char *name = NULL;
	kiln__autofree char *path = NULL;
	struct kiln__os_stat st;
	int r = link ? kiln__os_read_link(link, &name, err) : kiln__fail_nomem(err);

	if (r < 0)
		return r;
	path = kiln__strf("%s/objects/%s", kiln__cache_path(images->cache), name);
	r = path ? kiln__os_stat(path, &st, err) : kiln__fail_nomem(err);
	if (r == 0)
		*ret = kiln__take(path);
	return r;
}

/* --- the index ------------------------------------------------------------------------------- */

static const char *name_of(const json_t *descriptor)
{
	return json_string_value(
		json_object_get(json_object_get(descriptor, "annotations"), REF_NAME));
}

static const char *digest_of(const json_t *descriptor)
{
	const char *digest = json_string_value(json_object_get(descriptor, "digest"));

	return kiln__is_sha256(digest) ? digest : NULL;
}

static const char *arch_of(const json_t *descriptor)
{
	return json_string_value(
		json_object_get(json_object_get(descriptor, "platform"), "architecture"));
}

/* How images call what uname calls so. */
static const char *go_arch(const char *arch)
{
	return strcmp(arch, "x86_64") == 0    ? "amd64"
	       : strcmp(arch, "aarch64") == 0 ? "arm64"
					      : arch;
}

static int load_index(const struct kiln__images *images, json_t **ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "index.json");
	json_t *manifests;
	int r = path ? load_json(path, MAX_INDEX, ret, err) : kiln__fail_nomem(err);

	if (r == KILN_ENOENT) {
		*ret = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType",
				 "application/vnd.oci.image.index.v1+json", "manifests");
		return *ret ? 0 : kiln__fail_nomem(err);
	}
	if (r < 0)
		return r;
	manifests = json_object_get(*ret, "manifests");
	if (json_is_array(manifests))
		return 0;
	json_decref(*ret);
	*ret = NULL;
	return kiln__fail(err, KILN_EFORMAT, "%s is damaged: it has no list of manifests", path);
}

static int save_index(const struct kiln__images *images, const json_t *index, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "index.json");
	kiln__autofree char *text = json_dumps(index, JSON_INDENT(2));

	if (!path || !text)
		return kiln__fail_nomem(err);
	return kiln__os_replace_file(path, text, strlen(text), 0600, true, err);
}

/* Takes out what @name means for @arch (NULL: for any). A count. */
static unsigned take_name(json_t *manifests, const char *name, const char *arch)
{
	unsigned count = 0;

	for (size_t i = json_array_size(manifests); i-- > 0;) {
		const json_t *item = json_array_get(manifests, i);
		const char *found = name_of(item);
		const char *found_arch = arch_of(item);

		if (!found || strcmp(found, name) != 0 ||
		    (arch && found_arch && strcmp(found_arch, arch) != 0))
			continue;
		json_array_remove(manifests, i);
		count++;
	}
	return count;
}

static int save_json(const struct kiln__images *images, const char *digest, const json_t *object,
		     kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "images/%s", digest + 7);
	kiln__autofree char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	if (!path || !text)
		return kiln__fail_nomem(err);
	return kiln__os_replace_file(path, text, strlen(text), 0600, true, err);
}

/* What is read alone is written before what leads to it. */
static int save_about(const struct kiln__images *images, const json_t *about, kiln_error *err)
{
	const char *digest = kiln__about_digest(about);
	kiln__autobuf brief = KILN__BUF_INIT;
	kiln__autofree char *run = kiln__store_path(images, "images/%s.run", digest + 7);
	kiln__autofree char *link = kiln__store_path(images, "images/%s.root", digest + 7);
	kiln__autofree char *root = kiln__store_root_name(about);
	int r;

	if (!run || !link || !root)
		return kiln__fail(err, KILN_EPROTO, "kiln-image did not describe the image");
	r = print_brief(json_object_get(about, "process"), &brief, err);
	if (r == 0)
		r = kiln__os_replace_file(run, brief.data ? brief.data : "", brief.len, 0600, true,
					  err);
	if (r == 0)
		r = kiln__os_remove(link, err);
	if (r == 0)
		r = kiln__os_symlink_new(root, link, err);
	return r < 0 ? r : save_json(images, digest, about, err);
}

static int set_ref(const struct kiln__images *images, const char *name, const char *arch,
		   const char *digest, kiln_error *err)
{
	kiln__autofree char *path = ref_path(images, name, arch);
	kiln__autofree char *target = kiln__strf("../images/%s", digest + 7);
	int r;

	if (!path || !target)
		return kiln__fail_nomem(err);
	r = kiln__os_remove(path, err);
	return r < 0 ? r : kiln__os_symlink_new(target, path, err);
}

static int drop_ref(const struct kiln__images *images, const char *name, const char *arch,
		    kiln_error *err)
{
	kiln__autofree char *path = ref_path(images, name, arch);

	return path ? kiln__os_remove(path, err) : kiln__fail_nomem(err);
}

/*
 * The link goes before the index changes and comes after it: a link that is missing is looked up in
 * the index, one that is wrong would be believed.
 */
static int write_name(const struct kiln__images *images, const char *name, const char *arch,
		      const json_t *about, kiln_error *err)
{
	const json_t *manifest = json_object_get(about, "manifest");
	autojson *index = NULL;
	json_t *item;
	int r = load_index(images, &index, err);

	if (r < 0)
		return r;
	item = json_pack("{s:O, s:O, s:O, s:{s:s, s:s}, s:{s:s}}", "mediaType",
			 json_object_get(manifest, "mediaType"), "digest",
			 json_object_get(manifest, "digest"), "size",
			 json_object_get(manifest, "size"), "platform", "architecture",
			 go_arch(arch), "os", "linux", "annotations", REF_NAME, name);
	if (!item)
		return kiln__fail(err, KILN_EPROTO, "kiln-image did not describe the manifest");
	take_name(json_object_get(index, "manifests"), name, go_arch(arch));
	json_array_append_new(json_object_get(index, "manifests"), item);
	r = drop_ref(images, name, arch, err);
	if (r == 0)
		r = save_index(images, index, err);
	if (r == 0)
		r = set_ref(images, name, arch, kiln__about_digest(about), err);
	return r;
}

int kiln__store_record(const struct kiln__images *images, const char *name, const char *arch,
		       const json_t *about, kiln_error *err)
{
	kiln__autoclose kiln_fd held = KILN_FD_NONE;
	int r;

	if (!*kiln__about_digest(about))
		return kiln__fail(err, KILN_EPROTO, "kiln-image did not describe the image");
	r = lock(images, PART_INDEX, &held, err);
	if (r == 0)
		r = save_about(images, about, err);
	if (r == 0)
		r = write_name(images, name, arch, about, err);
	return r;
}

/* --- lists ----------------------------------------------------------------------------------- */

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
		name ? kiln__strf("%s/objects/%s", kiln__cache_path(images->cache), name) : NULL;
	struct kiln__os_stat st;

	return path && kiln__os_stat(path, &st, NULL) == 0 ? st.size : 0;
}

static void fill_entry(const struct kiln__images *images, const json_t *item,
		       struct kiln__image_entry *entry)
{
	const char *name = name_of(item);
	const json_t *layer;
	const char *created;
	size_t i;

	snprintf(entry->digest, sizeof(entry->digest), "%s", digest_of(item));
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
	int r = load_index(images, &index, err);

	if (r < 0)
		return r;
	manifests = json_object_get(index, "manifests");
	list.entries = calloc(json_array_size(manifests) + 1, sizeof(*list.entries));
	if (!list.entries)
		return kiln__fail_nomem(err);
	json_array_foreach (manifests, i, item)
		if (digest_of(item))
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

int kiln__store_find(const struct kiln__image_list *list, const char *text,
		     const struct kiln__image_entry **ret, kiln_error *err)
{
	struct kiln__reference reference;
	char name[KILN__REFERENCE_TEXT_MAX];
	int r = find_by_digest(list, text, ret, err);

	if (r != KILN_ENOENT)
		return r;
	r = kiln__reference_parse(&reference, text, err);
	if (r < 0)
		return r;
	kiln__store_name(&reference, name);
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->entries[i].name, name) == 0 ||
		    (reference.digest[0] &&
		     strcmp(list->entries[i].digest, reference.digest) == 0)) {
			*ret = &list->entries[i];
			return 0;
		}
	kiln__fail(err, KILN_ENOENT, "there is no image %s here", name);
	kiln__hint(err, "\"kiln image ls\" lists those that there are");
	return KILN_ENOENT;
}

int kiln__store_tag(const struct kiln__images *images, const struct kiln__image_entry *entry,
		    const char *name, kiln_error *err)
{
	struct kiln__reference reference;
	char whole[KILN__REFERENCE_TEXT_MAX];
	const char *arch = json_string_value(json_object_get(entry->about, "arch"));
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
	return kiln__store_record(images, whole,
				  arch && strcmp(arch, "arm64") == 0   ? "aarch64"
				  : arch && strcmp(arch, "amd64") == 0 ? "x86_64"
				  : arch && *arch                      ? arch
								       : kiln__os_arch(),
				  entry->about, err);
}

/* --- removing -------------------------------------------------------------------------------- */

/* Names (of blobs, images, objects) that something leads to: a set. */
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
		if (digest_of(layer))
			json_object_set_new(marks->blobs, digest_of(layer) + 7, json_true());
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
		if (!digest_of(item))
			continue;
		r = mark_image(images, digest_of(item), marks, err);
		if (r == KILN_ENOENT) {
			/* Its layers are not known: nothing is safe to remove. */
			kiln__fail(err, KILN_EFORMAT, "the image store has lost what it knew of %s",
				   name_of(item) ? name_of(item) : digest_of(item));
			kiln__hint(err, "pull that image again: kiln pull NAME");
			return KILN_EFORMAT;
		}
		if (r < 0)
			return r;
	}
	for (; keep && *keep; keep++) {
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

static int sweep_folder(const struct kiln__images *images, const char *folder, const json_t *marks,
			unsigned *count, uint64_t *bytes, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "%s", folder);
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
	kiln__autofree char *path = kiln__store_path(images, "refs");
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

static int sweep_roots(const struct kiln__images *images, const struct marks *marks,
		       struct kiln__freed *freed, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/objects", kiln__cache_path(images->cache));
	char **names = NULL;
	int r = path ? kiln__os_list_dir(path, &names, err) : kiln__fail_nomem(err);

	if (r == KILN_ENOENT)
		return 0;
	for (size_t i = 0; r == 0 && names[i]; i++) {
		kiln__autofree char *file = NULL;
		struct kiln__os_stat st;

		if (strncmp(names[i], "root-", 5) != 0 || !strstr(names[i], "-chain-") ||
		    json_object_get(marks->roots, names[i]))
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

static int sweep(const struct kiln__images *images, const json_t *manifests,
		 const char *const *keep, struct kiln__freed *freed, kiln_error *err)
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
		r = sweep_roots(images, &marks, freed, err);
	json_decref(marks.blobs);
	json_decref(marks.images);
	json_decref(marks.roots);
	return r;
}

/* Waits for pulls, and for nobody else: the index is written with the lock of its own. */
static int lock_all(const struct kiln__images *images, kiln_fd *ret_blobs, kiln_fd *ret_index,
		    kiln_error *err)
{
	int r = lock(images, PART_BLOBS, ret_blobs, err);

	return r < 0 ? r : lock(images, PART_INDEX, ret_index, err);
}

static int drop_entry(const struct kiln__images *images, json_t *manifests, size_t i,
		      kiln_error *err)
{
	const json_t *item = json_array_get(manifests, i);
	const char *arch = arch_of(item);
	int r = 0;

	if (name_of(item))
		r = drop_ref(images, name_of(item),
			     arch && strcmp(arch, "arm64") == 0   ? "aarch64"
			     : arch && strcmp(arch, "amd64") == 0 ? "x86_64"
			     : arch                               ? arch
								  : "",
			     err);
	if (r == 0)
		json_array_remove(manifests, i);
	return r;
}

int kiln__store_remove(const struct kiln__images *images, const char *name, const char *digest,
		       const char *const *keep, struct kiln__freed *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd blobs = KILN_FD_NONE;
	kiln__autoclose kiln_fd held = KILN_FD_NONE;
	struct kiln__freed freed = {.bytes = 0};
	autojson *index = NULL;
	json_t *manifests;
	int r = lock_all(images, &blobs, &held, err);

	if (r == 0)
		r = load_index(images, &index, err);
	manifests = json_object_get(index, "manifests");
	for (size_t i = json_array_size(manifests); r == 0 && i-- > 0;) {
		const json_t *item = json_array_get(manifests, i);

		if (name ? name_of(item) && strcmp(name_of(item), name) == 0
			 : digest_of(item) && strcmp(digest_of(item), digest) == 0)
			r = drop_entry(images, manifests, i, err);
	}
	if (r == 0)
		r = save_index(images, index, err);
	if (r == 0)
		r = sweep(images, manifests, keep, &freed, err);
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
	kiln__autoclose kiln_fd blobs = KILN_FD_NONE;
	kiln__autoclose kiln_fd held = KILN_FD_NONE;
	struct kiln__freed freed = {.bytes = 0};
	autojson *index = NULL;
	json_t *manifests;
	int r = lock_all(images, &blobs, &held, err);

	if (r == 0)
		r = load_index(images, &index, err);
	manifests = json_object_get(index, "manifests");
	for (size_t i = json_array_size(manifests); r == 0 && all_unused && i-- > 0;) {
		const char *digest = digest_of(json_array_get(manifests, i));

		if (!digest || !is_kept(keep, digest))
			r = drop_entry(images, manifests, i, err);
	}
	if (r == 0 && all_unused)
		r = save_index(images, index, err);
	if (r == 0)
		r = sweep(images, manifests, keep, &freed, err);
	if (r == 0)
		*ret = freed;
	return r;
}

/* --- usage
 * ------------------------------------------------------------------------------------------------
 */

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
	r = add_sizes(kiln__store_path(images, "blobs/sha256"), "", ret_blobs, err);
	if (r == 0)
		r = add_sizes(kiln__strf("%s/objects", kiln__cache_path(images->cache)), "root-",
			      ret_roots, err);
	return r;
}
