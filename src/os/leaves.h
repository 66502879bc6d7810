/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process leaves that it may not remove itself once it is confined: lines of a kind and an
 * absolute path, which whoever has the right removes by.
 */
#ifndef KILN_OS_LEAVES_H
#define KILN_OS_LEAVES_H

#include <stdbool.h>

#define KILN__LEAVES_TREE  't' /* a directory with all in it */
#define KILN__LEAVES_EMPTY 'd' /* the directory around the one before, if nothing is in it */
#define KILN__LEAVES_GROUP 'g' /* a cgroup: its processes are killed */
#define KILN__LEAVES_ROOT  'r' /* in such a tree: those whose root directory it is are killed */

/*
 * Removes what the lines of @text say, in their order, up to the first that stays; false if one
 * does. The text is not trusted: a tree or cgroup is removed only if its own name is @id, a
 * root lies in one of that name, whatever else stands there, and a directory only as the one around that.
 */
bool kiln__os_remove_leaves(const char *text, const char *id);

#endif
