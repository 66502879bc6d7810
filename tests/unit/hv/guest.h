/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM of one vCPU with 64 KiB at 0, in which the guests of guests_x86_64.S run in real mode.
 *
 * Where a KVM gives up on a guest's instruction (nested ones that emulate do), the test is skipped
 * with its words, unless KILN_TEST_KVM=works says that this KVM is whole, as in the rig.
 */
#ifndef TESTS_HV_GUEST_H
#define TESTS_HV_GUEST_H

#include "guest_layout.h"
#include "kiln_test.h"

#include <kiln/hv.h>
#include <kiln/hv_x86.h>

struct guest {
	kiln_hv_vm *vm;
	kiln_hv_vcpu *vcpu;
	kiln_hv_exit exit; /* of the last run */
};

/* The hypervisor; NULL if it cannot be opened, with why in @err. */
extern kiln_hv *guest_hv;
int guest_open(kiln_error *err);

/* Skips the running test, but fails it where KVM is known to be whole. */
void guest_cannot(const char *why);

/* Makes and drops one. The vCPU is attached to this thread. */
void guest_make(struct guest *guest, enum kiln_hv_irqchip irqchip);
void guest_drop(struct guest *guest);

/* Puts a guest at GUEST_ENTRY, and the vCPU there with a stack and with DS at @ds. */
#define guest_load(guest, name, ds) guest_load_code(guest, guest_##name, guest_##name##_end, ds)
void guest_load_code(struct guest *guest, const uint8_t *begin, const uint8_t *end, uint64_t ds);

/* Puts handlers behind all vectors below GUEST_HANDLERS, each of which says its vector. */
#define guest_handle(guest, name) guest_handle_by(guest, guest_##name, guest_##name##_end)
void guest_handle_by(struct guest *guest, const uint8_t *begin, const uint8_t *end);

/* Runs it, and fails the test unless it ends with this; by a write or read of @port, the second. */
void guest_run(struct guest *guest, enum kiln_hv_exit_kind kind);
uint32_t guest_run_to_write(struct guest *guest, unsigned port);

#define GUEST(name) extern const uint8_t guest_##name[], guest_##name##_end[]
GUEST(spin);
GUEST(halted);
GUEST(touch);
GUEST(dirty);
GUEST(ring);
GUEST(apic);
GUEST(lapic);
GUEST(handlers);
GUEST(plain_handlers);
GUEST(late);
GUEST(sequence);
GUEST(sse);
GUEST(crossing);

#endif
