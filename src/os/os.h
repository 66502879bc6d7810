/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operating system, in neutral words. One implementation per system in
 * os/linux, os/darwin and os/win32; nothing outside them and the backends knows
 * which system it runs on.
 *
 * Every descriptor made here is close-on-exec (not inheritable). Functions that
 * return a count return negative errno values only where they say so; all else
 * follows kiln/error.h.
 */
#ifndef KILN_OS_H
#define KILN_OS_H

#include <kiln/error.h>

#include "cleanup.h"
#include "fd.h"
#include "loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* --- descriptors -------------------------------------------------------------- */

void kiln__os_close(kiln_fd fd); /* KILN_FD_NONE is allowed; errno is kept */

static inline void kiln__autoclose_fn(kiln_fd *fd)
{
	kiln__os_close(*fd);
}
#define kiln__autoclose kiln__cleanup(kiln__autoclose_fn)

/* Yields *fd and leaves KILN_FD_NONE there. */
static inline kiln_fd kiln__take_fd(kiln_fd *fd)
{
	kiln_fd taken = *fd;

	*fd = KILN_FD_NONE;
	return taken;
}

/* Read and write once, retrying interrupted calls. A count, 0 at the end, or a negative errno. */
ssize_t kiln__os_read(kiln_fd fd, void *bytes, size_t len);
ssize_t kiln__os_write(kiln_fd fd, const void *bytes,
		       size_t len); /* never raises SIGPIPE on sockets; use them, not pipes */

/* All of it, on a blocking descriptor. Reading: fewer than @len bytes only at the end of the file.
 */
ssize_t kiln__os_read_full(kiln_fd fd, void *bytes, size_t len, kiln_error *err);
int kiln__os_write_full(kiln_fd fd, const void *bytes, size_t len, kiln_error *err);

/* The same of a file that was opened to append to: never a socket, for which nothing is tried. */
int kiln__os_append_full(kiln_fd file, const void *bytes, size_t len, kiln_error *err);

/* All of it at an offset of a file; short only at the end of the file. */
ssize_t kiln__os_pread_full(kiln_fd fd, void *bytes, size_t len, uint64_t offset, kiln_error *err);
int kiln__os_pwrite_full(kiln_fd fd, const void *bytes, size_t len, uint64_t offset,
			 kiln_error *err);

int kiln__os_set_size(kiln_fd fd, uint64_t size, kiln_error *err); /* cuts, or grows with zeros */
int kiln__os_sync(kiln_fd fd, kiln_error *err); /* contents and size survive a power cut */

/* Lets this process have @wanted descriptors at a time, or as many as it may. Returns how many. */
unsigned kiln__os_raise_descriptor_limit(unsigned wanted);

int kiln__os_set_nonblocking(kiln_fd fd, bool on, kiln_error *err);
bool kiln__os_is_socket(kiln_fd fd);
int kiln__os_dup(kiln_fd *ret, kiln_fd fd, kiln_error *err);

/*
 * The descriptor that whoever started this process gave it as @number (struct
 * kiln__spawn_fd's "to"). Owned by the caller from here on, and not inheritable
 * further. Ask once for each number. Fails if there is none.
 */
int kiln__os_inherited(kiln_fd *ret, int number, kiln_error *err);

/* --- files ---------------------------------------------------------------------- */

#define KILN__OPEN_READ      0
#define KILN__OPEN_WRITE     1 /* read and write */
#define KILN__OPEN_CREATE    2 /* make it if missing, mode 0600 */
#define KILN__OPEN_EXCLUSIVE 4 /* with CREATE: fail with KILN_EEXIST if it is there */
#define KILN__OPEN_APPEND    8
#define KILN__OPEN_TRUNCATE  16
#define KILN__OPEN_DIRECTORY 32
#define KILN__OPEN_HOSTILE                                                                         \
	64 /* in a directory of somebody not trusted: no link, no waiting for a FIFO */

int kiln__os_open(kiln_fd *ret, const char *path, unsigned flags, kiln_error *err);

/*
 * Opens @path beneath the directory @root: no component, symbolic link or ".."
 * leads out of it (openat2 with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS on Linux).
 */
int kiln__os_open_beneath(kiln_fd *ret, kiln_fd root, const char *path, unsigned flags,
			  kiln_error *err);

struct kiln__os_stat {
	uint64_t size;
	uint64_t allocated; /* bytes really used on disk */
	int64_t mtime_ns;
	uint64_t device;
	uint64_t device_type; /* of a device file: which device it is */
	uint64_t inode;
	bool is_file;
	bool is_directory;
	bool is_block_device;
	uint32_t owner; /* of it, and who reads it by its mode; on Windows 0, and everybody */
	bool read_by_owner;
	bool read_by_others;
};
int kiln__os_stat(const char *path, struct kiln__os_stat *ret, kiln_error *err);
int kiln__os_fstat(kiln_fd fd, struct kiln__os_stat *ret, kiln_error *err);

/* This user may open it anew to read, whatever special rights this process has besides. */
bool kiln__os_may_reopen(const struct kiln__os_stat *st);

/* A whole small file, NUL-terminated, malloc'ed; KILN_EOVERFLOW beyond @max bytes. */
int kiln__os_read_file(const char *path, size_t max, char **ret, size_t *ret_len, kiln_error *err);

/* The same of an open file, from where it stands; @name is for messages. */
int kiln__os_read_open(kiln_fd fd, const char *name, size_t max, char **ret, size_t *ret_len,
		       kiln_error *err);

/*
 * Replaces a file atomically: written aside, mode @mode whatever the umask, then
 * renamed over the old one. @durable also syncs file and directory. A reader sees the
 * old or the new whole; on failure the old is untouched and nothing is left. Killed in
 * the middle, it may leave a file beside @path whose name begins with KILN__OS_TEMPORARY.
 */
#define KILN__OS_TEMPORARY ".kiln-tmp-"
int kiln__os_replace_file(const char *path, const void *bytes, size_t len, unsigned mode,
			  bool durable, kiln_error *err);

/*
 * Replaces a small text durably or not, as above, mode 0600. Where that cannot be (the disk is
 * full) the text is written over the old one, in the room that this has, padded with blanks.
 */
int kiln__os_save_record(const char *path, const char *text, bool durable, kiln_error *err);

/* Opens a file for appending lines to; a last line that was cut off is ended first. */
int kiln__os_open_lines(kiln_fd *ret, const char *path, kiln_error *err);

int kiln__os_mkdir_p(const char *path, unsigned mode, kiln_error *err);
int kiln__os_mkdir(const char *path, unsigned mode,
		   kiln_error *err); /* KILN_EEXIST if it is there */

/* mkdir_p with mode 0700; KILN_EACCES if it is there and others own it or may write in it, or is a
 * link. */
int kiln__os_make_private_dir(const char *path, kiln_error *err);

/* The same question of one that is there: KILN_ENOENT if it is not. One system call. */
int kiln__os_check_private_dir(const char *path, kiln_error *err);

/*
 * One that is there becomes such a one: its mode is made 0700 (on Windows it has to be private
 * already). KILN_EACCES if it is a link, no directory, or another user's; KILN_ENOENT.
 */
int kiln__os_claim_private_dir(const char *path, kiln_error *err);
int kiln__os_remove(const char *path,
		    kiln_error *err); /* a file or empty directory; absent is success */
int kiln__os_remove_tree(const char *path,
			 kiln_error *err); /* never follows links; absent is success */
int kiln__os_rename(const char *from, const char *to, kiln_error *err); /* replaces @to */
int kiln__os_link_new(const char *from, const char *to,
		      kiln_error *err); /* KILN_EEXIST if @to is there */
int kiln__os_sync_dir(const char *path, kiln_error *err);

/* The names in a directory without "." and "..", sorted, malloc'ed, NULL-terminated; free with
 * kiln__os_free_names(). */
int kiln__os_list_dir(const char *path, char ***ret_names, kiln_error *err);
void kiln__os_free_names(char **names);

/*
 * An exclusive lock on an open file, released when the last duplicate of the
 * descriptor is closed, in whatever process. KILN_EBUSY at once if another holds it.
 */
int kiln__os_try_lock(kiln_fd fd, kiln_error *err);
int kiln__os_try_lock_shared(kiln_fd fd, kiln_error *err); /* several may hold it so */
int kiln__os_lock(kiln_fd fd, kiln_error *err);            /* waits */
void kiln__os_unlock(kiln_fd fd);                          /* before the last duplicate is closed */

/*
 * Locks on numbered parts of an open file, whatever its size: independent of each
 * other and of the lock above. Exclusive, and released as that one: with the last
 * duplicate of the descriptor, in whatever process. The file is open for writing.
 * Locking without @wait fails with KILN_EBUSY if another holds the part.
 */
int kiln__os_lock_part(kiln_fd fd, unsigned part, bool wait, kiln_error *err);
void kiln__os_unlock_part(kiln_fd fd, unsigned part);

/*
 * The same on a file that is open for reading alone, for a holder that must not write there:
 * waits until nobody has locked the part by the function above. Several may hold it (not on
 * Windows): that there is one is for the callers to see to.
 */
int kiln__os_hold_part(kiln_fd fd, unsigned part, kiln_error *err);

/* 1 if another open file holds the part, else 0. Asks only: nobody can take notice of it. */
int kiln__os_part_is_locked(kiln_fd fd, unsigned part, kiln_error *err);

/*
 * Calls @fn, once, on the loop's thread, when nobody holds the part of the file @path
 * (any more). For that it holds the part itself for a moment: kiln__os_part_is_locked()
 * does not see that, but kiln__os_lock_part() can be refused because of it.
 */
struct kiln__lockwait;
int kiln__lockwait_new(struct kiln__lockwait **ret, kiln_loop *loop, const char *path,
		       unsigned part, void (*fn)(void *data), void *data, kiln_error *err);
void kiln__lockwait_free(struct kiln__lockwait *wait); /* NULL is allowed; also from @fn */

/* A symbolic link that says @target; KILN_EEXIST if @path is there. What @path says, malloc'ed. */
int kiln__os_symlink_new(const char *target, const char *path, kiln_error *err);
int kiln__os_read_link(const char *path, char **ret_target, kiln_error *err);

/*
 * Anonymous shared memory of @size bytes, all zero, that other processes map by its
 * descriptor. Its size is fixed (where the system can: nobody can shrink it under us).
 */
int kiln__os_shared_memory(kiln_fd *ret, const char *label, uint64_t size, kiln_error *err);

/*
 * Tells of changes to the entries of directories: made, renamed to, written,
 * removed. @name is NULL when events were lost and anything may have changed; on
 * macOS it always is.
 * @directory is the number that adding it gave. On the loop's thread.
 */
struct kiln__dirwatch;
int kiln__dirwatch_new(struct kiln__dirwatch **ret, kiln_loop *loop,
		       void (*fn)(void *data, int directory, const char *name), void *data,
		       kiln_error *err);
int kiln__dirwatch_add(struct kiln__dirwatch *watch, const char *path, int *ret_directory,
		       kiln_error *err);
void kiln__dirwatch_remove(struct kiln__dirwatch *watch, int directory); /* one that is gone, too */
void kiln__dirwatch_free(struct kiln__dirwatch *watch); /* NULL is allowed; also from @fn */

/* --- local sockets ---------------------------------------------------------------- */

/* A connected pair of stream sockets. */
int kiln__os_socket_pair(kiln_fd ret[2], kiln_error *err);

/*
 * Listens at @path, which must not exist (KILN_EEXIST); connections may only be made by
 * this user (mode 0600, from the first moment). @path with its NUL longer than the
 * system's limit (108 bytes on Linux and Windows, 104 on macOS): KILN_EOVERFLOW.
 */
int kiln__os_local_listen(kiln_fd *ret, const char *path, kiln_error *err);

/* Connects, blocking. KILN_ENOENT: no such socket; KILN_EDIED: its file is there, but nobody
 * listens. */
int kiln__os_local_connect(kiln_fd *ret, const char *path, kiln_error *err);

/* The same without waiting: KILN_EBUSY if the listener does not keep up with its connections. */
int kiln__os_local_try_connect(kiln_fd *ret, const char *path, kiln_error *err);

/*
 * A datagram socket that is connected to that at @path and itself at @own, which must not exist and
 * is the caller's to remove. KILN_ENOTSUP on Windows.
 */
int kiln__os_datagram_connect(kiln_fd *ret, const char *own, const char *path, kiln_error *err);

/* A waiting connection (itself in blocking mode). Never waits: KILN_ENOENT if there is none (any
 * more). */
int kiln__os_accept(kiln_fd *ret, kiln_fd listener, kiln_error *err);

/* The user id of a local socket's peer. */
int kiln__os_peer_user(kiln_fd fd, uint32_t *ret_uid, kiln_error *err);

/* KILN_EACCES if a connected socket's other end is another user's (Windows cannot tell, and says
 * 0). */
int kiln__os_check_peer(kiln_fd fd, kiln_error *err);

/* The same of an end that has to be @user's. */
int kiln__os_check_peer_is(kiln_fd fd, uint32_t user, kiln_error *err);
void kiln__os_shutdown_write(kiln_fd fd);

#define KILN__OS_MAX_FDS 16

/* Sends bytes with descriptors attached to the first of them (count <= KILN__OS_MAX_FDS). A count
 * or a negative errno. */
ssize_t kiln__os_send_fds(kiln_fd socket, const void *bytes, size_t len, const kiln_fd *fds,
			  size_t count);

/*
 * Receives bytes and the descriptors that come with them (up to *count, which is
 * set to the number received; if there are more, all are closed and -EMSGSIZE returned).
 */
ssize_t kiln__os_recv_fds(kiln_fd socket, void *bytes, size_t len, kiln_fd *fds, size_t *count);

/* --- processes ----------------------------------------------------------------------- */

struct kiln__spawn_fd {
	kiln_fd from; /* borrowed */
	int to;       /* its number in the child, at most 255 */
};

/* A mount (mount.h) at an existing path. */
struct kiln__spawn_mount {
	kiln_fd tree; /* borrowed */
	const char *at;
};

struct kiln__spawn {
	const char *path; /* the program's file: not searched for, see kiln__os_find_program() */
	const char *const *argv; /* NULL-terminated */
	const char *const *env;  /* NULL-terminated, or NULL: this process's */
	const struct kiln__spawn_fd
		*fds; /* all the child gets; 0, 1, 2 not named are the null device */
	size_t fd_count;
	/*
	 * Killed when the spawning process ends, however it ends. Spawn from a thread that
	 * lives as long as the process: on Linux the child is killed when that thread ends.
	 */
	bool die_with_parent;
	bool new_session; /* detached from the terminal and its signals */
	/*
	 * Not this process's child, but the init process's: nobody here needs to reap it.
	 * How it ended is unknown then (code -1); that it has ended can be waited for.
	 */
	bool detached;
	const char *cwd; /* or NULL */
	/*
	 * With the rights of this user's files and no others, for itself and all that it starts:
	 * on Linux no_new_privs, and no capability but, with low_ports and if this process has it,
	 * the one to listen at ports below 1024. Elsewhere without effect.
	 */
	bool unprivileged;
	bool low_ports;
	/*
	 * With "unprivileged": cut off from networks and from abstract sockets, as far as the
	 * system has that and allows it; kiln__child_is_offline() tells.
	 */
	bool offline;
	/*
	 * With "unprivileged": for a program that reads a stranger's file. Of files it has what it
	 * is linked with and what it inherits, each for as much as it was opened for (it may open
	 * those anew by /proc/self/fd); no sockets, no other processes. On Linux by Landlock, as
	 * far as the kernel has that, and seccomp; elsewhere without effect.
	 */
	bool confined;
	/*
	 * On Linux, with the right to: mounts that only the child and what it starts see, in a
	 * mount namespace with which they go away.
	 */
	const struct kiln__spawn_mount *mounts;
	size_t mount_count;
	bool open_umask; /* what it makes may be used by all, as far as they get there */
};

struct kiln__exit {
	bool signaled;
	/*
	 * Exit code, or the signal's number (as Linux has them, on Windows too, which has
	 * none: 9 killed, 15 terminated, 6 faulted); -1 if unknown: somebody else has reaped it.
	 */
	int code;
};

struct kiln__child;

/*
 * Starts a program. Signal handlers and mask are the defaults in it. If the
 * program cannot be executed, this fails (KILN_ENOENT, KILN_EACCES ...) and there
 * is no child. No SIGCHLD handler is installed and none is needed.
 */
int kiln__child_spawn(struct kiln__child **ret, const struct kiln__spawn *spawn, kiln_error *err);
int64_t kiln__child_pid(const struct kiln__child *child);
bool kiln__child_is_offline(const struct kiln__child *child);

/* Asks to be told, once, on the loop's thread, when the child has ended; it has been reaped then.
 */
int kiln__child_watch(struct kiln__child *child, kiln_loop *loop,
		      void (*fn)(void *data, struct kiln__exit how), void *data, kiln_error *err);

/* Waits up to @timeout_ms (-1: for ever) without a loop. KILN_ETIMEDOUT if it still runs. May be
 * repeated. */
int kiln__child_wait(struct kiln__child *child, int timeout_ms, struct kiln__exit *ret,
		     kiln_error *err);
void kiln__child_terminate(struct kiln__child *child); /* SIGTERM, or what comes near */
void kiln__child_kill(struct kiln__child *child);      /* SIGKILL */

/*
 * Before this process is confined (jail.h), which it has been announced to be: the child is one
 * that it may still signal, as it may nobody else. *count, at first 0, says how many there are:
 * KILN_EOVERFLOW beyond eight.
 */
int kiln__child_keep(struct kiln__child *child, unsigned *count, kiln_error *err);

/*
 * Orphans among what this process has started become its children (Linux; for good), and one of
 * them is taken for one: by its number, which is its own until it is reaped. KILN_ENOENT if it is
 * no child of this process.
 */
int kiln__os_adopt_orphans(kiln_error *err);
int kiln__child_adopt(struct kiln__child **ret, int64_t pid, kiln_error *err);

/*
 * Forgets the child, reaping it if it has ended; one still running goes on, and once
 * ended stays a zombie until this process ends (detached: it does not). NULL is allowed.
 */
void kiln__child_free(struct kiln__child *child);

/*
 * A process by its number and by a word of its command line, so that a number used
 * again is not mistaken: KILN_ENOENT if there is no such process (any more), KILN_EEXIST, where it
 * can be told, if it is another one's.
 * The descriptor becomes readable when the process has ended.
 */
int kiln__os_open_process(kiln_fd *ret, int64_t pid, const char *word, kiln_error *err);

/* Kills that process and waits for its end. KILN_ETIMEDOUT if that takes longer. */
int kiln__os_end_process(kiln_fd process, int timeout_ms, kiln_error *err);

/* Kills this process when its parent ends (for a program that must not outlive who started it). */
int kiln__os_die_with_parent(kiln_error *err);

/* --- threads ------------------------------------------------------------------------- */

/*
 * Work that blocks, on a thread of its own. @run is called there, and may tell what is
 * going on; @told and, at the end, @done are called on the loop's thread. Of abandoned
 * work neither comes any more, but @drop when @run has returned, on whichever thread:
 * one of @done and @drop is called, once, and @data is the caller's again.
 */
struct kiln__work;

struct kiln__work_ops {
	void (*run)(struct kiln__work *work, void *data);
	void (*told)(void *data, const char *text);
	void (*done)(void *data);
	void (*drop)(void *data);
};

int kiln__work_start(struct kiln__work **ret, kiln_loop *loop, const struct kiln__work_ops *ops,
		     void *data, kiln_error *err);
void kiln__work_tell(struct kiln__work *work, const char *text); /* from @run */
void kiln__work_abandon(struct kiln__work *work); /* not after @done; NULL is allowed */

/* --- this host -------------------------------------------------------------------------- */

/* This executable's path, malloc'ed. */
int kiln__os_exe_path(char **ret, kiln_error *err);

/* The path of program @name, malloc'ed: found in $PATH, or @name itself if it has a directory part.
 */
int kiln__os_find_program(char **ret, const char *name, kiln_error *err);

/*
 * A program or file that comes with kiln: what the environment's @variable says; @name beside this
 * executable, as in a build, where it may have a directory part; its last part in ../libexec/kiln
 * from there; or where it was configured to be installed. malloc'ed. KILN_ENOENT says what to do.
 */
int kiln__os_find_helper(char **ret, const char *name, const char *variable, kiln_error *err);

/* An environment variable, malloc'ed; NULL if unset, or if this process has rights its user has
 * not. */
char *kiln__os_env(const char *name);

void kiln__os_random(void *bytes, size_t len);

/* Wall-clock and monotonic time in nanoseconds. */
int64_t kiln__os_realtime_ns(void);
int64_t kiln__os_monotonic_ns(void);

/* Physical memory in bytes; 0 if unknown. Processors that this process may use; at least 1. */
uint64_t kiln__os_total_memory(void);
unsigned kiln__os_cpu_count(void);

/* "x86_64" or "aarch64"; "unknown" else. Static. */
const char *kiln__os_arch(void);

/* CPU time, resident and private memory of a process: what stats shows. KILN_ENOTSUP where unknown.
 */
struct kiln__os_usage {
	uint64_t cpu_ns;
	uint64_t resident;
	uint64_t private_bytes;
};
int kiln__os_process_usage(int64_t pid, struct kiln__os_usage *ret, kiln_error *err);

/*
 * Where durable data and live sockets go, malloc'ed: $KILN_HOME or the user's
 * data directory + "/kiln"; $KILN_RUNTIME_DIR or the user's runtime directory + "/kiln"
 * (XDG base directories on Linux). Not created: kiln__os_make_private_dir().
 * KILN_EINVAL: a variable of kiln's is not an absolute path. KILN_ENOENT: $XDG_RUNTIME_DIR is no
 * directory.
 */
int kiln__os_data_dir(char **ret, kiln_error *err);
int kiln__os_runtime_dir(char **ret, kiln_error *err);

#endif
