/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every backend that runs a VMM as a process shares: spawning it tied to this
 * process's life, keeping the last lines it printed, and saying why it ended.
 */
#ifndef KILN_BACKENDS_PROCESS_H
#define KILN_BACKENDS_PROCESS_H

#include "log.h"
#include "os.h"

struct kiln__process_vmm;

struct kiln__process_handler {
	/* It is gone and reaped; what it printed has been read. Once. */
	void (*ended)(void *data, struct kiln__exit how);
};

/* What is started; borrowed for the call. */
struct kiln__process_plan {
	const char *path;
	const char *const *argv;
	const struct kiln__spawn_fd *fds; /* it gets these and nothing else */
	size_t fd_count;
	bool offline;   /* it needs no network: it gets none, where that can be had */
	bool low_ports; /* it listens at ports below 1024 */
	/*
	 * What its stdin and stdout are, if that is the guest's console; borrowed. Without
	 * "has_console" stdin is empty, and stdout is captured as stderr is.
	 */
	bool has_console;
	kiln_fd console;
	/*
	 * A jailer, which becomes the VMM, or virtiofsd: it keeps this process's rights, and gives
	 * them up itself. A jailer does not end by itself when this process does. Its files are
	 * mounted for it.
	 */
	bool keeps_rights;
	const struct kiln__spawn_mount *mounts;
	size_t mount_count;
	/* Or which starts the VMM, writes its number there, and exits. NULL: it becomes that. */
	const char *pid_file;
};

/*
 * Starts it, with no more rights than its user's files give. Its stdout and stderr are
 * captured line by line into @log (debug level) and the last few are kept. Killed when this
 * process ends.
 */
int kiln__vmm_spawn(struct kiln__process_vmm **ret, kiln_loop *loop, const kiln_log *log,
		    const struct kiln__process_plan *plan,
		    const struct kiln__process_handler *handler, void *data, kiln_error *err);

int64_t kiln__vmm_pid(const struct kiln__process_vmm *vmm);
void kiln__vmm_kill(struct kiln__process_vmm *vmm);

/* backend.h, keep(). NULL, and one that has ended, are allowed. */
int kiln__vmm_keep(struct kiln__process_vmm *vmm, unsigned *count, kiln_error *err);

/*
 * A pipe that is read as the VMM's output is: for VMMs whose log goes to a file by name, such as
 * /proc/self/fd/N, which a socket cannot be. The writing end is for the plan of kiln__vmm_spawn(),
 * the reading end for kiln__vmm_add_log() after it.
 */
int kiln__vmm_pipe(kiln_fd *ret_read, kiln_fd *ret_write, kiln_error *err);
int kiln__vmm_add_log(struct kiln__process_vmm *vmm, kiln_loop *loop, kiln_fd read,
		      kiln_error *err); /* takes @read, also on failure */

/* Fills @err with how it ended and its last words: "<name> was killed by signal 9: <line>". */
int kiln__vmm_fail(const struct kiln__process_vmm *vmm, const char *name, struct kiln__exit how,
		   kiln_error *err);

/* Frees it; one still running is killed and reaped here. NULL is allowed. */
void kiln__vmm_free(struct kiln__process_vmm *vmm);

#endif
