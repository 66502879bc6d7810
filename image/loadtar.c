/* SPDX-License-Identifier: Apache-2.0 */
/* A root as an image of one layer, with a configuration that says no more than that. */
#include "arch.h"
#include "blob.h"
#include "layer.h"
#include "load.h"

#include "err.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

/* What the layer unpacks to; that it is an archive which can be read to its end is found out by
 * that. */
static int diff_id(struct loading *loading, const struct descriptor *blob, char ret[SHA256_TEXT],
		   const char **ret_type, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct layer layer = {.fd = KILN_FD_NONE};
	struct archive_entry *entry;
	int r = blob_open(loading->request->output_dir, blob->digest, &fd, err);

	if (r < 0)
		return r;
	r = layer_open(&layer, fd, loading->request->name, loading->request->max_bytes, err);
	if (r == 0)
		do
			r = layer_next(&layer, &entry, err);
		while (r > 0);
	if (r == 0)
		r = layer_finish(&layer, ret, err);
	if (r == 0)
		*ret_type = layer_media_type(&layer);
	layer_close(&layer);
	return r;
}

int load_tar(struct loading *loading, json_t **ret, kiln_error *err)
{
	struct descriptor layer = {.size = 0};
	struct descriptor config = {.size = 0};
	kiln__autofree char *text = NULL;
	char id[SHA256_TEXT];
	const char *type = NULL;
	autojson *object = NULL;
	int r = load_copy_fd(loading, loading->request->inputs[0], &layer, err);

	if (r == 0)
		r = diff_id(loading, &layer, id, &type, err);
	if (r < 0)
		return r;
	strcpy(layer.media_type, type);
	object = json_pack("{s:s, s:s, s:{}, s:{s:s, s:[s]}}", "architecture",
			   kiln__arch_of_images(loading->request->arch), "os", "linux", "config",
			   "rootfs", "type", "layers", "diff_ids", id);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	if (!text)
		return kiln__fail_nomem(err);
	config.size = strlen(text);
	strcpy(config.media_type, CONFIG_OCI);
	r = blob_put(loading->request->output_dir, text, strlen(text), config.digest, err);
	return r < 0 ? r : load_made(loading, &config, &layer, 1, ret, err);
}
