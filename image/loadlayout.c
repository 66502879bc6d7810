/* SPDX-License-Identifier: Apache-2.0 */
/* OCI layouts (image-spec, image-layout.md): which of the images that index.json names. */
#include "load.h"

#include "err.h"
#include "reference.h"

#include <stdlib.h>
#include <string.h>

static const char *annotation(const json_t *item, const char *key)
{
	return json_string_value(json_object_get(json_object_get(item, "annotations"), key));
}

static const char *name_of(const json_t *item)
{
	return annotation(item, "org.opencontainers.image.ref.name");
}

static int choose_from_index(const json_t *manifests, const char *wanted, const json_t **ret,
			     kiln_error *err)
{
	const json_t *item;
	size_t i;

	json_array_foreach (manifests, i, item)
		if (wanted && name_of(item) && !strcmp(name_of(item), wanted)) {
			*ret = item;
			return 0;
		}
	if (wanted)
		return kiln__fail(err, KILN_ENOENT, "it has no image '%.100s'", wanted);
	if (json_array_size(manifests) != 1) {
		kiln__fail(err, KILN_EINVAL, "it has %zu images", json_array_size(manifests));
		kiln__hint(err, "name one of them: KIND:PATH:NAME");
		return KILN_EINVAL;
	}
	*ret = json_array_get(manifests, 0);
	return 0;
}

int load_layout(struct loading *loading, json_t **ret, kiln_error *err)
{
	autojson *index = NULL;
	kiln__autofree char *path = NULL;
	const json_t *item = NULL;
	const char *digest, *found;
	int r = load_read_json(loading, "index.json", &index, err);

	if (r == 0)
		r = choose_from_index(json_object_get(index, "manifests"),
				      loading->request->names[1], &item, err);
	if (r < 0)
		return r;
	digest = json_string_value(json_object_get(item, "digest"));
	if (!kiln__is_sha256(digest))
		return kiln__fail(err, KILN_EFORMAT, "its index has no digest of SHA-256");
	/* containerd and docker write the whole name beside the tag. */
	found = annotation(item, "io.containerd.image.name");
	if (!found)
		found = name_of(item);
	loading->name = found ? strdup(found) : NULL;
	path = load_blob_path(loading, digest);
	return path ? load_manifest(loading, path,
				    json_string_value(json_object_get(item, "mediaType")), 0, ret,
				    err)
		    : kiln__fail_nomem(err);
}
