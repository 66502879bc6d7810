/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager with the real runner and the fake backend: life cycle, hostile peers, and what is left
 * behind by whom a signal ends.
 */
#include "manager_runner.h"

#include "buf.h"
#include "err.h"
#include "killer.h"
#include "loop.h"
#include "os.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The control protocol is JSON: what it cannot carry is not left out, but refused by its name. */
static void text_that_is_not_utf8_is_refused_by_name(void **state)
{
	static const struct {
		kiln_change change;
		const char *name;
	} bad[] = {
		{{.size = sizeof(kiln_change), .device = "d\xff", .id = "a"}, "device"},
		{{.size = sizeof(kiln_change), .device = "disk", .id = "d\xff"}, "id"},
		{{.size = sizeof(kiln_change), .id = "a", .file = "/tmp/\xff"}, "file"},
		{{.size = sizeof(kiln_change), .id = "a", .config = "{\"a\":\"\xff\"}"}, "config"},
		{{.size = sizeof(kiln_change), .id = "a", .own = "\xff"}, "own"},
	};
	kiln_update update = KILN_UPDATE_INIT;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", PLAIN);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			kiln_vm_change_sync(vm, &bad[i].change, KILN_TEST_DEADLINE_MS, &err),
			KILN_EINVAL);
		assert_int_equal(strncmp(err.message, bad[i].name, strlen(bad[i].name)), 0);
		assert_non_null(strstr(err.message, "UTF-8"));
	}
	update.config = "\xff";
	assert_int_equal(kiln_vm_update_sync(vm, &update, KILN_TEST_DEADLINE_MS, &err),
			 KILN_EINVAL);
	assert_int_equal(strncmp(err.message, "config", 6), 0);
	assert_int_equal(kiln_vm_snapshot_sync(vm, "/tmp/\xff", NULL, KILN_TEST_DEADLINE_MS, &err),
			 KILN_EINVAL);
	assert_int_equal(strncmp(err.message, "directory", 9), 0);
	remove_all(vm);
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
	vm = create_from(manager, "web", "{\"backend\":\"fake\",\"fake\":{\"fail_start\":true}}",
			 false);
	assert_true(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err) < 0);
	info = status(vm);
	assert_int_equal(info.state, KILN_STATE_FAILED);
	assert_string_equal(info.failure.message, err.message);
	assert_int_equal(runners() + entries(runtime), 0);
	kiln_ok(kiln_vm_remove_sync(vm, false, -1, &err), &err);
	kiln_vm_free(vm);
	/* It may have crashed before this process comes to wait for it. */
	vm = create_from(manager, "web",
			 "{\"backend\":\"fake\",\"fake\":{\"crash_after\":\"20ms\"}}", false);
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
	vm = create_from(manager, "web", PLAIN, false);
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
		crew[i] = create_from(manager, NULL, PLAIN, false);
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
	vm = create_from(manager, "web", PLAIN, false);
	assert_int_equal(kiln_vm_background_sync(vm, KILN_TEST_DEADLINE_MS, &err), KILN_ESTATE);
	options.foreground = true;
	kiln_ok(kiln_vm_start_sync(vm, &options, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_background_sync(vm, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	kiln_ok(kiln_manager_find(manager, "web", &vm, &err), &err);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_READY, KILN_TEST_DEADLINE_MS, &err), &err);
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
	vm = create_from(manager, "web",
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
		kiln_test(text_that_is_not_utf8_is_refused_by_name),
		kiln_test(a_stop_that_is_ignored_ends_by_force),
		kiln_test(failures_are_told_and_kept),
		kiln_test(a_path_that_cannot_be_passed_on_is_refused_by_name),
		kiln_test(a_killed_runner_is_seen_at_once),
		kiln_test(a_hundred_are_started_at_once),
		kiln_test(what_is_put_into_the_background_outlives_its_handle),
		kiln_test(a_control_socket_fed_with_rubbish_serves_on),
		kiln_test(a_client_too_many_is_told_so),
		kiln_test(clients_that_ask_nothing_keep_nobody_out),
		kiln_test(a_run_killed_at_many_moments_leaves_nothing),
	};

	return cmocka_run_group_tests_name("manager_runner", tests, NULL, NULL);
}
