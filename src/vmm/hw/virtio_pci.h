/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI transport of virtio devices (virtio 1.2, section 4.1), modern only.
 *
 * What it costs a guest. The common configuration, the device's own configuration and
 * the MSI-X table lie in one page that is read without an exit; writes exit, and refresh what then
 * reads differently. Kicks are doorbells: they wake the loop and do not end the vCPU's run.
 * Interrupts are messages, sent by one system call.
 *
 * Threads. Registers are written on vCPU threads, under the transport's lock; the device
 * model belongs to the loop's thread alone. So what the driver asks of the model (start
 * the queues, reset, a configuration write) is noted and carried out on the loop, and no vCPU ever
 * waits for that: until a reset is done, the status does not read 0, which is what drivers wait for
 * (4.1.4.3.2).
 */
#ifndef KILN_VMM_VIRTIO_PCI_H
#define KILN_VMM_VIRTIO_PCI_H

#include <kiln/hv.h>

#include "gmem.h"
#include "loop.h"
#include "pci.h"
#include "virtio.h"

struct kiln__virtio_pci;

/* What transports share: a VM's devices on one loop. All borrowed, for life. */
struct kiln__virtio_bus {
	kiln_hv_vm *vm;
	kiln_loop *loop;
	struct kiln__pci *pci;
	const struct kiln__gmem *mem;
	/* A driver broke its side of a device. On the loop's thread. May be NULL. */
	void (*fault)(void *data, const char *device, const char *what);
	void *data;
	/* A driver has kicked a device. On the loop's thread. May be NULL. */
	void (*kicked)(void *data, const struct kiln__virtio *device);
	void *kicked_data;
};

/*
 * Plugs a device in: attaches to it, so it must be attached to nothing else. Before the guest runs,
 * on the loop's thread, as all here.
 */
int kiln__virtio_pci_new(struct kiln__virtio_pci **ret, const struct kiln__virtio_bus *bus,
			 struct kiln__virtio *device, kiln_error *err);

/* The device as it was before the guest ran. No vCPU runs. */
void kiln__virtio_pci_reset(struct kiln__virtio_pci *transport);

/* Parts from the device. No vCPU runs any more. NULL is allowed. */
void kiln__virtio_pci_free(struct kiln__virtio_pci *transport);

#endif
