/* SPDX-License-Identifier: Apache-2.0 */
/* What the jail's test declares. Not linked into it: its library's lists are not to count. */
#include "syscalls.h"

#include <sys/socket.h>

KILN__SYSCALLS(read, write, pwrite64, close, openat, newfstatat, fstat, lseek, unlink, unlinkat);
KILN__SYSCALLS(rename, renameat, renameat2, sendto, fchmod, linkat, getrandom, capget);
KILN__SYSCALLS(prctl(0 = 39), prctl(0 = 3), ioctl(1 = 0x5421), clock_gettime);
KILN__SYSCALLS(socket(0 = AF_UNIX 1 = 0x80001), socket(0 = AF_UNIX 1 = 1), connect(2 = 110));
KILN__SYSCALLS(rt_sigprocmask, rt_sigaction, rt_sigreturn, munmap, mmap(2 & 4 = 0), madvise);
KILN__SYSCALLS(futex, gettid, getpid, exit, exit_group);

KILN__SYSCALLS_OF_SANITIZERS;

int main(void)
{
	return 0;
}
