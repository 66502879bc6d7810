/* SPDX-License-Identifier: Apache-2.0 */
/* The plain-C view: every field of every key, and every default. */
#include "config_help.h"

#include "os.h"
#include "spec.h"

static struct kiln__spec *spec_of(const char *json)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = parse_ok(json);
	struct kiln__spec *spec = NULL;

	kiln_ok(kiln__config_spec(config, &spec, &err), &err);
	kiln_config_free(config); /* the view borrows nothing */
	return spec;
}

static void assert_texts(const char *const *texts, const char *const *want)
{
	for (; *want; texts++, want++) {
		assert_non_null(*texts);
		assert_string_equal(*texts, *want);
	}
	assert_null(*texts);
}
#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void an_empty_configuration_is_all_defaults(void **state)
{
	struct kiln__spec *s = spec_of("{}");

	(void)state;
	assert_string_equal(s->backend, "auto");
	assert_string_equal(s->arch, kiln__os_arch());
	assert_string_equal(s->accel, "auto");
	assert_int_equal(s->cpus, 1);
	assert_int_equal(s->memory, 512 << 20);
	assert_false(kiln__source_is_set(&s->kernel));
	assert_false(kiln__source_is_set(&s->initrd));
	assert_null(s->cmdline);
	assert_int_equal(s->root.kind, KILN__ROOT_NONE);
	assert_false(kiln__source_is_set(&s->root.source));
	assert_string_equal(s->root.fstype, "ext4");
	assert_false(s->root.readonly);
	assert_int_equal(s->root.overlay, KILN__OVERLAY_MEMORY);
	assert_int_equal(s->root.overlay_size, 0);
	assert_int_equal(s->disk_count, 0);
	assert_int_equal(s->network_count, 0);
	assert_int_equal(s->port_count, 0);
	assert_true(s->vsock);
	assert_int_equal(s->cid, 0);
	assert_true(s->rng);
	assert_int_equal(s->console_limit, 1 << 20);
	assert_int_equal(s->log_limit, 10 << 20);
	assert_null(s->hostname);
	assert_null(s->machine_id);
	assert_int_equal(s->init, KILN__INIT_KILN);
	assert_int_equal(s->firmware, KILN__FIRMWARE_NONE);
	assert_int_equal(s->volume_count, 0);
	assert_false(kiln__spec_has_seed(s));
	assert_true(s->seed.agent);
	assert_false(kiln__source_is_set(&s->seed.user_data));
	assert_null(s->process.argv);
	assert_null(s->process.env);
	assert_string_equal(s->process.cwd, "/");
	assert_null(s->process.user);
	assert_false(s->process.tty);
	assert_false(s->process.stdin_open);
	assert_int_equal(s->readiness.kind, KILN__READY_AGENT);
	assert_int_equal(s->readiness.port, 0);
	assert_null(s->readiness.command);
	assert_int_equal(s->readiness.timeout_ms, 60000);
	assert_int_equal(s->stop_timeout_ms, 10000);
	assert_string_equal(s->on_reboot, "stop");
	assert_int_equal(s->label_count, 0);
	assert_null(s->qemu_binary);
	assert_string_equal(s->qemu_machine, "auto");
	assert_false(s->fake.fail_start || s->fake.ignore_stop || s->fake.fail_pause ||
		     s->fake.never_ready);
	assert_int_equal(s->fake.start_delay_ms + s->fake.crash_after_ms, 0);
	kiln__spec_free(s);
	kiln__spec_free(NULL);
}

static void every_single_value_arrives(void **state)
{
	struct kiln__spec *s = spec_of(
		"{'backend': 'fake', 'arch': 'aarch64', 'accel': 'tcg', 'cpus': 64, 'memory': "
		"'48M',"
		" 'kernel': {'path': '/k', 'offset': 1, 'length': 9007199254740992}, 'initrd': "
		"{'fd': 7},"
		" 'cmdline': 'quiet', 'vsock': {'cid': 4294967294}, 'console': {'limit': 4096},"
		" 'log': {'limit': '1T'}, 'rng': false, 'stop_timeout': 1, 'on_reboot': 'stop',"
		" 'identity': {'hostname': 'h', 'machine_id': '0123456789abcdef0123456789abcdef'},"
		" 'qemu': {'binary': '/q', 'machine': 'virt'},"
		" 'fake': {'start_delay': 1, 'fail_start': true, 'crash_after': 2, 'ignore_stop': "
		"true,"
		"          'fail_pause': true, 'never_ready': true}}");

	(void)state;
	assert_string_equal(s->backend, "fake");
	assert_string_equal(s->arch, "aarch64");
	assert_string_equal(s->accel, "tcg");
	assert_int_equal(s->cpus, 64);
	assert_int_equal(s->memory, 48 << 20);
	assert_string_equal(s->kernel.path, "/k");
	assert_int_equal(s->kernel.fd, KILN_FD_NONE);
	assert_int_equal(s->kernel.offset, 1);
	assert_int_equal(s->kernel.length, INT64_C(1) << 53);
	assert_null(s->initrd.path);
	assert_int_equal(s->initrd.fd, 7);
	assert_string_equal(s->cmdline, "quiet");
	assert_true(s->vsock);
	assert_int_equal(s->cid, 0xfffffffe);
	assert_int_equal(s->console_limit, 4096);
	assert_int_equal(s->log_limit, INT64_C(1) << 40);
	assert_false(s->rng);
	assert_int_equal(s->stop_timeout_ms, 1);
	assert_string_equal(s->hostname, "h");
	assert_string_equal(s->machine_id, "0123456789abcdef0123456789abcdef");
	assert_string_equal(s->qemu_binary, "/q");
	assert_string_equal(s->qemu_machine, "virt");
	assert_int_equal(s->fake.start_delay_ms, 1);
	assert_int_equal(s->fake.crash_after_ms, 2);
	assert_true(s->fake.fail_start && s->fake.ignore_stop && s->fake.fail_pause &&
		    s->fake.never_ready);
	kiln__spec_free(s);
}

static void each_root_has_its_kind(void **state)
{
	static const struct {
		const char *json;
		enum kiln__root_kind kind;
	} rows[] = {
		{"{'root': {'directory': '/r'}}", KILN__ROOT_DIRECTORY},
		{"{'root': {'tar': '/r'}}", KILN__ROOT_TAR},
		{"{'root': {'squashfs': '/r'}}", KILN__ROOT_SQUASHFS},
		{"{'root': {'disk': '/r'}}", KILN__ROOT_DISK},
	};
	struct kiln__spec *s;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s = spec_of(rows[i].json);
		assert_int_equal(s->root.kind, rows[i].kind);
		assert_string_equal(s->root.source.path, "/r");
		assert_int_equal(s->root.source.fd, KILN_FD_NONE);
		kiln__spec_free(s);
	}
	s = spec_of("{'root': {'disk': {'fd': 9, 'offset': 512}, 'fstype': 'xfs', 'readonly': true,"
		    " 'overlay': {'kind': 'none'}}, 'init': 'root'}");
	assert_int_equal(s->root.source.fd, 9);
	assert_int_equal(s->root.source.offset, 512);
	assert_string_equal(s->root.fstype, "xfs");
	assert_true(s->root.readonly);
	assert_int_equal(s->root.overlay, KILN__OVERLAY_NONE);
	assert_int_equal(s->init, KILN__INIT_ROOT);
	kiln__spec_free(s);
	s = spec_of("{'root': {'tar': '/t', 'overlay': {'kind': 'disk', 'size': '2G'}}}");
	assert_int_equal(s->root.overlay, KILN__OVERLAY_DISK);
	assert_int_equal(s->root.overlay_size, INT64_C(2) << 30);
	kiln__spec_free(s);
}

static void lists_keep_their_order(void **state)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0xab, 0xcd, 0xef};
	static const uint8_t none[6];
	struct kiln__spec *s = spec_of(
		"{'disks': ['/a', {'fd': 4, 'readonly': true, 'serial': 's', 'cache': 'unsafe',"
		" 'discard': true, 'offset': 8}],"
		" 'networks': [{}, {'kind': 'user', 'mac': '52:54:00:AB:CD:EF'}],"
		" 'ports': ['80', '[::1]:9:8/udp'], 'labels': {'b': '1', 'a': '2'}}");

	(void)state;
	assert_int_equal(s->disk_count, 2);
	assert_string_equal(s->disks[0].source.path, "/a");
	assert_int_equal(s->disks[0].source.fd, KILN_FD_NONE);
	assert_false(s->disks[0].readonly || s->disks[0].discard);
	assert_null(s->disks[0].serial);
	assert_string_equal(s->disks[0].cache, "writeback");
	assert_int_equal(s->disks[1].source.fd, 4);
	assert_int_equal(s->disks[1].source.offset, 8);
	assert_true(s->disks[1].readonly && s->disks[1].discard);
	assert_string_equal(s->disks[1].serial, "s");
	assert_string_equal(s->disks[1].cache, "unsafe");
	assert_int_equal(s->network_count, 2);
	assert_memory_equal(s->networks[0].mac, none, 6);
	assert_memory_equal(s->networks[1].mac, mac, 6);
	assert_int_equal(s->networks[1].kind, KILN__NETWORK_USER);
	assert_int_equal(s->port_count, 2);
	assert_string_equal(s->ports[0].host_ip, "127.0.0.1");
	assert_int_equal(s->ports[0].host_port, 0);
	assert_int_equal(s->ports[0].guest_port, 80);
	assert_false(s->ports[0].udp);
	assert_string_equal(s->ports[1].host_ip, "::1");
	assert_int_equal(s->ports[1].host_port, 9);
	assert_int_equal(s->ports[1].guest_port, 8);
	assert_true(s->ports[1].udp);
	assert_int_equal(s->label_count, 2);
	assert_string_equal(s->labels[0].key, "b");
	assert_string_equal(s->labels[0].value, "1");
	assert_string_equal(s->labels[1].key, "a");
	assert_string_equal(s->labels[1].value, "2");
	kiln__spec_free(s);
}

static void argv_is_the_entrypoint_and_then_the_args(void **state)
{
	struct kiln__spec *s = spec_of(
		"{'process': {'entrypoint': ['/e', '-x'], 'args': ['a', ''], 'tty': true,"
		" 'stdin': true, 'cwd': '/w', 'user': '1000:users', 'env': ['B=2', 'A=']}}");

	(void)state;
	assert_texts(s->process.argv, TEXTS("/e", "-x", "a", ""));
	assert_texts(s->process.env, TEXTS("B=2", "A="));
	assert_true(s->process.tty && s->process.stdin_open);
	assert_string_equal(s->process.cwd, "/w");
	assert_string_equal(s->process.user, "1000:users");
	kiln__spec_free(s);
	s = spec_of("{'process': {'args': ['a']}}");
	assert_texts(s->process.argv, TEXTS("a"));
	kiln__spec_free(s);
}

static void each_readiness_has_its_kind(void **state)
{
	static const struct {
		const char *json;
		enum kiln__ready_kind kind;
	} rows[] = {
		{"{'readiness': {'kind': 'agent'}}", KILN__READY_AGENT},
		{"{'readiness': {'kind': 'console'}}", KILN__READY_CONSOLE},
		{"{'readiness': {'kind': 'tcp', 'port': 80}, 'networks': [{}], 'ports': ['80']}",
		 KILN__READY_TCP},
		{"{'readiness': {'kind': 'vsock', 'port': 80}}", KILN__READY_VSOCK},
		{"{'readiness': {'kind': 'command', 'command': ['a', 'b']}}", KILN__READY_COMMAND},
		{"{'readiness': {'kind': 'none'}}", KILN__READY_NONE},
	};
	struct kiln__spec *s;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s = spec_of(rows[i].json);
		assert_int_equal(s->readiness.kind, rows[i].kind);
		if (s->readiness.kind == KILN__READY_COMMAND)
			assert_texts(s->readiness.command, TEXTS("a", "b"));
		kiln__spec_free(s);
	}
}

static void an_invalid_configuration_has_no_view(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = parse_ok("{'ports': ['80']}");
	struct kiln__spec *spec = NULL;

	(void)state;
	assert_int_equal(kiln__config_spec(config, &spec, &err), KILN_EINVAL);
	assert_null(spec);
	kiln_config_free(config);
}

static void a_cloud_machine_in_full(void **state)
{
	struct kiln__spec *s = spec_of(
		"{'firmware': 'uefi', 'disks': ['/d'], 'networks': [{}], 'volumes': [{'name': "
		"'data', "
		"'path': '/data', 'readonly': true, 'size': '1G'}], 'seed': {'users': [{'name': "
		"'ann', "
		"'groups': ['adm', 'x'], 'sudo': true}], 'packages': ['a', 'b'], 'env': ['A=1'], "
		"'mounts': [{'source': 'LABEL=x', 'path': '/m'}], 'interfaces': [{'name': 'lan0', "
		"'addresses': ['192.0.2.7/24']}], 'meta_data': '/meta'}}");

	(void)state;
	assert_int_equal(s->firmware, KILN__FIRMWARE_UEFI);
	assert_int_equal(s->readiness.timeout_ms, 600000);
	assert_int_equal(s->volume_count, 1);
	assert_string_equal(s->volumes[0].name, "data");
	assert_string_equal(s->volumes[0].path, "/data");
	assert_true(s->volumes[0].readonly);
	assert_int_equal(s->volumes[0].size, 1 << 30);
	assert_true(kiln__spec_has_seed(s));
	assert_int_equal(s->seed.user_count, 1);
	assert_string_equal(s->seed.users[0].name, "ann");
	assert_texts(s->seed.users[0].groups, TEXTS("adm", "x"));
	assert_true(s->seed.users[0].sudo);
	assert_null(s->seed.users[0].ssh_keys);
	assert_texts(s->seed.packages, TEXTS("a", "b"));
	assert_texts(s->seed.env, TEXTS("A=1"));
	assert_int_equal(s->seed.mount_count, 1);
	assert_string_equal(s->seed.mounts[0].fstype, "auto");
	assert_string_equal(s->seed.mounts[0].options, "defaults,nofail");
	assert_int_equal(s->seed.interface_count, 1);
	assert_texts(s->seed.interfaces[0].addresses, TEXTS("192.0.2.7/24"));
	assert_string_equal(s->seed.meta_data.path, "/meta");
	kiln__spec_free(s);
	s = spec_of("{'firmware': 'bios', 'arch': 'x86_64', 'disks': ['/d'], 'readiness': "
		    "{'timeout': '5s'}, 'seed': {'use': 'never'}}");
	assert_int_equal(s->readiness.timeout_ms, 5000);
	assert_false(kiln__spec_has_seed(s));
	kiln__spec_free(s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(an_empty_configuration_is_all_defaults),
		kiln_test(every_single_value_arrives),
		kiln_test(each_root_has_its_kind),
		kiln_test(lists_keep_their_order),
		kiln_test(argv_is_the_entrypoint_and_then_the_args),
		kiln_test(each_readiness_has_its_kind),
		kiln_test(an_invalid_configuration_has_no_view),
		kiln_test(a_cloud_machine_in_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
