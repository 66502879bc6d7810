/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMM as a child process.
 *
 * Two things end independently, the process and its output pipe; the owner is told
 * when both have, so that the reason carries the VMM's last words. A pipe that some
 * grandchild keeps open does not hold that up: once the process is gone, what is
 * readable is read and the rest is left.
 */
#include "process.h"

#include "err.h"
#include "fdstream.h"
#include "printable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 400

/* Of 4 KiB each. What a socket holds at its end is far less than the last. */
#define ROUND_PIECES 4
#define LAST_PIECES  256

/* How long a jailer may take that starts the VMM and exits: it copies a program. */
#define JAILER_MS 10000

/* What it prints, or its log: lines that are being read. */
struct source {
	struct kiln__process_vmm *vmm;
	kiln_fd fd;
	struct kiln__watch *watch;
	char line[LINE_MAX_BYTES];
	size_t line_len;
};

struct kiln__process_vmm {
	const kiln_log *log;
	struct kiln__child *child;
	struct source output;
	struct source logged;
	/* The last two whole lines: the second is often but a hint about the first. */
	char before[LINE_MAX_BYTES];
	char last[LINE_MAX_BYTES];
	const struct kiln__process_handler *handler;
	void *data;
	bool running;
};

static void end_line(struct source *source)
{
	struct kiln__process_vmm *vmm = source->vmm;

	if (!source->line_len)
		return;
	memcpy(vmm->before, vmm->last, sizeof(vmm->last));
	memcpy(vmm->last, source->line, source->line_len);
	vmm->last[source->line_len] = '\0';
	source->line_len = 0;
	kiln__printable(vmm->last); /* what a VMM prints ends up on terminals */
	kiln__log(vmm->log, KILN_LOG_DEBUG, "vmm: %s", vmm->last);
}

static void take_output(struct source *source, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (c == '\n')
			end_line(source);
		else if (source->line_len < sizeof(source->line) - 1)
			source->line[source->line_len++] = c < ' ' ? ' ' : bytes[i];
	}
}

/*
 * Reads what is there, but no more than @pieces: a VMM that prints without end must not
 * keep the loop from everything else. False at the end of the pipe.
 */
static bool drain(struct source *source, unsigned pieces)
{
	char bytes[4096];

	while (pieces-- > 0) {
		ssize_t n = kiln__os_read(source->fd, bytes, sizeof(bytes));

		if (n <= 0)
			return n < 0;
		take_output(source, bytes, (size_t)n);
	}
	return true;
}

static void on_output(void *data, int events)
{
	struct source *source = data;

	(void)events;
	if (!drain(source, ROUND_PIECES))
		kiln__watch_set(source->watch, 0);
}

static void finish(struct source *source)
{
	if (source->fd == KILN_FD_NONE)
		return;
	drain(source, LAST_PIECES);
	end_line(source);
	kiln__watch_set(source->watch, 0);
}

static void on_child_end(void *data, struct kiln__exit how)
{
	struct kiln__process_vmm *vmm = data;

	vmm->running = false;
	finish(&vmm->logged);
	finish(&vmm->output); /* last: what it says at its end, it says there */
	vmm->handler->ended(vmm->data, how);
}

static int spawn(struct kiln__process_vmm *vmm, const struct kiln__process_plan *plan,
		 kiln_fd output, kiln_error *err)
{
	struct kiln__spawn_fd all[KILN__OS_MAX_FDS + 3];
	size_t fd_count = plan->fd_count;
	int r;

	if (fd_count > KILN__OS_MAX_FDS)
		return kiln__fail(err, KILN_EOVERFLOW, "too many descriptors for one VMM (%zu)",
				  fd_count);
	if (fd_count)
		memcpy(all, plan->fds, fd_count * sizeof(*all));
	all[fd_count++] = (struct kiln__spawn_fd){.from = output, .to = 2};
	all[fd_count++] = (struct kiln__spawn_fd){
		.from = plan->has_console ? plan->console : output, .to = 1};
	if (plan->has_console)
		all[fd_count++] = (struct kiln__spawn_fd){.from = plan->console, .to = 0};
	r = kiln__child_spawn(&vmm->child,
			      &(struct kiln__spawn){
				      .path = plan->path,
				      .argv = plan->argv,
				      .fds = all,
				      .fd_count = fd_count,
				      .die_with_parent = true,
				      .new_session = true,
				      .unprivileged = !plan->keeps_rights,
				      .mounts = plan->mounts,
				      .mount_count = plan->mount_count,
				      .open_umask = plan->keeps_rights,
				      .low_ports = plan->low_ports,
				      .offline = plan->offline,
			      },
			      err);
	if (r == 0 && plan->offline && !plan->keeps_rights && !kiln__child_is_offline(vmm->child))
		kiln__log(vmm->log, KILN_LOG_WARN,
			  "the VMM, which needs no network, cannot be cut off from it here");
	return r;
}

/*
 * What the jailer has started is this process's once that has exited; a number that is none of its
 * children's is refused.
 */
static int adopt(struct kiln__process_vmm *vmm, const struct kiln__process_plan *plan,
		 kiln_error *err)
{
	kiln__autofree char *text = NULL;
	struct kiln__child *child;
	struct kiln__exit how;
	size_t len;
	int r = kiln__child_wait(vmm->child, JAILER_MS, &how, err);

	if (r < 0)
		return kiln__prefix(err, "the jailer"), r;
	if (how.signaled || how.code != 0) {
		vmm->running = false;
		finish(&vmm->output);
		return kiln__vmm_fail(vmm, "the jailer", how, err);
	}
	r = kiln__os_read_file(plan->pid_file, 32, &text, &len, err);
	if (r == 0)
		r = kiln__child_adopt(&child, strtoll(text, NULL, 10), err);
	if (r < 0)
		return kiln__prefix(err, "the jailer has not said what it started"), r;
	kiln__child_free(vmm->child);
	vmm->child = child;
	return 0;
}

/* Takes @fd. */
static int watch(struct source *source, kiln_loop *loop, kiln_fd fd, kiln_error *err)
{
	int r;

	source->fd = fd;
	r = kiln__os_set_nonblocking(fd, true, err);
	if (r == 0)
		r = kiln__watch_new(&source->watch, loop, fd, on_output, source, err);
	if (r == 0)
		kiln__watch_set(source->watch, KILN__READABLE);
	return r;
}

int kiln__vmm_pipe(kiln_fd *ret_read, kiln_fd *ret_write, kiln_error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return kiln__fail_errno(err, errno, "cannot make a pipe");
	*ret_read = ends[0];
	*ret_write = ends[1];
	return 0;
}

int kiln__vmm_add_log(struct kiln__process_vmm *vmm, kiln_loop *loop, kiln_fd read, kiln_error *err)
{
	return watch(&vmm->logged, loop, read, err);
}

int kiln__vmm_spawn(struct kiln__process_vmm **ret, kiln_loop *loop, const kiln_log *log,
		    const struct kiln__process_plan *plan,
		    const struct kiln__process_handler *handler, void *data, kiln_error *err)
{
	struct kiln__process_vmm *vmm = calloc(1, sizeof(*vmm));
	kiln_fd ends[2];
	int r;

	if (!vmm)
		return kiln__fail_nomem(err);
	*vmm = (struct kiln__process_vmm){
		.log = log,
		.output = {.vmm = vmm, .fd = KILN_FD_NONE},
		.logged = {.vmm = vmm, .fd = KILN_FD_NONE},
		.handler = handler,
		.data = data,
	};
	r = kiln__os_socket_pair(ends, err);
	if (r < 0) {
		free(vmm);
		return r;
	}
	r = watch(&vmm->output, loop, ends[0], err);
	if (r == 0 && plan->pid_file)
		r = kiln__os_adopt_orphans(err);
	if (r == 0)
		r = spawn(vmm, plan, ends[1], err);
	kiln__os_close(ends[1]);
	if (r == 0) {
		vmm->running = true;
		if (plan->pid_file)
			r = adopt(vmm, plan, err);
	}
	if (r == 0) {
		r = kiln__child_watch(vmm->child, loop, on_child_end, vmm, err);
	}
	if (r < 0) {
		kiln__vmm_free(vmm);
		return r;
	}
	*ret = vmm;
	return 0;
}

int64_t kiln__vmm_pid(const struct kiln__process_vmm *vmm)
{
	return vmm->running ? kiln__child_pid(vmm->child) : 0;
}

void kiln__vmm_kill(struct kiln__process_vmm *vmm)
{
	if (vmm->running)
		kiln__child_kill(vmm->child);
}

int kiln__vmm_keep(struct kiln__process_vmm *vmm, unsigned *count, kiln_error *err)
{
	return vmm && vmm->running ? kiln__child_keep(vmm->child, count, err) : 0;
}

int kiln__vmm_fail(const struct kiln__process_vmm *vmm, const char *name, struct kiln__exit how,
		   kiln_error *err)
{
	return kiln__fail(err, KILN_EDIED, "%s %s %d%s%s%s%s", name,
			  how.signaled ? "was killed by signal" : "exited with code", how.code,
			  vmm->before[0] ? ": " : "", vmm->before, vmm->last[0] ? ": " : "",
			  vmm->last);
}

void kiln__vmm_free(struct kiln__process_vmm *vmm)
{
	struct kiln__exit how;

	if (!vmm)
		return;
	if (vmm->running) {
		kiln__child_kill(vmm->child);
		/* A process that was sent SIGKILL ends; the bound is for one stuck in the kernel.
		 */
		kiln__child_wait(vmm->child, 5000, &how, NULL);
	}
	kiln__child_free(vmm->child);
	kiln__watch_free(vmm->output.watch);
	kiln__watch_free(vmm->logged.watch);
	kiln__os_close(vmm->output.fd);
	kiln__os_close(vmm->logged.fd);
	free(vmm);
}
