/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_QEMU_PROBE_H
#define KILN_QEMU_PROBE_H

#include "backend.h"

/* The path of QEMU for guests of @arch, malloc'ed: @configured, or by $PATH. KILN_ENOENT with the
 * package's name. */
int kiln__qemu_find(const char *configured, const char *arch, char **ret, kiln_error *err);

/* The path of UEFI's image for guests of @arch, static. NULL: KILN_ENOENT, with the package's name.
 */
const char *kiln__qemu_find_uefi(const char *arch, kiln_error *err);

/* The backend's probe(). */
void kiln__qemu_probe(const char *arch, struct kiln__probe *ret);

/*
 * Whether to use KVM for @spec: 1 or 0, or KILN_ENOTSUP with the reason if
 * spec->accel demands it and it does not work. @reason, if not NULL, gets why not.
 */
int kiln__qemu_use_kvm(const struct kiln__spec *spec, kiln_error *reason, kiln_error *err);

#endif
