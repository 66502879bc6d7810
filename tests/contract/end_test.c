/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of a machine: asked for, of its own, by force, by failure, and by being freed. */
#include "contract.h"

#include "os.h"

#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <errno.h>
#include <signal.h>
#endif

/* --- kill and stop ----------------------------------------------------------------- */

static void kill_from(enum kiln_state from)
{
	struct op start, stopped, op;
	struct vm vm;

	vm_open(&vm);
	if (from == KILN_STATE_RUNNING)
		subject->never_ready(&vm);
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	if (from != KILN_STATE_STARTING)
		vm_await(&vm, from == KILN_STATE_RUNNING ? from : KILN_STATE_READY);
	if (from == KILN_STATE_PAUSED) {
		op_begin(&op, &vm, kiln_machine_pause);
		op_await_ok(&op);
	}
	if (from == KILN_STATE_STOPPING)
		kiln_machine_stop(vm.machine, 100000, NULL, NULL);
	assert_int_equal(kiln_machine_state(vm.machine), from);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	op_await_ok(&stopped);
	op_await_code(&start, from == KILN_STATE_STARTING ? KILN_EDIED : 0);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_STOPPED);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_KILLED);
	assert_int_equal(vm.seen[vm.seen_count - 2].to, KILN_STATE_STOPPING);
	vm_close(&vm);
}

static void a_kill_ends_it_in_any_state(void **state)
{
	(void)state;
	kill_from(KILN_STATE_STARTING);
	kill_from(KILN_STATE_RUNNING);
	kill_from(KILN_STATE_READY);
	kill_from(KILN_STATE_PAUSED);
	kill_from(KILN_STATE_STOPPING);
}

static void a_stop_of_what_still_starts_kills_it(void **state)
{
	struct op start, stop;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_begin(&stop, &vm, kiln_machine_stop, 100000);
	op_await_ok(&stop);
	op_await_code(&start, KILN_EDIED);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_STOPPING, KILN_STATE_STOPPED,
		      PASSED_END);
	vm_close(&vm);
}

static void a_guest_that_ignores_the_stop_is_killed_at_the_deadline(void **state)
{
	int64_t begun;
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	subject->will_ignore_stop(&vm);
	vm_make_ready(&vm);
	subject->ignore_stop(&vm);
	begun = kiln__os_monotonic_ns();
	op_begin(&op, &vm, kiln_machine_stop, 300);
	op_await_ok(&op);
	assert_true(kiln__os_monotonic_ns() - begun >= 299 * 1000000LL);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_STOPPED);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_KILLED);
	vm_close(&vm);
}

static void a_stop_without_time_kills(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_stop, 0);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_KILLED);
	vm_close(&vm);
}

/* --- by itself ------------------------------------------------------------------------ */

static void a_guest_that_powers_off_stops_the_machine(void **state)
{
	struct op stopped;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	vm_type(&vm, "poweroff\n");
	op_await_ok(&stopped);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_RUNNING, KILN_STATE_READY,
		      KILN_STATE_STOPPED, PASSED_END);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_POWEROFF);
	vm_close(&vm);
}

static void a_guest_that_resets_stops_the_machine(void **state)
{
	struct op stopped;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	vm_type(&vm, "reset\n");
	op_await_ok(&stopped);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_STOPPED);
	assert_int_equal(kiln_machine_exit(vm.machine).kind,
			 subject->no_reset ? KILN_EXIT_POWEROFF : KILN_EXIT_RESET);
	vm_close(&vm);
}

static void a_panic_is_a_failure_in_the_guests_own_words(void **state)
{
	struct op stopped;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	vm_type(&vm, "kernel panic\n");
	op_await_code(&stopped, KILN_EDIED);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
	assert_string_equal(kiln_machine_failure(vm.machine)->stage, "run");
	assert_non_null(strstr(kiln_machine_failure(vm.machine)->message, "asked for"));
	assert_non_null(strstr(kiln_machine_failure(vm.machine)->hint, "console"));
	vm_close(&vm);
}

/* --- failures --------------------------------------------------------------------------- */

static void a_crash_is_a_failure_with_stage_and_reason(void **state)
{
	struct op stopped, op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	subject->crash(&vm);
	op_await(&stopped);
	assert_true(stopped.result < 0);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_RUNNING, KILN_STATE_READY,
		      KILN_STATE_FAILED, PASSED_END);
	assert_string_equal(vm.seen[3].err.stage, "run");
	assert_true(vm.seen[3].err.message[0]);
	assert_string_equal(kiln_machine_failure(vm.machine)->message, stopped.err.message);
	/* What comes after is told the same, and what ends it succeeds. */
	op_begin(&op, &vm, kiln_machine_wait_stopped);
	op_await_code(&op, stopped.result);
	op_begin(&op, &vm, kiln_machine_wait_ready);
	op_await_code(&op, stopped.result);
	op_begin(&op, &vm, kiln_machine_stop, 1000);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
	vm_close(&vm);
}

static void what_cannot_be_prepared_fails_at_that_stage(void **state)
{
	struct op ready, start;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	subject->cannot_prepare(&vm);
	vm_make(&vm);
	op_begin(&ready, &vm, kiln_machine_wait_ready);
	for (size_t i = 1; i <= 2; i++) { /* it may be tried again, and fails the same */
		op_begin(&start, &vm, kiln_machine_start);
		op_await(&start);
		assert_true(start.result < 0);
		assert_string_equal(start.err.stage, "prepare");
		assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
		assert_int_equal(vm.seen_count, 2 * i);
	}
	op_await_code(&ready, start.result);
	vm_close(&vm);
}

static void a_guest_that_is_never_ready_fails_at_its_deadline(void **state)
{
	struct op ready, stopped;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	subject->never_ready(&vm);
	vm_set(&vm, "readiness.timeout", "600ms");
	vm_make(&vm);
	kiln_machine_start(vm.machine, NULL, NULL);
	op_begin(&ready, &vm, kiln_machine_wait_ready);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	op_await_code(&ready, KILN_ETIMEDOUT);
	op_await_code(&stopped, KILN_ETIMEDOUT);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
	assert_string_equal(ready.err.stage, "ready");
	assert_non_null(strstr(ready.err.message, "600 ms"));
	assert_true(ready.err.hint[0]);
	vm_close(&vm);
}

static void waiting_for_ready_ends_with_the_machine(void **state)
{
	struct op ready, op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	subject->never_ready(&vm);
	vm_make(&vm);
	op_begin(&op, &vm, kiln_machine_start);
	op_begin(&ready, &vm, kiln_machine_wait_ready);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_RUNNING);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	op_await_code(&ready, KILN_EDIED);
	vm_close(&vm);
}

static void no_sign_of_readiness_means_that_running_is_ready(void **state)
{
	struct vm vm;

	(void)state;
	vm_open(&vm);
	subject->never_ready(&vm);
	vm_set(&vm, "readiness.kind", "none");
	vm_make_ready(&vm);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_RUNNING, KILN_STATE_READY, PASSED_END);
	vm_close(&vm);
}

/* --- being freed ---------------------------------------------------------------------------- */

#ifdef _WIN32
static void assert_no_process(int64_t pid)
{
	(void)pid;
}
#else
static void assert_no_process(int64_t pid)
{
	if (pid > 0) {
		assert_int_equal(kill((pid_t)pid, 0), -1);
		assert_int_equal(errno, ESRCH);
	}
}
#endif

/* Frees it in a state with everything pending that can be; each is told once, before free returns.
 */
static void free_in(enum kiln_state state)
{
	struct op ready, stopped, pause, stop;
	int64_t pid;
	struct vm vm;

	vm_open(&vm);
	if (state == KILN_STATE_RUNNING)
		subject->never_ready(&vm);
	vm_make(&vm);
	if (state != KILN_STATE_CREATED)
		kiln_machine_start(vm.machine, NULL, NULL);
	if (state != KILN_STATE_CREATED && state != KILN_STATE_STARTING)
		vm_await(&vm, state == KILN_STATE_RUNNING ? state : KILN_STATE_READY);
	if (state == KILN_STATE_PAUSED) {
		op_begin(&pause, &vm, kiln_machine_pause);
		op_await_ok(&pause);
	}
	pid = kiln__machine_vmm_pid(vm.machine);
	op_begin(&ready, &vm, kiln_machine_wait_ready);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	op_begin(&pause, &vm, kiln_machine_pause);
	op_begin(&stop, &vm, kiln_machine_stop, 100000);
	vm_free(&vm);
	assert_int_equal(stopped.count, 1);
	assert_int_equal(stopped.result, KILN_ECANCELED);
	assert_int_equal(ready.count, 1);
	assert_int_equal(pause.count, 1);
	assert_int_equal(stop.count, 1);
	if (state == KILN_STATE_CREATED)
		assert_int_equal(stop.result, 0);
	else
		assert_int_equal(stop.result, KILN_ECANCELED);
	assert_no_process(pid);
	vm_close(&vm);
}

static void it_is_freed_in_any_state_and_tells_what_was_pending(void **state)
{
	(void)state;
	free_in(KILN_STATE_CREATED);
	free_in(KILN_STATE_STARTING);
	free_in(KILN_STATE_RUNNING);
	free_in(KILN_STATE_READY);
	free_in(KILN_STATE_PAUSED);
}

static void it_is_freed_when_it_has_ended(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	vm_close(&vm);
}

/* Each of these completions frees the machine; others that wait are still told. */
static void it_is_freed_from_a_completion(void **state)
{
	struct op first, second;
	struct vm vm;

	(void)state;
	for (int i = 0; i < 3; i++) {
		vm_open(&vm);
		vm_make(&vm);
		op_begin(&second, &vm, kiln_machine_wait_stopped);
		if (i > 0) {
			kiln_machine_start(vm.machine, NULL, NULL);
			vm_await(&vm, KILN_STATE_READY);
		}
		if (i == 0)
			op_begin(&first, &vm, kiln_machine_start);
		else if (i == 1)
			op_begin(&first, &vm, kiln_machine_pause);
		else
			op_begin(&first, &vm, kiln_machine_kill);
		first.frees = true;
		kiln_test_run_until(vm.loop, &first.done);
		assert_null(vm.machine);
		assert_int_equal(first.count, 1);
		assert_int_equal(second.count, 1);
		vm_close(&vm);
		assert_int_equal(first.count + second.count, 2);
	}
}

static void the_process_is_gone_when_the_machine_has_stopped(void **state)
{
	struct op op;
	int64_t pid;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	pid = kiln__machine_vmm_pid(vm.machine);
	op_begin(&op, &vm, kiln_machine_kill);
	kiln_test_run_until(vm.loop, &op.done);
	assert_no_process(pid);
	vm_close(&vm);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_kill_ends_it_in_any_state),
		kiln_test(a_stop_of_what_still_starts_kills_it),
		kiln_test(a_guest_that_ignores_the_stop_is_killed_at_the_deadline),
		kiln_test(a_stop_without_time_kills),
		kiln_test(a_guest_that_powers_off_stops_the_machine),
		kiln_test(a_guest_that_resets_stops_the_machine),
		kiln_test(a_panic_is_a_failure_in_the_guests_own_words),
		kiln_test(a_crash_is_a_failure_with_stage_and_reason),
		kiln_test(what_cannot_be_prepared_fails_at_that_stage),
		kiln_test(a_guest_that_is_never_ready_fails_at_its_deadline),
		kiln_test(waiting_for_ready_ends_with_the_machine),
		kiln_test(no_sign_of_readiness_means_that_running_is_ready),
		kiln_test(it_is_freed_in_any_state_and_tells_what_was_pending),
		kiln_test(it_is_freed_when_it_has_ended),
		kiln_test(it_is_freed_from_a_completion),
		kiln_test(the_process_is_gone_when_the_machine_has_stopped),
	};
	int r = contract_choose(argc, argv);

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
