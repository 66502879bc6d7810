/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor port: a partition with guest memory and virtual processors, in
 * words that hold for KVM, the Windows Hypervisor Platform and
 * Hypervisor.framework alike. One implementation is linked per system (hv/kvm on
 * Linux), as with os.h: there is never a choice to make at run time.
 *
 * Threads: a hypervisor and its VMs may be used on any thread, one at a time per
 * VM. A vCPU is made, attached, run and freed on one thread of its own;
 * kiln__hv_vcpu_kick() alone may be called from any.
 *
 * Trust: what comes out of an exit (ports, addresses, sizes, data) was chosen by
 * the guest. Sizes are within the bounds given at struct kiln__hv_access;
 * everything else is the caller's to check.
 */
#ifndef KILN_HV_H
#define KILN_HV_H

#include <kiln/error.h>

#include "cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kiln__hv;
struct kiln__hv_vm;
struct kiln__hv_vcpu;

/* --- the hypervisor --------------------------------------------------------------- */

/*
 * Opens the hypervisor. @device: its device node, or NULL for the system's own
 * ("/dev/kvm"). Fails with KILN_ENOENT or KILN_EACCES and the system's errno if
 * it cannot be opened, KILN_ENOTSUP if what answers is not a hypervisor of the
 * interface version needed. Freed by kiln__hv_free() after its VMs.
 */
int kiln__hv_open(struct kiln__hv **ret, const char *device, kiln_error *err);
void kiln__hv_free(struct kiln__hv *hv); /* NULL is allowed */

/*
 * Checks that the hypervisor has every feature the built-in VMM is made of.
 * KILN_ENOTSUP names all that are missing.
 */
int kiln__hv_check_features(const struct kiln__hv *hv, kiln_error *err);

/* --- partitions --------------------------------------------------------------------- */

/* Makes a VM without memory or processors. Borrows @hv, which must outlive it. */
int kiln__hv_vm_new(struct kiln__hv_vm **ret, struct kiln__hv *hv, kiln_error *err);
void kiln__hv_vm_free(struct kiln__hv_vm *vm); /* after its vCPUs; NULL is allowed */

#define KILN__HV_MAP_READONLY 1 /* guest writes become MMIO exits */

/*
 * Makes @size bytes at @host the guest's memory at @address, all three multiples
 * of the page size. The memory is borrowed and must stay mapped until unmapped here
 * or the VM is freed. Overlapping what is mapped already: KILN_EEXIST.
 */
int kiln__hv_vm_map(struct kiln__hv_vm *vm, uint64_t address, void *host, uint64_t size,
		    unsigned flags, kiln_error *err);

/* Takes away a mapping made with exactly this @address. KILN_ENOENT if there is none. */
int kiln__hv_vm_unmap(struct kiln__hv_vm *vm, uint64_t address, kiln_error *err);

/* --- virtual processors ---------------------------------------------------------------- */

enum kiln__hv_exit_kind {
	KILN__HV_EXIT_PORT,     /* x86 port I/O */
	KILN__HV_EXIT_MMIO,     /* access to guest-physical memory that is not mapped */
	KILN__HV_EXIT_HALT,     /* waits for an interrupt, and interrupts are the caller's job */
	KILN__HV_EXIT_SHUTDOWN, /* x86: triple fault; Arm: power-off by PSCI */
	KILN__HV_EXIT_RESET,    /* Arm: reset by PSCI */
	KILN__HV_EXIT_KICKED,   /* kiln__hv_vcpu_kick(), the deadline, or for no reason at all */
	KILN__HV_EXIT_FAILED,   /* the hypervisor cannot continue this vCPU */
};

/* One access, as the instruction made it. data: of the guest if it writes, for it if it reads. */
struct kiln__hv_access {
	uint64_t address; /* port number or guest-physical address */
	uint32_t size;  /* of one element: 1 to 8 bytes, also odd where it crossed a page; ports: 1,
			   2 or 4 */
	uint32_t count; /* elements, > 1 only for string port I/O */
	bool write;     /* by the guest */
	uint8_t *data;  /* size * count bytes, valid until the next run */
};

enum kiln__hv_failure_kind {
	KILN__HV_FAILURE_EMULATION, /* it met an instruction that it does not emulate */
	KILN__HV_FAILURE_ENTRY,     /* the processor refused to enter the guest */
	KILN__HV_FAILURE_INTERNAL,  /* anything else of the hypervisor's own */
	KILN__HV_FAILURE_UNKNOWN,   /* an exit that this port does not know */
};

#define KILN__HV_MAX_INSN 15 /* Intel SDM vol. 2, 2.3.11: the longest x86 instruction */

struct kiln__hv_failure {
	enum kiln__hv_failure_kind kind;
	uint64_t code;                   /* the hypervisor's own number, for the log */
	uint32_t insn_len;               /* bytes in insn; 0 if not told */
	uint8_t insn[KILN__HV_MAX_INSN]; /* what it did not emulate */
};

struct kiln__hv_exit {
	enum kiln__hv_exit_kind kind;
	struct kiln__hv_access access;   /* PORT, MMIO */
	struct kiln__hv_failure failure; /* FAILED */
};

/*
 * Makes vCPU number @index (0 is the boot processor), in the architecture's reset
 * state; on x86 it offers the guest no CPUID leaves before kiln__hv_x86_set_cpuid().
 * Called on the thread that will run it: Hypervisor.framework binds a vCPU to its maker.
 */
int kiln__hv_vcpu_new(struct kiln__hv_vcpu **ret, struct kiln__hv_vm *vm, unsigned index,
		      kiln_error *err);
void kiln__hv_vcpu_free(struct kiln__hv_vcpu *vcpu); /* detached; NULL is allowed */

/*
 * Makes the calling thread the one that runs this vCPU. On Linux this blocks one
 * real-time signal (SIGRTMAX) in this thread, which kicks interrupt the guest with:
 * no handler is installed, and the program must not send it to itself.
 * Detach on the same thread before it ends or the vCPU is freed; it restores the mask.
 */
int kiln__hv_vcpu_attach(struct kiln__hv_vcpu *vcpu, kiln_error *err);
void kiln__hv_vcpu_detach(struct kiln__hv_vcpu *vcpu);

/*
 * Runs the guest until something is for the caller to do. After a reading PORT or
 * MMIO exit fill access.data before the next run, which completes the instruction.
 * Returns 0 with @ret filled (FAILED included), or an error if the call itself failed.
 */
int kiln__hv_vcpu_run(struct kiln__hv_vcpu *vcpu, struct kiln__hv_exit *ret, kiln_error *err);

/*
 * Makes the current run, or the next one, return KICKED. Any thread; the vCPU must be
 * attached. A kick that comes while another is being reported may be reported again.
 */
void kiln__hv_vcpu_kick(struct kiln__hv_vcpu *vcpu);

/* Kicks this vCPU @ms milliseconds from now, once; 0 takes the deadline back. On its thread. */
int kiln__hv_vcpu_deadline(struct kiln__hv_vcpu *vcpu, unsigned ms, kiln_error *err);

/* Describes a failed or unexpected exit in one line, truncated to @size bytes. */
void kiln__hv_exit_describe(const struct kiln__hv_exit *exit, char *text, size_t size);

KILN__DEFINE_AUTOPTR(struct kiln__hv, kiln__hv_free)
KILN__DEFINE_AUTOPTR(struct kiln__hv_vm, kiln__hv_vm_free)
KILN__DEFINE_AUTOPTR(struct kiln__hv_vcpu, kiln__hv_vcpu_free)

#endif
