/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The distribution's kernel for virtual machines, by apt, which checks signatures
 * and digests. Nothing is installed and no state of the host's apt is changed:
 * packages are only downloaded, and where the host's lists do not do (another architecture, or none
 * fetched yet), into a state directory of kiln's own, which is an object of the cache.
 */
#include "internal.h"

#include "buf.h"
#include "digest.h"
#include "err.h"
#include "helper.h"
#include "os.h"
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APT_CACHE    "/usr/bin/apt-cache"
#define APT_GET      "/usr/bin/apt-get"
#define MAX_PACKAGES 8
#define MAX_ARGS     40
/* apt downloads into "/" where its working directory's name has more bytes (its SafeGetCWD()). */
#define MAX_CWD 298

struct apt {
	const struct kiln__images *images;
	const char *arch;        /* as uname says it */
	const char *debian_arch; /* as Debian does */
	const char *metapackage;
	char *state; /* kiln's own state directory, or NULL: the host's */
	char *packages[MAX_PACKAGES + 1];
	size_t package_count;
};

static void apt_done(struct apt *apt)
{
	for (size_t i = 0; i < apt->package_count; i++)
		free(apt->packages[i]);
	free(apt->state);
}

/* --- calling apt --------------------------------------------------------------------- */

struct arguments {
	const char *argv[MAX_ARGS];
	size_t count;
	char *owned[8];
	size_t owned_count;
	bool failed;
};

static void add(struct arguments *args, const char *text)
{
	if (args->count + 1 < MAX_ARGS)
		args->argv[args->count++] = text;
	else
		args->failed = true;
}

static void add_option(struct arguments *args, const char *key, const char *value, const char *rest)
{
	char *text = kiln__strf("%s=%s%s", key, value, rest);

	if (!text || args->owned_count == sizeof(args->owned) / sizeof(args->owned[0])) {
		free(text);
		args->failed = true;
		return;
	}
	args->owned[args->owned_count++] = text;
	add(args, "-o");
	add(args, text);
}

static void begin(struct arguments *args, const char *program, const struct apt *apt)
{
	*args = (struct arguments){0};
	add(args, program);
	add(args, "-q");
	/* apt would run its downloads as another user, who may not write where ours go. */
	add(args, "-o");
	add(args, "APT::Sandbox::User=root");
	if (!apt->state)
		return;
	add_option(args, "APT::Architecture", apt->debian_arch, "");
	add_option(args, "APT::Architectures", apt->debian_arch, "");
	add_option(args, "Dir::State", apt->state, "");
	add_option(args, "Dir::State::lists", apt->state, "/lists");
	add_option(args, "Dir::State::status", apt->state, "/status");
	add_option(args, "Dir::Cache", apt->state, "/cache");
	add(args, "-o");
	add(args, "Dir::Cache::pkgcache=");
	add(args, "-o");
	add(args, "Dir::Cache::srcpkgcache=");
}

/* The last line of an error output that has something to say. */
static const char *last_line(struct kiln__buf *text)
{
	char *line;

	while (text->len && (text->data[text->len - 1] == '\n' || text->data[text->len - 1] == ' '))
		text->data[--text->len] = '\0';
	line = text->data ? strrchr(text->data, '\n') : NULL;
	return line ? line + 1 : text->data && *text->data ? text->data : "no reason given";
}

static int call(struct arguments *args, const char *cwd, struct kiln__buf *out, kiln_error *err)
{
	kiln__autobuf text = KILN__BUF_INIT;
	struct kiln__run run = {.path = args->argv[0], .argv = args->argv, .cwd = cwd};
	struct kiln__exit how;
	int rc;

	rc = args->failed ? kiln__fail_nomem(err) : kiln__run(&run, out, &text, &how, err);
	for (size_t i = 0; i < args->owned_count; i++)
		free(args->owned[i]);
	args->owned_count = 0;
	if (rc)
		return rc;
	if (how.signaled || how.code)
		return kiln__fail(err, KILN_EIO, "%s failed: %s", args->argv[0], last_line(&text));
	return 0;
}

/* --- which packages ------------------------------------------------------------------- */

static bool known(const struct apt *apt, const char *name, size_t len)
{
	for (size_t i = 0; i < apt->package_count; i++)
		if (strlen(apt->packages[i]) == len && !memcmp(apt->packages[i], name, len))
			return true;
	return false;
}

/*
 * linux-image-6.1.0-56-cloud-amd64, linux-modules-6.8.0-31-generic: kernels and their modules, not
 * metapackages.
 */
static bool wanted(const char *name, size_t len)
{
	static const char *const prefixes[] = {"linux-image-", "linux-modules-", "linux-binary-"};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		size_t prefix = strlen(prefixes[i]);

		if (len > prefix && !memcmp(name, prefixes[i], prefix))
			return strcspn(name + prefix, "0123456789") == 0 ||
			       (!strncmp(name + prefix, "unsigned-", 9) && len > prefix + 9);
	}
	return false;
}

/* Adds the "Depends:" of apt-cache's output that are wanted. */
static int add_depends(struct apt *apt, const char *text, kiln_error *err)
{
	static const char label[] = "Depends: ";

	while (text && (text = strstr(text, label))) {
		size_t len = strcspn(text += sizeof(label) - 1, " \n");

		if (!wanted(text, len) || known(apt, text, len))
			continue;
		if (apt->package_count == MAX_PACKAGES)
			return kiln__fail(err, KILN_EOVERFLOW, "%s depends on too many packages",
					  apt->metapackage);
		apt->packages[apt->package_count] = strndup(text, len);
		if (!apt->packages[apt->package_count])
			return kiln__fail_nomem(err);
		apt->package_count++;
	}
	return 0;
}

static int depends_of(struct apt *apt, const char *package, kiln_error *err)
{
	kiln__autobuf out = KILN__BUF_INIT;
	struct arguments args;
	int rc;

	begin(&args, APT_CACHE, apt);
	add(&args, "depends");
	add(&args, "--important");
	add(&args, package);
	rc = call(&args, NULL, &out, err);
	return rc ? rc : add_depends(apt, out.data, err);
}

static int resolve(struct apt *apt, kiln_error *err)
{
	int rc;

	rc = depends_of(apt, apt->metapackage, err);
	/* The list grows while it is walked: an image may depend on its modules. */
	for (size_t i = 0; !rc && i < apt->package_count; i++)
		rc = depends_of(apt, apt->packages[i], err);
	if (!rc && !apt->package_count)
		rc = kiln__fail(err, KILN_ENOENT, "apt knows no package %s", apt->metapackage);
	return rc;
}

/* --- lists of kiln's own ----------------------------------------------------------------- */

static int make_state(void *data, const char *path, kiln_error *err)
{
	static const char *const folders[] = {"lists/partial", "cache/archives/partial"};
	struct apt apt = *(const struct apt *)data;
	kiln__autofree char *status = kiln__strf("%s/status", path);
	kiln__autobuf out = KILN__BUF_INIT;
	kiln_error why = KILN_ERROR_INIT;
	struct arguments args;
	int rc = 0;

	kiln__images_progress(apt.images, "fetching package lists for %s", apt.debian_arch);
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]) && !rc; i++) {
		kiln__autofree char *folder = kiln__strf("%s/%s", path, folders[i]);

		rc = folder ? kiln__os_mkdir_p(folder, 0700, err) : kiln__fail_nomem(err);
	}
	if (!rc)
		rc = status ? kiln__os_replace_file(status, "", 0, 0600, false, err)
			    : kiln__fail_nomem(err);
	if (rc)
		return rc;
	apt.state = (char *)(uintptr_t)path;
	begin(&args, APT_GET, &apt);
	add(&args, "update");
	rc = call(&args, NULL, &out, &why);
	/* One broken source among several does not matter if the package is found; resolve() tells.
	 */
	if (rc)
		kiln__images_progress(apt.images, "%s", why.message);
	return 0;
}

static char *state_name(const struct apt *apt)
{
	return kiln__strf("apt-%s", apt->debian_arch);
}

static int use_own_state(struct apt *apt, kiln_error *err)
{
	kiln__autofree char *name = state_name(apt);

	if (!name)
		return kiln__fail_nomem(err);
	return kiln__cache_get(apt->images->cache, name, make_state, apt, &apt->state, err);
}

/* Lists that did not help are not kept. */
static void drop_own_state(struct apt *apt)
{
	kiln__autofree char *name = apt->state ? state_name(apt) : NULL;

	if (name)
		kiln__cache_drop(apt->images->cache, name, NULL);
}

/* To see what is new, lists are fetched anew: the host's are as old as its last update. */
static int find_packages(struct apt *apt, bool refresh, kiln_error *err)
{
	kiln__autofree char *name = refresh ? state_name(apt) : NULL;
	int rc = KILN_ENOENT;

	if (name)
		kiln__cache_drop(apt->images->cache, name, NULL);
	else if (!strcmp(apt->arch, kiln__os_arch()))
		rc = resolve(apt, err);
	if (rc) {
		rc = use_own_state(apt, err);
		if (!rc)
			rc = resolve(apt, err);
	}
	if (rc) {
		drop_own_state(apt);
		kiln__hint(err, "this needs the network once; or give a kernel with --kernel FILE");
	}
	return rc;
}

/* --- getting them ------------------------------------------------------------------------ */

static int download(struct apt *apt, const char *dir, bool only_print, struct kiln__buf *out,
		    kiln_error *err)
{
	struct arguments args;

	begin(&args, APT_GET, apt);
	add(&args, "download");
	if (only_print)
		add(&args, "--print-uris");
	for (size_t i = 0; i < apt->package_count; i++)
		add(&args, apt->packages[i]);
	return call(&args, dir, out, err);
}

/* Hands the packages in @dir to kiln-image, which fills @path. */
static int unpack(const struct apt *apt, const char *path, const char *dir, kiln_error *err)
{
	kiln__autoclose kiln_fd output = KILN_FD_NONE;
	struct kiln__spawn_fd fds[MAX_PACKAGES + 1];
	char numbers[MAX_PACKAGES][4];
	const char *argv[8 + 2 * MAX_PACKAGES] = {
		"package", "--output-dir", "3", "--arch", apt->arch, "--name", apt->packages[0]};
	size_t count = 7, fd_count = 1;
	json_t *result = NULL;
	char **names = NULL;
	int rc;

	rc = kiln__os_open(&output, path, KILN__OPEN_READ | KILN__OPEN_DIRECTORY, err);
	if (!rc)
		rc = kiln__os_list_dir(dir, &names, err);
	fds[0] = (struct kiln__spawn_fd){output, 3};
	for (size_t i = 0; !rc && names[i] && fd_count <= MAX_PACKAGES; i++) {
		kiln__autofree char *file = kiln__strf("%s/%s", dir, names[i]);

		rc = file ? kiln__os_open(&fds[fd_count].from, file, KILN__OPEN_READ, err)
			  : kiln__fail_nomem(err);
		if (rc)
			break;
		fds[fd_count].to = (int)(3 + fd_count);
		snprintf(numbers[i], sizeof(numbers[i]), "%d", fds[fd_count++].to);
		argv[count++] = "--input";
		argv[count++] = numbers[i];
	}
	kiln__os_free_names(names);
	if (!rc)
		rc = kiln__helper_call(argv, fds, fd_count, &result, err);
	while (fd_count > 1)
		kiln__os_close(fds[--fd_count].from);
	if (!rc)
		rc = kiln__kernel_describe(path, result, err);
	json_decref(result);
	return rc;
}

static int make(void *data, const char *path, kiln_error *err)
{
	struct apt *apt = data;
	kiln__autofree char *dir = kiln__strf("%s/packages", path);
	kiln__autobuf out = KILN__BUF_INIT;
	int rc;

	if (dir && strlen(dir) > MAX_CWD) {
		kiln__fail(err, KILN_EINVAL, "%s is too long a path for apt", dir);
		kiln__hint(err, "use a KILN_HOME with a shorter path");
		return KILN_EINVAL;
	}
	rc = dir ? kiln__os_mkdir_p(dir, 0700, err) : kiln__fail_nomem(err);
	if (rc)
		return rc;
	for (size_t i = 0; i < apt->package_count; i++)
		kiln__images_progress(apt->images, "downloading the kernel package %s",
				      apt->packages[i]);
	rc = download(apt, dir, false, &out, err);
	if (rc) {
		drop_own_state(apt);
		kiln__hint(err, apt->state ? "try again: the package lists are fetched anew"
					   : "is the network there? 'apt-get update' renews old "
					     "package lists");
		return rc;
	}
	rc = unpack(apt, path, dir, err);
	return rc ? rc : kiln__os_remove_tree(dir, err);
}

/*
 * Named by what apt says it would download, digests included. It is silent about
 * what lies in the working directory already, so that is one where nobody can put a package.
 */
static int name_object(struct apt *apt, char **ret, kiln_error *err)
{
	kiln__autobuf out = KILN__BUF_INIT;
	struct kiln__digest digest;
	char hex[KILN__DIGEST_HEX];
	int rc;

	rc = download(apt, "/proc", true, &out, err);
	if (!rc && !out.len)
		rc = kiln__fail(err, KILN_EIO, "apt does not say what it would download for %s",
				apt->metapackage);
	if (rc)
		return rc;
	kiln__digest_init(&digest);
	kiln__digest_add(&digest, out.data, out.len);
	kiln__digest_final_hex(&digest, hex);
	*ret = kiln__strf("kernel-%s-%d-%s", apt->arch, KILN__IMAGE_FORMAT, hex);
	return *ret ? 0 : kiln__fail_nomem(err);
}

/* The metapackage by what os-release(5) says of this host. */
static const char *metapackage_for(const char *arch)
{
	kiln__autofree char *text = NULL;
	size_t len;

	if (kiln__os_read_file("/etc/os-release", 65536, &text, &len, NULL) == 0 &&
	    (strstr(text, "\nID=ubuntu") || !strncmp(text, "ID=ubuntu", 9)))
		return "linux-image-virtual";
	return !strcmp(arch, "aarch64") ? "linux-image-cloud-arm64" : "linux-image-cloud-amd64";
}

int kiln__apt_kernel(const struct kiln__images *images, const char *arch, bool refresh,
		     const char *record, char **ret_path, kiln_error *err)
{
	struct apt apt = {
		.images = images,
		.arch = arch,
		.debian_arch = !strcmp(arch, "aarch64") ? "arm64" : "amd64",
		.metapackage = metapackage_for(arch),
	};
	kiln__autofree char *name = NULL, *path = NULL;
	int rc;

	if (access(APT_GET, X_OK) || access(APT_CACHE, X_OK)) {
		kiln__fail(err, KILN_ENOTSUP, "there is no apt here to get a kernel with");
		kiln__hint(err, "give a kernel with --kernel FILE");
		return KILN_ENOTSUP;
	}
	rc = find_packages(&apt, refresh, err);
	if (!rc)
		rc = name_object(&apt, &name, err);
	if (!rc)
		rc = kiln__cache_get(images->cache, name, make, &apt, &path, err);
	if (!rc)
		rc = kiln__cache_record(images->cache, record, name, err);
	apt_done(&apt);
	if (!rc)
		*ret_path = kiln__take(path);
	return rc;
}
