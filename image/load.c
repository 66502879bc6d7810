/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of directories and archives into the store's directory of blobs.
 *
 * An archive is read once, as it streams in: every file of it goes to the store under its own
 * digest, and what it was called is remembered with it. Then the documents among them are looked
 * for by name, and lead from one to the next by digest. What was taken in and is not part of the
 * image is left for the store's collector, or taken away by who started this if it fails. Whatever
 * a name in an archive says, it names nothing here but itself.
 *
 *   oci-archive     oci-layout, index.json, blobs/sha256/HEX
 *   docker-archive  manifest.json, and what that names: a configuration, layers (links among them)
 *   oci, dir        directories; the files are asked for by name then
 *   tar             one layer, of which an image is made
 */
#include "load.h"
#include "report.h"

#include "err.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

static int load(struct loading *loading, json_t **ret, kiln_error *err)
{
	const char *kind = loading->request->names[0];
	int r;

	if (!strcmp(kind, "tar"))
		return load_tar(loading, ret, err);
	if (!strcmp(kind, "dir"))
		return load_manifest(loading, "manifest.json", NULL, 0, ret, err);
	if (!strcmp(kind, "oci"))
		return load_layout(loading, ret, err);
	r = load_take_archive(loading, err);
	if (r < 0)
		return r;
	/* Docker's newer archives are both: its own list has the names. */
	if (!strcmp(kind, "docker-archive") ||
	    (strcmp(kind, "oci-archive") && json_object_get(loading->files, "manifest.json")))
		return load_docker(loading, ret, err);
	return load_layout(loading, ret, err);
}

int command_load(const struct request *request, kiln_error *err)
{
	struct loading loading = {.request = request, .files = json_object()};
	json_t *result = NULL;
	int r;

	if (request->output_dir == KILN_FD_NONE || !request->names[0] ||
	    (request->dir != KILN_FD_NONE) == (request->input_count == 1)) {
		json_decref(loading.files);
		return kiln__fail(err, KILN_EINVAL,
				  "load needs --output-dir, one of --input and --dir, and a kind");
	}
	r = loading.files ? load(&loading, &result, err) : kiln__fail_nomem(err);
	/* What the store's index comes to name is there after a power cut. */
	if (r == 0)
		r = kiln__os_sync(request->output_dir, err);
	if (r < 0)
		kiln__prefix(err, "%s", request->name);
	json_decref(loading.files);
	free(loading.name);
	if (r < 0) {
		json_decref(result);
		return r;
	}
	return report_result(result, err);
}
