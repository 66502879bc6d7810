/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a source has: the files of an archive, which is read once as it streams in, or those of a
 * directory, by name. Each goes to the store under its own digest, and whatever it was called, that
 * names nothing here but itself.
 */
#include "blob.h"
#include "input.h"
#include "load.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "syscalls.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

KILN__SYSCALLS(openat, fstat);

#define MAX_FILES 4096

/* --- archives -------------------------------------------------------------------------------- */

static char *plain_path(const char *path)
{
	while (!strncmp(path, "./", 2))
		path += 2;
	return strdup(path);
}

/* What a link says is seen from where it stands: "../HEX/layer.tar" of "HEX/layer.tar". */
static char *link_target(const char *path, const char *target)
{
	kiln__autofree char *base = strdup(path);
	char *slash = base ? strrchr(base, '/') : NULL;

	if (!base)
		return NULL;
	if (slash)
		*slash = '\0';
	else
		*base = '\0';
	while (!strncmp(target, "../", 3)) {
		target += 3;
		slash = strrchr(base, '/');
		if (slash)
			*slash = '\0';
		else
			*base = '\0';
	}
	return *base ? kiln__strf("%s/%s", base, target) : strdup(target);
}

static int note(struct loading *loading, const char *path, json_t *what, kiln_error *err)
{
	if (json_object_size(loading->files) >= MAX_FILES) {
		json_decref(what);
		return kiln__fail(err, KILN_EOVERFLOW, "it has more than %d files", MAX_FILES);
	}
	return json_object_set_new(loading->files, path, what)
		       ? kiln__fail(err, KILN_EFORMAT, "an entry's name is not UTF-8")
		       : 0;
}

static int take_file(struct loading *loading, struct archive *archive, const char *path,
		     kiln_error *err)
{
	kiln__cleanup(blob_free_autop) struct blob *blob = NULL;
	uint64_t left = loading->request->max_bytes - loading->bytes;
	char digest[SHA256_TEXT];
	const void *bytes;
	uint64_t size;
	int64_t offset;
	size_t len;
	int rc;
	int r = blob_begin_unnamed(&blob, loading->request->output_dir, left, err);

	while (r == 0 &&
	       (rc = archive_read_data_block(archive, &bytes, &len, &offset)) != ARCHIVE_EOF) {
		if (rc != ARCHIVE_OK || (uint64_t)offset != blob_length(blob))
			r = kiln__fail(err, KILN_EFORMAT, "it is damaged: %s",
				       rc != ARCHIVE_OK ? archive_error_string(archive)
							: "a file has holes");
		else
			r = blob_add(blob, bytes, len, err);
	}
	if (r == 0)
		r = blob_finish(blob, digest, &size, err);
	if (r < 0) {
		kiln__prefix(err, "the entry '%.200s'", path);
		return r;
	}
	loading->bytes += size;
	return note(loading, path,
		    json_pack("{s:s, s:I}", "digest", digest, "size", (json_int_t)size), err);
}

static int take_entry(struct loading *loading, struct archive *archive, struct archive_entry *entry,
		      kiln_error *err)
{
	const char *given = archive_entry_pathname(entry);
	kiln__autofree char *path = given ? plain_path(given) : NULL;
	const char *link = archive_entry_hardlink(entry);
	kiln__autofree char *target = NULL;

	if (!path)
		return kiln__fail(err, KILN_EFORMAT, "an entry has no usable name");
	if (link) {
		target = plain_path(link);
	} else if (archive_entry_filetype(entry) == AE_IFLNK) {
		link = archive_entry_symlink(entry);
		target = link ? link_target(path, link) : NULL;
	}
	if (target)
		return note(loading, path, json_pack("{s:s}", "link", target), err);
	return archive_entry_filetype(entry) == AE_IFREG ? take_file(loading, archive, path, err)
							 : 0;
}

int load_take_archive(struct loading *loading, kiln_error *err)
{
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	struct input input;
	int rc;
	int r;

	if (!archive)
		return kiln__fail_nomem(err);
	input_init(&input, loading->request->inputs[0], loading->request->name);
	archive_read_support_filter_bzip2(archive);
	archive_read_support_filter_gzip(archive);
	archive_read_support_filter_xz(archive);
	archive_read_support_filter_zstd(archive);
	archive_read_support_format_tar(archive);
	r = input_open_archive(&input, archive, err);
	while (r == 0 && (rc = archive_read_next_header(archive, &entry)) != ARCHIVE_EOF) {
		if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
			r = kiln__fail(err, KILN_EFORMAT, "it is no readable tar archive: %s",
				       archive_error_string(archive));
		else
			r = take_entry(loading, archive, entry, err);
	}
	archive_read_free(archive);
	input_done(&input);
	return r;
}

/* --- files by name --------------------------------------------------------------------------- */

static int open_in_dir(const struct loading *loading, const char *path, kiln_fd *ret,
		       kiln_error *err)
{
	struct stat info;
	kiln_fd fd =
		openat(loading->request->dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return kiln__fail_errno(err, errno, "'%.200s'", path);
	if (fstat(fd, &info) || !S_ISREG(info.st_mode)) {
		close(fd);
		return kiln__fail(err, KILN_EFORMAT, "'%.200s' is no file", path);
	}
	*ret = fd;
	return 0;
}

int load_copy_fd(const struct loading *loading, kiln_fd fd, struct descriptor *ret, kiln_error *err)
{
	kiln__cleanup(blob_free_autop) struct blob *blob = NULL;
	kiln__autofree uint8_t *bytes = malloc(1u << 18);
	ssize_t got;
	int r;

	if (!bytes)
		return kiln__fail_nomem(err);
	r = blob_begin_unnamed(&blob, loading->request->output_dir, loading->request->max_bytes,
			       err);
	while (r == 0 && (got = kiln__os_read(fd, bytes, 1u << 18)) != 0)
		r = got < 0 ? kiln__fail_errno(err, (int)-got, "cannot read it")
			    : blob_add(blob, bytes, (size_t)got, err);
	return r < 0 ? r : blob_finish(blob, ret->digest, &ret->size, err);
}

/* What an archive's name leads to, through as many links as a docker-archive has. */
static const json_t *find_file(const struct loading *loading, const char *path)
{
	const json_t *found = json_object_get(loading->files, path);

	for (int i = 0; i < 8 && found; i++) {
		const char *link = json_string_value(json_object_get(found, "link"));

		if (!link)
			return found;
		found = json_object_get(loading->files, link);
	}
	return NULL;
}

int load_take_in(struct loading *loading, const char *path, struct descriptor *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	const json_t *found;
	int r;

	*ret = (struct descriptor){.size = 0};
	if (loading->request->dir != KILN_FD_NONE) {
		r = open_in_dir(loading, path, &fd, err);
		return r < 0 ? r : load_copy_fd(loading, fd, ret, err);
	}
	found = find_file(loading, path);
	if (!found)
		return kiln__fail(err, KILN_ENOENT, "it has no file '%.200s'", path);
	snprintf(ret->digest, sizeof(ret->digest), "%s",
		 json_string_value(json_object_get(found, "digest")));
	ret->size = (uint64_t)json_integer_value(json_object_get(found, "size"));
	return 0;
}

int load_read_document(struct loading *loading, const char *path, size_t max, char **ret,
		       size_t *ret_len, struct descriptor *self, kiln_error *err)
{
	int r = load_take_in(loading, path, self, err);

	return r < 0 ? r
		     : blob_read(loading->request->output_dir, self->digest, max, ret, ret_len,
				 err);
}

int load_read_json(struct loading *loading, const char *path, json_t **ret, kiln_error *err)
{
	struct descriptor self;
	kiln__autofree char *text = NULL;
	size_t len;
	int r = load_read_document(loading, path, MANIFEST_MAX, &text, &len, &self, err);

	if (r < 0)
		return r;
	*ret = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	return *ret ? 0 : kiln__fail(err, KILN_EFORMAT, "its '%s' is no JSON", path);
}
