/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that are not our children. There are no process descriptors here: a
 * kqueue that waits for the process stands for it, and carries its number. Between
 * the look whether it has ended and the signal it could only be mistaken if its number
 * came around once in that moment.
 */
#include "os.h"

#include "err.h"
#include "leaves.h"
#include "queue.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/event.h>
#include <sys/sysctl.h>
#include <unistd.h>

/* The event that keeps the number; it is triggered only to be asked. */
#define NUMBER_EVENT 2

/* Whether @word lies in the process's arguments: KERN_PROCARGS2. */
static bool has_word(pid_t pid, const char *word)
{
	int name[] = {CTL_KERN, KERN_PROCARGS2, pid};
	kiln__autofree char *words = NULL;
	size_t len = 0;

	if (sysctl(name, 3, NULL, &len, NULL, 0) < 0)
		return false;
	words = malloc(len);
	return words && sysctl(name, 3, words, &len, NULL, 0) == 0 &&
	       memmem(words, len, word, strlen(word));
}

static bool has_ended(int queue)
{
	struct pollfd readable = {.fd = queue, .events = POLLIN};

	return poll(&readable, 1, 0) == 1;
}

/* kqueue(2), EVFILT_USER: 24 bits are the user's; numbers of processes have 17. */
static int put_number(int queue, pid_t pid)
{
	struct kevent change;

	EV_SET(&change, NUMBER_EVENT, EVFILT_USER, EV_ADD, NOTE_FFCOPY | (uint32_t)pid, 0, NULL);
	return kevent(queue, &change, 1, NULL, 0, NULL);
}

int kiln__os_open_process(kiln_fd *ret, int64_t pid, const char *word, kiln_error *err)
{
	kiln__autoclose kiln_fd queue = KILN_FD_NONE;

	if (pid <= 0 || pid > (int64_t)NOTE_FFLAGSMASK)
		return kiln__fail(err, KILN_ENOENT, "there is no process %lld", (long long)pid);
	queue = kiln__darwin_queue_for((pid_t)pid);
	if (queue < 0)
		return kiln__fail_errno(err, -queue, "cannot open process %lld", (long long)pid);
	if (put_number(queue, (pid_t)pid) < 0)
		return kiln__fail_errno(err, errno, "cannot open process %lld", (long long)pid);
	/*
	 * Looked at after the queue was made: what is seen is that process, or a later one of its
	 * number.
	 */
	if (!has_word((pid_t)pid, word) || has_ended(queue))
		return kiln__fail(err, KILN_ENOENT, "process %lld is none of this machine",
				  (long long)pid);
	*ret = kiln__take_fd(&queue);
	return 0;
}

/* The number that the queue carries; 0 if the process has ended, -1 on failure, with errno. */
static pid_t number_of(int queue)
{
	const struct timespec now = {0};
	struct kevent change;
	struct kevent events[2];
	pid_t pid = 0;
	int n;

	EV_SET(&change, NUMBER_EVENT, EVFILT_USER, 0, NOTE_TRIGGER | NOTE_FFNOP, 0, NULL);
	n = kevent(queue, &change, 1, events, 2, &now);
	for (int i = 0; i < n; i++) {
		if (events[i].filter != EVFILT_USER || events[i].ident != NUMBER_EVENT)
			return 0;
		pid = (pid_t)(events[i].fflags & NOTE_FFLAGSMASK);
	}
	/* Not triggered any more, for who waits for the end. */
	EV_SET(&change, NUMBER_EVENT, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	if (n < 0 || kevent(queue, &change, 1, NULL, 0, NULL) < 0 || put_number(queue, pid) < 0)
		return -1;
	return pid;
}

int kiln__os_end_process(kiln_fd process, int timeout_ms, kiln_error *err)
{
	int64_t until = kiln__os_monotonic_ns() + (int64_t)timeout_ms * 1000000;
	struct pollfd readable = {.fd = process, .events = POLLIN};
	pid_t pid;
	int n;

	if (has_ended(process))
		return 0;
	pid = number_of(process);
	if (pid == 0)
		return 0;
	if (pid < 0 || (kill(pid, SIGKILL) < 0 && errno != ESRCH))
		return kiln__fail_errno(err, errno, "cannot kill a process");
	do {
		int64_t left = (until - kiln__os_monotonic_ns() + 999999) / 1000000;

		n = poll(&readable, 1, left > 0 ? (int)left : 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return kiln__fail_errno(err, errno, "cannot wait for a process");
	return n ? 0 : kiln__fail(err, KILN_ETIMEDOUT, "a killed process has not ended");
}

int kiln__os_end_group(const char *path, int64_t until_ns, kiln_error *err)
{
	(void)until_ns;
	return kiln__fail(err, KILN_ENOTSUP, "%s is no cgroup: macOS has none", path);
}
