/* SPDX-License-Identifier: Apache-2.0 */
#include "volume.h"

#include "buf.h"
#include "check.h"
#include "err.h"
#include "os.h"
#include "scratch.h"
#include "vm_specs.h"

#include <stdlib.h>
#include <string.h>

static char *folder(const struct kiln__home *home)
{
	return kiln__strf("%s/volumes", home->dir);
}

char *kiln__volume_path(const struct kiln__home *home, const char *name)
{
	return kiln__strf("%s/volumes/%s", home->dir, name);
}

/* A name becomes a file's. */
static int check_name(const char *name, kiln_error *err)
{
	const char *must = strlen(name) > 64 ? "must have at most 64 bytes"
			   : name[0]         ? kiln__check_volume(name)
					     : "must not be empty";

	return must ? kiln__fail(err, KILN_EINVAL, "the volume's name %s: \"%.80s\"", must, name)
		    : 0;
}

int kiln__volume_create(const struct kiln__home *home, const char *name, uint64_t size,
			kiln_error *err)
{
	kiln__autofree char *dir = folder(home);
	kiln__autofree char *path = kiln__volume_path(home, name);
	kiln__autofree char *temporary = NULL;
	uint64_t number;
	int r = check_name(name, err);

	kiln__os_random(&number, sizeof(number));
	temporary = kiln__strf("%s/" KILN__OS_TEMPORARY "%016llx", dir ? dir : "",
			       (unsigned long long)number);
	if (!dir || !path || !temporary)
		return kiln__fail_nomem(err);
	if (r == 0)
		r = kiln__home_make(home, err);
	if (r == 0)
		r = kiln__os_make_private_dir(dir, err);
	if (r == 0)
		r = kiln__scratch_create_lasting(temporary, size ? size : KILN__VOLUME_SIZE, err);
	if (r < 0)
		return r;
	r = kiln__os_link_new(temporary, path, err);
	kiln__os_remove(temporary, NULL);
	if (r == KILN_EEXIST)
		kiln__fail(err, r, "there is a volume \"%s\" already", name);
	return r < 0 ? r : kiln__os_sync_dir(dir, err);
}

int kiln__volume_get(const struct kiln__home *home, const char *name, uint64_t size, bool make,
		     char **ret_path, kiln_error *err)
{
	kiln__autofree char *path = kiln__volume_path(home, name);
	struct kiln__os_stat st;
	int r = check_name(name, err);

	if (r < 0)
		return r;
	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_stat(path, &st, err);
	if (r == KILN_ENOENT && !make) {
		kiln__fail(err, r, "there is no volume \"%s\"", name);
		kiln__hint(err, "make it: kiln volume create %s", name);
		return r;
	}
	if (r == KILN_ENOENT) {
		r = kiln__volume_create(home, name, size, err);
		if (r == 0 || r == KILN_EEXIST)
			r = kiln__os_stat(path, &st, err);
	}
	if (r == 0 && size && st.size != size / 4096 * 4096) {
		kiln__fail(err, KILN_EINVAL,
			   "the volume \"%s\" has %llu MiB, not the %llu asked for", name,
			   (unsigned long long)(st.size >> 20), (unsigned long long)(size >> 20));
		kiln__hint(err, "leave its size out, or give another name");
		return KILN_EINVAL;
	}
	if (r == 0)
		*ret_path = kiln__take(path);
	return r;
}

int kiln__volume_check_free(const struct kiln__home *home, const char *name, const char *id,
			    bool readonly, kiln_error *err)
{
	kiln__autofree char *path = kiln__volume_path(home, name);
	struct kiln__disk_users users;
	struct kiln__os_stat st;
	int r = path ? kiln__os_stat(path, &st, err) : kiln__fail_nomem(err);

	if (r == 0)
		r = kiln__disk_users(home, &st, id, &users, err);
	if (r < 0 || !users.alive || (readonly && !users.writes))
		return r;
	kiln__fail(err, KILN_EBUSY, "the volume \"%s\" is in use by the VM \"%s\"", name,
		   users.first);
	kiln__hint(err,
		   users.writes ? "stop that VM first"
				: "stop that VM first, or mount it read-only: -v %s:PATH:ro",
		   name);
	return KILN_EBUSY;
}

/* --- looking --------------------------------------------------------------------------------- */

static int tell(const struct kiln__home *home, const char *name,
		int (*fn)(void *data, const struct kiln__volume_info *info, kiln_error *err),
		void *data, kiln_error *err)
{
	kiln__autofree char *path = kiln__volume_path(home, name);
	struct kiln__disk_users users;
	struct kiln__os_stat st;
	int r = path ? kiln__os_stat(path, &st, err) : kiln__fail_nomem(err);

	if (r == KILN_ENOENT)
		return kiln__fail(err, r, "there is no volume \"%.80s\"", name);
	if (r == 0)
		r = kiln__disk_users(home, &st, NULL, &users, err);
	if (r < 0)
		return r;
	return fn(data,
		  &(struct kiln__volume_info){
			  .name = name,
			  .path = path,
			  .size = st.size,
			  .allocated = st.allocated,
			  .user = users.first,
			  .vms = users.all,
		  },
		  err);
}

int kiln__volume_each(const struct kiln__home *home, const char *name,
		      int (*fn)(void *data, const struct kiln__volume_info *info, kiln_error *err),
		      void *data, kiln_error *err)
{
	kiln__autofree char *dir = folder(home);
	char **names;
	int r;

	if (name) {
		r = check_name(name, err);
		return r < 0 ? r : tell(home, name, fn, data, err);
	}
	if (!dir)
		return kiln__fail_nomem(err);
	r = kiln__os_list_dir(dir, &names, err);
	if (r < 0)
		return r == KILN_ENOENT ? 0 : r;
	for (char **at = names; r == 0 && *at; at++) {
		if (kiln__check_volume(*at))
			continue;
		r = tell(home, *at, fn, data, err);
		r = r == KILN_ENOENT ? 0 : r; /* removed meanwhile */
	}
	kiln__os_free_names(names);
	return r;
}

static int on_removal(void *data, const struct kiln__volume_info *info, kiln_error *err)
{
	const bool *force = data;
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r;

	if (info->user[0])
		return kiln__fail(err, KILN_EBUSY, "the volume \"%s\" is in use by the VM \"%s\"",
				  info->name, info->user);
	if (info->vms && !*force) {
		kiln__fail(err, KILN_EBUSY, "the volume \"%s\" belongs to %zu VM%s", info->name,
			   info->vms, info->vms == 1 ? "" : "s");
		kiln__hint(err, "remove them first, or add --force");
		return KILN_EBUSY;
	}
	r = kiln__os_open(&fd, info->path, KILN__OPEN_WRITE, err);
	if (r == 0)
		r = kiln__os_try_lock(fd, err);
	if (r == KILN_EBUSY)
		kiln__fail(err, r, "the volume \"%s\" is in use", info->name);
	return r < 0 ? r : kiln__os_remove(info->path, err);
}

int kiln__volume_remove(const struct kiln__home *home, const char *name, bool force,
			kiln_error *err)
{
	return kiln__volume_each(home, name, on_removal, &force, err);
}
