/* SPDX-License-Identifier: Apache-2.0 */
#include "leaves.h"

#include "buf.h"
#include "os.h"

#include <stdlib.h>
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

/* Nothing but what bears the VM's own name, which is nobody else's, and the directory that it is
 * in. */
static bool is_own(const char *path, const char *id)
{
	const char *name = strrchr(path, '/') + 1;

	return *path == '/' && strcmp(name, id) == 0 && !strstr(path, "/../");
}

static bool is_around(const char *path, const char *own)
{
	size_t len = strlen(path);

	return own && strncmp(own, path, len) == 0 && own + len == strrchr(own, '/');
}

static bool remove_own(char kind, const char *path)
{
	if (kind == KILN__LEAVES_TREE)
		return kiln__os_remove_tree(path, NULL) == 0;
	if (kind != KILN__LEAVES_GROUP)
		return false;
	kill_group(path);
	return kiln__os_remove(path, NULL) == 0;
}

bool kiln__os_remove_leaves(const char *text, const char *id)
{
	kiln__autofree char *own = NULL;

	while (*text) {
		size_t len = strcspn(text, "\n");
		kiln__autofree char *line = kiln__strf("%.*s", (int)len, text);

		if (!line || len < 3 || line[1] != ' ' || line[2] != '/')
			return false; /* damaged */
		if (line[0] == KILN__LEAVES_EMPTY) {
			if (!is_around(line + 2, own))
				return false;
			kiln__os_remove(line + 2, NULL);
		} else {
			if (!is_own(line + 2, id) || !remove_own(line[0], line + 2))
				return false;
			free(own);
			own = strdup(line + 2);
		}
		text += len + (text[len] == '\n');
	}
	return true;
}
