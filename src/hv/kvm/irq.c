/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts and doorbells of a VM on KVM: lines and messages (api.rst, KVM_IRQ_LINE and
 * KVM_SIGNAL_MSI), and both by descriptor (KVM_IRQFD, KVM_IOEVENTFD).
 *
 * A message by descriptor needs a routing entry. The table is set as a whole, which makes
 * KVM wait until nobody uses the old one; so there is no table before the first route,
 * and messages that this process sends itself go without.
 */
#include "internal.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* 4008ae6a, 4020aea5, 4020ae76, 4040ae79, 4008ae61: what irq.c asks of KVM once confined. */
KILN__SYSCALLS(ioctl(1 = 0x4008ae6a), ioctl(1 = 0x4020aea5), ioctl(1 = 0x4020ae76),
	       ioctl(1 = 0x4040ae79), ioctl(1 = 0x4008ae61));
_Static_assert(KVM_SET_GSI_ROUTING == 0x4008ae6a && KVM_SIGNAL_MSI == 0x4020aea5 &&
		       KVM_IRQFD == 0x4020ae76 && KVM_IOEVENTFD == 0x4040ae79 &&
		       KVM_IRQ_LINE == 0x4008ae61,
	       "as declared");

/* The routes of kiln_hv_vm_set_route() come after the lines, which are the I/O APIC's pins. */
#define PINS     24
#define PIC_PINS 8 /* of each of the two */

struct kiln__kvm_routes {
	struct kiln__kvm_message {
		uint64_t address;
		uint32_t data;
		bool set;
	} messages[KILN_HV_MAX_ROUTES];
};

static int need(const kiln_hv_vm *vm, enum kiln_hv_irqchip irqchip, kiln_error *err)
{
	if (vm->irqchip >= irqchip)
		return 0;
	return kiln__fail(err, KILN_ENOTSUP, "this VM was made without %s",
			  irqchip == KILN_HV_IRQCHIP_FULL ? "an interrupt controller for lines"
							  : "local APICs");
}

int kiln_hv_vm_set_line(kiln_hv_vm *vm, unsigned line, bool level, kiln_error *err)
{
	struct kvm_irq_level irq = {.irq = line, .level = level};
	int code = need(vm, KILN_HV_IRQCHIP_FULL, err);

	if (code < 0)
		return code;
	if (line >= PINS) /* a route's number would follow */
		return kiln__fail(err, KILN_EOVERFLOW, "no line %u: there are %d", line, PINS);
	if (kiln__kvm_ioctl_p(vm->fd, KVM_IRQ_LINE, &irq) < 0)
		return kiln__fail_errno(err, errno, "KVM_IRQ_LINE");
	return 0;
}

int kiln_hv_vm_send_msi(kiln_hv_vm *vm, uint64_t address, uint32_t data, kiln_error *err)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)address,
		.address_hi = (uint32_t)(address >> 32),
		.data = data,
	};
	int code = need(vm, KILN_HV_IRQCHIP_LOCAL, err);

	if (code < 0)
		return code;
	/* api.rst: -1, which arrives as EPERM, if no processor takes it; real hardware drops such a
	 * write without a word, too. */
	if (kiln__kvm_ioctl_p(vm->fd, KVM_SIGNAL_MSI, &msi) < 0 && errno != EPERM)
		return kiln__fail_errno(err, errno, "KVM_SIGNAL_MSI");
	return 0;
}

/* --- doorbells ---------------------------------------------------------------------------- */

static int doorbell(kiln_hv_vm *vm, const kiln_hv_doorbell *bell, intptr_t descriptor,
		    unsigned flags, kiln_error *err)
{
	struct kvm_ioeventfd arg = {
		.datamatch = bell->value,
		.addr = bell->address,
		.len = bell->size,
		.fd = (int)descriptor,
		.flags = flags | (bell->port ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (bell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};

	if (kiln__kvm_ioctl_p(vm->fd, KVM_IOEVENTFD, &arg) < 0)
		return kiln__fail_errno(err, errno, "KVM_IOEVENTFD at 0x%" PRIx64, bell->address);
	return 0;
}

int kiln_hv_vm_add_doorbell(kiln_hv_vm *vm, const kiln_hv_doorbell *bell, intptr_t descriptor,
			    kiln_error *err)
{
	return doorbell(vm, bell, descriptor, 0, err);
}

int kiln_hv_vm_remove_doorbell(kiln_hv_vm *vm, const kiln_hv_doorbell *bell, intptr_t descriptor,
			       kiln_error *err)
{
	return doorbell(vm, bell, descriptor, KVM_IOEVENTFD_FLAG_DEASSIGN, err);
}

/* --- routes and interrupts by descriptor --------------------------------------------------- */

void kiln__kvm_free_routes(kiln_hv_vm *vm)
{
	free(vm->routes);
	vm->routes = NULL;
}

union routing_arg { /* the header and its flexible array's room */
	struct kvm_irq_routing kvm;
	uint8_t bytes[sizeof(struct kvm_irq_routing) +
		      (PINS + 2 * PIC_PINS + KILN_HV_MAX_ROUTES) *
			      sizeof(struct kvm_irq_routing_entry)];
};

/* The lines go where they go without a table: to the I/O APIC, and the first sixteen to the PICs.
 */
static uint32_t add_lines(struct kvm_irq_routing_entry *entries)
{
	uint32_t n = 0;

#ifdef KVM_IRQCHIP_IOAPIC
	for (uint32_t pin = 0; pin < PINS; pin++)
		entries[n++] = (struct kvm_irq_routing_entry){
			.gsi = pin,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = pin},
		};
	for (uint32_t pin = 0; pin < 2 * PIC_PINS; pin++)
		entries[n++] = (struct kvm_irq_routing_entry){
			.gsi = pin,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {.irqchip = pin < PIC_PINS ? KVM_IRQCHIP_PIC_MASTER
								: KVM_IRQCHIP_PIC_SLAVE,
				      .pin = pin % PIC_PINS},
		};
#else
	(void)entries;
#endif
	return n;
}

static int set_table(kiln_hv_vm *vm, const struct kiln__kvm_routes *routes, kiln_error *err)
{
	union routing_arg arg = {.kvm = {.nr = 0}};
	struct kvm_irq_routing_entry *entries = arg.kvm.entries;
	uint32_t n = vm->irqchip == KILN_HV_IRQCHIP_FULL ? add_lines(entries) : 0;

	for (uint32_t i = 0; i < KILN_HV_MAX_ROUTES; i++) {
		if (!routes->messages[i].set)
			continue;
		entries[n++] = (struct kvm_irq_routing_entry){
			.gsi = PINS + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)routes->messages[i].address,
				  .address_hi = (uint32_t)(routes->messages[i].address >> 32),
				  .data = routes->messages[i].data},
		};
	}
	arg.kvm.nr = n;
	if (kiln__kvm_ioctl_p(vm->fd, KVM_SET_GSI_ROUTING, &arg) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_GSI_ROUTING");
	return 0;
}

int kiln_hv_vm_set_route(kiln_hv_vm *vm, unsigned route, uint64_t address, uint32_t data,
			 kiln_error *err)
{
	struct kiln__kvm_message *message;
	struct kiln__kvm_message old;
	int code = need(vm, KILN_HV_IRQCHIP_LOCAL, err);

	if (code < 0)
		return code;
	if (route >= KILN_HV_MAX_ROUTES)
		return kiln__fail(err, KILN_EOVERFLOW, "no route %u: there are %d", route,
				  KILN_HV_MAX_ROUTES);
	if (!vm->routes)
		vm->routes = calloc(1, sizeof(*vm->routes));
	if (!vm->routes)
		return kiln__fail_nomem(err);
	message = &vm->routes->messages[route];
	if (message->set && message->address == address && message->data == data)
		return 0;
	old = *message;
	*message = (struct kiln__kvm_message){address, data, true};
	code = set_table(vm, vm->routes, err);
	if (code < 0)
		*message = old;
	return code;
}

static int irqfd(kiln_hv_vm *vm, unsigned route, intptr_t descriptor, unsigned flags,
		 kiln_error *err)
{
	struct kvm_irqfd arg = {.fd = (uint32_t)descriptor, .gsi = PINS + route, .flags = flags};

	if (route >= KILN_HV_MAX_ROUTES || !vm->routes || !vm->routes->messages[route].set)
		return kiln__fail(err, KILN_ENOENT, "route %u has no message", route);
	if (kiln__kvm_ioctl_p(vm->fd, KVM_IRQFD, &arg) < 0)
		return kiln__fail_errno(err, errno, "KVM_IRQFD");
	return 0;
}

int kiln_hv_vm_add_irq(kiln_hv_vm *vm, unsigned route, intptr_t descriptor, kiln_error *err)
{
	return irqfd(vm, route, descriptor, 0, err);
}

int kiln_hv_vm_remove_irq(kiln_hv_vm *vm, unsigned route, intptr_t descriptor, kiln_error *err)
{
	return irqfd(vm, route, descriptor, KVM_IRQFD_FLAG_DEASSIGN, err);
}
