/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's command line, as a pure function of the configuration. */
#ifndef KILN_QEMU_ARGV_H
#define KILN_QEMU_ARGV_H

#include "spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kiln__qemu_machine {
	KILN__QEMU_MICROVM, /* x86_64: virtio-mmio described by ACPI, no PCI */
	KILN__QEMU_Q35,     /* x86_64: PCI, firmware */
	KILN__QEMU_VIRT,    /* aarch64 */
};

/* Descriptors in QEMU's numbering. */
#define KILN__QEMU_FD_QMP     3
#define KILN__QEMU_FD_CONSOLE 4
#define KILN__QEMU_FD_VSOCK   5
#define KILN__QEMU_FD_KERNEL  6
#define KILN__QEMU_FD_INITRD  7
#define KILN__QEMU_FD_DISK    8 /* and up: the root, then disks in their order, then shares */

struct kiln__qemu_plan {
	const struct kiln__spec *spec;
	const char *id;
	const char *binary;
	enum kiln__qemu_machine machine;
	bool kvm;
	bool firmware_file; /* KILN__QEMU_FD_KERNEL is firmware */
	bool root_disk;     /* the root is the first disk */
	uint32_t tsc_khz;   /* told to the guest; 0: it finds out by itself */
};

/* The machine type for a configuration; refuses by key what cannot be. */
int kiln__qemu_machine_of(const struct kiln__spec *spec, enum kiln__qemu_machine *ret,
			  kiln_error *err);

/*
 * The argument vector, NULL-terminated; free with kiln__qemu_argv_free(). NULL when
 * out of memory.
 */
char **kiln__qemu_argv(const struct kiln__qemu_plan *plan);
void kiln__qemu_argv_free(char **argv);

/* The guest's kernel command line, malloc'ed. */
char *kiln__qemu_cmdline(const struct kiln__qemu_plan *plan);

#endif
