/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only the fake backend is asked: readiness through its guest's agent, its injected faults,
 * and what a machine owes its user whatever fails.
 */
#include "contract.h"

#include "err.h"
#include "loop.h"

#include <stdlib.h>
#include <string.h>

/* --- readiness ----------------------------------------------------------------------- */

static void a_port_that_answers_makes_it_ready(void **state)
{
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "readiness.kind", "vsock");
	vm_set(&vm, "readiness.port", "7");
	vm_make_ready(&vm);
	vm_close(&vm);
}

static void a_command_makes_it_ready_or_is_late(void **state)
{
	struct op ready;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "readiness.kind", "command");
	vm_set(&vm, "readiness.command", "[\"true\"]");
	vm_make_ready(&vm);
	vm_close(&vm);

	vm_open(&vm);
	vm_set(&vm, "readiness.kind", "command");
	vm_set(&vm, "readiness.command", "[\"exit\", \"3\"]");
	vm_set(&vm, "readiness.timeout", "500ms");
	vm_make(&vm);
	kiln_machine_start(vm.machine, NULL, NULL);
	op_begin(&ready, &vm, kiln_machine_wait_ready);
	op_await_code(&ready, KILN_ETIMEDOUT);
	assert_string_equal(ready.err.stage, "ready");
	assert_non_null(strstr(ready.err.message, "code 3"));
	vm_close(&vm);
}

/* --- faults -------------------------------------------------------------------------- */

static void a_start_that_fails_tells_why(void **state)
{
	struct op start, stopped;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.fail_start", "true");
	vm_make(&vm);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_EIO);
	op_await_code(&stopped, KILN_EIO);
	assert_string_equal(start.err.stage, "start");
	assert_non_null(strstr(start.err.message, "fail_start"));
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_FAILED, PASSED_END);
	vm_close(&vm);
}

static void a_slow_start_can_be_waited_for_and_stopped(void **state)
{
	struct op start, stop;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.start_delay", "100ms");
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	kiln_test_settle(vm.loop);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_STARTING);
	op_await_ok(&start);
	vm_close(&vm);

	vm_open(&vm);
	vm_set(&vm, "fake.start_delay", "1h");
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_begin(&stop, &vm, kiln_machine_stop, 100000);
	op_await_ok(&stop);
	op_await_code(&start, KILN_EDIED);
	vm_close(&vm);
}

static void a_start_that_takes_too_long_is_not_ready_in_time(void **state)
{
	struct op start;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.start_delay", "1h");
	vm_set(&vm, "readiness.timeout", "100ms");
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_ETIMEDOUT);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_FAILED, PASSED_END);
	vm_close(&vm);
}

/* Who does not wait for readiness waits for the VMM all the same, and not for ever. */
static void a_start_has_a_deadline_without_readiness(void **state)
{
	struct op start;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.start_delay", "1h");
	vm_set(&vm, "readiness.kind", "none");
	vm_set(&vm, "readiness.timeout", "100ms");
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_ETIMEDOUT);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_FAILED, PASSED_END);
	vm_close(&vm);
}

/* A machine that its user frees when it comes to a state. */
struct freeing {
	kiln_machine *machine;
	enum kiln_state in;
	unsigned told;
};

static void free_in_event(void *data, const kiln_event *event)
{
	struct freeing *f = data;

	if (event->to == f->in)
		kiln_machine_free(kiln__take(f->machine));
}

static void count_told(void *data, int result, const kiln_error *err)
{
	struct freeing *f = data;

	(void)result;
	(void)err;
	f->told++;
}

static void a_machine_may_be_freed_in_any_of_its_events(void **state)
{
	static const enum kiln_state states[] = {KILN_STATE_STARTING, KILN_STATE_RUNNING,
						 KILN_STATE_READY,    KILN_STATE_PAUSED,
						 KILN_STATE_STOPPING, KILN_STATE_STOPPED};

	(void)state;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		kiln_machine_options options = KILN_MACHINE_OPTIONS_INIT;
		struct freeing f = {.in = states[i]};
		kiln_config *config;
		kiln_loop *loop;
		kiln_error err;

		kiln_ok(kiln_loop_new(&loop, &err), &err);
		kiln_ok(kiln_config_parse("{\"backend\":\"fake\"}", 18, &config, &err), &err);
		options.on_event = free_in_event;
		options.data = &f;
		kiln_ok(kiln_machine_new(&f.machine, loop, config, &options, &err), &err);
		kiln_config_free(config);
		kiln_machine_start(f.machine, count_told, &f);
		kiln_test_settle(loop);
		if (f.machine)
			kiln_machine_pause(f.machine, count_told, &f);
		kiln_test_settle(loop);
		if (f.machine)
			kiln_machine_kill(f.machine, count_told, &f);
		kiln_test_settle(loop);
		assert_null(f.machine);
		assert_true(f.told >= 1);
		kiln_loop_free(loop);
	}
}

static void a_pause_that_fails_changes_nothing(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.fail_pause", "true");
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_code(&op, KILN_EIO);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	op_begin(&op, &vm, kiln_machine_stop, 10000);
	op_await_ok(&op);
	vm_close(&vm);
}

static void set_true(void *data)
{
	*(bool *)data = true;
}

static void pass_time(struct vm *vm, uint64_t ms)
{
	struct kiln__timer *timer;
	bool passed = false;
	kiln_error err;

	kiln_ok(kiln__timer_new(&timer, vm->loop, set_true, &passed, &err), &err);
	kiln__timer_start(timer, ms);
	kiln_test_run_until(vm->loop, &passed);
	kiln__timer_free(timer);
}

static void a_crash_waits_while_it_is_paused(void **state)
{
	struct op op, stopped;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.crash_after", "50ms");
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	pass_time(&vm, 100); /* past the moment of the crash */
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_PAUSED);
	op_begin(&op, &vm, kiln_machine_resume);
	op_await_code(&stopped, KILN_EDIED);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
	vm_close(&vm);
}

/* Whatever it was about to die of. */
static void an_end_that_was_asked_for_is_no_failure(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	vm_type(&vm, "kernel panic\n");
	vm_await_console(&vm, "Kernel panic");
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_STOPPED);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_KILLED);
	vm_close(&vm);
}

#define MANY 100

static void a_hundred_machines_live_on_one_loop(void **state)
{
	static struct vm vms[MANY];
	struct op op;

	(void)state;
	vm_open(&vms[0]);
	vm_set(&vms[0], "readiness.kind", "agent");
	for (size_t i = 1; i < MANY; i++) {
		vms[i] = (struct vm){.loop = vms[0].loop, .awaited = KILN_STATE_CREATED};
		kiln_ok(kiln_config_copy(vms[0].config, &vms[i].config, NULL), NULL);
	}
	for (size_t i = 0; i < MANY; i++) {
		vm_make(&vms[i]);
		kiln_machine_start(vms[i].machine, NULL, NULL);
	}
	for (size_t i = 0; i < MANY; i++)
		vm_await(&vms[i], KILN_STATE_READY);
	for (size_t i = MANY; i-- > 0;) {
		op_begin(&op, &vms[i], kiln_machine_kill);
		kiln_test_run_until(vms[0].loop, &op.done);
		kiln_machine_free(vms[i].machine);
		vms[i].machine = NULL;
		if (i == 0)
			break;
		kiln_config_free(vms[i].config);
		kiln__buf_done(&vms[i].console);
	}
	vm_close(&vms[0]);
}

static void what_it_cannot_do_is_refused_by_its_key(void **state)
{
	kiln_machine *machine = NULL;
	kiln_error err;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "accel", "kvm");
	assert_int_equal(kiln_machine_new(&machine, vm.loop, vm.config, NULL, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "accel"));
	vm_set(&vm, "accel", NULL);
	vm_set(&vm, "networks", "[{}]");
	assert_int_equal(kiln_machine_new(&machine, vm.loop, vm.config, NULL, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "networks[0]"));
	assert_null(machine);
	vm_close(&vm);
}

static void auto_never_means_fake(void **state)
{
	const struct kiln__backend *backend = NULL;
	struct kiln__spec *spec;
	kiln_config *config;
	kiln_error err;

	(void)state;
	kiln_ok(kiln_config_new(&config, &err), &err);
	kiln_ok(kiln__config_spec(config, &spec, &err), &err);
	if (kiln__backend_choose(spec, &backend, &err) == 0)
		assert_string_not_equal(backend->name, "fake");
	kiln__spec_free(spec);
	kiln_config_free(config);
}
int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_port_that_answers_makes_it_ready),
		kiln_test(a_command_makes_it_ready_or_is_late),
		kiln_test(a_start_that_fails_tells_why),
		kiln_test(a_slow_start_can_be_waited_for_and_stopped),
		kiln_test(a_start_that_takes_too_long_is_not_ready_in_time),
		kiln_test(a_start_has_a_deadline_without_readiness),
		kiln_test(a_machine_may_be_freed_in_any_of_its_events),
		kiln_test(a_pause_that_fails_changes_nothing),
		kiln_test(a_crash_waits_while_it_is_paused),
		kiln_test(an_end_that_was_asked_for_is_no_failure),
		kiln_test(a_hundred_machines_live_on_one_loop),
		kiln_test(what_it_cannot_do_is_refused_by_its_key),
		kiln_test(auto_never_means_fake),
	};
	int r = contract_choose(argc, argv);

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
