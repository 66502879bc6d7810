/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams into the fake backend's guest: flow control, ends, and ports where nobody listens.
 */
#include "fake_guest.h"

#include "loop.h"

#include <string.h>

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
int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_stream_carries_everything_both_ways_and_its_end),
		kiln_test(a_slow_reader_loses_nothing),
		kiln_test(nobody_listens_on_other_ports),
		kiln_test(streams_end_with_the_machine),
	};
	int r = contract_choose(argc, argv);

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
