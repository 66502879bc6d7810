/* SPDX-License-Identifier: Apache-2.0 */
#include "stage.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "source.h"

#include <stdlib.h>
#include <string.h>

int kiln__stage_make(char **ret, const char *kind, const char *id, kiln_error *err)
{
	kiln__autofree char *runtime = NULL;
	uint32_t number;
	char *dir;
	int r = kiln__os_runtime_dir(&runtime, err);

	if (r == 0)
		r = kiln__os_make_private_dir(runtime, err);
	if (r < 0)
		return r;
	kiln__os_random(&number, sizeof(number));
	dir = kiln__strf("%s/%s-%.12s-%08x", runtime, kind, id, (unsigned)number);
	r = dir ? kiln__os_mkdir(dir, 0700, err) : kiln__fail_nomem(err);
	if (r < 0)
		free(dir);
	else
		*ret = dir;
	return r;
}

void kiln__stage_remove(char *dir)
{
	if (dir)
		kiln__os_remove_tree(dir, NULL);
	free(dir);
}

int kiln__stage_source(char **ret, const struct kiln__source *source, const char *dir,
		       const char *name, kiln_error *err)
{
	kiln__autoclose kiln_fd in = KILN_FD_NONE;
	kiln__autoclose kiln_fd out = KILN_FD_NONE;
	kiln__autofree char *path = NULL;
	bool whole = source->path && !kiln__source_is_range(source);
	uint64_t offset;
	uint64_t length;
	int r = kiln__source_open(source, &in, &offset, &length, err);

	if (r == 0) {
		path = whole ? strdup(source->path) : kiln__strf("%s/%s", dir, name);
		r = path ? 0 : kiln__fail_nomem(err);
	}
	if (r == 0 && !whole)
		r = kiln__os_open(&out, path,
				  KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE, err);
	if (r == 0 && !whole)
		r = kiln__source_copy(in, offset, length, out, err);
	if (r < 0)
		return kiln__prefix(err, "%s", name), r;
	*ret = kiln__take(path);
	return 0;
}
