/* SPDX-License-Identifier: Apache-2.0 */
#include "devices.h"

#include "err.h"
#include "log.h"

#include <stdio.h>
#include <string.h>

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

static enum kiln__blk_cache cache_of(const char *name)
{
	if (name && strcmp(name, "none") == 0)
		return KILN__BLK_DIRECT;
	return name && strcmp(name, "unsafe") == 0 ? KILN__BLK_UNSAFE : KILN__BLK_WRITEBACK;
}

static int add_disk(struct kiln__devices *d, const struct kiln__backend_host *host,
		    const struct kiln__virtio_bus *bus, const struct kiln__disk *disk,
		    const char *key, kiln_error *err)
{
	const struct kiln__blk_options options = {
		.path = disk->source.path,
		.fd = disk->source.fd,
		.offset = disk->source.offset,
		.length = disk->source.length,
		.readonly = disk->readonly,
		.discard = disk->discard,
		.serial = disk->serial,
		.cache = cache_of(disk->cache),
	};
	struct kiln__blk *blk;
	int r;

	if (d->disk_count == KILN__MAX_DEVICES)
		return kiln__fail(err, KILN_ENOSPC, "more than %d disks", KILN__MAX_DEVICES);
	r = kiln__blk_new(&blk, host->loop, &options, err);
	if (r < 0)
		return kiln__prefix(err, "%s", key), r;
	d->disks[d->disk_count++] = blk;
	kiln__blk_prepare(blk); /* the ring now, while this process may still make one */
	return plug(d, bus, kiln__blk_device(blk), err);
}

/* The root, then the disks in their order. */
static int add_disks(struct kiln__devices *d, const struct kiln__backend_host *host,
		     const struct kiln__virtio_bus *bus, kiln_error *err)
{
	const struct kiln__spec *spec = host->spec;
	const struct kiln__disk root = {
		.source = spec->root.source,
		.readonly = !kiln__root_is_writable(&spec->root),
		.serial = KILN__ROOT_SERIAL,
	};
	int r = spec->root.kind == KILN__ROOT_NONE ? 0 : add_disk(d, host, bus, &root, "root", err);

	for (size_t i = 0; r == 0 && i < spec->disk_count; i++) {
		struct kiln__disk disk = spec->disks[i];
		char serial[32];
		char key[32];

		snprintf(serial, sizeof(serial), "disk%zu", i);
		snprintf(key, sizeof(key), "disks[%zu]", i);
		if (!disk.serial)
			disk.serial = serial;
		r = add_disk(d, host, bus, &disk, key, err);
	}
	return r;
}

static void on_net_broken(void *data, const kiln_error *err)
{
	const struct kiln__backend_host *host = data;

	kiln__log(host->log, KILN_LOG_ERROR, "the network: %s", err->message);
}

static int open_backend(struct kiln__devices *d, const struct kiln__backend_host *host,
			size_t index, struct kiln__net_backend **ret, kiln_error *err)
{
	const struct kiln__network *network = &host->spec->networks[index];

	if (network->kind == KILN__NETWORK_TAP)
		return kiln__net_tap_open(ret, network->interface, true, err);
	return kiln__usernet_new(&d->usernets[index], host, index, ret, err);
}

static int add_network(struct kiln__devices *d, const struct kiln__backend_host *host,
		       const struct kiln__virtio_bus *bus, size_t index, kiln_error *err)
{
	struct kiln__net_options options = {.broken = on_net_broken, .data = (void *)host};
	struct kiln__net_backend *backend;
	int r = open_backend(d, host, index, &backend, err);

	if (r < 0)
		return r;
	memcpy(options.mac, host->spec->networks[index].mac, sizeof(options.mac));
	r = kiln__net_new(&d->nets[index], host->loop, backend, &options, err);
	if (r < 0) {
		kiln__net_backend_free(backend);
		return r;
	}
	return plug(d, bus, kiln__net_device(d->nets[index]), err);
}

static int add_networks(struct kiln__devices *d, const struct kiln__backend_host *host,
			const struct kiln__virtio_bus *bus, kiln_error *err)
{
	for (size_t i = 0; i < host->spec->network_count; i++) {
		int r = add_network(d, host, bus, i, err);

		d->net_count = i + 1;
		if (r < 0)
			return kiln__prefix(err, "networks[%zu]", i), r;
	}
	return 0;
}

/* Output has no back-pressure here: a slow reader must not stop a guest's kernel. */
static size_t on_output(void *data, unsigned port, const void *bytes, size_t len)
{
	const struct kiln__backend_host *host = data;

	(void)port;
	host->console(host->data, bytes, len);
	return len;
}

static const struct kiln__console_handler console_handler = {.output = on_output};

static int add_console(struct kiln__devices *d, const struct kiln__backend_host *host,
		       const struct kiln__virtio_bus *bus, kiln_error *err)
{
	const struct kiln__console_options options = {
		.port_count = 1,
		.handler = &console_handler,
		.data = (void *)host,
	};
	int r;

	if (host->spec->serial)
		return 0;
	r = kiln__console_new(&d->console, host->loop, &options, err);
	return r < 0 ? r : plug(d, bus, kiln__console_device(d->console), err);
}

static int add_rng(struct kiln__devices *d, const struct kiln__backend_host *host,
		   const struct kiln__virtio_bus *bus, kiln_error *err)
{
	int r = host->spec->rng ? kiln__rng_new(&d->rng, host->loop, NULL, err) : 0;

	return d->rng && r == 0 ? plug(d, bus, kiln__rng_device(d->rng), err) : r;
}

static void on_discard(void *data, uint64_t gpa, uint64_t len)
{
	kiln__ram_discard(data, gpa, len, NULL);
}

static int add_balloon(struct kiln__devices *d, const struct kiln__backend_host *host,
		       const struct kiln__virtio_bus *bus, struct kiln__ram *ram, kiln_error *err)
{
	const struct kiln__balloon_options options = {.discard = on_discard, .data = ram};
	int r = host->spec->balloon ? kiln__balloon_new(&d->balloon, host->loop, &options, err) : 0;

	return d->balloon && r == 0 ? plug(d, bus, kiln__balloon_device(d->balloon), err) : r;
}

bool kiln__devices_any(const struct kiln__spec *spec)
{
	return spec->vsock || spec->rng || spec->balloon || !spec->serial || spec->disk_count ||
	       spec->network_count || spec->root.kind != KILN__ROOT_NONE;
}

int kiln__devices_check(const struct kiln__spec *spec, kiln_error *err)
{
	for (size_t i = 0; i < spec->network_count; i++) {
		if (spec->networks[i].kind == KILN__NETWORK_USER) {
			int r = kiln__usernet_check(spec, i, err);

			if (r < 0)
				return kiln__prefix(err, "networks[%zu]", i), r;
			continue;
		}
		if (spec->networks[i].kind == KILN__NETWORK_BRIDGED)
			return kiln__fail(err, KILN_ENOTSUP,
					  "networks[%zu].kind: the builtin backend has no bridged "
					  "networks; a tap can be put on a bridge",
					  i);
		if (!spec->networks[i].interface)
			return kiln__fail(err, KILN_EINVAL,
					  "networks[%zu].interface: a tap needs one", i);
	}
	for (size_t i = 0; i < spec->disk_count; i++)
		if (spec->disks[i].bus != KILN__DISK_VIRTIO)
			return kiln__fail(
				err, KILN_ENOTSUP,
				"disks[%zu].bus: the builtin backend has virtio; vz has all", i);
	return 0;
}

static void on_kicked(void *data, const struct kiln__virtio *device)
{
	struct kiln__devices *d = data;

	if (d->rng && device != kiln__rng_device(d->rng))
		kiln__rng_others_active(d->rng);
}

int kiln__devices_init(struct kiln__devices *d, const struct kiln__backend_host *host,
		       const struct kiln__virtio_bus *common, struct kiln__ram *ram,
		       kiln_error *err)
{
	struct kiln__virtio_bus bus = *common;
	int r;

	bus.kicked = on_kicked;
	bus.kicked_data = d;
	r = add_vsock(d, host, &bus, err);
	if (r == 0)
		r = add_disks(d, host, &bus, err);
	if (r == 0)
		r = add_networks(d, host, &bus, err);
	if (r == 0)
		r = add_rng(d, host, &bus, err);
	if (r == 0)
		r = add_console(d, host, &bus, err);
	return r < 0 ? r : add_balloon(d, host, &bus, ram, err);
}

void kiln__devices_active(struct kiln__devices *d)
{
	if (d->rng)
		kiln__rng_others_active(d->rng);
}

void kiln__devices_reset(struct kiln__devices *d)
{
	for (size_t i = 0; i < d->count; i++)
		kiln__virtio_pci_reset(d->transports[i]);
}

int kiln__devices_keep(struct kiln__devices *d, unsigned *count, kiln_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->net_count; i++)
		r = kiln__usernet_keep(d->usernets[i], count, err);
	return r;
}

void kiln__devices_done(struct kiln__devices *d)
{
	for (size_t i = 0; i < d->count; i++)
		kiln__virtio_pci_free(d->transports[i]);
	kiln__vsock_free(d->vsock);
	for (size_t i = 0; i < d->disk_count; i++)
		kiln__blk_free(d->disks[i]);
	for (size_t i = 0; i < d->net_count; i++) {
		kiln__net_free(d->nets[i]);
		kiln__usernet_free(d->usernets[i]);
	}
	kiln__console_free(d->console);
	kiln__rng_free(d->rng);
	kiln__balloon_free(d->balloon);
	*d = (struct kiln__devices){.count = 0};
}
