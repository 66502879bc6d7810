/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An initramfs is named by the contents of init, the kernel's image and module lists, and the names
 * wanted; its record by what is cheap to know of the same. A module replaced in
 * place is seen because depmod rewrites modules.dep after it.
 */
#include "internal.h"

#include "buf.h"
#include "digest.h"
#include "err.h"
#include "helper.h"
#include "os.h"
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WANTED 100

struct making {
	const struct kiln__images *images;
	const struct kiln__kernel *kernel;
	const char *const *wanted;
	kiln_fd init;
};

static int make(void *data, const char *path, kiln_error *err)
{
	const struct making *making = data;
	kiln__autoclose kiln_fd output = KILN_FD_NONE, modules = KILN_FD_NONE;
	const char *argv[12 + MAX_WANTED] = {"initramfs", "--input", "3", "--output", "4"};
	struct kiln__spawn_fd fds[3] = {{making->init, 3}};
	size_t count = 5, fd_count = 2;
	json_t *result = NULL;
	int rc;

	rc = kiln__images_create(path, &output, err);
	if (!rc && making->kernel->modules)
		rc = kiln__os_open(&modules, making->kernel->modules,
				   KILN__OPEN_READ | KILN__OPEN_DIRECTORY, err);
	if (!rc && lseek(making->init, 0, SEEK_SET) < 0)
		rc = kiln__fail_errno(err, errno, "the guest's init");
	if (rc)
		return rc;
	fds[1] = (struct kiln__spawn_fd){output, 4};
	if (!making->kernel->modules)
		kiln__images_progress(
			making->images,
			"no module directory for the kernel %s: only its built-in drivers",
			making->kernel->image);
	if (making->kernel->modules) {
		fds[fd_count++] = (struct kiln__spawn_fd){modules, 5};
		argv[count++] = "--dir";
		argv[count++] = "5";
		argv[count++] = "--name";
		argv[count++] = making->kernel->modules;
		argv[count++] = "--";
		for (const char *const *name = making->wanted; *name; name++)
			argv[count++] = *name;
	}
	rc = kiln__helper_call(argv, fds, fd_count, &result, err);
	json_decref(result);
	return rc;
}

static void add_wanted(struct kiln__digest *digest, const struct kiln__kernel *kernel,
		       const char *const *wanted)
{
	kiln__digest_addu(digest, KILN__IMAGE_FORMAT);
	kiln__digest_adds(digest, kernel->release);
	kiln__digest_addu(digest, kernel->modules != NULL);
	for (; kernel->modules && *wanted; wanted++)
		kiln__digest_adds(digest, *wanted);
}

/* Which file of the module directory stands for all of it. */
static int list_of(const struct kiln__kernel *kernel, char **ret, kiln_error *err)
{
	static const char *const lists[] = {"modules.dep", "modules.order"};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		kiln__autofree char *path = kiln__strf("%s/%s", kernel->modules, lists[i]);

		if (!path)
			return kiln__fail_nomem(err);
		if (!access(path, R_OK)) {
			*ret = kiln__take(path);
			return 0;
		}
	}
	return kiln__fail(err, KILN_ENOENT, "%s has neither modules.dep nor modules.order",
			  kernel->modules);
}

/* The name of the record: ids of the kernel, the module list and init, then what is wanted. */
static int record_of(const struct kiln__kernel *kernel, const char *list, const char *init,
		     const char *const *wanted, char ret[KILN__DIGEST_HEX], bool *ret_settled,
		     kiln_error *err)
{
	const char *const files[] = {init, kernel->image, list};
	struct kiln__source_id id;
	struct kiln__digest digest;
	int rc;

	*ret_settled = true;
	kiln__digest_init(&digest);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && files[i]; i++) {
		rc = kiln__source_file(files[i], &id, err);
		if (rc)
			return rc;
		kiln__digest_adds(&digest, id.hex);
		*ret_settled &= id.settled;
	}
	if (list)
		kiln__digest_adds(&digest, kernel->modules);
	add_wanted(&digest, kernel, wanted);
	kiln__digest_final_hex(&digest, ret);
	return 0;
}

static int add_contents(struct kiln__digest *digest, const char *path, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	char hex[KILN__DIGEST_HEX];
	int rc;

	rc = kiln__os_open(&fd, path, KILN__OPEN_READ, err);
	if (!rc)
		rc = kiln__digest_file(fd, hex, err);
	if (!rc)
		kiln__digest_adds(digest, hex);
	return rc;
}

static int get(const struct kiln__images *images, const struct kiln__kernel *kernel,
	       const char *init, const char *list, const char *const *wanted, char **ret_name,
	       char **ret_path, kiln_error *err)
{
	struct making making = {images, kernel, wanted, KILN_FD_NONE};
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	const char *const files[] = {init, kernel->image, list};
	struct kiln__digest digest;
	char hex[KILN__DIGEST_HEX];
	int rc;

	rc = kiln__images_may_take_time(images, err);
	if (rc)
		return rc;
	kiln__digest_init(&digest);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && files[i]; i++) {
		rc = add_contents(&digest, files[i], err);
		if (rc)
			return rc;
	}
	add_wanted(&digest, kernel, wanted);
	kiln__digest_final_hex(&digest, hex);
	*ret_name = kiln__strf("initramfs-%s", hex);
	if (!*ret_name)
		return kiln__fail_nomem(err);
	rc = kiln__os_open(&fd, init, KILN__OPEN_READ, err);
	making.init = fd;
	return rc ? rc : kiln__cache_get(images->cache, *ret_name, make, &making, ret_path, err);
}

int kiln__initramfs_get(const struct kiln__images *images, const struct kiln__kernel *kernel,
			const char *init, const char *const *wanted, char **ret_path,
			kiln_error *err)
{
	kiln__autofree char *list = NULL, *record = NULL, *name = NULL;
	char before[KILN__DIGEST_HEX], after[KILN__DIGEST_HEX];
	bool settled;
	size_t count = 0;
	int rc = 0;

	while (wanted[count])
		count++;
	if (count > MAX_WANTED)
		return kiln__fail(err, KILN_EOVERFLOW, "more than %d kernel modules", MAX_WANTED);
	if (kernel->modules)
		rc = list_of(kernel, &list, err);
	if (!rc)
		rc = record_of(kernel, list, init, wanted, before, &settled, err);
	if (!rc) {
		record = kiln__strf("initramfs-%s", before);
		if (!record)
			rc = kiln__fail_nomem(err);
	}
	if (!rc && kiln__cache_find(images->cache, record, ret_path, NULL)) {
		char *path = NULL;

		rc = get(images, kernel, init, list, wanted, &name, &path, err);
		if (!rc)
			rc = record_of(kernel, list, init, wanted, after, &settled, err);
		if (!rc && settled && !strcmp(before, after))
			rc = kiln__cache_record(images->cache, record, name, err);
		if (!rc)
			*ret_path = path;
		else
			free(path);
	}
	if (rc)
		kiln__stage(err, "initramfs");
	return rc;
}
