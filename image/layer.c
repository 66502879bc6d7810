/* SPDX-License-Identifier: Apache-2.0 */
#include "layer.h"
#include "manifest.h"

#include "err.h"
#include "os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_SIZE (1u << 18)

/*
 * What no media type of a layer stands for (image-spec, layer.md: gzip and zstd; Docker's schema 2:
 * gzip), and so no decoders that a stranger can reach but those.
 */
int layer_check_compression(const char *bytes, size_t len, kiln_error *err)
{
	static const struct {
		const char *name;
		size_t at;
		const char *magic;
		size_t len;
	} others[] = {
		{"bzip2", 4, "1AY&SY", 6}, /* behind "BZh" and a digit, which may begin a name */
		{"xz", 0, "\3757zXZ", 6},
		{"LZ4", 0, "\4\"M\30", 4},
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (len < others[i].at + others[i].len ||
		    memcmp(bytes + others[i].at, others[i].magic, others[i].len) != 0)
			continue;
		kiln__fail(err, KILN_ENOTSUP,
			   "it is compressed by %s, which layers of images cannot be",
			   others[i].name);
		kiln__hint(err, "gzip and zstd are what image-spec has for layers");
		return KILN_ENOTSUP;
	}
	return 0;
}

static ssize_t read_file(struct archive *archive, void *data, const void **ret)
{
	struct layer *layer = data;
	ssize_t got = kiln__os_read(layer->fd, layer->buffer, BUFFER_SIZE);

	if (got < 0) {
		archive_set_error(archive, (int)-got, "%s", strerror((int)-got));
		return ARCHIVE_FATAL;
	}
	if (!layer->begun && layer_check_compression(layer->buffer, (size_t)got, &layer->err) < 0) {
		archive_set_error(archive, EIO, "%s", layer->err.message);
		return ARCHIVE_FATAL;
	}
	layer->begun = true;
	*ret = layer->buffer;
	return got;
}

/* Some unpacked bytes; 0 at the end. */
static ssize_t unpack(struct layer *layer, const void **ret)
{
	int64_t offset;
	size_t len = 0;
	int rc;

	if (layer->ended)
		return 0;
	do
		rc = archive_read_data_block(layer->packed, ret, &len, &offset);
	while (rc == ARCHIVE_OK && len == 0);
	if (rc == ARCHIVE_EOF) {
		layer->ended = true;
		return 0;
	}
	if (rc != ARCHIVE_OK) {
		const char *why = archive_error_string(layer->packed);

		return kiln__fail(&layer->err, KILN_EFORMAT, "it cannot be unpacked: %s",
				  why ? why : "unknown error");
	}
	if (len > layer->max - layer->bytes)
		return kiln__fail(&layer->err, KILN_EOVERFLOW, "it unpacks to more than %llu MiB",
				  (unsigned long long)(layer->max >> 20));
	layer->bytes += len;
	sha256_add(layer->sha, *ret, len);
	return (ssize_t)len;
}

static ssize_t read_packed(struct archive *archive, void *data, const void **ret)
{
	static const char zeros[512];
	struct layer *layer = data;
	ssize_t got = unpack(layer, ret);

	/*
	 * Writers in Go that are not closed leave out the padding behind the last entry, umoci's
	 * among them, and readers in Go do not miss it. It is not part of the digest.
	 */
	if (got == 0 && layer->bytes % 512 && !layer->padded) {
		layer->padded = true;
		*ret = zeros;
		return (ssize_t)(512 - layer->bytes % 512);
	}
	if (got >= 0)
		return got;
	archive_set_error(archive, EIO, "%s", layer->err.message);
	return ARCHIVE_FATAL;
}

static int wrong(struct layer *layer, struct archive *archive, kiln_error *err)
{
	const char *why = archive_error_string(archive);

	if (layer->err.code) {
		*err = layer->err;
		return err->code;
	}
	return kiln__fail(err, KILN_EFORMAT, "it is no readable tar archive: %s",
			  why ? why : "unknown error");
}

int layer_open(struct layer *layer, kiln_fd fd, const char *name, uint64_t max, kiln_error *err)
{
	struct archive_entry *entry;
	int r;

	*layer = (struct layer){.name = name, .fd = fd, .max = max};
	r = sha256_new(&layer->sha, err);
	if (r < 0)
		return r;
	layer->buffer = malloc(BUFFER_SIZE);
	layer->packed = archive_read_new();
	layer->tar = archive_read_new();
	if (!layer->buffer || !layer->packed || !layer->tar)
		return kiln__fail_nomem(err);
	archive_read_support_filter_gzip(layer->packed);
	archive_read_support_filter_zstd(layer->packed);
	archive_read_support_format_raw(layer->packed);
	archive_read_support_format_empty(layer->packed);
	archive_read_support_format_tar(layer->tar);
	archive_read_support_format_empty(layer->tar);
	if (archive_read_open(layer->packed, layer, NULL, read_file, NULL) != ARCHIVE_OK)
		return wrong(layer, layer->packed, err);
	r = archive_read_next_header(layer->packed, &entry);
	if (r == ARCHIVE_EOF)
		return kiln__fail(err, KILN_EFORMAT, "it is empty");
	if (r != ARCHIVE_OK)
		return wrong(layer, layer->packed, err);
	if (archive_read_open(layer->tar, layer, NULL, read_packed, NULL) != ARCHIVE_OK)
		return wrong(layer, layer->tar, err);
	return 0;
}

void layer_close(struct layer *layer)
{
	archive_read_free(layer->tar);
	archive_read_free(layer->packed);
	sha256_free(layer->sha);
	free(layer->buffer);
	layer->tar = layer->packed = NULL;
	layer->sha = NULL;
	layer->buffer = NULL;
}

int layer_next(struct layer *layer, struct archive_entry **ret, kiln_error *err)
{
	int rc = archive_read_next_header(layer->tar, ret);

	if (rc == ARCHIVE_EOF)
		return 0;
	/* A warning is about one name or header that could not be converted: what is kept is
	 * checked. */
	return rc == ARCHIVE_OK || rc == ARCHIVE_WARN ? 1 : wrong(layer, layer->tar, err);
}

int layer_finish(struct layer *layer, char ret[SHA256_TEXT], kiln_error *err)
{
	const void *bytes;
	ssize_t got;

	do
		got = unpack(layer, &bytes);
	while (got > 0);
	if (got < 0) {
		*err = layer->err;
		return err->code;
	}
	sha256_finish(layer->sha, ret);
	return 0;
}

const char *layer_media_type(const struct layer *layer)
{
	switch (archive_filter_code(layer->packed, 0)) {
	case ARCHIVE_FILTER_GZIP:
		return LAYER_GZIP;
	case ARCHIVE_FILTER_ZSTD:
		return LAYER_ZSTD;
	default:
		return LAYER_TAR;
	}
}
