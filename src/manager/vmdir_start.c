/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a VM for a start, and putting on record how that went. */
#include "vmdir_internal.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "vmfiles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * GUARD is held, so nobody else takes it; who waited for the end of the last one may hold it
 * for a moment.
 */
static int take_life(const struct kiln__vmdir *dir, kiln_fd *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd life = KILN_FD_NONE;
	int r = kiln__vmdir_open_lock(dir, KILN__OPEN_READ, &life, err);

	if (r == 0)
		r = kiln__os_part_is_locked(life, PART_LIFE, err);
	if (r > 0)
		return kiln__fail(err, KILN_ESTATE, "the VM is running already");
	if (r == 0)
		r = kiln__os_hold_part(life, PART_LIFE, err);
	if (r == 0)
		*ret = kiln__take_fd(&life);
	return r;
}

/*
 * A VM that lived before is starting from the moment that it is taken: to who looks, its last end
 * must not be the end of the life that begins.
 */
static int write_starting(const struct kiln__vmdir *dir, kiln_error *err)
{
	kiln__autofree char *path = kiln__vmdir_state_file(dir);
	json_t *object;
	char *text;
	int r = path ? kiln__vmdir_read_state(dir, &object, err) : kiln__fail_nomem(err);

	if (r < 0)
		return r;
	json_object_del(object, "exit");
	json_object_del(object, "failure");
	json_object_del(object, "finished");
	r = json_object_set_new(object, "state", json_string(kiln_state_name(KILN_STATE_STARTING)));
	text = r ? NULL : json_dumps(object, JSON_INDENT(1));
	json_decref(object);
	r = text ? kiln__os_save_record(path, text, false, err) : kiln__fail_nomem(err);
	free(text);
	return r;
}

/*
 * The runtime directory of the life that begins: there, this environment's, and empty. It may have
 * vanished (a logout, a cleaner of /tmp), with an ephemeral VM's state in it.
 */
static int renew_runtime(struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
{
	int r = kiln__vmdir_own_runtime(dir, err);

	if (r == 0)
		r = kiln__vmdir_make_runtime(dir, err);
	if (r == KILN_EEXIST)
		r = dir->fresh ? 0 : kiln__vmdir_empty_runtime(dir, err);
	return r < 0 ? r : kiln__vmdir_write_runtime(dir, lock, err);
}

/*
 * With GUARD held: nothing alive, the runtime directory there and empty. A runner that was
 * killed is recorded, and its processes have ended, before another takes its place.
 */
static int take_guarded(struct kiln__vmdir *dir, kiln_fd lock, kiln_fd *ret_life, kiln_error *err)
{
	kiln__autoclose kiln_fd life = KILN_FD_NONE;
	int r;

	if (!kiln__vmdir_has_config(dir))
		return kiln__vmdir_gone(dir->id, err);
	r = take_life(dir, &life, err);
	if (r < 0)
		return r;
	r = kiln__vmdir_end_processes(dir, lock, err);
	if (r == 0)
		r = kiln__vmdir_correct_state(dir, err);
	if (r < 0)
		return r;
	if (r > 0)
		kiln__vmdir_remove_temporaries(dir);
	r = renew_runtime(dir, lock, err);
	if (r == 0 && !dir->fresh)
		r = write_starting(dir, err);
	if (r == 0)
		*ret_life = kiln__take_fd(&life);
	return r;
}

int kiln__vmdir_take(struct kiln__vmdir *dir, kiln_fd *ret_life, kiln_error *err)
{
	kiln__autoclose kiln_fd guard = KILN_FD_NONE;
	int r = kiln__vmdir_open_lock(dir, KILN__OPEN_WRITE, &guard, err);

	if (r == 0)
		r = kiln__os_lock_part(guard, PART_GUARD, true, err);
	if (r == 0)
		r = take_guarded(dir, guard, ret_life, err);
	if (r == 0)
		dir->fresh = false;
	return r;
}

int kiln__vmdir_record_runner(const struct kiln__vmdir *dir, int64_t pid, kiln_error *err)
{
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	char text[64] = "";
	int r = kiln__vmdir_open_lock(dir, KILN__OPEN_WRITE, &lock, err);

	snprintf(text, sizeof(text), KILN__VM_PROCESSES, (long long)pid, 0ll);
	/* With the zeros behind it, so that a longer one of an earlier life is gone. */
	return r < 0 ? r
		     : kiln__os_pwrite_full(lock, text, sizeof(text), KILN__VM_PROCESSES_AT, err);
}

static int append_event(const struct kiln__vmdir *dir, const char *line)
{
	kiln__autofree char *path = kiln__vmdir_file(dir, KILN__VM_STATE "/events");
	kiln__autofree char *text = kiln__strf("%s\n", line);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r;

	if (!path || !text)
		return KILN_ENOMEM;
	r = kiln__os_open_lines(&fd, path, NULL);
	return r < 0 ? r : kiln__os_write_full(fd, text, strlen(text), NULL);
}

/* An ephemeral VM's lies in the runtime directory, which may have vanished: then it is made. */
static int save_state(const struct kiln__vmdir *dir, const char *text, kiln_error *err)
{
	kiln__autofree char *path = kiln__vmdir_state_file(dir);
	int r = path ? kiln__os_save_record(path, text, !dir->ephemeral, err)
		     : kiln__fail_nomem(err);

	if (r != KILN_ENOENT || !dir->ephemeral)
		return r;
	r = kiln__vmdir_make_runtime(dir, err);
	return r < 0 ? r : kiln__os_save_record(path, text, false, err);
}

int kiln__vmdir_write_failed(const struct kiln__vmdir *dir, json_t *object, const char *from,
			     const kiln_error *why, kiln_error *err)
{
	kiln__autofree char *event = NULL;
	int64_t now = kiln__os_realtime_ns();
	char *text;
	int r;

	event = kiln__vmstate_failed_event(from, why, now);
	if (event)
		append_event(dir, event);
	json_object_set_new(object, "id", json_string(dir->id));
	r = kiln__vmstate_set_failed(object, why, now, err);
	if (r < 0)
		return r;
	text = json_dumps(object, JSON_INDENT(1));
	r = text ? save_state(dir, text, err) : kiln__fail_nomem(err);
	free(text);
	return r;
}

int kiln__vmdir_record_failure(const struct kiln__vmdir *dir, const kiln_error *why,
			       kiln_error *err)
{
	struct kiln__vmstate state;
	json_t *object;
	int r = kiln__vmdir_read_state(dir, &object, err);

	if (r < 0)
		return r;
	kiln__vmstate_parse(object, &state);
	if (state.state != KILN_STATE_FAILED || strcmp(state.failure.message, why->message) != 0)
		r = kiln__vmdir_write_failed(dir, object, kiln_state_name(KILN_STATE_STARTING), why,
					     err);
	json_decref(object);
	return r;
}
