/* SPDX-License-Identifier: Apache-2.0 */
/* The seed's documents with each allocation failing in its turn: an error, and nothing leaked. */
#include "kiln_test.h"

#include "nomem.h"

#include "machine.h"
#include "seed.h"

#include <string.h>

static const char json[] = "{\"firmware\":\"uefi\",\"disks\":[\"/"
			   "d\"],\"networks\":[{}],\"volumes\":[{\"name\":\"v\",\"path\":\"/v\"}],"
			   "\"seed\":{\"users\":[{\"name\":\"ann\",\"groups\":[\"adm\"],\"shell\":"
			   "\"/bin/sh\",\"sudo\":true}],"
			   "\"packages\":[\"a\"],\"commands\":[\"b\"],\"env\":[\"A='1'\"],"
			   "\"mounts\":[{\"source\":\"t\",\"path\":\"/m\"}],"
			   "\"interfaces\":[{\"addresses\":[\"192.0.2.7/"
			   "24\"],\"gateways\":[\"192.0.2.1\"],\"dns\":[\"192.0.2.1\"]}]}}";

static int documents_operation(void *data, kiln_error *err)
{
	struct kiln__seed_documents documents = {0};
	int r = kiln__seed_documents(data, "0123456789abcdef0123456789abcdef", "name", &documents,
				     err);

	for (size_t i = 0; i < KILN__SEED_FILES; i++)
		assert_int_equal(documents.files[i].text != NULL, r == 0);
	kiln__seed_documents_done(&documents);
	return r;
}

static void documents_are_made_or_nothing_is_left(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	struct kiln__spec *spec = NULL;
	kiln_config *config = NULL;

	(void)state;
	kiln_ok(kiln_config_parse(json, strlen(json), &config, &err), &err);
	kiln_ok(kiln__config_spec(config, &spec, &err), &err);
	kiln__machine_set_macs(spec, "0123456789abcdef0123456789abcdef");
	nomem_each(documents_operation, spec, NOMEM_TOLD);
	kiln__spec_free(spec);
	kiln_config_free(config);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(documents_are_made_or_nothing_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
