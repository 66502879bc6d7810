/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the backends share whose VMM is a process with an HTTP API on a local socket: its directory
 * of sockets, its console and vsock, its version and its start, requests one after the other, and
 * its end with reason.
 *
 * A backend has one struct kiln__api_kind, which says what is the same for all its VMs, and a
 * struct kiln__instance whose first member is a struct kiln__api_vmm. What takes a
 * struct kiln__instance here takes such a one, and goes into the backend's table as it is.
 */
#ifndef KILN_PROCESS_APIVMM_H
#define KILN_PROCESS_APIVMM_H

#include "apiconfig.h"
#include "backend.h"
#include "handles.h"
#include "http.h"
#include "process.h"
#include "vsock_dial.h"

#include <jansson.h>

/* How long a VMM may take for one answer. */
#define KILN__API_MS 30000

/* The same of one for which it reads or writes all of the guest's memory. */
#define KILN__API_MEMORY_MS 600000

struct kiln__api_vmm;
struct kiln__api_steps;

struct kiln__api_kind {
	const char *name;    /* "Firecracker", for messages */
	const char *program; /* "firecracker": what PATH is searched for */
	const char *home;    /* its project's address, for hints */
	const struct kiln__api_form *form;
	unsigned first; /* the first version that kiln runs, as kiln__api_version() */
	/* What says the version: the target of a GET, and the member of its answer. */
	const char *version_target;
	const char *version_member;

	/* What it is told of a machine: a new reference. @vsock is its vsock device's socket. */
	int (*config)(const struct kiln__spec *spec, const char *vsock, json_t **ret,
		      kiln_error *err);
	/* What else the answer that says the version is asked for. May be NULL. */
	void (*on_version)(struct kiln__api_vmm *vm, const json_t *answer);
	/* The requests of a start, of vm->config, when vm->version is known. */
	int (*first_steps)(struct kiln__api_vmm *vm, struct kiln__api_steps *steps,
			   kiln_error *err);
	/*
	 * Those requests have come to @err, NULL being success: @done, once, with what the start
	 * came to. NULL: that is it.
	 */
	void (*settle_start)(struct kiln__api_vmm *vm, const kiln_error *err, kiln_done_fn done,
			     void *data);
	/* Just before the start's end is told, whatever it is. May be NULL. */
	void (*on_started)(struct kiln__api_vmm *vm);
	/* Just before its end is told: what the backend itself has pending. May be NULL. */
	void (*on_end)(struct kiln__api_vmm *vm);
};

struct kiln__api_vmm {
	const struct kiln__api_kind *kind;
	struct kiln__backend_host host;
	char *binary;
	json_t *config;       /* what it is told */
	unsigned version;     /* 0 until it has said it */
	kiln_done_fn started; /* start() is under way */
	void *started_data;
	char *dir;  /* of its sockets: the machine's runtime directory, as the VMM knows it */
	char *here; /* the same, as this process does; NULL: as the VMM */
	bool owns_dir;
	/*
	 * Where a VMM in a jail finds that directory, which then is one within the runtime
	 * directory that the VMM's user may write to; NULL: where it is. Static; set before
	 * prepare(), with the user that the VMM is then.
	 */
	const char *inside;
	uint32_t user;
	char *api_path; /* both for the VMM */
	char *vsock_path;
	struct kiln__handles handles; /* for the process, until it is spawned */
	struct kiln__process_vmm *vmm;
	struct kiln__http *http;
	struct kiln__stream *console;
	struct kiln__vsock_dialer *dialer;
	struct kiln__deferred *killing;
	struct kiln__timer *closed;
	bool runs; /* it has started, and has not ended */
	bool killed;
	bool ended;
	bool has_panicked;
	bool end_known;
	bool put_down;      /* killed for that end, since it would have gone on */
	enum kiln__end end; /* what it said of its end */
	kiln_error why;     /* it cannot go on; code 0 while it can */
	/* What an end by itself with exit code 0 means, if end_known is false. */
	enum kiln__end silent_end;
};

/* The half of open() that is the same for all. */
int kiln__api_open(struct kiln__api_vmm *vm, const struct kiln__backend_host *host,
		   const struct kiln__api_kind *kind, kiln_error *err);

/*
 * The half of prepare() before files are opened: the program, found as @configured or by PATH;
 * whether KVM works, unless @preflight is false; the directory and the names of sockets in it, what
 * listens for the guest's connections, and vm->config.
 */
int kiln__api_find(const char *configured, const char *program, const char *home, char **ret,
		   kiln_error *err);
int kiln__api_prepare(struct kiln__api_vmm *vm, const char *configured, bool preflight,
		      kiln_error *err);

/*
 * The machine's files into vm->handles, by these numbers: kernel and initramfs, unless a firmware
 * boots; the root and the disks from @disk on.
 */
int kiln__api_add_files(struct kiln__api_vmm *vm, int kernel, int initrd, int disk,
			kiln_error *err);

/* Starts the process; @console may be KILN_FD_NONE. vm->handles is emptied in any case. */
int kiln__api_spawn(struct kiln__api_vmm *vm, const char *const *argv, bool network,
		    kiln_fd console, kiln_error *err);

/*
 * The same by a jailer, as @plan says, whose console is set here. What is in vm->handles is not for
 * it, but stays open, and so locked, as long as the VMM lives.
 */
int kiln__api_spawn_jailed(struct kiln__api_vmm *vm, struct kiln__process_plan plan,
			   kiln_fd console, kiln_error *err);

/* The guest's console from here on; @fd is taken, also on failure. */
int kiln__api_take_console(struct kiln__api_vmm *vm, kiln_fd fd, kiln_error *err);

/* --- requests ----------------------------------------------------------------------------- */

#define KILN__API_MAX_STEPS 64

struct kiln__api_step {
	const char *method; /* static */
	char target[96];
	json_t *body;         /* or NULL */
	kiln_fd fd;           /* sent with it, or KILN_FD_NONE: the caller's */
	uint64_t deadline_ms; /* KILN__API_MS unless it is set otherwise */
};

/* Requests in their order. */
struct kiln__api_steps {
	struct kiln__api_step items[KILN__API_MAX_STEPS];
	size_t count;
	bool failed; /* too many, or no memory */
};

/* Adds one; takes @body, NULL meaning without one. */
void kiln__api_add(struct kiln__api_steps *steps, const char *method, json_t *body,
		   const char *target, ...) KILN_PRINTF(4, 5);
void kiln__api_steps_done(struct kiln__api_steps *steps);

/*
 * Sends them, each when the one before has succeeded; @done once, with the first failure or after
 * the last. Takes what is in @steps. @done may come from inside the call if it cannot be sent.
 */
void kiln__api_run(struct kiln__api_vmm *vm, struct kiln__api_steps *steps, kiln_done_fn done,
		   void *data);

/* One request; takes @body. Without one, NULL. */
void kiln__api_send(struct kiln__api_vmm *vm, const char *method, const char *target, json_t *body,
		    uint64_t deadline_ms, kiln_done_fn done, void *data);

/*
 * The answer to a GET, as text: @done once, with NULL and an error if there is none. With @wrap it
 * becomes the member of that name of an object.
 */
void kiln__api_get(struct kiln__api_vmm *vm, const char *target, const char *wrap,
		   kiln__text_fn done, void *data);

/* @done with what is in @err: for an operation that cannot begin. */
void kiln__api_refuse(const kiln_error *err, kiln_done_fn done, void *data);

/* --- the start ------------------------------------------------------------------------------- */

/*
 * start(): @done, which is not NULL, once, when it has ended, with whatever end. The API is asked
 * for its version at once with @is_up, else when kiln__api_up() says that it can be; what the
 * version does not have is refused, and kind->first_steps follows.
 */
void kiln__api_start(struct kiln__api_vmm *vm, bool is_up, kiln_done_fn done, void *data);
void kiln__api_up(struct kiln__api_vmm *vm);

/* --- the contract ---------------------------------------------------------------------------- */

/* It cannot go on, for @err: killed, and that is its end's reason. */
void kiln__api_fail(struct kiln__api_vmm *vm, const kiln_error *err);
/* Its guest has ended as @end says, but it would go on: it is killed. */
void kiln__api_put_down(struct kiln__api_vmm *vm, enum kiln__end end);
void kiln__api_panicked(struct kiln__api_vmm *vm);

/* Entries of the backend's table. */
void kiln__api_kill(struct kiln__instance *vm);
void kiln__api_connect(struct kiln__instance *vm, uint32_t port, kiln__connect_fn done, void *data);
int kiln__api_moved(struct kiln__instance *vm, const char *dir, kiln_error *err);
size_t kiln__api_console_write(struct kiln__instance *vm, const void *bytes, size_t len);
const char *kiln__api_accel(const struct kiln__instance *vm);
int64_t kiln__api_pid(const struct kiln__instance *vm);
int kiln__api_keep(struct kiln__instance *vm, unsigned *count, kiln_error *err);

/* The path of a file in its directory for this process, malloc'ed; NULL without memory. */
char *kiln__api_file(const struct kiln__api_vmm *vm, const char *name);

/* Frees all but @vm itself. */
void kiln__api_done(struct kiln__api_vmm *vm);

/* The backend's probe(): the program, its version, and KVM. */
void kiln__api_probe(const struct kiln__api_kind *kind, const char *arch, struct kiln__probe *ret);

#endif
