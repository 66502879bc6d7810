/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A seed for cloud-init: some files as an ISO 9660 image whose volume id is "cidata"
 * (cloud-init's documentation of its data source NoCloud).
 *
 * libarchive's writer keeps what it has been given in a temporary file, for which it gets
 * the directory that was handed to this program; it comes to it by the descriptor.
 */
#include "input.h"
#include "program.h"
#include "report.h"

#include "cleanup.h"
#include "err.h"
#include "files.h"
#include "os.h"
#include "syscalls.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* mkstemp() of the temporary file, whose name libarchive takes away at once. */
KILN__SYSCALLS(openat, unlink, fcntl(1 = F_SETFD), umask, getuid, getgid, uname);

#define MAX_FILE (64u << 20)

/*
 * ECMA-119, 8.4: the primary volume descriptor is in sector 16, and the volume's identifier from
 * its 41st byte on, 32 characters, padded with blanks.
 */
#define VOLUME_ID_AT (16 * 2048 + 40)
#define VOLUME_ID    "cidata                          "

static int failed(struct archive *archive, const char *what, kiln_error *err)
{
	const char *why = archive_error_string(archive);

	return kiln__fail_errno(err, archive_errno(archive), "cannot %s the seed%s%s", what,
				why ? ": " : "", why ? why : "");
}

static bool is_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz-") == len;
}

static int add_file(struct archive *archive, kiln_fd fd, const char *name, kiln_error *err)
{
	kiln__autofree uint8_t *bytes = NULL;
	struct archive_entry *entry;
	struct input input;
	size_t len = 0;
	int rc;

	input_init(&input, fd, name);
	rc = input_read_all(&input, MAX_FILE, &bytes, &len, err);
	input_done(&input);
	if (rc)
		return rc;
	entry = archive_entry_new();
	if (!entry)
		return kiln__fail_nomem(err);
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0444);
	archive_entry_set_size(entry, (la_int64_t)len);
	if (archive_write_header(archive, entry) < ARCHIVE_WARN ||
	    (len && archive_write_data(archive, bytes, len) != (la_ssize_t)len))
		rc = failed(archive, "write", err);
	archive_entry_free(entry);
	return rc;
}

static int write_image(struct archive *archive, const struct request *request, kiln_error *err)
{
	int rc = 0;

	if (archive_write_set_format_iso9660(archive) != ARCHIVE_OK ||
	    archive_write_add_filter_none(archive) != ARCHIVE_OK ||
	    archive_write_set_options(archive, "iso9660:volume-id=cidata,iso9660:!pad") <
		    ARCHIVE_WARN ||
	    archive_write_set_bytes_in_last_block(archive, 1) != ARCHIVE_OK ||
	    archive_write_open_fd(archive, request->output) != ARCHIVE_OK)
		return failed(archive, "begin", err);
	for (unsigned i = 0; !rc && i < request->input_count; i++)
		rc = add_file(archive, request->inputs[i], request->names[i], err);
	if (!rc && archive_write_close(archive) != ARCHIVE_OK)
		rc = failed(archive, "end", err);
	return rc;
}

static int check(const struct request *request, kiln_error *err)
{
	unsigned names = 0;

	while (request->names[names])
		names++;
	if (request->output == KILN_FD_NONE || request->output_dir == KILN_FD_NONE ||
	    !request->input_count || names != request->input_count)
		return kiln__fail(err, KILN_EINVAL,
				  "seed needs --output, --output-dir, and a name for each --input");
	for (unsigned i = 0; i < names; i++)
		if (!is_name(request->names[i]))
			return kiln__fail(err, KILN_EINVAL, "'%.80s' is no name for a seed's file",
					  request->names[i]);
	return 0;
}

int command_seed(const struct request *request, kiln_error *err)
{
	struct archive *archive;
	kiln__autofree char *dir = NULL;
	int rc = check(request, err);

	if (!rc)
		rc = kiln__os_directory_path(&dir, request->output_dir, err);
	if (rc)
		return rc;
	if (setenv("TMPDIR", dir, 1))
		return kiln__fail_nomem(err);
	archive = archive_write_new();
	if (!archive)
		return kiln__fail_nomem(err);
	rc = write_image(archive, request, err);
	archive_write_free(archive);
	/* libarchive writes it in capitals, as the standard would have it; others do not. */
	if (!rc)
		rc = kiln__os_pwrite_full(request->output, VOLUME_ID, strlen(VOLUME_ID),
					  VOLUME_ID_AT, err);
	return rc ? rc : report_result(json_object(), err);
}
