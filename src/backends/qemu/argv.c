/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU is told. All files reach it as descriptors (kernel and initrd by
 * /proc/self/fd, disks by fd sets), so that it opens no path of the host, and all
 * its channels as connected sockets, so that no socket file can be left behind.
 * Only devices that the configuration asks for are there. What a configuration may say
 * freely goes in by put_value() or as JSON: it cannot become an option of its own.
 */
#include "argv.h"

#include "buf.h"
#include "err.h"
#include "setup.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct args {
	char **items;
	size_t count;
	size_t cap;
	bool failed;
};

static void add_owned(struct args *args, char *item)
{
	if (item && args->count + 2 > args->cap) {
		size_t cap = args->cap ? args->cap * 2 : 64;
		char **items = realloc(args->items, cap * sizeof(*items));

		if (items) {
			args->items = items;
			args->cap = cap;
		}
	}
	if (!item || args->count + 2 > args->cap) {
		free(item);
		args->failed = true;
		return;
	}
	args->items[args->count++] = item;
	args->items[args->count] = NULL;
}

static void addf(struct args *args, const char *fmt, ...) KILN_PRINTF(2, 3);
static void addf(struct args *args, const char *fmt, ...)
{
	struct kiln__buf buf = KILN__BUF_INIT;
	va_list list;

	va_start(list, fmt);
	kiln__buf_vaddf(&buf, fmt, list);
	va_end(list);
	add_owned(args, kiln__buf_steal(&buf));
}

static void add(struct args *args, const char *item)
{
	add_owned(args, strdup(item));
}

/* A value for QEMU's lists of options, where a comma ends it unless it is doubled. */
static void put_value(struct kiln__buf *buf, const char *text)
{
	for (; *text; text++) {
		kiln__buf_add(buf, text, 1);
		if (*text == ',')
			kiln__buf_add(buf, text, 1);
	}
}

int kiln__qemu_machine_of(const struct kiln__spec *spec, enum kiln__qemu_machine *ret,
			  kiln_error *err)
{
	bool arm = strcmp(spec->arch, "aarch64") == 0;
	const char *wanted = spec->qemu_machine ? spec->qemu_machine : "auto";
	bool firmware = spec->firmware != KILN__FIRMWARE_NONE;

	if (firmware && strcmp(wanted, "microvm") == 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "qemu.machine: a microvm boots a kernel, no firmware: use q35");
	if (strcmp(wanted, "auto") == 0)
		*ret = arm ? KILN__QEMU_VIRT : firmware ? KILN__QEMU_Q35 : KILN__QEMU_MICROVM;
	else if (strcmp(wanted, "virt") == 0 && arm)
		*ret = KILN__QEMU_VIRT;
	else if (strcmp(wanted, "microvm") == 0 && !arm)
		*ret = KILN__QEMU_MICROVM;
	else if (strcmp(wanted, "q35") == 0 && !arm)
		*ret = KILN__QEMU_Q35;
	else
		return kiln__fail(err, KILN_EINVAL,
				  "qemu.machine: '%s' is no machine type for %s guests", wanted,
				  spec->arch);
	return 0;
}

/* virtio devices sit on the machine's own virtio-mmio slots in microvm, on PCI elsewhere. */
static const char *bus(const struct kiln__qemu_plan *plan)
{
	return plan->machine == KILN__QEMU_MICROVM ? "device" : "pci";
}

static void add_machine(struct args *args, const struct kiln__qemu_plan *plan)
{
	const char *accel = plan->kvm ? "kvm" : "tcg";

	add(args, "-machine");
	switch (plan->machine) {
	case KILN__QEMU_MICROVM:
		/*
		 * With KVM the clock comes from kvm-clock and the TSC; under TCG the kernel
		 * calibrates against the PIT, and hangs without it.
		 */
		addf(args, "microvm,accel=%s,memory-backend=ram,pcie=off%s", accel,
		     plan->kvm ? ",pit=off,pic=off,rtc=off" : "");
		break;
	case KILN__QEMU_Q35:
		addf(args, "q35,accel=%s,memory-backend=ram,smbus=off,sata=off,vmport=off", accel);
		break;
	case KILN__QEMU_VIRT:
		addf(args, "virt,accel=%s,memory-backend=ram,gic-version=3", accel);
		break;
	}
	add(args, "-cpu");
	if (plan->kvm)
		add(args, "host");
	else
		/* pauth costs TCG dearly; its implementation-defined algorithm is cheap. */
		add(args, plan->machine == KILN__QEMU_VIRT ? "max,pauth-impdef=on" : "max");
	add(args, "-smp");
	addf(args, "%u", plan->spec->cpus);
	add(args, "-m");
	addf(args, "size=%lluk", (unsigned long long)(plan->spec->memory / 1024));
	/* Shared, because the vsock device lives in this process's parent (vhost-user). */
	add(args, "-object");
	addf(args, "memory-backend-memfd,id=ram,share=on,size=%llu",
	     (unsigned long long)plan->spec->memory);
}

static bool has_firmware(const struct kiln__qemu_plan *plan)
{
	return plan->spec->firmware != KILN__FIRMWARE_NONE;
}

/* By -bios UEFI keeps its variables in memory: it starts what a disk has at the default path. */
static void add_firmware(struct args *args, const struct kiln__qemu_plan *plan)
{
	if (!plan->firmware_file)
		return;
	add(args, "-bios");
	addf(args, "/proc/self/fd/%d", KILN__QEMU_FD_KERNEL);
}

static void add_kernel(struct args *args, const struct kiln__qemu_plan *plan)
{
	add(args, "-kernel");
	addf(args, "/proc/self/fd/%d", KILN__QEMU_FD_KERNEL);
	if (kiln__source_is_set(&plan->spec->initrd)) {
		add(args, "-initrd");
		addf(args, "/proc/self/fd/%d", KILN__QEMU_FD_INITRD);
	}
	add(args, "-append");
	add_owned(args, kiln__qemu_cmdline(plan));
}

char *kiln__qemu_cmdline(const struct kiln__qemu_plan *plan)
{
	struct kiln__buf line = KILN__BUF_INIT;

	/*
	 * panic=-1 reboots at once on a panic, which QEMU reports as a reset; reboot=t
	 * does that without the keyboard controller that microvm lacks. Until the guest's
	 * PID 1 runs, the console gets what is critical or worse: every byte on a serial port is
	 * an exit there and a wake-up here, and a good boot complains of what microvm lacks.
	 */
	kiln__buf_addf(&line, "console=%s panic=-1 reboot=t loglevel=3",
		       plan->machine == KILN__QEMU_VIRT ? "ttyAMA0" : "ttyS0");
	if (plan->tsc_khz)
		kiln__buf_addf(&line, " tsc_early_khz=%u", plan->tsc_khz);
	if (plan->spec->cmdline)
		kiln__buf_addf(&line, " %s", plan->spec->cmdline);
	return kiln__buf_steal(&line);
}

static void add_channels(struct args *args, const struct kiln__qemu_plan *plan)
{
	add(args, "-chardev");
	addf(args, "socket,id=qmp,fd=%d", KILN__QEMU_FD_QMP);
	add(args, "-mon");
	add(args, "chardev=qmp,mode=control");
	add(args, "-chardev");
	addf(args, "socket,id=console,fd=%d", KILN__QEMU_FD_CONSOLE);
	add(args, "-serial");
	add(args, "chardev:console");
	if (!plan->spec->vsock)
		return;
	add(args, "-chardev");
	addf(args, "socket,id=vsock,fd=%d", KILN__QEMU_FD_VSOCK);
	add(args, "-device");
	addf(args, "vhost-user-vsock-%s,chardev=vsock", bus(plan));
}

/* A source of disk number @index as a block node "disk<index>". */
static void add_blockdev(struct args *args, const struct kiln__qemu_plan *plan, size_t index,
			 const struct kiln__disk *disk)
{
	const char *cache = disk->cache ? disk->cache : "writeback";
	json_t *node = json_pack(
		"{s:s, s:o, s:b, s:s, s:{s:b, s:b}, s:{s:s, s:o, s:b}}", "driver", "raw",
		"node-name", json_sprintf("disk%zu", index), "read-only", disk->readonly, "discard",
		disk->discard ? "unmap" : "ignore", "cache", "direct", strcmp(cache, "none") == 0,
		"no-flush", strcmp(cache, "unsafe") == 0, "file", "driver", "file", "filename",
		json_sprintf("/dev/fdset/%zu", index), "read-only", disk->readonly);
	struct kiln__buf device = KILN__BUF_INIT;
	char *text;

	if (disk->source.offset)
		json_object_set_new(node, "offset", json_integer((json_int_t)disk->source.offset));
	if (disk->source.length)
		json_object_set_new(node, "size", json_integer((json_int_t)disk->source.length));
	text = json_dumps(node, JSON_COMPACT);
	json_decref(node);
	add(args, "-add-fd");
	addf(args, "fd=%zu,set=%zu", KILN__QEMU_FD_DISK + index, index);
	add(args, "-blockdev");
	add_owned(args, text);
	add(args, "-device");
	kiln__buf_addf(&device, "virtio-blk-%s,drive=disk%zu,serial=", bus(plan), index);
	put_value(&device, disk->serial);
	if (has_firmware(plan) && !disk->own)
		kiln__buf_addf(&device, ",bootindex=%zu", index);
	add_owned(args, kiln__buf_steal(&device));
}

static void add_disks(struct args *args, const struct kiln__qemu_plan *plan)
{
	const struct kiln__spec *spec = plan->spec;
	size_t index = 0;

	if (plan->root_disk) {
		struct kiln__disk root = {
			.source = spec->root.source,
			.readonly = !kiln__root_is_writable(&spec->root),
			.serial = KILN__ROOT_SERIAL,
		};

		add_blockdev(args, plan, index++, &root);
	}
	for (size_t i = 0; i < spec->disk_count; i++) {
		struct kiln__disk disk = spec->disks[i];
		char serial[32];

		if (!disk.serial) {
			snprintf(serial, sizeof(serial), "disk%zu", i);
			disk.serial = serial;
		}
		add_blockdev(args, plan, index++, &disk);
	}
}

static void add_port(struct kiln__buf *netdev, const struct kiln__port *port)
{
	kiln__buf_addf(netdev, ",hostfwd=%s:%s:%u-:%u", port->udp ? "udp" : "tcp",
		       port->host_ip ? port->host_ip : "127.0.0.1", port->host_port,
		       port->guest_port);
}

static void add_networks(struct args *args, const struct kiln__qemu_plan *plan)
{
	const struct kiln__spec *spec = plan->spec;

	for (size_t i = 0; i < spec->network_count; i++) {
		const uint8_t *mac = spec->networks[i].mac;
		struct kiln__buf netdev = KILN__BUF_INIT;

		kiln__buf_addf(&netdev, "user,id=net%zu", i);
		/* Ports are published through the first network. */
		for (size_t k = 0; i == 0 && k < spec->port_count; k++)
			add_port(&netdev, &spec->ports[k]);
		add(args, "-netdev");
		add_owned(args, kiln__buf_steal(&netdev));
		add(args, "-device");
		/* Firmware would look for a network to boot from by the card's own program. */
		addf(args, "virtio-net-%s,netdev=net%zu,mac=%02x:%02x:%02x:%02x:%02x:%02x%s",
		     bus(plan), i, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
		     has_firmware(plan) ? ",romfile=" : "");
	}
}

/* Their sockets follow the disks'. */
static void add_shares(struct args *args, const struct kiln__qemu_plan *plan)
{
	const struct kiln__spec *spec = plan->spec;
	size_t first = KILN__QEMU_FD_DISK + spec->disk_count + plan->root_disk;

	/* virtiofsd speaks virtio 1 only, and so must the machine's slots. */
	if (spec->share_count && plan->machine == KILN__QEMU_MICROVM) {
		add(args, "-global");
		add(args, "virtio-mmio.force-legacy=false");
	}
	for (size_t i = 0; i < spec->share_count; i++) {
		struct kiln__buf device = KILN__BUF_INIT;
		char tag[KILN__TAG_MAX];

		add(args, "-chardev");
		addf(args, "socket,id=share%zu,fd=%zu", i, first + i);
		add(args, "-device");
		kiln__buf_addf(&device, "vhost-user-fs-%s,chardev=share%zu,tag=", bus(plan), i);
		put_value(&device, kiln__spec_share_tag(spec, i, tag));
		add_owned(args, kiln__buf_steal(&device));
	}
}

char **kiln__qemu_argv(const struct kiln__qemu_plan *plan)
{
	struct args args = {0};

	add(&args, plan->binary);
	add(&args, "-name");
	addf(&args, "kiln-%.12s", plan->id);
	add(&args, "-nodefaults");
	add(&args, "-no-user-config");
	add(&args, "-display");
	add(&args, "none");
	add(&args, "-no-reboot");
	add(&args, "-S"); /* "cont" starts the guest, after this process has given up its rights */
	add(&args, "-sandbox");
	add(&args, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	add_machine(&args, plan);
	if (has_firmware(plan))
		add_firmware(&args, plan);
	else
		add_kernel(&args, plan);
	add_channels(&args, plan);
	add_disks(&args, plan);
	add_networks(&args, plan);
	add_shares(&args, plan);
	if (plan->spec->rng) {
		add(&args, "-device");
		addf(&args, "virtio-rng-%s", bus(plan));
	}
	if (plan->spec->balloon) {
		add(&args, "-device");
		addf(&args, "virtio-balloon-%s,deflate-on-oom=on,free-page-reporting=on",
		     bus(plan));
	}
	if (args.failed) {
		kiln__qemu_argv_free(args.items);
		return NULL;
	}
	return args.items;
}

void kiln__qemu_argv_free(char **argv)
{
	for (char **item = argv; item && *item; item++)
		free(*item);
	free(argv);
}
