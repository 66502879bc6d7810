/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A random base for a kernel, as the kernel's own decompressor would choose and apply it
 * (CONFIG_RANDOMIZE_BASE), with the table that its build puts behind vmlinux in a bzImage's
 * payload.
 */
#ifndef KILN_VMM_BOOT_RELOCATE_H
#define KILN_VMM_BOOT_RELOCATE_H

#include "vmlinux.h"

/* How far the kernel lies above where it was linked: modulo 2^64, so it may be below, too. */
struct kiln__shift {
	uint64_t physical;
	uint64_t virtual;
};

/* Chooses among the places of @kernel in RAM below @limit. KILN_EINVAL if there is none. */
int kiln__relocate_choose(const struct kiln__vmlinux *kernel, const char *name, uint64_t limit,
			  struct kiln__shift *ret, kiln_error *err);

/*
 * Moves the addresses in the kernel that kiln__vmlinux_load() has put into @ram, each page of it
 * this VM's own. KILN_ENOTSUP if its file has no table, KILN_EFORMAT if that is damaged.
 */
int kiln__relocate_apply(struct kiln__ram *ram, const struct kiln__vmlinux *kernel,
			 const struct kiln__ram_file *file, const struct kiln__shift *shift,
			 kiln_error *err);

#endif
