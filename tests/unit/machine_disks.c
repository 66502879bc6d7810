/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that a machine gets besides those of its document: asked of its backend as those are. */
#include "kiln_test.h"
#include "machine.h"
#include "spec.h"

#include <string.h>

static void a_disk_that_the_backend_lacks_is_refused_by_its_key(void **state)
{
	static const char json[] = "{\"backend\":\"fake\"}";
	const struct kiln__disk disk = {
		.source = {.path = "", .fd = KILN_FD_NONE}, .serial = "own", .url = "nbd://host/a"};
	kiln_machine *machine;
	kiln_config *config;
	kiln_loop *loop;
	kiln_error err;

	(void)state;
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	kiln_ok(kiln_config_parse(json, strlen(json), &config, &err), &err);
	kiln_ok(kiln_machine_new(&machine, loop, config, NULL, &err), &err);
	kiln_config_free(config);
	assert_int_equal(kiln__machine_add_disk(machine, &disk, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "disks[0].url"));
	kiln_machine_free(machine);
	kiln_test_settle(loop);
	kiln_loop_free(loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_disk_that_the_backend_lacks_is_refused_by_its_key),
	};

	return cmocka_run_group_tests_name("machine_disks", tests, NULL, NULL);
}
