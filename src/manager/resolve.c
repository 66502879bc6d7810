/* SPDX-License-Identifier: Apache-2.0 */
#include "resolve.h"
#include "homes.h"

#include "buf.h"
#include "choose.h"
#include "err.h"
#include "imageconf.h"
#include "images.h"
#include "os.h"
#include "own_disks.h"
#include "scratch.h"
#include "source.h"
#include "spec.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

#define MAX_MODULES 24

/* An ephemeral disk's size where the configuration names none: sparse, so a bound, not a cost. */
#define OVERLAY_DEFAULT (UINT64_C(16) << 30)

struct kiln__resolving {
	struct kiln__work *work;
	struct kiln__spec *spec;
	char *config; /* the document of @spec, where its image is to be applied; NULL: it is not */
	bool applied; /* it has been */
	kiln_fd held; /* so that nobody removes the image before the VM's own document names it */
	struct kiln__cache *cache;
	/* Whose: copies, for the thread may outlive who asked. */
	struct kiln__home home;
	char *id;
	char *name;
	char *dir;
	const struct kiln__resolving_handler *handler;
	void *data;
	/* The thread's, until it has ended. */
	json_t *resolved;
	kiln_error err;
	bool failed;
	struct kiln__kvm_verdict kvm;
};

/* $KILN_IMAGE_CACHE, or "images" in the home. */
int kiln__resolve_cache(const struct kiln__home *home, struct kiln__cache **ret, kiln_error *err)
{
	kiln__autofree char *given = kiln__os_env("KILN_IMAGE_CACHE");
	kiln__autofree char *path =
		given && *given ? strdup(given) : kiln__strf("%s/images", home->dir);

	if (path && path[0] != '/') {
		kiln__fail(err, KILN_EINVAL,
			   "KILN_IMAGE_CACHE is \"%.80s\", which is not an absolute path", given);
		kiln__hint(err, "set it to a path that begins with /, or unset it");
		return KILN_EINVAL;
	}
	return path ? kiln__cache_new(ret, path, err) : kiln__fail_nomem(err);
}

/* The static program for the inside of the guest: $KILN_GUEST, beside this executable, or
 * installed. */
static int find_guest(const char *arch, char **ret, kiln_error *err)
{
	kiln__autofree char *name = kiln__strf("guest/kiln-guest-%s", arch);

	return name ? kiln__os_find_helper(ret, name, "KILN_GUEST", err) : kiln__fail_nomem(err);
}

/* --- modules -------------------------------------------------------------------------- */

static bool is_x86(const struct kiln__spec *spec)
{
	return strcmp(spec->arch, "x86_64") == 0;
}

/* Which bus the devices are on is the backend's choice, and with "auto" not known yet. */
static bool may_be_pci(const struct kiln__spec *spec)
{
	return !is_x86(spec) || strcmp(spec->backend, "qemu") != 0 ||
	       (spec->qemu_machine && strcmp(spec->qemu_machine, "q35") == 0);
}

static bool may_be_mmio(const struct kiln__spec *spec)
{
	return is_x86(spec) && strcmp(spec->backend, "builtin") != 0 &&
	       (!spec->qemu_machine || strcmp(spec->qemu_machine, "q35") != 0);
}

/* In the order in which they are wanted: the sooner vsock works, the sooner the guest says hello.
 */
static void want_modules(const struct kiln__spec *spec, const char *wanted[MAX_MODULES])
{
	size_t n = 0;

	if (may_be_pci(spec))
		wanted[n++] = "virtio_pci";
	if (may_be_mmio(spec))
		wanted[n++] = "virtio_mmio";
	if (spec->vsock)
		wanted[n++] = "vmw_vsock_virtio_transport";
	if (spec->root.kind != KILN__ROOT_NONE || spec->disk_count || spec->volume_count ||
	    kiln__spec_has_seed(spec))
		wanted[n++] = "virtio_blk";
	if (spec->root.kind == KILN__ROOT_DISK) {
		wanted[n++] = "ext4?";
		if (spec->root.fstype && strcmp(spec->root.fstype, "ext4") != 0)
			wanted[n++] = spec->root.fstype;
	} else if (spec->root.kind != KILN__ROOT_NONE) {
		wanted[n++] = "squashfs";
	}
	if (spec->volume_count)
		wanted[n++] = "ext4?";
	if (kiln__spec_has_seed(spec))
		wanted[n++] = "isofs?";
	if (spec->share_count || spec->rosetta.enabled)
		wanted[n++] = "virtiofs";
	if (kiln__root_is_overlaid(&spec->root))
		wanted[n++] = "overlay";
	if (spec->root.overlay == KILN__OVERLAY_DISK)
		wanted[n++] = "ext4?";
	if (spec->network_count)
		wanted[n++] = "virtio_net";
	if (spec->rng)
		wanted[n++] = "virtio_rng?";
	if (spec->balloon)
		wanted[n++] = "virtio_balloon?";
	if (!spec->serial && may_be_pci(spec) && strcmp(spec->backend, "qemu") != 0)
		wanted[n++] = "virtio_console?";
	wanted[n] = NULL;
}

/* What the runner is told goes as JSON, which is UTF-8: another path is refused, not left out. */
static int set_path(json_t *resolved, const char *key, const char *path, kiln_error *err)
{
	json_t *value = json_string(path);

	if (!value)
		return kiln__fail(err, KILN_EINVAL,
				  "the path of the %s is not UTF-8, which kiln cannot pass on: %s",
				  key, path);
	return json_object_set_new(resolved, key, value) ? kiln__fail_nomem(err) : 0;
}

/* --- each file ---------------------------------------------------------------------------- */

/*
 * What makes images reads whole files: the range of one gets a file of its own, without
 * a name, on the disk that the images are on. KILN_FD_NONE if @source is no range.
 */
static int stage(const struct kiln__images *images, const struct kiln__source *source, kiln_fd *ret,
		 kiln_error *err)
{
	kiln__autofree char *path = NULL;
	kiln__autoclose kiln_fd from = KILN_FD_NONE;
	kiln__autoclose kiln_fd to = KILN_FD_NONE;
	kiln__autofree char *text = NULL;
	uint64_t offset;
	uint64_t length;
	uint64_t number;
	int r;

	*ret = KILN_FD_NONE;
	if (!kiln__source_is_range(source))
		return 0;
	if (images->only_cached)
		return kiln__fail(err, KILN_EBUSY, "a range is copied each time");
	kiln__os_random(&number, sizeof(number));
	path = kiln__strf("%s/" KILN__OS_TEMPORARY "%016llx", kiln__cache_path(images->cache),
			  (unsigned long long)number);
	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__source_open(source, &from, &offset, &length, err);
	if (r == 0)
		r = kiln__os_mkdir_p(kiln__cache_path(images->cache), 0700, err);
	if (r == 0)
		r = kiln__os_open(&to, path,
				  KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE, err);
	if (r < 0)
		return r;
	kiln__os_remove(path, NULL);
	text = kiln__strf("copying %llu MiB out of %s", (unsigned long long)(length >> 20),
			  source->path ? source->path : "an open file");
	if (text && images->progress)
		images->progress(images->data, text);
	r = kiln__source_copy(from, offset, length, to, err);
	if (r == 0)
		*ret = kiln__take_fd(&to);
	return r;
}

static int get_kernel(const struct kiln__images *images, const struct kiln__spec *spec,
		      struct kiln__kernel *ret, kiln_error *err)
{
	struct kiln__kernel_request request = {
		.origin = KILN__KERNEL_DISTRO,
		.fd = KILN_FD_NONE,
		.arch = spec->arch,
	};

	kiln__autoclose kiln_fd staged = KILN_FD_NONE;
	int r;

	if (kiln__source_is_set(&spec->kernel)) {
		r = stage(images, &spec->kernel, &staged, err);
		if (r < 0)
			return kiln__prefix(err, "kernel"), r;
		request.origin = KILN__KERNEL_FILE;
		request.path = staged == KILN_FD_NONE ? spec->kernel.path : NULL;
		request.fd = staged == KILN_FD_NONE ? spec->kernel.fd : staged;
	}
	return kiln__kernel_get(images, &request, ret, err);
}

static int add_initramfs(const struct kiln__images *images, const struct kiln__spec *spec,
			 const struct kiln__kernel *kernel, json_t *resolved, kiln_error *err)
{
	const char *wanted[MAX_MODULES];
	kiln__autofree char *guest = NULL;
	kiln__autofree char *path = NULL;
	int r;

	if (kiln__source_is_set(&spec->initrd))
		return 0;
	want_modules(spec, wanted);
	r = find_guest(spec->arch, &guest, err);
	if (r == 0)
		r = kiln__initramfs_get(images, kernel, guest, wanted, &path, err);
	return r < 0 ? r : set_path(resolved, "initrd", path, err);
}

static int add_root(const struct kiln__images *images, const struct kiln__spec *spec,
		    json_t *resolved, kiln_error *err)
{
	const struct kiln__source *source = &spec->root.source;
	kiln__autoclose kiln_fd staged = KILN_FD_NONE;
	kiln__autofree char *path = NULL;
	int r;

	if (spec->root.kind == KILN__ROOT_IMAGE) {
		r = kiln__image_root_of(images, spec->root.image, spec->arch, &path, err);
		return r < 0 ? r : set_path(resolved, "root", path, err);
	}
	if (spec->root.kind != KILN__ROOT_DIRECTORY && spec->root.kind != KILN__ROOT_TAR)
		return 0;
	r = stage(images, source, &staged, err);
	if (r < 0)
		return kiln__prefix(err, "root"), r;
	if (staged != KILN_FD_NONE)
		r = kiln__root_image_get(images, NULL, staged, &path, err);
	else
		r = kiln__root_image_get(images, source->path, source->fd, &path, err);
	return r < 0 ? r : set_path(resolved, "root", path, err);
}

/* A new disk for each start: what was written in the last one is gone, as it is from memory. */
int kiln__resolve_overlay(const struct kiln__spec *spec, const char *dir, json_t *resolved,
			  kiln_error *err)
{
	uint64_t size = spec->root.overlay_size ? spec->root.overlay_size : OVERLAY_DEFAULT;
	kiln__autofree char *path = NULL;
	int r;

	if (spec->root.kind == KILN__ROOT_NONE || spec->root.overlay != KILN__OVERLAY_DISK)
		return 0;
	path = kiln__strf("%s/overlay", dir);
	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__os_remove(path, err);
	if (r == 0)
		r = kiln__scratch_create(path, size, err);
	if (r == 0)
		r = set_path(resolved, "overlay", path, err);
	if (r < 0)
		kiln__stage(err, "root");
	return r;
}

static int resolve_boot(const struct kiln__images *images, const struct kiln__spec *spec,
			json_t *resolved, kiln_error *err)
{
	struct kiln__kernel kernel = {.image = NULL};
	int r = get_kernel(images, spec, &kernel, err);

	if (r < 0)
		return kiln__stage(err, "kernel"), r;
	r = set_path(resolved, "kernel", kernel.image, err);
	if (r == 0)
		r = add_initramfs(images, spec, &kernel, resolved, err);
	kiln__kernel_done(&kernel);
	if (r < 0)
		return kiln__stage(err, "initramfs"), r;
	r = add_root(images, spec, resolved, err);
	if (r < 0)
		kiln__stage(err, "root");
	return r;
}

static int resolve_own(const struct kiln__images *images, const struct kiln__own_disks *own,
		       struct kiln__spec *spec, json_t *resolved, kiln_error *err)
{
	struct kiln__own_disks with = *own;
	kiln__autofree char *guest = NULL;
	int r = 0;

	if (images->only_cached && (kiln__spec_has_seed(spec) || spec->volume_count))
		return kiln__fail(err, KILN_EBUSY, "seeds and volumes are made ready each time");
	if (kiln__spec_has_seed(spec))
		r = find_guest(spec->arch, &guest, err);
	with.guest = guest;
	return r < 0 ? r : kiln__own_disks_make(&with, spec, resolved, err);
}

/* --- the thread --------------------------------------------------------------------------- */

static void resolving_free(struct kiln__resolving *resolving)
{
	kiln__os_close(resolving->held);
	kiln__spec_free(resolving->spec);
	free(resolving->config);
	kiln__cache_free(resolving->cache);
	kiln__home_done(&resolving->home);
	free(resolving->id);
	free(resolving->name);
	free(resolving->dir);
	json_decref(resolving->resolved);
	free(resolving);
}

/* What the image says of its process into the document, and so into the spec. */
static int apply_image(const struct kiln__images *images, struct kiln__resolving *resolving,
		       kiln_error *err)
{
	const struct kiln__image_request request = {
		.reference = resolving->spec->root.image,
		.arch = resolving->spec->arch,
		.brief = true,
		.held = &resolving->held,
	};
	const struct kiln__imageconf how = {.commanded = false};
	kiln__cleanup(kiln_config_free_autop) kiln_config *config = NULL;
	kiln__autofree char *text = NULL;
	struct kiln__spec *spec = NULL;
	struct kiln__image image;
	int r = kiln_config_parse(resolving->config, strlen(resolving->config), &config, err);

	if (r == 0)
		r = kiln__image_get(images, &request, &image, err);
	if (r < 0)
		return r;
	r = kiln__imageconf_apply(config, &image, &how, err);
	kiln__image_done(&image);
	if (r == 0)
		r = kiln_config_print(config, &text, err);
	if (r == 0)
		r = kiln__config_spec(config, &spec, err);
	if (r < 0)
		return kiln__stage(err, "image"), r;
	kiln__spec_free(resolving->spec);
	free(resolving->config);
	resolving->spec = spec;
	resolving->config = kiln__take(text);
	resolving->applied = true;
	return 0;
}

static int resolve_all(struct kiln__resolving *resolving, const struct kiln__images *images,
		       kiln_error *err)
{
	const struct kiln__own_disks own = {
		.home = &resolving->home,
		.id = resolving->id,
		.name = resolving->name,
		.dir = resolving->dir,
	};
	struct kiln__spec *spec;
	int r = 0;

	if (resolving->config && !resolving->applied)
		r = apply_image(images, resolving, err);
	spec = resolving->spec;
	/* An image is held by whoever made the VM name it; what is found of others is held here. */
	if (r == 0 && resolving->held == KILN_FD_NONE &&
	    (spec->root.kind == KILN__ROOT_DIRECTORY || spec->root.kind == KILN__ROOT_TAR))
		r = kiln__store_hold_here(images, !images->only_cached, &resolving->held, err);
	if (r == 0 && spec->firmware == KILN__FIRMWARE_NONE)
		r = resolve_boot(images, spec, resolving->resolved, err);
	if (r == 0)
		r = resolve_own(images, &own, spec, resolving->resolved, err);
	/* Here, since what is not on record is found out by running guest code. */
	return r < 0 ? r : kiln__backend_ask_kvm(spec, images->only_cached, &resolving->kvm);
}

/* On the thread, by what makes images. */
static void on_progress(void *data, const char *text)
{
	kiln__work_tell(data, text);
}

static void run(struct kiln__work *work, void *data)
{
	struct kiln__resolving *resolving = data;
	const struct kiln__images images = {
		.cache = resolving->cache,
		.progress = on_progress,
		.data = work,
	};

	resolving->failed = resolve_all(resolving, &images, &resolving->err) < 0;
}

static void told(void *data, const char *text)
{
	struct kiln__resolving *resolving = data;

	resolving->handler->progress(resolving->data, text);
}

static void done(void *data)
{
	struct kiln__resolving *resolving = data;
	bool failed = resolving->failed;

	resolving->handler->done(resolving->data, resolving->spec, resolving->config,
				 failed ? NULL : resolving->resolved, &resolving->kvm,
				 failed ? &resolving->err : NULL);
	resolving_free(resolving);
}

static void drop(void *data)
{
	resolving_free(data);
}

static const struct kiln__work_ops work_ops = {run, told, done, drop};

/*
 * On the caller's thread: what most starts need is in the cache, and found in less time than it
 * takes to make a thread. Whatever fails here is done again there, with time.
 */
static bool resolve_at_once(struct kiln__resolving *resolving)
{
	const struct kiln__images images = {.cache = resolving->cache, .only_cached = true};

	if (resolve_all(resolving, &images, NULL) == 0)
		return true;
	json_object_clear(resolving->resolved);
	return false;
}

bool kiln__resolve_is_needless(const struct kiln__spec *spec)
{
	return strcmp(spec->backend, "fake") == 0;
}

static int copy_owner(struct kiln__resolving *resolving, const struct kiln__vmdir *vm,
		      kiln_error *err)
{
	int r = kiln__home_init(&resolving->home, vm->home->dir, vm->home->runtime, NULL, err);

	if (r < 0)
		return r;
	resolving->id = strdup(vm->id);
	resolving->dir = strdup(vm->path);
	resolving->name = vm->name ? strdup(vm->name) : NULL;
	if (!resolving->id || !resolving->dir || (vm->name && !resolving->name))
		return kiln__fail_nomem(err);
	return 0;
}

int kiln__resolve(struct kiln__resolving **ret, kiln_loop *loop, const struct kiln__vmdir *vm,
		  struct kiln__spec *spec, const char *config,
		  const struct kiln__resolving_handler *handler, void *data, kiln_error *err)
{
	struct kiln__resolving *resolving = calloc(1, sizeof(*resolving));
	int r;

	if (!resolving) {
		kiln__spec_free(spec);
		return kiln__fail_nomem(err);
	}
	resolving->held = KILN_FD_NONE;
	resolving->spec = spec;
	resolving->handler = handler;
	resolving->data = data;
	resolving->resolved = json_object();
	if (spec->root.kind == KILN__ROOT_IMAGE && !spec->root.image_applied)
		resolving->config = strdup(config);
	if (!resolving->resolved || (spec->root.kind == KILN__ROOT_IMAGE &&
				     !spec->root.image_applied && !resolving->config))
		r = kiln__fail_nomem(err);
	else
		r = kiln__resolve_cache(vm->home, &resolving->cache, err);
	if (r == 0 && spec->root.kind == KILN__ROOT_IMAGE)
		r = kiln__homes_join(vm->home, resolving->cache, err);
	if (r == 0)
		r = copy_owner(resolving, vm, err);
	if (r == 0 && resolve_at_once(resolving)) {
		done(resolving);
		return 1;
	}
	if (r == 0)
		r = kiln__work_start(&resolving->work, loop, &work_ops, resolving, err);
	if (r < 0) {
		resolving_free(resolving);
		return r;
	}
	*ret = resolving;
	return 0;
}

void kiln__resolving_abandon(struct kiln__resolving *resolving)
{
	if (resolving)
		kiln__work_abandon(resolving->work);
}

/* --- for reports ------------------------------------------------------------------------------ */

static int get_distro_kernel(const struct kiln__home *home,
			     const struct kiln__kernel_request *request,
			     struct kiln__images *images, struct kiln__default_kernel *ret,
			     kiln_error *err)
{
	kiln__cleanup(kiln__cache_free_autop) struct kiln__cache *cache = NULL;
	struct kiln__kernel kernel;
	int r = kiln__resolve_cache(home, &cache, err);

	if (r < 0)
		return r;
	images->cache = cache;
	r = kiln__kernel_get(images, request, &kernel, err);
	if (r < 0)
		return r;
	*ret = (struct kiln__default_kernel){
		.path = kiln__take(kernel.image),
		.fetched_ns = kiln__kernel_distro_time(images, request->arch),
	};
	memcpy(ret->release, kernel.release, sizeof(ret->release));
	kiln__kernel_done(&kernel);
	return 0;
}

int kiln__resolve_default_kernel(const struct kiln__home *home, const char *arch,
				 struct kiln__default_kernel *ret, kiln_error *err)
{
	const struct kiln__kernel_request request = {
		.origin = KILN__KERNEL_DISTRO,
		.fd = KILN_FD_NONE,
		.arch = arch,
		.only_cached = true,
	};
	struct kiln__images images = {0};

	return get_distro_kernel(home, &request, &images, ret, err);
}

int kiln__resolve_renew_kernel(const struct kiln__home *home, const char *arch,
			       void (*progress)(void *data, const char *text), void *data,
			       struct kiln__default_kernel *ret, kiln_error *err)
{
	const struct kiln__kernel_request request = {
		.origin = KILN__KERNEL_DISTRO,
		.fd = KILN_FD_NONE,
		.arch = arch,
		.refresh = true,
	};
	struct kiln__images images = {.progress = progress, .data = data};

	return get_distro_kernel(home, &request, &images, ret, err);
}
