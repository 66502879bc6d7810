/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMs of the real runner and the fake backend, which leave nothing behind, and the two sides of a
 * session with a process in one.
 */
#ifndef KILN_TEST_MANAGER_RUNNER_H
#define KILN_TEST_MANAGER_RUNNER_H

#include "manager_home.h"

#include "err.h"

#define PLAIN "{\"backend\":\"fake\"}"

static inline kiln_vm *start_new(const char *name, const char *json)
{
	kiln_vm *vm = create_from(manager, name, json, false);
	kiln_error err;

	kiln_ok(kiln_vm_start_sync(vm, NULL, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_ok(kiln_vm_wait_sync(vm, KILN_STATE_READY, KILN_TEST_DEADLINE_MS, &err), &err);
	return vm;
}

static inline size_t left(void)
{
	kiln__autofree char *vms = kiln__strf("%s/vms", home);
	kiln__autofree char *names = kiln__strf("%s/names", home);

	return entries(vms) + entries(names) + entries(runtime) + runners();
}

static inline void remove_all(kiln_vm *vm)
{
	kiln_error err;

	kiln_ok(kiln_vm_remove_sync(vm, true, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln_vm_free(vm);
	assert_int_equal(left(), 0);
	kiln_manager_free(manager);
}

/* Counts what has come to a good end. */
static inline void on_counted(void *data, int result, const kiln_error *err)
{
	kiln_ok(result, err);
	++*(unsigned *)data;
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

static inline void talk_write(struct talk *talk)
{
	int64_t n = kiln_session_write(talk->session, talk->input + talk->written,
				       talk->input_len - talk->written);

	assert_true(n >= 0);
	talk->written += (size_t)n;
	if (talk->written == talk->input_len)
		kiln_session_close_stdin(talk->session);
}

static inline size_t on_output(void *data, int fd, const void *bytes, size_t len)
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

static inline void on_writable(void *data)
{
	talk_write(data);
}

static inline void on_exit_of(void *data, kiln_exit how, const kiln_error *err)
{
	struct talk *talk = data;

	assert_false(talk->over);
	talk->over = true;
	talk->exit = how;
	talk->code = err ? err->code : 0;
}

static inline kiln_session_callbacks callbacks_of(struct talk *talk)
{
	kiln_session_callbacks callbacks = KILN_SESSION_CALLBACKS_INIT;

	callbacks.on_output = on_output;
	callbacks.on_writable = on_writable;
	callbacks.on_exit = on_exit_of;
	callbacks.data = talk;
	return callbacks;
}

static inline void talk_to_the_end(struct talk *talk)
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

#endif
