/* SPDX-License-Identifier: Apache-2.0 */
/* Finding kiln's own programs, and running any for what it prints. */
#include "program.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define SEPARATOR '\\'
#else
#define SEPARATOR '/'
#endif

#define CAPTURE_MAX ((size_t)64 * 1024)

/* Gives *ret the path if it is a file's. */
static bool give_file(char **ret, char *path)
{
	struct kiln__os_stat st;

	if (!path || kiln__os_stat(path, &st, NULL) < 0 || !st.is_file) {
		free(path);
		return false;
	}
	*ret = path;
	return true;
}

int kiln__os_find_helper(char **ret, const char *name, const char *variable, kiln_error *err)
{
	const char *last = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
	kiln__autofree char *exe = NULL;
	char *given = kiln__os_env(variable);
	int r;

	if (given && *given) {
		*ret = given;
		return 0;
	}
	free(given);
	r = kiln__os_exe_path(&exe, err);
	if (r < 0)
		return r;
	*strrchr(exe, SEPARATOR) = '\0'; /* it is absolute */
	if (give_file(ret, kiln__strf("%s/%s", exe, name)) ||
	    give_file(ret, kiln__strf("%s/../libexec/kiln/%s", exe, last)) ||
	    give_file(ret, kiln__strf(KILN__LIBEXECDIR "/%s", last)))
		return 0;
	kiln__fail(err, KILN_ENOENT, "%s is not installed: it is not beside %s, nor in %s", last,
		   exe, KILN__LIBEXECDIR);
	kiln__hint(err, "install all of kiln, or let %s name it", variable);
	return KILN_ENOENT;
}

/* What a run in progress has; its ends are the pipe's end and the child's. */
struct capture {
	kiln_loop *loop;
	struct kiln__child *child;
	struct kiln__watch *watch;
	struct kiln__timer *timer;
	kiln_fd output;
	struct kiln__buf text;
	struct kiln__exit how;
	bool ended;
	bool late;
};

static void read_output(struct capture *run)
{
	char bytes[4096];
	ssize_t n;

	while ((n = kiln__os_read(run->output, bytes, sizeof(bytes))) > 0)
		if (run->text.len + (size_t)n <= CAPTURE_MAX)
			kiln__buf_add(&run->text, bytes, (size_t)n);
	if (n == 0)
		kiln__watch_set(run->watch, 0);
}

static void on_output(void *data, int events)
{
	(void)events;
	read_output(data);
}

static void on_ended(void *data, struct kiln__exit how)
{
	struct capture *run = data;

	run->how = how;
	run->ended = true;
	read_output(run);
}

static void on_late(void *data)
{
	struct capture *run = data;

	run->late = true;
	kiln__child_kill(run->child);
}

static int begin(struct capture *run, const char *path, const char *const *argv, int timeout_ms,
		 kiln_error *err)
{
	kiln_fd ends[2];
	int r = kiln__os_socket_pair(ends, err);

	if (r < 0)
		return r;
	run->output = ends[0];
	r = kiln__os_set_nonblocking(run->output, true, err);
	if (r == 0)
		r = kiln__child_spawn(
			&run->child,
			&(struct kiln__spawn){
				.path = path,
				.argv = argv,
				.fds = (struct kiln__spawn_fd[]){{ends[1], 1}, {ends[1], 2}},
				.fd_count = 2,
				.die_with_parent = true,
			},
			err);
	kiln__os_close(ends[1]);
	if (r == 0)
		r = kiln_loop_new(&run->loop, err);
	if (r == 0)
		r = kiln__watch_new(&run->watch, run->loop, run->output, on_output, run, err);
	if (r == 0)
		r = kiln__timer_new(&run->timer, run->loop, on_late, run, err);
	if (r < 0)
		return r;
	kiln__watch_set(run->watch, KILN__READABLE);
	kiln__timer_start(run->timer, (uint64_t)timeout_ms);
	return kiln__child_watch(run->child, run->loop, on_ended, run, err);
}

static void finish(struct capture *run)
{
	if (run->child && !run->ended)
		kiln__child_kill(run->child);
	kiln__child_free(run->child);
	kiln__watch_free(run->watch);
	kiln__timer_free(run->timer);
	kiln_loop_free(run->loop);
	kiln__os_close(run->output);
	kiln__buf_done(&run->text);
}

int kiln__os_run_capture(const char *path, const char *const *argv, int timeout_ms, char **ret,
			 kiln_error *err)
{
	struct capture run = {.output = KILN_FD_NONE, .text = KILN__BUF_INIT};
	int r = begin(&run, path, argv, timeout_ms, err);

	while (r == 0 && !run.ended)
		kiln_loop_step(run.loop);
	if (r == 0 && run.late)
		r = kiln__fail(err, KILN_ETIMEDOUT, "%s did not end within %d ms", path,
			       timeout_ms);
	else if (r == 0 && (run.how.signaled || run.how.code))
		r = kiln__fail(err, KILN_EDIED, "%s %s %d", path,
			       run.how.signaled ? "was killed by signal" : "exited with code",
			       run.how.code);
	if (ret && (r == 0 || r == KILN_EDIED)) {
		char *text = kiln__buf_steal(&run.text);

		if (text)
			*ret = text;
		else
			r = kiln__fail_nomem(err);
	}
	finish(&run);
	return r;
}
