/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_DEVICE_H
#define KILN_GUEST_DEVICE_H

#include <kiln/error.h>

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define DEVICE_PATH_MAX 64

/*
 * The device node of a block device named by its serial, or by its own path. If it is not
 * there, waits (up to ten seconds) for the kernel's word that it is, if @wait says so.
 */
int find_device(const char *name, bool wait, char ret_path[DEVICE_PATH_MAX], kiln_error *err);

/* What a block device holds, by its magic numbers: a mount type, or NULL if it is none of those
 * known. */
const char *probe_fstype(const char *path);

#endif
