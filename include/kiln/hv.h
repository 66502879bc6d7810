/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor port: a partition with guest memory, virtual processors and
 * interrupts, in words that hold for KVM, the Windows Hypervisor Platform and
 * Hypervisor.framework alike. One implementation is linked per system (KVM on
 * Linux): there is never a choice to make at run time. What a hypervisor may or may not
 * have is a capability, asked for by kiln_hv_get_capabilities().
 *
 * kiln's own VMM stands on this; so can a tiny one (examples/tinyvm.c). The
 * processor's own part is in <kiln/hv_x86.h> and <kiln/hv_arm64.h>.
 *
 * Threads: a hypervisor and its VMs may be used on any thread, one at a time per
 * VM; kiln_hv_vm_send_msi() and kiln_hv_vm_set_line() on several at once, and so
 * kiln_hv_vm_read() and kiln_hv_vm_write() while no memory is mapped or unmapped. A vCPU is
 * made, attached, run and freed on one thread of its own, whatever happens to its VM
 * meanwhile; kiln_hv_vcpu_kick() alone may be called from any.
 *
 * Trust: what comes out of an exit (ports, addresses, sizes, data) was chosen by
 * the guest. Sizes are within the bounds given at kiln_hv_access; everything else is the
 * caller's to check.
 *
 * Errors are <kiln/error.h>'s: KILN_ENOTSUP for what this hypervisor does not have, KILN_ESYSTEM
 * with os_errno for what the system refused.
 */
#ifndef KILN_HV_H
#define KILN_HV_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kiln_hv kiln_hv;
typedef struct kiln_hv_vm kiln_hv_vm;
typedef struct kiln_hv_vcpu kiln_hv_vcpu;

/* --- the hypervisor --------------------------------------------------------------- */

/*
 * Opens the hypervisor. @device: its device node, or NULL for the system's own
 * ("/dev/kvm"). Fails with KILN_ENOENT or KILN_EACCES and the system's errno if
 * it cannot be opened, KILN_ENOTSUP if what answers is not a hypervisor of the
 * interface version needed. Freed by kiln_hv_free() after its VMs.
 */
KILN_PUBLIC int kiln_hv_open(kiln_hv **ret, const char *device, kiln_error *err);
KILN_PUBLIC void kiln_hv_free(kiln_hv *hv); /* NULL is allowed */

/* Who delivers interrupts to the processors. */
enum kiln_hv_irqchip {
	KILN_HV_IRQCHIP_NONE = 0,  /* the caller emulates all of it */
	KILN_HV_IRQCHIP_LOCAL = 1, /* local APICs (redistributors), so MSI; the caller has the I/O
				      APIC, of whose level-triggered lines it hears no EOI */
	KILN_HV_IRQCHIP_FULL = 2,  /* local and I/O APIC, or a whole GIC; MSI and lines */
};

typedef struct kiln_hv_capabilities {
	size_t size;                  /* of this struct, by KILN_HV_CAPABILITIES_INIT */
	enum kiln_hv_irqchip irqchip; /* the most that it offers */
	unsigned max_vcpus;           /* of one VM */
	unsigned max_maps;      /* pieces of guest memory of one VM, as far as this port has room */
	bool readonly_maps;     /* KILN_HV_MAP_READONLY */
	bool dirty_log;         /* KILN_HV_MAP_LOG_DIRTY */
	bool notify;            /* doorbells and interrupts by descriptor */
	bool paravirtual_clock; /* the guest has a clock that knows of pauses */
	bool nested;            /* guests may be hypervisors in turn */
} kiln_hv_capabilities;

#define KILN_HV_CAPABILITIES_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(kiln_hv_capabilities)                                               \
	}

/* What this hypervisor has. Fills @ret as far as its size says; KILN_EINVAL if it says nothing. */
KILN_PUBLIC int kiln_hv_get_capabilities(const kiln_hv *hv, kiln_hv_capabilities *ret,
					 kiln_error *err);

/*
 * Checks that the hypervisor has every feature the built-in VMM is made of.
 * KILN_ENOTSUP names all that are missing.
 */
KILN_PUBLIC int kiln_hv_check_features(const kiln_hv *hv, kiln_error *err);

/* --- partitions --------------------------------------------------------------------- */

typedef struct kiln_hv_vm_options {
	size_t size;
	enum kiln_hv_irqchip irqchip; /* what it is to have; KILN_ENOTSUP beyond the capability */
} kiln_hv_vm_options;

#define KILN_HV_VM_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(kiln_hv_vm_options)                                                 \
	}

/*
 * Makes a VM without memory or processors. Borrows @hv, which must outlive it. @options NULL:
 * no interrupt controller. May wait some milliseconds for the system (on Linux for an RCU grace
 * period, unless its cgroups are mounted with favordynmods).
 */
KILN_PUBLIC int kiln_hv_vm_new(kiln_hv_vm **ret, kiln_hv *hv, const kiln_hv_vm_options *options,
			       kiln_error *err);
KILN_PUBLIC void kiln_hv_vm_free(kiln_hv_vm *vm); /* after its vCPUs; NULL is allowed */

/* --- guest memory --------------------------------------------------------------------- */

#define KILN_HV_MAP_READONLY  1 /* guest writes become MMIO exits; by capability */
#define KILN_HV_MAP_LOG_DIRTY 2 /* what the guest writes to is noted: kiln_hv_vm_dirty_log() */

/*
 * Makes @size bytes at @host the guest's memory at @address, all three multiples
 * of the host's page size (KILN_EINVAL). The memory is borrowed, must be writable, and must stay
 * mapped until unmapped here or the VM is freed. Overlapping what is mapped already: KILN_EEXIST;
 * empty, beyond 64 bits, or more than the capability's max_maps: KILN_EOVERFLOW. Also while vCPUs
 * run.
 */
KILN_PUBLIC int kiln_hv_vm_map(kiln_hv_vm *vm, uint64_t address, void *host, uint64_t size,
			       unsigned flags, kiln_error *err);

enum kiln_hv_memory_kind {
	KILN_HV_MEMORY_ANONYMOUS = 0, /* zeros; pages cost nothing before they are written */
	KILN_HV_MEMORY_SHARED =
		1, /* a file or memory object: what the guest writes is written there */
	KILN_HV_MEMORY_FILE = 2, /* a private map of a file: writes stay the guest's own */
};

/*
 * Makes memory of this kind and maps it as kiln_hv_vm_map() does: it is the VM's, and goes with
 * kiln_hv_vm_unmap() or the VM. @descriptor and @offset (a multiple of the page size) are for
 * SHARED (open for writing, too) and FILE (for reading). A file that ends before the last page:
 * KILN_EOVERFLOW; it must not be shortened later, but the descriptor may be closed. *@ret_host (if
 * not NULL) is where the memory lies in this process.
 */
KILN_PUBLIC int kiln_hv_vm_add_memory(kiln_hv_vm *vm, uint64_t address, uint64_t size,
				      enum kiln_hv_memory_kind kind, intptr_t descriptor,
				      uint64_t offset, unsigned flags, void **ret_host,
				      kiln_error *err);

/* Takes away a mapping made with exactly this @address. KILN_ENOENT if there is none. */
KILN_PUBLIC int kiln_hv_vm_unmap(kiln_hv_vm *vm, uint64_t address, kiln_error *err);

/*
 * Copies out of and into guest memory, across mappings that touch: all of it and 0, or nothing and
 * KILN_EOVERFLOW if a part of the range is not mapped. Read-only mappings are written to, too: that
 * is how they get their contents.
 */
KILN_PUBLIC int kiln_hv_vm_read(const kiln_hv_vm *vm, uint64_t address, void *bytes, size_t len,
				kiln_error *err);
KILN_PUBLIC int kiln_hv_vm_write(kiln_hv_vm *vm, uint64_t address, const void *bytes, size_t len,
				 kiln_error *err);

/*
 * Fetches and clears what the guest has written to of the mapping at exactly @address: a bit per
 * page of the host's size, the first page's the lowest of @bitmap[0]. What this process writes is
 * not noted. @words must suffice for the mapping (KILN_EOVERFLOW). KILN_ENOENT if there is no such
 * mapping, KILN_ESTATE if it was made without KILN_HV_MAP_LOG_DIRTY.
 */
KILN_PUBLIC int kiln_hv_vm_dirty_log(kiln_hv_vm *vm, uint64_t address, uint64_t *bitmap,
				     size_t words, kiln_error *err);

/* --- interrupts ------------------------------------------------------------------------------ */

/*
 * Raises or lowers a line of the I/O APIC (0 to 23) or GIC. Any thread. With KILN_HV_IRQCHIP_FULL,
 * else KILN_ENOTSUP. KILN_EOVERFLOW: there is no such line.
 */
KILN_PUBLIC int kiln_hv_vm_set_line(kiln_hv_vm *vm, unsigned line, bool level, kiln_error *err);

/*
 * Delivers a message-signalled interrupt, as a write of @data to @address would: 0 also if no
 * processor takes it. Any thread. Needs KILN_HV_IRQCHIP_LOCAL or FULL, else KILN_ENOTSUP.
 */
KILN_PUBLIC int kiln_hv_vm_send_msi(kiln_hv_vm *vm, uint64_t address, uint32_t data,
				    kiln_error *err);

/* --- notification by descriptor: capability "notify" ---------------------------------------- */

/*
 * A doorbell: a guest's write of @size bytes (1, 2, 4, 8; 0: any, without @match) to @address makes
 * @descriptor (an eventfd on Linux) readable, and does not end kiln_hv_vcpu_run(). With @match only
 * a write of @value does. The same one twice: KILN_EEXIST; to remove one that is not there:
 * KILN_ENOENT. The descriptor is borrowed until then, or until it is closed.
 */
typedef struct kiln_hv_doorbell {
	uint64_t address;
	uint64_t value;
	uint8_t size;
	bool port; /* x86: an I/O port */
	bool match;
} kiln_hv_doorbell;

KILN_PUBLIC int kiln_hv_vm_add_doorbell(kiln_hv_vm *vm, const kiln_hv_doorbell *doorbell,
					intptr_t descriptor, kiln_error *err);
KILN_PUBLIC int kiln_hv_vm_remove_doorbell(kiln_hv_vm *vm, const kiln_hv_doorbell *doorbell,
					   intptr_t descriptor, kiln_error *err);

/*
 * Interrupts by descriptor: when @descriptor is written to, by whomever (a device in the kernel,
 * say), the message of @route is delivered. Routes are numbers from 0 to KILN_HV_MAX_ROUTES - 1 of
 * the caller's choice (KILN_EOVERFLOW); changing one while it is in use is allowed, and costs some
 * microseconds or more. A route without a message: KILN_ENOENT; a descriptor in use: KILN_EBUSY.
 * Needs KILN_HV_IRQCHIP_LOCAL or FULL.
 */
#define KILN_HV_MAX_ROUTES 256

KILN_PUBLIC int kiln_hv_vm_set_route(kiln_hv_vm *vm, unsigned route, uint64_t address,
				     uint32_t data, kiln_error *err);
KILN_PUBLIC int kiln_hv_vm_add_irq(kiln_hv_vm *vm, unsigned route, intptr_t descriptor,
				   kiln_error *err);
KILN_PUBLIC int kiln_hv_vm_remove_irq(kiln_hv_vm *vm, unsigned route, intptr_t descriptor,
				      kiln_error *err);

/*
 * The VM's own state beside memory and vCPUs (interrupt controller, clock), as a versioned blob for
 * kiln_hv_vm_load(), malloc'ed. Maps, doorbells and routes are not in it: the caller made them, and
 * makes them again. While no vCPU runs; a VM is loaded before its vCPUs are. Errors as those of
 * kiln_hv_vcpu_load().
 */
KILN_PUBLIC int kiln_hv_vm_save(kiln_hv_vm *vm, void **ret, size_t *ret_size, kiln_error *err);
KILN_PUBLIC int kiln_hv_vm_load(kiln_hv_vm *vm, const void *blob, size_t size, kiln_error *err);

/* --- virtual processors ---------------------------------------------------------------- */

enum kiln_hv_exit_kind {
	KILN_HV_EXIT_PORT,     /* x86 port I/O */
	KILN_HV_EXIT_MMIO,     /* access to guest-physical memory that is not mapped */
	KILN_HV_EXIT_HALT,     /* waits for an interrupt, and interrupts are the caller's job */
	KILN_HV_EXIT_SHUTDOWN, /* x86: triple fault; Arm: power-off by PSCI */
	KILN_HV_EXIT_RESET,    /* Arm: reset by PSCI */
	KILN_HV_EXIT_KICKED,   /* kiln_hv_vcpu_kick(), the deadline, or for no reason at all */
	KILN_HV_EXIT_FAILED,   /* the hypervisor cannot continue this vCPU */
};

/* One access, as the instruction made it. data: of the guest if it writes, for it if it reads. */
typedef struct kiln_hv_access {
	uint64_t address; /* port number or guest-physical address */
	uint32_t size;  /* of one element: 1 to 8 bytes, also odd where it crossed a page; ports: 1,
			   2 or 4 */
	uint32_t count; /* elements, > 1 only for string port I/O */
	bool write;     /* by the guest */
	uint8_t *data;  /* size * count bytes, valid until the next run */
} kiln_hv_access;

enum kiln_hv_failure_kind {
	KILN_HV_FAILURE_EMULATION, /* it met an instruction that it does not emulate */
	KILN_HV_FAILURE_ENTRY,     /* the processor refused to enter the guest */
	KILN_HV_FAILURE_INTERNAL,  /* anything else of the hypervisor's own */
	KILN_HV_FAILURE_UNKNOWN,   /* an exit that this port does not know */
};

#define KILN_HV_MAX_INSN 15 /* Intel SDM vol. 2, 2.3.11: the longest x86 instruction */

typedef struct kiln_hv_failure {
	enum kiln_hv_failure_kind kind;
	uint64_t code;                  /* the hypervisor's own number, for the log */
	uint32_t insn_len;              /* bytes in insn; 0 if not told */
	uint8_t insn[KILN_HV_MAX_INSN]; /* what it did not emulate */
} kiln_hv_failure;

typedef struct kiln_hv_exit {
	enum kiln_hv_exit_kind kind;
	kiln_hv_access access;   /* PORT, MMIO */
	kiln_hv_failure failure; /* FAILED */
} kiln_hv_exit;

/*
 * Makes vCPU number @index (0 is the boot processor), in the architecture's reset
 * state; on x86 it offers the guest no CPUID leaves before kiln_hv_x86_set_cpuid().
 * Called on the thread that will run it: Hypervisor.framework binds a vCPU to its maker.
 */
KILN_PUBLIC int kiln_hv_vcpu_new(kiln_hv_vcpu **ret, kiln_hv_vm *vm, unsigned index,
				 kiln_error *err);
KILN_PUBLIC void kiln_hv_vcpu_free(kiln_hv_vcpu *vcpu); /* detached; NULL is allowed */

/*
 * Makes the calling thread the one that runs this vCPU. On Linux this blocks one
 * real-time signal (SIGRTMAX) in this thread, which kicks interrupt the guest with:
 * no handler is installed, and the program must not send it to itself.
 * Detach on the same thread before it ends or the vCPU is freed; it restores the mask. One vCPU a
 * thread at a time. KILN_ESTATE if it is attached already.
 */
KILN_PUBLIC int kiln_hv_vcpu_attach(kiln_hv_vcpu *vcpu, kiln_error *err);
KILN_PUBLIC void kiln_hv_vcpu_detach(kiln_hv_vcpu *vcpu);

/*
 * Runs the guest until something is for the caller to do. After a reading PORT or
 * MMIO exit fill access.data before the next run, which completes the instruction: until then
 * the processor's state may still be that before it. What sets or saves state completes it, too.
 * Returns 0 with @ret filled (FAILED included), or an error if the call itself failed
 * (KILN_ESTATE: not attached).
 */
KILN_PUBLIC int kiln_hv_vcpu_run(kiln_hv_vcpu *vcpu, kiln_hv_exit *ret, kiln_error *err);

/*
 * Makes the current run, or the next one, return KICKED. Any thread; the vCPU must be
 * attached, and stay so until this returns. Kicks before one report are one; a kick that comes
 * while another is being reported may be reported again.
 */
KILN_PUBLIC void kiln_hv_vcpu_kick(kiln_hv_vcpu *vcpu);

/* Kicks this vCPU @ms milliseconds from now, once; 0 takes the deadline back. On its thread. */
KILN_PUBLIC int kiln_hv_vcpu_deadline(kiln_hv_vcpu *vcpu, unsigned ms, kiln_error *err);

/* Describes a failed or unexpected exit in one line, truncated to @size bytes. */
KILN_PUBLIC void kiln_hv_exit_describe(const kiln_hv_exit *exit, char *text, size_t size);

/*
 * The whole state of a vCPU as a versioned blob, malloc'ed, with a fingerprint of the processor.
 * Between runs, on the vCPU's thread. An access that was reported is completed first, with what is
 * in access.data; KILN_ESTATE if the instruction goes on with another, which the next run
 * reports. KILN_ENOTSUP for a guest that is a hypervisor itself.
 *
 * A blob is loaded into a vCPU of the same hypervisor, in a VM with the same interrupt controller
 * (KILN_EINVAL) and with its memory in place. On a processor that lacks what the guest was told
 * of: KILN_ENOTSUP, naming it. A blob that is damaged, or of another kind, version or architecture:
 * KILN_EFORMAT. Its checksum finds damage, no forgery: a forged one is refused by the hypervisor,
 * or is a state like any other. A vCPU or VM whose load has failed is good for nothing but another
 * load.
 */
KILN_PUBLIC int kiln_hv_vcpu_save(kiln_hv_vcpu *vcpu, void **ret, size_t *ret_size,
				  kiln_error *err);
KILN_PUBLIC int kiln_hv_vcpu_load(kiln_hv_vcpu *vcpu, const void *blob, size_t size,
				  kiln_error *err);

/*
 * Tells the guest, by its paravirtual clock, that it was not run for a while, so that its watchdogs
 * do not bark. After a pause, before the next run. Nothing happens where it has no such clock.
 */
KILN_PUBLIC void kiln_hv_vcpu_note_pause(kiln_hv_vcpu *vcpu);

#ifdef __cplusplus
}
#endif
#endif
