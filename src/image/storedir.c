/* SPDX-License-Identifier: Apache-2.0 */
/* The store's directory, its lock, and how its documents are read. */
#include "storedir.h"

#include "err.h"
#include "join.h"

#include <jansson.h>
#include <string.h>

#define LAYOUT "{\"imageLayoutVersion\":\"1.0.0\"}"

char *kiln__store_path(const struct kiln__images *images, const char *folder, const char *name,
		       const char *suffix)
{
	return kiln__join(kiln__cache_path(images->cache), "/store/", folder, name ? "/" : "",
			  name ? name : "", suffix, NULL);
}

static int make(const struct kiln__images *images, kiln_error *err)
{
	static const char *const folders[] = {"blobs/sha256", "images", "refs"};
	kiln__autofree char *layout = kiln__store_path(images, "oci-layout", NULL, "");
	struct kiln__os_stat st;
	int r;

	if (!layout)
		return kiln__fail_nomem(err);
	if (kiln__os_stat(layout, &st, NULL) == 0)
		return 0;
	r = kiln__os_make_private_dir(kiln__cache_path(images->cache), err);
	for (size_t i = 0; r == 0 && i < sizeof(folders) / sizeof(folders[0]); i++) {
		kiln__autofree char *path = kiln__store_path(images, folders[i], NULL, "");

		r = path ? kiln__os_mkdir_p(path, 0700, err) : kiln__fail_nomem(err);
	}
	if (r == 0)
		r = kiln__os_replace_file(layout, LAYOUT, strlen(LAYOUT), 0600, false, err);
	if (r < 0)
		kiln__prefix(err, "cannot make the image store");
	return r;
}

static int open_lock(const struct kiln__images *images, kiln_fd *ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "lock", NULL, "");
	int r = make(images, err);

	if (r < 0)
		return r;
	return path ? kiln__os_open(ret, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE, err)
		    : kiln__fail_nomem(err);
}

static int lock(const struct kiln__images *images, unsigned part, bool wait, kiln_fd *ret,
		kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = open_lock(images, &fd, err);

	if (r == 0)
		r = kiln__os_lock_part(fd, part, wait, err);
	if (r == 0)
		*ret = kiln__take_fd(&fd);
	return r;
}

int kiln__store_lock(const struct kiln__images *images, unsigned part, kiln_fd *ret,
		     kiln_error *err)
{
	return lock(images, part, true, ret, err);
}

int kiln__store_lock_now(const struct kiln__images *images, unsigned part, kiln_fd *ret,
			 kiln_error *err)
{
	return lock(images, part, false, ret, err);
}

int kiln__store_hold(const struct kiln__images *images, kiln_fd *ret_lock, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "lock", NULL, "");
	kiln__autoclose kiln_fd made = KILN_FD_NONE;
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = open_lock(images, &made, err);

	if (r == 0)
		r = path ? kiln__os_open(&fd, path, KILN__OPEN_READ, err) : kiln__fail_nomem(err);
	if (r == 0)
		r = kiln__os_hold_part(fd, PART_BLOBS, err);
	if (r == 0)
		*ret_lock = kiln__take_fd(&fd);
	return r;
}

int kiln__store_hold_here(const struct kiln__images *images, bool wait, kiln_fd *ret_lock,
			  kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "lock", NULL, "");
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = path ? kiln__os_open(&fd, path, KILN__OPEN_READ, err) : kiln__fail_nomem(err);

	if (r == KILN_ENOENT)
		return 0;
	if (r == 0 && !wait)
		r = kiln__os_part_is_locked(fd, PART_BLOBS, err);
	if (r > 0)
		return kiln__fail(err, KILN_EBUSY, "the image store is locked");
	if (r == 0)
		r = kiln__os_hold_part(fd, PART_BLOBS, err);
	if (r == 0)
		*ret_lock = kiln__take_fd(&fd);
	return r;
}

int kiln__store_blobs(const struct kiln__images *images, kiln_fd *ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__store_path(images, "blobs/sha256", NULL, "");

	return path ? kiln__os_open(ret, path, KILN__OPEN_READ | KILN__OPEN_DIRECTORY, err)
		    : kiln__fail_nomem(err);
}

int kiln__store_load_json(const char *path, size_t max, json_t **ret, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	size_t len;
	int r = kiln__os_read_file(path, max, &text, &len, err);

	if (r < 0)
		return r;
	*ret = json_loadb(text, len, 0, NULL);
	if (json_is_object(*ret))
		return 0;
	json_decref(*ret);
	*ret = NULL;
	return kiln__fail(err, KILN_EFORMAT, "%s is damaged", path);
}
