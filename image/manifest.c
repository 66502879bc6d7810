/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest.h"

#include "arch.h"
#include "buf.h"
#include "err.h"
#include "reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

KILN__DEFINE_AUTOPTR(json_t, json_decref)

#define autojson kiln__cleanup(json_decref_autop) json_t

#define MAX_TEXT 65536 /* of one string that is kept */
#define MAX_LIST 4096

static int load(const char *text, size_t len, const char *what, json_t **ret, kiln_error *err)
{
	json_error_t where;
	json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);

	if (!object)
		return kiln__fail(err, KILN_EFORMAT, "its %s is no valid JSON: %s (byte %d)", what,
				  where.text, where.position);
	if (!json_is_object(object)) {
		json_decref(object);
		return kiln__fail(err, KILN_EFORMAT, "its %s is no JSON object", what);
	}
	*ret = object;
	return 0;
}

static const char *text_at(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* --- descriptors ------------------------------------------------------------------------ */

static int read_descriptor(const json_t *object, const char *what, uint64_t max,
			   struct descriptor *ret, kiln_error *err)
{
	const char *digest = text_at(object, "digest");
	const char *type = text_at(object, "mediaType");
	const json_t *size = json_object_get(object, "size");

	if (!digest)
		return kiln__fail(err, KILN_EFORMAT, "%s has no digest", what);
	if (!kiln__is_sha256(digest))
		return kiln__fail(err, strncmp(digest, "sha512:", 7) ? KILN_EFORMAT : KILN_ENOTSUP,
				  "%s has the digest \"%.80s\", which is not SHA-256", what,
				  digest);
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return kiln__fail(err, KILN_EFORMAT, "%s (%s) has no size", what, digest);
	if ((uint64_t)json_integer_value(size) > max)
		return kiln__fail(err, KILN_EOVERFLOW, "%s (%s) has %lld bytes, more than %llu MiB",
				  what, digest, (long long)json_integer_value(size),
				  (unsigned long long)(max >> 20));
	if (type && strlen(type) >= sizeof(ret->media_type))
		return kiln__fail(err, KILN_EFORMAT, "%s (%s) has an impossible media type", what,
				  digest);
	*ret = (struct descriptor){.size = (uint64_t)json_integer_value(size)};
	snprintf(ret->digest, sizeof(ret->digest), "%s", digest);
	snprintf(ret->media_type, sizeof(ret->media_type), "%s", type ? type : "");
	return 0;
}

json_t *descriptor_json(const struct descriptor *descriptor)
{
	return json_pack("{s:s, s:s, s:I}", "mediaType", descriptor->media_type, "digest",
			 descriptor->digest, "size", (json_int_t)descriptor->size);
}

/* --- which document --------------------------------------------------------------------- */

static int kind_of(const json_t *object, const char *media_type, kiln_error *err)
{
	const char *type = text_at(object, "mediaType");
	const json_t *version = json_object_get(object, "schemaVersion");

	if (!type)
		type = media_type;
	if (json_integer_value(version) == 1) {
		kiln__fail(err, KILN_ENOTSUP,
			   "its manifest is of Docker's schema 1, of before 2016");
		kiln__hint(err, "push the image again with a newer tool");
		return KILN_ENOTSUP;
	}
	if (type && (!strcmp(type, INDEX_OCI) || !strcmp(type, INDEX_DOCKER)))
		return 1;
	if (type && (!strcmp(type, MANIFEST_OCI) || !strcmp(type, MANIFEST_DOCKER)))
		return 0;
	/* An OCI document need not say what it is; then what it was sent as is no better than a
	 * guess. */
	if (!text_at(object, "mediaType") && json_is_array(json_object_get(object, "manifests")))
		return 1;
	if (!text_at(object, "mediaType") && json_is_array(json_object_get(object, "layers")))
		return 0;
	return kiln__fail(err, KILN_ENOTSUP, "it is neither an image nor an index, but \"%.100s\"",
			  type ? type : "something without a type");
}

int manifest_kind(const char *text, size_t len, const char *media_type, kiln_error *err)
{
	autojson *object = NULL;
	int r = load(text, len, "manifest", &object, err);

	return r < 0 ? r : kind_of(object, media_type, err);
}

/* --- platforms ---------------------------------------------------------------------------- */

static bool fits(const json_t *platform, const char *arch)
{
	const char *variant = text_at(platform, "variant");
	const char *os = text_at(platform, "os");
	const char *found = text_at(platform, "architecture");

	if (!os || !found || strcmp(os, "linux") || strcmp(found, arch))
		return false;
	/* v8 is what every arm64 machine is; x86-64-v2 and more not every processor. */
	return !variant || !*variant || !strcmp(variant, "v8") || !strcmp(variant, "v1");
}

static int no_platform(const json_t *manifests, const char *arch, kiln_error *err)
{
	kiln__autobuf list = KILN__BUF_INIT;
	const json_t *item;
	size_t i;

	json_array_foreach (manifests, i, item) {
		const json_t *platform = json_object_get(item, "platform");
		const char *os = text_at(platform, "os");
		const char *found = text_at(platform, "architecture");

		if (!os || !found || !strcmp(os, "unknown") || list.len > 200)
			continue;
		kiln__buf_addf(&list, "%s%.20s/%.20s", list.len ? ", " : "", os, found);
	}
	kiln__fail(err, KILN_ENOENT, "it has no image for linux/%s", arch);
	if (list.len && !list.failed)
		kiln__hint(err, "it has %s", list.data);
	return KILN_ENOENT;
}

int manifest_choose(const char *text, size_t len, const char *arch, struct descriptor *ret,
		    kiln_error *err)
{
	const char *wanted = kiln__arch_of_images(arch);
	autojson *object = NULL;
	const json_t *manifests, *item;
	size_t i;
	int r = load(text, len, "index", &object, err);

	if (r < 0)
		return r;
	manifests = json_object_get(object, "manifests");
	if (!json_is_array(manifests))
		return kiln__fail(err, KILN_EFORMAT, "its index has no list of manifests");
	json_array_foreach (manifests, i, item)
		if (fits(json_object_get(item, "platform"), wanted))
			return read_descriptor(item, "the index's manifest", MANIFEST_MAX, ret,
					       err);
	/* An index of one image for whatever machine, as oci: layouts have. */
	item = json_array_get(manifests, 0);
	if (json_array_size(manifests) == 1 && !json_object_get(item, "platform"))
		return read_descriptor(item, "the index's manifest", MANIFEST_MAX, ret, err);
	return no_platform(manifests, wanted, err);
}

/* --- manifests ------------------------------------------------------------------------------ */

static int check_layer(const struct descriptor *layer, kiln_error *err)
{
	static const char *const known[] = {
		LAYER_TAR,
		LAYER_GZIP,
		LAYER_ZSTD,
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(layer->media_type, known[i]))
			return 0;
	return kiln__fail(err, KILN_ENOTSUP,
			  "its layer %s is of the type \"%.100s\", which kiln does "
			  "not know",
			  layer->digest, layer->media_type);
}

void manifest_done(struct manifest *manifest)
{
	free(manifest->layers);
	*manifest = (struct manifest){.layers = NULL};
}

static int read_layers(const json_t *layers, struct manifest *manifest, kiln_error *err)
{
	const json_t *item;
	size_t i;
	int r;

	if (!json_is_array(layers))
		return kiln__fail(err, KILN_EFORMAT, "its manifest has no list of layers");
	if (json_array_size(layers) > MAX_LAYERS)
		return kiln__fail(err, KILN_EOVERFLOW, "it has %zu layers, more than %d",
				  json_array_size(layers), MAX_LAYERS);
	manifest->layers = calloc(json_array_size(layers) + 1, sizeof(*manifest->layers));
	if (!manifest->layers)
		return kiln__fail_nomem(err);
	json_array_foreach (layers, i, item) {
		r = read_descriptor(item, "a layer", LAYER_MAX, &manifest->layers[i], err);
		if (r == 0)
			r = check_layer(&manifest->layers[i], err);
		if (r < 0)
			return r;
		manifest->layer_count++;
	}
	return 0;
}

int manifest_parse(const char *text, size_t len, const char *media_type, struct manifest *ret,
		   kiln_error *err)
{
	struct manifest manifest = {.layers = NULL};
	autojson *object = NULL;
	const char *type;
	int r = load(text, len, "manifest", &object, err);

	if (r == 0)
		r = kind_of(object, media_type, err);
	if (r > 0)
		return kiln__fail(err, KILN_EFORMAT, "its index leads to another index");
	if (r < 0)
		return r;
	type = text_at(object, "mediaType");
	snprintf(manifest.media_type, sizeof(manifest.media_type), "%.95s",
		 type                                                 ? type
		 : media_type && !strcmp(media_type, MANIFEST_DOCKER) ? MANIFEST_DOCKER
								      : MANIFEST_OCI);
	r = read_descriptor(json_object_get(object, "config"), "its configuration", CONFIG_MAX,
			    &manifest.config, err);
	if (r == 0 && strcmp(manifest.config.media_type, CONFIG_OCI) &&
	    strcmp(manifest.config.media_type, "application/vnd.docker.container.image.v1+json")) {
		r = kiln__fail(err, KILN_ENOTSUP,
			       "it is no image of a file system, but has \"%.90s\"",
			       manifest.config.media_type);
	}
	if (r == 0)
		r = read_layers(json_object_get(object, "layers"), &manifest, err);
	if (r < 0) {
		manifest_done(&manifest);
		return r;
	}
	*ret = manifest;
	return 0;
}

/* --- configurations --------------------------------------------------------------------------- */

/* A list of strings, or nothing where it is absent or null. */
static int copy_strings(const json_t *from, const char *what, json_t *to, const char *key,
			kiln_error *err)
{
	const json_t *item;
	json_t *list;
	size_t i;

	if (!from || json_is_null(from))
		return 0;
	if (!json_is_array(from) || json_array_size(from) > MAX_LIST)
		return kiln__fail(err, KILN_EFORMAT, "its configuration's %s is no list of texts",
				  what);
	list = json_array();
	json_array_foreach (from, i, item) {
		if (!json_is_string(item) || json_string_length(item) > MAX_TEXT ||
		    strlen(json_string_value(item)) != json_string_length(item)) {
			json_decref(list);
			return kiln__fail(err, KILN_EFORMAT,
					  "its configuration's %s has something that is no text",
					  what);
		}
		json_array_append_new(list, json_string(json_string_value(item)));
	}
	return json_object_set_new(to, key, list) ? kiln__fail_nomem(err) : 0;
}

static int copy_string(const json_t *from, const char *what, json_t *to, const char *key,
		       kiln_error *err)
{
	if (!from || json_is_null(from) || (json_is_string(from) && !json_string_length(from)))
		return 0;
	if (!json_is_string(from) || json_string_length(from) > MAX_TEXT ||
	    strlen(json_string_value(from)) != json_string_length(from))
		return kiln__fail(err, KILN_EFORMAT, "its configuration's %s is no text", what);
	return json_object_set_new(to, key, json_string(json_string_value(from)))
		       ? kiln__fail_nomem(err)
		       : 0;
}

/* The names of an object whose values are empty: ports, volumes. */
static int copy_names(const json_t *from, const char *what, json_t *to, const char *key,
		      kiln_error *err)
{
	json_t *list;
	const char *name;
	json_t *value;

	if (!from || json_is_null(from))
		return 0;
	if (!json_is_object(from) || json_object_size(from) > MAX_LIST)
		return kiln__fail(err, KILN_EFORMAT, "its configuration's %s is no object", what);
	list = json_array();
	json_object_foreach ((json_t *)from, name, value)
		json_array_append_new(list, json_string(name));
	return json_object_set_new(to, key, list) ? kiln__fail_nomem(err) : 0;
}

static int copy_labels(const json_t *from, json_t *to, kiln_error *err)
{
	const char *name;
	json_t *value;
	json_t *labels;

	if (!from || json_is_null(from))
		return 0;
	if (!json_is_object(from) || json_object_size(from) > MAX_LIST)
		return kiln__fail(err, KILN_EFORMAT, "its configuration's Labels are no object");
	labels = json_object();
	json_object_foreach ((json_t *)from, name, value)
		if (json_is_string(value))
			json_object_set(labels, name, value);
	return json_object_set_new(to, "labels", labels) ? kiln__fail_nomem(err) : 0;
}

static int describe_process(const json_t *config, json_t *to, kiln_error *err)
{
	const json_t *health = json_object_get(config, "Healthcheck");
	int r;

	if (config && !json_is_null(config) && !json_is_object(config))
		return kiln__fail(err, KILN_EFORMAT, "its configuration's config is no object");
	r = copy_strings(json_object_get(config, "Entrypoint"), "Entrypoint", to, "entrypoint",
			 err);
	if (r == 0)
		r = copy_strings(json_object_get(config, "Cmd"), "Cmd", to, "cmd", err);
	if (r == 0)
		r = copy_strings(json_object_get(config, "Env"), "Env", to, "env", err);
	if (r == 0)
		r = copy_string(json_object_get(config, "User"), "User", to, "user", err);
	if (r == 0)
		r = copy_string(json_object_get(config, "WorkingDir"), "WorkingDir", to, "cwd",
				err);
	if (r == 0)
		r = copy_string(json_object_get(config, "StopSignal"), "StopSignal", to,
				"stop_signal", err);
	if (r == 0)
		r = copy_names(json_object_get(config, "ExposedPorts"), "ExposedPorts", to, "ports",
			       err);
	if (r == 0)
		r = copy_names(json_object_get(config, "Volumes"), "Volumes", to, "volumes", err);
	if (r == 0)
		r = copy_labels(json_object_get(config, "Labels"), to, err);
	if (r == 0 && json_is_object(health))
		r = json_object_set(to, "healthcheck", (json_t *)health) ? kiln__fail_nomem(err)
									 : 0;
	return r;
}

static int describe_history(const json_t *history, json_t *to, kiln_error *err)
{
	static const char *const keys[] = {"created", "created_by", "comment"};
	json_t *list = json_array();
	const json_t *item;
	size_t i;

	if (json_array_size(history) > MAX_LIST) {
		json_decref(list);
		return kiln__fail(err, KILN_EOVERFLOW, "its history has more than %d steps",
				  MAX_LIST);
	}
	json_array_foreach (history, i, item) {
		json_t *step = json_object();

		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			if (text_at(item, keys[k]))
				json_object_set(step, keys[k], json_object_get(item, keys[k]));
		json_object_set_new(
			step, "empty",
			json_boolean(json_is_true(json_object_get(item, "empty_layer"))));
		json_array_append_new(list, step);
	}
	return json_object_set_new(to, "history", list) ? kiln__fail_nomem(err) : 0;
}

/* OCI image-spec, config.md: ChainID(L0..Ln) = Digest(ChainID(L0..Ln-1) + " " + DiffID(Ln)). */
static int add_chain(const json_t *rootfs, size_t layers, json_t *to, kiln_error *err)
{
	const json_t *ids = json_object_get(rootfs, "diff_ids"), *item;
	char chain[SHA256_TEXT] = "";
	char both[2 * SHA256_TEXT];
	size_t i;
	int r;

	if (!json_is_array(ids) || json_array_size(ids) != layers)
		return kiln__fail(err, KILN_EFORMAT,
				  "its configuration names %zu layers, its manifest %zu",
				  json_array_size(ids), layers);
	json_array_foreach (ids, i, item) {
		if (!kiln__is_sha256(json_string_value(item)))
			return kiln__fail(
				err, KILN_EFORMAT,
				"its configuration's diff_ids have no digest of SHA-256 at %zu", i);
		if (i == 0) {
			memcpy(chain, json_string_value(item), SHA256_TEXT);
			continue;
		}
		snprintf(both, sizeof(both), "%s %s", chain, json_string_value(item));
		r = sha256_of(both, strlen(both), chain, err);
		if (r < 0)
			return r;
	}
	if (!layers) {
		r = sha256_of("", 0, chain, err);
		if (r < 0)
			return r;
	}
	return json_object_set(to, "diff_ids", (json_t *)ids) ||
			       json_object_set_new(to, "chain", json_string(chain))
		       ? kiln__fail_nomem(err)
		       : 0;
}

static int check_platform(const json_t *config, const char *arch, json_t *to, kiln_error *err)
{
	const char *os = text_at(config, "os");
	const char *found = text_at(config, "architecture");

	if (os && strcmp(os, "linux"))
		return kiln__fail(err, KILN_ENOTSUP, "it is an image for \"%.40s\", not for Linux",
				  os);
	if (arch && found && *found && strcmp(found, kiln__arch_of_images(arch)))
		return kiln__fail(err, KILN_ENOENT, "it is an image for %.40s, not for %s", found,
				  kiln__arch_of_images(arch));
	return json_object_set_new(to, "arch", json_string(found ? found : ""))
		       ? kiln__fail_nomem(err)
		       : 0;
}

int manifest_describe(const struct descriptor *self, const struct manifest *manifest,
		      const char *config, size_t config_len, const char *arch, json_t **ret,
		      kiln_error *err)
{
	autojson *parsed = NULL;
	autojson *object = json_object();
	json_t *layers = json_array();
	json_t *process = json_object();
	int r = load(config, config_len, "configuration", &parsed, err);

	for (size_t i = 0; i < manifest->layer_count; i++)
		json_array_append_new(layers, descriptor_json(&manifest->layers[i]));
	json_object_set_new(object, "manifest", descriptor_json(self));
	json_object_set_new(object, "config", descriptor_json(&manifest->config));
	json_object_set_new(object, "layers", layers);
	json_object_set_new(object, "process", process);
	if (r == 0)
		r = check_platform(parsed, arch, object, err);
	if (r == 0)
		r = add_chain(json_object_get(parsed, "rootfs"), manifest->layer_count, object,
			      err);
	if (r == 0)
		r = copy_string(json_object_get(parsed, "created"), "created", object, "created",
				err);
	if (r == 0)
		r = describe_process(json_object_get(parsed, "config"), process, err);
	if (r == 0)
		r = describe_history(json_object_get(parsed, "history"), object, err);
	if (r < 0)
		return r;
	*ret = kiln__take(object);
	return 0;
}
