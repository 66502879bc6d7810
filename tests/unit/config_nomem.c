/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation fails once: each function then says that memory is out, leaks
 * nothing and leaves the configuration as it was.
 */
#include "config_help.h"

#include "nomem.h"
#include "spec.h"

static const char document[] =
	"{'cpus': 2, 'memory': '64M', 'kernel': '/k', 'root': {'tar': '/t'}, 'disks': ['/a', "
	"{'fd': 3}],"
	" 'networks': [{'mac': '52:54:00:00:00:01'}], 'ports': ['127.0.0.1:8080:80/tcp'],"
	" 'process': {'args': ['a', 'b'], 'entrypoint': ['e'], 'env': ['A=1', 'B=2']},"
	" 'readiness': {'kind': 'command', 'command': ['true']}, 'labels': {'a': 'b'}}";

typedef int (*operation_fn)(kiln_config *config, kiln_error *err);

/*
 * Runs @operation with its first, second ... allocation failing, until none of its fails.
 * @scans: it reads JSON. jansson 2.14's scanner does not say when it runs out of
 * memory: it calls the text wrong, or loses a character; then only crashes and leaks count.
 */
static void fail_each_allocation(operation_fn operation, bool scans)
{
	kiln_error err;
	bool failed;
	int rc;
	long n = 0;

	do {
		long live = nomem_live();
		kiln_config *config = parse_ok(document);
		char *before = print_ok(config);

		err = (kiln_error)KILN_ERROR_INIT;
		nomem_arm(n++);
		rc = operation(config, &err);
		failed = nomem_disarm();
		if (failed) {
			char *after = print_ok(config);

			if (!scans) {
				assert_int_equal(rc, KILN_ENOMEM);
				assert_string_equal(before, after);
			}
			assert_int_equal(err.code, rc);
			free(after);
		} else {
			kiln_ok(rc, &err);
		}
		free(before);
		kiln_config_free(config);
		assert_int_equal(nomem_live(), live);
	} while (failed);
	assert_true(n > 1); /* it does allocate */
}

static int parse_operation(kiln_config *config, kiln_error *err)
{
	kiln_config *parsed = NULL;
	static char text[sizeof(document)];
	int rc;

	(void)config;
	memcpy(text, document, sizeof(document));
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	rc = kiln_config_parse(text, strlen(text), &parsed, err);
	if (rc < 0)
		assert_null(parsed);
	kiln_config_free(parsed);
	return rc;
}

static int new_operation(kiln_config *config, kiln_error *err)
{
	kiln_config *made = NULL;
	int rc = kiln_config_new(&made, err);

	(void)config;
	kiln_config_free(made);
	return rc;
}

static int copy_operation(kiln_config *config, kiln_error *err)
{
	kiln_config *copy = NULL;
	int rc = kiln_config_copy(config, &copy, err);

	kiln_config_free(copy);
	return rc;
}

static int print_operation(kiln_config *config, kiln_error *err)
{
	char *text = NULL;
	int rc = kiln_config_print(config, &text, err);

	free(text);
	return rc;
}

static int spec_operation(kiln_config *config, kiln_error *err)
{
	struct kiln__spec *spec = NULL;
	int rc = kiln__config_spec(config, &spec, err);

	kiln__spec_free(spec);
	return rc;
}

static int set_deep_operation(kiln_config *config, kiln_error *err)
{
	return kiln_config_set(config, "root.overlay.size", "1G", err);
}

static int append_operation(kiln_config *config, kiln_error *err)
{
	return kiln_config_set(config, "disks[].path", "/b", err);
}

static int pair_operation(kiln_config *config, kiln_error *err)
{
	return kiln_config_set(config, "process.env[]", "C=3", err);
}

static int port_operation(kiln_config *config, kiln_error *err)
{
	return kiln_config_set(config, "ports[]", "[::1]:1:2/udp", err);
}

static int json_operation(kiln_config *config, kiln_error *err)
{
	return kiln_config_set(config, "process", "{\"args\": [\"x\"], \"env\": [\"Y=1\"]}", err);
}

static int get_operation(kiln_config *config, kiln_error *err)
{
	const char *text;

	return kiln_config_get(config, "disks", &text, err);
}

static int get_default_operation(kiln_config *config, kiln_error *err)
{
	const char *text;

	return kiln_config_get(config, "stop_timeout", &text, err);
}

#define NOMEM_TEST(name, scans)                                                                    \
	static void name##_survives_want_of_memory(void **state)                                   \
	{                                                                                          \
		(void)state;                                                                       \
		fail_each_allocation(name##_operation, scans);                                     \
	}
NOMEM_TEST(parse, true)
NOMEM_TEST(new, false)
NOMEM_TEST(copy, false)
NOMEM_TEST(print, false)
NOMEM_TEST(spec, false)
NOMEM_TEST(set_deep, false)
NOMEM_TEST(append, false)
NOMEM_TEST(pair, false)
NOMEM_TEST(port, false)
NOMEM_TEST(json, true)
NOMEM_TEST(get, false)
NOMEM_TEST(get_default, false)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(parse_survives_want_of_memory),
		kiln_test(new_survives_want_of_memory),
		kiln_test(copy_survives_want_of_memory),
		kiln_test(print_survives_want_of_memory),
		kiln_test(spec_survives_want_of_memory),
		kiln_test(set_deep_survives_want_of_memory),
		kiln_test(append_survives_want_of_memory),
		kiln_test(pair_survives_want_of_memory),
		kiln_test(port_survives_want_of_memory),
		kiln_test(json_survives_want_of_memory),
		kiln_test(get_survives_want_of_memory),
		kiln_test(get_default_survives_want_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
