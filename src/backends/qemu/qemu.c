/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU as a backend: a process driven by QMP.
 *
 * prepare() opens every file, makes the channels (socket pairs, all inherited) and
 * spawns QEMU stopped (-S), so that QEMU sets itself up while this process gives up
 * its rights; start() is one QMP command, "cont". The vsock device is kiln's own, in
 * this process, by vhost-user; QEMU's RAM is shared with it by memfd.
 *
 * QEMU ends with the guest (-no-reboot). Why it ended is what its SHUTDOWN event
 * said, if one came, else what its process's exit and last words tell; ended() waits
 * for the process, so that nothing of the VM is left when it is called.
 *
 * q35 is for guests that want PCI or firmware-like surroundings; microvm boots
 * faster. Both take the same devices, on PCI or on virtio-mmio.
 */
#include "qemu.h"

#include "argv.h"
#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "handles.h"
#include "os.h"
#include "probe.h"
#include "process.h"
#include "qmp.h"
#include "stage.h"
#include "tsc.h"
#include "vhost_user.h"
#include "virtiofsd.h"
#include "vsock.h"

#include <stdlib.h>
#include <string.h>

/* How long a QEMU without its monitor may take to end by itself, and so to say why. */
#define CLOSED_MS 2000

#define MAX_DISKS (KILN__OS_MAX_FDS - KILN__QEMU_FD_DISK)

struct kiln__instance {
	struct kiln__backend_host host;
	struct kiln__qemu_plan plan;
	char *binary;
	struct kiln__process_vmm *vmm;
	struct kiln__qmp *qmp;
	struct kiln__stream *console;
	struct kiln__vsock *vsock;
	struct kiln__vhost_user *vhost_user;
	struct kiln__virtiofsd *virtiofsd;
	struct kiln__deferred *killing;
	struct kiln__timer *closed;
	enum kiln__end end; /* what its SHUTDOWN event said */
	bool end_known;
	bool killed;
	bool panicked;
	kiln_error no_kvm; /* why not, where it could have been */
	kiln_error why;    /* it cannot go on; code 0 while it can */
};

static void on_qmp_event(void *data, const char *name, const json_t *event)
{
	struct kiln__instance *vm = data;
	const char *reason;

	if (strcmp(name, "GUEST_PANICKED") == 0 && !vm->panicked) {
		vm->panicked = true;
		vm->host.panicked(vm->host.data);
	}
	if (strcmp(name, "SHUTDOWN") != 0)
		return;
	/* ShutdownCause of qapi/run-state.json. */
	reason = json_string_value(json_object_get(event, "reason"));
	vm->end_known = true;
	if (reason && strcmp(reason, "guest-shutdown") == 0)
		vm->end = KILN__END_POWEROFF;
	else if (reason && strcmp(reason, "guest-reset") == 0)
		vm->end = KILN__END_RESET;
	else if (reason && strcmp(reason, "guest-panic") == 0)
		vm->end = KILN__END_FAILED;
	else
		vm->end_known = false;
}

static void on_qmp_closed(void *data)
{
	struct kiln__instance *vm = data;

	if (!vm->end_known)
		kiln__timer_start(vm->closed, CLOSED_MS);
}

/* QEMU without its monitor cannot be managed. */
static void on_closed_long(void *data)
{
	struct kiln__instance *vm = data;

	kiln__vmm_kill(vm->vmm);
}

static const struct kiln__qmp_handler qmp_handler = {
	.event = on_qmp_event,
	.closed = on_qmp_closed,
};

static void on_vmm_ended(void *data, struct kiln__exit how)
{
	struct kiln__instance *vm = data;
	enum kiln__end end = KILN__END_FAILED;
	kiln_error err = KILN_ERROR_INIT;

	if (vm->killed)
		end = KILN__END_KILLED;
	else if (vm->why.code)
		err = vm->why;
	else if (vm->end_known)
		end = vm->end;
	else
		kiln__vmm_fail(vm->vmm, "QEMU", how, &err);
	if (!err.code && end == KILN__END_FAILED)
		kiln__fail(&err, KILN_EDIED, "the guest's kernel panicked");
	else if (!err.code)
		kiln__fail(&err, KILN_EDIED, "QEMU has ended");
	kiln__timer_stop(vm->closed);
	kiln__qmp_end(vm->qmp, &err);
	kiln__qmp_free(kiln__take(vm->qmp));
	vm->host.ended(vm->host.data, end, end == KILN__END_FAILED ? &err : NULL);
}

static const struct kiln__process_handler process_handler = {.ended = on_vmm_ended};

static size_t on_console_data(void *data, const void *bytes, size_t len)
{
	struct kiln__instance *vm = data;

	vm->host.console(vm->host.data, bytes, len);
	return len;
}

static void on_console_error(void *data, const kiln_error *err)
{
	(void)data;
	(void)err; /* QEMU's end is noticed by its process */
}

static const struct kiln__stream_handler console_handler = {
	.on_data = on_console_data,
	.on_error = on_console_error,
};

/* --- preparing ---------------------------------------------------------------- */

/* SeaBIOS comes with QEMU, which finds it by itself; UEFI with a package of its own. */
static int add_firmware(struct kiln__instance *vm, struct kiln__handles *handles, kiln_error *err)
{
	const struct kiln__spec *spec = vm->host.spec;
	struct kiln__source source = {.path = spec->qemu_firmware, .fd = KILN_FD_NONE};

	if (!source.path && spec->firmware == KILN__FIRMWARE_UEFI)
		source.path = kiln__qemu_find_uefi(spec->arch, err);
	if (!source.path)
		return spec->firmware == KILN__FIRMWARE_UEFI ? KILN_ENOENT : 0;
	vm->plan.firmware_file = true;
	return kiln__handles_add_boot_file(handles, &source, KILN__QEMU_FD_KERNEL, "qemu.firmware",
					   err);
}

static int add_disks(struct kiln__instance *vm, struct kiln__handles *handles, kiln_error *err)
{
	const struct kiln__spec *spec = vm->host.spec;
	int number = KILN__QEMU_FD_DISK;
	int r = 0;

	if (vm->plan.root_disk) {
		bool writable = kiln__root_is_writable(&spec->root);

		r = kiln__handles_add_disk(handles, &spec->root.source, number++, writable, "root",
					   err);
	}
	for (size_t i = 0; r == 0 && i < spec->disk_count; i++) {
		const struct kiln__disk *disk = &spec->disks[i];
		char key[32];

		snprintf(key, sizeof(key), "disks[%zu]", i);
		r = kiln__handles_add_disk(handles, &disk->source, number++, !disk->readonly, key,
					   err);
	}
	return r;
}

static int make_console(struct kiln__instance *vm, struct kiln__handles *handles, kiln_error *err)
{
	kiln_fd fd = KILN_FD_NONE;
	int r = kiln__handles_add_channel(handles, KILN__QEMU_FD_CONSOLE, &fd, err);

	if (r < 0)
		return r;
	r = kiln__fdstream_new(&vm->console, vm->host.loop, fd, err);
	if (r < 0) {
		kiln__os_close(fd);
		return r;
	}
	kiln__stream_set_handler(vm->console, &console_handler, vm);
	kiln__stream_resume(vm->console);
	return 0;
}

static int make_qmp(struct kiln__instance *vm, struct kiln__handles *handles, kiln_error *err)
{
	kiln_fd fd = KILN_FD_NONE;
	int r = kiln__handles_add_channel(handles, KILN__QEMU_FD_QMP, &fd, err);

	if (r < 0)
		return r;
	r = kiln__qmp_new(&vm->qmp, vm->host.loop, fd, &qmp_handler, vm, err);
	if (r < 0)
		kiln__os_close(fd);
	return r;
}

static bool on_incoming(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	struct kiln__instance *vm = data;

	return vm->host.incoming(vm->host.data, port, from, stream);
}

/*
 * The machine has lost its vsock device, and with it its agent. If QEMU has closed the
 * connection it is ending, which its process tells.
 */
static void on_device_end(void *data, const kiln_error *err)
{
	struct kiln__instance *vm = data;

	if (!err)
		return;
	vm->why = *err;
	kiln__prefix(&vm->why, "the vsock device");
	kiln__deferred_schedule(vm->killing);
}

static int make_vsock(struct kiln__instance *vm, struct kiln__handles *handles, kiln_error *err)
{
	const struct kiln__spec *spec = vm->host.spec;
	kiln_fd fd = KILN_FD_NONE;
	int r;

	if (!spec->vsock)
		return 0;
	r = kiln__vsock_new(&vm->vsock, vm->host.loop, spec->cid ? spec->cid : 3, err);
	if (r < 0)
		return r;
	kiln__vsock_listen(vm->vsock, on_incoming, vm);
	r = kiln__handles_add_channel(handles, KILN__QEMU_FD_VSOCK, &fd, err);
	if (r < 0)
		return r;
	r = kiln__vhost_user_new(&vm->vhost_user, vm->host.loop, fd, kiln__vsock_device(vm->vsock),
				 err);
	if (r < 0)
		kiln__os_close(fd);
	else
		kiln__vhost_user_on_end(vm->vhost_user, on_device_end, vm);
	return r;
}

static void on_share_failed(void *data, const kiln_error *err)
{
	struct kiln__instance *vm = data;

	if (!vm->why.code)
		vm->why = *err;
	kiln__deferred_schedule(vm->killing);
}

/* In a directory of their own, so that nobody else can connect to one before it is gone. */
static int make_shares(struct kiln__instance *vm, struct kiln__handles *handles, kiln_error *err)
{
	size_t count = vm->host.spec->share_count;
	int number = (int)(KILN__QEMU_FD_DISK + vm->host.spec->disk_count + vm->plan.root_disk);
	char *dir = NULL;
	int r;

	if (!count)
		return 0;
	r = kiln__stage_make(&dir, "shares", vm->host.id, err);
	if (r == 0)
		r = kiln__virtiofsd_new(&vm->virtiofsd, &vm->host, on_share_failed, vm, err);
	for (size_t i = 0; r == 0 && i < count; i++) {
		kiln__autofree char *path = kiln__strf("%s/socket", dir);
		kiln_fd fd;

		r = path ? kiln__virtiofsd_connect(vm->virtiofsd, i, path, &fd, err)
			 : kiln__fail_nomem(err);
		if (r == 0)
			r = kiln__handles_add(handles, fd, number++, err);
	}
	kiln__stage_remove(dir);
	return r;
}

static bool has_low_port(const struct kiln__spec *spec)
{
	for (size_t i = 0; i < spec->port_count; i++)
		if (spec->ports[i].host_port < 1024)
			return true;
	return false;
}

static int qemu_prepare(struct kiln__instance *vm, kiln_error *err)
{
	const struct kiln__spec *spec = vm->host.spec;
	struct kiln__handles handles = {.count = 0};
	char **argv;
	int r;

	r = kiln__qemu_find(spec->qemu_binary, spec->arch, &vm->binary, err);
	if (r == 0)
		r = kiln__qemu_use_kvm(spec, &vm->no_kvm, err);
	if (r < 0)
		return r;
	vm->plan.kvm = r == 1;
	vm->plan.binary = vm->binary;
	if (!vm->plan.kvm && strcmp(spec->arch, "x86_64") == 0)
		vm->plan.tsc_khz = kiln__qemu_tsc_khz();
	if (spec->firmware != KILN__FIRMWARE_NONE)
		r = add_firmware(vm, &handles, err);
	else
		r = kiln__handles_add_boot_file(&handles, &spec->kernel, KILN__QEMU_FD_KERNEL,
						"kernel", err);
	if (r == 0)
		r = kiln__handles_add_boot_file(&handles, &spec->initrd, KILN__QEMU_FD_INITRD,
						"initrd", err);
	if (r == 0)
		r = add_disks(vm, &handles, err);
	if (r == 0)
		r = make_qmp(vm, &handles, err);
	if (r == 0)
		r = make_console(vm, &handles, err);
	if (r == 0)
		r = make_vsock(vm, &handles, err);
	if (r == 0)
		r = make_shares(vm, &handles, err);
	argv = r == 0 ? kiln__qemu_argv(&vm->plan) : NULL;
	if (r == 0 && !argv)
		r = kiln__fail_nomem(err);
	if (r == 0)
		r = kiln__vmm_spawn(&vm->vmm, vm->host.loop, vm->host.log,
				    &(struct kiln__process_plan){
					    .path = vm->binary,
					    .argv = (const char *const *)argv,
					    .fds = handles.fds,
					    .fd_count = handles.count,
					    .offline = !spec->network_count,
					    .low_ports = has_low_port(spec),
				    },
				    &process_handler, vm, err);
	kiln__qemu_argv_free(argv);
	kiln__handles_done(&handles);
	return r;
}

/* --- the contract ---------------------------------------------------------------- */

static int qemu_check(const struct kiln__spec *spec, kiln_error *err)
{
	enum kiln__qemu_machine machine;
	size_t disks = spec->disk_count + (spec->root.kind != KILN__ROOT_NONE);
	int r = kiln__qemu_machine_of(spec, &machine, err);

	if (r < 0)
		return r;
	if (spec->firmware == KILN__FIRMWARE_NONE && !kiln__source_is_set(&spec->kernel))
		return kiln__fail(err, KILN_EINVAL, "kernel: the qemu backend needs one");
	if (strcmp(spec->on_reboot, "restart") == 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "on_reboot: the qemu backend cannot restart a guest; builtin and "
				  "cloud-hypervisor can");
	for (size_t i = 0; i < spec->network_count; i++)
		if (spec->networks[i].kind != KILN__NETWORK_USER)
			return kiln__fail(err, KILN_ENOTSUP,
					  "networks[%zu].kind: the qemu backend has no %s", i,
					  spec->networks[i].kind == KILN__NETWORK_TAP
						  ? "tap; builtin has"
						  : "bridged networks; vz has");
	for (size_t i = 0; i < spec->disk_count; i++)
		if (spec->disks[i].bus != KILN__DISK_VIRTIO)
			return kiln__fail(err, KILN_ENOTSUP,
					  "disks[%zu].bus: the qemu backend has virtio; vz has all",
					  i);
	if (disks + spec->share_count > MAX_DISKS)
		return kiln__fail(err, KILN_EINVAL,
				  "%s: at most %d disks and shares, the root included",
				  spec->share_count ? "shares" : "disks", MAX_DISKS);
	for (size_t i = 0; i < spec->port_count; i++)
		if (spec->ports[i].host_ip && strchr(spec->ports[i].host_ip, ':'))
			return kiln__fail(err, KILN_ENOTSUP,
					  "ports[%zu].host_ip: QEMU's own network listens on IPv4 "
					  "addresses only",
					  i);
	if (spec->port_count && !spec->network_count)
		return kiln__fail(err, KILN_EINVAL,
				  "ports: a published port needs a network (networks[0])");
	return kiln__virtiofsd_check(spec, err);
}

/*
 * Guest memory is let go first, so that it is QEMU's end that frees it, as it would without
 * us: that takes longer than all else the runner does in its life.
 */
static void on_killing(void *data)
{
	struct kiln__instance *vm = data;

	kiln__vhost_user_free(vm->vhost_user);
	vm->vhost_user = NULL;
	if (vm->vmm)
		kiln__vmm_kill(vm->vmm);
}

static int qemu_open(struct kiln__instance **ret, const struct kiln__backend_host *host,
		     kiln_error *err)
{
	struct kiln__instance *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return kiln__fail_nomem(err);
	vm->host = *host;
	vm->plan = (struct kiln__qemu_plan){
		.spec = host->spec,
		.id = host->id,
		.root_disk = host->spec->root.kind != KILN__ROOT_NONE,
	};
	r = kiln__qemu_machine_of(host->spec, &vm->plan.machine, err);
	if (r == 0)
		r = kiln__deferred_new(&vm->killing, host->loop, on_killing, vm, err);
	if (r == 0)
		r = kiln__timer_new(&vm->closed, host->loop, on_closed_long, vm, err);
	if (r < 0) {
		kiln__deferred_free(vm->killing);
		free(vm);
		return r;
	}
	*ret = vm;
	return 0;
}

static void command(struct kiln__instance *vm, const char *name, kiln_done_fn done, void *data)
{
	kiln_error err;

	if (vm->qmp) {
		kiln__qmp_send(vm->qmp, name, done, data);
		return;
	}
	kiln__fail(&err, KILN_EDIED, "QEMU has ended");
	if (done)
		done(data, err.code, &err);
}

static void qemu_start(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	command(vm, "cont", done, data);
}

static void qemu_shutdown(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	command(vm, "system_powerdown", done, data);
}

static void qemu_pause(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	command(vm, "stop", done, data);
}

static void qemu_resume(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	command(vm, "cont", done, data);
}

static void qemu_kill(struct kiln__instance *vm)
{
	vm->killed = true;
	kiln__deferred_schedule(vm->killing); /* we may be inside a handler of the device */
}

static void qemu_connect(struct kiln__instance *vm, uint32_t port, kiln__connect_fn done,
			 void *data)
{
	kiln_error err;

	if (vm->vsock) {
		kiln__vsock_connect(vm->vsock, port, done, data);
		return;
	}
	kiln__fail(&err, KILN_ENOTSUP, "the machine has no vsock device");
	done(data, NULL, &err);
}

static size_t qemu_console_write(struct kiln__instance *vm, const void *bytes, size_t len)
{
	ssize_t n = vm->console ? kiln__stream_write(vm->console, bytes, len) : 0;

	return n > 0 ? (size_t)n : 0;
}

static const char *qemu_accel(const struct kiln__instance *vm)
{
	return !vm->binary ? "" : vm->plan.kvm ? "kvm" : "tcg";
}

static const char *qemu_accel_reason(const struct kiln__instance *vm)
{
	return vm->no_kvm.message;
}

static int qemu_keep(struct kiln__instance *vm, unsigned *count, kiln_error *err)
{
	int r = kiln__vmm_keep(vm->vmm, count, err);

	return r < 0 ? r : kiln__virtiofsd_keep(vm->virtiofsd, count, err);
}

static int64_t qemu_pid(const struct kiln__instance *vm)
{
	return vm->vmm ? kiln__vmm_pid(vm->vmm) : 0;
}

static void qemu_free(struct kiln__instance *vm)
{
	if (!vm)
		return;
	/* First, since what it completes may call back in here: kill, mostly. */
	kiln__qmp_free(kiln__take(vm->qmp));
	kiln__deferred_free(vm->killing);
	kiln__timer_free(vm->closed);
	kiln__vmm_free(vm->vmm);
	kiln__virtiofsd_free(vm->virtiofsd);
	kiln__vhost_user_free(vm->vhost_user);
	kiln__vsock_free(vm->vsock);
	kiln__stream_close(vm->console);
	free(vm->binary);
	free(vm);
}

const struct kiln__backend kiln__backend_qemu = {
	.name = "qemu",
	.summary = "QEMU as a process: KVM where it works, else emulation (TCG)",
	.features = KILN__CAN_PAUSE | KILN__CAN_POWER_KEY | KILN__CAN_VSOCK | KILN__CAN_CONSOLE |
		    KILN__CAN_KVM | KILN__CAN_TCG | KILN__CAN_FOREIGN | KILN__CAN_NETWORK |
		    KILN__CAN_PORTS | KILN__CAN_FIRMWARE | KILN__CAN_SHARE,
	.probe = kiln__qemu_probe,
	.check = qemu_check,
	.open = qemu_open,
	.prepare = qemu_prepare,
	.start = qemu_start,
	.shutdown = qemu_shutdown,
	.kill = qemu_kill,
	.pause = qemu_pause,
	.resume = qemu_resume,
	.connect = qemu_connect,
	.console_write = qemu_console_write,
	.accel = qemu_accel,
	.accel_reason = qemu_accel_reason,
	.pid = qemu_pid,
	.keep = qemu_keep,
	.free = qemu_free,
};
