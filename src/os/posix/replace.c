/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that change at once or not at all. Where the system can, a new file has
 * no name until it is whole; then it gets a temporary one beside its target and
 * is renamed over it. A kill leaves at most a file whose name begins with
 * KILN__OS_TEMPORARY, which whoever owns the directory may remove.
 */
#include "posix.h"

#include "buf.h"
#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Which of a family the C library takes is its and the architecture's affair. */
KILN__SYSCALLS(openat, rename, renameat, renameat2, unlink, unlinkat, fchmod);

char *kiln__posix_dirname(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	if (slash == path)
		return strdup("/");
	return strndup(path, (size_t)(slash - path));
}

static char *temporary_name(const char *directory)
{
	uint64_t number;

	kiln__os_random(&number, sizeof(number));
	return kiln__strf("%s/" KILN__OS_TEMPORARY "%016llx", directory,
			  (unsigned long long)number);
}

struct replacement {
	int fd;
	const char *temporary;
	bool named;
};

static int fill(struct replacement *file, const void *bytes, size_t len, unsigned mode,
		bool durable, kiln_error *err)
{
	int r = kiln__os_pwrite_full(file->fd, bytes, len, 0, err);

	if (r < 0)
		return r;
	/* Not left to open(): the caller's umask must not decide. */
	if (fchmod(file->fd, (mode_t)mode) < 0)
		return kiln__fail_errno(err, errno, "cannot set the mode");
	return durable ? kiln__os_sync(file->fd, err) : 0;
}

static int open_named(struct replacement *file)
{
	file->fd = open(file->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file->fd < 0)
		return -errno;
	file->named = true;
	return 0;
}

/*
 * Where there is nothing yet, what has no name takes that one, and no temporary one. 1: done; 0: it
 * has a temporary name now.
 */
static int name_it(struct replacement *file, const char *path)
{
	int r;

	if (file->named)
		return 0;
	if (kiln__posix_give_name(file->fd, path) == 0)
		return 1;
	r = kiln__posix_give_name(file->fd, file->temporary);
	if (r == 0)
		file->named = true;
	return r;
}

static int take_place(const char *temporary, const char *path, bool durable)
{
	if (!durable)
		return kiln__posix_rename_unsynced(temporary, path);
	return rename(temporary, path) < 0 ? -errno : 0;
}

int kiln__os_replace_file(const char *path, const void *bytes, size_t len, unsigned mode,
			  bool durable, kiln_error *err)
{
	kiln__autofree char *directory = kiln__posix_dirname(path);
	kiln__autofree char *temporary = directory ? temporary_name(directory) : NULL;
	struct replacement file = {.temporary = temporary};
	int r;

	if (!temporary)
		return kiln__fail_nomem(err);
	file.fd = kiln__posix_open_unnamed(directory);
	if (file.fd >= 0) {
		r = fill(&file, bytes, len, mode, durable, err);
		if (r < 0)
			goto fail;
		r = name_it(&file, path);
		if (r > 0)
			goto there;
		if (r < 0) {
			/* No /proc, or a file system of its own mind: once more, with a name. */
			kiln__os_close(file.fd);
			file.fd = -1;
		}
	}
	if (file.fd < 0) {
		r = open_named(&file);
		if (r < 0)
			return kiln__fail_errno(err, -r, "cannot write %s", path);
		r = fill(&file, bytes, len, mode, durable, err);
		if (r < 0)
			goto fail;
	}
	r = take_place(temporary, path, durable);
	if (r < 0) {
		r = kiln__fail_errno(err, -r, "cannot write %s", path);
		goto fail_told;
	}
there:
	kiln__os_close(file.fd);
	return durable ? kiln__os_sync_dir(directory, err) : 0;
fail:
	kiln__prefix(err, "cannot write %s", path);
fail_told:
	if (file.named)
		unlink(temporary);
	kiln__os_close(file.fd);
	return r;
}

int kiln__os_sync(kiln_fd fd, kiln_error *err)
{
	int r = kiln__posix_sync(fd);

	return r < 0 ? kiln__fail_errno(err, -r, "cannot sync") : 0;
}

int kiln__os_rename(const char *from, const char *to, kiln_error *err)
{
	if (rename(from, to) < 0)
		return kiln__fail_errno(err, errno, "cannot rename %s to %s", from, to);
	return 0;
}

int kiln__os_link_new(const char *from, const char *to, kiln_error *err)
{
	if (linkat(AT_FDCWD, from, AT_FDCWD, to, 0) < 0)
		return kiln__fail_errno(err, errno, "cannot link %s to %s", from, to);
	return 0;
}

int kiln__os_sync_dir(const char *path, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = kiln__os_open(&fd, path, KILN__OPEN_DIRECTORY, err);

	if (r < 0)
		return r;
	r = kiln__posix_sync(fd);
	return r < 0 ? kiln__fail_errno(err, -r, "cannot sync directory %s", path) : 0;
}
