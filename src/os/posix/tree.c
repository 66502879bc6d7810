/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: making, listing, removing.
 *
 * remove_tree() may meet a tree that somebody hostile laid out or changes
 * meanwhile: it goes from descriptor to descriptor, never through a symbolic link,
 * never by "..", and with a bounded number of descriptors: what lies deeper than
 * MAX_DEPTH is moved up to the top of the tree and removed in a later round.
 */
#include "posix.h"

#include "err.h"
#include "files.h"
#include "syscalls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A confined process removes single files; trees are for those who clean up after it. */
KILN__SYSCALLS(unlinkat, rmdir);

#define MAX_DEPTH 32

int kiln__os_mkdir(const char *path, unsigned mode, kiln_error *err)
{
	if (mkdir(path, (mode_t)mode) < 0)
		return kiln__fail_errno(err, errno, "cannot make directory %s", path);
	return 0;
}

static bool is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Makes one directory; one that is there already is as good. */
static int ensure_directory(const char *path, unsigned mode, kiln_error *err)
{
	int code;

	if (mkdir(path, (mode_t)mode) == 0)
		return 0;
	code = errno;
	if (is_directory(path))
		return 0;
	return kiln__fail_errno(err, code, "cannot make directory %s", path);
}

int kiln__os_mkdir_p(const char *path, unsigned mode, kiln_error *err)
{
	kiln__autofree char *part = strdup(path);

	if (!part)
		return kiln__fail_nomem(err);
	for (char *p = part + 1; part[0] && *p; p++) {
		int r;

		if (*p != '/' || p[-1] == '/')
			continue;
		*p = '\0';
		r = is_directory(part) ? 0 : ensure_directory(part, mode, err);
		if (r < 0)
			return r;
		*p = '/';
	}
	return ensure_directory(path, mode, err);
}

int kiln__os_make_private_dir(const char *path, kiln_error *err)
{
	int r = kiln__os_mkdir_p(path, 0700, err);

	return r < 0 ? r : kiln__os_check_private_dir(path, err);
}

int kiln__os_check_private_dir(const char *path, kiln_error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot look at %s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return kiln__fail(err, KILN_EACCES,
				  "%s is not a directory that only this user may write", path);
	return 0;
}

/*
 * The directory @name of @at itself, not what a link there points to. A descriptor or a negative
 * errno.
 */
static int open_directory(int at, const char *name)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(at, name, flags);

	/* One without permission to read is still its owner's to remove. */
	if (fd < 0 && errno == EACCES && fchmodat(at, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
		fd = openat(at, name, flags);
	return fd < 0 ? -errno : fd;
}

int kiln__os_claim_private_dir(const char *path, kiln_error *err)
{
	int found = open_directory(AT_FDCWD, path);
	kiln__autoclose kiln_fd fd = found;
	struct stat st;

	if (found == -ELOOP || found == -ENOTDIR)
		return kiln__fail(err, KILN_EACCES, "%s is no directory", path);
	if (found < 0)
		return kiln__fail_errno(err, -found, "cannot open %s", path);
	if (fstat(fd, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot look at %s", path);
	if (st.st_uid != geteuid())
		return kiln__fail(err, KILN_EACCES, "%s is another user's", path);
	if ((st.st_mode & 07777) != 0700 && fchmod(fd, 0700) < 0)
		return kiln__fail_errno(err, errno, "cannot take others' rights to %s", path);
	return 0;
}

int kiln__os_remove(const char *path, kiln_error *err)
{
	if (unlinkat(AT_FDCWD, path, 0) == 0 || errno == ENOENT)
		return 0;
	/* A directory: EISDIR on Linux, EPERM by POSIX. */
	if ((errno == EISDIR || errno == EPERM) && (rmdir(path) == 0 || errno == ENOENT))
		return 0;
	return kiln__fail_errno(err, errno, "cannot remove %s", path);
}

struct removal {
	int top;          /* the tree's own directory */
	unsigned hoisted; /* directories moved up to it so far */
	bool again;       /* some were moved in this round */
};

static int hoist(struct removal *removal, int at, const char *name)
{
	char moved[32];

	for (;;) {
		snprintf(moved, sizeof(moved), "kiln-deep-%u", removal->hoisted++);
		if (faccessat(removal->top, moved, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		if (renameat(at, name, removal->top, moved) < 0)
			return -errno;
		removal->again = true;
		return 0;
	}
}

static int empty_directory(struct removal *removal, int fd, unsigned depth);

static int remove_entry(struct removal *removal, int at, const char *name, unsigned depth)
{
	int fd;
	int r;

	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM && errno != EACCES)
		return -errno;
	r = -errno;
	if (unlinkat(at, name, AT_REMOVEDIR) == 0) /* an empty one */
		return 0;
	fd = open_directory(at, name);
	if (fd < 0)
		return fd == -ENOTDIR || fd == -ELOOP ? r : fd;
	if (depth >= MAX_DEPTH) {
		close(fd);
		return hoist(removal, at, name);
	}
	r = empty_directory(removal, fd, depth + 1); /* closes fd */
	if (r < 0)
		return r;
	return unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

/* Removes what is in the directory @fd, which is closed. */
static int empty_directory(struct removal *removal, int fd, unsigned depth)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		r = -errno;
		close(fd);
		return r;
	}
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		r = remove_entry(removal, fd, entry->d_name, depth);
	}
	if (r == 0 && errno)
		r = -errno;
	closedir(dir);
	return r;
}

int kiln__os_remove_tree(const char *path, kiln_error *err)
{
	struct removal removal = {.top = open_directory(AT_FDCWD, path)};
	int r;

	if (removal.top == -ENOENT)
		return 0;
	if (removal.top < 0) /* a file or a link, and not a tree, or one that may not be opened */
		return kiln__os_remove(path, err);
	do {
		int fd = openat(removal.top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		removal.again = false;
		r = fd < 0 ? -errno : empty_directory(&removal, fd, 0);
	} while (r == 0 && removal.again);
	close(removal.top);
	if (r < 0)
		return kiln__fail_errno(err, -r, "cannot remove what is in %s", path);
	return kiln__os_remove(path, err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void kiln__os_free_names(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}

/* Appends a copy of @name, keeping the list NULL-terminated. */
static bool add_name(char ***names, size_t *count, size_t *cap, const char *name)
{
	if (*count + 1 >= *cap) {
		size_t more = *cap ? *cap * 2 : 16;
		char **grown = realloc(*names, more * sizeof(*grown));

		if (!grown)
			return false;
		*names = grown;
		*cap = more;
	}
	if (name) {
		(*names)[*count] = strdup(name);
		if (!(*names)[*count])
			return false;
		(*count)++;
	}
	(*names)[*count] = NULL;
	return true;
}

/* Closes @dir; NULL is an error. */
static int list(DIR *dir, const char *path, char ***ret_names, kiln_error *err)
{
	struct dirent *entry;
	char **names = NULL;
	size_t count = 0;
	size_t cap = 0;
	bool ok;
	int code;

	if (!dir)
		return kiln__fail_errno(err, errno, "cannot list %s", path);
	ok = add_name(&names, &count, &cap, NULL);
	while (ok && (errno = 0, entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			ok = add_name(&names, &count, &cap, entry->d_name);
	code = ok ? errno : ENOMEM;
	closedir(dir);
	if (code) {
		kiln__os_free_names(names);
		return kiln__fail_errno(err, code, "cannot list %s", path);
	}
	qsort(names, count, sizeof(*names), compare_names);
	*ret_names = names;
	return 0;
}

int kiln__os_list_dir(const char *path, char ***ret_names, kiln_error *err)
{
	return list(opendir(path), path, ret_names, err); /* close-on-exec by itself */
}

int kiln__os_list_open(kiln_fd dir, const char *name, char ***ret_names, kiln_error *err)
{
	int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = own < 0 ? NULL : fdopendir(own);

	if (!stream)
		kiln__os_close(own); /* keeps errno */
	return list(stream, name, ret_names, err);
}
