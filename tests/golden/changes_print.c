/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a running Cloud Hypervisor is asked, for api_test.py:
 *	changes-print [OWN]	the requests as a JSON array; OWN: an object of "own" by kind of
 *device
 */
#include "change.h"

#include <stdio.h>
#include <stdlib.h>

static int fail(const kiln_error *err)
{
	fprintf(stderr, "%s\n", err->message);
	return 1;
}

static void print_steps(json_t *list, struct kiln__api_steps *steps)
{
	for (size_t i = 0; i < steps->count; i++) {
		json_t *one = json_pack("{s:s, s:s}", "method", steps->items[i].method, "target",
					steps->items[i].target);

		if (steps->items[i].body)
			json_object_set(one, "body", steps->items[i].body);
		json_array_append_new(list, one);
	}
	kiln__api_steps_done(steps);
}

#define ADD(kind_, id_, ...)                                                                       \
	{                                                                                          \
		.kind = KILN_CHANGE_ADD, .device = kind_, .id = id_, __VA_ARGS__                   \
	}

static const kiln_change changes[] = {
	ADD("disk", "d1", .config = "{}"),
	ADD("net", "n1", .config = "{}"),
	ADD("fs", "f1", .own = "{\"tag\":\"t\",\"socket\":\"/s/fs\"}"),
	ADD("pmem", "p1", .own = "{\"file\":\"/d/pmem\",\"size\":4096}"),
	ADD("device", "v1", .own = "{\"path\":\"/sys/bus/pci/devices/0000:01:00.0\"}"),
	ADD("vdpa", "a1", .own = "{\"path\":\"/dev/vhost-vdpa-0\"}"),
	ADD("generic-vhost-user", "g1",
	    .own = "{\"socket\":\"/s/g\",\"queue_sizes\":[256],\"device_type\":26}"),
	{.kind = KILN_CHANGE_REMOVE, .id = "d1"},
	{.kind = KILN_CHANGE_RESIZE_DISK, .id = "d1", .bytes = 1 << 30},
	{.kind = KILN_CHANGE_RESIZE_ZONE, .id = "zone0", .bytes = 1 << 30},
	{.kind = KILN_CHANGE_NMI},
	{.kind = KILN_CHANGE_DUMP, .file = "/d/core"},
	{.kind = KILN_CHANGE_RESET},
};

static struct kiln__disk disk = {
	.source = {.path = "/d/new", .fd = KILN_FD_NONE},
	.serial = "new",
	.cache = "none",
	.discard = true,
};

static struct kiln__network network = {
	.kind = KILN__NETWORK_TAP, .interface = "tap7", .mac = {2, 0, 0, 0, 0, 1}};

static int print_change(const struct kiln__cloud_hypervisor_facts *facts, kiln_change change,
			const json_t *own, json_t *list)
{
	static struct kiln__api_steps steps;
	struct kiln__spec parts = {.disks = &disk, .networks = &network};
	char *text = change.device ? json_dumps(json_object_get(own, change.device), 0) : NULL;
	kiln_error err = KILN_ERROR_INIT;
	int r;

	if (text)
		change.own = text;
	r = kiln__cloud_hypervisor_change(facts, &change, &parts, &steps, &err);
	print_steps(list, &steps);
	free(text);
	return r < 0 ? fail(&err) : 0;
}

int main(int argc, char **argv)
{
	static struct kiln__api_steps steps;
	json_t *own = argc > 1 ? json_loads(argv[1], 0, NULL) : NULL;
	json_t *config =
		json_pack("{s:{s:i}, s:{s:I, s:I}, s:{}}", "cpus", "max_vcpus", 8, "memory", "size",
			  (json_int_t)1 << 29, "hotplug_size", (json_int_t)1 << 30, "balloon");
	struct kiln__cloud_hypervisor_facts facts = {
		.version = 53000, .dumps = true, .networked = true, .config = config};
	kiln_update update = KILN_UPDATE_INIT;
	kiln_error err = KILN_ERROR_INIT;
	json_t *list = json_array();
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(changes) / sizeof(changes[0]); i++)
		r = print_change(&facts, changes[i], own, list);
	update.cpus = 4;
	update.memory = 1 << 30;
	update.balloon = 1 << 20;
	if (r == 0 && kiln__cloud_hypervisor_resize(&facts, &update, &steps, &err) < 0)
		r = fail(&err);
	kiln__cloud_hypervisor_snapshot("/d/snapshot", &steps);
	kiln__cloud_hypervisor_restore("/d/snapshot", &steps);
	print_steps(list, &steps);
	json_dumpf(list, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(list);
	json_decref(config);
	json_decref(own);
	return r;
}
