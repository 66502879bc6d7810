/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define MAX_OUTPUT (1u << 20)
#define MAX_FDS    16

/* A package or an image over a slow line; what computes ends itself sooner (image/sandbox.c). */
#define MAX_MINUTES 120

KILN__DEFINE_AUTOPTR(struct kiln__child, kiln__child_free)

/* Takes what has come on one pipe; closes it at its end. */
static void drain(kiln_fd *fd, struct kiln__buf *buf)
{
	char bytes[4096];
	ssize_t got = kiln__os_read(*fd, bytes, sizeof(bytes));

	if (got <= 0) {
		kiln__os_close(*fd);
		*fd = KILN_FD_NONE;
	} else if (buf->len < MAX_OUTPUT) {
		kiln__buf_add(buf, bytes, (size_t)got);
	}
}

static int time_left(int64_t until)
{
	int64_t ms = (until - kiln__os_monotonic_ns()) / 1000000;

	return ms > 0 ? (int)ms : 0;
}

static int read_both(const struct kiln__run *run, kiln_fd *out, kiln_fd *diagnostics,
		     struct kiln__buf *ret_out, struct kiln__buf *ret_err, kiln_error *err)
{
	const int64_t until = kiln__os_monotonic_ns() + INT64_C(60000000000) * MAX_MINUTES;

	while (*out != KILN_FD_NONE || *diagnostics != KILN_FD_NONE) {
		struct pollfd fds[2] = {{.fd = *out, .events = POLLIN},
					{.fd = *diagnostics, .events = POLLIN}};

		int left = time_left(until);

		if (!left)
			return kiln__fail(err, KILN_ETIMEDOUT, "%s has not ended within %d minutes",
					  run->path, MAX_MINUTES);
		if (poll(fds, 2, left) < 0 && errno != EINTR)
			return kiln__fail_errno(err, errno, "cannot wait for a child's output");
		if (fds[0].revents)
			drain(out, ret_out);
		if (fds[1].revents)
			drain(diagnostics, ret_err);
	}
	if (ret_out->failed || ret_err->failed)
		return kiln__fail_nomem(err);
	return 0;
}

int kiln__run(const struct kiln__run *run, struct kiln__buf *ret_out, struct kiln__buf *ret_err,
	      struct kiln__exit *ret_exit, kiln_error *err)
{
	kiln__autoclose kiln_fd out = KILN_FD_NONE, diagnostics = KILN_FD_NONE;
	kiln__cleanup(kiln__child_free_autop) struct kiln__child *child = NULL;
	struct kiln__spawn_fd fds[MAX_FDS];
	struct kiln__spawn spawn = {
		.path = run->path,
		.argv = run->argv,
		.fds = fds,
		.fd_count = run->fd_count + 2,
		.die_with_parent = true,
		.unprivileged = run->confined || run->unprivileged,
		.offline = run->confined,
		.cwd = run->cwd,
	};
	int pipes[2][2], rc;

	if (run->fd_count + 2 > MAX_FDS)
		return kiln__fail(err, KILN_EOVERFLOW, "too many descriptors for a child");
	if (pipe2(pipes[0], O_CLOEXEC))
		return kiln__fail_errno(err, errno, "cannot make a pipe");
	if (pipe2(pipes[1], O_CLOEXEC)) {
		rc = kiln__fail_errno(err, errno, "cannot make a pipe");
		close(pipes[0][0]);
		close(pipes[0][1]);
		return rc;
	}
	out = pipes[0][0];
	diagnostics = pipes[1][0];
	if (run->fd_count)
		memcpy(fds, run->fds, run->fd_count * sizeof(*fds));
	fds[run->fd_count] = (struct kiln__spawn_fd){pipes[0][1], 1};
	fds[run->fd_count + 1] = (struct kiln__spawn_fd){pipes[1][1], 2};
	rc = kiln__child_spawn(&child, &spawn, err);
	close(pipes[0][1]);
	close(pipes[1][1]);
	if (!rc)
		rc = read_both(run, &out, &diagnostics, ret_out, ret_err, err);
	if (!rc)
		rc = kiln__child_wait(child, 60000 * MAX_MINUTES, ret_exit, err);
	if (rc && child) {
		kiln__child_kill(child);
		kiln__child_wait(child, -1, ret_exit, NULL);
	}
	return rc;
}
