/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of an image that lies in the store, as one squashfs.
 *
 * Twice through the layers. First from the lowest up, headers only: this applies them in their
 * order (plan.c), verifies each DiffID, and ends with the tree as it will be and, for each file of
 * it, the one entry that has its contents. Then from the top down, a layer at a time: exactly those
 * entries are read into the image, and a layer that has none of them is not even opened. So each
 * file's data is written once, nothing dead is written, and nothing of a layer but its names is
 * ever held in memory or in a file; hard links that lead from one layer into another need no care
 * of their own.
 *
 * What the second reading gives is what the first one verified or it is nothing: it is digested to
 * its end, too, and an image whose layer has another DiffID then is not finished.
 */
#include "blob.h"
#include "layer.h"
#include "manifest.h"
#include "plan.h"
#include "program.h"
#include "report.h"

#include "cleanup.h"
#include "err.h"
#include "os.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct layers {
	const struct request *request;
	struct manifest manifest;
	json_t *described;
	struct making making;
	uint64_t unpacked; /* bytes of all layers */
};

static int at_layer(const struct layers *layers, size_t index, int r, kiln_error *err)
{
	if (r < 0 && r != KILN_ENOMEM && r != KILN_ENOSPC)
		kiln__prefix(err, "%s: layer %zu of %zu (%s)", layers->request->name, index + 1,
			     layers->manifest.layer_count, layers->manifest.layers[index].digest);
	return r;
}

/* --- the first time -------------------------------------------------------------------------- */

/* What the layer unpacks to, by the image's configuration; NULL where that has nothing. */
static const char *diff_id(const struct layers *layers, size_t index)
{
	const json_t *ids = json_object_get(layers->described, "diff_ids");

	return json_string_value(json_array_get(ids, index));
}

static int scan(struct layers *layers, struct layer *layer, size_t index, kiln_error *err)
{
	const char *wanted = diff_id(layers, index);
	struct plan plan = {.making = &layers->making, .layer = (uint8_t)index};
	struct archive_entry *entry;
	char digest[SHA256_TEXT];
	int r;

	while ((r = layer_next(layer, &entry, err)) > 0) {
		r = plan_entry(&plan, entry, err);
		if (r < 0)
			return r;
		if (++plan.position > layers->request->max_entries)
			return kiln__fail(err, KILN_EOVERFLOW,
					  "it has more than %" PRIu64 " entries",
					  layers->request->max_entries);
	}
	if (r == 0)
		r = layer_finish(layer, digest, err);
	if (r == 0 && (!wanted || strcmp(digest, wanted)))
		r = kiln__fail(err, KILN_EFORMAT,
			       "it unpacks to %s, the image's configuration says %s", digest,
			       wanted ? wanted : "nothing");
	layers->unpacked += layer->bytes;
	return r;
}

static int scan_layer(struct layers *layers, size_t index, kiln_error *err)
{
	const char *digest = layers->manifest.layers[index].digest;
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct layer layer = {.fd = KILN_FD_NONE};
	int r = blob_open(layers->request->dir, digest, &fd, err);

	if (r < 0)
		return r;
	r = layer_open(&layer, fd, digest, layers->request->max_bytes - layers->unpacked, err);
	if (r == 0)
		r = scan(layers, &layer, index, err);
	layer_close(&layer);
	return at_layer(layers, index, r, err);
}

/* --- the second time ------------------------------------------------------------------------- */

static int copy_entry(struct layers *layers, struct layer *layer, struct archive_entry *entry,
		      struct inode *inode, kiln_error *err)
{
	const char *path = archive_entry_pathname(entry);
	int r;

	if (!path || archive_entry_filetype(entry) != (inode->mode & AE_IFMT) ||
	    (uint64_t)archive_entry_size(entry) !=
		    inode->size * (archive_entry_filetype(entry) == AE_IFREG))
		return kiln__fail(err, KILN_EBUSY, "it changed while it was read");
	r = root_copy_xattrs(&layers->making, entry, path, inode, err);
	if (r == 0 && archive_entry_filetype(entry) == AE_IFREG)
		r = root_copy_file(&layers->making, layer->tar, entry, path, inode, err);
	return r;
}

/* To its end, whatever of it is wanted: only the whole has a digest. */
static int verify_again(const struct layers *layers, struct layer *layer, size_t index,
			kiln_error *err)
{
	const char *wanted = diff_id(layers, index);
	char digest[SHA256_TEXT];
	int r = layer_finish(layer, digest, err);

	if (r == 0 && (!wanted || strcmp(digest, wanted) != 0))
		r = kiln__fail(err, KILN_EBUSY,
			       "it changed while it was read: it unpacks to %s now", digest);
	return r;
}

static int copy(struct layers *layers, struct layer *layer, struct inode *const *wanted,
		kiln_error *err)
{
	struct archive_entry *entry;
	int r = 0;

	for (uint32_t position = 0; *wanted; position++) {
		r = layer_next(layer, &entry, err);
		if (r == 0)
			return kiln__fail(err, KILN_EBUSY, "it changed while it was read");
		if (r < 0)
			return r;
		if (position != (*wanted)->position)
			continue;
		r = copy_entry(layers, layer, entry, *wanted++, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_layer(struct layers *layers, size_t index, kiln_error *err)
{
	const char *digest = layers->manifest.layers[index].digest;
	struct plan plan = {.making = &layers->making};
	kiln__autofree struct inode **wanted = NULL;
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct layer layer = {.fd = KILN_FD_NONE};
	int r = plan_wanted(&plan, (uint8_t)index, &wanted, err);

	if (r < 0 || !*wanted)
		return r;
	r = blob_open(layers->request->dir, digest, &fd, err);
	if (r < 0)
		return r;
	r = layer_open(&layer, fd, digest, layers->request->max_bytes, err);
	if (r == 0)
		r = copy(layers, &layer, wanted, err);
	if (r == 0)
		r = verify_again(layers, &layer, index, err);
	layer_close(&layer);
	return at_layer(layers, index, r, err);
}

/* --- the whole ------------------------------------------------------------------------------- */

static int load_image(struct layers *layers, kiln_error *err)
{
	const struct request *request = layers->request;
	struct descriptor self = {.size = 0};
	kiln__autofree char *text = NULL;
	kiln__autofree char *config = NULL;
	size_t len, config_len;
	int r = blob_read(request->dir, request->names[0], MANIFEST_MAX, &text, &len, err);

	if (r == 0)
		r = manifest_parse(text, len, NULL, &layers->manifest, err);
	if (r == 0)
		r = blob_read(request->dir, layers->manifest.config.digest, CONFIG_MAX, &config,
			      &config_len, err);
	if (r == 0)
		r = manifest_describe(&self, &layers->manifest, config, config_len, NULL,
				      &layers->described, err);
	if (r < 0)
		kiln__prefix(err, "%s", request->name);
	return r;
}

static int make(struct layers *layers, uint64_t *ret_size, kiln_error *err)
{
	size_t count = layers->manifest.layer_count;
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = scan_layer(layers, i, err);
	for (size_t i = count; r == 0 && i-- > 0;)
		r = copy_layer(layers, i, err);
	return r < 0 ? r
		     : squash_finish(layers->making.squash, &layers->making.tree, ret_size, err);
}

int command_layers(const struct request *request, kiln_error *err)
{
	struct layers layers = {
		.request = request,
		.making = {.name = request->name, .max_bytes = request->max_bytes, .layered = true},
	};
	uint64_t size = 0;
	size_t entries;
	int r;

	if (request->output == KILN_FD_NONE || request->dir == KILN_FD_NONE || !request->names[0])
		return kiln__fail(err, KILN_EINVAL, "layers needs --dir, --output and a digest");
	r = tree_init(&layers.making.tree, request->max_entries, err);
	if (r == 0)
		r = load_image(&layers, err);
	if (r == 0)
		r = squash_new(&layers.making.squash, request->output, &request->squash, err);
	if (r == 0)
		r = make(&layers, &size, err);
	squash_free(layers.making.squash);
	entries = layers.making.tree.entry_count;
	tree_done(&layers.making.tree);
	manifest_done(&layers.manifest);
	json_decref(layers.described);
	if (r == KILN_ENOMEM)
		kiln__hint(err, "an image's root is made in less than 200 MiB: its names, its "
				"attributes and what its layers are unpacked with");
	if (r < 0)
		return r;
	return report_result(json_pack("{s:I, s:I, s:I, s:o}", "size", (json_int_t)size, "entries",
				       (json_int_t)entries, "bytes",
				       (json_int_t)layers.making.bytes, "notes",
				       root_notes(&layers.making)),
			     err);
}
