/* SPDX-License-Identifier: Apache-2.0 */
/* A machine's states and operations, in order and out of order. */
#include "contract.h"

#include "instance.h"
#include "os.h"

#include <string.h>

static void a_life_passes_through_its_states_in_order(void **state)
{
	struct op start, ready, stopped, stop;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make(&vm);
	assert_string_equal(kiln_machine_accel(vm.machine), "");
	assert_string_equal(kiln_machine_backend(vm.machine), subject_backend());
	op_begin(&start, &vm, kiln_machine_start);
	op_begin(&ready, &vm, kiln_machine_wait_ready);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	op_await_ok(&start);
	op_await_ok(&ready);
	assert_true(start.seen_count >=
		    2); /* a quick guest may be ready before its start is told */
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	assert_string_not_equal(kiln_machine_accel(vm.machine), "");
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_NONE);
	assert_int_equal(stopped.count, 0);

	op_begin(&stop, &vm, kiln_machine_stop, 10000);
	op_await_ok(&stop);
	op_await_ok(&stopped);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_RUNNING, KILN_STATE_READY,
		      KILN_STATE_STOPPING, KILN_STATE_STOPPED, PASSED_END);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_POWEROFF);
	assert_int_equal(vm.seen[4].exit.kind, KILN_EXIT_POWEROFF);
	assert_null(kiln_machine_failure(vm.machine));
	assert_int_equal(start.count + ready.count + stopped.count + stop.count, 4);
	vm_close(&vm);
}

static void what_was_reached_already_completes_at_once(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_wait_ready);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_wait_stopped);
	op_await_ok(&op);
	vm_close(&vm);
}

static void operations_out_of_place_are_refused_and_change_nothing(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_code(&op, KILN_ESTATE);
	assert_non_null(strstr(op.err.message, "created"));
	op_begin(&op, &vm, kiln_machine_resume);
	op_await_code(&op, KILN_ESTATE);
	assert_passed(&vm, PASSED_END);

	kiln_machine_start(vm.machine, NULL, NULL);
	op_begin(&op, &vm, kiln_machine_start);
	op_await_code(&op, KILN_ESTATE);
	vm_await(&vm, KILN_STATE_READY);
	op_begin(&op, &vm, kiln_machine_start);
	op_await_code(&op, KILN_ESTATE);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_RUNNING, KILN_STATE_READY, PASSED_END);

	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_code(&op, KILN_ESTATE);
	op_begin(&op, &vm, kiln_machine_resume);
	op_await_code(&op, KILN_ESTATE);
	op_begin(&op, &vm, kiln_machine_wait_ready);
	op_await_code(&op, KILN_EDIED);
	assert_int_equal(vm.seen_count, 5);
	vm_close(&vm);
}

static void stop_and_kill_succeed_where_nothing_runs(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make(&vm);
	op_begin(&op, &vm, kiln_machine_stop, 1000);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_CREATED);
	kiln_machine_start(vm.machine, NULL, NULL);
	vm_await(&vm, KILN_STATE_READY);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_stop, 1000);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_RUNNING, KILN_STATE_READY,
		      KILN_STATE_STOPPING, KILN_STATE_STOPPED, PASSED_END);
	vm_close(&vm);
}

static void several_stops_and_kills_at_once_all_succeed(void **state)
{
	struct op ops[4];
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&ops[0], &vm, kiln_machine_stop, 10000);
	op_begin(&ops[1], &vm, kiln_machine_stop, 10000);
	op_begin(&ops[2], &vm, kiln_machine_kill);
	op_begin(&ops[3], &vm, kiln_machine_kill);
	for (int i = 0; i < 4; i++)
		op_await_ok(&ops[i]);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_RUNNING, KILN_STATE_READY,
		      KILN_STATE_STOPPING, KILN_STATE_STOPPED, PASSED_END);
	vm_close(&vm);
}

static void pause_and_resume_are_idempotent(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_resume);
	op_await_ok(&op);
	for (int i = 0; i < 2; i++) {
		op_begin(&op, &vm, kiln_machine_pause);
		op_await_ok(&op);
		assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_PAUSED);
	}
	for (int i = 0; i < 2; i++) {
		op_begin(&op, &vm, kiln_machine_resume);
		op_await_ok(&op);
		assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	}
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_RUNNING, KILN_STATE_READY,
		      KILN_STATE_PAUSED, KILN_STATE_READY, PASSED_END);
	vm_close(&vm);
}

static void one_pause_at_a_time(void **state)
{
	struct op pause, again, resume;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&pause, &vm, kiln_machine_pause);
	op_begin(&again, &vm, kiln_machine_pause);
	op_begin(&resume, &vm, kiln_machine_resume);
	op_await_code(&again, KILN_EBUSY);
	op_await_code(&resume, KILN_EBUSY);
	op_await_ok(&pause);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_PAUSED);
	vm_close(&vm);
}

/* What is typed while it is paused is read when it goes on, not before. */
static void a_paused_guest_does_nothing(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	vm_type(&vm, "hello\n");
	kiln_test_settle(vm.loop);
	assert_null(strstr(vm.console.data, "hello"));
	op_begin(&op, &vm, kiln_machine_resume);
	op_await_ok(&op);
	vm_await_console(&vm, "hello");
	vm_close(&vm);
}

static void a_paused_machine_stops(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_stop, 10000);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_POWEROFF);
	vm_close(&vm);
}

static void a_stopped_machine_starts_again(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	for (int i = 0; i < 2; i++) {
		op_begin(&op, &vm, kiln_machine_kill);
		op_await_ok(&op);
		assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_KILLED);
		op_begin(&op, &vm, kiln_machine_start);
		op_await_ok(&op);
		assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_NONE);
		vm_await(&vm, KILN_STATE_READY);
	}
	vm_close(&vm);
}

/* From the completion of the kill itself: the ended instance is still about. */
static struct op restarted;

static void restart(void *data, int result, const kiln_error *err)
{
	struct vm *vm = data;

	(void)err;
	assert_int_equal(result, 0);
	op_begin(&restarted, vm, kiln_machine_start);
}

static void it_starts_again_from_the_completion_of_its_end(void **state)
{
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	restarted.done = false;
	kiln_machine_kill(vm.machine, restart, &vm);
	kiln_test_run_until(vm.loop, &restarted.done);
	assert_int_equal(restarted.result, 0);
	vm_await(&vm, KILN_STATE_READY);
	vm_close(&vm);
}

static void the_console_goes_both_ways(void **state)
{
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	assert_non_null(strstr(vm.console.data, "KILN_READY\n"));
	vm_type(&vm, "one line and ");
	vm_type(&vm, "its end\n");
	vm_await_console(&vm, "one line and its end\n");
	vm_close(&vm);
}

static void machines_on_one_loop_do_not_meet(void **state)
{
	struct vm a;
	struct vm b;
	struct op op;

	(void)state;
	vm_open(&a);
	vm_make_ready(&a);
	b = (struct vm){.loop = a.loop, .awaited = KILN_STATE_CREATED};
	kiln_ok(kiln_config_copy(a.config, &b.config, NULL), NULL);
	vm_make_ready(&b);
	assert_string_not_equal(kiln_machine_id(a.machine), kiln_machine_id(b.machine));
	op_begin(&op, &a, kiln_machine_kill);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_state(b.machine), KILN_STATE_READY);
	vm_type(&b, "still here\n");
	vm_await_console(&b, "still here");
	assert_null(strstr(a.console.data, "still here"));
	vm_free(&b);
	kiln_config_free(b.config);
	kiln__buf_done(&b.console);
	vm_close(&a);
}

/* --- what it is said to be able to do -------------------------------------------------------- */

static void a_probe_tells_what_would_run_it(void **state)
{
	const struct kiln__backend *backend;
	struct kiln__probe probe;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__backend_find(subject_backend(), &backend, &err), &err);
	assert_true(backend->summary[0]);
	backend->probe("x86_64", &probe);
	if (subject->has_standin && !probe.usable)
		assert_true(probe.reason.message[0]);
	else
		assert_true(probe.usable);
	assert_true(probe.accel[0]);
}

static void what_cannot_be_changed_is_refused_by_name(void **state)
{
	kiln_update update = KILN_UPDATE_INIT;
	struct op op;
	struct vm vm;

	(void)state;
	update.cpus = 7;
	vm_open(&vm);
	vm_make_ready(&vm);
	op = (struct op){.vm = &vm};
	kiln_machine_update(vm.machine, &update, op_done, &op);
	assert_int_equal(op.count, 0);
	op_await_code(&op, KILN_ENOTSUP);
	assert_true(strstr(op.err.message, "cpus") || strstr(op.err.message, subject_backend()));
	vm_close(&vm);
}

static void what_cannot_be_done_to_a_running_machine_is_refused_by_name(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	for (int kind = KILN_CHANGE_ADD; kind <= KILN_CHANGE_POWER_BUTTON; kind++) {
		kiln_change change = KILN_CHANGE_INIT;

		if (kiln__change_can(vm.machine->backend, (enum kiln_change_kind)kind))
			continue; /* api_test.c */
		change.kind = (enum kiln_change_kind)kind;
		op = (struct op){.vm = &vm};
		kiln_machine_change(vm.machine, &change, op_done, &op);
		assert_int_equal(op.count, 0);
		op_await_code(&op, KILN_ENOTSUP);
		assert_non_null(strstr(op.err.message, kiln__change_names[kind]));
		assert_non_null(strstr(op.err.message, vm.machine->backend->name));
	}
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	vm_close(&vm);
}

static void a_snapshot_is_begun_from_or_refused_by_name(void **state)
{
	kiln_machine *machine = NULL;
	kiln_error err;
	struct vm vm;

	(void)state;
	if (subject->has_standin || strcmp(subject->name, "vz") == 0)
		return; /* api_test.c, vz_test.c */
	vm_open(&vm);
	vm_set(&vm, "snapshot", "/nonexistent");
	assert_int_equal(kiln_machine_new(&machine, vm.loop, vm.config, NULL, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "snapshot: the "));
	vm_close(&vm);
}

static void an_unknown_backend_is_refused_with_those_there_are(void **state)
{
	const struct kiln__backend *backend = NULL;
	kiln_error err;

	(void)state;
	assert_int_equal(kiln__backend_find("nonesuch", &backend, &err), KILN_EINVAL);
	assert_null(backend);
	assert_non_null(strstr(err.hint, subject_backend()));
}

static void a_port_without_a_network_is_refused_by_its_key(void **state)
{
	kiln_machine *machine = NULL;
	kiln_error err;
	struct vm vm;
	int r;

	(void)state;
	vm_open(&vm);
	r = kiln_config_set(vm.config, "ports", "[{\"host_port\":8080,\"guest_port\":80}]", &err);
	if (r == 0)
		r = kiln_machine_new(&machine, vm.loop, vm.config, NULL, &err);
	assert_true(r < 0);
	assert_null(machine);
	assert_non_null(strstr(err.message, "ports"));
	assert_string_equal(err.stage, "config");
	vm_close(&vm);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_life_passes_through_its_states_in_order),
		kiln_test(what_was_reached_already_completes_at_once),
		kiln_test(operations_out_of_place_are_refused_and_change_nothing),
		kiln_test(stop_and_kill_succeed_where_nothing_runs),
		kiln_test(several_stops_and_kills_at_once_all_succeed),
		kiln_test(pause_and_resume_are_idempotent),
		kiln_test(one_pause_at_a_time),
		kiln_test(a_paused_guest_does_nothing),
		kiln_test(a_paused_machine_stops),
		kiln_test(a_stopped_machine_starts_again),
		kiln_test(it_starts_again_from_the_completion_of_its_end),
		kiln_test(the_console_goes_both_ways),
		kiln_test(machines_on_one_loop_do_not_meet),
		kiln_test(a_probe_tells_what_would_run_it),
		kiln_test(what_cannot_be_changed_is_refused_by_name),
		kiln_test(what_cannot_be_done_to_a_running_machine_is_refused_by_name),
		kiln_test(a_snapshot_is_begun_from_or_refused_by_name),
		kiln_test(an_unknown_backend_is_refused_with_those_there_are),
		kiln_test(a_port_without_a_network_is_refused_by_its_key),
	};
	int r = contract_choose(argc, argv);

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
