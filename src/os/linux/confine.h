/* SPDX-License-Identifier: Apache-2.0 */
/* What a program that is spawned "confined" cannot do: see struct kiln__spawn. */
#ifndef KILN_OS_LINUX_CONFINE_H
#define KILN_OS_LINUX_CONFINE_H

#include "os.h"

/* Before the process is made: the files that it may reach. *@ret: -1 where there is no Landlock. */
int kiln__linux_confine_prepare(const struct kiln__spawn *spawn, int *ret, kiln_error *err);

/*
 * In the child, by bare system calls: files, once it can gain no privileges and while @ruleset is
 * open; last of all, system calls. -1 with errno on failure.
 */
long kiln__linux_confine_files(int ruleset);
long kiln__linux_confine_calls(void);

#endif
