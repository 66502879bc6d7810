/* SPDX-License-Identifier: Apache-2.0 */
/*
 * There are two: QEMU's own until 8.0, in C, which only root can run, and its successor in Rust,
 * which any user can. Both know the options that the first had, and are told by those.
 *
 * A share is read-only by a mount that only virtiofsd sees, where this process may mount; else
 * virtiofsd is told so, which the first does not understand, and refuses.
 */
#include "virtiofsd.h"

#include "buf.h"
#include "err.h"
#include "log.h"
#include "mount.h"
#include "os.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTENER_FD 3

/* With the VMM as many processes as a confined one may end: kiln__child_keep(). */
#define MAX_SHARES 7

/* Where distributions have it: no PATH leads there. */
static const char *const places[] = {
	"/usr/libexec/virtiofsd",  /* Debian 13, Fedora */
	"/usr/lib/virtiofsd",      /* Arch */
	"/usr/lib/qemu/virtiofsd", /* Debian 12, Ubuntu 22.04 */
	"/usr/libexec/virtiofsd-rs/virtiofsd",
};

struct server {
	struct kiln__virtiofsd *all;
	struct kiln__process_vmm *process;
	size_t index;
};

struct kiln__virtiofsd {
	const struct kiln__backend_host *host;
	kiln__virtiofsd_fn *failed;
	void *data;
	char *path;
	struct server *servers; /* as many as there are shares */
};

/* --- what is refused ------------------------------------------------------------------ */

static int find(char **ret, kiln_error *err)
{
	struct kiln__os_stat st;

	if (kiln__os_find_program(ret, "virtiofsd", err) == 0)
		return 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (kiln__os_stat(places[i], &st, NULL) == 0) {
			*ret = strdup(places[i]);
			return *ret ? 0 : kiln__fail_nomem(err);
		}
	kiln__fail(err, KILN_ENOENT, "shares: virtiofsd is not installed, which serves them");
	return kiln__hint(err, "install it (Debian 13: virtiofsd; Debian 12 and Ubuntu 22.04: "
			       "qemu-system-common)"),
	       KILN_ENOENT;
}

static int check_share(const struct kiln__share *share, size_t index, kiln_error *err)
{
	struct kiln__os_stat st;

	if (share->name)
		return kiln__fail(err, KILN_ENOTSUP,
				  "shares[%zu].name: virtiofsd serves one directory a tag", index);
	if (kiln__os_stat(share->source, &st, err) < 0)
		return kiln__prefix(err, "shares[%zu].source", index), err->code;
	if (!st.is_directory)
		return kiln__fail(err, KILN_EINVAL, "shares[%zu].source: %s is no directory", index,
				  share->source);
	/* It ends a path in the list of virtiofsd's options, and nothing quotes it. */
	return strchr(share->source, ',')
		       ? kiln__fail(err, KILN_ENOTSUP,
				    "shares[%zu].source: virtiofsd takes no path with a comma",
				    index)
		       : 0;
}

int kiln__virtiofsd_check(const struct kiln__spec *spec, kiln_error *err)
{
	kiln__autofree char *path = NULL;
	int r = spec->share_count ? find(&path, err) : 0;

	if (spec->share_count > MAX_SHARES)
		return kiln__fail(err, KILN_ENOTSUP, "shares: at most %d by virtiofsd", MAX_SHARES);

	for (size_t i = 0; r == 0 && i < spec->share_count; i++)
		r = check_share(&spec->shares[i], i, err);
	return r;
}

/* --- running one ---------------------------------------------------------------------- */

/* It ends by itself, with success, when the VMM has. */
static void on_ended(void *data, struct kiln__exit how)
{
	struct server *server = data;
	struct kiln__virtiofsd *all = server->all;
	kiln_error err;

	if (!how.signaled && how.code == 0)
		return;
	kiln__vmm_fail(server->process, "virtiofsd", how, &err);
	kiln__prefix(&err, "shares[%zu]", server->index);
	kiln__log(all->host->log, KILN_LOG_ERROR, "%s", err.message);
	all->failed(all->data, &err);
}

static const struct kiln__process_handler handler = {.ended = on_ended};

/* Over the directory itself, for virtiofsd alone. KILN_FD_NONE: this process may not. */
static int make_readonly(const char *source, kiln_fd *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd directory = KILN_FD_NONE;
	int r;

	if (geteuid() != 0)
		return 0;
	r = kiln__os_open(&directory, source, KILN__OPEN_READ, err);
	return r < 0 ? r : kiln__os_clone_mount(ret, directory, true, KILN_FD_NONE, err);
}

static int spawn(struct server *server, kiln_fd listener, kiln_error *err)
{
	const struct kiln__backend_host *host = server->all->host;
	const struct kiln__share *share = &host->spec->shares[server->index];
	kiln__autofree char *source = kiln__strf("source=%s", share->source);
	kiln__autoclose kiln_fd tree = KILN_FD_NONE;
	const struct kiln__spawn_fd fds[] = {{.from = listener, .to = LISTENER_FD}};
	const char *argv[] = {"virtiofsd", "--fd=3",           "-f", "-o", source,
			      "-o",        "xattr,cache=auto", NULL, NULL};
	struct kiln__process_plan plan = {
		.path = server->all->path,
		.argv = argv,
		.fds = fds,
		.fd_count = 1,
		.keeps_rights = true, /* and gives up all that it can do without */
	};
	struct kiln__spawn_mount mount = {.at = share->source};
	int r;

	if (!source)
		return kiln__fail_nomem(err);
	r = share->readonly ? make_readonly(share->source, &tree, err) : 0;
	if (r < 0)
		return r;
	mount.tree = tree;
	if (tree != KILN_FD_NONE) {
		plan.mounts = &mount;
		plan.mount_count = 1;
	} else if (share->readonly) {
		argv[7] = "--readonly";
	}
	return kiln__vmm_spawn(&server->process, host->loop, host->log, &plan, &handler, server,
			       err);
}

int kiln__virtiofsd_listen(struct kiln__virtiofsd *virtiofsd, size_t index, const char *path,
			   kiln_error *err)
{
	kiln__autoclose kiln_fd listener = KILN_FD_NONE;
	int r;

	kiln__os_remove(path, NULL); /* of a life that ended without a word */
	r = kiln__os_local_listen(&listener, path, err);
	if (r == 0)
		r = kiln__os_set_nonblocking(listener, false, err); /* it waits in accept() */
	if (r == 0)
		r = spawn(&virtiofsd->servers[index], listener, err);
	return r < 0 ? kiln__prefix(err, "shares[%zu]", index), r : 0;
}

int kiln__virtiofsd_connect(struct kiln__virtiofsd *virtiofsd, size_t index, const char *path,
			    kiln_fd *ret, kiln_error *err)
{
	int r = kiln__virtiofsd_listen(virtiofsd, index, path, err);

	if (r == 0)
		r = kiln__os_local_try_connect(ret, path, err);
	kiln__os_remove(path, NULL);
	return r;
}

/* --- all ------------------------------------------------------------------------------ */

int kiln__virtiofsd_new(struct kiln__virtiofsd **ret, const struct kiln__backend_host *host,
			kiln__virtiofsd_fn *failed, void *data, kiln_error *err)
{
	size_t count = host->spec->share_count;
	struct kiln__virtiofsd *all = calloc(1, sizeof(*all));
	int r;

	if (!all)
		return kiln__fail_nomem(err);
	*all = (struct kiln__virtiofsd){.host = host, .failed = failed, .data = data};
	all->servers = calloc(count, sizeof(*all->servers));
	for (size_t i = 0; all->servers && i < count; i++)
		all->servers[i] = (struct server){.all = all, .index = i};
	r = all->servers ? find(&all->path, err) : kiln__fail_nomem(err);
	if (r < 0) {
		kiln__virtiofsd_free(all);
		return r;
	}
	*ret = all;
	return 0;
}

int kiln__virtiofsd_keep(struct kiln__virtiofsd *virtiofsd, unsigned *count, kiln_error *err)
{
	int r = 0;

	for (size_t i = 0; virtiofsd && r == 0 && i < virtiofsd->host->spec->share_count; i++)
		r = kiln__vmm_keep(virtiofsd->servers[i].process, count, err);
	return r;
}

void kiln__virtiofsd_free(struct kiln__virtiofsd *virtiofsd)
{
	if (!virtiofsd)
		return;
	for (size_t i = 0; virtiofsd->servers && i < virtiofsd->host->spec->share_count; i++)
		kiln__vmm_free(virtiofsd->servers[i].process);
	free(virtiofsd->servers);
	free(virtiofsd->path);
	free(virtiofsd);
}
