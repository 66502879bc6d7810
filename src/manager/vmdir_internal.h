/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of vmdir.h share: paths, the lock file, and the steps of more than one of them. */
#ifndef KILN_MANAGER_VMDIR_INTERNAL_H
#define KILN_MANAGER_VMDIR_INTERNAL_H

#include "vmdir.h"

/* The bytes of the lock file that are locked: see vmdir.h. */
enum kiln__vmdir_part {
	PART_LIFE = 0,
	PART_GUARD = 1,
	PART_OWNER = 2,
};

/* As much of its VM's id as a VMM's command line holds: docs/control-protocol.md. */
#define KILN__VMM_WORD 12

/* --- vmdir.c: what is in it ------------------------------------------------------------ */

/* Fails with KILN_ENOENT: there is no such VM. */
int kiln__vmdir_gone(const char *id, kiln_error *err);

/* The object alone, with its paths; NULL without memory. */
struct kiln__vmdir *kiln__vmdir_new(const struct kiln__home *home, const char *id);

/* The path of a file in it, malloc'ed; NULL without memory. */
char *kiln__vmdir_file(const struct kiln__vmdir *dir, const char *name);

/* KILN_ENOENT if the VM is none. */
int kiln__vmdir_open_lock(const struct kiln__vmdir *dir, unsigned flags, kiln_fd *ret,
			  kiln_error *err);

/* Whether it is a VM, and not half a one. In doubt it is. */
bool kiln__vmdir_has_config(const struct kiln__vmdir *dir);

int kiln__vmdir_read_identity(struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err);

/* Makes this environment's runtime directory the VM's, and writes it down in the lock file. */
int kiln__vmdir_own_runtime(struct kiln__vmdir *dir, kiln_error *err);
int kiln__vmdir_write_runtime(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err);
int kiln__vmdir_make_runtime(const struct kiln__vmdir *dir, kiln_error *err);
/*
 * Also where it is not there. An ephemeral VM's state stays in it. It is this user's alone then;
 * KILN_EACCES if it is a link, or another's.
 */
int kiln__vmdir_empty_runtime(const struct kiln__vmdir *dir, kiln_error *err);

/* The lock on HOME/vms; see vmdir.h. */
int kiln__vmdir_lock_all(const struct kiln__home *home, kiln_fd *ret, kiln_error *err);

/* Removes a file, or a directory with all in it. */
int kiln__vmdir_remove_any(const char *path, kiln_error *err);

/* Removes the VM, with GUARD held, LIFE free, and nothing left of its last run. */
int kiln__vmdir_destroy(const struct kiln__vmdir *dir, kiln_error *err);

/* --- vmdir_status.c -------------------------------------------------------------------- */

/* The processes of the last runner, as it wrote them down before its guest ran; 0: none. */
void kiln__vmdir_read_processes(kiln_fd lock, int64_t *ret_runner, int64_t *ret_vmm);

/* --- vmdir_leaves.c, with GUARD held and LIFE free ---------------------------------------- */

/*
 * Removes what the last runner could not. KILN_EBUSY: something stays, named by the error, and the
 * lock file, which alone tells of it, has to stay as well. Waits up to @timeout_ms.
 */
int kiln__vmdir_remove_leaves(const struct kiln__vmdir *dir, kiln_fd lock, int timeout_ms,
			      kiln_error *err);

/* --- vmdir_start.c --------------------------------------------------------------------- */

/* Puts a failure on record, in @object, which is the state as read, and among the events. */
int kiln__vmdir_write_failed(const struct kiln__vmdir *dir, json_t *object, const char *from,
			     const kiln_error *why, kiln_error *err);

/* --- vmdir_settle.c, all with GUARD held ------------------------------------------------ */

/* Why a VM has failed whose runner was killed in the state @from. */
void kiln__vmdir_died(const char *from, kiln_error *ret);

/*
 * With LIFE free: kills what is left of the last runner and its VMM, waits for their end, and
 * removes what they left. KILN_EBUSY, with what and why: not all of it is gone.
 */
int kiln__vmdir_end_processes(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err);

/* Nobody is alive: if the state says otherwise, its runner was killed. Returns 1 if so. */
int kiln__vmdir_correct_state(const struct kiln__vmdir *dir, kiln_error *err);

/* What atomic replacements left that were killed in the middle. */
void kiln__vmdir_remove_temporaries(const struct kiln__vmdir *dir);

#endif
