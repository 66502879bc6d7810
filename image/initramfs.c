/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The initramfs: the guest's init, the modules it loads, uncompressed and in
 * order, and the mount points it needs. Nothing in it is secret or of one VM.
 *
 *   /init              kiln-guest
 *   /modules/NAME.ko   what was asked for and all it depends on
 *   /modules/order     their names, one a line, in the order to load them (guest/init/modules.c)
 */
#include "cpio.h"
#include "input.h"
#include "modules.h"
#include "program.h"
#include "report.h"

#include "buf.h"
#include "cleanup.h"
#include "err.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_LIST_SIZE   (32u << 20)
#define MAX_MODULE_SIZE (128u << 20)
#define MAX_INIT_SIZE   (64u << 20)

KILN__DEFINE_AUTOPTR(struct kiln__modules, kiln__modules_free)

/* --- reading ------------------------------------------------------------------------ */

static int read_file(kiln_fd dir, const char *path, size_t max, uint8_t **ret, size_t *ret_len,
		     kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct input input;
	int rc;

	rc = kiln__os_open_beneath(&fd, dir, path, KILN__OPEN_READ, err);
	if (rc)
		return rc;
	input_init(&input, fd, path);
	rc = input_read_all(&input, max, ret, ret_len, err);
	input_done(&input);
	return rc;
}

/* A module's bytes, unpacked if its name says that it is compressed. */
static int read_module(kiln_fd dir, const char *path, uint8_t **ret, size_t *ret_len,
		       kiln_error *err)
{
	static const char *const packed[] = {".xz", ".zst", ".gz"};
	const char *dot = strrchr(path, '.');
	uint8_t *bytes;
	size_t len;
	int rc;

	rc = read_file(dir, path, MAX_MODULE_SIZE, &bytes, &len, err);
	for (size_t i = 0; !rc && dot && i < sizeof(packed) / sizeof(packed[0]); i++) {
		if (strcmp(dot, packed[i]))
			continue;
		rc = input_unpack(path, bytes, len, MAX_MODULE_SIZE, false, ret, ret_len, err);
		free(bytes);
		return rc;
	}
	if (!rc) {
		*ret = bytes;
		*ret_len = len;
	}
	return rc;
}

/*
 * Without depmod's list a path may lack the suffix of a compressed module: modules.order
 * has what the kernel's build made, the directory what its installation did with it.
 */
static int read_any_module(kiln_fd dir, const char *path, uint8_t **ret, size_t *ret_len,
			   kiln_error *err)
{
	static const char *const suffixes[] = {"", ".xz", ".zst", ".gz"};
	int rc = KILN_ENOENT;

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]) && rc == KILN_ENOENT; i++) {
		kiln__autofree char *name = kiln__strf("%s%s", path, suffixes[i]);

		if (!name)
			return kiln__fail_nomem(err);
		rc = read_module(dir, name, ret, ret_len, err);
	}
	return rc;
}

static int read_depends(void *data, const char *path, struct kiln__buf *ret, kiln_error *err)
{
	const struct request *request = data;
	kiln__autofree uint8_t *bytes = NULL;
	size_t len;
	int rc;

	rc = read_any_module(request->dir, path, &bytes, &len, err);
	return rc ? rc : kiln__module_depends(path, bytes, len, ret, err);
}

typedef int (*add_fn)(struct kiln__modules *modules, const char *text, size_t len, kiln_error *err);

/* Adds one list; *@found tells whether it is there. */
static int read_list(const struct request *request, struct kiln__modules *modules, const char *name,
		     add_fn add, bool *found, kiln_error *err)
{
	kiln__autofree uint8_t *text = NULL;
	size_t len;
	int rc;

	*found = false;
	rc = read_file(request->dir, name, MAX_LIST_SIZE, &text, &len, err);
	if (rc == KILN_ENOENT)
		return 0;
	if (rc)
		return rc;
	*found = true;
	return add(modules, (const char *)text, len, err);
}

static int resolve(const struct request *request, struct kiln__modules **ret_modules,
		   const char ***ret_paths, kiln_error *err)
{
	kiln__cleanup(kiln__modules_free_autop) struct kiln__modules *modules = NULL;
	bool found = true;
	int rc;

	rc = kiln__modules_new(&modules, err);
	if (rc)
		return rc;
	if (request->dir != KILN_FD_NONE) {
		rc = read_list(request, modules, "modules.builtin", kiln__modules_add_builtin,
			       &found, err);
		if (!rc)
			rc = read_list(request, modules, "modules.dep", kiln__modules_add_dep,
				       &found, err);
		if (!rc && !found)
			rc = read_list(request, modules, "modules.order", kiln__modules_add_order,
				       &found, err);
	}
	if (!rc && !found)
		rc = kiln__fail(err, KILN_ENOENT, "%s has neither modules.dep nor modules.order",
				request->name);
	if (!rc)
		rc = kiln__modules_resolve(modules, request->names, read_depends,
					   (void *)(uintptr_t)request, ret_paths, err);
	if (!rc)
		*ret_modules = kiln__take(modules);
	return rc;
}

/* --- writing ------------------------------------------------------------------------ */

struct sink {
	kiln_fd fd;
	uint64_t size;
};

static int write_out(void *data, const void *bytes, size_t len, kiln_error *err)
{
	struct sink *sink = data;

	sink->size += len;
	return output_write(sink->fd, bytes, len, err);
}

/* "kernel/fs/overlayfs/overlay.ko.xz" is "overlay" in the archive. */
static char *module_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	const char *end = strstr(base, ".ko");

	return kiln__strf("%.*s", (int)(end ? end - base : (ptrdiff_t)strlen(base)), base);
}

static int write_modules(const struct request *request, struct kiln__cpio *cpio,
			 const char *const *paths, kiln_error *err)
{
	kiln__autobuf order = KILN__BUF_INIT;
	int rc;

	rc = kiln__cpio_dir(cpio, "modules", 0755, err);
	for (; !rc && *paths; paths++) {
		kiln__autofree char *name = module_name(*paths), *path = NULL;
		kiln__autofree uint8_t *bytes = NULL;
		size_t len;

		path = name ? kiln__strf("modules/%s.ko", name) : NULL;
		if (!path)
			return kiln__fail_nomem(err);
		kiln__buf_addf(&order, "%s\n", name);
		rc = read_any_module(request->dir, *paths, &bytes, &len, err);
		if (!rc)
			rc = kiln__cpio_file(cpio, path, 0644, bytes, len, err);
	}
	if (!rc && order.failed)
		rc = kiln__fail_nomem(err);
	return rc ? rc : kiln__cpio_file(cpio, "modules/order", 0644, order.data, order.len, err);
}

static int write_archive(const struct request *request, struct kiln__cpio *cpio,
			 const char *const *paths, const uint8_t *init, size_t init_len,
			 kiln_error *err)
{
	static const char *const mount_points[] = {"dev", "proc", "run", "sys"};
	int rc = 0;

	for (size_t i = 0; i < sizeof(mount_points) / sizeof(mount_points[0]) && !rc; i++)
		rc = kiln__cpio_dir(cpio, mount_points[i], 0755, err);
	/* The kernel opens it for init's standard streams before anything is mounted. */
	if (!rc)
		rc = kiln__cpio_char_device(cpio, "dev/console", 0600, 5, 1, err);
	if (!rc)
		rc = kiln__cpio_file(cpio, "init", 0755, init, init_len, err);
	if (!rc)
		rc = write_modules(request, cpio, paths, err);
	return rc ? rc : kiln__cpio_end(cpio, err);
}

int command_initramfs(const struct request *request, kiln_error *err)
{
	kiln__cleanup(kiln__modules_free_autop) struct kiln__modules *modules = NULL;
	kiln__autofree const char **paths = NULL;
	kiln__autofree uint8_t *init = NULL;
	struct sink sink = {request->output, 0};
	struct kiln__cpio cpio = {write_out, &sink, 0};
	struct input input;
	size_t init_len;
	int rc;

	if (request->input_count != 1 || request->output == KILN_FD_NONE)
		return kiln__fail(err, KILN_EINVAL, "initramfs needs --input and --output");
	input_init(&input, request->inputs[0], "the guest's init");
	rc = input_read_all(&input, MAX_INIT_SIZE, &init, &init_len, err);
	input_done(&input);
	if (!rc)
		rc = resolve(request, &modules, &paths, err);
	if (!rc)
		rc = write_archive(request, &cpio, paths, init, init_len, err);
	return rc ? rc : report_result(json_pack("{s:I}", "size", (json_int_t)sink.size), err);
}
