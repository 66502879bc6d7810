/* SPDX-License-Identifier: Apache-2.0 */
/* The machine from inside: what the runner uses beyond <kiln/machine.h>. */
#ifndef KILN_MACHINE_MACHINE_H
#define KILN_MACHINE_MACHINE_H

#include <kiln/machine.h>

#include "agent.h"
#include "backend.h"

/*
 * kiln_machine_new() for who may know already whether KVM works here (@kvm), so that it is
 * not looked for again. NULL: nothing is known.
 */
int kiln__machine_new(kiln_machine **ret_machine, kiln_loop *loop, const kiln_config *config,
		      const kiln_machine_options *options, const struct kiln__kvm_verdict *kvm,
		      kiln_error *err);

/*
 * The half of a start that needs the file system and execve: opens the backend's
 * instance and prepares it. kiln_machine_start() does it if nobody did before.
 * The runner calls it, then gives up its privileges, then starts.
 */
int kiln__machine_prepare(kiln_machine *machine, kiln_error *err);

/*
 * Before it is prepared: the kernel or the initramfs are files of kiln's cache, which nobody
 * changes, so that they can be mapped into the guest.
 */
void kiln__machine_vouch(kiln_machine *machine, bool kernel, bool initrd);

/*
 * Before it is prepared: where what is kept from boot to boot may lie (an identifier, firmware's
 * variables): a directory of this VM's own. Borrowed.
 */
void kiln__machine_keep_in(kiln_machine *machine, const char *dir);

/* Before it is prepared: a disk more, for the root's writes of this life alone. */
int kiln__machine_add_scratch(kiln_machine *machine, const char *path, kiln_error *err);

/* The same of a disk that kiln puts in, by what stands in @disk. */
int kiln__machine_add_disk(kiln_machine *machine, const struct kiln__disk *disk, kiln_error *err);

/* Gives each network of @spec without a hardware address the one that the machine @id has. */
void kiln__machine_set_macs(struct kiln__spec *spec, const char *id);

/* Completes when the VMM says that the guest runs; fails when it ends first. */
void kiln__machine_wait_running(kiln_machine *machine, kiln_done_fn done, void *data);

/* A stream to a vsock port of the guest. @done once, from the loop; KILN_ESTATE if it does not run.
 */
void kiln__machine_connect(kiln_machine *machine, uint32_t port, kiln__connect_fn done, void *data);

/* Who takes guest connections to host ports that kiln does not serve itself; may be NULL. */
void kiln__machine_on_incoming(kiln_machine *machine,
			       bool (*fn)(void *data, uint32_t port, struct kiln__stream *stream),
			       void *data);

/*
 * Who is told when processes can be started: the agent is up, or, in a guest without one, the
 * machine is ready. Once a boot; may be NULL.
 */
void kiln__machine_on_agent_up(kiln_machine *machine, void (*fn)(void *data), void *data);

/* Who is told that the guest has begun to boot again: nothing of before runs in it. May be NULL. */
void kiln__machine_on_rebooted(kiln_machine *machine, void (*fn)(void *data), void *data);

/*
 * Before it is prepared: the directory of this life, for the VMM's sockets. Whether the VMM then
 * serves the guest's vsock ports there itself, at vsock.sock.
 */
int kiln__machine_set_runtime_dir(kiln_machine *machine, const char *path, kiln_error *err);

/*
 * To be told between prepare and start: this process has a root directory of its own from now on,
 * with the runtime directory at @runtime_dir.
 */
int kiln__machine_moved(kiln_machine *m, const char *runtime_dir, kiln_error *err);
bool kiln__machine_owns_vsock(const kiln_machine *machine);

/* By what serial number the guest finds the disk that @serial stands for. */
const char *kiln__machine_disk_serial(const kiln_machine *machine, const char *serial);

/* Whether a guest ends this VMM by a reset, since it has no power-off. */
bool kiln__machine_ends_by_reset(const kiln_machine *machine);

size_t kiln__machine_console_write(kiln_machine *machine, const void *bytes, size_t len);

/* The control channel to the guest's agent; NULL before its hello and after the end. */
struct kiln__agent *kiln__machine_agent(const kiln_machine *machine);

const char *kiln__machine_name(const kiln_machine *machine);
kiln_loop *kiln__machine_loop(const kiln_machine *machine);
const struct kiln__spec *kiln__machine_spec(const kiln_machine *machine);
/*
 * What the VMM counts of the machine's devices, as a JSON object. False: it counts nothing, or not
 * now, and @done is not called.
 */
bool kiln__machine_counters(kiln_machine *machine, kiln__text_fn done, void *data);

/* Why the guest is emulated though acceleration was wanted; "" if it is not. Until the next call.
 */
const char *kiln__machine_accel_reason(const kiln_machine *machine);
int64_t kiln__machine_vmm_pid(const kiln_machine *machine);

/* To be called before this process gives up its rights: backend.h, keep(). */
int kiln__machine_keep_processes(kiln_machine *machine, kiln_error *err);

/* Who is asked to write down what the VMM will leave: backend.h, leaving(). NULL: nobody. */
typedef int kiln__leaving_fn(void *data, const char *leaves, kiln_error *err);
void kiln__machine_on_leaving(kiln_machine *machine, kiln__leaving_fn *fn, void *data);

/* The main process ended: how, for kiln_machine_exit() once the VM has stopped. */
void kiln__machine_set_exit(kiln_machine *machine, kiln_exit exit);

/* Whatever ends the VM now, it has failed, because of @err; the first reason stays. */
void kiln__machine_set_failure(kiln_machine *machine, const char *stage, const kiln_error *err);

/* When each stage was reached, monotonic ns; 0: not yet. */
struct kiln__stages {
	int64_t begun;    /* start was asked for */
	int64_t prepared; /* files open, VMM spawned */
	int64_t running;
	int64_t hello; /* the agent's hello */
	int64_t ready;
	/* Of the guest's own clock, ns since its kernel began. */
	uint64_t guest_init;    /* kiln-guest's first instruction */
	uint64_t guest_vsock;   /* vsock usable */
	uint64_t guest_modules; /* all modules loaded */
	uint64_t guest_root;    /* root mounted */
	uint64_t guest_ready;   /* processes can be started */
};
const struct kiln__stages *kiln__machine_stages(const kiln_machine *machine);

/* What the agent reports of the guest's own boot: ns since the guest's kernel began. */
void kiln__machine_guest_stages(kiln_machine *machine, const struct kiln__agent_setup_done *done);

#endif
