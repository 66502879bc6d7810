/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager with the real runner and the fake backend, whose guest has an agent and a
 * few programs: what a user of the library does, and what is left behind.
 */
#include "buf.h"
#include "err.h"
#include "killer.h"
#include "kiln_test.h"
#include "loop.h"
#include "os.h"

#include <kiln/manager.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kiln_manager *manager;
static const char *home;
static const char *runtime;

static kiln_manager *open_another(void)
{
	kiln_manager_options options = KILN_MANAGER_OPTIONS_INIT;
	kiln_manager *another;
	kiln_error err;

	options.home = home;
	options.runtime_dir = runtime;
	options.runner = KILN_RUNNER;
	kiln_ok(kiln_manager_new(&another, NULL, &options, &err), &err);
	return another;
}

static void open_manager(void)
{
	home = kiln_test_path("home");
	runtime = kiln_test_path("run");
	manager = open_another();
}

static kiln_vm *create_in(kiln_manager *in, const char *name, const char *json, bool ephemeral)
{
	kiln_create_options options = KILN_CREATE_OPTIONS_INIT;
	kiln_config *config;
	kiln_vm *vm = NULL;
	kiln_error err;

	kiln_ok(kiln_config_parse(json, strlen(json), &config, &err), &err);
	options.name = name;
	options.ephemeral = ephemeral;
	kiln_ok(kiln_manager_create(in, config, &options, &vm, &err), &err);
	kiln_config_free(config);
	return vm;
}

#define PLAIN "{\"backend\":\"fake\"}"

static kiln_vm *start_new(const char *name, const char *json)
{
	kiln_vm *vm = create_in(manager, name, json, false);
	kiln_error err;

	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_READY, KILN_TEST_DEADLINE_MS, &err), &err);
	return vm;
}

static kiln_vm_info status(kiln_vm *vm)
{
	kiln_vm_info info = KILN_VM_INFO_INIT;
	kiln_error err;

	kiln_ok(kiln_vm_status(vm, &info, &err), &err);
	return info;
}

static size_t entries(const char *dir)
{
	char **names;
	size_t n = 0;

	if (kiln__os_list_dir(dir, &names, NULL) < 0)
		return 0;
	while (names[n])
		n++;
	kiln__os_free_names(names);
	return n;
}

/* Runners of this build. Those that have ended have no executable any more. */
static size_t runners(void)
{
	char **pids;
	size_t count = 0;

	assert_int_equal(kiln__os_list_dir("/proc", &pids, NULL), 0);
	for (size_t i = 0; pids[i]; i++) {
		kiln__autofree char *path = kiln__strf("/proc/%s/exe", pids[i]);
		char *exe;

		if (kiln__os_read_link(path, &exe, NULL) < 0)
			continue;
		count += strcmp(exe, KILN_RUNNER) == 0;
		free(exe);
	}
	kiln__os_free_names(pids);
	return count;
}

static size_t left(void)
{
	kiln__autofree char *vms = kiln__strf("%s/vms", home);
	kiln__autofree char *names = kiln__strf("%s/names", home);

	return entries(vms) + entries(names) + entries(runtime) + runners();
}

static void remove_all(kiln_vm *vm)
{
	kiln_error err;

	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	assert_int_equal(left(), 0);
	kiln_manager_free(manager);
}

/* --- life cycle ---------------------------------------------------------------------------- */

static void a_vm_lives_and_lives_again(void **state)
{
	kiln_error err;
	char *json;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(status(vm).state, KILN_STATE_READY);
		kiln_ok(kiln_vm_pause_sync(vm, -1, &err), &err);
		assert_int_equal(status(vm).state, KILN_STATE_PAUSED);
		kiln_ok(kiln_vm_resume_sync(vm, -1, &err), &err);
		kiln_ok(kiln_vm_stats_sync(vm, &json, -1, &err), &err);
		assert_non_null(strstr(json, "\"cpu_ns\""));
		free(json);
		kiln_ok(kiln_vm_stop_sync(vm, 5000, KILN_TEST_DEADLINE_MS, &err), &err);
		assert_int_equal(status(vm).state, KILN_STATE_STOPPED);
		assert_int_equal(runners() + entries(runtime), 0);
		kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
		kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_READY, -1, &err), &err);
	}
	kiln_ok(kiln_vm_inspect_sync(vm, &json, -1, &err), &err);
	assert_non_null(strstr(json, "\"state\": \"ready\""));
	free(json);
	remove_all(vm);
}

/* What says what is started next, and who is alive, lies outside a runner's reach. */
static void a_runner_writes_into_one_directory_of_its_own(void **state)
{
	kiln_vm *vm;
	kiln_error err;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	{
		kiln__autofree char *dir = kiln__strf("%s/vms/%s", home, kiln_vm_id(vm));
		kiln__autofree char *path =
			kiln__strf("/proc/%lld/fdinfo/4", (long long)status(vm).pid);
		kiln__autofree char *text = NULL;
		unsigned flags = 0;
		char **names;

		kiln_ok(kiln__os_list_dir(dir, &names, &err), &err);
		assert_string_equal(names[0], "config.json");
		assert_string_equal(names[1], "lock");
		assert_string_equal(names[2], "state");
		assert_null(names[3]);
		kiln__os_free_names(names);
		/* Not for every user: the runner cannot be looked into. */
		if (kiln__os_read_file(path, 4096, &text, NULL, NULL) == 0) {
			assert_int_equal(sscanf(strstr(text, "flags:"), "flags: %o", &flags), 1);
			assert_int_equal(flags & O_ACCMODE, O_RDONLY);
		}
	}
	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	kiln_manager_free(manager);
}

static void a_stop_that_is_ignored_ends_by_force(void **state)
{
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", "{\"backend\":\"fake\",\"fake\":{\"ignore_stop\":true}}");
	kiln_ok(kiln_vm_stop_sync(vm, 50, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(status(vm).state, KILN_STATE_STOPPED);
	assert_int_equal(status(vm).exit.kind, KILN_EXIT_KILLED);
	remove_all(vm);
}

static void failures_are_told_and_kept(void **state)
{
	kiln_vm_info info;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create_in(manager, "web", "{\"backend\":\"fake\",\"fake\":{\"fail_start\":true}}",
		       false);
	assert_true(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err) < 0);
	info = status(vm);
	assert_int_equal(info.state, KILN_STATE_FAILED);
	assert_string_equal(info.failure.message, err.message);
	assert_int_equal(runners() + entries(runtime), 0);
	kiln_ok(kiln_vm_remove_sync(vm, false, -1, &err), &err);
	kiln_vm_free(vm);
	/* It may have crashed before this process comes to wait for it. */
	vm = create_in(manager, "web", "{\"backend\":\"fake\",\"fake\":{\"crash_after\":\"20ms\"}}",
		       false);
	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(status(vm).state, KILN_STATE_FAILED);
	assert_true(status(vm).failure.message[0] != '\0');
	remove_all(vm);
}

/* What the runner is told is JSON: nothing may be left out of it because it is not UTF-8. */
static void a_path_that_cannot_be_passed_on_is_refused_by_name(void **state)
{
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	home = kiln_test_path("h\xff");
	runtime = kiln_test_path("run");
	manager = open_another();
	vm = create_in(manager, "web", PLAIN, false);
	assert_int_equal(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), KILN_EINVAL);
	assert_non_null(strstr(err.message, "not UTF-8"));
	assert_non_null(strstr(err.message, "h\xff"));
	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	kiln_manager_free(manager);
}

static void a_killed_runner_is_seen_at_once(void **state)
{
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	assert_int_equal(kill((pid_t)status(vm).pid, SIGKILL), 0);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(status(vm).state, KILN_STATE_FAILED);
	assert_int_equal(status(vm).failure.code, KILN_EDIED);
	assert_int_equal(entries(runtime), 0);
	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	remove_all(vm);
}

#define CROWD 100

static void on_counted(void *data, int result, const kiln_error *err)
{
	kiln_ok(result, err);
	++*(unsigned *)data;
}

static int count_ready(void *data, const kiln_vm_info *info)
{
	*(unsigned *)data += info->state == KILN_STATE_READY && strcmp(info->backend, "fake") == 0;
	return 0;
}

static void until(const unsigned *count, unsigned wanted)
{
	while (*count < wanted)
		kiln_loop_step(kiln_manager_loop(manager));
}

static void a_hundred_are_started_at_once(void **state)
{
	kiln_vm *crew[CROWD];
	unsigned ready = 0;
	unsigned seen = 0;
	unsigned removed = 0;
	kiln_error err;

	(void)state;
	open_manager();
	for (int i = 0; i < CROWD; i++) {
		crew[i] = create_in(manager, NULL, PLAIN, false);
		kiln_vm_start(crew[i], NULL, NULL, NULL);
		kiln_vm_wait(crew[i], KILN_STATE_READY, on_counted, &ready);
	}
	until(&ready, CROWD);
	assert_int_equal(runners(), CROWD);
	kiln_ok(kiln_manager_list(manager, count_ready, &seen, &err), &err);
	assert_int_equal(seen, CROWD);
	for (int i = 0; i < CROWD; i++)
		kiln_vm_remove(crew[i], true, on_counted, &removed);
	until(&removed, CROWD);
	for (int i = 0; i < CROWD; i++)
		kiln_vm_free(crew[i]);
	assert_int_equal(left(), 0);
	kiln_manager_free(manager);
	kiln_test_shown("%d fake VMs, each with a runner, started at once: all seen ready", CROWD);
}

static void what_is_put_into_the_background_outlives_its_handle(void **state)
{
	kiln_start_options options = KILN_START_OPTIONS_INIT;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create_in(manager, "web", PLAIN, false);
	assert_int_equal(kiln_vm_background_sync(vm, KILN_TEST_DEADLINE_MS, &err), KILN_ESTATE);
	options.foreground = true;
	kiln_ok(kiln_vm_start_sync(vm, &options, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_background_sync(vm, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	kiln_ok(kiln_manager_find(manager, "web", &vm, &err), &err);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_READY, KILN_TEST_DEADLINE_MS, &err), &err);
	remove_all(vm);
}

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

struct talk {
	kiln_session *session;
	const char *input;
	size_t input_len;
	size_t written;
	struct kiln__buf output;
	size_t appetite; /* bytes consumed at a time; 0: all */
	bool paused;
	bool holds; /* it takes nothing now */
	bool over;
	kiln_exit exit;
	int code;
};

static void talk_write(struct talk *talk)
{
	int64_t n = kiln_session_write(talk->session, talk->input + talk->written,
				       talk->input_len - talk->written);

	assert_true(n >= 0);
	talk->written += (size_t)n;
	if (talk->written == talk->input_len)
		kiln_session_close_stdin(talk->session);
}

static size_t on_output(void *data, int fd, const void *bytes, size_t len)
{
	struct talk *talk = data;
	size_t n = talk->appetite && talk->appetite < len ? talk->appetite : len;

	assert_int_equal(fd, 1);
	if (talk->holds)
		n = 0;
	kiln__buf_add(&talk->output, bytes, n);
	talk->paused = n < len;
	return n;
}

static void on_writable(void *data)
{
	talk_write(data);
}

static void on_exit_of(void *data, kiln_exit how, const kiln_error *err)
{
	struct talk *talk = data;

	assert_false(talk->over);
	talk->over = true;
	talk->exit = how;
	talk->code = err ? err->code : 0;
}

static kiln_session_callbacks callbacks_of(struct talk *talk)
{
	kiln_session_callbacks callbacks = KILN_SESSION_CALLBACKS_INIT;

	callbacks.on_output = on_output;
	callbacks.on_writable = on_writable;
	callbacks.on_exit = on_exit_of;
	callbacks.data = talk;
	return callbacks;
}

static void talk_to_the_end(struct talk *talk)
{
	while (!talk->over) {
		if (talk->paused) {
			talk->paused = false;
			kiln_session_resume(talk->session);
		} else {
			kiln_loop_step(kiln_manager_loop(manager));
		}
	}
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
	vm = create_in(manager, NULL,
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
	vm = create_in(manager, "web",
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
	vm = create_in(manager, "web",
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
	vm = create_in(manager, "web", json, false);
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
	vm = create_in(manager, "web",
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
	vm = create_in(manager, "web",
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

/* --- hostile peers, and killed ones -------------------------------------------------- */

static void a_control_socket_fed_with_rubbish_serves_on(void **state)
{
	kiln__autofree char *path = NULL;
	unsigned char bytes[4096];
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	path = kiln__strf("%s/%s/control.sock", runtime, kiln_vm_id(vm));
	for (int i = 0; i < 50; i++) {
		kiln__autoclose kiln_fd fd = KILN_FD_NONE;

		kiln__os_random(bytes, sizeof(bytes));
		if (i % 3 == 0)
			memcpy(bytes, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":", 33);
		if (i % 2)
			bytes[sizeof(bytes) - 1] = '\n';
		kiln_ok(kiln__os_local_connect(&fd, path, &err), &err);
		for (int n = 0; n < 1 + i % 5; n++)
			kiln__os_write(fd, bytes, sizeof(bytes));
	}
	assert_int_equal(status(vm).state, KILN_STATE_READY);
	kiln_ok(kiln_vm_pause_sync(vm, KILN_TEST_DEADLINE_MS, &err), &err);
	remove_all(vm);
}

/* Connects @max clients at most that each have their hello, and, if they ask, an answer; how many
 * do. */
static size_t connect_clients(const char *path, bool ask, kiln_fd *fds, size_t max)
{
	static const char inspect[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stats\"}\n";
	char text[4096];
	kiln_error err;

	for (size_t count = 0; count < max; count++) {
		kiln_ok(kiln__os_local_connect(&fds[count], path, &err), &err);
		assert_true(kiln__os_read(fds[count], text, sizeof(text)) > 0);
		if (!strstr(text, "hello")) {
			kiln__os_close(fds[count]);
			return count;
		}
		if (ask) {
			kiln__os_write(fds[count], inspect, strlen(inspect));
			assert_true(kiln__os_read(fds[count], text, sizeof(text)) > 0);
		}
	}
	return max;
}

static int pause_as_another(void)
{
	kiln_manager *another = open_another();
	kiln_error err;
	kiln_vm *same;
	int r;

	kiln_ok(kiln_manager_find(another, "web", &same, &err), &err);
	r = kiln_vm_pause_sync(same, KILN_TEST_DEADLINE_MS, &err);
	kiln_vm_free(same);
	kiln_manager_free(another);
	return r;
}

/* As many as it serves: one more is told so, and not taken for the runner's end. */
static void a_client_too_many_is_told_so(void **state)
{
	kiln_fd fds[300];
	kiln__autofree char *path = NULL;
	size_t count;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	path = kiln__strf("%s/%s/control.sock", runtime, kiln_vm_id(vm));
	count = connect_clients(path, true, fds, 300);
	assert_true(count >= 250 && count < 299);
	assert_int_equal(pause_as_another(), KILN_EBUSY);
	for (size_t i = 0; i < count; i++)
		kiln__os_close(fds[i]);
	remove_all(vm);
}

static void clients_that_ask_nothing_keep_nobody_out(void **state)
{
	kiln_fd fds[300];
	kiln__autofree char *path = NULL;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	path = kiln__strf("%s/%s/control.sock", runtime, kiln_vm_id(vm));
	assert_int_equal(connect_clients(path, false, fds, 300), 300);
	assert_int_equal(pause_as_another(), 0);
	for (size_t i = 0; i < 300; i++)
		kiln__os_close(fds[i]);
	remove_all(vm);
}

static int run_command(void *data)
{
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	struct talk talk = {0};
	kiln_session_callbacks callbacks = callbacks_of(&talk);
	kiln_vm *vm;

	(void)data;
	manager = open_another();
	vm = create_in(manager, "web",
		       "{\"backend\":\"fake\",\"process\":{\"args\":[\"echo\",\"hi\"]}}", true);
	start.foreground = true;
	start.attach = true;
	kiln_vm_start(vm, &start, NULL, NULL);
	if (kiln_vm_attach(vm, NULL, &callbacks, &talk.session, NULL) < 0)
		return 1;
	talk_to_the_end(&talk);
	kiln_session_free(talk.session);
	if (talk.code || kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, -1, NULL) < 0)
		return 1;
	kiln_vm_free(vm);
	return 0;
}

static void a_run_killed_at_many_moments_leaves_nothing(void **state)
{
	unsigned step = getenv("KILN_SOAK") ? 1 : 17;
	unsigned kills = 0;
	int code = 0;

	(void)state;
	home = kiln_test_path("home");
	runtime = kiln_test_path("run");
	for (unsigned moment = 0;; moment += step) {
		enum killed how = kill_at(moment, run_command, NULL, &code);
		kiln_error err;
		kiln_vm *vm;

		if (how == NO_PTRACE) {
			kiln_test_skip("processes cannot be traced here");
			skip();
		}
		manager = open_another();
		if (kiln_manager_find(manager, "web", &vm, NULL) == 0) {
			int r = kiln_vm_wait_sync(vm, KILN_STATE_STOPPED, KILN_TEST_DEADLINE_MS,
						  &err);

			/* Never started, or ended and gone by now. */
			if (r != KILN_ENOENT && r != KILN_ESTATE)
				kiln_ok(r, &err);
			kiln_vm_free(vm);
			kiln_manager_free(manager);
			manager = open_another();
		}
		kiln_manager_free(manager);
		assert_int_equal(left(), 0);
		if (how == ENDED_BEFORE)
			break;
		kills++;
	}
	assert_int_equal(code, 0);
	assert_true(kills >= 10);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_vm_lives_and_lives_again),
		kiln_test(a_runner_writes_into_one_directory_of_its_own),
		kiln_test(a_stop_that_is_ignored_ends_by_force),
		kiln_test(failures_are_told_and_kept),
		kiln_test(a_path_that_cannot_be_passed_on_is_refused_by_name),
		kiln_test(a_killed_runner_is_seen_at_once),
		kiln_test(a_hundred_are_started_at_once),
		kiln_test(what_is_put_into_the_background_outlives_its_handle),
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
		kiln_test(a_control_socket_fed_with_rubbish_serves_on),
		kiln_test(a_client_too_many_is_told_so),
		kiln_test(clients_that_ask_nothing_keep_nobody_out),
		kiln_test(a_run_killed_at_many_moments_leaves_nothing),
	};

	return cmocka_run_group_tests_name("manager_runner", tests, NULL, NULL);
}
