/* SPDX-License-Identifier: Apache-2.0 */
/* Who may be the guest's agent, and what one that comes later can do. The guest is played here. */
#include "agentmsg.h"
#include "buf.h"
#include "frame.h"
#include "kiln_test.h"
#include "machine.h"
#include "mempair.h"
#include "ready.h"

#include <string.h>

static struct {
	kiln_loop *loop;
	kiln_machine *machine;
	struct kiln__ready *ready;
	unsigned ups;
	unsigned failures;
} t;

static void on_hello(void *data, const struct kiln__agent_hello *hello)
{
	(void)data;
	(void)hello;
}

static void on_up(void *data)
{
	(void)data;
	t.ups++;
}

static void on_ready(void *data)
{
	(void)data;
}

static void on_failed(void *data, const kiln_error *err)
{
	(void)data;
	(void)err;
	t.failures++;
}

static void on_panicked(void *data, const char *text)
{
	(void)data;
	(void)text;
}

static const struct kiln__ready_handler handler = {on_hello, on_up, on_ready, on_failed,
						   on_panicked};

static void set_up(void)
{
	static const char json[] = "{\"backend\":\"fake\"}";
	kiln_config *config;
	kiln_error err;

	memset(&t, 0, sizeof(t));
	kiln_ok(kiln_loop_new(&t.loop, &err), &err);
	kiln_ok(kiln_config_parse(json, strlen(json), &config, &err), &err);
	kiln_ok(kiln_machine_new(&t.machine, t.loop, config, NULL, &err), &err);
	kiln_config_free(config);
	kiln_ok(kiln__ready_new(&t.ready, t.machine, &handler, NULL, &err), &err);
	kiln__ready_begin(t.ready);
}

static void tear_down(void)
{
	kiln__ready_free(t.ready);
	kiln_machine_free(t.machine);
	kiln_test_settle(t.loop);
	kiln_loop_free(t.loop);
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	(void)data;
	(void)bytes;
	return len;
}

static void on_eof(void *data)
{
	(void)data;
}

static void on_error(void *data, const kiln_error *err)
{
	(void)data;
	(void)err;
}

static const struct kiln__stream_handler guest_handler = {
	.on_data = on_data, .on_eof = on_eof, .on_error = on_error};

/* An agent connects, says hello and answers the set-up, which is the first request, with @type. */
static struct kiln__stream *boot(uint8_t type, const struct kiln__record *record, const void *value)
{
	const struct kiln__agent_hello hello = {.version_min = KILN__AGENT_VERSION_MIN,
						.version_max = KILN__AGENT_VERSION};
	struct kiln__buf out = KILN__BUF_INIT;
	struct kiln__stream *ends[2];

	mempair_new(ends, t.loop, 4096, 65536);
	kiln__stream_set_handler(ends[1], &guest_handler, NULL);
	assert_true(kiln__ready_incoming(t.ready, 1023, ends[0]));
	kiln__stream_resume(ends[1]);
	kiln__frame_pack(&out, KILN__AGENT_HELLO, 0, 0, &kiln__agent_hello_record, &hello);
	kiln__frame_pack(&out, type, 0, 1, record, value);
	assert_int_equal(kiln__stream_write(ends[1], out.data, out.len), out.len);
	kiln__buf_done(&out);
	kiln_test_settle(t.loop);
	return ends[1];
}

static struct kiln__stream *boot_well(void)
{
	const struct kiln__agent_setup_done done = {.ready_ns = 1};

	return boot(KILN__AGENT_OK, &kiln__agent_setup_done_record, &done);
}

static struct kiln__stream *boot_badly(void)
{
	const struct kiln__agent_error error = {.code = 5, .message = "so there"};

	return boot(KILN__AGENT_ERROR, &kiln__agent_error_record, &error);
}

static void an_unprivileged_program_is_not_the_agent(void **state)
{
	struct kiln__stream *agent;
	struct kiln__stream *ends[2];

	(void)state;
	set_up();
	agent = boot_well();
	assert_int_equal(t.ups, 1);
	mempair_new(ends, t.loop, 4096, 65536);
	assert_false(kiln__ready_incoming(t.ready, 1024, ends[0]));
	assert_false(kiln__ready_incoming(t.ready, UINT32_MAX, ends[0]));
	assert_non_null(kiln__ready_agent(t.ready));
	kiln__stream_close(ends[0]);
	kiln__stream_close(ends[1]);
	kiln__stream_close(agent);
	tear_down();
}

static void a_guest_that_cannot_be_set_up_fails(void **state)
{
	struct kiln__stream *agent;

	(void)state;
	set_up();
	agent = boot_badly();
	assert_int_equal(t.ups, 0);
	assert_int_equal(t.failures, 1);
	kiln__stream_close(agent);
	tear_down();
}

/* Its own init may start the agent again: the machine is up, and stays so, whatever that says. */
static void an_agent_that_comes_again_changes_nothing(void **state)
{
	struct kiln__stream *agents[3];

	(void)state;
	set_up();
	agents[0] = boot_well();
	agents[1] = boot_badly();
	agents[2] = boot_well();
	assert_int_equal(t.ups, 1);
	assert_int_equal(t.failures, 0);
	for (size_t i = 0; i < 3; i++)
		kiln__stream_close(agents[i]);
	tear_down();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(an_unprivileged_program_is_not_the_agent),
		kiln_test(a_guest_that_cannot_be_set_up_fails),
		kiln_test(an_agent_that_comes_again_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
