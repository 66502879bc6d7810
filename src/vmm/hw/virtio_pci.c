/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio_pci_internal.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>

#define VENDOR      0x1af4u /* 4.1.2.1 */
#define DEVICE_BASE 0x1040u

/* --- what the model asks for: on the loop's thread ----------------------------------------- */

/*
 * A message waits for its mask to go: from now on the guest's writes to tables are seen, and what
 * was written before that is looked at.
 */
static void await_mask(struct kiln__virtio_pci *t)
{
	kiln__pci_watch_tables(t->fn.pci);
	pthread_mutex_lock(&t->lock);
	kiln__msix_retry(&t->msix);
	pthread_mutex_unlock(&t->lock);
}

static void on_notify(void *data, unsigned queue)
{
	struct kiln__virtio_pci *t = data;
	bool sent;

	pthread_mutex_lock(&t->lock);
	t->isr |= 1;
	sent = kiln__msix_fire(&t->msix, t->settings[queue].vector);
	pthread_mutex_unlock(&t->lock);
	if (!sent)
		await_mask(t);
}

static void tell_config(struct kiln__virtio_pci *t, uint8_t status)
{
	bool sent;

	pthread_mutex_lock(&t->lock);
	t->common->status |= status;
	t->common->generation++;
	t->isr |= ISR_CONFIG;
	sent = kiln__msix_fire(&t->msix, t->common->config_vector);
	pthread_mutex_unlock(&t->lock);
	if (!sent)
		await_mask(t);
}

static void on_needs_reset(void *data, unsigned queue, const char *fault)
{
	struct kiln__virtio_pci *t = data;

	(void)queue;
	tell_config(t, STATUS_NEEDS_RESET);
	if (t->bus.fault)
		t->bus.fault(t->bus.data, t->device->ops->name, fault);
}

static void on_config_changed(void *data)
{
	kiln__virtio_pci_show_config(data);
	tell_config(data, 0);
}

static const struct kiln__virtio_transport transport_ops = {
	.notify = on_notify,
	.needs_reset = on_needs_reset,
	.config_changed = on_config_changed,
	.queue_fds = kiln__virtio_pci_queue_fds,
};

/* --- carried out on the loop's thread ------------------------------------------------------ */

static uint64_t address_of(const uint32_t halves[2])
{
	return halves[0] | (uint64_t)halves[1] << 32;
}

static int start_queue(struct kiln__virtio_pci *t, unsigned index, const struct setting *s,
		       kiln_error *err)
{
	struct kiln__queue *queue = &t->device->queues[index];
	int r = kiln__virtio_pci_make_bell(t, &t->bells[index], err);

	if (r < 0)
		return r;
	queue->size = s->size;
	queue->desc_gpa = address_of(s->rings[0]);
	queue->avail_gpa = address_of(s->rings[1]);
	queue->used_gpa = address_of(s->rings[2]);
	return 0;
}

static void activate(struct kiln__virtio_pci *t)
{
	struct setting settings[MAX_QUEUES];
	uint64_t features;
	kiln_error err;
	int r;

	pthread_mutex_lock(&t->lock);
	memcpy(settings, t->settings, sizeof(settings));
	features = t->driver_features;
	t->active = true;
	pthread_mutex_unlock(&t->lock);
	r = kiln__virtio_negotiate(t->device, features, &err);
	for (unsigned i = 0; r == 0 && i < t->device->ops->queue_count; i++)
		if (settings[i].enabled)
			r = start_queue(t, i, &settings[i], &err);
	kiln__virtio_pci_hang_bells(t);
	for (unsigned i = 0; r == 0 && i < t->device->ops->queue_count; i++)
		if (settings[i].enabled)
			r = kiln__virtio_queue_start(t->device, i, t->bus.mem, 0, &err);
	if (r < 0) {
		tell_config(t, STATUS_NEEDS_RESET);
		if (t->bus.fault)
			t->bus.fault(t->bus.data, t->device->ops->name, err.message);
	}
}

static void reset_device(struct kiln__virtio_pci *t)
{
	kiln__virtio_reset(t->device); /* first: it may use the bells */
	for (unsigned i = 0; i < t->device->ops->queue_count; i++)
		kiln__virtio_pci_remove_bell(t, &t->bells[i]);
	kiln__virtio_pci_show_config(t);
	pthread_mutex_lock(&t->lock);
	t->active = t->reset = false;
	kiln__virtio_pci_forget_driver(t);
	pthread_mutex_unlock(&t->lock);
}

static void write_configs(struct kiln__virtio_pci *t, const struct config_write *log,
			  unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		kiln__virtio_config_write(t->device, log[i].offset, log[i].bytes, log[i].len, NULL);
	if (count)
		kiln__virtio_pci_show_config(t);
}

/* What vCPUs have left to do. A reset goes first: it says that the rest was of another life. */
static void on_wake(void *data)
{
	struct kiln__virtio_pci *t = data;
	struct config_write log[MAX_CONFIG_LOG];
	unsigned count;
	uint32_t kicked;
	bool wanted[2];

	pthread_mutex_lock(&t->lock);
	wanted[0] = t->reset;
	wanted[1] = t->activate && !t->reset;
	kicked = t->reset ? 0 : t->kicked;
	count = t->reset ? 0 : t->log_count;
	memcpy(log, t->log, count * sizeof(log[0]));
	t->activate = false;
	t->kicked = 0;
	t->log_count = 0;
	pthread_mutex_unlock(&t->lock);
	if (wanted[0])
		reset_device(t);
	if (wanted[1])
		activate(t);
	else
		kiln__virtio_pci_hang_bells(t);
	for (unsigned i = 0; i < t->device->ops->queue_count; i++)
		kiln__virtio_pci_reroute(t, &t->bells[i]);
	write_configs(t, log, count);
	for (unsigned i = 0; kicked; i++, kicked >>= 1)
		if (kicked & 1)
			kiln__virtio_pci_kick(t, i);
}

/* --- making -------------------------------------------------------------------------------- */

#define CAP_VENDOR 0x09u
#define CAP_MSIX   0x11u

enum cap_type { /* 4.1.4 */
		CAP_COMMON = 1,
		CAP_NOTIFY = 2,
		CAP_ISR = 3,
		CAP_DEVICE = 4,
		CAP_PCI = 5,
};

static void add_virtio_cap(struct kiln__virtio_pci *t, enum cap_type type, uint8_t bar,
			   uint32_t offset, uint32_t length)
{
	struct cfg_cap cap = {
		.id = CAP_VENDOR,
		.len = 16,
		.type = (uint8_t)type,
		.bar = bar,
		.offset = offset,
		.length = length,
	};
	unsigned at;

	if (type == CAP_NOTIFY)
		cap.data[0] = NOTIFY_STRIDE; /* the multiplier, little-endian */
	if (type == CAP_NOTIFY || type == CAP_PCI)
		cap.len = sizeof(cap);
	at = kiln__pci_add_cap(&t->fn, &cap, cap.len);
	if (type == CAP_PCI)
		t->fn.window = (uint8_t)at;
}

static void add_caps(struct kiln__virtio_pci *t, unsigned vectors)
{
	const uint8_t control = (uint8_t)(vectors - 1);
	const uint8_t msix[12] = {
		CAP_MSIX,
		0,
		control,
		0,
		KILN__PCI_TABLE_BAR, /* and its offset there, 0 */
		0,
		0,
		0,
		AT_PENDING & 0xff,
		AT_PENDING >> 8,
		0,
		0,
	};

	kiln__pci_add_cap(&t->fn, msix, sizeof(msix));
	add_virtio_cap(t, CAP_COMMON, 0, AT_COMMON, COMMON_LEN);
	add_virtio_cap(t, CAP_ISR, 1, AT_ISR, 1);
	add_virtio_cap(t, CAP_NOTIFY, 1, AT_NOTIFY, t->device->ops->queue_count * NOTIFY_STRIDE);
	if (t->device->ops->config_size)
		add_virtio_cap(t, CAP_DEVICE, 0, AT_CONFIG, t->device->ops->config_size);
	add_virtio_cap(t, CAP_PCI, 0, 0, 0);
}

/* PCI Code and ID Assignment 1.11: mass storage, network, communication; else none that fits. */
static uint32_t class_of(uint16_t device)
{
	static const struct {
		uint16_t device;
		uint32_t class;
	} classes[] = {{1, 0x02000000}, {2, 0x01800000}, {3, 0x07800000}};

	for (unsigned i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (classes[i].device == device)
			return classes[i].class | 1;
	return 0xff000001;
}

static int plug(struct kiln__virtio_pci *t, kiln_error *err)
{
	const struct kiln__virtio_ops *ops = t->device->ops;
	const struct kiln__pci_identity identity = {
		.vendor = VENDOR,
		.device = (uint16_t)(DEVICE_BASE + ops->id),
		.class_revision = class_of(ops->id),
		.subsystem_vendor = VENDOR,
		.subsystem = (uint16_t)(DEVICE_BASE + ops->id),
	};
	/* One for the configuration; a driver that wants one a queue and gets less shares. */
	unsigned vectors = ops->own_interrupts ? ops->queue_count + 1u : 2;
	int r;

	if (ops->config_size > CONFIG_MAX || vectors > KILN__MSIX_MAX_VECTORS)
		return kiln__fail(err, KILN_EOVERFLOW, "the device %s does not fit on PCI",
				  ops->name);
	r = kiln__pci_add(t->bus.pci, &t->fn, &identity, err);
	if (r < 0)
		return r;
	t->common = (struct common *)(void *)(t->fn.page + AT_COMMON);
	kiln__msix_init(&t->msix, t->bus.vm, t->fn.table, t->fn.page + AT_PENDING, vectors);
	add_caps(t, vectors);
	kiln__virtio_attach(t->device, &transport_ops, t);
	kiln__virtio_pci_forget_driver(t);
	kiln__virtio_pci_show_config(t);
	return 0;
}

int kiln__virtio_pci_new(struct kiln__virtio_pci **ret, const struct kiln__virtio_bus *bus,
			 struct kiln__virtio *device, kiln_error *err)
{
	struct kiln__virtio_pci *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return kiln__fail_nomem(err);
	t->fn.access = kiln__virtio_pci_access;
	t->fn.configured = kiln__virtio_pci_configured;
	t->bus = *bus;
	t->device = device;
	for (unsigned i = 0; i < MAX_QUEUES; i++)
		t->bells[i].fd = t->bells[i].call = -1;
	pthread_mutex_init(&t->lock, NULL);
	r = kiln__waker_new(&t->waker, bus->loop, on_wake, t, err);
	if (r == 0)
		r = plug(t, err);
	if (r < 0) {
		kiln__virtio_pci_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void kiln__virtio_pci_reset(struct kiln__virtio_pci *t)
{
	reset_device(t);
	pthread_mutex_lock(&t->lock);
	kiln__msix_reset(&t->msix);
	pthread_mutex_unlock(&t->lock);
}

void kiln__virtio_pci_free(struct kiln__virtio_pci *t)
{
	if (!t)
		return;
	if (t->device->transport_data == t) {
		kiln__virtio_reset(t->device);
		kiln__virtio_attach(t->device, NULL, NULL);
	}
	for (unsigned i = 0; i < MAX_QUEUES; i++)
		kiln__virtio_pci_remove_bell(t, &t->bells[i]);
	kiln__waker_free(t->waker);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
