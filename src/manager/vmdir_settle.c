/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Setting right: what a killed runner, creation or removal left behind, found and finished by
 * whoever comes next; and the removal itself.
 */
#include "vmdir_internal.h"

#include "buf.h"
#include "err.h"
#include "log.h"
#include "os.h"
#include "vmfiles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * How long a killed process is waited for: what the kernel needs to free the guest's memory, and
 * what a call of the library may block. A start that finds one still there fails.
 */
#define PROCESS_END_MS 1000

/* --- a runner that was killed -------------------------------------------------------- */

static int end_process(const struct kiln__vmdir *dir, const char *what, int64_t pid,
		       const char *word, kiln_error *err)
{
	kiln__autoclose kiln_fd process = KILN_FD_NONE;
	kiln_error why;

	if (pid <= 0 || kiln__os_open_process(&process, pid, word, NULL) < 0 ||
	    kiln__os_end_process(process, PROCESS_END_MS, &why) == 0)
		return 0;
	kiln__log(&dir->home->log, KILN_LOG_WARN, "VM %s: its %s, process %lld: %s", dir->id, what,
		  (long long)pid, why.message);
	kiln__fail(err, KILN_EBUSY, "the %s of its last run, process %lld, has not ended yet: %s",
		   what, (long long)pid, why.message);
	kiln__hint(err, "it has been killed; try again");
	return KILN_EBUSY;
}

/*
 * With LIFE free. A VMM is tied to its runner's life, and a runner lets go of LIFE by ending: this
 * is for the moment until the kernel has ended both, and for a runner that its guest has taken
 * over.
 */
int kiln__vmdir_end_processes(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
{
	char word[KILN__VMM_WORD + 1];
	int64_t runner;
	int64_t vmm;
	int r;

	snprintf(word, sizeof(word), "%.*s", KILN__VMM_WORD, dir->id);
	kiln__vmdir_read_processes(lock, &runner, &vmm);
	r = end_process(dir, "runner", runner, dir->id, err);
	if (r == 0)
		r = end_process(dir, "VMM", vmm, word, err);
	return r < 0 ? r : kiln__vmdir_remove_leaves(dir, lock, PROCESS_END_MS, err);
}

/* What an atomic replacement leaves that was killed in the middle. */
static void remove_temporaries_in(const char *path)
{
	char **names;

	if (kiln__os_list_dir(path, &names, NULL) < 0)
		return;
	for (size_t i = 0; names[i]; i++) {
		kiln__autofree char *file = kiln__strf("%s/%s", path, names[i]);

		if (file && strncmp(names[i], KILN__OS_TEMPORARY, strlen(KILN__OS_TEMPORARY)) == 0)
			kiln__os_remove(file, NULL);
	}
	kiln__os_free_names(names);
}

void kiln__vmdir_remove_temporaries(const struct kiln__vmdir *dir)
{
	remove_temporaries_in(dir->path);
	remove_temporaries_in(dir->state);
	if (dir->ephemeral)
		remove_temporaries_in(dir->runtime);
}

/* Why a VM has failed whose runner was killed in the state @from. */
void kiln__vmdir_died(const char *from, kiln_error *ret)
{
	kiln__fail(ret, KILN_EDIED, "the runner died while the VM was %s", from);
	kiln__stage(ret, from);
	kiln__hint(ret, "it was killed or crashed: kiln logs --runner may tell more");
}

/* Nobody is alive: if the state says otherwise, its runner was killed. Returns 1 if so. */
int kiln__vmdir_correct_state(const struct kiln__vmdir *dir, kiln_error *err)
{
	struct kiln__vmstate state;
	kiln_error why;
	json_t *object;
	int r = kiln__vmdir_read_state(dir, &object, err);

	if (r < 0)
		return r;
	kiln__vmstate_parse(object, &state);
	if (kiln__vmstate_is_alive(state.state)) {
		const char *from = kiln_state_name(state.state);

		kiln__vmdir_died(from, &why);
		r = kiln__vmdir_write_failed(dir, object, from, &why, err);
		if (r == 0)
			r = 1;
	}
	json_decref(object);
	return r;
}

/* --- half a VM, and an ephemeral one that nobody owns -------------------------------- */

/* False if the file that @lock is open on is not the VM's any more. */
static bool is_current(const struct kiln__vmdir *dir, kiln_fd lock)
{
	kiln__autofree char *path = kiln__vmdir_file(dir, "lock");
	struct kiln__os_stat open;
	struct kiln__os_stat named;

	return path && kiln__os_fstat(lock, &open, NULL) == 0 &&
	       kiln__os_stat(path, &named, NULL) == 0 && open.device == named.device &&
	       open.inode == named.inode;
}

/*
 * Opens the lock file of what may be half a VM. Where the journal knows an id that has
 * no directory or no lock file, they are made, so that two who find it do not both remove it.
 */
static int open_half(const struct kiln__vmdir *dir, kiln_fd *ret, kiln_error *err)
{
	struct kiln__os_stat st;
	int r = kiln__vmdir_open_lock(dir, KILN__OPEN_WRITE, ret, err);

	if (r != KILN_ENOENT)
		return r;
	if (kiln__os_stat(dir->path, &st, NULL) == KILN_ENOENT) {
		if (kiln__os_stat(dir->runtime, &st, NULL) < 0)
			return kiln__vmdir_gone(dir->id, err);
		r = kiln__os_mkdir(dir->path, 0700, err);
		if (r < 0 && r != KILN_EEXIST)
			return r;
	}
	return kiln__vmdir_open_lock(dir, KILN__OPEN_WRITE | KILN__OPEN_CREATE, ret, err);
}

/* Takes GUARD for setting right. *lock is the lock file, or KILN_FD_NONE if there was none. */
static int guard(const struct kiln__vmdir *dir, kiln_fd *lock, bool wait, kiln_error *err)
{
	kiln__autoclose kiln_fd vms = KILN_FD_NONE;
	int r = kiln__vmdir_lock_all(dir->home, &vms, err);

	if (r == KILN_ENOENT) { /* a journal without a home: the home was removed */
		kiln__os_remove_tree(dir->runtime, NULL);
		return kiln__vmdir_gone(dir->id, err);
	}
	if (r == 0 && *lock == KILN_FD_NONE)
		r = open_half(dir, lock, err);
	if (r == 0)
		r = kiln__os_lock_part(*lock, PART_GUARD, false, err);
	if (r == KILN_EBUSY && wait) {
		kiln__os_close(kiln__take_fd(&vms)); /* whoever holds it is past what vms guards */
		r = kiln__os_lock_part(*lock, PART_GUARD, true, err);
	}
	return r == 0 && !is_current(dir, *lock) ? kiln__vmdir_gone(dir->id, err) : r;
}

/* 1 if it is to be removed: half a VM, or, of those that a @sweep finds, one that nobody owns. */
static int is_to_go(const struct kiln__vmdir *dir, kiln_fd lock, bool sweep, kiln_error *err)
{
	int owned;

	if (!kiln__vmdir_has_config(dir))
		return 1;
	if (!dir->ephemeral || !sweep)
		return 0;
	owned = kiln__os_part_is_locked(lock, PART_OWNER, err);
	return owned < 0 ? owned : !owned;
}

/* @ended: nothing is left of its last run. */
static int settle_kept(const struct kiln__vmdir *dir, bool sweep, bool ended, kiln_error *err)
{
	int r = kiln__vmdir_correct_state(dir, err);

	if (r < 0)
		return r;
	if (r > 0 || sweep)
		kiln__vmdir_remove_temporaries(dir);
	/* By its entry in the journal a sweep finds it again: of an ephemeral one until it is
	 * removed, of any while something has to be. */
	if (!dir->ephemeral && ended)
		return kiln__vmdir_remove_any(dir->runtime, err);
	return r > 0 ? kiln__vmdir_empty_runtime(dir, err) : 0;
}

static int settle_guarded(struct kiln__vmdir *dir, kiln_fd lock, bool sweep, kiln_error *err)
{
	int held = kiln__os_part_is_locked(lock, PART_LIFE, err);
	kiln_error left;
	int ended;
	int r;

	if (held)
		return held;
	r = kiln__vmdir_read_identity(dir, lock, err);
	if (r < 0)
		return r;
	ended = kiln__vmdir_end_processes(dir, lock, &left);
	r = is_to_go(dir, lock, sweep, err);
	if (r < 0)
		return r;
	if (r > 0 && ended == 0) {
		r = kiln__vmdir_destroy(dir, err);
		return r < 0 ? r : kiln__vmdir_gone(dir->id, err);
	}
	/* What is left of its run is found by its lock file alone, which has to stay, then. */
	if (!kiln__vmdir_has_config(dir)) {
		if (err)
			*err = left;
		return ended;
	}
	return settle_kept(dir, sweep, ended == 0, err);
}

int kiln__vmdir_settle(const struct kiln__home *home, const char *id, bool sweep, bool wait,
		       kiln_error *err)
{
	kiln__cleanup(kiln__vmdir_free_autop) struct kiln__vmdir *dir = kiln__vmdir_new(home, id);
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	int r;

	if (!dir)
		return kiln__fail_nomem(err);
	r = kiln__vmdir_open_lock(dir, KILN__OPEN_WRITE, &lock, err);
	if (r == 0) {
		/* Most of what a sweep finds is alive: one question, and nobody is disturbed. */
		r = kiln__os_part_is_locked(lock, PART_LIFE, err);
		if (r)
			return r;
	}
	if (r == 0 || r == KILN_ENOENT)
		r = guard(dir, &lock, wait, err);
	if (r < 0)
		return r;
	return settle_guarded(dir, lock, sweep, err);
}

int kiln__vmdir_remove(const struct kiln__home *home, const char *id, kiln_error *err)
{
	kiln__cleanup(kiln__vmdir_free_autop) struct kiln__vmdir *dir = kiln__vmdir_new(home, id);
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	int r;

	if (!dir)
		return kiln__fail_nomem(err);
	r = kiln__vmdir_open_lock(dir, KILN__OPEN_WRITE, &lock, err);
	if (r == 0)
		r = kiln__os_lock_part(lock, PART_GUARD, true, err);
	if (r < 0)
		return r;
	if (!is_current(dir, lock) || !kiln__vmdir_has_config(dir))
		return kiln__vmdir_gone(
			id, err); /* what is half a VM a sweep removes, or its creator finishes */
	r = kiln__os_part_is_locked(lock, PART_LIFE, err);
	if (r > 0)
		return kiln__fail(err, KILN_EBUSY, "the VM is running");
	if (r == 0)
		r = kiln__vmdir_read_identity(dir, lock, err);
	if (r == 0)
		r = kiln__vmdir_end_processes(dir, lock, err);
	return r < 0 ? r : kiln__vmdir_destroy(dir, err);
}
