/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"

#include "cleanup.h"
#include "err.h"
#include "os.h"
#include "syscalls.h"

#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

KILN__SYSCALLS(write);

#define BUFFER_SIZE (1 << 18)

void input_init(struct input *input, kiln_fd fd, const char *name)
{
	*input = (struct input){.fd = fd, .name = name};
	kiln__digest_init(&input->digest);
}

void input_done(struct input *input)
{
	free(input->buffer);
	input->buffer = NULL;
}

static ssize_t read_some(struct archive *archive, void *data, const void **ret)
{
	struct input *input = data;
	ssize_t got = kiln__os_read(input->fd, input->buffer, BUFFER_SIZE);

	if (got < 0) {
		input->os_errno = (int)-got;
		archive_set_error(archive, (int)-got, "%s", strerror((int)-got));
		return ARCHIVE_FATAL;
	}
	kiln__digest_add(&input->digest, input->buffer, (size_t)got);
	*ret = input->buffer;
	return got;
}

static int prepare(struct input *input, kiln_error *err)
{
	if (!input->buffer)
		input->buffer = malloc(BUFFER_SIZE);
	return input->buffer ? 0 : kiln__fail_nomem(err);
}

int input_open_archive(struct input *input, struct archive *archive, kiln_error *err)
{
	int rc = prepare(input, err);

	if (rc)
		return rc;
	if (archive_read_open(archive, input, NULL, read_some, NULL) != ARCHIVE_OK)
		return kiln__fail(err, input->os_errno ? KILN_EIO : KILN_EFORMAT,
				  "cannot read %s: %s", input->name, archive_error_string(archive));
	return 0;
}

int input_finish(struct input *input, char ret_hex[KILN__DIGEST_HEX], kiln_error *err)
{
	int rc = prepare(input, err);
	ssize_t got;

	if (rc)
		return rc;
	while ((got = kiln__os_read(input->fd, input->buffer, BUFFER_SIZE)) > 0)
		kiln__digest_add(&input->digest, input->buffer, (size_t)got);
	if (got < 0)
		return kiln__fail_errno(err, (int)-got, "cannot read %s", input->name);
	kiln__digest_final_hex(&input->digest, ret_hex);
	return 0;
}

/* Room for one more read in a buffer that is doubled as it fills, up to @max. */
static int grow(uint8_t **bytes, size_t *cap, size_t max, const char *name, kiln_error *err)
{
	size_t size = *cap ? *cap * 2 : BUFFER_SIZE;
	uint8_t *grown;

	if (*cap > max)
		return kiln__fail(err, KILN_EOVERFLOW, "%s is larger than %zu MiB", name,
				  max >> 20);
	grown = realloc(*bytes, size);
	if (!grown)
		return kiln__fail_nomem(err);
	*bytes = grown;
	*cap = size;
	return 0;
}

int input_read_all(struct input *input, size_t max, uint8_t **ret, size_t *ret_len, kiln_error *err)
{
	kiln__autofree uint8_t *bytes = NULL;
	size_t cap = 0, len = 0;
	ssize_t got;
	int rc;

	do {
		if (len == cap) {
			rc = grow(&bytes, &cap, max, input->name, err);
			if (rc)
				return rc;
		}
		got = kiln__os_read(input->fd, bytes + len, cap - len);
		if (got < 0)
			return kiln__fail_errno(err, (int)-got, "cannot read %s", input->name);
		len += (size_t)got;
	} while (got);
	kiln__digest_add(&input->digest, bytes, len);
	*ret = kiln__take(bytes);
	*ret_len = len;
	return 0;
}

void input_allow_filters(struct archive *archive)
{
	archive_read_support_filter_bzip2(archive);
	archive_read_support_filter_compress(archive);
	archive_read_support_filter_gzip(archive);
	archive_read_support_filter_lz4(archive);
	archive_read_support_filter_lzip(archive);
	archive_read_support_filter_lzma(archive);
	archive_read_support_filter_xz(archive);
	archive_read_support_filter_zstd(archive);
}

static int read_unpacked(struct archive *archive, const char *name, size_t max, bool tolerant,
			 uint8_t **ret, size_t *ret_len, kiln_error *err)
{
	kiln__autofree uint8_t *bytes = NULL;
	size_t cap = 0, len = 0;
	ssize_t got;
	int rc;

	do {
		if (len == cap) {
			rc = grow(&bytes, &cap, max, name, err);
			if (rc)
				return rc;
		}
		got = archive_read_data(archive, bytes + len, cap - len);
		if (got > 0)
			len += (size_t)got;
	} while (got > 0);
	if (got < 0 && !(tolerant && len))
		return kiln__fail(err, KILN_EFORMAT, "%s cannot be unpacked: %s", name,
				  archive_error_string(archive));
	*ret = kiln__take(bytes);
	*ret_len = len;
	return 0;
}

int input_unpack(const char *name, const void *bytes, size_t len, size_t max, bool tolerant,
		 uint8_t **ret, size_t *ret_len, kiln_error *err)
{
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	int rc;

	if (!archive)
		return kiln__fail_nomem(err);
	input_allow_filters(archive);
	archive_read_support_format_raw(archive);
	if (archive_read_open_memory(archive, bytes, len) != ARCHIVE_OK ||
	    archive_read_next_header(archive, &entry) != ARCHIVE_OK)
		rc = kiln__fail(err, KILN_EFORMAT, "%s cannot be unpacked: %s", name,
				archive_error_string(archive));
	else if (archive_filter_count(archive) < 2)
		rc = kiln__fail(err, KILN_ENOTSUP,
				"%s is compressed in a way that kiln does not know", name);
	else
		rc = read_unpacked(archive, name, max, tolerant, ret, ret_len, err);
	archive_read_free(archive);
	return rc;
}

int output_write(kiln_fd fd, const void *bytes, size_t len, kiln_error *err)
{
	const char *at = bytes;

	while (len) {
		ssize_t put = write(fd, at, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return kiln__fail_errno(err, put ? errno : ENOSPC,
						"cannot write the image");
		at += put;
		len -= (size_t)put;
	}
	return 0;
}
