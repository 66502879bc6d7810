/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager with the real runner and the fake backend, whose guest has an agent and a few programs:
 * processes in a VM, from the library's user to the guest and back.
 */
#include "manager_runner.h"

#include "buf.h"
#include "err.h"
#include "loop.h"
#include "os.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- processes -------------------------------------------------------------------------------- */

static int exec(kiln_vm *vm, kiln_exec_result *result, kiln_error *err, const char *const *argv)
{
	kiln_exec_options options = KILN_EXEC_OPTIONS_INIT;

	*result = (kiln_exec_result)KILN_EXEC_RESULT_INIT;
	options.argv = argv;
	return kiln_vm_exec_sync(vm, &options, 1000, result, KILN_TEST_DEADLINE_MS, err);
}

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void commands_are_run_to_their_end(void **state)
{
	kiln_exec_result result;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	kiln_ok(exec(vm, &result, &err, ARGV("echo", "hello", "there")), &err);
	assert_string_equal(result.out, "hello there\n");
	assert_string_equal(result.err, "");
	assert_int_equal(result.exit.kind, KILN_EXIT_EXITED);
	assert_int_equal(result.exit.code, 0);
	kiln_exec_result_done(&result);
	kiln_ok(exec(vm, &result, &err, ARGV("err", "oh")), &err);
	assert_string_equal(result.err, "oh\n");
	kiln_exec_result_done(&result);
	kiln_ok(exec(vm, &result, &err, ARGV("exit", "7")), &err);
	assert_int_equal(result.exit.code, 7);
	kiln_exec_result_done(&result);
	kiln_ok(exec(vm, &result, &err, ARGV("signal", "9")), &err);
	assert_int_equal(result.exit.kind, KILN_EXIT_SIGNALED);
	assert_int_equal(result.exit.code, 9);
	kiln_exec_result_done(&result);
	assert_int_equal(exec(vm, &result, &err, ARGV("nonesuch")), KILN_ENOCMD);
	assert_int_equal(exec(vm, &result, &err, (const char *const[]){NULL}), KILN_EINVAL);
	remove_all(vm);
}

static char *pattern(size_t len)
{
	char *bytes = malloc(len);

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (char)(i * 31 + i / 251);
	return bytes;
}

static void megabytes_pass_whole_though_nobody_hurries(void **state)
{
	kiln_exec_options options = KILN_EXEC_OPTIONS_INIT;
	struct talk talk = {.input_len = 3 << 20, .appetite = 10000};
	kiln_session_callbacks callbacks = callbacks_of(&talk);
	kiln_error err;
	char *input;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	talk.input = input = pattern(talk.input_len);
	options.argv = ARGV("cat");
	options.stdin_open = true;
	kiln_ok(kiln_vm_exec(vm, &options, &callbacks, &talk.session, &err), &err);
	talk_write(&talk); /* before there is a connection: on_writable will say when */
	talk_to_the_end(&talk);
	assert_int_equal(talk.code, 0);
	assert_int_equal(talk.output.len, talk.input_len);
	assert_memory_equal(talk.output.data, input, talk.input_len);
	kiln_session_free(talk.session);
	kiln__buf_done(&talk.output);
	free(input);
	remove_all(vm);
}

static void ten_commands_run_at_once(void **state)
{
	kiln_exec_options options = KILN_EXEC_OPTIONS_INIT;
	struct talk talks[10] = {0};
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	for (int i = 0; i < 10; i++) {
		kiln_session_callbacks callbacks = callbacks_of(&talks[i]);

		options.argv = ARGV("echo", "0123456789" + i);
		kiln_ok(kiln_vm_exec(vm, &options, &callbacks, &talks[i].session, &err), &err);
	}
	for (int i = 0; i < 10; i++) {
		kiln__autofree char *want = kiln__strf("%s\n", "0123456789" + i);

		talk_to_the_end(&talks[i]);
		assert_string_equal(talks[i].output.data, want);
		kiln_session_free(talks[i].session);
		kiln__buf_done(&talks[i].output);
	}
	remove_all(vm);
}

static void a_signal_reaches_the_process(void **state)
{
	kiln_exec_options options = KILN_EXEC_OPTIONS_INIT;
	kiln_session_callbacks callbacks;
	struct talk talk = {0};
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	options.argv = ARGV("sleep");
	callbacks = callbacks_of(&talk);
	kiln_ok(kiln_vm_exec(vm, &options, &callbacks, &talk.session, &err), &err);
	kiln_session_signal(talk.session, SIGTERM); /* before it runs */
	talk_to_the_end(&talk);
	assert_int_equal(talk.exit.kind, KILN_EXIT_SIGNALED);
	assert_int_equal(talk.exit.code, SIGTERM);
	kiln_session_free(talk.session);
	remove_all(vm);
}

/* A command whose VM goes: it hears the truth. */
static void a_session_is_told_of_its_vms_death(void **state)
{
	kiln_exec_options options = KILN_EXEC_OPTIONS_INIT;
	kiln_session_callbacks callbacks;
	struct talk talk = {0};
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	options.argv = ARGV("echo", "x");
	callbacks = callbacks_of(&talk);
	assert_int_equal(kill((pid_t)status(vm).pid, SIGKILL), 0);
	kiln_ok(kiln_vm_exec(vm, &options, &callbacks, &talk.session, &err), &err);
	talk_to_the_end(&talk);
	assert_true(talk.code < 0);
	kiln_session_free(talk.session);
	remove_all(vm);
}

/* --- the main process ---------------------------------------------------------------- */

static void what_is_attached_from_the_start_misses_nothing(void **state)
{
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	kiln_session_callbacks callbacks;
	struct talk talk = {0};
	unsigned started = 0;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create_from(manager, NULL,
			 "{\"backend\":\"fake\",\"process\":{\"args\":[\"echo\",\"hi\"]}}", true);
	start.foreground = true;
	start.attach = true;
	kiln_vm_start(vm, &start, on_counted, &started);
	callbacks = callbacks_of(&talk);
	kiln_ok(kiln_vm_attach(vm, NULL, &callbacks, &talk.session, &err), &err);
	talk_to_the_end(&talk);
	assert_int_equal(started, 1);
	assert_int_equal(talk.code, 0);
	assert_int_equal(talk.exit.kind, KILN_EXIT_EXITED);
	assert_string_equal(talk.output.data, "hi\n");
	kiln_session_free(talk.session);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(status(vm).exit.kind, KILN_EXIT_EXITED);
	kiln_vm_free(vm); /* it was ephemeral */
	assert_int_equal(left(), 0);
	kiln__buf_done(&talk.output);
	kiln_manager_free(manager);
}

static void input_reaches_the_main_process(void **state)
{
	kiln_attach_options attach = KILN_ATTACH_OPTIONS_INIT;
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	struct talk talk = {.input = "some input", .input_len = 10};
	kiln_session_callbacks callbacks = callbacks_of(&talk);
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create_from(manager, "web",
			 "{\"backend\":\"fake\",\"process\":{\"args\":[\"cat\"],\"stdin\":true}}",
			 false);
	start.foreground = true;
	start.attach = true;
	kiln_vm_start(vm, &start, NULL, NULL);
	attach.stdin_open = true;
	kiln_ok(kiln_vm_attach(vm, &attach, &callbacks, &talk.session, &err), &err);
	talk_write(&talk);
	talk_to_the_end(&talk);
	assert_int_equal(talk.code, 0);
	assert_string_equal(talk.output.data, "some input");
	kiln_session_free(talk.session);
	kiln__buf_done(&talk.output);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, KILN_TEST_DEADLINE_MS, &err), &err);
	remove_all(vm);
}

static void set_done(void *data)
{
	*(bool *)data = true;
}

static bool has_stopped(kiln_vm *vm)
{
	return status(vm).state == KILN_STATE_STOPPED;
}

/* Runs the loop until the VM's state says that it has stopped, and then as long as @ms. */
static void run_past_the_end(kiln_vm *vm, int64_t ms)
{
	kiln_loop *loop = kiln_manager_loop(manager);
	int64_t since = 0;
	bool done = false;
	struct kiln__timer *timer;

	kiln_ok(kiln__timer_new(&timer, loop, set_done, &done, NULL), NULL);
	while (!has_stopped(vm)) {
		done = false;
		kiln__timer_start(timer, 20);
		kiln_test_run_until(loop, &done);
		since += 20;
		assert_true(since < KILN_TEST_DEADLINE_MS);
	}
	done = false;
	kiln__timer_start(timer, (uint64_t)ms);
	kiln_test_run_until(loop, &done);
	kiln__timer_free(timer);
}

static kiln_vm *pipe_through(struct talk *talk, kiln_session_callbacks *callbacks)
{
	kiln_attach_options attach = KILN_ATTACH_OPTIONS_INIT;
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	kiln_error err;
	kiln_vm *vm;

	open_manager();
	vm = create_from(manager, "web",
			 "{\"backend\":\"fake\",\"process\":{\"args\":[\"cat\"],\"stdin\":true}}",
			 false);
	start.foreground = true;
	start.attach = true;
	kiln_vm_start(vm, &start, NULL, NULL);
	attach.stdin_open = true;
	kiln_ok(kiln_vm_attach(vm, &attach, callbacks, &talk->session, &err), &err);
	talk_write(talk);
	return vm;
}

/* The runner gives others five seconds when its VM has ended; output is owed for longer. */
static void a_slow_reader_gets_all_output_of_a_process_that_has_ended(void **state)
{
	kiln__autofree char *bytes = pattern(200000);
	struct talk talk = {.input = bytes, .input_len = 200000, .holds = true};
	kiln_session_callbacks callbacks = callbacks_of(&talk);
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	vm = pipe_through(&talk, &callbacks);
	run_past_the_end(vm, 6000);
	assert_false(talk.over);
	talk.holds = false;
	talk_to_the_end(&talk);
	assert_int_equal(talk.code, 0);
	assert_int_equal(talk.exit.kind, KILN_EXIT_EXITED);
	assert_int_equal(talk.output.len, 200000);
	assert_memory_equal(talk.output.data, bytes, 200000);
	kiln_session_free(talk.session);
	kiln__buf_done(&talk.output);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, KILN_TEST_DEADLINE_MS, &err), &err);
	remove_all(vm);
}

/* But who wants the VM gone does not wait for a reader; and he is not told that all was well. */
static void a_reader_whom_a_kill_cuts_off_is_told_so(void **state)
{
	kiln__autofree char *bytes = pattern(200000);
	struct talk talk = {.input = bytes, .input_len = 200000, .holds = true};
	kiln_session_callbacks callbacks = callbacks_of(&talk);
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	vm = pipe_through(&talk, &callbacks);
	run_past_the_end(vm, 0);
	kiln_ok(kiln_vm_kill_sync(vm, KILN_TEST_DEADLINE_MS, &err), &err);
	talk.holds = false;
	talk.paused = true;
	talk_to_the_end(&talk);
	if (talk.code == 0)
		assert_int_equal(talk.output.len, 200000);
	else
		assert_int_equal(talk.code, KILN_EIO);
	kiln_session_free(talk.session);
	kiln__buf_done(&talk.output);
	remove_all(vm);
}

static kiln_vm *attach_to(const char *json, struct talk *talk, kiln_session_callbacks *callbacks)
{
	kiln_attach_options attach = KILN_ATTACH_OPTIONS_INIT;
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	kiln_error err;
	kiln_vm *vm;

	open_manager();
	vm = create_from(manager, "web", json, false);
	start.foreground = true;
	start.attach = true;
	kiln_vm_start(vm, &start, NULL, NULL);
	attach.stdin_open = true;
	kiln_ok(kiln_vm_attach(vm, &attach, callbacks, &talk->session, &err), &err);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_READY, KILN_TEST_DEADLINE_MS, &err), &err);
	return vm;
}

static void say_and_hear(struct talk *talk, const char *text)
{
	size_t before = talk->output.len;

	for (talk->written = 0; talk->written < strlen(text);) {
		int64_t n = kiln_session_write(talk->session, text + talk->written,
					       strlen(text) - talk->written);

		assert_true(n >= 0);
		talk->written += (size_t)n;
		if (n == 0)
			kiln_loop_step(kiln_manager_loop(manager));
	}
	while (talk->output.len < before + strlen(text) && !talk->over)
		kiln_loop_step(kiln_manager_loop(manager));
}

/* The guest lives on when the connection to its process is cut: so does the process. */
static void a_main_process_whose_connection_is_cut_is_taken_up_again(void **state)
{
	struct talk talk = {0};
	kiln_session_callbacks callbacks = callbacks_of(&talk);
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	callbacks.on_writable = NULL;
	vm = attach_to("{\"backend\":\"fake\",\"process\":{\"args\":[\"flaky\"],\"stdin\":true}}",
		       &talk, &callbacks);
	say_and_hear(&talk, "one ");
	kiln_ok(kiln_vm_signal_sync(vm, SIGUSR1, KILN_TEST_DEADLINE_MS, &err), &err);
	say_and_hear(&talk, "two");
	kiln_session_close_stdin(talk.session);
	talk_to_the_end(&talk);
	assert_int_equal(talk.code, 0);
	assert_string_equal(talk.output.data, "one two");
	kiln_session_free(talk.session);
	kiln__buf_done(&talk.output);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(status(vm).state, KILN_STATE_STOPPED);
	remove_all(vm);
}

/* As by an agent that was started anew: nobody is left waiting, and the VM says why it ended. */
static void a_main_process_that_is_lost_ends_its_vm(void **state)
{
	struct talk talk = {0};
	kiln_session_callbacks callbacks = callbacks_of(&talk);
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	callbacks.on_writable = NULL;
	vm = attach_to(
		"{\"backend\":\"fake\",\"process\":{\"args\":[\"forgotten\"],\"stdin\":true}}",
		&talk, &callbacks);
	say_and_hear(&talk, "one");
	kiln_ok(kiln_vm_signal_sync(vm, SIGUSR1, KILN_TEST_DEADLINE_MS, &err), &err);
	talk_to_the_end(&talk);
	assert_int_not_equal(talk.code, 0);
	kiln_session_free(talk.session);
	kiln__buf_done(&talk.output);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(status(vm).state, KILN_STATE_FAILED);
	assert_non_null(strstr(status(vm).failure.message, "lost"));
	remove_all(vm);
}

static void a_command_that_is_not_there_is_said_to_be_not_there(void **state)
{
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	kiln_session_callbacks callbacks;
	struct talk talk = {0};
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create_from(manager, "web",
			 "{\"backend\":\"fake\",\"process\":{\"args\":[\"nonesuch\"]}}", false);
	start.foreground = true;
	start.attach = true;
	kiln_vm_start(vm, &start, NULL, NULL);
	callbacks = callbacks_of(&talk);
	kiln_ok(kiln_vm_attach(vm, NULL, &callbacks, &talk.session, &err), &err);
	talk_to_the_end(&talk);
	assert_int_equal(talk.code, KILN_ENOCMD);
	kiln_session_free(talk.session);
	remove_all(vm);
}

static void on_log(void *data, int64_t time_ns, int fd, const void *bytes, size_t len)
{
	assert_true(time_ns > 0);
	kiln__buf_addf(data, "%d:", fd);
	kiln__buf_add(data, bytes, len);
}

static void the_log_keeps_what_the_main_process_wrote(void **state)
{
	struct kiln__buf text = KILN__BUF_INIT;
	kiln_follower *follower;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create_from(manager, "web",
			 "{\"backend\":\"fake\",\"process\":{\"args\":[\"err\",\"oh\"]}}", false);
	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_logs(vm, KILN_LOGS_PROCESS, true, on_log, NULL, &text, &follower, &err),
		&err);
	while (!text.data || !strstr(text.data, "oh\n"))
		kiln_loop_step(kiln_manager_loop(manager));
	assert_string_equal(text.data, "2:oh\n");
	kiln_follower_free(follower);
	kiln__buf_done(&text);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, KILN_TEST_DEADLINE_MS, &err), &err);
	remove_all(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(commands_are_run_to_their_end),
		kiln_test(megabytes_pass_whole_though_nobody_hurries),
		kiln_test(ten_commands_run_at_once),
		kiln_test(a_signal_reaches_the_process),
		kiln_test(a_session_is_told_of_its_vms_death),
		kiln_test(what_is_attached_from_the_start_misses_nothing),
		kiln_test(input_reaches_the_main_process),
		kiln_test(a_slow_reader_gets_all_output_of_a_process_that_has_ended),
		kiln_test(a_reader_whom_a_kill_cuts_off_is_told_so),
		kiln_test(a_main_process_whose_connection_is_cut_is_taken_up_again),
		kiln_test(a_main_process_that_is_lost_ends_its_vm),
		kiln_test(a_command_that_is_not_there_is_said_to_be_not_there),
		kiln_test(the_log_keeps_what_the_main_process_wrote),
	};

	return cmocka_run_group_tests_name("manager_sessions", tests, NULL, NULL);
}
