/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that are not our children, by pidfd. */
#include "os.h"

#include "err.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * Whether the command line of @pid has @word: 0, KILN_EEXIST if not, KILN_ENOENT if it has none any
 * more, having ended.
 */
static int find_word(int64_t pid, const char *word)
{
	kiln__autofree char *line = NULL;
	char path[64];
	size_t len;

	snprintf(path, sizeof(path), "/proc/%lld/cmdline", (long long)pid);
	if (kiln__os_read_file(path, (size_t)1 << 20, &line, &len, NULL) < 0)
		return KILN_ENOENT;
	if (len == 0)
		return KILN_ENOENT;
	return memmem(line, len, word, strlen(word)) ? 0 : KILN_EEXIST;
}

int kiln__os_open_process(kiln_fd *ret, int64_t pid, const char *word, kiln_error *err)
{
	int fd;
	int r;

	if (pid <= 0 || pid > INT32_MAX)
		return kiln__fail(err, KILN_ENOENT, "there is no process %lld", (long long)pid);
	fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (fd < 0 && errno == ESRCH)
		return kiln__fail(err, KILN_ENOENT, "process %lld has ended", (long long)pid);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot open process %lld", (long long)pid);
	/* Looked at after the descriptor was made: what is seen is that process, or a later one of
	 * its number. */
	r = find_word(pid, word);
	if (r == 0 && syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) < 0)
		r = KILN_ENOENT;
	if (r < 0) {
		close(fd);
		return kiln__fail(err, r, "process %lld is none of this machine", (long long)pid);
	}
	*ret = fd;
	return 0;
}

int kiln__os_end_process(kiln_fd process, int timeout_ms, kiln_error *err)
{
	int64_t until = kiln__os_monotonic_ns() + (int64_t)timeout_ms * 1000000;
	struct pollfd readable = {.fd = process, .events = POLLIN};
	int n;

	if (syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return kiln__fail_errno(err, errno, "cannot kill a process");
	do {
		int64_t left = (until - kiln__os_monotonic_ns() + 999999) / 1000000;

		n = poll(&readable, 1, left > 0 ? (int)left : 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return kiln__fail_errno(err, errno, "cannot wait for a process");
	return n ? 0 : kiln__fail(err, KILN_ETIMEDOUT, "a killed process has not ended");
}
