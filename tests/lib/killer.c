/* SPDX-License-Identifier: Apache-2.0 */
#include "killer.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void be_traced(int (*fn)(void *data), void *data)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
		_exit(99);
	raise(SIGSTOP);
	_exit(fn(data));
}

static void end(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) == pid && !WIFEXITED(status) && !WIFSIGNALED(status))
		;
}

enum killed kill_at(unsigned moment, int (*fn)(void *data), void *data, int *ret_status)
{
	pid_t pid = fork();
	int pending = 0;
	int status;

	if (pid < 0)
		abort();
	if (pid == 0)
		be_traced(fn, data);
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) < 0) {
		end(pid);
		return NO_PTRACE;
	}
	for (unsigned seen = 0;;) {
		if (ptrace(PTRACE_SYSCALL, pid, 0, pending) < 0 || waitpid(pid, &status, 0) != pid)
			abort();
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			*ret_status =
				WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			return ENDED_BEFORE;
		}
		pending = 0;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			pending = WSTOPSIG(status);
		else if (seen++ == moment)
			break;
	}
	end(pid);
	return KILLED;
}
