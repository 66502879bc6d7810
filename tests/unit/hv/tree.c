/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

void tree_make(struct tree *tree)
{
	strcpy(tree->path, "/tmp/kiln-hv-XXXXXX");
	must(mkdtemp(tree->path) != NULL, "mkdtemp");
	must(chmod(tree->path, 0755) == 0, "chmod"); /* another user looks in, too */
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void tree_remove(struct tree *tree)
{
	nftw(tree->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *tree_at(const struct tree *tree, const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", tree->path, name);
	return path;
}

void tree_write(const struct tree *tree, const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", tree->path, name);
	for (char *slash = path + strlen(tree->path) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	file = fopen(path, "we");
	must(file != NULL, path);
	must(fputs(text, file) >= 0 && fclose(file) == 0, path);
}
