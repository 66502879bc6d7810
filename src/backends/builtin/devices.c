/* SPDX-License-Identifier: Apache-2.0 */
#include "devices.h"

#include "err.h"

static int plug(struct kiln__devices *d, const struct kiln__virtio_bus *bus,
		struct kiln__virtio *device, kiln_error *err)
{
	int r;

	if (d->count == KILN__MAX_DEVICES)
		return kiln__fail(err, KILN_ENOSPC, "more than %d devices", KILN__MAX_DEVICES);
	r = kiln__virtio_pci_new(&d->transports[d->count], bus, device, err);
	if (r == 0)
		d->count++;
	return r;
}

static bool on_incoming(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	const struct kiln__backend_host *host = data;

	return host->incoming(host->data, port, from, stream);
}

/* First of all: by it the guest says hello. */
static int add_vsock(struct kiln__devices *d, const struct kiln__backend_host *host,
		     const struct kiln__virtio_bus *bus, kiln_error *err)
{
	int r;

	if (!host->spec->vsock)
		return 0;
	r = kiln__vsock_new(&d->vsock, host->loop, host->spec->cid ? host->spec->cid : 3, err);
	if (r < 0)
		return r;
	kiln__vsock_listen(d->vsock, on_incoming, (void *)host);
	return plug(d, bus, kiln__vsock_device(d->vsock), err);
}

int kiln__devices_check(const struct kiln__spec *spec, kiln_error *err)
{
	if (spec->network_count)
		return kiln__fail(err, KILN_ENOTSUP, "networks: not on the builtin backend yet");
	return 0;
}

int kiln__devices_init(struct kiln__devices *d, const struct kiln__backend_host *host,
		       const struct kiln__virtio_bus *bus, kiln_error *err)
{
	return add_vsock(d, host, bus, err);
}

void kiln__devices_reset(struct kiln__devices *d)
{
	for (size_t i = 0; i < d->count; i++)
		kiln__virtio_pci_reset(d->transports[i]);
}

void kiln__devices_done(struct kiln__devices *d)
{
	for (size_t i = 0; i < d->count; i++)
		kiln__virtio_pci_free(d->transports[i]);
	kiln__vsock_free(d->vsock);
	*d = (struct kiln__devices){.count = 0};
}
