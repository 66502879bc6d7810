/* SPDX-License-Identifier: Apache-2.0 */
/* What Firecracker is told to load a snapshot: all of it, or that memory is out. */
#include "firecracker_config.h"
#include "kiln_test.h"
#include "nomem.h"

static int load(void *data, kiln_error *err)
{
	const struct kiln__spec *spec = data;
	struct kiln__api_steps steps = {.count = 0};
	int r = kiln__firecracker_load(spec, "/run/vsock.sock", false, 1016, &steps, err);

	if (r == 0) {
		const json_t *body = steps.items[0].body;

		assert_int_equal(steps.count, 1);
		assert_string_equal(
			json_string_value(json_object_get(
				json_array_get(json_object_get(body, "network_overrides"), 0),
				"host_dev_name")),
			"tap7");
		assert_non_null(json_object_get(body, "vsock_override"));
	}
	kiln__api_steps_done(&steps);
	return r;
}

static void a_snapshot_is_loaded_with_all_its_overrides_or_not_at_all(void **state)
{
	struct kiln__network network = {.kind = KILN__NETWORK_TAP, .interface = "tap7"};
	struct kiln__spec spec = {
		.snapshot = "/snapshot", .networks = &network, .network_count = 1};

	(void)state;
	nomem_each(load, &spec, NOMEM_TOLD);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_snapshot_is_loaded_with_all_its_overrides_or_not_at_all),
	};

	return cmocka_run_group_tests_name("nomem_firecracker", tests, NULL, NULL);
}
