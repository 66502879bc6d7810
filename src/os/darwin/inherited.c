/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kqueue of our own waits for the descriptor, or for the signals, and is readable itself when
 * that has come (kqueue(2)). A terminal is opened once more by its name; what lies in /dev/fd would
 * be the shared open file again.
 */
#include "inherited.h"

#include "err.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/event.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int new_queue(kiln_fd *ret, kiln_error *err)
{
	int queue = kqueue();

	if (queue < 0)
		return kiln__fail_errno(err, errno, "kqueue");
	fcntl(queue, F_SETFD, FD_CLOEXEC);
	*ret = queue;
	return 0;
}

int kiln__os_readiness(kiln_fd *ret, kiln_fd fd, bool writing, kiln_error *err)
{
	kiln__autoclose kiln_fd queue = KILN_FD_NONE;
	struct kevent change;
	struct stat st;
	int r;

	/* Of a file it would tell only what lies before its end. */
	if (fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
		return kiln__fail(err, KILN_ENOTSUP, "it is always ready");
	r = new_queue(&queue, err);
	if (r < 0)
		return r;
	EV_SET(&change, fd, writing ? EVFILT_WRITE : EVFILT_READ, EV_ADD, 0, 0, NULL);
	if (kevent(queue, &change, 1, NULL, 0, NULL) < 0) {
		/* Devices that cannot be waited for, as /dev/null. */
		if (errno == EINVAL || errno == ENODEV || errno == ENOTSUP || errno == EPERM)
			return kiln__fail(err, KILN_ENOTSUP, "it is always ready");
		return kiln__fail_errno(err, errno, "cannot wait for descriptor %d", fd);
	}
	*ret = kiln__take_fd(&queue);
	return 0;
}

kiln_fd kiln__os_reopen_to_write(kiln_fd fd)
{
	char name[128]; /* TTY_NAME_MAX: "/dev/ttys000" and its kin */

	if (!isatty(fd) || ttyname_r(fd, name, sizeof(name)) != 0)
		return KILN_FD_NONE;
	return open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

ssize_t kiln__os_send_now(kiln_fd socket, const void *bytes, size_t len)
{
	const int on = 1;
	ssize_t n;

	/* There is no such flag of one call: setsockopt(2), SO_NOSIGPIPE. */
	setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
	n = send(socket, bytes, len, MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

int kiln__os_signal_events(kiln_fd *ret, const int *numbers, size_t count, kiln_error *err)
{
	kiln__autoclose kiln_fd queue = KILN_FD_NONE;
	int r = new_queue(&queue, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		struct kevent change;

		EV_SET(&change, numbers[i], EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
		if (kevent(queue, &change, 1, NULL, 0, NULL) < 0)
			return kiln__fail_errno(err, errno, "cannot wait for signals");
	}
	*ret = kiln__take_fd(&queue);
	return 0;
}

/*
 * The filter tells that a signal was sent and leaves it pending, since it is blocked: it is taken
 * from there, or it would act once it is not blocked any more.
 */
int kiln__os_next_signal(kiln_fd events)
{
	const struct timespec now = {0};
	struct kevent event;
	sigset_t pending;
	sigset_t one;
	int number;

	while (kevent(events, NULL, 0, &event, 1, &now) == 1) {
		number = (int)event.ident;
		if (sigpending(&pending) < 0 || !sigismember(&pending, number))
			continue;
		sigemptyset(&one);
		sigaddset(&one, number);
		if (sigwait(&one, &number) == 0)
			return number;
	}
	return 0;
}
