/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI and the virtio transport on it, as a hostile guest reaches them: by accesses of any width to
 * configuration space, to the BARs where they are, and where it moves them; with the devices that
 * need nothing of the host behind them. In the hypervisor's place stands a list of what was asked
 * of it. Besides memory errors: what a guest may not write stays; each doorbell is hung once, where
 * its BAR is, and taken down; no message goes out before MSI-X is enabled; a message that waits for
 * its mask to go has its table watched; and at the end nothing is left hanging.
 */
#include "balloon.h"
#include "bus.h"
#include "console.h"
#include "layout.h"
#include "le.h"
#include "pci.h"
#include "rng.h"
#include "virtio_guest.h"
#include "virtio_pci.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_STEPS 300
#define DEVICES   3
#define HANGING   64
#define RING      16u
#define ROOM      ((uint64_t)2 << 20) /* where the rings lie */
#define BELLS     0x100u
#define PENDING   0xc00u                                  /* in the first BAR's page */
#define TABLES    (KILN__ECAM_BASE - 64 * KILN__PCI_PAGE) /* one a slot */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* --- in the hypervisor's place ---------------------------------------------------------------- */

struct hanging {
	uint64_t at; /* a doorbell's address, or a route */
	intptr_t descriptor;
	bool used;
};

struct kiln_hv_vm {
	struct hanging bells[HANGING];
	struct hanging irqs[HANGING];
	const struct kiln__pci_function *functions[DEVICES];
	uint8_t *tables; /* of MSI-X, where they are the guest's memory */
	bool watched;
};

/* Whether a guest has switched MSI-X on anywhere (PCI Local Bus 3.0, 6.8.2.3). */
static bool may_interrupt(const struct kiln_hv_vm *vm)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		const struct kiln__pci_function *fn = vm->functions[i];

		if ((fn->config[fn->msix + 3] & 0xc0) == 0x80)
			return true;
	}
	return false;
}

static int hang(struct hanging *list, uint64_t at, intptr_t descriptor)
{
	struct hanging *spare = NULL;

	for (unsigned i = 0; i < HANGING; i++) {
		if (list[i].used && list[i].at == at)
			return KILN_EEXIST;
		if (!list[i].used)
			spare = &list[i];
	}
	if (!spare)
		abort();
	*spare = (struct hanging){at, descriptor, true};
	return 0;
}

static void take_down(struct hanging *list, uint64_t at, intptr_t descriptor)
{
	for (unsigned i = 0; i < HANGING; i++) {
		if (list[i].used && list[i].at == at && list[i].descriptor == descriptor) {
			list[i].used = false;
			return;
		}
	}
	abort();
}

int kiln_hv_vm_map(kiln_hv_vm *vm, uint64_t address, void *host, uint64_t size, unsigned flags,
		   kiln_error *err)
{
	(void)err;
	if (!host || address % 4096 || size % 4096 || flags & ~(unsigned)KILN_HV_MAP_READONLY)
		abort();
	if (address == TABLES) {
		if (vm->tables)
			abort();
		vm->tables = host;
		vm->watched = flags;
	} else if (flags != KILN_HV_MAP_READONLY) {
		abort();
	}
	return 0;
}

int kiln_hv_vm_unmap(kiln_hv_vm *vm, uint64_t address, kiln_error *err)
{
	(void)err;
	if (address != TABLES || !vm->tables)
		abort();
	vm->tables = NULL;
	return 0;
}

int kiln_hv_vm_send_msi(kiln_hv_vm *vm, uint64_t address, uint32_t data, kiln_error *err)
{
	(void)address, (void)data, (void)err;
	if (!may_interrupt(vm))
		abort();
	return 0;
}

int kiln_hv_vm_add_doorbell(kiln_hv_vm *vm, const kiln_hv_doorbell *doorbell, intptr_t descriptor,
			    kiln_error *err)
{
	(void)err;
	return hang(vm->bells, doorbell->address, descriptor);
}

int kiln_hv_vm_remove_doorbell(kiln_hv_vm *vm, const kiln_hv_doorbell *doorbell,
			       intptr_t descriptor, kiln_error *err)
{
	(void)err;
	take_down(vm->bells, doorbell->address, descriptor);
	return 0;
}

int kiln_hv_vm_set_route(kiln_hv_vm *vm, unsigned route, uint64_t address, uint32_t data,
			 kiln_error *err)
{
	(void)address, (void)data, (void)err;
	if (route >= KILN_HV_MAX_ROUTES || !may_interrupt(vm))
		abort();
	return 0;
}

int kiln_hv_vm_add_irq(kiln_hv_vm *vm, unsigned route, intptr_t descriptor, kiln_error *err)
{
	(void)err;
	return hang(vm->irqs, route, descriptor);
}

int kiln_hv_vm_remove_irq(kiln_hv_vm *vm, unsigned route, intptr_t descriptor, kiln_error *err)
{
	(void)err;
	take_down(vm->irqs, route, descriptor);
	return 0;
}

/* --- the guest ----------------------------------------------------------------------------------
 */

struct fuzz {
	const uint8_t *at;
	const uint8_t *end;
	unsigned char *memory;
	struct kiln_hv_vm vm;
	struct kiln__bus bus;
	struct kiln__gmem gmem;
	kiln_loop *loop;
	struct kiln__pci *pci;
	struct kiln__balloon *balloon;
	struct kiln__console *console;
	struct kiln__rng *rng;
	struct kiln__virtio *devices[DEVICES];
	struct kiln__virtio_pci *transports[DEVICES];
	uint8_t headers[DEVICES][256]; /* of configuration space, as it was */
};

static uint8_t byte(struct fuzz *f)
{
	return f->at < f->end ? *f->at++ : 0;
}

static uint32_t word(struct fuzz *f)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++)
		value |= (uint32_t)byte(f) << 8 * i;
	return value;
}

static struct kiln__pci_function *function(const struct fuzz *f, unsigned device)
{
	return (struct kiln__pci_function *)(void *)f->transports[device]; /* its first member */
}

static uint64_t access_at(struct fuzz *f, uint64_t address, uint32_t size, bool write,
			  uint64_t value)
{
	kiln_hv_exit exit = {.kind = KILN_HV_EXIT_MMIO};
	uint8_t bytes[8];

	memcpy(bytes, &value, sizeof(bytes));
	exit.access = (kiln_hv_access){address, size, 1, write, bytes};
	kiln__bus_exit(&f->bus, &exit);
	memcpy(&value, bytes, sizeof(value));
	return value;
}

static uint64_t config_address(unsigned device, unsigned offset)
{
	return KILN__ECAM_BASE + (uint64_t)(device + 1) * 0x8000 + offset;
}

static void put(struct fuzz *f, unsigned device, unsigned bar, unsigned offset, uint32_t size,
		uint64_t value)
{
	uint64_t base = kiln__pci_bar(function(f, device), bar);

	if (base)
		access_at(f, base + offset, size, true, value);
}

/* As a driver does (virtio 1.2, 3.1.1), but for the sizes. */
static void set_up(struct fuzz *f, unsigned device)
{
	uint8_t how = byte(f);
	uint64_t at = ROOM + device * 0x40000ull;

	access_at(f, config_address(device, KILN__PCI_COMMAND), 2, true, 6);
	if (how & 1)
		access_at(f, config_address(device, function(f, device)->msix + 2u), 2, true,
			  0x8000);
	put(f, device, 0, 0x14, 1, 0);
	kiln_loop_dispatch(f->loop);
	put(f, device, 0, 0x14, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		put(f, device, 0, 0x08, 4, i);
		put(f, device, 0, 0x0c, 4,
		    (f->devices[device]->ops->features >> 32 * i) & (how & 2 ? word(f) : ~0u));
	}
	put(f, device, 0, 0x14, 1, 11);
	for (unsigned i = 0; i < f->devices[device]->ops->queue_count; i++) {
		put(f, device, 0, 0x16, 2, i);
		put(f, device, 0, 0x18, 2, how & 4 ? byte(f) : RING);
		put(f, device, 0, 0x1a, 2, i & 3);
		put(f, device, 0, 0x20, 8, at + i * 0x2000ull);
		put(f, device, 0, 0x28, 8, at + i * 0x2000ull + 0x1000);
		put(f, device, 0, 0x30, 8, at + i * 0x2000ull + 0x1800);
		put(f, device, 0, 0x1c, 2, !(how & 8) || byte(f) & 1);
	}
	put(f, device, 0, 0x14, 1, 15);
	if (how & 16)
		kiln_loop_dispatch(f->loop);
}

/* A chain of one, and a kick that comes as an exit. */
static void send(struct fuzz *f, unsigned device)
{
	unsigned queue = byte(f) % f->devices[device]->ops->queue_count;
	unsigned char *ring = f->memory + ROOM + device * 0x40000ull + queue * 0x2000ull;
	uint16_t index;
	const struct vring_desc desc = {ROOM + 0x100000 + 16u * byte(f), 1u << (byte(f) & 15),
					byte(f) & 3, byte(f) & 15};

	memcpy(ring, &desc, sizeof(desc));
	memcpy(&index, ring + 0x1002, 2);
	memset(ring + 0x1004 + 2 * (index % RING), 0, 2);
	index++;
	memcpy(ring + 0x1002, &index, 2);
	put(f, device, 1, BELLS + 4 * queue, 2, queue);
}

/* An access of any kind near what is there. */
static void touch(struct fuzz *f, unsigned device)
{
	static const uint32_t sizes[] = {1, 2, 4, 8, 3, 7, 2, 4};
	uint8_t what = byte(f);
	uint32_t size = sizes[what >> 2 & 7];
	uint64_t base = what & 1 ? KILN__ECAM_BASE + (device + 1) * 0x8000u
				 : KILN__PCI_MMIO_BASE + (device + 1) * 0x1000u;
	uint64_t offset = byte(f);

	if (what & 2)
		offset |= (uint64_t)(byte(f) & 15) << 8;
	if ((what & 0xe1) == 0x20)
		base += 0x20000; /* the second BAR, where that is first */
	if ((what & 0xe1) == 0x40)
		base = kiln__pci_bar(function(f, device),
				     what & 16 ? KILN__PCI_TABLE_BAR : what >> 1 & 1);
	if ((what & 0xe0) == 0x60)
		base = word(f);
	access_at(f, base + offset, size, !(what & 0x80), word(f) | (uint64_t)word(f) << 32);
}

/* A vector's message, as a driver writes it: into memory, or by exits while tables are watched. */
static void set_vector(struct fuzz *f, unsigned device)
{
	uint8_t how = byte(f);
	unsigned at = (how & 3u) * 16;

	for (unsigned i = 4; i-- > 0;) {
		uint32_t value = i == 3 ? how >> 2 & 1 : 0xfee00000u + byte(f);
		uint64_t base = kiln__pci_bar(function(f, device), KILN__PCI_TABLE_BAR);

		if (f->vm.tables && !f->vm.watched)
			memcpy(function(f, device)->table + at + 4 * i, &value, sizeof(value));
		else if (base)
			access_at(f, base + at + 4 * i, 4, true, value);
	}
}

/* By the window of VIRTIO_PCI_CAP_PCI_CFG (4.1.4.9). */
static void touch_by_window(struct fuzz *f, unsigned device)
{
	unsigned cap = function(f, device)->window;

	access_at(f, config_address(device, cap + 4), 1, true, byte(f) & 3);
	access_at(f, config_address(device, cap + 8), 4, true,
		  byte(f) & 1 ? word(f) : byte(f) + ((byte(f) & 15u) << 8));
	access_at(f, config_address(device, cap + 12), 4, true, byte(f) & 7);
	access_at(f, config_address(device, cap + 16), 4, byte(f) & 1, word(f));
}

/* What a back-end in the kernel asks for, and gives back. */
static void ask_descriptors(struct fuzz *f, unsigned device)
{
	unsigned queue = byte(f) % f->devices[device]->ops->queue_count;
	const uint64_t one = 1;
	kiln_fd kick;
	kiln_fd call;

	if (!f->devices[device]->queues[queue].ready)
		return;
	if (byte(f) & 1)
		kiln__virtio_queue_fds(f->devices[device], queue, NULL, NULL);
	else if (kiln__virtio_queue_fds(f->devices[device], queue, &kick, &call) == 0 &&
		 write(call, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void host(struct fuzz *f, unsigned device)
{
	uint8_t what = byte(f);

	switch (what & 7) {
	case 0:
		kiln__balloon_set_target(f->balloon, (uint64_t)what << 12, NULL);
		break;
	case 1:
		kiln__console_resize(f->console, what, 25);
		break;
	case 2:
		kiln__console_write(f->console, what >> 3 & 1, "input", 5);
		break;
	case 3: /* no processor runs: the machine starts anew */
		for (unsigned i = 0; i < DEVICES; i++)
			kiln__virtio_pci_reset(f->transports[i]);
		kiln__pci_reset(f->pci);
		break;
	default:
		ask_descriptors(f, device);
		break;
	}
}

/* --- what must hold ------------------------------------------------------------------------------
 */

static void check(struct fuzz *f)
{
	static const uint8_t constant[] = {0x00, 0x01, 0x02, 0x03, 0x06, 0x08, 0x09,
					   0x0a, 0x0b, 0x2c, 0x2e, 0x34, 0x3d};

	for (unsigned i = 0; i < DEVICES; i++) {
		const struct kiln__pci_function *fn = function(f, i);
		const uint8_t *config = fn->config;

		for (unsigned k = 0; k < sizeof(constant); k++)
			if (config[constant[k]] != f->headers[i][constant[k]])
				abort();
		for (unsigned cap = config[0x34]; cap; cap = config[cap + 1])
			if (memcmp(config + cap, f->headers[i] + cap, 3) != 0)
				abort();
		if (kiln__load16((const uint16_t *)(const void *)(fn->page + 0x12)) !=
		    f->devices[i]->ops->queue_count)
			abort();
		if (fn->page[PENDING] && !f->vm.watched)
			abort();
	}
	for (unsigned i = 0; i < HANGING; i++)
		if (f->vm.bells[i].used && f->vm.bells[i].at % 4)
			abort();
}

/* After the loop has followed the BARs. */
static void check_bells(struct fuzz *f)
{
	for (unsigned i = 0; i < HANGING; i++) {
		bool found = !f->vm.bells[i].used;

		for (unsigned k = 0; k < DEVICES && !found; k++) {
			uint64_t base = kiln__pci_bar(function(f, k), 1);
			uint64_t at = f->vm.bells[i].at;

			found = base && at >= base + BELLS &&
				at < base + BELLS + 4u * f->devices[k]->ops->queue_count;
		}
		if (!found)
			abort();
	}
}

static void step(struct fuzz *f)
{
	uint8_t code = byte(f);
	unsigned device = code / 16 % DEVICES;

	switch (code & 15) {
	case 0:
	case 1:
		set_up(f, device);
		break;
	case 2:
	case 3:
		send(f, device);
		break;
	case 4:
	case 5:
		kiln_loop_dispatch(f->loop);
		check_bells(f);
		break;
	case 6:
		touch_by_window(f, device);
		break;
	case 9:
		set_vector(f, device);
		break;
	case 7:
		host(f, device);
		break;
	case 8: /* a BAR goes elsewhere */
		access_at(f, config_address(device, KILN__PCI_BAR + 4u * ((code >> 6) % 3u)), 4,
			  true, byte(f) & 1 ? word(f) : KILN__PCI_MMIO_BASE + 0x1000u * byte(f));
		break;
	default:
		touch(f, device);
		break;
	}
	check(f);
}

/* --- all of it
 * ------------------------------------------------------------------------------------ */

static size_t output(void *data, unsigned port, const void *bytes, size_t len)
{
	(void)data, (void)port, (void)bytes;
	return len;
}

static void discard(void *data, uint64_t gpa, uint64_t len)
{
	(void)data, (void)gpa, (void)len;
}

static const struct kiln__console_handler handler = {.output = output};

static void make(struct fuzz *f)
{
	static const char *const names[] = {"a", "b"};
	const struct kiln__console_options console = {
		.port_count = 2, .names = names, .handler = &handler, .data = f};
	const struct kiln__balloon_options balloon = {.discard = discard, .data = f};
	struct kiln__virtio_bus bus = {.vm = &f->vm, .mem = &f->gmem};
	int r = kiln__gmem_add(&f->gmem, 0, VG_MEMORY, f->memory, NULL);

	memset(f->memory + ROOM, 0, DEVICES * 0x40000);
	r |= kiln_loop_new(&f->loop, NULL);
	r |= kiln__pci_new(&f->pci, &f->vm, &f->bus, NULL);
	r |= kiln__console_new(&f->console, f->loop, &console, NULL);
	r |= kiln__balloon_new(&f->balloon, f->loop, &balloon, NULL);
	r |= kiln__rng_new(&f->rng, f->loop, NULL, NULL);
	if (r != 0)
		abort();
	f->devices[0] = kiln__console_device(f->console);
	f->devices[1] = kiln__balloon_device(f->balloon);
	f->devices[2] = kiln__rng_device(f->rng);
	bus.loop = f->loop;
	bus.pci = f->pci;
	for (unsigned i = 0; i < DEVICES; i++) {
		if (kiln__virtio_pci_new(&f->transports[i], &bus, f->devices[i], NULL) < 0)
			abort();
		f->vm.functions[i] = function(f, i);
		memcpy(f->headers[i], function(f, i)->config, sizeof(f->headers[i]));
	}
}

static void unmake(struct fuzz *f)
{
	for (unsigned i = 0; i < DEVICES; i++)
		kiln__virtio_pci_free(f->transports[i]);
	kiln__console_free(f->console);
	kiln__balloon_free(f->balloon);
	kiln__rng_free(f->rng);
	kiln__pci_free(f->pci);
	kiln_loop_free(f->loop);
	for (unsigned i = 0; i < HANGING; i++)
		if (f->vm.bells[i].used || f->vm.irqs[i].used)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static unsigned char *memory; /* one for all runs */
	struct fuzz f = {.at = bytes, .end = bytes + len};

	if (!memory)
		memory = virtio_guest_memory();
	f.memory = memory;
	make(&f);
	for (unsigned i = 0; i < MAX_STEPS && f.at < f.end; i++)
		step(&f);
	unmake(&f);
	return 0;
}
