/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include "fdstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the agent ------------------------------------------------------------------------- */

static void on_hello(void *data, const struct kiln__agent_hello *hello)
{
	struct rig *rig = data;

	rig->hello = true;
	rig->features = hello->features;
	snprintf(rig->version, sizeof(rig->version), "%s", hello->agent ? hello->agent : "");
}

static void on_closed(void *data, const kiln_error *err)
{
	(void)data;
	fail_msg("the control channel was closed: %s", err->message);
}

static const struct kiln__agent_handler agent_handler = {
	.hello = on_hello,
	.closed = on_closed,
};

void rig_up(struct rig *rig)
{
	const char *program = getenv("KILN_GUEST");
	kiln_fd pair[2];
	struct kiln__stream *stream;
	kiln_error err;

	*rig = (struct rig){.path = kiln_test_path("agent")};
	assert_non_null(program);
	kiln_ok(kiln_loop_new(&rig->loop, &err), &err);
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	kiln_ok(kiln__child_spawn(
			&rig->child,
			&(struct kiln__spawn){
				.path = program,
				.argv = (const char *const[]){program, "agent", "--listen-unix",
							      rig->path, "--fd", "3", NULL},
				.fds = (const struct kiln__spawn_fd[]){{pair[1], 3}, {2, 2}},
				.fd_count = 2,
				.die_with_parent = true,
			},
			&err),
		&err);
	kiln__os_close(pair[1]);
	kiln_ok(kiln__fdstream_new(&stream, rig->loop, pair[0], &err), &err);
	kiln_ok(kiln__agent_new(&rig->agent, rig->loop, stream, &agent_handler, rig, &err), &err);
	kiln_test_run_until(rig->loop, &rig->hello);
}

void rig_down(struct rig *rig)
{
	struct kiln__exit how;
	kiln_error err;

	kiln__agent_free(rig->agent);
	kiln__child_terminate(rig->child);
	kiln_ok(kiln__child_wait(rig->child, KILN_TEST_DEADLINE_MS, &how, &err), &err);
	assert_false(how.signaled);
	assert_int_equal(how.code, 0); /* so a sanitizer's report fails the test */
	kiln__child_free(rig->child);
	kiln_loop_free(rig->loop);
}

kiln_fd rig_connect_raw(struct rig *rig)
{
	kiln_fd fd;
	kiln_error err;

	kiln_ok(kiln__os_local_connect(&fd, rig->path, &err), &err);
	return fd;
}

struct kiln__stream *rig_connect(struct rig *rig)
{
	struct kiln__stream *stream;
	kiln_error err;

	kiln_ok(kiln__fdstream_new(&stream, rig->loop, rig_connect_raw(rig), &err), &err);
	return stream;
}

static void on_reply(void *data, const void *result, const kiln_error *err)
{
	struct rig *rig = data;

	rig->answered = true;
	rig->answers++;
	rig->error = err ? *err : (kiln_error)KILN_ERROR_INIT;
	if (result)
		memcpy(&rig->answer, result, sizeof(rig->answer));
}

void rig_send(struct rig *rig, uint8_t type, const struct kiln__record *record, const void *value,
	      const struct kiln__record *result)
{
	kiln_error err;

	kiln_ok(kiln__agent_request(rig->agent,
				    &(struct kiln__agent_call){
					    .type = type,
					    .record = record,
					    .value = value,
					    .result = result,
					    .reply = on_reply,
					    .data = rig,
				    },
				    &err),
		&err);
}

void rig_request(struct rig *rig, uint8_t type, const struct kiln__record *record,
		 const void *value, const struct kiln__record *result)
{
	rig->answered = false;
	rig_send(rig, type, record, value, result);
	kiln_test_run_until(rig->loop, &rig->answered);
}

/* --- processes ---------------------------------------------------------------------------- */

struct kiln__strs rig_strs(int slot, const char *const *strings)
{
	static char text[2][8192];
	size_t len = 0;

	for (; *strings; strings++) {
		assert_true(len + strlen(*strings) < sizeof(text[slot]));
		strcpy(text[slot] + len, *strings);
		len += strlen(*strings) + 1;
	}
	return (struct kiln__strs){text[slot], len};
}

static void on_started(void *data, uint32_t pid)
{
	struct proc *proc = data;

	assert_false(proc->started);
	proc->started = true;
	proc->pid = pid;
}

static size_t on_output(void *data, int stream, const void *bytes, size_t len)
{
	struct proc *proc = data;
	const uint8_t *at = bytes;

	assert_true(stream == 1 || stream == 2);
	if (proc->take && len > proc->take)
		len = proc->take;
	for (size_t i = 0; proc->check && stream == 1 && i < len; i++)
		if (at[i] != pattern(proc->taken[0] + i))
			fail_msg("byte %llu is not what was sent",
				 (unsigned long long)(proc->taken[0] + i));
	if (!proc->drop)
		kiln__buf_add(&proc->out[stream - 1], bytes, len);
	proc->taken[stream - 1] += len;
	proc->something = true;
	return len;
}

static void on_exited(void *data, const struct kiln__agent_exit *how)
{
	struct proc *proc = data;

	assert_false(proc->over);
	proc->how = *how;
	proc->exited = proc->over = true;
}

static void on_failed(void *data, const kiln_error *err, bool lost)
{
	struct proc *proc = data;

	assert_false(proc->over);
	proc->error = *err;
	proc->lost = lost;
	proc->failed = proc->over = true;
}

static void on_writable(void *data)
{
	proc_feed(data);
}

static const struct kiln__session_handler session_handler = {
	.started = on_started,
	.output = on_output,
	.writable = on_writable,
	.exited = on_exited,
	.failed = on_failed,
};

void proc_feed(struct proc *proc)
{
	uint8_t chunk[32768];

	while (proc->feed && proc->input_at < proc->input_len) {
		uint64_t left = proc->input_len - proc->input_at;
		size_t len = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);
		size_t n;

		for (size_t i = 0; i < len; i++)
			chunk[i] = proc->input ? proc->input[proc->input_at + i]
					       : pattern(proc->input_at + i);
		n = kiln__session_write(proc->session, chunk, len);
		proc->input_at += n;
		if (n < len)
			return;
	}
	if (proc->feed)
		kiln__session_end_input(proc->session);
	proc->feed = false;
}

void proc_start_on(struct proc *proc, struct rig *rig, struct kiln__stream *stream,
		   const struct kiln__agent_start *start)
{
	kiln_error err;

	proc->rig = rig;
	kiln_ok(kiln__session_start(&proc->session, rig->loop, stream, start, &session_handler,
				    proc, &err),
		&err);
}

void proc_start(struct proc *proc, struct rig *rig, const struct kiln__agent_start *start)
{
	proc_start_on(proc, rig, rig_connect(rig), start);
}

void proc_wait(struct proc *proc)
{
	kiln_test_run_until(proc->rig->loop, &proc->over);
}

void proc_done(struct proc *proc)
{
	kiln__session_free(proc->session);
	kiln__buf_done(&proc->out[0]);
	kiln__buf_done(&proc->out[1]);
	*proc = (struct proc){.rig = NULL};
}

void proc_run(struct proc *proc, struct rig *rig, const struct kiln__agent_start *start)
{
	proc_start(proc, rig, start);
	proc_wait(proc);
}

void proc_said(const struct proc *proc, const char *out, const char *err, uint32_t code)
{
	if (proc->failed)
		fail_msg("failed: %s", proc->error.message);
	assert_string_equal(proc->out[0].data ? proc->out[0].data : "", out);
	assert_string_equal(proc->out[1].data ? proc->out[1].data : "", err);
	assert_true(proc->exited);
	assert_int_equal(proc->how.signal, 0);
	assert_int_equal(proc->how.code, code);
}
