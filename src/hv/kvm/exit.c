/* SPDX-License-Identifier: Apache-2.0 */
/* What a run of a vCPU has ended with, decoded and in words. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

static void decode_failure(const struct kvm_run *run, kiln_hv_failure *ret)
{
	*ret = (kiln_hv_failure){.kind = KILN_HV_FAILURE_INTERNAL};
	if (run->exit_reason == KVM_EXIT_FAIL_ENTRY) {
		ret->kind = KILN_HV_FAILURE_ENTRY;
		ret->code = run->fail_entry.hardware_entry_failure_reason;
	} else if (run->exit_reason != KVM_EXIT_INTERNAL_ERROR) {
		ret->kind = KILN_HV_FAILURE_UNKNOWN;
		ret->code = run->exit_reason;
	} else if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		ret->code = run->internal.suberror;
	} else {
		ret->kind = KILN_HV_FAILURE_EMULATION;
		ret->code = run->internal.suberror;
		/* api.rst, emulation_failure: flags are there with one word of data, the bytes with
		 * three. */
		if (run->emulation_failure.ndata >= 3 &&
		    run->emulation_failure.flags &
			    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES &&
		    run->emulation_failure.insn_size <= KILN_HV_MAX_INSN) {
			ret->insn_len = run->emulation_failure.insn_size;
			memcpy(ret->insn, run->emulation_failure.insn_bytes, ret->insn_len);
		}
	}
}

void kiln__kvm_decode_exit(struct kvm_run *run, kiln_hv_exit *ret)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		ret->kind = KILN_HV_EXIT_PORT;
		ret->access = (kiln_hv_access){
			.address = run->io.port,
			.size = run->io.size,
			.count = run->io.count,
			.write = run->io.direction == KVM_EXIT_IO_OUT,
			.data = (uint8_t *)run + run->io.data_offset,
		};
		return;
	case KVM_EXIT_MMIO:
		ret->kind = KILN_HV_EXIT_MMIO;
		ret->access = (kiln_hv_access){
			.address = run->mmio.phys_addr,
			.size = run->mmio.len,
			.count = 1,
			.write = run->mmio.is_write,
			.data = run->mmio.data,
		};
		return;
	case KVM_EXIT_HLT:
		ret->kind = KILN_HV_EXIT_HALT;
		return;
	case KVM_EXIT_IRQ_WINDOW_OPEN: /* asked for by kiln_hv_x86_interrupt() */
		run->request_interrupt_window = 0;
		ret->kind = KILN_HV_EXIT_KICKED;
		return;
	case KVM_EXIT_INTR:
		ret->kind = KILN_HV_EXIT_KICKED;
		return;
	case KVM_EXIT_SHUTDOWN:
		ret->kind = KILN_HV_EXIT_SHUTDOWN;
		return;
	case KVM_EXIT_SYSTEM_EVENT:
		if (run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN)
			ret->kind = KILN_HV_EXIT_SHUTDOWN;
		else if (run->system_event.type == KVM_SYSTEM_EVENT_RESET)
			ret->kind = KILN_HV_EXIT_RESET;
		else
			break;
		return;
	default:
		break;
	}
	ret->kind = KILN_HV_EXIT_FAILED;
	decode_failure(run, &ret->failure);
}

/* --- words for people -------------------------------------------------------------------- */

static void describe_failure(const kiln_hv_failure *failure, char *text, size_t size)
{
	char bytes[KILN_HV_MAX_INSN * 3 + 1] = "";

	for (uint32_t i = 0; i < failure->insn_len; i++)
		snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, " %02x", failure->insn[i]);
	switch (failure->kind) {
	case KILN_HV_FAILURE_EMULATION:
		snprintf(text, size, "KVM internal error: emulation failure%s%s",
			 failure->insn_len ? ", instruction bytes" : "", bytes);
		break;
	case KILN_HV_FAILURE_ENTRY:
		snprintf(text, size,
			 "the processor refused to enter the guest (hardware reason 0x%llx)",
			 (unsigned long long)failure->code);
		break;
	case KILN_HV_FAILURE_INTERNAL:
		snprintf(text, size, "KVM internal error, suberror %llu",
			 (unsigned long long)failure->code);
		break;
	case KILN_HV_FAILURE_UNKNOWN:
		snprintf(text, size, "unexpected KVM exit, reason %llu",
			 (unsigned long long)failure->code);
		break;
	}
}

void kiln_hv_exit_describe(const kiln_hv_exit *exit, char *text, size_t size)
{
	const kiln_hv_access *access = &exit->access;

	snprintf(text, size, "exit of unknown kind %d", (int)exit->kind);
	switch (exit->kind) {
	case KILN_HV_EXIT_PORT:
		snprintf(text, size, "%s port 0x%llx, %u bytes",
			 access->write ? "write to" : "read of",
			 (unsigned long long)access->address, access->size);
		break;
	case KILN_HV_EXIT_MMIO:
		snprintf(text, size, "%s unmapped memory at 0x%llx, %u bytes",
			 access->write ? "write to" : "read of",
			 (unsigned long long)access->address, access->size);
		break;
	case KILN_HV_EXIT_HALT:
		snprintf(text, size, "the guest halted");
		break;
	case KILN_HV_EXIT_SHUTDOWN:
		snprintf(text, size, "the guest shut down (on x86: triple fault)");
		break;
	case KILN_HV_EXIT_RESET:
		snprintf(text, size, "the guest reset itself");
		break;
	case KILN_HV_EXIT_KICKED:
		snprintf(text, size, "interrupted");
		break;
	case KILN_HV_EXIT_FAILED:
		describe_failure(&exit->failure, text, size);
		break;
	}
}
