/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preflight's guest on x86-64: builds the tables that a 64-bit kernel runs on
 * (SDM vol. 3, 4.5 paging, 3.4.5 segment descriptors, 6.14 interrupts in 64-bit mode)
 * and runs each step of payload_x86_64.S on a vCPU of its own, so that one that the
 * hypervisor gave up on spoils no other. All memory is written anew for each step.
 */
#include "payload.h"
#include "preflight_internal.h"
#include <kiln/hv_x86.h>

#include "cleanup.h"
#include "err.h"

#include <cpuid.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PTE_PRESENT 0x1u
#define PTE_WRITE   0x2u
#define PTE_LARGE   0x80u

#define GATE_INTERRUPT 0x8e00u /* present, DPL 0, 64-bit interrupt gate */

#define MAX_EXPECTED 4

extern const uint8_t kiln__payload_start[], kiln__payload_end[], kiln__payload_stubs[];
extern const uint8_t kiln__payload_on_int3[], kiln__payload_on_page_fault[];
extern const uint8_t kiln__payload_long_mode[], kiln__payload_mode_switch[];
extern const uint8_t kiln__payload_port_io[], kiln__payload_mmio[], kiln__payload_cpuid[];
extern const uint8_t kiln__payload_msr[], kiln__payload_int3[], kiln__payload_page_fault[];
extern const uint8_t kiln__payload_cmpxchg16b[], kiln__payload_rdtscp[], kiln__payload_xsetbv[];
extern const uint8_t kiln__payload_xsave[], kiln__payload_xrstor[], kiln__payload_fxrstor[];
extern const uint8_t kiln__payload_halt[];

/* The guest and what it is told it runs on. */
struct guest {
	struct kiln__preflight *run;
	uint8_t *memory; /* PAYLOAD_MEMORY_SIZE */
	kiln_hv_x86_cpuid cpuid[KILN_HV_MAX_CPUID];
	size_t cpuid_count;
	unsigned vcpus; /* made so far */
	uint64_t xcr0;  /* what a kernel would enable; 0 without XSAVE */
	bool has_cmpxchg16b, has_rdtscp, has_xsave;
	uint8_t echoed;  /* by step port-io */
	uint32_t stored; /* by step mmio */
};

/* What a step needs of the processor, and how it starts. */
enum {
	NEEDS_CMPXCHG16B = 1,
	NEEDS_RDTSCP = 2,
	NEEDS_XSAVE = 4,
	NEEDS_NO_XSAVE = 8,
	IN_PROTECTED_MODE = 16, /* 32 bits, no paging */
	WITH_XCR0 = 32,         /* set by the host, so as not to depend on the guest's xsetbv */
};

struct step {
	const char *name;
	const uint8_t *entry;
	unsigned flags;
	size_t expected_count;
	uint64_t expected[MAX_EXPECTED]; /* of the result words */
};

#define ECHO_IN 0x5a /* what step port-io reads */

static const struct step steps[] = {
	{"long-mode",
	 kiln__payload_long_mode,
	 0,
	 3,
	 {PAYLOAD_MAGIC, PAYLOAD_CODE64, PAYLOAD_HIGH + PAYLOAD_CODE}},
	{"mode-switch",
	 kiln__payload_mode_switch,
	 IN_PROTECTED_MODE,
	 2,
	 {PAYLOAD_MAGIC, KILN_X86_EFER_LME | KILN_X86_EFER_LMA}},
	{"port-io", kiln__payload_port_io, 0, 1, {0xff & ~ECHO_IN}},
	{"mmio", kiln__payload_mmio, 0, 1, {PAYLOAD_MAGIC ^ 0xffffffff}},
	{"cpuid", kiln__payload_cpuid, 0, 3, {0}}, /* filled in by expect_cpuid() */
	{"msr", kiln__payload_msr, 0, 2, {PAYLOAD_KERNEL_ADDRESS, PAYLOAD_KERNEL_ADDRESS}},
	{"int3", kiln__payload_int3, 0, 2, {PAYLOAD_MAGIC, 1}},
	{"page-fault", kiln__payload_page_fault, 0, 3, {PAYLOAD_MAGIC, PAYLOAD_UNMAPPED, 0}},
	{"cmpxchg16b",
	 kiln__payload_cmpxchg16b,
	 NEEDS_CMPXCHG16B,
	 4,
	 {1, 1, PAYLOAD_PATTERN2, PAYLOAD_PATTERN}},
	{"rdtscp", kiln__payload_rdtscp, NEEDS_RDTSCP, 2, {PAYLOAD_MAGIC, 1}},
	{"xsetbv", kiln__payload_xsetbv, NEEDS_XSAVE, 1, {0}}, /* filled in: XCR0 */
	{"xsave", kiln__payload_xsave, NEEDS_XSAVE | WITH_XCR0, 2, {0x37f, 0x1f80}},
	{"xrstor", kiln__payload_xrstor, NEEDS_XSAVE | WITH_XCR0, 2, {PAYLOAD_PATTERN, 2}},
	{"fxrstor", kiln__payload_fxrstor, NEEDS_NO_XSAVE, 1, {PAYLOAD_PATTERN}},
	{"halt", kiln__payload_halt, 0, 1, {PAYLOAD_MAGIC}},
};

const char *const kiln__preflight_guest_checks[] = {
	"vcpu",  "long-mode", "mode-switch", "port-io",    "mmio",   "cpuid",
	"msr",   "int3",      "page-fault",  "cmpxchg16b", "rdtscp", "xsetbv",
	"xsave", "xrstor",    "fxrstor",     "halt",       NULL,
};

/* --- memory ------------------------------------------------------------------------- */

static void put64(struct guest *guest, size_t address, uint64_t value)
{
	memcpy(guest->memory + address, &value, sizeof(value));
}

static uint64_t result(const struct guest *guest, size_t index)
{
	uint64_t value;

	memcpy(&value, guest->memory + PAYLOAD_RESULTS + 8 * index, sizeof(value));
	return value;
}

static uint64_t high_address(const uint8_t *symbol)
{
	return PAYLOAD_HIGH + PAYLOAD_CODE + (uint64_t)(symbol - kiln__payload_start);
}

static void put_gate(struct guest *guest, unsigned vector, uint64_t address)
{
	size_t at = PAYLOAD_IDT + 16 * vector;

	put64(guest, at,
	      (address & 0xffff) | PAYLOAD_CODE64 << 16 | (uint64_t)GATE_INTERRUPT << 32 |
		      (address >> 16 & 0xffff) << 48);
	put64(guest, at + 8, address >> 32);
}

static uint64_t descriptor(uint64_t base, uint64_t limit, uint64_t rights)
{
	return (limit & 0xffff) | (base & 0xffffff) << 16 | (rights & 0xff) << 40 |
	       (limit >> 16 & 0xf) << 48 | (rights >> 12 & 0xf) << 52 | (base >> 24 & 0xff) << 56;
}

static void load_memory(struct guest *guest)
{
	size_t code_size = (size_t)(kiln__payload_end - kiln__payload_start);

	memset(guest->memory, 0, PAYLOAD_CODE);
	memcpy(guest->memory + PAYLOAD_CODE, kiln__payload_start, code_size);
	/* One large page, one to one (entry 0) and in the topmost 2 GiB (entries 511 and 510). */
	put64(guest, PAYLOAD_PML4, PAYLOAD_PDPT | PTE_PRESENT | PTE_WRITE);
	put64(guest, PAYLOAD_PML4 + 8 * 511, PAYLOAD_PDPT | PTE_PRESENT | PTE_WRITE);
	put64(guest, PAYLOAD_PDPT, PAYLOAD_PD | PTE_PRESENT | PTE_WRITE);
	put64(guest, PAYLOAD_PDPT + 8 * 510, PAYLOAD_PD | PTE_PRESENT | PTE_WRITE);
	put64(guest, PAYLOAD_PD, PTE_PRESENT | PTE_WRITE | PTE_LARGE);
	put64(guest, PAYLOAD_GDT + PAYLOAD_CODE64, descriptor(0, 0xfffff, KILN_X86_RIGHTS_CODE64));
	put64(guest, PAYLOAD_GDT + PAYLOAD_DATA, descriptor(0, 0xfffff, KILN_X86_RIGHTS_DATA));
	put64(guest, PAYLOAD_GDT + PAYLOAD_CODE32, descriptor(0, 0xfffff, KILN_X86_RIGHTS_CODE32));
	put64(guest, PAYLOAD_GDT + PAYLOAD_TR, descriptor(PAYLOAD_TSS, 0x67, KILN_X86_RIGHTS_TSS));
	for (unsigned vector = 0; vector < 32; vector++)
		put_gate(guest, vector, high_address(kiln__payload_stubs + 16 * vector));
}

/* --- processor ---------------------------------------------------------------------- */

static const kiln_hv_x86_cpuid *find_leaf(const struct guest *guest, uint32_t leaf,
					  uint32_t subleaf)
{
	for (size_t i = 0; i < guest->cpuid_count; i++) {
		const kiln_hv_x86_cpuid *e = &guest->cpuid[i];

		if (e->leaf == leaf && (!e->by_subleaf || e->subleaf == subleaf))
			return e;
	}
	return NULL;
}

static bool read_cpuid(struct guest *guest, kiln_error *err)
{
	const kiln_hv_x86_cpuid *leaf;
	int count = kiln_hv_x86_host_cpuid(guest->run->hv, guest->cpuid, err);

	if (count < 0)
		return false;
	guest->cpuid_count = (size_t)count;
	leaf = find_leaf(guest, 1, 0);
	guest->has_cmpxchg16b = leaf && leaf->ecx >> 13 & 1;
	guest->has_xsave = leaf && leaf->ecx >> 26 & 1;
	leaf = find_leaf(guest, 0x80000001, 0);
	guest->has_rdtscp = leaf && leaf->edx >> 27 & 1;
	leaf = find_leaf(guest, 0xd, 0); /* SDM vol. 1, 13.2: what XCR0 may have */
	if (guest->has_xsave && leaf)
		guest->xcr0 = leaf->eax | (uint64_t)leaf->edx << 32;
	return true;
}

static void set_segments(kiln_hv_x86_state *state, uint16_t code, uint16_t code_rights)
{
	const kiln_hv_x86_segment data = {
		.limit = 0xffffffff,
		.selector = PAYLOAD_DATA,
		.rights = KILN_X86_RIGHTS_DATA,
	};

	state->cs = (kiln_hv_x86_segment){
		.limit = 0xffffffff,
		.selector = code,
		.rights = code_rights,
	};
	state->ds = state->es = state->fs = state->gs = state->ss = data;
	state->tr = (kiln_hv_x86_segment){
		.base = PAYLOAD_TSS,
		.limit = 0x67,
		.selector = PAYLOAD_TR,
		.rights = KILN_X86_RIGHTS_TSS,
	};
}

static void initial_state(const struct guest *guest, const struct step *step,
			  kiln_hv_x86_state *state)
{
	uint64_t offset = (uint64_t)(step->entry - kiln__payload_start);
	uint64_t base = step->flags & IN_PROTECTED_MODE ? 0 : PAYLOAD_HIGH;

	*state = (kiln_hv_x86_state){
		.gpr =
			{
				[KILN_X86_RDI] = base + PAYLOAD_RESULTS,
				[KILN_X86_RSI] = base + PAYLOAD_SCRATCH,
				[KILN_X86_RSP] = base + PAYLOAD_STACK,
				[KILN_X86_RBX] = PAYLOAD_CODE,
				[KILN_X86_R8] = guest->xcr0 & 0xffffffff,
				[KILN_X86_R8 + 1] = guest->xcr0 >> 32,
			},
		.rip = base + PAYLOAD_CODE + offset,
		.rflags = KILN_X86_RFLAGS_FIXED,
		.cr0 = KILN_X86_CR0_PE | KILN_X86_CR0_MP | KILN_X86_CR0_ET | KILN_X86_CR0_NE,
		.gdt = {.base = base + PAYLOAD_GDT, .limit = 6 * 8 - 1},
		.idt = {.base = base + PAYLOAD_IDT, .limit = 32 * 16 - 1},
	};
	if (step->flags & IN_PROTECTED_MODE) {
		set_segments(state, PAYLOAD_CODE32, KILN_X86_RIGHTS_CODE32);
		return;
	}
	set_segments(state, PAYLOAD_CODE64, KILN_X86_RIGHTS_CODE64);
	state->cr0 |= KILN_X86_CR0_WP | KILN_X86_CR0_PG;
	state->cr3 = PAYLOAD_PML4;
	state->cr4 = KILN_X86_CR4_PAE | KILN_X86_CR4_OSFXSR | KILN_X86_CR4_OSXMMEXCPT;
	if (guest->has_xsave)
		state->cr4 |= KILN_X86_CR4_OSXSAVE;
	state->efer = KILN_X86_EFER_LME | KILN_X86_EFER_LMA;
}

/* --- running -------------------------------------------------------------------------- */

enum outcome {
	GOES_ON,
	ENDED,  /* the guest said so */
	BROKEN, /* something else came of it: told in text */
};

struct words {
	char text[160];
};

static enum outcome on_exception(const struct guest *guest, struct words *words)
{
	snprintf(words->text, sizeof(words->text),
		 "exception %" PRIu64 " (error code 0x%" PRIx64 ") at 0x%" PRIx64,
		 result(guest, PAYLOAD_EXCEPTION), result(guest, PAYLOAD_EXCEPTION + 1),
		 result(guest, PAYLOAD_EXCEPTION + 2));
	return BROKEN;
}

static enum outcome on_port(struct guest *guest, const kiln_hv_exit *exit, struct words *words)
{
	const kiln_hv_access *access = &exit->access;
	uint32_t value;

	if (access->address == PAYLOAD_PORT_EXCEPTION && access->write)
		return on_exception(guest, words);
	if (access->address == PAYLOAD_PORT_DONE && access->write && access->size == 4) {
		memcpy(&value, access->data, sizeof(value));
		if (value == (uint32_t)result(guest, 0))
			return ENDED;
		snprintf(words->text, sizeof(words->text),
			 "wrote 0x%" PRIx32 " to a port where 0x%" PRIx64 " was in memory", value,
			 result(guest, 0) & 0xffffffff);
		return BROKEN;
	}
	if (access->address == PAYLOAD_PORT_ECHO && access->size == 1) {
		if (access->write)
			guest->echoed = access->data[0];
		else
			access->data[0] = ECHO_IN;
		return GOES_ON;
	}
	kiln_hv_exit_describe(exit, words->text, sizeof(words->text));
	return BROKEN;
}

static enum outcome on_mmio(struct guest *guest, const kiln_hv_exit *exit, struct words *words)
{
	const kiln_hv_access *access = &exit->access;
	uint32_t value;

	if (access->address == PAYLOAD_DEVICE && access->size == 4 && access->write) {
		memcpy(&guest->stored, access->data, sizeof(guest->stored));
		return GOES_ON;
	}
	if (access->address == PAYLOAD_DEVICE + 4 && access->size == 4 && !access->write) {
		value = ~guest->stored;
		memcpy(access->data, &value, sizeof(value));
		return GOES_ON;
	}
	kiln_hv_exit_describe(exit, words->text, sizeof(words->text));
	return BROKEN;
}

static enum outcome handle_exit(struct guest *guest, const struct step *step,
				const kiln_hv_exit *exit, struct words *words)
{
	switch (exit->kind) {
	case KILN_HV_EXIT_PORT:
		return on_port(guest, exit, words);
	case KILN_HV_EXIT_MMIO:
		return on_mmio(guest, exit, words);
	case KILN_HV_EXIT_HALT:
		if (step->entry == kiln__payload_halt)
			return ENDED;
		break;
	case KILN_HV_EXIT_SHUTDOWN:
	case KILN_HV_EXIT_RESET:
	case KILN_HV_EXIT_KICKED:
	case KILN_HV_EXIT_FAILED:
		break;
	}
	kiln_hv_exit_describe(exit, words->text, sizeof(words->text));
	return BROKEN;
}

/* Runs what the vCPU is set to. Returns 0 if it ended, else a code with the reason in @err. */
static int run_vcpu(struct guest *guest, const struct step *step, kiln_hv_vcpu *vcpu,
		    kiln_error *err)
{
	unsigned limit = guest->run->deadline_ms;
	kiln_hv_exit exit;
	struct words words;
	enum outcome outcome = GOES_ON;
	int code = kiln_hv_vcpu_deadline(vcpu, limit, err);

	while (code == 0 && outcome == GOES_ON) {
		code = kiln_hv_vcpu_run(vcpu, &exit, err);
		if (code == 0 && exit.kind == KILN_HV_EXIT_KICKED)
			return kiln__fail(err, KILN_ETIMEDOUT,
					  "the guest did not come back within %u ms", limit);
		if (code == 0)
			outcome = handle_exit(guest, step, &exit, &words);
	}
	if (code == 0 && outcome == BROKEN)
		return kiln__fail(err, KILN_ENOTSUP, "%s", words.text);
	return code;
}

static int check_results(const struct guest *guest, const struct step *step, kiln_error *err)
{
	for (size_t i = 0; i < step->expected_count; i++)
		if (result(guest, i) != step->expected[i])
			return kiln__fail(err, KILN_ENOTSUP,
					  "result %zu is 0x%" PRIx64 ", not 0x%" PRIx64, i,
					  result(guest, i), step->expected[i]);
	if (step->entry == kiln__payload_port_io && guest->echoed != (uint8_t)~ECHO_IN)
		return kiln__fail(err, KILN_ENOTSUP, "the port was written 0x%x, not 0x%x",
				  guest->echoed, (uint8_t)~ECHO_IN);
	return 0;
}

/* The two answers that depend on the host. */
static struct step expect_cpuid(const struct guest *guest, const struct step *step)
{
	const kiln_hv_x86_cpuid *leaf = find_leaf(guest, 0, 0);
	struct step filled = *step;

	if (step->entry == kiln__payload_cpuid && leaf) {
		filled.expected[0] = leaf->ebx;
		filled.expected[1] = leaf->edx;
		filled.expected[2] = leaf->ecx;
	} else if (step->entry == kiln__payload_xsetbv) {
		filled.expected[0] = guest->xcr0;
	}
	return filled;
}

static int new_vcpu(struct guest *guest, kiln_hv_vcpu **ret, kiln_error *err)
{
	__attribute__((cleanup(kiln_hv_vcpu_free_autop))) kiln_hv_vcpu *vcpu = NULL;
	int code = kiln_hv_vcpu_new(&vcpu, guest->run->vm, guest->vcpus, err);

	if (code < 0)
		return code;
	guest->vcpus++;
	code = kiln_hv_x86_set_cpuid(vcpu, guest->cpuid, guest->cpuid_count, err);
	if (code < 0)
		return code;
	code = kiln_hv_vcpu_attach(vcpu, err);
	if (code < 0)
		return code;
	*ret = kiln__take(vcpu);
	return 0;
}

static int run_step(struct guest *guest, const struct step *step, kiln_error *err)
{
	__attribute__((cleanup(kiln_hv_vcpu_free_autop))) kiln_hv_vcpu *vcpu = NULL;
	struct step filled = expect_cpuid(guest, step);
	kiln_hv_x86_state state;
	int code = new_vcpu(guest, &vcpu, err);

	if (code < 0)
		return code;
	load_memory(guest);
	if (step->entry == kiln__payload_int3)
		put_gate(guest, 3, high_address(kiln__payload_on_int3));
	if (step->entry == kiln__payload_page_fault)
		put_gate(guest, 14, high_address(kiln__payload_on_page_fault));
	initial_state(guest, step, &state);
	code = kiln_hv_x86_set_state(vcpu, &state, err);
	if (code == 0 && (step->flags & WITH_XCR0))
		code = kiln_hv_x86_set_xcr0(vcpu, guest->xcr0, err);
	if (code == 0)
		code = run_vcpu(guest, step, vcpu, err);
	if (code == 0)
		code = check_results(guest, &filled, err);
	return code;
}

static const char *why_skipped(const struct guest *guest, unsigned flags)
{
	if ((flags & NEEDS_CMPXCHG16B && !guest->has_cmpxchg16b) ||
	    (flags & NEEDS_RDTSCP && !guest->has_rdtscp) ||
	    (flags & NEEDS_XSAVE && !guest->has_xsave))
		return "not offered to guests";
	if (flags & NEEDS_NO_XSAVE && guest->has_xsave)
		return "XSAVE is used instead";
	return NULL;
}

static void run_steps(struct guest *guest)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const char *skipped = why_skipped(guest, steps[i].flags);
		kiln_error error = KILN_ERROR_INIT;
		int code;

		if (skipped) {
			kiln__preflight_add(guest->run, steps[i].name, KILN__HV_CHECK_SKIPPED, NULL,
					    "%s", skipped);
			continue;
		}
		code = run_step(guest, &steps[i], &error);
		kiln__preflight_guest_call(guest->run, steps[i].name, code, &error);
	}
}

static int prepare(struct guest *guest, kiln_error *err)
{
	__attribute__((cleanup(kiln_hv_vcpu_free_autop))) kiln_hv_vcpu *vcpu = NULL;
	int code = kiln_hv_vm_map(guest->run->vm, 0, guest->memory, PAYLOAD_MEMORY_SIZE, 0, err);

	if (code < 0)
		return kiln__prefix(err, "guest memory");
	if (!read_cpuid(guest, err))
		return err->code;
	return new_vcpu(guest, &vcpu, err);
}

void kiln__preflight_guest(struct kiln__preflight *run)
{
	struct guest guest = {.run = run};
	kiln_error error = KILN_ERROR_INIT;
	void *memory;
	int code;

	memory = mmap(NULL, PAYLOAD_MEMORY_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		kiln__fail_nomem(&error);
		kiln__preflight_call(run, "vcpu", KILN_ENOMEM, &error,
				     "free some memory and try again");
		return;
	}
	guest.memory = memory;
	code = prepare(&guest, &error);
	if (kiln__preflight_guest_call(run, "vcpu", code, &error))
		run_steps(&guest);
	kiln_hv_vm_unmap(run->vm, 0, NULL);
	munmap(memory, PAYLOAD_MEMORY_SIZE);
}

/*
 * The signature and the features that do not depend on which processor one is on (SDM vol. 2, CPUID
 * leaf 1: EAX, ECX, EDX). One leaf: inside a virtual machine each is an exit to its hypervisor.
 */
void kiln__preflight_cpu_model(char *text, size_t size)
{
	uint32_t eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	snprintf(text, size, "cpuid %08" PRIx32 " %08" PRIx32 " %08" PRIx32, eax, ecx, edx);
}
