/* SPDX-License-Identifier: Apache-2.0 */
/* A directory of one instance's own, for what must be found by a path that has none. */
#ifndef KILN_BACKENDS_STAGE_H
#define KILN_BACKENDS_STAGE_H

#include "backend.h"

/* A new one in the runtime directory, @kind and the machine's id in its name. The caller's, to be
 * removed with all in it by kiln__stage_remove(). */
int kiln__stage_make(char **ret, const char *kind, const char *id, kiln_error *err);
void kiln__stage_remove(char *dir); /* and frees it; NULL is allowed */

/*
 * The path, malloc'ed, of a file that holds what @source means and nothing else: its own, or a copy
 * called @name in @dir of what is a range or a descriptor.
 */
int kiln__stage_source(char **ret, const struct kiln__source *source, const char *dir,
		       const char *name, kiln_error *err);

#endif
