/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMMs with an API that fail in every way: at each request, at any moment, by silence and by
 * nonsense. Whatever happens, the machine has failed with a stage and a reason, or is ready, and
 * when it is freed nothing is left. The stand-ins fail on demand (tests/standins).
 */
#include "contract.h"

#include "apivmm.h"
#include "instance.h"
#include "os.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_firecracker(void)
{
	return strncmp(subject->name, "firecracker", strlen("firecracker")) == 0;
}

/* In a jail it has neither snapshots nor a configuration file. */
static bool is_jailed(void)
{
	return strstr(subject->name, "jailed") != NULL;
}

/* Requests of a start: /version, /machine-config, /boot-source, /actions; ping, create, boot. */
static unsigned start_requests(void)
{
	return is_firecracker() ? 4 : 3;
}

static void set_fault(const char *format, ...) KILN_PRINTF(1, 2);
static void set_fault(const char *format, ...)
{
	char text[128];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	setenv("STANDIN_FAULT", text, 1);
}

static void open_in_test(struct vm *vm)
{
	vm_open(vm);
	setenv("KILN_RUNTIME_DIR", kiln_test_path("run"), 1);
	kiln_ok(kiln__os_mkdir_p(kiln_test_path("run"), 0700, NULL), NULL);
}

/* No socket, no directory of it: only what every run keeps there. */
static void assert_nothing_left(void)
{
	kiln__autofree char *mounts = NULL;
	kiln__autofree char *jails = NULL;
	kiln__autofree char *pids = NULL;
	kiln__autofree char *unified = NULL;
	char **names;
	size_t size;

	kiln_ok(kiln__os_list_dir(kiln_test_path("run"), &names, NULL), NULL);
	for (char **name = names; *name; name++)
		if (strcmp(*name, "kvm-preflight") != 0)
			fail_msg("%s is left", *name);
	kiln__os_free_names(names);
	if (!is_jailed())
		return;
	jails = kiln__strf("%s/jails", kiln_test_dir());
	kiln_ok(kiln__os_list_dir(jails, &names, NULL), NULL);
	if (*names)
		fail_msg("the jail %s is left", *names);
	kiln__os_free_names(names);
	pids = kiln__strf("/sys/fs/cgroup/pids/" CONTRACT_CGROUP, (int)getpid());
	unified = kiln__strf("/sys/fs/cgroup/" CONTRACT_CGROUP, (int)getpid());
	assert_int_not_equal(access(pids, F_OK), 0);
	assert_int_not_equal(access(unified, F_OK), 0);
	kiln_ok(kiln__os_read_file("/proc/self/mountinfo", 1 << 20, &mounts, &size, NULL), NULL);
	assert_null(strstr(mounts, kiln_test_dir()));
}

static void assert_gone(int64_t pid)
{
	assert_true(pid > 0);
	assert_int_equal(kill((pid_t)pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* A stand-in that is the first of its process numbers cannot kill itself. */
static bool tells_of_a_death(const char *message)
{
	return strstr(message, "killed by signal 9") ||
	       (strstr(subject->name, "apart") && strstr(message, "exited with code 137"));
}

/* A start with a fault; yields its result. What is left of it is checked. */
static int start_with_fault(const char *fault, unsigned request, kiln_error *ret_err)
{
	struct op start, stopped;
	int64_t pid;
	struct vm vm;

	open_in_test(&vm);
	if (strcmp(fault, "silent") == 0) /* else a busy machine may be given its time */
		vm_set(&vm, "readiness.timeout", "3s");
	set_fault("%u:%s", request, fault);
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	pid = kiln__machine_vmm_pid(vm.machine);
	op_await(&start);
	if (start.result < 0) {
		op_await(&stopped);
		assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
		assert_true(stopped.err.message[0] && stopped.err.stage[0]);
		*ret_err = stopped.err;
		assert_gone(pid);
		assert_nothing_left();
	}
	unsetenv("STANDIN_FAULT");
	vm_close(&vm);
	assert_gone(pid);
	assert_nothing_left();
	return start.result;
}

/* --- at each request
 * ------------------------------------------------------------------------------ */

static void a_death_at_a_request_fails_the_start(void **state)
{
	static const char *const deaths[] = {"die", "die-half", "die-after", "exit=3"};
	kiln_error err;

	(void)state;
	for (unsigned request = 1; request <= start_requests(); request++)
		for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
			int r = start_with_fault(deaths[i], request, &err);

			/* Its answer to the last may have come before. */
			if (r == 0 && request == start_requests() && i == 2)
				continue;
			assert_true(r < 0);
			if (i == 3 ? !strstr(err.message, "exited with code 3")
				   : !tells_of_a_death(err.message))
				fail_msg("%s at %u: %s", deaths[i], request, err.message);
		}
}

static void a_refusal_is_told_in_its_own_words(void **state)
{
	kiln_error err;

	(void)state;
	for (unsigned request = 1; request <= start_requests(); request++) {
		assert_int_equal(start_with_fault("status=500", request, &err), KILN_EIO);
		assert_non_null(strstr(err.message, "(500)"));
		assert_string_equal(err.stage, "start");
	}
}

static void silence_ends_at_the_deadline(void **state)
{
	kiln_error err;

	(void)state;
	for (unsigned request = 1; request <= start_requests(); request++) {
		assert_int_equal(start_with_fault("silent", request, &err), KILN_ETIMEDOUT);
		assert_non_null(strstr(err.message, "3000 ms"));
	}
}

static void a_closed_api_is_the_end(void **state)
{
	kiln_error err;

	(void)state;
	for (unsigned request = 1; request <= start_requests(); request++) {
		assert_true(start_with_fault("close", request, &err) < 0);
		if (!strstr(err.message, "closed its API"))
			fail_msg("at %u: %s", request, err.message);
	}
}

static void nonsense_is_no_answer(void **state)
{
	static const char *const bad[] = {
		"half-close",      "binary",      "deep-json",       "garbage",     "headers",
		"long-line",       "long-length", "two-lengths",     "huge",        "huge-chunked",
		"negative-length", "no-number",   "overflow-length", "bad-chunked", "cut-chunked",
	};
	kiln_error err;

	(void)state;
	/* The first is a GET, whose answer is read, and none of these can be. */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (start_with_fault(bad[i], 1, &err) >= 0)
			fail_msg("%s is taken for an answer", bad[i]);
}

static void what_is_only_unusual_is_an_answer(void **state)
{
	static const char *const good[] = {"slow", "chunked", "no-length", "continue", "unasked"};
	kiln_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (start_with_fault(good[i], 1, &err) < 0)
			fail_msg("%s: %s", good[i], err.message);
}

/* --- while it runs
 * ---------------------------------------------------------------------------------- */

static void a_death_at_any_moment_leaves_nothing(void **state)
{
	unsigned moments = getenv("KILN_SOAK") ? 30 : 6;
	unsigned seed = 1;

	(void)state;
	for (unsigned i = 0; i < moments; i++) {
		struct op stopped;
		int64_t pid;
		struct vm vm;

		open_in_test(&vm);
		seed = seed * 1103515245 + 12345;
		set_fault("ms=%u:die", (seed >> 16) % 900);
		vm_make(&vm);
		kiln_machine_start(vm.machine, NULL, NULL);
		op_begin(&stopped, &vm, kiln_machine_wait_stopped);
		pid = kiln__machine_vmm_pid(vm.machine);
		op_await(&stopped);
		unsetenv("STANDIN_FAULT");
		assert_int_equal(stopped.result, KILN_EDIED);
		if (!tells_of_a_death(stopped.err.message))
			fail_msg("%s", stopped.err.message);
		assert_true(stopped.err.stage[0]);
		assert_gone(pid);
		vm_close(&vm);
		assert_nothing_left();
	}
}

static void a_refused_pause_leaves_it_running(void **state)
{
	struct op pause;
	struct vm vm;

	(void)state;
	open_in_test(&vm);
	set_fault("%u:status=500", start_requests() + 1);
	vm_make_ready(&vm);
	op_begin(&pause, &vm, kiln_machine_pause);
	op_await_code(&pause, KILN_EIO);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	op_begin(&pause, &vm, kiln_machine_pause);
	op_await_ok(&pause);
	unsetenv("STANDIN_FAULT");
	vm_close(&vm);
	assert_nothing_left();
}

static void a_death_at_a_pause_fails_it_with_the_machine(void **state)
{
	struct op pause, stopped;
	struct vm vm;

	(void)state;
	open_in_test(&vm);
	set_fault("%u:die", start_requests() + 1);
	vm_make_ready(&vm);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	op_begin(&pause, &vm, kiln_machine_pause);
	op_await(&pause);
	assert_true(pause.result < 0);
	op_await_code(&stopped, KILN_EDIED);
	assert_string_equal(stopped.err.stage, "run");
	unsetenv("STANDIN_FAULT");
	vm_close(&vm);
	assert_nothing_left();
}

/* --- what it costs, and what is refused
 * ---------------------------------------------------------------- */

/* One more than the API forces: its version. */
static void a_start_is_few_round_trips(void **state)
{
	struct vm vm;

	(void)state;
	open_in_test(&vm);
	vm_make_ready(&vm);
	assert_int_equal(kiln__http_count(((struct kiln__api_vmm *)vm.machine->instance)->http),
			 start_requests());
	vm_close(&vm);
}

static void refuse(const char *key, const char *value, int code, const char *word)
{
	kiln_machine *machine = NULL;
	kiln_error err;
	struct vm vm;

	open_in_test(&vm);
	vm_set(&vm, key, value);
	if (kiln_machine_new(&machine, vm.loop, vm.config, NULL, &err) != code)
		fail_msg("%s: %s", key, err.message);
	assert_null(machine);
	if (!strstr(err.message, word))
		fail_msg("%s: %s", key, err.message);
	vm_close(&vm);
}

static void what_it_cannot_do_is_refused_by_name_before_it_is_made(void **state)
{
	const char *config = is_firecracker() ? "firecracker.config" : "cloud_hypervisor.config";

	(void)state;
	refuse("accel", "tcg", KILN_ENOTSUP, "accel");
	refuse("arch", "aarch64", KILN_ENOTSUP, "arch");
	refuse("networks", "[{\"kind\":\"user\"}]", KILN_ENOTSUP, "networks[0].kind");
	refuse("disks", "[{\"path\":\"/d\",\"offset\":\"4K\"}]", KILN_ENOTSUP, "disks[0]");
	refuse(config, "{\"nonesuch\": 1}", KILN_EINVAL, "nonesuch");
	if (is_firecracker()) {
		refuse("cpus", "33", KILN_ENOTSUP, "cpus");
		refuse("on_reboot", "restart", KILN_ENOTSUP, "on_reboot");
		refuse("disks", "[{\"path\":\"/d\",\"cache\":\"none\"}]", KILN_ENOTSUP, "cache");
		refuse("disks", "[{\"path\":\"/d\",\"serial\":\"x\"}]", KILN_ENOTSUP, "serial");
		refuse(config, "{\"machine-config\":{\"vcpu_count\":2}}", KILN_EINVAL,
		       "machine-config.vcpu_count");
		refuse(config, "{\"drives\":[{\"drive_id\":\"x\",\"io_engine\":\"Async\"}]}",
		       KILN_EINVAL, "'x'");
	} else {
		refuse("rng", "false", KILN_ENOTSUP, "rng");
		refuse("disks", "[{\"path\":\"/d\",\"cache\":\"unsafe\"}]", KILN_ENOTSUP, "cache");
		refuse(config, "{\"payload\":{\"kernel\":\"/k\"}}", KILN_EINVAL, "payload.kernel");
	}
}

static void refuse_version(const char *version, const char *key, const char *value,
			   const char *word)
{
	struct op start;
	struct vm vm;

	open_in_test(&vm);
	setenv("STANDIN_VERSION", version, 1);
	if (key)
		vm_set(&vm, key, value);
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_ENOTSUP);
	unsetenv("STANDIN_VERSION");
	if (!strstr(start.err.message, word))
		fail_msg("%s", start.err.message);
	assert_null(vm.console.data); /* the guest has not run */
	vm_close(&vm);
	assert_nothing_left();
}

static void what_its_version_has_not_is_refused_before_the_guest_runs(void **state)
{
	(void)state;
	if (is_firecracker()) {
		refuse_version("1.6.0", NULL, NULL, "needs 1.7");
		refuse_version("1.12.0", "firecracker.pci", "true", "firecracker.pci");
		refuse_version("1.13.0", "firecracker.config",
			       "{\"memory-hotplug\":{\"total_size_mib\":1024}}",
			       "memory-hotplug needs Firecracker 1.14");
	} else {
		refuse_version("29.0.0", NULL, NULL, "needs 30");
		refuse_version("40.0.0", "cloud_hypervisor.config", "{\"landlock_enable\":true}",
			       "landlock_enable needs Cloud Hypervisor 41");
	}
}

static void an_older_version_is_run_all_the_same(void **state)
{
	struct vm vm;

	(void)state;
	open_in_test(&vm);
	setenv("STANDIN_VERSION", is_firecracker() ? "1.7.0" : "30.0.0", 1);
	vm_make_ready(&vm);
	unsetenv("STANDIN_VERSION");
	vm_close(&vm);
}

static void without_its_api_firecracker_cannot_pause(void **state)
{
	struct op pause, stop;
	struct vm vm;

	(void)state;
	if (!is_firecracker() || is_jailed())
		return;
	open_in_test(&vm);
	vm_set(&vm, "firecracker.api", "false");
	vm_make_ready(&vm);
	op_begin(&pause, &vm, kiln_machine_pause);
	op_await_code(&pause, KILN_ENOTSUP);
	assert_non_null(strstr(pause.err.message, "firecracker.api"));
	op_begin(&stop, &vm, kiln_machine_stop, 10000); /* nor asked to stop: killed at once */
	op_await_ok(&stop);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_KILLED);
	vm_close(&vm);
	assert_nothing_left();
}

static void update(struct vm *vm, const kiln_update *what, int code, const char *word)
{
	struct op op;

	op = (struct op){.vm = vm};
	kiln_machine_update(vm->machine, what, op_done, &op);
	assert_int_equal(op.count, 0);
	op_await_code(&op, code);
	if (word && !strstr(op.err.message, word))
		fail_msg("%s", op.err.message);
}

static void a_running_machine_is_changed_or_refuses_by_name(void **state)
{
	kiln_update balloon = KILN_UPDATE_INIT;
	kiln_update memory = KILN_UPDATE_INIT;
	kiln_update cpus = KILN_UPDATE_INIT;
	unsigned count;
	struct vm vm;

	(void)state;
	balloon.balloon = 8 << 20;
	memory.memory = 64 << 20;
	cpus.cpus = 2;
	open_in_test(&vm);
	vm_make_ready(&vm);
	count = kiln__http_count(((struct kiln__api_vmm *)vm.machine->instance)->http);
	update(&vm, &balloon, KILN_ENOTSUP, "balloon");
	update(&vm, &memory, KILN_ENOTSUP, "memory");
	update(&vm, &cpus, KILN_ENOTSUP, "cpus");
	assert_int_equal(kiln__http_count(((struct kiln__api_vmm *)vm.machine->instance)->http),
			 count); /* refused here, not by the VMM */
	vm_close(&vm);
	open_in_test(&vm);
	vm_set(&vm, "balloon", "true");
	vm_make(&vm);
	update(&vm, &balloon, KILN_ESTATE, "created");
	kiln_machine_start(vm.machine, NULL, NULL);
	vm_await(&vm, KILN_STATE_READY);
	update(&vm, &balloon, 0, NULL);
	balloon.balloon = 4ull << 30; /* more than it has: the VMM's own words */
	update(&vm, &balloon, KILN_EIO, "refused");
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	vm_close(&vm);
	assert_nothing_left();
}

static void update_own(struct vm *vm, const char *config, int code, const char *word)
{
	kiln_update own = KILN_UPDATE_INIT;

	own.config = config;
	update(vm, &own, code, word);
}

static void a_running_firecracker_is_changed_in_its_own_words(void **state)
{
	struct vm vm;

	(void)state;
	open_in_test(&vm);
	vm_set(&vm, "balloon", "true");
	if (!is_firecracker()) {
		vm_make_ready(&vm);
		update_own(&vm, "{}", KILN_ENOTSUP, "config");
		vm_close(&vm);
		return;
	}
	vm_set(&vm, "firecracker.config",
	       "{\"balloon\":{\"free_page_hinting\":true,\"stats_polling_interval_s\":1}}");
	vm_make_ready(&vm);
	update_own(&vm,
		   "{\"balloon\":{\"stats_polling_interval_s\":2},"
		   "\"balloon-hinting\":{\"start\":{\"acknowledge_on_stop\":true}}}",
		   0, NULL);
	update_own(&vm, "{\"balloon-hinting\":{\"stop\":{}}}", 0, NULL);
	update_own(&vm, "{\"machine-config\":{\"smt\":true}}", KILN_EINVAL, "machine-config");
	update_own(&vm, "{\"drives\":[{\"drive_id\":\"../vm\"}]}", KILN_EINVAL, "drives[0]");
	update_own(&vm, "{\"drives\":[{\"drive_id\":\"none\"}]}", KILN_EIO, "refused");
	update_own(&vm, "no JSON", KILN_EINVAL, "config");
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	vm_close(&vm);
	assert_nothing_left();
}

/* --- devices and more, of a running machine
 * -------------------------------------------------------- */

static void change(struct vm *vm, kiln_change what, int code, const char *word)
{
	struct op op;

	what.size = sizeof(what);
	op = (struct op){.vm = vm};
	kiln_machine_change(vm->machine, &what, op_done, &op);
	assert_int_equal(op.count, 0);
	op_await_code(&op, code);
	if (word && !strstr(op.err.message, word))
		fail_msg("%s", op.err.message);
}

static unsigned round_trips(const struct vm *vm)
{
	return kiln__http_count(((struct kiln__api_vmm *)vm->machine->instance)->http);
}

static void make_disk(const char *path)
{
	kiln_fd fd;

	kiln_ok(kiln__os_open(&fd, path, KILN__OPEN_CREATE | KILN__OPEN_WRITE, NULL), NULL);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	kiln__os_close(fd);
}

static void refuse_changes(struct vm *vm)
{
	kiln_change add = {.kind = KILN_CHANGE_ADD, .id = "d1", .device = "disk"};
	unsigned count = round_trips(vm);

	change(vm, add, KILN_EINVAL, "config");
	add.config = "{\"path\":\"/d\",\"colour\":1}";
	change(vm, add, KILN_EINVAL, "colour");
	add.config = "{\"path\":\"/d\",\"cache\":\"unsafe\"}";
	change(vm, add, KILN_ENOTSUP, "cache");
	add.config = "{\"path\":\"/d\"}";
	add.own = "{\"serial\":\"x\"}";
	change(vm, add, KILN_EINVAL, "told by kiln");
	add.own = "{\"nonesuch\":1}";
	change(vm, add, KILN_EINVAL, "nonesuch");
	add.own = NULL;
	add.id = "_mine";
	change(vm, add, KILN_EINVAL, "id");
	add.id = "d1";
	add.device = "vsock";
	change(vm, add, KILN_ENOTSUP, "'vsock'");
	add.device = "user-device";
	change(vm, add, KILN_ENOTSUP, "'user-device'");
	change(vm,
	       (kiln_change){.kind = KILN_CHANGE_ADD,
			     .id = "n1",
			     .device = "net",
			     .config = "{\"kind\":\"tap\",\"interface\":\"tap0\"}"},
	       KILN_ENOTSUP, "cut off");
	change(vm, (kiln_change){.kind = KILN_CHANGE_RESET}, KILN_ENOTSUP, "on_reboot");
	change(vm, (kiln_change){.kind = KILN_CHANGE_DUMP, .file = "/f"}, KILN_ESTATE, "dump");
	change(vm, (kiln_change){.kind = KILN_CHANGE_REMOVE, .id = "root"}, KILN_ENOTSUP, "root");
	assert_int_equal(round_trips(vm), count); /* by kiln itself, all of it */
}

static void devices_come_and_go_or_are_refused_by_name(void **state)
{
	kiln__autofree char *disk = kiln__strf("{\"path\":\"%s\"}", kiln_test_path("added.img"));
	kiln_change add = {.kind = KILN_CHANGE_ADD, .id = "d1", .device = "disk", .config = disk};
	kiln_change away = {.kind = KILN_CHANGE_REMOVE, .id = "d1"};
	struct vm vm;

	(void)state;
	if (is_firecracker()) /* life_test.c */
		return;
	make_disk(kiln_test_path("added.img"));
	open_in_test(&vm);
	vm_make(&vm);
	change(&vm, add, KILN_ESTATE, "created");
	kiln_machine_start(vm.machine, NULL, NULL);
	vm_await(&vm, KILN_STATE_READY);
	refuse_changes(&vm);
	change(&vm, add, 0, NULL);
	change(&vm, add, KILN_EIO, "not unique"); /* the VMM's own words */
	change(&vm, (kiln_change){.kind = KILN_CHANGE_RESIZE_DISK, .id = "d1", .bytes = 2 << 20}, 0,
	       NULL);
	change(&vm, away, 0, NULL);
	change(&vm, away, KILN_ENOENT, "d1");
	change(&vm, (kiln_change){.kind = KILN_CHANGE_RESIZE_ZONE, .id = "z", .bytes = 1}, KILN_EIO,
	       "Unknown memory zone");
	change(&vm, (kiln_change){.kind = KILN_CHANGE_POWER_BUTTON}, 0, NULL);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	vm_close(&vm);
	assert_nothing_left();
}

static void what_its_version_cannot_is_refused_by_name(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	if (is_firecracker())
		return;
	open_in_test(&vm);
	setenv("STANDIN_VERSION", "38.0.0", 1);
	vm_make_ready(&vm);
	change(&vm, (kiln_change){.kind = KILN_CHANGE_NMI}, KILN_ENOTSUP, "nmi: needs");
	change(&vm, (kiln_change){.kind = KILN_CHANGE_RESIZE_DISK, .id = "root", .bytes = 1},
	       KILN_ENOTSUP, "resize-disk: needs");
	change(&vm,
	       (kiln_change){.kind = KILN_CHANGE_ADD,
			     .device = "generic-vhost-user",
			     .id = "g",
			     .own = "{}"},
	       KILN_ENOTSUP, "needs");
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	change(&vm, (kiln_change){.kind = KILN_CHANGE_DUMP, .file = "/f"}, KILN_ENOTSUP,
	       "guest_debug");
	unsetenv("STANDIN_VERSION");
	vm_close(&vm);
	assert_nothing_left();
}

static void a_paused_guest_is_dumped(void **state)
{
	const char *file = kiln_test_path("core");
	struct kiln__os_stat st;
	struct op op;
	struct vm vm;

	(void)state;
	if (is_firecracker())
		return;
	open_in_test(&vm);
	setenv("STANDIN_FEATURES", "kvm,guest_debug", 1);
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	change(&vm, (kiln_change){.kind = KILN_CHANGE_DUMP, .file = file}, 0, NULL);
	kiln_ok(kiln__os_stat(file, &st, NULL), NULL);
	assert_true(st.size > 1 << 20);
	unsetenv("STANDIN_FEATURES");
	vm_close(&vm);
	assert_nothing_left();
}

/* The VMM's death at each of these requests fails the operation and the machine. */
static void a_death_at_a_change_fails_it_with_the_machine(void **state)
{
	(void)state;
	for (int half = 0; !is_firecracker() && half < 2; half++) {
		struct op stopped;
		struct vm vm;

		open_in_test(&vm);
		setenv("STANDIN_FAULT", half ? "/api/v1/vm.nmi:die-half" : "/api/v1/vm.nmi:die", 1);
		vm_make_ready(&vm);
		op_begin(&stopped, &vm, kiln_machine_wait_stopped);
		change(&vm, (kiln_change){.kind = KILN_CHANGE_NMI}, KILN_EDIED, NULL);
		op_await_code(&stopped, KILN_EDIED);
		assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
		unsetenv("STANDIN_FAULT");
		vm_close(&vm);
		assert_nothing_left();
	}
}

static void a_reset_boots_the_guest_again(void **state)
{
	struct vm vm;

	(void)state;
	if (is_firecracker())
		return;
	open_in_test(&vm);
	vm_set(&vm, "on_reboot", "restart");
	vm_make_ready(&vm);
	kiln__buf_clear(&vm.console);
	change(&vm, (kiln_change){.kind = KILN_CHANGE_RESET}, 0, NULL);
	vm_await_console(&vm, "KILN_READY");
	vm_await(&vm, KILN_STATE_READY);
	vm_close(&vm);
	assert_nothing_left();
}

/* Done, but the answer never comes: the VMM is asked, and says that it is so. */
static void what_is_late_is_asked_for(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	if (is_firecracker())
		return;
	open_in_test(&vm);
	setenv("STANDIN_FAULT", "/api/v1/vm.pause:half;/api/v1/vm.resume:silent", 1);
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_PAUSED);
	op_begin(&op, &vm, kiln_machine_resume); /* this one was not done */
	op_await_code(&op, KILN_ETIMEDOUT);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_PAUSED);
	unsetenv("STANDIN_FAULT");
	vm_close(&vm);
	assert_nothing_left();
}

struct counters {
	bool done;
	int code;
	bool object;
};

static void on_counters(void *data, const char *text, const kiln_error *err)
{
	struct counters *counters = data;

	assert_false(counters->done);
	counters->done = true;
	counters->code = err ? err->code : 0;
	counters->object = text && text[0] == '{';
}

static void what_the_vmm_counts_is_told(void **state)
{
	struct counters counters = {0};
	struct vm vm;

	(void)state;
	open_in_test(&vm);
	if (is_firecracker()) {
		vm_set(&vm, "balloon", "true");
		vm_set(&vm, "firecracker.config", "{\"balloon\":{\"stats_polling_interval_s\":1}}");
	}
	vm_make(&vm);
	assert_false(kiln__machine_counters(vm.machine, on_counters, &counters));
	kiln_machine_start(vm.machine, NULL, NULL);
	vm_await(&vm, KILN_STATE_READY);
	assert_true(kiln__machine_counters(vm.machine, on_counters, &counters));
	kiln_test_run_until(vm.loop, &counters.done);
	assert_true(counters.object);
	/* One that is pending when all is given up is told, too. */
	counters = (struct counters){0};
	assert_true(kiln__machine_counters(vm.machine, on_counters, &counters));
	vm_close(&vm);
	assert_true(counters.done);
	assert_nothing_left();
}

static void a_balloon_that_is_told_nothing_has_no_statistics(void **state)
{
	struct counters counters = {0};
	struct vm vm;

	(void)state;
	if (!is_firecracker())
		return;
	open_in_test(&vm);
	vm_set(&vm, "balloon", "true");
	vm_make_ready(&vm);
	assert_false(kiln__machine_counters(vm.machine, on_counters, &counters));
	vm_close(&vm);
	assert_false(counters.done);
	assert_nothing_left();
}

/* --- snapshots
 * -------------------------------------------------------------------------------------- */

static void a_guest_that_resets_boots_again_where_that_is_wanted(void **state)
{
	struct op stopped;
	struct vm vm;

	(void)state;
	if (is_firecracker()) /* never: refused by name */
		return;
	open_in_test(&vm);
	vm_set(&vm, "on_reboot", "restart");
	vm_make_ready(&vm);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	kiln__buf_clear(&vm.console);
	vm_type(&vm, "reset\n");
	vm_await_console(&vm, "KILN_READY");
	vm_await(&vm, KILN_STATE_READY);
	assert_int_equal(stopped.count, 0);
	vm_type(&vm, "poweroff\n");
	op_await_ok(&stopped);
	vm_close(&vm);
	assert_nothing_left();
}

#define TRACKED "{\"machine-config\":{\"track_dirty_pages\":true}}"

static void a_machine_goes_on_from_its_snapshot(void **state)
{
	const char *directory = kiln_test_path("snapshot");
	struct op op, stopped;
	struct vm vm;

	(void)state;
	if (is_jailed())
		return;
	kiln_ok(kiln__os_mkdir_p(directory, 0700, NULL), NULL);
	open_in_test(&vm);
	vm_set(&vm, "vsock.enabled", "true");
	vm_make_ready(&vm);
	vm_type(&vm, "before\n");
	vm_await_console(&vm, "before");
	op_begin(&op, &vm, kiln_machine_snapshot, directory, NULL);
	op_await_code(&op, KILN_ESTATE); /* it runs */
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	op_begin(&op, &vm, kiln_machine_snapshot, "/nonexistent/directory", NULL);
	op_await_code(&op, KILN_EIO);
	op_begin(&op, &vm, kiln_machine_snapshot, directory, NULL);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_PAUSED);
	vm_close(&vm);
	assert_nothing_left();
	for (int i = 0; i < 2; i++) { /* as often as one likes */
		open_in_test(&vm);
		vm_set(&vm, "vsock.enabled", "true");
		vm_set(&vm, "snapshot", directory);
		vm_set(&vm, "readiness.kind", "none");
		vm_make_ready(&vm);
		vm_type(&vm, "after\n");
		vm_await_console(&vm, "after");
		assert_null(strstr(vm.console.data, "KILN_READY")); /* it has not booted */
		op_begin(&stopped, &vm, kiln_machine_wait_stopped);
		vm_type(&vm, "poweroff\n");
		op_await_ok(&stopped);
		vm_close(&vm);
		assert_nothing_left();
	}
}

static void copy_memory(const char *from, const char *to)
{
	kiln__autofree char *command =
		kiln__strf("mkdir -p %s && cp --sparse=always %s/memory %s/memory", to, from, to);

	assert_int_equal(system(command), 0);
}

static void go_on_from(struct vm *vm, const char *directory)
{
	open_in_test(vm);
	vm_set(vm, "firecracker.config", TRACKED);
	vm_set(vm, "snapshot", directory);
	vm_set(vm, "readiness.kind", "none");
	vm_make_ready(vm);
}

static void pause_and_snapshot(struct vm *vm, const char *directory, const char *base, int code)
{
	struct op op;

	op_begin(&op, vm, kiln_machine_pause);
	op_await_ok(&op);
	op_begin(&op, vm, kiln_machine_snapshot, directory, base);
	op_await_code(&op, code);
	op_begin(&op, vm, kiln_machine_resume);
	op_await_ok(&op);
}

/* Each is whole; it is only written in less. */
static void what_has_changed_since_a_snapshot_makes_another(void **state)
{
	const char *first = kiln_test_path("first");
	const char *second = kiln_test_path("second");
	const char *third = kiln_test_path("third");
	struct vm vm;

	(void)state;
	if (is_jailed() || !is_firecracker())
		return;
	kiln_ok(kiln__os_mkdir_p(first, 0700, NULL), NULL);
	open_in_test(&vm);
	vm_set(&vm, "firecracker.config", TRACKED);
	vm_make_ready(&vm);
	pause_and_snapshot(&vm, third, first, KILN_EINVAL); /* there is none yet */
	pause_and_snapshot(&vm, first, NULL, 0);
	copy_memory(first, second);
	vm_type(&vm, "between\n");
	vm_await_console(&vm, "between");
	pause_and_snapshot(&vm, second, first, 0);
	pause_and_snapshot(&vm, third, first, KILN_EINVAL); /* it is not the last any more */
	vm_close(&vm);
	go_on_from(&vm, second);
	copy_memory(second, third);
	pause_and_snapshot(&vm, third, second, 0);
	vm_close(&vm);
	go_on_from(&vm, third);
	vm_type(&vm, "after\n");
	vm_await_console(&vm, "after");
	vm_close(&vm);
	assert_nothing_left();
}

static void changes_that_nobody_knows_are_refused(void **state)
{
	const char *first = kiln_test_path("first");
	struct vm vm;

	(void)state;
	if (is_jailed())
		return;
	kiln_ok(kiln__os_mkdir_p(first, 0700, NULL), NULL);
	open_in_test(&vm);
	vm_make_ready(&vm);
	pause_and_snapshot(&vm, first, NULL, 0);
	pause_and_snapshot(&vm, kiln_test_dir(), first, KILN_ENOTSUP);
	vm_close(&vm);
	assert_nothing_left();
}

static void a_snapshot_that_is_none_fails_the_start(void **state)
{
	struct op start;
	struct vm vm;

	(void)state;
	if (is_jailed())
		return;
	open_in_test(&vm);
	vm_set(&vm, "snapshot", kiln_test_dir()); /* there is nothing of one in it */
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await(&start);
	assert_true(start.result < 0);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
	vm_close(&vm);
	assert_nothing_left();
}

static void lost_events_do_not_matter(void **state)
{
	static const char *const spoiled[] = {"booted:garbage", "booted:half", "booted:split",
					      "deleted:garbage;shutdown:drop"};

	(void)state;
	for (size_t i = 0; !is_firecracker() && i < sizeof(spoiled) / sizeof(spoiled[0]); i++) {
		struct op stopped;
		struct vm vm;

		open_in_test(&vm);
		setenv("STANDIN_EVENTS", spoiled[i], 1);
		vm_make_ready(&vm);
		op_begin(&stopped, &vm, kiln_machine_wait_stopped);
		vm_type(&vm, "poweroff\n");
		op_await_ok(&stopped);
		assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_POWEROFF);
		unsetenv("STANDIN_EVENTS");
		vm_close(&vm);
		assert_nothing_left();
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_death_at_a_request_fails_the_start),
		kiln_test(a_refusal_is_told_in_its_own_words),
		kiln_test(silence_ends_at_the_deadline),
		kiln_test(a_closed_api_is_the_end),
		kiln_test(nonsense_is_no_answer),
		kiln_test(what_is_only_unusual_is_an_answer),
		kiln_test(a_death_at_any_moment_leaves_nothing),
		kiln_test(a_refused_pause_leaves_it_running),
		kiln_test(a_death_at_a_pause_fails_it_with_the_machine),
		kiln_test(a_start_is_few_round_trips),
		kiln_test(what_it_cannot_do_is_refused_by_name_before_it_is_made),
		kiln_test(what_its_version_has_not_is_refused_before_the_guest_runs),
		kiln_test(an_older_version_is_run_all_the_same),
		kiln_test(without_its_api_firecracker_cannot_pause),
		kiln_test(a_running_machine_is_changed_or_refuses_by_name),
		kiln_test(devices_come_and_go_or_are_refused_by_name),
		kiln_test(what_its_version_cannot_is_refused_by_name),
		kiln_test(a_paused_guest_is_dumped),
		kiln_test(a_death_at_a_change_fails_it_with_the_machine),
		kiln_test(a_reset_boots_the_guest_again),
		kiln_test(what_is_late_is_asked_for),
		kiln_test(what_the_vmm_counts_is_told),
		kiln_test(a_balloon_that_is_told_nothing_has_no_statistics),
		kiln_test(a_running_firecracker_is_changed_in_its_own_words),
		kiln_test(a_guest_that_resets_boots_again_where_that_is_wanted),
		kiln_test(a_machine_goes_on_from_its_snapshot),
		kiln_test(what_has_changed_since_a_snapshot_makes_another),
		kiln_test(changes_that_nobody_knows_are_refused),
		kiln_test(a_snapshot_that_is_none_fails_the_start),
		kiln_test(lost_events_do_not_matter),
	};
	int r = contract_choose(argc, argv);

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
