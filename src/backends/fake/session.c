/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session of the fake guest's agent: a program that is a few lines of this file, its
 * streams' windows, and how it ended. As with the real agent it outlives its
 * connection, until the host has taken its exit status.
 */
#include "conn.h"

#include "buf.h"
#include "err.h"
#include "frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SESSIONS KILN__AGENT_MAX_SESSIONS

#define LINUX_SIGUSR1 10

enum program {
	PROGRAM_WRITE, /* writes its text, then exits */
	PROGRAM_CAT,
	PROGRAM_SLEEP,
};

struct output {
	struct kiln__window window; /* from what the host has consumed to what was written */
	uint64_t sent;
	bool end_sent;
};

struct kiln__fake_session {
	struct kiln__list link;
	struct kiln__fake_guest *guest;
	struct kiln__fake_conn *conn; /* its client, or NULL */
	uint64_t id;
	uint32_t pid;
	bool main;
	bool tty;
	bool detached;  /* nobody wants its output or status */
	bool flaky;     /* SIGUSR1 cuts its client's connection; */
	bool forgetful; /* and the agent has forgotten it then */
	enum program program;
	struct kiln__buf text; /* still to be written */
	int text_stream;
	uint32_t exit_code; /* once the text is written */
	uint32_t exit_signal;
	struct kiln__window input;
	uint64_t input_acked;
	bool input_end;
	struct output output[2];
	bool exited;
	bool exit_sent;
	uint32_t code;
	uint32_t signal;
	uint64_t start_ns;
	uint64_t exit_ns;
	char command[128];
};

struct kiln__fake_session *kiln__fake_session_of(struct kiln__list *link)
{
	return kiln__list_entry(link, struct kiln__fake_session, link);
}

struct kiln__fake_session *kiln__fake_session_find(struct kiln__fake_guest *guest, uint64_t id)
{
	kiln__list_foreach (link, &guest->sessions) {
		if (kiln__fake_session_of(link)->id == id)
			return kiln__fake_session_of(link);
	}
	return NULL;
}

void kiln__fake_session_info(const struct kiln__fake_session *s,
			     struct kiln__agent_session_info *ret)
{
	*ret = (struct kiln__agent_session_info){
		.id = s->id,
		.pid = s->pid,
		.main = s->main,
		.tty = s->tty,
		.attached = s->conn != NULL,
		.exited = s->exited,
		.code = s->code,
		.signal = s->signal,
		.command = s->command,
	};
}

void kiln__fake_session_detach(struct kiln__fake_session *s)
{
	s->conn->session = NULL;
	s->conn = NULL;
	if (s->exited && s->detached)
		kiln__fake_session_free(s);
}

void kiln__fake_session_free(struct kiln__fake_session *s)
{
	if (s->conn)
		s->conn->session = NULL;
	kiln__list_remove(&s->link);
	kiln__buf_done(&s->text);
	kiln__window_done(&s->input);
	kiln__window_done(&s->output[0].window);
	kiln__window_done(&s->output[1].window);
	free(s);
}

/* --- programs ---------------------------------------------------------------------- */

static void end(struct kiln__fake_session *s, uint32_t code, uint32_t signal)
{
	if (s->exited)
		return;
	s->exited = true;
	s->code = code;
	s->signal = signal;
	s->exit_ns = kiln__fake_guest_now(s->guest);
}

static void ack_input(struct kiln__fake_session *s, bool force)
{
	const struct kiln__agent_stdin_ack ack = {s->input.start, s->exited};

	if (!s->conn || (!force && ack.stdin_at - s->input_acked < KILN__AGENT_STDIN_WINDOW / 4))
		return;
	s->input_acked = ack.stdin_at;
	kiln__fake_conn_send(s->conn, KILN__AGENT_STDIN_ACK, 0, &kiln__agent_stdin_ack_record,
			     &ack);
}

/* Writes as much as the window of a stream has room for. The count taken, or a code. */
static int64_t put(struct kiln__fake_session *s, int stream, const void *bytes, size_t len)
{
	if (s->detached)
		return (int64_t)len;
	return kiln__window_put(&s->output[stream].window, bytes, len);
}

static void run_cat(struct kiln__fake_session *s)
{
	const uint8_t *bytes;
	size_t len;

	while ((len = kiln__window_at(&s->input, s->input.start, &bytes)) > 0) {
		int64_t n = put(s, 0, bytes, len);

		if (n <= 0)
			break;
		kiln__window_drop(&s->input, s->input.start + (uint64_t)n);
	}
	ack_input(s, false);
	if (s->input_end && kiln__window_used(&s->input) == 0)
		end(s, 0, 0);
}

/* Lets the program do what it can. */
static void run(struct kiln__fake_session *s)
{
	int64_t n;

	if (s->exited)
		return;
	switch (s->program) {
	case PROGRAM_WRITE:
		n = put(s, s->text_stream, s->text.data, s->text.len);
		if (n > 0)
			kiln__buf_drop(&s->text, (size_t)n);
		if (s->text.len == 0)
			end(s, s->exit_code, s->exit_signal);
		break;
	case PROGRAM_CAT:
		run_cat(s);
		break;
	case PROGRAM_SLEEP:
		break;
	}
}

static uint32_t number_of(const char *text)
{
	return text ? (uint32_t)(strtoul(text, NULL, 10) & 0xff) : 0;
}

static void join_words(struct kiln__fake_session *s, const struct kiln__strs *argv)
{
	const char *first = kiln__strs_next(argv, NULL);

	for (const char *word = first; (word = kiln__strs_next(argv, word));)
		kiln__buf_addf(&s->text, "%s%s", s->text.len ? " " : "", word);
	kiln__buf_addc(&s->text, '\n');
}

static int load_program(struct kiln__fake_session *s, const struct kiln__strs *argv,
			kiln_error *err)
{
	const char *name = kiln__strs_next(argv, NULL);
	const char *argument = name ? kiln__strs_next(argv, name) : NULL;

	if (!name)
		return kiln__fail(err, KILN_EINVAL, "no command");
	snprintf(s->command, sizeof(s->command), "%s", name);
	if (strcmp(name, "cat") == 0) {
		s->program = PROGRAM_CAT;
	} else if (strcmp(name, "flaky") == 0 || strcmp(name, "forgotten") == 0) {
		s->program = PROGRAM_CAT;
		s->flaky = true;
		s->forgetful = strcmp(name, "forgotten") == 0;
	} else if (strcmp(name, "sleep") == 0) {
		s->program = PROGRAM_SLEEP;
	} else if (strcmp(name, "echo") == 0) {
		join_words(s, argv);
	} else if (strcmp(name, "err") == 0) {
		s->text_stream = s->tty ? 0 : 1;
		join_words(s, argv);
	} else if (strcmp(name, "exit") == 0) {
		s->exit_code = number_of(argument);
	} else if (strcmp(name, "signal") == 0) {
		s->exit_signal = number_of(argument);
	} else if (strcmp(name, "false") == 0) {
		s->exit_code = 1;
	} else if (strcmp(name, "true") != 0) {
		kiln__fail(err, KILN_ENOCMD, "%s: no such program in a fake guest", name);
		return kiln__stage(err, "exec"), KILN_ENOCMD;
	}
	return s->text.failed ? kiln__fail_nomem(err) : 0;
}

void kiln__fake_session_signal(struct kiln__fake_session *s, uint32_t number)
{
	if (number == 0)
		return;
	end(s, 0, number);
	if (s->conn)
		kiln__fake_conn_flush(s->conn);
	else if (s->detached)
		kiln__fake_session_free(s);
}

/* --- frames out ---------------------------------------------------------------------- */

static bool next_data(struct kiln__fake_session *s, int stream)
{
	struct output *out = &s->output[stream];
	uint8_t type = stream == 0 ? KILN__AGENT_STDOUT : KILN__AGENT_STDERR;
	uint8_t head[KILN__FRAME_DATA_HEAD];
	const uint8_t *bytes = NULL;
	size_t len = kiln__window_at(&out->window, out->sent, &bytes);
	bool ends;

	if (len > KILN__FRAME_MAX_DATA)
		len = KILN__FRAME_MAX_DATA;
	ends = s->exited && out->sent + len == out->window.end;
	if (len == 0 && (!ends || out->end_sent))
		return false;
	kiln__frame_data_head(head, type, ends ? KILN__FRAME_END : 0, out->sent, len);
	kiln__buf_add(&s->conn->out, head, sizeof(head));
	kiln__buf_add(&s->conn->out, bytes, len);
	out->sent += len;
	out->end_sent |= ends;
	return true;
}

bool kiln__fake_session_next_frame(struct kiln__fake_session *s)
{
	const struct kiln__agent_exit exit = {
		.code = s->code,
		.signal = s->signal,
		.stdout_end = s->output[0].window.end,
		.stderr_end = s->output[1].window.end,
		.exit_ns = s->exit_ns,
	};

	if (next_data(s, 0) || next_data(s, 1))
		return true;
	if (!s->exited || s->exit_sent)
		return false;
	s->exit_sent = true;
	kiln__fake_conn_send(s->conn, KILN__AGENT_EXIT, 0, &kiln__agent_exit_record, &exit);
	return true;
}

/* --- frames in ------------------------------------------------------------------------- */

static int on_stdin(struct kiln__fake_session *s, const struct kiln__frame *frame, kiln_error *err)
{
	const uint8_t *bytes;
	uint64_t offset;
	size_t len;
	int r = kiln__frame_data(frame, &offset, &bytes, &len, err);

	if (r < 0)
		return r;
	if (offset != s->input.end || (s->input_end && len > 0))
		return kiln__fail(err, KILN_EPROTO, "input at offset %llu where %llu was expected",
				  (unsigned long long)offset, (unsigned long long)s->input.end);
	if (s->exited) { /* sent before the host knew */
		s->input.end += len;
		s->input.start = s->input.end;
		return 0;
	}
	if (len > kiln__window_room(&s->input))
		return kiln__fail(err, KILN_EPROTO, "input exceeds its window");
	if (kiln__window_put(&s->input, bytes, len) < 0)
		return kiln__fail_nomem(err);
	s->input_end |= (frame->flags & KILN__FRAME_END) != 0;
	run(s);
	return 0;
}

static int on_ack(struct kiln__fake_session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_ack ack;
	int r = kiln__record_unpack(&kiln__agent_ack_record, frame->body, frame->len, &ack, err);
	const uint64_t at[2] = {ack.stdout_at, ack.stderr_at};

	for (int i = 0; r == 0 && i < 2; i++) {
		struct output *out = &s->output[i];

		if (at[i] > out->sent)
			return kiln__fail(err, KILN_EPROTO,
					  "output was acknowledged that was not sent");
		if (at[i] > out->window.start)
			kiln__window_drop(&out->window, at[i]);
	}
	if (r == 0)
		run(s);
	return r;
}

/* The exit status was taken. */
static void on_done(struct kiln__fake_session *s)
{
	struct kiln__fake_guest *guest = s->guest;
	struct kiln__fake_conn *conn = s->conn;
	bool over = s->main && guest->end_with_main;

	kiln__fake_session_free(s);
	kiln__fake_conn_close(conn);
	if (over)
		guest->power(guest->data, false);
}

static int on_signal(struct kiln__fake_session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_signal signal;
	int r = kiln__record_unpack(&kiln__agent_signal_record, frame->body, frame->len, &signal,
				    err);

	if (r == 0 && signal.number == LINUX_SIGUSR1 && s->flaky) {
		struct kiln__fake_conn *conn = s->conn;

		if (s->forgetful)
			kiln__fake_session_free(s);
		kiln__fake_conn_close(conn);
	} else if (r == 0 && signal.number) {
		end(s, 0, signal.number);
	}
	return r;
}

int kiln__fake_session_frame(struct kiln__fake_session *s, const struct kiln__frame *frame,
			     kiln_error *err)
{
	int r = 0;

	switch (frame->type) {
	case KILN__AGENT_STDIN:
		r = on_stdin(s, frame, err);
		break;
	case KILN__AGENT_ACK:
		r = on_ack(s, frame, err);
		break;
	case KILN__AGENT_SIGNAL:
		r = on_signal(s, frame, err);
		break;
	case KILN__AGENT_RESIZE: /* no program here asks for the size */
		break;
	case KILN__AGENT_DONE:
		if (s->exit_sent)
			on_done(s);
		break;
	default:
		return 0;
	}
	return r < 0 ? r : 1;
}

/* --- life -------------------------------------------------------------------------------- */

static void take_over(struct kiln__fake_session *s, struct kiln__fake_conn *conn)
{
	const struct kiln__agent_started started = {
		.id = s->id,
		.pid = s->pid,
		.stdin_at = s->input.end,
		.stdin_taken = s->input.start,
		.stdin_window = KILN__AGENT_STDIN_WINDOW,
		.output_window = KILN__AGENT_OUTPUT_WINDOW,
		.start_ns = s->start_ns,
	};
	kiln_error err;

	if (s->conn) {
		struct kiln__fake_conn *old = s->conn;

		kiln__fail(&err, KILN_ECANCELED, "another client has attached to the session");
		old->session = NULL;
		kiln__fake_conn_fail(old, &err);
		kiln__fake_conn_flush(old);
	}
	s->conn = conn;
	conn->session = s;
	s->exit_sent = false;
	kiln__fake_conn_send(conn, KILN__AGENT_STARTED, 0, &kiln__agent_started_record, &started);
	ack_input(s, true);
}

int kiln__fake_session_attach(struct kiln__fake_conn *conn, const struct kiln__agent_attach *attach,
			      kiln_error *err)
{
	const uint64_t at[2] = {attach->stdout_at, attach->stderr_at};
	struct kiln__fake_session *s = kiln__fake_session_find(conn->guest, attach->id);

	if (!s)
		return kiln__fail(err, KILN_ENOENT, "no such session");
	if (s->detached)
		return kiln__fail(err, KILN_ESTATE, "the session was started detached");
	for (int i = 0; i < 2; i++)
		if (at[i] < s->output[i].window.start || at[i] > s->output[i].sent)
			return kiln__fail(err, KILN_EOVERFLOW, "that output is not kept any more");
	take_over(s, conn);
	for (int i = 0; i < 2; i++) {
		kiln__window_drop(&s->output[i].window, at[i]);
		s->output[i].sent = at[i];
		s->output[i].end_sent = false;
	}
	run(s);
	return 0;
}

static int session_new(struct kiln__fake_session **ret, struct kiln__fake_guest *guest,
		       const struct kiln__agent_start *start, kiln_error *err)
{
	struct kiln__fake_session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return kiln__fail_nomem(err);
	s->guest = guest;
	s->id = start->id;
	s->main = start->main;
	s->tty = start->tty;
	s->detached = start->detach;
	s->input_end = !start->input;
	s->start_ns = kiln__fake_guest_now(guest);
	kiln__list_init(&s->link);
	kiln__window_init(&s->input, KILN__AGENT_STDIN_WINDOW);
	kiln__window_init(&s->output[0].window, KILN__AGENT_OUTPUT_WINDOW);
	kiln__window_init(&s->output[1].window, KILN__AGENT_OUTPUT_WINDOW);
	r = load_program(s, &start->argv, err);
	if (r < 0) {
		kiln__fake_session_free(s);
		return r;
	}
	s->pid = ++guest->last_pid;
	kiln__list_append(&guest->sessions, &s->link);
	*ret = s;
	return 0;
}

int kiln__fake_session_start(struct kiln__fake_conn *conn, const struct kiln__agent_start *start,
			     kiln_error *err)
{
	const struct kiln__agent_attach again = {.id = start->id};
	struct kiln__fake_guest *guest = conn->guest;
	struct kiln__fake_session *s = NULL;
	size_t count = 0;
	int r;

	if (kiln__fake_session_find(
		    guest, start->id)) /* asked again: it was not known whether it was heard */
		return kiln__fake_session_attach(conn, &again, err);
	kiln__list_foreach (link, &guest->sessions) {
		count++;
	}
	if (count >= MAX_SESSIONS)
		return kiln__fail(err, KILN_EBUSY, "there are %d sessions already", MAX_SESSIONS);
	if (start->main && guest->main_started)
		return kiln__fail(err, KILN_EEXIST, "the main process was started already");
	r = session_new(&s, guest, start, err);
	if (r < 0)
		return r;
	guest->main_started |= start->main;
	take_over(s, conn);
	run(s);
	return 0;
}
