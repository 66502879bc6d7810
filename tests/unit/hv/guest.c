/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

kiln_hv *guest_hv;

int guest_open(kiln_error *err)
{
	return kiln_hv_open(&guest_hv, NULL, err);
}

void guest_cannot(const char *why)
{
	const char *known = getenv("KILN_TEST_KVM");

	if (known && strcmp(known, "works") == 0)
		fail_msg("%s", why);
	print_message("this KVM cannot: %s\n", why);
	skip();
}

void guest_make(struct guest *guest, enum kiln_hv_irqchip irqchip)
{
	kiln_hv_vm_options options = KILN_HV_VM_OPTIONS_INIT;
	kiln_error err = KILN_ERROR_INIT;

	options.irqchip = irqchip;
	kiln_ok(kiln_hv_vm_new(&guest->vm, guest_hv, &options, &err), &err);
	kiln_ok(kiln_hv_vm_add_memory(guest->vm, 0, GUEST_MEMORY, KILN_HV_MEMORY_ANONYMOUS, -1, 0,
				      0, NULL, &err),
		&err);
	kiln_ok(kiln_hv_vcpu_new(&guest->vcpu, guest->vm, 0, &err), &err);
	kiln_ok(kiln_hv_vcpu_attach(guest->vcpu, &err), &err);
}

void guest_drop(struct guest *guest)
{
	kiln_hv_vcpu_free(guest->vcpu);
	kiln_hv_vm_free(guest->vm);
	*guest = (struct guest){0};
}

void guest_load_code(struct guest *guest, const uint8_t *begin, const uint8_t *end, uint64_t ds)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_x86_state state;

	kiln_ok(kiln_hv_vm_write(guest->vm, GUEST_ENTRY, begin, (size_t)(end - begin), &err), &err);
	kiln_ok(kiln_hv_x86_get_state(guest->vcpu, &state, &err), &err);
	state.cs.base = state.ss.base = 0;
	state.cs.selector = state.ss.selector = 0;
	/* Not what a guest could load in real mode; but KVM, and processors, keep it. */
	state.ds = (kiln_hv_x86_segment){
		.base = ds, .limit = UINT32_MAX, .rights = KILN_X86_RIGHTS_DATA};
	state.gpr[KILN_X86_RSP] = GUEST_STACK;
	state.rip = GUEST_ENTRY;
	kiln_ok(kiln_hv_x86_set_state(guest->vcpu, &state, &err), &err);
}

void guest_handle_by(struct guest *guest, const uint8_t *begin, const uint8_t *end)
{
	kiln_error err = KILN_ERROR_INIT;
	uint16_t table[GUEST_HANDLERS][2] = {{0}}; /* SDM vol. 3, 21.1.4: offset and segment */

	for (unsigned i = 0; i < GUEST_HANDLERS; i++)
		table[i][0] = (uint16_t)(GUEST_HANDLER + i * GUEST_HANDLER_SIZE);
	kiln_ok(kiln_hv_vm_write(guest->vm, GUEST_HANDLER, begin, (size_t)(end - begin), &err),
		&err);
	kiln_ok(kiln_hv_vm_write(guest->vm, 0, table, sizeof(table), &err), &err);
}

void guest_run(struct guest *guest, enum kiln_hv_exit_kind kind)
{
	kiln_error err = KILN_ERROR_INIT;
	char text[160];

	kiln_ok(kiln_hv_vcpu_deadline(guest->vcpu, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_hv_vcpu_run(guest->vcpu, &guest->exit, &err), &err);
	kiln_ok(kiln_hv_vcpu_deadline(guest->vcpu, 0, &err), &err);
	if (guest->exit.kind == kind)
		return;
	kiln_hv_exit_describe(&guest->exit, text, sizeof(text));
	if (guest->exit.kind == KILN_HV_EXIT_FAILED)
		guest_cannot(text);
	fail_msg("exit %d, not %d: %s", guest->exit.kind, kind, text);
}

uint32_t guest_run_to_write(struct guest *guest, unsigned port)
{
	const kiln_hv_access *access = &guest->exit.access;
	uint32_t value = 0;

	guest_run(guest, KILN_HV_EXIT_PORT);
	assert_true(access->write);
	assert_int_equal(access->address, port);
	assert_int_equal(access->count, 1);
	memcpy(&value, access->data, access->size);
	return value;
}
