/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration as plain C: what machine, backends, image and runner read.
 *
 * kiln__config_spec() makes it from a handle, with every default filled in. It
 * borrows nothing: it has its own memory, freed as one by kiln__spec_free().
 * Absent strings are NULL, absent lists have count 0.
 */
#ifndef KILN_CONFIG_SPEC_H
#define KILN_CONFIG_SPEC_H

#include <kiln/config.h>

#include "cleanup.h"
#include "fd.h"

#include <stdbool.h>
#include <stdint.h>

/* Where bytes come from: a file, an inherited descriptor, or a range of either. */
/* What is known of KVM on this host. */
struct kiln__kvm_verdict {
	bool known;
	kiln_error why; /* of one that does not work; code 0: it works */
};

struct kiln__source {
	const char *path; /* absolute, or NULL */
	kiln_fd fd;       /* or KILN_FD_NONE */
	uint64_t offset;  /* where it begins */
	uint64_t length;  /* 0: to the end */
	bool immutable;   /* of kiln's cache: never changed, so that it can be mapped */
};

static inline bool kiln__source_is_set(const struct kiln__source *source)
{
	return source->path || source->fd != KILN_FD_NONE;
}

enum kiln__root_kind {
	KILN__ROOT_NONE,      /* the initramfs is all there is */
	KILN__ROOT_DIRECTORY, /* made into a squashfs by kiln-image */
	KILN__ROOT_TAR,       /* the same */
	KILN__ROOT_SQUASHFS,
	KILN__ROOT_IMAGE, /* an image by name: see "image" */
	KILN__ROOT_DISK,  /* a disk image that carries a file system, mounted as it is */
};

enum kiln__overlay_kind {
	KILN__OVERLAY_MEMORY, /* writes go to a tmpfs in the guest */
	KILN__OVERLAY_DISK,   /* writes go to an ephemeral ext4 disk */
	KILN__OVERLAY_NONE,   /* the root as it is; only a DISK can be written to */
};

struct kiln__root {
	enum kiln__root_kind kind;
	struct kiln__source source;
	const char *image;  /* for IMAGE: its name */
	bool image_applied; /* what it says of its process has been filled in */
	const char *fstype; /* for DISK; default "ext4" */
	bool readonly;      /* for DISK without overlay: nothing is written to it */
	enum kiln__overlay_kind overlay;
	uint64_t overlay_size; /* bytes; 0: half of memory (MEMORY), 16 GiB sparse (DISK) */
};

/* Whether the guest writes to the root's own file or device. */
static inline bool kiln__root_is_writable(const struct kiln__root *root)
{
	return root->kind == KILN__ROOT_DISK && root->overlay == KILN__OVERLAY_NONE &&
	       !root->readonly;
}

/*
 * Whether an overlay lies over it in the guest: also where nothing may be written to the root,
 * since an image need not have the directories that things are mounted on.
 */
static inline bool kiln__root_is_overlaid(const struct kiln__root *root)
{
	return root->kind != KILN__ROOT_NONE &&
	       !(root->kind == KILN__ROOT_DISK && root->overlay == KILN__OVERLAY_NONE);
}

enum kiln__disk_bus {
	KILN__DISK_VIRTIO,
	KILN__DISK_NVME,
	KILN__DISK_USB,
};

struct kiln__disk {
	struct kiln__source source;
	bool readonly;
	const char *serial; /* at most 20 bytes, virtio-blk's limit */
	const char *cache;  /* "writeback" (default), "none", "unsafe" */
	bool discard;
	enum kiln__disk_bus bus;
	const char *url; /* of an NBD server, instead of a source; or NULL */
	bool scratch;    /* the root's overlay, new for this life: nothing on it is to last */
	bool own;        /* put in by kiln (overlay, volume, seed): no firmware boots from it */
};

/* By these serial numbers the guest knows kiln's own disks; no other may have them. */
#define KILN__ROOT_SERIAL    "kiln-root"
#define KILN__OVERLAY_SERIAL "kiln-rw"
#define KILN__SEED_SERIAL    "kiln-seed"
#define KILN__VOLUME_SERIAL  "kiln-vol" /* and the number of the volume */

#define KILN__MAX_VOLUMES 8

/* A named volume: a disk in kiln's home, with an ext4 file system on it. */
struct kiln__volume {
	const char *name;
	const char *path; /* in the guest */
	bool readonly;
	uint64_t size; /* of a new one; bytes; 0: 16 GiB sparse */
};

struct kiln__tmpfs {
	const char *path; /* in the guest */
	uint64_t size;    /* bytes; 0: half of memory */
	const char *mode; /* octal, default "1777" */
	bool exec;
};

enum kiln__network_kind {
	KILN__NETWORK_USER,    /* unprivileged NAT, no rights on the host needed */
	KILN__NETWORK_TAP,     /* a TAP interface that is there */
	KILN__NETWORK_BRIDGED, /* on the network of a Mac's interface */
	KILN__NETWORK_SOCKET,  /* frames as datagrams, to a switch's socket */
};

struct kiln__network {
	enum kiln__network_kind kind;
	const char *interface; /* of TAP and BRIDGED */
	const char *socket;    /* of SOCKET: its path */
	uint8_t mac[6];        /* all zero: made from the machine's id */
};

/* A directory of the host, by virtiofs. */
struct kiln__share {
	const char *source;
	const char *target; /* in the guest; NULL: the guest mounts it itself */
	const char *tag;    /* NULL: "share" and its number */
	const char *name;   /* one of several directories of the same tag; NULL: the tag's own */
	bool readonly;
};

struct kiln__rosetta {
	bool enabled;
	const char *target; /* NULL: the guest mounts it itself */
	bool install;
	const char *cache; /* a socket's path, or '@' and an abstract one's name; NULL: none */
};

/* Besides the console; with exactly one of file and socket. */
struct kiln__console_port {
	const char *name;
	const char *file;
	const char *socket;
};

struct kiln__port {
	const char *host_ip; /* default "127.0.0.1" */
	uint16_t host_port;  /* 0: any free one */
	uint16_t guest_port;
	bool udp;
};

enum kiln__firmware {
	KILN__FIRMWARE_NONE, /* a kernel is booted */
	KILN__FIRMWARE_BIOS,
	KILN__FIRMWARE_UEFI,
};

/* --- the seed: what cloud-init finds (NoCloud) --------------------------------------- */

struct kiln__seed_user {
	const char *name;
	const char *const *ssh_keys; /* NULL-terminated, or NULL; so are all lists below */
	const char *const *groups;
	const char *shell;
	bool sudo; /* without a password */
};

struct kiln__seed_mount {
	const char *source;
	const char *path;
	const char *fstype;  /* default "auto" */
	const char *options; /* default "defaults,nofail" */
};

/* Networks beyond what DHCP says; the first belongs to networks[0], and so on. */
struct kiln__seed_interface {
	const char *name;             /* the interface is renamed to it */
	const char *const *addresses; /* CIDR; NULL: by DHCP */
	const char *const *gateways;
	const char *const *dns;
	const char *const *search;
};

struct kiln__seed {
	bool asked; /* the document has a section "seed" */
	enum kiln__seed_use { KILN__SEED_AUTO, KILN__SEED_ALWAYS, KILN__SEED_NEVER } use;
	bool agent;                    /* kiln-guest is on it, and is installed: default */
	struct kiln__source user_data; /* instead of what is made of the following */
	struct kiln__source meta_data;
	struct kiln__source network_config;
	struct kiln__seed_user *users;
	size_t user_count;
	const char *const *ssh_keys; /* of the image's own user */
	const char *const *packages;
	const char *const *commands;
	const char *const *env; /* "NAME=value" */
	struct kiln__seed_mount *mounts;
	size_t mount_count;
	struct kiln__seed_interface *interfaces;
	size_t interface_count;
};

enum kiln__init_kind {
	KILN__INIT_KILN, /* kiln-guest is PID 1 */
	KILN__INIT_ROOT, /* the root's own /sbin/init is, with the agent beside it */
};

enum kiln__ready_kind {
	KILN__READY_AGENT,   /* default: the agent's hello */
	KILN__READY_CONSOLE, /* KILN_READY or VMRS_READY <ip> on the console */
	KILN__READY_TCP,     /* a guest TCP port answers, through its published host port */
	KILN__READY_VSOCK,   /* a guest vsock port answers */
	KILN__READY_COMMAND, /* a command in the guest succeeds */
	KILN__READY_NONE,    /* running is ready */
};

struct kiln__readiness {
	enum kiln__ready_kind kind;
	uint32_t port;              /* for TCP and VSOCK */
	const char *const *command; /* NULL-terminated */
	uint64_t timeout_ms;        /* from start; default 60000, with firmware 600000 */
};

struct kiln__process {
	const char *const *argv; /* NULL-terminated entrypoint + args; NULL: no main process */
	const char *const *env;  /* NULL-terminated "NAME=value" */
	const char *cwd;         /* default "/" */
	const char *user;        /* "name|uid[:group|gid]", looked up in the guest; NULL: root */
	bool tty;
	bool stdin_open;         /* stdin stays open until its client ends it */
	const char *stop_signal; /* by name or number; NULL: SIGTERM */
};

/* A command that says whether the process is well, by docker's rules. */
struct kiln__health {
	const char *const *command; /* NULL-terminated; NULL: nobody asks */
	uint64_t interval_ms;     /* from the end of one to the begin of the next; default 30000 */
	uint64_t timeout_ms;      /* of one, after which it has failed; default 30000 */
	uint64_t start_period_ms; /* in which failures do not count; default 0 */
	unsigned retries;         /* failures in a row that make it unhealthy; default 3 */
};

struct kiln__label {
	const char *key;
	const char *value;
};

struct kiln__spec {
	const char *backend; /* "auto" (default) or a backend's name */
	const char *arch;    /* "x86_64" or "aarch64"; default the host's */
	const char *accel;   /* "auto" (default), "kvm", "tcg" */
	unsigned cpus;       /* 1..64 (default 1) */
	uint64_t memory;     /* bytes, at least 16 MiB (default 512 MiB) */

	struct kiln__source kernel; /* unset: Debian's cloud kernel */
	struct kiln__source initrd; /* unset: kiln's own initramfs */
	const char *cmdline;        /* appended to kiln's own */

	enum kiln__firmware firmware;

	struct kiln__root root;
	struct kiln__disk *disks;
	size_t disk_count;
	struct kiln__tmpfs *tmpfs;
	size_t tmpfs_count;
	struct kiln__volume *volumes;
	size_t volume_count;
	struct kiln__network *networks;
	size_t network_count;
	struct kiln__port *ports;
	size_t port_count;
	struct kiln__share *shares;
	size_t share_count;
	struct kiln__rosetta rosetta;
	struct kiln__console_port *console_ports;
	size_t console_port_count;
	bool nested; /* the guest runs virtual machines itself; default false */

	struct kiln__kvm_verdict kvm; /* not of the configuration: whoever launches this may know */
	bool vsock;                   /* default true */
	uint32_t cid;                 /* guest context id; 0: chosen */
	bool rng;                     /* default true */
	bool balloon;                 /* default false */
	bool serial;                  /* the console is a 16550 in any case; default false */
	uint64_t console_limit;       /* bytes of console.log kept; default 1 MiB */
	uint64_t log_limit;           /* bytes of the process log kept; default 10 MiB */

	const char *hostname;   /* default: the machine's name or short id */
	const char *machine_id; /* 32 hex digits; default: from the machine's id */
	enum kiln__init_kind init;
	struct kiln__seed seed;
	struct kiln__process process;
	struct kiln__readiness readiness;
	struct kiln__health health;
	uint64_t stop_timeout_ms; /* default 10000 */
	const char *snapshot;     /* a directory: the guest goes on from there; NULL: it boots */
	const char *on_reboot; /* "stop" (default): a guest's reboot ends the machine; "restart" */

	struct kiln__label *labels;
	size_t label_count;

	const char *qemu_binary;   /* qemu.binary: path; default by PATH */
	const char *qemu_firmware; /* qemu.firmware: path; NULL: as firmware says */
	const char *qemu_machine;  /* qemu.machine: "auto" (default), "microvm", "q35", "virt" */

	struct kiln__firecracker {
		const char *binary; /* path; default by PATH */
		bool preflight; /* whether KVM works is asked before it is started; default true */
		bool pci;       /* devices are on PCI */
		bool api;       /* default true; false: one configuration file, no requests */
		const char *config; /* JSON: what of its own configuration kiln has no key for */
		struct kiln__jailer {
			bool enabled;
			const char *binary; /* path; default by PATH */
			uint32_t uid;       /* who the VMM is to be; 0: not said */
			uint32_t gid;
			const char *chroot_base;    /* default /srv/jailer */
			unsigned cgroup_version;    /* 1 or 2 (default) */
			const char *parent_cgroup;  /* NULL: the program's name */
			const char *const *cgroups; /* "FILE=VALUE"; NULL-terminated, or NULL */
			const char *netns;          /* path; NULL: this process's */
			bool new_pid_ns;
			const char *const *resource_limits; /* "NAME=VALUE"; as cgroups */
		} jailer;
	} firecracker;
	struct kiln__cloud_hypervisor {
		const char *binary;
		bool preflight;
		const char *config; /* the same, of its VmConfig */
		bool open_taps;     /* kiln opens TAP interfaces, and gives it descriptors */
	} cloud_hypervisor;

	/* Injected faults and timings of the fake backend (fake.*); all 0 or false normally. */
	struct kiln__fake {
		const char *console;
		bool fail_prepare;
		uint64_t start_delay_ms;
		bool fail_start;
		uint64_t crash_after_ms; /* 0: never */
		bool ignore_stop;
		bool fail_pause;
		bool never_ready;
	} fake;
};

int kiln__config_spec(const kiln_config *config, struct kiln__spec **ret_spec, kiln_error *err);
void kiln__spec_free(struct kiln__spec *spec); /* NULL is allowed */

/* One disk more: the file at @path, for the root's writes, thrown away after this life. */
int kiln__spec_add_scratch(struct kiln__spec *spec, const char *path, kiln_error *err);

/* The same of a disk that kiln puts in: what @disk points to is copied. */
int kiln__spec_add_disk(struct kiln__spec *spec, const struct kiln__disk *disk, kiln_error *err);

/*
 * The number that Linux gives a signal by its name ("SIGQUIT", "QUIT", "RTMIN+3") or number; 0 if
 * there is none such.
 */
unsigned kiln__signal_number(const char *text);

/* Whether the machine gets a seed disk: told to, or booted by firmware and not told not to. */
static inline bool kiln__spec_has_seed(const struct kiln__spec *spec)
{
	if (spec->seed.use == KILN__SEED_AUTO)
		return spec->seed.asked || spec->firmware != KILN__FIRMWARE_NONE;
	return spec->seed.use == KILN__SEED_ALWAYS;
}

/* The tag of shares[@index], in @text of KILN__TAG_MAX. */
#define KILN__TAG_MAX 40
const char *kiln__spec_share_tag(const struct kiln__spec *spec, size_t index, char *text);
#define KILN__ROSETTA_TAG "rosetta"

KILN__DEFINE_AUTOPTR(struct kiln__spec, kiln__spec_free)
KILN__DEFINE_AUTOPTR(kiln_config, kiln_config_free)

#endif
