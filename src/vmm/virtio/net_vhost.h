/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hands a network device's queues to the kernel (/dev/vhost-net): kicks and interrupts then go
 * between it and the guest, frames between it and the TAP interface, and none of it through this
 * process.
 */
#ifndef KILN_VMM_NET_VHOST_H
#define KILN_VMM_NET_VHOST_H

#include <kiln/error.h>

#include "fd.h"
#include "virtio.h"

struct kiln__net_vhost;

/*
 * Both queues of @device run; @vhost is /dev/vhost-net, opened by this process, @tap the interface;
 * borrowed until the stop. KILN_ENOTSUP: the transport has no descriptors to give, or this kernel
 * lacks a feature that the driver uses.
 */
int kiln__net_vhost_start(struct kiln__net_vhost **ret, kiln_fd vhost, kiln_fd tap,
			  struct kiln__virtio *device, kiln_error *err);

/* Takes both queues back where the kernel left them. NULL is allowed. */
void kiln__net_vhost_stop(struct kiln__net_vhost *vhost);

#endif
