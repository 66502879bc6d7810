/* SPDX-License-Identifier: Apache-2.0 */
/* What names mean: index.json, and the links that are made of it. */
#include "arch.h"
#include "storedir.h"

#include "digest.h"
#include "err.h"
#include "join.h"

#include <string.h>

#define MAX_INDEX (64u << 20)
#define REF_NAME  "org.opencontainers.image.ref.name"

/* --- names ----------------------------------------------------------------------------------- */

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
	return kiln__store_path(images, "refs", hex, "");
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

/* --- the index ------------------------------------------------------------------------------- */

const char *kiln__index_name(const json_t *descriptor)
{
	return json_string_value(
		json_object_get(json_object_get(descriptor, "annotations"), REF_NAME));
}

const char *kiln__index_digest(const json_t *descriptor)
{
	const char *digest = json_string_value(json_object_get(descriptor, "digest"));

	return kiln__is_sha256(digest) ? digest : NULL;
}

static const char *arch_of(const json_t *descriptor)
{
	return json_string_value(
		json_object_get(json_object_get(descriptor, "platform"), "architecture"));
}

const char *kiln__index_arch(const json_t *descriptor)
{
	const char *arch = arch_of(descriptor);

	return arch ? kiln__arch_of_uname(arch) : "";
}

int kiln__index_load(const struct kiln__images *images, json_t **ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "index.json", NULL, "");
	json_t *manifests;
	int r = path ? kiln__store_load_json(path, MAX_INDEX, ret, err) : kiln__fail_nomem(err);

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

int kiln__index_save(const struct kiln__images *images, const json_t *index, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "index.json", NULL, "");
	kiln__autofree char *text = json_dumps(index, JSON_INDENT(2));

	if (!path || !text)
		return kiln__fail_nomem(err);
	return kiln__os_replace_file(path, text, strlen(text), 0600, true, err);
}

/* Takes out what @name means for @arch: the digest that it meant, if it is not @digest. */
static void take_name(json_t *manifests, const char *name, const char *arch, const char *digest,
		      struct kiln__replaced *ret)
{
	for (size_t i = json_array_size(manifests); i-- > 0;) {
		const json_t *item = json_array_get(manifests, i);
		const char *found = kiln__index_name(item);
		const char *found_arch = arch_of(item);

		if (!found || strcmp(found, name) != 0 ||
		    (found_arch && strcmp(found_arch, arch) != 0))
			continue;
		if (kiln__index_digest(item) && strcmp(kiln__index_digest(item), digest) != 0)
			strcpy(ret->digest, kiln__index_digest(item));
		json_array_remove(manifests, i);
	}
}

static bool has_name(const json_t *manifests, const char *digest)
{
	const json_t *item;
	size_t i;

	json_array_foreach (manifests, i, item)
		if (kiln__index_digest(item) && strcmp(kiln__index_digest(item), digest) == 0)
			return true;
	return false;
}

static int set_ref(const struct kiln__images *images, const char *name, const char *arch,
		   const char *digest, kiln_error *err)
{
	kiln__autofree char *path = ref_path(images, name, arch);
	kiln__autofree char *target = kiln__join("../images/", digest + 7, NULL);
	int r;

	if (!path || !target)
		return kiln__fail_nomem(err);
	r = kiln__os_remove(path, err);
	return r < 0 ? r : kiln__os_symlink_new(target, path, err);
}

int kiln__index_drop_ref(const struct kiln__images *images, const char *name, const char *arch,
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
		      const json_t *about, struct kiln__replaced *replaced, kiln_error *err)
{
	const json_t *manifest = json_object_get(about, "manifest");
	autojson *index = NULL;
	json_t *item;
	int r = kiln__index_load(images, &index, err);

	if (r < 0)
		return r;
	item = json_pack("{s:O, s:O, s:O, s:{s:s, s:s}, s:{s:s}}", "mediaType",
			 json_object_get(manifest, "mediaType"), "digest",
			 json_object_get(manifest, "digest"), "size",
			 json_object_get(manifest, "size"), "platform", "architecture",
			 kiln__arch_of_images(arch), "os", "linux", "annotations", REF_NAME, name);
	if (!item)
		return kiln__fail(err, KILN_EPROTO, "kiln-image did not describe the manifest");
	take_name(json_object_get(index, "manifests"), name, kiln__arch_of_images(arch),
		  kiln__about_digest(about), replaced);
	replaced->nameless = replaced->digest[0] &&
			     !has_name(json_object_get(index, "manifests"), replaced->digest);
	json_array_append_new(json_object_get(index, "manifests"), item);
	r = kiln__index_drop_ref(images, name, arch, err);
	if (r == 0)
		r = kiln__index_save(images, index, err);
	if (r == 0)
		r = set_ref(images, name, arch, kiln__about_digest(about), err);
	return r;
}

int kiln__store_record(const struct kiln__images *images, const char *name, const char *arch,
		       const json_t *about, struct kiln__replaced *replaced, kiln_error *err)
{
	struct kiln__replaced before = {.nameless = false};
	kiln__autoclose kiln_fd held = KILN_FD_NONE;
	int r;

	if (!*kiln__about_digest(about))
		return kiln__fail(err, KILN_EPROTO, "kiln-image did not describe the image");
	r = kiln__store_lock(images, PART_INDEX, &held, err);
	if (r == 0)
		r = kiln__store_save_about(images, about, err);
	if (r == 0)
		r = write_name(images, name, arch, about, &before, err);
	if (r == 0 && replaced)
		*replaced = before;
	return r;
}
