/* SPDX-License-Identifier: Apache-2.0 */
#include "contract.h"

#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct subject *subject;

/* --- the fake backend --------------------------------------------------------------- */

static const char *fake_missing(void)
{
	return NULL;
}

static void set(kiln_config *config, const char *path, const char *value)
{
	kiln_error err;

	kiln_ok(kiln_config_set(config, path, value, &err), &err);
}

static void fake_configure(kiln_config *config)
{
	set(config, "backend", "fake");
	set(config, "fake.console", "KILN_READY\n");
	set(config, "readiness.kind", "console");
}

static void fake_never_ready(struct vm *vm)
{
	vm_set(vm, "fake.never_ready", "true");
}

static void fake_cannot_prepare(struct vm *vm)
{
	vm_set(vm, "fake.fail_prepare", "true");
}

static void fake_crash(struct vm *vm)
{
	vm_type(vm, "crash\n");
}

static void fake_will_ignore_stop(struct vm *vm)
{
	vm_set(vm, "fake.ignore_stop", "true");
}

static void nothing(struct vm *vm)
{
	(void)vm;
}

static const struct subject fake = {
	.name = "fake",
	.missing = fake_missing,
	.configure = fake_configure,
	.never_ready = fake_never_ready,
	.cannot_prepare = fake_cannot_prepare,
	.crash = fake_crash,
	.will_ignore_stop = fake_will_ignore_stop,
	.ignore_stop = nothing,
};

/* --- QEMU, with the guest of guest.S ---------------------------------------------------- */

#ifdef CONTRACT_GUEST
#include "kvm.h"

#include <signal.h>
#include <unistd.h>

static const char *qemu_missing(void)
{
	return access("/usr/bin/qemu-system-x86_64", X_OK) < 0 ? "there is no qemu-system-x86_64"
							       : NULL;
}

static void qemu_configure(kiln_config *config)
{
	set(config, "backend", "qemu");
	set(config, "arch", "x86_64");
	set(config, "accel", "tcg");
	set(config, "memory", "32M");
	set(config, "kernel", CONTRACT_GUEST);
	set(config, "vsock.enabled", "false");
	set(config, "rng", "false");
	set(config, "readiness.kind", "console");
}

/* The same guest, waited for in vain on a port where no agent can be. */
static void qemu_never_ready(struct vm *vm)
{
	vm_set(vm, "readiness.kind", "agent");
	vm_set(vm, "vsock.enabled", "true");
}

static void qemu_cannot_prepare(struct vm *vm)
{
	vm_set(vm, "qemu.binary", "/nonexistent/qemu-system-x86_64");
}

static void qemu_crash(struct vm *vm)
{
	pid_t pid = (pid_t)kiln__machine_vmm_pid(vm->machine);

	assert_true(pid > 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
}

static void qemu_ignore_stop(struct vm *vm)
{
	vm_type(vm, "ignore\n");
	vm_await_console(vm, "ignoring the power button");
}

static const struct subject qemu = {
	.name = "qemu",
	.missing = qemu_missing,
	.configure = qemu_configure,
	.never_ready = qemu_never_ready,
	.cannot_prepare = qemu_cannot_prepare,
	.crash = qemu_crash,
	.will_ignore_stop = nothing,
	.ignore_stop = qemu_ignore_stop,
};
#endif

/* --- VMMs with an API: the real ones where they are on PATH, else the stand-ins ------------------
 */

#ifdef CONTRACT_STANDINS
/* With a real one KVM is asked for; the stand-ins emulate. */
static void find_vmm(kiln_config *config, const char *section, const char *program)
{
	kiln__autofree char *found = NULL;
	char key[64];
	char value[512];

	if (kiln__os_find_program(&found, program, NULL) == 0)
		return;
	snprintf(key, sizeof(key), "%s.binary", section);
	snprintf(value, sizeof(value), "%s/%s", CONTRACT_STANDINS, program);
	set(config, key, value);
	if (strcmp(program, "jailer") == 0)
		return;
	snprintf(key, sizeof(key), "%s.preflight", section);
	set(config, key, "false");
}

static void firecracker_configure(kiln_config *config)
{
	set(config, "backend", "firecracker");
	set(config, "arch", "x86_64");
	set(config, "memory", "32M");
	set(config, "kernel", CONTRACT_GUEST_KEYBOARD);
	set(config, "vsock.enabled", "false");
	set(config, "rng", "false");
	set(config, "readiness.kind", "console");
	find_vmm(config, "firecracker", "firecracker");
}

static void firecracker_cannot_prepare(struct vm *vm)
{
	vm_set(vm, "firecracker.binary", "/nonexistent/firecracker");
}

static const struct subject firecracker = {
	.name = "firecracker",
	.no_reset = true,
	.has_standin = true,
	.missing = qemu_missing,
	.configure = firecracker_configure,
	.never_ready = qemu_never_ready,
	.cannot_prepare = firecracker_cannot_prepare,
	.crash = qemu_crash,
	.will_ignore_stop = nothing,
	.ignore_stop = qemu_ignore_stop,
};

/* In its jailer's jail, as somebody else. */
static const char *jail_missing(void)
{
	const char *missing = qemu_missing();

	return !missing && geteuid() != 0 ? "only root can make a jail" : missing;
}

static void jailed_configure(kiln_config *config)
{
	kiln__autofree char *base = kiln__strf("%s/jails", kiln_test_dir());

	firecracker_configure(config);
	kiln_ok(kiln__os_mkdir_p(base, 0700, NULL), NULL);
	set(config, "firecracker.jailer.enabled", "true");
	set(config, "firecracker.jailer.uid", "54321");
	set(config, "firecracker.jailer.gid", "54322");
	set(config, "firecracker.jailer.chroot_base", base);
	find_vmm(config, "firecracker.jailer", "jailer");
}

/* Which cgroups have the controller "pids" here; 0: none that could be written to. */
static unsigned pids_version(void)
{
	if (access("/sys/fs/cgroup/pids/cgroup.procs", W_OK) == 0)
		return 1;
	return access("/sys/fs/cgroup/pids.max", F_OK) == 0 ||
			       access("/sys/fs/cgroup/cgroup.kill", W_OK) == 0
		       ? 2
		       : 0;
}

static void jailed_apart_configure(kiln_config *config)
{
	char parent[40];

	jailed_configure(config);
	set(config, "firecracker.jailer.new_pid_ns", "true");
	set(config, "firecracker.jailer.resource_limits", "[\"no-file=1000\"]");
	if (!pids_version())
		return;
	set(config, "firecracker.jailer.cgroup_version", pids_version() == 1 ? "1" : "2");
	set(config, "firecracker.jailer.cgroups", "[\"pids.max=500\"]");
	snprintf(parent, sizeof(parent), CONTRACT_CGROUP,
		 (int)getpid()); /* others may run beside it */
	set(config, "firecracker.jailer.parent_cgroup", parent);
}

static const struct subject jailed = {
	.name = "firecracker-jailed",
	.backend = "firecracker",
	.no_reset = true,
	.has_standin = true,
	.missing = jail_missing,
	.configure = jailed_configure,
	.never_ready = qemu_never_ready,
	.cannot_prepare = firecracker_cannot_prepare,
	.crash = qemu_crash,
	.will_ignore_stop = nothing,
	.ignore_stop = qemu_ignore_stop,
};

/* With process numbers of its own: not the jailer is the VMM, but what it starts. */
static const struct subject jailed_apart = {
	.name = "firecracker-jailed-apart",
	.backend = "firecracker",
	.no_reset = true,
	.has_standin = true,
	.missing = jail_missing,
	.configure = jailed_apart_configure,
	.never_ready = qemu_never_ready,
	.cannot_prepare = firecracker_cannot_prepare,
	.crash = qemu_crash,
	.will_ignore_stop = nothing,
	.ignore_stop = qemu_ignore_stop,
};

static void cloud_hypervisor_configure(kiln_config *config)
{
	firecracker_configure(config);
	set(config, "backend", "cloud-hypervisor");
	set(config, "kernel", CONTRACT_GUEST);
	set(config, "rng", "true");
	find_vmm(config, "cloud_hypervisor", "cloud-hypervisor");
}

static void cloud_hypervisor_cannot_prepare(struct vm *vm)
{
	vm_set(vm, "cloud_hypervisor.binary", "/nonexistent/cloud-hypervisor");
}

static const struct subject cloud_hypervisor = {
	.name = "cloud-hypervisor",
	.has_standin = true,
	.missing = qemu_missing,
	.configure = cloud_hypervisor_configure,
	.never_ready = qemu_never_ready,
	.cannot_prepare = cloud_hypervisor_cannot_prepare,
	.crash = qemu_crash,
	.will_ignore_stop = nothing,
	.ignore_stop = qemu_ignore_stop,
};
#endif

/* --- kiln's own VMM, with the same guest ---------------------------------------------------- */

#ifdef CONTRACT_GUEST
static const char *builtin_missing(void)
{
	static kiln_error why;

	return kiln__kvm_reason("x86_64", false, &why) < 0 ? why.message : NULL;
}

static void builtin_configure(kiln_config *config)
{
	set(config, "backend", "builtin");
	set(config, "arch", "x86_64");
	set(config, "memory", "32M");
	set(config, "kernel", CONTRACT_GUEST_BUILTIN);
	set(config, "console.serial", "true");
	set(config, "vsock.enabled", "false");
	set(config, "rng", "false");
	set(config, "readiness.kind", "console");
}

static void builtin_cannot_prepare(struct vm *vm)
{
	vm_set(vm, "kernel", "/nonexistent/vmlinux");
}

static void builtin_crash(struct vm *vm)
{
	vm_type(vm, "crash\n");
}

static const struct subject builtin = {
	.name = "builtin",
	.missing = builtin_missing,
	.configure = builtin_configure,
	.never_ready = qemu_never_ready,
	.cannot_prepare = builtin_cannot_prepare,
	.crash = builtin_crash,
	.will_ignore_stop = nothing,
	.ignore_stop = qemu_ignore_stop,
};
#endif

/* --- Virtualization.framework's look-alike, which runs QEMU with the same guest ------------- */

#ifdef CONTRACT_VZ
#include "lookalike.h"

static const char *vz_missing(void)
{
	lookalike_begin();
	return qemu_missing();
}

static void vz_configure(kiln_config *config)
{
	set(config, "backend", "vz");
	set(config, "arch", "x86_64");
	set(config, "memory", "32M");
	set(config, "kernel", CONTRACT_GUEST);
	set(config, "vsock.enabled", "false");
	set(config, "rng", "false");
	set(config, "readiness.kind", "console");
}

static void vz_crash(struct vm *vm)
{
	(void)vm;
	assert_true(lookalike_vmm_pid() > 0);
	assert_int_equal(kill(lookalike_vmm_pid(), SIGKILL), 0);
}

static const struct subject vz = {
	.name = "vz",
	.no_reset = true,
	.missing = vz_missing,
	.configure = vz_configure,
	.never_ready = qemu_never_ready,
	.cannot_prepare = builtin_cannot_prepare,
	.crash = vz_crash,
	.will_ignore_stop = nothing,
	.ignore_stop = qemu_ignore_stop,
};
#endif

static const struct subject *const subjects[] = {
	&fake,
#ifdef CONTRACT_VZ
	&vz,
#endif
#ifdef CONTRACT_GUEST
	&qemu,        &builtin,
#endif
#ifdef CONTRACT_STANDINS
	&firecracker, &jailed,  &jailed_apart, &cloud_hypervisor,
#endif
};

int contract_choose(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		if (strcmp(subjects[i]->name, argv[1]) != 0)
			continue;
		subject = subjects[i];
		return subject->missing() ? kiln_test_skip(subject->missing()) : 0;
	}
	fprintf(stderr, "usage: %s BACKEND\n", argv[0]);
	return 2;
}

/* --- machines ------------------------------------------------------------------------------ */

static void on_event(void *data, const kiln_event *event)
{
	struct vm *vm = data;
	struct seen *seen = &vm->seen[vm->seen_count];

	assert_false(vm->gone);
	assert_true(vm->seen_count < MAX_SEEN);
	assert_int_equal(event->from, vm->seen_count ? seen[-1].to : KILN_STATE_CREATED);
	assert_int_equal(event->err != NULL, event->to == KILN_STATE_FAILED);
	assert_int_equal(kiln_machine_state(vm->machine), event->to);
	*seen = (struct seen){
		.from = event->from,
		.to = event->to,
		.monotonic_ns = event->monotonic_ns,
		.exit = event->exit,
	};
	if (event->err)
		seen->err = *event->err;
	if (vm->seen_count)
		assert_true(seen->monotonic_ns >= seen[-1].monotonic_ns);
	vm->seen_count++;
	if (event->to == vm->awaited)
		vm->hit = true;
}

static void on_console(void *data, const void *bytes, size_t len)
{
	struct vm *vm = data;

	assert_false(vm->gone);
	kiln__buf_add(&vm->console, bytes, len);
	if (vm->awaited_text && strstr(vm->console.data, vm->awaited_text))
		vm->hit = true;
}

void vm_open(struct vm *vm)
{
	kiln_error err;

	*vm = (struct vm){.awaited = KILN_STATE_CREATED};
	kiln_ok(kiln_loop_new(&vm->loop, &err), &err);
	kiln_ok(kiln_config_new(&vm->config, &err), &err);
	subject->configure(vm->config);
}

void vm_set(struct vm *vm, const char *path, const char *value)
{
	set(vm->config, path, value);
}

void vm_make(struct vm *vm)
{
	kiln_machine_options options = KILN_MACHINE_OPTIONS_INIT;
	kiln_error err;

	options.on_event = on_event;
	options.on_console = on_console;
	options.data = vm;
	kiln_ok(kiln_machine_new(&vm->machine, vm->loop, vm->config, &options, &err), &err);
	assert_int_equal(kiln_machine_state(vm->machine), KILN_STATE_CREATED);
}

void vm_await(struct vm *vm, enum kiln_state state)
{
	vm->awaited = state;
	vm->hit = kiln_machine_state(vm->machine) == state;
	kiln_test_run_until(vm->loop, &vm->hit);
	vm->awaited = KILN_STATE_CREATED;
}

void vm_await_console(struct vm *vm, const char *text)
{
	vm->awaited_text = text;
	vm->hit = vm->console.data && strstr(vm->console.data, text);
	kiln_test_run_until(vm->loop, &vm->hit);
	vm->awaited_text = NULL;
}

void vm_make_ready(struct vm *vm)
{
	vm_make(vm);
	kiln_machine_start(vm->machine, NULL, NULL);
	vm_await(vm, KILN_STATE_READY);
}

void vm_type(struct vm *vm, const char *text)
{
	assert_int_equal(kiln__machine_console_write(vm->machine, text, strlen(text)),
			 strlen(text));
}

void vm_free(struct vm *vm)
{
	kiln_machine_free(vm->machine);
	vm->machine = NULL;
	vm->gone = true;
	kiln_test_settle(vm->loop);
}

void vm_close(struct vm *vm)
{
	vm_free(vm);
	kiln_config_free(vm->config);
	kiln_loop_free(vm->loop);
	kiln__buf_done(&vm->console);
}

void assert_passed(const struct vm *vm, ...)
{
	va_list states;
	size_t i = 0;
	int state;

	va_start(states, vm);
	for (; (state = va_arg(states, int)) != PASSED_END; i++) {
		if (i < vm->seen_count && (int)vm->seen[i].to == state)
			continue;
		fail_msg("transition %zu is to %s, not to %s", i,
			 i < vm->seen_count ? kiln_state_name(vm->seen[i].to) : "nothing",
			 kiln_state_name((enum kiln_state)state));
	}
	va_end(states);
	if (i < vm->seen_count)
		fail_msg("there is another transition, to %s", kiln_state_name(vm->seen[i].to));
}

/* --- operations ------------------------------------------------------------------------------ */

void op_done(void *data, int result, const kiln_error *err)
{
	struct op *op = data;

	assert_int_equal(result < 0, err != NULL);
	if (err)
		assert_int_equal(err->code, result);
	op->count++;
	op->result = result;
	op->err = err ? *err : (kiln_error)KILN_ERROR_INIT;
	op->seen_count = op->vm->seen_count;
	op->done = true;
	if (!op->frees)
		return;
	kiln_machine_free(op->vm->machine);
	op->vm->machine = NULL;
	op->vm->gone = true;
}

void op_await(struct op *op)
{
	kiln_test_run_until(op->vm->loop, &op->done);
	kiln_test_settle(op->vm->loop);
	assert_int_equal(op->count, 1);
}

void op_await_code(struct op *op, int code)
{
	op_await(op);
	if (op->result != code)
		fail_msg("it completed with %s (%s), not with %s", kiln_error_name(op->result),
			 op->err.message, kiln_error_name(code));
}

void op_await_ok(struct op *op)
{
	op_await_code(op, 0);
}
