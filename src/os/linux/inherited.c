/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An epoll instance of our own holds the descriptor; what it refuses, files and some devices, is
 * always ready. /proc gives a pipe or terminal an open file of our own. Signals by signalfd.
 */
#include "inherited.h"

#include "err.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

int kiln__os_readiness(kiln_fd *ret, kiln_fd fd, bool writing, kiln_error *err)
{
	kiln__autoclose kiln_fd epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = writing ? EPOLLOUT : EPOLLIN};

	if (epoll < 0)
		return kiln__fail_errno(err, errno, "epoll_create1");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return errno == EPERM
			       ? kiln__fail(err, KILN_ENOTSUP, "it is always ready")
			       : kiln__fail_errno(err, errno, "cannot wait for descriptor %d", fd);
	*ret = kiln__take_fd(&epoll);
	return 0;
}

kiln_fd kiln__os_reopen_to_write(kiln_fd fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

ssize_t kiln__os_send_now(kiln_fd socket, const void *bytes, size_t len)
{
	ssize_t n = send(socket, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

int kiln__os_signal_events(kiln_fd *ret, const int *numbers, size_t count, kiln_error *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < count; i++)
		sigaddset(&set, numbers[i]);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "signalfd");
	*ret = fd;
	return 0;
}

int kiln__os_next_signal(kiln_fd events)
{
	struct signalfd_siginfo info;

	return read(events, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}
