/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent against a host that does what kiln's own side would not: a damaged stream ends
 * its own connection, with a reason, and nothing else; one that is not read holds up nobody.
 */
#include "rig.h"

#include <poll.h>
#include <string.h>
#include <sys/resource.h>

static struct rig rig;

static int up(void **state)
{
	int r = kiln_test_begin(state);

	rig_up(&rig);
	return r;
}

static int down(void **state)
{
	struct proc proc = {.rig = NULL};

	/* Whatever was done to it, it goes on. */
	proc_run(&proc, &rig, &(struct kiln__agent_start){.argv = ARGV("echo", "alive")});
	proc_said(&proc, "alive\n", "", 0);
	proc_done(&proc);
	rig_down(&rig);
	return kiln_test_end(state);
}

#define hostile_test(name)                                                                         \
	{                                                                                          \
#name, name, up, down, NULL                                                        \
	}

static void add_hello(struct kiln__buf *buf)
{
	const struct kiln__agent_hello hello = {.version_min = KILN__AGENT_VERSION_MIN,
						.version_max = KILN__AGENT_VERSION};

	kiln__frame_pack(buf, KILN__AGENT_HELLO, 0, 0, &kiln__agent_hello_record, &hello);
}

/*
 * Sends bytes on a connection of their own and reads all that comes, to the end. Yields
 * the error that the agent ended it with; code 0 if there was none.
 */
static void send_bytes(const void *bytes, size_t len, kiln_error *ret)
{
	kiln_fd fd = rig_connect_raw(&rig);
	struct kiln__frame_reader reader;
	struct kiln__frame frame;
	uint8_t answer[4096];
	kiln_error err;
	bool whole;
	ssize_t n;

	*ret = (kiln_error)KILN_ERROR_INIT;
	kiln__frame_reader_init(&reader, kiln__agent_limit);
	kiln_ok(kiln__os_set_nonblocking(fd, false, &err), &err);
	kiln_ok(kiln__os_write_full(fd, bytes, len, &err), &err);
	kiln__os_shutdown_write(fd);
	while ((n = kiln__os_read(fd, answer, sizeof(answer))) > 0)
		for (size_t at = 0; at < (size_t)n;) {
			int64_t used = kiln__frame_read(&reader, answer + at, (size_t)n - at,
							&frame, &whole, &err);
			struct kiln__agent_error error;

			kiln_ok(used, &err);
			at += (size_t)used;
			if (!whole || frame.type != KILN__AGENT_ERROR)
				continue;
			kiln_ok(kiln__record_unpack(&kiln__agent_error_record, frame.body,
						    frame.len, &error, &err),
				&err);
			kiln__agent_error_to(&error, ret);
		}
	kiln__frame_reader_done(&reader);
	kiln__os_close(fd);
}

/* A client that reads frames one by one, when the test wants one. */
struct raw {
	kiln_fd fd;
	struct kiln__frame_reader reader;
	uint8_t bytes[4096];
	size_t at;
	size_t len;
	uint64_t got[2]; /* of stdout and stderr */
};

static void raw_send(struct raw *raw, const struct kiln__buf *buf)
{
	kiln_error err;

	kiln_ok(kiln__os_write_full(raw->fd, buf->data, buf->len, &err), &err);
}

static void raw_start(struct raw *raw, const struct kiln__agent_start *start)
{
	struct kiln__buf buf = KILN__BUF_INIT;
	kiln_error err;

	*raw = (struct raw){.fd = rig_connect_raw(&rig)};
	kiln__frame_reader_init(&raw->reader, kiln__agent_limit);
	kiln_ok(kiln__os_set_nonblocking(raw->fd, false, &err), &err);
	add_hello(&buf);
	kiln__frame_pack(&buf, KILN__AGENT_START, 0, 1, &kiln__agent_start_record, start);
	raw_send(raw, &buf);
	kiln__buf_done(&buf);
}

/* The next frame; what data it has is counted. */
static uint8_t raw_next(struct raw *raw, struct kiln__frame *ret)
{
	kiln_error err;
	bool whole = false;

	while (!whole) {
		int64_t used;

		if (raw->at == raw->len) {
			ssize_t n = kiln__os_read(raw->fd, raw->bytes, sizeof(raw->bytes));

			assert_true(n > 0);
			raw->at = 0;
			raw->len = (size_t)n;
		}
		used = kiln__frame_read(&raw->reader, raw->bytes + raw->at, raw->len - raw->at, ret,
					&whole, &err);
		kiln_ok(used, &err);
		raw->at += (size_t)used;
	}
	if (ret->type == KILN__AGENT_STDOUT || ret->type == KILN__AGENT_STDERR) {
		const uint8_t *bytes;
		uint64_t offset;
		size_t len;
		int stream = ret->type == KILN__AGENT_STDERR;

		kiln_ok(kiln__frame_data(ret, &offset, &bytes, &len, &err), &err);
		assert_int_equal(offset, raw->got[stream]);
		raw->got[stream] += len;
	}
	return ret->type;
}

static void raw_done(struct raw *raw)
{
	kiln__frame_reader_done(&raw->reader);
	kiln__os_close(raw->fd);
}

static void wait_for_exit(void)
{
	do
		rig_request(&rig, KILN__AGENT_LIST, NULL, NULL, &kiln__agent_list_record);
	while (!rig.answer.list.sessions[0].exited);
}

static void the_exit_waits_for_output_that_had_no_room(void **state)
{
	/* More than the window holds; the pipe holds the rest when the process has ended. */
	const struct kiln__agent_start start = {.id = 5,
						.argv = ARGV("head", "-c", "310000", "/dev/zero")};
	struct kiln__agent_ack ack = {.stdout_at = 200000};
	struct kiln__buf buf = KILN__BUF_INIT;
	struct kiln__agent_exit how;
	struct kiln__frame frame;
	struct raw raw;
	kiln_error err;

	(void)state;
	raw_start(&raw, &start);
	while (raw.got[0] < KILN__AGENT_OUTPUT_WINDOW)
		raw_next(&raw, &frame);
	wait_for_exit();
	/* Nothing was acknowledged, so nothing more may have been sent: not the exit either. */
	kiln__frame_pack(&buf, KILN__AGENT_ACK, 0, 0, &kiln__agent_ack_record, &ack);
	raw_send(&raw, &buf);
	while (raw_next(&raw, &frame) != KILN__AGENT_EXIT)
		;
	assert_int_equal(raw.got[0], 310000);
	kiln_ok(kiln__record_unpack(&kiln__agent_exit_record, frame.body, frame.len, &how, &err),
		&err);
	assert_int_equal(how.stdout_end, 310000);
	kiln__buf_clear(&buf);
	kiln__frame_pack(&buf, KILN__AGENT_DONE, 0, 0, NULL, NULL);
	raw_send(&raw, &buf);
	kiln__buf_done(&buf);
	raw_done(&raw);
}

static void a_frame_under_way_is_finished_for_a_client_that_has_lost_the_session(void **state)
{
	const struct kiln__agent_start start = {.id = 6, .argv = ARGV("cat", "/dev/zero")};
	struct kiln__agent_error error = {.code = 0};
	struct proc second = {.drop = true};
	struct kiln__frame frame;
	struct raw first;
	kiln_error err;

	(void)state;
	raw_start(&first, &start);
	while (raw_next(&first, &frame) != KILN__AGENT_STARTED)
		;
	/* It reads no more: the socket holds less than the window, so a frame is under way. */
	for (int i = 0; i < 100; i++)
		rig_request(&rig, KILN__AGENT_STATS, NULL, NULL, &kiln__agent_stats_record);
	proc_start(&second, &rig, &start);
	kiln_test_run_until(rig.loop, &second.something);
	kiln__session_signal(second.session, 9, false);
	proc_wait(&second);
	assert_int_equal(second.how.signal, 9);
	proc_done(&second);
	while (raw_next(&first, &frame) != KILN__AGENT_ERROR)
		;
	kiln_ok(kiln__record_unpack(&kiln__agent_error_record, frame.body, frame.len, &error, &err),
		&err);
	assert_int_equal(-(int)error.code, KILN_ECANCELED);
	raw_done(&first);
}

static void rubbish_is_refused(void **state)
{
	kiln_error err;

	(void)state;
	send_bytes("GET / HTTP/1.1\r\n\r\n", 18, &err);
	assert_int_equal(err.code, KILN_EPROTO);
	send_bytes("\0\0\0\0\0\0\0\0", 8, &err);
	assert_int_equal(err.code, KILN_EPROTO);
}

static void a_version_that_it_does_not_speak_is_refused_by_number(void **state)
{
	const struct kiln__agent_hello hello = {.version_min = 0x200, .version_max = 0x2ff};
	struct kiln__buf buf = KILN__BUF_INIT;
	kiln_error err;

	(void)state;
	kiln__frame_pack(&buf, KILN__AGENT_HELLO, 0, 0, &kiln__agent_hello_record, &hello);
	send_bytes(buf.data, buf.len, &err);
	assert_int_equal(err.code, KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "0x200"));
	kiln__buf_done(&buf);
}

static void frames_that_do_not_belong_are_refused(void **state)
{
	struct kiln__buf buf = KILN__BUF_INIT;
	kiln_error err;

	(void)state;
	add_hello(&buf);
	kiln__frame_pack(&buf, KILN__AGENT_DONE, 0, 3, NULL, NULL); /* without a session */
	send_bytes(buf.data, buf.len, &err);
	assert_int_equal(err.code, KILN_ENOTSUP);
	kiln__buf_clear(&buf);
	add_hello(&buf);
	kiln__frame_pack(&buf, 200, KILN__FRAME_OPTIONAL, 3, NULL,
			 NULL); /* unknown, but optional */
	send_bytes(buf.data, buf.len, &err);
	assert_int_equal(err.code, 0);
	kiln__buf_done(&buf);
}

static void start_then(const void *frames, size_t len, int code)
{
	const struct kiln__agent_start start = {
		.id = 99, .argv = ARGV("sleep", "1000"), .input = true};
	const struct kiln__agent_attach attach = {.id = 99};
	struct kiln__agent_signal kill = {.id = 99, .number = 9};
	struct kiln__buf buf = KILN__BUF_INIT;
	kiln_error err;

	add_hello(&buf);
	kiln__frame_pack(&buf, KILN__AGENT_START, 0, 1, &kiln__agent_start_record, &start);
	kiln__buf_add(&buf, frames, len);
	send_bytes(buf.data, buf.len, &err);
	assert_int_equal(err.code, code);
	/* The process is still there, and has not seen anything of it. */
	rig_request(&rig, KILN__AGENT_KILL, &kiln__agent_signal_record, &kill, NULL);
	assert_int_equal(rig.error.code, 0);
	wait_for_exit();
	assert_int_equal(rig.answer.list.sessions[0].signal, 9);
	/* Take its status. */
	kiln__buf_clear(&buf);
	add_hello(&buf);
	kiln__frame_pack(&buf, KILN__AGENT_ATTACH, 0, 1, &kiln__agent_attach_record, &attach);
	kiln__frame_pack(&buf, KILN__AGENT_DONE, 0, 0, NULL, NULL);
	send_bytes(buf.data, buf.len, &err);
	assert_int_equal(err.code, 0);
	kiln__buf_done(&buf);
}

static void input_beyond_its_window_ends_the_connection(void **state)
{
	static const char zeros[65536];
	struct kiln__buf buf = KILN__BUF_INIT;
	uint8_t head[KILN__FRAME_DATA_HEAD];

	(void)state;
	/* The window's two, and one that the pipe takes, are too few. */
	for (uint64_t i = 0; i < 4; i++) {
		kiln__frame_data_head(head, KILN__AGENT_STDIN, 0, i * sizeof(zeros), sizeof(zeros));
		kiln__buf_add(&buf, head, sizeof(head));
		kiln__buf_add(&buf, zeros, sizeof(zeros));
	}
	start_then(buf.data, buf.len, KILN_EPROTO);
	kiln__buf_done(&buf);
}

static void input_out_of_order_ends_the_connection(void **state)
{
	struct kiln__buf buf = KILN__BUF_INIT;
	uint8_t head[KILN__FRAME_DATA_HEAD];

	(void)state;
	kiln__frame_data_head(head, KILN__AGENT_STDIN, 0, 1, 3);
	kiln__buf_add(&buf, head, sizeof(head));
	kiln__buf_adds(&buf, "abc");
	start_then(buf.data, buf.len, KILN_EPROTO);
	kiln__buf_done(&buf);
}

static void an_acknowledgement_of_what_was_not_sent_ends_the_connection(void **state)
{
	const struct kiln__agent_ack ack = {.stdout_at = 1};
	struct kiln__buf buf = KILN__BUF_INIT;

	(void)state;
	kiln__frame_pack(&buf, KILN__AGENT_ACK, 0, 0, &kiln__agent_ack_record, &ack);
	start_then(buf.data, buf.len, KILN_EPROTO);
	kiln__buf_done(&buf);
}

static void done_before_the_end_ends_the_connection(void **state)
{
	struct kiln__buf buf = KILN__BUF_INIT;

	(void)state;
	kiln__frame_pack(&buf, KILN__AGENT_DONE, 0, 0, NULL, NULL);
	start_then(buf.data, buf.len, KILN_EPROTO);
	kiln__buf_done(&buf);
}

static void an_attach_beyond_what_there_is_is_refused(void **state)
{
	const struct kiln__agent_attach none = {.id = 12345};
	const struct kiln__agent_start start = {.id = 98, .argv = ARGV("sleep", "100")};
	const struct kiln__agent_attach beyond = {.id = 98, .stdout_at = 1};
	struct kiln__agent_signal kill = {.id = 98, .number = 9};
	struct proc proc = {.rig = NULL};
	struct kiln__buf buf = KILN__BUF_INIT;
	kiln_error err;

	(void)state;
	add_hello(&buf);
	kiln__frame_pack(&buf, KILN__AGENT_ATTACH, 0, 1, &kiln__agent_attach_record, &none);
	send_bytes(buf.data, buf.len, &err);
	assert_int_equal(err.code, KILN_ENOENT);
	proc_start(&proc, &rig, &start);
	kiln_test_run_until(rig.loop, &proc.started);
	kiln__buf_clear(&buf);
	add_hello(&buf);
	kiln__frame_pack(&buf, KILN__AGENT_ATTACH, 0, 1, &kiln__agent_attach_record, &beyond);
	send_bytes(buf.data, buf.len, &err);
	assert_int_equal(err.code, KILN_EOVERFLOW);
	/* its client is still the one that it had */
	rig_request(&rig, KILN__AGENT_KILL, &kiln__agent_signal_record, &kill, NULL);
	proc_wait(&proc);
	assert_int_equal(proc.how.signal, 9);
	proc_done(&proc);
	kiln__buf_done(&buf);
}

static void a_hundred_and_thirty_processes_are_too_many(void **state)
{
	static struct proc procs[130];
	unsigned running = 0;

	(void)state;
	for (size_t i = 0; i < 130; i++) {
		procs[i] = (struct proc){.rig = NULL};
		proc_start(&procs[i], &rig,
			   &(struct kiln__agent_start){.argv = ARGV("cat"), .input = true});
	}
	for (size_t i = 0; i < 130; i++) {
		while (!procs[i].started && !procs[i].over)
			kiln_loop_step(rig.loop);
		running += procs[i].started;
		if (procs[i].failed)
			assert_int_equal(procs[i].error.code, KILN_EBUSY);
	}
	assert_int_equal(running, KILN__AGENT_MAX_SESSIONS);
	for (size_t i = 0; i < 130; i++) {
		if (procs[i].started) {
			kiln__session_end_input(procs[i].session);
			proc_wait(&procs[i]);
		}
		proc_done(&procs[i]);
	}
}

/* It is PID 1: with no descriptor left it refuses, and neither spins nor leaves anybody waiting. */
static void without_descriptors_connections_are_refused(void **state)
{
	struct rlimit before;
	struct rlimit few;
	pid_t agent = (pid_t)kiln__child_pid(rig.child);
	kiln_fd fds[64];
	char hello[1024];

	(void)state;
	assert_int_equal(prlimit(agent, RLIMIT_NOFILE, NULL, &before), 0);
	few = (struct rlimit){.rlim_cur = 40, .rlim_max = before.rlim_max};
	assert_int_equal(prlimit(agent, RLIMIT_NOFILE, &few, NULL), 0);
	for (size_t i = 0; i < 64; i++)
		fds[i] = rig_connect_raw(&rig);
	for (size_t i = 0; i < 64; i++) {
		struct pollfd one = {.fd = fds[i], .events = POLLIN};

		assert_int_equal(poll(&one, 1, KILN_TEST_DEADLINE_MS), 1);
		if (i == 0)
			assert_true(kiln__os_read(fds[i], hello, sizeof(hello)) > 0);
		if (i == 63)
			assert_true(kiln__os_read(fds[i], hello, sizeof(hello)) <= 0);
	}
	assert_int_equal(prlimit(agent, RLIMIT_NOFILE, &before, NULL), 0);
	for (size_t i = 0; i < 64; i++)
		kiln__os_close(fds[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		hostile_test(rubbish_is_refused),
		hostile_test(a_version_that_it_does_not_speak_is_refused_by_number),
		hostile_test(frames_that_do_not_belong_are_refused),
		hostile_test(input_beyond_its_window_ends_the_connection),
		hostile_test(input_out_of_order_ends_the_connection),
		hostile_test(an_acknowledgement_of_what_was_not_sent_ends_the_connection),
		hostile_test(done_before_the_end_ends_the_connection),
		hostile_test(an_attach_beyond_what_there_is_is_refused),
		hostile_test(the_exit_waits_for_output_that_had_no_room),
		hostile_test(a_frame_under_way_is_finished_for_a_client_that_has_lost_the_session),
		hostile_test(a_hundred_and_thirty_processes_are_too_many),
		hostile_test(without_descriptors_connections_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
