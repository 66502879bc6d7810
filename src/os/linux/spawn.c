/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting programs.
 *
 * The child shares this process's memory until it executes the program
 * (CLONE_VM | CLONE_VFORK): nothing is copied however large we are, and what went
 * wrong is simply left in a variable. For the same reason the child's part does
 * nothing but system calls, made directly: no allocation, no locks, none of the C
 * library's cancellation points, and nothing that a sanitizer would hook. Signals
 * are blocked across it, since a handler would run in shared memory too.
 *
 * Lives tied to the parent: PR_SET_PDEATHSIG, then a look whether the parent
 * is still the one that spawned; were it gone before the call, the kernel would not
 * signal any more. The kernel means the parent *thread*: os.h says so.
 */
#include "child.h"
#include "confine.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* What the child's own code may use: a few small frames. */
#define STACK_SIZE 16384

enum step { STEP_NONE, STEP_SETUP, STEP_MOUNTS, STEP_FDS, STEP_CWD, STEP_EXEC };

struct plan {
	const struct kiln__spawn *spawn;
	const char *const *env;
	int *moved; /* one for each of spawn->fds: where it is out of the way */
	int top;    /* the highest number wanted in the child, at least 2 */
	pid_t parent;
	int pidfd; /* of the program, set by the kernel */
	pid_t pid;
	/* Written by the child, read by us after it executed the program or ended. */
	enum step failed;
	int code;
	bool offline;
	int ruleset; /* of one that is confined; -1: none */
	/* Here, since the child's own frames may hold nothing that a sanitizer would guard. */
	struct __user_cap_header_struct cap_header;
	struct __user_cap_data_struct caps[2];
	char status[4096]; /* of the child, as far as its signals are told in */
};

static long fail(struct plan *plan, enum step step)
{
	plan->failed = step;
	plan->code = errno;
	return -1;
}

static bool is_wanted(const struct kiln__spawn *spawn, int number)
{
	for (size_t i = 0; i < spawn->fd_count; i++)
		if (spawn->fds[i].to == number)
			return true;
	return false;
}

/* First all out of the way, then each to its place: any permutation comes out right. */
static long place_fds(struct plan *plan)
{
	const struct kiln__spawn *spawn = plan->spawn;
	long null;

	for (size_t i = 0; i < spawn->fd_count; i++) {
		plan->moved[i] =
			(int)syscall(SYS_fcntl, spawn->fds[i].from, F_DUPFD_CLOEXEC, plan->top + 1);
		if (plan->moved[i] < 0)
			return fail(plan, STEP_FDS);
	}
	null = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
	if (null >= 0 && null <= plan->top)
		null = syscall(SYS_fcntl, null, F_DUPFD_CLOEXEC, plan->top + 1);
	if (null < 0)
		return fail(plan, STEP_FDS);
	for (size_t i = 0; i < spawn->fd_count; i++)
		if (syscall(SYS_dup3, plan->moved[i], spawn->fds[i].to, 0) < 0)
			return fail(plan, STEP_FDS);
	for (int number = 0; number <= plan->top; number++) {
		if (is_wanted(spawn, number))
			continue;
		if (number > 2)
			syscall(SYS_close, number);
		else if (syscall(SYS_dup3, null, number, 0) < 0)
			return fail(plan, STEP_FDS);
	}
	if (syscall(SYS_close_range, plan->top + 1, ~0U, 0) < 0)
		return fail(plan, STEP_FDS);
	return 0;
}

/* The kernel's sigaction: the C library's would not touch its two reserved signals. */
struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

/* The mask that follows @name in @text, a line of proc(5)'s status: hexadecimal. */
static bool find_mask(const char *text, const char *name, uint64_t *ret)
{
	for (; *text; text++) {
		size_t n = 0;

		while (name[n] && text[n] == name[n])
			n++;
		if (name[n])
			continue;
		*ret = 0;
		for (text += n; *text && *text != '\n'; text++)
			*ret = *ret << 4 |
			       (uint64_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
		return *text == '\n';
	}
	return false;
}

/* Which signals are ignored or caught: few, and to ask costs less than to set all. */
static uint64_t changed_signals(struct plan *plan)
{
	long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? -1 : syscall(SYS_read, fd, plan->status, sizeof(plan->status) - 1);
	uint64_t ignored;
	uint64_t caught;

	if (n <= 0)
		return UINT64_MAX;
	plan->status[n] = '\0';
	if (!find_mask(plan->status, "\nSigIgn:\t", &ignored) ||
	    !find_mask(plan->status, "\nSigCgt:\t", &caught))
		return UINT64_MAX;
	return ignored | caught;
}

static void reset_signals(struct plan *plan)
{
	static const struct kernel_sigaction defaults;
	static const unsigned long nothing;
	uint64_t changed = changed_signals(plan);

	for (int signal = 1; signal < _NSIG; signal++)
		if (changed & UINT64_C(1) << (signal - 1))
			syscall(SYS_rt_sigaction, signal, &defaults, NULL, sizeof(nothing));
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &nothing, NULL, sizeof(nothing));
}

/*
 * A network namespace with nothing in it, in a user namespace where that takes one. It stays
 * itself to the kernel, so files and signals are as before.
 */
static void go_offline(struct plan *plan)
{
	plan->offline = syscall(SYS_unshare, CLONE_NEWNET) == 0 ||
			syscall(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNET) == 0;
}

/* capabilities(7): with no_new_privs, not even root has them back by executing a program. */
static long drop_privileges(struct plan *plan)
{
	struct __user_cap_header_struct *header = &plan->cap_header;
	struct __user_cap_data_struct *data = plan->caps;
	uint32_t kept = plan->spawn->low_ports ? 1u << CAP_NET_BIND_SERVICE : 0;

	if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capget, header, data) < 0)
		return fail(plan, STEP_SETUP);
	kept &= data[0].permitted;
	data[0].effective = data[0].permitted = kept;
	data[1].effective = data[1].permitted = 0;
	data[0].inheritable = data[1].inheritable = 0;
	return syscall(SYS_capset, header, data) < 0 ? fail(plan, STEP_SETUP) : 0;
}

/* Private first: what is mounted here is nobody else's. */
static long attach_mounts(struct plan *plan)
{
	const struct kiln__spawn *spawn = plan->spawn;

	if (spawn->mount_count && (syscall(SYS_unshare, CLONE_NEWNS) < 0 ||
				   syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)))
		return fail(plan, STEP_MOUNTS);
	for (size_t i = 0; i < spawn->mount_count; i++)
		if (syscall(SYS_move_mount, spawn->mounts[i].tree, "", AT_FDCWD,
			    spawn->mounts[i].at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return fail(plan, STEP_MOUNTS);
	return 0;
}

static long become(struct plan *plan)
{
	const struct kiln__spawn *spawn = plan->spawn;

	if (spawn->die_with_parent) {
		if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
			return fail(plan, STEP_SETUP);
		if (syscall(SYS_getppid) != plan->parent)
			syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	}
	if (spawn->new_session && syscall(SYS_setsid) < 0)
		return fail(plan, STEP_SETUP);
	/* While the ruleset is still open. */
	if (spawn->confined && (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
				kiln__linux_confine_files(plan->ruleset) < 0))
		return fail(plan, STEP_SETUP);
	if (attach_mounts(plan) < 0 || place_fds(plan) < 0)
		return -1;
	if (spawn->open_umask)
		syscall(SYS_umask, 0);
	if (spawn->unprivileged && spawn->offline)
		go_offline(plan);
	if (spawn->unprivileged && drop_privileges(plan) < 0)
		return -1;
	if (spawn->cwd && syscall(SYS_chdir, spawn->cwd) < 0)
		return fail(plan, STEP_CWD);
	reset_signals(plan);
	if (spawn->confined && kiln__linux_confine_calls() < 0)
		return fail(plan, STEP_SETUP);
	syscall(SYS_execve, spawn->path, spawn->argv, plan->env);
	return fail(plan, STEP_EXEC);
}

static int program_main(void *data)
{
	become(data);
	return 127; /* to clone()'s wrapper, which ends the process by a bare system call */
}

/* Yields the pid, or -1 with errno. The kernel writes the pidfd while it makes the process. */
static int clone_program(struct plan *plan)
{
	_Alignas(16) char stack[STACK_SIZE];

	plan->pid = clone(program_main, stack + sizeof(stack),
			  CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, plan, &plan->pidfd);
	return plan->pid;
}

/*
 * Between us and a detached program: its parent, gone at once, so that the program
 * is the init process's to reap. It shares our descriptor table, which brings us the pidfd.
 */
static int middle_main(void *data)
{
	struct plan *plan = data;

	if (clone_program(plan) < 0)
		fail(plan, STEP_SETUP);
	return 0;
}

static int clone_middle(struct plan *plan)
{
	_Alignas(16) char stack[STACK_SIZE * 2];
	siginfo_t info;
	int pidfd;
	int pid = clone(middle_main, stack + sizeof(stack),
			CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_PIDFD | SIGCHLD, plan, &pidfd);

	if (pid < 0)
		return pid;
	while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
	close(pidfd);
	return pid;
}

static int report(const struct plan *plan, kiln_error *err)
{
	const struct kiln__spawn *spawn = plan->spawn;

	switch (plan->failed) {
	case STEP_MOUNTS:
		return kiln__fail_errno(err, plan->code, "cannot start %s: mounting its files",
					spawn->path);
	case STEP_FDS:
		return kiln__fail_errno(err, plan->code,
					"cannot start %s: handing over descriptors", spawn->path);
	case STEP_CWD:
		return kiln__fail_errno(err, plan->code, "cannot start %s in directory %s",
					spawn->path, spawn->cwd);
	case STEP_EXEC:
		return kiln__fail_errno(err, plan->code, "cannot execute %s", spawn->path);
	default:
		return kiln__fail_errno(err, plan->code, "cannot start %s", spawn->path);
	}
}

/* A child that could not execute its program has ended, and is nobody's business but ours. */
static void bury(int pidfd)
{
	siginfo_t info;

	if (pidfd < 0)
		return;
	/* ECHILD if it was detached, or if this program has all its children reaped. */
	while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
	close(pidfd);
}

int kiln__posix_child_start(struct kiln__child *child, const struct kiln__spawn *spawn, int top,
			    kiln_error *err)
{
	kiln__autofree int *moved = calloc(spawn->fd_count + 1, sizeof(*moved));
	struct plan plan = {
		.spawn = spawn,
		.env = spawn->env ? spawn->env : (const char *const *)environ,
		.moved = moved,
		.top = top,
		.parent = getpid(),
		.pidfd = -1,
		.ruleset = -1,
		.cap_header = {.version = _LINUX_CAPABILITY_VERSION_3},
	};
	sigset_t all;
	sigset_t mask;
	int cancel;
	int code;
	int r;

	if (!moved)
		return kiln__fail_nomem(err);
	if (spawn->confined) {
		r = kiln__linux_confine_prepare(spawn, &plan.ruleset, err);
		if (r < 0)
			return r;
	}
	sigfillset(&all);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	r = spawn->detached ? clone_middle(&plan) : clone_program(&plan);
	code = errno;
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	pthread_setcancelstate(cancel, NULL);
	kiln__os_close(plan.ruleset);
	if (r < 0)
		return kiln__fail_errno(err, code, "cannot make a process");
	if (plan.failed) {
		bury(plan.pidfd);
		return report(&plan, err);
	}
	child->pid = plan.pid;
	child->event = plan.pidfd;
	child->offline = plan.offline;
	return 0;
}
