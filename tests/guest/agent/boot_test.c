/* SPDX-License-Identifier: Apache-2.0 */
/* kiln-guest boots a stock kernel's VM and is its agent. Arguments: kernel, directory of what
 * run.sh made. */
#include "vm.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct vm vm;

#define STRS(text) ((struct kiln__strs){text, sizeof(text)})

/* 2033-05-18 03:33:20 UTC */
#define CLOCK ((uint64_t)2000000000 * 1000000000)

static const struct vm_config with_disks = {
	.initrd = "initrd",
	.disks = {{"root.squashfs", "kiln-root", true},
		  {"small.ext4", "kiln-rw", false},
		  {"data.ext4", "data", false}},
	.network = true,
};

static struct kiln__agent_setup base_setup(void)
{
	return (struct kiln__agent_setup){
		.root = {.kind = KILN__AGENT_ROOT_OVERLAY,
			 .device = "kiln-root",
			 .fstype = "squashfs",
			 .upper_size = 64 << 20},
		.hostname = "web",
		.machine_id = "0123456789abcdef0123456789abcdef",
		.clock_ns = CLOCK,
		.entropy = {"0123456789abcdef0123456789abcdef", 32},
	};
}

static void expect(const char *said, const char *what)
{
	if (!strstr(said, what))
		fail_msg("\"%s\" is not in \"%s\"", what, said);
}

/* --- the usual boot: squashfs below, memory above ------------------------------------------ */

static int usual_boot(void **state)
{
	struct kiln__agent_setup setup = base_setup();

	(void)state;
	vm_start(&vm, &with_disks);
	setup.dns = STRS("10.0.2.3");
	setup.search = STRS("example.org");
	setup.interfaces[0] = (struct kiln__agent_interface){
		.mac = {"\x52\x54\x00\x12\x34\x56", 6},
		.mtu = 1400,
		.addresses = STRS("10.0.2.15/24\0fd00::15/64"),
		.gateways = STRS("10.0.2.2\0fd00::2"),
	};
	setup.interface_count = 1;
	setup.mounts[0] = (struct kiln__agent_mount){.fstype = "ext4",
						     .source = "data",
						     .target = "/srv/data",
						     .flags = KILN__AGENT_MOUNT_NODEV,
						     .grow = true};
	setup.mounts[1] = (struct kiln__agent_mount){
		.fstype = "tmpfs", .target = "/srv/fast", .options = "size=1m"};
	setup.mount_count = 2;
	setup.stop_grace_ms = 60000;
	vm_setup(&vm, &setup);
	if (vm.error.code)
		print_error("%s: %s\n", vm.error.stage, vm.error.message);
	return vm.error.code;
}

static int end_of_boot(void **state)
{
	(void)state;
	vm_done(&vm);
	return 0;
}

static void the_hello_tells_kernel_and_times(void **state)
{
	const struct kiln__agent_setup_done *done = &vm.answer.setup;

	(void)state;
	assert_true(vm.hello_is.features & KILN__AGENT_FEATURE_SETUP);
	assert_true(strlen(vm.strings[0]) > 0);
	expect(vm.strings[1], "cloud");
	assert_string_equal(vm.strings[2], "x86_64");
	assert_true(vm.hello_is.init_ns > 0);
	assert_true(vm.hello_is.vsock_ns > vm.hello_is.init_ns);
	assert_true(done->modules_ns > vm.hello_is.vsock_ns);
	assert_true(done->setup_ns > 0);
	assert_true(done->root_ns > done->setup_ns);
	assert_true(done->ready_ns > done->root_ns);
	print_message("init %" PRIu64 " vsock %" PRIu64 " modules %" PRIu64 " setup %" PRIu64
		      " root %" PRIu64 " ready %" PRIu64 " us\n",
		      vm.hello_is.init_ns / 1000, vm.hello_is.vsock_ns / 1000,
		      done->modules_ns / 1000, done->setup_ns / 1000, done->root_ns / 1000,
		      done->ready_ns / 1000);
}

static void the_agent_is_pid_1_in_the_image_s_root(void **state)
{
	(void)state;
	assert_string_equal(vm_sh(&vm, "cat /proc/1/comm; cat /image; stat -c '%a %u' /"),
			    "init\nthe image\n755 0\n");
	expect(vm_sh(&vm, "cat /proc/mounts"), "overlay / overlay rw");
	/* nothing of the initramfs takes memory any more, nor shows */
	assert_string_equal(vm_sh(&vm, "ls -d /modules /init /newroot /lower 2>/dev/null; echo"),
			    "\n");
}

static void the_api_file_systems_are_mounted(void **state)
{
	static const char *const lines[] = {
		"devtmpfs /dev devtmpfs",
		"proc /proc proc",
		"sysfs /sys sysfs",
		"devpts /dev/pts devpts",
		"tmpfs /dev/shm tmpfs",
		"cgroup2 /sys/fs/cgroup cgroup2",
		"tmpfs /run tmpfs",
		"/srv/data ext4 rw,nodev",
		"tmpfs /srv/fast tmpfs rw,relatime,size=1024k",
	};
	const char *mounts = vm_sh(&vm, "cat /proc/mounts");

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		expect(mounts, lines[i]);
	assert_string_equal(vm_sh(&vm, "echo via >/dev/stdout; readlink /dev/fd; stat -c %a /tmp"),
			    "via\n/proc/self/fd\n1777\n");
}

static void directories_that_the_image_has_in_run_are_there(void **state)
{
	(void)state;
	assert_string_equal(
		vm_sh(&vm, "stat -c '%n %a %u %g' /run/daemon /run/daemon/sub; ls /run"),
		"/run/daemon 2775 12 34\n/run/daemon/sub 700 0 0\ndaemon\nlock\n");
}

static void the_root_can_be_written_to_and_stays_as_large_as_asked(void **state)
{
	(void)state;
	assert_string_equal(vm_sh(&vm,
				  "echo x >/etc/new; rm /image2; cat /etc/new; ls /image2 2>&1; "
				  "df -k / | tail -1 | tr -s ' ' | cut -d' ' -f2"),
			    "x\nls: /image2: No such file or directory\n65536\n");
}

static void the_machine_has_its_identity(void **state)
{
	(void)state;
	assert_string_equal(vm_sh(&vm, "hostname; cat /etc/hostname /etc/machine-id; "
				       "cat /etc/resolv.conf"),
			    "web\nweb\n0123456789abcdef0123456789abcdef\n"
			    "nameserver 10.0.2.3\nsearch example.org\n");
	/* the image's own file, with one line more */
	assert_string_equal(vm_sh(&vm, "cat /etc/hosts"), "127.0.0.1 localhost\n127.0.1.1\tweb\n");
}

static void the_clock_is_the_host_s(void **state)
{
	struct kiln__agent_setup setup = {.clock_ns = CLOCK + (uint64_t)86400 * 1000000000};
	long long now;

	(void)state;
	sscanf(vm_sh(&vm, "date +%s"), "%lld", &now);
	assert_true(now >= 2000000000 && now < 2000000300);
	/* and again, as after a pause */
	vm_request(&vm, KILN__AGENT_SETUP, &kiln__agent_setup_record, &setup,
		   &kiln__agent_setup_done_record);
	assert_int_equal(vm.error.code, 0);
	sscanf(vm_sh(&vm, "date +%s"), "%lld", &now);
	assert_true(now >= 2000086400 && now < 2000086700);
}

static void the_network_is_configured(void **state)
{
	const char *said;

	(void)state;
	said = vm_sh(&vm, "ip addr; ip route; ip -6 route");
	expect(said, "inet 127.0.0.1/8");
	expect(said, "mtu 1400");
	expect(said, "inet 10.0.2.15/24");
	expect(said, "inet6 fd00::15/64");
	expect(said, "default via 10.0.2.2 dev eth0");
	expect(said, "default via fd00::2 dev eth0");
}

static void a_small_file_system_has_grown_to_its_disk(void **state)
{
	long kib;

	(void)state;
	sscanf(vm_sh(&vm, "df -k /srv/data | tail -1 | tr -s ' ' | cut -d' ' -f2"), "%ld", &kib);
	assert_true(kib > 50 * 1024);
}

static void orphans_are_reaped(void **state)
{
	(void)state;
	/* A grandchild that loses its parent and ends: it must not stay as a zombie. */
	vm_sh(&vm, "(sleep 0.01 &) ; exit 0");
	vm_sh(&vm, "while ps -o stat,args | grep -q '^Z'; do :; done");
}

static void second_setups_cannot_change_the_root(void **state)
{
	struct kiln__agent_setup setup = base_setup();

	(void)state;
	vm_request(&vm, KILN__AGENT_SETUP, &kiln__agent_setup_record, &setup,
		   &kiln__agent_setup_done_record);
	assert_int_equal(vm.error.code, KILN_ESTATE);
}

static void processes_have_terminals(void **state)
{
	static const char argv[] = "sh\0-c\0tty; stty size; exit 3";
	struct proc *proc;

	(void)state;
	proc = proc_start(&vm, &(struct kiln__agent_start){
				       .argv = STRS(argv), .tty = true, .rows = 24, .cols = 90});
	proc_wait(proc);
	assert_true(proc->exited);
	assert_int_equal(proc->how.code, 3);
	assert_string_equal(proc->out[0].data, "/dev/pts/0\r\n24 90\r\n");
	proc_done(proc);
}

static void much_output_arrives_whole(void **state)
{
	struct proc *proc;

	(void)state;
	proc = proc_start(
		&vm, &(struct kiln__agent_start){.argv = STRS("head\0-c\00020000000\0/dev/zero")});
	proc->drop = true;
	proc_wait(proc);
	assert_true(proc->exited);
	assert_int_equal(proc->taken, 20000000);
	proc_done(proc);
}

static void a_port_is_waited_for(void **state)
{
	const struct kiln__agent_wait_port wait = {.port = 8080};

	(void)state;
	vm_send(&vm, KILN__AGENT_WAIT_PORT, &kiln__agent_wait_port_record, &wait, NULL);
	vm_sh(&vm, "true");
	assert_false(vm.answered);
	/* listening is traced, not looked for by the clock */
	vm_sh(&vm, "test -d /sys/kernel/tracing/instances/kiln-guest");
	vm_sh(&vm, "httpd -p 8080 -h /srv");
	vm_wait(&vm, &vm.answered);
	assert_int_equal(vm.error.code, 0);
	vm_sh(&vm, "! test -d /sys/kernel/tracing/instances/kiln-guest");
}

static void statistics_are_the_machine_s(void **state)
{
	(void)state;
	vm_request(&vm, KILN__AGENT_STATS, NULL, NULL, &kiln__agent_stats_record);
	assert_int_equal(vm.error.code, 0);
	assert_in_range(vm.answer.stats.memory_total, 150 << 20, 256 << 20);
	assert_int_equal(vm.answer.stats.root_size, 64 << 20);
	assert_int_equal(vm.answer.stats.oom_kills, 0);
}

static void running_out_of_memory_is_told(void **state)
{
	/* The kernel is told to do what it does when memory has run out, with this process first.
	 */
	static const char argv[] = "sh\0-c\0echo 1000 >/proc/self/oom_score_adj; "
				   "echo f >/proc/sysrq-trigger; read x </dev/zero";
	struct proc *proc;

	(void)state;
	proc = proc_start(&vm, &(struct kiln__agent_start){.argv = STRS(argv)});
	proc_wait(proc);
	assert_true(proc->exited);
	if (proc->how.signal != 9 || !proc->how.oom)
		fail_msg("code %u, signal %u, oom %d: %s; %s", proc->how.code, proc->how.signal,
			 proc->how.oom, proc->out[1].data ? proc->out[1].data : "",
			 vm_sh(&vm, "grep oom /proc/vmstat; dmesg | tail -n 40"));
	proc_done(proc);
	vm_sh(&vm, "true"); /* and the agent lives */
}

static void a_boot_connection_that_is_cut_is_made_again(void **state)
{
	(void)state;
	kiln__agent_free(vm.agent);
	vm.agent = NULL;
	vm.hello = false;
	vm_wait(&vm, &vm.hello);
	expect(vm.strings[1], "cloud");
	vm_request(&vm, KILN__AGENT_STATS, NULL, NULL, &kiln__agent_stats_record);
	assert_int_equal(vm.error.code, 0);
}

static void the_power_button_stops_the_main_process_and_the_machine(void **state)
{
	static const char argv[] =
		"sh\0-c\0trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 1; done";
	struct proc *proc;

	(void)state;
	proc = proc_start(&vm, &(struct kiln__agent_start){.argv = STRS(argv), .main = true});
	vm_wait(&vm, &proc->something);
	vm_qmp(&vm, "system_powerdown");
	proc_wait(proc);
	assert_true(proc->exited);
	assert_int_equal(proc->how.code, 5);
	assert_string_equal(proc->out[0].data, "up\nbye\n");
	proc_done(proc);
	vm_wait_end(&vm);
	assert_true(vm.event);
	assert_int_equal(vm.cause, KILN__AGENT_CAUSE_BUTTON);
}

/* After a test that failed, as after one that did not. */
static int drop_procs(void **state)
{
	(void)state;
	vm_drop_procs(&vm);
	return 0;
}

#define usual_test(name) cmocka_unit_test_teardown(name, drop_procs)

static const struct CMUnitTest usual_tests[] = {
	usual_test(the_hello_tells_kernel_and_times),
	usual_test(the_agent_is_pid_1_in_the_image_s_root),
	usual_test(the_api_file_systems_are_mounted),
	usual_test(directories_that_the_image_has_in_run_are_there),
	usual_test(the_root_can_be_written_to_and_stays_as_large_as_asked),
	usual_test(the_machine_has_its_identity),
	usual_test(the_clock_is_the_host_s),
	usual_test(the_network_is_configured),
	usual_test(a_small_file_system_has_grown_to_its_disk),
	usual_test(orphans_are_reaped),
	usual_test(second_setups_cannot_change_the_root),
	usual_test(processes_have_terminals),
	usual_test(much_output_arrives_whole),
	usual_test(a_port_is_waited_for),
	usual_test(statistics_are_the_machine_s),
	usual_test(running_out_of_memory_is_told),
	usual_test(a_boot_connection_that_is_cut_is_made_again),
	usual_test(the_power_button_stops_the_main_process_and_the_machine),
};

/* --- other boots, one each -------------------------------------------------------------------- */

static void set_up(const struct vm_config *config, const struct kiln__agent_setup *setup)
{
	vm_start(&vm, config);
	vm_setup(&vm, setup);
}

static void set_up_ok(const struct vm_config *config, const struct kiln__agent_setup *setup)
{
	set_up(config, setup);
	if (vm.error.code)
		fail_msg("%s: %s", vm.error.stage, vm.error.message);
}

static void shut_down(uint32_t action)
{
	const struct kiln__agent_shutdown how = {.action = action};

	vm_request(&vm, KILN__AGENT_SHUTDOWN, &kiln__agent_shutdown_record, &how, NULL);
	assert_int_equal(vm.error.code, 0);
	vm_wait_end(&vm);
	assert_true(vm.event);
	assert_int_equal(vm.cause, KILN__AGENT_CAUSE_HOST);
	vm_done(&vm);
}

/* Something in the guest has asked PID 1. */
static void goes_down_by(const char *argv, size_t len, uint32_t cause)
{
	struct proc *proc;

	proc = proc_start(&vm, &(struct kiln__agent_start){.argv = {argv, len}, .detach = true});
	vm_wait_end(&vm);
	assert_true(vm.event);
	assert_int_equal(vm.cause, cause);
	proc_done(proc);
	vm_done(&vm);
}

static void writes_may_go_to_a_disk_which_a_second_boot_finds_again(void **state)
{
	struct kiln__agent_setup setup = base_setup();
	long kib;

	(void)state;
	setup.root.upper_device = "kiln-rw";
	setup.root.ephemeral = true;
	set_up_ok(&with_disks, &setup);
	sscanf(vm_sh(&vm, "df -k / | tail -1 | tr -s ' ' | cut -d' ' -f2"), "%ld", &kib);
	assert_true(kib > 50 * 1024);
	vm_sh(&vm, "echo kept >/kept");
	shut_down(KILN__AGENT_REBOOT); /* QEMU ends at a reset (-no-reboot) */
	set_up_ok(&with_disks, &setup);
	assert_string_equal(vm_sh(&vm, "cat /kept"), "kept\n");
	/* it was unmounted in order: nothing had to be recovered */
	assert_string_equal(vm_sh(&vm, "dmesg | grep -c 'recovery complete'; true"), "0\n");
	goes_down_by("poweroff", sizeof("poweroff"), KILN__AGENT_CAUSE_GUEST);
}

static void a_read_only_root_is_one(void **state)
{
	struct kiln__agent_setup setup = base_setup();

	(void)state;
	setup.root.read_only = true;
	setup.mounts[0] = (struct kiln__agent_mount){.fstype = "tmpfs", .target = "/scratch"};
	setup.mount_count = 1;
	set_up_ok(&with_disks, &setup);
	assert_string_equal(vm_sh(&vm, "cat /etc/hostname; touch /x 2>&1; touch /scratch/x /run/x"),
			    "web\ntouch: /x: Read-only file system\n");
	/* What the kernel does for Ctrl-Alt-Del; this machine has no keyboard. */
	goes_down_by("kill\0-INT\0001", sizeof("kill\0-INT\0001"), KILN__AGENT_CAUSE_KEYS);
}

static void the_initramfs_may_be_the_root(void **state)
{
	const struct kiln__agent_setup setup = {.root = {.kind = KILN__AGENT_ROOT_STAY},
						.hostname = "bare"};
	const struct vm_config config = {.initrd = "initrd"};
	struct proc *proc;

	(void)state;
	set_up_ok(&config, &setup);
	proc = proc_start(&vm, &(struct kiln__agent_start){.argv = STRS("/init\0--version")});
	proc_wait(proc);
	assert_true(proc->exited);
	expect(proc->out[0].data, "kiln-guest ");
	proc_done(proc);
	shut_down(KILN__AGENT_POWEROFF);
}

static void a_root_with_an_init_of_its_own_gets_it_and_keeps_the_agent(void **state)
{
	struct kiln__agent_setup setup = base_setup();
	const struct vm_config config = {.initrd = "initrd",
					 .disks = {{"plain.ext4", "kiln-root", false}}};

	(void)state;
	setup.root =
		(struct kiln__agent_root){.kind = KILN__AGENT_ROOT_PLAIN, .device = "kiln-root"};
	setup.init = "/sbin/init";
	set_up_ok(&config, &setup);
	/* busybox's init shows that it runs by what its inittab starts */
	vm_sh(&vm, "while ! test -e /run/started; do :; done; test $(readlink /proc/1/exe) = "
		   "/bin/busybox");
	assert_string_equal(vm_sh(&vm, "hostname; cat /proc/mounts | grep -c ' / ext4 rw'"),
			    "web\n1\n");
	shut_down(KILN__AGENT_POWEROFF);
	/* busybox's poweroff told PID 1, which ran what its inittab says */
}

static void a_root_that_is_not_there_is_told_by_name(void **state)
{
	struct kiln__agent_setup setup = base_setup();
	const struct vm_config config = {.initrd = "initrd"};

	(void)state;
	setup.root.device = "/dev/nothing";
	set_up(&config, &setup);
	assert_int_equal(vm.error.code, KILN_ENOENT);
	assert_string_equal(vm.error.stage, "root");
	expect(vm.error.message, "/dev/nothing");
	vm_done(&vm);
}

static void a_host_that_does_not_listen_may_come_by_itself(void **state)
{
	const struct kiln__agent_setup setup = {.root = {.kind = KILN__AGENT_ROOT_STAY}};
	const struct vm_config config = {.initrd = "initrd", .refuse = true};
	const struct kiln__agent_shutdown how = {.action = KILN__AGENT_POWEROFF};

	(void)state;
	vm_start(&vm, &config);
	vm_wait(&vm, &vm.refused);
	vm_visit(&vm);
	assert_true(vm.hello_is.features & KILN__AGENT_FEATURE_SETUP);
	vm_setup(&vm, &setup);
	assert_int_equal(vm.error.code, 0);
	vm_request(&vm, KILN__AGENT_SHUTDOWN, &kiln__agent_shutdown_record, &how, NULL);
	vm_wait_end(&vm);
	vm_done(&vm);
}

static void a_boot_without_vsock_says_why_and_ends(void **state)
{
	const struct vm_config config = {.initrd = "initrd-without-vsock"};

	(void)state;
	vm_start(&vm, &config);
	vm_wait_end(&vm);
	expect(vm.said.data, "kiln-guest: fatal: no vsock in this kernel");
	vm_done(&vm);
}

static void a_machine_without_a_vsock_device_says_so_and_ends(void **state)
{
	const struct vm_config config = {.initrd = "initrd", .no_vsock = true};

	(void)state;
	vm_start(&vm, &config);
	vm_wait_end(&vm);
	expect(vm.said.data, "kiln-guest: fatal: this machine has no vsock device");
	vm_done(&vm);
}

static void the_machine_ends_with_its_main_process(void **state)
{
	struct kiln__agent_setup setup = base_setup();
	struct proc *proc;

	(void)state;
	setup.end_with_main = true;
	set_up_ok(&with_disks, &setup);
	proc = proc_start(&vm, &(struct kiln__agent_start){
				       .argv = STRS("sh\0-c\0echo last; exit 44"), .main = true});
	proc_wait(proc);
	assert_true(proc->exited);
	assert_int_equal(proc->how.code, 44);
	assert_string_equal(proc->out[0].data, "last\n");
	proc_done(proc);
	vm_wait_end(&vm);
	assert_int_equal(vm.cause, KILN__AGENT_CAUSE_MAIN);
	vm_done(&vm);
}

#define other_test(name) cmocka_unit_test_teardown(name, end_of_boot)

static const struct CMUnitTest other_tests[] = {
	other_test(writes_may_go_to_a_disk_which_a_second_boot_finds_again),
	other_test(a_read_only_root_is_one),
	other_test(the_initramfs_may_be_the_root),
	other_test(a_root_with_an_init_of_its_own_gets_it_and_keeps_the_agent),
	other_test(a_root_that_is_not_there_is_told_by_name),
	other_test(a_host_that_does_not_listen_may_come_by_itself),
	other_test(a_boot_without_vsock_says_why_and_ends),
	other_test(a_machine_without_a_vsock_device_says_so_and_ends),
	other_test(the_machine_ends_with_its_main_process),
};

int main(int argc, char **argv)
{
	int failed;

	if (argc != 3)
		return 2;
	vm_files(argv[1], argv[2]);
	failed = cmocka_run_group_tests(usual_tests, usual_boot, end_of_boot);
	return failed + cmocka_run_group_tests(other_tests, NULL, NULL);
}
