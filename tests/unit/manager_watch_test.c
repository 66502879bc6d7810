/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is seen of VMs from outside, with a runner that only speaks the protocol: inspect, streams
 * to the guest, logs and events that are followed.
 */
#include "manager_fake_runner.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void inspecting_shows_state_and_configuration(void **state)
{
	kiln_error err;
	char *json;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = create("web", "unready");
	kiln_ok(kiln_vm_inspect_sync(vm, &json, -1, &err), &err);
	assert_non_null(strstr(json, "\"state\": \"created\""));
	assert_non_null(strstr(json, "\"mode\": \"unready\""));
	free(json);
	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_inspect_sync(vm, &json, -1, &err), &err);
	assert_non_null(strstr(json, "\"state\": \"running\""));
	assert_non_null(strstr(json, "\"name\": \"web\""));
	assert_non_null(strstr(json, "\"backend\": \"fake\""));
	free(json);
	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	assert_int_equal(kiln_vm_inspect_sync(vm, &json, -1, &err), KILN_ENOENT);
	kiln_vm_free(vm);
	close_manager();
}

struct echoed {
	kiln_stream *stream;
	struct kiln__buf got;
	bool paused;
	bool eof;
	int code;
	bool over;
};

static size_t on_echo(void *data, const void *bytes, size_t len)
{
	struct echoed *echoed = data;
	size_t n = len > 3 ? 3 : len; /* never more, so that it must be resumed */

	kiln__buf_add(&echoed->got, bytes, n);
	echoed->paused = n < len;
	return n;
}

static void on_echo_eof(void *data)
{
	struct echoed *echoed = data;

	echoed->eof = echoed->over = true;
}

static void on_connected(void *data, kiln_stream *stream, const kiln_error *err)
{
	struct echoed *echoed = data;

	echoed->stream = stream;
	echoed->code = err ? err->code : 0;
	echoed->over = true;
}

static void a_stream_leads_to_the_guest_and_back(void **state)
{
	kiln_stream_callbacks callbacks = KILN_STREAM_CALLBACKS_INIT;
	struct echoed echoed = {.got = KILN__BUF_INIT};
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", NULL);
	kiln_vm_connect(vm, 80, on_connected, &echoed);
	assert_false(echoed.over);
	kiln_test_run_until(kiln_manager_loop(manager), &echoed.over);
	assert_int_equal(echoed.code, 0);
	echoed.over = false;
	callbacks.on_data = on_echo;
	callbacks.on_eof = on_echo_eof;
	callbacks.data = &echoed;
	kiln_stream_listen(echoed.stream, &callbacks);
	kiln_stream_resume(echoed.stream);
	assert_int_equal(kiln_stream_write(echoed.stream, "hello world", 11), 11);
	kiln_stream_shutdown(echoed.stream);
	while (!echoed.over) {
		if (echoed.paused)
			kiln_stream_resume(echoed.stream);
		else
			kiln_loop_step(kiln_manager_loop(manager));
	}
	assert_string_equal(echoed.got.data, "hello world");
	kiln_stream_close(echoed.stream);
	kiln__buf_done(&echoed.got);
	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, NULL), NULL);
	echoed.over = false;
	kiln_vm_console(vm, on_connected, &echoed);
	kiln_test_run_until(kiln_manager_loop(manager), &echoed.over);
	assert_int_equal(echoed.code, KILN_ENOENT);
	assert_null(echoed.stream);
	kiln_vm_free(vm);
	close_manager();
}

struct followed {
	struct kiln__buf text;
	unsigned lines;
	bool over;
};

static void on_log(void *data, int64_t time_ns, int fd, const void *bytes, size_t len)
{
	struct followed *followed = data;

	kiln__buf_addf(&followed->text, "%lld:%d:", (long long)(time_ns % 10), fd);
	kiln__buf_add(&followed->text, bytes, len);
	followed->lines++;
}

static void on_event(void *data, const char *json)
{
	struct followed *followed = data;

	kiln__buf_addf(&followed->text, "%s\n", json);
	followed->lines++;
}

static void on_followed(void *data, int result, const kiln_error *err)
{
	kiln_ok(result, err);
	((struct followed *)data)->over = true;
}

static void append_to(const char *vm_id, const char *name, const char *text)
{
	kiln__autofree char *path = kiln__strf("%s/vms/%s/state/%s", home, vm_id, name);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln_error err;

	kiln_ok(kiln__os_open(&fd, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_APPEND,
			      &err),
		&err);
	kiln_ok(kiln__os_write_full(fd, text, strlen(text), &err), &err);
}

static void rotate(const char *vm_id, const char *name)
{
	kiln__autofree char *path = kiln__strf("%s/vms/%s/state/%s", home, vm_id, name);
	kiln__autofree char *old = kiln__strf("%s.1", path);

	assert_int_equal(kiln__os_rename(path, old, NULL), 0);
}

static void a_log_is_followed_over_rotations_to_the_end(void **state)
{
	struct followed process = {.text = KILN__BUF_INIT};
	struct followed console = {.text = KILN__BUF_INIT};
	kiln_follower *followers[2];
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	vm = start_new("web", NULL);
	kiln_ok(kiln_vm_logs(vm, KILN_LOGS_PROCESS, false, on_log, on_followed, &process,
			     &followers[0], &err),
		&err);
	kiln_ok(kiln_vm_logs(vm, KILN_LOGS_CONSOLE, true, on_log, on_followed, &console,
			     &followers[1], &err),
		&err);
	kiln_test_run_until(kiln_manager_loop(manager), &process.over);
	assert_string_equal(process.text.data, "0:1:out\n1:2:err\n");
	while (console.lines < 1)
		kiln_loop_step(kiln_manager_loop(manager));
	append_to(kiln_vm_id(vm), "console.log", "second\n");
	rotate(kiln_vm_id(vm), "console.log");
	append_to(kiln_vm_id(vm), "console.log", "third\n");
	while (console.lines < 3)
		kiln_loop_step(kiln_manager_loop(manager));
	rotate(kiln_vm_id(vm), "console.log");
	append_to(kiln_vm_id(vm), "console.log", "fourth\n");
	rotate(kiln_vm_id(vm), "console.log");
	append_to(kiln_vm_id(vm), "console.log", "fifth\n");
	assert_false(console.over);
	kiln_ok(kiln_vm_stop_sync(vm, 0, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_test_run_until(kiln_manager_loop(manager), &console.over);
	assert_string_equal(console.text.data, "0:1:console line\n0:1:second\n0:1:third\n"
					       "0:1:fourth\n0:1:fifth\n");
	kiln_follower_free(followers[0]);
	kiln_follower_free(followers[1]);
	kiln__buf_done(&process.text);
	kiln__buf_done(&console.text);
	kiln_vm_free(vm);
	close_manager();
}

static void follow_until(const struct followed *followed, const char *text)
{
	while (!followed->text.data || !strstr(followed->text.data, text))
		kiln_loop_step(kiln_manager_loop(manager));
}

static void events_of_all_are_followed_deaths_included(void **state)
{
	struct followed all = {.text = KILN__BUF_INIT};
	struct followed one = {.text = KILN__BUF_INIT};
	kiln_follower *followers[2];
	kiln_manager *another;
	kiln_error err;
	kiln_vm *vm;

	(void)state;
	open_manager();
	kiln_ok(kiln_manager_events(manager, NULL, true, on_event, on_followed, &all, &followers[0],
				    &err),
		&err);
	/* By another manager: nothing but the disk tells. */
	another = open_another();
	vm = create_in(another, "web", "unready", false);
	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	follow_until(&all, "\"event\":\"running\"");
	assert_non_null(strstr(all.text.data, "\"event\":\"created\""));
	assert_non_null(strstr(all.text.data, "\"name\":\"web\""));
	assert_int_equal(kill((pid_t)status(vm).pid, SIGKILL), 0);
	follow_until(&all, "\"event\":\"failed\"");
	kiln_ok(kiln_manager_events(another, vm, false, on_event, on_followed, &one, &followers[1],
				    &err),
		&err);
	kiln_test_run_until(kiln_manager_loop(another), &one.over);
	assert_int_equal(one.lines, 4); /* created, starting, running, failed */
	kiln_follower_free(followers[1]);
	kiln_ok(kiln_vm_remove_sync(vm, false, -1, &err), &err);
	follow_until(&all, "\"event\":\"removed\"");
	assert_false(all.over);
	kiln_follower_free(followers[0]);
	kiln__buf_done(&all.text);
	kiln__buf_done(&one.text);
	kiln_vm_free(vm);
	kiln_manager_free(another);
	close_manager();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(inspecting_shows_state_and_configuration),
		kiln_test(a_stream_leads_to_the_guest_and_back),
		kiln_test(a_log_is_followed_over_rotations_to_the_end),
		kiln_test(events_of_all_are_followed_deaths_included),
	};

	return cmocka_run_group_tests_name("manager_watch", tests, NULL, NULL);
}
