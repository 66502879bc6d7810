/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kiln-runner: one VM and what serves it, in one process.
 *
 * Started by a manager with the launch connection as descriptor 3 and the VM's lock,
 * held, as descriptor 4; see docs/control-protocol.md. One thread, one loop. The guest,
 * through its devices and its agent, and every peer on the control socket are
 * hostile; what the launch message says is trusted (it comes from who started us).
 *
 * Order: launch message, files and sockets opened, VMM spawned, rights given up,
 * guest started. It ends when the VM has, after the final state is on disk and clients
 * have been told, or a deadline has passed; but output of a process that ended by itself
 * is kept for the clients attached to it as long as their connections live.
 *
 *   main.c     launch and end            server.c   control connections and methods
 *   process.c  the main process          attach.c   clients of its streams
 *   state.c    state.json and events     logfile.c  bounded log files
 *   jail.c     giving up rights          health.c   whether the main process is well
 */
#ifndef KILN_RUNNER_H
#define KILN_RUNNER_H

#include "buf.h"
#include "control.h"
#include "jail.h"
#include "logfile.h"
#include "machine.h"
#include "vsock_unix.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Connections to the control socket at a time. */
#define RUNNER_MAX_CLIENTS 256

struct server;
struct process;
struct health;

struct runner {
	kiln_loop *loop;
	kiln_fd lock;
	char *id;
	char *name;
	char *vm_dir;        /* vms/ID: read-only once the runner is jailed */
	char *dir;           /* vms/ID/state: what the runner writes */
	char *runtime_dir;   /* live: sockets */
	bool foreground;     /* the VM ends with the launch connection */
	bool ephemeral;      /* nothing of it is to survive a power cut */
	bool attach_first;   /* the main process waits until somebody has attached, or the launcher
				has gone */
	kiln_config *config; /* with resolved sources */
	kiln_machine *machine;
	struct server *server;
	struct process *process;
	struct health *health;
	struct kiln__vsock_unix *vsock;
	struct logfile console;
	struct logfile log;         /* what the main process wrote */
	struct logfile diagnostics; /* what kiln itself has to say */
	kiln_log logger;            /* writes to it */
	kiln_fd events;             /* opened by the first of them */
	struct kiln__buf later;     /* what waits for it */
	struct kiln__buf untold;    /* and for diagnostics */
	int64_t created_ns;         /* realtime */
	int64_t started_ns;
	int64_t ready_ns;
	int64_t finished_ns;
	char accel[16];                /* what really ran the guest */
	char accel_reason[256];        /* why not the hardware; "": it did, or was not to */
	bool leaves;                   /* what its VMM is in lasts longer than this process */
	struct kiln__jail_report jail; /* what of it could be had here */
	bool starting;    /* that is not on record yet, and what is said waits with it */
	bool over;        /* the VM has ended and its final state is written */
	bool linger_over; /* clients have had their time */
	bool patient;     /* the end may wait for clients without a bound: nobody asked for it */
	struct kiln__timer *saving;   /* puts "starting" or "stopping" on record, if that lasts */
	struct kiln__timer *linger;   /* bounds the wait for all but output */
	struct kiln__deferred *check; /* asks whether the end has come */
	struct kiln__deferred *launching;
};

/* --- state.c ----------------------------------------------------------------------- */

/* The state as inspect shows it. A new reference; NULL when out of memory. */
json_t *runner_state(const struct runner *runner);

/* An event as it stands in the events file and in notifications. A new reference. */
json_t *runner_event_json(const kiln_event *event);

/*
 * Records a transition: the events file, and state.json (durably when the VM has ended). That a VM
 * is being started waits for a moment, with all that is said meanwhile: most are running sooner.
 */
void runner_record(struct runner *runner, const kiln_event *event);

/* The same of what is no transition. */
void runner_save(struct runner *runner);

/* A line for runner.log, which may wait as events do while the VM is being started. */
void runner_diagnose(struct runner *runner, enum kiln_log_level level, const char *line);

/* The same of the main process's health: it is another one now. */
void runner_record_health(struct runner *runner, const char *from, const char *to);

/*
 * Writes down, out of its own later reach, which processes are this runner's: whom the next
 * manager may kill if this runner dies without a word. @recorded: who started it has done so, and a
 * VMM is what could be added.
 */
int runner_record_processes(const struct runner *runner, bool recorded, kiln_error *err);

/* The same of what its VMM will leave, before that is made: @data is the runner. */
int runner_record_leaves(void *data, const char *leaves, kiln_error *err);

/* --- server.c ------------------------------------------------------------------------ */

/* Serves @launch, the connection to who started us, and listens on control.sock once launched. */
int server_new(struct server **ret, struct runner *runner, kiln_fd launch, kiln_error *err);
int server_listen(struct server *server, kiln_error *err);

/* Waits for the launch message and carries it out. */
void server_launch(struct server *server);

/* Who has connected meanwhile is taken from now on: once there is a VM to talk about. */
void server_accept(struct server *server);
void server_console(struct server *server, const void *bytes, size_t len);
void server_event(struct server *server, const kiln_event *event);
void server_notify(struct server *server, json_t *event); /* borrowed */
void server_free(struct server *server);

/* True while some client still has something to receive. */
bool server_busy(const struct server *server);

/* --- main.c ------------------------------------------------------------------------------ */

/* The launch message: everything up to the running guest; answers @call when it runs. */
void runner_launch(struct runner *runner, struct kiln__control_call *call, json_t *params);

/* The launch connection has ended. */
void runner_launcher_gone(struct runner *runner);

/* A client has gone, or the process has: perhaps this was what the end waited for. */
void runner_maybe_end(struct runner *runner);

/* Somebody wants the VM's end: it waits for nobody longer than the others are given. */
void runner_hurry(struct runner *runner);

/* --- process.c: the main process, and the clients attached to it ----------------------------- */

int process_new(struct process **ret, struct runner *runner, kiln_error *err);
void process_free(struct process *process);

/* The guest is ready: starts the configured process, if there is one. */
void process_start(struct process *process);

/* Whom the process has waited for has come, or is not coming any more. */
void process_release(struct process *process);

/* The VM has ended: clients are told how. */
void process_rebooted(struct process *process); /* it is gone with its guest, which boots again: it
						   starts anew */
void process_vm_ended(struct process *process);

/*
 * A client's connection after "attach": agent frames from here on. Takes @stream.
 * @launcher: its end is the launch connection's.
 */
void process_attach(struct process *process, struct kiln__stream *stream, bool with_stdin,
		    bool launcher);

/* Sends a signal to the main process. KILN_ESTATE if there is none. */
int process_signal(struct process *process, unsigned number, kiln_error *err);

/* True once the main process has ended, with which the VM ends. */
bool process_is_over(const struct process *process);

/* How many clients are attached. */
size_t process_clients(const struct process *process);

/* True while a client is there, which leaves when it has received the exit. */
bool process_busy(const struct process *process);

/* True while output or the exit waits for a client to take it. */
bool process_owes(const struct process *process);

/* --- health.c: whether the main process is well, by a command of the configuration's ---------- */

enum health_status { HEALTH_NONE, HEALTH_STARTING, HEALTH_HEALTHY, HEALTH_UNHEALTHY };

int health_new(struct health **ret, struct runner *runner, kiln_error *err);
void health_free(struct health *health); /* NULL is allowed */

/* The main process runs; it does not any more. */
void health_begin(struct health *health);
void health_end(struct health *health);

/* As inspect shows it: null without a check. A new reference; NULL when out of memory. */
json_t *health_json(const struct health *health);

/* --- jail.c ------------------------------------------------------------------------------------
 */

/* Gives up all rights that a running VM does not need; for good. */
int runner_jail(struct runner *runner, kiln_error *err);

#endif
