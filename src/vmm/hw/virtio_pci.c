/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio_pci.h"

#include "err.h"
#include "le.h"
#include "msix.h"
#include "syscalls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

KILN__SYSCALLS(eventfd2, read, close);

#define VENDOR      0x1af4u /* 4.1.2.1 */
#define DEVICE_BASE 0x1040u

/* The page behind BAR 0. */
#define AT_COMMON  0x000u
#define AT_CONFIG  0x100u
#define CONFIG_MAX 0x100u
#define AT_TABLE   0x800u
#define AT_PENDING 0xc00u

/* The page behind BAR 1: what must exit, or be a doorbell. */
#define AT_ISR         0x000u
#define AT_NOTIFY      0x100u
#define NOTIFY_STRIDE  4u
#define ISR_CONFIG     0x2u
#define NO_VECTOR      0xffffu
#define MAX_QUEUES     KILN__VIRTIO_MAX_QUEUES
#define MAX_CONFIG_LOG 64

/* Device status (2.1). */
#define STATUS_FEATURES_OK 0x08u
#define STATUS_DRIVER_OK   0x04u
#define STATUS_NEEDS_RESET 0x40u

/* The common configuration (4.1.4.3). */
struct common {
	uint32_t device_feature_select;
	uint32_t device_feature;
	uint32_t driver_feature_select;
	uint32_t driver_feature;
	uint16_t config_vector;
	uint16_t num_queues;
	uint8_t status;
	uint8_t generation;
	uint16_t queue_select;
	uint16_t queue_size;
	uint16_t queue_vector;
	uint16_t queue_enable;
	uint16_t queue_notify_off;
	uint32_t queue_desc[2];
	uint32_t queue_driver[2];
	uint32_t queue_device[2];
};

#define FIELD(name)    offsetof(struct common, name)
#define COMMON_LEN     sizeof(struct common)
#define IS_FIELD(n, o) ((o) == FIELD(n))

/* What the driver has set of a queue. */
struct setting {
	uint16_t size;
	uint16_t vector;
	bool enabled;
	uint32_t rings[3][2]; /* descriptors, driver's, device's: low and high */
};

/* A queue's kicks, and its interrupts where something in the kernel raises them. The loop's. */
struct bell {
	struct kiln__virtio_pci *transport;
	struct kiln__watch *watch;
	int fd; /* -1: none */
	uint64_t address;
	int call; /* -1: the model's interrupts go by messages */
	bool routed;
};

struct config_write {
	uint8_t offset;
	uint8_t len;
	uint8_t bytes[8];
};

struct kiln__virtio_pci {
	struct kiln__pci_function fn; /* first: that is how its callbacks find the rest */
	struct kiln__virtio_bus bus;
	struct kiln__virtio *device;
	struct kiln__waker *waker;
	struct bell bells[MAX_QUEUES];

	pthread_mutex_t lock;  /* guards what follows, and the page */
	bool active;           /* the model has been given its queues; changed by the loop */
	struct common *common; /* in the page */
	struct kiln__msix msix;
	uint64_t driver_features;
	struct setting settings[MAX_QUEUES];
	uint8_t isr;
	bool activate; /* for the loop to do */
	bool reset;
	bool has_calls;  /* some interrupts go by routes */
	uint32_t kicked; /* queues, by exits */
	struct config_write log[MAX_CONFIG_LOG];
	unsigned log_count;
};

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
static void show_config(struct kiln__virtio_pci *t)
{
	uint8_t bytes[CONFIG_MAX];
	uint32_t size = t->device->ops->config_size;

	if (size == 0 || kiln__virtio_config_read(t->device, 0, bytes, size, NULL) < 0)
		return;
	pthread_mutex_lock(&t->lock);
	memcpy(t->fn.page + AT_CONFIG, bytes, size);
	pthread_mutex_unlock(&t->lock);
}

static void forget_driver(struct kiln__virtio_pci *t)
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
			forget_driver(t);
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
	else if (offset >= AT_TABLE &&
		 offset + size <= AT_TABLE + t->msix.count * KILN__MSIX_ENTRY) {
		kiln__msix_write(&t->msix, offset - AT_TABLE, size, value);
		if (t->has_calls)
			kiln__waker_wake(t->waker); /* routes follow */
	}
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

static void on_access(struct kiln__pci_function *fn, unsigned bar, struct kiln__bus_access *access)
{
	struct kiln__virtio_pci *t = (struct kiln__virtio_pci *)fn;
	unsigned offset = (unsigned)access->offset;

	pthread_mutex_lock(&t->lock);
	if (bar == 0 && access->write) {
		write_page(t, offset, access->size, access->value);
	} else if (bar == 0) { /* its BAR was moved away from its memory */
		memcpy(&access->value, fn->page + offset, access->size);
	} else if (access->write) {
		write_notify(t, offset);
	} else if (offset == AT_ISR) {
		access->value = t->isr; /* reading it clears it (4.1.4.5) */
		t->isr = 0;
	}
	pthread_mutex_unlock(&t->lock);
}

/* --- the window through configuration space (4.1.4.9) ------------------------------------------
 */

struct cfg_cap {
	uint8_t id, next, len, type;
	uint8_t bar, number, pad[2];
	uint32_t offset;
	uint32_t length;
	uint8_t data[4];
};

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
	on_access(&t->fn, cap->bar, &access);
	if (!write)
		memcpy(cap->data, &access.value, cap->length);
}

static void on_configured(struct kiln__pci_function *fn, unsigned offset)
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

/* --- what the model asks for: on the loop's thread -----------------------------------------------
 */

static void on_notify(void *data, unsigned queue)
{
	struct kiln__virtio_pci *t = data;

	pthread_mutex_lock(&t->lock);
	t->isr |= 1;
	kiln__msix_fire(&t->msix, t->settings[queue].vector);
	pthread_mutex_unlock(&t->lock);
}

static void tell_config(struct kiln__virtio_pci *t, uint8_t status)
{
	pthread_mutex_lock(&t->lock);
	t->common->status |= status;
	t->common->generation++;
	t->isr |= ISR_CONFIG;
	kiln__msix_fire(&t->msix, t->common->config_vector);
	pthread_mutex_unlock(&t->lock);
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
	show_config(data);
	tell_config(data, 0);
}

/* --- doorbells
 * -------------------------------------------------------------------------------------- */

static void on_kick(void *data, int events)
{
	struct bell *bell = data;
	struct kiln__virtio_pci *t = bell->transport;
	uint64_t count;

	(void)events;
	if (read(bell->fd, &count, sizeof(count)) == sizeof(count))
		kiln__virtio_kick(t->device, (unsigned)(bell - t->bells));
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
static void hang_bells(struct kiln__virtio_pci *t)
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

/* --- interrupts by descriptor -------------------------------------------------------------------
 */

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
static void reroute(struct kiln__virtio_pci *t, struct bell *bell)
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

static int on_queue_fds(void *data, unsigned queue, kiln_fd *ret_kick, kiln_fd *ret_call)
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
	reroute(t, bell);
	*ret_kick = bell->fd;
	*ret_call = bell->call;
	return 0;
}

static const struct kiln__virtio_transport transport_ops = {
	.notify = on_notify,
	.needs_reset = on_needs_reset,
	.config_changed = on_config_changed,
	.queue_fds = on_queue_fds,
};

/* --- a queue's descriptors
 * --------------------------------------------------------------------------- */

static void remove_bell(struct kiln__virtio_pci *t, struct bell *bell)
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

static int make_bell(struct kiln__virtio_pci *t, struct bell *bell, kiln_error *err)
{
	int r;

	bell->transport = t;
	bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (bell->fd < 0)
		return kiln__fail_errno(err, errno, "eventfd");
	r = kiln__watch_new(&bell->watch, t->bus.loop, bell->fd, on_kick, bell, err);
	if (r < 0)
		remove_bell(t, bell);
	else
		kiln__watch_set(bell->watch, KILN__READABLE);
	return r;
}

/* --- carried out on the loop's thread
 * ------------------------------------------------------------------ */

static uint64_t address_of(const uint32_t halves[2])
{
	return halves[0] | (uint64_t)halves[1] << 32;
}

static int start_queue(struct kiln__virtio_pci *t, unsigned index, const struct setting *s,
		       kiln_error *err)
{
	struct kiln__queue *queue = &t->device->queues[index];
	int r = make_bell(t, &t->bells[index], err);

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
	hang_bells(t);
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
		remove_bell(t, &t->bells[i]);
	show_config(t);
	pthread_mutex_lock(&t->lock);
	t->active = t->reset = false;
	forget_driver(t);
	pthread_mutex_unlock(&t->lock);
}

static void write_configs(struct kiln__virtio_pci *t, const struct config_write *log,
			  unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		kiln__virtio_config_write(t->device, log[i].offset, log[i].bytes, log[i].len, NULL);
	if (count)
		show_config(t);
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
		hang_bells(t);
	for (unsigned i = 0; i < t->device->ops->queue_count; i++)
		reroute(t, &t->bells[i]);
	write_configs(t, log, count);
	for (unsigned i = 0; kicked; i++, kicked >>= 1)
		if (kicked & 1)
			kiln__virtio_kick(t->device, i);
}

/* --- making
 * ------------------------------------------------------------------------------------------------
 */

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
		AT_TABLE & 0xff,
		AT_TABLE >> 8,
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
	kiln__msix_init(&t->msix, t->bus.vm, t->fn.page + AT_TABLE, t->fn.page + AT_PENDING,
			vectors);
	add_caps(t, vectors);
	kiln__virtio_attach(t->device, &transport_ops, t);
	forget_driver(t);
	show_config(t);
	return 0;
}

int kiln__virtio_pci_new(struct kiln__virtio_pci **ret, const struct kiln__virtio_bus *bus,
			 struct kiln__virtio *device, kiln_error *err)
{
	struct kiln__virtio_pci *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return kiln__fail_nomem(err);
	t->fn.access = on_access;
	t->fn.configured = on_configured;
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
		remove_bell(t, &t->bells[i]);
	kiln__waker_free(t->waker);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
