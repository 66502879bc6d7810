/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers of a virtio device on PCI (virtio 1.2, 4.1.4), as the driver reads and writes them:
 * on vCPU threads, under the transport's lock. What it asks of the model is noted for the loop.
 */
#include "virtio_pci_internal.h"

#include <string.h>

#define FIELD(name)    offsetof(struct common, name)
#define IS_FIELD(n, o) ((o) == FIELD(n))

/* --- what the driver reads: under the lock ------------------------------------------------- */

static struct setting *selected(struct kiln__virtio_pci *t)
{
	return t->common->queue_select < t->device->ops->queue_count
		       ? &t->settings[t->common->queue_select]
		       : NULL;
}

static void show_queue(struct kiln__virtio_pci *t)
{
	struct common *c = t->common;
	const struct setting *s = selected(t);

	c->queue_size = s ? s->size : 0; /* 0: there is no such queue */
	c->queue_vector = s ? s->vector : NO_VECTOR;
	c->queue_enable = s && s->enabled;
	c->queue_notify_off = s ? c->queue_select : 0;
	memcpy(c->queue_desc, s ? s->rings[0] : (uint32_t[2]){0}, 8);
	memcpy(c->queue_driver, s ? s->rings[1] : (uint32_t[2]){0}, 8);
	memcpy(c->queue_device, s ? s->rings[2] : (uint32_t[2]){0}, 8);
}

static uint32_t half(uint64_t value, uint32_t select)
{
	return select < 2 ? (uint32_t)(value >> 32 * select) : 0;
}

static void show_features(struct kiln__virtio_pci *t)
{
	t->common->device_feature =
		half(t->device->ops->features, t->common->device_feature_select);
	t->common->driver_feature = half(t->driver_features, t->common->driver_feature_select);
}

/* A fresh copy of the device's own configuration. The model is the loop's, and so is this. */
void kiln__virtio_pci_show_config(struct kiln__virtio_pci *t)
{
	uint8_t bytes[CONFIG_MAX];
	uint32_t size = t->device->ops->config_size;

	if (size == 0 || kiln__virtio_config_read(t->device, 0, bytes, size, NULL) < 0)
		return;
	pthread_mutex_lock(&t->lock);
	memcpy(t->fn.page + AT_CONFIG, bytes, size);
	pthread_mutex_unlock(&t->lock);
}

void kiln__virtio_pci_forget_driver(struct kiln__virtio_pci *t)
{
	*t->common = (struct common){
		.config_vector = NO_VECTOR,
		.num_queues = t->device->ops->queue_count,
		.generation = t->common->generation,
	};
	t->driver_features = 0;
	t->isr = 0;
	t->kicked = 0;
	t->log_count = 0;
	t->activate = false;
	for (unsigned i = 0; i < t->device->ops->queue_count; i++)
		t->settings[i] = (struct setting){
			.size = t->device->queues[i].max_size,
			.vector = NO_VECTOR,
		};
	show_features(t);
	show_queue(t);
}

/* --- what the driver writes: on vCPU threads, under the lock --------------------------------- */

static void write_status(struct kiln__virtio_pci *t, uint8_t value)
{
	struct common *c = t->common;
	uint8_t old = c->status;

	if (value == 0) {
		/* Of a device whose queues were never started there is nothing to stop. */
		if (!t->active && !t->activate) {
			kiln__virtio_pci_forget_driver(t);
		} else if (!t->reset) {
			t->reset = true;
			kiln__waker_wake(t->waker);
		}
		return;
	}
	if (t->reset)
		return;
	value |= old; /* 2.1.1: bits are not cleared but by a reset */
	if (value & STATUS_FEATURES_OK && !(old & STATUS_FEATURES_OK) &&
	    (t->driver_features & ~t->device->ops->features ||
	     !(t->driver_features & KILN__VIRTIO_F_VERSION_1)))
		value &= (uint8_t)~STATUS_FEATURES_OK; /* 2.2.2: refused */
	c->status = value;
	if (value & STATUS_DRIVER_OK && !(old & STATUS_DRIVER_OK) && value & STATUS_FEATURES_OK) {
		t->activate = true;
		kiln__waker_wake(t->waker);
	}
}

static uint16_t vector_or_none(const struct kiln__virtio_pci *t, uint64_t value)
{
	return (uint16_t)value < t->msix.count ? (uint16_t)value : NO_VECTOR;
}

/* Half an address of the selected queue: the three are laid out alike. */
static void write_ring(struct setting *s, unsigned offset, uint8_t size, uint64_t value)
{
	unsigned word = (unsigned)(offset - FIELD(queue_desc)) / 4;

	s->rings[word / 2][word % 2] = (uint32_t)value;
	if (size == 8 && word % 2 == 0)
		s->rings[word / 2][1] = (uint32_t)(value >> 32);
}

static void write_queue(struct kiln__virtio_pci *t, unsigned offset, uint8_t size, uint64_t value)
{
	struct setting *s = selected(t);
	uint16_t word = (uint16_t)value;

	if (!s || s->enabled) /* 4.1.4.3.2: not while it is enabled */
		return;
	if (IS_FIELD(queue_size, offset)) {
		if (word && word <= t->device->queues[t->common->queue_select].max_size &&
		    (word & (word - 1)) == 0)
			s->size = word;
	} else if (IS_FIELD(queue_vector, offset)) {
		s->vector = vector_or_none(t, value);
	} else if (IS_FIELD(queue_enable, offset)) {
		s->enabled = word == 1;
	} else if (offset >= FIELD(queue_desc) && offset % 4 == 0) {
		write_ring(s, offset, size, value);
	}
	show_queue(t);
}

static void write_common(struct kiln__virtio_pci *t, unsigned offset, uint8_t size, uint64_t value)
{
	struct common *c = t->common;

	if (IS_FIELD(device_feature_select, offset)) {
		c->device_feature_select = (uint32_t)value;
		show_features(t);
	} else if (IS_FIELD(driver_feature_select, offset)) {
		c->driver_feature_select = (uint32_t)value;
		show_features(t);
	} else if (IS_FIELD(driver_feature, offset)) {
		if (c->driver_feature_select < 2 && !(c->status & STATUS_FEATURES_OK)) {
			unsigned shift = 32 * c->driver_feature_select;

			t->driver_features &= ~(UINT64_C(0xffffffff) << shift);
			t->driver_features |= (value & 0xffffffff) << shift;
		}
		show_features(t);
	} else if (IS_FIELD(config_vector, offset)) {
		c->config_vector = vector_or_none(t, value);
	} else if (IS_FIELD(status, offset)) {
		write_status(t, (uint8_t)value);
	} else if (IS_FIELD(queue_select, offset)) {
		c->queue_select = (uint16_t)value;
		show_queue(t);
	} else if (offset >= FIELD(queue_size)) {
		write_queue(t, offset, size, value);
	}
}

/* For the loop, in order. A driver that writes faster than the loop can follow loses what it wrote.
 */
static void write_config(struct kiln__virtio_pci *t, unsigned offset, uint8_t size, uint64_t value)
{
	struct config_write *write;

	if (!t->device->ops->config_write || t->log_count == MAX_CONFIG_LOG ||
	    offset + size > t->device->ops->config_size)
		return;
	write = &t->log[t->log_count++];
	*write = (struct config_write){.offset = (uint8_t)offset, .len = size};
	memcpy(write->bytes, &value, size);
	kiln__waker_wake(t->waker);
}

static void write_page(struct kiln__virtio_pci *t, unsigned offset, uint8_t size, uint64_t value)
{
	if (offset + size <= COMMON_LEN)
		write_common(t, offset, size, value);
	else if (offset >= AT_CONFIG && offset < AT_CONFIG + CONFIG_MAX)
		write_config(t, offset - AT_CONFIG, size, value);
}

/* While tables are watched, or where this one's BAR was moved away from its memory. */
static void write_table(struct kiln__virtio_pci *t, unsigned offset, uint8_t size, uint64_t value)
{
	if (offset + size > t->msix.count * KILN__MSIX_ENTRY)
		return;
	kiln__msix_write(&t->msix, offset, size, value);
	if (t->has_calls)
		kiln__waker_wake(t->waker); /* routes follow */
}

/* A kick that is no doorbell (yet): the loop may not have come to it. */
static void write_notify(struct kiln__virtio_pci *t, unsigned offset)
{
	unsigned queue = (unsigned)(offset - AT_NOTIFY) / NOTIFY_STRIDE;

	if (offset < AT_NOTIFY || queue >= t->device->ops->queue_count)
		return;
	t->kicked |= 1u << queue;
	kiln__waker_wake(t->waker);
}

void kiln__virtio_pci_access(struct kiln__pci_function *fn, unsigned bar,
			     struct kiln__bus_access *access)
{
	struct kiln__virtio_pci *t = (struct kiln__virtio_pci *)fn;
	unsigned offset = (unsigned)access->offset;

	pthread_mutex_lock(&t->lock);
	if (bar == 0 && access->write) {
		write_page(t, offset, access->size, access->value);
	} else if (bar == 0) { /* its BAR was moved away from its memory */
		memcpy(&access->value, fn->page + offset, access->size);
	} else if (bar == KILN__PCI_TABLE_BAR && access->write) {
		write_table(t, offset, access->size, access->value);
	} else if (bar == KILN__PCI_TABLE_BAR) {
		memcpy(&access->value, fn->table + offset, access->size);
	} else if (access->write) {
		write_notify(t, offset);
	} else if (offset == AT_ISR) {
		access->value = t->isr; /* reading it clears it (4.1.4.5) */
		t->isr = 0;
	}
	pthread_mutex_unlock(&t->lock);
}

/* --- the window through configuration space (4.1.4.9) -------------------------------------- */

/*
 * Reads of configuration space do not come here, so what the window shows is fetched when it is
 * aimed; a driver that reads again aims again, as Linux and firmware do.
 */
static void aim_window(struct kiln__virtio_pci *t, unsigned at, bool write)
{
	struct cfg_cap *cap = (struct cfg_cap *)(void *)(t->fn.config + at);
	struct kiln__bus_access access = {.size = (uint8_t)cap->length, .write = write};

	if ((cap->length != 1 && cap->length != 2 && cap->length != 4) ||
	    cap->bar >= KILN__PCI_BARS || cap->offset > KILN__PCI_PAGE - cap->length)
		return;
	access.offset = cap->offset;
	memcpy(&access.value, cap->data, cap->length);
	kiln__virtio_pci_access(&t->fn, cap->bar, &access);
	if (!write)
		memcpy(cap->data, &access.value, cap->length);
}

void kiln__virtio_pci_configured(struct kiln__pci_function *fn, unsigned offset)
{
	struct kiln__virtio_pci *t = (struct kiln__virtio_pci *)fn;

	if (offset == fn->msix) {
		uint16_t control;

		memcpy(&control, fn->config + offset + 2, sizeof(control));
		pthread_mutex_lock(&t->lock);
		kiln__msix_control(&t->msix, control);
		pthread_mutex_unlock(&t->lock);
		kiln__waker_wake(t->waker);
	} else if (fn->window && offset >= fn->window + 4u && offset < fn->window + 20u) {
		aim_window(t, fn->window, offset == fn->window + 16u);
	} else if (offset == KILN__PCI_COMMAND || offset == KILN__PCI_BAR + 4) {
		kiln__waker_wake(t->waker); /* the doorbells follow */
	}
}
