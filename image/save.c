/* SPDX-License-Identifier: Apache-2.0 */
/* An image of the store as an OCI archive: a tar archive of a layout that has nothing else in it.
 */
#include "blob.h"
#include "input.h"
#include "manifest.h"
#include "program.h"
#include "report.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

struct saving {
	const struct request *request;
	struct archive *archive;
	kiln_error err;
	json_t *done; /* digests that are written: a layer may be there twice */
};

static ssize_t write_out(struct archive *archive, void *data, const void *bytes, size_t len)
{
	struct saving *saving = data;

	if (output_write(saving->request->output, bytes, len, &saving->err) < 0) {
		archive_set_error(archive, 5, "%s", saving->err.message);
		return -1;
	}
	return (ssize_t)len;
}

static int failed(const struct saving *saving, kiln_error *err)
{
	if (saving->err.code) {
		*err = saving->err;
		return err->code;
	}
	return kiln__fail(err, KILN_EIO, "cannot write the archive: %s",
			  archive_error_string(saving->archive));
}

static int begin(struct saving *saving, const char *path, uint64_t size, kiln_error *err)
{
	struct archive_entry *entry = archive_entry_new();
	int rc;

	if (!entry)
		return kiln__fail_nomem(err);
	archive_entry_set_pathname(entry, path);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_size(entry, (int64_t)size);
	rc = archive_write_header(saving->archive, entry);
	archive_entry_free(entry);
	return rc == ARCHIVE_OK ? 0 : failed(saving, err);
}

static int add_text(struct saving *saving, const char *path, const char *text, kiln_error *err)
{
	int r = begin(saving, path, strlen(text), err);

	if (r == 0 && archive_write_data(saving->archive, text, strlen(text)) < 0)
		r = failed(saving, err);
	return r;
}

static int add_blob(struct saving *saving, const struct descriptor *blob, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("blobs/sha256/%s", blob->digest + 7);
	kiln__autofree uint8_t *bytes = malloc(1u << 18);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	ssize_t got = 0;
	int r;

	if (json_object_get(saving->done, blob->digest))
		return 0;
	if (!path || !bytes || json_object_set_new(saving->done, blob->digest, json_true()))
		return kiln__fail_nomem(err);
	r = blob_open(saving->request->dir, blob->digest, &fd, err);
	if (r == 0)
		r = begin(saving, path, blob->size, err);
	while (r == 0 && (got = kiln__os_read(fd, bytes, 1u << 18)) > 0)
		if (archive_write_data(saving->archive, bytes, (size_t)got) != got)
			r = failed(saving, err);
	return r == 0 && got < 0 ? kiln__fail_errno(err, (int)-got, "cannot read %s", blob->digest)
				 : r;
}

static char *index_text(const struct descriptor *self, const char *name)
{
	json_t *index = json_pack("{s:i, s:[{s:s, s:s, s:I, s:{s:s}}]}", "schemaVersion", 2,
				  "manifests", "mediaType", self->media_type, "digest",
				  self->digest, "size", (json_int_t)self->size, "annotations",
				  "org.opencontainers.image.ref.name", name);
	char *text = index ? json_dumps(index, JSON_COMPACT) : NULL;

	json_decref(index);
	return text;
}

static int write_all(struct saving *saving, const struct descriptor *self,
		     const struct manifest *manifest, kiln_error *err)
{
	kiln__autofree char *index = index_text(self, saving->request->names[1]);
	int r = index ? add_text(saving, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", err)
		      : kiln__fail_nomem(err);

	if (r == 0)
		r = add_text(saving, "index.json", index, err);
	if (r == 0)
		r = add_blob(saving, self, err);
	if (r == 0)
		r = add_blob(saving, &manifest->config, err);
	for (size_t i = 0; r == 0 && i < manifest->layer_count; i++)
		r = add_blob(saving, &manifest->layers[i], err);
	if (r == 0 && archive_write_close(saving->archive) != ARCHIVE_OK)
		r = failed(saving, err);
	return r;
}

static int save(struct saving *saving, const struct descriptor *self,
		const struct manifest *manifest, kiln_error *err)
{
	int r;

	saving->archive = archive_write_new();
	saving->done = json_object();
	if (!saving->archive || !saving->done)
		r = kiln__fail_nomem(err);
	else if (archive_write_set_format_ustar(saving->archive) != ARCHIVE_OK ||
		 archive_write_set_bytes_in_last_block(saving->archive, 1) != ARCHIVE_OK ||
		 archive_write_open(saving->archive, saving, NULL, write_out, NULL) != ARCHIVE_OK)
		r = failed(saving, err);
	else
		r = write_all(saving, self, manifest, err);
	archive_write_free(saving->archive);
	json_decref(saving->done);
	return r;
}

int command_save(const struct request *request, kiln_error *err)
{
	struct saving saving = {.request = request};
	struct manifest manifest = {.layers = NULL};
	struct descriptor self = {.size = 0};
	kiln__autofree char *text = NULL;
	size_t len;
	int r;

	if (request->output == KILN_FD_NONE || request->dir == KILN_FD_NONE || !request->names[0] ||
	    !request->names[1])
		return kiln__fail(err, KILN_EINVAL,
				  "save needs --dir, --output, a digest and a name");
	r = blob_read(request->dir, request->names[0], MANIFEST_MAX, &text, &len, err);
	if (r == 0)
		r = manifest_parse(text, len, NULL, &manifest, err);
	if (r == 0) {
		strcpy(self.digest, request->names[0]);
		strcpy(self.media_type, manifest.media_type);
		self.size = len;
		r = save(&saving, &self, &manifest, err);
	}
	manifest_done(&manifest);
	if (r < 0) {
		kiln__prefix(err, "%s", request->name);
		return r;
	}
	return report_result(json_object(), err);
}
