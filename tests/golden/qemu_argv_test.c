/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's command line for each kind of configuration, compared with a file: one argument a
 * line. KILN_GOLDEN_UPDATE=1 writes the files instead.
 */
#include "argv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *folder;

static struct kiln__spec base(const char *arch)
{
	return (struct kiln__spec){
		.backend = "qemu",
		.arch = arch,
		.accel = "tcg",
		.cpus = 1,
		.memory = UINT64_C(512) << 20,
		.kernel = {.path = "/k/vmlinux", .fd = KILN_FD_NONE},
		.initrd = {.path = "/k/initramfs", .fd = KILN_FD_NONE},
		.root = {.source = {.fd = KILN_FD_NONE}},
		.vsock = true,
	};
}

static char *print_argv(const struct kiln__spec *spec, bool kvm)
{
	struct kiln__qemu_plan plan = {
		.spec = spec,
		.id = "0123456789abcdef0123456789abcdef",
		.binary = "qemu",
		.kvm = kvm,
		.root_disk = spec->root.kind != KILN__ROOT_NONE,
		.firmware_file = spec->firmware == KILN__FIRMWARE_UEFI,
	};
	char **argv;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_int_equal(kiln__qemu_machine_of(spec, &plan.machine, NULL), 0);
	argv = kiln__qemu_argv(&plan);
	assert_non_null(argv);
	for (char **arg = argv; *arg; arg++)
		fprintf(out, "%s\n", *arg);
	fclose(out);
	kiln__qemu_argv_free(argv);
	return text;
}

static void compare(const char *name, const struct kiln__spec *spec, bool kvm)
{
	char path[512];
	char expected[16384];
	char *text = print_argv(spec, kvm);
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s.argv", folder, name);
	if (getenv("KILN_GOLDEN_UPDATE")) {
		file = fopen(path, "w");
		assert_non_null(file);
		fputs(text, file);
	} else {
		file = fopen(path, "r");
		assert_non_null(file);
		n = fread(expected, 1, sizeof(expected) - 1, file);
		expected[n] = '\0';
		assert_string_equal(text, expected);
	}
	fclose(file);
	free(text);
}

static void microvm_with_nothing_asked_for_has_no_device_but_vsock(void **state)
{
	struct kiln__spec spec = base("x86_64");

	(void)state;
	compare("minimal", &spec, false);
}

static void kvm_needs_no_legacy_timers(void **state)
{
	struct kiln__spec spec = base("x86_64");

	(void)state;
	spec.cpus = 4;
	compare("kvm", &spec, true);
}

/* A comma would end the value, and what follows be an option. */
static void a_serial_number_stays_one_value(void **state)
{
	struct kiln__spec spec = base("x86_64");
	struct kiln__disk disk = {
		.source = {.path = "/d/a,b", .fd = KILN_FD_NONE},
		.serial = "a,drive=b,,c\"'",
	};

	(void)state;
	spec.disks = &disk;
	spec.disk_count = 1;
	compare("serial", &spec, false);
}

static struct kiln__share shares[] = {
	{.source = "/s/work", .target = "/work"},
	{.source = "/s/tools", .tag = "a,tag", .readonly = true},
};

static void every_device(struct kiln__spec *spec, struct kiln__disk disks[2],
			 struct kiln__network *network, struct kiln__port *port)
{
	disks[0] = (struct kiln__disk){
		.source = {.path = "/d/data", .fd = KILN_FD_NONE},
		.serial = "data",
		.cache = "none",
		.discard = true,
	};
	disks[1] = (struct kiln__disk){
		.source = {.path = "/d/exe", .fd = KILN_FD_NONE, .offset = 4096, .length = 8192},
		.readonly = true,
	};
	*network = (struct kiln__network){.mac = {2, 0, 0, 0, 0, 1}};
	*port = (struct kiln__port){.host_ip = "127.0.0.1", .host_port = 8080, .guest_port = 80};
	spec->root.kind = KILN__ROOT_SQUASHFS;
	spec->root.source.path = "/r/root.squashfs";
	spec->disks = disks;
	spec->disk_count = 2;
	spec->networks = network;
	spec->network_count = 1;
	spec->ports = port;
	spec->port_count = 1;
	spec->rng = true;
	spec->shares = shares;
	spec->share_count = 2;
	spec->cmdline = "extra=1";
}

static void every_device_on_each_machine_type(void **state)
{
	struct kiln__spec spec = base("x86_64");
	struct kiln__spec arm = base("aarch64");
	struct kiln__disk disks[2];
	struct kiln__network network;
	struct kiln__port port;

	(void)state;
	every_device(&spec, disks, &network, &port);
	compare("microvm-all", &spec, false);
	spec.qemu_machine = "q35";
	compare("q35-all", &spec, false);
	every_device(&arm, disks, &network, &port);
	compare("virt-all", &arm, false);
}

/* What kiln puts in is not booted from, and there is no kernel. */
static void firmware_boots_the_users_disks(void **state)
{
	struct kiln__spec spec = base("x86_64");
	struct kiln__spec arm = base("aarch64");
	struct kiln__network network = {.mac = {2, 0, 0, 0, 0, 1}};
	struct kiln__disk disks[] = {
		{.source = {.path = "/d/cloud.raw", .fd = KILN_FD_NONE}},
		{.source = {.path = "/d/data", .fd = KILN_FD_NONE}},
		{.source = {.path = "/h/volume", .fd = KILN_FD_NONE},
		 .serial = KILN__VOLUME_SERIAL "0",
		 .own = true},
		{.source = {.path = "/v/seed.iso", .fd = KILN_FD_NONE},
		 .serial = KILN__SEED_SERIAL,
		 .readonly = true,
		 .own = true},
	};

	(void)state;
	spec.disks = arm.disks = disks;
	spec.disk_count = arm.disk_count = 4;
	spec.networks = arm.networks = &network;
	spec.network_count = arm.network_count = 1;
	spec.firmware = KILN__FIRMWARE_BIOS;
	compare("q35-bios", &spec, false);
	spec.firmware = arm.firmware = KILN__FIRMWARE_UEFI;
	compare("q35-uefi", &spec, true);
	compare("virt-uefi", &arm, false);
}

static void a_microvm_has_no_firmware(void **state)
{
	struct kiln__spec spec = base("x86_64");
	enum kiln__qemu_machine machine;
	kiln_error err;

	(void)state;
	spec.firmware = KILN__FIRMWARE_BIOS;
	spec.qemu_machine = "microvm";
	assert_int_equal(kiln__qemu_machine_of(&spec, &machine, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "qemu.machine"));
}

/* The root is QEMU's disk 0; "read-only" is a property of its file and of its format node. */
static void only_a_bare_writable_root_disk_is_written_to(void **state)
{
	static const struct {
		enum kiln__overlay_kind overlay;
		bool readonly;
		bool written;
	} rows[] = {
		{KILN__OVERLAY_NONE, false, true},
		{KILN__OVERLAY_NONE, true, false},
		{KILN__OVERLAY_MEMORY, false, false},
		{KILN__OVERLAY_DISK, false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kiln__spec spec = base("x86_64");
		char *text;

		spec.root.kind = KILN__ROOT_DISK;
		spec.root.source.path = "/r/disk";
		spec.root.overlay = rows[i].overlay;
		spec.root.readonly = rows[i].readonly;
		text = print_argv(&spec, false);
		assert_int_equal(strstr(text, "\"read-only\":false") != NULL, rows[i].written);
		assert_int_equal(strstr(text, "\"read-only\":true") != NULL, !rows[i].written);
		free(text);
	}
}

static void a_machine_type_of_another_architecture_is_refused_by_key(void **state)
{
	struct kiln__spec spec = base("aarch64");
	enum kiln__qemu_machine machine;
	kiln_error err;

	(void)state;
	spec.qemu_machine = "microvm";
	assert_int_equal(kiln__qemu_machine_of(&spec, &machine, &err), KILN_EINVAL);
	assert_non_null(strstr(err.message, "qemu.machine"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(microvm_with_nothing_asked_for_has_no_device_but_vsock),
		cmocka_unit_test(kvm_needs_no_legacy_timers),
		cmocka_unit_test(a_serial_number_stays_one_value),
		cmocka_unit_test(every_device_on_each_machine_type),
		cmocka_unit_test(firmware_boots_the_users_disks),
		cmocka_unit_test(a_microvm_has_no_firmware),
		cmocka_unit_test(only_a_bare_writable_root_disk_is_written_to),
		cmocka_unit_test(a_machine_type_of_another_architecture_is_refused_by_key),
	};

	if (argc != 2)
		return 2;
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
