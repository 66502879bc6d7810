/* SPDX-License-Identifier: Apache-2.0 */
#include "vmdir.h"

#include "buf.h"
#include "control.h"
#include "err.h"
#include "log.h"
#include "loop.h"
#include "os.h"
#include "timefmt.h"
#include "vmfiles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum part {
	PART_LIFE = 0,
	PART_GUARD = 1,
	PART_OWNER = 2,
};

/* The longest identity that a lock file may hold. */
#define IDENTITY_MAX KILN__VM_PROCESSES_AT

/* In the lock file, behind the processes: the runtime directory of the life that is or was last. */
#define RUNTIME_AT  (KILN__VM_PROCESSES_AT * 2)
#define RUNTIME_MAX 256

#define STATE_MAX  ((size_t)1024 * 1024)
#define CONFIG_MAX ((size_t)1024 * 1024)

/* As much of its VM's id as a VMM's command line holds: docs/control-protocol.md. */
#define VMM_WORD 12

/*
 * How long a killed process is waited for: what the kernel needs to free the guest's memory, and
 * what a call of the library may block. A start that finds one still there fails.
 */
#define PROCESS_END_MS 1000

/* --- paths and small files ------------------------------------------------------------- */

static int gone(const char *id, kiln_error *err)
{
	return kiln__fail(err, KILN_ENOENT, "there is no VM %s", id);
}

static struct kiln__vmdir *dir_new(const struct kiln__home *home, const char *id)
{
	struct kiln__vmdir *dir = calloc(1, sizeof(*dir));

	if (!dir)
		return NULL;
	dir->home = home;
	dir->owner = KILN_FD_NONE;
	memcpy(dir->id, id, KILN__ID_TEXT);
	dir->path = kiln__home_vm_path(home, id);
	dir->state = dir->path ? kiln__strf("%s/" KILN__VM_STATE, dir->path) : NULL;
	dir->runtime = kiln__home_runtime_path(home, id);
	if (!dir->state || !dir->runtime) {
		kiln__vmdir_free(dir);
		return NULL;
	}
	return dir;
}

void kiln__vmdir_free(struct kiln__vmdir *dir)
{
	if (!dir)
		return;
	kiln__os_close(dir->owner);
	free(dir->name);
	free(dir->path);
	free(dir->state);
	free(dir->runtime);
	free(dir);
}

static char *file_of(const struct kiln__vmdir *dir, const char *name)
{
	return kiln__strf("%s/%s", dir->path, name);
}

/* KILN_ENOENT if the VM is none. */
static int open_lock(const struct kiln__vmdir *dir, unsigned flags, kiln_fd *ret, kiln_error *err)
{
	kiln__autofree char *path = file_of(dir, "lock");
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_open(ret, path, flags, err);
	return r == KILN_ENOENT ? gone(dir->id, err) : r;
}

static bool has_config(const struct kiln__vmdir *dir)
{
	kiln__autofree char *path = file_of(dir, "config.json");
	struct kiln__os_stat st;

	/* Anything but a clear no counts as there: in doubt nothing is removed. */
	return !path || kiln__os_stat(path, &st, NULL) != KILN_ENOENT;
}

static int write_identity(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
{
	char created[KILN__TIME_TEXT];
	json_t *identity;
	char *text;
	int r;

	kiln__time_format(dir->created_ns, created);
	identity = json_pack("{s:s, s:s*, s:b}", "created", created, "name", dir->name, "ephemeral",
			     dir->ephemeral);
	/* Where memory has run out, "s*" leaves the key away and says nothing. */
	if (dir->name && !json_object_get(identity, "name"))
		json_decref(kiln__take(identity));
	text = identity ? json_dumps(identity, JSON_COMPACT) : NULL;
	r = text ? kiln__os_pwrite_full(lock, text, strlen(text), 0, err) : kiln__fail_nomem(err);
	free(text);
	json_decref(identity);
	return r;
}

static int read_runtime(struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
{
	char text[RUNTIME_MAX] = "";
	ssize_t n = kiln__os_pread_full(lock, text, sizeof(text) - 1, RUNTIME_AT, err);
	char *path;

	if (n < 0)
		return (int)n;
	if (text[0] != '/' || strcmp(text, dir->home->runtime) == 0)
		return 0;
	path = kiln__strf("%s/%s", text, dir->id);
	if (!path)
		return kiln__fail_nomem(err);
	free(dir->runtime);
	dir->runtime = path;
	return 0;
}

/* What cannot be read reads as a VM without a name: the rest of it is as good as before. */
static int read_identity(struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
{
	char text[IDENTITY_MAX];
	ssize_t n = kiln__os_pread_full(lock, text, sizeof(text), 0, err);
	json_t *identity;
	json_error_t why;
	const char *created;
	const char *name;
	int r = 0;

	if (n < 0)
		return (int)n;
	identity = json_loadb(text, (size_t)n, JSON_DISABLE_EOF_CHECK, &why);
	if (!identity && json_error_code(&why) == json_error_out_of_memory)
		return kiln__fail_nomem(err);
	created = json_string_value(json_object_get(identity, "created"));
	name = json_string_value(json_object_get(identity, "name"));
	dir->created_ns = created ? kiln__time_parse(created) : 0;
	dir->ephemeral = json_is_true(json_object_get(identity, "ephemeral"));
	if (name && kiln__check_name(name, NULL) == 0)
		r = (dir->name = strdup(name)) ? 0 : kiln__fail_nomem(err);
	json_decref(identity);
	return r < 0 ? r : read_runtime(dir, lock, err);
}

/*
 * The runtime directory of a VM's life is that of whoever started it, who may have had
 * another environment than who looks at it now.
 */
static int write_runtime(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
{
	char text[RUNTIME_MAX] = "";
	size_t len = strlen(dir->home->runtime);

	if (len >= sizeof(text))
		return kiln__fail(err, KILN_EINVAL, "%s is too long for a runtime directory",
				  dir->home->runtime);
	memcpy(text, dir->home->runtime, len);
	return kiln__os_pwrite_full(lock, text, sizeof(text), RUNTIME_AT, err);
}

/* The next life's runtime directory is this home's. */
static int own_runtime(struct kiln__vmdir *dir, kiln_error *err)
{
	char *path = kiln__home_runtime_path(dir->home, dir->id);

	if (!path)
		return kiln__fail_nomem(err);
	if (strcmp(path, dir->runtime) != 0)
		kiln__os_remove_tree(dir->runtime, NULL);
	free(dir->runtime);
	dir->runtime = path;
	return 0;
}

int kiln__vmdir_check_runtime(const struct kiln__vmdir *dir, kiln_error *err)
{
	kiln__autofree char *parent = strdup(dir->runtime);
	int r;

	if (!parent)
		return kiln__fail_nomem(err);
	*strrchr(parent, '/') = '\0';
	r = kiln__home_check_dir(parent, "KILN_RUNTIME_DIR", err);
	if (r != KILN_ENOENT || strcmp(parent, dir->home->runtime) == 0)
		return r;
	kiln__fail(err, KILN_ESTATE,
		   "the VM was started with the runtime directory %s, which is gone", parent);
	kiln__hint(err, "nobody can reach it any more: end its process, whose number ls tells");
	return KILN_ESTATE;
}

static int append_event(const struct kiln__vmdir *dir, const char *line)
{
	kiln__autofree char *path = file_of(dir, KILN__VM_STATE "/events");
	kiln__autofree char *text = kiln__strf("%s\n", line);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r;

	if (!path || !text)
		return KILN_ENOMEM;
	r = kiln__os_open_lines(&fd, path, NULL);
	return r < 0 ? r : kiln__os_write_full(fd, text, strlen(text), NULL);
}

/* --- creating ----------------------------------------------------------------------------- */

static void make_id(char id[KILN__ID_TEXT])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[KILN__ID_LEN / 2];

	kiln__os_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		id[2 * i] = digits[bytes[i] >> 4];
		id[2 * i + 1] = digits[bytes[i] & 15];
	}
	id[KILN__ID_LEN] = '\0';
}

/*
 * Held for a few system calls: by a creation until GUARD tells that it is one, and by who
 * sets right while looking at what may be half a VM. So what is being made is never taken for
 * what somebody left.
 */
static int lock_vms(const struct kiln__home *home, kiln_fd *ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/vms", home->dir);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = path ? kiln__os_open(&fd, path, KILN__OPEN_DIRECTORY, err) : kiln__fail_nomem(err);

	if (r == 0)
		r = kiln__os_lock(fd, err);
	if (r == 0)
		*ret = kiln__take_fd(&fd);
	return r;
}

/* The journal's entry, in a directory that a boot of the host takes away. */
static int make_runtime(const struct kiln__vmdir *dir, kiln_error *err)
{
	int r = kiln__home_check_runtime(dir->home, err);

	if (r == KILN_ENOENT)
		r = kiln__home_make(dir->home, err);
	return r < 0 ? r : kiln__os_mkdir(dir->runtime, 0700, err);
}

static int make_directories(const struct kiln__vmdir *dir, kiln_error *err)
{
	int r = make_runtime(dir, err);

	if (r == 0)
		r = kiln__os_mkdir(dir->path, 0700, err);
	return r < 0 ? r : kiln__os_mkdir(dir->state, 0700, err);
}

static int destroy(const struct kiln__vmdir *dir, kiln_error *err);

/* The directories and the lock file, of which *ret_guard holds GUARD. */
static int make_guarded(const struct kiln__vmdir *dir, kiln_fd *ret_guard, kiln_error *err)
{
	kiln__autoclose kiln_fd vms = KILN_FD_NONE;
	int r = lock_vms(dir->home, &vms, err);

	if (r == KILN_ENOENT) { /* the first VM of all */
		r = kiln__home_make(dir->home, err);
		if (r == 0)
			r = lock_vms(dir->home, &vms, err);
	}
	if (r < 0)
		return r;
	r = make_directories(dir, err);
	if (r == 0)
		r = open_lock(dir, KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE,
			      ret_guard, err);
	if (r ==
	    0) /* waits for nobody but who takes the id from a listing, and sees that it is none */
		r = kiln__os_lock_part(*ret_guard, PART_GUARD, true, err);
	if (r < 0 && r != KILN_EEXIST) {
		kiln__os_close(kiln__take_fd(&vms)); /* destroy() takes it itself */
		destroy(dir, NULL);
	}
	return r;
}

static int take_ownership(struct kiln__vmdir *dir, kiln_error *err)
{
	/* A file of its own, opened anew: the lock must not go to the runner with the other one. */
	int r = open_lock(dir, KILN__OPEN_WRITE, &dir->owner, err);

	return r < 0 ? r : kiln__os_lock_part(dir->owner, PART_OWNER, false, err);
}

static int sync_directories(const struct kiln__vmdir *dir, kiln_error *err)
{
	kiln__autofree char *vms = kiln__strf("%s/vms", dir->home->dir);
	kiln__autofree char *names = kiln__strf("%s/names", dir->home->dir);
	int r;

	if (!vms || !names)
		return kiln__fail_nomem(err);
	r = kiln__os_sync_dir(vms, err);
	return r == 0 && dir->name ? kiln__os_sync_dir(names, err) : r;
}

/* The name, then config.json: from then on it is a VM. */
static int publish(struct kiln__vmdir *dir, const char *config, kiln_error *err)
{
	kiln__autofree char *path = file_of(dir, "config.json");
	int r = path ? 0 : kiln__fail_nomem(err);

	if (r == 0 && dir->name)
		r = kiln__home_claim_name(dir->home, dir->name, dir->id, err);
	if (r == 0)
		r = kiln__os_replace_file(path, config, strlen(config), 0600, !dir->ephemeral, err);
	if (r == 0 && !dir->ephemeral)
		r = sync_directories(dir, err);
	return r;
}

int kiln__vmdir_create(struct kiln__vmdir **ret, const struct kiln__home *home, const char *name,
		       bool ephemeral, const char *config, kiln_error *err)
{
	kiln__cleanup(kiln__vmdir_free_autop) struct kiln__vmdir *dir = NULL;
	kiln__autoclose kiln_fd guard = KILN_FD_NONE;
	char id[KILN__ID_TEXT];
	int r;

	make_id(id);
	dir = dir_new(home, id);
	if (!dir || (name && !(dir->name = strdup(name))))
		return kiln__fail_nomem(err);
	dir->ephemeral = dir->fresh = ephemeral;
	dir->created_ns = kiln__os_realtime_ns();
	r = make_guarded(dir, &guard, err);
	if (r < 0)
		return r;
	r = write_identity(dir, guard, err);
	if (r == 0 && ephemeral)
		r = take_ownership(dir, err);
	else if (r ==
		 0) /* before config.json: what is a VM knows who it is, after a power cut too */
		r = kiln__os_sync(guard, err);
	if (r == 0)
		r = publish(dir, config, err);
	if (r < 0) {
		destroy(dir, NULL);
		return r;
	}
	if (!ephemeral)
		kiln__os_remove(dir->runtime, NULL);
	*ret = kiln__take(dir);
	return 0;
}

int kiln__vmdir_open(struct kiln__vmdir **ret, const struct kiln__home *home, const char *id,
		     kiln_error *err)
{
	kiln__cleanup(kiln__vmdir_free_autop) struct kiln__vmdir *dir = dir_new(home, id);
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	int r;

	if (!dir)
		return kiln__fail_nomem(err);
	r = open_lock(dir, KILN__OPEN_READ, &lock, err);
	if (r == 0)
		r = read_identity(dir, lock, err);
	if (r < 0)
		return r;
	if (!has_config(dir)) {
		kiln__vmdir_settle(home, id, true, false, NULL);
		return gone(id, err);
	}
	/* One that has ended while nobody looked is not shown any more. */
	if (dir->ephemeral && kiln__vmdir_settle(home, id, true, false, NULL) == KILN_ENOENT)
		return gone(id, err);
	*ret = kiln__take(dir);
	return 0;
}

/* --- looking ------------------------------------------------------------------------------- */

int kiln__vmdir_is_alive(const struct kiln__vmdir *dir, kiln_error *err)
{
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	int r = open_lock(dir, KILN__OPEN_READ, &lock, err);

	return r < 0 ? r : kiln__os_part_is_locked(lock, PART_LIFE, err);
}

int kiln__vmdir_read_state(const struct kiln__vmdir *dir, json_t **ret, kiln_error *err)
{
	kiln__autofree char *path = file_of(dir, KILN__VM_STATE "/state.json");
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

int kiln__vmdir_replace_config(const struct kiln__vmdir *dir, const char *config, kiln_error *err)
{
	kiln__autofree char *path = file_of(dir, "config.json");

	return path ? kiln__os_replace_file(path, config, strlen(config), 0600, !dir->ephemeral,
					    err)
		    : kiln__fail_nomem(err);
}

int kiln__vmdir_read_config(const struct kiln__vmdir *dir, char **ret, kiln_error *err)
{
	kiln__autofree char *path = file_of(dir, "config.json");
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_read_file(path, CONFIG_MAX, ret, NULL, err);
	return r == KILN_ENOENT ? gone(dir->id, err) : r;
}

/* Why a VM has failed whose runner was killed in the state @from. */
static void died(const char *from, kiln_error *ret)
{
	kiln__fail(ret, KILN_EDIED, "the runner died while the VM was %s", from);
	kiln__stage(ret, from);
	kiln__hint(ret, "it was killed or crashed; see the VM's runner.log");
}

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
	died(json_string_value(json_object_get(*object, "state")), &why);
	kiln__hint(&why, "this cannot be put on record: %s", settled.message);
	r = kiln__vmstate_set_failed(*object, &why, kiln__os_realtime_ns(), err);
	return r < 0 ? r : 0;
}

/* The processes of the last runner, as it wrote them down before its guest ran; 0: none. */
static void read_processes(kiln_fd lock, int64_t *ret_runner, int64_t *ret_vmm)
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

/* How long the record may lag behind the end of a VMM, on a busy machine. */
#define RECORD_MS 2000

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
	kiln__autofree char *path = file_of(dir, KILN__VM_STATE);
	struct awaited awaited = {.dir = dir};
	struct kiln__dirwatch *watch = NULL;
	struct kiln__timer *timer = NULL;
	kiln_loop *loop = NULL;
	int directory;

	if (path && kiln_loop_new(&loop, NULL) == 0 &&
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
	char word[VMM_WORD + 1];

	snprintf(word, sizeof(word), "%.*s", VMM_WORD, dir->id);
	return vmm > 0 && kiln__os_open_process(&process, vmm, word, NULL) == KILN_ENOENT;
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
		read_processes(lock, &runner, &vmm);
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

	r = open_lock(dir, KILN__OPEN_READ, &lock, err);
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
		read_processes(lock, &state.pid, &state.vmm_pid);
	*ret = state;
	if (ret_object)
		*ret_object = object;
	else
		json_decref(object);
	return alive;
}

int kiln__vmdir_wait_dead(const struct kiln__vmdir *dir, kiln_loop *loop, void (*fn)(void *data),
			  void *data, struct kiln__lockwait **ret, kiln_error *err)
{
	kiln__autofree char *path = file_of(dir, "lock");

	return path ? kiln__lockwait_new(ret, loop, path, PART_LIFE, fn, data, err)
		    : kiln__fail_nomem(err);
}

static int correct_state(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err);
static int end_processes(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err);
static void remove_temporaries(const struct kiln__vmdir *dir);

/* --- starting -------------------------------------------------------------------------------- */

/* Removes a file, or a directory with all in it. Most often it is a file, or empty. */
static int remove_any(const char *path, kiln_error *err)
{
	return kiln__os_remove(path, NULL) == 0 ? 0 : kiln__os_remove_tree(path, err);
}

static int empty_runtime(const struct kiln__vmdir *dir, kiln_error *err)
{
	int r = remove_any(dir->runtime, err);

	return r < 0 ? r : kiln__os_mkdir(dir->runtime, 0700, err);
}

/*
 * GUARD is held, so nobody else takes it; who waited for the end of the last one may hold it
 * for a moment.
 */
static int take_life(const struct kiln__vmdir *dir, kiln_fd *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd life = KILN_FD_NONE;
	int r = open_lock(dir, KILN__OPEN_READ, &life, err);

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
	kiln__autofree char *path = file_of(dir, KILN__VM_STATE "/state.json");
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
 * With GUARD held: nothing alive, the runtime directory there and empty. A runner that was
 * killed is recorded, and its processes have ended, before another takes its place.
 */
static int take_guarded(struct kiln__vmdir *dir, kiln_fd lock, kiln_fd *ret_life, kiln_error *err)
{
	kiln__autoclose kiln_fd life = KILN_FD_NONE;
	int r;

	if (!has_config(dir))
		return gone(dir->id, err);
	r = take_life(dir, &life, err);
	if (r < 0)
		return r;
	r = end_processes(dir, lock, err);
	if (r == 0)
		r = correct_state(dir, lock, err);
	if (r < 0)
		return r;
	if (r > 0)
		remove_temporaries(dir);
	r = dir->fresh ? 0 : write_starting(dir, err);
	if (r == 0)
		r = own_runtime(dir, err);
	if (r == 0)
		r = make_runtime(dir, err);
	if (r == KILN_EEXIST)
		r = dir->fresh ? 0 : empty_runtime(dir, err);
	if (r == 0)
		r = write_runtime(dir, lock, err);
	if (r == 0)
		*ret_life = kiln__take_fd(&life);
	return r;
}

int kiln__vmdir_take(struct kiln__vmdir *dir, kiln_fd *ret_life, kiln_error *err)
{
	kiln__autoclose kiln_fd guard = KILN_FD_NONE;
	int r = open_lock(dir, KILN__OPEN_WRITE, &guard, err);

	if (r == 0)
		r = kiln__os_lock_part(guard, PART_GUARD, true, err);
	if (r == 0)
		r = take_guarded(dir, guard, ret_life, err);
	if (r == 0)
		dir->fresh = false;
	return r;
}

static int write_failed(const struct kiln__vmdir *dir, json_t *object, const char *from,
			const kiln_error *why, kiln_error *err)
{
	kiln__autofree char *path = file_of(dir, KILN__VM_STATE "/state.json");
	kiln__autofree char *event = NULL;
	int64_t now = kiln__os_realtime_ns();
	char *text;
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	event = kiln__vmstate_failed_event(from, why, now);
	if (event)
		append_event(dir, event);
	json_object_set_new(object, "id", json_string(dir->id));
	r = kiln__vmstate_set_failed(object, why, now, err);
	if (r < 0)
		return r;
	text = json_dumps(object, JSON_INDENT(1));
	r = text ? kiln__os_save_record(path, text, !dir->ephemeral, err) : kiln__fail_nomem(err);
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
		r = write_failed(dir, object, kiln_state_name(KILN_STATE_STARTING), why, err);
	json_decref(object);
	return r;
}

/* --- setting right ------------------------------------------------------------------- */

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
static int end_processes(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
{
	char word[VMM_WORD + 1];
	int64_t runner;
	int64_t vmm;
	int r;

	snprintf(word, sizeof(word), "%.*s", VMM_WORD, dir->id);
	read_processes(lock, &runner, &vmm);
	r = end_process(dir, "runner", runner, dir->id, err);
	return r < 0 ? r : end_process(dir, "VMM", vmm, word, err);
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

static void remove_temporaries(const struct kiln__vmdir *dir)
{
	remove_temporaries_in(dir->path);
	remove_temporaries_in(dir->state);
}

/* Nobody is alive: if the state says otherwise, its runner was killed. Returns 1 if so. */
static int correct_state(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
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

		end_processes(dir, lock, NULL);
		died(from, &why);
		r = write_failed(dir, object, from, &why, err);
		if (r == 0)
			r = 1;
	}
	json_decref(object);
	return r;
}

/* Removes what is in the VM's directory, but for the lock file. */
static int remove_contents(const struct kiln__vmdir *dir, kiln_error *err)
{
	char **names;
	int r = kiln__os_list_dir(dir->path, &names, err);

	if (r < 0)
		return r == KILN_ENOENT ? 0 : r;
	for (size_t i = 0; names[i] && r == 0; i++) {
		kiln__autofree char *path = file_of(dir, names[i]);

		if (!path)
			r = kiln__fail_nomem(err);
		else if (strcmp(names[i], KILN__VM_STATE) == 0)
			r = kiln__os_remove_tree(path, err);
		else if (strcmp(names[i], "lock") != 0)
			r = remove_any(path, err);
	}
	kiln__os_free_names(names);
	return r;
}

/*
 * Removes it; GUARD is held, and LIFE is not. In an order that lets whoever comes
 * next finish what is begun here: config.json first, the lock file, which holds the name
 * and the guard, next to last, the journal's entry last. Nobody looks meanwhile for half a
 * VM, to make what he finds lacking: see open_half().
 */
static int destroy(const struct kiln__vmdir *dir, kiln_error *err)
{
	kiln__autoclose kiln_fd vms = KILN_FD_NONE;
	kiln__autofree char *config = file_of(dir, "config.json");
	kiln__autofree char *lock = file_of(dir, "lock");
	int r;

	if (!config || !lock)
		return kiln__fail_nomem(err);
	kiln__os_mkdir(dir->runtime, 0700, NULL);
	r = kiln__os_remove(config, err);
	if (r == 0 && dir->name)
		r = kiln__home_drop_name(dir->home, dir->name, dir->id, err);
	if (r == 0)
		r = remove_contents(dir, err);
	if (r == 0)
		r = lock_vms(dir->home, &vms, err);
	if (r == 0)
		r = kiln__os_remove(lock, err);
	if (r < 0)
		return r;                 /* what is left still says whose it is */
	kiln__os_remove(dir->path, NULL); /* not empty: another is finishing this, too */
	return remove_any(dir->runtime, err);
}

/* False if the file that @lock is open on is not the VM's any more. */
static bool is_current(const struct kiln__vmdir *dir, kiln_fd lock)
{
	kiln__autofree char *path = file_of(dir, "lock");
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
	int r = open_lock(dir, KILN__OPEN_WRITE, ret, err);

	if (r != KILN_ENOENT)
		return r;
	if (kiln__os_stat(dir->path, &st, NULL) == KILN_ENOENT) {
		if (kiln__os_stat(dir->runtime, &st, NULL) < 0)
			return gone(dir->id, err);
		r = kiln__os_mkdir(dir->path, 0700, err);
		if (r < 0 && r != KILN_EEXIST)
			return r;
	}
	return open_lock(dir, KILN__OPEN_WRITE | KILN__OPEN_CREATE, ret, err);
}

/* Takes GUARD for setting right. *lock is the lock file, or KILN_FD_NONE if there was none. */
static int guard(const struct kiln__vmdir *dir, kiln_fd *lock, bool wait, kiln_error *err)
{
	kiln__autoclose kiln_fd vms = KILN_FD_NONE;
	int r = lock_vms(dir->home, &vms, err);

	if (r == KILN_ENOENT) { /* a journal without a home: the home was removed */
		kiln__os_remove_tree(dir->runtime, NULL);
		return gone(dir->id, err);
	}
	if (r == 0 && *lock == KILN_FD_NONE)
		r = open_half(dir, lock, err);
	if (r == 0)
		r = kiln__os_lock_part(*lock, PART_GUARD, false, err);
	if (r == KILN_EBUSY && wait) {
		kiln__os_close(kiln__take_fd(&vms)); /* whoever holds it is past what vms guards */
		r = kiln__os_lock_part(*lock, PART_GUARD, true, err);
	}
	return r == 0 && !is_current(dir, *lock) ? gone(dir->id, err) : r;
}

static int settle_guarded(struct kiln__vmdir *dir, kiln_fd lock, bool sweep, kiln_error *err)
{
	int held = kiln__os_part_is_locked(lock, PART_LIFE, err);
	int r;

	if (held)
		return held;
	r = read_identity(dir, lock, err);
	if (r < 0)
		return r;
	if (!has_config(dir)) {
		r = destroy(dir, err);
		return r < 0 ? r : gone(dir->id, err);
	}
	if (dir->ephemeral) {
		held = kiln__os_part_is_locked(lock, PART_OWNER, err);
		if (held < 0)
			return held;
		if (!held && sweep) {
			r = destroy(dir, err);
			return r < 0 ? r : gone(dir->id, err);
		}
	}
	r = correct_state(dir, lock, err);
	if (r < 0)
		return r;
	if (r > 0 || sweep)
		remove_temporaries(dir);
	/* Of an ephemeral one the journal keeps its entry until it is removed. */
	if (!dir->ephemeral)
		return remove_any(dir->runtime, err);
	return r > 0 ? empty_runtime(dir, err) : 0;
}

int kiln__vmdir_settle(const struct kiln__home *home, const char *id, bool sweep, bool wait,
		       kiln_error *err)
{
	kiln__cleanup(kiln__vmdir_free_autop) struct kiln__vmdir *dir = dir_new(home, id);
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	int r;

	if (!dir)
		return kiln__fail_nomem(err);
	r = open_lock(dir, KILN__OPEN_WRITE, &lock, err);
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
	kiln__cleanup(kiln__vmdir_free_autop) struct kiln__vmdir *dir = dir_new(home, id);
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	int r;

	if (!dir)
		return kiln__fail_nomem(err);
	r = open_lock(dir, KILN__OPEN_WRITE, &lock, err);
	if (r == 0)
		r = kiln__os_lock_part(lock, PART_GUARD, true, err);
	if (r < 0)
		return r;
	if (!is_current(dir, lock) || !has_config(dir))
		return gone(id,
			    err); /* what is half a VM a sweep removes, or its creator finishes */
	r = kiln__os_part_is_locked(lock, PART_LIFE, err);
	if (r > 0)
		return kiln__fail(err, KILN_EBUSY, "the VM is running");
	if (r == 0)
		r = read_identity(dir, lock, err);
	if (r < 0)
		return r;
	end_processes(dir, lock, NULL);
	return destroy(dir, err);
}
