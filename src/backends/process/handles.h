/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors that a VMM's process gets: a machine's files, opened by this process, and the
 * ends of channels, each under its number there. So the VMM opens no path of the VM's itself, or
 * opens /proc/self/fd/N.
 */
#ifndef KILN_PROCESS_HANDLES_H
#define KILN_PROCESS_HANDLES_H

#include "os.h"
#include "spec.h"

struct kiln__handles {
	struct kiln__spawn_fd fds[KILN__OS_MAX_FDS];
	size_t count;
};

/* Closes them all: once the VMM is spawned. */
void kiln__handles_done(struct kiln__handles *handles);

/* Takes @fd, also on failure: KILN_EOVERFLOW if there are too many. */
int kiln__handles_add(struct kiln__handles *handles, kiln_fd fd, int number, kiln_error *err);

/* A file, whole; @flags as kiln__os_open() has them. @key is for messages. */
int kiln__handles_add_source(struct kiln__handles *handles, const struct kiln__source *source,
			     int number, unsigned flags, const char *key, kiln_error *err);

/*
 * A file to boot from, or nothing if @source is not set. A range of one, or one that only a
 * privilege of this process can read, is copied into memory: VMMs open it anew by its descriptor,
 * and have none.
 */
int kiln__handles_add_boot_file(struct kiln__handles *handles, const struct kiln__source *source,
				int number, const char *key, kiln_error *err);

/* A disk, locked: the VMM has the lock with the descriptor, and so has it as long as it lives. */
int kiln__handles_add_disk(struct kiln__handles *handles, const struct kiln__source *source,
			   int number, bool writable, const char *key, kiln_error *err);

/* A channel: the VMM's end goes into @handles, ours is returned. */
int kiln__handles_add_channel(struct kiln__handles *handles, int number, kiln_fd *ret,
			      kiln_error *err);

#endif
