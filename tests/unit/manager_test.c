/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Managers and their VMs, with a runner that only speaks the protocol (or breaks it):
 * life cycle, deaths of all sorts, and what is left afterwards.
 */
#include "manager_fake_runner.h"

#include "buf.h"
#include "err.h"
#include "killer.h"
#include "os.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int wait_for(kiln_vm *vm, enum kiln_state until, kiln_error *err)
{
	return kiln_vm_wait_sync(vm, until, KILN_TEST_DEADLINE_MS, err);
}

static size_t vms(void)
{
	kiln__autofree char *dir = kiln__strf("%s/vms", home);

	return entries(dir);
}

/* Processes with @word in their command line, our own not counted. */
static size_t processes(const char *word)
{
	char **pids;
	size_t count = 0;

	assert_int_equal(kiln__os_list_dir("/proc", &pids, NULL), 0);
	for (size_t i = 0; pids[i]; i++) {
		long long pid = atoll(pids[i]);
		kiln_fd process;

		if (pid > 0 && pid != getpid() &&
		    kiln__os_open_process(&process, pid, word, NULL) == 0) {
			kiln__os_close(process);
			count++;
		}
	}
	kiln__os_free_names(pids);
	return count;
}

/* --- life cycle ---------------------------------------------------------------------------- */

static void a_vm_lives_and_lives_again(void **state)
{
	kiln_vm_info info;
	kiln_error err;
	char id[40];
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", NULL);
	snprintf(id, sizeof(id), "%s", kiln_vm_id(vm));
	assert_string_equal(kiln_vm_name(vm), "web");
	for (int i = 0; i < 2; i++) {
		kiln_ok(wait_for(vm, KILN_STATE_READY, &err), &err);
		info = status(vm);
		assert_int_equal(info.state, KILN_STATE_READY);
		assert_string_equal(info.backend, "fake");
		assert_true(info.pid > 0);
		assert_int_equal(processes(id), 2); /* the runner and the VMM */
		assert_int_equal(kiln_vm_start_sync(vm, NULL, -1, &err), KILN_ESTATE);
		kiln_ok(kiln_vm_pause_sync(vm, -1, &err), &err);
		assert_int_equal(status(vm).state, KILN_STATE_PAUSED);
		kiln_ok(kiln_vm_resume_sync(vm, -1, &err), &err);
		kiln_ok(kiln_vm_stop_sync(vm, 1000, KILN_TEST_DEADLINE_MS, &err), &err);
		info = status(vm);
		assert_int_equal(info.state, KILN_STATE_STOPPED);
		assert_int_equal(info.exit.kind, KILN_EXIT_EXITED);
		assert_int_equal(info.pid, 0);
		assert_int_equal(processes(id), 0);
		assert_int_equal(entries(runtime), 0);
		/* What has stopped already can be stopped, killed, and waited for. */
		kiln_ok(kiln_vm_stop_sync(vm, 0, -1, &err), &err);
		kiln_ok(kiln_vm_kill_sync(vm, -1, &err), &err);
		kiln_ok(wait_for(vm, KILN_STATE_STOPPED, &err), &err);
		assert_int_equal(kiln_vm_pause_sync(vm, -1, &err), KILN_ESTATE);
		assert_int_equal(wait_for(vm, KILN_STATE_READY, &err), KILN_ESTATE);
		kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	}
	kiln_ok(kiln_vm_restart_sync(vm, 0, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(wait_for(vm, KILN_STATE_READY, &err), &err);
	assert_int_equal(kiln_vm_remove_sync(vm, false, -1, &err), KILN_EBUSY);
	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(processes(id) + vms() + entries(runtime), 0);
	assert_int_equal(kiln_vm_start_sync(vm, NULL, -1, &err), KILN_ENOENT);
	kiln_vm_free(vm);
	close_manager();
}

static void a_name_that_is_taken_is_told_so(void **state)
{
	kiln_create_options options = KILN_CREATE_OPTIONS_INIT;
	kiln_config *config;
	kiln_error err;
	kiln_vm *other;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create("web", NULL);
	kiln_ok(kiln_vm_config(vm, &config, &err), &err);
	options.name = "web";
	assert_int_equal(kiln_manager_create(manager, config, &options, &other, &err), KILN_EEXIST);
	assert_non_null(strstr(err.message, "taken"));
	options.name = "a/b";
	assert_int_equal(kiln_manager_create(manager, config, &options, &other, &err), KILN_EINVAL);
	assert_int_equal(vms(), 1);
	kiln_config_free(config);
	kiln_vm_free(vm);
	close_manager();
}

struct crowd {
	unsigned started;
	unsigned ready;
	unsigned stopped;
	bool all_ready;
	bool all_stopped;
};

#define CROWD 100

static void on_ready(void *data, int result, const kiln_error *err)
{
	struct crowd *crowd = data;

	kiln_ok(result, err);
	crowd->all_ready = ++crowd->ready == CROWD;
}

static void on_started(void *data, int result, const kiln_error *err)
{
	struct crowd *crowd = data;

	kiln_ok(result, err);
	crowd->started++;
}

static void on_stopped(void *data, int result, const kiln_error *err)
{
	struct crowd *crowd = data;

	kiln_ok(result, err);
	crowd->all_stopped = ++crowd->stopped == CROWD;
}

static int count_info(void *data, const kiln_vm_info *info)
{
	assert_int_equal(info->state, KILN_STATE_READY);
	++*(unsigned *)data;
	return 0;
}

static void a_hundred_are_started_at_once(void **state)
{
	struct crowd crowd = {0};
	unsigned listed = 0;
	kiln_vm *crew[CROWD];
	kiln_error err;

	(void)state;
	open_manager();
	for (int i = 0; i < CROWD; i++) {
		crew[i] = create(NULL, NULL);
		kiln_vm_start(crew[i], NULL, on_started, &crowd);
		kiln_vm_wait(crew[i], KILN_STATE_READY, on_ready, &crowd);
	}
	kiln_test_run_until(kiln_manager_loop(manager), &crowd.all_ready);
	assert_int_equal(crowd.started, CROWD);
	kiln_ok(kiln_manager_list(manager, count_info, &listed, &err), &err);
	assert_int_equal(listed, CROWD);
	for (int i = 0; i < CROWD; i++)
		kiln_vm_remove(crew[i], true, on_stopped, &crowd);
	kiln_test_run_until(kiln_manager_loop(manager), &crowd.all_stopped);
	for (int i = 0; i < CROWD; i++)
		kiln_vm_free(crew[i]);
	assert_int_equal(vms() + entries(runtime) + runners(), 0);
	close_manager();
}

static void another_manager_takes_over(void **state)
{
	kiln_manager *another;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	kiln_vm_free(start_new("web", NULL));
	close_manager();
	another = open_another();
	kiln_ok(kiln_manager_find(another, "web", &vm, &err), &err);
	kiln_ok(wait_for(vm, KILN_STATE_READY, &err), &err);
	kiln_ok(kiln_vm_stop_sync(vm, 0, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(processes(kiln_vm_id(vm)), 0);
	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	kiln_manager_free(another);
}

static void stopping_waits_until_the_runner_has_gone(void **state)
{
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", "linger");
	kiln_ok(kiln_vm_stop_sync(vm, 0, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(processes(kiln_vm_id(vm)), 0);
	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	close_manager();
}

/* While the runner of a VM that has ended is still there, from another manager. */
static void one_that_is_about_to_go_can_be_started_and_removed(void **state)
{
	kiln_manager *another;
	struct crowd crowd = {0};
	kiln_error err;
	kiln_vm *same;
	kiln_vm *vm;

	(void)state;
	open_manager();
	another = open_another();
	vm = start_new("web", "linger");
	kiln_ok(kiln_manager_find(another, "web", &same, &err), &err);
	for (int i = 0; i < 2; i++) {
		kiln_ok(kill((pid_t)status(vm).pid, 0), NULL);
		kiln_vm_stop(vm, 0, on_stopped, &crowd);
		while (status(same).state != KILN_STATE_STOPPED)
			kiln_loop_step(kiln_manager_loop(manager));
		assert_true(processes(kiln_vm_id(vm)) > 0);
		if (i == 0)
			kiln_ok(kiln_vm_start_sync(same, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
		else
			kiln_ok(kiln_vm_remove_sync(same, false, KILN_TEST_DEADLINE_MS, &err),
				&err);
	}
	assert_int_equal(vms(), 0);
	while (crowd.stopped < 2)
		kiln_loop_step(kiln_manager_loop(manager));
	kiln_vm_free(same);
	kiln_manager_free(another);
	kiln_vm_free(vm);
	close_manager();
}

/* --- in the foreground ------------------------------------------------------------------------ */

static void a_vm_in_the_foreground_ends_with_its_handle(void **state)
{
	kiln_start_options options = KILN_START_OPTIONS_INIT;
	kiln_manager *another;
	kiln_error err;
	kiln_vm *same;
	kiln_vm *vm;

	(void)state;
	open_manager();
	another = open_another();
	vm = create_in(manager, NULL, NULL, true);
	options.foreground = true;
	kiln_ok(kiln_vm_start_sync(vm, &options, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(wait_for(vm, KILN_STATE_READY, &err), &err);
	kiln_ok(kiln_manager_find(another, kiln_vm_id(vm), &same, &err), &err);
	kiln_vm_free(vm);
	/* It was ephemeral, too: nothing is left of it. */
	assert_int_equal(vms() + entries(runtime) + runners(), 0);
	assert_int_equal(wait_for(same, KILN_STATE_STOPPED, &err), KILN_ENOENT);
	kiln_vm_free(same);
	kiln_manager_free(another);
	close_manager();
}

static void an_ephemeral_vm_that_was_not_started_goes_with_its_handle(void **state)
{
	(void)state;
	open_manager();
	kiln_vm_free(create_in(manager, "web", NULL, true));
	assert_int_equal(vms() + entries(runtime), 0);
	kiln_vm_free(create_in(manager, "web", NULL, true));
	close_manager();
}

/* --- failures and deaths ------------------------------------------------------------- */

static void a_launch_that_fails_says_why_and_is_recorded(void **state)
{
	kiln_vm_info info;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create("web", "fail");
	assert_int_equal(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), KILN_EFORMAT);
	assert_string_equal(err.stage, "kernel");
	info = status(vm);
	assert_int_equal(info.state, KILN_STATE_FAILED);
	assert_string_equal(info.failure.message, "the kernel is none");
	assert_string_equal(info.failure.stage, "kernel");
	assert_int_equal(wait_for(vm, KILN_STATE_READY, &err), KILN_EFORMAT);
	assert_int_equal(processes(kiln_vm_id(vm)) + entries(runtime), 0);
	kiln_ok(kiln_vm_remove_sync(vm, false, -1, &err), &err);
	kiln_vm_free(vm);
	close_manager();
}

static void a_runner_that_dies_at_the_launch_is_a_failure(void **state)
{
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create("web", "die");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err),
				 KILN_EDIED);
		assert_int_equal(status(vm).state, KILN_STATE_FAILED);
		assert_int_equal(entries(runtime), 0);
	}
	kiln_vm_free(vm);
	close_manager();
}

static void without_a_runner_a_start_says_so(void **state)
{
	kiln_manager_options options = KILN_MANAGER_OPTIONS_INIT;
	kiln_manager *another;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	options.home = home;
	options.runtime_dir = runtime;
	options.runner = "/nonexistent/kiln-runner";
	kiln_ok(kiln_manager_new(&another, NULL, &options, &err), &err);
	vm = create_in(another, "web", NULL, false);
	assert_int_equal(kiln_vm_start_sync(vm, NULL, -1, &err), KILN_ENOENT);
	assert_non_null(strstr(err.message, "/nonexistent/kiln-runner"));
	assert_int_equal(status(vm).state, KILN_STATE_FAILED);
	assert_int_equal(entries(runtime), 0);
	kiln_vm_free(vm);
	kiln_manager_free(another);
	close_manager();
}

struct outcome {
	bool over;
	int result;
	kiln_error err;
};

static void on_outcome(void *data, int result, const kiln_error *err)
{
	struct outcome *outcome = data;

	assert_false(outcome->over);
	outcome->over = true;
	outcome->result = result;
	if (err)
		outcome->err = *err;
}

static void a_killed_runner_is_seen_at_once(void **state)
{
	struct outcome ready = {0};
	struct outcome end = {0};
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", "unready");
	kiln_vm_wait(vm, KILN_STATE_READY, on_outcome, &ready);
	kiln_vm_wait(vm, KILN_STATE_STOPPED, on_outcome, &end);
	assert_int_equal(kill((pid_t)status(vm).pid, SIGKILL), 0);
	kiln_test_run_until(kiln_manager_loop(manager), &ready.over);
	kiln_test_run_until(kiln_manager_loop(manager), &end.over);
	assert_int_equal(ready.result, KILN_EDIED);
	assert_non_null(strstr(ready.err.message, "the runner died while the VM was running"));
	assert_int_equal(end.result, 0);
	assert_int_equal(status(vm).state, KILN_STATE_FAILED);
	assert_int_equal(processes(kiln_vm_id(vm)) + entries(runtime), 0);
	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	close_manager();
}

/* The same by one who comes later: nothing tells it but the lock. */
static void a_killed_runner_is_seen_by_the_next(void **state)
{
	kiln_vm_info info;
	kiln_fd process;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", NULL);
	kiln_ok(wait_for(vm, KILN_STATE_READY, &err), &err);
	kiln_ok(kiln__os_open_process(&process, status(vm).pid, kiln_vm_id(vm), &err), &err);
	kiln_vm_free(vm);
	close_manager();
	kiln_ok(kiln__os_end_process(process, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln__os_close(process);
	manager = open_another();
	assert_int_equal(entries(runtime), 0);
	kiln_ok(kiln_manager_find(manager, "web", &vm, &err), &err);
	info = status(vm);
	assert_int_equal(info.state, KILN_STATE_FAILED);
	assert_int_equal(info.failure.code, KILN_EDIED);
	assert_string_equal(info.failure.stage, "ready");
	assert_int_equal(processes(kiln_vm_id(vm)), 0);
	kiln_ok(kiln_vm_remove_sync(vm, false, -1, &err), &err);
	kiln_vm_free(vm);
	close_manager();
}

static void an_older_runner_stays_manageable(void **state)
{
	kiln_error err;
	char *json;
	kiln_vm *vm;

	(void)state;
	open_manager();
	kiln_vm_free(start_new("web", "old"));
	kiln_ok(kiln_manager_find(manager, "web", &vm, &err), &err);
	assert_int_equal(kiln_vm_stats_sync(vm, &json, -1, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "0.0.9"));
	kiln_ok(kiln_vm_inspect_sync(vm, &json, -1, &err), &err);
	free(json);
	kiln_ok(kiln_vm_stop_sync(vm, 0, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	close_manager();
}

static void a_runner_that_talks_rubbish_is_refused(void **state)
{
	kiln_error err;
	char *json;
	kiln_vm *vm;

	(void)state;
	open_manager();
	kiln_vm_free(start_new("web", "rubbish"));
	kiln_ok(kiln_manager_find(manager, "web", &vm, &err), &err);
	assert_int_equal(kiln_vm_inspect_sync(vm, &json, KILN_TEST_DEADLINE_MS, &err), KILN_EPROTO);
	assert_int_equal(kiln_vm_stats_sync(vm, &json, KILN_TEST_DEADLINE_MS, &err), KILN_EPROTO);
	assert_int_equal(kill((pid_t)status(vm).pid, SIGKILL), 0);
	kiln_ok(wait_for(vm, KILN_STATE_STOPPED, &err), &err);
	kiln_vm_free(vm);
	close_manager();
}

static void a_deadline_ends_the_waiting_not_the_operation(void **state)
{
	struct outcome outcome = {0};
	kiln_error err;
	char *json;
	pid_t pid;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", "silent");
	pid = (pid_t)status(vm).pid;
	assert_int_equal(kiln_vm_inspect_sync(vm, &json, 10, &err), KILN_ETIMEDOUT);
	kiln_vm_inspect(vm, (kiln_json_fn)NULL, NULL);
	kiln_vm_pause(vm, on_outcome, &outcome);
	kiln_vm_free(vm);
	assert_int_equal(outcome.result, KILN_ECANCELED);
	close_manager();
	kill(pid, SIGKILL);
	manager = open_another();
	kiln_ok(kiln_manager_find(manager, "web", &vm, &err), &err);
	kiln_ok(wait_for(vm, KILN_STATE_STOPPED, &err), &err);
	kiln_vm_free(vm);
	close_manager();
}

/* --- killed before there is a runner -------------------------------------------------- */

struct slow_start {
	bool looking; /* for what it needs: kiln-image runs */
	bool over;
	int result;
};

static void on_looking(void *data, const char *text)
{
	struct slow_start *start = data;

	(void)text;
	start->looking = true;
}

static void on_slow_start(void *data, int result, const kiln_error *err)
{
	struct slow_start *start = data;

	(void)err;
	start->result = result;
	start->over = true;
}

/* With a kiln-image that never ends. */
static int kill_what_is_resolved(void)
{
	const char *image = kiln_test_path("image");
	kiln_start_options options = KILN_START_OPTIONS_INIT;
	kiln_create_options create_options = KILN_CREATE_OPTIONS_INIT;
	struct slow_start start = {.looking = false};
	kiln_config *config;
	kiln_error err;
	kiln_vm *vm;

	kiln_ok(kiln__os_replace_file(image, "#!/bin/sh\nexec sleep 100000\n", 27, 0700, false,
				      &err),
		&err);
	setenv("KILN_IMAGE", image, 1);
	open_manager();
	kiln_ok(kiln_config_new(&config, &err), &err);
	kiln_ok(kiln_config_set(config, "backend", "qemu", &err), &err);
	kiln_ok(kiln_config_set(config, "kernel", "/proc/self/exe", &err), &err);
	create_options.name = "web";
	kiln_ok(kiln_manager_create(manager, config, &create_options, &vm, &err), &err);
	options.on_progress = on_looking;
	options.data = &start;
	kiln_vm_start(vm, &options, on_slow_start, &start);
	kiln_test_run_until(kiln_manager_loop(manager), &start.looking);
	kiln_ok(kiln_vm_kill_sync(vm, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_test_run_until(kiln_manager_loop(manager), &start.over);
	if (start.result != KILN_ECANCELED || status(vm).state != KILN_STATE_FAILED)
		return 1;
	start.over = start.looking = false;
	kiln_vm_start(vm, &options, on_slow_start, &start);
	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_test_run_until(kiln_manager_loop(manager), &start.over);
	return start.result == KILN_ECANCELED ? 0 : 2;
}

/* In a process of its own: with that goes the thread that waits for kiln-image. */
static void a_start_that_still_looks_for_its_kernel_can_be_killed(void **state)
{
	int how;
	pid_t pid;

	(void)state;
	home = kiln_test_path("home");
	runtime = kiln_test_path("run");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(kill_what_is_resolved());
	assert_int_equal(waitpid(pid, &how, 0), pid);
	assert_int_equal(how, 0);
	assert_int_equal(vms() + entries(runtime), 0);
}

/* --- killed at many moments ---------------------------------------------------------- */

static int run_and_stop(void *data)
{
	kiln_start_options options = KILN_START_OPTIONS_INIT;
	kiln_manager *own = open_another();
	bool foreground = data != NULL;
	kiln_vm *vm = create_in(own, "web", NULL, foreground);

	options.foreground = foreground;
	if (kiln_vm_start_sync(vm, &options, KILN_TEST_DEADLINE_MS, NULL) < 0 ||
	    wait_for(vm, KILN_STATE_READY, NULL) < 0 ||
	    kiln_vm_stop_sync(vm, 0, KILN_TEST_DEADLINE_MS, NULL) < 0 ||
	    kiln_vm_remove_sync(vm, false, -1, NULL) < 0)
		return 1;
	kiln_vm_free(vm);
	kiln_manager_free(own);
	return 0;
}

/* The next command: whatever the first one left is stopped, or gone, and can be removed. */
static void check_recovery(void)
{
	kiln_error err;
	kiln_vm *vm;

	manager = open_another();
	if (kiln_manager_find(manager, "web", &vm, NULL) == 0) {
		int r = kiln_vm_stop_sync(vm, 0, KILN_TEST_DEADLINE_MS, &err);

		/* An ephemeral one may have gone meanwhile, by itself. */
		if (r != KILN_ENOENT)
			kiln_ok(r, &err);
		r = kiln_vm_remove_sync(vm, false, KILN_TEST_DEADLINE_MS, &err);
		if (r != KILN_ENOENT)
			kiln_ok(r, &err);
		kiln_vm_free(vm);
	}
	close_manager();
	assert_int_equal(vms() + entries(runtime) + runners(), 0);
}

static void kill_often(bool foreground)
{
	unsigned step = getenv("KILN_SOAK") ? 1 : 23;
	unsigned kills = 0;
	int status_code = 0;

	home = kiln_test_path("home");
	runtime = kiln_test_path("run");
	for (unsigned moment = 0;; moment += step) {
		enum killed how =
			kill_at(moment, run_and_stop, foreground ? &step : NULL, &status_code);

		if (how == NO_PTRACE) {
			kiln_test_skip("processes cannot be traced here");
			skip();
		}
		check_recovery();
		if (how == ENDED_BEFORE)
			break;
		kills++;
	}
	assert_int_equal(status_code, 0);
	assert_true(kills >= 15);
	kiln_test_shown("%s killed at %u of its system calls: the next tells the truth",
			foreground ? "a command in the foreground" : "a command", kills);
}

static void a_command_killed_at_many_moments_leaves_what_can_be_used(void **state)
{
	(void)state;
	kill_often(false);
}

static void a_foreground_command_killed_at_many_moments_leaves_nothing(void **state)
{
	(void)state;
	kill_often(true);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_vm_lives_and_lives_again),
		kiln_test(a_name_that_is_taken_is_told_so),
		kiln_test(a_hundred_are_started_at_once),
		kiln_test(another_manager_takes_over),
		kiln_test(stopping_waits_until_the_runner_has_gone),
		kiln_test(one_that_is_about_to_go_can_be_started_and_removed),
		kiln_test(a_vm_in_the_foreground_ends_with_its_handle),
		kiln_test(an_ephemeral_vm_that_was_not_started_goes_with_its_handle),
		kiln_test(a_launch_that_fails_says_why_and_is_recorded),
		kiln_test(a_runner_that_dies_at_the_launch_is_a_failure),
		kiln_test(without_a_runner_a_start_says_so),
		kiln_test(a_killed_runner_is_seen_at_once),
		kiln_test(a_killed_runner_is_seen_by_the_next),
		kiln_test(an_older_runner_stays_manageable),
		kiln_test(a_runner_that_talks_rubbish_is_refused),
		kiln_test(a_deadline_ends_the_waiting_not_the_operation),
		kiln_test(a_start_that_still_looks_for_its_kernel_can_be_killed),
		kiln_test(a_command_killed_at_many_moments_leaves_what_can_be_used),
		kiln_test(a_foreground_command_killed_at_many_moments_leaves_nothing),
	};

	return cmocka_run_group_tests_name("manager", tests, NULL, NULL);
}
