/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of os/win32 share: error codes and UTF-16. kiln speaks UTF-8 and
 * errno; Windows speaks UTF-16 and two numberings of its own.
 */
#ifndef KILN_OS_WIN32_H
#define KILN_OS_WIN32_H

#include "os.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <winsock2.h>

/* The errno that comes near a code of GetLastError() or WSAGetLastError(). */
int kiln__win32_errno(DWORD code);

/*
 * As kiln__fail_errno(), from GetLastError()'s or WSAGetLastError()'s code, in the system's words.
 */
int kiln__win32_fail(kiln_error *err, DWORD code, const char *fmt, ...) KILN_PRINTF(3, 4);

/* UTF-8 to UTF-16 and back, malloc'ed; NULL if it is no UTF-8, or out of memory. */
WCHAR *kiln__win32_wide(const char *text);
char *kiln__win32_utf8(const WCHAR *text);

/* The same for a path, where '/' becomes '\'; fills @err if it cannot be. */
int kiln__win32_path(WCHAR **ret, const char *path, kiln_error *err);

/* The value of an environment variable, malloc'ed; NULL if it is not set. */
char *kiln__win32_env(const char *name);

/* The byte that stands for a numbered part of a file in locks (lock.c). */
OVERLAPPED kiln__win32_part_place(unsigned part);

/* Starts Winsock, once for the process, which never stops it. */
int kiln__win32_start_sockets(kiln_error *err);

#endif
