/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail, from inside. Each rule is tried by a child that is this program again: it
 * enters the jail, does one thing and tells by its exit code how that went. The filter is
 * made of the lists of os_jail_calls.c, as the runner's is of its own files'.
 */
#include "kiln_test.h"

#include "jail.h"
#include "os.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Exit codes of the parts: 0, an errno, or one of these. */
#define NO_LANDLOCK   200
#define NOT_JAILED    201
#define WRONG         202
#define NO_NAMESPACES 203

/* Both made at build time; the other is the runner's own. */
extern const struct kiln__jail_filter jail_test_filter;
extern const struct kiln__jail_filter runner_filter;

static char *self;
static pid_t parent;

/* --- in the child ---------------------------------------------------------------- */

/* In a root of its own "writable" is that root. */
static bool rooted;

static void place(char *path, size_t size, const char *dir, const char *name)
{
	static const char writable[] = "writable";

	if (!rooted || (strncmp(name, writable, strlen(writable)) != 0 &&
			strncmp(name, "readable", strlen("readable")) != 0))
		snprintf(path, size, "%s/%s", dir, name);
	else if (name[0] == 'w')
		snprintf(path, size, "%s", name + strlen(writable));
	else
		snprintf(path, size, "/%s", name);
}

static int result(long r)
{
	return r < 0 ? errno : 0;
}

static int try_open(const char *dir, const char *name, int flags)
{
	char path[512];
	int fd;

	place(path, sizeof(path), dir, name);
	fd = open(path, flags, 0600);
	return result(fd);
}

static int try_replace(const char *dir)
{
	char path[512];
	kiln_error err = KILN_ERROR_INIT;

	place(path, sizeof(path), dir, "writable/replaced");
	if (kiln__os_replace_file(path, "x", 1, 0600, false, &err) < 0)
		return err.os_errno ? err.os_errno : WRONG;
	return 0;
}

static int try_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct have[2] = {{0}};

	if (syscall(SYS_capget, &header, have) < 0)
		return errno;
	for (int i = 0; i < 2; i++)
		if (have[i].effective || have[i].permitted || have[i].inheritable)
			return WRONG;
	return 0;
}

static int try_core(void)
{
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : WRONG;
}

#ifdef __x86_64__
/* getpid() as 32-bit programs ask for it: the filter knows only the numbers of one architecture. */
static int try_other_architecture(void)
{
	long number = 20;

	__asm__ volatile("int $0x80" : "+a"(number) : : "memory");
	return WRONG;
}
#endif

/* The usage of a process from before the jail, which may not be traced from inside. */
static int try_usage(int64_t pid)
{
	struct kiln__os_usage usage = {0};
	kiln_error err = KILN_ERROR_INIT;

	if (kiln__os_process_usage(pid, &usage, &err) < 0)
		return err.os_errno ? err.os_errno : WRONG;
	return usage.resident > 0 && usage.private_bytes > 0 &&
			       usage.private_bytes <= usage.resident
		       ? 0
		       : WRONG;
}

static int try_mapping(int protection)
{
	return mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
		       ? errno
		       : 0;
}

static int try_connect(const struct sockaddr_un *address, size_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? WRONG
		      : result(connect(fd, (const struct sockaddr *)address, (socklen_t)len));
}

static int try_reach(const char *dir, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	place(address.sun_path, sizeof(address.sun_path), dir, name);
	return try_connect(&address, sizeof(address));
}

/* --- signals, by the runner's filter ------------------------------------------------ */

#define KEPT_FIRST 56 /* os/linux/kept.h */
#define KEPT_END   64

/* Two children, of which one may still be signalled. */
static struct kiln__child *kept;
static pid_t bystander;

static pid_t start_sleeper(void)
{
	pid_t pid = fork();

	while (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
	}
	return pid;
}

static int start_sleepers(void)
{
	unsigned count = 0;

	kiln__os_jail_begin();
	bystander = start_sleeper();
	if (kiln__child_adopt(&kept, start_sleeper(), NULL) < 0)
		return -1;
	return kiln__child_keep(kept, &count, NULL);
}

static int send_by(int fd, int number)
{
	return result(syscall(SYS_pidfd_send_signal, fd, number, NULL, 0));
}

static int try_kept(void)
{
	struct kiln__exit how;

	kiln__child_kill(kept);
	if (kiln__child_wait(kept, 10000, &how, NULL) < 0)
		return WRONG;
	return how.signaled && how.code == SIGKILL ? 0 : WRONG;
}

/* A directory of /proc stands for its process, too, under whatever number it is had. */
static int try_directory(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? errno : send_by(fd, 0);
}

/* Each way to have another descriptor at a number that may be signalled by. */
static int try_replacing(void)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", bystander);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int n = KEPT_FIRST; n < KEPT_END; n++) {
		if (fd < 0 || syscall(SYS_dup3, fd, n, O_CLOEXEC) >= 0 ||
		    syscall(SYS_close, n) == 0 ||
		    syscall(SYS_close, INT64_C(0x700000000) | n) == 0 ||
		    syscall(SYS_close_range, n, n, 0) == 0)
			return WRONG;
#ifdef SYS_dup2
		if (syscall(SYS_dup2, fd, n) >= 0)
			return WRONG;
#endif
		if (fcntl(fd, F_DUPFD_CLOEXEC, n) < KEPT_END)
			return WRONG;
	}
	for (int n = KEPT_FIRST + 1; n < KEPT_END; n++)
		if (send_by(n, 0) != EBADF)
			return WRONG;
	/* Its neighbours can be closed. */
	return syscall(SYS_close, fd) == 0 && send_by(KEPT_FIRST, 0) == 0 ? 0 : WRONG;
}

static int try_signal(const char *thing)
{
	if (strcmp(thing, "signal-kept") == 0)
		return try_kept();
	if (strcmp(thing, "signal-bystander") == 0)
		return try_directory(bystander);
	if (strcmp(thing, "signal-parent") == 0)
		return try_directory(parent);
	if (strcmp(thing, "signal-number") == 0)
		return result(syscall(SYS_kill, bystander, 0));
	if (strcmp(thing, "signal-thread") == 0)
		return result(syscall(SYS_tgkill, bystander, bystander, 0));
	if (strcmp(thing, "signal-new") == 0)
		return result(syscall(SYS_pidfd_open, bystander, 0));
	return strcmp(thing, "signal-replacing") == 0 ? try_replacing() : WRONG;
}

static int try_thing(const char *thing, const char *dir)
{
	char *const argv[] = {self, NULL};
	int n;

	if (strcmp(thing, "nothing") == 0)
		return 0;
	if (strncmp(thing, "signal-", 7) == 0)
		return try_signal(thing);
	if (strcmp(thing, "execve") == 0)
		return result(execv(self, argv));
	if (strcmp(thing, "ptrace") == 0)
		return result(syscall(SYS_ptrace, 0, 0, 0, 0));
	if (strcmp(thing, "undeclared") == 0)
		return result(syscall(SYS_getppid));
	if (strcmp(thing, "mapping-executable") == 0)
		return try_mapping(PROT_READ | PROT_EXEC);
	if (strcmp(thing, "mapping-writable") == 0)
		return try_mapping(PROT_READ | PROT_WRITE);
	if (strcmp(thing, "connect-abstract") == 0)
		return try_connect(
			&(struct sockaddr_un){.sun_family = AF_UNIX, .sun_path = "\0kiln-nobody"},
			sizeof(sa_family_t) + 12);
	if (strcmp(thing, "connect-path") == 0)
		return try_connect(
			&(struct sockaddr_un){.sun_family = AF_UNIX, .sun_path = "/nonexistent"},
			sizeof(struct sockaddr_un));
	if (strcmp(thing, "connect-outside") == 0)
		return try_reach(dir, "outside");
	if (strcmp(thing, "connect-writable") == 0)
		return try_reach(dir, "writable/listener");
	if (strcmp(thing, "socket-unix") == 0)
		return result(socket(AF_UNIX, SOCK_STREAM, 0));
	if (strcmp(thing, "socket-datagram") == 0)
		return result(socket(AF_UNIX, SOCK_DGRAM, 0));
	if (strcmp(thing, "socket-inet") == 0)
		return result(socket(AF_INET, SOCK_STREAM, 0));
	if (strcmp(thing, "ioctl-declared") == 0)
		return result(ioctl(0, FIONBIO, &(int){0})) == EPERM ? EPERM : 0;
	if (strcmp(thing, "ioctl-other") == 0)
		return result(ioctl(0, FIONREAD, &n));
	if (strcmp(thing, "read-outside") == 0)
		return try_open("/etc", "passwd", O_RDONLY);
	if (strcmp(thing, "read-readable") == 0)
		return try_open(dir, "readable/file", O_RDONLY);
	if (strcmp(thing, "write-readable") == 0)
		return try_open(dir, "readable/file", O_WRONLY);
	if (strcmp(thing, "read-place") == 0)
		return try_open(dir, "place/file", O_RDONLY);
	if (strcmp(thing, "make-place") == 0)
		return try_open(dir, "place/new", O_WRONLY | O_CREAT);
	if (strcmp(thing, "read-cutting-place") == 0)
		return try_open(dir, "place/file", O_RDONLY | O_TRUNC);
	if (strcmp(thing, "make-readable") == 0)
		return try_open(dir, "readable/new", O_WRONLY | O_CREAT);
	if (strcmp(thing, "make-outside") == 0)
		return try_open(dir, "new", O_WRONLY | O_CREAT);
	if (strcmp(thing, "climb-outside") == 0)
		return try_open(dir, "writable/../secret", O_RDONLY);
	if (strcmp(thing, "link-outside") == 0)
		return try_open(dir, "writable/link", O_RDONLY);
	if (strcmp(thing, "make-writable") == 0)
		return try_open(dir, "writable/new", O_RDWR | O_CREAT);
	if (strcmp(thing, "cut-writable") == 0)
		return try_open(dir, "writable/file", O_WRONLY | O_TRUNC);
	if (strcmp(thing, "replace-writable") == 0)
		return try_replace(dir);
	if (strcmp(thing, "usage") == 0)
		return try_usage(getpid());
	if (strcmp(thing, "usage-outside") == 0)
		return try_usage(parent);
	if (strcmp(thing, "capabilities") == 0)
		return try_capabilities();
	if (strcmp(thing, "privileges") == 0)
		return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : WRONG;
	if (strcmp(thing, "core") == 0)
		return try_core();
#ifdef __x86_64__
	if (strcmp(thing, "architecture") == 0)
		return try_other_architecture();
#endif
	return WRONG;
}

/* Not by _exit(), where a sanitizer would do things that the filter kills it for. */
static _Noreturn void end(int code)
{
	for (;;)
		syscall(SYS_exit_group, code);
}

static bool needs_landlock(const char *thing)
{
	static const char *const verbs[] = {"read-", "write-", "make-", "climb-", "link-"};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strncmp(thing, verbs[i], strlen(verbs[i])) == 0)
			return true;
	return false;
}

/* What a child spawned as unprivileged and offline finds. */
static int look_around(void)
{
	struct stat mine;
	struct stat parents;
	char path[64];
	int r = try_capabilities();

	if (r || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return r ? r : WRONG;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)getppid());
	if (stat("/proc/self/ns/net", &mine) < 0)
		return errno;
	/* Without privileges the parent's cannot be looked at from another user namespace. */
	if (stat(path, &parents) < 0)
		return 0;
	return mine.st_ino == parents.st_ino ? NO_NAMESPACES : 0;
}

static int opens(int fd, int flags)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	if (again < 0)
		return errno;
	close(again);
	return 0;
}

static bool fails(long result, int code)
{
	return result < 0 && errno == code;
}

/* What one that is confined finds: 3 was opened for reading, 4 for both. Codes tell which is wrong.
 */
static int look_confined(void)
{
	const bool landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0;
	struct {
		uint64_t flags[8];
		uint64_t more[3];
	} args = {{0}};

	if (try_capabilities() || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 1;
	if (!fails(socket(AF_UNIX, SOCK_STREAM, 0), EPERM) ||
	    !fails(socket(AF_INET, SOCK_STREAM, 0), EPERM))
		return 2;
	if (!fails(kill(getppid(), 0), EPERM) ||
	    !fails(syscall(SYS_pidfd_open, getppid(), 0), EPERM))
		return 3;
	if (!fails(unshare(CLONE_NEWUSER), EPERM) ||
	    !fails(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), EPERM) ||
	    !fails(syscall(SYS_clone3, &args, sizeof(args)), ENOSYS))
		return 4;
	if (!fails(syscall(SYS_io_uring_setup, 1, NULL), ENOSYS) ||
	    !fails(syscall(SYS_bpf, 0, NULL, 0), EPERM))
		return 5;
	if (!fails(truncate("/tmp", 0), EPERM) || !fails(chmod("/tmp", 0700), EPERM) ||
	    !fails(chown("/tmp", 0, 0), EPERM) ||
	    !fails(utimensat(AT_FDCWD, "/tmp", NULL, 0), EPERM) ||
	    !fails(setxattr("/tmp", "user.kiln", "", 0, 0), EPERM))
		return 9;
	if (opens(3, O_RDONLY) || opens(4, O_RDWR))
		return 6;
	if (!landlock)
		return NO_LANDLOCK;
	if (opens(3, O_RDWR) != EACCES || opens(4, O_RDWR | O_TRUNC))
		return 7;
	if (!fails(open("/etc/passwd", O_RDONLY), EACCES) ||
	    !fails(open("/tmp/kiln-confined", O_WRONLY | O_CREAT, 0600), EACCES) ||
	    !fails(open("/usr/kiln-confined", O_WRONLY | O_CREAT, 0600), EACCES))
		return 8;
	return 0;
}

/* As on a host where this user may have no namespaces. */
static int forbid_namespaces(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = {sizeof(program) / sizeof(program[0]), program};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}

static _Noreturn void play(const char *thing, const char *dir, bool namespaces)
{
	char writable[256];
	char readable[256];
	const char *const writable_paths[] = {writable};
	const char *const readable_paths[] = {readable, "/proc"};
	const char *place = strstr(thing, "-place");
	struct kiln__jail_place places[1] = {{KILN_FD_NONE, KILN__JAIL_READ}};
	const struct kiln__jail jail = {
		.places = places,
		.place_count = place ? 1 : 0,
		.keeps_root = place != NULL,
		.writable = writable_paths,
		.writable_count = 1,
		.readable = readable_paths,
		.readable_count = 2,
		.filter = strncmp(thing, "signal-", 7) == 0 ? &runner_filter : &jail_test_filter,
	};
	struct kiln__jail_report report;
	char path[256];

	parent = getppid();
	if (!namespaces && forbid_namespaces() < 0)
		end(NOT_JAILED);
	snprintf(writable, sizeof(writable), "%s/writable", dir);
	snprintf(readable, sizeof(readable), "%s/readable", dir);
	if (place) {
		snprintf(path, sizeof(path), "%s/place", dir);
		places[0].at = open(path, O_PATH | O_CLOEXEC);
	}
	if (jail.filter == &runner_filter && start_sleepers() < 0)
		end(NOT_JAILED);
	if (kiln__os_jail(&jail, &report, NULL) < 0)
		end(NOT_JAILED);
	if (place && report.landlock < 3 && strcmp(thing, "read-cutting-place") == 0)
		end(NO_LANDLOCK);
	if (report.own_root && !namespaces)
		end(WRONG);
	if (namespaces && !report.own_root)
		end(NO_NAMESPACES);
	rooted = report.own_root;
	if (!report.landlock && !namespaces && needs_landlock(thing))
		end(NO_LANDLOCK);
	end(try_thing(thing, dir));
}

/* --- rules -------------------------------------------------------------------------- */

static void touch(const char *name)
{
	kiln_error err;

	kiln_ok(kiln__os_replace_file(kiln_test_path(name), "text", 4, 0600, false, &err), &err);
}

/* Without namespaces unless @kind is "rooted". */
static struct kiln__exit try_jailed(const char *thing, const char *kind)
{
	const char *argv[] = {self, thing, kiln_test_dir(), kind, NULL};
	const struct kiln__spawn spawn = {.path = self, .argv = argv};
	struct kiln__child *child;
	struct kiln__exit how;
	kiln_error err;

	kiln_ok(kiln__os_mkdir_p(kiln_test_path("writable"), 0700, &err), &err);
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("readable"), 0700, &err), &err);
	kiln_ok(kiln__child_spawn(&child, &spawn, &err), &err);
	kiln_ok(kiln__child_wait(child, KILN_TEST_DEADLINE_MS, &how, &err), &err);
	kiln__child_free(child);
	if (!how.signaled && how.code == NO_LANDLOCK)
		skip();
	if (!how.signaled && how.code == NO_NAMESPACES) {
		print_message("this host allows no mount namespace\n");
		skip();
	}
	return how;
}

static void assert_ends(const char *thing, struct kiln__exit how, int code)
{
	if (how.signaled || how.code != code)
		print_error("%s: %s %d, expected %d\n", thing, how.signaled ? "signal" : "code",
			    how.code, code);
	assert_false(how.signaled);
	assert_int_equal(how.code, code);
}

/* What Landlock and the filter do by themselves. */
static void assert_jailed(const char *thing, int code)
{
	assert_ends(thing, try_jailed(thing, NULL), code);
}

/* In a root of its own, too. */
static void assert_rooted(const char *thing, int code)
{
	assert_ends(thing, try_jailed(thing, "rooted"), code);
}

static void assert_killed(const char *thing)
{
	struct kiln__exit how = try_jailed(thing, NULL);

	if (!how.signaled)
		print_error("%s: code %d\n", thing, how.code);
	assert_true(how.signaled);
	assert_int_equal(how.code, SIGSYS);
}

static void what_only_an_intruder_calls_kills(void **state)
{
	(void)state;
	assert_jailed("nothing", 0);
	assert_killed("execve");
	assert_killed("ptrace");
}

#ifdef __x86_64__
static void another_architectures_calls_kill(void **state)
{
	(void)state;
	assert_killed("architecture");
}
#endif

static void an_undeclared_call_does_not_exist(void **state)
{
	(void)state;
	assert_jailed("undeclared", ENOSYS);
}

static void arguments_are_compared(void **state)
{
	(void)state;
	assert_jailed("socket-unix", 0);
	assert_jailed("socket-inet", ENOSYS);
	assert_jailed("socket-datagram", ENOSYS);
	assert_jailed("ioctl-declared", 0);
	assert_jailed("ioctl-other", ENOSYS);
}

static void who_is_kept_can_be_signalled_and_nobody_else(void **state)
{
	(void)state;
	assert_jailed("signal-kept", 0);
	assert_jailed("signal-bystander", ENOSYS);
	assert_jailed("signal-parent", ENOSYS);
	assert_jailed("signal-number", ENOSYS);
	assert_jailed("signal-thread", ENOSYS);
	assert_jailed("signal-new", ENOSYS);
	assert_jailed("signal-replacing", 0);
}

static void no_abstract_socket_is_reached_and_no_memory_executed(void **state)
{
	(void)state;
	assert_jailed("connect-abstract", ENOSYS);
	assert_jailed("connect-path", ENOENT);
	assert_jailed("mapping-writable", 0);
	assert_jailed("mapping-executable", ENOSYS);
}

static void only_named_directories_can_be_read(void **state)
{
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("readable"), 0700, &err), &err);
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("writable"), 0700, &err), &err);
	touch("readable/file");
	touch("secret");
	assert_int_equal(symlink("../secret", kiln_test_path("writable/link")), 0);
	assert_jailed("read-readable", 0);
	assert_jailed("read-outside", EACCES);
	assert_jailed("climb-outside", EACCES);
	assert_jailed("link-outside", EACCES);
}

/* Opening for reading can cut a file: kernels that can tell have a right of its own for that. */
static void a_place_to_read_is_for_reading_alone(void **state)
{
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("place"), 0700, &err), &err);
	touch("place/file");
	assert_jailed("read-place", 0);
	assert_jailed("make-place", EACCES);
	assert_jailed("read-cutting-place", EACCES);
}

static void only_writable_directories_can_be_written(void **state)
{
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("readable"), 0700, &err), &err);
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("writable"), 0700, &err), &err);
	touch("readable/file");
	touch("writable/file");
	assert_jailed("make-writable", 0);
	assert_jailed("cut-writable", 0);
	assert_jailed("replace-writable", 0);
	assert_jailed("write-readable", EACCES);
	assert_jailed("make-readable", EACCES);
	assert_jailed("make-outside", EACCES);
}

static void nothing_else_exists_in_a_root_of_its_own(void **state)
{
	kiln__autoclose kiln_fd listener = KILN_FD_NONE;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("readable"), 0700, &err), &err);
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("writable"), 0700, &err), &err);
	touch("readable/file");
	touch("secret");
	assert_rooted("read-outside", ENOENT);
	assert_rooted("climb-outside", ENOENT);
	assert_rooted("make-outside", ENOENT);
	kiln_ok(kiln__os_local_listen(&listener, kiln_test_path("outside"), &err), &err);
	assert_jailed("connect-outside", 0); /* this is why */
	assert_rooted("connect-outside", ENOENT);
}

static void what_is_kept_can_be_used_in_a_root_of_its_own(void **state)
{
	kiln__autoclose kiln_fd listener = KILN_FD_NONE;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("readable"), 0700, &err), &err);
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("writable"), 0700, &err), &err);
	touch("readable/file");
	kiln_ok(kiln__os_local_listen(&listener, kiln_test_path("writable/listener"), &err), &err);
	assert_rooted("read-readable", 0);
	assert_rooted("write-readable", EROFS);
	assert_rooted("replace-writable", 0);
	assert_rooted("connect-writable", 0);
	assert_rooted("usage", 0);
	assert_rooted("usage-outside", 0);
}

static void privileges_are_gone_for_good(void **state)
{
	(void)state;
	assert_jailed("capabilities", 0);
	assert_jailed("privileges", 0);
	assert_jailed("core", 0);
}

static void an_unprivileged_child_has_no_rights_and_no_network(void **state)
{
	const char *argv[] = {self, "look-around", NULL};
	const struct kiln__spawn spawn = {
		.path = self, .argv = argv, .unprivileged = true, .offline = true};
	struct kiln__child *child;
	struct kiln__exit how;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__child_spawn(&child, &spawn, &err), &err);
	kiln_ok(kiln__child_wait(child, KILN_TEST_DEADLINE_MS, &how, &err), &err);
	assert_false(how.signaled);
	if (!kiln__child_is_offline(child))
		print_message("this host allows no network namespace\n");
	assert_int_equal(how.code, kiln__child_is_offline(child) ? 0 : NO_NAMESPACES);
	kiln__child_free(child);
}

static void a_confined_child_has_its_descriptors_and_nothing_else(void **state)
{
	char path[] = "/tmp/kiln-jail-XXXXXX";
	char other[] = "/tmp/kiln-jail-XXXXXX";
	const kiln_fd both = mkstemp(path);
	const kiln_fd made = mkstemp(other);
	const kiln_fd reads = open(other, O_RDONLY | O_CLOEXEC);
	const char *argv[] = {self, "look-confined", NULL};
	const struct kiln__spawn_fd fds[] = {{reads, 3}, {both, 4}};
	const struct kiln__spawn spawn = {.path = self,
					  .argv = argv,
					  .fds = fds,
					  .fd_count = 2,
					  .unprivileged = true,
					  .offline = true,
					  .confined = true};
	struct kiln__child *child;
	struct kiln__exit how;
	kiln_error err;

	(void)state;
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
	print_message("a sanitizer's run-time looks into /proc before main(), which is denied\n");
	close(both), close(made), close(reads);
	unlink(path), unlink(other);
	skip();
#endif
	assert_true(both >= 0 && made >= 0 && reads >= 0);
	kiln_ok(kiln__child_spawn(&child, &spawn, &err), &err);
	kiln_ok(kiln__child_wait(child, KILN_TEST_DEADLINE_MS, &how, &err), &err);
	kiln__child_free(child);
	close(both);
	close(made);
	close(reads);
	unlink(path);
	unlink(other);
	assert_false(how.signaled);
	if (how.code == NO_LANDLOCK)
		print_message("this kernel has no Landlock\n");
	else
		assert_int_equal(how.code, 0);
}

static void what_processes_use_can_still_be_told(void **state)
{
	(void)state;
	assert_jailed("usage", 0);
	assert_jailed("usage-outside", 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(what_only_an_intruder_calls_kills),
#ifdef __x86_64__
		kiln_test(another_architectures_calls_kill),
#endif
		kiln_test(an_undeclared_call_does_not_exist),
		kiln_test(arguments_are_compared),
		kiln_test(who_is_kept_can_be_signalled_and_nobody_else),
		kiln_test(no_abstract_socket_is_reached_and_no_memory_executed),
		kiln_test(only_named_directories_can_be_read),
		kiln_test(a_place_to_read_is_for_reading_alone),
		kiln_test(only_writable_directories_can_be_written),
		kiln_test(nothing_else_exists_in_a_root_of_its_own),
		kiln_test(what_is_kept_can_be_used_in_a_root_of_its_own),
		kiln_test(privileges_are_gone_for_good),
		kiln_test(an_unprivileged_child_has_no_rights_and_no_network),
		kiln_test(a_confined_child_has_its_descriptors_and_nothing_else),
		kiln_test(what_processes_use_can_still_be_told),
	};
	int r;

	if (kiln__os_exe_path(&self, NULL) < 0)
		return 99;
	if (argc == 2 && strcmp(argv[1], "look-confined") == 0)
		end(look_confined()); /* a sanitizer's search for leaks would trace */
	if (argc == 2)
		return look_around();
	if (argc > 2)
		play(argv[1], argv[2], argc > 3 && strcmp(argv[3], "rooted") == 0);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	free(self);
	return r;
}
