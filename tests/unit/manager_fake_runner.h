/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMs of the runner that only speaks the protocol, or breaks it: how is its label "mode".
 */
#ifndef KILN_TEST_MANAGER_FAKE_RUNNER_H
#define KILN_TEST_MANAGER_FAKE_RUNNER_H

#include "manager_home.h"

static inline kiln_vm *create_in(kiln_manager *in, const char *name, const char *mode,
				 bool ephemeral)
{
	kiln__autofree char *json =
		mode ? kiln__strf("{\"backend\":\"fake\",\"labels\":{\"mode\":\"%s\"}}", mode)
		     : kiln__strf("{\"backend\":\"fake\"}");

	return create_from(in, name, json, ephemeral);
}

static inline kiln_vm *create(const char *name, const char *mode)
{
	return create_in(manager, name, mode, false);
}

static inline kiln_vm *start_new(const char *name, const char *mode)
{
	kiln_vm *vm = create(name, mode);
	kiln_error err;

	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	return vm;
}

static inline void close_manager(void)
{
	kiln_manager_free(manager);
}

#endif
