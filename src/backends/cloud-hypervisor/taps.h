/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TAP interfaces that kiln opens itself, before it gives up its rights: Cloud Hypervisor gets their
 * descriptors with vm.add-net, between vm.create and vm.boot, and needs no network of the host's.
 */
#ifndef KILN_CLOUD_HYPERVISOR_TAPS_H
#define KILN_CLOUD_HYPERVISOR_TAPS_H

#include "apivmm.h"

#define KILN__CLOUD_HYPERVISOR_MAX_TAPS 16

struct kiln__cloud_hypervisor_taps {
	kiln_fd fds[KILN__CLOUD_HYPERVISOR_MAX_TAPS];
	size_t count;
};

/* Opens those of @spec, if it wants that: networks[N] becomes fds[N]. */
int kiln__cloud_hypervisor_open_taps(struct kiln__cloud_hypervisor_taps *ret,
				     const struct kiln__spec *spec, kiln_error *err);
void kiln__cloud_hypervisor_close_taps(struct kiln__cloud_hypervisor_taps *taps);

/* vm.create with @config, and what it is told with descriptors, which stay the caller's. */
void kiln__cloud_hypervisor_create(const struct kiln__cloud_hypervisor_taps *taps,
				   const json_t *config, struct kiln__api_steps *steps);

#endif
