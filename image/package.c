/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debian binary packages (deb(5): an ar archive with a data.tar in it) of a kernel,
 * one or several of them, unpacked to what kiln keeps:
 *
 *   image          the kernel, ready to boot
 *   modules/...    the directory lib/modules/RELEASE of the packages
 *
 * apt has verified the packages; the paths in them are checked all the same. Only
 * directories and regular files are ever made, so no path leads through a link.
 */
#include "input.h"
#include "kernel.h"
#include "program.h"
#include "report.h"
#include "unpack.h"

#include "buf.h"
#include "cleanup.h"
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

KILN__SYSCALLS(mkdirat, openat);

#define MAX_FILES     100000
#define MAX_FILE_SIZE (256u << 20)

struct unpacking {
	const struct request *request;
	uint8_t *kernel; /* the packed image, malloc'ed */
	size_t kernel_len;
	char release[KILN__KERNEL_RELEASE_MAX]; /* as the paths have it */
	unsigned files;
};

/* --- reading an archive out of an archive -------------------------------------------- */

struct nested {
	struct archive *outer;
	uint8_t *buffer;
};
#define NESTED_SIZE (1 << 18)

static ssize_t read_nested(struct archive *archive, void *data, const void **ret)
{
	struct nested *nested = data;
	ssize_t got = archive_read_data(nested->outer, nested->buffer, NESTED_SIZE);

	if (got < 0) {
		archive_set_error(archive, EIO, "%s", archive_error_string(nested->outer));
		return ARCHIVE_FATAL;
	}
	*ret = nested->buffer;
	return got;
}

/* --- files --------------------------------------------------------------------------- */

/* The whole current entry in memory. */
static int read_entry(struct archive *archive, struct archive_entry *entry, const char *path,
		      uint8_t **ret, size_t *ret_len, kiln_error *err)
{
	int64_t size = archive_entry_size(entry);
	kiln__autofree uint8_t *bytes = NULL;
	ssize_t got;

	if (size < 0 || size > MAX_FILE_SIZE)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "'%.200s' in the package is larger than %u MiB", path,
				  MAX_FILE_SIZE >> 20);
	bytes = malloc((size_t)size + 1);
	if (!bytes)
		return kiln__fail_nomem(err);
	got = archive_read_data(archive, bytes, (size_t)size);
	if (got != size)
		return kiln__fail(err, KILN_EFORMAT, "'%.200s' in the package is cut short: %s",
				  path, got < 0 ? archive_error_string(archive) : "end of file");
	*ret = kiln__take(bytes);
	*ret_len = (size_t)size;
	return 0;
}

/* Makes @path (relative, its components checked by the caller) beneath the output directory. */
static int write_file(const struct unpacking *unpacking, const char *path, const void *bytes,
		      size_t len, kiln_error *err)
{
	kiln__autofree char *part = strdup(path);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln_fd dir = unpacking->request->output_dir;

	if (!part)
		return kiln__fail_nomem(err);
	for (char *slash = part; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (mkdirat(dir, part, 0700) && errno != EEXIST)
			return kiln__fail_errno(err, errno, "cannot make the directory '%.200s'",
						part);
		*slash = '/';
	}
	fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot write '%.200s'", path);
	return output_write(fd, bytes, len, err);
}

/* --- what is kept ------------------------------------------------------------------------ */

static const char *skip(const char *path, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(path, prefix, len) ? NULL : path + len;
}

static bool has_dotdot(const char *path)
{
	for (; path; path = strchr(path, '/'), path = path ? path + 1 : NULL)
		if (!strncmp(path, "..", 2) && (path[2] == '/' || !path[2]))
			return true;
	return false;
}

/* All packages must speak of one release. */
static int check_release(struct unpacking *unpacking, const char *release, size_t len,
			 kiln_error *err)
{
	char text[KILN__KERNEL_RELEASE_MAX];

	if (len >= sizeof(text))
		len = sizeof(text) - 1;
	memcpy(text, release, len);
	text[len] = '\0';
	if (!kiln__kernel_release_ok(text))
		return kiln__fail(err, KILN_EFORMAT, "the package has a kernel with the name '%s'",
				  text);
	if (unpacking->release[0] && strcmp(unpacking->release, text))
		return kiln__fail(err, KILN_EFORMAT, "the packages are of two kernels, %s and %s",
				  unpacking->release, text);
	memcpy(unpacking->release, text, sizeof(text));
	return 0;
}

static int keep_module(struct unpacking *unpacking, struct archive *archive,
		       struct archive_entry *entry, const char *path, const char *inside,
		       kiln_error *err)
{
	kiln__autofree uint8_t *bytes = NULL;
	kiln__autofree char *target = NULL;
	size_t len;
	int rc;

	if (++unpacking->files > MAX_FILES)
		return kiln__fail(err, KILN_EOVERFLOW, "the packages have more than %d modules",
				  MAX_FILES);
	target = kiln__strf("modules/%s", inside);
	if (!target)
		return kiln__fail_nomem(err);
	rc = read_entry(archive, entry, path, &bytes, &len, err);
	return rc ? rc : write_file(unpacking, target, bytes, len, err);
}

static int keep_kernel(struct unpacking *unpacking, struct archive *archive,
		       struct archive_entry *entry, const char *path, kiln_error *err)
{
	if (unpacking->kernel)
		return 0;
	return read_entry(archive, entry, path, &unpacking->kernel, &unpacking->kernel_len, err);
}

/* boot/vmlinuz-RELEASE, or lib/modules/RELEASE/... with or without usr/ before it. */
static int keep_entry(struct unpacking *unpacking, struct archive *archive,
		      struct archive_entry *entry, kiln_error *err)
{
	const char *path = archive_entry_pathname(entry), *rest, *slash;
	int rc;

	if (!path || archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFREG)
		return 0;
	while (!strncmp(path, "./", 2))
		path += 2;
	if (has_dotdot(path))
		return kiln__fail(err, KILN_EFORMAT, "the package has an entry '%.200s'", path);
	if ((rest = skip(path, "boot/vmlinuz-")) || (rest = skip(path, "boot/vmlinux-"))) {
		rc = check_release(unpacking, rest, strlen(rest), err);
		return rc ? rc : keep_kernel(unpacking, archive, entry, path, err);
	}
	rest = skip(path, "usr/");
	rest = skip(rest ? rest : path, "lib/modules/");
	slash = rest ? strchr(rest, '/') : NULL;
	if (!slash)
		return 0;
	rc = check_release(unpacking, rest, (size_t)(slash - rest), err);
	if (rc)
		return rc;
	rest = slash + 1;
	if (!strcmp(rest, "vmlinuz"))
		return keep_kernel(unpacking, archive, entry, path, err);
	if (strncmp(rest, "kernel/", 7) && strncmp(rest, "modules.", 8))
		return 0;
	return keep_module(unpacking, archive, entry, path, rest, err);
}

static int read_data_tar(struct unpacking *unpacking, struct archive *outer, kiln_error *err)
{
	struct archive *archive = archive_read_new();
	struct nested nested = {outer, malloc(NESTED_SIZE)};
	struct archive_entry *entry;
	int rc = 0, read = ARCHIVE_OK;

	if (!archive || !nested.buffer) {
		rc = kiln__fail_nomem(err);
	} else {
		input_allow_filters(archive);
		archive_read_support_format_tar(archive);
		read = archive_read_open(archive, &nested, NULL, read_nested, NULL);
	}
	while (!rc && read >= ARCHIVE_WARN &&
	       (read = archive_read_next_header(archive, &entry)) >= ARCHIVE_WARN &&
	       read != ARCHIVE_EOF)
		rc = keep_entry(unpacking, archive, entry, err);
	if (!rc && read != ARCHIVE_EOF)
		rc = kiln__fail(err, KILN_EFORMAT, "the package's files cannot be read: %s",
				archive_error_string(archive));
	archive_read_free(archive);
	free(nested.buffer);
	return rc;
}

static int read_package(struct unpacking *unpacking, kiln_fd fd, kiln_error *err)
{
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	struct input input;
	bool found = false;
	int rc;

	if (!archive)
		return kiln__fail_nomem(err);
	input_init(&input, fd, unpacking->request->name);
	archive_read_support_format_ar(archive);
	rc = input_open_archive(&input, archive, err);
	while (!rc && !found && archive_read_next_header(archive, &entry) == ARCHIVE_OK) {
		const char *name = archive_entry_pathname(entry);

		found = name && !strncmp(name, "data.tar", 8);
		if (found)
			rc = read_data_tar(unpacking, archive, err);
	}
	if (!rc && !found)
		rc = kiln__fail(err, KILN_EFORMAT, "%s is not a Debian package",
				unpacking->request->name);
	archive_read_free(archive);
	input_done(&input);
	return rc;
}

int command_package(const struct request *request, kiln_error *err)
{
	struct unpacking unpacking = {.request = request};
	struct unpacked unpacked = {0};
	json_t *result = NULL;
	int rc = 0;

	if (!request->input_count || request->output_dir == KILN_FD_NONE)
		return kiln__fail(err, KILN_EINVAL, "package needs --input and --output-dir");
	for (unsigned i = 0; i < request->input_count && !rc; i++)
		rc = read_package(&unpacking, request->inputs[i], err);
	if (!rc && !unpacking.kernel)
		rc = kiln__fail(err, KILN_EFORMAT, "%s has no kernel in it", request->name);
	if (rc) {
		free(unpacking.kernel);
		return rc;
	}
	rc = unpack_kernel("the package's kernel", unpacking.kernel, unpacking.kernel_len,
			   request->arch, &unpacked, err);
	if (!rc)
		rc = write_file(&unpacking, "image", unpacked.bytes, unpacked.len, err);
	if (!rc) {
		/* The paths' release is the one that modules belong to. */
		memcpy(unpacked.info.release, unpacking.release, sizeof(unpacking.release));
		result = unpack_describe(&unpacked);
		json_object_set_new(result, "modules", json_integer(unpacking.files));
	}
	free(unpacked.bytes);
	return rc ? rc : report_result(result, err);
}
