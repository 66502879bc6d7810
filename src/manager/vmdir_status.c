/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The truth about a VM: what its runner has written, which may lag behind what has happened, and
 * the lock, which does not. What a killed runner left is set right on the way.
 */
#include "vmdir_internal.h"

#include "buf.h"
#include "err.h"
#include "log.h"
#include "loop.h"
#include "os.h"
#include "vmfiles.h"

#include <stdio.h>
#include <stdlib.h>

#define STATE_MAX ((size_t)1024 * 1024)

/* How long the record may lag behind the end of a VMM, on a busy machine. */
#define RECORD_MS 2000

int kiln__vmdir_is_alive(const struct kiln__vmdir *dir, kiln_error *err)
{
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	int r = kiln__vmdir_open_lock(dir, KILN__OPEN_READ, &lock, err);

	return r < 0 ? r : kiln__os_part_is_locked(lock, PART_LIFE, err);
}

int kiln__vmdir_wait_dead(const struct kiln__vmdir *dir, kiln_loop *loop, void (*fn)(void *data),
			  void *data, struct kiln__lockwait **ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__vmdir_file(dir, "lock");

	return path ? kiln__lockwait_new(ret, loop, path, PART_LIFE, fn, data, err)
		    : kiln__fail_nomem(err);
}

char *kiln__vmdir_state_file(const struct kiln__vmdir *dir)
{
	return kiln__strf("%s/" KILN__VM_STATE_FILE, dir->ephemeral ? dir->runtime : dir->state);
}

int kiln__vmdir_read_state(const struct kiln__vmdir *dir, json_t **ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__vmdir_state_file(dir);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln__autofree char *text = NULL;
	json_t *object = NULL;
	size_t len;

	if (!path)
		return kiln__fail_nomem(err);
	/* What is there but cannot be read is damaged, too. */
	if (kiln__os_open(&fd, path, KILN__OPEN_READ | KILN__OPEN_HOSTILE, NULL) == 0 &&
	    kiln__os_read_open(fd, path, STATE_MAX, &text, &len, NULL) == 0)
		object = json_loadb(text, len, 0, NULL);
	if (!json_is_object(object)) {
		/* Written whole or not at all: what is no state was damaged from outside. */
		json_decref(object);
		object = json_object();
	}
	if (!object)
		return kiln__fail_nomem(err);
	*ret = object;
	return 0;
}

/* The processes of the last runner, as it wrote them down before its guest ran; 0: none. */
void kiln__vmdir_read_processes(kiln_fd lock, int64_t *ret_runner, int64_t *ret_vmm)
{
	char text[64] = "";
	long long runner;
	long long vmm;

	*ret_runner = *ret_vmm = 0;
	if (kiln__os_pread_full(lock, text, sizeof(text) - 1, KILN__VM_PROCESSES_AT, NULL) > 0 &&
	    sscanf(text, KILN__VM_PROCESSES, &runner, &vmm) == 2) {
		*ret_runner = runner;
		*ret_vmm = vmm;
	}
}

/* --- a VMM that has ended ------------------------------------------------------------ */

struct awaited {
	const struct kiln__vmdir *dir;
	bool over;
};

static void on_changed(void *data, int directory, const char *name)
{
	struct awaited *awaited = data;
	struct kiln__vmstate state;
	json_t *object;

	(void)directory;
	(void)name;
	if (kiln__vmdir_read_state(awaited->dir, &object, NULL) < 0)
		return;
	kiln__vmstate_parse(object, &state);
	json_decref(object);
	awaited->over |= !kiln__vmstate_is_alive(state.state);
}

static void on_late(void *data)
{
	struct awaited *awaited = data;

	awaited->over = true;
}

/* The VMM has ended, and its runner is about to put on record how: waits for that. */
static void await_record(const struct kiln__vmdir *dir)
{
	const char *path = dir->ephemeral ? dir->runtime : dir->state;
	struct awaited awaited = {.dir = dir};
	struct kiln__dirwatch *watch = NULL;
	struct kiln__timer *timer = NULL;
	kiln_loop *loop = NULL;
	int directory;

	if (kiln_loop_new(&loop, NULL) == 0 &&
	    kiln__dirwatch_new(&watch, loop, on_changed, &awaited, NULL) == 0 &&
	    kiln__dirwatch_add(watch, path, &directory, NULL) == 0 &&
	    kiln__timer_new(&timer, loop, on_late, &awaited, NULL) == 0) {
		kiln__timer_start(timer, RECORD_MS);
		on_changed(&awaited, 0, NULL); /* it may have been before the watch */
		while (!awaited.over)
			kiln_loop_step(loop);
	}
	kiln__timer_free(timer);
	kiln__dirwatch_free(watch);
	kiln_loop_free(loop);
}

/* Whether the VMM that a runner has written down is not there any more. */
static bool vmm_is_gone(const struct kiln__vmdir *dir, int64_t vmm)
{
	kiln__autoclose kiln_fd process = KILN_FD_NONE;
	char word[KILN__VMM_WORD + 1];

	snprintf(word, sizeof(word), "%.*s", KILN__VMM_WORD, dir->id);
	return vmm > 0 && kiln__os_open_process(&process, vmm, word, NULL) == KILN_ENOENT;
}

/* --- the truth ----------------------------------------------------------------------- */

/*
 * The state *@object says that it is alive, which it is not: sets that right, on disk, and
 * in *@object. What cannot be put on record (a full disk) is the truth all the same.
 */
static int settle_dead(const struct kiln__vmdir *dir, json_t **object, kiln_error *err)
{
	kiln_error why;
	kiln_error settled;
	json_t *fresh;
	int alive = kiln__vmdir_settle(dir->home, dir->id, false, true, &settled);
	int r;

	if (alive >= 0) {
		r = kiln__vmdir_read_state(dir, &fresh, err);
		if (r < 0)
			return r;
		json_decref(*object);
		*object = fresh;
		return alive;
	}
	if (alive == KILN_ENOENT) { /* it was removed meanwhile */
		if (err)
			*err = settled;
		return alive;
	}
	kiln__log(&dir->home->log, KILN_LOG_WARN, "VM %s: its end cannot be put on record: %s",
		  dir->id, settled.message);
	kiln__vmdir_died(json_string_value(json_object_get(*object, "state")), &why);
	kiln__hint(&why, "this cannot be put on record: %s", settled.message);
	r = kiln__vmstate_set_failed(*object, &why, kiln__os_realtime_ns(), err);
	return r < 0 ? r : 0;
}

/*
 * What is on record of a VM whose lock is held may be of the life before, if another process is
 * just taking it (GUARD), or of before its VMM's end.
 */
static int read_alive(const struct kiln__vmdir *dir, kiln_fd lock, json_t **object,
		      struct kiln__vmstate *state, kiln_error *err)
{
	int64_t runner;
	int64_t vmm;

	if (state->state == KILN_STATE_STOPPED || state->state == KILN_STATE_FAILED) {
		if (kiln__os_hold_part(lock, PART_GUARD, err) < 0)
			return KILN_ESYSTEM;
		kiln__os_unlock_part(lock, PART_GUARD);
	} else {
		kiln__vmdir_read_processes(lock, &runner, &vmm);
		/* While it starts, the processes may be those of the life before. */
		if (state->state < KILN_STATE_RUNNING || !vmm_is_gone(dir, vmm))
			return 0;
		await_record(dir);
	}
	json_decref(*object);
	*object = NULL;
	if (kiln__vmdir_read_state(dir, object, err) < 0)
		return KILN_ESYSTEM;
	kiln__vmstate_parse(*object, state);
	return 0;
}

int kiln__vmdir_status(const struct kiln__vmdir *dir, struct kiln__vmstate *ret,
		       json_t **ret_object, kiln_error *err)
{
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	struct kiln__vmstate state;
	json_t *object;
	int alive;
	int r;

	r = kiln__vmdir_open_lock(dir, KILN__OPEN_READ, &lock, err);
	if (r < 0)
		return r;
	alive = kiln__os_part_is_locked(lock, PART_LIFE, err);
	if (alive < 0)
		return alive;
	r = kiln__vmdir_read_state(dir, &object, err);
	if (r < 0)
		return r;
	kiln__vmstate_parse(object, &state);
	if (alive) {
		r = read_alive(dir, lock, &object, &state, err);
		if (r < 0) {
			json_decref(object);
			return r;
		}
	}
	if (!alive && kiln__vmstate_is_alive(state.state)) {
		alive = settle_dead(dir, &object, err);
		if (alive < 0) {
			json_decref(object);
			return alive;
		}
		kiln__vmstate_parse(object, &state);
	}
	if (alive && state.state == KILN_STATE_CREATED)
		state.state = KILN_STATE_STARTING; /* its runner has not written anything yet */
	state.pid = state.vmm_pid = 0;
	if (alive)
		kiln__vmdir_read_processes(lock, &state.pid, &state.vmm_pid);
	*ret = state;
	if (ret_object)
		*ret_object = object;
	else
		json_decref(object);
	return alive;
}
