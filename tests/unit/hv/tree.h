/* SPDX-License-Identifier: Apache-2.0 */
/* A directory that stands for a host's root, with just the files a test puts there. */
#ifndef TESTS_HV_TREE_H
#define TESTS_HV_TREE_H

#include <limits.h>

struct tree {
	char path[64];
};

void tree_make(struct tree *tree);
void tree_remove(struct tree *tree);
void tree_write(const struct tree *tree, const char *name,
		const char *text); /* makes folders too */

/* The path of @name in it. Static: valid until the next call but three. */
const char *tree_at(const struct tree *tree, const char *name);

#endif
