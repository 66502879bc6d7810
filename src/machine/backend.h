/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract between a machine and what runs it.
 *
 * A backend is a table of functions; an instance is one VM under it. All
 * operations are called on the loop's thread and never block. Those that take a
 * completion complete it exactly once, from inside the call or later (the machine
 * defers what it tells its own user); when the VM ends first, pending ones complete
 * with KILN_EDIED before ended() is called. ended() never comes from inside a call. A backend with
 * threads or queues of its own (VZ's serial queue, a vCPU, an HTTP reply) posts to the loop by a
 * kiln__waker.
 *
 * Order: open, prepare, [the runner gives up its privileges], start, then anything,
 * ended(), free. free() may come at any time and kills what still runs.
 *
 * docs/design/backends.md maps each entry to the calls of every VMM.
 */
#ifndef KILN_MACHINE_BACKEND_H
#define KILN_MACHINE_BACKEND_H

#include <kiln/log.h>
#include <kiln/loop.h>
#include <kiln/machine.h>

#include "change_names.h"
#include "spec.h"
#include "stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a backend can do beyond the life cycle: bits, and what `kiln backends` prints. */
#define KILN__CAN_PAUSE     0x0001u
#define KILN__CAN_POWER_KEY 0x0002u /* shutdown() presses the power button */
#define KILN__CAN_VSOCK     0x0004u
#define KILN__CAN_CONSOLE   0x0008u /* the guest's console is a stream, both ways */
#define KILN__CAN_KVM       0x0010u
#define KILN__CAN_TCG       0x0020u
#define KILN__CAN_FOREIGN   0x0040u /* guests of another architecture, by emulation */
#define KILN__CAN_NETWORK   0x0080u
#define KILN__CAN_PORTS     0x0100u
#define KILN__CAN_FIRMWARE  0x0200u /* boots what is on a disk */
#define KILN__ENDS_BY_RESET 0x0400u /* a guest ends it by a reset: it has no power-off */
#define KILN__OWNS_VSOCK    0x0800u /* serves vsock.sock in the runtime directory itself */
#define KILN__BY_NAME_ONLY  0x1000u /* "auto" never takes it */
#define KILN__CAN_UPDATE    0x2000u /* some of it can be changed while it runs */
#define KILN__CAN_SNAPSHOT  0x4000u /* and begins from one (spec->snapshot) */
#define KILN__CAN_VZ        0x8000u /* Apple's Virtualization.framework accelerates it */
/* Keys that only some have: see lacks.c. */
#define KILN__CAN_SHARE         0x010000u
#define KILN__CAN_ROSETTA       0x020000u
#define KILN__CAN_NEST          0x040000u
#define KILN__CAN_NBD           0x080000u
#define KILN__CAN_CONSOLE_PORTS 0x100000u
#define KILN__CAN_SWITCH        0x200000u /* networks of kind socket */

struct kiln__feature {
	unsigned bit;
	const char *name;
};
extern const struct kiln__feature kiln__features[]; /* ends with a NULL name */

/* What a backend answers about this host. */
struct kiln__probe {
	bool usable;
	char version[64];  /* the VMM's own words; empty if unknown */
	char accel[16];    /* what it would use: "kvm", "tcg", "none" */
	kiln_error reason; /* why it is not usable, or why not with hardware (code 0: nothing to
			      say) */
};

enum kiln__end {
	KILN__END_POWEROFF, /* the guest powered off */
	KILN__END_RESET,    /* the guest asked for a reset */
	KILN__END_KILLED,   /* kill() or free() did it */
	KILN__END_FAILED,   /* anything else: the error says what */
};

typedef void (*kiln__connect_fn)(void *data, struct kiln__stream *stream, const kiln_error *err);

/* @text is NULL on failure; both are valid during the call. */
typedef void (*kiln__text_fn)(void *data, const char *text, const kiln_error *err);

/* What the machine gives an instance, and what the instance tells it. Copied by open(). */
struct kiln__backend_host {
	kiln_loop *loop;
	const kiln_log *log;
	const struct kiln__spec *spec; /* outlives the instance; every source is a file by now */
	const char *id;                /* 32 hex digits */
	/* The host ports that incoming() may accept, for VMMs that must listen beforehand; ends
	 * with 0. */
	const uint32_t *listen_ports;
	/* A directory of this life, for sockets of the VMM's; NULL: the instance makes its own. */
	const char *runtime_dir;
	/* For what lasts from boot to boot, a directory of this VM's own; NULL: nothing does. */
	const char *state_dir;
	void *data;

	/*
	 * In prepare(), before it makes what it removes at its end, but may not any more once this
	 * process has given up its rights: lines as leaves.h has them, for whoever comes next. If
	 * that fails, nothing is made.
	 */
	int (*leaving)(void *data, const char *leaves, kiln_error *err);
	/* The VM has ended, and with it every process, thread and descriptor of it. Once, after
	 * prepare(). */
	void (*ended)(void *data, enum kiln__end how, const kiln_error *err);
	/* The guest panicked; its end follows. */
	void (*panicked)(void *data);
	/*
	 * The guest asks for a reset, on a VMM that can start it again in place: whether it is to.
	 * If not, its end follows; else rebooted(), when it runs again: the machine may free the
	 * instance in that.
	 */
	bool (*rebooting)(void *data);
	void (*rebooted)(void *data);
	/* Bytes from the console. */
	void (*console)(void *data, const void *bytes, size_t len);
	/*
	 * A guest connects to this vsock port of the host, from its own port @from (0: this VMM
	 * does not say): true takes @stream, false refuses it.
	 */
	bool (*incoming)(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream);
};

/*
 * A field of a VMM's own configuration. "drives[].rate_limiter": lists are followed by []. A table
 * ends with a NULL path.
 */
struct kiln__own_field {
	const char *path;
	/* The key of kiln's that says this; of a list's element: that makes such. NULL: none. */
	const char *instead;
	bool free;      /* whatever is in it is the user's */
	unsigned since; /* the version that brought it, major * 1000 + minor; 0: older than kiln */
};

struct kiln__instance;

struct kiln__backend {
	const char *name;
	const char *summary; /* one line for people */
	unsigned features;   /* KILN__CAN_ bits */
	/* Of the VMM's own configuration, which @own_key takes; NULL: it has none. check() decides
	 * by this table. */
	const struct kiln__own_field *fields;
	const char *own_key;

	/* Can it work here at all, for guests of @arch? May run a program or two; the answer is the
	 * report, not the code. */
	void (*probe)(const char *arch, struct kiln__probe *ret);

	/*
	 * Whether "auto" may take it for guests of @arch, or why not: from a record, or found out
	 * now; if @quick, KILN_EBUSY where that would take time. NULL: it shows in prepare().
	 */
	int (*works)(const char *arch, bool quick, kiln_error *why);

	/* Is this configuration possible? What cannot be done is refused by its key's path. No side
	 * effects. */
	int (*check)(const struct kiln__spec *spec, kiln_error *err);

	int (*open)(struct kiln__instance **ret, const struct kiln__backend_host *host,
		    kiln_error *err);

	/*
	 * Opens, stages and spawns all that needs the file system or execve, but lets
	 * no guest instruction run. What may be needed afterwards is in place when it returns.
	 */
	int (*prepare)(struct kiln__instance *instance, kiln_error *err);

	void (*start)(struct kiln__instance *instance, kiln_done_fn done, void *data);

	/* Asks the guest to power off. Done when asked; ended() tells the rest. KILN_ENOTSUP
	 * without a power key. */
	void (*shutdown)(struct kiln__instance *instance, kiln_done_fn done, void *data);

	/* Ends it at once; ended() follows. */
	void (*kill)(struct kiln__instance *instance);

	void (*pause)(struct kiln__instance *instance, kiln_done_fn done, void *data);
	void (*resume)(struct kiln__instance *instance, kiln_done_fn done, void *data);

	/*
	 * Changes the running machine; refuses by name what it cannot, before any of it. NULL: it
	 * can change nothing.
	 */
	void (*update)(struct kiln__instance *instance, const kiln_update *update,
		       kiln_done_fn done, void *data);

	/*
	 * Does what kiln_machine_change() is asked, of the kinds in "changes" only (bits: 1 <<
	 * kind); devices to add are of the kinds in "devices". @parts is NULL, or a disk to add as
	 * its disks[0], a network as its networks[0]; valid during the call. NULL: it can do
	 * nothing of that.
	 */
	void (*change)(struct kiln__instance *instance, const kiln_change *change,
		       const struct kiln__spec *parts, kiln_done_fn done, void *data);
	unsigned changes;
	const char *const *devices; /* ends with NULL; NULL: none */

	/*
	 * What the VMM counts of the machine's devices: a JSON object, of one for each of them.
	 * False: of this machine nothing, and @done is not called. NULL: never anything.
	 */
	bool (*counters)(struct kiln__instance *instance, kiln__text_fn done, void *data);

	/*
	 * Writes the paused guest's memory and state into @directory; with @base, not NULL, only
	 * what has changed since that was written, which is in @directory already, or refuses.
	 * NULL: it cannot.
	 */
	void (*snapshot)(struct kiln__instance *instance, const char *directory, const char *base,
			 kiln_done_fn done, void *data);

	/* A stream to a vsock port of the guest; KILN_EIO if nothing listens there. */
	void (*connect)(struct kiln__instance *instance, uint32_t port, kiln__connect_fn done,
			void *data);

	/*
	 * By what serial number the guest sees the disk that @serial was wanted for, on a VMM that
	 * gives its own; valid as long as the instance. NULL: as wanted, for all.
	 */
	const char *(*disk_serial)(const struct kiln__instance *instance, const char *serial);

	/*
	 * This process has a root directory of its own from now on, in which the runtime directory
	 * is at @dir: for what the instance opens itself; a VMM keeps the host's. NULL: it opens
	 * nothing by name once it is prepared.
	 */
	int (*moved)(struct kiln__instance *instance, const char *dir, kiln_error *err);

	/* Input for the guest's console. Bytes taken; what does not fit is dropped, as on a serial
	 * line. */
	size_t (*console_write)(struct kiln__instance *instance, const void *bytes, size_t len);

	/* What really accelerates the guest: "kvm", "tcg" ... Static; "" before prepare(). */
	const char *(*accel)(const struct kiln__instance *instance);

	/* Why that is not the hardware's, where it could have been. Valid as long as the instance;
	 * NULL or "": it is, or none was wanted. May be NULL. */
	const char *(*accel_reason)(const struct kiln__instance *instance);

	/* The VMM's process, or 0 if it is this one. */
	int64_t (*pid)(const struct kiln__instance *instance);

	/*
	 * This process is about to give up its rights: those that the instance has started, and has
	 * to signal one day, are kept in reach by kiln__child_keep(), with @count. NULL: none.
	 */
	int (*keep)(struct kiln__instance *instance, unsigned *count, kiln_error *err);

	void (*free)(struct kiln__instance *instance);
};

/* Whether machines of @backend can be asked that at all. */
bool kiln__change_can(const struct kiln__backend *backend, enum kiln_change_kind kind);

/*
 * Is @change one, and one that @backend can do? Its parts in kiln's own words are in *ret_parts,
 * NULL for none: freed by kiln__spec_free().
 */
int kiln__change_check(const struct kiln__backend *backend, const kiln_change *change,
		       struct kiln__spec **ret_parts, kiln_error *err);

/* Every backend there is, in the order in which "auto" tries them; ends with NULL.
 * src/backends/registry.c. */
extern const struct kiln__backend *const kiln__backends[];

/* Is it possible with this backend: what it has no feature for, and its own check(). */
int kiln__backend_check(const struct kiln__backend *backend, const struct kiln__spec *spec,
			kiln_error *err);

/* The backend of that name; KILN_EINVAL names those that exist. */
int kiln__backend_find(const char *name, const struct kiln__backend **ret, kiln_error *err);

/* What "auto" means for this configuration on this host, or why nothing can run it. */
int kiln__backend_choose(const struct kiln__spec *spec, const struct kiln__backend **ret,
			 kiln_error *err);

#endif
