/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what a configuration asks for to files that a VMM can open: the kernel, an
 * initramfs with the modules that this configuration needs, and the root as a squashfs.
 * Found in the image cache, or made, which takes seconds.
 */
#ifndef KILN_MANAGER_RESOLVE_H
#define KILN_MANAGER_RESOLVE_H

#include <kiln/error.h>

#include "home.h"

#include <jansson.h>

/*
 * Blocks. *ret is the "resolved" object of docs/control-protocol.md, a new reference;
 * empty for a backend that boots nothing. @dir: the VM's directory, where an ephemeral disk is made.
 */
int kiln__resolve(const struct kiln__home *home, const char *dir, const char *config_text,
		  json_t **ret, kiln_error *err);

/*
 * The kernel file that a machine of @arch gets when its configuration names none, malloc'ed.
 * Downloads nothing: KILN_ENOENT if there is none yet.
 */
int kiln__resolve_default_kernel(const struct kiln__home *home, const char *arch, char **ret_path,
				 kiln_error *err);

#endif
