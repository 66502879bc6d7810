/* SPDX-License-Identifier: Apache-2.0 */
/* Much data: whole, in order, held back when nobody reads. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>

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

#define stream_test(name)                                                                          \
	{                                                                                          \
#name, name, up, down, NULL                                                        \
	}

/* make check's sample, make soak's gigabyte. */
static uint64_t much(void)
{
	return getenv("KILN_SOAK") ? (uint64_t)1 << 30 : 50000000;
}

/* Runs it to its end, with a reader that takes little at a time and is told to go on. */
static void run_slowly(struct proc *proc)
{
	int64_t deadline = kiln__os_monotonic_ns() + 600 * (int64_t)1000000000;

	while (!proc->over && kiln__os_monotonic_ns() < deadline) {
		uint64_t before;

		do { /* what was held back */
			before = proc->taken[0];
			kiln__session_resume(proc->session);
		} while (!proc->over && proc->taken[0] != before);
		if (!proc->over)
			kiln_loop_step(rig.loop);
	}
	assert_true(proc->over);
}

static void a_stream_goes_through_both_ways_whole(void **state)
{
	const struct kiln__agent_start start = {.argv = ARGV("cat"), .input = true};
	struct proc proc = {.input_len = much(), .feed = true, .drop = true, .check = true};

	(void)state;
	proc_start(&proc, &rig, &start);
	proc_feed(&proc);
	run_slowly(&proc);
	assert_true(proc.exited);
	assert_int_equal(proc.how.code, 0);
	assert_int_equal(proc.taken[0], proc.input_len);
	proc_done(&proc);
	kiln_test_shown("%llu MiB through the agent, there and back, each byte compared",
			(unsigned long long)(much() >> 20));
}

static void a_slow_reader_gets_all_of_it(void **state)
{
	const struct kiln__agent_start start = {.argv = ARGV("cat"), .input = true};
	struct proc proc = {
		.input_len = 3000000, .feed = true, .drop = true, .check = true, .take = 1000};

	(void)state;
	proc_start(&proc, &rig, &start);
	proc_feed(&proc);
	run_slowly(&proc);
	assert_true(proc.exited);
	assert_int_equal(proc.taken[0], proc.input_len);
	proc_done(&proc);
}

/* How much @pid has written so far, by its own count. */
static uint64_t written(uint32_t pid)
{
	char path[64];
	char line[128];
	unsigned long long n = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%u/io", pid);
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "wchar: %llu", &n) == 1)
			break;
	fclose(file);
	return n;
}

static void a_process_waits_for_a_reader_and_loses_nothing(void **state)
{
	const struct kiln__agent_start start = {.argv = ARGV("head", "-c", "3000000", "/dev/zero")};
	struct proc proc = {.drop = true, .take = 1};

	(void)state;
	proc_start(&proc, &rig, &start);
	kiln_test_run_until(rig.loop, &proc.something);
	/* Nothing is taken any more: the answers to some requests give it time to write what it
	 * can. */
	for (int i = 0; i < 200; i++)
		rig_request(&rig, KILN__AGENT_STATS, NULL, NULL, &kiln__agent_stats_record);
	/* Windows, pipe and sockets hold less than half of it, whatever time there was. */
	assert_true(written(proc.pid) < 1500000);
	assert_false(proc.over);
	proc.take = 0;
	kiln__session_resume(proc.session);
	run_slowly(&proc);
	assert_true(proc.exited);
	assert_int_equal(proc.taken[0], 3000000);
	proc_done(&proc);
}

static void one_session_s_flood_does_not_hold_up_another(void **state)
{
	const struct kiln__agent_start flood = {.argv = ARGV("cat", "/dev/zero")};
	struct proc stuck = {.drop = true, .take = 1};
	struct proc quick = {.rig = NULL};

	(void)state;
	proc_start(&stuck, &rig, &flood);
	kiln_test_run_until(rig.loop, &stuck.something);
	proc_run(&quick, &rig, &(struct kiln__agent_start){.argv = ARGV("echo", "through")});
	proc_said(&quick, "through\n", "", 0);
	proc_done(&quick);
	kiln__session_signal(stuck.session, 9, false);
	stuck.take = 0;
	kiln__session_resume(stuck.session);
	proc_wait(&stuck);
	assert_int_equal(stuck.how.signal, 9);
	proc_done(&stuck);
}

static void both_outputs_flow_at_once(void **state)
{
	const struct kiln__agent_start start = {
		.argv = ARGV("sh", "-c",
			     "head -c 1000000 /dev/zero & head -c 2000000 /dev/zero >&2; wait")};
	struct proc proc = {.drop = true};

	(void)state;
	proc_run(&proc, &rig, &start);
	assert_true(proc.exited);
	assert_int_equal(proc.taken[0], 1000000);
	assert_int_equal(proc.taken[1], 2000000);
	proc_done(&proc);
}

static void a_process_that_reads_nothing_does_not_stop_its_signals(void **state)
{
	const struct kiln__agent_start start = {.argv = ARGV("sleep", "1000"), .input = true};
	struct proc proc = {.input_len = 10000000, .feed = true};

	(void)state;
	proc_start(&proc, &rig, &start);
	proc_feed(&proc);
	kiln_test_run_until(rig.loop, &proc.started);
	for (int i = 0; i < 20; i++)
		rig_request(&rig, KILN__AGENT_STATS, NULL, NULL, &kiln__agent_stats_record);
	assert_true(proc.input_at < proc.input_len);
	kiln__session_signal(proc.session, 15, false);
	proc_wait(&proc);
	assert_int_equal(proc.how.signal, 15);
	proc_done(&proc);
}

static void input_to_a_process_that_has_closed_its_own_is_dropped(void **state)
{
	const struct kiln__agent_start start = {
		.argv = ARGV("sh", "-c", "exec <&-; echo closed; exec sleep 1000"), .input = true};
	struct proc proc = {.input_len = 10000000, .feed = true};

	(void)state;
	proc_start(&proc, &rig, &start);
	kiln_test_run_until(rig.loop, &proc.something);
	proc_feed(&proc);
	while (proc.feed)
		kiln_loop_step(rig.loop);
	assert_true(kiln__session_input_closed(proc.session));
	kiln__session_signal(proc.session, 15, false);
	proc_wait(&proc);
	proc_done(&proc);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		stream_test(a_stream_goes_through_both_ways_whole),
		stream_test(a_slow_reader_gets_all_of_it),
		stream_test(a_process_waits_for_a_reader_and_loses_nothing),
		stream_test(one_session_s_flood_does_not_hold_up_another),
		stream_test(both_outputs_flow_at_once),
		stream_test(a_process_that_reads_nothing_does_not_stop_its_signals),
		stream_test(input_to_a_process_that_has_closed_its_own_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
