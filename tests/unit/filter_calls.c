/* SPDX-License-Identifier: Apache-2.0 */
/* A program with one list of system calls, for seccomp-gen to refuse. */
#include "syscalls.h"

KILN__SYSCALLS(LIST);

int main(void)
{
	return 0;
}
