/* SPDX-License-Identifier: Apache-2.0 */
/* Setting, unsetting and getting by path; printing. */
#include "config_help.h"

static kiln_config *new_ok(void)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = NULL;

	kiln_ok(kiln_config_new(&config, &err), &err);
	return config;
}

static void a_text_is_converted_to_its_keys_type(void **state)
{
	kiln_config *config = new_ok();

	(void)state;
	set_ok(config, "cpus", "4");
	set_ok(config, "memory", "1G");
	set_ok(config, "rng", "false");
	set_ok(config, "stop_timeout", "2s");
	set_ok(config, "cmdline", "{quiet}");
	set_ok(config, "process.tty", "true");
	assert_prints(config, "{'cpus':4,'memory':1073741824,'cmdline':'{quiet}','rng':false,"
			      "'process':{'tty':true},'stop_timeout':2000}");
	set_ok(config, "cpus", "5");
	assert_get(config, "cpus", "5");
	kiln_config_free(config);
}

static void a_list_grows_by_brackets_or_its_length(void **state)
{
	kiln_config *config = new_ok();

	(void)state;
	set_ok(config, "disks[]", "/a");
	set_ok(config, "disks[].path", "/b");
	set_ok(config, "disks[1].readonly", "true");
	set_ok(config, "disks[2].path", "/c");
	set_ok(config, "process.args[]", "sh");
	set_ok(config, "process.args[]", "-c");
	set_ok(config, "process.args[0]", "bash");
	assert_prints(config,
		      "{'disks':[{'path':'/a'},{'path':'/b','readonly':true},{'path':'/c'}],"
		      "'process':{'args':['bash','-c']}}");
	set_refused(config, "disks[4].path", "/d", KILN_ENOENT,
		    "disks[4]: there are only 3 elements");
	set_refused(config, "networks[1].mac", "52:54:00:00:00:01", KILN_ENOENT,
		    "networks[1]: there are only 0 elements");
	kiln_config_free(config);
}

static void a_map_takes_names_with_dots_and_pairs(void **state)
{
	kiln_config *config = new_ok();

	(void)state;
	set_ok(config, "labels.com.example.tier", "web");
	set_ok(config, "labels[]", "a=b=c");
	set_ok(config, "process.env.PATH", "/bin");
	set_ok(config, "process.env[]", "PATH=/usr/bin");
	set_ok(config, "process.env[]", "A.B=");
	assert_prints(config, "{'process':{'env':{'PATH':'/usr/bin','A.B':''}},"
			      "'labels':{'com.example.tier':'web','a':'b=c'}}");
	assert_get(config, "labels.com.example.tier", "web");
	assert_get(config, "process.env.A.B", "");
	set_refused(config, "labels[]", "x", KILN_EINVAL, "labels: must be set to NAME=VALUE");
	set_refused(config, "labels[]", NULL, KILN_EINVAL, "labels: must be set to NAME=VALUE");
	set_refused(config, "process.env[]", "=x", KILN_EINVAL,
		    "process.env: must have a name of 1 to 256 printable ASCII characters without "
		    "space and '=', not \"\"");
	set_refused(
		config, "labels.", "x", KILN_EINVAL,
		"labels: must have a name of 1 to 128 letters, digits, '.', '_', '-' and '/' that "
		"begins and ends with a letter or digit, not \"\"");
	set_refused(config, "labels[0]", "x", KILN_EINVAL,
		    "\"labels[0]\" is not a key's path: a map is followed by .NAME or []");
	kiln_config_free(config);
}

static void objects_and_lists_are_taken_as_json(void **state)
{
	kiln_config *config = new_ok();

	(void)state;
	set_ok(config, "process.args", "[\"sh\", \"-c\", \"echo [x]\"]");
	set_ok(config, "networks[]", "{\"mac\": \"52:54:00:00:00:01\"}");
	set_ok(config, "kernel", "{\"path\": \"/k\", \"offset\": \"4K\"}");
	set_ok(config, "initrd", "/i");
	set_ok(config, "ports[]", "[::1]:8080:80");
	set_ok(config, "labels", "{\"a\": \"b\"}");
	set_ok(config, "process.env", "[\"A=1\"]");
	assert_prints(
		config,
		"{'kernel':{'path':'/k','offset':4096},'initrd':{'path':'/i'},"
		"'networks':[{'mac':'52:54:00:00:00:01'}],"
		"'ports':[{'host_ip':'::1','host_port':8080,'guest_port':80}],"
		"'process':{'args':['sh','-c','echo[x]'],'env':{'A':'1'}},'labels':{'a':'b'}}");
	set_refused(config, "process.args", "sh", KILN_EINVAL,
		    "process.args: must be a list, not \"sh\"");
	set_refused(config, "process", "sh", KILN_EINVAL, "process: must be an object, not \"sh\"");
	set_refused(config, "process.args", "[1]", KILN_EINVAL,
		    "process.args[0]: must be a string, not a number");
	set_refused(
		config, "disks[]", "{", KILN_EINVAL,
		"disks[0]: not JSON: line 1, column 1: string or '}' expected near end of file");
	set_refused(config, "disks[]", "{\"path\": 1}", KILN_EINVAL,
		    "disks[0].path: must be a string, not a number");
	kiln_config_free(config);
}

static void null_unsets(void **state)
{
	kiln_config *config =
		parse_ok("{'cpus': 2, 'vsock': {'cid': 3}, 'disks': ['/a', '/b'],"
			 " 'process': {'env': {'A': '1'}}, 'root': {'overlay': {'size': "
			 "'1M', 'kind': 'disk'}}}");

	(void)state;
	set_ok(config, "cpus", NULL);
	set_ok(config, "vsock.cid", NULL);
	set_ok(config, "disks[0]", NULL);
	set_ok(config, "process.env.A", NULL);
	set_ok(config, "root.overlay.size", NULL);
	assert_prints(config, "{'root':{'overlay':{'kind':'disk'}},'disks':[{'path':'/b'}]}");
	/* An element stays when its last key goes: the others keep their numbers. */
	set_ok(config, "disks[0].path", NULL);
	assert_prints(config, "{'root':{'overlay':{'kind':'disk'}},'disks':[{}]}");
	set_ok(config, "disks[0]", NULL);
	set_ok(config, "root.overlay.kind", NULL);
	assert_prints(config, "{}");
	/* What is not there is unset already. */
	set_ok(config, "cpus", NULL);
	set_ok(config, "disks[0].path", NULL);
	set_ok(config, "labels.a", NULL);
	set_ok(config, "root", NULL);
	assert_prints(config, "{}");
	set_refused(config, "disks[]", NULL, KILN_EINVAL, "disks: [] cannot be unset");
	kiln_config_free(config);
}

static void an_empty_object_or_list_unsets(void **state)
{
	kiln_config *config = parse_ok("{'vsock': {'cid': 3}, 'disks': ['/a']}");

	(void)state;
	set_ok(config, "vsock", "{}");
	set_ok(config, "disks", "[]");
	set_ok(config, "networks[]", "{}");
	assert_prints(config, "{'networks':[{}]}");
	kiln_config_free(config);
}

static void bad_values_are_refused_with_the_path(void **state)
{
	kiln_config *config = new_ok();

	(void)state;
	set_refused(config, "cpus", "0", KILN_EOVERFLOW, "cpus: must be at least 1, not 0");
	set_refused(config, "cpus", "two", KILN_EINVAL,
		    "cpus: must be a whole number, not \"two\"");
	set_refused(config, "cpus", "1 ", KILN_EINVAL, "cpus: must be a whole number, not \"1 \"");
	set_refused(config, "cpus", "", KILN_EINVAL, "cpus: must be a whole number, not \"\"");
	set_refused(config, "cpus", "1.5", KILN_EINVAL,
		    "cpus: must be a whole number, not \"1.5\"");
	set_refused(config, "rng", "yes", KILN_EINVAL, "rng: must be true or false, not \"yes\"");
	set_refused(config, "disks[].path", "d", KILN_EINVAL,
		    "disks[0].path: must be an absolute path on the host, not \"d\"");
	set_refused(config, "process.args[]", "\xff", KILN_EINVAL,
		    "process.args[0]: must be UTF-8");
	set_refused(config, "kernel", "/\xff", KILN_EINVAL, "kernel: must be UTF-8");
	set_refused(config, "ports[]", "\xff", KILN_EINVAL,
		    "ports[0]: must be [[IP:]HOST_PORT:]PORT[/PROTOCOL], not \"?\"");
	kiln_config_free(config);
}

static void bad_paths_are_refused(void **state)
{
	static const struct {
		const char *path;
		int code;
		const char *message;
	} rows[] = {
		{"", KILN_EINVAL, "\"\" is not a key's path: a name is missing"},
		{".cpus", KILN_EINVAL, "\".cpus\" is not a key's path: a name is missing"},
		{"root.", KILN_EINVAL, "\"root.\" is not a key's path: a name is missing"},
		{"root..tar", KILN_EINVAL, "\"root..tar\" is not a key's path: a name is missing"},
		{"cpus.x", KILN_EINVAL,
		 "\"cpus.x\" is not a key's path: there is nothing below a single value"},
		{"cpus[0]", KILN_EINVAL,
		 "\"cpus[0]\" is not a key's path: there is nothing below a single value"},
		{"root[0]", KILN_EINVAL,
		 "\"root[0]\" is not a key's path: an object is followed by .NAME"},
		{"disks.path", KILN_EINVAL,
		 "\"disks.path\" is not a key's path: a list is followed by [INDEX] or []"},
		{"disks[x]", KILN_EINVAL,
		 "\"disks[x]\" is not a key's path: a list is followed by [INDEX] or []"},
		{"disks[-1]", KILN_EINVAL,
		 "\"disks[-1]\" is not a key's path: a list is followed by [INDEX] or []"},
		{"disks[0", KILN_EINVAL,
		 "\"disks[0\" is not a key's path: a list is followed by [INDEX] or []"},
		{"disks[99999999999999999999]", KILN_EINVAL,
		 "\"disks[99999999999999999999]\" is not a key's path: a list is followed by "
		 "[INDEX] or "
		 "[]"},
		{"disks[0]path", KILN_EINVAL,
		 "\"disks[0]path\" is not a key's path: an object is followed by .NAME"},
		{"cpu", KILN_EINVAL, "unknown key \"cpu\""},
		{"root.overlay.sise", KILN_EINVAL, "root.overlay: unknown key \"sise\""},
		{"image", KILN_EINVAL, "unknown key \"image\""},
		{"identity.efi_variables.x", KILN_ENOTSUP,
		 "not supported yet by this version: identity.efi_variables"},
	};
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = new_ok();
	const char *got;
	char longest[600];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_refused(config, rows[i].path, "1", rows[i].code, rows[i].message);
		set_refused(config, rows[i].path, NULL, rows[i].code, rows[i].message);
		assert_refusal(kiln_config_get(config, rows[i].path, &got, &err), &err,
			       rows[i].path, rows[i].code, rows[i].message);
	}
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(kiln_config_set(config, longest, "1", &err), KILN_EINVAL);
	kiln_config_free(config);
}

static void a_full_list_or_map_takes_no_more(void **state)
{
	kiln_config *config = new_ok();
	char path[64];

	(void)state;
	for (int i = 0; i < 24; i++)
		set_ok(config, "disks[]", "/d");
	for (int i = 0; i < 256; i++) {
		snprintf(path, sizeof(path), "labels.l%d", i);
		set_ok(config, path, "");
	}
	set_refused(config, "disks[]", "/d", KILN_EOVERFLOW,
		    "disks: must have at most 24 elements");
	set_refused(config, "disks[24].path", "/d", KILN_EOVERFLOW,
		    "disks: must have at most 24 elements");
	set_refused(config, "labels.x", "", KILN_EOVERFLOW,
		    "labels: must have at most 256 elements");
	set_ok(config, "labels.l0", "changed");
	set_ok(config, "disks[23].readonly", "true");
	kiln_config_free(config);
}

static void getting_yields_defaults(void **state)
{
	kiln_config *config = new_ok();

	(void)state;
	assert_get(config, "cpus", "1");
	assert_get(config, "memory", "536870912");
	assert_get(config, "backend", "auto");
	assert_get(config, "rng", "true");
	assert_get(config, "stop_timeout", "10000");
	assert_get(config, "root.overlay.kind", "memory");
	assert_get(config, "vsock.enabled", "true");
	set_ok(config, "disks[]", "/d");
	assert_get(config, "disks[0].cache", "writeback");
	kiln_config_free(config);
}

static void getting_what_is_not_there_says_so(void **state)
{
	kiln_config *config = new_ok();

	(void)state;
	assert_unset(config, "cmdline");
	assert_unset(config, "kernel");
	assert_unset(config, "labels.x");
	assert_unset(config, "disks");
	assert_unset(config, "disks[0]");
	assert_unset(config, "disks[0].cache"); /* no element, so no default either */
	assert_unset(config, "disks[7].cache");
	assert_unset(config, "disks[]");
	kiln_config_free(config);
}

static void getting_an_object_yields_json_that_can_be_set(void **state)
{
	kiln_config *config =
		parse_ok("{'disks': [{'readonly': true, 'path': '/d'}], 'labels': {'a': "
			 "'b'}}");
	kiln_config *other = new_ok();
	kiln_error err = KILN_ERROR_INIT;
	const char *text;

	(void)state;
	assert_get(config, "disks[0]", "{\"path\":\"/d\",\"readonly\":true}");
	assert_get(config, "labels", "{\"a\":\"b\"}");
	kiln_ok(kiln_config_get(config, "disks", &text, &err), &err);
	set_ok(other, "disks", text);
	assert_prints(other, "{'disks':[{'path':'/d','readonly':true}]}");
	kiln_config_free(config);
	kiln_config_free(other);
}

static void what_was_handed_out_lives_until_a_change(void **state)
{
	kiln_config *config = parse_ok("{'cpus': 7, 'cmdline': 'quiet'}");
	kiln_error err = KILN_ERROR_INIT;
	const char *cpus, *again, *cmdline;

	(void)state;
	kiln_ok(kiln_config_get(config, "cpus", &cpus, &err), &err);
	kiln_ok(kiln_config_get(config, "cmdline", &cmdline, &err), &err);
	for (int i = 0; i < 1000; i++)
		kiln_ok(kiln_config_get(config, "cpus", &again, &err), &err);
	assert_ptr_equal(cpus, again); /* and does not grow with every question */
	assert_string_equal(cpus, "7");
	assert_string_equal(cmdline, "quiet");
	kiln_config_free(config);
}

static void a_printed_document_parses_to_itself(void **state)
{
	kiln_config *config = parse_ok(
		"{'backend': 'qemu', 'arch': 'aarch64', 'cpus': 2, 'memory': '1G', 'kernel': '/k',"
		" 'root': {'squashfs': {'fd': 5, 'offset': '1M', 'length': 4096}},"
		" 'networks': [{'kind': 'user'}], 'ports': ['8080:80'],"
		" 'process': {'args': ['a', '', '\\u00e9\\n\\t\\u007f'], 'env': ['Z=1', 'A=2']},"
		" 'readiness': {'kind': 'command', 'command': ['true']}, 'fake': {'fail_start': "
		"true}}");
	kiln_config *again = NULL;
	kiln_error err = KILN_ERROR_INIT;
	char *first = print_ok(config);
	char *second;

	(void)state;
	kiln_ok(kiln_config_parse(first, strlen(first), &again, &err), &err);
	second = print_ok(again);
	assert_string_equal(first, second);
	assert_int_equal(first[strlen(first) - 1], '\n');
	free(first);
	free(second);
	kiln_config_free(config);
	kiln_config_free(again);
}

static void what_could_not_be_parsed_again_is_not_printed(void **state)
{
	kiln_config *config = new_ok();
	kiln_error err = KILN_ERROR_INIT;
	char *big = malloc(131072 + 1);
	char *text = NULL;

	(void)state;
	assert_non_null(big);
	memset(big, 'x', 131072);
	big[131072] = '\0';
	set_refused(config, "process.args[]", big, KILN_EOVERFLOW,
		    "process.args[0]: must have at most 131071 bytes, not 131072");
	big[131071] = '\0';
	for (int i = 0; i < 8; i++)
		set_ok(config, "process.args[]", big);
	assert_int_equal(kiln_config_print(config, &text, &err), KILN_EOVERFLOW);
	assert_null(text);
	free(big);
	kiln_config_free(config);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_text_is_converted_to_its_keys_type),
		kiln_test(a_list_grows_by_brackets_or_its_length),
		kiln_test(a_map_takes_names_with_dots_and_pairs),
		kiln_test(objects_and_lists_are_taken_as_json),
		kiln_test(null_unsets),
		kiln_test(an_empty_object_or_list_unsets),
		kiln_test(bad_values_are_refused_with_the_path),
		kiln_test(bad_paths_are_refused),
		kiln_test(a_full_list_or_map_takes_no_more),
		kiln_test(getting_yields_defaults),
		kiln_test(getting_what_is_not_there_says_so),
		kiln_test(getting_an_object_yields_json_that_can_be_set),
		kiln_test(what_was_handed_out_lives_until_a_change),
		kiln_test(a_printed_document_parses_to_itself),
		kiln_test(what_could_not_be_parsed_again_is_not_printed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
