/* SPDX-License-Identifier: Apache-2.0 */
/* Processes with a terminal. */
#include "rig.h"

#include <signal.h>
#include <stdio.h>
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

#define tty_test(name)                                                                             \
	{                                                                                          \
#name, name, up, down, NULL                                                        \
	}

#define SH(script) .argv = ARGV("sh", "-c", script), .env = ENV("PATH=/bin:/usr/bin"), .tty = true

/* Until @text has come. */
static void expect(struct proc *proc, const char *text)
{
	while (!proc->out[0].data || !strstr(proc->out[0].data, text)) {
		assert_false(proc->over);
		proc->something = false;
		kiln_test_run_until(rig.loop, &proc->something);
	}
}

static void say(struct proc *proc, const char *text)
{
	assert_int_equal(kiln__session_write(proc->session, text, strlen(text)), strlen(text));
}

static void a_terminal_is_one_and_merges_the_streams(void **state)
{
	const struct kiln__agent_start start = {
		SH("test -t 0 && test -t 1 && test -t 2 && echo tty; echo err >&2; echo $TERM; "
		   "readlink /proc/self/fd/0; exit 4")};
	struct proc proc = {.rig = NULL};

	(void)state;
	proc_run(&proc, &rig, &start);
	assert_int_equal(proc.how.code, 4);
	assert_non_null(strstr(proc.out[0].data, "tty\r\nerr\r\nxterm\r\n/dev/pts/"));
	assert_int_equal(proc.out[1].len, 0);
	proc_done(&proc);
}

static void without_tty_there_is_none(void **state)
{
	struct proc proc = {.rig = NULL};
	struct kiln__agent_start start = {SH("test -t 0 || echo none; cat </dev/tty")};

	(void)state;
	start.tty = false;
	proc_run(&proc, &rig, &start);
	assert_string_equal(proc.out[0].data, "none\n");
	assert_true(proc.how.code != 0); /* not even the agent's own */
	proc_done(&proc);
}

static void the_window_has_its_size_and_follows(void **state)
{
	/* A read that the signal interrupts fails: that is no reason to go. */
	const struct kiln__agent_start start = {
		SH("trap 'stty size' WINCH; stty size; while :; do read x; done"), .rows = 33,
		.cols = 101, .input = true};
	struct proc proc = {.rig = NULL};

	(void)state;
	proc_start(&proc, &rig, &start);
	expect(&proc, "33 101\r\n");
	kiln__session_resize(proc.session, 40, 77);
	say(&proc, "\n"); /* the shell's read returns */
	expect(&proc, "40 77\r\n");
	kiln__session_signal(proc.session, SIGKILL, true);
	proc_wait(&proc);
	assert_int_equal(proc.how.signal, SIGKILL);
	proc_done(&proc);
}

static void ctrl_c_interrupts_what_is_in_the_foreground(void **state)
{
	const struct kiln__agent_start start = {SH("echo ready; exec sleep 1000"), .input = true};
	struct proc proc = {.rig = NULL};

	(void)state;
	proc_start(&proc, &rig, &start);
	expect(&proc, "ready\r\n");
	say(&proc, "\x03");
	proc_wait(&proc);
	assert_int_equal(proc.how.signal, SIGINT);
	proc_done(&proc);
}

static void the_end_of_input_is_the_end_of_file_character(void **state)
{
	const struct kiln__agent_start start = {SH("stty -echo; echo ready; cat; echo end"),
						.input = true};
	struct proc proc = {.rig = NULL};

	(void)state;
	proc_start(&proc, &rig, &start);
	expect(&proc, "ready\r\n");
	say(&proc, "line\n");
	kiln__session_end_input(proc.session);
	proc_wait(&proc);
	assert_string_equal(proc.out[0].data, "ready\r\nline\r\nend\r\n");
	proc_done(&proc);
}

static void the_terminal_belongs_to_the_user(void **state)
{
	const struct kiln__agent_start start = {SH("echo by name >/dev/tty; echo again >$(tty)"),
						.user = "nobody"};
	struct proc proc = {.rig = NULL};

	(void)state;
	proc_run(&proc, &rig, &start);
	assert_string_equal(proc.out[0].data, "by name\r\nagain\r\n");
	proc_done(&proc);
}

static void all_output_comes_before_the_exit(void **state)
{
	const struct kiln__agent_start start = {SH("seq 1 20000; exit 9")};
	struct proc proc = {.rig = NULL, .take = 1000};

	(void)state;
	proc_start(&proc, &rig, &start);
	while (!proc.over) {
		uint64_t before;

		do { /* what was held back */
			before = proc.taken[0];
			kiln__session_resume(proc.session);
		} while (!proc.over && proc.taken[0] != before);
		if (!proc.over)
			kiln_loop_step(rig.loop);
	}
	assert_int_equal(proc.how.code, 9);
	assert_string_equal(proc.out[0].data + proc.out[0].len - 14, "19999\r\n20000\r\n");
	assert_int_equal(proc.out[0].len, 108894 + 20000);
	proc_done(&proc);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		tty_test(a_terminal_is_one_and_merges_the_streams),
		tty_test(without_tty_there_is_none),
		tty_test(the_window_has_its_size_and_follows),
		tty_test(ctrl_c_interrupts_what_is_in_the_foreground),
		tty_test(the_end_of_input_is_the_end_of_file_character),
		tty_test(the_terminal_belongs_to_the_user),
		tty_test(all_output_comes_before_the_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
