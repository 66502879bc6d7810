/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_OS_DARWIN_QUEUE_H
#define KILN_OS_DARWIN_QUEUE_H

#include <sys/types.h>

/* A kqueue that is readable once process @pid has ended. A descriptor or a negative errno. */
int kiln__darwin_queue_for(pid_t pid);

#endif
