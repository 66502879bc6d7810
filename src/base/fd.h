/* SPDX-License-Identifier: Apache-2.0 */
/* An operating-system handle: a descriptor on POSIX, a HANDLE or SOCKET on Windows. */
#ifndef KILN_BASE_FD_H
#define KILN_BASE_FD_H

#include <stdint.h>

#ifdef _WIN32
typedef intptr_t kiln_fd;
#else
typedef int kiln_fd;
#endif

#define KILN_FD_NONE ((kiln_fd)-1)

#endif
