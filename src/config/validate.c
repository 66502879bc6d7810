/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only the whole configuration can tell. Required and exclusive keys are the
 * table's business; the rules here are those between keys, and between a key and
 * this host. Each names the key that it would have somebody change.
 */
#include "accept.h"
#include "buf.h"
#include "check.h"
#include "err.h"
#include "handle.h"
#include "os.h"
#include "schema.h"
#include "spec.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- the document ------------------------------------------------------------------------- */

/* Exactly one of the keys that exclude each other. */
static int check_exclusive(const struct kiln__key *object, json_t *value,
			   const struct kiln__where *where, kiln_error *err)
{
	const char *found = NULL;
	kiln__autobuf all = KILN__BUF_INIT;

	for (const struct kiln__key *key = object->keys; key->name; key++) {
		if (!key->exclusive)
			continue;
		kiln__buf_addf(&all, "%s%s", all.len ? ", " : "", key->name);
		if (!json_object_get(value, key->name))
			continue;
		if (found)
			return kiln__refuse(err, KILN_EINVAL, where, "must not have both %s and %s",
					    found, key->name);
		found = key->name;
	}
	if (all.failed)
		return kiln__fail_nomem(err);
	if (all.len > 0 && !found)
		return kiln__refuse(err, KILN_EINVAL, where, "must have one of %s", all.data);
	return 0;
}

static int check_object(const struct kiln__key *object, json_t *value,
			const struct kiln__where *where, kiln_error *err);

static int check_below(const struct kiln__key *key, json_t *value, const struct kiln__where *where,
		       kiln_error *err)
{
	int rc = 0;

	if (key->type == KILN__TYPE_OBJECT)
		return check_object(key, value, where, err);
	if (key->type != KILN__TYPE_LIST)
		return 0;
	for (size_t i = 0; rc == 0 && i < json_array_size(value); i++) {
		const struct kiln__where here = {where, NULL, i};

		rc = check_below(key->element, json_array_get(value, i), &here, err);
	}
	return rc;
}

static int check_object(const struct kiln__key *object, json_t *value,
			const struct kiln__where *where, kiln_error *err)
{
	json_t *member;
	int rc;

	for (const struct kiln__key *key = object->keys; key->name; key++) {
		const struct kiln__where here = {where, key->name, 0};

		member = json_object_get(value, key->name);
		if (!member && key->required)
			return kiln__refuse(err, KILN_EINVAL, &here, "is required");
		rc = member ? check_below(key, member, &here, err) : 0;
		if (rc < 0)
			return rc;
	}
	return check_exclusive(object, value, where, err);
}

int kiln__check_document(json_t *doc, kiln_error *err)
{
	const struct kiln__where top = {NULL, NULL, 0};

	return check_object(&kiln__schema, doc, &top, err);
}

/* --- rules ------------------------------------------------------------------------------- */

/* Every rule: 0, or the refusal. @doc tells what was set from what is a default. */
typedef int (*rule_fn)(const struct kiln__spec *spec, json_t *doc, kiln_error *err);

static int refuse(kiln_error *err, const char *fmt, ...) KILN_PRINTF(2, 3);
static int refuse(kiln_error *err, const char *fmt, ...)
{
	char message[sizeof(err->message)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	kiln__fail(err, KILN_EINVAL, "%s", message);
	kiln__stage(err, "config");
	return KILN_EINVAL;
}

static bool is_set(json_t *doc, const char *object, const char *key)
{
	return json_object_get(json_object_get(doc, object), key) != NULL;
}

/*
 * What Debian's cloud kernel (6.1) needs to get as far as a process, with kiln's initramfs: it
 * panics at 64 MiB and boots at 72.
 */
#define DISTRO_KERNEL_MIB 80
#define ANY_HOST_MIB      256

static int memory_is_there(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	uint64_t wanted = spec->memory >> 20;
	/* What any host that runs VMs has is not asked for: by each start, twice. */
	uint64_t total = wanted > ANY_HOST_MIB ? kiln__os_total_memory() >> 20 : 0;
	bool distro = !kiln__source_is_set(&spec->kernel) && !spec->firmware &&
		      strcmp(spec->backend, "fake") != 0;

	(void)doc;
	if (total > 0 && wanted > total) {
		refuse(err, "memory: %llu MiB is more than this host has (%llu MiB)",
		       (unsigned long long)wanted, (unsigned long long)total);
		kiln__hint(err, "give it less");
		return KILN_EINVAL;
	}
	if (distro && wanted < DISTRO_KERNEL_MIB) {
		refuse(err,
		       "memory: %llu MiB is too little for the distribution's kernel, which "
		       "needs %d MiB",
		       (unsigned long long)wanted, DISTRO_KERNEL_MIB);
		kiln__hint(err, "give it more, or a smaller kernel of your own");
		return KILN_EINVAL;
	}
	return 0;
}

static int architectures_agree(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	const char *host = kiln__os_arch();
	bool virt = strcmp(spec->qemu_machine, "virt") == 0;
	bool arm = strcmp(spec->arch, "aarch64") == 0;

	(void)doc;
	if (strcmp(spec->accel, "kvm") == 0 && strcmp(spec->arch, host) != 0) {
		refuse(err, "accel: \"kvm\" cannot run %s on this host (%s)", spec->arch, host);
		kiln__hint(err, "leave accel at \"auto\", or set it to \"tcg\"");
		return KILN_EINVAL;
	}
	if (strcmp(spec->qemu_machine, "auto") != 0 && virt != arm)
		return refuse(err, "qemu.machine: \"%s\" is no machine of %s", spec->qemu_machine,
			      spec->arch);
	return 0;
}

static int root_agrees(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	bool disk = spec->root.kind == KILN__ROOT_DISK;

	if (is_set(doc, "root", "fstype") && !disk)
		return refuse(err, "root.fstype: only root.disk has one");
	if (spec->root.readonly && (!disk || spec->root.overlay != KILN__OVERLAY_NONE))
		return refuse(err, "root.readonly: only means something for root.disk with "
				   "root.overlay.kind \"none\"");
	if (spec->root.overlay == KILN__OVERLAY_NONE && spec->root.overlay_size > 0)
		return refuse(err, "root.overlay.size: there is no overlay");
	if (spec->init == KILN__INIT_ROOT && spec->root.kind == KILN__ROOT_NONE)
		return refuse(err, "init: \"root\" needs a root");
	return 0;
}

static int disks_differ(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	(void)doc;
	for (size_t i = 0; i < spec->disk_count; i++) {
		const char *serial = spec->disks[i].serial;

		if (!serial)
			continue;
		if (strcmp(serial, KILN__ROOT_SERIAL) == 0 ||
		    strcmp(serial, KILN__OVERLAY_SERIAL) == 0 ||
		    strcmp(serial, KILN__SEED_SERIAL) == 0 ||
		    strncmp(serial, KILN__VOLUME_SERIAL, strlen(KILN__VOLUME_SERIAL)) == 0)
			return refuse(err, "disks[%zu].serial: \"%s\" is kiln's own", i, serial);
		for (size_t k = 0; k < i; k++)
			if (spec->disks[k].serial && strcmp(serial, spec->disks[k].serial) == 0)
				return refuse(err, "disks[%zu].serial: disks[%zu] has the same", i,
					      k);
	}
	return 0;
}

static int tmpfs_are_possible(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	(void)doc;
	for (size_t i = 0; i < spec->tmpfs_count; i++) {
		if (spec->tmpfs[i].path[strspn(spec->tmpfs[i].path, "/")] == '\0')
			return refuse(err,
				      "tmpfs[%zu].path: the root cannot be one: see "
				      "root.overlay",
				      i);
		for (size_t k = 0; k < i; k++)
			if (strcmp(spec->tmpfs[i].path, spec->tmpfs[k].path) == 0)
				return refuse(err, "tmpfs[%zu].path: tmpfs[%zu] has the same", i,
					      k);
	}
	return 0;
}

/* Firmware boots what is on the disks: nothing that goes into a kernel of kiln's choice counts. */
static int firmware_is_possible(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	static const char *const others[] = {"kernel", "initrd", "cmdline",
					     "root",   "init",   "tmpfs"};
	bool arm = strcmp(spec->arch, "aarch64") == 0;

	if (!spec->firmware)
		return spec->qemu_firmware
			       ? refuse(err, "qemu.firmware: firmware says that there is none")
			       : 0;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (json_object_get(doc, others[i]))
			return refuse(err, "%s: firmware boots what the disks hold", others[i]);
	if (arm && spec->firmware == KILN__FIRMWARE_BIOS)
		return refuse(err, "firmware: aarch64 machines have no BIOS: use \"uefi\"");
	if (!spec->disk_count) {
		refuse(err, "disks: firmware needs a disk to boot from");
		kiln__hint(err, "add one: \"disks\": [\"/path/of/cloud-image.raw\"]");
		return KILN_EINVAL;
	}
	return 0;
}

static int volumes_are_possible(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	(void)doc;
	if (spec->volume_count + spec->tmpfs_count > 32) /* KILN__AGENT_MAX_MOUNTS */
		return refuse(err, "volumes: at most 32, with tmpfs");
	for (size_t i = 0; i < spec->volume_count; i++) {
		for (size_t k = 0; k < i; k++) {
			if (strcmp(spec->volumes[i].name, spec->volumes[k].name) == 0)
				return refuse(err, "volumes[%zu].name: volumes[%zu] has the same",
					      i, k);
			if (strcmp(spec->volumes[i].path, spec->volumes[k].path) == 0)
				return refuse(err, "volumes[%zu].path: volumes[%zu] has the same",
					      i, k);
		}
		for (size_t k = 0; k < spec->tmpfs_count; k++)
			if (strcmp(spec->volumes[i].path, spec->tmpfs[k].path) == 0)
				return refuse(err, "volumes[%zu].path: tmpfs[%zu] has the same", i,
					      k);
	}
	if (spec->volume_count && spec->root.kind == KILN__ROOT_NONE && !spec->firmware)
		return refuse(err, "volumes: there is no root to mount them in");
	/* It is the seed that mounts them there. */
	if (spec->volume_count && spec->firmware &&
	    (!kiln__spec_has_seed(spec) || kiln__source_is_set(&spec->seed.user_data))) {
		refuse(err,
		       "volumes: nothing would mount them: the seed has no user-data of kiln's");
		kiln__hint(err,
			   "give the file of a volume as a disk (kiln volume inspect), and have "
			   "the user-data mount that");
		return KILN_EINVAL;
	}
	return 0;
}

/* What a file says is not read here; what is said beside it would have no effect. */
static int seed_files_stand_alone(const struct kiln__seed *seed, kiln_error *err)
{
	const char *beside = seed->user_count    ? "users"
			     : seed->ssh_keys    ? "ssh_keys"
			     : seed->packages    ? "packages"
			     : seed->commands    ? "commands"
			     : seed->env         ? "env"
			     : seed->mount_count ? "mounts"
						 : NULL;

	if (kiln__source_is_set(&seed->user_data) && beside)
		return refuse(err, "seed.%s: seed.user_data is all of the user-data", beside);
	if (kiln__source_is_set(&seed->network_config) && seed->interface_count)
		return refuse(err, "seed.interfaces: seed.network_config is all of it");
	return 0;
}

static int seed_is_possible(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	const struct kiln__seed *seed = &spec->seed;

	(void)doc;
	if (!kiln__spec_has_seed(spec))
		return 0;
	if (!spec->firmware && spec->init == KILN__INIT_KILN &&
	    (spec->root.kind != KILN__ROOT_NONE || !kiln__source_is_set(&spec->initrd))) {
		refuse(err, "seed: nothing in this guest reads it");
		kiln__hint(err, "boot a cloud image by firmware, or a root by its own init: init "
				"\"root\"");
		return KILN_EINVAL;
	}
	if (seed->interface_count > spec->network_count)
		return refuse(err, "seed.interfaces: there are more than networks (%zu)",
			      spec->network_count);
	for (size_t i = 0; i < seed->user_count; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(seed->users[i].name, seed->users[k].name) == 0)
				return refuse(err,
					      "seed.users[%zu].name: seed.users[%zu] has the same",
					      i, k);
	for (const char *const *at = seed->env; at && *at; at++) {
		const char *must = kiln__check_command(*at);

		if (must)
			return refuse(err, "seed.env.%.*s: %s", (int)strcspn(*at, "="), *at, must);
	}
	return seed_files_stand_alone(seed, err);
}

static int networks_differ(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	static const uint8_t none[6];

	(void)doc;
	for (size_t i = 0; i < spec->network_count; i++)
		for (size_t k = 0; memcmp(spec->networks[i].mac, none, 6) != 0 && k < i; k++)
			if (memcmp(spec->networks[i].mac, spec->networks[k].mac, 6) == 0)
				return refuse(err, "networks[%zu].mac: networks[%zu] has the same",
					      i, k);
	return 0;
}

/* One tag is one directory, or several that have names. */
static int shares_are_possible(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	char tag[KILN__TAG_MAX];
	char other[KILN__TAG_MAX];

	(void)doc;
	for (size_t i = 0; i < spec->share_count; i++) {
		const struct kiln__share *share = &spec->shares[i];

		kiln__spec_share_tag(spec, i, tag);
		if (spec->rosetta.enabled && strcmp(tag, KILN__ROSETTA_TAG) == 0)
			return refuse(err, "shares[%zu].tag: \"%s\" is Rosetta's", i, tag);
		if (share->target && !spec->vsock)
			return refuse(err, "vsock.enabled: shares[%zu].target needs it", i);
		for (size_t k = 0; k < i; k++) {
			const char *name = spec->shares[k].name;

			if (strcmp(tag, kiln__spec_share_tag(spec, k, other)) != 0)
				continue;
			if (!name || !share->name || strcmp(name, share->name) == 0)
				return refuse(err,
					      "shares[%zu].tag: shares[%zu] has the same, and only "
					      "directories of different names may",
					      i, k);
		}
	}
	for (size_t i = 0; i < spec->console_port_count; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(spec->console_ports[i].name, spec->console_ports[k].name) == 0)
				return refuse(
					err,
					"console.ports[%zu].name: console.ports[%zu] has the same",
					i, k);
	return 0;
}

static bool same_port(const struct kiln__port *a, const struct kiln__port *b)
{
	return a->host_port != 0 && a->host_port == b->host_port && a->udp == b->udp &&
	       strcmp(a->host_ip, b->host_ip) == 0;
}

static int ports_are_possible(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	(void)doc;
	if (spec->port_count > 0 && spec->network_count == 0) {
		refuse(err, "ports: there is no network");
		kiln__hint(err, "add one: \"networks\": [{\"kind\": \"user\"}]");
		return KILN_EINVAL;
	}
	for (size_t i = 0; i < spec->port_count; i++)
		for (size_t k = 0; k < i; k++)
			if (same_port(&spec->ports[i], &spec->ports[k]))
				return refuse(
					err, "ports[%zu]: ports[%zu] has the same address and port",
					i, k);
	return 0;
}

static int vsock_is_there(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	const char *who = NULL;

	if (spec->vsock)
		return 0;
	if (spec->readiness.kind == KILN__READY_AGENT)
		who = "readiness.kind \"agent\"";
	else if (spec->readiness.kind == KILN__READY_VSOCK)
		who = "readiness.kind \"vsock\"";
	else if (spec->readiness.kind == KILN__READY_COMMAND)
		who = "readiness.kind \"command\"";
	else if (spec->process.argv)
		who = "process";
	else if (spec->tmpfs_count)
		who = "tmpfs";
	else if (spec->volume_count && !spec->firmware)
		who = "volumes";
	else if (is_set(doc, "vsock", "cid"))
		who = "vsock.cid";
	return who ? refuse(err, "vsock.enabled: %s needs it", who) : 0;
}

static bool has_port(const struct kiln__spec *spec, uint32_t guest_port)
{
	for (size_t i = 0; i < spec->port_count; i++)
		if (!spec->ports[i].udp && spec->ports[i].guest_port == guest_port)
			return true;
	return false;
}

static int readiness_is_possible(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	const struct kiln__readiness *ready = &spec->readiness;
	bool tcp = ready->kind == KILN__READY_TCP;
	bool by_port = tcp || ready->kind == KILN__READY_VSOCK;

	(void)doc;
	if (by_port && ready->port == 0)
		return refuse(err, "readiness.port: is required by this readiness.kind");
	if (!by_port && ready->port != 0)
		return refuse(err,
			      "readiness.port: only readiness.kind \"tcp\" and \"vsock\" have one");
	if (tcp && !has_port(spec, ready->port))
		return refuse(err,
			      "readiness.port: %u is not among the guest's published TCP ports",
			      ready->port);
	if ((ready->kind == KILN__READY_COMMAND) != (ready->command != NULL))
		return refuse(err,
			      ready->command
				      ? "readiness.command: only readiness.kind \"command\" has one"
				      : "readiness.command: is required by this readiness.kind");
	if (ready->command && !ready->command[0][0])
		return refuse(err, "readiness.command[0]: must not be empty");
	return 0;
}

static int process_is_possible(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	(void)doc;
	if (spec->process.argv && !spec->process.argv[0][0])
		return refuse(err, "process: the program's name must not be empty");
	if (spec->health.command && !spec->health.command[0][0])
		return refuse(err, "health.command[0]: must not be empty");
	/* The image may bring it: then it is asked again when that is known. */
	if (spec->health.command && !spec->process.argv &&
	    (spec->root.kind != KILN__ROOT_IMAGE || spec->root.image_applied))
		return refuse(err, "health.command: needs a process whose health it tells");
	return 0;
}

int kiln__check_spec(const struct kiln__spec *spec, json_t *doc, kiln_error *err)
{
	static const rule_fn rules[] = {
		memory_is_there,     architectures_agree,  root_agrees,
		disks_differ,        tmpfs_are_possible,   networks_differ,
		ports_are_possible,  vsock_is_there,       readiness_is_possible,
		process_is_possible, firmware_is_possible, volumes_are_possible,
		seed_is_possible,    shares_are_possible,
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(rules) / sizeof(rules[0]); i++)
		rc = rules[i](spec, doc, err);
	return rc;
}
