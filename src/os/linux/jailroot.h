/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_OS_LINUX_JAILROOT_H
#define KILN_OS_LINUX_JAILROOT_H

#include "jail.h"

/*
 * Leaves the file system but for the directories of @jail: those to be read are
 * read-only, nothing in any of them can be executed. Fails where this user may not have
 * namespaces, and then has changed nothing that matters: all paths are as they were. But
 * with *ret_open the root is the new one and the old one still to be reached.
 */
int kiln__linux_own_root(const struct kiln__jail *jail, bool *ret_open, kiln_error *err);

#endif
