/* SPDX-License-Identifier: Apache-2.0 */
/* What the host asks of the fake guest's agent, as opposed to what it says within a session. */
#include "conn.h"

#include "err.h"
#include "frame.h"

typedef int (*request_fn)(struct kiln__fake_conn *conn, const struct kiln__frame *frame,
			  kiln_error *err);

static void reply(struct kiln__fake_conn *conn, const struct kiln__frame *frame,
		  const struct kiln__record *record, const void *value)
{
	kiln__fake_conn_send(conn, KILN__AGENT_OK, frame->tag, record, value);
}

static int on_setup(struct kiln__fake_conn *conn, const struct kiln__frame *frame, kiln_error *err)
{
	uint64_t now = kiln__fake_guest_now(conn->guest);
	const struct kiln__agent_setup_done done = {
		.modules_ns = now,
		.setup_ns = now,
		.root_ns = now,
		.ready_ns = now,
	};
	struct kiln__agent_setup setup;
	int r = kiln__record_unpack(&kiln__agent_setup_record, frame->body, frame->len, &setup,
				    err);

	if (r < 0)
		return r;
	conn->guest->end_with_main |= setup.end_with_main;
	reply(conn, frame, &kiln__agent_setup_done_record, &done);
	return 0;
}

static int on_stats(struct kiln__fake_conn *conn, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_stats stats = {.uptime_ns = kiln__fake_guest_now(conn->guest),
					  .processes = 1};

	(void)err;
	kiln__list_foreach (link, &conn->guest->sessions) {
		stats.processes++;
	}
	reply(conn, frame, &kiln__agent_stats_record, &stats);
	return 0;
}

static int on_list(struct kiln__fake_conn *conn, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_list list = {.count = 0};

	(void)err;
	kiln__list_foreach (link, &conn->guest->sessions) {
		if (list.count < KILN__AGENT_MAX_SESSIONS)
			kiln__fake_session_info(kiln__fake_session_of(link),
						&list.sessions[list.count++]);
	}
	reply(conn, frame, &kiln__agent_list_record, &list);
	return 0;
}

static int on_kill(struct kiln__fake_conn *conn, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_signal signal;
	struct kiln__fake_session *session;
	int r = kiln__record_unpack(&kiln__agent_signal_record, frame->body, frame->len, &signal,
				    err);

	if (r < 0)
		return r;
	session = kiln__fake_session_find(conn->guest, signal.id);
	if (!session)
		return kiln__fail(err, KILN_ENOENT, "no such session");
	reply(conn, frame, NULL, NULL);
	kiln__fake_session_signal(session, signal.number);
	return 0;
}

static int on_shutdown(struct kiln__fake_conn *conn, const struct kiln__frame *frame,
		       kiln_error *err)
{
	struct kiln__agent_event_shutdown event = {.cause = KILN__AGENT_CAUSE_HOST};
	struct kiln__fake_guest *guest = conn->guest;
	struct kiln__agent_shutdown how;
	int r = kiln__record_unpack(&kiln__agent_shutdown_record, frame->body, frame->len, &how,
				    err);

	if (r < 0)
		return r;
	if (how.action != KILN__AGENT_POWEROFF && how.action != KILN__AGENT_REBOOT)
		return kiln__fail(err, KILN_ENOTSUP, "there is no shutdown action %u", how.action);
	reply(conn, frame, NULL, NULL);
	if (guest->boot) {
		event.action = how.action;
		kiln__fake_conn_send(guest->boot, KILN__AGENT_EVENT_SHUTDOWN, 0,
				     &kiln__agent_event_shutdown_record, &event);
		kiln__fake_conn_flush(guest->boot);
	}
	guest->power(guest->data, how.action == KILN__AGENT_REBOOT);
	return 0;
}

/* Nothing ever begins to listen in here: what does not by now is waited for until the end. */
static int on_wait_port(struct kiln__fake_conn *conn, const struct kiln__frame *frame,
			kiln_error *err)
{
	struct kiln__agent_wait_port what;
	int r = kiln__record_unpack(&kiln__agent_wait_port_record, frame->body, frame->len, &what,
				    err);

	if (r < 0)
		return r;
	if (what.vsock && kiln__fake_guest_listens(what.port))
		reply(conn, frame, NULL, NULL);
	return 0;
}

static int may_have_session(const struct kiln__fake_conn *conn, kiln_error *err)
{
	if (conn->session || conn == conn->guest->boot)
		return kiln__fail(err, KILN_ESTATE, "a session needs a connection of its own");
	return 0;
}

static int on_start(struct kiln__fake_conn *conn, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_start start;
	int r = may_have_session(conn, err);

	if (r == 0)
		r = kiln__record_unpack(&kiln__agent_start_record, frame->body, frame->len, &start,
					err);
	return r < 0 ? r : kiln__fake_session_start(conn, &start, err);
}

static int on_attach(struct kiln__fake_conn *conn, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_attach attach;
	int r = may_have_session(conn, err);

	if (r == 0)
		r = kiln__record_unpack(&kiln__agent_attach_record, frame->body, frame->len,
					&attach, err);
	return r < 0 ? r : kiln__fake_session_attach(conn, &attach, err);
}

static const struct {
	uint8_t type;
	request_fn fn;
} requests[] = {
	{KILN__AGENT_SETUP, on_setup},       {KILN__AGENT_STATS, on_stats},
	{KILN__AGENT_LIST, on_list},         {KILN__AGENT_KILL, on_kill},
	{KILN__AGENT_SHUTDOWN, on_shutdown}, {KILN__AGENT_WAIT_PORT, on_wait_port},
	{KILN__AGENT_START, on_start},       {KILN__AGENT_ATTACH, on_attach},
};

void kiln__fake_request(struct kiln__fake_conn *conn, const struct kiln__frame *frame)
{
	kiln_error err = KILN_ERROR_INIT;
	size_t i = 0;
	int r;

	while (i < sizeof(requests) / sizeof(requests[0]) && requests[i].type != frame->type)
		i++;
	if (i < sizeof(requests) / sizeof(requests[0]))
		r = requests[i].fn(conn, frame, &err);
	else if (frame->flags & KILN__FRAME_OPTIONAL)
		return;
	else
		r = kiln__fail(&err, KILN_ENOTSUP, "a frame of type %u is not supported here",
			       frame->type);
	if (r == KILN_EPROTO)
		kiln__fake_conn_fail(conn, &err);
	else if (r < 0)
		kiln__fake_conn_send_error(conn, frame->tag, &err);
}
