/* SPDX-License-Identifier: Apache-2.0 */
/* What docker save writes: a list of images, each a configuration and layers. */
#include "blob.h"
#include "layer.h"
#include "load.h"

#include "err.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

static int choose_from_list(const json_t *list, const char *wanted, const json_t **ret,
			    kiln_error *err)
{
	const json_t *item, *tag;
	size_t i, k;

	json_array_foreach (list, i, item)
		json_array_foreach (json_object_get(item, "RepoTags"), k, tag)
			if (wanted && json_string_value(tag) &&
			    !strcmp(json_string_value(tag), wanted)) {
				*ret = item;
				return 0;
			}
	if (wanted)
		return kiln__fail(err, KILN_ENOENT, "it has no image '%.100s'", wanted);
	if (json_array_size(list) != 1) {
		kiln__fail(err, KILN_EINVAL, "it has %zu images", json_array_size(list));
		kiln__hint(err, "name one of them: docker-archive:PATH:NAME");
		return KILN_EINVAL;
	}
	*ret = json_array_get(list, 0);
	return 0;
}

/* What a layer's blob is, by its first bytes. */
static int sniff(struct loading *loading, struct descriptor *layer, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	char bytes[LAYER_HEAD] = {0};
	int r = blob_open(loading->request->output_dir, layer->digest, &fd, err);
	ssize_t got = r < 0 ? r : kiln__os_pread_full(fd, bytes, sizeof(bytes), 0, err);

	if (got < 0)
		return (int)got;
	r = layer_check_compression(bytes, (size_t)got, err);
	if (r < 0) {
		kiln__prefix(err, "the layer %s", layer->digest);
		return r;
	}
	strcpy(layer->media_type, !memcmp(bytes, "\x1f\x8b", 2)           ? LAYER_GZIP
				  : !memcmp(bytes, "\x28\xb5\x2f\xfd", 4) ? LAYER_ZSTD
									  : LAYER_TAR);
	return 0;
}

int load_docker(struct loading *loading, json_t **ret, kiln_error *err)
{
	struct descriptor layers[MAX_LAYERS];
	struct descriptor config;
	autojson *list = NULL;
	const json_t *item = NULL, *names, *name;
	const char *tag, *path;
	size_t i;
	int r = load_read_json(loading, "manifest.json", &list, err);

	if (r == 0)
		r = choose_from_list(list, loading->request->names[1], &item, err);
	if (r < 0)
		return r;
	names = json_object_get(item, "Layers");
	path = json_string_value(json_object_get(item, "Config"));
	tag = json_string_value(json_array_get(json_object_get(item, "RepoTags"), 0));
	if (!path || json_array_size(names) > MAX_LAYERS)
		return kiln__fail(err, KILN_EFORMAT, "its manifest.json is damaged");
	loading->name = tag ? strdup(tag) : NULL;
	r = load_take_in(loading, path, &config, err);
	strcpy(config.media_type, CONFIG_OCI);
	json_array_foreach (names, i, name) {
		if (r == 0 && !json_is_string(name))
			r = kiln__fail(err, KILN_EFORMAT, "its manifest.json is damaged");
		if (r == 0)
			r = load_take_in(loading, json_string_value(name), &layers[i], err);
		if (r == 0)
			r = sniff(loading, &layers[i], err);
	}
	return r < 0 ? r : load_made(loading, &config, layers, json_array_size(names), ret, err);
}
