/* SPDX-License-Identifier: Apache-2.0 */
#include "firecracker_config.h"

#include "buf.h"
#include "err.h"
#include "jailer.h"

#include <stdio.h>
#include <string.h>

static const char *const ids[] = {"drive_id", "iface_id", "id", NULL};

const struct kiln__api_form kiln__firecracker_form = {
	.key = "firecracker.config",
	.name = "Firecracker",
	.fields = kiln__firecracker_fields,
	.ids = ids,
};

/* --- what it cannot do -------------------------------------------------------------------------
 */

static int check_disk(const struct kiln__disk *disk, size_t i, kiln_error *err)
{
	if (disk->own)
		return 0; /* what kiln wishes for its own is a wish */
	if (disk->cache && strcmp(disk->cache, "none") == 0) {
		kiln__fail(err, KILN_ENOTSUP,
			   "disks[%zu].cache: Firecracker cannot bypass the host's cache", i);
		return kiln__hint(err, "writeback and unsafe are there"), KILN_ENOTSUP;
	}
	if (disk->discard)
		return kiln__fail(err, KILN_ENOTSUP,
				  "disks[%zu].discard: Firecracker's drives have none", i);
	if (disk->serial) {
		kiln__fail(err, KILN_ENOTSUP,
			   "disks[%zu].serial: Firecracker makes serial numbers itself, of the "
			   "file's device and inode",
			   i);
		return kiln__hint(err, "the guest has its disks in their order, from /dev/vda on"),
		       KILN_ENOTSUP;
	}
	return 0;
}

/* Firecracker's own bounds: MachineConfiguration of its API document. */
static int check_machine(const struct kiln__spec *spec, kiln_error *err)
{
	if (spec->firmware != KILN__FIRMWARE_NONE) {
		kiln__fail(err, KILN_ENOTSUP, "firmware: Firecracker boots a kernel, no firmware");
		return kiln__hint(err, "cloud-hypervisor and qemu have firmware"), KILN_ENOTSUP;
	}
	if (!kiln__source_is_set(&spec->kernel))
		return kiln__fail(err, KILN_EINVAL, "kernel: the firecracker backend needs one");
	if (spec->cpus > 32)
		return kiln__fail(err, KILN_ENOTSUP, "cpus: Firecracker has at most 32");
	if (spec->memory % (1024 * 1024))
		return kiln__fail(err, KILN_ENOTSUP,
				  "memory: Firecracker takes whole MiB, this is %llu KiB",
				  (unsigned long long)(spec->memory / 1024));
	if (strcmp(spec->on_reboot, "restart") == 0) {
		kiln__fail(err, KILN_ENOTSUP,
			   "on_reboot: Firecracker never reboots a guest: a reset ends it");
		return kiln__hint(err, "builtin and cloud-hypervisor restart one"), KILN_ENOTSUP;
	}
	return 0;
}

int kiln__firecracker_check(const struct kiln__spec *spec, kiln_error *err)
{
	json_t *config = NULL;
	int r = kiln__api_check_spec(spec, "firecracker", err);

	if (r == 0)
		r = check_machine(spec, err);
	if (r == 0)
		r = kiln__jailer_check(spec, err);
	for (size_t i = 0; r == 0 && i < spec->disk_count; i++)
		r = check_disk(&spec->disks[i], i, err);
	if (r == 0)
		r = kiln__api_check_disk_count(spec, KILN__FIRECRACKER_MAX_DISKS, err);
	if (r == 0)
		r = kiln__firecracker_config(spec, "/vsock", &config, err);
	if (r < 0)
		return r;
	if (!spec->firecracker.api &&
	    (json_object_get(config, "mmds") || json_object_get(config, "serial")))
		r = kiln__fail(err, KILN_ENOTSUP,
			       "firecracker.api: without it there are neither mmds nor serial");
	if (r == 0 && spec->snapshot && !spec->firecracker.api)
		r = kiln__fail(err, KILN_ENOTSUP,
			       "firecracker.api: without it there are no snapshots");
	json_decref(config);
	return r;
}

/* --- its configuration ---------------------------------------------------------------------------
 */

/*
 * panic=-1 resets at once on a panic, and a reset by the keyboard controller is what ends the
 * process (x86_64); on Arm reboot=k is not looked at. Until the guest's PID 1 runs, the console
 * gets what is critical or worse.
 */
static json_t *boot_args(const struct kiln__spec *spec)
{
	return json_sprintf("console=ttyS0 panic=-1 reboot=k loglevel=3%s%s%s",
			    spec->firecracker.pci ? "" : " pci=off", spec->cmdline ? " " : "",
			    spec->cmdline ? spec->cmdline : "");
}

static const char *folder(const struct kiln__spec *spec)
{
	return spec->firecracker.jailer.enabled ? KILN__JAIL_FILES : KILN__API_FDS;
}

static json_t *boot_source(const struct kiln__spec *spec)
{
	json_t *source = json_pack("{s:o, s:o}", "kernel_image_path",
				   kiln__api_path(folder(spec), KILN__FIRECRACKER_FD_KERNEL),
				   "boot_args", boot_args(spec));

	if (source && kiln__source_is_set(&spec->initrd) &&
	    json_object_set_new(source, "initrd_path",
				kiln__api_path(folder(spec), KILN__FIRECRACKER_FD_INITRD))) {
		json_decref(source);
		return NULL;
	}
	return source;
}

/* None is "is_root_device": Firecracker would add a "root=" that kiln-guest has no use for. */
static json_t *drive(json_t *id, json_t *path, const struct kiln__disk *disk)
{
	bool unsafe = disk->cache && strcmp(disk->cache, "unsafe") == 0;

	return json_pack("{s:o, s:b, s:b, s:o, s:s}", "drive_id", id, "is_root_device", false,
			 "is_read_only", disk->readonly, "path_on_host", path, "cache_type",
			 unsafe ? "Unsafe" : "Writeback");
}

static int build(json_t *config, const struct kiln__spec *spec, const char *vsock)
{
	int r = kiln__api_set(config, "machine-config",
			      json_pack("{s:i, s:I}", "vcpu_count", (int)spec->cpus, "mem_size_mib",
					(json_int_t)(spec->memory >> 20)));

	if (r == 0)
		r = kiln__api_set(config, "boot-source", boot_source(spec));
	if (r == 0)
		r = kiln__api_set(
			config, "drives",
			kiln__api_disks(spec, folder(spec), KILN__FIRECRACKER_FD_DISK, drive));
	if (r == 0)
		r = kiln__api_set(
			config, "network-interfaces",
			kiln__api_networks(spec, "iface_id", "host_dev_name", "guest_mac"));
	if (r == 0 && spec->vsock)
		r = kiln__api_set(config, "vsock",
				  json_pack("{s:i, s:s}", "guest_cid",
					    (int)(spec->cid ? spec->cid : 3), "uds_path", vsock));
	if (r == 0 && spec->rng)
		r = kiln__api_set(config, "entropy", json_object());
	if (r == 0 && spec->balloon)
		r = kiln__api_set(config, "balloon",
				  json_pack("{s:i, s:b}", "amount_mib", 0, "deflate_on_oom", true));
	return r;
}

int kiln__firecracker_config(const struct kiln__spec *spec, const char *vsock, json_t **ret,
			     kiln_error *err)
{
	json_t *config = json_object();
	bool is_built = config && build(config, spec, vsock) == 0;

	return kiln__api_finish(&kiln__firecracker_form, config, is_built, spec->firecracker.config,
				ret, err);
}

/* --- its requests
 * ------------------------------------------------------------------------------------ */

/*
 * In the order in which one may need another: what logs first; cpu-config after machine-config,
 * which resets it; mmds-config after the interfaces it names.
 */
static const struct {
	const char *section;
	const char *target;
	const char *id; /* of a list's elements */
} sections[] = {
	{"logger", "/logger", NULL},
	{"metrics", "/metrics", NULL},
	{"machine-config", "/machine-config", NULL},
	{"cpu-config", "/cpu-config", NULL},
	{"boot-source", "/boot-source", NULL},
	{"drives", "/drives/", "drive_id"},
	{"pmem", "/pmem/", "id"},
	{"network-interfaces", "/network-interfaces/", "iface_id"},
	{"vsock", "/vsock", NULL},
	{"entropy", "/entropy", NULL},
	{"serial", "/serial", NULL},
	{"balloon", "/balloon", NULL},
	{"memory-hotplug", "/hotplug/memory", NULL},
	{"mmds-config", "/mmds/config", NULL},
	{"mmds", "/mmds", NULL},
};

void kiln__firecracker_requests(const json_t *config, struct kiln__api_steps *steps)
{
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		json_t *section = json_object_get(config, sections[i].section);
		json_t *element;
		size_t k;

		if (section && !sections[i].id)
			kiln__api_add(steps, "PUT", json_incref(section), "%s", sections[i].target);
		json_array_foreach (sections[i].id ? section : NULL, k, element)
			kiln__api_add(steps, "PUT", json_incref(element), "%s%s",
				      sections[i].target,
				      json_string_value(json_object_get(element, sections[i].id)));
	}
	kiln__api_add(steps, "PUT", json_pack("{s:s}", "action_type", "InstanceStart"), "/actions");
}

/* --- snapshots ----------------------------------------------------------------------------------
 */

#define VSOCK_OVERRIDE_SINCE    1016
#define NETWORK_OVERRIDES_SINCE 1012
#define LOAD_TRACKS_SINCE       1013 /* by that name; it had another before */

/* An older one finds its interfaces by the names that they had. */
static int override_networks(json_t *body, const struct kiln__spec *spec, unsigned version)
{
	json_t *list;

	if (version < NETWORK_OVERRIDES_SINCE)
		return 0;
	list = json_array();

	for (size_t i = 0; list && i < spec->network_count; i++)
		if (json_array_append_new(
			    list, json_pack("{s:o, s:s}", "iface_id", json_sprintf("net%zu", i),
					    "host_dev_name", spec->networks[i].interface))) {
			json_decref(list);
			return -1;
		}
	return list ? kiln__api_set(body, "network_overrides", list) : -1;
}

bool kiln__firecracker_tracks(const json_t *config)
{
	return json_is_true(
		json_object_get(json_object_get(config, "machine-config"), "track_dirty_pages"));
}

int kiln__firecracker_load(const struct kiln__spec *spec, const char *vsock, bool tracks,
			   unsigned version, struct kiln__api_steps *steps, kiln_error *err)
{
	const char *directory = spec->snapshot;
	json_t *body = json_pack("{s:o, s:{s:s, s:o}, s:b}", "snapshot_path",
				 json_sprintf("%s/state", directory), "mem_backend", "backend_type",
				 "File", "backend_path", json_sprintf("%s/memory", directory),
				 "resume_vm", true);

	if (vsock && version < VSOCK_OVERRIDE_SINCE) {
		json_decref(body);
		return kiln__fail(err, KILN_ENOTSUP,
				  "snapshot: with vsock it needs Firecracker 1.16, this is %u.%u",
				  version / 1000, version % 1000);
	}
	if (!body || override_networks(body, spec, version) ||
	    (tracks && json_object_set_new(body,
					   version >= LOAD_TRACKS_SINCE ? "track_dirty_pages"
									: "enable_diff_snapshots",
					   json_true())) ||
	    (vsock &&
	     json_object_set_new(body, "vsock_override", json_pack("{s:s}", "uds_path", vsock)))) {
		json_decref(body);
		return kiln__fail_nomem(err);
	}
	kiln__api_add(steps, "PUT", body, "/snapshot/load");
	if (steps->count)
		steps->items[steps->count - 1].deadline_ms = KILN__API_MEMORY_MS;
	return 0;
}

void kiln__firecracker_save(const char *directory, const char *base, struct kiln__api_steps *steps)
{
	kiln__api_add(steps, "PUT",
		      json_pack("{s:s, s:o, s:o}", "snapshot_type", base ? "Diff" : "Full",
				"snapshot_path", json_sprintf("%s/state", directory),
				"mem_file_path", json_sprintf("%s/memory", directory)),
		      "/snapshot/create");
	if (steps->count)
		steps->items[steps->count - 1].deadline_ms = KILN__API_MEMORY_MS;
}
