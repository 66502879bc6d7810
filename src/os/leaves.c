/* SPDX-License-Identifier: Apache-2.0 */
#include "leaves.h"

#include "buf.h"
#include "os.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A killed process ends; the bound is for one stuck in the kernel. */
#define END_MS 5000

/* cgroup(7): cgroup.kill is of version 2 and Linux 5.14; elsewhere its processes have ended. */
static void kill_group(const char *path)
{
	kiln__autofree char *file = kiln__strf("%s/cgroup.kill", path);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;

	/* One that cannot be killed cannot be removed either, and that shows. */
	if (file && kiln__os_open(&fd, file, KILN__OPEN_WRITE, NULL) == 0)
		kiln__os_write(fd, "1", 1);
}

static bool is_number(const char *name)
{
	return *name && !name[strspn(name, "0123456789")];
}

static bool is_same(const char *path, const struct kiln__os_stat *as)
{
	struct kiln__os_stat st;

	return path && kiln__os_stat(path, &st, NULL) == 0 && st.device == as->device &&
	       st.inode == as->inode;
}

/* A process that has become another user, in namespaces of its own, is known by nothing else. */
static bool end_rooted(const char *path)
{
	struct kiln__os_stat root;
	char **names;
	bool all = true;

	if (kiln__os_stat(path, &root, NULL) < 0 || kiln__os_list_dir("/proc", &names, NULL) < 0)
		return true;
	for (char **name = names; *name; name++) {
		kiln__autofree char *theirs = kiln__strf("/proc/%s/root", *name);
		kiln__autoclose kiln_fd process = KILN_FD_NONE;

		/* Looked at again once it is held: the number may be another's by then. */
		if (is_number(*name) && is_same(theirs, &root) &&
		    kiln__os_open_process(&process, strtoll(*name, NULL, 10), "", NULL) == 0 &&
		    is_same(theirs, &root))
			all &= kiln__os_end_process(process, END_MS, NULL) == 0;
	}
	kiln__os_free_names(names);
	return all;
}

/* Nothing but what bears the VM's own name, which is nobody else's, and the directory that it is
 * in. */
static bool is_own(char kind, const char *path, const char *id)
{
	const char *end = kind == KILN__LEAVES_ROOT ? strrchr(path, '/') : path + strlen(path);
	size_t len = strlen(id);

	return (size_t)(end - path) > len && end[-(ptrdiff_t)len - 1] == '/' &&
	       strncmp(end - len, id, len) == 0 && !strstr(path, "/../") && strcmp(end, "/..") != 0;
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
	if (kind == KILN__LEAVES_ROOT)
		return end_rooted(path);
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
			if (!is_own(line[0], line + 2, id) || !remove_own(line[0], line + 2))
				return false;
			free(own);
			own = strdup(line + 2);
		}
		text += len + (text[len] == '\n');
	}
	return true;
}
