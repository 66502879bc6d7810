/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of one image: all of it, and what of it a warm run needs. */
#include "internal.h"
#include "storedir.h"

#include "buf.h"
#include "err.h"
#include "join.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ABOUT (16u << 20)

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

int kiln__store_about(const struct kiln__images *images, const char *digest, json_t **ret,
		      kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "images", digest + 7, "");

	return path ? kiln__store_load_json(path, MAX_ABOUT, ret, err) : kiln__fail_nomem(err);
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
#define BRIEF_ARCH   'A' /* of the image, not of its process */
#define BRIEF_REST   'J' /* labels and healthcheck, which few images have: an object of them */

static void add_field(struct kiln__buf *buf, char letter, const char *text)
{
	if (!text)
		return;
	kiln__buf_addc(buf, letter);
	kiln__buf_add(buf, text, strlen(text) + 1);
}

static int print_brief(const json_t *about, struct kiln__buf *buf, kiln_error *err)
{
	const json_t *process = json_object_get(about, "process");
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
	add_field(buf, BRIEF_ARCH, json_string_value(json_object_get(about, "arch")));
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
	kiln__autofree char *path = kiln__store_path(images, "images", digest + 7, ".run");
	kiln__autofree char *text = NULL;
	const char *arch = NULL;
	json_t *process;
	size_t len;
	int r = path ? kiln__os_read_file(path, MAX_ABOUT, &text, &len, err)
		     : kiln__fail_nomem(err);

	if (r < 0)
		return r;
	if (*text == '{') /* of an older version of kiln */
		return kiln__store_load_json(path, MAX_ABOUT, ret, err);
	process = json_object();
	for (size_t at = 0; at < len; at += strlen(text + at) + 1)
		if (text[at] == BRIEF_ARCH)
			arch = text + at + 1;
		else
			take_field(process, text + at);
	*ret = json_pack("{s:o, s:s*}", "process", process, "arch", arch);
	return *ret ? 0 : kiln__fail_nomem(err);
}

int kiln__store_made_root(const struct kiln__images *images, const char *digest, char **ret,
			  kiln_error *err)
{
	kiln__autofree char *link = kiln__store_path(images, "images", digest + 7, ".root");
	kiln__autofree char *name = NULL;
	kiln__autofree char *path = NULL;
	struct kiln__os_stat st;
	int r = link ? kiln__os_read_link(link, &name, err) : kiln__fail_nomem(err);

	if (r < 0)
		return r;
	path = kiln__join(kiln__cache_path(images->cache), "/objects/", name, NULL);
	r = path ? kiln__os_stat(path, &st, err) : kiln__fail_nomem(err);
	if (r == 0)
		*ret = kiln__take(path);
	return r;
}

/* --- writing --------------------------------------------------------------------------------- */

static int save_json(const struct kiln__images *images, const char *digest, const json_t *object,
		     kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "images", digest + 7, "");
	kiln__autofree char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	if (!path || !text)
		return kiln__fail_nomem(err);
	return kiln__os_replace_file(path, text, strlen(text), 0600, true, err);
}

/* What is read alone is written before what leads to it. */
int kiln__store_save_about(const struct kiln__images *images, const json_t *about, kiln_error *err)
{
	const char *digest = kiln__about_digest(about);
	kiln__autobuf brief = KILN__BUF_INIT;
	kiln__autofree char *run = kiln__store_path(images, "images", digest + 7, ".run");
	kiln__autofree char *link = kiln__store_path(images, "images", digest + 7, ".root");
	kiln__autofree char *root = kiln__store_root_name(about);
	int r;

	if (!run || !link || !root)
		return kiln__fail(err, KILN_EPROTO, "kiln-image did not describe the image");
	r = print_brief(about, &brief, err);
	if (r == 0)
		r = kiln__os_replace_file(run, brief.data ? brief.data : "", brief.len, 0600, true,
					  err);
	if (r == 0)
		r = kiln__os_remove(link, err);
	if (r == 0)
		r = kiln__os_symlink_new(root, link, err);
	return r < 0 ? r : save_json(images, digest, about, err);
}
