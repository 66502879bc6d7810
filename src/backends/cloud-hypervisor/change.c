/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request each. Every device has an id that the caller chose, so that it can be removed again;
 * what kiln has no words for is merged in, held to the table of the VMM's fields (fields.c).
 *
 * Not here: vm.add-vsock, since a machine's vsock device is made with it (the agent is behind it);
 * and vm.add-user-device, whose body has no id, so that nobody could remove it again.
 */
#include "change.h"

#include "cloud_hypervisor_config.h"
#include "err.h"

#include <string.h>

#define ROOT "/api/v1/"

const char *const kiln__cloud_hypervisor_devices[] = {
	"disk", "net", "fs", "pmem", "device", "vdpa", "generic-vhost-user", NULL,
};

/* The list of its configuration that has devices of a kind. */
static const struct {
	const char *device;
	const char *list;
} lists[] = {
	{"disk", "disks"},
	{"net", "net"},
	{"fs", "fs"},
	{"pmem", "pmem"},
	{"device", "devices"},
	{"vdpa", "vdpa"},
	{"generic-vhost-user", "generic_vhost_user"},
};

static int need(const struct kiln__cloud_hypervisor_facts *facts, unsigned since, const char *what,
		kiln_error *err)
{
	if (!since || facts->version >= since)
		return 0;
	return kiln__fail(err, KILN_ENOTSUP, "%s: needs Cloud Hypervisor %u.%u, this is %u.%u",
			  what, since / 1000, since % 1000, facts->version / 1000,
			  facts->version % 1000);
}

/* --- devices ------------------------------------------------------------------------------------
 */

static int disk(const struct kiln__disk *from, const char *id, json_t **ret, kiln_error *err)
{
	const char *cache = from->cache ? from->cache : "writeback";

	if (!from->source.path || from->source.offset || from->source.length)
		return kiln__fail(err, KILN_ENOTSUP,
				  "add disk: path: the cloud-hypervisor backend takes whole files");
	if (strcmp(cache, "unsafe") == 0)
		return kiln__fail(
			err, KILN_ENOTSUP,
			"add disk: cache: Cloud Hypervisor never ignores a guest's flush");
	*ret = json_pack("{s:s, s:s, s:b, s:b, s:s, s:s*}", "id", id, "path", from->source.path,
			 "readonly", from->readonly, "direct", strcmp(cache, "none") == 0,
			 "image_type", "Raw", "serial", from->serial);
	if (*ret && from->discard)
		json_object_set_new(*ret, "sparse", json_true());
	return *ret ? 0 : kiln__fail_nomem(err);
}

static int net(const struct kiln__cloud_hypervisor_facts *facts, const struct kiln__network *from,
	       const char *id, json_t **ret, kiln_error *err)
{
	static const uint8_t none[6];

	if (from->kind != KILN__NETWORK_TAP)
		return kiln__fail(err, KILN_ENOTSUP,
				  "add net: kind: the cloud-hypervisor backend has tap only");
	if (!facts->networked) {
		kiln__fail(err, KILN_ENOTSUP,
			   "add net: a VMM that was started without networks is cut off from the "
			   "host's");
		return kiln__hint(err, "start the machine with one network at least"), KILN_ENOTSUP;
	}
	*ret = json_pack("{s:s, s:s}", "id", id, "tap", from->interface);
	if (*ret && memcmp(from->mac, none, sizeof(none)) != 0)
		json_object_set_new(*ret, "mac", kiln__api_mac(from->mac));
	return *ret ? 0 : kiln__fail_nomem(err);
}

static int begin(const struct kiln__cloud_hypervisor_facts *facts, const kiln_change *change,
		 const struct kiln__spec *parts, json_t **ret, kiln_error *err)
{
	if (strcmp(change->device, "disk") == 0)
		return disk(&parts->disks[0], change->id, ret, err);
	if (strcmp(change->device, "net") == 0)
		return net(facts, &parts->networks[0], change->id, ret, err);
	*ret = json_pack("{s:s}", "id", change->id);
	if (*ret && strcmp(change->device, "fs") == 0 &&
	    (json_object_set_new(*ret, "num_queues",
				 json_integer(KILN__CLOUD_HYPERVISOR_FS_QUEUES)) ||
	     json_object_set_new(*ret, "queue_size",
				 json_integer(KILN__CLOUD_HYPERVISOR_FS_QUEUE_SIZE))))
		json_decref(kiln__take(*ret));
	if (*ret && strcmp(change->device, "vdpa") == 0 &&
	    json_object_set_new(*ret, "num_queues", json_integer(1)))
		json_decref(kiln__take(*ret));
	return *ret ? 0 : kiln__fail_nomem(err);
}

/* What the caller says in the VMM's words, as part of a configuration. */
static int merge_own(unsigned version, const char *list, json_t *config, const kiln_change *change,
		     kiln_error *err)
{
	struct kiln__api_form form = kiln__cloud_hypervisor_form;
	json_error_t why;
	json_t *own = json_loads(change->own, JSON_REJECT_DUPLICATES, &why);
	kiln__autofree char *text = NULL;
	json_t *wrapped;
	int r;

	form.key = "own";
	if (!json_is_object(own)) {
		json_decref(own);
		return kiln__fail(err, KILN_EINVAL, "add %s: own: no JSON object: %s",
				  change->device, why.text);
	}
	json_object_set_new(own, "id", json_string(change->id));
	wrapped = json_pack("{s:[o]}", list, own);
	text = json_dumps(wrapped, JSON_COMPACT);
	json_decref(wrapped);
	r = text ? kiln__api_merge(&form, config, text, err) : kiln__fail_nomem(err);
	if (r == 0)
		r = kiln__api_check_version(&form, config, version, err);
	return r < 0 ? (kiln__prefix(err, "add %s", change->device), r) : 0;
}

static const char *list_of(const char *device)
{
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (strcmp(lists[i].device, device) == 0)
			return lists[i].list;
	return NULL;
}

static int add(const struct kiln__cloud_hypervisor_facts *facts, const kiln_change *change,
	       const struct kiln__spec *parts, struct kiln__api_steps *steps, kiln_error *err)
{
	const char *list = list_of(change->device);
	json_t *device = NULL;
	json_t *config;
	int r = strcmp(change->device, "generic-vhost-user") == 0
			? need(facts, KILN__CLOUD_HYPERVISOR_ADD_VHOST_USER,
			       "add generic-vhost-user", err)
			: 0;

	if (r == 0)
		r = begin(facts, change, parts, &device, err);
	if (r < 0)
		return r;
	config = json_pack("{s:[o]}", list, device);
	if (!config)
		return kiln__fail_nomem(err);
	if (change->own)
		r = merge_own(facts->version, list, config, change, err);
	if (r == 0)
		kiln__api_add(steps, "PUT", json_incref(device), ROOT "vm.add-%s", change->device);
	json_decref(config);
	return r;
}

/* --- the others ---------------------------------------------------------------------------------
 */

static int remove_device(const kiln_change *change, struct kiln__api_steps *steps, kiln_error *err)
{
	if (strcmp(change->id, "root") == 0)
		return kiln__fail(err, KILN_ENOTSUP, "remove: root: the guest runs from it");
	kiln__api_add(steps, "PUT", json_pack("{s:s}", "id", change->id), ROOT "vm.remove-device");
	return 0;
}

static int resize_one(const kiln_change *change, const char *size, struct kiln__api_steps *steps)
{
	kiln__api_add(steps, "PUT",
		      json_pack("{s:s, s:I}", "id", change->id, size, (json_int_t)change->bytes),
		      ROOT "vm.%s", kiln__change_name(change->kind));
	return 0;
}

static void add_slow(struct kiln__api_steps *steps, const char *target, const char *key,
		     const char *directory)
{
	kiln__api_add(steps, "PUT", json_pack("{s:o}", key, json_sprintf("file://%s", directory)),
		      ROOT "%s", target);
	if (steps->count)
		steps->items[steps->count - 1].deadline_ms = KILN__API_MEMORY_MS;
}

static int dump(const struct kiln__cloud_hypervisor_facts *facts, const kiln_change *change,
		struct kiln__api_steps *steps, kiln_error *err)
{
	if (!facts->dumps) {
		kiln__fail(err, KILN_ENOTSUP,
			   "dump: this Cloud Hypervisor was built without \"guest_debug\"");
		return kiln__hint(err, "kiln snapshot writes the memory, in a form of its own"),
		       KILN_ENOTSUP;
	}
	add_slow(steps, "vm.coredump", "destination_url", change->file);
	return 0;
}

int kiln__cloud_hypervisor_change(const struct kiln__cloud_hypervisor_facts *facts,
				  const kiln_change *change, const struct kiln__spec *parts,
				  struct kiln__api_steps *steps, kiln_error *err)
{
	int r = 0;

	switch (change->kind) {
	case KILN_CHANGE_ADD:
		return add(facts, change, parts, steps, err);
	case KILN_CHANGE_REMOVE:
		return remove_device(change, steps, err);
	case KILN_CHANGE_RESIZE_DISK:
		r = need(facts, KILN__CLOUD_HYPERVISOR_RESIZE_DISK, "resize-disk", err);
		return r < 0 ? r : resize_one(change, "desired_size", steps);
	case KILN_CHANGE_RESIZE_ZONE:
		return resize_one(change, "desired_ram", steps);
	case KILN_CHANGE_NMI:
		r = need(facts, KILN__CLOUD_HYPERVISOR_NMI, "nmi", err);
		if (r == 0)
			kiln__api_add(steps, "PUT", NULL, ROOT "vm.nmi");
		return r;
	case KILN_CHANGE_DUMP:
		return dump(facts, change, steps, err);
	case KILN_CHANGE_RESET:
		kiln__api_add(steps, "PUT", NULL, ROOT "vm.reboot");
		return 0;
	case KILN_CHANGE_POWER_BUTTON: /* shutdown() is that */
		break;
	}
	return kiln__fail(err, KILN_EINVAL, "there is no such change");
}

/* --- snapshots ----------------------------------------------------------------------------------
 */

void kiln__cloud_hypervisor_snapshot(const char *directory, struct kiln__api_steps *steps)
{
	add_slow(steps, "vm.snapshot", "destination_url", directory);
}

void kiln__cloud_hypervisor_restore(const char *directory, struct kiln__api_steps *steps)
{
	add_slow(steps, "vm.restore", "source_url", directory);
	kiln__api_add(steps, "PUT", NULL, ROOT "vm.resume");
}

/* --- sizes --------------------------------------------------------------------------------------
 */

static uint64_t configured(const struct kiln__cloud_hypervisor_facts *facts, const char *section,
			   const char *name)
{
	return (uint64_t)json_integer_value(
		json_object_get(json_object_get(facts->config, section), name));
}

static int check_resize(const struct kiln__cloud_hypervisor_facts *facts, const kiln_update *update,
			kiln_error *err)
{
	uint64_t cpus = configured(facts, "cpus", "max_vcpus");
	uint64_t memory =
		configured(facts, "memory", "size") + configured(facts, "memory", "hotplug_size");

	if (update->config)
		return kiln__fail(
			err, KILN_ENOTSUP,
			"config: Cloud Hypervisor is not told its own words while it runs");
	if (update->cpus != KILN_UPDATE_KEEP && (update->cpus == 0 || update->cpus > cpus)) {
		kiln__fail(err, KILN_ENOTSUP, "cpus: this machine can have 1 to %llu",
			   (unsigned long long)cpus);
		return kiln__hint(err, "give it room: cloud_hypervisor.config "
				       "{\"cpus\":{\"max_vcpus\":N}}"),
		       KILN_ENOTSUP;
	}
	if (update->memory != KILN_UPDATE_KEEP && update->memory > memory) {
		kiln__fail(err, KILN_ENOTSUP, "memory: this machine can have %llu MiB at most",
			   (unsigned long long)(memory >> 20));
		return kiln__hint(err, "give it room: cloud_hypervisor.config "
				       "{\"memory\":{\"hotplug_size\":BYTES}}"),
		       KILN_ENOTSUP;
	}
	if (update->balloon != KILN_UPDATE_KEEP && !json_object_get(facts->config, "balloon")) {
		kiln__fail(err, KILN_ENOTSUP, "balloon: this machine has none");
		return kiln__hint(err, "give it one: balloon = true"), KILN_ENOTSUP;
	}
	return 0;
}

static int set_size(json_t *body, const char *name, uint64_t value)
{
	return value == KILN_UPDATE_KEEP
		       ? 0
		       : json_object_set_new(body, name, json_integer((json_int_t)value));
}

int kiln__cloud_hypervisor_resize(const struct kiln__cloud_hypervisor_facts *facts,
				  const kiln_update *update, struct kiln__api_steps *steps,
				  kiln_error *err)
{
	json_t *body;
	int r = check_resize(facts, update, err);

	if (r < 0)
		return r;
	body = json_object();
	if (!body || set_size(body, "desired_vcpus", update->cpus) ||
	    set_size(body, "desired_ram", update->memory) ||
	    set_size(body, "desired_balloon", update->balloon)) {
		json_decref(body);
		return kiln__fail_nomem(err);
	}
	kiln__api_add(steps, "PUT", body, ROOT "vm.resize");
	return 0;
}
