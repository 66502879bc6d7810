/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration of kiln as a VZVirtualMachineConfiguration. */
#ifndef KILN_BACKENDS_VZ_CONFIG_H
#define KILN_BACKENDS_VZ_CONFIG_H

#include "framework.h"
#include "spec.h"

struct kiln__vz_plan {
	const struct kiln__spec *spec;
	const char *kernel; /* files of their own: the framework takes no range and no descriptor */
	const char *initrd; /* or NULL */
	const char *machine_id; /* a file, made if it is missing */
	const char *efi_store;  /* the same; NULL: the firmware's variables do not last */
	const char *stage_dir;  /* for sockets of this life's */
	/* The framework's ends of the console; what was taken over is KILN_FD_NONE afterwards. */
	kiln_fd console_in;
	kiln_fd console_out;
	id watcher; /* borrowed: the delegate of network disks */
	/* Found out: why the state of this VM cannot be saved; code 0: it can. */
	kiln_error no_save;
};

/* Devices of one kind, held until the configuration has them. */
#define KILN__VZ_MAX_DEVICES 32
struct kiln__vz_devices {
	id items[KILN__VZ_MAX_DEVICES];
	size_t count;
};

/* Takes over the caller's reference. */
int kiln__vz_add(struct kiln__vz_devices *devices, id device, kiln_error *err);

/* 0, or @key is refused, since this system has no @class. */
#define kiln__vz_need(class, key, since, err)                                                      \
	(kiln__has_class(class) ? 0 : kiln__fail(err, KILN_ENOTSUP, "%s needs %s", key, since))

/* What this framework, or any, cannot do, by the key's path. Nothing is made. */
int kiln__vz_check(const struct kiln__spec *spec, kiln_error *err);

/* What is left of @memory when a balloon takes @bytes; 0: it cannot. */
uint64_t kiln__vz_target(uint64_t memory, uint64_t bytes, kiln_error *err);

/* On the queue. The caller's reference; validated. */
int kiln__vz_config_make(VZVirtualMachineConfiguration **ret, struct kiln__vz_plan *plan,
			 kiln_error *err);

/* Its parts: the device configurations of each kind. */
typedef int kiln__vz_adder(struct kiln__vz_devices *devices, struct kiln__vz_plan *plan,
			   kiln_error *err);
kiln__vz_adder kiln__vz_add_disks, kiln__vz_add_networks, kiln__vz_add_serial,
	kiln__vz_add_consoles, kiln__vz_add_shares;

/* The kernel's command line, malloc'ed; NULL: out of memory. */
char *kiln__vz_cmdline(const struct kiln__spec *spec);

#endif
