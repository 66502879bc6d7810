/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine: one virtual machine, run by this process.
 *
 * Everything happens on the loop that the machine was made on: operations return
 * at once and complete exactly once, by callback, never from inside the call that
 * began them (but one whose machine is freed by the event of its own start). A machine does not
 * outlive its process; VMs that do, with names and a directory, are <kiln/manager.h>'s.
 *
 * States and what leads from one to the next:
 *
 *   created --start--> starting --VMM runs--> running --guest is ready--> ready
 *   running, ready --pause--> paused --resume--> where it was
 *   ready --the guest reboots, and may (on_reboot)--> running
 *   any of these but created --stop--> stopping --> stopped
 *   starting, running, ready, paused, stopping --VM ends--> stopped or failed
 *
 * `stopped` keeps how the VM ended, `failed` the stage and the reason.
 */
#ifndef KILN_MACHINE_H
#define KILN_MACHINE_H

#include <kiln/config.h>
#include <kiln/error.h>
#include <kiln/log.h>
#include <kiln/loop.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kiln_machine kiln_machine;

enum kiln_state {
	KILN_STATE_CREATED = 0,
	KILN_STATE_STARTING = 1,
	KILN_STATE_RUNNING = 2,
	KILN_STATE_READY = 3,
	KILN_STATE_PAUSED = 4,
	KILN_STATE_STOPPING = 5,
	KILN_STATE_STOPPED = 6,
	KILN_STATE_FAILED = 7,
};

/* "created", "starting" ... Static. */
KILN_PUBLIC const char *kiln_state_name(enum kiln_state state);

enum kiln_exit_kind {
	KILN_EXIT_NONE = 0,     /* has not ended */
	KILN_EXIT_EXITED = 1,   /* the main process exited: code */
	KILN_EXIT_SIGNALED = 2, /* the main process was killed: code is the signal */
	KILN_EXIT_POWEROFF = 3, /* the guest powered off */
	KILN_EXIT_RESET = 4,    /* the guest reset itself and the configuration says stop */
	KILN_EXIT_KILLED = 5,   /* the host ended it */
};

/* "none", "exited" ... Static. */
KILN_PUBLIC const char *kiln_exit_kind_name(enum kiln_exit_kind kind);

typedef struct kiln_exit {
	enum kiln_exit_kind kind;
	int code;
} kiln_exit;

/*
 * The same as one number, as a shell has it: a process's code, 128 + its signal, 137 for a machine
 * that was killed, 0 for one that powered off or was reset; 125 for KILN_EXIT_NONE.
 */
KILN_PUBLIC int kiln_exit_status(kiln_exit how);

/* A transition. @err: for KILN_STATE_FAILED the stage and reason, else NULL. Valid during the call.
 */
typedef struct kiln_event {
	size_t size;
	enum kiln_state from;
	enum kiln_state to;
	int64_t realtime_ns;
	int64_t monotonic_ns;
	kiln_exit exit;
	const kiln_error *err;
} kiln_event;

/* How an operation ended: @result is 0 or a KILN_E... code, @err NULL on success; valid during the
 * call. */
typedef void (*kiln_done_fn)(void *data, int result, const kiln_error *err);

typedef struct kiln_machine_options {
	size_t size;      /* set by KILN_MACHINE_OPTIONS_INIT */
	const char *id;   /* the VM's id: 32 hex digits; NULL: a random one */
	const char *name; /* for people; default hostname; NULL: the short id */
	/*
	 * Called for each transition, on the loop's thread, as it takes place: perhaps from inside
	 * the call that makes it. It may do anything with the machine, freeing it included.
	 */
	void (*on_event)(void *data, const kiln_event *event);
	/* What the guest writes on its console. Bytes are valid during the call. */
	void (*on_console)(void *data, const void *bytes, size_t len);
	void *data;
	kiln_log log;
} kiln_machine_options;

#define KILN_MACHINE_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(kiln_machine_options), .log = KILN_LOG_INIT                         \
	}

/*
 * Makes a machine of @config, which is copied. The configuration is validated, a
 * backend is chosen, and the backend is asked whether it can run it: what it
 * cannot do is refused here, by name. Nothing is started. The machine uses @loop
 * until kiln_machine_free().
 */
KILN_PUBLIC int kiln_machine_new(kiln_machine **ret_machine, kiln_loop *loop,
				 const kiln_config *config, const kiln_machine_options *options,
				 kiln_error *err);

/*
 * Frees a machine in any state; NULL is allowed. A VM still running is killed.
 * Pending operations complete with KILN_ECANCELED before this returns; no callback
 * comes afterwards.
 */
KILN_PUBLIC void kiln_machine_free(kiln_machine *machine);

KILN_PUBLIC enum kiln_state kiln_machine_state(const kiln_machine *machine);
KILN_PUBLIC kiln_exit kiln_machine_exit(const kiln_machine *machine);
KILN_PUBLIC const char *kiln_machine_id(const kiln_machine *machine);
KILN_PUBLIC const char *kiln_machine_backend(const kiln_machine *machine);

/* "kvm", "tcg" ...: what really runs the guest; "" before it is known. */
KILN_PUBLIC const char *kiln_machine_accel(const kiln_machine *machine);

/* Why it failed: valid until the next start; NULL unless failed. */
KILN_PUBLIC const kiln_error *kiln_machine_failure(const kiln_machine *machine);

/*
 * Starts it; done when the VMM says that the guest runs. KILN_ESTATE unless
 * created, stopped or failed.
 */
KILN_PUBLIC void kiln_machine_start(kiln_machine *machine, kiln_done_fn done, void *data);

/* Completes when the machine is ready; fails when it ends first, or with its readiness deadline. */
KILN_PUBLIC void kiln_machine_wait_ready(kiln_machine *machine, kiln_done_fn done, void *data);

/* Completes when the machine has stopped (0) or failed (its reason). At once if it is so already.
 */
KILN_PUBLIC void kiln_machine_wait_stopped(kiln_machine *machine, kiln_done_fn done, void *data);

/*
 * Stops it gracefully: the agent or the power button, and after @timeout_ms the
 * VMM is killed. Done when stopped; succeeds at once on what has stopped already.
 */
KILN_PUBLIC void kiln_machine_stop(kiln_machine *machine, uint64_t timeout_ms, kiln_done_fn done,
				   void *data);

/* Ends it now. Done when its process is gone; succeeds at once on what has ended already. */
KILN_PUBLIC void kiln_machine_kill(kiln_machine *machine, kiln_done_fn done, void *data);

/* Stops the vCPUs and lets them go on. Succeed at once if it is so already. */
KILN_PUBLIC void kiln_machine_pause(kiln_machine *machine, kiln_done_fn done, void *data);
KILN_PUBLIC void kiln_machine_resume(kiln_machine *machine, kiln_done_fn done, void *data);

/* What of a running machine is to be changed; KILN_UPDATE_KEEP leaves it as it is. */
#define KILN_UPDATE_KEEP UINT64_MAX

typedef struct kiln_update {
	size_t size; /* of this struct, for programs built with another version */
	uint64_t cpus;
	uint64_t memory;  /* bytes, all in all */
	uint64_t balloon; /* bytes that the balloon takes from the guest */
	/*
	 * JSON in the VMM's own words, for what kiln has no word for; borrowed for the call. NULL:
	 * nothing. kiln-update(1) lists what each VMM has.
	 */
	const char *config;
} kiln_update;

#define KILN_UPDATE_INIT                                                                           \
	{                                                                                          \
		sizeof(kiln_update), KILN_UPDATE_KEEP, KILN_UPDATE_KEEP, KILN_UPDATE_KEEP, NULL    \
	}

/*
 * Changes it while it runs. Done when the VMM has taken it; what the guest makes of it comes with
 * time. KILN_ENOTSUP names what this backend, or this machine, cannot change; KILN_ESTATE: it does
 * not run.
 */
KILN_PUBLIC void kiln_machine_update(kiln_machine *machine, const kiln_update *update,
				     kiln_done_fn done, void *data);

/* What is done to a running machine beyond its sizes: one at a time. */
enum kiln_change_kind {
	KILN_CHANGE_ADD = 0,          /* a device: "device", "id", "config", "own" */
	KILN_CHANGE_REMOVE = 1,       /* a device: "id" */
	KILN_CHANGE_RESIZE_DISK = 2,  /* to "bytes": "id" */
	KILN_CHANGE_RESIZE_ZONE = 3,  /* of memory, to "bytes": "id" */
	KILN_CHANGE_NMI = 4,          /* an interrupt that the guest cannot mask */
	KILN_CHANGE_DUMP = 5,         /* a paused guest's memory, as a core dump, into "file" */
	KILN_CHANGE_RESET = 6,        /* the guest boots again, without being asked */
	KILN_CHANGE_POWER_BUTTON = 7, /* is pressed: what comes of it, the guest decides */
};

typedef struct kiln_change {
	size_t size; /* of this struct, set by KILN_CHANGE_INIT */
	enum kiln_change_kind kind;
	/*
	 * "disk", "net": "config" says them as an element of "disks" or "networks" of the
	 * machine's document does. Other kinds ("fs", "pmem" ..., as kiln backends lists them)
	 * are told in the VMM's words only.
	 */
	const char *device;
	const char *id;     /* letters, digits, "-", "_" and "."; a removal needs it again */
	const char *config; /* one JSON object, in kiln's words; NULL: none */
	const char *own;    /* one JSON object, in the VMM's words, merged into that; NULL: none */
	uint64_t bytes;
	const char *file; /* absolute; made by the VMM, which does not replace one */
} kiln_change;

#define KILN_CHANGE_INIT                                                                           \
	{                                                                                          \
		.size = sizeof(kiln_change)                                                        \
	}

/*
 * Does that. Done when the VMM has; a file of an added disk is opened by the VMM, with the user's
 * rights. The configuration stays as it is: the next start knows nothing of it. KILN_ENOTSUP names
 * what this backend cannot do, before anything of it is done; KILN_ESTATE: the machine does not
 * run, or, for a dump, is not paused.
 */
KILN_PUBLIC void kiln_machine_change(kiln_machine *machine, const kiln_change *change,
				     kiln_done_fn done, void *data);

/*
 * Writes a paused machine's memory and state into @directory, an empty one of the caller's with an
 * absolute path: what a machine of the same configuration with "snapshot" of that path goes on
 * from. Its disks are not in it. The machine stays paused. KILN_ENOTSUP names the backend that
 * cannot.
 *
 * With @base, the path of this machine's last snapshot, whether it wrote that or went on from it,
 * only the memory that has changed since is written: the caller has copied BASE/memory to
 * DIRECTORY/memory, and the result is whole. KILN_EINVAL: another was the last. Firecracker has
 * that, of a machine whose dirty pages are tracked. NULL: all memory is written.
 */
KILN_PUBLIC void kiln_machine_snapshot(kiln_machine *machine, const char *directory,
				       const char *base, kiln_done_fn done, void *data);

#ifdef __cplusplus
}
#endif
#endif
