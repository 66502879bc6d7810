/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process leaves that it may not remove itself once it is confined: lines of a kind and an
 * absolute path, which whoever has the right removes by.
 */
#ifndef KILN_OS_LEAVES_H
#define KILN_OS_LEAVES_H

#include <kiln/error.h>

#include <stdint.h>

#define KILN__LEAVES_TREE  't' /* a directory with all in it */
#define KILN__LEAVES_EMPTY 'd' /* the directory around the one before, if nothing is in it */
#define KILN__LEAVES_GROUP 'g' /* a cgroup: its processes are killed */
#define KILN__LEAVES_ROOT  'r' /* in such a tree: those whose root directory it is are killed */

/*
 * Removes what the lines of @text say, in their order, up to the first that stays, which the error
 * names. Processes are waited for, @timeout_ms in all: KILN_EBUSY. The text is not trusted: a tree
 * or cgroup is removed only if its own name is @id, a root lies in one of that name, whatever else
 * stands there, and a directory only as the one around that; a line that says anything else is
 * KILN_EFORMAT.
 */
int kiln__os_remove_leaves(const char *text, const char *id, int timeout_ms, kiln_error *err);

/*
 * The system's part: kills what is in the cgroup @path, waits for its end up to a moment of the
 * monotonic clock, and removes it; one that is not there is success. KILN_EBUSY: it has not ended.
 */
int kiln__os_end_group(const char *path, int64_t until_ns, kiln_error *err);

#endif
