/* SPDX-License-Identifier: Apache-2.0 */
#include "vm.h"

#include "fdstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS 300000

static struct {
	const char *kernel;
	const char *work;
	char tsc[64];
} files;

void vm_files(const char *kernel, const char *work)
{
	FILE *cpuinfo = fopen("/proc/cpuinfo", "r");
	char line[256];
	double mhz = 2000;

	files.kernel = kernel;
	files.work = work;
	while (cpuinfo && fgets(line, sizeof(line), cpuinfo))
		if (sscanf(line, "cpu MHz : %lf", &mhz) == 1)
			break;
	if (cpuinfo)
		fclose(cpuinfo);
	/*
	 * Emulated, the kernel measures the TSC against an interval timer that a busy host
	 * serves late, and then hangs; QEMU passes the host's TSC through.
	 */
	snprintf(files.tsc, sizeof(files.tsc), "tsc_early_khz=%.0f", mhz * 1000);
}

/* --- waiting ------------------------------------------------------------------------- */

static void on_deadline(void *data)
{
	struct vm *vm = data;

	vm->late = true;
}

static void wait_until(struct vm *vm, const bool *done)
{
	vm->late = false;
	kiln__timer_start(vm->deadline, DEADLINE_MS);
	while (!*done && !vm->late && !(vm->ended && done != &vm->ended))
		kiln_loop_step(vm->loop);
	kiln__timer_stop(vm->deadline);
	if (!*done)
		fail_msg("%s; the console: %s", vm->ended ? "QEMU has ended" : "nothing happens",
			 vm->said.data ? vm->said.data : "");
}

void vm_wait(struct vm *vm, const bool *done)
{
	wait_until(vm, done);
}

void vm_wait_end(struct vm *vm)
{
	wait_until(vm, &vm->ended);
}

/* --- the agent -------------------------------------------------------------------------- */

static void on_hello(void *data, const struct kiln__agent_hello *hello)
{
	struct vm *vm = data;

	vm->hello = true;
	vm->hello_is = *hello;
	if (!hello->agent) /* it is said to the boot port only */
		return;
	snprintf(vm->strings[0], sizeof(vm->strings[0]), "%s", hello->agent);
	snprintf(vm->strings[1], sizeof(vm->strings[1]), "%s", hello->kernel);
	snprintf(vm->strings[2], sizeof(vm->strings[2]), "%s", hello->arch);
}

static void on_shutting_down(void *data, uint32_t cause)
{
	struct vm *vm = data;

	vm->event = true;
	vm->cause = cause;
}

static void on_closed(void *data, const kiln_error *err)
{
	struct vm *vm = data;

	(void)err;
	kiln__agent_free(vm->agent);
	vm->agent = NULL;
}

static const struct kiln__agent_handler agent_handler = {
	.hello = on_hello,
	.shutting_down = on_shutting_down,
	.closed = on_closed,
};

static bool on_accept(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	struct vm *vm = data;
	kiln_error err;

	(void)from;
	if (port == KILN__AGENT_BOOT_PORT && vm->refuse)
		vm->refused = true;
	if (port != KILN__AGENT_BOOT_PORT || vm->agent || vm->refuse)
		return false;
	kiln_ok(kiln__agent_new(&vm->agent, vm->loop, stream, &agent_handler, vm, &err), &err);
	return true;
}

static void on_visit(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct vm *vm = data;
	kiln_error why;

	if (!stream)
		fail_msg("%s", err->message);
	kiln_ok(kiln__agent_new(&vm->agent, vm->loop, stream, &agent_handler, vm, &why), &why);
}

void vm_visit(struct vm *vm)
{
	kiln__vsock_connect(vm->vsock, KILN__AGENT_PORT, on_visit, vm);
	wait_until(vm, &vm->hello);
}

static void on_reply(void *data, const void *result, const kiln_error *err)
{
	struct vm *vm = data;

	vm->answered = true;
	vm->error = err ? *err : (kiln_error)KILN_ERROR_INIT;
	if (result)
		memcpy(&vm->answer, result, sizeof(vm->answer));
}

void vm_send(struct vm *vm, uint8_t type, const struct kiln__record *record, const void *value,
	     const struct kiln__record *result)
{
	kiln_error err;

	vm->answered = false;
	assert_non_null(vm->agent);
	kiln_ok(kiln__agent_request(vm->agent,
				    &(struct kiln__agent_call){
					    .type = type,
					    .record = record,
					    .value = value,
					    .result = result,
					    .reply = on_reply,
					    .data = vm,
				    },
				    &err),
		&err);
}

void vm_request(struct vm *vm, uint8_t type, const struct kiln__record *record, const void *value,
		const struct kiln__record *result)
{
	vm_send(vm, type, record, value, result);
	wait_until(vm, &vm->answered);
}

void vm_setup(struct vm *vm, const struct kiln__agent_setup *setup)
{
	wait_until(vm, &vm->hello);
	vm_request(vm, KILN__AGENT_SETUP, &kiln__agent_setup_record, setup,
		   &kiln__agent_setup_done_record);
}

/* --- QEMU --------------------------------------------------------------------------------- */

static void on_qemu_end(void *data, struct kiln__exit how)
{
	struct vm *vm = data;

	(void)how;
	vm->ended = true;
}

static size_t on_qmp(void *data, const void *bytes, size_t len)
{
	(void)data;
	(void)bytes;
	return len;
}

static size_t on_console(void *data, const void *bytes, size_t len)
{
	struct vm *vm = data;

	if (getenv("KILN_TEST_CONSOLE"))
		fwrite(bytes, 1, len, stderr);
	kiln__buf_add(&vm->said, bytes, len);
	return len;
}

static void ignore(void *data)
{
	(void)data;
}

static void ignore_error(void *data, const kiln_error *err)
{
	(void)data;
	(void)err;
}

static const struct kiln__stream_handler qmp_handler = {on_qmp, ignore, ignore, ignore_error};
static const struct kiln__stream_handler console_handler = {on_console, ignore, ignore,
							    ignore_error};

void vm_qmp(struct vm *vm, const char *command)
{
	char text[128];
	int len = snprintf(text, sizeof(text), "{\"execute\":\"%s\"}\n", command);

	assert_int_equal(kiln__stream_write(vm->qmp, text, (size_t)len), len);
}

struct args {
	const char *argv[80];
	size_t count;
	char *owned[VM_MAX_DISKS * 2 + 4];
	size_t owned_count;
};

static void add(struct args *args, const char *arg)
{
	args->argv[args->count++] = arg;
}

static void add_text(struct args *args, char *arg)
{
	assert_non_null(arg);
	args->owned[args->owned_count++] = arg;
	add(args, arg);
}

static void add_devices(struct args *args, const struct vm_config *config)
{
	for (int i = 0; i < VM_MAX_DISKS && config->disks[i].file; i++) {
		add(args, "-drive");
		add_text(args, kiln__strf("if=none,id=disk%d,format=raw,file=%s/%s,read-only=%s", i,
					  files.work, config->disks[i].file,
					  config->disks[i].read_only ? "on" : "off"));
		add(args, "-device");
		add_text(args, kiln__strf("virtio-blk-device,drive=disk%d,serial=%s", i,
					  config->disks[i].serial));
	}
	if (!config->no_vsock) {
		add(args, "-chardev");
		add(args, "socket,id=vsock,fd=11");
		add(args, "-device");
		add(args, "vhost-user-vsock-device,chardev=vsock");
	}
	if (config->network) {
		add(args, "-netdev");
		add(args, "user,id=net,restrict=on");
		add(args, "-device");
		add(args, "virtio-net-device,netdev=net,mac=52:54:00:12:34:56");
	}
}

static void spawn(struct vm *vm, const struct vm_config *config, const struct kiln__spawn_fd fds[4])
{
	static const char *const fixed[] = {
		"qemu-system-x86_64",
		"-M",
		"microvm,memory-backend=ram,pcie=off",
		"-accel",
		"tcg",
		"-cpu",
		"max",
		"-m",
		"256",
		"-object",
		"memory-backend-memfd,id=ram,share=on,size=256M",
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-no-reboot",
		"-global",
		"virtio-mmio.force-legacy=false",
		"-chardev",
		"socket,id=monitor,fd=10",
		"-mon",
		"chardev=monitor,mode=control",
		"-chardev",
		"socket,id=console,fd=12",
		"-serial",
		"chardev:console",
		"-kernel",
	};
	kiln__autofree char *path = NULL;
	struct args args = {.count = 0};
	kiln_error err;

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		add(&args, fixed[i]);
	add(&args, files.kernel);
	add(&args, "-initrd");
	add_text(&args, kiln__strf("%s/%s", files.work, config->initrd));
	add(&args, "-append");
	add_text(&args, kiln__strf("console=ttyS0 panic=-1 reboot=t quiet %s", files.tsc));
	add_devices(&args, config);
	kiln_ok(kiln__os_find_program(&path, args.argv[0], &err), &err);
	kiln_ok(kiln__child_spawn(&vm->qemu,
				  &(struct kiln__spawn){.path = path,
							.argv = args.argv,
							.fds = fds,
							.fd_count = 4,
							.die_with_parent = true},
				  &err),
		&err);
	for (size_t i = 0; i < args.owned_count; i++)
		free(args.owned[i]);
}

static struct kiln__stream *watch(struct vm *vm, kiln_fd fd,
				  const struct kiln__stream_handler *handler)
{
	struct kiln__stream *stream;
	kiln_error err;

	kiln_ok(kiln__fdstream_new(&stream, vm->loop, fd, &err), &err);
	kiln__stream_set_handler(stream, handler, vm);
	kiln__stream_resume(stream);
	return stream;
}

void vm_start(struct vm *vm, const struct vm_config *config)
{
	kiln_fd pairs[3][2];
	kiln_error err;

	*vm = (struct vm){.refuse = config->refuse};
	kiln_ok(kiln_loop_new(&vm->loop, &err), &err);
	kiln_ok(kiln__timer_new(&vm->deadline, vm->loop, on_deadline, vm, &err), &err);
	for (int i = 0; i < 3; i++)
		kiln_ok(kiln__os_socket_pair(pairs[i], &err), &err);
	kiln_ok(kiln__vsock_new(&vm->vsock, vm->loop, 42, &err), &err);
	kiln__vsock_listen(vm->vsock, on_accept, vm);
	kiln_ok(kiln__vhost_user_new(&vm->server, vm->loop, pairs[1][0],
				     kiln__vsock_device(vm->vsock), &err),
		&err);
	vm->qmp = watch(vm, pairs[0][0], &qmp_handler);
	vm->console = watch(vm, pairs[2][0], &console_handler);
	spawn(vm, config,
	      (const struct kiln__spawn_fd[]){
		      {pairs[0][1], 10}, {pairs[1][1], 11}, {pairs[2][1], 12}, {2, 2}});
	for (int i = 0; i < 3; i++)
		kiln__os_close(pairs[i][1]);
	kiln_ok(kiln__child_watch(vm->qemu, vm->loop, on_qemu_end, vm, &err), &err);
	vm_qmp(vm, "qmp_capabilities");
}

void vm_done(struct vm *vm)
{
	if (!vm->loop)
		return;
	vm_drop_procs(vm);
	if (vm->qemu && !vm->ended)
		kiln__child_kill(vm->qemu);
	while (vm->qemu && !vm->ended)
		kiln_loop_step(vm->loop);
	kiln__agent_free(vm->agent);
	kiln__child_free(vm->qemu);
	kiln__stream_close(vm->qmp);
	kiln__stream_close(vm->console);
	kiln__buf_done(&vm->said);
	kiln__vhost_user_free(vm->server);
	kiln__vsock_free(vm->vsock);
	kiln__timer_free(vm->deadline);
	kiln_loop_free(vm->loop);
	vm->loop = NULL;
}

/* --- processes ------------------------------------------------------------------------------ */

static void on_started(void *data, uint32_t pid)
{
	struct proc *proc = data;

	(void)pid;
	proc->started = true;
}

static size_t on_output(void *data, int stream, const void *bytes, size_t len)
{
	struct proc *proc = data;

	if (!proc->drop)
		kiln__buf_add(&proc->out[stream - 1], bytes, len);
	proc->taken += len;
	proc->something = true;
	return len;
}

static void on_exited(void *data, const struct kiln__agent_exit *how)
{
	struct proc *proc = data;

	proc->how = *how;
	proc->exited = proc->over = true;
}

static void on_failed(void *data, const kiln_error *err, bool lost)
{
	struct proc *proc = data;

	(void)lost;
	proc->error = *err;
	proc->over = true;
}

static const struct kiln__session_handler session_handler = {
	.started = on_started,
	.output = on_output,
	.exited = on_exited,
	.failed = on_failed,
};

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct proc *proc = data;

	if (proc->dropped) {
		kiln__stream_close(stream);
		free(proc);
		return;
	}
	if (!stream)
		fail_msg("%s", err->message);
	proc->stream = stream;
	proc->connected = true;
}

struct proc *proc_start(struct vm *vm, const struct kiln__agent_start *start)
{
	struct proc *proc = calloc(1, sizeof(*proc));
	kiln_error err;

	assert_non_null(proc);
	proc->vm = vm;
	proc->next = vm->procs;
	vm->procs = proc;
	kiln__vsock_connect(vm->vsock, KILN__AGENT_PORT, on_connected, proc);
	wait_until(vm, &proc->connected);
	kiln_ok(kiln__session_start(&proc->session, vm->loop, proc->stream, start, &session_handler,
				    proc, &err),
		&err);
	return proc;
}

void proc_wait(struct proc *proc)
{
	wait_until(proc->vm, &proc->over);
}

void proc_done(struct proc *proc)
{
	struct proc **at = &proc->vm->procs;

	while (*at != proc)
		at = &(*at)->next;
	*at = proc->next;
	kiln__session_free(proc->session);
	kiln__buf_done(&proc->out[0]);
	kiln__buf_done(&proc->out[1]);
	proc->dropped = true;
	if (proc->connected)
		free(proc);
}

void vm_drop_procs(struct vm *vm)
{
	while (vm->procs)
		proc_done(vm->procs);
}

const char *vm_sh(struct vm *vm, const char *script)
{
	static char said[65536];
	struct proc *proc;
	char argv[8192] = "sh\0-c";
	size_t len = strlen(script) + 1;

	assert_true(len + 6 <= sizeof(argv));
	memcpy(argv + 6, script, len);
	proc = proc_start(vm, &(struct kiln__agent_start){.argv = {argv, 6 + len}});
	proc_wait(proc);
	if (!proc->exited)
		fail_msg("%s: %s", script, proc->error.message);
	if (proc->how.code || proc->how.signal)
		fail_msg("%s: code %u, signal %u: %s", script, proc->how.code, proc->how.signal,
			 proc->out[1].data ? proc->out[1].data : "");
	snprintf(said, sizeof(said), "%s", proc->out[0].data ? proc->out[0].data : "");
	proc_done(proc);
	return said;
}
