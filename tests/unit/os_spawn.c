/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children. The child is this program again: with an argument it plays the part
 * that the argument names, and talks through standard output, a socket.
 */
#include "kiln_test.h"

#include "buf.h"
#include "os.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#ifdef _WIN32
#define SIGKILL 9
#endif

static char *self;

/* --- the parts ----------------------------------------------------------------- */

static void say(kiln_fd to, const char *text)
{
	if (kiln__os_write_full(to, text, strlen(text), NULL) < 0)
		exit(90);
}

static kiln_fd inherited(int number)
{
	kiln_fd fd;

	if (kiln__os_inherited(&fd, number, NULL) < 0)
		exit(91);
	return fd;
}

/* Until the other end is closed: what stands for "runs on" here. */
static void wait_for_end(kiln_fd fd)
{
	char byte;

	while (kiln__os_read(fd, &byte, 1) > 0)
		;
}

static int play_parent(void)
{
	const char *argv[] = {self, "hang", NULL};
	struct kiln__spawn_fd fds[] = {{inherited(1), 1}, {inherited(5), 0}};
	struct kiln__spawn spawn = {
		.path = self,
		.argv = argv,
		.fds = fds,
		.fd_count = 2,
		.die_with_parent = true,
	};
	struct kiln__child *child;

	if (kiln__child_spawn(&child, &spawn, NULL) < 0)
		return 92;
	wait_for_end(fds[1].from);
	return 0;
}

#ifndef _WIN32
static int play_fds(void)
{
	kiln__autobuf text = KILN__BUF_INIT;

	for (int fd = 0; fd < 512; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			kiln__buf_addf(&text, "%d ", fd);
	say(1, text.data);
	return 0;
}

static int play_signals(void)
{
	kiln__autobuf text = KILN__BUF_INIT;
	struct sigaction action;
	sigset_t mask;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int number = 1; number < NSIG; number++) {
		if (sigismember(&mask, number) == 1)
			kiln__buf_addf(&text, "blocked %d ", number);
		/* A sanitizer in the child may have taken this one. */
		if (number == SIGSEGV || number == SIGBUS || number == SIGFPE)
			continue;
		if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			kiln__buf_addf(&text, "changed %d ", number);
	}
	kiln__buf_adds(&text, "end");
	say(1, text.data);
	return 0;
}
#endif

static int play(const char *part, const char *argument)
{
	if (strcmp(part, "exit") == 0)
		return atoi(argument);
	if (strcmp(part, "parent") == 0)
		return play_parent();
	if (strcmp(part, "hang") == 0) {
		say(inherited(1), "up");
		wait_for_end(inherited(0));
		return 0;
	}
	if (strcmp(part, "echo") == 0) {
		say(inherited(atoi(argument)), argument);
		return 0;
	}
	if (strcmp(part, "env") == 0) {
		say(inherited(1), getenv("KILN_TEST") ? getenv("KILN_TEST") : "none");
		return 0;
	}
#ifndef _WIN32
	if (strcmp(part, "fds") == 0)
		return play_fds();
	if (strcmp(part, "signals") == 0)
		return play_signals();
	if (strcmp(part, "kill") == 0)
		return raise(atoi(argument));
	if (strcmp(part, "where") == 0) {
		kiln__autofree char *cwd = getcwd(NULL, 0);

		say(1, cwd);
		say(1, getsid(0) == getpid() ? " leader" : " member");
		return 0;
	}
#endif
	return 93;
}

/* --- helpers -------------------------------------------------------------------- */

static struct kiln__child *spawn_part(struct kiln__spawn spawn, const char *part,
				      const char *argument)
{
	const char *argv[] = {self, part, argument, NULL};
	struct kiln__child *child;
	kiln_error err;

	spawn.path = self;
	spawn.argv = argv;
	kiln_ok(kiln__child_spawn(&child, &spawn, &err), &err);
	return child;
}

static struct kiln__exit end_of(struct kiln__child *child)
{
	struct kiln__exit how;
	kiln_error err;

	kiln_ok(kiln__child_wait(child, KILN_TEST_DEADLINE_MS, &how, &err), &err);
	return how;
}

/* What the part says on descriptor 1, until all of it have closed that. */
static char *words_of(struct kiln__spawn spawn, const char *part, const char *argument)
{
	struct kiln__spawn_fd out = {.to = 1};
	kiln__autobuf text = KILN__BUF_INIT;
	struct kiln__child *child;
	kiln_fd pair[2];
	char bytes[256];
	ssize_t n;
	kiln_error err;

	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	out.from = pair[1];
	if (!spawn.fds) {
		spawn.fds = &out;
		spawn.fd_count = 1;
	}
	child = spawn_part(spawn, part, argument);
	kiln__os_close(pair[1]);
	while ((n = kiln__os_read(pair[0], bytes, sizeof(bytes))) > 0)
		kiln__buf_add(&text, bytes, (size_t)n);
	kiln__os_close(pair[0]);
	assert_int_equal(end_of(child).code, 0);
	kiln__child_free(child);
	return kiln__buf_steal(&text);
}

struct ended {
	bool done;
	struct kiln__exit how;
};

static void on_end(void *data, struct kiln__exit how)
{
	struct ended *ended = data;

	ended->done = true;
	ended->how = how;
}

/* --- rules ------------------------------------------------------------------------ */

static void the_exit_code_comes_back(void **state)
{
	(void)state;
	for (int code = 0; code < 256; code += 51) {
		char text[8];
		struct kiln__child *child;
		struct kiln__exit how;

		snprintf(text, sizeof(text), "%d", code);
		child = spawn_part((struct kiln__spawn){0}, "exit", text);
		assert_true(kiln__child_pid(child) > 0);
		how = end_of(child);
		assert_false(how.signaled);
		assert_int_equal(how.code, code);
		/* Asked again, it says the same. */
		assert_int_equal(end_of(child).code, code);
		kiln__child_free(child);
	}
}

static void a_watched_child_is_told_on_the_loop(void **state)
{
	struct ended ended = {0};
	struct kiln__child *child;
	kiln_loop *loop;
	kiln_error err;

	(void)state;
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	child = spawn_part((struct kiln__spawn){0}, "exit", "7");
	kiln_ok(kiln__child_watch(child, loop, on_end, &ended, &err), &err);
	assert_int_equal(kiln__child_watch(child, loop, on_end, &ended, &err), KILN_ESTATE);
	kiln_test_run_until(loop, &ended.done);
	assert_false(ended.how.signaled);
	assert_int_equal(ended.how.code, 7);
	assert_int_equal(end_of(child).code, 7);
	/* Watching one that has ended and been reaped tells it once more. */
	ended.done = false;
	kiln_ok(kiln__child_watch(child, loop, on_end, &ended, &err), &err);
	assert_false(ended.done);
	kiln_test_run_until(loop, &ended.done);
	assert_int_equal(ended.how.code, 7);
	kiln__child_free(child);
	kiln_loop_free(loop);
}

static void waiting_keeps_its_deadline_and_killing_ends(void **state)
{
	struct kiln__spawn_fd fds[2] = {{.to = 0}, {.to = 1}};
	struct kiln__child *child;
	struct kiln__exit how;
	kiln_fd pair[2];
	char up[2];
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	fds[0].from = fds[1].from = pair[1];
	child = spawn_part((struct kiln__spawn){.fds = fds, .fd_count = 2}, "hang", NULL);
	kiln__os_close(pair[1]);
	assert_int_equal(kiln__os_read_full(pair[0], up, 2, &err), 2);
	assert_int_equal(kiln__child_wait(child, 0, &how, &err), KILN_ETIMEDOUT);
	assert_int_equal(kiln__child_wait(child, 2, &how, &err), KILN_ETIMEDOUT);
	kiln__child_kill(child);
	how = end_of(child);
	assert_true(how.signaled);
	assert_int_equal(how.code, SIGKILL);
	kiln__child_kill(child); /* too late, and harmless */
	kiln__child_free(child);
	kiln__os_close(pair[0]);
}

static void another_process_is_known_by_a_word_and_can_be_ended(void **state)
{
	struct kiln__spawn_fd fds[2] = {{.to = 0}, {.to = 1}};
	struct kiln__child *child;
	struct kiln__exit how;
	kiln_fd process = KILN_FD_NONE;
	kiln_fd pair[2];
	int64_t pid;
	char up[2];
	kiln_error err;

	(void)state;
	if (kiln_test_on_wine())
		skip(); /* does not tell another process's command line */
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	fds[0].from = fds[1].from = pair[1];
	child = spawn_part((struct kiln__spawn){.fds = fds, .fd_count = 2}, "hang", "word-4711");
	pid = kiln__child_pid(child);
	kiln__os_close(pair[1]);
	assert_int_equal(kiln__os_read_full(pair[0], up, 2, &err), 2);
	assert_int_equal(kiln__os_open_process(&process, pid, "another-word", &err), KILN_EEXIST);
	assert_int_equal(kiln__os_open_process(&process, -1, "word", &err), KILN_ENOENT);
	assert_int_equal(process, KILN_FD_NONE);
	kiln_ok(kiln__os_open_process(&process, pid, "word-4711", &err), &err);
	kiln_ok(kiln__os_end_process(process, KILN_TEST_DEADLINE_MS, &err), &err);
	how = end_of(child);
	assert_true(how.signaled || how.code != 0);
	kiln_ok(kiln__os_end_process(process, KILN_TEST_DEADLINE_MS, &err), &err);
	kiln__os_close(process);
	kiln__child_free(child);
	kiln__os_close(pair[0]);
	assert_int_equal(kiln__os_open_process(&process, pid, "word-4711", &err), KILN_ENOENT);
}

static void a_program_that_cannot_be_executed_is_no_child(void **state)
{
	const char *argv[] = {"x", NULL};
	struct kiln__spawn spawn = {.path = kiln_test_path("absent"), .argv = argv};
	struct kiln__child *child = NULL;
	kiln_error err;

	(void)state;
	assert_int_equal(kiln__child_spawn(&child, &spawn, &err), KILN_ENOENT);
	assert_non_null(strstr(err.message, "absent"));
	spawn.path = kiln_test_path("data");
	kiln_ok(kiln__os_replace_file(spawn.path, "data", 4, 0700, false, &err), &err);
	assert_int_equal(kiln__child_spawn(&child, &spawn, &err), KILN_ENOEXEC);
#ifndef _WIN32
	kiln_ok(kiln__os_replace_file(spawn.path, "data", 4, 0600, false, &err), &err);
	assert_int_equal(kiln__child_spawn(&child, &spawn, &err), KILN_EACCES);
	spawn.path = self;
	spawn.cwd = kiln_test_path("nowhere");
	assert_int_equal(kiln__child_spawn(&child, &spawn, &err), KILN_ENOENT);
	assert_non_null(strstr(err.message, "nowhere"));
	/* Nothing to be reaped is left of them. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
#endif
	assert_null(child);
}

static void descriptors_arrive_at_their_numbers(void **state)
{
	kiln_fd pair[2];
	kiln_error err;

	(void)state;
	for (int number = 0; number < 40; number += 13) {
		struct kiln__spawn_fd fd = {.to = number};
		struct kiln__child *child;
		char text[8];
		char got[8] = {0};

		snprintf(text, sizeof(text), "%d", number);
		kiln_ok(kiln__os_socket_pair(pair, &err), &err);
		fd.from = pair[1];
		child = spawn_part((struct kiln__spawn){.fds = &fd, .fd_count = 1}, "echo", text);
		kiln__os_close(pair[1]);
		kiln_ok(kiln__os_read_full(pair[0], got, sizeof(got) - 1, &err), &err);
		assert_string_equal(got, text);
		assert_int_equal(end_of(child).code, 0);
		kiln__child_free(child);
		kiln__os_close(pair[0]);
	}
}

static void the_environment_is_given_or_inherited(void **state)
{
#ifdef _WIN32
	const char *const env[] = {"KILN_TEST=given", "SystemRoot=C:\\windows", NULL};
#else
	const char *const env[] = {"KILN_TEST=given", NULL};
#endif
	kiln__autofree char *given = words_of((struct kiln__spawn){.env = env}, "env", NULL);
	kiln__autofree char *inherits = NULL;

	(void)state;
	assert_string_equal(given, "given");
#ifdef _WIN32
	_putenv("KILN_TEST=mine");
#else
	setenv("KILN_TEST", "mine", 1);
#endif
	inherits = words_of((struct kiln__spawn){0}, "env", NULL);
	assert_string_equal(inherits, "mine");
}

/*
 * We start a parent, which starts a child tied to it; then we kill the parent.
 * Both hold one end of a socket, which reads as ended when both are gone.
 */
static void a_child_tied_to_its_parent_dies_with_it(void **state)
{
	struct kiln__spawn_fd fds[2] = {{.to = 1}, {.to = 5}};
	struct kiln__child *parent;
	kiln_fd out[2];
	kiln_fd in[2];
	char bytes[8];
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_socket_pair(out, &err), &err);
	kiln_ok(kiln__os_socket_pair(in, &err), &err);
	fds[0].from = out[1];
	fds[1].from = in[1];
	parent = spawn_part((struct kiln__spawn){.fds = fds, .fd_count = 2}, "parent", NULL);
	kiln__os_close(out[1]);
	kiln__os_close(in[1]);
	assert_int_equal(kiln__os_read_full(out[0], bytes, 2, &err), 2);
	assert_memory_equal(bytes, "up", 2);
	kiln__child_kill(parent);
	assert_true(end_of(parent).signaled);
	/* Its own standard input is still open: nothing but the tie ends the child. */
	assert_true(kiln__os_read(out[0], bytes, 1) <= 0);
	kiln__child_free(parent);
	kiln__os_close(out[0]);
	kiln__os_close(in[0]);
}

#ifndef _WIN32
static void descriptors_may_be_permuted_and_all_others_are_closed(void **state)
{
	struct kiln__spawn_fd fds[4];
	kiln__autofree char *text = NULL;
	int plain = open("/dev/null", O_RDWR); /* inheritable by mistake */
	int high = fcntl(plain, F_DUPFD, 300);
	kiln_fd pair[2];
	struct kiln__child *child;
	char got[64] = {0};
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	/* Each at the place of the next one's source, and in a circle. */
	fds[0] = (struct kiln__spawn_fd){pair[0], (int)pair[1]};
	fds[1] = (struct kiln__spawn_fd){pair[1], 1};
	fds[2] = (struct kiln__spawn_fd){1, (int)pair[0]};
	fds[3] = (struct kiln__spawn_fd){2, 20};
	child = spawn_part((struct kiln__spawn){.fds = fds, .fd_count = 4}, "fds", NULL);
	close(pair[1]);
	kiln__os_read(pair[0], got, sizeof(got) - 1);
	text = kiln__strf("0 1 2 %d %d 20 ", (int)(pair[0] < pair[1] ? pair[0] : pair[1]),
			  (int)(pair[0] < pair[1] ? pair[1] : pair[0]));
	assert_string_equal(got, text);
	assert_int_equal(end_of(child).code, 0);
	kiln__child_free(child);
	close(pair[0]);
	close(plain);
	close(high);
}

static void a_number_out_of_range_is_refused(void **state)
{
	const char *argv[] = {"x", NULL};
	struct kiln__spawn_fd fd = {0, 256};
	struct kiln__spawn spawn = {.path = self, .argv = argv, .fds = &fd, .fd_count = 1};
	struct kiln__child *child;

	(void)state;
	assert_int_equal(kiln__child_spawn(&child, &spawn, NULL), KILN_EINVAL);
	fd.to = -1;
	assert_int_equal(kiln__child_spawn(&child, &spawn, NULL), KILN_EINVAL);
	fd = (struct kiln__spawn_fd){-1, 3};
	assert_int_equal(kiln__child_spawn(&child, &spawn, NULL), KILN_ESYSTEM);
}

static void on_signal(int number)
{
	(void)number;
}

static void signals_are_at_their_defaults_in_the_child(void **state)
{
	kiln__autofree char *text = NULL;
	sigset_t mask;
	sigset_t old;
	sigset_t after;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, on_signal);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGWINCH);
	sigprocmask(SIG_BLOCK, &mask, &old);
	text = words_of((struct kiln__spawn){0}, "signals", NULL);
	assert_string_equal(text, "end");
	/* And ours are as they were. */
	sigprocmask(SIG_SETMASK, &old, &after);
	assert_int_equal(sigismember(&after, SIGTERM), 1);
	assert_int_equal(sigismember(&after, SIGINT), 0);
	assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_IGN);
	assert_ptr_equal(signal(SIGUSR1, SIG_DFL), on_signal);
}

static void a_signal_is_told_from_an_exit(void **state)
{
	struct kiln__spawn_fd fds[2] = {{.to = 0}, {.to = 1}};
	struct kiln__child *child = spawn_part((struct kiln__spawn){0}, "kill", "6");
	struct kiln__exit how = end_of(child);
	kiln_fd pair[2];
	char up[2];
	kiln_error err;

	(void)state;
	assert_true(how.signaled);
	assert_int_equal(how.code, SIGABRT);
	kiln__child_free(child);
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	fds[0].from = fds[1].from = pair[1];
	child = spawn_part((struct kiln__spawn){.fds = fds, .fd_count = 2}, "hang", NULL);
	kiln__os_close(pair[1]);
	assert_int_equal(kiln__os_read_full(pair[0], up, 2, &err), 2);
	kiln__child_terminate(child);
	how = end_of(child);
	assert_true(how.signaled);
	assert_int_equal(how.code, SIGTERM);
	kiln__child_free(child);
	kiln__os_close(pair[0]);
}

static void directory_and_session_are_as_asked(void **state)
{
	kiln__autofree char *here = words_of((struct kiln__spawn){.cwd = "/"}, "where", NULL);
	kiln__autofree char *there =
		words_of((struct kiln__spawn){.cwd = "/usr", .new_session = true}, "where", NULL);

	(void)state;
	assert_string_equal(here, "/ member");
	assert_string_equal(there, "/usr leader");
}

static void a_detached_program_is_not_our_child(void **state)
{
	struct kiln__spawn_fd fds[2] = {{.to = 0}, {.to = 1}};
	struct kiln__spawn spawn = {.fds = fds, .fd_count = 2, .detached = true};
	struct kiln__child *child;
	struct kiln__exit how;
	kiln_fd pair[2];
	char up[2];
	const char *argv[] = {"x", NULL};
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	fds[0].from = fds[1].from = pair[1];
	child = spawn_part(spawn, "hang", NULL);
	kiln__os_close(pair[1]);
	assert_int_equal(kiln__os_read_full(pair[0], up, 2, &err), 2);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(kiln__child_wait(child, 0, &how, &err), KILN_ETIMEDOUT);
	kiln__child_kill(child);
	assert_int_equal(end_of(child).code, -1);
	kiln__child_free(child);
	kiln__os_close(pair[0]);
	spawn.die_with_parent = true;
	spawn.argv = argv;
	spawn.path = self;
	assert_int_equal(kiln__child_spawn(&child, &spawn, &err), KILN_EINVAL);
	spawn.die_with_parent = false;
	spawn.fd_count = 0;
	spawn.path = "/absent";
	assert_int_equal(kiln__child_spawn(&child, &spawn, &err), KILN_ENOENT);
}

static void a_child_that_has_ended_leaves_no_zombie_when_freed(void **state)
{
	struct kiln__child *child = spawn_part((struct kiln__spawn){0}, "exit", "3");
	siginfo_t info;

	(void)state;
	assert_int_equal(waitid(P_PID, (id_t)kiln__child_pid(child), &info, WEXITED | WNOWAIT), 0);
	kiln__child_free(child);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void a_child_reaped_by_others_has_ended_all_the_same(void **state)
{
	struct kiln__child *child = spawn_part((struct kiln__spawn){0}, "exit", "3");
	struct ended ended = {0};
	kiln_loop *loop;
	int status;
	kiln_error err;

	(void)state;
	assert_int_equal(waitpid((pid_t)kiln__child_pid(child), &status, 0),
			 kiln__child_pid(child));
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	kiln_ok(kiln__child_watch(child, loop, on_end, &ended, &err), &err);
	kiln_test_run_until(loop, &ended.done);
	assert_int_equal(ended.how.code, -1);
	kiln__child_free(child);
	kiln_loop_free(loop);
}
#endif

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(the_exit_code_comes_back),
		kiln_test(a_watched_child_is_told_on_the_loop),
		kiln_test(waiting_keeps_its_deadline_and_killing_ends),
		kiln_test(another_process_is_known_by_a_word_and_can_be_ended),
		kiln_test(a_program_that_cannot_be_executed_is_no_child),
		kiln_test(descriptors_arrive_at_their_numbers),
		kiln_test(the_environment_is_given_or_inherited),
		kiln_test(a_child_tied_to_its_parent_dies_with_it),
#ifndef _WIN32
		kiln_test(descriptors_may_be_permuted_and_all_others_are_closed),
		kiln_test(a_number_out_of_range_is_refused),
		kiln_test(signals_are_at_their_defaults_in_the_child),
		kiln_test(a_signal_is_told_from_an_exit),
		kiln_test(directory_and_session_are_as_asked),
		kiln_test(a_detached_program_is_not_our_child),
		kiln_test(a_child_that_has_ended_leaves_no_zombie_when_freed),
		kiln_test(a_child_reaped_by_others_has_ended_all_the_same),
#endif
	};
	int r;

	if (kiln__os_exe_path(&self, NULL) < 0)
		return 99;
	r = argc > 1 ? play(argv[1], argc > 2 ? argv[2] : "")
		     : cmocka_run_group_tests(tests, NULL, NULL);
	free(self);
	return r;
}
