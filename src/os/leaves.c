/* SPDX-License-Identifier: Apache-2.0 */
#include "leaves.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char own_kinds[] = {KILN__LEAVES_TREE, KILN__LEAVES_GROUP, KILN__LEAVES_ROOT, '\0'};

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

static int left_ms(int64_t until_ns)
{
	int64_t left = (until_ns - kiln__os_monotonic_ns()) / 1000000;

	return left > 0 ? (int)left : 0;
}

/* A process that has become another user, in namespaces of its own, is known by nothing else. */
static int end_rooted(const char *path, int64_t until_ns, kiln_error *err)
{
	struct kiln__os_stat root;
	char **names;
	int r = 0;

	if (kiln__os_stat(path, &root, NULL) < 0 || kiln__os_list_dir("/proc", &names, NULL) < 0)
		return 0;
	for (char **name = names; *name && r == 0; name++) {
		kiln__autofree char *theirs = kiln__strf("/proc/%s/root", *name);
		kiln__autoclose kiln_fd process = KILN_FD_NONE;

		/* Looked at again once it is held: the number may be another's by then. */
		if (is_number(*name) && is_same(theirs, &root) &&
		    kiln__os_open_process(&process, strtoll(*name, NULL, 10), "", NULL) == 0 &&
		    is_same(theirs, &root))
			r = kiln__os_end_process(process, left_ms(until_ns), err);
	}
	kiln__os_free_names(names);
	return r == KILN_ETIMEDOUT
		       ? kiln__fail(err, KILN_EBUSY, "a process in %s has not ended", path)
		       : r;
}

/* What it says is removed, or ended. */
static int do_line(char kind, const char *path, int64_t until_ns, kiln_error *err)
{
	switch (kind) {
	case KILN__LEAVES_TREE:
		return kiln__os_remove_tree(path, err);
	case KILN__LEAVES_ROOT:
		return end_rooted(path, until_ns, err);
	default:
		return kiln__os_end_group(path, until_ns, err);
	}
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

static int remove_line(const char *line, const char *id, char **own, int64_t until_ns,
		       kiln_error *err)
{
	const char *path = line + 2;
	int r;

	if (line[0] == KILN__LEAVES_EMPTY && is_around(path, *own)) {
		kiln__os_remove(path, NULL); /* what else is in it keeps it */
		return 0;
	}
	if (!strchr(own_kinds, line[0]) || !is_own(line[0], path, id))
		return kiln__fail(err, KILN_EFORMAT, "\"%s\" is nothing that %s may have left",
				  line, id);
	r = do_line(line[0], path, until_ns, err);
	if (r < 0)
		return r;
	free(*own);
	*own = strdup(path);
	return *own ? 0 : kiln__fail_nomem(err);
}

int kiln__os_remove_leaves(const char *text, const char *id, int timeout_ms, kiln_error *err)
{
	int64_t until_ns = kiln__os_monotonic_ns() + (int64_t)timeout_ms * 1000000;
	kiln__autofree char *own = NULL;
	int r = 0;

	while (*text && r == 0) {
		size_t len = strcspn(text, "\n");
		kiln__autofree char *line = kiln__strf("%.*s", (int)len, text);

		if (!line)
			return kiln__fail_nomem(err);
		if (len < 3 || line[1] != ' ' || line[2] != '/')
			return kiln__fail(err, KILN_EFORMAT, "\"%s\" is no line of leaves", line);
		r = remove_line(line, id, &own, until_ns, err);
		text += len + (text[len] == '\n');
	}
	return r;
}
