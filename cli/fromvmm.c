/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --from-firecracker: a configuration of Firecracker's as one of kiln's. What kiln has a key for
 * becomes that; the rest stays in Firecracker's words (firecracker.config), so nothing of it is
 * lost, and what kiln decides itself (its log, say) is refused by name when the machine starts.
 * Gone are only the path of the vsock device's socket, which is in the VM's runtime directory, and
 * what of boot_args kiln sets.
 */
#include "cli.h"

#include "cleanup.h"
#include "err.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Moves @from's member @name to @to's @key, if there is one. */
static void move(json_t *from, const char *name, json_t *to, const char *key)
{
	json_t *value = json_object_get(from, name);

	if (value)
		json_object_set(to, key, value);
	json_object_del(from, name);
}

/* What the command line of kiln's own says differently, or not at all. */
static bool is_kilns(const char *word)
{
	static const char *const prefixes[] = {
		"console=", "reboot=", "panic=", "pci=", "root=", "init=", "loglevel="};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(word, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return strcmp(word, "ro") == 0 || strcmp(word, "rw") == 0;
}

void from_boot_args(json_t *document, const char *text)
{
	kiln__autofree char *copy = strdup(text);
	kiln__autofree char *kept = calloc(1, strlen(text) + 2);
	char *rest = NULL;

	if (!copy || !kept)
		return;
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (is_kilns(word))
			continue;
		if (*kept)
			strcat(kept, " ");
		strcat(kept, word);
	}
	if (*kept)
		json_object_set_new(document, "cmdline", json_string(kept));
}

static void take_boot(json_t *document, json_t *config)
{
	json_t *boot = json_object_get(config, "boot-source");
	json_t *machine = json_object_get(config, "machine-config");
	const char *args = json_string_value(json_object_get(boot, "boot_args"));
	json_int_t mib = json_integer_value(json_object_get(machine, "mem_size_mib"));

	if (args)
		from_boot_args(document, args);
	json_object_del(boot, "boot_args");
	move(boot, "kernel_image_path", document, "kernel");
	move(boot, "initrd_path", document, "initrd");
	move(machine, "vcpu_count", document, "cpus");
	if (mib)
		json_object_set_new(document, "memory", json_sprintf("%lldM", (long long)mib));
	json_object_del(machine, "mem_size_mib");
}

static void take_drive(json_t *document, json_t *disks, json_t *drive)
{
	bool root = json_is_true(json_object_get(drive, "is_root_device"));
	const char *cache = json_string_value(json_object_get(drive, "cache_type"));
	json_t *disk = json_object();

	json_object_set_new(drive, "drive_id",
			    root ? json_string("root")
				 : json_sprintf("disk%zu", json_array_size(disks)));
	json_object_del(drive, "is_root_device");
	if (root) {
		json_object_set_new(disk, "disk", json_null());
		move(drive, "path_on_host", disk, "disk");
		move(drive, "is_read_only", disk, "readonly");
		json_object_set_new(disk, "overlay", json_pack("{s:s}", "kind", "none"));
		json_object_set_new(document, "root", disk);
	} else {
		move(drive, "path_on_host", disk, "path");
		move(drive, "is_read_only", disk, "readonly");
		if (!cache || strcmp(cache, "Unsafe") == 0) /* Firecracker's default */
			json_object_set_new(disk, "cache", json_string("unsafe"));
		json_array_append_new(disks, disk);
	}
	json_object_del(drive, "cache_type");
}

static void take_devices(json_t *document, json_t *config)
{
	json_t *vsock = json_object_get(config, "vsock");
	json_t *disks = json_array();
	json_t *networks = json_array();
	json_t *device;
	size_t i;

	json_array_foreach (json_object_get(config, "drives"), i, device)
		take_drive(document, disks, device);
	json_array_foreach (json_object_get(config, "network-interfaces"), i, device) {
		json_t *network = json_pack("{s:s}", "kind", "tap");

		json_object_set_new(device, "iface_id", json_sprintf("net%zu", i));
		move(device, "host_dev_name", network, "interface");
		move(device, "guest_mac", network, "mac");
		json_array_append_new(networks, network);
	}
	json_object_set_new(document, "disks", disks);
	json_object_set_new(document, "networks", networks);
	if (json_is_object(vsock)) {
		json_object_set_new(document, "vsock", json_object());
		move(vsock, "guest_cid", json_object_get(document, "vsock"), "cid");
		json_object_del(config, "vsock");
	}
	json_object_set_new(document, "rng", json_boolean(json_object_get(config, "entropy")));
	json_object_set_new(document, "balloon", json_boolean(json_object_get(config, "balloon")));
}

/* Sections of which nothing is left. */
static void drop_empty(json_t *config)
{
	const char *name;
	json_t *section;
	void *next;

	json_object_foreach_safe(
		config, next, name,
		section) if (json_is_null(section) ||
			     (json_is_object(section) && json_object_size(section) == 0) ||
			     (json_is_array(section) && json_array_size(section) == 0))
		json_object_del(config, name);
}

int from_firecracker(const char *file, kiln_config **ret, kiln_error *err)
{
	json_error_t why;
	json_t *config = json_load_file(file, JSON_REJECT_DUPLICATES, &why);
	json_t *document;
	kiln__autofree char *rest = NULL;
	kiln__autofree char *text = NULL;
	int r;

	if (!json_is_object(config)) {
		json_decref(config);
		return kiln__fail(err, KILN_EINVAL, "--from-firecracker: %s: %s", file, why.text);
	}
	document = json_pack("{s:s}", "backend", "firecracker");
	take_boot(document, config);
	take_devices(document, config);
	drop_empty(config);
	rest = json_dumps(config, JSON_COMPACT);
	if (json_object_size(config))
		json_object_set_new(document, "firecracker", json_pack("{s:s*}", "config", rest));
	text = json_dumps(document, JSON_COMPACT);
	r = text && rest ? kiln_config_parse(text, strlen(text), ret, err) : kiln__fail_nomem(err);
	json_decref(document);
	json_decref(config);
	return r < 0 ? (kiln__prefix(err, "--from-firecracker"), r) : 0;
}
