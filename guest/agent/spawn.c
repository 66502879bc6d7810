/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child shares this process's memory until it executes the command, and this
 * process sleeps meanwhile (CLONE_VM and CLONE_VFORK, as posix_spawn does it): no page
 * table is copied, and a failure is simply written to memory. The child therefore
 * makes system calls only, on a stack of its own, and uses nothing that allocates.
 */
#include "spawn.h"

#include "cleanup.h"
#include "err.h"
#include "files.h"
#include "users.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* The address sanitizer does not follow a child that shares memory on another stack. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHARE_MEMORY 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SHARE_MEMORY 0
#endif
#endif
#ifndef SHARE_MEMORY
#define SHARE_MEMORY CLONE_VM
#endif

#define STACK ((size_t)64 * 1024)

#define OOM_SCORE_FILE "/proc/self/oom_score_adj"

enum step {
	STEP_TTY,
	STEP_USER,
	STEP_CWD,
	STEP_EXEC,
};

/* Everything the child needs, made beforehand; and what it has to say. */
struct child {
	int stdio[3];
	bool tty;
	char **argv;
	char **env;
	const char *path; /* of its environment */
	const char *cwd;
	const struct user *user;
	/* In memory that is shared whatever the flags of clone(). */
	struct {
		int step;
		int error;
	} * result;
};

/* --- in the child ------------------------------------------------------------------- */

static int failed(struct child *child, int step)
{
	child->result->error = errno;
	child->result->step = step;
	return 127;
}

static void reset_signals(void)
{
	sigset_t none;

	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What protects the agent is not for its children. */
static bool oom_protected;

static void reset_oom_score(void)
{
	int fd = oom_protected ? open(OOM_SCORE_FILE, O_WRONLY | O_CLOEXEC) : -1;

	if (fd >= 0 && write(fd, "0", 1) == 1)
		close(fd);
}

/* System calls by number: libc's wrappers would tell the threads of the process it shares memory
 * with. */
static int become_user(const struct user *user)
{
	if (syscall(SYS_setgroups, user->group_count, user->groups) < 0 ||
	    syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0 ||
	    syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0)
		return -1;
	return 0;
}

/* As a shell looks a command up, in the PATH that the command itself will have. */
static void exec_by_path(struct child *child)
{
	const char *name = child->argv[0];
	char file[PATH_MAX];
	bool denied = false;

	if (strchr(name, '/')) {
		execve(name, child->argv, child->env);
		return;
	}
	for (const char *dir = child->path; dir;
	     dir = strchr(dir, ':') ? strchr(dir, ':') + 1 : NULL) {
		size_t len = strcspn(dir, ":");
		size_t name_len = strlen(name);

		if (len + name_len + 2 > sizeof(file))
			continue;
		memcpy(file, dir, len);
		file[len] = '/';
		memcpy(file + len + (len > 0), name, name_len + 1);
		execve(file, child->argv, child->env);
		if (errno == EACCES)
			denied = true;
		else if (errno != ENOENT && errno != ENOTDIR)
			return;
	}
	errno = denied ? EACCES : ENOENT;
}

static int child_main(void *data)
{
	struct child *child = data;
	const struct rlimit files = {
		1024, 524288}; /* what systemd gives: 1024 for select(), more on request */

	setsid();
	if (child->tty && ioctl(child->stdio[0], TIOCSCTTY, 0) < 0)
		return failed(child, STEP_TTY);
	for (int i = 0; i < 3; i++)
		if (dup2(child->stdio[i], i) < 0)
			return failed(child, STEP_TTY);
	reset_oom_score();
	setrlimit(RLIMIT_NOFILE,
		  &files); /* not allowed to a service of fewer rights: then as it is */
	if (become_user(child->user) < 0)
		return failed(child, STEP_USER);
	if (chdir(child->cwd) < 0)
		return failed(child, STEP_CWD);
	reset_signals();
	exec_by_path(child);
	return failed(child, STEP_EXEC);
}

/* --- preparation ---------------------------------------------------------------------- */

static char **make_argv(const struct kiln__strs *strs, size_t more)
{
	char **argv = calloc(kiln__strs_count(strs) + more + 1, sizeof(*argv));
	size_t n = 0;

	if (!argv)
		return NULL;
	for (const char *s = kiln__strs_next(strs, NULL); s; s = kiln__strs_next(strs, s))
		argv[n++] = (char *)(uintptr_t)s;
	return argv;
}

static const char *env_get(char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; *env; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

struct env_defaults {
	char home[sizeof(((struct user *)0)->home) + 5];
	char host[HOST_NAME_MAX + 10];
};

/* Adds what a process expects and was not given: as docker does. */
static void add_env_defaults(char **env, const struct kiln__agent_start *start,
			     const struct user *user, struct env_defaults *defaults)
{
	size_t n = 0;
	char name[HOST_NAME_MAX + 1] = "";

	while (env[n])
		n++;
	snprintf(defaults->home, sizeof(defaults->home), "HOME=%s", user->home);
	gethostname(name, sizeof(name) - 1);
	snprintf(defaults->host, sizeof(defaults->host), "HOSTNAME=%s", name);
	if (!env_get(env, "PATH"))
		env[n++] = (char *)(uintptr_t)("PATH=" DEFAULT_PATH);
	if (!env_get(env, "HOME"))
		env[n++] = defaults->home;
	if (!env_get(env, "HOSTNAME") && name[0])
		env[n++] = defaults->host;
	if (start->tty && !env_get(env, "TERM"))
		env[n++] = (char *)(uintptr_t) "TERM=xterm";
}

struct stdio {
	int child[3];
	int input;
	int output[2];
};

static void close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		bool seen = fds[i] < 0;

		for (size_t j = 0; j < i; j++)
			seen |= fds[j] == fds[i];
		if (!seen)
			close(fds[i]);
	}
}

static void stdio_close(struct stdio *io)
{
	close_all(io->child, 3);
	close_all(&io->input, 1);
	close_all(io->output, 2);
}

void set_window_size(int master, uint32_t rows, uint32_t cols)
{
	const struct winsize size = {
		.ws_row = (unsigned short)(rows > 0xffff ? 0xffff : rows),
		.ws_col = (unsigned short)(cols > 0xffff ? 0xffff : cols),
	};

	ioctl(master, TIOCSWINSZ, &size);
}

static int open_tty(const struct kiln__agent_start *start, struct stdio *io)
{
	int unlock = 0;
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

	if (master < 0)
		return -1;
	io->output[0] = master;
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return -1;
	io->child[0] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (io->child[0] < 0)
		return -1;
	io->child[1] = io->child[2] = io->child[0];
	if (start->rows && start->cols)
		set_window_size(master, start->rows, start->cols);
	if (start->input && !start->detach) {
		io->input = fcntl(master, F_DUPFD_CLOEXEC, 3);
		if (io->input < 0)
			return -1;
	}
	return 0;
}

/* A pipe of which this side's end does not block. */
static int open_pipe(int *own, int *child, bool writing)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	*own = fds[writing];
	*child = fds[!writing];
	return fcntl(*own, F_SETFL, O_NONBLOCK);
}

static int open_pipes(const struct kiln__agent_start *start, struct stdio *io)
{
	int null = -1;

	if (!start->input || start->detach) {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null < 0)
			return -1;
		io->child[0] = null;
	} else if (open_pipe(&io->input, &io->child[0], true) < 0) {
		return -1;
	}
	if (start->detach) {
		io->child[1] = io->child[2] = null;
		return 0;
	}
	for (int i = 0; i < 2; i++)
		if (open_pipe(&io->output[i], &io->child[1 + i], false) < 0)
			return -1;
	return 0;
}

/* The streams are the user's own, so that /dev/stdout can be opened and the terminal be changed. */
static int open_stdio(const struct kiln__agent_start *start, const struct user *user,
		      struct stdio *io, kiln_error *err)
{
	*io = (struct stdio){{-1, -1, -1}, -1, {-1, -1}};
	if ((start->tty ? open_tty(start, io) : open_pipes(start, io)) < 0) {
		kiln__fail_errno(err, errno,
				 start->tty ? "cannot open a terminal"
					    : "cannot open the standard streams");
		stdio_close(io);
		return kiln__stage(err, "tty");
	}
	for (int i = 0; i < 3; i++) {
		struct stat st;

		if (fstat(io->child[i], &st) == 0 && st.st_uid != user->uid &&
		    (start->tty || S_ISFIFO(st.st_mode)) &&
		    fchown(io->child[i], user->uid, start->tty ? (gid_t)-1 : user->gid) < 0)
			continue; /* a service without the right to: then as it is */
	}
	return 0;
}

static int make_user(const struct kiln__agent_start *start, struct user *ret, kiln_error *err)
{
	int r = find_user(start->user, ret, err);

	if (r < 0) {
		kiln__stage(err, "user");
		return r;
	}
	for (size_t i = 0; i < start->group_count && ret->group_count < USER_MAX_GROUPS; i++)
		ret->groups[ret->group_count++] = start->groups[i];
	return 0;
}

/* Container images name working directories that are not there, and expect them to be. */
static void make_cwd(const char *path, const struct user *user)
{
	char dir[PATH_MAX];
	size_t len = strlen(path);

	if (path[0] != '/' || len >= sizeof(dir) || access(path, F_OK) == 0)
		return;
	memcpy(dir, path, len + 1);
	for (size_t i = 1; i <= len; i++) {
		if (dir[i] != '/' && dir[i] != '\0')
			continue;
		dir[i] = '\0';
		if (mkdir(dir, 0755) == 0 && i == len && chown(dir, user->uid, user->gid) < 0)
			return;
		dir[i] = i < len ? '/' : '\0';
	}
}

void protect_from_oom(void)
{
	oom_protected = write_small_file(OOM_SCORE_FILE, "-1000") == 0;
}

/* --- the whole ------------------------------------------------------------------------- */

static int explain(const struct child *child, kiln_error *err)
{
	static const char *const stages[] = {"tty", "user", "cwd", "exec"};
	int error = child->result->error;

	switch (child->result->step) {
	case STEP_CWD:
		kiln__fail_errno(err, error, "cannot enter the working directory %s", child->cwd);
		break;
	case STEP_EXEC:
		kiln__fail_errno(err, error, "%s", child->argv[0]);
		err->code = error == ENOENT || error == ENOTDIR ? KILN_ENOCMD : KILN_ENOEXEC;
		break;
	case STEP_USER:
		kiln__fail_errno(err, error, "cannot become user %u", child->user->uid);
		break;
	default:
		kiln__fail_errno(err, error, "cannot set the terminal up");
	}
	kiln__stage(err, stages[child->result->step]);
	return err->code;
}

/* A page that parent and child share even where clone() does not make them share all. */
static void *shared_page(void)
{
	static void *page;

	if (!page) {
		void *got = mmap(NULL, sizeof(*((struct child *)NULL)->result),
				 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		page = got == MAP_FAILED ? NULL : got;
	}
	return page;
}

static int run_child(struct child *child, kiln_error *err)
{
	static _Alignas(16) char stack[STACK]; /* one child at a time uses it, until it executes */
	int pid;

	child->result = shared_page();
	if (!child->result)
		return kiln__fail_nomem(err);
	child->result->error = 0;
	pid = clone(child_main, stack + STACK, SHARE_MEMORY | CLONE_VFORK | SIGCHLD, child);
	if (pid < 0) {
		kiln__fail_errno(err, errno, "cannot start a process");
		return kiln__stage(err, "fork");
	}
	if (child->result->error) {
		waitpid(pid, NULL, 0);
		return explain(child, err);
	}
	return pid;
}

int spawn(const struct kiln__agent_start *start, struct spawned *ret, kiln_error *err)
{
	kiln__autofree char **argv = make_argv(&start->argv, 0);
	kiln__autofree char **env = make_argv(&start->env, 4);
	struct env_defaults defaults;
	struct user user;
	struct stdio io;
	struct child child;
	kiln_error why;
	int r;

	if (!argv || !env)
		return kiln__fail_nomem(err);
	r = make_user(start, &user, err);
	if (r == 0)
		r = open_stdio(start, &user, &io, err);
	if (r < 0)
		return r;
	add_env_defaults(env, start, &user, &defaults);
	child = (struct child){
		.stdio = {io.child[0], io.child[1], io.child[2]},
		.tty = start->tty,
		.argv = argv,
		.env = env,
		.path = env_get(env, "PATH"),
		.cwd = start->cwd ? start->cwd : "/",
		.user = &user,
	};
	if (start->main)
		make_cwd(child.cwd, &user);
	r = run_child(&child, &why);
	if (r < 0) {
		stdio_close(&io);
		if (err)
			*err = why;
		return r;
	}
	close_all(io.child, 3);
	*ret = (struct spawned){r, io.input, {io.output[0], io.output[1]}};
	return 0;
}
