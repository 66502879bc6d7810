/* SPDX-License-Identifier: Apache-2.0 */
/* Documents: what is taken, in which form it is kept, and what is refused with which words. */
#include "config_help.h"

#include "buf.h"

struct refused {
	const char *json;
	int code;
	const char *message;
};

static void assert_all_refused(const struct refused *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		parse_refused(rows[i].json, rows[i].code, rows[i].message);
}
#define ASSERT_ALL_REFUSED(rows) assert_all_refused(rows, sizeof(rows) / sizeof(rows[0]))

struct taken {
	const char *json;
	const char *printed;
};

static void assert_all_taken(const struct taken *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		kiln_config *config = parse_ok(rows[i].json);

		assert_prints(config, rows[i].printed);
		kiln_config_free(config);
	}
}
#define ASSERT_ALL_TAKEN(rows) assert_all_taken(rows, sizeof(rows) / sizeof(rows[0]))

static void what_is_not_json_is_refused_with_line_and_column(void **state)
{
	static const struct refused rows[] = {
		{"", KILN_EINVAL,
		 "not JSON: line 1, column 0: '[' or '{' expected near end of file"},
		{"{'cpus': 1,\n 'memory' 5}", KILN_EINVAL,
		 "not JSON: line 2, column 11: ':' expected near '5'"},
		{"{'cpus': 1, 'cpus': 2}", KILN_EINVAL,
		 "not JSON: line 1, column 18: duplicate object key near '\"cpus\"'"},
		{"{} x", KILN_EINVAL, "not JSON: line 1, column 4: end of file expected near 'x'"},
		{"{'cpus': 99999999999999999999}", KILN_EINVAL,
		 "not JSON: line 1, column 29: too big integer near '99999999999999999999'"},
		{"{'cmdline': 'a\\u0000b'}", KILN_EINVAL,
		 "not JSON: line 1, column 22: NUL characters are not allowed"},
		{"{'a\\u0000': 1}", KILN_EINVAL,
		 "not JSON: line 1, column 10: NUL characters are not allowed"},
		{"[]", KILN_EINVAL, "must be an object, not a list"},
	};

	(void)state;
	ASSERT_ALL_REFUSED(rows);
}

static void a_refusal_shows_no_control_characters(void **state)
{
	(void)state;
	parse_refused("{'\\u001b[2Jx': 1}", KILN_EINVAL, "unknown key \"?[2Jx\"");
	parse_refused("{'accel': '\\u001b[2J\\u00e9'}", KILN_EINVAL,
		      "accel: must be \"auto\", \"kvm\" or \"tcg\", not \"?[2J??\"");
}

static void a_long_value_is_cut_in_a_refusal(void **state)
{
	(void)state;
	parse_refused(
		"{'accel': 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaa'}",
		KILN_EINVAL,
		"accel: must be \"auto\", \"kvm\" or \"tcg\", not "
		"\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\"");
}

static void an_unknown_key_is_refused_with_its_path(void **state)
{
	static const struct refused rows[] = {
		{"{'nonsense': 1}", KILN_EINVAL, "unknown key \"nonsense\""},
		{"{'disks': [{'path': '/a'}, {'pat': '/b'}]}", KILN_EINVAL,
		 "disks[1]: unknown key \"pat\""},
		{"{'root': {'overlay': {'sise': 1}}}", KILN_EINVAL,
		 "root.overlay: unknown key \"sise\""},
	};

	(void)state;
	ASSERT_ALL_REFUSED(rows);
}

static void an_unknown_key_suggests_the_nearest(void **state)
{
	static const struct {
		const char *json;
		const char *hint;
	} rows[] = {
		{"{'cpu': 1}", "did you mean cpus?"},
		{"{'vcpus': 1}", "did you mean cpus?"},
		{"{'mem': 1}", "did you mean memory?"},
		{"{'memroy': 1}", "did you mean memory?"},
		{"{'hostname': 1}", "did you mean identity.hostname?"},
		{"{'discard': 1}", "did you mean disks[].discard?"},
		{"{'serial': 1}",
		 "the console is always there; a disk's serial number is disks[].serial"},
		{"{'ttl': 1}", "that will be time_to_live, not supported yet by this version"},
		{"{'identity': {'efi_vars': 1}}",
		 "that will be identity.efi_variables, not supported yet by this version"},
		{"{'process': {'uid': 1}}", "set process.user, to \"1000\" or \"1000:1000\""},
		{"{'process': {'gid': 1}}", "set process.user, to \"1000:1000\""},
		{"{'disks': [{'pth': 1}]}", "did you mean disks[0].path?"},
		{"{'vsock': {'cdi': 1}}", "did you mean vsock.cid?"},
		{"{'xyzzy': 1}", "see kiln-config(5), or \"kiln schema\", for the keys"},
		{"{'': 1}", "see kiln-config(5), or \"kiln schema\", for the keys"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		kiln_error err = KILN_ERROR_INIT;
		kiln_config *config;
		char *text = unquote(rows[i].json);

		assert_int_equal(kiln_config_parse(text, strlen(text), &config, &err), KILN_EINVAL);
		assert_string_equal(err.hint, rows[i].hint);
		free(text);
	}
}

static void keys_of_later_versions_are_refused_by_name(void **state)
{
	static const char *const keys[] = {"egress", "restart", "idle", "jail", "time_to_live"};
	char json[128], message[128];

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		snprintf(json, sizeof(json), "{'%s': {}}", keys[i]);
		snprintf(message, sizeof(message), "not supported yet by this version: %s",
			 keys[i]);
		parse_refused(json, KILN_ENOTSUP, message);
	}
	parse_refused("{'identity': {'efi_variables': {}}}", KILN_ENOTSUP,
		      "not supported yet by this version: identity.efi_variables");
	parse_refused("{'disks': [{'sync': 'none'}]}", KILN_ENOTSUP,
		      "not supported yet by this version: disks[0].sync");
}

static void a_wrong_type_is_refused_with_what_it_is_and_what_it_must_be(void **state)
{
	static const struct refused rows[] = {
		{"{'cpus': '1'}", KILN_EINVAL, "cpus: must be a whole number, not a string"},
		{"{'cpus': 1.0}", KILN_EINVAL,
		 "cpus: must be a whole number, not a number with a fraction or exponent"},
		{"{'cpus': true}", KILN_EINVAL, "cpus: must be a whole number, not true"},
		{"{'cpus': null}", KILN_EINVAL, "cpus: must be a whole number, not null"},
		{"{'memory': 5e8}", KILN_EINVAL,
		 "memory: must be a size (a number of bytes, or with a unit: \"512M\"), not a "
		 "number with a "
		 "fraction or exponent"},
		{"{'stop_timeout': []}", KILN_EINVAL,
		 "stop_timeout: must be a duration (a number of milliseconds, or with a unit: "
		 "\"10s\"), "
		 "not a list"},
		{"{'rng': 1}", KILN_EINVAL, "rng: must be true or false, not a number"},
		{"{'rng': 'true'}", KILN_EINVAL, "rng: must be true or false, not a string"},
		{"{'cmdline': 1}", KILN_EINVAL, "cmdline: must be a string, not a number"},
		{"{'cmdline': null}", KILN_EINVAL, "cmdline: must be a string, not null"},
		{"{'root': '/r'}", KILN_EINVAL, "root: must be an object, not a string"},
		{"{'kernel': 1}", KILN_EINVAL,
		 "kernel: must be an object or a string, not a number"},
		{"{'disks': {}}", KILN_EINVAL, "disks: must be a list, not an object"},
		{"{'disks': [1]}", KILN_EINVAL,
		 "disks[0]: must be an object or a string, not a number"},
		{"{'process': {'args': 'sh'}}", KILN_EINVAL,
		 "process.args: must be a list, not a string"},
		{"{'process': {'args': ['a', 1]}}", KILN_EINVAL,
		 "process.args[1]: must be a string, not a number"},
		{"{'process': {'env': 'A=1'}}", KILN_EINVAL,
		 "process.env: must be an object, or a list of \"NAME=VALUE\", not a string"},
		{"{'process': {'env': {'A': 1}}}", KILN_EINVAL,
		 "process.env.A: must be a string, not a number"},
		{"{'process': {'env': [1]}}", KILN_EINVAL,
		 "process.env[0]: must be a string, not a number"},
		{"{'ports': [80]}", KILN_EINVAL,
		 "ports[0]: must be an object or a string, not a number"},
	};

	(void)state;
	ASSERT_ALL_REFUSED(rows);
}

static void numbers_out_of_range_are_refused_with_the_bound(void **state)
{
	static const struct refused rows[] = {
		{"{'cpus': 0}", KILN_EOVERFLOW, "cpus: must be at least 1, not 0"},
		{"{'cpus': -1}", KILN_EOVERFLOW, "cpus: must be at least 1, not -1"},
		{"{'cpus': 65}", KILN_EOVERFLOW, "cpus: must be at most 64, not 65"},
		{"{'memory': 1}", KILN_EOVERFLOW, "memory: must be at least 16 MiB, not 1 byte"},
		{"{'memory': 16777217}", KILN_EINVAL,
		 "memory: must be a multiple of 1 MiB, not 16777217 bytes"},
		{"{'memory': '17T'}", KILN_EOVERFLOW, "memory: must be at most 16 TiB, not 17 TiB"},
		{"{'memory': '9999999999999T'}", KILN_EINVAL,
		 "memory: must be a size (a number of bytes, or with a unit: \"512M\"), not "
		 "\"9999999999999T\""},
		{"{'stop_timeout': -5}", KILN_EOVERFLOW,
		 "stop_timeout: must be at least 0ms, not -5ms"},
		{"{'stop_timeout': '2d'}", KILN_EOVERFLOW,
		 "stop_timeout: must be at most 1d, not 2d"},
		{"{'vsock': {'cid': 2}}", KILN_EOVERFLOW, "vsock.cid: must be at least 3, not 2"},
		{"{'vsock': {'cid': 4294967295}}", KILN_EOVERFLOW,
		 "vsock.cid: must be at most 4294967294, not 4294967295"},
		{"{'ports': [{'guest_port': 0}]}", KILN_EOVERFLOW,
		 "ports[0].guest_port: must be at least 1, not 0"},
		{"{'ports': [{'guest_port': 65536}]}", KILN_EOVERFLOW,
		 "ports[0].guest_port: must be at most 65535, not 65536"},
		{"{'kernel': {'fd': 2}}", KILN_EOVERFLOW, "kernel.fd: must be at least 3, not 2"},
		{"{'kernel': {'offset': 9007199254740993}}", KILN_EOVERFLOW,
		 "kernel.offset: must be at most 8192 TiB, not 9007199254740993 bytes"},
		{"{'console': {'limit': 4095}}", KILN_EOVERFLOW,
		 "console.limit: must be at least 4 KiB, not 4095 bytes"},
		{"{'readiness': {'timeout': 0}}", KILN_EOVERFLOW,
		 "readiness.timeout: must be at least 1ms, not 0ms"},
	};

	(void)state;
	ASSERT_ALL_REFUSED(rows);
}

static void texts_must_look_as_their_key_demands(void **state)
{
	static const struct refused rows[] = {
		{"{'accel': 'hvf'}", KILN_EINVAL,
		 "accel: must be \"auto\", \"kvm\" or \"tcg\", not \"hvf\""},
		{"{'on_reboot': 'panic'}", KILN_EINVAL,
		 "on_reboot: must be \"stop\" or \"restart\", not \"panic\""},
		{"{'backend': 'Q'}", KILN_EINVAL,
		 "backend: must be lower-case letters, digits, '-' and '_', not \"Q\""},
		{"{'backend': ''}", KILN_EINVAL, "backend: must not be empty"},
		{"{'kernel': 'vmlinuz'}", KILN_EINVAL,
		 "kernel.path: must be an absolute path on the host, not \"vmlinuz\""},
		{"{'kernel': ''}", KILN_EINVAL, "kernel.path: must not be empty"},
		{"{'disks': ['./d']}", KILN_EINVAL,
		 "disks[0].path: must be an absolute path on the host, not \"./d\""},
		{"{'qemu': {'binary': 'qemu-system-x86_64'}}", KILN_EINVAL,
		 "qemu.binary: must be an absolute path on the host, not \"qemu-system-x86_64\""},
		{"{'process': {'cwd': 'tmp'}}", KILN_EINVAL,
		 "process.cwd: must be an absolute path in the guest, not \"tmp\""},
		{"{'cmdline': 'a\\nb'}", KILN_EINVAL,
		 "cmdline: must be printable ASCII characters, not \"a?b\""},
		{"{'disks': [{'serial': '123456789012345678901'}]}", KILN_EOVERFLOW,
		 "disks[0].serial: must have at most 20 bytes, not 21"},
		{"{'disks': [{'serial': '\\u00e9'}]}", KILN_EINVAL,
		 "disks[0].serial: must be printable ASCII characters, none of them a blank or "
		 "comma, not \"??\""},
		{"{'disks': [{'serial': 'a b'}]}", KILN_EINVAL,
		 "disks[0].serial: must be printable ASCII characters, none of them a blank or "
		 "comma, not \"a b\""},
		{"{'disks': [{'serial': 'a,b'}]}", KILN_EINVAL,
		 "disks[0].serial: must be printable ASCII characters, none of them a blank or "
		 "comma, not \"a,b\""},
		{"{'identity': {'machine_id': '0123'}}", KILN_EINVAL,
		 "identity.machine_id: must be 32 lower-case hexadecimal digits, not all of them "
		 "0, not "
		 "\"0123\""},
		{"{'labels': {'-x': ''}}", KILN_EINVAL,
		 "labels: must have a name of 1 to 128 letters, digits, '.', '_', '-' and '/' that "
		 "begins and "
		 "ends with a letter or digit, not \"-x\""},
		{"{'process': {'env': {'A B': ''}}}", KILN_EINVAL,
		 "process.env: must have a name of 1 to 256 printable ASCII characters without "
		 "space and '=', "
		 "not \"A B\""},
		{"{'process': {'env': {'': ''}}}", KILN_EINVAL,
		 "process.env: must have a name of 1 to 256 printable ASCII characters without "
		 "space and '=', "
		 "not \"\""},
		{"{'process': {'env': ['A']}}", KILN_EINVAL,
		 "process.env[0]: must be NAME=VALUE, not \"A\""},
		{"{'process': {'user': 'a:b:c'}}", KILN_EINVAL,
		 "process.user: must be USER or USER:GROUP, names or numbers, not \"a:b:c\""},
	};

	(void)state;
	ASSERT_ALL_REFUSED(rows);
}

static void sizes_and_durations_are_kept_as_numbers(void **state)
{
	static const struct taken rows[] = {
		{"{'memory': '512M'}", "{'memory':536870912}"},
		{"{'memory': '1g'}", "{'memory':1073741824}"},
		{"{'memory': '1GiB'}", "{'memory':1073741824}"},
		{"{'memory': '16777216'}", "{'memory':16777216}"},
		{"{'stop_timeout': '1m30s'}", "{'stop_timeout':90000}"},
		{"{'stop_timeout': 0}", "{'stop_timeout':0}"},
		{"{'readiness': {'timeout': '250ms'}}", "{'readiness':{'timeout':250}}"},
	};

	(void)state;
	ASSERT_ALL_TAKEN(rows);
}

static void short_forms_are_written_out(void **state)
{
	static const struct taken rows[] = {
		{"{'kernel': '/k'}", "{'kernel':{'path':'/k'}}"},
		{"{'disks': ['/d', {'fd': 3}]}", "{'disks':[{'path':'/d'},{'fd':3}]}"},
		{"{'root': {'tar': '/t'}}", "{'root':{'tar':{'path':'/t'}}}"},
		{"{'process': {'env': ['A=1', 'B=', 'A=x=y']}}",
		 "{'process':{'env':{'A':'x=y','B':''}}}"},
		{"{'labels': ['a.b/c=1']}", "{'labels':{'a.b/c':'1'}}"},
		{"{'ports': ['80', '8080:80', '127.0.0.1:8080:80/udp', '1.2.3.4::80', "
		 "'[::1]:81:80']}",
		 "{'ports':[{'guest_port':80},{'host_port':8080,'guest_port':80},"
		 "{'host_ip':'127.0.0.1','host_port':8080,'guest_port':80,'protocol':'udp'},"
		 "{'host_ip':'1.2.3.4','guest_port':80},"
		 "{'host_ip':'::1','host_port':81,'guest_port':80}]}"},
	};

	(void)state;
	ASSERT_ALL_TAKEN(rows);
}

static void ports_in_dockers_form_are_checked(void **state)
{
	static const char *const bad[] = {
		"",        ":",           ":80",        "80:",        "a:80",
		"1:2:3:4", "::1:80:80",   "[::1]80:80", "[::1:80:80", "[]:1:2",
		"80-90",   "80-90:80-90", "80 ",        "-1"};
	char json[128], message[192];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(json, sizeof(json), "{'ports': ['%s']}", bad[i]);
		snprintf(message, sizeof(message),
			 "ports[0]: must be [[IP:]HOST_PORT:]PORT[/PROTOCOL], not \"%s\"", bad[i]);
		if (strcmp(bad[i], "-1") != 0)
			parse_refused(json, KILN_EINVAL, message);
	}
	parse_refused("{'ports': ['-1']}", KILN_EOVERFLOW,
		      "ports[0].guest_port: must be at least 1, not -1");
	parse_refused("{'ports': ['80/sctp']}", KILN_EINVAL,
		      "ports[0].protocol: must be \"tcp\" or \"udp\", not \"sctp\"");
	parse_refused("{'ports': ['localhost:80:80']}", KILN_EINVAL,
		      "ports[0].host_ip: must be an IPv4 or IPv6 address, not \"localhost\"");
	parse_refused("{'ports': ['0:99999']}", KILN_EOVERFLOW,
		      "ports[0].guest_port: must be at most 65535, not 99999");
}

static void addresses_are_kept_in_one_form(void **state)
{
	static const struct taken rows[] = {
		{"{'networks': [{'mac': '52:54:00:AB:CD:EF'}]}",
		 "{'networks':[{'mac':'52:54:00:ab:cd:ef'}]}"},
		{"{'ports': [{'host_ip': '0:0:0:0:0:0:0:1', 'guest_port': 1}]}",
		 "{'ports':[{'host_ip':'::1','guest_port':1}]}"},
	};

	(void)state;
	ASSERT_ALL_TAKEN(rows);
}

static void what_says_nothing_is_not_kept(void **state)
{
	static const struct taken rows[] = {
		{"{}", "{}"},
		{"{'vsock': {}, 'labels': {}, 'disks': [], 'process': {'env': [], 'args': []}}",
		 "{}"},
		{"{'networks': [{}]}", "{'networks':[{}]}"},
		{"{'cpus': 1}", "{'cpus':1}"}, /* but a default that was set is */
	};

	(void)state;
	ASSERT_ALL_TAKEN(rows);
}

static void keys_are_printed_in_the_schemas_order(void **state)
{
	static const struct taken rows[] = {
		{"{'labels': {'b': '1', 'a': '2'}, 'cpus': 2, 'backend': 'fake', 'arch': 'x86_64'}",
		 "{'backend':'fake','arch':'x86_64','cpus':2,'labels':{'b':'1','a':'2'}}"},
		{"{'disks': [{'discard': true, 'readonly': false, 'path': '/d'}]}",
		 "{'disks':[{'path':'/d','readonly':false,'discard':true}]}"},
	};

	(void)state;
	ASSERT_ALL_TAKEN(rows);
}

/* A document of @count times @part between @head and @tail. */
static char *repeat(const char *head, const char *part, size_t count, const char *tail)
{
	struct kiln__buf text = KILN__BUF_INIT;

	kiln__buf_adds(&text, head);
	for (size_t i = 0; i < count; i++)
		kiln__buf_addf(&text, "%s%s", i ? "," : "", part);
	kiln__buf_adds(&text, tail);
	assert_false(text.failed);
	return kiln__buf_steal(&text);
}

static void lists_and_maps_have_limits(void **state)
{
	char *text;

	(void)state;
	text = repeat("{'disks': [", "{}", 25, "]}");
	parse_refused(text, KILN_EOVERFLOW, "disks: must have at most 24 elements, not 25");
	free(text);
	text = repeat("{'process': {'args': [", "''", 4097, "]}}");
	parse_refused(text, KILN_EOVERFLOW,
		      "process.args: must have at most 4096 elements, not 4097");
	free(text);
	text = repeat("{'process': {'args': [", "''", 4096, "]}}");
	kiln_config_free(parse_ok(text));
	free(text);
}

static void documents_have_limits(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = NULL;
	char *text = malloc(1024 * 1024 + 2);

	(void)state;
	assert_non_null(text);
	memset(text, ' ', 1024 * 1024 + 1);
	memcpy(text, "{}", 2);
	assert_int_equal(kiln_config_parse(text, 1024 * 1024 + 1, &config, &err), KILN_EOVERFLOW);
	assert_string_equal(err.message, "the document is longer than 1048576 bytes");
	kiln_ok(kiln_config_parse(text, 1024 * 1024, &config, &err), &err);
	kiln_config_free(config);
	config = NULL;
	memset(text, '[', 1024 * 1024);
	assert_int_equal(kiln_config_parse(text, 1024 * 1024, &config, &err), KILN_EINVAL);
	assert_string_equal(err.message, "not a configuration: nested deeper than 16");
	free(text);
	parse_refused("[ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ ", KILN_EINVAL,
		      "not a configuration: nested deeper than 16");
	parse_refused("[ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ ", KILN_EINVAL,
		      "not JSON: line 1, column 32: ']' expected near end of file");
	/* Brackets in strings are not nesting. */
	config = parse_ok("{'cmdline': '\\\\[[[[[[[[[[[[[[[[[[[['}");
	kiln_config_free(config);
}

static void invalid_utf8_is_refused(void **state)
{
	static const char document[] = "{\"cmdline\": \"\xff\"}";
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = NULL;

	(void)state;
	assert_int_equal(kiln_config_parse(document, strlen(document), &config, &err), KILN_EINVAL);
	assert_non_null(strstr(err.message, "not JSON: line 1, column"));
}

static void a_file_is_loaded_and_named_in_refusals(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = NULL;
	const char *path = kiln_test_path("machine.json");
	char want[512];
	FILE *file = fopen(path, "w");

	(void)state;
	assert_non_null(file);
	fputs("{\"cpus\": 3}", file);
	fclose(file);
	kiln_ok(kiln_config_load(path, &config, &err), &err);
	assert_get(config, "cpus", "3");
	kiln_config_free(config);

	file = fopen(path, "w");
	assert_non_null(file);
	fputs("{\"cpus\": 0}", file);
	fclose(file);
	config = NULL;
	assert_int_equal(kiln_config_load(path, &config, &err), KILN_EOVERFLOW);
	snprintf(want, sizeof(want), "%s: cpus: must be at least 1, not 0", path);
	assert_string_equal(err.message, want);
	assert_null(config);
	assert_int_equal(kiln_config_load(kiln_test_path("absent"), &config, &err), KILN_ENOENT);
	assert_string_equal(err.stage, "config");
}

static void a_caller_may_not_want_the_error(void **state)
{
	kiln_config *config = NULL;

	(void)state;
	assert_int_equal(kiln_config_parse("{\"cpu\":1}", 9, &config, NULL), KILN_EINVAL);
	assert_int_equal(kiln_config_parse("{\"egress\":1}", 12, &config, NULL), KILN_ENOTSUP);
	assert_int_equal(kiln_config_parse("{", 1, &config, NULL), KILN_EINVAL);
	assert_int_equal(kiln_config_load(kiln_test_path("absent"), &config, NULL), KILN_ENOENT);
}

static void a_copy_is_independent(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = parse_ok("{'disks': ['/a']}");
	kiln_config *copy = NULL;

	(void)state;
	kiln_ok(kiln_config_copy(config, &copy, &err), &err);
	set_ok(config, "disks[0].path", "/b");
	assert_get(copy, "disks[0].path", "/a");
	kiln_config_free(config);
	assert_get(copy, "disks[0].path", "/a");
	kiln_config_free(copy);
	kiln_config_free(NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(what_is_not_json_is_refused_with_line_and_column),
		kiln_test(a_refusal_shows_no_control_characters),
		kiln_test(a_long_value_is_cut_in_a_refusal),
		kiln_test(an_unknown_key_is_refused_with_its_path),
		kiln_test(an_unknown_key_suggests_the_nearest),
		kiln_test(keys_of_later_versions_are_refused_by_name),
		kiln_test(a_wrong_type_is_refused_with_what_it_is_and_what_it_must_be),
		kiln_test(numbers_out_of_range_are_refused_with_the_bound),
		kiln_test(texts_must_look_as_their_key_demands),
		kiln_test(sizes_and_durations_are_kept_as_numbers),
		kiln_test(short_forms_are_written_out),
		kiln_test(ports_in_dockers_form_are_checked),
		kiln_test(addresses_are_kept_in_one_form),
		kiln_test(what_says_nothing_is_not_kept),
		kiln_test(keys_are_printed_in_the_schemas_order),
		kiln_test(lists_and_maps_have_limits),
		kiln_test(documents_have_limits),
		kiln_test(invalid_utf8_is_refused),
		kiln_test(a_file_is_loaded_and_named_in_refusals),
		kiln_test(a_caller_may_not_want_the_error),
		kiln_test(a_copy_is_independent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
