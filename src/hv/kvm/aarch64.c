/* SPDX-License-Identifier: Apache-2.0 */
/* The KVM port's AArch64 part. */
#include "internal.h"
#include <kiln/hv_arm64.h>

#include "err.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

#define DEFAULT_IPA_BITS 40

#ifndef KVM_CAP_ARM_EL2 /* Linux 6.16 */
#define KVM_CAP_ARM_EL2 240
#endif

/* PSTATE: EL1 with its own stack pointer, debug, SError, IRQ and FIQ masked (Arm ARM, C5.2.18
 * SPSR_EL1). */
#define PSTATE_EL1H_MASKED 0x3c5u

const struct kiln__kvm_feature kiln__kvm_arch_features[] = {
	{KVM_CAP_ARM_PSCI_0_2, "psci-0.2"},
	{KVM_CAP_DEVICE_CTRL, "device-ctrl"},
	{KVM_CAP_ONE_REG, "one-reg"},
	{0, NULL},
};

/* KVM_CREATE_VM's type is the size of the guest's physical address space; a small host has fewer
 * than 40 bits. */
unsigned long kiln__kvm_vm_type(const kiln_hv *hv)
{
	int bits = kiln__kvm_ioctl(hv->fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);

	return bits > 0 && bits < DEFAULT_IPA_BITS ? KVM_VM_TYPE_ARM_IPA_SIZE((unsigned long)bits)
						   : 0;
}

int kiln__kvm_vm_setup(kiln_hv_vm *vm, kiln_error *err)
{
	(void)vm;
	(void)err;
	return 0;
}

/* A GIC is not among what this port makes yet. */
enum kiln_hv_irqchip kiln__kvm_irqchip(const kiln_hv *hv)
{
	(void)hv;
	return KILN_HV_IRQCHIP_NONE;
}

int kiln__kvm_irqchip_new(kiln_hv_vm *vm, kiln_error *err)
{
	(void)vm;
	return kiln__fail(err, KILN_ENOTSUP, "no interrupt controller of KVM's on AArch64");
}

bool kiln__kvm_is_nested(const kiln_hv *hv)
{
	return kiln__kvm_cap(hv, KVM_CAP_ARM_EL2);
}

#define CORE_REG(field)                                                                            \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE |                                     \
	 (offsetof(struct kvm_regs, field) / sizeof(uint32_t)))

static int set_reg(kiln_hv_vcpu *vcpu, uint64_t id, uint64_t value, kiln_error *err)
{
	struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)&value};

	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_ONE_REG, &reg) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_ONE_REG 0x%llx",
					(unsigned long long)id);
	return 0;
}

int kiln_hv_arm64_start(kiln_hv_vcpu *vcpu, uint64_t pc, uint64_t x0, kiln_error *err)
{
	const struct {
		uint64_t id;
		uint64_t value;
	} regs[] = {
		{CORE_REG(regs.regs[0]), x0}, {CORE_REG(regs.regs[1]), 0},
		{CORE_REG(regs.regs[2]), 0},  {CORE_REG(regs.regs[3]), 0},
		{CORE_REG(regs.pc), pc},      {CORE_REG(regs.pstate), PSTATE_EL1H_MASKED},
	};
	struct kvm_vcpu_init init;

	if (kiln__kvm_ioctl_p(vcpu->vm->fd, KVM_ARM_PREFERRED_TARGET, &init) < 0)
		return kiln__fail_errno(err, errno, "KVM_ARM_PREFERRED_TARGET");
	init.features[KVM_ARM_VCPU_PSCI_0_2 / 32] |= 1u << KVM_ARM_VCPU_PSCI_0_2 % 32;
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_ARM_VCPU_INIT, &init) < 0)
		return kiln__fail_errno(err, errno, "KVM_ARM_VCPU_INIT");
	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		int code = set_reg(vcpu, regs[i].id, regs[i].value, err);

		if (code < 0)
			return code;
	}
	return 0;
}
