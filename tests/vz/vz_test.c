/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is the vz backend's own: faults of the framework and how they are told, older systems, what
 * is refused, and that every object that was made is released.
 */
#include "contract.h"

#include "backend.h"
#include "err.h"
#include "lookalike.h"
#include "objc.h"
#include "os.h"
#include "vz.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, text);
}

/* A machine whose guest is not booted, with what goes wrong. */
static void open_unbooted(struct vm *vm, struct lookalike_faults faults)
{
	faults.no_boot = true;
	lookalike_faults = faults;
	vm_open(vm);
	vm_set(vm, "readiness.kind", "none");
}

static void close_unbooted(struct vm *vm)
{
	vm_close(vm);
	lookalike_faults = (struct lookalike_faults){0};
	assert_int_equal(lookalike_alive(), 0);
}

/* --- faults --------------------------------------------------------------------------- */

static void each_error_of_a_start_is_told(void **state)
{
	static const struct {
		int code;
		int expected;
	} codes[] = {
		{1, KILN_EIO},        {2, KILN_EINVAL},    {3, KILN_ESTATE}, {4, KILN_ESTATE},
		{5, KILN_EFORMAT},    {6, KILN_EBUSY},     {7, KILN_EIO},    {8, KILN_ENOSPC},
		{9, KILN_ECANCELED},  {10, KILN_ENOTSUP},  {11, KILN_EIO},   {12, KILN_EIO},
		{20001, KILN_EPROTO}, {20002, KILN_EDIED},
	};
	char text[32];

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct op start;
		struct vm vm;

		open_unbooted(&vm, (struct lookalike_faults){.start_code = codes[i].code});
		vm_make(&vm);
		op_begin(&start, &vm, kiln_machine_start);
		op_await_code(&start, codes[i].expected);
		snprintf(text, sizeof(text), "VZErrorDomain %d)", codes[i].code);
		expect(start.err.message, text);
		expect(start.err.message, "failed to start");
		assert_string_equal(start.err.stage, "start");
		assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
		close_unbooted(&vm);
	}
}

static void a_guest_that_stops_itself_has_powered_off(void **state)
{
	struct op stopped;
	struct vm vm;

	(void)state;
	open_unbooted(&vm, (struct lookalike_faults){.guest_stops = true});
	vm_make(&vm);
	kiln_machine_start(vm.machine, NULL, NULL);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	op_await_ok(&stopped);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_POWEROFF);
	close_unbooted(&vm);
}

static void an_error_stop_is_a_failure(void **state)
{
	struct op stopped;
	struct vm vm;

	(void)state;
	open_unbooted(&vm, (struct lookalike_faults){.error_stop_code = 1});
	vm_make(&vm);
	kiln_machine_start(vm.machine, NULL, NULL);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	op_await_code(&stopped, KILN_EDIED);
	expect(stopped.err.message, "stopped unexpectedly. (VZErrorDomain 1)");
	close_unbooted(&vm);
}

/* The deadline is the backend's own, ten seconds; that it was not stopped is logged. */
static void a_stop_that_never_completes_is_given_up(void **state)
{
	int64_t begun = kiln__os_monotonic_ns();
	struct op op;
	struct vm vm;

	(void)state;
	open_unbooted(&vm, (struct lookalike_faults){.never_stops = true});
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	assert_true(kiln__os_monotonic_ns() - begun >= 9 * 1000000000LL);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_KILLED);
	close_unbooted(&vm);
}

static void a_network_that_is_lost_is_no_end(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	open_unbooted(&vm, (struct lookalike_faults){.disconnect = true});
	vm_make_ready(&vm);
	kiln_test_settle(vm.loop);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	close_unbooted(&vm);
}

static void a_runner_without_the_entitlement_is_told_to_be_signed(void **state)
{
	struct op start;
	struct vm vm;

	(void)state;
	open_unbooted(&vm, (struct lookalike_faults){.no_entitlement = true});
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_EINVAL);
	expect(start.err.message, "com.apple.security.virtualization");
	expect(start.err.hint, "codesign");
	assert_string_equal(start.err.stage, "prepare");
	close_unbooted(&vm);
}

/* --- other systems -------------------------------------------------------------------- */

static void a_system_without_the_framework_says_so(void **state)
{
	struct kiln__probe probe;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	lookalike_hide("VZVirtualMachine", NULL);
	kiln__backend_vz.probe("x86_64", &probe);
	assert_false(probe.usable);
	expect(probe.reason.message, "Virtualization cannot be loaded");
	expect(probe.reason.hint, "macOS 13");
	assert_int_equal(kiln__backend_vz.works("x86_64", false, &err), KILN_ENOTSUP);
	lookalike_hide(NULL, NULL);
	lookalike_faults.not_supported = true;
	kiln__backend_vz.probe("x86_64", &probe);
	assert_false(probe.usable);
	expect(probe.reason.message, "cannot run virtual machines");
	lookalike_faults.not_supported = false;
	kiln__backend_vz.probe("aarch64", &probe);
	assert_false(probe.usable);
	kiln__backend_vz.probe("x86_64", &probe);
	assert_true(probe.usable);
	assert_int_equal(kiln__backend_vz.works("x86_64", false, &err), 0);
}

static void save_and_restore_are_asked_for_where_they_are(void **state)
{
	struct vm vm;
	char *trace;

	(void)state;
	for (int older = 0; older <= 1; older++) {
		if (older)
			lookalike_hide("VZVirtualMachineConfiguration",
				       "validateSaveRestoreSupportWithError:");
		lookalike_trace();
		open_unbooted(&vm, (struct lookalike_faults){0});
		vm_make_ready(&vm);
		close_unbooted(&vm);
		trace = lookalike_take_trace();
		assert_int_equal(!strstr(trace, "validateSaveRestoreSupportWithError:"), older);
		free(trace);
	}
	lookalike_hide(NULL, NULL);
}

static void nvme_needs_macos_14(void **state)
{
	const char *disk = kiln_test_path("disk");
	struct op start;
	struct vm vm;

	(void)state;
	assert_int_equal(kiln__os_replace_file(disk, "", 0, 0600, false, NULL), 0);
	lookalike_hide("VZNVMExpressControllerDeviceConfiguration", NULL);
	open_unbooted(&vm, (struct lookalike_faults){0});
	vm_set(&vm, "disks[0].path", disk);
	vm_set(&vm, "disks[0].bus", "nvme");
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_ENOTSUP);
	expect(start.err.message, "disks[0]: bus: NVMe needs macOS 14");
	lookalike_hide(NULL, NULL);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_ok(&start);
	close_unbooted(&vm);
}

static void a_disk_of_the_host_needs_macos_14(void **state)
{
	const char *path = kiln_test_path("device");
	struct op start;
	struct vm vm;

	(void)state;
	if (mknod(path, S_IFBLK | 0600, makedev(7, 200)) < 0)
		skip(); /* only root can */
	lookalike_hide("VZDiskBlockDeviceStorageDeviceAttachment", NULL);
	open_unbooted(&vm, (struct lookalike_faults){0});
	vm_set(&vm, "disks[0].path", path);
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_ENOTSUP);
	expect(start.err.message, "disks[0]");
	expect(start.err.message, "macOS 14");
	close_unbooted(&vm);
	lookalike_hide(NULL, NULL);
}

/* --- what is refused ------------------------------------------------------------------ */

static void what_it_cannot_do_is_refused_by_its_key(void **state)
{
	static const struct {
		const char *key;
		const char *value;
		const char *part;
	} refusals[] = {
		{"cpus", "17", "cpus: 17, but this Mac allows 1 to 16"},
		{"memory", "1025M", "memory: 1074790400 bytes, but this Mac allows"},
		{"arch", "aarch64", "arch"},
		{"accel", "tcg", "accel"},
		{"console.serial", "true", "console.serial"},
		{"vsock.cid", "7", "vsock.cid"},
		{"on_reboot", "restart", "on_reboot"},
		{"networks[0].kind", "user", "networks[0].kind"},
		{"disks[0]", "{\"path\":\"/dev/null\",\"offset\":512}", "disks[0]"},
		{"disks[0]", "{\"path\":\"/dev/null\",\"discard\":true}", "disks[0].discard"},
		{"disks[0]", "{\"path\":\"/dev/null\",\"bus\":\"usb\",\"serial\":\"x\"}",
		 "disks[0].serial"},
		{"networks[0].kind", "tap", "networks[0].kind: macOS has no TAP"},
		{"networks[0].kind", "bridged", "interface"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		kiln_machine *machine = NULL;
		kiln_error err = KILN_ERROR_INIT;
		struct vm vm;
		int r;

		vm_open(&vm);
		if (strcmp(refusals[i].key, "vsock.cid") == 0)
			vm_set(&vm, "vsock.enabled", "true");
		r = kiln_config_set(vm.config, refusals[i].key, refusals[i].value, &err);
		if (r == 0)
			r = kiln_machine_new(&machine, vm.loop, vm.config, NULL, &err);
		if (r == 0)
			fail_msg("%s=%s is not refused", refusals[i].key, refusals[i].value);
		expect(err.message, refusals[i].part);
		vm_close(&vm);
	}
}

static int firmware_machine(const char *firmware, kiln_error *err)
{
	const char *disk = kiln_test_path("system");
	kiln_machine *machine = NULL;
	kiln_config *config;
	kiln_loop *loop;
	char text[512];
	int r;

	assert_int_equal(kiln__os_replace_file(disk, "", 0, 0600, false, NULL), 0);
	snprintf(text, sizeof(text),
		 "{\"backend\":\"vz\",\"firmware\":\"%s\",\"disks\":[{\"path\":\"%s\"}]}", firmware,
		 disk);
	kiln_ok(kiln_loop_new(&loop, err), err);
	kiln_ok(kiln_config_parse(text, strlen(text), &config, err), err);
	r = kiln_machine_new(&machine, loop, config, NULL, err);
	kiln_machine_free(machine);
	kiln_config_free(config);
	kiln_loop_free(loop);
	return r;
}

static void firmware_is_uefi_of_macos_13(void **state)
{
	kiln_error err;

	(void)state;
	assert_int_equal(firmware_machine("bios", &err), KILN_ENOTSUP);
	expect(err.message, "firmware: Virtualization.framework has no BIOS");
	assert_int_equal(firmware_machine("uefi", &err), 0);
	lookalike_hide("VZEFIBootLoader", NULL);
	assert_int_equal(firmware_machine("uefi", &err), KILN_ENOTSUP);
	expect(err.message, "firmware: UEFI needs macOS 13");
	lookalike_hide(NULL, NULL);
}

/* --- what the host lends -------------------------------------------------------------- */

/* A start of what is set by pairs of key and value, up to NULL; its error, and its messages. */
static char *try_start(const char *const *pairs, struct lookalike_faults faults, int expected,
		       kiln_error *err)
{
	struct op start;
	struct vm vm;

	lookalike_trace();
	open_unbooted(&vm, faults);
	for (; *pairs; pairs += 2)
		vm_set(&vm, pairs[0], pairs[1]);
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	if (expected)
		op_await_code(&start, expected);
	else
		op_await_ok(&start);
	*err = start.err;
	close_unbooted(&vm);
	return lookalike_take_trace();
}

static void try_lending(const char *const *pairs, struct lookalike_faults faults, int expected,
			const char *part)
{
	kiln_error err = KILN_ERROR_INIT;
	char *trace = try_start(pairs, faults, expected, &err);

	expect(expected ? err.message : trace, part);
	free(trace);
}

static void rosetta_is_asked_for_installed_or_refused(void **state)
{
	static const char *const plain[] = {"rosetta.enabled", "true", NULL};
	static const char *const install[] = {"rosetta.enabled", "true", "rosetta.install", "true",
					      NULL};
	static const char *const cache[] = {"rosetta.enabled", "true", "rosetta.cache", "@name",
					    NULL};
	const struct lookalike_faults there = {.rosetta = 2};
	const struct lookalike_faults missing = {.rosetta = 1};

	(void)state;
	try_lending(plain, (struct lookalike_faults){0}, KILN_ENOTSUP, "needs Apple silicon");
	try_lending(plain, there, 0, "initWithTag:] \"rosetta\"");
	try_lending(plain, missing, KILN_ENOENT, "rosetta: it is not installed");
	try_lending(install, missing, 0, "VZLinuxRosettaDirectoryShare initWithError:");
	try_lending(install, (struct lookalike_faults){.rosetta = 1, .rosetta_install_code = 9},
		    KILN_EACCES, "installing Rosetta: The installation was cancelled.");
	try_lending(cache, there, 0, "VZLinuxRosettaAbstractSocketCachingOptions initWithName");
	lookalike_hide("VZLinuxRosettaUnixSocketCachingOptions", NULL);
	try_lending(cache, there, KILN_ENOTSUP, "rosetta: cache needs macOS 14");
	lookalike_hide("VZLinuxRosettaDirectoryShare", NULL);
	try_lending(plain, there, KILN_ENOTSUP, "Rosetta needs macOS 13");
	lookalike_hide(NULL, NULL);
}

static void nested_virtualization_needs_macos_15_and_a_processor(void **state)
{
	static const char *const pairs[] = {"nested", "true", NULL};

	(void)state;
	try_lending(pairs, (struct lookalike_faults){0}, KILN_ENOTSUP,
		    "this Mac's processor cannot");
	try_lending(pairs, (struct lookalike_faults){.nested = true}, 0,
		    "setNestedVirtualizationEnabled:] 1");
	lookalike_hide("VZGenericPlatformConfiguration", "setNestedVirtualizationEnabled:");
	try_lending(pairs, (struct lookalike_faults){.nested = true}, KILN_ENOTSUP,
		    "nested needs macOS 15");
	lookalike_hide(NULL, NULL);
}

static void what_is_no_directory_is_not_shared(void **state)
{
	static const char *const none[] = {"shares[0].source", "/nonexistent", NULL};
	static const char *const file[] = {"shares[0].source", "/dev/null", NULL};
	static const char *const good[] = {"shares[0].source", "/", "shares[0].tag", "all", NULL};

	(void)state;
	try_lending(none, (struct lookalike_faults){0}, KILN_ENOENT, "shares[0]: ");
	try_lending(file, (struct lookalike_faults){0}, KILN_EINVAL,
		    "shares[0]: source: /dev/null is no directory");
	try_lending(good, (struct lookalike_faults){0}, 0, "initWithTag:] \"all\"");
}

static void a_network_disk_that_is_lost_is_no_end(void **state)
{
	static const char *const bad[] = {"disks[0].url", "nbd+unix:///x", NULL};
	struct vm vm;

	(void)state;
	try_lending(bad, (struct lookalike_faults){0}, KILN_EINVAL, "disks[0]: nbd+unix:///x: ");
	open_unbooted(&vm, (struct lookalike_faults){.disk_error = true});
	vm_set(&vm, "disks[0].url", "nbd://127.0.0.1/x");
	vm_make_ready(&vm);
	kiln_test_settle(vm.loop);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	close_unbooted(&vm);
	lookalike_hide("VZNetworkBlockDeviceStorageDeviceAttachment", NULL);
	try_lending((const char *const[]){"disks[0].url", "nbd://127.0.0.1/x", NULL},
		    (struct lookalike_faults){0}, KILN_ENOTSUP, "disks[0]: url needs macOS 14");
	lookalike_hide(NULL, NULL);
}

/* --- changing and saving -------------------------------------------------------------- */

static void change(struct vm *vm, const kiln_update *update, int expected, const char *part)
{
	struct op op;

	op_begin(&op, vm, kiln_machine_update, update);
	if (!expected) {
		op_await_ok(&op);
		return;
	}
	op_await_code(&op, expected);
	expect(op.err.message, part);
}

static void the_balloon_takes_what_it_is_told(void **state)
{
	kiln_update update = KILN_UPDATE_INIT;
	struct vm vm;
	char *trace;

	(void)state;
	open_unbooted(&vm, (struct lookalike_faults){0});
	vm_set(&vm, "memory", "256M");
	vm_set(&vm, "balloon", "true");
	vm_make_ready(&vm);
	lookalike_trace();
	update.balloon = 16 << 20;
	change(&vm, &update, 0, NULL);
	trace = lookalike_take_trace();
	expect(trace, "setTargetVirtualMachineMemorySize:] 251658240");
	free(trace);
	update.balloon = 1000;
	change(&vm, &update, KILN_EINVAL, "balloon: must be whole MiB");
	update.balloon = 254 << 20;
	change(&vm, &update, KILN_EINVAL, "balloon: must be whole MiB");
	update.cpus = 2;
	change(&vm, &update, KILN_ENOTSUP, "cpus: ");
	close_unbooted(&vm);
	open_unbooted(&vm, (struct lookalike_faults){0});
	vm_make_ready(&vm);
	update = (kiln_update)KILN_UPDATE_INIT;
	update.balloon = 16 << 20;
	change(&vm, &update, KILN_ENOTSUP, "balloon: the machine has none");
	close_unbooted(&vm);
}

static void save_in(const char *dir, struct lookalike_faults faults, int expected)
{
	struct op op;
	struct vm vm;

	open_unbooted(&vm, faults);
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_snapshot, dir, NULL);
	op_await_code(&op, KILN_ESTATE);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_snapshot, dir, NULL);
	if (expected)
		op_await_code(&op, expected);
	else
		op_await_ok(&op);
	close_unbooted(&vm);
}

static void a_saved_state_is_gone_on_from(void **state)
{
	const char *dir = kiln_test_dir();
	const char *const pairs[] = {"snapshot", dir, NULL};
	kiln_error err = KILN_ERROR_INIT;
	char *trace;

	(void)state;
	save_in(dir, (struct lookalike_faults){.cannot_save = true}, KILN_ENOTSUP);
	save_in(dir, (struct lookalike_faults){0}, 0);
	trace = try_start(pairs, (struct lookalike_faults){0}, 0, &err);
	expect(trace, "restoreMachineStateFromURL:completionHandler:] <vz-state>");
	expect(trace, "resumeWithCompletionHandler:");
	expect(trace, "setMachineIdentifier:");
	assert_null(strstr(trace, "startWithCompletionHandler:"));
	free(trace);
	try_lending(pairs, (struct lookalike_faults){.restore_code = 12}, KILN_EIO,
		    "(VZErrorDomain 12)");
	try_lending(pairs, (struct lookalike_faults){.cannot_save = true}, KILN_ENOTSUP,
		    "snapshot: saving this machine's state");
	lookalike_hide("VZVirtualMachineConfiguration", "validateSaveRestoreSupportWithError:");
	try_lending(pairs, (struct lookalike_faults){0}, KILN_ENOTSUP, "needs macOS 14");
	lookalike_hide(NULL, NULL);
}

/* By QEMU, which does not save a machine with a vsock device. */
static void a_booted_state_is_gone_on_from(void **state)
{
	const char *dir = kiln_test_dir();
	struct op op;
	struct vm vm;

	(void)state;
	lookalike_faults.monitor = true;
	vm_open(&vm);
	vm_set(&vm, "balloon", "true");
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_snapshot, dir, NULL);
	op_await_ok(&op);
	vm_close(&vm);
	vm_open(&vm);
	vm_set(&vm, "balloon", "true");
	vm_set(&vm, "readiness.kind", "none");
	vm_set(&vm, "snapshot", dir);
	vm_make_ready(&vm);
	vm_type(&vm, "hello\n");
	vm_await_console(&vm, "hello");
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	vm_close(&vm);
	lookalike_faults = (struct lookalike_faults){0};
	assert_int_equal(lookalike_alive(), 0);
}

/* --- boot files ----------------------------------------------------------------------- */

/* A range of a file is copied for the framework, and the copy goes with the machine. */
static void a_range_is_staged_and_cleaned_away(void **state)
{
	const char *kernel = kiln_test_path("kernels");
	char *runtime = strdup(kiln_test_path("runtime"));
	char **names = NULL;
	char value[256];
	char *trace;
	struct vm vm;

	(void)state;
	setenv("KILN_RUNTIME_DIR", runtime, 1);
	assert_int_equal(kiln__os_replace_file(kernel, "0123456789", 10, 0600, false, NULL), 0);
	lookalike_trace();
	open_unbooted(&vm, (struct lookalike_faults){0});
	snprintf(value, sizeof(value), "{\"path\":\"%s\",\"offset\":2,\"length\":4}", kernel);
	vm_set(&vm, "kernel", value);
	vm_make_ready(&vm);
	trace = lookalike_take_trace();
	expect(trace, "initWithKernelURL:] <kernel>");
	free(trace);
	kiln_ok(kiln__os_list_dir(runtime, &names, NULL), NULL);
	assert_non_null(names[0]);
	kiln__os_free_names(names);
	close_unbooted(&vm);
	kiln_ok(kiln__os_list_dir(runtime, &names, NULL), NULL);
	assert_null(names[0]);
	kiln__os_free_names(names);
	unsetenv("KILN_RUNTIME_DIR");
	free(runtime);
}

/* --- identity ------------------------------------------------------------------------- */

static char *identifier_file(const char *dir)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/vz-machine-id", dir);
	return path;
}

static int start_in(const char *dir, kiln_error *err)
{
	struct op start;
	struct vm vm;

	open_unbooted(&vm, (struct lookalike_faults){0});
	vm_make(&vm);
	kiln__machine_keep_in(vm.machine, dir);
	op_begin(&start, &vm, kiln_machine_start);
	op_await(&start);
	*err = start.err;
	close_unbooted(&vm);
	return start.result;
}

static void the_identifier_lasts_from_boot_to_boot(void **state)
{
	const char *dir = kiln_test_dir();
	char *first = NULL;
	char *second = NULL;
	size_t len;
	kiln_error err;
	char *trace;

	(void)state;
	assert_int_equal(start_in(dir, &err), 0);
	kiln_ok(kiln__os_read_file(identifier_file(dir), 4096, &first, &len, &err), &err);
	lookalike_trace();
	assert_int_equal(start_in(dir, &err), 0);
	trace = lookalike_take_trace();
	expect(trace, "-[VZGenericPlatformConfiguration setMachineIdentifier:]");
	free(trace);
	kiln_ok(kiln__os_read_file(identifier_file(dir), 4096, &second, &len, &err), &err);
	assert_memory_equal(first, second, len);
	assert_int_equal(
		kiln__os_replace_file(identifier_file(dir), "spoilt", 6, 0600, false, NULL), 0);
	assert_int_equal(start_in(dir, &err), KILN_EFORMAT);
	expect(err.message, "vz-machine-id");
	free(first);
	free(second);
}

/* --- counts --------------------------------------------------------------------------- */

static void one_life(const char *disk)
{
	struct op op;
	struct vm vm;

	vm_open(&vm);
	if (disk) { /* what is not booted need not work */
		vm_set(&vm, "readiness.kind", "none");
		vm_set(&vm, "initrd", disk);
		vm_set(&vm, "disks[0].path", disk);
		vm_set(&vm, "disks[1].path", disk);
		vm_set(&vm, "disks[1].bus", "nvme");
	}
	vm_set(&vm, "rng", "true");
	vm_set(&vm, "balloon", "true");
	vm_set(&vm, "vsock.enabled", "true");
	vm_make(&vm);
	kiln__machine_keep_in(vm.machine, kiln_test_dir());
	kiln_machine_start(vm.machine, NULL, NULL);
	vm_await(&vm, KILN_STATE_READY);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_resume);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	vm_close(&vm);
}

static void lives(int count, const char *disk)
{
	long foundation;

	one_life(disk); /* what is made once */
	foundation = lookalike_foundation_alive();
	for (int i = 0; i < count; i++)
		one_life(disk);
	assert_int_equal(lookalike_alive(), 0);
	assert_int_equal(lookalike_foundation_alive(), foundation);
}

static void many_lives_release_all(void **state)
{
	const char *disk = kiln_test_path("disk");
	int count = getenv("KILN_SOAK") ? 1000 : 100;

	(void)state;
	assert_int_equal(kiln__os_replace_file(disk, "", 0, 0600, false, NULL), 0);
	lookalike_faults = (struct lookalike_faults){.no_boot = true};
	lives(count, disk);
	lookalike_faults = (struct lookalike_faults){0};
	kiln_test_shown("%d lives of a vz machine, not booted: retains equal releases", count);
}

static void ten_booted_lives_release_all(void **state)
{
	(void)state;
	lives(10, NULL);
	kiln_test_shown("10 lives of a vz machine, booted: retains equal releases");
}

/* The look-alike would notice. */
static void a_message_off_the_queue_ends_the_process(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	pid = fork();
	if (pid == 0) {
		id object;

		close(2);
		signal(SIGABRT, SIG_DFL);
		object = kiln__new(VZVirtualMachineConfiguration);
		kiln__send(void, VZVirtualMachineConfiguration, "setCPUCount:", (NSUInteger),
			   object, 1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(each_error_of_a_start_is_told),
		kiln_test(a_guest_that_stops_itself_has_powered_off),
		kiln_test(an_error_stop_is_a_failure),
		kiln_test(a_stop_that_never_completes_is_given_up),
		kiln_test(a_network_that_is_lost_is_no_end),
		kiln_test(a_runner_without_the_entitlement_is_told_to_be_signed),
		kiln_test(a_system_without_the_framework_says_so),
		kiln_test(save_and_restore_are_asked_for_where_they_are),
		kiln_test(nvme_needs_macos_14),
		kiln_test(a_disk_of_the_host_needs_macos_14),
		kiln_test(what_it_cannot_do_is_refused_by_its_key),
		kiln_test(firmware_is_uefi_of_macos_13),
		kiln_test(rosetta_is_asked_for_installed_or_refused),
		kiln_test(nested_virtualization_needs_macos_15_and_a_processor),
		kiln_test(what_is_no_directory_is_not_shared),
		kiln_test(a_network_disk_that_is_lost_is_no_end),
		kiln_test(the_balloon_takes_what_it_is_told),
		kiln_test(a_saved_state_is_gone_on_from),
		kiln_test(a_booted_state_is_gone_on_from),
		kiln_test(a_range_is_staged_and_cleaned_away),
		kiln_test(the_identifier_lasts_from_boot_to_boot),
		kiln_test(many_lives_release_all),
		kiln_test(ten_booted_lives_release_all),
		kiln_test(a_message_off_the_queue_ends_the_process),
	};
	int r = contract_choose(argc, argv);

	if (getenv("KILN_TEST_FILTER"))
		cmocka_set_test_filter(getenv("KILN_TEST_FILTER"));
	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
