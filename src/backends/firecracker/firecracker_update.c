/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a running machine Firecracker can change: memory and balloon in kiln's words, all else in
 * its own, by one table of fields, as the configuration is. Pure functions.
 */
#include "firecracker_config.h"

#include "err.h"

static const char *const ids[] = {"drive_id", "iface_id", "id", NULL};

const struct kiln__api_form kiln__firecracker_runtime_form = {
	.key = "config",
	.name = "a running Firecracker",
	.fields = kiln__firecracker_runtime_fields,
	.ids = ids,
};

static int refuse_change(kiln_error *err, const char *what, const char *hint)
{
	kiln__fail(err, KILN_ENOTSUP, "%s", what);
	return kiln__hint(err, "%s", hint), KILN_ENOTSUP;
}

#define MIB_MASK ((UINT64_C(1) << 20) - 1)

static int check(const struct kiln__spec *spec, const json_t *config, const kiln_update *update,
		 kiln_error *err)
{
	bool memory = update->memory != KILN_UPDATE_KEEP;
	bool balloon = update->balloon != KILN_UPDATE_KEEP;

	if (update->cpus != KILN_UPDATE_KEEP)
		return refuse_change(err, "cpus: Firecracker adds no processors to a running guest",
				     "cloud-hypervisor does");
	if (memory && !json_object_get(config, "memory-hotplug"))
		return refuse_change(err, "memory: this machine cannot be given more",
				     "give it room: firecracker.config "
				     "{\"memory-hotplug\":{\"total_size_mib\":N}}");
	if (balloon && !json_object_get(config, "balloon"))
		return refuse_change(err, "balloon: this machine has none",
				     "give it one: balloon = true");
	if ((memory && (update->memory & MIB_MASK)) || (balloon && (update->balloon & MIB_MASK)))
		return kiln__fail(err, KILN_EINVAL, "Firecracker takes whole MiB");
	if (memory && update->memory < spec->memory)
		return kiln__fail(err, KILN_EINVAL,
				  "memory: it cannot have less than it began with");
	return 0;
}

/* Its own words, by section, and where each goes; of those of a list, with its element's id. */
static const struct {
	const char *section;
	const char *member; /* of the section; NULL: the section itself */
	const char *target;
	const char *id;
} changes[] = {
	{"drives", NULL, "/drives/", "drive_id"},
	{"pmem", NULL, "/pmem/", "id"},
	{"network-interfaces", NULL, "/network-interfaces/", "iface_id"},
	{"balloon", NULL, "/balloon/statistics", NULL},
	{"balloon-hinting", "start", "/balloon/hinting/start", NULL},
	{"balloon-hinting", "stop", "/balloon/hinting/stop", NULL},
	{"mmds", NULL, "/mmds", NULL},
};

static void add_own(const json_t *own, struct kiln__api_steps *steps)
{
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		json_t *section = json_object_get(own, changes[i].section);
		const char *id = changes[i].id;
		json_t *element;
		size_t k;

		if (changes[i].member)
			section = json_object_get(section, changes[i].member);
		if (section && !id)
			/* Without members: without a body, as hinting is stopped. */
			kiln__api_add(steps, "PATCH",
				      json_object_size(section) ? json_incref(section) : NULL, "%s",
				      changes[i].target);
		json_array_foreach (id ? section : NULL, k, element)
			kiln__api_add(steps, "PATCH", json_incref(element), "%s%s",
				      changes[i].target,
				      json_string_value(json_object_get(element, id)));
	}
}

/* An element without its id would be a request for another. */
static int check_ids(const json_t *own, kiln_error *err)
{
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		json_t *element;
		size_t k;

		json_array_foreach (changes[i].id ? json_object_get(own, changes[i].section) : NULL,
				    k, element)
			if (!kiln__api_is_id(
				    json_string_value(json_object_get(element, changes[i].id))))
				return kiln__fail(err, KILN_EINVAL, "config: %s[%zu].%s: %s",
						  changes[i].section, k, changes[i].id,
						  "an id of letters, digits and '_' is needed");
	}
	return 0;
}

static int read_own(const char *text, unsigned version, json_t **ret, kiln_error *err)
{
	json_t *own = json_object();
	int r = own ? kiln__api_merge(&kiln__firecracker_runtime_form, own, text, err)
		    : kiln__fail_nomem(err);

	if (r == 0)
		r = check_ids(own, err);
	if (r == 0)
		r = kiln__api_check_version(&kiln__firecracker_runtime_form, own, version, err);
	if (r < 0) {
		json_decref(own);
		return r;
	}
	*ret = own;
	return 0;
}

int kiln__firecracker_update(const struct kiln__spec *spec, const json_t *config, unsigned version,
			     const kiln_update *update, struct kiln__api_steps *steps,
			     kiln_error *err)
{
	json_t *own = NULL;
	int r = check(spec, config, update, err);

	if (r == 0)
		r = read_own(update->config, version, &own, err);
	if (r < 0)
		return r;
	if (update->balloon != KILN_UPDATE_KEEP)
		kiln__api_add(steps, "PATCH",
			      json_pack("{s:I}", "amount_mib", (json_int_t)(update->balloon >> 20)),
			      "/balloon");
	if (update->memory != KILN_UPDATE_KEEP)
		kiln__api_add(steps, "PATCH",
			      json_pack("{s:I}", "requested_size_mib",
					(json_int_t)((update->memory - spec->memory) >> 20)),
			      "/hotplug/memory");
	add_own(own, steps);
	json_decref(own);
	return 0;
}
