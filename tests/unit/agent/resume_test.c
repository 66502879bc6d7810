/* SPDX-License-Identifier: Apache-2.0 */
/* A session whose connection is cut, anywhere, is taken up again: nothing is lost, nothing comes
 * twice. */
#include "rig.h"

#include "cutstream.h"

#include <stdlib.h>
#include <string.h>

static struct rig rig;

static int up(void **state)
{
	int r = kiln_test_begin(state);

	rig_up(&rig);
	return r;
}

static int down(void **state)
{
	rig_down(&rig);
	return kiln_test_end(state);
}

#define resume_test(name)                                                                          \
	{                                                                                          \
#name, name, up, down, NULL                                                        \
	}

static void reattach(struct proc *proc, struct kiln__stream *stream)
{
	kiln_error err;

	assert_true(proc->failed);
	if (!proc->lost)
		fail_msg("not lost: %s", proc->error.message);
	proc->over = proc->failed = false;
	kiln_ok(kiln__session_reattach(proc->session, stream, &err), &err);
}

/* Both streams, input and its end, an exit code: every kind of frame that a session has. */
#define SCRIPT "read a; echo \"got $a\"; echo error >&2; cat; echo done; exit 3"
static const char input[] = "first line\nsecond\nthird";
#define OUT "got first line\nsecond\nthirddone\n"

/*
 * Runs the session over a connection that is cut as @cut says; @again cuts the second
 * one. The process must have run once, and all that it said have come once.
 */
static void run_cut(struct cut *cut, struct cut *again)
{
	const struct kiln__agent_start start = {
		.argv = ARGV("sh", "-c", SCRIPT), .env = ENV("PATH=/bin:/usr/bin"), .input = true};
	struct proc proc = {
		.input = (const uint8_t *)input, .input_len = sizeof(input) - 1, .feed = true};

	proc_start_on(&proc, &rig, cutstream_new(rig_connect(&rig), rig.loop, cut), &start);
	proc_feed(&proc);
	proc_wait(&proc);
	if (proc.failed) {
		assert_true(cut->happened);
		reattach(&proc, cutstream_new(rig_connect(&rig), rig.loop, again));
		proc_wait(&proc);
	}
	if (proc.failed) {
		assert_true(again->happened);
		reattach(&proc, rig_connect(&rig));
		proc_wait(&proc);
	}
	proc_said(&proc, OUT, "error\n", 3);
	proc_done(&proc);
}

static const struct cut never = {.in_max = UINT64_MAX, .out_max = UINT64_MAX};

static void measure(struct cut *ret)
{
	struct cut again = never;

	*ret = never;
	run_cut(ret, &again);
	assert_false(ret->happened);
	assert_true(ret->in > 100 && ret->in < 2000);
	assert_true(ret->out > 100 && ret->out < 2000);
}

static void cut_at_every_byte_from_the_guest(void **state)
{
	struct cut whole;

	(void)state;
	measure(&whole);
	for (uint64_t at = 0; at <= whole.in; at++) {
		struct cut cut = {.in_max = at, .out_max = UINT64_MAX};
		struct cut again = never;

		run_cut(&cut, &again);
	}
	kiln_test_shown("an agent stream cut at each of the %llu bytes from the guest",
			(unsigned long long)whole.in);
}

static void cut_at_every_byte_to_the_guest(void **state)
{
	struct cut whole;

	(void)state;
	measure(&whole);
	for (uint64_t at = 0; at <= whole.out; at++) {
		struct cut cut = {.in_max = UINT64_MAX, .out_max = at};
		struct cut again = never;

		run_cut(&cut, &again);
	}
	kiln_test_shown("an agent stream cut at each of the %llu bytes to the guest",
			(unsigned long long)whole.out);
}

static void cut_twice(void **state)
{
	struct cut whole;

	(void)state;
	measure(&whole);
	/* A sample of pairs; all of them would be a quarter of a million. */
	for (uint64_t i = 0; i < 300; i++) {
		struct cut cut = {.in_max = i * 7919 % whole.in, .out_max = UINT64_MAX};
		struct cut again = {.in_max = UINT64_MAX, .out_max = i * 104729 % whole.out};

		run_cut(&cut, &again);
	}
}

static void a_large_stream_survives_cuts(void **state)
{
	const struct kiln__agent_start start = {.argv = ARGV("cat"), .input = true};
	uint64_t len = getenv("KILN_SOAK") ? (uint64_t)1 << 30 : 20000000;
	struct proc proc = {.input_len = len, .feed = true, .drop = true, .check = true};
	struct cut cut = {.in_max = len / 20, .out_max = UINT64_MAX};
	unsigned cuts = 0;

	(void)state;
	proc_start_on(&proc, &rig, cutstream_new(rig_connect(&rig), rig.loop, &cut), &start);
	proc_feed(&proc);
	for (;;) {
		proc_wait(&proc);
		if (!proc.failed)
			break;
		cuts++;
		cut = (struct cut){.in_max = len / 20 + cuts * 12347,
				   .out_max = cuts % 2 ? len / 30 + cuts * 3457 : UINT64_MAX};
		reattach(&proc, cutstream_new(rig_connect(&rig), rig.loop, &cut));
		proc_feed(&proc);
	}
	assert_true(cuts > 10);
	assert_int_equal(proc.taken[0], len);
	assert_int_equal(proc.how.code, 0);
	proc_done(&proc);
	kiln_test_shown("a stream of %llu MiB, its connection cut %u times: each byte arrives once",
			(unsigned long long)(len >> 20), cuts);
}

static void a_process_goes_on_and_its_status_waits(void **state)
{
	const struct kiln__agent_start start = {
		.argv = ARGV("sh", "-c", "read x; echo late; exit 6"), .input = true};
	struct proc proc = {.rig = NULL};
	struct cut cut = {.in_max = UINT64_MAX, .out_max = UINT64_MAX};

	(void)state;
	proc_start_on(&proc, &rig, cutstream_new(rig_connect(&rig), rig.loop, &cut), &start);
	kiln_test_run_until(rig.loop, &proc.started);
	assert_int_equal(kiln__session_write(proc.session, "\n", 1), 1);
	cut.in_max = cut.in;
	/* Whatever comes next is lost with the connection; the agent is asked until it has ended.
	 */
	kiln__session_resize(proc.session, 1, 1);
	proc_wait(&proc);
	do {
		rig_request(&rig, KILN__AGENT_LIST, NULL, NULL, &kiln__agent_list_record);
		assert_int_equal(rig.answer.list.count, 1);
	} while (!rig.answer.list.sessions[0].exited);
	reattach(&proc, rig_connect(&rig));
	proc_wait(&proc);
	proc_said(&proc, "late\n", "", 6);
	proc_done(&proc);
}

static void a_second_client_takes_the_session_over(void **state)
{
	const struct kiln__agent_start start = {
		.argv = ARGV("sh", "-c", "echo one; read x; echo $x"), .input = true, .id = 7};
	struct proc first = {.rig = NULL};
	struct proc second = {.rig = NULL};

	(void)state;
	proc_start(&first, &rig, &start);
	kiln_test_run_until(rig.loop, &first.something);
	/* The same start again attaches: a process of one id runs once. */
	proc_start(&second, &rig, &start);
	kiln_test_run_until(rig.loop, &second.something);
	proc_wait(&first);
	assert_true(first.failed);
	assert_int_equal(first.error.code, KILN_ECANCELED);
	assert_false(first.lost);
	assert_int_equal(second.pid, first.pid);
	assert_int_equal(kiln__session_write(second.session, "two\n", 4), 4);
	proc_wait(&second);
	proc_said(&second, "one\ntwo\n", "", 0);
	proc_done(&second);
	proc_done(&first);
}

static void statuses_that_nobody_takes_are_bounded(void **state)
{
	const unsigned count = 40;

	(void)state;
	for (unsigned i = 0; i < count; i++) {
		struct proc proc = {.rig = NULL};

		proc_start(&proc, &rig,
			   &(struct kiln__agent_start){.argv = ARGV("cat"), .input = true});
		kiln_test_run_until(rig.loop, &proc.started);
		kiln__session_end_input(proc.session);
		proc_done(&proc); /* gone, perhaps before it has ended */
	}
	do {
		bool running = false;

		rig_request(&rig, KILN__AGENT_LIST, NULL, NULL, &kiln__agent_list_record);
		for (size_t i = 0; i < rig.answer.list.count; i++)
			running |= !rig.answer.list.sessions[i].exited;
		if (!running)
			break;
	} while (true);
	/* One more makes room for itself. */
	for (int i = 0; i < 30; i++) {
		struct proc proc = {.rig = NULL};

		proc_run(&proc, &rig, &(struct kiln__agent_start){.argv = ARGV("true")});
		proc_said(&proc, "", "", 0);
		proc_done(&proc);
	}
	rig_request(&rig, KILN__AGENT_LIST, NULL, NULL, &kiln__agent_list_record);
	assert_true(rig.answer.list.count <= 16);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		resume_test(cut_at_every_byte_from_the_guest),
		resume_test(cut_at_every_byte_to_the_guest),
		resume_test(cut_twice),
		resume_test(a_large_stream_survives_cuts),
		resume_test(a_process_goes_on_and_its_status_waits),
		resume_test(a_second_client_takes_the_session_over),
		resume_test(statuses_that_nobody_takes_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
