/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: what kiln-guest is to the host, whether it is PID 1 or a service.
 *
 * One thread, one epoll loop. The agent owns connections (conn.c), each of which
 * speaks the protocol of docs/agent-protocol.md and at most one of which is the
 * client of a session (session.c): a process with its streams. A session outlives
 * its connection. What only PID 1 can do comes in by struct agent_ops.
 *
 * The host is trusted: it can read and write this machine's memory anyway. Its
 * frames are checked as if it were not, so that a damaged stream ends that
 * connection only. Other processes in the guest are kept out: only the host's
 * vsock address is answered.
 */
#ifndef KILN_GUEST_AGENT_H
#define KILN_GUEST_AGENT_H

#include "agentmsg.h"
#include "evloop.h"

#include <kiln/error.h>

#include <stdbool.h>
#include <stdint.h>

struct agent;
struct conn;
struct session;

/* What differs between PID 1 and a service under another init. */
struct agent_ops {
	uint64_t features; /* KILN__AGENT_FEATURE_... */
	int (*setup)(struct agent *agent, const struct kiln__agent_setup *setup,
		     struct kiln__agent_setup_done *ret, kiln_error *err);
	int (*shutdown)(struct agent *agent, const struct kiln__agent_shutdown *how,
			enum kiln__agent_cause cause, kiln_error *err);
};

struct agent {
	struct evloop loop;
	const struct agent_ops *ops;
	struct conn *conns;
	struct session *sessions;
	struct session *main; /* the main process's, once started */
	bool main_started;    /* it is one a boot, even when its session is gone */
	struct conn *boot;    /* to the host's boot port, or NULL */
	int boot_error;       /* why the last attempt to connect to it failed at once; an errno */
	struct source listener;
	int spare;           /* a descriptor kept for refusing connections when there is no other */
	bool accept_stalled; /* until a connection has ended */
	bool only_host;      /* the listener is vsock: others than the host are refused */
	bool wants_boot;     /* be connected to the boot port */
	bool booted; /* frames are being read: if the host does not listen it may come here */
	bool ready;  /* processes can be started: PID 1 has its root */
	bool end_with_main;
	uint32_t stop_signal;
	uint32_t stop_grace_ms;
	uint64_t oom_kills; /* as last seen */
	int64_t init_ns;
	int64_t vsock_ns;
	struct source signals;                                   /* a signalfd */
	void (*on_signal)(struct agent *agent, uint32_t signal); /* all but SIGCHLD */
	void (*on_change)(
		struct agent *agent); /* a process ended or a session's client went; may be NULL */
};

/* Zeroes the agent, makes its loop, and blocks and watches the signals it answers to. */
int agent_init(struct agent *agent, const struct agent_ops *ops, kiln_error *err);

/* (Re)makes the signal watch: a signalfd is tied to the process that added it to epoll. */
int agent_watch_signals(struct agent *agent, kiln_error *err);

/* Answers on a listening socket, owned from here on. */
void agent_listen(struct agent *agent, int fd, bool only_host);

/* A descriptor has become free. */
void agent_connection_ended(struct agent *agent);

/* Accepts clients from now on, not before: their first request may be to start a process. */
void agent_accept(struct agent *agent);

/*
 * Connects to the host's boot port, if that is wanted and not the case. A failure is no
 * error: it is tried again when the host connects to this side's port.
 */
void agent_connect_boot(struct agent *agent);

/* Lets the hello leave if the connection to the boot port has been made meanwhile. Reads nothing.
 */
void agent_progress(struct agent *agent);

/* The connection to the boot port is gone, or was not made. */
void agent_boot_lost(struct agent *agent, int64_t since_ns);

/* Takes over a connected socket as a client. */
int agent_adopt(struct agent *agent, int fd, bool boot);

/* Sends an event to the host, if it listens. */
void agent_event(struct agent *agent, uint8_t type, const struct kiln__record *record,
		 const void *value);

/* Answers one frame that is not a session's (request.c). */
void agent_request(struct agent *agent, struct conn *conn, const struct kiln__frame *frame);

/* A session's status was taken: was it the main one, and does the machine end with it? */
void agent_session_over(struct agent *agent, struct session *session);

#endif
