/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include "conn.h"
#include "err.h"
#include "session.h"
#include "stats.h"
#include "vsock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LASTED_NS 1000000000

/* --- signals and children ------------------------------------------------------------ */

/* A process that ended by SIGKILL, or whose child may have, raises the question of memory. */
static bool note_oom(struct agent *agent, int wait_status)
{
	struct kiln__agent_event_oom event;

	if (!(WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL) &&
	    !(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 128 + SIGKILL))
		return false;
	event.kills = count_oom_kills();
	if (event.kills <= agent->oom_kills)
		return false;
	agent->oom_kills = event.kills;
	agent_event(agent, KILN__AGENT_EVENT_OOM, &kiln__agent_event_oom_record, &event);
	return true;
}

static void reap(struct agent *agent)
{
	struct session *session;
	int status;
	int pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		bool oom = note_oom(agent, status);

		session = session_of_pid(agent, pid);
		if (session)
			session_exited(session, status, oom);
	}
	if (agent->on_change)
		agent->on_change(agent);
}

static void on_signals(void *data, uint32_t events)
{
	struct agent *agent = data;
	struct signalfd_siginfo info;

	(void)events;
	if (read(agent->signals.fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD)
		reap(agent);
	else if (agent->on_signal)
		agent->on_signal(agent, info.ssi_signo);
}

int agent_watch_signals(struct agent *agent, kiln_error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	source_close(&agent->loop, &agent->signals);
	sigprocmask(SIG_SETMASK, &set, NULL);
	agent->signals = (struct source){
		.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
		.fn = on_signals,
		.data = agent,
	};
	if (agent->signals.fd < 0)
		return kiln__fail_errno(err, errno, "cannot make a signal descriptor");
	source_want(&agent->loop, &agent->signals, EPOLLIN);
	return 0;
}

int agent_init(struct agent *agent, const struct agent_ops *ops, kiln_error *err)
{
	int r;

	*agent = (struct agent){
		.ops = ops,
		.listener.fd = -1,
		.signals.fd = -1,
		.spare = -1,
		.init_ns = monotonic_ns(),
		.stop_signal = SIGTERM,
		.stop_grace_ms = 10000,
	};
	signal(SIGPIPE, SIG_IGN);
	r = evloop_init(&agent->loop);
	if (r < 0)
		return kiln__fail_errno(err, -r, "cannot make an epoll set");
	return agent_watch_signals(agent, err);
}

/* --- connections ----------------------------------------------------------------------- */

static int accept_one(struct agent *agent)
{
	int fd = accept4(agent->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/*
 * There is no descriptor for a connection, which would be told of for ever: it is refused
 * with the one that is kept for this. If even that fails, what waits is looked at
 * again when a connection has ended.
 */
static void refuse_one(struct agent *agent)
{
	int fd;

	close(agent->spare);
	fd = accept_one(agent);
	if (fd >= 0)
		close(fd);
	else if (fd != -EAGAIN)
		source_want(&agent->loop, &agent->listener, 0);
	agent->accept_stalled = fd < 0 && fd != -EAGAIN;
	agent->spare = eventfd(0, EFD_CLOEXEC);
}

void agent_connection_ended(struct agent *agent)
{
	if (!agent->accept_stalled)
		return;
	agent->accept_stalled = false;
	agent_accept(agent);
}

static void on_connection(void *data, uint32_t events)
{
	struct agent *agent = data;
	int fd = accept_one(agent);

	(void)events;
	if (fd < 0) {
		if (fd != -EAGAIN && fd != -EINTR && fd != -ECONNABORTED)
			refuse_one(agent);
		return;
	}
	if (agent->only_host && !vsock_is_host(fd)) {
		close(fd);
		return;
	}
	conn_new(agent, fd, false, false);
	agent_connect_boot(agent); /* it listens now, if it did not before */
}

void agent_listen(struct agent *agent, int fd, bool only_host)
{
	agent->listener = (struct source){.fd = fd, .fn = on_connection, .data = agent};
	agent->spare = eventfd(0, EFD_CLOEXEC);
	agent->only_host = only_host;
}

void agent_accept(struct agent *agent)
{
	source_want(&agent->loop, &agent->listener, EPOLLIN);
}

void agent_connect_boot(struct agent *agent)
{
	bool connecting;
	int fd;

	if (!agent->wants_boot || agent->boot)
		return;
	fd = vsock_connect_host(KILN__AGENT_BOOT_PORT, &connecting);
	agent->boot_error = fd < 0 ? -fd : 0;
	if (fd >= 0)
		agent->boot = conn_new(agent, fd, true, connecting);
	if (!agent->boot && agent->booted)
		agent_accept(agent);
}

void agent_progress(struct agent *agent)
{
	struct conn *boot = agent->boot;
	struct pollfd fd = {.fd = boot ? boot->source.fd : -1, .events = POLLOUT};

	if (boot && boot->connecting && poll(&fd, 1, 0) == 1)
		boot->source.fn(boot->source.data, EPOLLOUT);
}

/*
 * A connection that has lasted was cut by something like a restore: the host waits for
 * the next. One that has not would only be cut again.
 */
void agent_boot_lost(struct agent *agent, int64_t since_ns)
{
	agent->boot = NULL;
	if (monotonic_ns() - since_ns > LASTED_NS)
		agent_connect_boot(agent);
	if (!agent->boot && agent->booted)
		agent_accept(agent);
}

int agent_adopt(struct agent *agent, int fd, bool boot)
{
	struct conn *conn = conn_new(agent, fd, boot, false);

	if (!conn)
		return KILN_ENOMEM;
	if (boot)
		agent->boot = conn;
	return 0;
}

void agent_event(struct agent *agent, uint8_t type, const struct kiln__record *record,
		 const void *value)
{
	if (!agent->boot || agent->boot->connecting)
		return;
	conn_send(agent->boot, type, KILN__FRAME_OPTIONAL, 0, record, value);
	conn_flush(agent->boot);
}

void agent_session_over(struct agent *agent, struct session *session)
{
	const struct kiln__agent_shutdown how = {.action = KILN__AGENT_POWEROFF};

	if (session == agent->main && agent->end_with_main)
		agent->ops->shutdown(agent, &how, KILN__AGENT_CAUSE_MAIN, NULL);
}
