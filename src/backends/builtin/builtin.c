/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kiln's own VMM as a backend: the VM is threads of this process.
 *
 * prepare() opens and makes everything but the vCPUs, whose threads start() makes, so that
 * they have what rights this process has left by then. Devices run on the loop's thread; what a
 * vCPU's thread has to say comes by the mailbox and by vcpus.h, each of which brings it to the
 * loop.
 *
 * The end comes in one order, whoever caused it: the threads end, what the guest has said is
 * told, ended() is told. free() may come before, and does the same without telling.
 */
#include "builtin.h"

#include "board.h"
#include "err.h"
#include "kvm.h"
#include "layout.h"
#include "log.h"
#include "mailbox.h"
#include "os.h"
#include "vcpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kiln__instance {
	struct kiln__backend_host host;
	struct kiln__board board;
	struct kiln__mailbox mailbox;
	struct kiln__vcpus *vcpus;
	bool prepared;
	kiln_done_fn started;
	void *started_data;
	kiln_done_fn paused; /* a pause under way */
	void *paused_data;
	struct kiln__deferred *dying; /* killed before any thread was started */
	bool was_reset;               /* by its guest, and does not boot again */
	bool over;                    /* the end was told */
};

/* --- from the guest: on vCPU threads ------------------------------------------------------ */

static void on_poweroff(void *data)
{
	struct kiln__instance *vm = data;

	kiln__vcpus_end_guest(vm->vcpus, KILN__VCPUS_POWEROFF);
}

static void on_reset(void *data)
{
	struct kiln__instance *vm = data;

	kiln__vcpus_end_guest(vm->vcpus, KILN__VCPUS_RESET);
}

static void on_panic(void *data)
{
	struct kiln__instance *vm = data;

	kiln__mailbox_panicked(&vm->mailbox);
}

static const struct kiln__pm_handler pm_handler = {
	.poweroff = on_poweroff,
	.reset = on_reset,
	.panicked = on_panic,
};

static int on_init_cpu(void *data, unsigned index, kiln_hv_vcpu *vcpu, kiln_error *err)
{
	struct kiln__instance *vm = data;

	return kiln__board_init_cpu(&vm->board, index, vcpu, err);
}

/* --- to the machine: on the loop's thread --------------------------------------------------- */

static void on_console(void *data, const uint8_t *bytes, size_t len)
{
	struct kiln__instance *vm = data;

	kiln__devices_active(&vm->board.devices);
	vm->host.console(vm->host.data, bytes, len);
}

static void on_panicked(void *data)
{
	struct kiln__instance *vm = data;

	vm->host.panicked(vm->host.data);
}

static const struct kiln__mailbox_handler mailbox_handler = {
	.console = on_console,
	.panicked = on_panicked,
};

static void complete_start(struct kiln__instance *vm, const kiln_error *err)
{
	kiln_done_fn done = vm->started;

	vm->started = NULL;
	if (done)
		done(vm->started_data, err ? err->code : 0, err);
}

static void on_started(void *data)
{
	complete_start(data, NULL);
}

static void complete_pause(struct kiln__instance *vm, const kiln_error *err)
{
	kiln_done_fn done = vm->paused;

	vm->paused = NULL;
	if (done)
		done(vm->paused_data, err ? err->code : 0, err);
}

static void on_paused(void *data)
{
	complete_pause(data, NULL);
}

static enum kiln__end end_of(enum kiln__vcpus_end how)
{
	switch (how) {
	case KILN__VCPUS_POWEROFF:
		return KILN__END_POWEROFF;
	case KILN__VCPUS_FAILED:
		return KILN__END_FAILED;
	default:
		return KILN__END_KILLED;
	}
}

static void tell_end(struct kiln__instance *vm, enum kiln__end how, const kiln_error *err)
{
	kiln_error over;

	if (vm->over)
		return;
	vm->over = true;
	kiln__mailbox_flush(&vm->mailbox);
	kiln__fail(&over, KILN_EDIED, "the virtual machine has ended");
	complete_start(vm, err ? err : &over);
	complete_pause(vm, &over);
	vm->host.ended(vm->host.data, how, err);
}

/* The same VM from the beginning: its vCPUs are parked. */
static bool restart(struct kiln__instance *vm)
{
	kiln_error err;

	if (kiln__board_reset(&vm->board, &err) < 0) {
		kiln__log(vm->host.log, KILN_LOG_ERROR, "the guest cannot boot again: %s",
			  err.message);
		return false;
	}
	kiln__vcpus_restart(vm->vcpus);
	return true;
}

/*
 * The threads of a guest that has reset itself still wait: it boots again, or they end, and the VM
 * with them.
 */
static void on_ended(void *data, enum kiln__vcpus_end how, const kiln_error *err)
{
	struct kiln__instance *vm = data;

	kiln__mailbox_flush(&vm->mailbox);
	if (how != KILN__VCPUS_RESET) {
		tell_end(vm, vm->was_reset && !err ? KILN__END_RESET : end_of(how), err);
	} else if (vm->host.rebooting(vm->host.data) && restart(vm)) {
		vm->host.rebooted(vm->host.data);
	} else {
		vm->was_reset = true;
		kiln__vcpus_stop(vm->vcpus);
	}
}

static const struct kiln__vcpus_handler vcpus_handler = {
	.init = on_init_cpu,
	.started = on_started,
	.paused = on_paused,
	.ended = on_ended,
};

static void on_dying(void *data)
{
	tell_end(data, KILN__END_KILLED, NULL);
}

/* --- the contract ---------------------------------------------------------------------------- */

static void builtin_probe(const char *arch, struct kiln__probe *ret)
{
	*ret = (struct kiln__probe){.usable = false};
	snprintf(ret->version, sizeof(ret->version), "%s", KILN_VERSION);
	snprintf(ret->accel, sizeof(ret->accel), "kvm");
	ret->usable = kiln__kvm_reason(arch, false, &ret->reason) == 0;
}

static int builtin_check(const struct kiln__spec *spec, kiln_error *err)
{
	if (strcmp(spec->arch, kiln__os_arch()) != 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "arch: the builtin backend runs %s guests only, this one is %s",
				  kiln__os_arch(), spec->arch);
	if (strcmp(spec->accel, "tcg") == 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "accel: the builtin backend does not emulate; qemu does");
	return kiln__board_check(spec, err);
}

static int builtin_open(struct kiln__instance **ret, const struct kiln__backend_host *host,
			kiln_error *err)
{
	struct kiln__instance *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return kiln__fail_nomem(err);
	vm->host = *host;
	vm->board.kernel = vm->board.initrd = KILN_FD_NONE;
	r = kiln__mailbox_init(&vm->mailbox, host->loop, &mailbox_handler, vm, err);
	if (r == 0)
		r = kiln__deferred_new(&vm->dying, host->loop, on_dying, vm, err);
	if (r < 0) {
		kiln__mailbox_done(&vm->mailbox);
		free(vm);
		return r;
	}
	*ret = vm;
	return 0;
}

static int builtin_prepare(struct kiln__instance *vm, kiln_error *err)
{
	int r = kiln__kvm_reason_for(vm->host.spec, err);

	if (r < 0)
		return kiln__prefix(err, "backend: builtin cannot run guests here"), r;
	r = kiln__board_init(&vm->board, &vm->host, &vm->mailbox, &pm_handler, vm, err);
	if (r == 0)
		r = kiln__vcpus_new(&vm->vcpus, vm->host.loop, vm->board.vm, &vm->board.bus,
				    vm->host.spec->cpus, &vcpus_handler, vm, err);
	vm->prepared = r == 0;
	return r;
}

/* Completes an operation on a VM that has ended; false: it has not. */
static bool refuse_dead(const struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	kiln_error err;

	if (vm->over && done) {
		kiln__fail(&err, KILN_EDIED, "the virtual machine has ended");
		done(data, err.code, &err);
	}
	return vm->over;
}

static void builtin_start(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	kiln_error err;

	if (refuse_dead(vm, done, data))
		return;
	vm->started = done;
	vm->started_data = data;
	if (kiln__vcpus_start(vm->vcpus, &err) == 0)
		return;
	vm->started = NULL;
	if (done)
		done(data, err.code, &err);
}

static void builtin_shutdown(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	kiln_error err;
	int r;

	if (refuse_dead(vm, done, data))
		return;
	r = kiln__pm_press(&vm->board.pm, KILN__EVENT_POWER, &err);
	if (done)
		done(data, r, r < 0 ? &err : NULL);
}

static void builtin_kill(struct kiln__instance *vm)
{
	if (kiln__vcpus_has_threads(vm->vcpus))
		kiln__vcpus_stop(vm->vcpus);
	else
		kiln__deferred_schedule(vm->dying);
}

static void builtin_pause(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	if (refuse_dead(vm, done, data))
		return;
	vm->paused = done;
	vm->paused_data = data;
	kiln__vcpus_pause(vm->vcpus);
}

static void builtin_resume(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	if (refuse_dead(vm, done, data))
		return;
	kiln__vcpus_resume(vm->vcpus);
	if (done)
		done(data, 0, NULL);
}

static void builtin_connect(struct kiln__instance *vm, uint32_t port, kiln__connect_fn done,
			    void *data)
{
	kiln_error err;

	if (vm->over) {
		kiln__fail(&err, KILN_EDIED, "the virtual machine has ended");
		done(data, NULL, &err);
		return;
	}
	kiln__devices_active(&vm->board.devices);
	if (vm->board.devices.vsock) {
		kiln__vsock_connect(vm->board.devices.vsock, port, done, data);
		return;
	}
	kiln__fail(&err, KILN_ENOTSUP, "the machine has no vsock device");
	done(data, NULL, &err);
}

static size_t builtin_console_write(struct kiln__instance *vm, const void *bytes, size_t len)
{
	if (vm->over)
		return 0;
	kiln__devices_active(&vm->board.devices);
	if (vm->board.devices.console)
		return kiln__console_write(vm->board.devices.console, 0, bytes, len);
	return kiln__uart_input(&vm->board.uart, bytes, len);
}

static const char *builtin_accel(const struct kiln__instance *vm)
{
	return vm->prepared ? "kvm" : "";
}

static int builtin_keep(struct kiln__instance *vm, unsigned *count, kiln_error *err)
{
	return kiln__devices_keep(&vm->board.devices, count, err);
}

static int64_t builtin_pid(const struct kiln__instance *vm)
{
	(void)vm;
	return 0;
}

static void builtin_free(struct kiln__instance *vm)
{
	kiln_error err;

	if (!vm)
		return;
	kiln__vcpus_free(vm->vcpus);
	kiln__fail(&err, KILN_EDIED, "the virtual machine was freed");
	complete_start(vm, &err);
	complete_pause(vm, &err);
	kiln__board_done(&vm->board);
	kiln__deferred_free(vm->dying);
	kiln__mailbox_done(&vm->mailbox);
	free(vm);
}

const struct kiln__backend kiln__backend_builtin = {
	.name = "builtin",
	.summary = "kiln's own VMM, in the VM's process: KVM",
	.features = KILN__CAN_PAUSE | KILN__CAN_POWER_KEY | KILN__CAN_VSOCK | KILN__CAN_CONSOLE |
		    KILN__CAN_KVM | KILN__CAN_NETWORK | KILN__CAN_PORTS,
	.probe = builtin_probe,
	.works = kiln__kvm_reason,
	.check = builtin_check,
	.open = builtin_open,
	.prepare = builtin_prepare,
	.start = builtin_start,
	.shutdown = builtin_shutdown,
	.kill = builtin_kill,
	.pause = builtin_pause,
	.resume = builtin_resume,
	.connect = builtin_connect,
	.console_write = builtin_console_write,
	.accel = builtin_accel,
	.pid = builtin_pid,
	.keep = builtin_keep,
	.free = builtin_free,
};
