/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel in the cache is a directory: "image", what VMMs boot; "modules", if it
 * came out of a package; and the link "about", which says what it is.
 */
#include "internal.h"

#include "buf.h"
#include "digest.h"
#include "err.h"
#include "helper.h"
#include "kernel.h"
#include "os.h"
#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* --- what a kernel object says of itself ------------------------------------------------ */

int kiln__kernel_describe(const char *path, const json_t *result, kiln_error *err)
{
	const char *arch = json_string_value(json_object_get(result, "arch"));
	const char *format = json_string_value(json_object_get(result, "format"));
	const char *release = json_string_value(json_object_get(result, "release"));
	kiln__autofree char *link = kiln__strf("%s/about", path), *about = NULL;

	if (!arch || !format || !release || (*release && !kiln__kernel_release_ok(release)))
		return kiln__fail(err, KILN_EPROTO, "kiln-image described no kernel");
	about = kiln__strf("%s,%s,%s,%d,%d", release, arch, format,
			   json_is_true(json_object_get(result, "pvh")),
			   json_object_get(result, "modules") != NULL);
	if (!link || !about)
		return kiln__fail_nomem(err);
	if (symlink(about, link))
		return kiln__fail_errno(err, errno, "cannot make %s", link);
	return 0;
}

/* Reads the description and fills all of @ret but the modules of a kernel that has none with it. */
static int load(const char *object, struct kiln__kernel *ret, kiln_error *err)
{
	kiln__autofree char *link = kiln__strf("%s/about", object);
	char about[256], format[16] = "";
	int pvh, modules;
	const char *rest;
	ssize_t len;

	if (!link)
		return kiln__fail_nomem(err);
	len = readlink(link, about, sizeof(about) - 1);
	if (len < 0)
		return kiln__fail_errno(err, errno, "%s", link);
	about[len] = '\0';
	rest = strchr(about, ',');
	if (!rest || rest - about >= (ptrdiff_t)sizeof(ret->release) ||
	    sscanf(rest, ",%*[^,],%15[^,],%d,%d", format, &pvh, &modules) != 3)
		return kiln__fail(err, KILN_EFORMAT, "%s is no description of a kernel", link);
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->release, about, (size_t)(rest - about)); /* may be empty */
	memcpy(ret->format, format, sizeof(format));
	ret->pvh = pvh;
	ret->image = kiln__strf("%s/image", object);
	if (modules)
		ret->modules = kiln__strf("%s/modules", object);
	if (ret->image && (ret->modules || !modules))
		return 0;
	kiln__kernel_done(ret);
	return kiln__fail_nomem(err);
}

void kiln__kernel_done(struct kiln__kernel *kernel)
{
	free(kernel->image);
	free(kernel->modules);
	memset(kernel, 0, sizeof(*kernel));
}

/* --- from files ------------------------------------------------------------------------- */

struct making {
	const struct kiln__images *images;
	const struct kiln__kernel_request *request;
	const char *name; /* for messages */
	kiln_fd fd;
	const char *digest;
};

static int make(void *data, const char *path, kiln_error *err)
{
	const struct making *making = data;
	kiln__autoclose kiln_fd output = KILN_FD_NONE;
	kiln__autofree char *image = kiln__strf("%s/image", path);
	const char *const argv[] = {"kernel",     "--input", "3",
				    "--output",   "4",       "--name",
				    making->name, "--arch",  making->request->arch,
				    NULL};
	json_t *result = NULL;
	int rc;

	kiln__images_progress(making->images, "unpacking the kernel %s", making->name);
	rc = image ? kiln__os_mkdir(path, 0700, err) : kiln__fail_nomem(err);
	if (!rc)
		rc = kiln__images_create(image, &output, err);
	if (!rc && lseek(making->fd, 0, SEEK_SET) < 0)
		rc = kiln__fail_errno(err, errno, "%s", making->name);
	if (!rc) {
		const struct kiln__spawn_fd fds[] = {{making->fd, 3}, {output, 4}};

		rc = kiln__helper_call(argv, fds, 2, &result, err);
	}
	if (!rc)
		rc = kiln__images_check_digest(result, making->digest, making->name, err);
	if (!rc)
		rc = kiln__kernel_describe(path, result, err);
	json_decref(result);
	return rc;
}

/* The object of a kernel whose record is missing: named by the file's contents. */
static int make_from_fd(struct making *making, const char *record,
			const struct kiln__source_id *before, char **ret, kiln_error *err)
{
	kiln__autofree char *name = NULL, *object = NULL;
	char digest[KILN__DIGEST_HEX];
	struct kiln__source_id after;
	int rc;

	rc = kiln__images_may_take_time(making->images, err);
	if (!rc)
		rc = kiln__digest_file(making->fd, digest, err);
	if (rc)
		return rc;
	making->digest = digest;
	name = kiln__strf("kernel-%s-%d-%s", making->request->arch, KILN__IMAGE_FORMAT, digest);
	if (!name)
		return kiln__fail_nomem(err);
	rc = kiln__cache_get(making->images->cache, name, make, making, &object, err);
	if (!rc)
		rc = kiln__source_fd(making->fd, making->name, &after, err);
	if (!rc && before->settled && !strcmp(before->hex, after.hex))
		rc = kiln__cache_record(making->images->cache, record, name, err);
	if (!rc)
		*ret = kiln__take(object);
	return rc;
}

static int from_file(const struct kiln__images *images, const struct kiln__kernel_request *request,
		     const char *path, char **ret_object, kiln_error *err)
{
	struct making making = {images, request, path ? path : "the kernel", request->fd, NULL};
	kiln__autoclose kiln_fd opened = KILN_FD_NONE;
	kiln__autofree char *record = NULL;
	struct kiln__source_id id;
	int rc;

	rc = path ? kiln__source_file(path, &id, err)
		  : kiln__source_fd(request->fd, making.name, &id, err);
	if (rc)
		return rc;
	record = kiln__strf("kernel-%s-%d-%s", request->arch, KILN__IMAGE_FORMAT, id.hex);
	if (!record)
		return kiln__fail_nomem(err);
	if (kiln__cache_find(images->cache, record, ret_object, NULL) == 0)
		return 0;
	if (path) {
		rc = kiln__os_open(&opened, path, KILN__OPEN_READ, err);
		if (!rc)
			rc = kiln__source_fd(opened, path, &id, err);
		if (rc)
			return rc;
		making.fd = opened;
	}
	return make_from_fd(&making, record, &id, ret_object, err);
}

/* --- module directories ----------------------------------------------------------------- */

static bool has_modules(const char *dir)
{
	static const char *const lists[] = {"modules.dep", "modules.order"};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		kiln__autofree char *path = kiln__strf("%s/%s", dir, lists[i]);

		if (path && !access(path, R_OK))
			return true;
	}
	return false;
}

/*
 * Whether modules that were found, not named, may be loaded: they run with all that the guest's
 * kernel can. /tmp/build/vmlinuz must not bring /tmp/lib/modules with it, which anybody can make.
 */
static bool may_be_trusted(const char *dir, const char *kernel)
{
	struct stat modules;
	struct stat image;

	if (stat(dir, &modules) || (modules.st_mode & 022))
		return false;
	return modules.st_uid == 0 || modules.st_uid == geteuid() ||
	       (!stat(kernel, &image) && modules.st_uid == image.st_uid);
}

/* Whether the kernel's modules are in @dir, which is freed; then they are its. */
static bool take_modules(struct kiln__kernel *kernel, char *dir, const char *path)
{
	kiln__autofree char *found = dir;

	if (!found || !has_modules(found) || (path && !may_be_trusted(found, path)))
		return false;
	kernel->modules = kiln__take(found);
	return true;
}

static int named_modules(const char *dir, struct kiln__kernel *kernel, kiln_error *err)
{
	if (!has_modules(dir))
		return kiln__fail(
			err, KILN_ENOENT,
			"%s is no module directory: it has neither modules.dep nor modules.order",
			dir);
	free(kernel->modules);
	kernel->modules = strdup(dir);
	return kernel->modules ? 0 : kiln__fail_nomem(err);
}

/*
 * Modules of a kernel that came without: where the user says; or by release, as they are unpacked
 * ("boot/vmlinuz" and "lib/modules") or installed beside it (INSTALL_MOD_PATH of the kernel's
 * make modules_install); or the host's.
 */
static int find_modules(const struct kiln__kernel_request *request, const char *path,
			struct kiln__kernel *kernel, kiln_error *err)
{
	static const char *const beside[] = {"../lib/modules", "lib/modules"};
	const char *slash = path ? strrchr(path, '/') : NULL;
	int folder = slash ? (int)(slash - path) + 1 : 0;

	if (request->modules)
		return named_modules(request->modules, kernel, err);
	if (kernel->modules || !kernel->release[0])
		return 0;
	for (size_t i = 0; path && i < sizeof(beside) / sizeof(beside[0]); i++)
		if (take_modules(kernel,
				 kiln__strf("%.*s%s/%s", folder, path, beside[i], kernel->release),
				 path))
			return 0;
	take_modules(kernel, kiln__strf("/lib/modules/%s", kernel->release), NULL);
	return 0;
}

/* --- where it comes from ------------------------------------------------------------- */

int kiln__kernel_of_host(char **ret, kiln_error *err)
{
	kiln__autofree char *path = NULL;
	struct utsname host;
	int why;

	if (uname(&host) < 0)
		return kiln__fail_errno(err, errno, "uname");
	path = kiln__strf("/boot/vmlinuz-%s", host.release);
	if (!path)
		return kiln__fail_nomem(err);
	if (access(path, R_OK) < 0) {
		why = errno;
		kiln__fail_errno(err, why, "the running kernel's image %s", path);
		kiln__hint(err, why == EACCES
					? "make it readable, or name no kernel: kiln fetches one"
					: "name no kernel: kiln fetches the distribution's");
		return kiln__code_of_errno(why);
	}
	*ret = kiln__take(path);
	return 0;
}

static char *distro_record(const char *arch)
{
	return kiln__strf("kernel-%s-%d-distro", arch, KILN__IMAGE_FORMAT);
}

int64_t kiln__kernel_distro_time(const struct kiln__images *images, const char *arch)
{
	kiln__autofree char *record = distro_record(arch);

	return record ? kiln__cache_record_time(images->cache, record) : 0;
}

static int get_object(const struct kiln__images *images, const struct kiln__kernel_request *request,
		      const char *path, char **ret, kiln_error *err)
{
	kiln__autofree char *record = NULL;
	int rc;

	if (request->origin != KILN__KERNEL_DISTRO)
		return from_file(images, request, path, ret, err);
	record = distro_record(request->arch);
	if (!record)
		return kiln__fail_nomem(err);
	if (!request->refresh && kiln__cache_find(images->cache, record, ret, NULL) == 0)
		return 0;
	if (request->only_cached)
		return kiln__fail(err, KILN_ENOENT, "no kernel has been downloaded yet");
	rc = kiln__images_may_take_time(images, err);
	return rc ? rc
		  : kiln__apt_kernel(images, request->arch, request->refresh, record, ret, err);
}

int kiln__kernel_get(const struct kiln__images *images, const struct kiln__kernel_request *request,
		     struct kiln__kernel *ret, kiln_error *err)
{
	kiln__autofree char *object = NULL;
	const char *path = request->origin == KILN__KERNEL_FILE ? request->path : NULL;
	struct kiln__kernel kernel;
	int rc = get_object(images, request, path, &object, err);

	if (!rc)
		rc = load(object, &kernel, err);
	if (!rc) {
		rc = find_modules(request, path, &kernel, err);
		if (rc)
			kiln__kernel_done(&kernel);
	}
	if (rc) {
		kiln__stage(err, "kernel");
		return rc;
	}
	*ret = kernel;
	return 0;
}
