/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jailer runs as root, makes its root directory BASE/firecracker/ID/root the process's, and
 * becomes the user that the VMM is to be. It closes what it inherits, so the VMM's files have to be
 * in that directory. They are mounted there, each by the descriptor that kiln has opened and
 * locked, in a mount namespace that only the jailer and the VMM see: no mount is left, whoever is
 * killed, and no file changes owner or mode. What the VMM's user could not read or write is mounted
 * with its owner mapped to that user. A kernel or initramfs of no file system is copied.
 *
 * What the VMM's user owns in there he can change, so nothing there is believed or followed once
 * the VMM runs: it is removed as a tree.
 */
#include "jailer.h"

#include "buf.h"
#include "err.h"
#include "firecracker_config.h"
#include "leaves.h"
#include "mount.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOME "https://github.com/firecracker-microvm/firecracker"

/* How long the last processes of a cgroup are waited for, which have been killed. */
#define GROUP_END_MS 1000

#define MAX_MOUNTS (KILN__OS_MAX_FDS + 1) /* and the sockets' directory */

struct kiln__fc_jail {
	const struct kiln__jailer *wanted;
	char *binary;   /* of the jailer */
	char *vmm;      /* of Firecracker, without links: the jailer names the directory by it */
	char *base;     /* BASE */
	char *kind_dir; /* BASE/firecracker */
	char *dir;      /* BASE/firecracker/ID */
	char *root;     /* .../root */
	char *pid_file;
	char *groups; /* of leaves.h, the lines of its cgroups */
	char *leaves;
	kiln_fd kill; /* cgroup.kill of its cgroup */
	kiln_fd log;
	struct kiln__spawn_mount mounts[MAX_MOUNTS];
	size_t mount_count;
};

int kiln__jailer_check(const struct kiln__spec *spec, kiln_error *err)
{
	const struct kiln__jailer *wanted = &spec->firecracker.jailer;

	if (!wanted->enabled)
		return 0;
	if (!wanted->uid || !wanted->gid)
		return kiln__fail(err, KILN_EINVAL,
				  "firecracker.jailer.%s: name who the jailed VMM is to be",
				  wanted->uid ? "gid" : "uid");
	if (!spec->firecracker.api)
		return kiln__fail(err, KILN_ENOTSUP,
				  "firecracker.api: a jailed VMM is told its machine by the API");
	if (spec->snapshot)
		return kiln__fail(
			err, KILN_ENOTSUP,
			"snapshot: a jailed VMM goes on from none: it was written outside");
	if (wanted->cgroup_version == 1 && wanted->parent_cgroup && !wanted->cgroups)
		return kiln__fail(err, KILN_EINVAL,
				  "firecracker.jailer.parent_cgroup: version 1 needs cgroups too");
	return 0;
}

/* --- the directory -----------------------------------------------------------------------------
 */

static int make_dir(const char *path, unsigned mode, kiln_error *err)
{
	int r = kiln__os_mkdir(path, mode, err);

	/* Whatever the umask: the VMM's user goes through it. */
	return r == 0 && chmod(path, mode) < 0
		       ? kiln__fail_errno(err, errno, "cannot open directory %s", path)
		       : r;
}

static int name_paths(struct kiln__fc_jail *jail, const struct kiln__api_vmm *api, kiln_error *err)
{
	const char *name;

	jail->vmm = realpath(api->binary, NULL);
	if (!jail->vmm)
		return kiln__fail_errno(err, errno, "cannot find %s", api->binary);
	jail->base = realpath(jail->wanted->chroot_base, NULL);
	if (!jail->base)
		return kiln__fail_errno(err, errno, "firecracker.jailer.chroot_base: %s",
					jail->wanted->chroot_base);
	name = strrchr(jail->vmm, '/') + 1;
	if (!strstr(name, "firecracker"))
		return kiln__fail(err, KILN_EINVAL,
				  "firecracker.binary: the jailer takes only a program whose name "
				  "has \"firecracker\" in it, not %s",
				  name);
	jail->kind_dir = kiln__strf("%s/%s", jail->base, name);
	jail->dir = kiln__strf("%s/%s/%s", jail->base, name, api->host.id);
	jail->root = kiln__strf("%s/%s/%s/root", jail->base, name, api->host.id);
	jail->pid_file = kiln__strf("%s/%s/%s/root/%s.pid", jail->base, name, api->host.id, name);
	return jail->kind_dir && jail->dir && jail->root && jail->pid_file ? 0
									   : kiln__fail_nomem(err);
}

/* A directory that another user can change is no place for what root makes. */
static int check_dir(const char *path, kiln_error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot look at %s", path);
	if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022))
		return 0;
	kiln__fail(err, KILN_EACCES,
		   "firecracker.jailer.chroot_base: %s is not root's alone to change", path);
	return kiln__hint(err, "chown root %s && chmod go-w %s", path, path), KILN_EACCES;
}

static int check_place(const struct kiln__fc_jail *jail, kiln_error *err)
{
	struct stat st;
	int r = check_dir(jail->base, err);

	return r < 0 || lstat(jail->kind_dir, &st) < 0 ? r : check_dir(jail->kind_dir, err);
}

/* One that is there already is of a life that ended without a word: the VM's lock is ours. */
static int make_dirs(struct kiln__fc_jail *jail, kiln_error *err)
{
	kiln__autofree char *files = kiln__strf("%s" KILN__JAIL_FILES, jail->root);
	kiln__autofree char *sockets = kiln__strf("%s" KILN__JAIL_SOCKETS, jail->root);
	int r;

	if (!files || !sockets)
		return kiln__fail_nomem(err);
	r = kiln__os_mkdir(jail->kind_dir, 0755, err);
	if (r == KILN_EEXIST)
		r = 0;
	if (r == 0)
		r = kiln__os_remove_tree(jail->dir, err);
	if (r == 0)
		r = make_dir(jail->dir, 0755, err);
	if (r == 0)
		r = make_dir(jail->root, 0755, err);
	if (r == 0)
		r = make_dir(files, 0755, err);
	return r < 0 ? r : make_dir(sockets, 0755, err);
}

/*
 * A pipe with a name, since the VMM inherits none. It is held open both ways here: there is no end
 * of it before the VMM's.
 */
static int make_log(struct kiln__fc_jail *jail, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s" KILN__JAIL_LOG, jail->root);

	if (!path)
		return kiln__fail_nomem(err);
	if (mkfifo(path, 0600) < 0 || chown(path, jail->wanted->uid, jail->wanted->gid) < 0)
		return kiln__fail_errno(err, errno, "cannot make the log of a jail");
	jail->log = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return jail->log < 0 ? kiln__fail_errno(err, errno, "cannot open the log of a jail") : 0;
}

/* --- its files ------------------------------------------------------------------------------- */

/* By mode alone; access lists only ever give more, and then the owner is mapped for nothing. */
static bool may_use(const struct kiln__jailer *who, const struct stat *st, bool writes)
{
	unsigned wanted = writes ? 6 : 4;
	unsigned granted = st->st_mode & 7;

	if (st->st_uid == who->uid)
		granted = st->st_mode >> 6 & 7;
	else if (st->st_gid == who->gid)
		granted = st->st_mode >> 3 & 7;
	return (granted & wanted) == wanted;
}

static int clone_for(const struct kiln__jailer *who, kiln_fd file, bool writes, kiln_fd *ret,
		     kiln_error *err)
{
	kiln__autoclose kiln_fd map = KILN_FD_NONE;
	struct stat st;
	int r;

	if (fstat(file, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot look at a file");
	if (may_use(who, &st, writes))
		return kiln__os_clone_mount(ret, file, !writes, KILN_FD_NONE, err);
	if (S_ISBLK(st.st_mode))
		return kiln__fail(err, KILN_EACCES, "user %u may not use this device", who->uid);
	r = kiln__os_id_map(&map,
			    &(struct kiln__id_map){
				    .from_user = st.st_uid,
				    .to_user = who->uid,
				    .from_group = st.st_gid,
				    .to_group = who->gid,
			    },
			    err);
	return r < 0 ? r : kiln__os_clone_mount(ret, file, !writes, map, err);
}

static int copy_to(const struct kiln__jailer *who, kiln_fd from, const char *path, kiln_error *err)
{
	kiln__autoclose kiln_fd to = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	off_t at = 0;

	if (to < 0 || fstat(from, &st) < 0 || fchown(to, who->uid, who->gid) < 0)
		return kiln__fail_errno(err, errno, "cannot copy a file into a jail");
	while (at < st.st_size)
		if (sendfile(to, from, &at, (size_t)(st.st_size - at)) <= 0)
			return kiln__fail_errno(err, errno, "cannot copy a file into a jail");
	return 0;
}

/* Takes @tree. */
static int add_mount(struct kiln__fc_jail *jail, kiln_fd tree, const char *at, kiln_error *err)
{
	char *copy = strdup(at);

	if (!copy) {
		kiln__os_close(tree);
		return kiln__fail_nomem(err);
	}
	jail->mounts[jail->mount_count++] = (struct kiln__spawn_mount){.tree = tree, .at = copy};
	return 0;
}

static int refuse_file(int number, kiln_error *err)
{
	char key[32] = "kernel";

	if (number == KILN__FIRECRACKER_FD_INITRD)
		snprintf(key, sizeof(key), "initrd");
	else if (number >= KILN__FIRECRACKER_FD_DISK)
		snprintf(key, sizeof(key), "drive %d", number - KILN__FIRECRACKER_FD_DISK);
	kiln__prefix(err, "%s: cannot be had in the jail", key);
	kiln__hint(err, "let firecracker.jailer.uid read it, and write it if the guest does; kiln "
			"changes neither owner nor mode");
	return err->code;
}

static int add_file(struct kiln__fc_jail *jail, const struct kiln__spawn_fd *file, kiln_error *err)
{
	kiln__autofree char *at = kiln__strf("%s" KILN__JAIL_FILES "/%d", jail->root, file->to);
	bool writes = (fcntl(file->from, F_GETFL) & O_ACCMODE) != O_RDONLY;
	bool boots = file->to < KILN__FIRECRACKER_FD_DISK;
	kiln_fd tree;
	int place;
	int r;

	if (!at)
		return kiln__fail_nomem(err);
	place = open(at, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (place < 0)
		return kiln__fail_errno(err, errno, "cannot make a place for a file in a jail");
	close(place);
	r = clone_for(jail->wanted, file->from, writes && !boots, &tree, err);
	if (r == 0)
		return add_mount(jail, tree, at, err);
	return boots && r == KILN_ENOTSUP ? copy_to(jail->wanted, file->from, at, err)
					  : refuse_file(file->to, err);
}

/*
 * What the VMM's user makes there is this process's user's on disk, so that the runner may connect
 * whatever mode the VMM gives its sockets; without id-mapped mounts the open umask has to do.
 */
static int add_sockets(struct kiln__fc_jail *jail, const char *dir, kiln_error *err)
{
	kiln__autofree char *at = kiln__strf("%s" KILN__JAIL_SOCKETS, jail->root);
	kiln__autoclose kiln_fd file = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	kiln__autoclose kiln_fd map = KILN_FD_NONE;
	const struct kiln__id_map ours = {
		.from_user = geteuid(),
		.to_user = jail->wanted->uid,
		.from_group = getegid(),
		.to_group = jail->wanted->gid,
	};
	kiln_fd tree;
	int r;

	if (!at || file < 0)
		return kiln__fail_errno(err, errno, "cannot open %s", dir);
	r = kiln__os_id_map(&map, &ours, err);
	if (r == 0)
		r = kiln__os_clone_mount(&tree, file, false, map, err);
	if (r == KILN_ENOTSUP)
		r = kiln__os_clone_mount(&tree, file, false, KILN_FD_NONE, err);
	return r < 0 ? r : add_mount(jail, tree, at, err);
}

/* --- its cgroups ----------------------------------------------------------------------------- */

/* Where the hierarchy of @controller is mounted, as the jailer looks for it; NULL: nowhere. */
static char *find_hierarchy(unsigned version, const char *controller, size_t len)
{
	kiln__autofree char *text = NULL;
	char *line;
	char *next;
	size_t size;

	if (kiln__os_read_file("/proc/mounts", (size_t)1 << 20, &text, &size, NULL) < 0)
		return NULL;
	for (line = text; line && *line; line = next) {
		char where[512];
		char kind[32];
		char flags[512];

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (sscanf(line, "%*s %511s %31s %511s", where, kind, flags) != 3)
			continue;
		if (version == 2 && strcmp(kind, "cgroup2") == 0)
			return strdup(where);
		for (char *save, *flag = version == 1 && strcmp(kind, "cgroup") == 0
						 ? strtok_r(flags, ",", &save)
						 : NULL;
		     flag; flag = strtok_r(NULL, ",", &save))
			if (strlen(flag) == len && strncmp(flag, controller, len) == 0)
				return strdup(where);
	}
	return NULL;
}

/* The lines of leaves.h: each group that the jailer makes, and the one around it if that is then
 * empty. */
static int name_groups(struct kiln__fc_jail *jail, const char *id, kiln_error *err)
{
	const char *parent = jail->wanted->parent_cgroup ? jail->wanted->parent_cgroup
							 : strrchr(jail->vmm, '/') + 1;
	kiln__autobuf lines = KILN__BUF_INIT;

	for (const char *const *limit = jail->wanted->cgroups; limit && *limit; limit++) {
		kiln__autofree char *top =
			find_hierarchy(jail->wanted->cgroup_version, *limit, strcspn(*limit, "."));
		kiln__autofree char *line =
			top ? kiln__strf("%c %s/%s/%s\n%c %s/%s\n", KILN__LEAVES_GROUP, top, parent,
					 id, KILN__LEAVES_EMPTY, top, parent)
			    : NULL;

		if (!top)
			return kiln__fail(err, KILN_ENOENT,
					  "firecracker.jailer.cgroups: no cgroup hierarchy of "
					  "version %u has %s here",
					  jail->wanted->cgroup_version, *limit);
		if (!line)
			return kiln__fail_nomem(err);
		if (!lines.data || !strstr(lines.data, line))
			kiln__buf_adds(&lines, line);
	}
	kiln__buf_adds(&lines, "");
	jail->groups = lines.data ? kiln__buf_steal(&lines) : strdup("");
	return jail->groups ? 0 : kiln__fail_nomem(err);
}

/* Once the jailer has made it; version 1 has no such file. */
static void open_kill(struct kiln__fc_jail *jail)
{
	kiln__autofree char *path = NULL;

	if (jail->wanted->cgroup_version != 2 || !*jail->groups)
		return;
	path = kiln__strf("%.*s/cgroup.kill", (int)strcspn(jail->groups + 2, "\n"),
			  jail->groups + 2);
	if (path)
		jail->kill = open(path, O_WRONLY | O_CLOEXEC);
}

void kiln__jailer_kill(struct kiln__fc_jail *jail)
{
	if (jail->kill == KILN_FD_NONE)
		open_kill(jail);
	if (jail->kill != KILN_FD_NONE)
		kiln__os_write(jail->kill, "1", 1);
}

/* --- the whole ------------------------------------------------------------------------------- */

static int prepare(struct kiln__fc_jail *jail, struct kiln__api_vmm *api, kiln_error *err)
{
	int r = name_paths(jail, api, err);

	if (r == 0)
		r = check_place(jail, err);
	if (r == 0)
		r = name_groups(jail, api->host.id, err);
	if (r < 0)
		return r;
	/* The processes first: with those gone, nothing of it is busy. */
	jail->leaves =
		kiln__strf("%c %s\n%s%c %s\n%c %s\n", KILN__LEAVES_ROOT, jail->root, jail->groups,
			   KILN__LEAVES_TREE, jail->dir, KILN__LEAVES_EMPTY, jail->kind_dir);
	if (!jail->leaves)
		return kiln__fail_nomem(err);
	r = api->host.leaving(api->host.data, jail->leaves, err);
	if (r == 0)
		r = make_dirs(jail, err);
	if (r == 0)
		r = make_log(jail, err);
	for (size_t i = 0; r == 0 && i < api->handles.count; i++)
		r = add_file(jail, &api->handles.fds[i], err);
	return r < 0 ? r : add_sockets(jail, api->dir, err);
}

int kiln__jailer_prepare(struct kiln__fc_jail **ret, struct kiln__api_vmm *api, kiln_error *err)
{
	const struct kiln__jailer *wanted = &api->host.spec->firecracker.jailer;
	struct kiln__fc_jail *jail;
	int r;

	if (geteuid() != 0) {
		kiln__fail(err, KILN_EACCES, "firecracker.jailer: only root can make a jail");
		return kiln__hint(err, "kiln confines a VMM without it, too"), KILN_EACCES;
	}
	jail = calloc(1, sizeof(*jail));
	if (!jail)
		return kiln__fail_nomem(err);
	jail->wanted = wanted;
	jail->kill = jail->log = KILN_FD_NONE;
	r = kiln__api_find(wanted->binary, "jailer", HOME, &jail->binary, err);
	if (r == 0)
		r = prepare(jail, api, err);
	if (r < 0) {
		kiln__jailer_free(jail);
		return r;
	}
	*ret = jail;
	return 0;
}

/* Its options, twice as many as words: as many limits as the schema allows, and Firecracker's own.
 */
#define MAX_ARGUMENTS 128

struct arguments {
	const char *argv[MAX_ARGUMENTS];
	size_t count;
	bool over; /* one had no room */
};

static void add_word(struct arguments *all, const char *word)
{
	if (all->count + 1 < MAX_ARGUMENTS) /* NULL ends them */
		all->argv[all->count++] = word;
	else
		all->over = true;
}

static void add(struct arguments *all, const char *option, const char *value)
{
	if (!value)
		return;
	add_word(all, option);
	add_word(all, value);
}

static void add_all(struct arguments *all, const char *option, const char *const *values)
{
	for (; values && *values; values++)
		add(all, option, *values);
}

/* Those that nobody has attached go away. */
static void drop_mounts(struct kiln__fc_jail *jail)
{
	for (; jail->mount_count; jail->mount_count--) {
		struct kiln__spawn_mount *mount = &jail->mounts[jail->mount_count - 1];

		kiln__os_close(mount->tree);
		free((char *)(uintptr_t)mount->at);
	}
}

int kiln__jailer_spawn(struct kiln__fc_jail *jail, struct kiln__api_vmm *api,
		       const char *const *options, kiln_fd console, kiln_error *err)
{
	const struct kiln__jailer *wanted = jail->wanted;
	struct arguments all = {.argv = {jail->binary}, .count = 1};
	char uid[16];
	char gid[16];
	int r;

	snprintf(uid, sizeof(uid), "%u", wanted->uid);
	snprintf(gid, sizeof(gid), "%u", wanted->gid);
	add(&all, "--id", api->host.id);
	add(&all, "--exec-file", jail->vmm);
	add(&all, "--uid", uid);
	add(&all, "--gid", gid);
	add(&all, "--chroot-base-dir", jail->base);
	add(&all, "--cgroup-version", wanted->cgroup_version == 1 ? "1" : "2");
	add_all(&all, "--cgroup", wanted->cgroups);
	add(&all, "--parent-cgroup", wanted->parent_cgroup);
	add(&all, "--netns", wanted->netns);
	add_all(&all, "--resource-limit", wanted->resource_limits);
	if (wanted->new_pid_ns)
		add_word(&all, "--new-pid-ns");
	add_word(&all, "--");
	while (*options)
		add_word(&all, *options++);
	if (all.over)
		return kiln__fail(err, KILN_EINVAL, "the jailer would get too many arguments");
	r = kiln__api_spawn_jailed(api,
				   (struct kiln__process_plan){
					   .path = jail->binary,
					   .argv = all.argv,
					   .mounts = jail->mounts,
					   .mount_count = jail->mount_count,
					   .pid_file = wanted->new_pid_ns ? jail->pid_file : NULL,
				   },
				   console, err);
	drop_mounts(jail);
	open_kill(jail); /* there with --new-pid-ns: the jailer has ended */
	return r;
}

kiln_fd kiln__jailer_take_log(struct kiln__fc_jail *jail)
{
	return kiln__take_fd(&jail->log);
}

void kiln__jailer_free(struct kiln__fc_jail *jail)
{
	if (!jail)
		return;
	drop_mounts(jail);
	if (jail->leaves) /* what stays is the next command's to remove, and to tell of */
		kiln__os_remove_leaves(jail->leaves, strrchr(jail->dir, '/') + 1, GROUP_END_MS,
				       NULL);
	kiln__os_close(jail->kill);
	kiln__os_close(jail->log);
	free(jail->binary);
	free(jail->vmm);
	free(jail->base);
	free(jail->kind_dir);
	free(jail->dir);
	free(jail->root);
	free(jail->pid_file);
	free(jail->groups);
	free(jail->leaves);
	free(jail);
}
