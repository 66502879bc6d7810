/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VMM with an API is told of a machine, for api_test.py.
 *
 * api-print BACKEND minimal|full [CONFIG]: its requests as a JSON array; CONFIG is as in the
 * machine's document.
 *
 * api-print firecracker runtime [CONFIG]: its requests while it runs; CONFIG is as in
 * kiln_update.config.
 *
 * api-print BACKEND fields|runtime-fields: the table of its fields: path, key instead, since.
 */
#include "cloud_hypervisor_config.h"
#include "firecracker_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kiln__spec minimal(void)
{
	return (struct kiln__spec){
		.arch = "x86_64",
		.accel = "auto",
		.on_reboot = "stop",
		.cpus = 1,
		.memory = UINT64_C(512) << 20,
		.kernel = {.path = "/k/vmlinux", .fd = KILN_FD_NONE},
		.initrd = {.fd = KILN_FD_NONE},
		.root = {.source = {.fd = KILN_FD_NONE}},
		.rng = true,
		.firecracker = {.api = true},
	};
}

static struct kiln__disk disks[] = {
	{.source = {.path = "/d/a", .fd = KILN_FD_NONE}, .readonly = true},
	{.source = {.path = "/d/b", .fd = KILN_FD_NONE},
	 .serial = KILN__OVERLAY_SERIAL,
	 .cache = "unsafe",
	 .discard = true,
	 .own = true},
};

static struct kiln__network network = {
	.kind = KILN__NETWORK_TAP, .interface = "tap7", .mac = {2, 0, 0, 0, 0, 1}};

static struct kiln__share shares[] = {
	{.source = "/usr", .target = "/work"},
	{.source = "/etc", .tag = "tools", .readonly = true},
};

static struct kiln__spec full(void)
{
	struct kiln__spec spec = minimal();

	spec.cpus = 4;
	spec.initrd.path = "/k/initramfs";
	spec.cmdline = "extra=1";
	spec.root.kind = KILN__ROOT_SQUASHFS;
	spec.root.source.path = "/r/root.squashfs";
	spec.disks = disks;
	spec.disk_count = 2;
	spec.networks = &network;
	spec.network_count = 1;
	spec.vsock = true;
	spec.cid = 42;
	spec.balloon = true;
	return spec;
}

static int print_fields(const struct kiln__api_form *form)
{
	for (const struct kiln__api_field *f = form->fields; f->path; f++)
		printf("%s\t%s\t%u\n", f->path, f->instead ? f->instead : "", f->since);
	return 0;
}

static int fail(const kiln_error *err)
{
	fprintf(stderr, "%s\n", err->message);
	return 1;
}

static void print_steps(struct kiln__api_steps *steps)
{
	json_t *list = json_array();

	for (size_t i = 0; i < steps->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:O*}", "method",
						      steps->items[i].method, "target",
						      steps->items[i].target, "body",
						      steps->items[i].body));
	json_dumpf(list, stdout, JSON_INDENT(1));
	putchar('\n');
	kiln__api_steps_done(steps);
	json_decref(list);
}

static int print_firecracker(const struct kiln__spec *spec)
{
	static struct kiln__api_steps steps;
	kiln_error err = KILN_ERROR_INIT;
	json_t *config;

	if (kiln__firecracker_check(spec, &err) < 0 ||
	    kiln__firecracker_config(spec, "/v/vsock.sock", &config, &err) < 0)
		return fail(&err);
	kiln__firecracker_requests(config, &steps);
	print_steps(&steps);
	json_decref(config);
	return 0;
}

/* What is sent while it runs, of a change and of a snapshot; and of a start from one. */
static int print_runtime(struct kiln__spec *spec, const char *own)
{
	static struct kiln__api_steps steps;
	kiln_update update = KILN_UPDATE_INIT;
	kiln_error err = KILN_ERROR_INIT;
	json_t *config;

	spec->firecracker.config = "{\"memory-hotplug\":{\"total_size_mib\":1024}}";
	spec->snapshot = "/s";
	update.config = own;
	update.balloon = UINT64_C(64) << 20;
	update.memory = UINT64_C(640) << 20;
	if (kiln__firecracker_config(spec, "/v/vsock.sock", &config, &err) < 0)
		return fail(&err);
	if (kiln__firecracker_update(spec, config, 1017, &update, &steps, &err) < 0)
		return fail(&err);
	kiln__firecracker_save("/s", NULL, &steps);
	kiln__firecracker_save("/t", "/s", &steps);
	if (kiln__firecracker_load(spec, "/v/vsock.sock", true, 1017, &steps, &err) < 0)
		return fail(&err);
	print_steps(&steps);
	json_decref(config);
	return 0;
}

static int print_cloud_hypervisor(const struct kiln__spec *spec)
{
	kiln_error err = KILN_ERROR_INIT;
	json_t *config;
	json_t *list;

	if (kiln__cloud_hypervisor_check(spec, &err) < 0 ||
	    kiln__cloud_hypervisor_config(spec, "/v/vsock.sock", &config, &err) < 0)
		return fail(&err);
	list = json_pack("[{s:s, s:s, s:o}, {s:s, s:s}]", "method", "PUT", "target",
			 "/api/v1/vm.create", "body", config, "method", "PUT", "target",
			 "/api/v1/vm.boot");
	json_dumpf(list, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(list);
	return 0;
}

int main(int argc, char **argv)
{
	bool firecracker = argc > 1 && strcmp(argv[1], "firecracker") == 0;
	struct kiln__spec spec = minimal();

	if (argc < 3)
		return 2;
	if (strcmp(argv[2], "fields") == 0)
		return print_fields(firecracker ? &kiln__firecracker_form
						: &kiln__cloud_hypervisor_form);
	if (strcmp(argv[2], "runtime-fields") == 0)
		return print_fields(&kiln__firecracker_runtime_form);
	if (strcmp(argv[2], "full") == 0)
		spec = full();
	if (strcmp(argv[2], "runtime") == 0) {
		spec = full();
		return print_runtime(&spec, argc > 3 ? argv[3] : NULL);
	}
	if (!firecracker && strcmp(argv[2], "full") == 0 && argc == 3) {
		spec.shares = shares;
		spec.share_count = 2;
	}
	if (argc > 3)
		spec.firecracker.config = spec.cloud_hypervisor.config = argv[3];
	return firecracker ? print_firecracker(&spec) : print_cloud_hypervisor(&spec);
}
