/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_OS_WIN32_SPAWN_H
#define KILN_OS_WIN32_SPAWN_H

#include "win32.h"

struct kiln__win32_program {
	HANDLE process;
	/* Of a program tied to this process: closing it, as our end does, kills. Else NULL. */
	HANDLE job;
	DWORD id;
};

int kiln__win32_spawn(const struct kiln__spawn *spawn, struct kiln__win32_program *ret,
		      kiln_error *err);

#endif
