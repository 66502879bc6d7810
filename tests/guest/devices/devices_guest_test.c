/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block, entropy and network devices, given by vhost-user to a stock Linux guest in QEMU.
 * Arguments: kernel, initramfs, kernel command line, and an ext4 image. One boot, a reset in the
 * middle of reads and writes, and a second boot.
 */
#include "kiln_test.h"

#include "acceptor.h"
#include "blk.h"
#include "buf.h"
#include "fdstream.h"
#include "net.h"
#include "os.h"
#include "rng.h"
#include "vhost_user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEADLINE_MS 300000
#define DISKS       3
#define SERVERS     (DISKS + 2)
#define DISK_SIZE   ((off_t)64 << 20)

static struct {
	const char *kernel;
	const char *initrd;
	const char *cmdline;
	const char *ext4;
	char disk[64];
	kiln_loop *loop;
	struct kiln__timer *deadline;
	bool late;
	struct kiln__blk *blk[DISKS];
	struct kiln__rng *rng;
	struct kiln__net *net;
	struct kiln__vhost_user *servers[SERVERS];
	unsigned server_count;
	unsigned ended;
	unsigned failed;
	kiln_fd qemu_ends[SERVERS];
	char net_path[64];
	struct kiln__acceptor *acceptor;
	struct kiln__child *qemu;
	bool qemu_ended;
	struct kiln__stream *serial;
	struct kiln__buf text;
	struct kiln__stream *qmp;
	struct kiln__buf qmp_text;
	struct kiln__stream *wire; /* the other end of the guest's network: sends back what comes */
	struct kiln__buf frames;
	size_t frame_at;
} vm;

/* --- streams -------------------------------------------------------------------------- */

static size_t keep_data(void *data, const void *bytes, size_t len)
{
	kiln__buf_add(data, bytes, len);
	return len;
}

static void on_end(void *data)
{
	(void)data;
}

static void on_error(void *data, const kiln_error *err)
{
	(void)data;
	(void)err;
}

static const struct kiln__stream_handler keep = {
	.on_data = keep_data, .on_eof = on_end, .on_writable = on_end, .on_error = on_error};

/* What came and has not gone back yet. */
static void echo(void *data)
{
	(void)data;
	while (vm.frame_at < vm.frames.len) {
		ssize_t n = kiln__stream_write(vm.wire, vm.frames.data + vm.frame_at,
					       vm.frames.len - vm.frame_at);

		if (n <= 0)
			return;
		vm.frame_at += (size_t)n;
	}
	kiln__buf_clear(&vm.frames);
	vm.frame_at = 0;
}

static size_t on_frames(void *data, const void *bytes, size_t len)
{
	kiln__buf_add(&vm.frames, bytes, len);
	echo(data);
	return len;
}

static const struct kiln__stream_handler wire = {
	.on_data = on_frames, .on_eof = on_end, .on_writable = echo, .on_error = on_error};

/* One end is a stream with this handler; the other is returned. */
static kiln_fd make_stream(struct kiln__stream **ret, const struct kiln__stream_handler *handler,
			   void *data)
{
	kiln_fd ends[2];
	kiln_error err;

	kiln_ok(kiln__os_socket_pair(ends, &err), &err);
	kiln_ok(kiln__fdstream_new(ret, vm.loop, ends[0], &err), &err);
	kiln__stream_set_handler(*ret, handler, data);
	kiln__stream_resume(*ret);
	return ends[1];
}

static void on_deadline(void *data)
{
	(void)data;
	vm.late = true;
}

/* Until @text has @word at least @count times. */
static void wait_for(const struct kiln__buf *text, const char *word, unsigned count)
{
	kiln__timer_start(vm.deadline, DEADLINE_MS);
	while (!vm.late) {
		unsigned n = 0;

		for (const char *at = text->data; at && (at = strstr(at, word)); at++)
			n++;
		if (n >= count || vm.qemu_ended)
			break;
		kiln_loop_step(vm.loop);
	}
	kiln__timer_stop(vm.deadline);
	if (vm.late || vm.qemu_ended)
		print_error("%s\n", vm.text.data ? vm.text.data : "no output");
	assert_false(vm.late);
	assert_false(vm.qemu_ended);
}

static void qmp(const char *command, const char *word)
{
	char text[128];
	int len = snprintf(text, sizeof(text), "{\"execute\":\"%s\"}\n", command);

	kiln__buf_clear(&vm.qmp_text);
	assert_int_equal(kiln__stream_write(vm.qmp, text, (size_t)len), len);
	wait_for(&vm.qmp_text, word, 1);
}

/* --- the machine ------------------------------------------------------------------------- */

static void on_server_end(void *data, const kiln_error *err)
{
	(void)data;
	vm.ended++;
	if (err) {
		print_error("%s\n", err->message);
		vm.failed++;
	}
}

static void serve(struct kiln__virtio *device)
{
	kiln_fd ends[2];
	kiln_error err;
	unsigned i = vm.server_count++;

	kiln_ok(kiln__os_socket_pair(ends, &err), &err);
	kiln_ok(kiln__vhost_user_new(&vm.servers[i], vm.loop, ends[0], device, &err), &err);
	kiln__vhost_user_on_end(vm.servers[i], on_server_end, NULL);
	vm.qemu_ends[i] = ends[1];
}

/* QEMU takes no inherited socket for a network device: it connects. */
static void on_net_connection(void *data, kiln_fd fd)
{
	kiln_error err;
	unsigned i = vm.server_count++;

	(void)data;
	assert_true(i < SERVERS);
	kiln_ok(kiln__vhost_user_new(&vm.servers[i], vm.loop, fd, kiln__net_device(vm.net), &err),
		&err);
	kiln__vhost_user_on_end(vm.servers[i], on_server_end, NULL);
}

static void listen_for_net(void)
{
	kiln_fd fd = KILN_FD_NONE;
	kiln_error err;

	snprintf(vm.net_path, sizeof(vm.net_path), "/var/tmp/kiln-test-net-%d", (int)getpid());
	kiln_ok(kiln__os_local_listen(&fd, vm.net_path, &err), &err);
	kiln_ok(kiln__acceptor_new(&vm.acceptor, vm.loop, fd, on_net_connection, NULL, &err), &err);
	kiln__acceptor_set(vm.acceptor, true);
}

static void on_qemu_end(void *data, struct kiln__exit how)
{
	(void)data;
	if (how.signaled)
		print_error("QEMU was killed by signal %d\n", how.code);
	vm.qemu_ended = true;
}

static void spawn(kiln_fd serial, kiln_fd monitor)
{
	char net[128];
	const char *argv[] = {
		"qemu-system-x86_64",
		"-M",
		"q35,memory-backend=ram",
		"-accel",
		"tcg",
		"-cpu",
		"max",
		"-smp",
		"2",
		"-m",
		"256",
		"-object",
		"memory-backend-memfd,id=ram,share=on,size=256M",
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-kernel",
		vm.kernel,
		"-initrd",
		vm.initrd,
		"-append",
		vm.cmdline,
		"-chardev",
		"socket,id=serial,fd=10",
		"-serial",
		"chardev:serial",
		"-chardev",
		"socket,id=monitor,fd=11",
		"-mon",
		"chardev=monitor,mode=control",
		"-chardev",
		"socket,id=disk0,fd=12",
		"-device",
		"vhost-user-blk-pci,chardev=disk0,num-queues=1",
		"-chardev",
		"socket,id=disk1,fd=13",
		"-device",
		"vhost-user-blk-pci,chardev=disk1,num-queues=1",
		"-chardev",
		"socket,id=disk2,fd=14",
		"-device",
		"vhost-user-blk-pci,chardev=disk2,num-queues=1",
		"-chardev",
		"socket,id=rng,fd=15",
		"-device",
		"vhost-user-rng-pci,chardev=rng",
		"-chardev",
		net,
		"-netdev",
		"vhost-user,id=net,chardev=net",
		"-device",
		/* Without vectors: QEMU 7.2 without KVM dies of MSI-X with such a back-end. */
		"virtio-net-pci,netdev=net,mac=52:54:00:00:00:01,romfile=,vectors=0",
		NULL,
	};
	struct kiln__spawn_fd fds[SERVERS + 2] = {{2, 2}, {serial, 10}, {monitor, 11}};
	struct kiln__spawn spawn = {
		.argv = argv, .fds = fds, .fd_count = SERVERS + 2, .die_with_parent = true};
	kiln__autofree char *path = NULL;
	kiln_error err;

	snprintf(net, sizeof(net), "socket,id=net,path=%s", vm.net_path);
	for (int i = 0; i < SERVERS - 1; i++)
		fds[i + 3] = (struct kiln__spawn_fd){vm.qemu_ends[i], 12 + i};
	kiln_ok(kiln__os_find_program(&path, argv[0], &err), &err);
	spawn.path = path;
	kiln_ok(kiln__child_spawn(&vm.qemu, &spawn, &err), &err);
	kiln_ok(kiln__child_watch(vm.qemu, vm.loop, on_qemu_end, NULL, &err), &err);
}

static void make_disks(void)
{
	struct kiln__blk_options options = {
		.path = vm.disk, .fd = KILN_FD_NONE, .serial = "kiln-test", .discard = true};
	kiln_error err;
	int fd;

	snprintf(vm.disk, sizeof(vm.disk), "/var/tmp/kiln-test-disk-%d", (int)getpid());
	fd = open(vm.disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_SIZE + 65536), 0);
	close(fd);
	/* The first past the page cache, and a range; the third a range of the same file. */
	options.length = DISK_SIZE;
	options.cache = KILN__BLK_DIRECT;
	kiln_ok(kiln__blk_new(&vm.blk[0], vm.loop, &options, &err), &err);
	options = (struct kiln__blk_options){.path = vm.ext4, .fd = KILN_FD_NONE, .discard = true};
	kiln_ok(kiln__blk_new(&vm.blk[1], vm.loop, &options, &err), &err);
	options = (struct kiln__blk_options){
		.path = vm.disk, .fd = KILN_FD_NONE, .offset = DISK_SIZE, .readonly = true};
	kiln_ok(kiln__blk_new(&vm.blk[2], vm.loop, &options, &err), &err);
	for (unsigned i = 0; i < DISKS; i++)
		serve(kiln__blk_device(vm.blk[i]));
}

static int boot(void **state)
{
	struct kiln__net_options net_options = {.mac = {0x52, 0x54, 0, 0, 0, 1}};
	struct kiln__net_backend *backend = NULL;
	kiln_fd serial;
	kiln_fd monitor;
	kiln_error err;

	(void)state;
	kiln_ok(kiln_loop_new(&vm.loop, &err), &err);
	kiln_ok(kiln__timer_new(&vm.deadline, vm.loop, on_deadline, NULL, &err), &err);
	serial = make_stream(&vm.serial, &keep, &vm.text);
	monitor = make_stream(&vm.qmp, &keep, &vm.qmp_text);
	make_disks();
	kiln_ok(kiln__rng_new(&vm.rng, vm.loop, NULL, &err), &err);
	serve(kiln__rng_device(vm.rng));
	kiln_ok(kiln__net_stream_take(&backend, make_stream(&vm.wire, &wire, NULL), &err), &err);
	kiln_ok(kiln__net_new(&vm.net, vm.loop, backend, &net_options, &err), &err);
	listen_for_net();
	spawn(serial, monitor);
	kiln__os_close(serial);
	kiln__os_close(monitor);
	for (unsigned i = 0; i < SERVERS - 1; i++)
		kiln__os_close(vm.qemu_ends[i]);
	return 0;
}

static int shut_down(void **state)
{
	(void)state;
	kiln__child_kill(vm.qemu);
	while (!vm.qemu_ended)
		kiln_loop_step(vm.loop);
	kiln__child_free(vm.qemu);
	kiln__acceptor_free(vm.acceptor);
	unlink(vm.net_path);
	for (unsigned i = 0; i < SERVERS; i++)
		kiln__vhost_user_free(vm.servers[i]);
	for (unsigned i = 0; i < DISKS; i++)
		kiln__blk_free(vm.blk[i]);
	kiln__rng_free(vm.rng);
	kiln__net_free(vm.net);
	kiln__stream_close(vm.serial);
	kiln__stream_close(vm.qmp);
	kiln__stream_close(vm.wire);
	kiln__buf_done(&vm.text);
	kiln__buf_done(&vm.qmp_text);
	kiln__buf_done(&vm.frames);
	kiln__timer_free(vm.deadline);
	kiln_loop_free(vm.loop);
	unlink(vm.disk);
	return 0;
}

/* --- the rules ------------------------------------------------------------------------------ */

static void expect_all_well(unsigned boots)
{
	wait_for(&vm.text, "done: ", boots);
	if (strstr(vm.text.data, "failed: "))
		fail_msg("%s", vm.text.data);
	assert_non_null(strstr(vm.text.data, "ok: discard and write zeroes"));
	assert_non_null(strstr(vm.text.data, "ok: a file system keeps its files"));
	assert_non_null(strstr(vm.text.data, "ok: randomness"));
	assert_non_null(strstr(vm.text.data, "ok: frames come back"));
}

static void a_stock_guest_finds_its_devices_in_order(void **state)
{
	(void)state;
	expect_all_well(1);
	qmp("qmp_capabilities", "return");
}

static void discarded_blocks_are_given_back(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(vm.disk, &st), 0);
	/* Of 64 MiB 8 were discarded, and 32 are the workers', of which not all is written. */
	assert_true(st.st_blocks * 512 <= (off_t)56 << 20);
}

/* The guest's workers go on writing and reading through all of this. */
static void pauses_in_the_middle_lose_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		qmp("stop", "\"STOP\"");
		qmp("cont", "\"RESUME\"");
	}
	assert_int_equal(vm.failed, 0);
}

static void after_a_reset_in_the_middle_all_is_well_again(void **state)
{
	(void)state;
	qmp("system_reset", "\"RESET\"");
	expect_all_well(2);
	assert_int_equal(vm.failed, 0);
}

static void the_end_of_qemu_ends_the_sessions_in_order(void **state)
{
	(void)state;
	qmp("quit", "return");
	kiln__timer_start(vm.deadline, DEADLINE_MS);
	while (vm.ended < SERVERS && !vm.late)
		kiln_loop_step(vm.loop);
	assert_int_equal(vm.ended, SERVERS);
	assert_int_equal(vm.failed, 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stock_guest_finds_its_devices_in_order),
		cmocka_unit_test(discarded_blocks_are_given_back),
		cmocka_unit_test(pauses_in_the_middle_lose_nothing),
		cmocka_unit_test(after_a_reset_in_the_middle_all_is_well_again),
		cmocka_unit_test(the_end_of_qemu_ends_the_sessions_in_order),
	};

	if (argc != 5)
		return kiln_test_skip("no kernel for the guest");
	vm.kernel = argv[1];
	vm.initrd = argv[2];
	vm.cmdline = argv[3];
	vm.ext4 = argv[4];
	return cmocka_run_group_tests(tests, boot, shut_down);
}
