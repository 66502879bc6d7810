/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only the fake backend is asked: its injected faults, and the parts of the contract
 * that need a guest with kiln's agent, over which the real protocol runs.
 */
#include "contract.h"

#include "agent.h"
#include "err.h"
#include "loop.h"
#include "pair.h"
#include "session.h"
#include "splice.h"

#include <stdlib.h>
#include <string.h>

#define ECHO_PORT 7

static void open_with_agent(struct vm *vm)
{
	vm_open(vm);
	vm_set(vm, "readiness.kind", "agent");
}

static void make_with_agent(struct vm *vm)
{
	open_with_agent(vm);
	vm_make_ready(vm);
}

/* --- streams --------------------------------------------------------------------- */

/* A user of a stream that sends a pattern and compares what comes back. */
struct client {
	struct kiln__stream *stream;
	kiln_error err;
	size_t to_send;
	size_t sent;
	size_t received;
	bool slow; /* takes a piece, then nothing until it is resumed */
	bool stalled;
	bool connected; /* or refused */
	bool ended;
	bool finished;
};

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 7 + at / 251);
}

static void client_send(struct client *c)
{
	uint8_t bytes[5000];

	while (c->sent < c->to_send) {
		size_t len = c->to_send - c->sent;
		ssize_t n;

		if (len > sizeof(bytes))
			len = sizeof(bytes);
		for (size_t i = 0; i < len; i++)
			bytes[i] = pattern(c->sent + i);
		n = kiln__stream_write(c->stream, bytes, len);
		assert_true(n >= 0);
		c->sent += (size_t)n;
		if ((size_t)n < len)
			return;
	}
	kiln__stream_shutdown(c->stream);
}

static size_t client_data(void *data, const void *bytes, size_t len)
{
	struct client *c = data;
	const uint8_t *at = bytes;

	if (c->slow && len > 1000)
		len = 1000;
	for (size_t i = 0; i < len; i++)
		assert_int_equal(at[i], pattern(c->received + i));
	c->received += len;
	c->stalled = c->slow;
	return len;
}

static void client_eof(void *data)
{
	struct client *c = data;

	c->ended = true;
	c->finished = c->received == c->to_send;
}

static void client_error(void *data, const kiln_error *err)
{
	struct client *c = data;

	(void)err;
	c->ended = true;
}

static void client_writable(void *data)
{
	client_send(data);
}

static const struct kiln__stream_handler client_handler = {
	.on_data = client_data,
	.on_eof = client_eof,
	.on_writable = client_writable,
	.on_error = client_error,
};

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct client *c = data;

	assert_false(c->connected);
	c->connected = true;
	c->stream = stream;
	if (err)
		c->err = *err;
	if (!stream)
		return;
	kiln__stream_set_handler(stream, &client_handler, c);
	kiln__stream_resume(stream);
}

static void client_connect(struct client *c, struct vm *vm, uint32_t port)
{
	*c = (struct client){.err = KILN_ERROR_INIT};
	kiln__machine_connect(vm->machine, port, on_connected, c);
	kiln_test_run_until(vm->loop, &c->connected);
}

static void a_stream_carries_everything_both_ways_and_its_end(void **state)
{
	struct client c;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	client_connect(&c, &vm, ECHO_PORT);
	assert_non_null(c.stream);
	c.to_send = 1000000;
	client_send(&c);
	kiln_test_run_until(vm.loop, &c.ended);
	assert_true(c.finished);
	kiln__stream_close(c.stream);
	vm_close(&vm);
}

static void a_slow_reader_loses_nothing(void **state)
{
	struct client c;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	client_connect(&c, &vm, ECHO_PORT);
	c.slow = true;
	c.to_send = 300000;
	client_send(&c);
	kiln_test_settle(vm.loop);
	assert_true(c.sent < c.to_send); /* held back */
	while (!c.ended) {
		c.stalled = false;
		kiln__stream_resume(c.stream);
		kiln_test_settle(vm.loop);
	}
	assert_true(c.finished);
	kiln__stream_close(c.stream);
	vm_close(&vm);
}

static void nobody_listens_on_other_ports(void **state)
{
	struct client c;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	client_connect(&c, &vm, 4711);
	assert_null(c.stream);
	assert_int_equal(c.err.code, KILN_EIO);
	vm_close(&vm);
}

static void streams_end_with_the_machine(void **state)
{
	struct client c;
	struct op op;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	client_connect(&c, &vm, ECHO_PORT);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	kiln_test_run_until(vm.loop, &c.ended);
	assert_true(kiln__stream_write(c.stream, "x", 1) < 0);
	kiln__stream_close(c.stream);
	client_connect(&c, &vm, ECHO_PORT);
	assert_int_equal(c.err.code, KILN_ESTATE);
	vm_close(&vm);
}

/* --- processes ---------------------------------------------------------------------------- */

struct process {
	struct kiln__session *session;
	struct vm *vm;
	struct kiln__buf out[2];
	struct kiln__agent_exit how;
	kiln_error err;
	size_t limit; /* output taken before it stops reading; 0: all */
	bool started;
	bool exited;
	bool failed;
	bool lost;
	bool over;
};

static void on_started(void *data, uint32_t pid)
{
	struct process *p = data;

	assert_true(pid > 1);
	p->started = true;
}

static size_t on_output(void *data, int stream, const void *bytes, size_t len)
{
	struct process *p = data;
	struct kiln__buf *out = &p->out[stream - 1];

	if (p->limit && len > p->limit - out->len)
		len = p->limit - out->len;
	kiln__buf_add(out, bytes, len);
	return len;
}

static void on_exited(void *data, const struct kiln__agent_exit *how)
{
	struct process *p = data;

	p->how = *how;
	p->exited = p->over = true;
}

static void on_failed(void *data, const kiln_error *err, bool lost)
{
	struct process *p = data;

	p->err = *err;
	p->lost = lost;
	p->failed = p->over = true;
}

static const struct kiln__session_handler process_handler = {
	.started = on_started,
	.output = on_output,
	.exited = on_exited,
	.failed = on_failed,
};

static struct kiln__stream *connect_agent(struct vm *vm)
{
	struct client c;

	client_connect(&c, vm, KILN__AGENT_PORT);
	assert_non_null(c.stream);
	return c.stream;
}

/* Runs words that end with NULL. */
static void process_start(struct process *p, struct vm *vm, bool input, const char *const *words)
{
	kiln__autobuf argv = KILN__BUF_INIT;
	struct kiln__agent_start start = {.input = input};
	kiln_error err;

	*p = (struct process){.vm = vm};
	for (; *words; words++)
		kiln__strs_add(&argv, *words);
	start.argv = (struct kiln__strs){argv.data, argv.len};
	kiln_ok(kiln__session_start(&p->session, vm->loop, connect_agent(vm), &start,
				    &process_handler, p, &err),
		&err);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void process_close(struct process *p)
{
	kiln__session_free(p->session);
	kiln__buf_done(&p->out[0]);
	kiln__buf_done(&p->out[1]);
}

static void assert_runs(struct vm *vm, const char *const *words, const char *out, const char *err,
			uint32_t code, uint32_t signal)
{
	struct process p;

	process_start(&p, vm, false, words);
	kiln_test_run_until(vm->loop, &p.over);
	assert_true(p.started);
	assert_true(p.exited);
	assert_string_equal(p.out[0].len ? p.out[0].data : "", out);
	assert_string_equal(p.out[1].len ? p.out[1].data : "", err);
	assert_int_equal(p.how.code, code);
	assert_int_equal(p.how.signal, signal);
	process_close(&p);
}

static void processes_write_and_end_in_every_way(void **state)
{
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	assert_runs(&vm, WORDS("true"), "", "", 0, 0);
	assert_runs(&vm, WORDS("false"), "", "", 1, 0);
	assert_runs(&vm, WORDS("exit", "7"), "", "", 7, 0);
	assert_runs(&vm, WORDS("echo", "two", "words"), "two words\n", "", 0, 0);
	assert_runs(&vm, WORDS("err", "complaint"), "", "complaint\n", 0, 0);
	assert_runs(&vm, WORDS("signal", "9"), "", "", 0, 9);
	assert_runs(&vm, WORDS("cat"), "", "", 0, 0); /* without input it reads its end */
	vm_close(&vm);
}

static void a_program_that_is_not_there_is_named(void **state)
{
	struct process p;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	process_start(&p, &vm, false, WORDS("nonesuch"));
	kiln_test_run_until(vm.loop, &p.over);
	assert_true(p.failed);
	assert_false(p.lost);
	assert_int_equal(p.err.code, KILN_ENOCMD);
	assert_non_null(strstr(p.err.message, "nonesuch"));
	process_close(&p);
	vm_close(&vm);
}

static void feed(struct process *p, size_t total, size_t *sent)
{
	char bytes[3000];

	while (*sent < total) {
		size_t len = total - *sent < sizeof(bytes) ? total - *sent : sizeof(bytes);
		size_t n;

		for (size_t i = 0; i < len; i++)
			bytes[i] = (char)pattern(*sent + i);
		n = kiln__session_write(p->session, bytes, len);
		*sent += n;
		if (n < len)
			break;
	}
	if (*sent == total)
		kiln__session_end_input(p->session);
}

static void assert_pattern(const struct kiln__buf *buf, size_t total)
{
	assert_int_equal(buf->len, total);
	for (size_t i = 0; i < total; i++)
		assert_int_equal((uint8_t)buf->data[i], pattern(i));
}

static void a_pipe_through_the_guest_holds_back_and_loses_nothing(void **state)
{
	const size_t total = 1500000;
	struct process p;
	size_t sent = 0;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	process_start(&p, &vm, true, WORDS("cat"));
	p.limit = 1000;
	feed(&p, total, &sent);
	for (int i = 0; i < 100; i++) {
		kiln_test_settle(vm.loop);
		feed(&p, total, &sent);
	}
	assert_true(sent < total); /* its reader takes no more: it is held back */
	p.limit = 0;
	kiln__session_resume(p.session);
	while (!p.over) {
		feed(&p, total, &sent);
		kiln_loop_step(vm.loop);
	}
	assert_true(p.exited);
	assert_pattern(&p.out[0], total);
	process_close(&p);
	vm_close(&vm);
}

static void on_spliced(void *data, const kiln_error *err)
{
	(void)data;
	(void)err;
}

/* A connection to the agent that can be cut: by freeing the splice in its middle. */
static struct kiln__stream *connect_cuttable(struct vm *vm, struct kiln__splice **ret)
{
	struct kiln__stream *ends[2];
	kiln_error err;

	kiln_ok(kiln__pair_new(ends, vm->loop, 1000, 5000, &err), &err);
	kiln_ok(kiln__splice_new(ret, connect_agent(vm), ends[1], on_spliced, NULL, &err), &err);
	return ends[0];
}

static void a_session_is_taken_up_again_without_loss(void **state)
{
	static const char *const words[] = {"cat", NULL};
	const size_t total = 1000000;
	struct kiln__agent_start start = {.input = true};
	struct kiln__splice *splice;
	struct process p = {.vm = NULL};
	size_t sent = 0;
	size_t cuts = 0;
	kiln_error err;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	start.argv = (struct kiln__strs){words[0], 4};
	kiln_ok(kiln__session_start(&p.session, vm.loop, connect_cuttable(&vm, &splice), &start,
				    &process_handler, &p, &err),
		&err);
	kiln_test_run_until(vm.loop, &p.started);
	while (!p.exited) {
		size_t goal = p.out[0].len + 30000;

		while (!p.over && p.out[0].len < goal) {
			feed(&p, total, &sent);
			kiln_loop_step(vm.loop);
		}
		if (p.exited)
			break;
		kiln__splice_free(splice); /* in the middle of things */
		cuts++;
		kiln_test_run_until(vm.loop, &p.over);
		assert_true(p.failed && p.lost);
		p.failed = p.over = false;
		kiln_ok(kiln__session_reattach(p.session, connect_cuttable(&vm, &splice), &err),
			&err);
	}
	assert_true(cuts >= 8);
	assert_pattern(&p.out[0], total);
	process_close(&p);
	kiln__splice_free(splice);
	vm_close(&vm);
}

/* With input under way that the process did not take, because its output is not taken. */
static void a_session_that_is_held_back_is_taken_up_again(void **state)
{
	static const char *const words[] = {"cat", NULL};
	const size_t total = 700000;
	struct kiln__agent_start start = {.input = true};
	struct kiln__splice *splice;
	struct process p = {.limit = 1000};
	size_t sent = 0;
	kiln_error err;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	start.argv = (struct kiln__strs){words[0], 4};
	kiln_ok(kiln__session_start(&p.session, vm.loop, connect_cuttable(&vm, &splice), &start,
				    &process_handler, &p, &err),
		&err);
	kiln_test_run_until(vm.loop, &p.started);
	for (int i = 0; i < 300; i++) {
		feed(&p, total, &sent);
		kiln_test_settle(vm.loop);
	}
	assert_true(sent < total);
	kiln__splice_free(splice);
	p.limit = 0;
	kiln__session_resume(p.session); /* it notices now */
	kiln_test_run_until(vm.loop, &p.over);
	assert_true(p.failed && p.lost);
	p.failed = p.over = false;
	kiln_ok(kiln__session_reattach(p.session, connect_cuttable(&vm, &splice), &err), &err);
	while (!p.over) {
		feed(&p, total, &sent);
		kiln_loop_step(vm.loop);
	}
	if (p.failed)
		fail_msg("%s", p.err.message);
	assert_pattern(&p.out[0], total);
	process_close(&p);
	kiln__splice_free(splice);
	vm_close(&vm);
}

/* The process has not read its input: what it has is not sent again, and not more than fits. */
static void a_session_whose_input_waits_is_taken_up_again(void **state)
{
	static const char *const words[] = {"sleep", NULL};
	struct kiln__agent_start start = {.input = true};
	struct kiln__splice *splice;
	struct process p = {.vm = NULL};
	size_t sent = 0;
	kiln_error err;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	start.argv = (struct kiln__strs){words[0], 6};
	kiln_ok(kiln__session_start(&p.session, vm.loop, connect_cuttable(&vm, &splice), &start,
				    &process_handler, &p, &err),
		&err);
	kiln_test_run_until(vm.loop, &p.started);
	for (size_t total = 1000; total < 1000000; total *= 10) {
		feed(&p, total + 1, &sent);
		for (int i = 0; i < 100; i++)
			kiln_test_settle(vm.loop);
		kiln__splice_free(splice);
		kiln_test_run_until(vm.loop, &p.over);
		assert_true(p.failed && p.lost);
		p.failed = p.over = false;
		kiln_ok(kiln__session_reattach(p.session, connect_cuttable(&vm, &splice), &err),
			&err);
		kiln_test_settle(vm.loop);
		kiln_test_settle(vm.loop);
	}
	kiln__session_signal(p.session, 15, false);
	kiln_test_run_until(vm.loop, &p.over);
	if (p.failed)
		fail_msg("%s", p.err.message);
	assert_int_equal(p.how.signal, 15);
	process_close(&p);
	kiln__splice_free(splice);
	vm_close(&vm);
}

static void on_writable(void *data);

static const struct kiln__session_handler second_handler = {
	.started = on_started,
	.output = on_output,
	.writable = on_writable,
	.exited = on_exited,
	.failed = on_failed,
};

static void on_writable(void *data)
{
	struct process *p = data;
	size_t sent = 5;

	feed(p, 10, &sent);
}

/* Another client takes a session over, and its input goes on where the first one's ended. */
static void a_second_client_goes_on_where_the_first_was(void **state)
{
	struct kiln__agent_attach attach;
	struct process first, second;
	size_t sent = 0;
	kiln_error err;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	process_start(&first, &vm, true, WORDS("cat"));
	kiln_test_run_until(vm.loop, &first.started);
	while (sent < 5)
		sent += kiln__session_write(first.session, (char[]){(char)pattern(sent)}, 1);
	while (first.out[0].len < 5)
		kiln_loop_step(vm.loop);
	attach = (struct kiln__agent_attach){.id = kiln__session_id(first.session), .stdout_at = 5};
	second = (struct process){.vm = &vm};
	kiln_ok(kiln__session_attach(&second.session, vm.loop, connect_agent(&vm), &attach,
				     &second_handler, &second, &err),
		&err);
	on_writable(&second); /* too early, since where its input begins is not known yet */
	kiln_test_run_until(vm.loop, &first.over);
	assert_int_equal(first.err.code, KILN_ECANCELED);
	kiln_test_run_until(vm.loop, &second.over);
	assert_true(second.exited);
	assert_int_equal(second.out[0].len, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal((uint8_t)second.out[0].data[i], pattern(5 + i));
	process_close(&first);
	process_close(&second);
	vm_close(&vm);
}

static void ten_at_once_and_each_ends_by_its_own_signal(void **state)
{
	struct process p[10];
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	for (size_t i = 0; i < 10; i++)
		process_start(&p[i], &vm, false, WORDS("sleep"));
	for (size_t i = 0; i < 10; i++)
		kiln_test_run_until(vm.loop, &p[i].started);
	for (size_t i = 0; i < 10; i++)
		kiln__session_signal(p[i].session, (uint32_t)i + 1, false);
	for (size_t i = 0; i < 10; i++) {
		kiln_test_run_until(vm.loop, &p[i].over);
		assert_int_equal(p[i].how.signal, i + 1);
		process_close(&p[i]);
	}
	vm_close(&vm);
}

static void processes_are_lost_with_the_machine(void **state)
{
	struct process p;
	struct op op;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	process_start(&p, &vm, false, WORDS("sleep"));
	kiln_test_run_until(vm.loop, &p.started);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	kiln_test_run_until(vm.loop, &p.over);
	assert_true(p.failed);
	process_close(&p);
	vm_close(&vm);
}

static void nothing_runs_while_it_is_paused(void **state)
{
	struct process p;
	struct op op;
	size_t before;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	process_start(&p, &vm, true, WORDS("cat"));
	kiln_test_run_until(vm.loop, &p.started);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	before = p.out[0].len;
	kiln__session_write(p.session, "abc", 3);
	kiln__session_end_input(p.session);
	kiln_test_settle(vm.loop);
	assert_int_equal(p.out[0].len, before);
	op_begin(&op, &vm, kiln_machine_resume);
	op_await_ok(&op);
	kiln_test_run_until(vm.loop, &p.over);
	assert_memory_equal(p.out[0].data, "abc", 3);
	process_close(&p);
	vm_close(&vm);
}

/* --- the agent's requests -------------------------------------------------------------------- */

struct answer {
	union {
		struct kiln__agent_stats stats;
		struct kiln__agent_list list;
	};
	int code;
	bool done;
};

static void on_stats(void *data, const void *result, const kiln_error *err)
{
	struct answer *answer = data;

	answer->code = err ? err->code : 0;
	if (result)
		answer->stats = *(const struct kiln__agent_stats *)result;
	answer->done = true;
}

static void on_list(void *data, const void *result, const kiln_error *err)
{
	struct answer *answer = data;

	answer->code = err ? err->code : 0;
	if (result)
		answer->list = *(const struct kiln__agent_list *)result;
	answer->done = true;
}

static void ask(struct vm *vm, struct answer *answer, const struct kiln__agent_call *call)
{
	struct kiln__agent_call own = *call;
	kiln_error err;

	memset(answer, 0, sizeof(*answer));
	own.data = answer;
	kiln_ok(kiln__agent_request(kiln__machine_agent(vm->machine), &own, &err), &err);
	kiln_test_run_until(vm->loop, &answer->done);
}

static void the_agent_tells_of_its_sessions(void **state)
{
	static struct answer answer;
	struct kiln__agent_signal signal = {.number = 15};
	struct process p;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	process_start(&p, &vm, false, WORDS("sleep"));
	kiln_test_run_until(vm.loop, &p.started);
	ask(&vm, &answer,
	    &(struct kiln__agent_call){.type = KILN__AGENT_LIST,
				       .result = &kiln__agent_list_record,
				       .reply = on_list});
	assert_int_equal(answer.code, 0);
	assert_int_equal(answer.list.count, 1);
	assert_int_equal(answer.list.sessions[0].id, kiln__session_id(p.session));
	ask(&vm, &answer,
	    &(struct kiln__agent_call){.type = KILN__AGENT_STATS,
				       .result = &kiln__agent_stats_record,
				       .reply = on_stats});
	assert_int_equal(answer.stats.processes, 2);

	signal.id = kiln__session_id(p.session);
	ask(&vm, &answer,
	    &(struct kiln__agent_call){.type = KILN__AGENT_KILL,
				       .record = &kiln__agent_signal_record,
				       .value = &signal,
				       .reply = on_stats});
	assert_int_equal(answer.code, 0);
	kiln_test_run_until(vm.loop, &p.over);
	assert_int_equal(p.how.signal, 15);
	kiln_test_settle(vm.loop); /* its status is taken */
	ask(&vm, &answer,
	    &(struct kiln__agent_call){.type = KILN__AGENT_KILL,
				       .record = &kiln__agent_signal_record,
				       .value = &signal,
				       .reply = on_stats});
	assert_int_equal(answer.code, KILN_ENOENT);
	process_close(&p);
	vm_close(&vm);
}

static void a_stop_goes_through_the_agent(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	make_with_agent(&vm);
	op_begin(&op, &vm, kiln_machine_stop, 10000);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_POWEROFF);
	vm_close(&vm);
}

/* --- readiness ----------------------------------------------------------------------- */

static void a_port_that_answers_makes_it_ready(void **state)
{
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "readiness.kind", "vsock");
	vm_set(&vm, "readiness.port", "7");
	vm_make_ready(&vm);
	vm_close(&vm);
}

static void a_command_makes_it_ready_or_is_late(void **state)
{
	struct op ready;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "readiness.kind", "command");
	vm_set(&vm, "readiness.command", "[\"true\"]");
	vm_make_ready(&vm);
	vm_close(&vm);

	vm_open(&vm);
	vm_set(&vm, "readiness.kind", "command");
	vm_set(&vm, "readiness.command", "[\"exit\", \"3\"]");
	vm_set(&vm, "readiness.timeout", "500ms");
	vm_make(&vm);
	kiln_machine_start(vm.machine, NULL, NULL);
	op_begin(&ready, &vm, kiln_machine_wait_ready);
	op_await_code(&ready, KILN_ETIMEDOUT);
	assert_string_equal(ready.err.stage, "ready");
	assert_non_null(strstr(ready.err.message, "code 3"));
	vm_close(&vm);
}

/* --- faults -------------------------------------------------------------------------- */

static void a_start_that_fails_tells_why(void **state)
{
	struct op start, stopped;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.fail_start", "true");
	vm_make(&vm);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_EIO);
	op_await_code(&stopped, KILN_EIO);
	assert_string_equal(start.err.stage, "start");
	assert_non_null(strstr(start.err.message, "fail_start"));
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_FAILED, PASSED_END);
	vm_close(&vm);
}

static void a_slow_start_can_be_waited_for_and_stopped(void **state)
{
	struct op start, stop;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.start_delay", "100ms");
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	kiln_test_settle(vm.loop);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_STARTING);
	op_await_ok(&start);
	vm_close(&vm);

	vm_open(&vm);
	vm_set(&vm, "fake.start_delay", "1h");
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_begin(&stop, &vm, kiln_machine_stop, 100000);
	op_await_ok(&stop);
	op_await_code(&start, KILN_EDIED);
	vm_close(&vm);
}

static void a_start_that_takes_too_long_is_not_ready_in_time(void **state)
{
	struct op start;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.start_delay", "1h");
	vm_set(&vm, "readiness.timeout", "100ms");
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_ETIMEDOUT);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_FAILED, PASSED_END);
	vm_close(&vm);
}

/* Who does not wait for readiness waits for the VMM all the same, and not for ever. */
static void a_start_has_a_deadline_without_readiness(void **state)
{
	struct op start;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.start_delay", "1h");
	vm_set(&vm, "readiness.kind", "none");
	vm_set(&vm, "readiness.timeout", "100ms");
	vm_make(&vm);
	op_begin(&start, &vm, kiln_machine_start);
	op_await_code(&start, KILN_ETIMEDOUT);
	assert_passed(&vm, KILN_STATE_STARTING, KILN_STATE_FAILED, PASSED_END);
	vm_close(&vm);
}

/* A machine that its user frees when it comes to a state. */
struct freeing {
	kiln_machine *machine;
	enum kiln_state in;
	unsigned told;
};

static void free_in_event(void *data, const kiln_event *event)
{
	struct freeing *f = data;

	if (event->to == f->in)
		kiln_machine_free(kiln__take(f->machine));
}

static void count_told(void *data, int result, const kiln_error *err)
{
	struct freeing *f = data;

	(void)result;
	(void)err;
	f->told++;
}

static void a_machine_may_be_freed_in_any_of_its_events(void **state)
{
	static const enum kiln_state states[] = {KILN_STATE_STARTING, KILN_STATE_RUNNING,
						 KILN_STATE_READY,    KILN_STATE_PAUSED,
						 KILN_STATE_STOPPING, KILN_STATE_STOPPED};

	(void)state;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		kiln_machine_options options = KILN_MACHINE_OPTIONS_INIT;
		struct freeing f = {.in = states[i]};
		kiln_config *config;
		kiln_loop *loop;
		kiln_error err;

		kiln_ok(kiln_loop_new(&loop, &err), &err);
		kiln_ok(kiln_config_parse("{\"backend\":\"fake\"}", 18, &config, &err), &err);
		options.on_event = free_in_event;
		options.data = &f;
		kiln_ok(kiln_machine_new(&f.machine, loop, config, &options, &err), &err);
		kiln_config_free(config);
		kiln_machine_start(f.machine, count_told, &f);
		kiln_test_settle(loop);
		if (f.machine)
			kiln_machine_pause(f.machine, count_told, &f);
		kiln_test_settle(loop);
		if (f.machine)
			kiln_machine_kill(f.machine, count_told, &f);
		kiln_test_settle(loop);
		assert_null(f.machine);
		assert_true(f.told >= 1);
		kiln_loop_free(loop);
	}
}

static void a_pause_that_fails_changes_nothing(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.fail_pause", "true");
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_code(&op, KILN_EIO);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	op_begin(&op, &vm, kiln_machine_stop, 10000);
	op_await_ok(&op);
	vm_close(&vm);
}

static void set_true(void *data)
{
	*(bool *)data = true;
}

static void pass_time(struct vm *vm, uint64_t ms)
{
	struct kiln__timer *timer;
	bool passed = false;
	kiln_error err;

	kiln_ok(kiln__timer_new(&timer, vm->loop, set_true, &passed, &err), &err);
	kiln__timer_start(timer, ms);
	kiln_test_run_until(vm->loop, &passed);
	kiln__timer_free(timer);
}

static void a_crash_waits_while_it_is_paused(void **state)
{
	struct op op, stopped;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "fake.crash_after", "50ms");
	vm_make_ready(&vm);
	op_begin(&op, &vm, kiln_machine_pause);
	op_await_ok(&op);
	op_begin(&stopped, &vm, kiln_machine_wait_stopped);
	pass_time(&vm, 100); /* past the moment of the crash */
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_PAUSED);
	op_begin(&op, &vm, kiln_machine_resume);
	op_await_code(&stopped, KILN_EDIED);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_FAILED);
	vm_close(&vm);
}

/* Whatever it was about to die of. */
static void an_end_that_was_asked_for_is_no_failure(void **state)
{
	struct op op;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_make_ready(&vm);
	vm_type(&vm, "kernel panic\n");
	vm_await_console(&vm, "Kernel panic");
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_READY);
	op_begin(&op, &vm, kiln_machine_kill);
	op_await_ok(&op);
	assert_int_equal(kiln_machine_state(vm.machine), KILN_STATE_STOPPED);
	assert_int_equal(kiln_machine_exit(vm.machine).kind, KILN_EXIT_KILLED);
	vm_close(&vm);
}

#define MANY 100

static void a_hundred_machines_live_on_one_loop(void **state)
{
	static struct vm vms[MANY];
	struct op op;

	(void)state;
	vm_open(&vms[0]);
	vm_set(&vms[0], "readiness.kind", "agent");
	for (size_t i = 1; i < MANY; i++) {
		vms[i] = (struct vm){.loop = vms[0].loop, .awaited = KILN_STATE_CREATED};
		kiln_ok(kiln_config_copy(vms[0].config, &vms[i].config, NULL), NULL);
	}
	for (size_t i = 0; i < MANY; i++) {
		vm_make(&vms[i]);
		kiln_machine_start(vms[i].machine, NULL, NULL);
	}
	for (size_t i = 0; i < MANY; i++)
		vm_await(&vms[i], KILN_STATE_READY);
	for (size_t i = MANY; i-- > 0;) {
		op_begin(&op, &vms[i], kiln_machine_kill);
		kiln_test_run_until(vms[0].loop, &op.done);
		kiln_machine_free(vms[i].machine);
		vms[i].machine = NULL;
		if (i == 0)
			break;
		kiln_config_free(vms[i].config);
		kiln__buf_done(&vms[i].console);
	}
	vm_close(&vms[0]);
}

static void what_it_cannot_do_is_refused_by_its_key(void **state)
{
	kiln_machine *machine = NULL;
	kiln_error err;
	struct vm vm;

	(void)state;
	vm_open(&vm);
	vm_set(&vm, "accel", "kvm");
	assert_int_equal(kiln_machine_new(&machine, vm.loop, vm.config, NULL, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "accel"));
	vm_set(&vm, "accel", NULL);
	vm_set(&vm, "networks", "[{}]");
	assert_int_equal(kiln_machine_new(&machine, vm.loop, vm.config, NULL, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "networks[0]"));
	assert_null(machine);
	vm_close(&vm);
}

static void auto_never_means_fake(void **state)
{
	const struct kiln__backend *backend = NULL;
	struct kiln__spec *spec;
	kiln_config *config;
	kiln_error err;

	(void)state;
	kiln_ok(kiln_config_new(&config, &err), &err);
	kiln_ok(kiln__config_spec(config, &spec, &err), &err);
	if (kiln__backend_choose(spec, &backend, &err) == 0)
		assert_string_not_equal(backend->name, "fake");
	kiln__spec_free(spec);
	kiln_config_free(config);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_stream_carries_everything_both_ways_and_its_end),
		kiln_test(a_slow_reader_loses_nothing),
		kiln_test(nobody_listens_on_other_ports),
		kiln_test(streams_end_with_the_machine),
		kiln_test(processes_write_and_end_in_every_way),
		kiln_test(a_program_that_is_not_there_is_named),
		kiln_test(a_pipe_through_the_guest_holds_back_and_loses_nothing),
		kiln_test(a_session_is_taken_up_again_without_loss),
		kiln_test(a_session_that_is_held_back_is_taken_up_again),
		kiln_test(a_session_whose_input_waits_is_taken_up_again),
		kiln_test(a_second_client_goes_on_where_the_first_was),
		kiln_test(ten_at_once_and_each_ends_by_its_own_signal),
		kiln_test(processes_are_lost_with_the_machine),
		kiln_test(nothing_runs_while_it_is_paused),
		kiln_test(the_agent_tells_of_its_sessions),
		kiln_test(a_stop_goes_through_the_agent),
		kiln_test(a_port_that_answers_makes_it_ready),
		kiln_test(a_command_makes_it_ready_or_is_late),
		kiln_test(a_start_that_fails_tells_why),
		kiln_test(a_slow_start_can_be_waited_for_and_stopped),
		kiln_test(a_start_that_takes_too_long_is_not_ready_in_time),
		kiln_test(a_start_has_a_deadline_without_readiness),
		kiln_test(a_machine_may_be_freed_in_any_of_its_events),
		kiln_test(a_pause_that_fails_changes_nothing),
		kiln_test(a_crash_waits_while_it_is_paused),
		kiln_test(an_end_that_was_asked_for_is_no_failure),
		kiln_test(a_hundred_machines_live_on_one_loop),
		kiln_test(what_it_cannot_do_is_refused_by_its_key),
		kiln_test(auto_never_means_fake),
	};
	int r = contract_choose(argc, argv);

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
