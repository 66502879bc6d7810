/* SPDX-License-Identifier: Apache-2.0 */
/* struct kiln__stream's rules, by its implementation over a descriptor. */
#include "kiln_test.h"

#include "buf.h"
#include "fdstream.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

/* A stream and what its handler has seen; what the handler does is set by each test. */
struct side {
	struct kiln__stream *stream;
	struct kiln__buf got;
	size_t take;  /* consume at most this many bytes a call */
	size_t limit; /* and no more than this in all */
	bool eof;
	bool writable;
	bool error;
	kiln_error err;
	bool something; /* any call */
	bool resume_inside;
	const char *close_in;
	size_t until; /* something_enough is set once this much has come */
	bool enough;
};

static kiln_loop *loop;

static void called(struct side *side, const char *where)
{
	side->something = true;
	if (side->close_in && strcmp(side->close_in, where) == 0) {
		kiln__stream_close(side->stream);
		side->stream = NULL;
	}
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct side *side = data;
	size_t n = len < side->take ? len : side->take;

	assert_false(side->eof);
	assert_true(len > 0);
	if (n > side->limit - side->got.len)
		n = side->limit - side->got.len;
	kiln__buf_add(&side->got, bytes, n);
	side->enough = side->got.len >= side->until;
	if (side->resume_inside && n < len)
		kiln__stream_resume(side->stream);
	called(side, "data");
	return n;
}

static void on_eof(void *data)
{
	struct side *side = data;

	assert_false(side->eof);
	side->eof = true;
	called(side, "eof");
}

static void on_writable(void *data)
{
	struct side *side = data;

	side->writable = true;
	called(side, "writable");
}

static void on_error(void *data, const kiln_error *err)
{
	struct side *side = data;

	assert_false(side->error);
	side->error = true;
	side->err = *err;
	called(side, "error");
}

static const struct kiln__stream_handler handler = {on_data, on_eof, on_writable, on_error};

static void open_side(struct side *side, kiln_fd fd)
{
	kiln_error err;

	*side = (struct side){.take = SIZE_MAX, .limit = SIZE_MAX, .until = SIZE_MAX};
	kiln_ok(kiln__fdstream_new(&side->stream, loop, fd, &err), &err);
	kiln__stream_set_handler(side->stream, &handler, side);
}

static void close_side(struct side *side)
{
	kiln__stream_close(side->stream);
	kiln__buf_done(&side->got);
}

static void open_both(struct side *a, struct side *b)
{
	kiln_fd pair[2];
	kiln_error err;

	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	open_side(a, pair[0]);
	open_side(b, pair[1]);
}

static int setup(void **state)
{
	int r = kiln_test_begin(state);

	return r < 0 ? r : kiln_loop_new(&loop, NULL);
}

static int teardown(void **state)
{
	kiln_loop_free(loop);
	return kiln_test_end(state);
}

static char *pattern(size_t len)
{
	char *bytes = malloc(len);

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (char)(i * 31 + i / 251);
	return bytes;
}

/* Writes until nothing more is taken. */
static size_t fill(struct side *side, const char *bytes, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = kiln__stream_write(side->stream, bytes + done, len - done);

		assert_true(n >= 0);
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return done;
}

static void nothing_is_delivered_before_the_first_resume(void **state)
{
	struct side a;
	struct side b;

	(void)state;
	open_both(&a, &b);
	assert_int_equal(fill(&a, "hello", 5), 5);
	kiln__stream_shutdown(a.stream);
	kiln_test_settle(loop);
	assert_false(b.something);
	kiln__stream_resume(b.stream);
	assert_false(b.something); /* not from inside the call either: nothing was held */
	kiln_test_run_until(loop, &b.eof);
	assert_int_equal(b.got.len, 5);
	assert_memory_equal(b.got.data, "hello", 5);
	close_side(&a);
	close_side(&b);
}

static void what_is_not_consumed_holds_the_writer_back_and_is_not_lost(void **state)
{
	const size_t len = 32 << 20; /* more than any system keeps between the two */
	kiln__autofree char *bytes = pattern(len);
	struct side a;
	struct side b;
	size_t sent;

	(void)state;
	open_both(&a, &b);
	b.limit = 10;
	kiln__stream_resume(b.stream);
	sent = fill(&a, bytes, len);
	b.until = 10;
	kiln_test_run_until(loop, &b.enough);
	sent += fill(&a, bytes + sent, len - sent);
	kiln_test_settle(loop);
	sent += fill(&a, bytes + sent, len - sent);
	assert_true(sent < len); /* a reader that takes nothing stops the writer */
	assert_int_equal(b.got.len, 10);
	b.limit = b.until = len;
	kiln__stream_resume(b.stream);
	while (sent < len) {
		a.writable = false;
		kiln_test_run_until(loop, &a.writable);
		sent += fill(&a, bytes + sent, len - sent);
	}
	kiln_test_run_until(loop, &b.enough);
	assert_int_equal(b.got.len, len);
	assert_memory_equal(b.got.data, bytes, len);
	close_side(&a);
	close_side(&b);
}

static void a_reader_of_single_bytes_gets_them_all_in_order(void **state)
{
	kiln__autofree char *bytes = pattern(1000);
	struct side a;
	struct side b;

	(void)state;
	open_both(&a, &b);
	b.take = 1;
	assert_int_equal(fill(&a, bytes, 1000), 1000);
	kiln__stream_shutdown(a.stream);
	for (size_t n = 1; n <= 1000; n++) {
		b.until = n;
		b.enough = false;
		kiln__stream_resume(b.stream);
		if (!b.enough)
			kiln_test_run_until(loop, &b.enough);
		assert_int_equal(b.got.len, n);
	}
	kiln__stream_resume(b.stream);
	kiln_test_run_until(loop, &b.eof);
	assert_memory_equal(b.got.data, bytes, 1000);
	close_side(&a);
	close_side(&b);
}

static void resuming_from_inside_the_handler_goes_on_at_the_right_byte(void **state)
{
	kiln__autofree char *bytes = pattern(1000);
	struct side a;
	struct side b;

	(void)state;
	open_both(&a, &b);
	b.take = 7;
	b.until = 7;
	kiln__stream_resume(b.stream);
	assert_int_equal(fill(&a, bytes, 500), 500);
	kiln_test_run_until(loop, &b.enough);
	/* Now over what was held back, and then over what comes fresh. */
	b.resume_inside = true;
	kiln__stream_resume(b.stream);
	assert_int_equal(b.got.len, 500);
	assert_int_equal(fill(&a, bytes + 500, 500), 500);
	kiln__stream_shutdown(a.stream);
	kiln_test_run_until(loop, &b.eof);
	assert_int_equal(b.got.len, 1000);
	assert_memory_equal(b.got.data, bytes, 1000);
	close_side(&a);
	close_side(&b);
}

static void after_the_peers_end_writing_goes_on(void **state)
{
	struct side a;
	struct side b;

	(void)state;
	open_both(&a, &b);
	kiln__stream_resume(a.stream);
	kiln__stream_resume(b.stream);
	kiln__stream_shutdown(a.stream);
	kiln_test_run_until(loop, &b.eof);
	assert_int_equal(fill(&b, "late", 4), 4);
	a.until = 4;
	kiln_test_run_until(loop, &a.enough);
	assert_memory_equal(a.got.data, "late", 4);
	kiln__stream_shutdown(b.stream);
	kiln_test_run_until(loop, &a.eof);
	assert_false(a.error || b.error);
	kiln_test_settle(loop); /* on_eof asserts that it is not told twice */
	close_side(&a);
	close_side(&b);
}

static void the_end_waits_until_all_data_is_consumed(void **state)
{
	struct side a;
	struct side b;

	(void)state;
	open_both(&a, &b);
	b.limit = 3;
	kiln__stream_resume(b.stream);
	assert_int_equal(fill(&a, "abcdef", 6), 6);
	kiln__stream_shutdown(a.stream);
	b.until = 3;
	kiln_test_run_until(loop, &b.enough);
	kiln_test_settle(loop);
	assert_false(b.eof);
	b.limit = 6;
	kiln__stream_resume(b.stream);
	assert_int_equal(b.got.len, 6); /* what was held comes from inside resume */
	assert_false(b.eof);
	kiln_test_run_until(loop, &b.eof);
	close_side(&a);
	close_side(&b);
}

static void closing_from_a_handler_ends_all_calls(void **state)
{
	static const char *const where[] = {"data", "eof", "writable"};
	kiln__autofree char *bytes = pattern(32 << 20);

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct side a;
		struct side b;

		open_both(&a, &b);
		b.close_in = where[i];
		kiln__stream_resume(b.stream);
		if (i == 2) {
			fill(&b, bytes, 32 << 20);
			kiln__stream_resume(a.stream);
		} else {
			if (i == 0)
				assert_int_equal(fill(&a, "abc", 3), 3);
			kiln__stream_shutdown(a.stream);
		}
		kiln_test_run_until(loop, &b.something);
		assert_null(b.stream);
		b.something = false;
		kiln_test_settle(loop);
		assert_false(b.something);
		close_side(&a);
		close_side(&b);
	}
}

static void closing_from_data_held_back_ends_all_calls(void **state)
{
	struct side a;
	struct side b;

	(void)state;
	open_both(&a, &b);
	b.limit = 2;
	b.until = 2;
	kiln__stream_resume(b.stream);
	assert_int_equal(fill(&a, "abcdef", 6), 6);
	kiln_test_run_until(loop, &b.enough);
	b.close_in = "data";
	b.limit = SIZE_MAX;
	kiln__stream_resume(b.stream);
	assert_null(b.stream);
	assert_int_equal(b.got.len, 6);
	close_side(&a);
	close_side(&b);
}

static void what_a_vanished_peer_sent_comes_before_the_error(void **state)
{
	const size_t len = 100000;
	kiln__autofree char *bytes = pattern(len);
	struct side a;
	struct side b;

	(void)state;
	open_both(&a, &b);
	b.take = 1000;
	b.resume_inside = true;
	/* Not read by a, which makes its closing an error and not an end. */
	assert_int_equal(fill(&b, "unread", 6), 6);
	assert_int_equal(fill(&a, bytes, len), len);
	close_side(&a);
	b.close_in = "error";
	b.until = len;
	kiln__stream_resume(b.stream);
	while (!b.error && !b.eof) {
		b.something = false;
		kiln_test_run_until(loop, &b.something);
	}
	assert_int_equal(b.got.len, len);
	assert_memory_equal(b.got.data, bytes, len);
	if (b.error)
		assert_int_equal(b.err.code, KILN_EIO);
	close_side(&b);
}

static void writing_to_a_vanished_peer_fails(void **state)
{
	struct side a;
	struct side b;

	(void)state;
	open_both(&a, &b);
	close_side(&a);
	/* A pair made of TCP (Windows) learns of it by the answer to its first write. */
	kiln__stream_write(b.stream, "x", 1);
	kiln__stream_resume(b.stream);
	kiln_test_run_until(loop, &b.something);
	assert_true(kiln__stream_write(b.stream, "x", 1) < 0);
	close_side(&b);
}

#define stream_test(name)                                                                          \
	{                                                                                          \
#name, name, setup, teardown, NULL                                                 \
	}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		stream_test(nothing_is_delivered_before_the_first_resume),
		stream_test(what_is_not_consumed_holds_the_writer_back_and_is_not_lost),
		stream_test(a_reader_of_single_bytes_gets_them_all_in_order),
		stream_test(resuming_from_inside_the_handler_goes_on_at_the_right_byte),
		stream_test(after_the_peers_end_writing_goes_on),
		stream_test(the_end_waits_until_all_data_is_consumed),
		stream_test(closing_from_a_handler_ends_all_calls),
		stream_test(closing_from_data_held_back_ends_all_calls),
		stream_test(what_a_vanished_peer_sent_comes_before_the_error),
		stream_test(writing_to_a_vanished_peer_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
