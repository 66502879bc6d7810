/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's own troubles: what it is asked that it cannot do, and a QEMU that misbehaves. */
#include "contract.h"

#include "os.h"

#include <stdlib.h>
#include <string.h>

/* A program in QEMU's place; the vsock device's connection is its descriptor 5. */
static const char *impostor(const char *script)
{
	const char *path = kiln_test_path("qemu");

	assert_int_equal(kiln__os_replace_file(path, script, strlen(script), 0700, false, NULL), 0);
	return path;
}

static void a_vmm_that_breaks_the_device_s_protocol_fails_the_machine(void **state)
{
	struct op start;
	struct op stopped;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	subject->never_ready(&vm); /* with the device */
	vm_set(&vm, "qemu.binary",
	       impostor("#!/bin/sh\necho 'this is no message of vhost-user' >&5\nexec sleep "
			"100000\n"));
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	op_await_code(&start, KILN_EPROTO);
	op_await(&stopped);
	assert_true(stopped.result < 0);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
	if (!strstr(stopped.err.message, "the vsock device"))
		fail_msg("%s", stopped.err.message);
	vm_close(&vm);
}

static void a_qemu_that_cannot_start_says_why(void **state)
{
	struct op start;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "qemu.binary", impostor("#!/bin/sh\necho 'no luck today' >&2\nexit 1\n"));
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await(&start);
	assert_true(start.result < 0);
	if (!strstr(start.err.message, "no luck today"))
		fail_msg("%s", start.err.message);
	assert_string_equal(start.err.stage, "start");
	vm_close(&vm);
}

static void ports_on_ipv6_are_refused_by_name(void **state)
{
	kiln_error err;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "networks[0].kind", "user");
	vm_set(&vm, "ports[0]", "[::1]:8080:80");
	assert_int_equal(kiln_machine_new(&vm.machine, vm.loop, vm.config, NULL, &err),
			 KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "ports[0].host_ip"));
	vm.machine = NULL;
	vm_close(&vm);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_vmm_that_breaks_the_device_s_protocol_fails_the_machine),
		kiln_test(a_qemu_that_cannot_start_says_why),
		kiln_test(ports_on_ipv6_are_refused_by_name),
	};
	int r = contract_choose(argc, argv);

	return r ? r : cmocka_run_group_tests_name("qemu", tests, NULL, NULL);
}
