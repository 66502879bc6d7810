/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include "conn.h"
#include "err.h"
#include "spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* A terminal holds no more than this between its ends: flip buffer and line discipline. */
#define TTY_HOLDS ((uint64_t)256 * 1024)

struct session *session_find(struct agent *agent, uint64_t id)
{
	struct session *s = agent->sessions;

	while (s && s->id != id)
		s = s->next;
	return s;
}

struct session *session_of_pid(struct agent *agent, int pid)
{
	struct session *s = agent->sessions;

	while (s && (s->pid != pid || s->exited))
		s = s->next;
	return s;
}

static void session_free(struct session *s)
{
	struct agent *agent = s->agent;
	struct session **link = &agent->sessions;

	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	if (agent->main == s)
		agent->main = NULL;
	source_close(&agent->loop, &s->input.source);
	kiln__window_done(&s->input.window);
	for (int i = 0; i < 2; i++) {
		source_close(&agent->loop, &s->output[i].source);
		kiln__window_done(&s->output[i].window);
	}
	free(s);
}

/* Its status was taken, or never will be. */
static void session_over(struct session *s)
{
	struct conn *conn = s->conn;

	if (conn)
		conn_close(conn);
	agent_session_over(s->agent, s);
	session_free(s);
}

static void push(struct session *s)
{
	if (s->conn)
		conn_flush(s->conn);
}

/* --- output ------------------------------------------------------------------------ */

/* All that the process wrote was read: what others that hold its pipe still write comes after EXIT.
 */
static bool drained(const struct output *out)
{
	return out->eof || out->at_exit == 0;
}

static void output_end(struct output *out)
{
	out->eof = true;
	source_close(&out->session->agent->loop, &out->source);
}

/* Reads once. Returns whether there may be more at once. */
static bool output_read(struct output *out)
{
	uint8_t *to;
	size_t room = kiln__window_space(&out->window, &to);
	ssize_t n;

	if (out->session->detached) { /* a terminal nobody looks at */
		kiln__window_drop(&out->window, out->window.end);
		room = kiln__window_space(&out->window, &to);
	}
	if (room == 0)
		return false;
	do
		n = read(out->source.fd, to, room);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		kiln__window_added(&out->window, (size_t)n);
		out->at_exit -= out->at_exit < (uint64_t)n ? out->at_exit : (uint64_t)n;
		return true;
	}
	if (n < 0 && errno == EAGAIN) {
		out->at_exit = 0; /* a terminal that had less than it may hold */
		return false;
	}
	output_end(out); /* end of file, or EIO: a terminal that nobody has open any more */
	return false;
}

static void output_want(struct output *out)
{
	bool room = kiln__window_room(&out->window) > 0 || out->session->detached;

	if (!out->eof)
		source_want(&out->session->agent->loop, &out->source, room ? EPOLLIN : 0);
}

/* After the process has ended its pipes are read dry, as far as there is room. */
static void output_drain(struct output *out)
{
	while (!drained(out) && output_read(out))
		;
	output_want(out);
}

static void output_event(void *data, uint32_t events)
{
	struct output *out = data;

	(void)events;
	output_read(out);
	if (out->session->exited)
		output_drain(out);
	output_want(out);
	push(out->session);
}

static int output_ack(struct output *out, uint64_t offset, kiln_error *err)
{
	if (offset < out->window.start)
		return 0; /* an older one */
	if (offset > out->whole)
		return kiln__fail(err, KILN_EPROTO, "output was acknowledged that was not sent");
	kiln__window_drop(&out->window, offset);
	if (out->session->exited)
		output_drain(out);
	output_want(out);
	return 0;
}

/* --- input ------------------------------------------------------------------------- */

static void input_ack(struct session *s, bool force)
{
	struct kiln__agent_stdin_ack ack = {s->input.window.start, s->input.closed};

	if (!s->conn || (!force && ack.stdin_at - s->input.acked < KILN__AGENT_STDIN_WINDOW / 4))
		return;
	s->input.acked = ack.stdin_at;
	conn_send(s->conn, KILN__AGENT_STDIN_ACK, 0, 0, &kiln__agent_stdin_ack_record, &ack);
}

static void input_close(struct session *s, bool tell)
{
	s->input.closed = true;
	source_close(&s->agent->loop, &s->input.source);
	kiln__window_drop(&s->input.window, s->input.window.end);
	if (tell)
		input_ack(s, true);
}

/* A terminal has no end of file but its end-of-file character, where it listens to that. */
static void input_end(struct session *s)
{
	struct termios termios;

	if (s->tty && tcgetattr(s->input.source.fd, &termios) == 0 && (termios.c_lflag & ICANON)) {
		/* If it is full, the terminal is not being read anyway. */
		while (write(s->input.source.fd, &termios.c_cc[VEOF], 1) < 0 && errno == EINTR)
			;
	}
	input_close(s, false);
}

/* Gives the process what it takes. */
static void input_pump(struct session *s)
{
	struct input *in = &s->input;

	while (!in->closed && kiln__window_used(&in->window) > 0) {
		const uint8_t *bytes;
		size_t len = kiln__window_at(&in->window, in->window.start, &bytes);
		ssize_t n = write(in->source.fd, bytes, len);

		if (n > 0)
			kiln__window_drop(&in->window, in->window.start + (uint64_t)n);
		else if (n < 0 && errno == EAGAIN)
			break;
		else if (n == 0 || errno != EINTR)
			input_close(s, true); /* nobody reads */
	}
	if (in->closed)
		return;
	if (in->end && kiln__window_used(&in->window) == 0) {
		input_end(s);
		return;
	}
	source_want(&s->agent->loop, &in->source, kiln__window_used(&in->window) ? EPOLLOUT : 0);
	input_ack(s, false);
}

static void input_event(void *data, uint32_t events)
{
	struct session *s = data;

	(void)events;
	input_pump(s);
	push(s);
}

static int on_stdin(struct session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct input *in = &s->input;
	const uint8_t *bytes;
	uint64_t offset;
	size_t len;
	int r = kiln__frame_data(frame, &offset, &bytes, &len, err);

	if (r < 0)
		return r;
	if (offset != in->window.end || (in->end && len > 0))
		return kiln__fail(err, KILN_EPROTO, "input at offset %llu where %llu was expected",
				  (unsigned long long)offset, (unsigned long long)in->window.end);
	if (in->closed) { /* sent before the host knew */
		in->window.end += len;
		in->window.start = in->window.end;
		return 0;
	}
	if (len > kiln__window_room(&in->window))
		return kiln__fail(err, KILN_EPROTO, "input exceeds its window");
	if (kiln__window_put(&in->window, bytes, len) < 0)
		return kiln__fail_nomem(err);
	in->end |= (frame->flags & KILN__FRAME_END) != 0;
	input_pump(s);
	return 0;
}

/* --- frames out -------------------------------------------------------------------- */

static bool next_data(struct output *out, int stream, struct conn *conn)
{
	const uint8_t *bytes;
	uint8_t type = stream == 0 ? KILN__AGENT_STDOUT : KILN__AGENT_STDERR;
	size_t len = kiln__window_at(&out->window, out->sent, &bytes);
	bool end;

	if (len > KILN__FRAME_MAX_DATA)
		len = KILN__FRAME_MAX_DATA;
	end = out->eof && out->sent + len == out->window.end;
	if (len == 0 && (!end || out->eof_sent))
		return false;
	kiln__frame_data_head(conn->data.head, type, end ? KILN__FRAME_END : 0, out->sent, len);
	conn->data.head_at = 0;
	conn->data.bytes =
		len ? bytes : conn->data.head; /* a stream without a byte has no memory */
	conn->data.len = len;
	conn->data.at = 0;
	conn->data.stream = stream;
	conn->data.active = true;
	out->sent += len;
	out->eof_sent |= end;
	return true;
}

static bool next_exit(struct session *s, struct conn *conn)
{
	struct kiln__agent_exit exit = {
		.code = s->code,
		.signal = s->signal,
		.oom = s->oom,
		.stdout_end = s->output[0].window.end,
		.stderr_end = s->output[1].window.end,
		.exit_ns = s->exit_ns,
	};

	if (!s->exited || s->exit_sent || !drained(&s->output[0]) || !drained(&s->output[1]))
		return false;
	s->exit_sent = true;
	conn_send(conn, KILN__AGENT_EXIT, 0, 0, &kiln__agent_exit_record, &exit);
	return true;
}

bool session_next_frame(struct session *s, struct conn *conn)
{
	int first = s->turn;

	s->turn = !s->turn;
	return next_data(&s->output[first], first, conn) ||
	       next_data(&s->output[!first], !first, conn) || next_exit(s, conn);
}

void session_sent(struct session *s, int stream, size_t len)
{
	s->output[stream].whole += len;
}

/* --- life ---------------------------------------------------------------------------- */

static void send_started(struct session *s, struct conn *conn)
{
	struct kiln__agent_started started = {
		.id = s->id,
		.pid = (uint32_t)s->pid,
		.stdin_at = s->input.window.end,
		.stdin_taken = s->input.window.start,
		.stdin_window = KILN__AGENT_STDIN_WINDOW,
		.output_window = KILN__AGENT_OUTPUT_WINDOW,
		.start_ns = s->start_ns,
	};

	conn_send(conn, KILN__AGENT_STARTED, 0, 0, &kiln__agent_started_record, &started);
}

static void take_over(struct session *s, struct conn *conn)
{
	struct conn *old = s->conn;
	kiln_error err;

	if (old) {
		kiln__fail(&err, KILN_ECANCELED, "another client has attached to the session");
		conn_fail(old, &err);
		conn_flush(old);
	}
	s->conn = conn;
	conn->session = s;
	s->exit_sent = false;
	send_started(s, conn);
	s->input.acked = s->input.window.start;
	if (s->input.closed)
		input_ack(s, true);
}

void session_detach(struct session *s)
{
	s->conn->session = NULL;
	s->conn = NULL;
}

int session_attach(struct agent *agent, struct conn *conn, const struct kiln__agent_attach *attach,
		   kiln_error *err)
{
	const uint64_t at[2] = {attach->stdout_at, attach->stderr_at};
	struct session *s = session_find(agent, attach->id);

	if (!s)
		return kiln__fail(err, KILN_ENOENT, "no such session");
	if (s->detached)
		return kiln__fail(err, KILN_ESTATE, "the session was started detached");
	for (int i = 0; i < 2; i++)
		if (at[i] < s->output[i].window.start || at[i] > s->output[i].whole)
			return kiln__fail(
				err, KILN_EOVERFLOW,
				"output from offset %llu was asked for, there is %llu to %llu",
				(unsigned long long)at[i],
				(unsigned long long)s->output[i].window.start,
				(unsigned long long)s->output[i].whole);
	take_over(s, conn);
	for (int i = 0; i < 2; i++) {
		struct output *out = &s->output[i];

		kiln__window_drop(&out->window, at[i]);
		out->sent = out->whole = at[i];
		out->eof_sent = false;
		if (s->exited)
			output_drain(out);
		output_want(out);
	}
	return 0;
}

/* Makes room for one more: drops what ended first of those nobody attended to. */
static int make_room(struct agent *agent, kiln_error *err)
{
	struct session *oldest = NULL;
	unsigned count = 0;
	unsigned exited = 0;

	for (struct session *s = agent->sessions; s; s = s->next) {
		count++;
		if (!s->exited || s->conn || s->main)
			continue;
		exited++;
		if (!oldest || s->exit_seq < oldest->exit_seq)
			oldest = s;
	}
	if (exited >= SESSION_MAX_EXITED || (oldest && count >= KILN__AGENT_MAX_SESSIONS)) {
		session_free(oldest);
		count--;
	}
	if (count >= KILN__AGENT_MAX_SESSIONS)
		return kiln__fail(err, KILN_EBUSY, "%u processes run already", count);
	return 0;
}

static void add_output(struct session *s, int i, int fd)
{
	struct output *out = &s->output[i];

	out->session = s;
	out->source = (struct source){.fd = fd, .fn = output_event, .data = out};
	kiln__window_init(&out->window, KILN__AGENT_OUTPUT_WINDOW);
	if (fd < 0)
		out->eof = true;
	else
		output_want(out);
}

static void add_session(struct agent *agent, struct session *s,
			const struct kiln__agent_start *start, const struct spawned *spawned)
{
	const char *command = kiln__strs_next(&start->argv, NULL);

	s->agent = agent;
	s->id = start->id;
	s->pid = spawned->pid;
	s->main = start->main;
	s->tty = start->tty;
	s->detached = start->detach;
	snprintf(s->command, sizeof(s->command), "%s", command);
	s->input.source = (struct source){.fd = spawned->input, .fn = input_event, .data = s};
	s->input.closed = spawned->input < 0;
	kiln__window_init(&s->input.window, KILN__AGENT_STDIN_WINDOW);
	for (int i = 0; i < 2; i++)
		add_output(s, i, spawned->output[i]);
	s->next = agent->sessions;
	agent->sessions = s;
	if (s->main) {
		agent->main = s;
		agent->main_started = true;
	}
}

static int check_start(const struct agent *agent, const struct kiln__agent_start *start,
		       kiln_error *err)
{
	if (!agent->ready)
		return kiln__fail(err, KILN_ESTATE, "this machine has no root yet");
	if (start->id == 0)
		return kiln__fail(err, KILN_EPROTO, "a session needs an id");
	if (kiln__strs_count(&start->argv) == 0)
		return kiln__fail(err, KILN_EINVAL, "no command was given");
	if (start->main && agent->main_started)
		return kiln__fail(err, KILN_ESTATE, "the main process was started already");
	return 0;
}

int session_start(struct agent *agent, struct conn *conn, const struct kiln__agent_start *start,
		  kiln_error *err)
{
	struct kiln__agent_attach attach = {.id = start->id};
	struct spawned spawned;
	struct session *s;
	int r;

	if (session_find(agent, start->id))
		return session_attach(agent, conn, &attach, err);
	r = check_start(agent, start, err);
	if (r == 0)
		r = make_room(agent, err);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return kiln__fail_nomem(err);
	s->start_ns = (uint64_t)monotonic_ns();
	r = spawn(start, &spawned, err);
	if (r < 0) {
		free(s);
		return r;
	}
	add_session(agent, s, start, &spawned);
	if (s->detached) {
		send_started(s, conn);
		conn->ending = true;
		return 0;
	}
	take_over(s, conn);
	return 0;
}

/* What the pipe holds now is the process's own; what comes later is not. */
static void note_exit(struct output *out, bool tty)
{
	int held = 0;

	if (out->eof)
		return;
	if (tty)
		out->at_exit = TTY_HOLDS;
	else if (ioctl(out->source.fd, FIONREAD, &held) == 0)
		out->at_exit = (uint64_t)held;
	output_drain(out);
}

void session_exited(struct session *s, int wait_status, bool oom)
{
	static uint64_t exits;

	s->exited = true;
	s->exit_seq = ++exits;
	s->exit_ns = (uint64_t)monotonic_ns();
	s->oom = oom;
	if (WIFSIGNALED(wait_status))
		s->signal = (uint32_t)WTERMSIG(wait_status);
	else
		s->code = (uint32_t)WEXITSTATUS(wait_status);
	for (int i = 0; i < 2; i++)
		note_exit(&s->output[i], s->tty);
	if (s->detached)
		session_over(s);
	else
		push(s);
}

/* --- frames in ------------------------------------------------------------------------ */

int session_signal(struct session *s, const struct kiln__agent_signal *signal, kiln_error *err)
{
	int number = (int)signal->number;

	if (signal->number == 0 || signal->number >= (uint32_t)_NSIG)
		return kiln__fail(err, KILN_EINVAL, "there is no signal %u", signal->number);
	if (s->exited)
		return 0; /* it may have ended while this was under way */
	if (kill(signal->group ? -s->pid : s->pid, number) < 0 && errno != ESRCH)
		return kiln__fail_errno(err, errno, "cannot signal process %d", s->pid);
	return 0;
}

static int on_ack(struct session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_ack ack;
	int r = kiln__record_unpack(&kiln__agent_ack_record, frame->body, frame->len, &ack, err);

	if (r == 0)
		r = output_ack(&s->output[0], ack.stdout_at, err);
	if (r == 0)
		r = output_ack(&s->output[1], ack.stderr_at, err);
	return r;
}

static int on_resize(struct session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_resize size;
	int r = kiln__record_unpack(&kiln__agent_resize_record, frame->body, frame->len, &size,
				    err);

	if (r == 0 && s->tty && !s->output[0].eof)
		set_window_size(s->output[0].source.fd, size.rows, size.cols);
	return r;
}

static int on_signal(struct session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_signal signal;
	int r = kiln__record_unpack(&kiln__agent_signal_record, frame->body, frame->len, &signal,
				    err);

	if (r == 0)
		session_signal(s, &signal,
			       NULL); /* who wants to know whether it worked sends KILL */
	return r;
}

bool session_frame(struct session *s, struct conn *conn, const struct kiln__frame *frame)
{
	kiln_error err;
	int r = 0;

	switch (frame->type) {
	case KILN__AGENT_STDIN:
		r = on_stdin(s, frame, &err);
		break;
	case KILN__AGENT_ACK:
		r = on_ack(s, frame, &err);
		break;
	case KILN__AGENT_RESIZE:
		r = on_resize(s, frame, &err);
		break;
	case KILN__AGENT_SIGNAL:
		r = on_signal(s, frame, &err);
		break;
	case KILN__AGENT_DONE:
		if (s->exited)
			session_over(s);
		else
			r = kiln__fail(&err, KILN_EPROTO, "the process has not ended");
		break;
	default:
		return false;
	}
	if (r < 0)
		conn_fail(conn, &err);
	return true;
}
