/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device and the vhost-user server against a stock Linux guest in QEMU.
 * Arguments: kernel, initramfs, "microvm" or "q35", kernel command line. One boot, then the
 * tests in order.
 */
#include "kiln_test.h"

#include "buf.h"
#include "fdstream.h"
#include "os.h"
#include "pattern.h"
#include "vhost_user.h"
#include "vsock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE_MS (vm.soak ? 600000 : 300000)
#define MIB         ((uint64_t)1 << 20)
#define BULK        (vm.soak ? 1024 * MIB : 64 * MIB)

static struct {
	const char *kernel;
	const char *initrd;
	const char *machine;
	const char *cmdline;
	bool soak;
	kiln_loop *loop;
	struct kiln__timer *deadline;
	bool late;
	struct kiln__vsock *vsock;
	struct kiln__vhost_user *server;
	bool server_ended;
	bool server_failed;
	struct kiln__child *qemu;
	bool qemu_ended;
	struct kiln__stream *qmp;
	struct kiln__buf qmp_text;
	struct kiln__stream *hello;
	unsigned hellos;
} vm;

/* --- waiting --------------------------------------------------------------------- */

static void on_deadline(void *data)
{
	(void)data;
	vm.late = true;
}

static void run_until(const bool *done)
{
	vm.late = false;
	kiln__timer_start(vm.deadline, DEADLINE_MS);
	while (!*done && !vm.late)
		kiln_loop_step(vm.loop);
	kiln__timer_stop(vm.deadline);
	assert_false(vm.late);
}

/* --- a conversation with the guest --------------------------------------------------- */

struct job {
	struct kiln__stream *stream;
	struct request request;
	size_t asked;     /* bytes of the request sent */
	uint64_t to_send; /* bytes of pattern after the request */
	uint64_t sent;
	uint64_t received; /* of the pattern */
	uint64_t wrong;
	struct result result;
	size_t result_len;
	size_t greed;      /* the most bytes taken at once; 0: all */
	uint64_t pause_at; /* stop reading here, until told to go on; 0: never */
	struct kiln__deferred *again;
	bool refused;
	int error;
	bool eof;
	bool done;
	unsigned *count_down;
};

static void job_end(struct job *job)
{
	job->done = true;
	kiln__stream_close(job->stream);
	job->stream = NULL;
	kiln__deferred_free(job->again);
	job->again = NULL;
	if (job->count_down)
		--*job->count_down;
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct job *job = data;

	if (job->greed && len > job->greed) {
		len = job->greed;
		kiln__deferred_schedule(job->again);
	}
	if (job->request.op == OP_SOURCE || job->request.op == OP_ECHO) {
		job->wrong += pattern_wrong(bytes, len, job->received);
		job->received += len;
		return len;
	}
	if (job->request.op == OP_HOLD) {
		job->received += len;
		return len;
	}
	assert_true(len <= sizeof(job->result) - job->result_len);
	memcpy((char *)&job->result + job->result_len, bytes, len);
	job->result_len += len;
	return len;
}

static void on_again(void *data)
{
	struct job *job = data;

	kiln__stream_resume(job->stream);
}

static void on_eof(void *data)
{
	struct job *job = data;

	job->eof = true;
	job_end(job);
}

static void on_error(void *data, const kiln_error *err)
{
	struct job *job = data;

	job->error = err->code;
	job_end(job);
}

static void on_writable(void *data)
{
	struct job *job = data;
	unsigned char chunk[65536];

	while (job->asked < sizeof(job->request)) {
		ssize_t n = kiln__stream_write(job->stream, (char *)&job->request + job->asked,
					       sizeof(job->request) - job->asked);

		assert_true(n >= 0);
		if (n == 0)
			return;
		job->asked += (size_t)n;
	}
	while (job->sent < job->to_send) {
		size_t n = sizeof(chunk);
		ssize_t taken;

		if (n > job->to_send - job->sent)
			n = (size_t)(job->to_send - job->sent);
		pattern_fill(chunk, n, job->sent);
		taken = kiln__stream_write(job->stream, chunk, n);
		assert_true(taken >= 0);
		job->sent += (uint64_t)taken;
		if ((size_t)taken < n)
			return;
	}
	if (job->request.op == OP_ECHO || job->request.op == OP_COUNT)
		kiln__stream_shutdown(job->stream);
}

static const struct kiln__stream_handler job_handler = {
	.on_data = on_data, .on_eof = on_eof, .on_writable = on_writable, .on_error = on_error};

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct job *job = data;

	if (!stream) {
		job->refused = err->code == KILN_EIO;
		job->error = err->code;
		job_end(job);
		return;
	}
	job->stream = stream;
	kiln__stream_set_handler(stream, &job_handler, job);
	kiln__stream_resume(stream);
	on_writable(job);
}

static void start(struct job *job, uint32_t op, uint64_t length)
{
	kiln_error err;

	assert_true(vm.hellos > 0); /* or nothing can work */
	job->request.op = op;
	job->request.length = length;
	if (op == OP_SINK || op == OP_ECHO || op == OP_COUNT)
		job->to_send = length;
	kiln_ok(kiln__deferred_new(&job->again, vm.loop, on_again, job, &err), &err);
	kiln__vsock_connect(vm.vsock, GUEST_PORT, on_connected, job);
}

/* --- connections from the guest -------------------------------------------------------- */

#define TAKEN_PORT   7000
#define REFUSED_PORT 7001

static struct incoming {
	struct kiln__stream *stream;
	uint64_t received;
	uint64_t wrong;
	bool done;
} incoming;

static size_t incoming_data(void *data, const void *bytes, size_t len)
{
	(void)data;
	incoming.wrong += pattern_wrong(bytes, len, incoming.received);
	incoming.received += len;
	return len;
}

static void incoming_end(void *data)
{
	(void)data;
	incoming.done = true;
	kiln__stream_close(incoming.stream);
}

static void incoming_error(void *data, const kiln_error *err)
{
	print_error("%s\n", err->message);
	incoming_end(data);
}

static const struct kiln__stream_handler incoming_handler = {
	.on_data = incoming_data, .on_eof = incoming_end, .on_error = incoming_error};

static size_t hello_data(void *data, const void *bytes, size_t len)
{
	(void)data;
	if (len == 5 && memcmp(bytes, "hello", 5) == 0)
		vm.hellos++;
	return len;
}

static void hello_end(void *data)
{
	(void)data;
	kiln__stream_close(vm.hello);
	vm.hello = NULL;
}

static void hello_error(void *data, const kiln_error *err)
{
	(void)err;
	hello_end(data);
}

static const struct kiln__stream_handler hello_handler = {
	.on_data = hello_data, .on_eof = hello_end, .on_error = hello_error};

static bool on_accept(void *data, uint32_t port, struct kiln__stream *stream)
{
	(void)data;
	if (port == HELLO_PORT && !vm.hello) {
		vm.hello = stream;
		kiln__stream_set_handler(stream, &hello_handler, NULL);
	} else if (port == TAKEN_PORT) {
		incoming = (struct incoming){.stream = stream};
		kiln__stream_set_handler(stream, &incoming_handler, NULL);
	} else {
		return false;
	}
	kiln__stream_resume(stream);
	return true;
}

static void wait_for_hello(unsigned count)
{
	kiln__timer_start(vm.deadline, DEADLINE_MS);
	while (vm.hellos < count && !vm.late && !vm.qemu_ended)
		kiln_loop_step(vm.loop);
	kiln__timer_stop(vm.deadline);
	assert_int_equal(vm.hellos, count);
}

/* --- QEMU ---------------------------------------------------------------------------------- */

static size_t qmp_data(void *data, const void *bytes, size_t len)
{
	(void)data;
	kiln__buf_add(&vm.qmp_text, bytes, len);
	return len;
}

static void qmp_end(void *data)
{
	(void)data;
}

static void qmp_error(void *data, const kiln_error *err)
{
	(void)data;
	(void)err;
}

static const struct kiln__stream_handler qmp_handler = {
	.on_data = qmp_data, .on_eof = qmp_end, .on_error = qmp_error};

/* Sends a command and waits for a word of what comes then. */
static void qmp(const char *command, const char *word)
{
	char text[128];
	int len = snprintf(text, sizeof(text), "{\"execute\":\"%s\"}\n", command);

	kiln__buf_clear(&vm.qmp_text);
	assert_int_equal(kiln__stream_write(vm.qmp, text, (size_t)len), len);
	kiln__timer_start(vm.deadline, DEADLINE_MS);
	while (!vm.late && (!vm.qmp_text.data || !strstr(vm.qmp_text.data, word)))
		kiln_loop_step(vm.loop);
	kiln__timer_stop(vm.deadline);
	assert_false(vm.late);
}

static void on_qemu_end(void *data, struct kiln__exit how)
{
	(void)data;
	(void)how;
	vm.qemu_ended = true;
}

static void on_server_end(void *data, const kiln_error *err)
{
	(void)data;
	vm.server_ended = true;
	if (err) {
		print_error("%s\n", err->message);
		vm.server_failed = true;
	}
}

static void spawn(kiln_fd vsock, kiln_fd monitor)
{
	bool microvm = strcmp(vm.machine, "microvm") == 0;
	const char *argv[] = {
		"qemu-system-x86_64",
		"-M",
		microvm ? "microvm,memory-backend=ram,pcie=off" : "q35,memory-backend=ram",
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
		"-global",
		"virtio-mmio.force-legacy=false",
		"-kernel",
		vm.kernel,
		"-initrd",
		vm.initrd,
		"-append",
		vm.cmdline,
		"-serial",
		"file:/dev/stderr",
		"-chardev",
		"socket,id=monitor,fd=10",
		"-mon",
		"chardev=monitor,mode=control",
		"-chardev",
		"socket,id=vsock,fd=11",
		"-device",
		microvm ? "vhost-user-vsock-device,chardev=vsock"
			: "vhost-user-vsock-pci,chardev=vsock",
		NULL,
	};
	struct kiln__spawn_fd fds[] = {{monitor, 10}, {vsock, 11}, {2, 2}};
	struct kiln__spawn spawn = {
		.argv = argv, .fds = fds, .fd_count = 3, .die_with_parent = true};
	kiln__autofree char *path = NULL;
	kiln_error err;

	kiln_ok(kiln__os_find_program(&path, argv[0], &err), &err);
	spawn.path = path;
	kiln_ok(kiln__child_spawn(&vm.qemu, &spawn, &err), &err);
	kiln_ok(kiln__child_watch(vm.qemu, vm.loop, on_qemu_end, NULL, &err), &err);
}

static int boot(void **state)
{
	kiln_fd vsock[2];
	kiln_fd monitor[2];
	kiln_error err;

	(void)state;
	kiln_ok(kiln_loop_new(&vm.loop, &err), &err);
	kiln_ok(kiln__timer_new(&vm.deadline, vm.loop, on_deadline, NULL, &err), &err);
	kiln_ok(kiln__os_socket_pair(vsock, &err), &err);
	kiln_ok(kiln__os_socket_pair(monitor, &err), &err);
	kiln_ok(kiln__vsock_new(&vm.vsock, vm.loop, 42, &err), &err);
	kiln__vsock_listen(vm.vsock, on_accept, NULL);
	kiln_ok(kiln__vhost_user_new(&vm.server, vm.loop, vsock[0], kiln__vsock_device(vm.vsock),
				     &err),
		&err);
	kiln__vhost_user_on_end(vm.server, on_server_end, NULL);
	kiln_ok(kiln__fdstream_new(&vm.qmp, vm.loop, monitor[0], &err), &err);
	kiln__stream_set_handler(vm.qmp, &qmp_handler, NULL);
	kiln__stream_resume(vm.qmp);
	spawn(vsock[1], monitor[1]);
	kiln__os_close(vsock[1]);
	kiln__os_close(monitor[1]);
	return 0;
}

static int shut_down(void **state)
{
	(void)state;
	kiln__child_kill(vm.qemu);
	while (!vm.qemu_ended)
		kiln_loop_step(vm.loop);
	kiln__child_free(vm.qemu);
	kiln__stream_close(vm.qmp);
	kiln__buf_done(&vm.qmp_text);
	kiln__vhost_user_free(vm.server);
	kiln__vsock_free(vm.vsock);
	kiln__timer_free(vm.deadline);
	kiln_loop_free(vm.loop);
	return 0;
}

/* --- the rules -------------------------------------------------------------------------------- */

static void guest_connects_to_the_host(void **state)
{
	(void)state;
	wait_for_hello(1);
	qmp("qmp_capabilities", "return");
}

static void a_long_stream_reaches_the_guest_whole(void **state)
{
	struct job job = {0};

	(void)state;
	start(&job, OP_SINK, BULK);
	run_until(&job.done);
	assert_int_equal(job.error, 0);
	assert_int_equal(job.result_len, sizeof(job.result));
	assert_int_equal(job.result.status, 0);
	assert_int_equal(job.result.length, BULK);
	assert_int_equal(job.result.wrong, 0);
}

static void a_long_stream_reaches_the_host_whole(void **state)
{
	struct job job = {0};

	(void)state;
	start(&job, OP_SOURCE, BULK);
	run_until(&job.done);
	assert_true(job.eof);
	assert_int_equal(job.received, BULK);
	assert_int_equal(job.wrong, 0);
}

static void a_slow_reader_loses_nothing(void **state)
{
	struct job job = {.greed = 5000};

	(void)state;
	start(&job, OP_SOURCE, 4 * MIB);
	run_until(&job.done);
	assert_true(job.eof);
	assert_int_equal(job.received, 4 * MIB);
	assert_int_equal(job.wrong, 0);
}

static void both_directions_flow_at_once(void **state)
{
	struct job job = {0};

	(void)state;
	start(&job, OP_ECHO, 16 * MIB);
	run_until(&job.done);
	assert_true(job.eof);
	assert_int_equal(job.received, 16 * MIB);
	assert_int_equal(job.wrong, 0);
}

static void half_close_lets_the_answer_through(void **state)
{
	struct job job = {0};

	(void)state;
	start(&job, OP_COUNT, MIB);
	run_until(&job.done);
	assert_int_equal(job.error, 0);
	assert_int_equal(job.result_len, sizeof(job.result));
	assert_int_equal(job.result.length, MIB);
	assert_int_equal(job.result.wrong, 0);
}

static void a_port_without_listener_refuses(void **state)
{
	struct job job = {0};

	(void)state;
	kiln__vsock_connect(vm.vsock, GUEST_PORT + 1, on_connected, &job);
	run_until(&job.done);
	assert_true(job.refused);
}

static void a_host_port_that_is_refused_resets_the_guest(void **state)
{
	struct job job = {.request.port = REFUSED_PORT};

	(void)state;
	start(&job, OP_DIAL, 1);
	run_until(&job.done);
	assert_int_equal(job.result_len, sizeof(job.result));
	assert_int_equal(job.result.status, -ECONNRESET);
}

static void a_connection_from_the_guest_carries_data_whole(void **state)
{
	struct job job = {.request.port = TAKEN_PORT};

	(void)state;
	start(&job, OP_DIAL, BULK);
	run_until(&incoming.done);
	run_until(&job.done);
	assert_int_equal(job.result.status, 0);
	assert_int_equal(incoming.received, BULK);
	assert_int_equal(incoming.wrong, 0);
}

#define PARALLEL 200

static void two_hundred_connections_at_once(void **state)
{
	static struct job jobs[PARALLEL];
	unsigned left = PARALLEL;

	(void)state;
	for (unsigned i = 0; i < PARALLEL; i++) {
		jobs[i].count_down = &left;
		start(&jobs[i], OP_ECHO, 64 * 1024);
	}
	kiln__timer_start(vm.deadline, DEADLINE_MS);
	while (left > 0 && !vm.late)
		kiln_loop_step(vm.loop);
	kiln__timer_stop(vm.deadline);
	for (unsigned i = 0; i < PARALLEL; i++) {
		assert_true(jobs[i].eof);
		assert_int_equal(jobs[i].received, 64 * 1024);
		assert_int_equal(jobs[i].wrong, 0);
	}
}

static void connections_survive_a_pause(void **state)
{
	struct job job = {0};

	(void)state;
	start(&job, OP_ECHO, 32 * MIB);
	kiln__timer_start(vm.deadline, DEADLINE_MS);
	while (job.received < 4 * MIB && !job.done && !vm.late)
		kiln_loop_step(vm.loop);
	assert_false(job.done);
	qmp("stop", "\"STOP\"");
	qmp("cont", "\"RESUME\"");
	run_until(&job.done);
	assert_true(job.eof);
	assert_int_equal(job.received, 32 * MIB);
	assert_int_equal(job.wrong, 0);
}

static void an_idle_device_wakes_nobody(void **state)
{
	struct pollfd fd = {kiln_loop_fd(vm.loop), POLLIN, 0};

	(void)state;
	/* What closes of before still have under way comes first, and late if the guest is slow. */
	for (int tries = 0; poll(&fd, 1, 2000) > 0; tries++) {
		assert_true(tries < 1000);
		kiln_loop_dispatch(vm.loop);
	}
}

static void a_reset_ends_connections_and_the_next_boot_works(void **state)
{
	struct job held = {0};
	struct job job = {0};

	(void)state;
	start(&held, OP_HOLD, 0);
	kiln__timer_start(vm.deadline, DEADLINE_MS);
	while (held.received == 0 && !held.done && !vm.late)
		kiln_loop_step(vm.loop);
	assert_false(held.done);
	qmp("system_reset", "\"RESET\"");
	wait_for_hello(2);
	run_until(&held.done);
	assert_int_equal(held.error, KILN_EDIED);
	start(&job, OP_SINK, MIB);
	run_until(&job.done);
	assert_int_equal(job.result.length, MIB);
	assert_int_equal(job.result.wrong, 0);
}

static void the_end_of_qemu_ends_the_session_in_order(void **state)
{
	(void)state;
	qmp("quit", "SHUTDOWN");
	run_until(&vm.server_ended);
	assert_false(vm.server_failed);
	assert_null(vm.hello);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_connects_to_the_host),
		cmocka_unit_test(a_long_stream_reaches_the_guest_whole),
		cmocka_unit_test(a_long_stream_reaches_the_host_whole),
		cmocka_unit_test(a_slow_reader_loses_nothing),
		cmocka_unit_test(both_directions_flow_at_once),
		cmocka_unit_test(half_close_lets_the_answer_through),
		cmocka_unit_test(a_port_without_listener_refuses),
		cmocka_unit_test(a_host_port_that_is_refused_resets_the_guest),
		cmocka_unit_test(a_connection_from_the_guest_carries_data_whole),
		cmocka_unit_test(two_hundred_connections_at_once),
		cmocka_unit_test(connections_survive_a_pause),
		cmocka_unit_test(an_idle_device_wakes_nobody),
		cmocka_unit_test(a_reset_ends_connections_and_the_next_boot_works),
		cmocka_unit_test(the_end_of_qemu_ends_the_session_in_order),
	};

	if (argc != 5)
		return kiln_test_skip("no kernel for the guest");
	vm.kernel = argv[1];
	vm.initrd = argv[2];
	vm.machine = argv[3];
	vm.cmdline = argv[4];
	vm.soak = getenv("KILN_SOAK") != NULL;
	return cmocka_run_group_tests(tests, boot, shut_down);
}
