/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting programs, by posix_spawn(): the child gets what it is named and no
 * other descriptor (POSIX_SPAWN_CLOEXEC_DEFAULT), and default signals.
 *
 * macOS has nothing that kills a process when its parent ends, so a program tied to us
 * gets a keeper: a fork of us which starts it, watches both with a kqueue, kills
 * the program when we end, and hands its wait status through a pipe when that ends. A
 * detached program is started the same way by a fork that then ends at once. The fork of
 * a process with threads does nothing here but system calls and posix_spawn(), whose
 * attributes are made before.
 */
#include "child.h"

#include "err.h"
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/event.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct plan {
	const struct kiln__spawn *spawn;
	const char *const *env;
	posix_spawnattr_t attributes;
	posix_spawn_file_actions_t actions;
	int *moved; /* duplicates of spawn->fds, above all numbers wanted in the child */
	int top;
};

/* What a fork of us tells first, through its pipe. */
struct started {
	pid_t pid;
	int code; /* errno, if the program could not be started */
};

static int make_attributes(posix_spawnattr_t *attributes, const struct kiln__spawn *spawn)
{
	int flags = POSIX_SPAWN_CLOEXEC_DEFAULT | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
	sigset_t all;
	sigset_t none;
	int code = posix_spawnattr_init(attributes);

	if (code)
		return code;
	if (spawn->new_session)
		flags |= POSIX_SPAWN_SETSID;
	sigfillset(&all);
	sigemptyset(&none);
	code = posix_spawnattr_setflags(attributes, (short)flags);
	if (code == 0)
		code = posix_spawnattr_setsigdefault(attributes, &all);
	if (code == 0)
		code = posix_spawnattr_setsigmask(attributes, &none);
	if (code)
		posix_spawnattr_destroy(attributes);
	return code;
}

/* Sources first out of the way, in this process: then the order of the actions does not matter. */
static int move_fds(struct plan *plan)
{
	const struct kiln__spawn *spawn = plan->spawn;

	for (size_t i = 0; i < spawn->fd_count; i++) {
		plan->moved[i] = fcntl(spawn->fds[i].from, F_DUPFD_CLOEXEC, plan->top + 1);
		if (plan->moved[i] < 0)
			return errno;
	}
	return 0;
}

static int fill_actions(struct plan *plan)
{
	const struct kiln__spawn *spawn = plan->spawn;
	bool standard[3] = {false};
	int code = 0;

	for (size_t i = 0; code == 0 && i < spawn->fd_count; i++) {
		if (spawn->fds[i].to <= 2)
			standard[spawn->fds[i].to] = true;
		code = posix_spawn_file_actions_adddup2(&plan->actions, plan->moved[i],
							spawn->fds[i].to);
	}
	for (int number = 0; code == 0 && number <= 2; number++)
		if (!standard[number])
			code = posix_spawn_file_actions_addopen(&plan->actions, number, "/dev/null",
								O_RDWR, 0);
	if (code == 0 && spawn->cwd)
		code = posix_spawn_file_actions_addchdir_np(&plan->actions, spawn->cwd);
	return code;
}

static int start(struct plan *plan, pid_t *ret_pid)
{
	return posix_spawn(ret_pid, plan->spawn->path, &plan->actions, &plan->attributes,
			   (char *const *)(uintptr_t)plan->spawn->argv,
			   (char *const *)(uintptr_t)plan->env);
}

static void tell(int fd, const void *bytes, size_t len)
{
	while (write(fd, bytes, len) < 0 && errno == EINTR)
		;
}

/* The keeper, until @program or @parent has ended. */
static void keep(int queue, pid_t program, pid_t parent, int pipe)
{
	struct kevent changes[2];
	struct kevent event;
	int status = 0;
	pid_t ended = 0;

	EV_SET(&changes[0], program, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
	EV_SET(&changes[1], parent, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
	/* A change that fails (the process has gone already) is an event too, with EV_ERROR. */
	while (kevent(queue, changes, 2, &event, 1, NULL) < 0 && errno == EINTR)
		;
	if (getppid() != parent || (pid_t)event.ident == parent)
		kill(program, SIGKILL);
	while (ended != program && !(ended < 0 && errno != EINTR))
		ended = waitpid(program, &status, 0);
	tell(pipe, &status, sizeof(status));
}

/* In a fork of us. Its signals are blocked: what ends it is its parent or its program. */
_Noreturn static void be_keeper(struct plan *plan, pid_t parent, int pipe)
{
	struct started started = {0};
	int queue = -1;

	if (plan->spawn->die_with_parent)
		queue = kqueue();
	if (plan->spawn->die_with_parent && queue < 0)
		started.code = errno;
	else
		started.code = start(plan, &started.pid);
	tell(pipe, &started, sizeof(started));
	if (started.code == 0 && plan->spawn->die_with_parent)
		keep(queue, started.pid, parent, pipe);
	_exit(0);
}

/* All that a keeper must not hold: it would keep others from seeing their ends. */
static void close_all_but(int kept, const struct plan *plan)
{
	int limit = getdtablesize();

	for (int fd = 0; fd < limit; fd++) {
		bool ours = fd == kept;

		for (size_t i = 0; i < plan->spawn->fd_count; i++)
			ours |= fd == plan->moved[i];
		if (!ours)
			close(fd);
	}
}

static int start_by_fork(struct plan *plan, struct kiln__child *child)
{
	struct started started = {.code = ECHILD};
	pid_t parent = getpid();
	sigset_t all;
	sigset_t mask;
	int pipes[2];
	pid_t pid;

	if (pipe(pipes) < 0)
		return errno;
	fcntl(pipes[0], F_SETFD, FD_CLOEXEC);
	fcntl(pipes[1], F_SETFD, FD_CLOEXEC);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &mask);
	pid = fork();
	if (pid == 0) {
		close_all_but(pipes[1], plan);
		be_keeper(plan, parent, pipes[1]);
	}
	sigprocmask(SIG_SETMASK, &mask, NULL);
	close(pipes[1]);
	if (pid < 0 || kiln__os_read(pipes[0], &started, sizeof(started)) != sizeof(started))
		started.code = pid < 0 ? errno : started.code;
	if (pid > 0 && (started.code || plan->spawn->detached))
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	if (started.code || plan->spawn->detached)
		close(pipes[0]);
	if (started.code)
		return started.code;
	child->pid = started.pid;
	if (!plan->spawn->detached) {
		child->keeper = pid;
		child->event = pipes[0];
	}
	return 0;
}

static int run_plan(struct plan *plan, struct kiln__child *child)
{
	int code = make_attributes(&plan->attributes, plan->spawn);

	if (code)
		return code;
	code = posix_spawn_file_actions_init(&plan->actions);
	if (code == 0) {
		code = move_fds(plan);
		if (code == 0)
			code = fill_actions(plan);
		if (code == 0 && (plan->spawn->detached || plan->spawn->die_with_parent))
			code = start_by_fork(plan, child);
		else if (code == 0)
			code = start(plan, &child->pid);
		posix_spawn_file_actions_destroy(&plan->actions);
	}
	posix_spawnattr_destroy(&plan->attributes);
	for (size_t i = 0; i < plan->spawn->fd_count; i++)
		kiln__os_close(plan->moved[i]);
	return code;
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
	};
	int code;

	if (!moved)
		return kiln__fail_nomem(err);
	for (size_t i = 0; i < spawn->fd_count; i++)
		moved[i] = -1;
	code = run_plan(&plan, child);
	if (code)
		return kiln__fail_errno(err, code, "cannot start %s", spawn->path);
	if (child->keeper)
		return 0;
	child->event = kiln__darwin_queue_for(child->pid);
	if (child->event >= 0)
		return 0;
	kill(child->pid, SIGKILL);
	if (!child->detached)
		waitpid(child->pid, NULL, 0);
	return kiln__fail_errno(err, -child->event, "cannot watch a process");
}
