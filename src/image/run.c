/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include "err.h"
#include "files.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define MAX_OUTPUT (1u << 20)
#define MAX_FDS    16

/* A package or an image over a slow line; what computes ends itself sooner (image/sandbox.c). */
#define MAX_MINUTES 120

KILN__DEFINE_AUTOPTR(struct kiln__child, kiln__child_free)

enum { OUT, DIAGNOSTICS, LINES, PIPES };

/* What is read of a program. */
struct reading {
	const struct kiln__run *run;
	kiln_fd fds[PIPES];
	struct kiln__buf *bufs[PIPES];
	struct kiln__buf lines;
};

static void tell_lines(struct reading *reading)
{
	struct kiln__buf *buf = &reading->lines;
	char *end;

	while (buf->len && (end = memchr(buf->data, '\n', buf->len))) {
		*end = '\0';
		reading->run->line(reading->run->data, buf->data);
		kiln__buf_drop(buf, (size_t)(end - buf->data) + 1);
	}
}

/* Takes what has come on one pipe; closes it at its end. */
static void drain(struct reading *reading, int which)
{
	kiln_fd *fd = &reading->fds[which];
	struct kiln__buf *buf = reading->bufs[which];
	char bytes[4096];
	ssize_t got = kiln__os_read(*fd, bytes, sizeof(bytes));

	if (got <= 0) {
		kiln__os_close(*fd);
		*fd = KILN_FD_NONE;
	} else if (buf->len < MAX_OUTPUT) {
		kiln__buf_add(buf, bytes, (size_t)got);
	}
	if (which == LINES)
		tell_lines(reading);
}

static int time_left(int64_t until)
{
	int64_t ms = (until - kiln__os_monotonic_ns()) / 1000000;

	return ms > 0 ? (int)ms : 0;
}

static bool is_open(const struct reading *reading)
{
	return reading->fds[OUT] != KILN_FD_NONE || reading->fds[DIAGNOSTICS] != KILN_FD_NONE ||
	       reading->fds[LINES] != KILN_FD_NONE;
}

static int read_all(struct reading *reading, kiln_error *err)
{
	const int64_t until = kiln__os_monotonic_ns() + INT64_C(60000000000) * MAX_MINUTES;

	while (is_open(reading)) {
		struct pollfd fds[PIPES];
		int left = time_left(until);

		if (!left)
			return kiln__fail(err, KILN_ETIMEDOUT, "%s has not ended within %d minutes",
					  reading->run->path, MAX_MINUTES);
		for (int i = 0; i < PIPES; i++)
			fds[i] = (struct pollfd){.fd = reading->fds[i], .events = POLLIN};
		if (poll(fds, PIPES, left) < 0) {
			if (errno != EINTR)
				return kiln__fail_errno(err, errno,
							"cannot wait for a child's output");
			continue;
		}
		for (int i = 0; i < PIPES; i++)
			if (fds[i].revents)
				drain(reading, i);
	}
	for (int i = 0; i < PIPES; i++)
		if (reading->bufs[i]->failed)
			return kiln__fail_nomem(err);
	return 0;
}

/* Spawns it with the writing ends, which are closed here then in any case. */
static int spawn(const struct kiln__run *run, struct reading *reading, struct kiln__child **ret,
		 kiln_error *err)
{
	const int numbers[PIPES] = {1, 2, run->line_fd};
	struct kiln__spawn_fd fds[MAX_FDS];
	struct kiln__spawn spawn = {
		.path = run->path,
		.argv = run->argv,
		.fds = fds,
		.fd_count = run->fd_count,
		.die_with_parent = true,
		.unprivileged = run->confined,
		.offline = run->confined,
		.confined = run->confined,
		.cwd = run->cwd,
	};
	int count = run->line ? PIPES : LINES;
	int ends[PIPES];
	int made = 0;
	int r = 0;

	if (run->fd_count)
		memcpy(fds, run->fds, run->fd_count * sizeof(*fds));
	for (; r == 0 && made < count; made++) {
		kiln_fd pair[2];

		r = kiln__os_pipe(pair, err);
		if (r < 0)
			break;
		reading->fds[made] = pair[0];
		ends[made] = pair[1];
		fds[spawn.fd_count++] = (struct kiln__spawn_fd){pair[1], numbers[made]};
	}
	if (r == 0)
		r = kiln__child_spawn(ret, &spawn, err);
	while (made > 0)
		close(ends[--made]);
	return r;
}

int kiln__run(const struct kiln__run *run, struct kiln__buf *ret_out, struct kiln__buf *ret_err,
	      struct kiln__exit *ret_exit, kiln_error *err)
{
	kiln__cleanup(kiln__child_free_autop) struct kiln__child *child = NULL;
	struct reading reading = {
		.run = run,
		.fds = {KILN_FD_NONE, KILN_FD_NONE, KILN_FD_NONE},
		.lines = KILN__BUF_INIT,
	};
	int r;

	if (run->fd_count + PIPES > MAX_FDS)
		return kiln__fail(err, KILN_EOVERFLOW, "too many descriptors for a child");
	reading.bufs[OUT] = ret_out;
	reading.bufs[DIAGNOSTICS] = ret_err;
	reading.bufs[LINES] = &reading.lines;
	r = spawn(run, &reading, &child, err);
	if (r == 0)
		r = read_all(&reading, err);
	for (int i = 0; i < PIPES; i++)
		kiln__os_close(reading.fds[i]);
	kiln__buf_done(&reading.lines);
	if (r == 0)
		r = kiln__child_wait(child, 60000 * MAX_MINUTES, ret_exit, err);
	if (r < 0 && child) {
		kiln__child_kill(child);
		kiln__child_wait(child, -1, ret_exit, NULL);
	}
	return r;
}
