/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_STANDINS_VSOCK_RELAY_H
#define TESTS_STANDINS_VSOCK_RELAY_H

#include "fd.h"
#include "loop.h"

struct relay {
	int qemu;
	int device;
};

/* Relays between QEMU's end and *ret_device, for the rest of the process's life. */
int relay_start(struct relay *relay, kiln_loop *loop, kiln_fd qemu, kiln_fd *ret_device,
		kiln_error *err);

#endif
