/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a queue of a virtio device on PCI has of descriptors: a doorbell, which follows BAR 1, and
 * an interrupt with a route, which follows its vector, where something in the kernel raises it. On
 * the loop's thread.
 */
#include "virtio_pci_internal.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

KILN__SYSCALLS(eventfd2, read, close);

/* --- doorbells ----------------------------------------------------------------------------- */

void kiln__virtio_pci_kick(struct kiln__virtio_pci *t, unsigned queue)
{
	if (t->bus.kicked)
		t->bus.kicked(t->bus.kicked_data, t->device);
	kiln__virtio_kick(t->device, queue);
}

static void on_kick(void *data, int events)
{
	struct bell *bell = data;
	struct kiln__virtio_pci *t = bell->transport;
	uint64_t count;

	(void)events;
	if (read(bell->fd, &count, sizeof(count)) == sizeof(count))
		kiln__virtio_pci_kick(t, (unsigned)(bell - t->bells));
}

static kiln_hv_doorbell doorbell_at(uint64_t address)
{
	return (kiln_hv_doorbell){.address = address};
}

static void silence(struct kiln__virtio_pci *t, struct bell *bell)
{
	const kiln_hv_doorbell at = doorbell_at(bell->address);

	if (bell->address)
		kiln_hv_vm_remove_doorbell(t->bus.vm, &at, bell->fd, NULL);
	bell->address = 0;
}

/* Where the guest's BAR is now; nowhere, and kicks come as exits. */
void kiln__virtio_pci_hang_bells(struct kiln__virtio_pci *t)
{
	uint64_t base = kiln__pci_bar(&t->fn, 1);

	for (unsigned i = 0; i < t->device->ops->queue_count; i++) {
		struct bell *bell = &t->bells[i];
		uint64_t address = base && t->active && bell->fd >= 0
					   ? base + AT_NOTIFY + i * NOTIFY_STRIDE
					   : 0;
		const kiln_hv_doorbell at = doorbell_at(address);

		if (bell->address == address)
			continue;
		silence(t, bell);
		if (address && kiln_hv_vm_add_doorbell(t->bus.vm, &at, bell->fd, NULL) == 0)
			bell->address = address;
	}
}

/* --- interrupts by descriptor -------------------------------------------------------------- */

#define ROUTES_A_SLOT (KILN_HV_MAX_ROUTES / KILN__PCI_MAX_FUNCTIONS)

static void unroute(struct kiln__virtio_pci *t, struct bell *bell)
{
	unsigned route = t->fn.slot * ROUTES_A_SLOT + (unsigned)(bell - t->bells);

	if (bell->routed)
		kiln_hv_vm_remove_irq(t->bus.vm, route, bell->call, NULL);
	bell->routed = false;
}

/*
 * Follows what the driver has set of a queue's vector. While that is masked, what the kernel raises
 * stays in the descriptor.
 */
void kiln__virtio_pci_reroute(struct kiln__virtio_pci *t, struct bell *bell)
{
	unsigned queue = (unsigned)(bell - t->bells);
	unsigned route = t->fn.slot * ROUTES_A_SLOT + queue;
	uint64_t address;
	uint32_t message;
	bool open;

	if (bell->call < 0)
		return;
	pthread_mutex_lock(&t->lock);
	open = kiln__msix_message(&t->msix, t->settings[queue].vector, &address, &message);
	pthread_mutex_unlock(&t->lock);
	if (!open)
		unroute(t, bell);
	else if (kiln_hv_vm_set_route(t->bus.vm, route, address, message, NULL) == 0 &&
		 !bell->routed)
		bell->routed = kiln_hv_vm_add_irq(t->bus.vm, route, bell->call, NULL) == 0;
}

static void set_has_calls(struct kiln__virtio_pci *t)
{
	bool any = false;

	for (unsigned i = 0; i < t->device->ops->queue_count; i++)
		any |= t->bells[i].call >= 0;
	pthread_mutex_lock(&t->lock);
	t->has_calls = any;
	pthread_mutex_unlock(&t->lock);
	if (any)
		kiln__pci_watch_tables(t->fn.pci);
}

static void drop_call(struct kiln__virtio_pci *t, struct bell *bell)
{
	if (bell->call < 0)
		return;
	unroute(t, bell);
	close(bell->call);
	bell->call = -1;
	set_has_calls(t);
}

int kiln__virtio_pci_queue_fds(void *data, unsigned queue, kiln_fd *ret_kick, kiln_fd *ret_call)
{
	struct kiln__virtio_pci *t = data;
	struct bell *bell = &t->bells[queue];

	if (!ret_kick) { /* given back */
		drop_call(t, bell);
		if (bell->watch)
			kiln__watch_set(bell->watch, KILN__READABLE);
		return 0;
	}
	if (queue >= ROUTES_A_SLOT || bell->fd < 0)
		return KILN_ENOTSUP;
	if (bell->call < 0)
		bell->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (bell->call < 0)
		return KILN_ESYSTEM;
	kiln__watch_set(bell->watch, 0);
	set_has_calls(t);
	kiln__virtio_pci_reroute(t, bell);
	*ret_kick = bell->fd;
	*ret_call = bell->call;
	return 0;
}

/* --- a queue's descriptors ----------------------------------------------------------------- */

void kiln__virtio_pci_remove_bell(struct kiln__virtio_pci *t, struct bell *bell)
{
	drop_call(t, bell);
	if (bell->fd < 0)
		return;
	silence(t, bell);
	kiln__watch_free(bell->watch);
	bell->watch = NULL;
	close(bell->fd);
	bell->fd = -1;
}

int kiln__virtio_pci_make_bell(struct kiln__virtio_pci *t, struct bell *bell, kiln_error *err)
{
	int r;

	bell->transport = t;
	bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (bell->fd < 0)
		return kiln__fail_errno(err, errno, "eventfd");
	r = kiln__watch_new(&bell->watch, t->bus.loop, bell->fd, on_kick, bell, err);
	if (r < 0)
		kiln__virtio_pci_remove_bell(t, bell);
	else
		kiln__watch_set(bell->watch, KILN__READABLE);
	return r;
}
