/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include "buf.h"
#include "err.h"
#include "files.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct kiln__cache {
	char *path;
};

static const char *const folders[] = {"objects", "index", "lock", "tmp"};

int kiln__cache_new(struct kiln__cache **ret, const char *path, kiln_error *err)
{
	struct kiln__cache *cache = calloc(1, sizeof(*cache));
	kiln__autofree char *here = NULL;
	int r;

	if (cache && path[0] == '/') {
		cache->path = strdup(path);
	} else if (cache) {
		/* Paths that are handed out must hold for other processes and directories. */
		here = getcwd(NULL, 0);
		cache->path = here ? kiln__strf("%s/%s", here, path) : NULL;
	}
	if (!cache || !cache->path) {
		free(cache);
		return kiln__fail_nomem(err);
	}
	/* Who may write there chooses what every VM boots. */
	r = kiln__os_check_private_dir(cache->path, err);
	if (r < 0 && r != KILN_ENOENT) {
		kiln__prefix(err, "the image cache");
		if (r == KILN_EACCES)
			kiln__hint(err, "set KILN_IMAGE_CACHE to a directory of your own");
		kiln__cache_free(cache);
		return r;
	}
	*ret = cache;
	return 0;
}

void kiln__cache_free(struct kiln__cache *cache)
{
	if (cache)
		free(cache->path);
	free(cache);
}

const char *kiln__cache_path(const struct kiln__cache *cache)
{
	return cache->path;
}

static int path_of(const struct kiln__cache *cache, const char *folder, const char *name,
		   char **ret, kiln_error *err)
{
	*ret = kiln__strf("%s/%s/%s", cache->path, folder, name);
	return *ret ? 0 : kiln__fail_nomem(err);
}

static int make_folders(const struct kiln__cache *cache, kiln_error *err)
{
	int r = kiln__os_make_private_dir(cache->path, err);

	if (r < 0)
		return kiln__prefix(err, "cannot make the image cache"), r;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		kiln__autofree char *path = kiln__strf("%s/%s", cache->path, folders[i]);
		int rc;

		if (!path)
			return kiln__fail_nomem(err);
		rc = kiln__os_mkdir_p(path, 0700, err);
		if (rc) {
			kiln__prefix(err, "cannot make the image cache");
			return rc;
		}
	}
	return 0;
}

/* --- hits -------------------------------------------------------------------------- */

int kiln__cache_find(const struct kiln__cache *cache, const char *record, char **ret_path,
		     kiln_error *err)
{
	static const char prefix[] = "../objects/";
	kiln__autofree char *link = NULL, *path = NULL;
	char target[NAME_MAX + sizeof(prefix)];
	ssize_t len;
	int rc;

	rc = path_of(cache, "index", record, &link, err);
	if (rc)
		return rc;
	len = readlink(link, target, sizeof(target) - 1);
	if (len < 0)
		return kiln__fail_errno(err, errno, "%s", link);
	target[len] = '\0';
	if (strncmp(target, prefix, sizeof(prefix) - 1) || strchr(target + sizeof(prefix) - 1, '/'))
		return kiln__fail(err, KILN_ENOENT, "%s is no record of this cache", link);
	rc = path_of(cache, "objects", target + sizeof(prefix) - 1, &path, err);
	if (rc)
		return rc;
	if (access(path, F_OK))
		return kiln__fail_errno(err, errno, "%s", path);
	*ret_path = kiln__take(path);
	return 0;
}

int64_t kiln__cache_record_time(const struct kiln__cache *cache, const char *record)
{
	kiln__autofree char *link = NULL;
	struct stat info;

	if (path_of(cache, "index", record, &link, NULL) < 0 || lstat(link, &info))
		return 0;
	return kiln__os_written_ns(&info);
}

/* --- locks ------------------------------------------------------------------------- */

/* Takes the lock of @name, waiting for it if @wait, else KILN_EBUSY. */
static int lock(const struct kiln__cache *cache, const char *name, bool wait, kiln_fd *ret,
		kiln_error *err)
{
	kiln__autofree char *path = NULL;
	int rc;

	rc = path_of(cache, "lock", name, &path, err);
	while (!rc) {
		kiln__autoclose kiln_fd fd = KILN_FD_NONE;

		rc = kiln__os_open(&fd, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE, err);
		if (!rc)
			rc = wait ? kiln__os_lock(fd, err) : kiln__os_try_lock(fd, err);
		if (!rc && kiln__os_is_at(fd, AT_FDCWD, path)) {
			*ret = kiln__take_fd(&fd);
			return 0;
		}
	}
	return rc;
}

static void unlock(const struct kiln__cache *cache, const char *name, kiln_fd fd)
{
	kiln__autofree char *path = NULL;

	if (!path_of(cache, "lock", name, &path, NULL))
		unlink(path);
	kiln__os_close(fd);
}

void kiln__cache_sweep(const struct kiln__cache *cache)
{
	kiln__autofree char *folder = kiln__strf("%s/lock", cache->path);
	char **names = NULL;

	if (!folder || kiln__os_list_dir(folder, &names, NULL))
		return;
	for (size_t i = 0; names[i]; i++) {
		kiln__autofree char *temporary = NULL;
		kiln_fd fd;

		if (path_of(cache, "tmp", names[i], &temporary, NULL) ||
		    lock(cache, names[i], false, &fd, NULL))
			continue;
		kiln__os_remove_tree(temporary, NULL);
		unlock(cache, names[i], fd);
	}
	kiln__os_free_names(names);
}

/* --- making ------------------------------------------------------------------------ */

/*
 * Puts an object on the disk before its name: of a directory, the whole file
 * system, because one flush of it is far cheaper than one a file.
 */
static int sync_object(const char *path, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct stat info;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &info))
		return kiln__fail_errno(err, errno, "cannot open %s", path);
	return S_ISDIR(info.st_mode) ? kiln__os_sync_volume(fd, err) : kiln__os_sync(fd, err);
}

static int make_locked(const struct kiln__cache *cache, const char *name, kiln__cache_make_fn make,
		       void *data, const char *object, kiln_error *err)
{
	kiln__autofree char *temporary = NULL;
	int rc;

	rc = path_of(cache, "tmp", name, &temporary, err);
	if (!rc)
		rc = kiln__os_remove_tree(temporary, err);
	if (rc)
		return rc;
	rc = make(data, temporary, err);
	if (!rc)
		rc = sync_object(temporary, err);
	if (!rc)
		rc = kiln__os_rename(temporary, object, err);
	if (rc)
		kiln__os_remove_tree(temporary, NULL);
	return rc;
}

static int explain(const struct kiln__cache *cache, int rc, kiln_error *err)
{
	if (rc == KILN_ENOSPC) {
		kiln__prefix(err, "the image cache is on a full disk");
		kiln__hint(err,
			   "free some space for %s, or let KILN_HOME name a directory elsewhere",
			   cache->path);
	}
	return rc;
}

int kiln__cache_get(const struct kiln__cache *cache, const char *name, kiln__cache_make_fn make,
		    void *data, char **ret_path, kiln_error *err)
{
	kiln__autofree char *object = NULL;
	kiln_fd held;
	int rc;

	rc = path_of(cache, "objects", name, &object, err);
	if (rc)
		return rc;
	if (access(object, F_OK)) {
		rc = make_folders(cache, err);
		if (rc)
			return explain(cache, rc, err);
		kiln__cache_sweep(cache);
		rc = lock(cache, name, true, &held, err);
		if (rc)
			return explain(cache, rc, err);
		if (access(object, F_OK))
			rc = make_locked(cache, name, make, data, object, err);
		unlock(cache, name, held);
		if (rc)
			return explain(cache, rc, err);
	}
	*ret_path = kiln__take(object);
	return 0;
}

int kiln__cache_drop(const struct kiln__cache *cache, const char *name, kiln_error *err)
{
	kiln__autofree char *object = NULL;
	kiln__autofree char *temporary = NULL;
	kiln_fd held;
	int r = path_of(cache, "objects", name, &object, err);

	if (r == 0)
		r = path_of(cache, "tmp", name, &temporary, err);
	if (r == 0)
		r = make_folders(cache, err);
	if (r == 0)
		r = lock(cache, name, true, &held, err);
	if (r < 0)
		return r;
	/* By its name first, in one step: nobody finds half of it. */
	r = kiln__os_remove_tree(temporary, err);
	if (r == 0)
		r = kiln__os_rename(object, temporary, err);
	if (r == 0)
		r = kiln__os_remove_tree(temporary, err);
	unlock(cache, name, held);
	return r == KILN_ENOENT ? 0 : r;
}

int kiln__cache_record(const struct kiln__cache *cache, const char *record, const char *name,
		       kiln_error *err)
{
	kiln__autofree char *target = kiln__strf("../objects/%s", name), *link = NULL,
			    *temporary = NULL;
	kiln_fd held;
	int rc;

	if (!target)
		return kiln__fail_nomem(err);
	rc = path_of(cache, "index", record, &link, err);
	if (!rc)
		rc = path_of(cache, "tmp", record, &temporary, err);
	if (!rc)
		rc = make_folders(cache, err);
	if (!rc)
		rc = lock(cache, record, true, &held, err);
	if (rc)
		return explain(cache, rc, err);
	rc = kiln__os_remove_tree(temporary, err);
	if (!rc && symlink(target, temporary))
		rc = kiln__fail_errno(err, errno, "cannot make %s", temporary);
	if (!rc)
		rc = kiln__os_rename(temporary, link, err);
	if (rc)
		kiln__os_remove(temporary, NULL);
	unlock(cache, record, held);
	return explain(cache, rc, err);
}
