/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices of a built-in machine: made from its configuration, each on PCI. The order in which
 * they are plugged in is the one in which the guest finds them.
 */
#ifndef KILN_BACKENDS_BUILTIN_DEVICES_H
#define KILN_BACKENDS_BUILTIN_DEVICES_H

#include "backend.h"
#include "balloon.h"
#include "blk.h"
#include "console.h"
#include "net.h"
#include "ram.h"
#include "rng.h"
#include "usernet.h"
#include "virtio_pci.h"
#include "vsock.h"

#define KILN__MAX_DEVICES 31 /* PCI's slots but the host bridge's */

struct kiln__devices {
	struct kiln__virtio_pci *transports[KILN__MAX_DEVICES];
	size_t count;
	struct kiln__vsock *vsock; /* NULL: none was asked for */
	struct kiln__blk *disks[KILN__MAX_DEVICES];
	size_t disk_count;
	struct kiln__net *nets[KILN__MAX_DEVICES];
	struct kiln__usernet *usernets[KILN__MAX_DEVICES]; /* of the same index; NULL: a TAP's */
	size_t net_count;
	struct kiln__console *console; /* NULL: a serial port is */
	struct kiln__rng *rng;
	struct kiln__balloon *balloon;
};

/* Whether there will be any: without, the machine needs no PCI. */
bool kiln__devices_any(const struct kiln__spec *spec);

/* Refuses what these devices cannot do, by its key's path. */
int kiln__devices_check(const struct kiln__spec *spec, kiln_error *err);

/* Opens what they need. What has been made so far is for kiln__devices_done() on failure too. */
int kiln__devices_init(struct kiln__devices *devices, const struct kiln__backend_host *host,
		       const struct kiln__virtio_bus *bus, struct kiln__ram *ram, kiln_error *err);

/* Somebody talks with the guest by what is no device of these, or is about to: rng.h. */
void kiln__devices_active(struct kiln__devices *devices);

/* As before the guest ran: no vCPU runs. */
void kiln__devices_reset(struct kiln__devices *devices);

/* backend.h, keep(): what runs beside them. */
int kiln__devices_keep(struct kiln__devices *devices, unsigned *count, kiln_error *err);

/* No vCPU runs any more. */
void kiln__devices_done(struct kiln__devices *devices);

#endif
