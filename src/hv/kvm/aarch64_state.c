/* SPDX-License-Identifier: Apache-2.0 */
/* State as a blob: refused by name on AArch64, whose registers this port does not list yet. */
#include "internal.h"

#include "err.h"

static int refuse(kiln_error *err)
{
	return kiln__fail(err, KILN_ENOTSUP, "the KVM port keeps no state of AArch64 machines");
}

int kiln_hv_vcpu_save(kiln_hv_vcpu *vcpu, void **ret, size_t *ret_size, kiln_error *err)
{
	(void)vcpu, (void)ret, (void)ret_size;
	return refuse(err);
}

int kiln_hv_vcpu_load(kiln_hv_vcpu *vcpu, const void *blob, size_t size, kiln_error *err)
{
	(void)vcpu, (void)blob, (void)size;
	return refuse(err);
}

int kiln_hv_vm_save(kiln_hv_vm *vm, void **ret, size_t *ret_size, kiln_error *err)
{
	(void)vm, (void)ret, (void)ret_size;
	return refuse(err);
}

int kiln_hv_vm_load(kiln_hv_vm *vm, const void *blob, size_t size, kiln_error *err)
{
	(void)vm, (void)blob, (void)size;
	return refuse(err);
}
