/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of keys: of the document itself; those of its parts lie in the files beside this one,
 * by subject (rows.h says which). Order here is the order in which documents are printed and
 * in which docs/machine.schema.json and kiln-config(5) list the keys.
 *
 * What later versions bring stands here by name as LATER, so that whoever asks for
 * it hears that it is not there yet and does not go hunting for a typing error.
 */
#include "schema.h"

#include "os.h"
#include "rows.h"

#include <string.h>

static const struct kiln__key top_keys[] = {
	{
		.name = "backend",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 32,
		.check = kiln__check_word,
		.pattern = "^[a-z0-9_-]+$",
		.def = "auto",
		.field = FIELD(struct kiln__spec, backend),
		.doc = "Name of the backend that runs the machine, as kiln backends lists them.",
	},
	{
		.name = "arch",
		.type = KILN__TYPE_CHOICE,
		.choices = CHOICES("x86_64", "aarch64"),
		.def_fn = kiln__os_arch,
		.def_doc = "the host's",
		.field = FIELD(struct kiln__spec, arch),
		.doc = "Architecture of the guest.",
	},
	{
		.name = "accel",
		.type = KILN__TYPE_CHOICE,
		.choices = CHOICES("auto", "kvm", "tcg"),
		.def = "auto",
		.field = FIELD(struct kiln__spec, accel),
		.doc = "Acceleration: by the hardware (kvm) or none (tcg: emulation).",
	},
	{
		.name = "cpus",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 64,
		.def = "1",
		.field = FIELD(struct kiln__spec, cpus),
		.doc = "Number of virtual CPUs.",
	},
	{
		.name = "memory",
		.type = KILN__TYPE_SIZE,
		.min = 16 * MIB,
		.max = 16 * TIB,
		.multiple = MIB,
		.def = "512M",
		.field = FIELD(struct kiln__spec, memory),
		.doc = "Memory of the guest, in whole MiB; no more than the host has, and with the "
		       "distribution's kernel at least 80 MiB.",
	},
	{
		.name = "kernel",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__source_keys,
		.shorthand = KILN__SHORT_PATH,
		.def_doc = "the distribution's kernel for virtual machines",
		.field = FIELD(struct kiln__spec, kernel),
		.doc = "The Linux kernel: a bzImage, an ELF vmlinux or an arm64 Image.",
	},
	{
		.name = "initrd",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__source_keys,
		.shorthand = KILN__SHORT_PATH,
		.def_doc = "kiln's own",
		.field = FIELD(struct kiln__spec, initrd),
		.doc = "The initramfs.",
	},
	{
		.name = "cmdline",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 1024, /* half of x86's COMMAND_LINE_SIZE: the rest is kiln's */
		.check = kiln__check_printable,
		.pattern = "^[ -~]+$",
		.field = FIELD(struct kiln__spec, cmdline),
		.doc = "Appended to the kernel's command line. Everybody in the guest can read it.",
	},
	{
		.name = "firmware",
		.type = KILN__TYPE_ENUM,
		.choices = CHOICES("none", "bios", "uefi"), /* enum kiln__firmware */
		.def = "none",
		.field = FIELD(struct kiln__spec, firmware),
		.doc = "What boots the machine: kiln, by kernel and initrd (none), or what its "
		       "disks hold, by firmware: the first of them that has something.",
	},
	ELSEWHERE("image", "set root.image"),
	{
		.name = "root",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__root_keys,
		.field = FIELD(struct kiln__spec, root),
		.doc = "The root file system: exactly one of image, directory, tar, squashfs and "
		       "disk. "
		       "Without one the initramfs is all there is.",
	},
	{
		.name = "disks",
		.type = KILN__TYPE_LIST,
		.max = 24,
		.element = &kiln__disk_element,
		.field = FIELD(struct kiln__spec, disks),
		.count = FIELD(struct kiln__spec, disk_count),
		.stride = sizeof(struct kiln__disk),
		.doc = "Raw disk images and block devices, in the order in which the guest sees "
		       "them.",
	},
	{
		.name = "tmpfs",
		.type = KILN__TYPE_LIST,
		.max = 32, /* KILN__AGENT_MAX_MOUNTS */
		.element = &kiln__tmpfs_element,
		.field = FIELD(struct kiln__spec, tmpfs),
		.count = FIELD(struct kiln__spec, tmpfs_count),
		.stride = sizeof(struct kiln__tmpfs),
		.doc = "Empty file systems in the guest's memory, mounted before the process "
		       "starts.",
	},
	{
		.name = "volumes",
		.type = KILN__TYPE_LIST,
		.max = KILN__MAX_VOLUMES,
		.element = &kiln__volume_element,
		.field = FIELD(struct kiln__spec, volumes),
		.count = FIELD(struct kiln__spec, volume_count),
		.stride = sizeof(struct kiln__volume),
		.doc = "Named volumes: disks that kiln keeps from one machine to the next.",
	},
	{
		.name = "networks",
		.type = KILN__TYPE_LIST,
		.max = 8,
		.element = &kiln__network_element,
		.field = FIELD(struct kiln__spec, networks),
		.count = FIELD(struct kiln__spec, network_count),
		.stride = sizeof(struct kiln__network),
		.doc = "Network interfaces.",
	},
	{
		.name = "ports",
		.type = KILN__TYPE_LIST,
		.max = 256,
		.element = &kiln__port_element,
		.field = FIELD(struct kiln__spec, ports),
		.count = FIELD(struct kiln__spec, port_count),
		.stride = sizeof(struct kiln__port),
		.doc = "Ports of the guest published on the host.",
	},
	LATER("egress"),
	{
		.name = "vsock",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__vsock_keys,
		.doc = "The socket device by which host and guest talk.",
	},
	{
		.name = "shares",
		.type = KILN__TYPE_LIST,
		.max = 24,
		.element = &kiln__share_element,
		.field = FIELD(struct kiln__spec, shares),
		.count = FIELD(struct kiln__spec, share_count),
		.stride = sizeof(struct kiln__share),
		.doc = "Directories of the host, by virtiofs; with the backends qemu, "
		       "cloud-hypervisor (both by "
		       "virtiofsd) and vz.",
	},
	{
		.name = "rosetta",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__rosetta_keys,
		.field = FIELD(struct kiln__spec, rosetta),
		.doc = "Apple's translator, by which a guest of Apple silicon runs x86-64 "
		       "programs; with the backend vz.",
	},
	{
		.name = "nested",
		IS_FLAG(struct kiln__spec, nested),
		.doc = "The guest can run virtual machines itself; with the backend vz (macOS 15, "
		       "and a processor that can).",
	},
	{
		.name = "console",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__console_keys,
		.doc = "The console: a virtio console with the backend builtin, a serial port with "
		       "others or if that is asked for.",
	},
	{
		.name = "log",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__log_keys,
		.doc = "The log of the process's output.",
	},
	{
		.name = "balloon",
		IS_FLAG(struct kiln__spec, balloon),
		.doc = "A balloon device: what the guest does not use it gives back to the host.",
	},
	{
		.name = "rng",
		.type = KILN__TYPE_BOOL,
		.def = "true",
		.field = FIELD(struct kiln__spec, rng),
		.doc = "A source of entropy from the host.",
	},
	{
		.name = "identity",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__identity_keys,
		.doc = "What tells this guest from others.",
	},
	{
		.name = "seed",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__seed_keys,
		.field = FIELD(struct kiln__spec, seed),
		.doc = "What cloud-init in the guest finds on a disk with the label cidata "
		       "(NoCloud).",
	},
	{
		.name = "init",
		.type = KILN__TYPE_ENUM,
		.choices = CHOICES("kiln", "root"), /* enum kiln__init_kind */
		.def = "kiln",
		.field = FIELD(struct kiln__spec, init),
		.doc = "Process 1 of the guest: kiln's, or the root's own /sbin/init with kiln's "
		       "agent beside it.",
	},
	{
		.name = "process",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__process_keys,
		.doc = "What runs in the guest; when it ends, the machine stops.",
	},
	{
		.name = "readiness",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__readiness_keys,
		.doc = "When the machine counts as ready.",
	},
	{
		.name = "health",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__health_keys,
		.doc = "How it is found out, again and again, whether the process is well; kiln "
		       "inspect shows it, and it is told as an event when it changes.",
	},
	{
		.name = "stop_timeout",
		.type = KILN__TYPE_DURATION,
		.max = DAY,
		.def = "10s",
		.field = FIELD(struct kiln__spec, stop_timeout_ms),
		.doc = "How long a graceful stop may take before the machine is killed.",
	},
	{
		.name = "on_reboot",
		.type = KILN__TYPE_CHOICE,
		.choices = CHOICES("stop", "restart"),
		.def = "stop",
		.field = FIELD(struct kiln__spec, on_reboot),
		.doc = "What a reboot by the guest does: it ends the machine (stop), or the guest "
		       "boots again (restart; with the backends builtin and cloud-hypervisor).",
	},
	LATER("restart"),
	LATER("time_to_live"),
	ELSEWHERE("ttl", "that will be time_to_live, not supported yet by this version"),
	ELSEWHERE("serial",
		  "the console is always there; a disk's serial number is disks[].serial"),
	LATER("idle"),
	LATER("jail"),
	{
		.name = "snapshot",
		IS_HOST_PATH,
		.field = FIELD(struct kiln__spec, snapshot),
		.doc = "Absolute path of a directory that kiln snapshot has filled: the guest goes "
		       "on where it was then, and does not boot.",
	},
	{
		.name = "labels",
		.type = KILN__TYPE_MAP,
		.max = 256,
		.check_name = kiln__check_label_key,
		.name_pattern = "^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$",
		.doc = "Names and texts for whoever manages machines; kiln only hands them back.",
	},
	{
		.name = "qemu",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__qemu_keys,
		.doc = "For the backend qemu.",
	},
	{
		.name = "firecracker",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__firecracker_keys,
		.doc = "For the backend firecracker.",
	},
	{
		.name = "cloud_hypervisor",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__cloud_hypervisor_keys,
		.doc = "For the backend cloud-hypervisor.",
	},
	{
		.name = "fake",
		.type = KILN__TYPE_OBJECT,
		.keys = kiln__fake_keys,
		.doc = "Injected faults, for the backend fake.",
	},
	END,
};

const struct kiln__key kiln__schema = {
	.type = KILN__TYPE_OBJECT,
	.keys = top_keys,
	.doc = "The configuration of a machine.",
};

/* --- looking keys up ------------------------------------------------------------------- */

const struct kiln__key *kiln__schema_find(const struct kiln__key *object, const char *name,
					  size_t len)
{
	for (const struct kiln__key *key = object->keys; key->name; key++)
		if (strlen(key->name) == len && memcmp(key->name, name, len) == 0)
			return key;
	return NULL;
}
