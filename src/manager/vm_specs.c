/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_specs.h"

#include "err.h"
#include "vmdir.h"
#include "volume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int spec_of(const struct kiln__vmdir *dir, struct kiln__spec **ret, kiln_error *err)
{
	kiln__cleanup(kiln_config_free_autop) kiln_config *config = NULL;
	int r = kiln__vmdir_parse_config(dir, &config, NULL, err);

	return r < 0 ? r : kiln__config_spec(config, ret, err);
}

/* A VM that is being made or removed, or is damaged, has nothing that could be told of. */
static int each(const struct kiln__home *home, const char *id,
		int (*fn)(void *data, const struct kiln__vm_spec *vm, kiln_error *err), void *data,
		kiln_error *err)
{
	kiln__cleanup(kiln__vmdir_free_autop) struct kiln__vmdir *dir = NULL;
	kiln__cleanup(kiln__spec_free_autop) struct kiln__spec *spec = NULL;
	char name[KILN__NAME_MAX + 1];

	if (kiln__vmdir_open(&dir, home, id, NULL) < 0 || spec_of(dir, &spec, NULL) < 0)
		return 0;
	snprintf(name, sizeof(name), "%.*s", dir->name ? KILN__NAME_MAX : 12,
		 dir->name ? dir->name : id);
	return fn(data,
		  &(struct kiln__vm_spec){
			  .id = id,
			  .name = name,
			  .alive = kiln__vmdir_is_alive(dir, NULL) > 0,
			  .spec = spec,
		  },
		  err);
}

int kiln__vm_specs(const struct kiln__home *home,
		   int (*fn)(void *data, const struct kiln__vm_spec *vm, kiln_error *err),
		   void *data, kiln_error *err)
{
	char **ids;
	int r = kiln__home_list(home, &ids, err);

	if (r < 0)
		return r;
	for (char **id = ids; r == 0 && *id; id++)
		r = each(home, *id, fn, data, err);
	kiln__os_free_names(ids);
	return r;
}

/* --- users of one file --------------------------------------------------------------------- */

struct search {
	const struct kiln__home *home;
	const struct kiln__os_stat *file;
	const char *but;
	struct kiln__disk_users *users;
};

static bool is_it(const struct search *search, const char *path)
{
	struct kiln__os_stat st;

	return path && kiln__os_stat(path, &st, NULL) == 0 && st.device == search->file->device &&
	       st.inode == search->file->inode;
}

/* 0: not at all, 1: reads, 2: writes */
static int uses(const struct search *search, const struct kiln__spec *spec)
{
	int how = 0;

	if (is_it(search, spec->root.source.path))
		how = kiln__root_is_writable(&spec->root) ? 2 : 1;
	for (size_t i = 0; how < 2 && i < spec->disk_count; i++)
		if (is_it(search, spec->disks[i].source.path))
			how = spec->disks[i].readonly ? 1 : 2;
	for (size_t i = 0; how < 2 && i < spec->volume_count; i++) {
		kiln__autofree char *path = kiln__volume_path(search->home, spec->volumes[i].name);

		if (is_it(search, path))
			how = spec->volumes[i].readonly ? 1 : 2;
	}
	return how;
}

static int on_vm(void *data, const struct kiln__vm_spec *vm, kiln_error *err)
{
	const struct search *search = data;
	struct kiln__disk_users *users = search->users;
	int how;

	(void)err;
	if (search->but && strcmp(vm->id, search->but) == 0)
		return 0;
	how = uses(search, vm->spec);
	users->all += how > 0;
	if (!how || !vm->alive)
		return 0;
	users->alive++;
	if (!users->first[0] || (how == 2 && !users->writes))
		snprintf(users->first, sizeof(users->first), "%s", vm->name);
	users->writes |= how == 2;
	return 0;
}

int kiln__disk_users(const struct kiln__home *home, const struct kiln__os_stat *file,
		     const char *but, struct kiln__disk_users *ret, kiln_error *err)
{
	struct kiln__disk_users users = {.first = ""};
	struct search search = {home, file, but, &users};
	int r = kiln__vm_specs(home, on_vm, &search, err);

	if (r == 0)
		*ret = users;
	return r;
}
