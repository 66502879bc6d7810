/* SPDX-License-Identifier: Apache-2.0 */
#include "leaves.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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

static int remove_line(const char *line, const char *id, char **own, int64_t until_ns,
		       kiln_error *err)
{
	const char *path = line + 2;
	int r;

	if (line[0] == KILN__LEAVES_EMPTY && is_around(path, *own)) {
		kiln__os_remove(path, NULL); /* what else is in it keeps it */
		return 0;
	}
	if ((line[0] != KILN__LEAVES_TREE && line[0] != KILN__LEAVES_GROUP) || !is_own(path, id))
		return kiln__fail(err, KILN_EFORMAT, "\"%s\" is nothing that %s may have left",
				  line, id);
	r = line[0] == KILN__LEAVES_TREE ? kiln__os_remove_tree(path, err)
					 : kiln__os_end_group(path, until_ns, err);
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
