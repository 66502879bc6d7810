/* SPDX-License-Identifier: Apache-2.0 */
#include "leaves.h"

#include "buf.h"
#include "os.h"

#include <string.h>

/* cgroup(7): cgroup.kill is of version 2 and Linux 5.14; elsewhere its processes have ended. */
static void kill_group(const char *path)
{
	kiln__autofree char *file = kiln__strf("%s/cgroup.kill", path);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;

	/* One that cannot be killed cannot be removed either, and that shows. */
	if (file && kiln__os_open(&fd, file, KILN__OPEN_WRITE, NULL) == 0)
		kiln__os_write(fd, "1", 1);
}

static bool remove_leaf(char kind, const char *path)
{
	if (kind == KILN__LEAVES_TREE)
		return kiln__os_remove_tree(path, NULL) == 0;
	if (kind == KILN__LEAVES_GROUP)
		kill_group(path);
	return kiln__os_remove(path, NULL) == 0 || kind == KILN__LEAVES_EMPTY;
}

bool kiln__os_remove_leaves(const char *text)
{
	bool gone = true;

	while (*text) {
		size_t len = strcspn(text, "\n");
		kiln__autofree char *line = kiln__strf("%.*s", (int)len, text);

		if (!line || len < 3 || line[2] != '/')
			return false; /* damaged */
		gone &= remove_leaf(line[0], line + 2);
		text += len + (text[len] == '\n');
	}
	return gone;
}
