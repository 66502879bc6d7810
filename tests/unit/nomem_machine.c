/* SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out anywhere in a machine's life on the fake backend. */
#include "kiln_test.h"

#include "loop.h"
#include "nomem.h"

#include <kiln/config.h>
#include <kiln/machine.h>

#include <string.h>

struct life {
	const kiln_config *config;
	kiln_loop *loop;
	bool done;
	int result;
	kiln_error err;
};

static void on_done(void *data, int result, const kiln_error *err)
{
	struct life *life = data;

	assert_int_equal(result < 0, err != NULL);
	life->done = true;
	life->result = result;
	if (err)
		life->err = *err;
}

/* A start that fails may leave the machine as it was: nothing else would come then. */
static void on_started(void *data, int result, const kiln_error *err)
{
	struct life *life = data;

	if (result < 0 && !life->done)
		on_done(life, result, err);
}

/* Without a deadline of its own, which would be an allocation: the test program has one. */
static void await(struct life *life)
{
	while (!life->done)
		if (!kiln_loop_step(life->loop))
			assert_true(life->done); /* else nothing will ever come */
}

static kiln_config *config_of(const char *readiness)
{
	kiln_config *config;
	kiln_error err;

	kiln_ok(kiln_config_new(&config, &err), &err);
	kiln_ok(kiln_config_set(config, "backend", "fake", &err), &err);
	kiln_ok(kiln_config_set(config, "fake.console", "KILN_READY\n", &err), &err);
	kiln_ok(kiln_config_set(config, "readiness.kind", readiness, &err), &err);
	/* The fake guest is in this process: where memory fails it, it may fall silent. */
	kiln_ok(kiln_config_set(config, "readiness.timeout", "300ms", &err), &err);
	return config;
}

static int make(void *data, kiln_error *err)
{
	struct life *life = data;
	kiln_machine_options options = KILN_MACHINE_OPTIONS_INIT;
	kiln_machine *machine = NULL;
	int r = kiln_loop_new(&life->loop, err);

	if (r < 0)
		return r;
	r = kiln_machine_new(&machine, life->loop, life->config, &options, err);
	if (r < 0)
		assert_null(machine);
	kiln_machine_free(machine);
	kiln_loop_free(life->loop);
	return r;
}

/* Starts it, waits until it is ready, stops it. Whatever fails, it ends, and can be freed. */
static int live(void *data, kiln_error *err)
{
	struct life *life = data;
	kiln_machine_options options = KILN_MACHINE_OPTIONS_INIT;
	kiln_machine *machine = NULL;
	int r = kiln_loop_new(&life->loop, err);

	life->done = false;
	life->result = 0;
	if (r < 0)
		return r;
	r = kiln_machine_new(&machine, life->loop, life->config, &options, err);
	if (r < 0) {
		kiln_loop_free(life->loop);
		return r;
	}
	kiln_machine_start(machine, on_started, life);
	if (!life->done)
		kiln_machine_wait_ready(machine, on_done, life);
	await(life);
	if (life->result == 0) {
		life->done = false;
		kiln_machine_stop(machine, 10000, on_done, life);
		await(life);
	}
	if (life->result < 0)
		*err = life->err;
	kiln_machine_free(machine);
	kiln_loop_free(life->loop);
	return life->result;
}

static void making_a_machine_fails_whole(void **state)
{
	struct life life = {.config = config_of("console")};

	(void)state;
	nomem_each(make, &life, NOMEM_TOLD);
	kiln_config_free((kiln_config *)life.config);
}

static void a_life_ends_whatever_fails(void **state)
{
	struct life life = {.config = config_of("console")};

	(void)state;
	nomem_each(live, &life, NOMEM_SURVIVED);
	kiln_config_free((kiln_config *)life.config);
}

static void a_life_with_an_agent_ends_whatever_fails(void **state)
{
	struct life life = {.config = config_of("agent")};

	(void)state;
	nomem_each(live, &life, NOMEM_SURVIVED);
	kiln_config_free((kiln_config *)life.config);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(making_a_machine_fails_whole),
		kiln_test(a_life_ends_whatever_fails),
		kiln_test(a_life_with_an_agent_ends_whatever_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
