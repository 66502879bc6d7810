/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files of a kernel's module directory must be loaded, in which order, to
 * have a list of modules. Pure functions over the text of depmod's and the
 * kernel's own lists (modules.dep(5), modules.order, modules.builtin) and over
 * modules themselves, none of which is trusted.
 */
#ifndef KILN_IMAGE_MODULES_H
#define KILN_IMAGE_MODULES_H

#include <kiln/error.h>

#include "buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kiln__modules;

int kiln__modules_new(struct kiln__modules **ret, kiln_error *err);
void kiln__modules_free(struct kiln__modules *modules); /* NULL is allowed */

/*
 * Adds what a list says. Lists may come in any order and each may be missing; the
 * first path of a module wins. Paths that are absolute or have ".." in
 * them are KILN_EFORMAT. modules.dep also brings dependencies; with modules.order alone
 * (an unpacked package, where depmod has not run) they are asked of the reader below.
 */
int kiln__modules_add_dep(struct kiln__modules *modules, const char *text, size_t len,
			  kiln_error *err);
int kiln__modules_add_order(struct kiln__modules *modules, const char *text, size_t len,
			    kiln_error *err);
int kiln__modules_add_builtin(struct kiln__modules *modules, const char *text, size_t len,
			      kiln_error *err);

/*
 * Asks for the dependencies of the module at @path (relative to the directory), where no list
 * gave them: module names separated by commas are appended to @ret_names.
 */
typedef int (*kiln__modules_read_fn)(void *data, const char *path, struct kiln__buf *ret_names,
				     kiln_error *err);

/*
 * The files for @wanted, NULL-terminated module names ('-' and '_' are the same), each after
 * what it depends on, each once. A name ending in '?' may be missing altogether; otherwise
 * that is KILN_ENOENT, naming it. What is built in needs no file. The paths belong
 * to @modules, the array to the caller (free()); it ends with NULL.
 */
int kiln__modules_resolve(struct kiln__modules *modules, const char *const *wanted,
			  kiln__modules_read_fn read, void *data, const char ***ret_paths,
			  kiln_error *err);

/*
 * The "depends" of an uncompressed module: the text after "depends=" in its .modinfo section, as
 * it stands (names separated by commas), copied to @ret. KILN_EFORMAT if this is no ELF module.
 */
int kiln__module_depends(const char *name, const uint8_t *bytes, size_t len, struct kiln__buf *ret,
			 kiln_error *err);

#endif
