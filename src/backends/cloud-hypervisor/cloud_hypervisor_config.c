/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud_hypervisor_config.h"

#include "err.h"
#include "taps.h"
#include "virtiofsd.h"

#include <string.h>

static const char *const ids[] = {"id", NULL};

const struct kiln__api_form kiln__cloud_hypervisor_form = {
	.key = "cloud_hypervisor.config",
	.name = "Cloud Hypervisor",
	.fields = kiln__cloud_hypervisor_fields,
	.ids = ids,
};

/* --- what it cannot do
 * ---------------------------------------------------------------------------- */

static int check_machine(const struct kiln__spec *spec, const json_t *config, kiln_error *err)
{
	const json_t *payload = json_object_get(config, "payload");

	if (spec->firmware == KILN__FIRMWARE_BIOS) {
		kiln__fail(err, KILN_ENOTSUP, "firmware: Cloud Hypervisor has no BIOS");
		return kiln__hint(err, "qemu has"), KILN_ENOTSUP;
	}
	if (spec->firmware == KILN__FIRMWARE_UEFI && !json_object_get(payload, "firmware")) {
		kiln__fail(err, KILN_ENOTSUP,
			   "firmware: Cloud Hypervisor's UEFI is a file that its project offers");
		return kiln__hint(err, "name it: cloud_hypervisor.config "
				       "{\"payload\":{\"firmware\":\"/path/CLOUDHV.fd\"}}"),
		       KILN_ENOTSUP;
	}
	if (spec->firmware == KILN__FIRMWARE_NONE && !kiln__source_is_set(&spec->kernel))
		return kiln__fail(err, KILN_EINVAL,
				  "kernel: the cloud-hypervisor backend needs one");
	if (!spec->rng) {
		kiln__fail(err, KILN_ENOTSUP, "rng: Cloud Hypervisor always gives its guest one");
		return kiln__hint(err, "builtin, qemu and firecracker can be without"),
		       KILN_ENOTSUP;
	}
	return 0;
}

static int check_disks(const struct kiln__spec *spec, kiln_error *err)
{
	for (size_t i = 0; i < spec->disk_count; i++) {
		const struct kiln__disk *disk = &spec->disks[i];

		if (disk->own || !disk->cache || strcmp(disk->cache, "unsafe") != 0)
			continue;
		kiln__fail(err, KILN_ENOTSUP,
			   "disks[%zu].cache: Cloud Hypervisor never ignores a guest's flush", i);
		return kiln__hint(err, "writeback and none are there"), KILN_ENOTSUP;
	}
	return kiln__api_check_disk_count(spec, KILN__CLOUD_HYPERVISOR_MAX_DISKS, err);
}

/* A snapshot names its interfaces, and older versions cannot be given others. */
static int check_taps(const struct kiln__spec *spec, kiln_error *err)
{
	if (!spec->cloud_hypervisor.open_taps)
		return 0;
	if (spec->snapshot)
		return kiln__fail(err, KILN_ENOTSUP,
				  "cloud_hypervisor.open_taps: a machine that goes on from a "
				  "snapshot opens its interfaces itself");
	return spec->network_count > KILN__CLOUD_HYPERVISOR_MAX_TAPS
		       ? kiln__fail(err, KILN_ENOTSUP,
				    "cloud_hypervisor.open_taps: at most %d networks",
				    KILN__CLOUD_HYPERVISOR_MAX_TAPS)
		       : 0;
}

int kiln__cloud_hypervisor_check(const struct kiln__spec *spec, kiln_error *err)
{
	json_t *config;
	int r = kiln__api_check_spec(spec, "cloud-hypervisor", err);

	if (r == 0)
		r = check_disks(spec, err);
	if (r == 0)
		r = check_taps(spec, err);
	if (r == 0)
		r = kiln__cloud_hypervisor_config(spec, "/vsock", &config, err);
	if (r < 0)
		return r;
	r = check_machine(spec, config, err);
	json_decref(config);
	return r < 0 ? r : kiln__virtiofsd_check(spec, err);
}

/* --- its configuration
 * ------------------------------------------------------------------------------- */

/*
 * panic=-1 resets at once on a panic; reboot=k does that by the keyboard controller, which it has
 * on x86_64. Until the guest's PID 1 runs, the console gets what is critical or worse.
 */
static json_t *cmdline(const struct kiln__spec *spec)
{
	bool arm = strcmp(spec->arch, "aarch64") == 0;

	return json_sprintf("console=%s panic=-1 reboot=k loglevel=3%s%s",
			    arm ? "ttyAMA0" : "ttyS0", spec->cmdline ? " " : "",
			    spec->cmdline ? spec->cmdline : "");
}

static json_t *payload(const struct kiln__spec *spec)
{
	json_t *made;

	if (spec->firmware != KILN__FIRMWARE_NONE)
		return json_object();
	made = json_pack("{s:o, s:o}", "kernel",
			 kiln__api_path(KILN__API_FDS, KILN__CLOUD_HYPERVISOR_FD_KERNEL), "cmdline",
			 cmdline(spec));
	if (made && kiln__source_is_set(&spec->initrd) &&
	    json_object_set_new(made, "initramfs",
				kiln__api_path(KILN__API_FDS, KILN__CLOUD_HYPERVISOR_FD_INITRD))) {
		json_decref(made);
		return NULL;
	}
	return made;
}

/* Raw by word: newer versions would else look, and keep the guest from writing to the first sector.
 */
static json_t *disk_config(json_t *id, json_t *path, const struct kiln__disk *disk)
{
	const char *cache = disk->cache ? disk->cache : "writeback";
	json_t *made = json_pack("{s:o, s:o, s:b, s:b, s:s, s:s*}", "id", id, "path", path,
				 "readonly", disk->readonly, "direct", strcmp(cache, "none") == 0,
				 "image_type", "Raw", "serial", disk->serial);

	/* Sparse is its word for discard. */
	if (made && disk->discard && !disk->own &&
	    json_object_set_new(made, "sparse", json_true())) {
		json_decref(made);
		return NULL;
	}
	return made;
}

/* Memory is virtiofsd's, too. */
static json_t *memory(const struct kiln__spec *spec)
{
	json_t *made = json_pack("{s:I}", "size", (json_int_t)spec->memory);

	if (made && spec->share_count && json_object_set_new(made, "shared", json_true())) {
		json_decref(made);
		return NULL;
	}
	return made;
}

static json_t *shares(const struct kiln__spec *spec, const char *vsock)
{
	int dir = (int)(strrchr(vsock, '/') - vsock);
	json_t *list = json_array();

	for (size_t i = 0; list && i < spec->share_count; i++) {
		char tag[KILN__TAG_MAX];
		json_t *id = json_sprintf(KILN__CLOUD_HYPERVISOR_SHARE, i);
		json_t *socket = json_sprintf("%.*s/" KILN__CLOUD_HYPERVISOR_SHARE, dir, vsock, i);

		if (json_array_append_new(
			    list, json_pack("{s:o, s:s, s:o, s:i, s:i}", "id", id, "tag",
					    kiln__spec_share_tag(spec, i, tag), "socket", socket,
					    "num_queues", KILN__CLOUD_HYPERVISOR_FS_QUEUES,
					    "queue_size", KILN__CLOUD_HYPERVISOR_FS_QUEUE_SIZE))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int build(json_t *config, const struct kiln__spec *spec, const char *vsock)
{
	int r = kiln__api_set(config, "payload", payload(spec));

	if (r == 0)
		r = kiln__api_set(config, "cpus",
				  json_pack("{s:i, s:i}", "boot_vcpus", (int)spec->cpus,
					    "max_vcpus", (int)spec->cpus));
	if (r == 0)
		r = kiln__api_set(config, "memory", memory(spec));
	if (r == 0)
		r = kiln__api_set(config, "disks",
				  kiln__api_disks(spec, KILN__API_FDS,
						  KILN__CLOUD_HYPERVISOR_FD_DISK, disk_config));
	if (r == 0)
		r = kiln__api_set(config, "net", kiln__api_networks(spec, "id", "tap", "mac"));
	if (r == 0)
		r = kiln__api_set(config, "rng", json_pack("{s:s}", "src", "/dev/urandom"));
	if (r == 0 && spec->balloon)
		r = kiln__api_set(config, "balloon",
				  json_pack("{s:i, s:b, s:b}", "size", 0, "deflate_on_oom", true,
					    "free_page_reporting", true));
	if (r == 0 && spec->share_count)
		r = kiln__api_set(config, "fs", shares(spec, vsock));
	if (r == 0 && spec->vsock)
		r = kiln__api_set(config, "vsock",
				  json_pack("{s:i, s:s}", "cid", (int)(spec->cid ? spec->cid : 3),
					    "socket", vsock));
	if (r == 0)
		r = kiln__api_set(config, "serial", json_pack("{s:s}", "mode", "Tty"));
	if (r == 0)
		r = kiln__api_set(config, "console", json_pack("{s:s}", "mode", "Off"));
	return r;
}

int kiln__cloud_hypervisor_config(const struct kiln__spec *spec, const char *vsock, json_t **ret,
				  kiln_error *err)
{
	json_t *config = json_object();
	bool is_built = config && build(config, spec, vsock) == 0;

	return kiln__api_finish(&kiln__cloud_hypervisor_form, config, is_built,
				spec->cloud_hypervisor.config, ret, err);
}
