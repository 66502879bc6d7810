/* SPDX-License-Identifier: Apache-2.0 */
/* What the host asks of the agent, as opposed to what it says within a session. */
#include "agent.h"
#include "conn.h"
#include "err.h"
#include "session.h"
#include "stats.h"
#include "waitport.h"

#include <signal.h>
#include <stdlib.h>

typedef int (*request_fn)(struct agent *agent, struct conn *conn, const struct kiln__frame *frame,
			  kiln_error *err);

static void reply(struct conn *conn, const struct kiln__frame *frame,
		  const struct kiln__record *record, const void *value)
{
	conn_send(conn, KILN__AGENT_OK, 0, frame->tag, record, value);
}

static int on_setup(struct agent *agent, struct conn *conn, const struct kiln__frame *frame,
		    kiln_error *err)
{
	static struct kiln__agent_setup setup; /* large, and used by one request at a time */
	struct kiln__agent_setup_done done = {.setup_ns = (uint64_t)monotonic_ns()};
	int r = kiln__record_unpack(&kiln__agent_setup_record, frame->body, frame->len, &setup,
				    err);

	if (r == 0 && setup.stop_signal >= (uint32_t)_NSIG)
		r = kiln__fail(err, KILN_EINVAL, "there is no signal %u", setup.stop_signal);
	if (r == 0)
		r = agent->ops->setup(agent, &setup, &done, err);
	if (r < 0)
		return r;
	agent->end_with_main |= setup.end_with_main;
	if (setup.stop_signal)
		agent->stop_signal = setup.stop_signal;
	if (setup.stop_grace_ms)
		agent->stop_grace_ms = setup.stop_grace_ms;
	if (agent->ready)
		agent_accept(agent);
	done.ready_ns = (uint64_t)monotonic_ns();
	reply(conn, frame, &kiln__agent_setup_done_record, &done);
	return 0;
}

static int on_stats(struct agent *agent, struct conn *conn, const struct kiln__frame *frame,
		    kiln_error *err)
{
	struct kiln__agent_stats stats = {0};

	(void)agent;
	(void)err;
	collect_stats(&stats);
	reply(conn, frame, &kiln__agent_stats_record, &stats);
	return 0;
}

static int on_list(struct agent *agent, struct conn *conn, const struct kiln__frame *frame,
		   kiln_error *err)
{
	static struct kiln__agent_list list;

	(void)err;
	list.count = 0;
	for (struct session *s = agent->sessions; s && list.count < KILN__AGENT_MAX_SESSIONS;
	     s = s->next)
		list.sessions[list.count++] = (struct kiln__agent_session_info){
			.id = s->id,
			.pid = (uint32_t)s->pid,
			.main = s->main,
			.tty = s->tty,
			.attached = s->conn != NULL,
			.exited = s->exited,
			.code = s->code,
			.signal = s->signal,
			.command = s->command,
		};
	reply(conn, frame, &kiln__agent_list_record, &list);
	return 0;
}

static int on_kill(struct agent *agent, struct conn *conn, const struct kiln__frame *frame,
		   kiln_error *err)
{
	struct kiln__agent_signal signal;
	struct session *session;
	int r = kiln__record_unpack(&kiln__agent_signal_record, frame->body, frame->len, &signal,
				    err);

	if (r < 0)
		return r;
	session = session_find(agent, signal.id);
	if (!session)
		return kiln__fail(err, KILN_ENOENT, "no such session");
	r = session_signal(session, &signal, err);
	if (r == 0)
		reply(conn, frame, NULL, NULL);
	return r;
}

static int on_shutdown(struct agent *agent, struct conn *conn, const struct kiln__frame *frame,
		       kiln_error *err)
{
	struct kiln__agent_shutdown how;
	int r = kiln__record_unpack(&kiln__agent_shutdown_record, frame->body, frame->len, &how,
				    err);

	if (r < 0)
		return r;
	if (how.action != KILN__AGENT_POWEROFF && how.action != KILN__AGENT_REBOOT)
		return kiln__fail(err, KILN_ENOTSUP, "there is no shutdown action %u", how.action);
	r = agent->ops->shutdown(agent, &how, KILN__AGENT_CAUSE_HOST, err);
	if (r == 0)
		reply(conn, frame, NULL, NULL);
	return r;
}

static int on_wait_port(struct agent *agent, struct conn *conn, const struct kiln__frame *frame,
			kiln_error *err)
{
	struct kiln__agent_wait_port what;
	int r = kiln__record_unpack(&kiln__agent_wait_port_record, frame->body, frame->len, &what,
				    err);

	return r < 0 ? r : wait_port(agent, conn, frame->tag, &what, err);
}

static int may_have_session(const struct conn *conn, kiln_error *err)
{
	if (conn->session || conn->boot)
		return kiln__fail(err, KILN_ESTATE, "a session needs a connection of its own");
	return 0;
}

static int on_start(struct agent *agent, struct conn *conn, const struct kiln__frame *frame,
		    kiln_error *err)
{
	struct kiln__agent_start start;
	int r = may_have_session(conn, err);

	if (r == 0)
		r = kiln__record_unpack(&kiln__agent_start_record, frame->body, frame->len, &start,
					err);
	return r < 0 ? r : session_start(agent, conn, &start, err);
}

static int on_attach(struct agent *agent, struct conn *conn, const struct kiln__frame *frame,
		     kiln_error *err)
{
	struct kiln__agent_attach attach;
	int r = may_have_session(conn, err);

	if (r == 0)
		r = kiln__record_unpack(&kiln__agent_attach_record, frame->body, frame->len,
					&attach, err);
	return r < 0 ? r : session_attach(agent, conn, &attach, err);
}

static const struct {
	uint8_t type;
	request_fn fn;
} requests[] = {
	{KILN__AGENT_SETUP, on_setup},       {KILN__AGENT_STATS, on_stats},
	{KILN__AGENT_LIST, on_list},         {KILN__AGENT_KILL, on_kill},
	{KILN__AGENT_SHUTDOWN, on_shutdown}, {KILN__AGENT_START, on_start},
	{KILN__AGENT_ATTACH, on_attach},     {KILN__AGENT_WAIT_PORT, on_wait_port},
};

void agent_request(struct agent *agent, struct conn *conn, const struct kiln__frame *frame)
{
	kiln_error err = KILN_ERROR_INIT;
	int r = KILN_ENOTSUP;
	size_t i = 0;

	while (i < sizeof(requests) / sizeof(requests[0]) && requests[i].type != frame->type)
		i++;
	if (i < sizeof(requests) / sizeof(requests[0]))
		r = requests[i].fn(agent, conn, frame, &err);
	else if (frame->flags & KILN__FRAME_OPTIONAL)
		return;
	else
		kiln__fail(&err, KILN_ENOTSUP, "a frame of type %u is not supported here",
			   frame->type);
	if (r == KILN_EPROTO)
		conn_fail(conn, &err);
	else if (r < 0)
		conn_send_error(conn, frame->tag, &err);
}
