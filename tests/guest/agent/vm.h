/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kiln-guest as PID 1 of a real VM, under QEMU by emulation, and the host's side of the
 * agent protocol over vsock: what a runner does, without its policies.
 */
#ifndef TESTS_GUEST_AGENT_VM_H
#define TESTS_GUEST_AGENT_VM_H

#include "agent.h"
#include "agentmsg.h"
#include "buf.h"
#include "kiln_test.h"
#include "loop.h"
#include "os.h"
#include "session.h"
#include "vhost_user.h"
#include "vsock.h"

#define VM_MAX_DISKS 4

struct vm_config {
	const char *initrd; /* a file's name in the work directory */
	struct {
		const char *file; /* in the work directory; NULL: no more */
		const char *serial;
		bool read_only;
	} disks[VM_MAX_DISKS];
	bool network;
	bool no_vsock;
	bool refuse; /* the agent's connection to the boot port */
};

struct vm {
	kiln_loop *loop;
	struct kiln__timer *deadline;
	bool late;
	struct kiln__vsock *vsock;
	struct kiln__vhost_user *server;
	struct kiln__child *qemu;
	bool ended; /* QEMU has */
	struct kiln__stream *qmp;
	struct kiln__stream *console;
	struct kiln__buf said; /* on the console */
	struct kiln__agent *agent;
	struct proc *procs;
	bool refuse;
	bool refused;
	bool hello;
	struct kiln__agent_hello hello_is; /* its strings: */
	char strings[3][64];
	bool event; /* it said that it goes down */
	uint32_t cause;
	bool answered;
	kiln_error error; /* of the last request */
	union {
		struct kiln__agent_setup_done setup;
		struct kiln__agent_stats stats;
	} answer;
};

/* Where kernel, initramfs and disks are: from the command line of the test. */
void vm_files(const char *kernel, const char *work);

void vm_start(struct vm *vm, const struct vm_config *config);
void vm_wait(struct vm *vm, const bool *done); /* or fail at the deadline, or when QEMU ends */
void vm_wait_end(struct vm *vm);               /* of QEMU, by itself */
void vm_qmp(struct vm *vm, const char *command);
void vm_done(struct vm *vm); /* kills it if it still runs; nothing if it is none */

void vm_send(struct vm *vm, uint8_t type, const struct kiln__record *record, const void *value,
	     const struct kiln__record *result);
void vm_request(struct vm *vm, uint8_t type, const struct kiln__record *record, const void *value,
		const struct kiln__record *result);

/* Makes a control channel to the agent's own port. */
void vm_visit(struct vm *vm);

/* Waits for the hello, then sets the machine up. */
void vm_setup(struct vm *vm, const struct kiln__agent_setup *setup);

/* Belongs to its VM: a test that fails in the middle leaves nothing that calls back into its stack.
 */
struct proc {
	struct vm *vm;
	struct proc *next;
	struct kiln__session *session;
	struct kiln__stream *stream;
	bool connected;
	bool dropped; /* before it was connected */
	struct kiln__buf out[2];
	uint64_t taken;
	bool drop;
	bool started;
	bool something;
	bool over;
	bool exited;
	struct kiln__agent_exit how;
	kiln_error error;
};

struct proc *proc_start(struct vm *vm, const struct kiln__agent_start *start);
void proc_wait(struct proc *proc);
void proc_done(struct proc *proc);
void vm_drop_procs(struct vm *vm);

/* Runs a shell command to its end, which must be a success, and yields what it said. Valid until
 * the next. */
const char *vm_sh(struct vm *vm, const char *script);

#endif
