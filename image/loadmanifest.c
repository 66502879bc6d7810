/* SPDX-License-Identifier: Apache-2.0 */
/* From a manifest on: the blobs that it promises, which must be there and be those. */
#include "blob.h"
#include "load.h"

#include "buf.h"
#include "err.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

char *load_blob_path(const struct loading *loading, const char *digest)
{
	return kiln__strf(!strcmp(loading->request->names[0], "dir") ? "%s" : "blobs/sha256/%s",
			  digest + 7);
}

/* The blob that a document promises: it must be there, and be that. */
static int take_blob(struct loading *loading, const struct descriptor *promised, kiln_error *err)
{
	kiln__autofree char *path = load_blob_path(loading, promised->digest);
	struct descriptor found;
	int r;

	if (blob_present(loading->request->output_dir, promised->digest, promised->size))
		return 0;
	r = path ? load_take_in(loading, path, &found, err) : kiln__fail_nomem(err);
	if (r == 0 && (strcmp(found.digest, promised->digest) || found.size != promised->size))
		r = kiln__fail(err, KILN_EFORMAT,
			       "its file '%s' has the digest %s and %" PRIu64
			       " bytes, where %s and "
			       "%" PRIu64 " were promised",
			       path, found.digest, found.size, promised->digest, promised->size);
	return r;
}

static int finish(struct loading *loading, const struct descriptor *self,
		  const struct manifest *manifest, json_t **ret, kiln_error *err)
{
	kiln__autofree char *config = NULL;
	size_t len;
	int r = take_blob(loading, &manifest->config, err);

	for (size_t i = 0; r == 0 && i < manifest->layer_count; i++)
		r = take_blob(loading, &manifest->layers[i], err);
	if (r == 0)
		r = blob_read(loading->request->output_dir, manifest->config.digest, CONFIG_MAX,
			      &config, &len, err);
	if (r == 0)
		r = manifest_describe(self, manifest, config, len, loading->request->arch, ret,
				      err);
	if (r == 0 && loading->name)
		json_object_set_new(*ret, "name", json_string(loading->name));
	return r;
}

int load_manifest(struct loading *loading, const char *path, const char *media_type, unsigned depth,
		  json_t **ret, kiln_error *err)
{
	struct manifest manifest = {.layers = NULL};
	kiln__autofree char *text = NULL;
	kiln__autofree char *next = NULL;
	struct descriptor self, chosen;
	size_t len;
	int r = load_read_document(loading, path, MANIFEST_MAX, &text, &len, &self, err);

	if (r == 0)
		r = manifest_kind(text, len, media_type, err);
	if (r > 0 && depth > 2)
		return kiln__fail(err, KILN_EFORMAT, "its indexes lead to each other");
	if (r > 0) {
		r = manifest_choose(text, len, loading->request->arch, &chosen, err);
		next = r == 0 ? load_blob_path(loading, chosen.digest) : NULL;
		return r < 0 ? r
			     : load_manifest(loading, next, chosen.media_type, depth + 1, ret, err);
	}
	if (r == 0)
		r = manifest_parse(text, len, media_type, &manifest, err);
	if (r < 0)
		return r;
	strcpy(self.media_type, manifest.media_type);
	r = finish(loading, &self, &manifest, ret, err);
	manifest_done(&manifest);
	return r;
}

int load_made(struct loading *loading, const struct descriptor *config,
	      const struct descriptor *layers, size_t count, json_t **ret, kiln_error *err)
{
	struct manifest manifest = {.layers = NULL};
	struct descriptor self = {.size = 0};
	json_t *list = json_array();
	autojson *object = NULL;
	kiln__autofree char *text = NULL;
	int r = 0;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, descriptor_json(&layers[i]));
	object = json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType", MANIFEST_OCI,
			   "config", descriptor_json(config), "layers", list);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	if (!text)
		return kiln__fail_nomem(err);
	self.size = strlen(text);
	strcpy(self.media_type, MANIFEST_OCI);
	r = blob_put(loading->request->output_dir, text, strlen(text), self.digest, err);
	if (r == 0)
		r = manifest_parse(text, strlen(text), NULL, &manifest, err);
	if (r == 0)
		r = finish(loading, &self, &manifest, ret, err);
	manifest_done(&manifest);
	return r;
}
