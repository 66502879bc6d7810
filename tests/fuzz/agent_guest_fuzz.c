/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent in the guest against a host that says anything, on several connections, while
 * processes write, read and end at any moment. Processes are pipes whose other ends this
 * holds; the agent's own code runs as it is, but for what would reach beyond it.
 *
 * The input is a program: a byte that names a step and two bytes of its size, then bytes.
 * What the agent sends must be whole frames of the protocol, whatever it was told.
 */
#include "agent.h"
#include "conn.h"
#include "err.h"
#include "session.h"
#include "spawn.h"
#include "stats.h"
#include "vsock.h"
#include "waitport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CONNS     3
#define PROCESSES 4
#define FIRST_PID 0x3ffffff0 /* there is none such: signals go nowhere */

static struct agent agent;

static struct {
	bool used;
	bool ended;
	int input;
	int output[2];
} processes[PROCESSES];

static struct {
	int fd;
	struct kiln__frame_reader reader;
	uint64_t at[2]; /* of the session's output, as received; UINT64_MAX: not known */
} conns[CONNS];

/* --- what the agent would do to the machine --------------------------------------------- */

static int make_pipe(int *theirs, int *mine, bool agent_writes)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	*theirs = fds[agent_writes];
	*mine = fds[!agent_writes];
	return 0;
}

int spawn(const struct kiln__agent_start *start, struct spawned *ret, kiln_error *err)
{
	int i = 0;

	for (const char *s = kiln__strs_next(&start->env, NULL); s;
	     s = kiln__strs_next(&start->env, s))
		if (strlen(s) > KILN__FRAME_MAX_BODY)
			abort();
	while (i < PROCESSES && processes[i].used)
		i++;
	if (i == PROCESSES)
		return kiln__fail(err, KILN_ENOCMD, "no more");
	*ret = (struct spawned){FIRST_PID + i, -1, {-1, -1}};
	processes[i].used = true;
	processes[i].ended = false;
	processes[i].input = processes[i].output[0] = processes[i].output[1] = -1;
	if (start->input && !start->detach && make_pipe(&ret->input, &processes[i].input, true) < 0)
		abort();
	for (int s = 0; s < 2 && !start->detach; s++)
		if (make_pipe(&ret->output[s], &processes[i].output[s], false) < 0)
			abort();
	return 0;
}

void set_window_size(int master, uint32_t rows, uint32_t cols)
{
	(void)master;
	(void)rows;
	(void)cols;
}

int vsock_connect_host(uint32_t port, bool *ret_connecting)
{
	(void)port;
	(void)ret_connecting;
	return -ENODEV;
}

bool vsock_is_host(int fd)
{
	(void)fd;
	return true;
}

int wait_port(struct agent *self, struct conn *conn, uint16_t tag,
	      const struct kiln__agent_wait_port *what, kiln_error *err)
{
	(void)self;
	(void)what;
	(void)err;
	conn_send(conn, KILN__AGENT_OK, 0, tag, NULL, NULL);
	return 0;
}

void wait_port_forget(struct agent *self, const struct conn *conn)
{
	(void)self;
	(void)conn;
}

void collect_stats(struct kiln__agent_stats *ret)
{
	memset(ret, 0x11, sizeof(*ret));
}

uint64_t count_oom_kills(void)
{
	return 0;
}

static int setup(struct agent *self, const struct kiln__agent_setup *what,
		 struct kiln__agent_setup_done *ret, kiln_error *err)
{
	(void)ret;
	if (what->mount_count > KILN__AGENT_MAX_MOUNTS ||
	    what->interface_count > KILN__AGENT_MAX_INTERFACES)
		abort();
	if (what->hostname && strlen(what->hostname) > 1000)
		return kiln__fail(err, KILN_EINVAL, "too long");
	self->ready = true;
	return 0;
}

static int shut_down(struct agent *self, const struct kiln__agent_shutdown *how,
		     enum kiln__agent_cause cause, kiln_error *err)
{
	const struct kiln__agent_event_shutdown event = {how->action, cause};

	(void)err;
	agent_event(self, KILN__AGENT_EVENT_SHUTDOWN, &kiln__agent_event_shutdown_record, &event);
	return 0;
}

static const struct agent_ops ops = {.setup = setup, .shutdown = shut_down};

/* --- the host -------------------------------------------------------------------------------- */

static void hang_up(int i)
{
	if (conns[i].fd >= 0)
		close(conns[i].fd);
	conns[i].fd = -1;
	kiln__frame_reader_done(&conns[i].reader);
}

static void call(int i)
{
	int pair[2];

	hang_up(i);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	conns[i].fd = pair[0];
	conns[i].at[0] = conns[i].at[1] = UINT64_MAX;
	kiln__frame_reader_init(&conns[i].reader, kiln__agent_limit);
	if (agent_adopt(&agent, pair[1], i == 0 && !agent.boot) < 0)
		abort();
}

/* Output of one connection is in order and without a gap. */
static void check_frame(int i, const struct kiln__frame *frame)
{
	const uint8_t *bytes;
	uint64_t offset;
	size_t len;
	int stream = frame->type == KILN__AGENT_STDERR;

	if (frame->type != KILN__AGENT_STDOUT && frame->type != KILN__AGENT_STDERR)
		return;
	if (kiln__frame_data(frame, &offset, &bytes, &len, NULL) < 0)
		abort();
	if (conns[i].at[stream] != UINT64_MAX && conns[i].at[stream] != offset)
		abort();
	conns[i].at[stream] = offset + len;
	for (size_t b = 0; b < len; b++)
		if (bytes[b] != (uint8_t)((offset + b) * 7 + (offset + b) / 256))
			abort();
}

static void listen_to(int i, size_t most)
{
	uint8_t bytes[4096];
	struct kiln__frame frame;
	bool whole;

	while (most > 0 && conns[i].fd >= 0) {
		ssize_t n =
			recv(conns[i].fd, bytes, most < sizeof(bytes) ? most : sizeof(bytes), 0);
		size_t at = 0;

		if (n <= 0)
			return;
		most -= (size_t)n;
		while (at < (size_t)n) {
			int64_t used = kiln__frame_read(&conns[i].reader, bytes + at,
							(size_t)n - at, &frame, &whole, NULL);

			if (used < 0)
				abort();
			at += (size_t)used;
			if (whole)
				check_frame(i, &frame);
		}
	}
}

/* --- the processes ------------------------------------------------------------------- */

static uint64_t written[PROCESSES][2];

static void process_writes(int i, int stream, size_t count)
{
	uint8_t bytes[4096];
	ssize_t n;

	if (!processes[i].used || processes[i].output[stream] < 0)
		return;
	while (count > 0) {
		size_t len = count < sizeof(bytes) ? count : sizeof(bytes);

		for (size_t b = 0; b < len; b++) {
			uint64_t offset = written[i][stream] + b;

			bytes[b] = (uint8_t)(offset * 7 + offset / 256);
		}
		n = write(processes[i].output[stream], bytes, len);
		if (n <= 0)
			return;
		written[i][stream] += (uint64_t)n;
		count -= (size_t)n;
	}
}

static void process_reads(int i, size_t count)
{
	uint8_t bytes[65536];
	ssize_t n = 0;

	if (processes[i].used && processes[i].input >= 0)
		n = read(processes[i].input, bytes, count);
	(void)n;
}

static void close_pipe(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void process_ends(int i, bool keep_pipes)
{
	struct session *session = session_of_pid(&agent, FIRST_PID + i);

	if (!processes[i].used || processes[i].ended)
		return;
	processes[i].ended = true;
	if (!keep_pipes) {
		close_pipe(&processes[i].input);
		close_pipe(&processes[i].output[0]);
		close_pipe(&processes[i].output[1]);
	}
	if (session)
		session_exited(session, W_EXITCODE(i, 0), false);
}

/* Its place can be taken again only once no session can be of the same number. */
static void process_forget(int i)
{
	for (struct session *s = agent.sessions; s; s = s->next)
		if (s->pid == FIRST_PID + i)
			return;
	if (!processes[i].ended)
		return;
	close_pipe(&processes[i].input);
	close_pipe(&processes[i].output[0]);
	close_pipe(&processes[i].output[1]);
	processes[i].used = false;
	written[i][0] = written[i][1] = 0;
}

/* --- the program --------------------------------------------------------------------- */

static void settle(void)
{
	for (int i = 0; i < 1000 && evloop_poll(&agent.loop); i++)
		;
}

static size_t step(uint8_t op, size_t size, const uint8_t *bytes, size_t len)
{
	int conn = (op >> 4) % CONNS;
	int process = (op >> 4) % PROCESSES;
	ssize_t n;

	switch (op & 7) {
	case 0:
	case 1:
		if (size > len)
			size = len;
		n = conns[conn].fd >= 0 ? send(conns[conn].fd, bytes, size, MSG_NOSIGNAL) : 0;
		(void)n;
		settle();
		return size;
	case 2:
		call(conn);
		break;
	case 3:
		listen_to(conn, size);
		break;
	case 4:
		process_writes(process, op >> 7, size);
		break;
	case 5:
		process_reads(process, size);
		break;
	case 6:
		process_ends(process, size & 1);
		process_forget(process);
		break;
	default:
		hang_up(conn);
	}
	settle();
	return 0;
}

static void begin(void)
{
	kiln_error err;

	if (agent_init(&agent, &ops, &err) < 0)
		abort();
	agent.ready = true;
	for (int i = 0; i < CONNS; i++) {
		conns[i].fd = -1;
		call(i);
	}
}

static void end(void)
{
	for (int i = 0; i < CONNS; i++) {
		listen_to(i, 1 << 20);
		hang_up(i);
	}
	settle();
	if (agent.conns)
		abort();
	for (int i = 0; i < PROCESSES; i++)
		process_ends(i, false);
	while (agent.sessions) { /* what the agent keeps for ever is freed by another's DONE */
		struct kiln__agent_attach attach = {.id = agent.sessions->id};
		struct session *s = agent.sessions;
		struct conn *conn;
		struct kiln__frame done = {.type = KILN__AGENT_DONE};

		call(0);
		conn = agent.conns;
		attach.stdout_at = s->output[0].window.start;
		attach.stderr_at = s->output[1].window.start;
		if (session_attach(&agent, conn, &attach, NULL) < 0 ||
		    !session_frame(s, conn, &done))
			abort();
		hang_up(0);
		settle();
	}
	for (int i = 0; i < PROCESSES; i++)
		process_forget(i);
	settle();
	source_close(&agent.loop, &agent.signals);
	close(agent.loop.epoll);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	begin();
	while (len >= 3) {
		size_t size = (size_t)bytes[1] | (size_t)bytes[2] << 8;
		size_t used = step(bytes[0], size, bytes + 3, len - 3);

		bytes += 3 + used;
		len -= 3 + used;
	}
	end();
	return 0;
}
