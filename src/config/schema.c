/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of keys. Order here is the order in which documents are printed and
 * in which docs/machine.schema.json and kiln-config(5) list the keys.
 *
 * What later versions bring stands here by name as LATER, so that whoever asks for
 * it hears that it is not there yet and does not go hunting for a typing error.
 */
#include "schema.h"

#include "os.h"
#include "rows.h"

#include <string.h>

/* --- sources -------------------------------------------------------------------- */

const struct kiln__key kiln__source_keys[] = {
	SOURCE_FILE(struct kiln__source, ),
	SOURCE_RANGE(struct kiln__source, ),
	END,
};

/* A directory is a source without a range. */
static const struct kiln__key directory_keys[] = {
	SOURCE_FILE(struct kiln__source, ),
	END,
};

/* --- root ------------------------------------------------------------------------ */

static const struct kiln__key overlay_keys[] = {
	{
		.name = "kind",
		.type = KILN__TYPE_ENUM,
		.choices = CHOICES("memory", "disk", "none"), /* enum kiln__overlay_kind */
		.def = "memory",
		.field = FIELD(struct kiln__root, overlay),
		.doc = "Where writes to the root go: to memory of the guest, to an ephemeral "
		       "disk, or nowhere: then nothing can be written but to root.disk itself.",
	},
	{
		.name = "size",
		.type = KILN__TYPE_SIZE,
		.min = MIB,
		.max = 64 * TIB,
		.def_doc = "half of the memory, or 16 GiB (sparse) on a disk",
		.field = FIELD(struct kiln__root, overlay_size),
		.doc = "How much can be written.",
	},
	END,
};

#define ROOT_SOURCE(key, table, root_kind, text)                                                   \
	{                                                                                          \
		.name = key, .type = KILN__TYPE_OBJECT, .keys = table,                             \
		.shorthand = KILN__SHORT_PATH, .exclusive = true,                                  \
		.field = FIELD(struct kiln__root, source),                                         \
		.mark = MARK(struct kiln__root, kind, root_kind), .doc = text,                     \
	}

static const struct kiln__key root_keys[] = {
	ROOT_SOURCE("directory", directory_keys, KILN__ROOT_DIRECTORY,
		    "A directory tree, packed into a squashfs image and cached."),
	ROOT_SOURCE("tar", kiln__source_keys, KILN__ROOT_TAR,
		    "A tar archive, compressed or not, packed into a squashfs image and cached."),
	ROOT_SOURCE("squashfs", kiln__source_keys, KILN__ROOT_SQUASHFS, "A squashfs image."),
	ROOT_SOURCE("disk", kiln__source_keys, KILN__ROOT_DISK,
		    "A raw disk image that holds a file system."),
	{
		.name = "image",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 512,
		.check = kiln__check_printable,
		.pattern = "^[!-~]+$",
		.exclusive = true,
		.field = FIELD(struct kiln__root, image),
		.mark = MARK(struct kiln__root, kind, KILN__ROOT_IMAGE),
		.doc = "An image by name, such as debian:12: from the image store, or pulled from "
		       "its "
		       "registry when the machine starts.",
	},
	{
		.name = "image_applied",
		.type = KILN__TYPE_BOOL,
		.def_doc = "false",
		.field = FIELD(struct kiln__root, image_applied),
		.doc = "What this document left out of process, health and labels has been filled "
		       "in from the image's configuration, by docker's rules. If not, the "
		       "machine's first start does that, names the image by its digest, and makes "
		       "this true; set it for the root alone.",
	},
	{
		.name = "fstype",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 32,
		.check = kiln__check_word,
		.pattern = "^[a-z0-9_-]+$",
		.def = "ext4",
		.field = FIELD(struct kiln__root, fstype),
		.doc = "The file system on root.disk.",
	},
	{
		.name = "readonly",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__root, readonly),
		.doc = "With root.disk and no overlay: mount it read-only. Everything else is "
		       "never written to anyway.",
	},
	{
		.name = "overlay",
		.type = KILN__TYPE_OBJECT,
		.keys = overlay_keys,
		.doc = "What happens to writes.",
	},
	END,
};

/* --- devices ---------------------------------------------------------------------- */

static const struct kiln__key disk_keys[] = {
	SOURCE_FILE(struct kiln__disk, source.),
	SOURCE_RANGE(struct kiln__disk, source.),
	{
		.name = "readonly",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__disk, readonly),
		.doc = "The guest cannot write to it.",
	},
	{
		/* virtio 1.2, 5.2.6: VIRTIO_BLK_ID_BYTES is 20, without a NUL when full. */
		.name = "serial",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 20,
		.check = kiln__check_serial,
		.pattern = "^[!-+\\--~]+$",
		.field = FIELD(struct kiln__disk, serial),
		.doc = "Serial number that the guest sees, as in /dev/disk/by-id.",
	},
	{
		.name = "cache",
		.type = KILN__TYPE_CHOICE,
		.choices = CHOICES("writeback", "none", "unsafe"),
		.def = "writeback",
		.field = FIELD(struct kiln__disk, cache),
		.doc = "The host's cache: used, and flushed when the guest flushes (writeback); "
		       "passed by (none); used, and the guest's flushes ignored (unsafe).",
	},
	{
		.name = "discard",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__disk, discard),
		.doc = "Blocks that the guest discards are freed in the file.",
	},
	{
		.name = "bus",
		.type = KILN__TYPE_ENUM,
		.choices = CHOICES("virtio", "nvme", "usb"), /* enum kiln__disk_bus */
		.def = "virtio",
		.field = FIELD(struct kiln__disk, bus),
		.doc = "What it is to the guest: nvme and usb (mass storage) are the vz backend's, "
		       "for "
		       "guests without virtio drivers.",
	},
	{
		.name = "url",
		.type = KILN__TYPE_STRING,
		.min = 7,
		.max = 2048,
		.check = kiln__check_nbd_url,
		.pattern = "^nbds?(\\+unix)?://[!-~]+$",
		.exclusive = true,
		.field = FIELD(struct kiln__disk, url),
		.doc = "Instead of a path, a disk of the network's: an NBD server's URL, such as "
		       "nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH; with the backend "
		       "vz (macOS 14).",
	},
	LATER("sync"),
	END,
};

static const struct kiln__key tmpfs_keys[] = {
	{
		.name = "path",
		.type = KILN__TYPE_STRING,
		.min = 2,
		.max = MAX_PATH_BYTES,
		.check = kiln__check_guest_path,
		.pattern = "^/",
		.required = true,
		.field = FIELD(struct kiln__tmpfs, path),
		.doc = "Where in the guest; made if it is missing.",
	},
	{
		.name = "size",
		.type = KILN__TYPE_SIZE,
		.min = 4 * KIB,
		.max = 16 * TIB,
		.def_doc = "half of the memory",
		.field = FIELD(struct kiln__tmpfs, size),
		.doc = "How much it may hold.",
	},
	{
		.name = "mode",
		.type = KILN__TYPE_STRING,
		.min = 3,
		.max = 4,
		.check = kiln__check_mode,
		.pattern = "^[0-7]{3,4}$",
		.def = "1777",
		.field = FIELD(struct kiln__tmpfs, mode),
		.doc = "The rights to its directory, octal.",
	},
	{
		.name = "exec",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__tmpfs, exec),
		.doc = "Programs on it can be executed. Device nodes and set-user-id bits never "
		       "count.",
	},
	END,
};

static const struct kiln__key volume_keys[] = {
	{
		.name = "name",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 64,
		.check = kiln__check_volume,
		.pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
		.required = true,
		.field = FIELD(struct kiln__volume, name),
		.doc = "Which one; made if there is none of that name.",
	},
	{
		.name = "path",
		.type = KILN__TYPE_STRING,
		.min = 2,
		.max = MAX_PATH_BYTES,
		.check = kiln__check_mount_point,
		.pattern = "^/",
		.required = true,
		.field = FIELD(struct kiln__volume, path),
		.doc = "Where in the guest; made if it is missing.",
	},
	{
		.name = "readonly",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__volume, readonly),
		.doc = "The guest cannot write to it, and other machines may have it at the same "
		       "time, so long as none writes.",
	},
	{
		.name = "size",
		.type = KILN__TYPE_SIZE,
		.min = 16 * MIB,
		.max = 16 * TIB,
		.def_doc = "16 GiB (sparse)",
		.field = FIELD(struct kiln__volume, size),
		.doc = "The size of one that is made.",
	},
	END,
};

static const struct kiln__key network_keys[] = {
	{
		.name = "kind",
		.type = KILN__TYPE_ENUM,
		/* enum kiln__network_kind */
		.choices = CHOICES("user", "tap", "bridged", "socket"),
		.def = "user",
		.field = FIELD(struct kiln__network, kind),
		.doc = "How it reaches the world: by address translation that needs no rights on "
		       "the host (user), by which the guest also reaches the host's loopback, as "
		       "10.0.2.2; by a TAP interface of the host's, which whoever administers "
		       "that has made (tap); as a machine of its own on the network of a "
		       "physical interface of a Mac (bridged); or by a switch that takes frames "
		       "as datagrams (socket; with the backend vz).",
	},
	{
		.name = "interface",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 15, /* IFNAMSIZ */
		.check = kiln__check_interface,
		.pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$",
		.field = FIELD(struct kiln__network, interface),
		.doc = "The name of the TAP interface, or of the one that is bridged, on the host.",
	},
	{
		.name = "socket",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 103, /* sockaddr_un.sun_path of macOS */
		.check = kiln__check_host_path,
		.pattern = "^/",
		.field = FIELD(struct kiln__network, socket),
		.doc = "For socket: absolute path of the switch's Unix datagram socket.",
	},
	{
		.name = "mac",
		.type = KILN__TYPE_MAC,
		.min = 17,
		.max = 17,
		.pattern = "^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$",
		.def_doc = "made from the machine's id",
		.field = FIELD(struct kiln__network, mac),
		.doc = "Unicast MAC address of the guest's interface.",
	},
	END,
};

static const struct kiln__key port_keys[] = {
	{
		.name = "host_ip",
		.type = KILN__TYPE_IP,
		.min = 2,
		.max = KILN__IP_MAX - 1,
		.def = "127.0.0.1",
		.field = FIELD(struct kiln__port, host_ip),
		.doc = "Address of the host to listen on; 0.0.0.0 or :: for all.",
	},
	{
		.name = "host_port",
		.type = KILN__TYPE_INTEGER,
		.max = 65535,
		.def = "0",
		.field = FIELD(struct kiln__port, host_port),
		.doc = "Port of the host; 0: any that is free.",
	},
	{
		.name = "guest_port",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 65535,
		.required = true,
		.field = FIELD(struct kiln__port, guest_port),
		.doc = "Port in the guest.",
	},
	{
		.name = "protocol",
		.type = KILN__TYPE_ENUM,
		.choices = CHOICES("tcp", "udp"), /* bool udp */
		.def = "tcp",
		.field = FIELD(struct kiln__port, udp),
		.doc = "Protocol.",
	},
	END,
};

static const struct kiln__key vsock_keys[] = {
	{
		.name = "enabled",
		.type = KILN__TYPE_BOOL,
		.def = "true",
		.field = FIELD(struct kiln__spec, vsock),
		.doc = "Whether there is one; without it there is no agent, no process and no "
		       "exec.",
	},
	{
		/* virtio 1.2, 5.10.4: 0, 1, 2, 0xffffffff and what is longer are reserved. */
		.name = "cid",
		.type = KILN__TYPE_INTEGER,
		.min = 3,
		.max = 0xfffffffe,
		.def_doc = "one that is free",
		.field = FIELD(struct kiln__spec, cid),
		.doc = "Context id of the guest.",
	},
	END,
};

static const struct kiln__key console_keys[] = {
	{
		.name = "limit",
		.type = KILN__TYPE_SIZE,
		.min = 4 * KIB,
		.max = TIB,
		.def = "1M",
		.field = FIELD(struct kiln__spec, console_limit),
		.doc = "How much of the console's output is kept; the oldest goes first.",
	},
	{
		.name = "serial",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__spec, serial),
		.doc = "The console is a serial port (a 16550, ttyS0) with the backend builtin "
		       "too, "
		       "which has a virtio console (hvc0) otherwise. On QEMU it always is one "
		       "(on arm64 a PL011, ttyAMA0), whatever stands here.",
	},
	{
		.name = "ports",
		.type = KILN__TYPE_LIST,
		.max = 16,
		.element = &kiln__console_port_element,
		.field = FIELD(struct kiln__spec, console_ports),
		.count = FIELD(struct kiln__spec, console_port_count),
		.stride = sizeof(struct kiln__console_port),
		.doc = "Ports of a virtio console device besides the console, for programs of the "
		       "guest's; with the backend vz.",
	},
	END,
};

static const struct kiln__key log_keys[] = {
	{
		.name = "limit",
		.type = KILN__TYPE_SIZE,
		.min = 4 * KIB,
		.max = TIB,
		.def = "10M",
		.field = FIELD(struct kiln__spec, log_limit),
		.doc = "How much of the process's output is kept; the oldest goes first.",
	},
	END,
};

/* --- the guest --------------------------------------------------------------------- */

static const struct kiln__key identity_keys[] = {
	{
		.name = "hostname",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 64, /* Linux's __NEW_UTS_LEN */
		.check = kiln__check_hostname,
		.pattern = "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
			   "(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
		.def_doc = "the machine's name or short id",
		.field = FIELD(struct kiln__spec, hostname),
		.doc = "Host name of the guest (RFC 1123).",
	},
	{
		.name = "machine_id",
		.type = KILN__TYPE_STRING,
		.min = 32,
		.max = 32,
		.check = kiln__check_machine_id,
		.pattern = "^[0-9a-f]{32}$",
		.def_doc = "made from the machine's id",
		.field = FIELD(struct kiln__spec, machine_id),
		.doc = "The guest's /etc/machine-id.",
	},
	LATER("generation"),
	LATER("efi_variables"),
	ELSEWHERE("efi_vars",
		  "that will be identity.efi_variables, not supported yet by this version"),
	END,
};

static const struct kiln__key arg_element = {
	.type = KILN__TYPE_STRING,
	.max = KILN__MAX_TEXT,
	.doc = "One argument.",
};

static const struct kiln__key process_keys[] = {
	{
		.name = "entrypoint",
		.type = KILN__TYPE_LIST,
		.max = 4096,
		.element = &arg_element,
		.doc = "The program, and its first arguments.",
	},
	{
		.name = "args",
		.type = KILN__TYPE_LIST,
		.max = 4096,
		.element = &arg_element,
		.doc = "Arguments after the entrypoint's; the program is the first of them if "
		       "there is no entrypoint. With neither, the machine has no process of its "
		       "own.",
	},
	{
		.name = "env",
		.type = KILN__TYPE_MAP,
		.max = 4096,
		.check_name = kiln__check_env_name,
		.name_pattern = "^[!-<>-~]{1,256}$",
		.doc = "Environment. PATH, HOME and, with a terminal, TERM have values without it.",
	},
	{
		.name = "cwd",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = MAX_PATH_BYTES,
		.check = kiln__check_guest_path,
		.pattern = "^/",
		.def = "/",
		.field = FIELD(struct kiln__spec, process.cwd),
		.doc = "Working directory in the guest.",
	},
	{
		.name = "user",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 256,
		.check = kiln__check_user,
		.pattern = "^[A-Za-z0-9_.][A-Za-z0-9_.-]*\\$?(:[A-Za-z0-9_.][A-Za-z0-9_.-]*\\$?)?$",
		.def_doc = "root",
		.field = FIELD(struct kiln__spec, process.user),
		.doc = "User and, after a colon, group, by name or number, looked up in the guest.",
	},
	ELSEWHERE("uid", "set process.user, to \"1000\" or \"1000:1000\""),
	ELSEWHERE("gid", "set process.user, to \"1000:1000\""),
	{
		.name = "tty",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__spec, process.tty),
		.doc = "The process has a terminal.",
	},
	{
		.name = "stdin",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__spec, process.stdin_open),
		.doc = "Standard input is a client's, and open until it ends; else it is empty.",
	},
	{
		.name = "stop_signal",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 16,
		.check = kiln__check_signal,
		.pattern = "^((SIG)?[A-Z0-9]+([+-][0-9]+)?|[0-9]+)$",
		.def_doc = "SIGTERM",
		.field = FIELD(struct kiln__spec, process.stop_signal),
		.doc = "What a graceful stop sends to the process.",
	},
	END,
};

static const struct kiln__key readiness_keys[] = {
	{
		.name = "kind",
		.type = KILN__TYPE_ENUM,
		/* enum kiln__ready_kind */
		.choices = CHOICES("agent", "console", "tcp", "vsock", "command", "none"),
		.def = "agent",
		.field = FIELD(struct kiln__spec, readiness.kind),
		.doc = "What says that the machine is ready: the agent's hello (agent), a line "
		       "KILN_READY or VMRS_READY ADDRESS on the console (console), a TCP port "
		       "that answers through its published port (tcp), a vsock port that answers "
		       "(vsock), a command that succeeds, run again until it does (command), or "
		       "nothing: running is ready (none).",
	},
	{
		.name = "port",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 0xfffffffe,
		.field = FIELD(struct kiln__spec, readiness.port),
		.doc = "For tcp and vsock: the guest's port.",
	},
	{
		.name = "command",
		.type = KILN__TYPE_LIST,
		.max = 256,
		.element = &arg_element,
		.field = FIELD(struct kiln__spec, readiness.command),
		.doc = "For command: the program and its arguments.",
	},
	{
		.name = "timeout",
		.type = KILN__TYPE_DURATION,
		.min = 1,
		.max = DAY,
		.def = "1m",
		.field = FIELD(struct kiln__spec, readiness.timeout_ms),
		.doc = "From the start; a machine that is not ready by then has failed. With "
		       "firmware the default is ten minutes.",
	},
	END,
};

static const struct kiln__key health_keys[] = {
	{
		.name = "command",
		.type = KILN__TYPE_LIST,
		.max = 256,
		.element = &arg_element,
		.field = FIELD(struct kiln__spec, health.command),
		.doc = "The program and its arguments, run in the guest as process.user, with its "
		       "environment and directory: the process is well if it exits with 0.",
	},
	{
		.name = "interval",
		.type = KILN__TYPE_DURATION,
		.min = 100,
		.max = DAY,
		.def_doc = "30s",
		.field = FIELD(struct kiln__spec, health.interval_ms),
		.doc = "From the process's start to the first, and from the end of one to the "
		       "next.",
	},
	{
		.name = "timeout",
		.type = KILN__TYPE_DURATION,
		.min = 100,
		.max = DAY,
		.def_doc = "30s",
		.field = FIELD(struct kiln__spec, health.timeout_ms),
		.doc = "One that takes longer has failed, and is killed.",
	},
	{
		.name = "start_period",
		.type = KILN__TYPE_DURATION,
		.max = DAY,
		.def_doc = "0",
		.field = FIELD(struct kiln__spec, health.start_period_ms),
		.doc = "For so long, or until the first that succeeds, failures do not count.",
	},
	{
		.name = "retries",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 1000,
		.def_doc = "3",
		.field = FIELD(struct kiln__spec, health.retries),
		.doc = "So many failures in a row make it unhealthy.",
	},
	END,
};

/* --- backends ----------------------------------------------------------------------- */

static const struct kiln__key qemu_keys[] = {
	{
		.name = "binary",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = MAX_PATH_BYTES,
		.check = kiln__check_host_path,
		.pattern = "^/",
		.def_doc = "found by PATH",
		.field = FIELD(struct kiln__spec, qemu_binary),
		.doc = "Absolute path of qemu-system-ARCH.",
	},
	{
		.name = "firmware",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = MAX_PATH_BYTES,
		.check = kiln__check_host_path,
		.pattern = "^/",
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

static const struct kiln__key firecracker_keys[] = {
	BINARY(firecracker.binary, "firecracker"),
	PREFLIGHT(firecracker.preflight),
	{
		.name = "pci",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__spec, firecracker.pci),
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

static const struct kiln__key cloud_hypervisor_keys[] = {
	BINARY(cloud_hypervisor.binary, "cloud-hypervisor"),
	PREFLIGHT(cloud_hypervisor.preflight),
	OWN_CONFIG(cloud_hypervisor.config,
		   "What kiln has no key for, as JSON in the form of Cloud Hypervisor's VmConfig, "
		   "merged into what kiln tells it: disks and networks by their ids, which are "
		   "root, disk0 and so on, and net0 and so on."),
	{
		.name = "open_taps",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__spec, cloud_hypervisor.open_taps),
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

static const struct kiln__key fake_keys[] = {
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

/* --- the document ---------------------------------------------------------------------- */

static const struct kiln__key disk_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = disk_keys,
	.shorthand = KILN__SHORT_PATH,
	.doc = "One disk.",
};

static const struct kiln__key tmpfs_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = tmpfs_keys,
	.shorthand = KILN__SHORT_PATH,
	.doc = "One file system.",
};

static const struct kiln__key volume_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = volume_keys,
	.doc = "One volume.",
};

static const struct kiln__key network_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = network_keys,
	.doc = "One network.",
};

static const struct kiln__key port_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = port_keys,
	.shorthand = KILN__SHORT_PORT,
	.doc = "One port.",
};

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
		.keys = root_keys,
		.field = FIELD(struct kiln__spec, root),
		.doc = "The root file system: exactly one of image, directory, tar, squashfs and "
		       "disk. "
		       "Without one the initramfs is all there is.",
	},
	{
		.name = "disks",
		.type = KILN__TYPE_LIST,
		.max = 24,
		.element = &disk_element,
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
		.element = &tmpfs_element,
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
		.element = &volume_element,
		.field = FIELD(struct kiln__spec, volumes),
		.count = FIELD(struct kiln__spec, volume_count),
		.stride = sizeof(struct kiln__volume),
		.doc = "Named volumes: disks that kiln keeps from one machine to the next.",
	},
	{
		.name = "networks",
		.type = KILN__TYPE_LIST,
		.max = 8,
		.element = &network_element,
		.field = FIELD(struct kiln__spec, networks),
		.count = FIELD(struct kiln__spec, network_count),
		.stride = sizeof(struct kiln__network),
		.doc = "Network interfaces.",
	},
	{
		.name = "ports",
		.type = KILN__TYPE_LIST,
		.max = 256,
		.element = &port_element,
		.field = FIELD(struct kiln__spec, ports),
		.count = FIELD(struct kiln__spec, port_count),
		.stride = sizeof(struct kiln__port),
		.doc = "Ports of the guest published on the host.",
	},
	LATER("egress"),
	{
		.name = "vsock",
		.type = KILN__TYPE_OBJECT,
		.keys = vsock_keys,
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
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__spec, nested),
		.doc = "The guest can run virtual machines itself; with the backend vz (macOS 15, "
		       "and a processor that can).",
	},
	{
		.name = "console",
		.type = KILN__TYPE_OBJECT,
		.keys = console_keys,
		.doc = "The console: a virtio console with the backend builtin, a serial port with "
		       "others or if that is asked for.",
	},
	{
		.name = "log",
		.type = KILN__TYPE_OBJECT,
		.keys = log_keys,
		.doc = "The log of the process's output.",
	},
	{
		.name = "balloon",
		.type = KILN__TYPE_BOOL,
		.def = "false",
		.field = FIELD(struct kiln__spec, balloon),
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
		.keys = identity_keys,
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
		.keys = process_keys,
		.doc = "What runs in the guest; when it ends, the machine stops.",
	},
	{
		.name = "readiness",
		.type = KILN__TYPE_OBJECT,
		.keys = readiness_keys,
		.doc = "When the machine counts as ready.",
	},
	{
		.name = "health",
		.type = KILN__TYPE_OBJECT,
		.keys = health_keys,
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
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = MAX_PATH_BYTES,
		.check = kiln__check_host_path,
		.pattern = "^/",
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
		.keys = qemu_keys,
		.doc = "For the backend qemu.",
	},
	{
		.name = "firecracker",
		.type = KILN__TYPE_OBJECT,
		.keys = firecracker_keys,
		.doc = "For the backend firecracker.",
	},
	{
		.name = "cloud_hypervisor",
		.type = KILN__TYPE_OBJECT,
		.keys = cloud_hypervisor_keys,
		.doc = "For the backend cloud-hypervisor.",
	},
	{
		.name = "fake",
		.type = KILN__TYPE_OBJECT,
		.keys = fake_keys,
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
