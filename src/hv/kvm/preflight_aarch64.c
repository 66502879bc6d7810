/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preflight's guest on AArch64: one vCPU per step of payload_aarch64.S, with the
 * MMU off, which tells its results by MMIO writes. Memory holds nothing but its code.
 */
#include "payload.h"
#include "preflight_internal.h"
#include <kiln/hv_arm64.h>

#include "cleanup.h"
#include "err.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_RESULTS 3
#define ECHO_IN     0x5a5a1234u /* what step mmio reads */

extern const uint8_t kiln__payload_start[], kiln__payload_end[];
extern const uint8_t kiln__payload_el1[], kiln__payload_mmio[], kiln__payload_sysreg[];
extern const uint8_t kiln__payload_brk[], kiln__payload_simd[], kiln__payload_psci[];

struct step {
	const char *name;
	const uint8_t *entry;
	bool powers_off; /* instead of a DONE */
	size_t expected_count;
	uint64_t expected[MAX_RESULTS];
};

static const struct step steps[] = {
	{"el1", kiln__payload_el1, false, 1, {1 << 2}}, /* CurrentEL has the level in bits 3:2 */
	{"mmio", kiln__payload_mmio, false, 1, {(uint32_t)~ECHO_IN}},
	{"sysreg", kiln__payload_sysreg, false, 3, {PAYLOAD_PATTERN, 1, 1}},
	{"brk", kiln__payload_brk, false, 1, {1}},
	{"simd", kiln__payload_simd, false, 2, {PAYLOAD_PATTERN, PAYLOAD_PATTERN}},
	{"psci", kiln__payload_psci, true, 1, {1}},
};

const char *const kiln__preflight_guest_checks[] = {
	"vcpu", "el1", "mmio", "sysreg", "brk", "simd", "psci", NULL,
};

struct guest {
	struct kiln__preflight *run;
	unsigned vcpus; /* made so far */
	uint64_t results[MAX_RESULTS];
};

enum outcome {
	GOES_ON,
	ENDED,
	BROKEN,
};

static enum outcome on_mmio(struct guest *guest, const kiln_hv_access *access,
			    const char **ret_reason)
{
	static const uint32_t echo = ECHO_IN;
	uint64_t offset = access->address - PAYLOAD_DEVICE;
	uint64_t value = 0;

	if (!access->write) {
		if (offset != PAYLOAD_ARM_ECHO || access->size != sizeof(echo))
			return BROKEN;
		memcpy(access->data, &echo, sizeof(echo));
		return GOES_ON;
	}
	if (offset == PAYLOAD_ARM_DONE)
		return ENDED;
	if (offset == PAYLOAD_ARM_EXCEPTION) {
		*ret_reason = "an exception that was not expected";
		return BROKEN;
	}
	if (offset % 8 != 0 || offset / 8 >= MAX_RESULTS || access->size > sizeof(value))
		return BROKEN;
	memcpy(&value, access->data, access->size);
	guest->results[offset / 8] = value;
	return GOES_ON;
}

static int run_vcpu(struct guest *guest, const struct step *step, kiln_hv_vcpu *vcpu,
		    kiln_error *err)
{
	unsigned limit = guest->run->deadline_ms;
	const char *reason = NULL;
	kiln_hv_exit exit;
	enum outcome outcome = GOES_ON;
	char text[160];
	int code = kiln_hv_vcpu_deadline(vcpu, limit, err);

	while (code == 0 && outcome == GOES_ON) {
		code = kiln_hv_vcpu_run(vcpu, &exit, err);
		if (code < 0)
			break;
		if (exit.kind == KILN_HV_EXIT_KICKED)
			return kiln__fail(err, KILN_ETIMEDOUT,
					  "the guest did not come back within %u ms", limit);
		if (exit.kind == KILN_HV_EXIT_MMIO)
			outcome = on_mmio(guest, &exit.access, &reason);
		else
			outcome = exit.kind == KILN_HV_EXIT_SHUTDOWN && step->powers_off ? ENDED
											 : BROKEN;
	}
	if (code == 0 && outcome == BROKEN) {
		kiln_hv_exit_describe(&exit, text, sizeof(text));
		return kiln__fail(err, KILN_ENOTSUP, "%s", reason ? reason : text);
	}
	return code;
}

static int run_step(struct guest *guest, const struct step *step, kiln_error *err)
{
	__attribute__((cleanup(kiln_hv_vcpu_free_autop))) kiln_hv_vcpu *vcpu = NULL;
	uint64_t pc = PAYLOAD_CODE + (uint64_t)(step->entry - kiln__payload_start);
	int code = kiln_hv_vcpu_new(&vcpu, guest->run->vm, guest->vcpus, err);

	if (code < 0)
		return code;
	guest->vcpus++;
	memset(guest->results, 0, sizeof(guest->results));
	code = kiln_hv_arm64_start(vcpu, pc, PAYLOAD_DEVICE, err);
	if (code == 0)
		code = kiln_hv_vcpu_attach(vcpu, err);
	if (code == 0)
		code = run_vcpu(guest, step, vcpu, err);
	for (size_t i = 0; code == 0 && i < step->expected_count; i++)
		if (guest->results[i] != step->expected[i])
			code = kiln__fail(err, KILN_ENOTSUP,
					  "result %zu is 0x%" PRIx64 ", not 0x%" PRIx64, i,
					  guest->results[i], step->expected[i]);
	return code;
}

void kiln__preflight_guest(struct kiln__preflight *run)
{
	size_t code_size = (size_t)(kiln__payload_end - kiln__payload_start);
	struct guest guest = {.run = run};
	kiln_error error = KILN_ERROR_INIT;
	uint8_t *memory;
	int code;

	memory = mmap(NULL, PAYLOAD_MEMORY_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		kiln__fail_nomem(&error);
		kiln__preflight_call(run, "vcpu", KILN_ENOMEM, &error,
				     "free some memory and try again");
		return;
	}
	memcpy(memory + PAYLOAD_CODE, kiln__payload_start, code_size);
	code = kiln_hv_vm_map(run->vm, 0, memory, PAYLOAD_MEMORY_SIZE, 0, &error);
	if (!kiln__preflight_guest_call(run, "vcpu", code, &error))
		goto out;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		code = run_step(&guest, &steps[i], &error);
		kiln__preflight_guest_call(run, steps[i].name, code, &error);
	}
	kiln_hv_vm_unmap(run->vm, 0, NULL);
out:
	munmap(memory, PAYLOAD_MEMORY_SIZE);
}

/* MIDR_EL1, which Linux lets user space read (Documentation/arch/arm64/cpu-feature-registers.rst).
 */
void kiln__preflight_cpu_model(char *text, size_t size)
{
	uint64_t midr;

	__asm__("mrs %0, midr_el1" : "=r"(midr));
	snprintf(text, size, "midr %" PRIx64, midr);
}
