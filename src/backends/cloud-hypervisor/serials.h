/* SPDX-License-Identifier: Apache-2.0 */
/* By what serial numbers guests of older versions see their disks. */
#ifndef KILN_CLOUD_HYPERVISOR_SERIALS_H
#define KILN_CLOUD_HYPERVISOR_SERIALS_H

#include "cloud_hypervisor_config.h"
#include "handles.h"

/* The first version that takes a serial number. */
#define KILN__CLOUD_HYPERVISOR_SERIAL 35000

struct kiln__cloud_hypervisor_serials {
	char of[KILN__CLOUD_HYPERVISOR_MAX_DISKS][21];
};

/* What those versions make of the disks in @handles. */
int kiln__cloud_hypervisor_note_serials(struct kiln__cloud_hypervisor_serials *ret,
					const struct kiln__handles *handles, kiln_error *err);

/* The one for which @serial was wanted. */
const char *kiln__cloud_hypervisor_find_serial(const struct kiln__cloud_hypervisor_serials *serials,
					       const struct kiln__spec *spec, const char *serial);

#endif
