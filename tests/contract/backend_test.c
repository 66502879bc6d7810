/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of src/machine/backend.h itself, without a machine above. */
#include "contract.h"

#include "backend.h"
#include "err.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A host that notes what it is told. */
struct host {
	kiln_loop *loop;
	struct kiln__spec *spec;
	struct kiln__instance *instance;
	const struct kiln__backend *backend;
	int order; /* counts whatever is told */
	int ends;
	int ended_at;
	enum kiln__end how;
	bool ended;
	bool in_call; /* a call into the backend is on the stack */
	bool gone;    /* freed: nothing may be told */
	bool said_ready;
	struct kiln__buf console;
	char id[33];
};

static void on_ended(void *data, enum kiln__end how, const kiln_error *err)
{
	struct host *host = data;

	assert_false(host->gone);
	assert_false(host->in_call);
	assert_int_equal(err != NULL, how == KILN__END_FAILED);
	host->ends++;
	host->ended_at = ++host->order;
	host->how = how;
	host->ended = true;
}

static void on_panicked(void *data)
{
	struct host *host = data;

	assert_false(host->gone);
}

static void on_console(void *data, const void *bytes, size_t len)
{
	struct host *host = data;

	assert_false(host->gone);
	assert_false(host->ended);
	kiln__buf_add(&host->console, bytes, len);
	host->said_ready = strstr(host->console.data, "KILN_READY") != NULL;
}

static bool on_incoming(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	(void)data;
	(void)port;
	(void)from;
	(void)stream;
	return false;
}

static const uint32_t no_ports[] = {0};

static int on_leaving(void *data, const char *leaves, kiln_error *err)
{
	(void)data;
	(void)err;
	assert_true(leaves[0]);
	return 0;
}

static void host_open(struct host *host)
{
	struct kiln__backend_host table = {
		.id = host->id,
		.listen_ports = no_ports,
		.data = host,
		.leaving = on_leaving,
		.ended = on_ended,
		.panicked = on_panicked,
		.console = on_console,
		.incoming = on_incoming,
	};
	kiln_config *config;
	kiln_error err;

	*host = (struct host){.order = 0};
	/* Its directory at run time bears this name: others run beside it. */
	snprintf(host->id, sizeof(host->id), "%032x", (unsigned)getpid());
	kiln_ok(kiln_loop_new(&host->loop, &err), &err);
	kiln_ok(kiln_config_new(&config, &err), &err);
	subject->configure(config);
	kiln_ok(kiln__config_spec(config, &host->spec, &err), &err);
	kiln_config_free(config);
	kiln_ok(kiln__backend_find(subject_backend(), &host->backend, &err), &err);
	kiln_ok(host->backend->check(host->spec, &err), &err);
	table.loop = host->loop;
	table.spec = host->spec;
	kiln_ok(host->backend->open(&host->instance, &table, &err), &err);
}

static void host_prepare(struct host *host)
{
	kiln_error err;

	assert_string_equal(host->backend->accel(host->instance), "");
	kiln_ok(host->backend->prepare(host->instance, &err), &err);
	assert_string_not_equal(host->backend->accel(host->instance), "");
}

static void host_close(struct host *host)
{
	host->backend->free(host->instance);
	host->gone = true;
	kiln_test_settle(host->loop);
	kiln__spec_free(host->spec);
	kiln_loop_free(host->loop);
	kiln__buf_done(&host->console);
}

struct call {
	struct host *host;
	int count;
	int result;
	int at;
	bool done;
};

static void on_done(void *data, int result, const kiln_error *err)
{
	struct call *call = data;

	assert_false(call->host->gone);
	assert_int_equal(result < 0, err != NULL);
	call->count++;
	call->result = result;
	call->at = ++call->host->order;
	call->done = true;
}

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	assert_int_equal(stream == NULL, err != NULL);
	kiln__stream_close(stream);
	on_done(data, err ? err->code : 0, err);
}

#define call_begin(what, on, entry)                                                                \
	do {                                                                                       \
		*(what) = (struct call){.host = (on)};                                             \
		(on)->in_call = true;                                                              \
		(on)->backend->entry((on)->instance, on_done, (what));                             \
		(on)->in_call = false;                                                             \
	} while (0)

static void connect_begin(struct call *call, struct host *host, uint32_t port)
{
	*call = (struct call){.host = host};
	host->in_call = true;
	host->backend->connect(host->instance, port, on_connected, call);
	host->in_call = false;
}

static void kill_it(struct host *host)
{
	host->in_call = true;
	host->backend->kill(host->instance);
	host->in_call = false;
}

static void call_await(struct call *call, int result)
{
	kiln_test_run_until(call->host->loop, &call->done);
	kiln_test_settle(call->host->loop);
	assert_int_equal(call->count, 1);
	assert_int_equal(call->result, result);
}

static void host_start(struct host *host)
{
	struct call start;

	host_open(host);
	host_prepare(host);
	call_begin(&start, host, start);
	call_await(&start, 0);
	kiln_test_run_until(host->loop, &host->said_ready);
}

static void await_end(struct host *host, enum kiln__end how)
{
	kiln_test_run_until(host->loop, &host->ended);
	kiln_test_settle(host->loop);
	assert_int_equal(host->ends, 1);
	assert_int_equal(host->how, how);
}

/* --- the tests ---------------------------------------------------------------------- */

static void each_operation_completes_once(void **state)
{
	struct call pause, resume, shutdown;
	struct host host;

	(void)state;
	host_start(&host);
	call_begin(&pause, &host, pause);
	call_await(&pause, 0);
	call_begin(&resume, &host, resume);
	call_await(&resume, 0);
	call_begin(&shutdown, &host, shutdown);
	await_end(&host, KILN__END_POWEROFF);
	call_await(&shutdown, 0);
	assert_int_equal(pause.count + resume.count + shutdown.count, 3);
	assert_true(shutdown.at < host.ended_at);
	host_close(&host);
}

static void the_end_comes_once_and_last(void **state)
{
	struct call pause, connect;
	struct host host;

	(void)state;
	host_start(&host);
	call_begin(&pause, &host, pause);
	connect_begin(&connect, &host, 9);
	kill_it(&host);
	kill_it(&host);
	await_end(&host, KILN__END_KILLED);
	assert_int_equal(pause.count, 1);
	assert_int_equal(connect.count, 1);
	assert_true(pause.at < host.ended_at);
	assert_true(connect.at < host.ended_at);
	kill_it(&host);
	kiln_test_settle(host.loop);
	assert_int_equal(host.ends, 1);
	host_close(&host);
}

static void what_is_prepared_is_killed(void **state)
{
	struct host host;

	(void)state;
	host_open(&host);
	host_prepare(&host);
	kill_it(&host);
	await_end(&host, KILN__END_KILLED);
	assert_int_equal(host.console.len, 0);
	host_close(&host);
}

static void a_start_that_is_killed_completes(void **state)
{
	struct call start;
	struct host host;

	(void)state;
	host_open(&host);
	host_prepare(&host);
	call_begin(&start, &host, start);
	kill_it(&host);
	await_end(&host, KILN__END_KILLED);
	assert_int_equal(start.count, 1);
	assert_true(start.at < host.ended_at);
	host_close(&host);
}

static void after_the_end_everything_fails(void **state)
{
	struct call calls[5];
	struct host host;

	(void)state;
	host_start(&host);
	kill_it(&host);
	await_end(&host, KILN__END_KILLED);
	call_begin(&calls[0], &host, start);
	call_begin(&calls[1], &host, shutdown);
	call_begin(&calls[2], &host, pause);
	call_begin(&calls[3], &host, resume);
	connect_begin(&calls[4], &host, 9);
	for (int i = 0; i < 5; i++) {
		kiln_test_run_until(host.loop, &calls[i].done);
		assert_int_equal(calls[i].count, 1);
		assert_true(calls[i].result < 0);
	}
	assert_int_equal(host.backend->console_write(host.instance, "x", 1), 0);
	host_close(&host);
}

static void it_runs_nothing_before_it_is_started(void **state)
{
	struct host host;

	(void)state;
	host_open(&host);
	host_prepare(&host);
	kiln_test_settle(host.loop);
	assert_int_equal(host.console.len, 0);
	host_close(&host);
}

static void it_is_freed_at_any_moment(void **state)
{
	struct call call;
	struct host host;

	(void)state;
	host_open(&host);
	host_close(&host);

	host_open(&host);
	host_prepare(&host);
	host_close(&host);

	host_open(&host);
	host_prepare(&host);
	call_begin(&call, &host, start);
	host_close(&host);
	assert_int_equal(call.count, 1);

	host_start(&host);
	call_begin(&call, &host, pause);
	host_close(&host);
	assert_int_equal(call.count, 1);

	host_start(&host);
	kill_it(&host);
	host_close(&host);
	assert_int_equal(host.ends, 0);
}

static void a_connection_to_nothing_fails(void **state)
{
	struct call connect;
	struct host host;

	(void)state;
	host_start(&host);
	connect_begin(&connect, &host, 9);
	kiln_test_run_until(host.loop, &connect.done);
	assert_int_equal(connect.count, 1);
	assert_true(connect.result == KILN_EIO || connect.result == KILN_ENOTSUP);
	host_close(&host);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(each_operation_completes_once),
		kiln_test(the_end_comes_once_and_last),
		kiln_test(what_is_prepared_is_killed),
		kiln_test(a_start_that_is_killed_completes),
		kiln_test(after_the_end_everything_fails),
		kiln_test(it_runs_nothing_before_it_is_started),
		kiln_test(it_is_freed_at_any_moment),
		kiln_test(a_connection_to_nothing_fails),
	};
	int r = contract_choose(argc, argv);

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
