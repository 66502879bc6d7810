/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's directory: what is in it, how it is made, opened and taken away. */
#include "vmdir_internal.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "timefmt.h"
#include "vmfiles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest identity that a lock file may hold. */
#define IDENTITY_MAX KILN__VM_PROCESSES_AT

/* In the lock file, behind the processes: the runtime directory of the life that is or was last. */
#define RUNTIME_AT  (KILN__VM_PROCESSES_AT * 2)
#define RUNTIME_MAX 256

#define CONFIG_MAX ((size_t)1024 * 1024)

/* --- paths and small files ----------------------------------------------------------- */

int kiln__vmdir_gone(const char *id, kiln_error *err)
{
	return kiln__fail(err, KILN_ENOENT, "there is no VM %s", id);
}

struct kiln__vmdir *kiln__vmdir_new(const struct kiln__home *home, const char *id)
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

char *kiln__vmdir_file(const struct kiln__vmdir *dir, const char *name)
{
	return kiln__strf("%s/%s", dir->path, name);
}

/* KILN_ENOENT if the VM is none. */
int kiln__vmdir_open_lock(const struct kiln__vmdir *dir, unsigned flags, kiln_fd *ret,
			  kiln_error *err)
{
	kiln__autofree char *path = kiln__vmdir_file(dir, "lock");
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_open(ret, path, flags, err);
	return r == KILN_ENOENT ? kiln__vmdir_gone(dir->id, err) : r;
}

bool kiln__vmdir_has_config(const struct kiln__vmdir *dir)
{
	kiln__autofree char *path = kiln__vmdir_file(dir, "config.json");
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
int kiln__vmdir_read_identity(struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
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
int kiln__vmdir_write_runtime(const struct kiln__vmdir *dir, kiln_fd lock, kiln_error *err)
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
int kiln__vmdir_own_runtime(struct kiln__vmdir *dir, kiln_error *err)
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

int kiln__vmdir_replace_config(const struct kiln__vmdir *dir, const char *config, kiln_error *err)
{
	kiln__autofree char *path = kiln__vmdir_file(dir, "config.json");

	return path ? kiln__os_replace_file(path, config, strlen(config), 0600, !dir->ephemeral,
					    err)
		    : kiln__fail_nomem(err);
}

int kiln__vmdir_read_config(const struct kiln__vmdir *dir, char **ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__vmdir_file(dir, "config.json");
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_read_file(path, CONFIG_MAX, ret, NULL, err);
	return r == KILN_ENOENT ? kiln__vmdir_gone(dir->id, err) : r;
}

int kiln__vmdir_parse_config(const struct kiln__vmdir *dir, kiln_config **ret, char **ret_text,
			     kiln_error *err)
{
	kiln__autofree char *text = NULL;
	int r = kiln__vmdir_read_config(dir, &text, err);

	if (r < 0)
		return r;
	r = kiln_config_parse(text, strlen(text), ret, err);
	if (r == KILN_EINVAL)
		kiln__prefix(err, "%s/config.json", dir->path);
	if (r == 0 && ret_text)
		*ret_text = kiln__take(text);
	return r;
}

/* --- creating ------------------------------------------------------------------------ */

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
int kiln__vmdir_lock_all(const struct kiln__home *home, kiln_fd *ret, kiln_error *err)
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
int kiln__vmdir_make_runtime(const struct kiln__vmdir *dir, kiln_error *err)
{
	int r = kiln__home_check_runtime(dir->home, err);

	if (r == KILN_ENOENT)
		r = kiln__home_make(dir->home, err);
	return r < 0 ? r : kiln__os_mkdir(dir->runtime, 0700, err);
}

static int make_directories(const struct kiln__vmdir *dir, kiln_error *err)
{
	int r = kiln__vmdir_make_runtime(dir, err);

	if (r == 0)
		r = kiln__os_mkdir(dir->path, 0700, err);
	return r < 0 ? r : kiln__os_mkdir(dir->state, 0700, err);
}

/*
 * Where a runner whose root directory is its runtime directory finds the others (os/jail.h). It
 * makes them itself where they are missing.
 */
static void make_mount_points(const struct kiln__vmdir *dir)
{
	kiln__autofree char *state = kiln__strf("%s/" KILN__VM_STATE, dir->runtime);
	kiln__autofree char *proc = kiln__strf("%s/proc", dir->runtime);

	if (state && proc && kiln__os_mkdir(state, 0700, NULL) == 0)
		kiln__os_mkdir(proc, 0700, NULL);
}

/* The directories and the lock file, of which *ret_guard holds GUARD. */
static int make_guarded(const struct kiln__vmdir *dir, kiln_fd *ret_guard, kiln_error *err)
{
	kiln__autoclose kiln_fd vms = KILN_FD_NONE;
	int r = kiln__vmdir_lock_all(dir->home, &vms, err);

	if (r == KILN_ENOENT) { /* the first VM of all */
		r = kiln__home_make(dir->home, err);
		if (r == 0)
			r = kiln__vmdir_lock_all(dir->home, &vms, err);
	}
	if (r < 0)
		return r;
	r = make_directories(dir, err);
	if (r == 0 && dir->ephemeral) /* which keeps it until it is started */
		make_mount_points(dir);
	if (r == 0)
		r = kiln__vmdir_open_lock(
			dir, KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE, ret_guard,
			err);
	if (r ==
	    0) /* waits for nobody but who takes the id from a listing, and sees that it is none */
		r = kiln__os_lock_part(*ret_guard, PART_GUARD, true, err);
	if (r < 0 && r != KILN_EEXIST) {
		kiln__os_close(kiln__take_fd(&vms)); /* kiln__vmdir_destroy() takes it itself */
		kiln__vmdir_destroy(dir, NULL);
	}
	return r;
}

static int take_ownership(struct kiln__vmdir *dir, kiln_error *err)
{
	/* A file of its own, opened anew: the lock must not go to the runner with the other one. */
	int r = kiln__vmdir_open_lock(dir, KILN__OPEN_WRITE, &dir->owner, err);

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
	kiln__autofree char *path = kiln__vmdir_file(dir, "config.json");
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
	dir = kiln__vmdir_new(home, id);
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
		kiln__vmdir_destroy(dir, NULL);
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
	kiln__cleanup(kiln__vmdir_free_autop) struct kiln__vmdir *dir = kiln__vmdir_new(home, id);
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	int r;

	if (!dir)
		return kiln__fail_nomem(err);
	r = kiln__vmdir_open_lock(dir, KILN__OPEN_READ, &lock, err);
	if (r == 0)
		r = kiln__vmdir_read_identity(dir, lock, err);
	if (r < 0)
		return r;
	if (!kiln__vmdir_has_config(dir)) {
		kiln__vmdir_settle(home, id, true, false, NULL);
		return kiln__vmdir_gone(id, err);
	}
	/* One that has ended while nobody looked is not shown any more. */
	if (dir->ephemeral && kiln__vmdir_settle(home, id, true, false, NULL) == KILN_ENOENT)
		return kiln__vmdir_gone(id, err);
	*ret = kiln__take(dir);
	return 0;
}

/* --- removing ------------------------------------------------------------------------ */

/* Removes a file, or a directory with all in it. Most often it is a file, or empty. */
int kiln__vmdir_remove_any(const char *path, kiln_error *err)
{
	return kiln__os_remove(path, NULL) == 0 ? 0 : kiln__os_remove_tree(path, err);
}

/* Removes all but @kept from the directory @path. KILN_ENOENT: it is not there. */
static int remove_all_but(const char *path, const char *kept, kiln_error *err)
{
	char **names;
	int r = kiln__os_list_dir(path, &names, err);

	if (r < 0)
		return r;
	for (size_t i = 0; names[i] && r == 0; i++) {
		kiln__autofree char *file = kiln__strf("%s/%s", path, names[i]);

		if (!file)
			r = kiln__fail_nomem(err);
		else if (strcmp(names[i], kept) != 0)
			r = kiln__vmdir_remove_any(file, err);
	}
	kiln__os_free_names(names);
	return r;
}

/* Whatever is found there: a link leads elsewhere, and into what others may write they may put what
 * the runner would take for its own. */
int kiln__vmdir_empty_runtime(const struct kiln__vmdir *dir, kiln_error *err)
{
	int r = kiln__os_claim_private_dir(dir->runtime, err);

	if (r == KILN_ENOENT)
		return kiln__os_mkdir(dir->runtime, 0700, err);
	if (r == KILN_EACCES)
		kiln__hint(err, "have it removed, and start the VM again");
	return r < 0 ? r
		     : remove_all_but(dir->runtime, dir->ephemeral ? KILN__VM_STATE_FILE : "", err);
}

/* Removes what is in the VM's directory, but for the lock file. */
static int remove_contents(const struct kiln__vmdir *dir, kiln_error *err)
{
	int r = kiln__os_remove_tree(dir->state, err);

	if (r == 0)
		r = remove_all_but(dir->path, "lock", err);
	return r == KILN_ENOENT ? 0 : r;
}

/*
 * Removes it; GUARD is held, and LIFE is not. In an order that lets whoever comes
 * next finish what is begun here: config.json first, the lock file, which holds the name
 * and the guard, next to last, the journal's entry last. Nobody looks meanwhile for half a
 * VM, to make what he finds lacking: see open_half().
 */
int kiln__vmdir_destroy(const struct kiln__vmdir *dir, kiln_error *err)
{
	kiln__autoclose kiln_fd vms = KILN_FD_NONE;
	kiln__autofree char *config = kiln__vmdir_file(dir, "config.json");
	kiln__autofree char *lock = kiln__vmdir_file(dir, "lock");
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
		r = kiln__vmdir_lock_all(dir->home, &vms, err);
	if (r == 0)
		r = kiln__os_remove(lock, err);
	if (r < 0)
		return r;                 /* what is left still says whose it is */
	kiln__os_remove(dir->path, NULL); /* not empty: another is finishing this, too */
	return kiln__vmdir_remove_any(dir->runtime, err);
}
