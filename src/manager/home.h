/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where VMs lie.
 *
 *   HOME/vms/ID/       one VM: vmdir.h
 *   HOME/names/NAME    a symbolic link to ../vms/ID: made and removed in one step, so a
 *                      name belongs to at most one VM
 *   RUNTIME/ID/        its sockets; and the journal: it is made before anything else of
 *                      a VM is made, started or removed, and goes last. What a process
 *                      that was killed left behind is found by listing RUNTIME, which
 *                      holds live VMs and little else, however many there are in HOME.
 *
 * RUNTIME commonly does not survive a boot of the host: where it is missing, all of
 * HOME is looked through once.
 *
 * Immutable once open; any thread.
 */
#ifndef KILN_MANAGER_HOME_H
#define KILN_MANAGER_HOME_H

#include <kiln/error.h>
#include <kiln/log.h>

#include <stdbool.h>

#define KILN__ID_LEN   32
#define KILN__ID_TEXT  (KILN__ID_LEN + 1)
#define KILN__NAME_MAX 63

struct kiln__home {
	char *dir;
	char *runtime;
	kiln_log log;
};

/* @dir, @runtime: absolute, or NULL for the user's own. Nothing is made. */
int kiln__home_init(struct kiln__home *home, const char *dir, const char *runtime,
		    const kiln_log *log, kiln_error *err);
void kiln__home_done(struct kiln__home *home);

/* Makes the directories, each of which only this user may write. */
int kiln__home_make(const struct kiln__home *home, kiln_error *err);

/* Whether @path, which @variable would change, is a directory that only this user may write:
 * KILN_EACCES if not. */
int kiln__home_check_dir(const char *path, const char *variable, kiln_error *err);

/*
 * RUNTIME may lie where others could have made it before (/tmp): KILN_EACCES if it is not a
 * directory that only this user may write. KILN_ENOENT: it is not there. Asked before each use.
 */
int kiln__home_check_runtime(const struct kiln__home *home, kiln_error *err);

/* True if @text is an id: 32 lower-case hexadecimal digits. */
bool kiln__is_id(const char *text);
int kiln__check_name(const char *name, kiln_error *err);

/* Malloc'ed paths; NULL when out of memory. */
char *kiln__home_vm_path(const struct kiln__home *home, const char *id);
char *kiln__home_runtime_path(const struct kiln__home *home, const char *id);

/* Claims @name for @id. KILN_EEXIST: it is taken. */
int kiln__home_claim_name(const struct kiln__home *home, const char *name, const char *id,
			  kiln_error *err);

/* Gives up @name if it is @id's; 0 as well if it is not, or nobody's. */
int kiln__home_drop_name(const struct kiln__home *home, const char *name, const char *id,
			 kiln_error *err);

/* The id that @name stands for. KILN_ENOENT: none. Whether there is such a VM is another question.
 */
int kiln__home_read_name(const struct kiln__home *home, const char *name,
			 char ret_id[KILN__ID_TEXT], kiln_error *err);

/* The id of the VM with this name, id or beginning of an id. KILN_ENOENT; KILN_EINVAL if ambiguous.
 */
int kiln__home_find(const struct kiln__home *home, const char *name_or_id,
		    char ret_id[KILN__ID_TEXT], kiln_error *err);

/* The ids of all VMs, and of what is none (yet, or any more); free with kiln__os_free_names(). */
int kiln__home_list(const struct kiln__home *home, char ***ret_ids, kiln_error *err);

/*
 * Sets right what processes that were killed left behind. What cannot be set right now is
 * logged and left for the next time. KILN_EACCES: HOME or RUNTIME is somebody else's, or
 * others may write there; then nothing in them was looked at.
 */
int kiln__home_sweep(const struct kiln__home *home, kiln_error *err);

#endif
