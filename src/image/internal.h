/* SPDX-License-Identifier: Apache-2.0 */
/* What the makers of images share. */
#ifndef KILN_IMAGE_INTERNAL_H
#define KILN_IMAGE_INTERNAL_H

#include "images.h"

#include <jansson.h>

/* Part of every object's name: raised when what is made of the same input changes. */
#define KILN__IMAGE_FORMAT 1

void kiln__images_progress(const struct kiln__images *images, const char *fmt, ...)
	KILN_PRINTF(2, 3);

/* KILN_EBUSY if only what is there was asked for: before anything that takes time. */
int kiln__images_may_take_time(const struct kiln__images *images, kiln_error *err);

/* Passes on the "notes" of kiln-image's result. */
void kiln__images_notes(const struct kiln__images *images, const json_t *result);

/* A new file for an object: read and write, mode 0600, must not exist. */
int kiln__images_create(const char *path, kiln_fd *ret, kiln_error *err);

/* KILN_EBUSY unless kiln-image read the bytes that the object is named by. */
int kiln__images_check_digest(const json_t *result, const char *digest, const char *name,
			      kiln_error *err);

/*
 * Finishes a kernel object in the directory @path with the description that kiln-image gave: as
 * the target of a symbolic link "about" (RELEASE,ARCH,FORMAT,PVH,MODULES), which one call reads.
 */
int kiln__kernel_describe(const char *path, const json_t *result, kiln_error *err);

/* Makes sure that the object of the distribution's kernel exists, by apt; @record leads to it then.
 */
int kiln__apt_kernel(const struct kiln__images *images, const char *arch, bool refresh,
		     const char *record, char **ret_path, kiln_error *err);

#endif
