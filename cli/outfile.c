/* SPDX-License-Identifier: Apache-2.0 */
#include "outfile.h"

#include "buf.h"
#include "err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Beside @path, under a name that nobody has. */
static char *name_aside(const char *path)
{
	const char *slash = strrchr(path, '/');
	uint64_t number;

	kiln__os_random(&number, sizeof(number));
	return kiln__strf("%.*s" KILN__OS_TEMPORARY "%016" PRIx64,
			  slash ? (int)(slash + 1 - path) : 0, path, number);
}

static int open_aside(struct outfile *file, const struct stat *old, kiln_error *err)
{
	int r;

	file->aside = name_aside(file->path);
	if (!file->aside)
		return kiln__fail_nomem(err);
	r = kiln__os_open(&file->fd, file->aside,
			  KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE, err);
	if (r < 0) {
		free(file->aside);
		file->aside = NULL;
		return r;
	}
	if (old && fchmod(file->fd, old->st_mode & 0777))
		return kiln__fail_errno(err, errno, "cannot write %s", file->aside);
	return 0;
}

int outfile_open(struct outfile *file, const char *path, kiln_error *err)
{
	char *real = realpath(path, NULL);
	struct stat old;
	bool there = real && stat(real, &old) == 0;
	int r;

	/* A link stays, and what it leads to is replaced. */
	*file = (struct outfile){.fd = KILN_FD_NONE, .path = real ? real : strdup(path)};
	if (!file->path)
		return kiln__fail_nomem(err);
	if (there && !S_ISREG(old.st_mode))
		r = kiln__os_open(&file->fd, file->path, KILN__OPEN_WRITE, err);
	else
		r = open_aside(file, there ? &old : NULL, err);
	if (r < 0)
		outfile_drop(file);
	return r;
}

int outfile_keep(struct outfile *file, kiln_error *err)
{
	int r = file->aside ? kiln__os_rename(file->aside, file->path, err) : 0;

	if (r == 0) {
		free(file->aside);
		file->aside = NULL;
	}
	outfile_drop(file);
	return r;
}

void outfile_drop(struct outfile *file)
{
	kiln__os_close(file->fd);
	file->fd = KILN_FD_NONE;
	if (file->aside)
		kiln__os_remove(file->aside, NULL);
	free(file->aside);
	free(file->path);
	file->aside = file->path = NULL;
}
