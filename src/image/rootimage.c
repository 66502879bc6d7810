/* SPDX-License-Identifier: Apache-2.0 */
#include "images.h"
#include "internal.h"

#include "buf.h"
#include "digest.h"
#include "err.h"
#include "helper.h"
#include "os.h"
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct making {
	const struct kiln__images *images;
	const char *name; /* for messages */
	kiln_fd fd;
	bool dir;
	const char *digest; /* of a file's contents */
	const char *tree;   /* of a directory, as it was before */
};

static int call_helper(const struct making *making, kiln_fd output, json_t **ret, kiln_error *err)
{
	const struct kiln__spawn_fd fds[] = {{making->fd, 3}, {output, 4}};
	const char *const argv[] = {"root",       making->dir ? "--dir" : "--input",
				    "3",          "--output",
				    "4",          "--name",
				    making->name, NULL};

	return kiln__helper_call(argv, fds, 2, ret, err);
}

static int make(void *data, const char *path, kiln_error *err)
{
	const struct making *making = data;
	kiln__autoclose kiln_fd output = KILN_FD_NONE;
	struct kiln__source_id after;
	json_t *result = NULL;
	int rc;

	kiln__images_progress(making->images, "making a root image of %s", making->name);
	rc = kiln__images_create(path, &output, err);
	if (!rc && !making->dir && lseek(making->fd, 0, SEEK_SET) < 0)
		rc = kiln__fail_errno(err, errno, "%s", making->name);
	if (!rc)
		rc = call_helper(making, output, &result, err);
	if (!rc && making->dir) {
		rc = kiln__source_tree(making->fd, making->name, &after, err);
		if (!rc && strcmp(after.hex, making->tree))
			rc = kiln__fail(err, KILN_EBUSY, "%s changed while it was read",
					making->name);
	} else if (!rc) {
		rc = kiln__images_check_digest(result, making->digest, making->name, err);
	}
	if (!rc)
		kiln__images_notes(making->images, result);
	json_decref(result);
	return rc;
}

static char *tree_name(const struct kiln__source_id *id)
{
	return kiln__strf("root-%d-tree-%s", KILN__IMAGE_FORMAT, id->hex);
}

/* Of what leads to an archive's object. */
static char *record_name(const struct kiln__source_id *id)
{
	return kiln__strf("root-%d-%s", KILN__IMAGE_FORMAT, id->hex);
}

/* A directory's object is named by what names its record would have: there is none. */
static int from_dir(struct making *making, char **ret, kiln_error *err)
{
	kiln__autofree char *name = NULL;
	struct kiln__source_id id;
	int rc;

	/* To look whether it is there is to walk all of it. */
	rc = kiln__images_may_take_time(making->images, err);
	if (!rc)
		rc = kiln__source_tree(making->fd, making->name, &id, err);
	if (rc)
		return rc;
	making->tree = id.hex;
	name = tree_name(&id);
	if (!name)
		return kiln__fail_nomem(err);
	return kiln__cache_get(making->images->cache, name, make, making, ret, err);
}

static int from_file(struct making *making, char **ret, kiln_error *err)
{
	kiln__autofree char *record = NULL, *name = NULL, *object = NULL;
	struct kiln__source_id before, after;
	char digest[KILN__DIGEST_HEX];
	int rc;

	rc = kiln__source_fd(making->fd, making->name, &before, err);
	if (rc)
		return rc;
	record = record_name(&before);
	if (!record)
		return kiln__fail_nomem(err);
	if (kiln__cache_find(making->images->cache, record, ret, NULL) == 0)
		return 0;
	rc = kiln__images_may_take_time(making->images, err);
	if (!rc)
		rc = kiln__digest_file(making->fd, digest, err);
	if (rc)
		return rc;
	making->digest = digest;
	name = kiln__strf("root-%d-tar-%s", KILN__IMAGE_FORMAT, digest);
	if (!name)
		return kiln__fail_nomem(err);
	rc = kiln__cache_get(making->images->cache, name, make, making, &object, err);
	if (!rc)
		rc = kiln__source_fd(making->fd, making->name, &after, err);
	if (!rc && before.settled && !strcmp(before.hex, after.hex))
		rc = kiln__cache_record(making->images->cache, record, name, err);
	if (!rc)
		*ret = kiln__take(object);
	return rc;
}

static int is_squashfs(kiln_fd fd, bool *ret, kiln_error *err)
{
	char magic[4];
	ssize_t got = kiln__os_pread_full(fd, magic, sizeof(magic), 0, err);

	if (got < 0)
		return (int)got;
	*ret = got == sizeof(magic) && !memcmp(magic, "hsqs", sizeof(magic));
	return 0;
}

static int get(struct making *making, const char *path, char **ret, kiln_error *err)
{
	struct kiln__os_stat info;
	bool squashfs = false;
	int rc;

	rc = kiln__os_fstat(making->fd, &info, err);
	if (rc)
		return rc;
	making->dir = info.is_directory;
	if (making->dir)
		return from_dir(making, ret, err);
	rc = is_squashfs(making->fd, &squashfs, err);
	if (rc)
		return rc;
	if (!squashfs)
		return from_file(making, ret, err);
	if (!path)
		return kiln__fail(
			err, KILN_ENOTSUP,
			"the root's descriptor is a squashfs: it needs no image made of it");
	*ret = strdup(path);
	return *ret ? 0 : kiln__fail_nomem(err);
}

int kiln__root_image_get(const struct kiln__images *images, const char *path, kiln_fd fd,
			 char **ret_path, kiln_error *err)
{
	struct making making = {.images = images, .name = path ? path : "the root", .fd = fd};
	kiln__autoclose kiln_fd opened = KILN_FD_NONE;
	int rc = 0;

	if (path) {
		rc = kiln__os_open(&opened, path, KILN__OPEN_READ, err);
		making.fd = opened;
	}
	if (!rc)
		rc = get(&making, path, ret_path, err);
	if (rc)
		kiln__stage(err, "root");
	return rc;
}

int kiln__root_image_name(const struct kiln__images *images, const char *path, char **ret,
			  kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln__autofree char *record = NULL;
	kiln__autofree char *object = NULL;
	struct kiln__source_id id;
	struct kiln__os_stat info;
	int r = kiln__os_open(&fd, path, KILN__OPEN_READ, err);

	if (r == 0)
		r = kiln__os_fstat(fd, &info, err);
	if (r < 0)
		return r;
	if (info.is_directory) {
		r = kiln__source_tree(fd, path, &id, err);
		if (r == 0)
			*ret = tree_name(&id);
		return r == 0 && !*ret ? kiln__fail_nomem(err) : r;
	}
	r = kiln__source_fd(fd, path, &id, err);
	record = r == 0 ? record_name(&id) : NULL;
	if (r == 0)
		r = record ? kiln__cache_find(images->cache, record, &object, err)
			   : kiln__fail_nomem(err);
	if (r < 0)
		return r;
	*ret = strdup(strrchr(object, '/') + 1);
	return *ret ? 0 : kiln__fail_nomem(err);
}
