/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels, initramfs and root images for a machine: found in the cache, or made by
 * kiln-image and put there.
 *
 * All of these functions block: for some microseconds on a hit (an input's stat, a
 * readlink, an access), for seconds on a miss, and as long as another process needs that is making
 * the same. What they return are paths of complete, immutable files in the cache. A struct
 * kiln__images is immutable: any thread, and any number of them.
 */
#ifndef KILN_IMAGE_IMAGES_H
#define KILN_IMAGE_IMAGES_H

#include <kiln/error.h>

#include "cache.h"
#include "cleanup.h"
#include "fd.h"

#include <stdbool.h>
#include <stdint.h>

struct kiln__images {
	const struct kiln__cache *cache; /* borrowed */
	/*
	 * Told in one line what takes long ("downloading ..."), and what an image lacks. May be
	 * NULL.
	 */
	void (*progress)(void *data, const char *text);
	void *data;
	/*
	 * For who must not wait: what is not there, or takes longer than looking for it, fails with
	 * KILN_EBUSY.
	 */
	bool only_cached;
};

/* --- kernels ---------------------------------------------------------------------- */

enum kiln__kernel_origin {
	KILN__KERNEL_FILE,   /* a file given by the user, the running kernel's perhaps */
	KILN__KERNEL_DISTRO, /* the distribution's kernel for virtual machines, got by apt once */
};

struct kiln__kernel_request {
	enum kiln__kernel_origin origin;
	const char *path; /* FILE: a path, or NULL and a descriptor */
	kiln_fd fd;
	const char *modules; /* its module directory (lib/modules/RELEASE), or NULL: found by
				release, if there is one */
	const char *arch;    /* of the machine, "x86_64" or "aarch64" */
	bool refresh; /* DISTRO: ask apt, with new package lists, whether there is a newer one */
	bool only_cached; /* DISTRO: do not ask apt at all; KILN_ENOENT if there is none yet */
};

struct kiln__kernel {
	char *image;   /* what a VMM boots: vmlinux with PVH entry, arm64 Image, else the bzImage as
			  it was */
	char *modules; /* module directory, or NULL: only built-in drivers */
	char release[80]; /* as uname -r will say it; empty if unknown */
	char format[16];  /* "elf", "image", "bzimage" */
	bool pvh;
};

/*
 * KILN_EFORMAT and KILN_ENOTSUP say what the file is instead of a kernel for
 * this architecture; KILN_ENOENT what is missing.
 */
int kiln__kernel_get(const struct kiln__images *images, const struct kiln__kernel_request *request,
		     struct kiln__kernel *ret, kiln_error *err);
void kiln__kernel_done(struct kiln__kernel *kernel);

/* The file of the running kernel, in /boot. KILN_ENOENT or KILN_EACCES if this host has none to
 * give. */
int kiln__kernel_of_host(char **ret, kiln_error *err);

/* When apt was last asked for the distribution's kernel, in ns since 1970; 0: never. */
int64_t kiln__kernel_distro_time(const struct kiln__images *images, const char *arch);

/* --- initramfs --------------------------------------------------------------------- */

/*
 * The initramfs with @init (a static program) as /init and the modules of @wanted,
 * NULL-terminated names; one that ends in '?' may be missing. With a kernel that has no module
 * directory, no module is put in and none is missed: what it needs is built in or the guest says
 * so.
 */
int kiln__initramfs_get(const struct kiln__images *images, const struct kiln__kernel *kernel,
			const char *init, const char *const *wanted, char **ret_path,
			kiln_error *err);

/* --- root images ---------------------------------------------------------------------- */

/*
 * A squashfs of the directory or tar archive at @path (or @fd, if @path is NULL), or
 * the file itself where it is a squashfs already. Owners, modes, times, links, device nodes
 * and extended attributes are kept. Other file systems mounted in a directory are left
 * out, and so are sockets. A file of the directory that this user may not read is KILN_EACCES.
 *
 * A directory is looked through whole on each call (see source.h); an archive is one stat.
 * KILN_EBUSY if the input changed while it was read.
 */
int kiln__root_image_get(const struct kiln__images *images, const char *path, kiln_fd fd,
			 char **ret_path, kiln_error *err);

/*
 * What the cache calls the image of the directory or archive as it is now (malloc'ed): for who
 * removes the others. KILN_ENOENT if none can be told of it.
 */
int kiln__root_image_name(const struct kiln__images *images, const char *path, char **ret,
			  kiln_error *err);

#endif
