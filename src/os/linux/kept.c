/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include "child.h"
#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

KILN__SYSCALLS(pidfd_send_signal(0 &KILN__KEPT_MASK = KILN__KEPT_FIRST));

int kiln__linux_take_kept(kiln_error *err)
{
	kiln__autoclose kiln_fd nothing = eventfd(0, EFD_CLOEXEC);
	const int last = KILN__KEPT_FIRST + KILN__KEPT_COUNT - 1;
	int fd;

	/* Each is the lowest free one of them, until there is none. */
	do {
		fd = nothing < 0 ? -1 : fcntl(nothing, F_DUPFD_CLOEXEC, KILN__KEPT_FIRST);
	} while (fd >= 0 && fd < last);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot take descriptors up to %d", last);
	if (fd > last)
		close(fd);
	return 0;
}

int kiln__child_keep(struct kiln__child *child, unsigned *count, kiln_error *err)
{
	int kept = KILN__KEPT_FIRST + (int)*count;

	if (*count >= KILN__KEPT_COUNT)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "a confined process cannot have more than %d children",
				  KILN__KEPT_COUNT);
	if (dup3(child->event, kept, O_CLOEXEC) < 0)
		return kiln__fail_errno(err, errno, "cannot keep a process in reach");
	child->kept = kept;
	++*count;
	return 0;
}

void kiln__posix_child_signal(const struct kiln__child *child, int signal)
{
	syscall(SYS_pidfd_send_signal, child->kept ? child->kept : child->event, signal, NULL, 0);
}
