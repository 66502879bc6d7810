/* SPDX-License-Identifier: Apache-2.0 */
#include "home.h"

#include "buf.h"
#include "err.h"
#include "log.h"
#include "os.h"
#include "vmdir.h"

#include <stdlib.h>
#include <string.h>

/* sockaddr_un's path on Linux, with its NUL. */
#define SOCKET_PATH_MAX 108

/* The longest name of a socket in a VM's runtime directory, with some to spare:
 * "vsock.sock_4294967295". */
#define SOCKET_NAME_MAX 24

/* Ends a path given by the user: made absolute elsewhere, it need only not end in a slash. */
static int set_dir(char **ret, const char *given, int (*standard)(char **ret, kiln_error *err),
		   const char *what, kiln_error *err)
{
	size_t len;

	if (!given)
		return standard(ret, err);
	if (given[0] != '/')
		return kiln__fail(err, KILN_EINVAL, "the %s \"%s\" is not an absolute path", what,
				  given);
	*ret = strdup(given);
	if (!*ret)
		return kiln__fail_nomem(err);
	for (len = strlen(*ret); len > 1 && (*ret)[len - 1] == '/'; len--)
		(*ret)[len - 1] = '\0';
	return 0;
}

int kiln__home_init(struct kiln__home *home, const char *dir, const char *runtime,
		    const kiln_log *log, kiln_error *err)
{
	struct kiln__home made = {0};
	int r = set_dir(&made.dir, dir, kiln__os_data_dir, "home directory", err);

	if (log)
		made.log = *log;
	if (r == 0)
		r = set_dir(&made.runtime, runtime, kiln__os_runtime_dir, "runtime directory", err);
	if (r == 0 &&
	    strlen(made.runtime) + 1 + KILN__ID_LEN + 1 + SOCKET_NAME_MAX > SOCKET_PATH_MAX) {
		r = kiln__fail(err, KILN_EOVERFLOW,
			       "the runtime directory %s is too long a path for sockets in it",
			       made.runtime);
		kiln__hint(err, "set KILN_RUNTIME_DIR to a path of at most %d bytes",
			   SOCKET_PATH_MAX - SOCKET_NAME_MAX - KILN__ID_LEN - 2);
	}
	if (r < 0) {
		kiln__home_done(&made);
		return r;
	}
	*home = made;
	return 0;
}

void kiln__home_done(struct kiln__home *home)
{
	free(home->dir);
	free(home->runtime);
	*home = (struct kiln__home){0};
}

int kiln__home_make(const struct kiln__home *home, kiln_error *err)
{
	kiln__autofree char *vms = kiln__strf("%s/vms", home->dir);
	kiln__autofree char *names = kiln__strf("%s/names", home->dir);
	int r;

	if (!vms || !names)
		return kiln__fail_nomem(err);
	r = kiln__os_make_private_dir(home->dir, err);
	if (r == 0)
		r = kiln__os_make_private_dir(vms, err);
	if (r == 0)
		r = kiln__os_make_private_dir(names, err);
	if (r < 0) {
		kiln__hint(err, "set KILN_HOME to a directory of your own");
		return r;
	}
	r = kiln__os_make_private_dir(home->runtime, err);
	if (r < 0)
		kiln__hint(err, "set KILN_RUNTIME_DIR to a directory of your own");
	return r;
}

int kiln__home_check_dir(const char *path, const char *variable, kiln_error *err)
{
	int r = kiln__os_check_private_dir(path, err);

	if (r == KILN_EACCES)
		kiln__hint(err, "have it removed, or set %s to a directory of your own", variable);
	return r;
}

int kiln__home_check_runtime(const struct kiln__home *home, kiln_error *err)
{
	return kiln__home_check_dir(home->runtime, "KILN_RUNTIME_DIR", err);
}

/* --- ids and names -------------------------------------------------------------------- */

static bool is_hex(const char *text)
{
	return text[strspn(text, "0123456789abcdef")] == '\0';
}

bool kiln__is_id(const char *text)
{
	return strlen(text) == KILN__ID_LEN && is_hex(text);
}

int kiln__check_name(const char *name, kiln_error *err)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		"_.-";
	size_t len = strlen(name);

	if (len == 0 || len > KILN__NAME_MAX || name[strspn(name, letters)] || name[0] == '_' ||
	    name[0] == '.' || name[0] == '-') {
		kiln__fail(err, KILN_EINVAL, "\"%.80s\" cannot be a name", name);
		kiln__hint(err,
			   "use up to %d letters, digits and \"_.-\", beginning with a letter or "
			   "digit",
			   KILN__NAME_MAX);
		return KILN_EINVAL;
	}
	if (kiln__is_id(name)) {
		kiln__fail(err, KILN_EINVAL, "\"%s\" looks like an id", name);
		kiln__hint(err, "choose another");
		return KILN_EINVAL;
	}
	return 0;
}

char *kiln__home_vm_path(const struct kiln__home *home, const char *id)
{
	return kiln__strf("%s/vms/%s", home->dir, id);
}

char *kiln__home_runtime_path(const struct kiln__home *home, const char *id)
{
	return kiln__strf("%s/%s", home->runtime, id);
}

static char *name_path(const struct kiln__home *home, const char *name)
{
	return kiln__strf("%s/names/%s", home->dir, name);
}

#define LINK_HEAD "../vms/"

int kiln__home_read_name(const struct kiln__home *home, const char *name,
			 char ret_id[KILN__ID_TEXT], kiln_error *err)
{
	kiln__autofree char *path = name_path(home, name);
	kiln__autofree char *target = NULL;
	size_t head = strlen(LINK_HEAD);
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_read_link(path, &target, err);
	if (r == KILN_ENOENT)
		return kiln__fail(err, KILN_ENOENT, "there is no VM \"%s\"", name);
	if (r < 0)
		return r;
	if (strncmp(target, LINK_HEAD, head) != 0 || !kiln__is_id(target + head))
		return kiln__fail(err, KILN_EFORMAT, "%s leads to no VM", path);
	memcpy(ret_id, target + head, KILN__ID_TEXT);
	return 0;
}

int kiln__home_claim_name(const struct kiln__home *home, const char *name, const char *id,
			  kiln_error *err)
{
	kiln__autofree char *path = name_path(home, name);
	kiln__autofree char *target = kiln__strf(LINK_HEAD "%s", id);
	char holder[KILN__ID_TEXT];
	int r;

	if (!path || !target)
		return kiln__fail_nomem(err);
	r = kiln__os_symlink_new(target, path, err);
	if (r == KILN_ENOENT) { /* who made the other directories was killed before this one */
		r = kiln__home_make(home, err);
		if (r == 0)
			r = kiln__os_symlink_new(target, path, err);
	}
	if (r != KILN_EEXIST)
		return r;
	/* By a VM, or by a creation or removal that was killed: then once more. */
	if (kiln__home_read_name(home, name, holder, NULL) == 0 &&
	    kiln__vmdir_settle(home, holder, true, false, NULL) == KILN_ENOENT) {
		kiln__home_drop_name(home, name, holder, NULL);
		r = kiln__os_symlink_new(target, path, err);
	}
	if (r == KILN_EEXIST) {
		r = kiln__fail(err, KILN_EEXIST, "the name \"%s\" is taken", name);
		kiln__hint(err, "choose another, or remove that VM");
	}
	return r;
}

/*
 * Under a lock: between looking at the link and removing it, it must not be removed by
 * another and made anew by a third.
 */
int kiln__home_drop_name(const struct kiln__home *home, const char *name, const char *id,
			 kiln_error *err)
{
	kiln__autofree char *names = kiln__strf("%s/names", home->dir);
	kiln__autofree char *path = name_path(home, name);
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	char holder[KILN__ID_TEXT];
	kiln_error why;
	int r;

	if (!names || !path)
		return kiln__fail_nomem(err);
	r = kiln__os_open(&lock, names, KILN__OPEN_DIRECTORY, err);
	if (r == KILN_ENOENT)
		return 0;
	if (r == 0)
		r = kiln__os_lock(lock, err);
	if (r < 0)
		return r;
	r = kiln__home_read_name(home, name, holder, &why);
	if (r == 0)
		return strcmp(holder, id) == 0 ? kiln__os_remove(path, err) : 0;
	if (r == KILN_ENOENT || r == KILN_EFORMAT) /* nobody's, or not of our making */
		return 0;
	if (err)
		*err = why;
	return r;
}

/* --- finding ---------------------------------------------------------------------------- */

/* The ids in a directory, NULL-terminated, for kiln__os_free_names(). */
static int list_ids(const char *path, char ***ret, kiln_error *err)
{
	char **names;
	size_t kept = 0;
	int r = kiln__os_list_dir(path, &names, err);

	if (r < 0)
		return r;
	for (size_t i = 0; names[i]; i++) {
		if (kiln__is_id(names[i]))
			names[kept++] = names[i];
		else
			free(names[i]);
	}
	names[kept] = NULL;
	*ret = names;
	return 0;
}

int kiln__home_list(const struct kiln__home *home, char ***ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/vms", home->dir);
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	r = list_ids(path, ret, err);
	if (r == KILN_ENOENT) { /* nothing has been created yet */
		*ret = calloc(1, sizeof(**ret));
		r = *ret ? 0 : kiln__fail_nomem(err);
	}
	return r;
}

static int find_by_beginning(const struct kiln__home *home, const char *text,
			     char ret_id[KILN__ID_TEXT], kiln_error *err)
{
	char found[KILN__ID_TEXT] = "";
	char **ids;
	int r = kiln__home_list(home, &ids, err);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && ids[i]; i++) {
		if (strncmp(ids[i], text, strlen(text)) != 0)
			continue;
		if (found[0])
			r = kiln__fail(err, KILN_EINVAL, "several VMs' ids begin with \"%s\"",
				       text);
		memcpy(found, ids[i], KILN__ID_TEXT);
	}
	kiln__os_free_names(ids);
	if (r == 0 && !found[0])
		r = kiln__fail(err, KILN_ENOENT, "there is no VM \"%.80s\"", text);
	if (r == 0)
		memcpy(ret_id, found, KILN__ID_TEXT);
	return r;
}

int kiln__home_find(const struct kiln__home *home, const char *name_or_id,
		    char ret_id[KILN__ID_TEXT], kiln_error *err)
{
	int r;

	if (kiln__is_id(name_or_id)) {
		memcpy(ret_id, name_or_id, KILN__ID_TEXT);
		return 0;
	}
	r = kiln__check_name(name_or_id, err);
	if (r < 0)
		return r;
	r = kiln__home_read_name(home, name_or_id, ret_id, err);
	if (r == KILN_ENOENT && is_hex(name_or_id))
		r = find_by_beginning(home, name_or_id, ret_id, err);
	return r;
}

/* --- sweeping ----------------------------------------------------------------------------- */

static void sweep_ids(const struct kiln__home *home, const char *path)
{
	kiln_error err;
	char **ids;

	if (list_ids(path, &ids, NULL) < 0)
		return;
	for (size_t i = 0; ids[i]; i++) {
		int r = kiln__vmdir_settle(home, ids[i], true, false, &err);

		if (r < 0 && r != KILN_ENOENT && r != KILN_EBUSY)
			kiln__log(&home->log, KILN_LOG_WARN, "cannot clean up after VM %s: %s",
				  ids[i], err.message);
	}
	kiln__os_free_names(ids);
}

/* Names that lead to no VM: after a power cut, entries of different directories may be of different
 * age. */
static void sweep_names(const struct kiln__home *home)
{
	kiln__autofree char *path = kiln__strf("%s/names", home->dir);
	char id[KILN__ID_TEXT];
	char **names;

	if (!path || kiln__os_list_dir(path, &names, NULL) < 0)
		return;
	for (size_t i = 0; names[i]; i++)
		if (kiln__home_read_name(home, names[i], id, NULL) == 0 &&
		    kiln__vmdir_settle(home, id, true, false, NULL) == KILN_ENOENT)
			kiln__home_drop_name(home, names[i], id, NULL);
	kiln__os_free_names(names);
}

int kiln__home_sweep(const struct kiln__home *home, kiln_error *err)
{
	kiln__autofree char *vms = kiln__strf("%s/vms", home->dir);
	struct kiln__os_stat st;
	int r;

	if (!vms)
		return kiln__fail_nomem(err);
	r = kiln__home_check_dir(home->dir, "KILN_HOME", err);
	if (r == KILN_EACCES)
		return r;
	r = kiln__home_check_runtime(home, err);
	if (r == KILN_EACCES)
		return r;
	if (r == 0) {
		sweep_ids(home, home->runtime);
	} else if (kiln__os_stat(vms, &st, NULL) == 0) {
		sweep_ids(home, vms);
		sweep_names(home);
		kiln__os_make_private_dir(home->runtime, NULL);
	}
	return 0;
}
