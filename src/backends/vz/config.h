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
	/* Kept from boot to boot; NULL: nothing is kept, the guest finds new ones each time. */
	const char *machine_id; /* a file */
	const char *efi_store;  /* a file */
	/* The framework's ends of the console; what was taken over is KILN_FD_NONE afterwards. */
	kiln_fd console_in;
	kiln_fd console_out;
	/* Found out: why the state of this VM cannot be saved; code 0: it can. */
	kiln_error no_save;
};

/* What this framework, or any, cannot do, by the key's path. Nothing is made. */
int kiln__vz_check(const struct kiln__spec *spec, kiln_error *err);

/* On the queue. The caller's reference; validated. */
int kiln__vz_config_make(VZVirtualMachineConfiguration **ret, struct kiln__vz_plan *plan,
			 kiln_error *err);

/* The kernel's command line, malloc'ed; NULL: out of memory. */
char *kiln__vz_cmdline(const struct kiln__spec *spec);

#endif
