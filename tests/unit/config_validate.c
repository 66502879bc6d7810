/* SPDX-License-Identifier: Apache-2.0 */
/* What only the whole can tell. */
#include "config_help.h"

#include "os.h"

#include <stdarg.h>

static void assert_valid(const char *json)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = parse_ok(json);

	if (kiln_config_validate(config, &err) != 0)
		fail_msg("%s: %s", json, err.message);
	kiln_config_free(config);
}

static void assert_invalid(const char *json, const char *message)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = parse_ok(json);
	int rc = kiln_config_validate(config, &err);

	assert_refusal(rc, &err, json, KILN_EINVAL, message);
	assert_int_equal(kiln_config_validate(config, NULL), KILN_EINVAL);
	kiln_config_free(config);
}

static void an_empty_configuration_is_valid(void **state)
{
	(void)state;
	assert_valid("{}");
}

static void a_source_is_a_path_or_a_descriptor(void **state)
{
	(void)state;
	assert_valid("{'kernel': {'fd': 4, 'offset': 512, 'length': 1024}}");
	assert_invalid("{'kernel': {'offset': 512}}", "kernel: must have one of path, fd");
	assert_invalid("{'kernel': {'path': '/k', 'fd': 4}}",
		       "kernel: must not have both path and fd");
	assert_invalid("{'disks': ['/a', {'readonly': true}]}",
		       "disks[1]: must have one of path, fd, url");
	assert_invalid("{'root': {'tar': {'length': 1}}}", "root.tar: must have one of path, fd");
}

static void there_is_one_root(void **state)
{
	(void)state;
	assert_valid("{'root': {'directory': '/r'}}");
	assert_invalid("{'root': {'directory': '/r', 'disk': '/d'}}",
		       "root: must not have both directory and disk");
	assert_invalid("{'root': {'overlay': {'kind': 'disk'}}}",
		       "root: must have one of directory, tar, squashfs, disk, image");
}

static void the_parts_of_a_root_agree(void **state)
{
	(void)state;
	assert_valid("{'root': {'disk': '/d', 'fstype': 'xfs'}}");
	assert_invalid("{'root': {'tar': '/t', 'fstype': 'xfs'}}",
		       "root.fstype: only root.disk has one");
	assert_valid("{'root': {'disk': '/d', 'readonly': true, 'overlay': {'kind': 'none'}}}");
	assert_invalid("{'root': {'disk': '/d', 'readonly': true}}",
		       "root.readonly: only means something for root.disk with root.overlay.kind "
		       "\"none\"");
	assert_invalid("{'root': {'tar': '/t', 'overlay': {'kind': 'none', 'size': '1G'}}}",
		       "root.overlay.size: there is no overlay");
	assert_valid("{'root': {'tar': '/t'}, 'init': 'root'}");
	assert_invalid("{'init': 'root'}", "init: \"root\" needs a root");
}

static void a_ports_guest_port_is_required(void **state)
{
	(void)state;
	assert_invalid("{'networks': [{}], 'ports': ['80', {'host_port': 80}]}",
		       "ports[1].guest_port: is required");
}

static void ports_need_a_network_and_differ(void **state)
{
	(void)state;
	assert_invalid("{'ports': ['80']}", "ports: there is no network");
	assert_invalid("{'networks': [{}], 'ports': ['8080:80', '8080:81']}",
		       "ports[1]: ports[0] has the same address and port");
	assert_valid("{'networks': [{}], 'ports': ['80', '80', '8080:80', '8080:80/udp', "
		     "'127.0.0.2:8080:80']}");
}

static void disks_and_networks_are_told_apart(void **state)
{
	(void)state;
	assert_invalid(
		"{'disks': [{'path': '/a', 'serial': 'x'}, '/b', {'path': '/c', 'serial': 'x'}]}",
		"disks[2].serial: disks[0] has the same");
	assert_invalid("{'networks': [{'mac': '52:54:00:00:00:0a'}, {'mac': '52:54:00:00:00:0A'}]}",
		       "networks[1].mac: networks[0] has the same");
	assert_valid("{'disks': ['/a', '/a'], 'networks': [{}, {}]}");
	assert_invalid("{'disks': [{'path': '/a', 'serial': 'kiln-rw'}]}",
		       "disks[0].serial: \"kiln-rw\" is kiln's own");
	assert_invalid("{'disks': ['/a', {'path': '/b', 'serial': 'kiln-root'}]}",
		       "disks[1].serial: \"kiln-root\" is kiln's own");
}

static void memory_is_no_more_than_the_host_has(void **state)
{
	uint64_t mib = kiln__os_total_memory() >> 20;
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config;
	char json[64], message[128];

	(void)state;
	if (mib == 0)
		skip();
	snprintf(json, sizeof(json), "{'memory': '%lluM'}", (unsigned long long)mib);
	assert_valid(json);
	snprintf(json, sizeof(json), "{'memory': '%lluM'}", (unsigned long long)mib + 1);
	config = parse_ok(json);
	assert_int_equal(kiln_config_validate(config, &err), KILN_EINVAL);
	snprintf(message, sizeof(message), " is more than this host has (%llu MiB)",
		 (unsigned long long)mib);
	assert_non_null(strstr(err.message, message));
	assert_ptr_equal(strstr(err.message, "memory: "), err.message);
	kiln_config_free(config);
}

static void the_distributions_kernel_needs_memory(void **state)
{
	(void)state;
	assert_valid("{'memory': '80M'}");
	assert_invalid("{'memory': '79M'}", "memory: 79 MiB is too little for the distribution's "
					    "kernel, which needs 80 MiB");
	assert_valid("{'memory': '16M', 'kernel': '/k'}");
	assert_valid("{'memory': '16M', 'backend': 'fake'}");
}

static void architectures_agree(void **state)
{
	bool arm = strcmp(kiln__os_arch(), "aarch64") == 0;
	char json[128], message[128];
	const char *other = arm ? "x86_64" : "aarch64";

	(void)state;
	assert_valid("{'accel': 'kvm'}");
	snprintf(json, sizeof(json), "{'arch': '%s'}", other);
	assert_valid(json);
	snprintf(json, sizeof(json), "{'arch': '%s', 'accel': 'kvm'}", other);
	snprintf(message, sizeof(message), "accel: \"kvm\" cannot run %s on this host (%s)", other,
		 kiln__os_arch());
	assert_invalid(json, message);
	assert_valid("{'arch': 'aarch64', 'qemu': {'machine': 'virt'}}");
	assert_invalid("{'arch': 'aarch64', 'qemu': {'machine': 'microvm'}}",
		       "qemu.machine: \"microvm\" is no machine of aarch64");
	assert_invalid("{'arch': 'x86_64', 'qemu': {'machine': 'virt'}}",
		       "qemu.machine: \"virt\" is no machine of x86_64");
}

static void what_needs_vsock_needs_it(void **state)
{
	(void)state;
	assert_valid("{'vsock': {'enabled': false}, 'readiness': {'kind': 'console'}}");
	assert_invalid("{'vsock': {'enabled': false}}",
		       "vsock.enabled: readiness.kind \"agent\" needs it");
	assert_invalid("{'vsock': {'enabled': false}, 'readiness': {'kind': 'vsock', 'port': 1}}",
		       "vsock.enabled: readiness.kind \"vsock\" needs it");
	assert_invalid("{'vsock': {'enabled': false}, 'readiness': {'kind': 'command', 'command': "
		       "['x']}}",
		       "vsock.enabled: readiness.kind \"command\" needs it");
	assert_invalid(
		"{'vsock': {'enabled': false}, 'readiness': {'kind': 'none'}, 'process': {'args': "
		"['x']}}",
		"vsock.enabled: process needs it");
	assert_invalid("{'vsock': {'enabled': false, 'cid': 3}, 'readiness': {'kind': 'none'}}",
		       "vsock.enabled: vsock.cid needs it");
}

static void readiness_has_what_its_kind_needs_and_no_more(void **state)
{
	(void)state;
	assert_valid("{'readiness': {'kind': 'vsock', 'port': 5000}}");
	assert_valid("{'readiness': {'kind': 'command', 'command': ['true']}}");
	assert_valid(
		"{'networks': [{}], 'ports': ['80'], 'readiness': {'kind': 'tcp', 'port': 80}}");
	assert_invalid("{'readiness': {'kind': 'vsock'}}",
		       "readiness.port: is required by this readiness.kind");
	assert_invalid("{'readiness': {'port': 80}}",
		       "readiness.port: only readiness.kind \"tcp\" and \"vsock\" have one");
	assert_invalid("{'readiness': {'kind': 'tcp', 'port': 80}}",
		       "readiness.port: 80 is not among the guest's published TCP ports");
	assert_invalid(
		"{'networks': [{}], 'ports': ['80/udp'], 'readiness': {'kind': 'tcp', 'port': "
		"80}}",
		"readiness.port: 80 is not among the guest's published TCP ports");
	assert_invalid("{'readiness': {'kind': 'command'}}",
		       "readiness.command: is required by this readiness.kind");
	assert_invalid("{'readiness': {'command': ['true']}}",
		       "readiness.command: only readiness.kind \"command\" has one");
	assert_invalid("{'readiness': {'kind': 'command', 'command': ['', 'a']}}",
		       "readiness.command[0]: must not be empty");
}

static void a_program_has_a_name(void **state)
{
	(void)state;
	assert_valid("{'process': {'args': ['sh', '']}}");
	assert_invalid("{'process': {'args': ['']}}",
		       "process: the program's name must not be empty");
}

#define DISK "'disks': ['/d']"

static void firmware_boots_disks_alone(void **state)
{
	(void)state;
	assert_valid("{'arch': 'x86_64', 'firmware': 'bios', " DISK "}");
	assert_valid("{'arch': 'aarch64', 'firmware': 'uefi', " DISK ", 'memory': '64M'}");
	assert_invalid("{'firmware': 'uefi'}", "disks: firmware needs a disk to boot from");
	assert_invalid("{'arch': 'aarch64', 'firmware': 'bios', " DISK "}",
		       "firmware: aarch64 machines have no BIOS: use \"uefi\"");
	assert_invalid("{'firmware': 'uefi', 'kernel': '/k', " DISK "}",
		       "kernel: firmware boots what the disks hold");
	assert_invalid("{'firmware': 'uefi', 'root': {'disk': '/r'}, " DISK "}",
		       "root: firmware boots what the disks hold");
	assert_invalid("{'firmware': 'uefi', 'tmpfs': ['/t'], " DISK "}",
		       "tmpfs: firmware boots what the disks hold");
	assert_invalid("{'qemu': {'firmware': '/f'}}",
		       "qemu.firmware: firmware says that there is none");
}

static void volumes_have_a_place_each(void **state)
{
	(void)state;
	assert_valid("{'root': {'tar': '/r'}, 'volumes': [{'name': 'a', 'path': '/a'}]}");
	assert_valid("{'firmware': 'uefi', 'volumes': [{'name': 'a', 'path': '/a'}], " DISK "}");
	assert_invalid(
		"{'firmware': 'uefi', 'seed': {'user_data': '/u'}, 'volumes': [{'name': 'a', "
		"'path': '/a'}], " DISK "}",
		"volumes: nothing would mount them: the seed has no user-data of kiln's");
	assert_invalid("{'root': {'tar': '/r'}, 'volumes': [{'name': 'a'}]}",
		       "volumes[0].path: is required");
	assert_invalid("{'volumes': [{'name': 'a', 'path': '/a'}]}",
		       "volumes: there is no root to mount them in");
	assert_invalid("{'root': {'tar': '/r'}, 'volumes': [{'name': 'a', 'path': '/a'}, {'name': "
		       "'a', 'path': '/b'}]}",
		       "volumes[1].name: volumes[0] has the same");
	assert_invalid("{'root': {'tar': '/r'}, 'volumes': [{'name': 'a', 'path': '/a'}, {'name': "
		       "'b', 'path': '/a'}]}",
		       "volumes[1].path: volumes[0] has the same");
	assert_invalid("{'root': {'tar': '/r'}, 'tmpfs': ['/a'], 'volumes': [{'name': 'a', 'path': "
		       "'/a'}]}",
		       "volumes[0].path: tmpfs[0] has the same");
	assert_invalid("{'root': {'tar': '/r'}, 'disks': [{'path': '/d', 'serial': 'kiln-vol0'}]}",
		       "disks[0].serial: \"kiln-vol0\" is kiln's own");
}

static void a_seed_has_a_reader(void **state)
{
	(void)state;
	assert_valid("{'root': {'tar': '/r'}, 'init': 'root', 'seed': {'packages': ['x']}}");
	assert_valid("{'firmware': 'uefi', 'seed': {'packages': ['x']}, " DISK "}");
	assert_valid("{'root': {'tar': '/r'}, 'seed': {'use': 'never', 'packages': ['x']}}");
	assert_invalid("{'root': {'tar': '/r'}, 'seed': {'packages': ['x']}}",
		       "seed: nothing in this guest reads it");
	assert_invalid("{'firmware': 'uefi', 'seed': {'user_data': '/u', 'commands': ['x']}, " DISK
		       "}",
		       "seed.commands: seed.user_data is all of the user-data");
	assert_invalid("{'firmware': 'uefi', 'seed': {'users': [{}]}, " DISK "}",
		       "seed.users[0].name: is required");
	assert_invalid(
		"{'firmware': 'uefi', 'seed': {'users': [{'name': 'a'}, {'name': 'a'}]}, " DISK "}",
		"seed.users[1].name: seed.users[0] has the same");
	assert_invalid("{'firmware': 'uefi', 'seed': {'interfaces': [{}]}, " DISK "}",
		       "seed.interfaces: there are more than networks (0)");
	assert_invalid("{'firmware': 'uefi', 'seed': {'env': {'A': '\\u0007'}}, " DISK "}",
		       "seed.env.A: must be text without control characters but tabs and newlines");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(an_empty_configuration_is_valid),
		kiln_test(a_source_is_a_path_or_a_descriptor),
		kiln_test(there_is_one_root),
		kiln_test(the_parts_of_a_root_agree),
		kiln_test(a_ports_guest_port_is_required),
		kiln_test(ports_need_a_network_and_differ),
		kiln_test(disks_and_networks_are_told_apart),
		kiln_test(memory_is_no_more_than_the_host_has),
		kiln_test(the_distributions_kernel_needs_memory),
		kiln_test(architectures_agree),
		kiln_test(what_needs_vsock_needs_it),
		kiln_test(readiness_has_what_its_kind_needs_and_no_more),
		kiln_test(a_program_has_a_name),
		kiln_test(firmware_boots_disks_alone),
		kiln_test(volumes_have_a_place_each),
		kiln_test(a_seed_has_a_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
