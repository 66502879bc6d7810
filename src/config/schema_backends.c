/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of single backends, but for Firecracker's jailer. */
#include "rows.h"

const struct kiln__key kiln__qemu_keys[] = {
	{
		.name = "binary",
		IS_HOST_PATH,
		.def_doc = "found by PATH",
		.field = FIELD(struct kiln__spec, qemu_binary),
		.doc = "Absolute path of qemu-system-ARCH.",
	},
	{
		.name = "firmware",
		IS_HOST_PATH,
		.def_doc = "QEMU's own for bios, the distribution's for uefi",
		.field = FIELD(struct kiln__spec, qemu_firmware),
		.doc = "Absolute path of the firmware's image, as QEMU's -bios takes it.",
	},
	{
		.name = "machine",
		.type = KILN__TYPE_CHOICE,
		.choices = CHOICES("auto", "microvm", "q35", "virt"),
		.def = "auto",
		.field = FIELD(struct kiln__spec, qemu_machine),
		.doc = "Machine type.",
	},
	END,
};

#define BINARY(member, program)                                                                    \
	{                                                                                          \
		.name = "binary", .type = KILN__TYPE_STRING, .min = 1, .max = MAX_PATH_BYTES,      \
		.check = kiln__check_host_path, .pattern = "^/", .def_doc = "found by PATH",       \
		.field = FIELD(struct kiln__spec, member), .doc = "Absolute path of " program ".", \
	}
#define PREFLIGHT(member)                                                                          \
	{                                                                                          \
		.name = "preflight", .type = KILN__TYPE_BOOL, .def = "true",                       \
		.field = FIELD(struct kiln__spec, member),                                         \
		.doc = "Before it is started, whether KVM really runs guests here is looked at; "  \
		       "false is for a program built for another hypervisor.",                     \
	}
#define OWN_CONFIG(member, text)                                                                   \
	{                                                                                          \
		.name = "config", .type = KILN__TYPE_STRING, .min = 2, .max = KILN__MAX_TEXT,      \
		.check = kiln__check_json_object, .field = FIELD(struct kiln__spec, member),       \
		.doc = text,                                                                       \
	}

const struct kiln__key kiln__firecracker_keys[] = {
	BINARY(firecracker.binary, "firecracker"),
	PREFLIGHT(firecracker.preflight),
	{
		.name = "pci",
		IS_FLAG(struct kiln__spec, firecracker.pci),
		.doc = "Devices are on PCI (Firecracker 1.13 and later).",
	},
	{
		.name = "api",
		.type = KILN__TYPE_BOOL,
		.def = "true",
		.field = FIELD(struct kiln__spec, firecracker.api),
		.doc = "False: it is given one configuration file and serves no API; then it "
		       "cannot "
		       "pause, nor be asked by Ctrl-Alt-Del to stop.",
	},
	{
		.name = "jailer",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__jailer_keys,
		.doc = "Firecracker's own jailer, which takes root.",
	},
	OWN_CONFIG(firecracker.config,
		   "What kiln has no key for, as JSON in the form of Firecracker's configuration "
		   "file, merged into what kiln tells it: drives and network interfaces by their "
		   "ids, which are root, disk0 and so on, and net0 and so on."),
	END,
};

const struct kiln__key kiln__cloud_hypervisor_keys[] = {
	BINARY(cloud_hypervisor.binary, "cloud-hypervisor"),
	PREFLIGHT(cloud_hypervisor.preflight),
	OWN_CONFIG(cloud_hypervisor.config,
		   "What kiln has no key for, as JSON in the form of Cloud Hypervisor's VmConfig, "
		   "merged into what kiln tells it: disks and networks by their ids, which are "
		   "root, disk0 and so on, and net0 and so on."),
	{
		.name = "open_taps",
		IS_FLAG(struct kiln__spec, cloud_hypervisor.open_taps),
		.doc = "TAP interfaces are opened by kiln, before it gives up its rights, and "
		       "Cloud Hypervisor gets their descriptors: for interfaces that it may not "
		       "open itself. It is cut off from the host's networks then.",
	},
	END,
};

#define FAKE_FLAG(key, text)                                                                       \
	{                                                                                          \
		.name = #key, .type = KILN__TYPE_BOOL, .def = "false",                             \
		.field = FIELD(struct kiln__spec, fake.key), .doc = text,                          \
	}
#define FAKE_TIME(key, text)                                                                       \
	{                                                                                          \
		.name = #key, .type = KILN__TYPE_DURATION, .max = DAY, .def = "0",                 \
		.field = FIELD(struct kiln__spec, fake.key##_ms), .doc = text,                     \
	}

const struct kiln__key kiln__fake_keys[] = {
	{
		.name = "console",
		.type = KILN__TYPE_STRING,
		.max = 65536,
		.field = FIELD(struct kiln__spec, fake.console),
		.doc = "What the guest writes on its console when it runs.",
	},
	FAKE_FLAG(fail_prepare, "It cannot be prepared."),
	FAKE_TIME(start_delay, "A start takes this long."),
	FAKE_FLAG(fail_start, "A start fails."),
	FAKE_TIME(crash_after, "It crashes this long after it began to run; 0: never."),
	FAKE_FLAG(ignore_stop, "A graceful stop is ignored."),
	FAKE_FLAG(fail_pause, "A pause fails."),
	FAKE_FLAG(never_ready, "It never becomes ready."),
	END,
};
