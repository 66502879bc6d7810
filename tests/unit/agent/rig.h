/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kiln-guest's agent as a process on this host, and the host's side of sessions with it.
 * The program is the one named by $KILN_GUEST.
 */
#ifndef TESTS_AGENT_RIG_H
#define TESTS_AGENT_RIG_H

#include "agent.h"
#include "agentmsg.h"
#include "buf.h"
#include "kiln_test.h"
#include "loop.h"
#include "os.h"
#include "session.h"
#include "stream.h"

struct rig {
	kiln_loop *loop;
	struct kiln__child *child;
	struct kiln__agent *agent; /* the control channel */
	const char *path;          /* where the agent listens */
	bool hello;
	bool answered;    /* a request was */
	unsigned answers; /* how many were */
	uint64_t features;
	char version[32];
	kiln_error error; /* of the last request; code 0 if it succeeded */
	union {
		struct kiln__agent_stats stats;
		struct kiln__agent_list list;
	} answer;
};

/* Starts the agent and waits for its hello; stops it. */
void rig_up(struct rig *rig);
void rig_down(struct rig *rig);

/* A new connection to the agent. */
struct kiln__stream *rig_connect(struct rig *rig);
kiln_fd rig_connect_raw(struct rig *rig);

/* Sends a request on the control channel. */
void rig_send(struct rig *rig, uint8_t type, const struct kiln__record *record, const void *value,
	      const struct kiln__record *result);

/* The same, and waits for the answer. */
void rig_request(struct rig *rig, uint8_t type, const struct kiln__record *record,
		 const void *value, const struct kiln__record *result);

/* A process in the guest and all that is known of it. */
struct proc {
	struct rig *rig;
	struct kiln__session *session;
	struct kiln__buf out[2];
	size_t take; /* most bytes of output consumed a call; 0: all */
	uint64_t taken[2];
	bool drop;            /* count output, do not keep it */
	bool check;           /* and it must be pattern() */
	const uint8_t *input; /* fed as it is taken; NULL: pattern() */
	uint64_t input_len;
	uint64_t input_at;
	bool feed; /* feed input, then its end */
	bool started;
	bool exited;
	bool failed;
	bool lost;
	bool over;      /* exited or failed */
	bool something; /* any output since this was last cleared */
	uint32_t pid;
	struct kiln__agent_exit how;
	kiln_error error;
};

/* Byte number @offset of an endless stream with a long period. */
static inline uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 167 + (offset >> 8) * 13 + (offset >> 17));
}

/* A list of strings for argv or env, valid until the next call with the same @slot (0 or 1). */
struct kiln__strs rig_strs(int slot, const char *const *strings);

#define ARGV(...) rig_strs(0, (const char *const[]){__VA_ARGS__, NULL})
#define ENV(...)  rig_strs(1, (const char *const[]){__VA_ARGS__, NULL})

void proc_start(struct proc *proc, struct rig *rig, const struct kiln__agent_start *start);
void proc_start_on(struct proc *proc, struct rig *rig, struct kiln__stream *stream,
		   const struct kiln__agent_start *start);

/* Gives what input the session takes, and its end after the last of it. */
void proc_feed(struct proc *proc);
void proc_wait(struct proc *proc); /* until it is over */
void proc_done(struct proc *proc);

/* All in one: runs it to its end. */
void proc_run(struct proc *proc, struct rig *rig, const struct kiln__agent_start *start);

/* The process has ended with @code, having said exactly this. */
void proc_said(const struct proc *proc, const char *out, const char *err, uint32_t code);

#endif
