/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named, durable virtual machines.
 *
 * A VM is a directory below the home directory, and, while it is alive, one process
 * of its own, kiln-runner, that outlives whoever started it. There is no daemon:
 * any number of managers, in any number of processes, see the same VMs and may
 * work on them at the same time. What a process that was killed left behind, the
 * next manager that is made, and the next operation on that VM, set right.
 *
 * Threads: a manager and all that it gave out belong to its loop's thread.
 * Operations return at once and complete exactly once, by callback on that thread,
 * and not from inside the call that began them (but where there is no memory to
 * remember them by: KILN_ENOMEM). Each has a blocking twin, named _sync,
 * that runs the loop meanwhile: with a deadline in milliseconds (-1: none), after which
 * it returns KILN_ETIMEDOUT while the operation itself goes on. Do not call these
 * from callbacks.
 *
 * What blocks, besides the twins: small files are read and written inside calls. A call that finds
 * a VM whose runner has died kills what is left of it and waits until that has ended: milliseconds,
 * at most a second a process (kiln_manager_new() for each such VM). And kiln_vm_free(), see there.
 */
#ifndef KILN_MANAGER_H
#define KILN_MANAGER_H

#include <kiln/config.h>
#include <kiln/error.h>
#include <kiln/log.h>
#include <kiln/loop.h>
#include <kiln/machine.h>
#include <kiln/stream.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kiln_manager kiln_manager;
typedef struct kiln_vm kiln_vm;

/* --- the manager ------------------------------------------------------------------ */

typedef struct kiln_manager_options {
	size_t size;             /* set by KILN_MANAGER_OPTIONS_INIT */
	const char *home;        /* absolute; NULL: $KILN_HOME, or XDG's data directory + "/kiln" */
	const char *runtime_dir; /* absolute; NULL: $KILN_RUNTIME_DIR, or XDG's + "/kiln" */
	const char *runner;      /* kiln-runner; NULL: $KILN_RUNNER, else found as installed */
	kiln_log log;
} kiln_manager_options;

#define KILN_MANAGER_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(kiln_manager_options), .log = KILN_LOG_INIT                         \
	}

/*
 * Makes a manager on @loop, or with @loop NULL on one of its own. @options may be
 * NULL. Cleans up after processes that were killed. Directories are made when they
 * are first needed. KILN_EACCES: a directory is not this user's alone.
 */
KILN_PUBLIC int kiln_manager_new(kiln_manager **ret_manager, kiln_loop *loop,
				 const kiln_manager_options *options, kiln_error *err);

/*
 * Frees it, NULL is allowed; also a loop of its own. Everything that it gave out
 * must have been freed before. VMs in the background live on.
 */
KILN_PUBLIC void kiln_manager_free(kiln_manager *manager);

/* The loop that it runs on. */
KILN_PUBLIC kiln_loop *kiln_manager_loop(const kiln_manager *manager);

typedef struct kiln_create_options {
	size_t size;      /* set by KILN_CREATE_OPTIONS_INIT */
	const char *name; /* letters, digits, "_.-", at most 63, beginning with a letter or digit;
			     or NULL */
	bool ephemeral;   /* removed when it has ended, or when nobody is left to start it */
} kiln_create_options;

#define KILN_CREATE_OPTIONS_INIT                                                                   \
	{                                                                                          \
		.size = sizeof(kiln_create_options)                                                \
	}

/*
 * Creates a VM of @config (copied, and validated) without starting it. @options may be NULL.
 * KILN_EEXIST: the name is taken. On failure nothing is left of it.
 */
KILN_PUBLIC int kiln_manager_create(kiln_manager *manager, const kiln_config *config,
				    const kiln_create_options *options, kiln_vm **ret_vm,
				    kiln_error *err);

/*
 * Finds a VM by its name, its id, or a beginning of its id that no other has.
 * KILN_ENOENT: none; KILN_EINVAL: several. Release it with kiln_vm_free().
 */
KILN_PUBLIC int kiln_manager_find(kiln_manager *manager, const char *name_or_id, kiln_vm **ret_vm,
				  kiln_error *err);

/* What is known of a VM. Strings are never NULL; times are nanoseconds since 1970 in UTC, 0: not
 * yet. */
typedef struct kiln_vm_info {
	size_t size;      /* set by KILN_VM_INFO_INIT */
	const char *id;   /* 32 hexadecimal digits */
	const char *name; /* "" if it has none */
	enum kiln_state state;
	kiln_exit exit;      /* how it ended; while stopped */
	kiln_error failure;  /* why it failed; while failed */
	const char *backend; /* "" until started once */
	const char *accel;   /* what really ran the guest; "" if not known */
	int64_t created_ns;
	int64_t started_ns;
	int64_t ready_ns;
	int64_t finished_ns;
	int64_t pid; /* of its kiln-runner; 0 if it has none */
	bool ephemeral;
	const char *accel_reason; /* why it was emulated though it need not be; "" if it was not */
} kiln_vm_info;

#define KILN_VM_INFO_INIT                                                                          \
	{                                                                                          \
		.size = sizeof(kiln_vm_info)                                                       \
	}

/*
 * Calls @fn for each VM, oldest first. @info and what is in it are valid during the
 * call. A return value other than 0 ends the walk and becomes the result.
 */
KILN_PUBLIC int kiln_manager_list(kiln_manager *manager,
				  int (*fn)(void *data, const kiln_vm_info *info), void *data,
				  kiln_error *err);

/* --- a VM ---------------------------------------------------------------------------- */

/*
 * Releases a VM's handle; NULL is allowed. The VM goes on, unless it was started in the
 * foreground by this handle: then it is killed, and this blocks until it has ended, ten seconds
 * at most (who cannot wait in a call completes kiln_vm_kill() first). Of an ephemeral one that was
 * created by this manager and is not alive nothing is left then. Pending operations complete
 * with KILN_ECANCELED before this returns. Its sessions, streams and followers must have
 * been freed before.
 */
KILN_PUBLIC void kiln_vm_free(kiln_vm *vm);

KILN_PUBLIC const char *kiln_vm_id(const kiln_vm *vm);
KILN_PUBLIC const char *kiln_vm_name(const kiln_vm *vm); /* NULL if it has none */

/* Its state as of now. Strings are valid until the next call on @vm. */
KILN_PUBLIC int kiln_vm_status(kiln_vm *vm, kiln_vm_info *ret_info, kiln_error *err);

/* Its configuration, as it was created. The caller frees it. */
KILN_PUBLIC int kiln_vm_config(kiln_vm *vm, kiln_config **ret_config, kiln_error *err);

typedef struct kiln_start_options {
	size_t size;     /* set by KILN_START_OPTIONS_INIT */
	bool foreground; /* the VM ends with this handle, or this process, however that ends */
	bool attach; /* its main process waits until somebody has attached, or this handle is freed
		      */
	/*
	 * What is going on, for people ("making a root image of /srv/debian"); may be
	 * called any number of times until the start has completed.
	 */
	void (*on_progress)(void *data, const char *text);
	void *data; /* for on_progress */
} kiln_start_options;

#define KILN_START_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(kiln_start_options)                                                 \
	}

/*
 * Starts it; done when the guest runs. @options may be NULL. KILN_ESTATE: it is alive
 * already. On failure it is in state failed, with the reason.
 */
KILN_PUBLIC void kiln_vm_start(kiln_vm *vm, const kiln_start_options *options, kiln_done_fn done,
			       void *data);

/*
 * Lets a VM that was started in the foreground outlive this handle and this process, as if it had
 * been started in the background. KILN_ESTATE: it is not alive.
 */
KILN_PUBLIC void kiln_vm_background(kiln_vm *vm, kiln_done_fn done, void *data);

/*
 * Completes when the VM is in state @until, or further: KILN_STATE_RUNNING, KILN_STATE_READY or
 * KILN_STATE_STOPPED (which failed is, too). Fails with KILN_ESTATE, or the reason why
 * it failed, if it has ended before it became running or ready.
 */
KILN_PUBLIC void kiln_vm_wait(kiln_vm *vm, enum kiln_state until, kiln_done_fn done, void *data);

#define KILN_STOP_TIMEOUT_CONFIGURED UINT64_MAX

/*
 * Stops it gracefully, after @timeout_ms (or what the configuration says) by force.
 * Done when its process has gone; succeeds at once on what is not alive.
 */
KILN_PUBLIC void kiln_vm_stop(kiln_vm *vm, uint64_t timeout_ms, kiln_done_fn done, void *data);

/*
 * Ends it now. Done when its process has gone; succeeds at once on what is not alive. A start
 * that this manager has under way completes with KILN_ECANCELED.
 */
KILN_PUBLIC void kiln_vm_kill(kiln_vm *vm, kiln_done_fn done, void *data);

/* Stops it as kiln_vm_stop() and starts it, in the background. */
KILN_PUBLIC void kiln_vm_restart(kiln_vm *vm, uint64_t timeout_ms, kiln_done_fn done, void *data);

/* Sends a signal (Linux's number) to the VM's main process. */
KILN_PUBLIC void kiln_vm_signal(kiln_vm *vm, int number, kiln_done_fn done, void *data);

/*
 * Writes a paused VM's memory and state into @directory, as kiln_machine_snapshot().
 */
KILN_PUBLIC void kiln_vm_snapshot(kiln_vm *vm, const char *directory, const char *base,
				  kiln_done_fn done, void *data);

/* Changes it while it runs, as kiln_machine_update(). */
KILN_PUBLIC void kiln_vm_update(kiln_vm *vm, const kiln_update *update, kiln_done_fn done,
				void *data);

/* Adds and removes devices, and more, as kiln_machine_change(). */
KILN_PUBLIC void kiln_vm_change(kiln_vm *vm, const kiln_change *change, kiln_done_fn done,
				void *data);

/* Stops its vCPUs and lets them go on. Succeed at once if it is so already. */
KILN_PUBLIC void kiln_vm_pause(kiln_vm *vm, kiln_done_fn done, void *data);
KILN_PUBLIC void kiln_vm_resume(kiln_vm *vm, kiln_done_fn done, void *data);

/*
 * Removes it with all that it kept; with @force one that is alive is killed first,
 * without it that is KILN_EBUSY. The handle then names nothing: all but freeing it fails
 * with KILN_ENOENT.
 */
KILN_PUBLIC void kiln_vm_remove(kiln_vm *vm, bool force, kiln_done_fn done, void *data);

/* @json is NULL on failure, @err on success; both valid during the call. */
typedef void (*kiln_json_fn)(void *data, const char *json, const kiln_error *err);

/* Everything about it, as one JSON object with its configuration in "config". */
KILN_PUBLIC void kiln_vm_inspect(kiln_vm *vm, kiln_json_fn fn, void *data);

/* What it uses now: {"cpu_ns":...,"memory":...}, docs/control-protocol.md; what the VMM counts of
 * its devices in "counters". KILN_ESTATE unless
 * alive. */
KILN_PUBLIC void kiln_vm_stats(kiln_vm *vm, kiln_json_fn fn, void *data);

/* The same, blocking. @timeout_ms: -1 waits for ever. */
KILN_PUBLIC int kiln_vm_start_sync(kiln_vm *vm, const kiln_start_options *options, int timeout_ms,
				   kiln_error *err);
KILN_PUBLIC int kiln_vm_background_sync(kiln_vm *vm, int timeout_ms, kiln_error *err);
KILN_PUBLIC int kiln_vm_wait_sync(kiln_vm *vm, enum kiln_state until, int timeout_ms,
				  kiln_error *err);
KILN_PUBLIC int kiln_vm_stop_sync(kiln_vm *vm, uint64_t stop_timeout_ms, int timeout_ms,
				  kiln_error *err);
KILN_PUBLIC int kiln_vm_kill_sync(kiln_vm *vm, int timeout_ms, kiln_error *err);
KILN_PUBLIC int kiln_vm_restart_sync(kiln_vm *vm, uint64_t stop_timeout_ms, int timeout_ms,
				     kiln_error *err);
KILN_PUBLIC int kiln_vm_signal_sync(kiln_vm *vm, int number, int timeout_ms, kiln_error *err);
KILN_PUBLIC int kiln_vm_snapshot_sync(kiln_vm *vm, const char *directory, const char *base,
				      int timeout_ms, kiln_error *err);
KILN_PUBLIC int kiln_vm_update_sync(kiln_vm *vm, const kiln_update *update, int timeout_ms,
				    kiln_error *err);
KILN_PUBLIC int kiln_vm_change_sync(kiln_vm *vm, const kiln_change *change, int timeout_ms,
				    kiln_error *err);
KILN_PUBLIC int kiln_vm_pause_sync(kiln_vm *vm, int timeout_ms, kiln_error *err);
KILN_PUBLIC int kiln_vm_resume_sync(kiln_vm *vm, int timeout_ms, kiln_error *err);
KILN_PUBLIC int kiln_vm_remove_sync(kiln_vm *vm, bool force, int timeout_ms, kiln_error *err);
/* *ret_json is malloc'ed. */
KILN_PUBLIC int kiln_vm_inspect_sync(kiln_vm *vm, char **ret_json, int timeout_ms, kiln_error *err);
KILN_PUBLIC int kiln_vm_stats_sync(kiln_vm *vm, char **ret_json, int timeout_ms, kiln_error *err);

/* --- processes in the guest ------------------------------------------------------------- */

/* A process in the guest, seen from here. */
typedef struct kiln_session kiln_session;

typedef struct kiln_session_callbacks {
	size_t size; /* set by KILN_SESSION_CALLBACKS_INIT */
	/*
	 * Output of descriptor @fd, 1 or 2 (with a terminal all of it is 1), valid during
	 * the call. Returns how many bytes were consumed; after fewer than @len none come,
	 * and the process waits, until kiln_session_resume(). NULL: output is dropped.
	 */
	size_t (*on_output)(void *data, int fd, const void *bytes, size_t len);
	/* The process runs: what is written reaches it. May be NULL. */
	void (*on_started)(void *data);
	/* There is room for input again. May be NULL. */
	void (*on_writable)(void *data);
	/*
	 * The process has ended, after its last output: @err is NULL, @exit.kind is
	 * KILN_EXIT_EXITED or _SIGNALED. Or it could not be started (KILN_ENOCMD, KILN_ENOEXEC
	 * ...), or was lost sight of: @err says why. Once. May be NULL.
	 */
	void (*on_exit)(void *data, kiln_exit exit, const kiln_error *err);
	void *data;
} kiln_session_callbacks;

#define KILN_SESSION_CALLBACKS_INIT                                                                \
	{                                                                                          \
		.size = sizeof(kiln_session_callbacks)                                             \
	}

typedef struct kiln_exec_options {
	size_t size;             /* set by KILN_EXEC_OPTIONS_INIT */
	const char *const *argv; /* NULL-terminated; argv[0] is looked up in the guest's PATH */
	const char *const *env;  /* NULL-terminated "NAME=value", beside the VM's own; or NULL */
	const char *cwd;         /* NULL: as configured */
	const char *user;        /* "name|uid[:group|gid]"; NULL: as configured */
	bool stdin_open;         /* input will be written; else the process reads the end at once */
	bool tty;                /* a terminal for all three descriptors */
	unsigned rows;           /* of the terminal; 0: 24 */
	unsigned cols;           /* 0: 80 */
} kiln_exec_options;

#define KILN_EXEC_OPTIONS_INIT                                                                     \
	{                                                                                          \
		.size = sizeof(kiln_exec_options)                                                  \
	}

/*
 * Runs a command in the guest. All that can go wrong is told by on_exit, but
 * arguments that cannot be right, which fail at once. Free the session with
 * kiln_session_free(), which leaves the process running in the guest.
 */
KILN_PUBLIC int kiln_vm_exec(kiln_vm *vm, const kiln_exec_options *options,
			     const kiln_session_callbacks *callbacks, kiln_session **ret_session,
			     kiln_error *err);

typedef struct kiln_attach_options {
	size_t size;     /* set by KILN_ATTACH_OPTIONS_INIT */
	bool stdin_open; /* input will be written */
	unsigned rows;   /* of a terminal; 0: unchanged */
	unsigned cols;
} kiln_attach_options;

#define KILN_ATTACH_OPTIONS_INIT                                                                   \
	{                                                                                          \
		.size = sizeof(kiln_attach_options)                                                \
	}

/*
 * Joins the VM's main process: its output from now on. Of a VM that was started with
 * "attach" in its options the first to do so misses no byte. The
 * VM's end without a main process is told as on_exit with KILN_EDIED.
 */
KILN_PUBLIC int kiln_vm_attach(kiln_vm *vm, const kiln_attach_options *options,
			       const kiln_session_callbacks *callbacks, kiln_session **ret_session,
			       kiln_error *err);

/* Lets output come again. It may come from inside this call; do not call it from on_output. */
KILN_PUBLIC void kiln_session_resume(kiln_session *session);

/*
 * Writes input that there is room for: a count from 0 to @len, or a negative code
 * once the process does not read any more. After a short count, on_writable.
 */
KILN_PUBLIC int64_t kiln_session_write(kiln_session *session, const void *bytes, size_t len);
KILN_PUBLIC void kiln_session_close_stdin(kiln_session *session); /* after what was written */

/* The terminal has this size now. */
KILN_PUBLIC void kiln_session_resize(kiln_session *session, unsigned rows, unsigned cols);

/* Sends a signal (Linux's number) to the process. */
KILN_PUBLIC void kiln_session_signal(kiln_session *session, int number);

/* No callback comes any more; allowed in callbacks, and NULL. */
KILN_PUBLIC void kiln_session_free(kiln_session *session);

/* What a command wrote and how it ended. */
typedef struct kiln_exec_result {
	size_t size; /* set by KILN_EXEC_RESULT_INIT */
	kiln_exit exit;
	char *out; /* what it wrote to its descriptor 1, with a NUL behind */
	size_t out_len;
	char *err; /* the same of descriptor 2 */
	size_t err_len;
	bool truncated; /* there was more than the limit */
} kiln_exec_result;

#define KILN_EXEC_RESULT_INIT                                                                      \
	{                                                                                          \
		.size = sizeof(kiln_exec_result)                                                   \
	}

/*
 * Runs a command to its end, blocking, with no input. Keeps up to @limit bytes of
 * each output. A command that ends with a code other than 0 is no failure of this
 * function. Release the result with kiln_exec_result_done().
 */
KILN_PUBLIC int kiln_vm_exec_sync(kiln_vm *vm, const kiln_exec_options *options, size_t limit,
				  kiln_exec_result *ret_result, int timeout_ms, kiln_error *err);
KILN_PUBLIC void kiln_exec_result_done(kiln_exec_result *result);

/* --- streams ------------------------------------------------------------------------------- */

/* @stream is the receiver's, NULL on failure. */
typedef void (*kiln_stream_fn)(void *data, kiln_stream *stream, const kiln_error *err);

/* Connects to a vsock port that the guest listens on. */
KILN_PUBLIC void kiln_vm_connect(kiln_vm *vm, uint32_t port, kiln_stream_fn fn, void *data);

/* The serial console, both directions, from now on. */
KILN_PUBLIC void kiln_vm_console(kiln_vm *vm, kiln_stream_fn fn, void *data);

/* --- logs and events ------------------------------------------------------------------------- */

typedef struct kiln_follower kiln_follower;

enum kiln_logs_kind {
	KILN_LOGS_PROCESS = 0, /* what the main process wrote */
	KILN_LOGS_CONSOLE = 1, /* what the guest wrote on its console */
	KILN_LOGS_RUNNER = 2,  /* what kiln has to say about it */
};

/*
 * What a log keeps, from its beginning, and with @follow what comes behind it until the VM
 * has ended. @on_log gets bytes as they were written, by descriptor @fd (1 or 2) at
 * @time_ns since 1970; for other logs than the process's @fd is 1 and @time_ns 0. @done is called
 * once, at the end. Both from the loop. Free the follower at any time, also in a
 * callback; none comes then.
 */
KILN_PUBLIC int
kiln_vm_logs(kiln_vm *vm, enum kiln_logs_kind kind, bool follow,
	     void (*on_log)(void *data, int64_t time_ns, int fd, const void *bytes, size_t len),
	     kiln_done_fn done, void *data, kiln_follower **ret_follower, kiln_error *err);

/*
 * What happened to a VM, or with @vm NULL to all, each as one line of JSON
 * {"time":...,"id":...,"name":...,"event":...}, in order of time: "created", then states, and
 * "removed". First what is recorded, then with @follow what happens. @done as above;
 * one VM is followed until it is removed, all of them for ever.
 */
KILN_PUBLIC int kiln_manager_events(kiln_manager *manager, kiln_vm *vm, bool follow,
				    void (*on_event)(void *data, const char *json),
				    kiln_done_fn done, void *data, kiln_follower **ret_follower,
				    kiln_error *err);

/* Ends following; NULL is allowed. */
KILN_PUBLIC void kiln_follower_free(kiln_follower *follower);

#ifdef __cplusplus
}
#endif
#endif
