/* SPDX-License-Identifier: Apache-2.0 */
#include "root.h"
#include "program.h"
#include "report.h"

#include "cleanup.h"
#include "err.h"

#include <inttypes.h>
#include <stdlib.h>

int root_device(const char *path, uint64_t major, uint64_t minor, uint32_t *ret, kiln_error *err)
{
	if (major > 0xfff || minor > 0xfffff)
		return kiln__fail(err, KILN_EFORMAT,
				  "the device '%.200s' has impossible numbers %" PRIu64 ":%" PRIu64,
				  path, major, minor);
	/* new_encode_dev() of Linux */
	*ret = (uint32_t)((minor & 0xff) | major << 8 | (minor & ~0xffull) << 12);
	return 0;
}

int root_count(struct making *making, const char *path, uint64_t len, kiln_error *err)
{
	if (len > making->max_bytes - making->bytes)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "the contents up to '%.200s' are more than %" PRIu64 " MiB", path,
				  making->max_bytes >> 20);
	making->bytes += len;
	return 0;
}

int root_append_hole(struct making *making, uint64_t len, kiln_error *err)
{
	static const char zero[65536];

	while (len) {
		size_t part = len < sizeof(zero) ? (size_t)len : sizeof(zero);
		int rc = squash_append(making->squash, zero, part, err);

		if (rc)
			return rc;
		len -= part;
	}
	return 0;
}

uint32_t root_time(int64_t seconds)
{
	if (seconds < 0)
		return 0;
	return seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

json_t *root_notes(const struct making *making)
{
	json_t *array = json_array();

	if (making->sockets)
		json_array_append_new(array,
				      json_sprintf("%u sockets were left out", making->sockets));
	if (making->xattrs)
		json_array_append_new(
			array, json_sprintf("%u extended attributes outside user.*, trusted.* "
					    "and security.* were left out",
					    making->xattrs));
	if (making->acls)
		json_array_append_new(
			array, json_sprintf("the access control lists of %u entries were left out",
					    making->acls));
	return array;
}

static int gather(struct making *making, const struct request *request,
		  char digest[KILN__DIGEST_HEX], kiln_error *err)
{
	struct input input;
	int rc;

	digest[0] = '\0';
	if (request->dir != KILN_FD_NONE)
		return root_from_dir(making, request->dir, err);
	input_init(&input, request->inputs[0], request->name);
	rc = root_from_tar(making, &input, err);
	if (!rc)
		rc = input_finish(&input, digest, err);
	input_done(&input);
	return rc;
}

int command_root(const struct request *request, kiln_error *err)
{
	struct making making = {.name = request->name, .max_bytes = request->max_bytes};
	char digest[KILN__DIGEST_HEX];
	uint64_t size = 0;
	size_t entries;
	int rc;

	if (request->output == KILN_FD_NONE ||
	    (request->dir != KILN_FD_NONE) == (request->input_count == 1))
		return kiln__fail(err, KILN_EINVAL,
				  "root needs --output and one of --input and --dir");
	rc = tree_init(&making.tree, request->max_entries, err);
	if (rc)
		return rc;
	rc = squash_new(&making.squash, request->output, &request->squash, err);
	if (!rc)
		rc = gather(&making, request, digest, err);
	if (!rc)
		rc = squash_finish(making.squash, &making.tree, &size, err);
	/* The tree's inodes are libsquashfs's until its workers are gone. */
	squash_free(making.squash);
	entries = making.tree.entry_count;
	tree_done(&making.tree);
	if (rc)
		return rc;
	return report_result(json_pack("{s:I, s:I, s:I, s:s, s:o}", "size", (json_int_t)size,
				       "entries", (json_int_t)entries, "bytes",
				       (json_int_t)making.bytes, "digest", digest, "notes",
				       root_notes(&making)),
			     err);
}
