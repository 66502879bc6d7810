/* SPDX-License-Identifier: Apache-2.0 */
/* Processes by the agent: what they get, what they say, how they end. */
#include "rig.h"

#include "fdstream.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

#define agent_test(name)                                                                           \
	{                                                                                          \
#name, name, up, down, NULL                                                        \
	}

#define SH(script) .argv = ARGV("sh", "-c", script), .env = ENV("PATH=/bin:/usr/bin")

static void run(struct proc *proc, struct kiln__agent_start start)
{
	*proc = (struct proc){.rig = NULL};
	proc_run(proc, &rig, &start);
}

static void the_agent_says_hello_with_its_version(void **state)
{
	(void)state;
	assert_true(strlen(rig.version) > 0);
	assert_false(rig.features & KILN__AGENT_FEATURE_SETUP);
}

static void output_error_and_exit_code_come_apart(void **state)
{
	struct proc proc;

	(void)state;
	run(&proc, (struct kiln__agent_start){SH("echo out; echo err >&2; exit 7")});
	proc_said(&proc, "out\n", "err\n", 7);
	assert_true(proc.started);
	assert_true(proc.pid > 1);
	proc_done(&proc);
}

static void death_by_a_signal_is_told_as_such(void **state)
{
	struct proc proc;

	(void)state;
	run(&proc, (struct kiln__agent_start){SH("kill -SEGV $$")});
	assert_true(proc.exited);
	assert_int_equal(proc.how.signal, SIGSEGV);
	proc_done(&proc);
}

static void refused(struct kiln__agent_start start, int code, const char *stage)
{
	struct proc proc;

	run(&proc, start);
	assert_true(proc.failed);
	assert_false(proc.lost);
	assert_false(proc.started);
	assert_int_equal(proc.error.code, code);
	assert_string_equal(proc.error.stage, stage);
	proc_done(&proc);
}

static void a_command_that_is_not_there_is_not_found(void **state)
{
	(void)state;
	refused((struct kiln__agent_start){.argv = ARGV("no-such-command")}, KILN_ENOCMD, "exec");
	refused((struct kiln__agent_start){.argv = ARGV("/no/such/command")}, KILN_ENOCMD, "exec");
}

static void write_script(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
}

static void a_command_that_cannot_be_executed_is_told_from_one_not_found(void **state)
{
	const char *path = kiln_test_path("tool");

	(void)state;
	write_script(path, "text", 0644);
	refused((struct kiln__agent_start){.argv = ARGV(path)}, KILN_ENOEXEC, "exec");
	write_script(path, "\x7f\x45\x4c\x46 no program", 0755);
	refused((struct kiln__agent_start){.argv = ARGV(path)}, KILN_ENOEXEC, "exec");
}

static void the_command_is_looked_up_in_its_own_path(void **state)
{
	struct proc proc;
	const char *path = kiln_test_path("only-here");
	char env[256];

	(void)state;
	write_script(path, "#!/bin/sh\necho found\n", 0755);
	snprintf(env, sizeof(env), "PATH=/nonexistent:%s:/bin", kiln_test_dir());
	run(&proc, (struct kiln__agent_start){.argv = ARGV("only-here"), .env = ENV(env)});
	proc_said(&proc, "found\n", "", 0);
	proc_done(&proc);
	refused((struct kiln__agent_start){.argv = ARGV("only-here")}, KILN_ENOCMD, "exec");
}

static void the_environment_is_what_was_given_with_docker_s_defaults(void **state)
{
	struct proc proc;

	(void)state;
	run(&proc,
	    (struct kiln__agent_start){.argv = ARGV("/usr/bin/env"), .env = ENV("A=1", "B=x y")});
	assert_non_null(strstr(proc.out[0].data, "A=1\nB=x y\nPATH=/usr/local/sbin:/usr/local/bin:"
						 "/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root\n"));
	assert_null(strstr(proc.out[0].data, "TERM="));
	assert_null(strstr(proc.out[0].data, "KILN_GUEST"));
	proc_done(&proc);
	run(&proc, (struct kiln__agent_start){.argv = ARGV("/usr/bin/env"),
					      .env = ENV("HOME=/h", "PATH=/p", "HOSTNAME=n")});
	proc_said(&proc, "HOME=/h\nPATH=/p\nHOSTNAME=n\n", "", 0);
	proc_done(&proc);
}

static void signals_and_descriptors_of_the_agent_are_not_inherited(void **state)
{
	struct proc proc;

	(void)state;
	run(&proc, (struct kiln__agent_start){
			   SH("grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd; "
			      "cat /proc/self/oom_score_adj")});
	/* 3 is ls's own, of the directory */
	proc_said(&proc, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n0\n",
		  "", 0);
	proc_done(&proc);
}

static void the_process_leads_a_session_of_its_own(void **state)
{
	struct proc proc;
	char expected[64];

	(void)state;
	run(&proc, (struct kiln__agent_start){SH("cut -d' ' -f1,5,6 /proc/$$/stat")});
	snprintf(expected, sizeof(expected), "%u %u %u\n", proc.pid, proc.pid, proc.pid);
	proc_said(&proc, expected, "", 0);
	proc_done(&proc);
}

static void the_working_directory_is_root_unless_given(void **state)
{
	struct proc proc;

	(void)state;
	run(&proc, (struct kiln__agent_start){.argv = ARGV("pwd")});
	proc_said(&proc, "/\n", "", 0);
	proc_done(&proc);
	run(&proc, (struct kiln__agent_start){.argv = ARGV("pwd"), .cwd = "/usr/bin"});
	proc_said(&proc, "/usr/bin\n", "", 0);
	proc_done(&proc);
	refused((struct kiln__agent_start){.argv = ARGV("pwd"), .cwd = "/no/such"}, KILN_ENOENT,
		"cwd");
}

static void the_main_process_s_working_directory_is_made(void **state)
{
	struct proc proc;
	char dir[256];
	char expected[260];

	(void)state;
	snprintf(dir, sizeof(dir), "%s/a/b", kiln_test_dir());
	snprintf(expected, sizeof(expected), "%s\n", dir);
	run(&proc, (struct kiln__agent_start){.argv = ARGV("pwd"), .cwd = dir, .main = true});
	proc_said(&proc, expected, "", 0);
	proc_done(&proc);
	/* and there is one main process a boot */
	run(&proc, (struct kiln__agent_start){.argv = ARGV("true"), .main = true});
	assert_int_equal(proc.error.code, KILN_ESTATE);
	proc_done(&proc);
}

static void a_user_is_a_name_or_a_number_with_its_groups(void **state)
{
	static const char script[] = "id -u; id -g; id -G; echo $HOME";
	struct proc proc;

	(void)state;
	run(&proc, (struct kiln__agent_start){SH(script), .user = "nobody"});
	proc_said(&proc, "65534\n65534\n65534\n/nonexistent\n", "", 0);
	proc_done(&proc);
	run(&proc, (struct kiln__agent_start){SH(script), .user = "12345"});
	proc_said(&proc, "12345\n0\n0\n/\n", "", 0);
	proc_done(&proc);
	run(&proc, (struct kiln__agent_start){SH(script), .user = "12345:23456"});
	proc_said(&proc, "12345\n23456\n23456\n/\n", "", 0);
	proc_done(&proc);
	run(&proc, (struct kiln__agent_start){SH(script), .user = "daemon:adm", .groups = {77, 78},
					      .group_count = 2});
	proc_said(&proc, "1\n4\n4 77 78\n/usr/sbin\n", "", 0);
	proc_done(&proc);
	refused((struct kiln__agent_start){SH(script), .user = "nosuchuser"}, KILN_ENOENT, "user");
	refused((struct kiln__agent_start){SH(script), .user = "root:nosuchgroup"}, KILN_ENOENT,
		"user");
	refused((struct kiln__agent_start){SH(script), .user = "4294967295"}, KILN_ENOENT, "user");
}

static void a_user_may_open_its_own_streams_by_name(void **state)
{
	struct proc proc;

	(void)state;
	run(&proc, (struct kiln__agent_start){SH("echo out >/dev/stdout; echo err >/dev/stderr"),
					      .user = "nobody"});
	proc_said(&proc, "out\n", "err\n", 0);
	proc_done(&proc);
}

static void without_input_stdin_is_empty(void **state)
{
	struct proc proc;

	(void)state;
	run(&proc, (struct kiln__agent_start){SH("cat; readlink /proc/self/fd/0")});
	proc_said(&proc, "/dev/null\n", "", 0);
	proc_done(&proc);
}

static void input_and_its_end_reach_the_process(void **state)
{
	struct proc proc = {.input = (const uint8_t *)"some\ninput", .input_len = 10, .feed = true};
	const struct kiln__agent_start start = {SH("cat; echo; echo end"), .input = true};

	(void)state;
	proc_start(&proc, &rig, &start);
	proc_feed(&proc);
	proc_wait(&proc);
	proc_said(&proc, "some\ninput\nend\n", "", 0);
	proc_done(&proc);
}

static void a_signal_by_number_reaches_the_process(void **state)
{
	struct proc proc = {.rig = NULL};
	const struct kiln__agent_start start = {
		SH("trap 'echo hup; exit 3' HUP; echo ready; while :; do read x; done"),
		.input = true};

	(void)state;
	proc_start(&proc, &rig, &start);
	kiln_test_run_until(rig.loop, &proc.something);
	kiln__session_signal(proc.session, SIGHUP, false);
	/* The shell sees it when its read returns. */
	assert_int_equal(kiln__session_write(proc.session, "\n", 1), 1);
	proc_wait(&proc);
	proc_said(&proc, "ready\nhup\n", "", 3);
	proc_done(&proc);
}

static void a_signal_may_go_to_the_whole_group(void **state)
{
	struct proc proc = {.rig = NULL};
	const struct kiln__agent_start start = {SH("sleep 1000 & echo; wait; echo not reached")};

	(void)state;
	proc_start(&proc, &rig, &start);
	kiln_test_run_until(rig.loop, &proc.something);
	kiln__session_signal(proc.session, SIGKILL, true);
	proc_wait(&proc);
	assert_int_equal(proc.how.signal, SIGKILL);
	assert_string_equal(proc.out[0].data, "\n");
	assert_false(proc.how.oom);
	proc_done(&proc);
}

static void a_child_left_behind_does_not_hold_the_exit_back(void **state)
{
	struct proc proc;
	char pid[32];

	(void)state;
	run(&proc, (struct kiln__agent_start){SH("sleep 1000 & echo $!")});
	assert_int_equal(proc.how.code, 0);
	snprintf(pid, sizeof(pid), "%s", proc.out[0].data);
	proc_done(&proc);
	run(&proc, (struct kiln__agent_start){.argv = ARGV("kill", "-9", strtok(pid, "\n"))});
	proc_said(&proc, "", "", 0);
	proc_done(&proc);
}

static void all_that_was_written_before_the_exit_comes_before_it(void **state)
{
	struct proc proc;

	(void)state;
	run(&proc, (struct kiln__agent_start){SH(
			   "sleep 1000 & head -c 65536 /dev/zero; kill $! 2>/dev/null; exit 5")});
	assert_int_equal(proc.out[0].len, 65536);
	assert_int_equal(proc.how.code, 5);
	assert_int_equal(proc.how.stdout_end, 65536);
	proc_done(&proc);
}

static void ten_at_once_do_not_mix(void **state)
{
	struct proc procs[10] = {{.rig = NULL}};

	(void)state;
	for (int i = 0; i < 10; i++) {
		char script[64];

		snprintf(script, sizeof(script), "read x; echo %d $x; exit %d", i, i);
		procs[i].input = (const uint8_t *)"go\n";
		procs[i].input_len = 3;
		procs[i].feed = true;
		proc_start(&procs[i], &rig, &(struct kiln__agent_start){SH(script), .input = true});
	}
	for (int i = 9; i >= 0; i--)
		proc_feed(&procs[i]);
	for (int i = 0; i < 10; i++) {
		char expected[32];

		proc_wait(&procs[i]);
		snprintf(expected, sizeof(expected), "%d go\n", i);
		proc_said(&procs[i], expected, "", (uint32_t)i);
		proc_done(&procs[i]);
	}
}

static void sessions_are_listed_and_killed_by_id(void **state)
{
	struct proc proc = {.rig = NULL};
	const struct kiln__agent_start start = {.argv = ARGV("sleep", "1000"), .id = 42};
	struct kiln__agent_signal kill = {.id = 42, .number = SIGTERM};

	(void)state;
	proc_start(&proc, &rig, &start);
	kiln_test_run_until(rig.loop, &proc.started);
	rig_request(&rig, KILN__AGENT_LIST, NULL, NULL, &kiln__agent_list_record);
	assert_int_equal(rig.answer.list.count, 1);
	assert_int_equal(rig.answer.list.sessions[0].id, 42);
	assert_int_equal(rig.answer.list.sessions[0].pid, proc.pid);
	assert_true(rig.answer.list.sessions[0].attached);
	rig_request(&rig, KILN__AGENT_KILL, &kiln__agent_signal_record, &kill, NULL);
	assert_int_equal(rig.error.code, 0);
	proc_wait(&proc);
	assert_int_equal(proc.how.signal, SIGTERM);
	proc_done(&proc);
	/* its status was taken: it is gone */
	rig_request(&rig, KILN__AGENT_KILL, &kiln__agent_signal_record, &kill, NULL);
	assert_int_equal(rig.error.code, KILN_ENOENT);
	rig_request(&rig, KILN__AGENT_LIST, NULL, NULL, &kiln__agent_list_record);
	assert_int_equal(rig.answer.list.count, 0);
}

static void a_detached_process_runs_without_its_client(void **state)
{
	struct proc proc = {.rig = NULL};
	char script[256];
	const char *fifo = kiln_test_path("fifo");
	char byte = 0;
	FILE *file;

	(void)state;
	assert_int_equal(mkfifo(fifo, 0600), 0);
	snprintf(script, sizeof(script), "readlink /proc/self/fd/1 >%s", fifo);
	proc_start(&proc, &rig, &(struct kiln__agent_start){SH(script), .detach = true});
	kiln_test_run_until(rig.loop, &proc.started);
	proc_done(&proc);
	file = fopen(fifo, "r");
	assert_non_null(file);
	assert_int_equal(fread(&byte, 1, 1, file), 1);
	assert_int_equal(byte, '/');
	fclose(file);
}

static void memory_cpu_and_disk_are_told(void **state)
{
	(void)state;
	rig_request(&rig, KILN__AGENT_STATS, NULL, NULL, &kiln__agent_stats_record);
	assert_int_equal(rig.error.code, 0);
	assert_true(rig.answer.stats.memory_total > 1 << 20);
	assert_true(rig.answer.stats.memory_available <= rig.answer.stats.memory_total);
	assert_true(rig.answer.stats.cpu_user_ns > 0);
	assert_true(rig.answer.stats.uptime_ns > 0);
	assert_true(rig.answer.stats.processes > 0);
	assert_true(rig.answer.stats.root_size >= rig.answer.stats.root_free);
}

static void a_service_refuses_what_is_pid_1_s(void **state)
{
	const struct kiln__agent_setup setup = {.root = {.kind = KILN__AGENT_ROOT_STAY}};

	(void)state;
	rig_request(&rig, KILN__AGENT_SETUP, &kiln__agent_setup_record, &setup,
		    &kiln__agent_setup_done_record);
	assert_int_equal(rig.error.code, KILN_ENOTSUP);
}

static void waiting_for_a_port_ends_when_it_is_listened_on(void **state)
{
	struct kiln__agent_wait_port wait = {.port = 0};
	struct proc proc = {.rig = NULL};
	/* Any free port: the process says which it has got, and listens when told to. */
	const struct kiln__agent_start start = {
		.argv = ARGV("python3", "-c",
			     "import socket,sys\n"
			     "s=socket.socket(); s.bind(('127.0.0.1',0))\n"
			     "print(s.getsockname()[1], flush=True); sys.stdin.readline()\n"
			     "s.listen(); sys.stdin.read()"),
		.input = true};

	(void)state;
	proc_start(&proc, &rig, &start);
	while (!proc.over && (!proc.out[0].len || proc.out[0].data[proc.out[0].len - 1] != '\n'))
		kiln_loop_step(rig.loop);
	assert_false(proc.over);
	wait.port = (uint32_t)atoi(proc.out[0].data);
	rig_send(&rig, KILN__AGENT_WAIT_PORT, &kiln__agent_wait_port_record, &wait, NULL);
	/* Requests are answered in order, but for this one. */
	rig_request(&rig, KILN__AGENT_STATS, NULL, NULL, &kiln__agent_stats_record);
	assert_int_equal(rig.answers, 1);
	rig.answered = false;
	assert_int_equal(kiln__session_write(proc.session, "\n", 1), 1);
	kiln_test_run_until(rig.loop, &rig.answered);
	assert_int_equal(rig.error.code, 0);
	/* and at once if it is listened on already */
	rig_request(&rig, KILN__AGENT_WAIT_PORT, &kiln__agent_wait_port_record, &wait, NULL);
	assert_int_equal(rig.error.code, 0);
	kiln__session_end_input(proc.session);
	proc_wait(&proc);
	proc_done(&proc);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		agent_test(the_agent_says_hello_with_its_version),
		agent_test(output_error_and_exit_code_come_apart),
		agent_test(death_by_a_signal_is_told_as_such),
		agent_test(a_command_that_is_not_there_is_not_found),
		agent_test(a_command_that_cannot_be_executed_is_told_from_one_not_found),
		agent_test(the_command_is_looked_up_in_its_own_path),
		agent_test(the_environment_is_what_was_given_with_docker_s_defaults),
		agent_test(signals_and_descriptors_of_the_agent_are_not_inherited),
		agent_test(the_process_leads_a_session_of_its_own),
		agent_test(the_working_directory_is_root_unless_given),
		agent_test(the_main_process_s_working_directory_is_made),
		agent_test(a_user_is_a_name_or_a_number_with_its_groups),
		agent_test(a_user_may_open_its_own_streams_by_name),
		agent_test(without_input_stdin_is_empty),
		agent_test(input_and_its_end_reach_the_process),
		agent_test(a_signal_by_number_reaches_the_process),
		agent_test(a_signal_may_go_to_the_whole_group),
		agent_test(a_child_left_behind_does_not_hold_the_exit_back),
		agent_test(all_that_was_written_before_the_exit_comes_before_it),
		agent_test(ten_at_once_do_not_mix),
		agent_test(sessions_are_listed_and_killed_by_id),
		agent_test(a_detached_process_runs_without_its_client),
		agent_test(memory_cpu_and_disk_are_told),
		agent_test(a_service_refuses_what_is_pid_1_s),
		agent_test(waiting_for_a_port_ends_when_it_is_listened_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
