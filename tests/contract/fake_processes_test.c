/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes in the fake backend's guest, over the real protocol of kiln's agent: output, input,
 * signals, sessions that are cut and taken up again, and what the agent is asked besides.
 */
#include "fake_guest.h"

#include "agent.h"
#include "err.h"
#include "loop.h"
#include "pair.h"
#include "session.h"
#include "splice.h"

#include <stdlib.h>
#include <string.h>

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

struct connecting {
	struct kiln__stream *stream;
	bool done;
};

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct connecting *c = data;

	(void)err;
	c->stream = stream;
	c->done = true;
}

static struct kiln__stream *connect_agent(struct vm *vm)
{
	struct connecting c = {0};

	kiln__machine_connect(vm->machine, KILN__AGENT_PORT, on_connected, &c);
	kiln_test_run_until(vm->loop, &c.done);
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
int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
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
	};
	int r = contract_choose(argc, argv);

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
