/* SPDX-License-Identifier: Apache-2.0 */
/* What is refused before anything is made. Asks the framework's classes only; any thread. */
#include "config.h"

#include "err.h"
#include "os.h"
#include "source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int refuse(kiln_error *err, const char *key, const char *why)
{
	return kiln__fail(err, KILN_ENOTSUP, "%s: %s", key, why);
}

static int check_size(const struct kiln__spec *spec, kiln_error *err)
{
	NSUInteger min_cpus = kiln__send_class(NSUInteger, VZVirtualMachineConfiguration,
					       "minimumAllowedCPUCount", ());
	NSUInteger max_cpus = kiln__send_class(NSUInteger, VZVirtualMachineConfiguration,
					       "maximumAllowedCPUCount", ());
	uint64_t min_memory = kiln__send_class(uint64_t, VZVirtualMachineConfiguration,
					       "minimumAllowedMemorySize", ());
	uint64_t max_memory = kiln__send_class(uint64_t, VZVirtualMachineConfiguration,
					       "maximumAllowedMemorySize", ());

	if (spec->cpus < min_cpus || spec->cpus > max_cpus)
		return kiln__fail(err, KILN_EINVAL, "cpus: %u, but this Mac allows %lu to %lu",
				  spec->cpus, min_cpus, max_cpus);
	if (spec->memory < min_memory || spec->memory > max_memory)
		return kiln__fail(err, KILN_EINVAL,
				  "memory: %" PRIu64 " bytes, but this Mac allows %" PRIu64
				  " to %" PRIu64,
				  spec->memory, min_memory, max_memory);
	return 0;
}

uint64_t kiln__vz_target(uint64_t memory, uint64_t bytes, kiln_error *err)
{
	uint64_t min = kiln__send_class(uint64_t, VZVirtualMachineConfiguration,
					"minimumAllowedMemorySize", ());

	if (bytes % (1 << 20) == 0 && bytes <= memory && memory - bytes >= min)
		return memory - bytes;
	kiln__fail(err, KILN_EINVAL,
		   "balloon: must be whole MiB, and leave %" PRIu64 " bytes at least", min);
	return 0;
}

/* The framework opens the file itself, by its path. */
static int check_file(const struct kiln__source *source, const char *key, kiln_error *err)
{
	if (source->fd != KILN_FD_NONE || kiln__source_is_range(source))
		return refuse(err, key,
			      "the vz backend takes disks as whole files, by their paths");
	return 0;
}

static int check_disks(const struct kiln__spec *spec, kiln_error *err)
{
	char key[48];
	int r = 0;

	if (spec->root.kind != KILN__ROOT_NONE)
		r = check_file(&spec->root.source, "root", err);
	for (size_t i = 0; r == 0 && i < spec->disk_count; i++) {
		const struct kiln__disk *disk = &spec->disks[i];

		snprintf(key, sizeof(key), "disks[%zu]", i);
		r = check_file(&disk->source, key, err);
		/* That of kiln's own disks is a wish: they go with the machine, or were asked for
		 * so. */
		if (r == 0 && disk->discard && !disk->own) {
			snprintf(key, sizeof(key), "disks[%zu].discard", i);
			r = refuse(err, key, "Virtualization.framework has no setting for it");
		}
		if (r == 0 && disk->bus != KILN__DISK_VIRTIO && disk->serial) {
			snprintf(key, sizeof(key), "disks[%zu].serial", i);
			r = refuse(err, key, "only a virtio disk takes one");
		}
	}
	return r;
}

static int check_networks(const struct kiln__spec *spec, kiln_error *err)
{
	char key[48];

	if (spec->port_count)
		return refuse(err, "ports[0]", "Virtualization.framework's NAT publishes no ports");
	for (size_t i = 0; i < spec->network_count; i++) {
		const struct kiln__network *network = &spec->networks[i];

		snprintf(key, sizeof(key), "networks[%zu].kind", i);
		if (network->kind == KILN__NETWORK_TAP)
			return refuse(err, key, "macOS has no TAP interfaces; use \"user\"");
		if (network->kind == KILN__NETWORK_BRIDGED && !network->interface)
			return refuse(err, "networks[].interface", "a bridge needs one");
		if (network->kind == KILN__NETWORK_SOCKET && !network->socket)
			return refuse(err, "networks[].socket", "a switch needs one");
		if (network->kind != KILN__NETWORK_SOCKET && spec->firmware == KILN__FIRMWARE_NONE)
			return refuse(
				err, key,
				"Virtualization.framework gives addresses by DHCP, which kiln's "
				"own init does not ask for; images booted by firmware do");
	}
	return 0;
}

int kiln__vz_check(const struct kiln__spec *spec, kiln_error *err)
{
	const struct {
		bool wrong;
		const char *key;
		const char *why;
	} rules[] = {
		{strcmp(spec->arch, kiln__os_arch()) != 0, "arch",
		 "Virtualization.framework runs guests of this Mac's kind only"},
		{strcmp(spec->accel, "auto") != 0, "accel",
		 "Virtualization.framework is the only one here; use \"auto\""},
		{spec->firmware == KILN__FIRMWARE_BIOS, "firmware",
		 "Virtualization.framework has no BIOS; use \"uefi\""},
		{spec->firmware == KILN__FIRMWARE_UEFI && !kiln__has_class(VZEFIBootLoader),
		 "firmware", "UEFI needs macOS 13"},
		{spec->serial, "console.serial",
		 "Virtualization.framework has virtio consoles only"},
		{spec->cid && spec->cid != 3, "vsock.cid", "Virtualization.framework chooses it"},
		{strcmp(spec->on_reboot, "restart") == 0, "on_reboot",
		 "Virtualization.framework does not tell of a guest's reboot; builtin does"},
		{spec->console_port_count && !kiln__has_class(VZVirtioConsoleDeviceConfiguration),
		 "console.ports", "they need macOS 13"},
	};
	int r;

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].wrong)
			return refuse(err, rules[i].key, rules[i].why);
	if (spec->firmware == KILN__FIRMWARE_NONE && !kiln__source_is_set(&spec->kernel))
		return kiln__fail(err, KILN_EINVAL, "kernel: the vz backend needs one");
	r = check_size(spec, err);
	if (r == 0)
		r = check_disks(spec, err);
	return r < 0 ? r : check_networks(spec, err);
}
