/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up rights, for good: what a process does once it has opened all that it needs.
 * On Linux. macOS has the functions, and little behind them: its processes are not confined.
 * Windows has none.
 */
#ifndef KILN_OS_JAIL_H
#define KILN_OS_JAIL_H

#include <kiln/error.h>

#include "fd.h"

#include <stdbool.h>
#include <stddef.h>

/* A system-call filter, compiled at build time (tools/seccomp-gen.c). */
struct kiln__jail_filter {
	const void *program; /* struct sock_filter[] */
	size_t count;
};

/* What may be done beneath a directory: combined. */
#define KILN__JAIL_READ      1
#define KILN__JAIL_MAKE      2 /* new files and directories, and writing */
#define KILN__JAIL_REMOVE    4 /* and replacing */
#define KILN__JAIL_READ_FILE 8 /* of a place that is a file */

/* A directory (or file) by a descriptor, which stays the caller's. */
struct kiln__jail_place {
	kiln_fd at;
	unsigned rights;
};

struct kiln__jail {
	const char *const
		*writable; /* directories beneath which files may be made, replaced, removed */
	size_t writable_count;
	const char *const *readable; /* directories beneath which files may be read */
	size_t readable_count;
	const struct kiln__jail_place *places; /* in the host's root: with keeps_root only */
	size_t place_count;
	bool keeps_root; /* no mount namespace, for one without sockets: Landlock alone confines
			    files */
	bool reads_all;  /* keeps the capability to read other users' files, as far as it has it */
	bool kills_all;  /* keeps the capability to signal other users' processes: the VMM in a jail
			    of another's, if the filter lets nobody else be signalled:
			    kiln__child_keep() */
	bool network;    /* may connect to the Internet, as far as the filter lets it */
	const struct kiln__jail_filter *filter;
};

/* How much of it this kernel could do, and allowed: without both, files are not confined. */
struct kiln__jail_report {
	int landlock;  /* the version of the interface, 0 if there is none */
	bool own_root; /* the directories named are all that there is, of sockets too: the first
			  writable one is "/", each other one lies there under the last part of
			  its name */
	kiln_error why_not; /* there is no root of its own */
};

/*
 * What a process that will be confined does first of all, with one thread: its C library and
 * libuv are told to keep to what the filter will let through, and descriptors are set aside for
 * kiln__child_keep(). Yields a random number, for hash
 * tables, which was had without opening anything.
 */
size_t kiln__os_jail_begin(void);

/* A file or directory as a place of a jail: it need not be one that may be read. KILN_FD_NONE if it
 * is not there. */
kiln_fd kiln__os_jail_place(const char *path);

/*
 * In this order: a mount namespace with nothing but the directories named (where this user
 * may have one, and keeps_root is not set), no new privileges, not dumpable (nobody of this user
 * may trace it, and it leaves no core), no capabilities, no path but those named (Landlock, as far
 * as the kernel has it), no system call but those of the filter. For the calling process, which
 * must have one thread; the directories must be absolute paths. Fails if anything but Landlock or
 * the namespace is missing: then nothing may be run. *ret is written in any case.
 */
int kiln__os_jail(const struct kiln__jail *jail, struct kiln__jail_report *ret, kiln_error *err);

#endif
