/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_OS_THREAD_H
#define KILN_OS_THREAD_H

#include <kiln/error.h>

/* Calls @fn on a thread that nobody joins and that takes no signals. What work.c is made of. */
int kiln__thread_start(void (*fn)(void *data), void *data, kiln_error *err);

#endif
