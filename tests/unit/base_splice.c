/* SPDX-License-Identifier: Apache-2.0 */
/* Two streams joined: each test has an outer pair of streams to talk to. */
#include "kiln_test.h"

#include "buf.h"
#include "fdstream.h"
#include "mempair.h"
#include "os.h"
#include "splice.h"

#include <string.h>

struct end {
	struct kiln__stream *stream;
	struct kiln__buf got;
	size_t allowance;
	size_t to_send;
	size_t sent;
	bool shut_after;
	bool eof;
	bool failed;
};

struct fixture {
	kiln_loop *loop;
	struct end left;
	struct end right;
	struct kiln__splice *splice;
	bool ended;
	int code;
	bool free_on_end;
};

static unsigned char byte_at(size_t at)
{
	return (unsigned char)(at * 31 + (at >> 8));
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct end *end = data;

	if (len > end->allowance)
		len = end->allowance;
	end->allowance -= len;
	kiln__buf_add(&end->got, bytes, len);
	return len;
}

static void on_eof(void *data)
{
	((struct end *)data)->eof = true;
}

static void on_error(void *data, const kiln_error *err)
{
	(void)err;
	((struct end *)data)->failed = true;
}

static void on_writable(void *data)
{
	struct end *end = data;
	unsigned char chunk[1000];

	while (end->sent < end->to_send) {
		size_t n = sizeof(chunk);
		ssize_t taken;

		if (n > end->to_send - end->sent)
			n = end->to_send - end->sent;
		for (size_t i = 0; i < n; i++)
			chunk[i] = byte_at(end->sent + i);
		taken = kiln__stream_write(end->stream, chunk, n);
		if (taken < 0) {
			end->failed = true;
			return;
		}
		end->sent += (size_t)taken;
		if ((size_t)taken < n)
			return;
	}
	if (end->shut_after)
		kiln__stream_shutdown(end->stream);
}

static const struct kiln__stream_handler handler = {
	.on_data = on_data, .on_eof = on_eof, .on_writable = on_writable, .on_error = on_error};

static void on_end(void *data, const kiln_error *err)
{
	struct fixture *f = data;

	assert_false(f->ended);
	f->ended = true;
	f->code = err ? err->code : 0;
	if (f->free_on_end) {
		kiln__splice_free(f->splice);
		f->splice = NULL;
	}
}

static void set_up(struct fixture *f)
{
	struct kiln__stream *a[2];
	struct kiln__stream *b[2];
	kiln_error err;

	memset(f, 0, sizeof(*f));
	kiln_ok(kiln_loop_new(&f->loop, &err), &err);
	assert_int_equal(mempair_new(a, f->loop, 700, 2000), 0);
	assert_int_equal(mempair_new(b, f->loop, 300, 5000), 0);
	f->left.stream = a[0];
	f->right.stream = b[1];
	f->left.allowance = f->right.allowance = SIZE_MAX;
	kiln__stream_set_handler(f->left.stream, &handler, &f->left);
	kiln__stream_set_handler(f->right.stream, &handler, &f->right);
	kiln__stream_resume(f->left.stream);
	kiln__stream_resume(f->right.stream);
	f->free_on_end = true;
	kiln_ok(kiln__splice_new(&f->splice, a[1], b[0], on_end, f, &err), &err);
}

static void tear_down(struct fixture *f)
{
	kiln__splice_free(f->splice);
	kiln__stream_close(f->left.stream);
	kiln__stream_close(f->right.stream);
	kiln__buf_done(&f->left.got);
	kiln__buf_done(&f->right.got);
	kiln_loop_free(f->loop);
}

static void assert_whole(const struct end *end, size_t len)
{
	assert_int_equal(end->got.len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal((unsigned char)end->got.data[i], byte_at(i));
}

static void bytes_pass_both_ways_and_then_it_ends(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.left.to_send = 100000;
	f.right.to_send = 70001;
	f.left.shut_after = f.right.shut_after = true;
	on_writable(&f.left);
	on_writable(&f.right);
	kiln_test_run_until(f.loop, &f.ended);
	kiln_test_run_until(f.loop, &f.left.eof);
	kiln_test_run_until(f.loop, &f.right.eof);
	assert_int_equal(f.code, 0);
	assert_whole(&f.right, 100000);
	assert_whole(&f.left, 70001);
	tear_down(&f);
}

static void a_slow_reader_holds_the_sender_back(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.right.allowance = 10;
	f.left.to_send = 100000;
	f.left.shut_after = true;
	on_writable(&f.left);
	kiln_test_settle(f.loop);
	assert_int_equal(f.right.got.len, 10);
	assert_true(f.left.sent < 10000); /* what the pairs hold, and nothing in between */
	f.right.allowance = SIZE_MAX;
	kiln__stream_resume(f.right.stream);
	kiln_test_run_until(f.loop, &f.right.eof);
	assert_whole(&f.right, 100000);
	assert_false(f.ended);
	tear_down(&f);
}

static void half_close_leaves_the_other_direction(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	kiln__stream_shutdown(f.left.stream);
	kiln_test_settle(f.loop);
	assert_true(f.right.eof);
	assert_false(f.left.eof);
	assert_false(f.ended);
	f.right.to_send = 5000;
	f.right.shut_after = true;
	on_writable(&f.right);
	kiln_test_run_until(f.loop, &f.ended);
	kiln_test_run_until(f.loop, &f.left.eof);
	assert_whole(&f.left, 5000);
	tear_down(&f);
}

static void a_reader_that_went_away_does_not_cut_off_what_it_sent(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.left.allowance = 100; /* slow: the right side's bytes are still under way ... */
	f.right.to_send = 4000;
	on_writable(&f.right);
	kiln__stream_close(f.right.stream); /* ... when it has gone */
	f.right.stream = NULL;
	kiln_test_settle(f.loop);
	f.left.to_send = 50000; /* which makes writes to it fail */
	f.left.shut_after = true;
	on_writable(&f.left);
	kiln_test_settle(f.loop);
	f.left.allowance = SIZE_MAX;
	kiln__stream_resume(f.left.stream);
	kiln_test_run_until(f.loop, &f.ended);
	kiln_test_run_until(f.loop, &f.left.eof);
	assert_whole(&f.left, 4000);
	assert_int_not_equal(f.code, 0);
	tear_down(&f);
}

static void freeing_closes_both_at_any_time(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.left.to_send = 100000;
	on_writable(&f.left);
	kiln__splice_free(f.splice);
	f.splice = NULL;
	kiln_test_run_until(f.loop, &f.left.eof);
	kiln_test_run_until(f.loop, &f.right.eof);
	assert_false(f.ended);
	tear_down(&f);
}

static void it_may_be_freed_after_its_end(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.free_on_end = false;
	kiln__stream_shutdown(f.left.stream);
	kiln__stream_shutdown(f.right.stream);
	kiln_test_run_until(f.loop, &f.ended);
	kiln_test_settle(f.loop);
	tear_down(&f);
}

/* Over real sockets, where an end may come with a reset. */
static void sockets_that_vanish_end_it(void **state)
{
	struct kiln__stream *a;
	struct kiln__stream *b;
	struct fixture f = {.free_on_end = true};
	kiln_fd left[2];
	kiln_fd right[2];
	kiln_error err;

	(void)state;
	kiln_ok(kiln_loop_new(&f.loop, &err), &err);
	kiln_ok(kiln__os_socket_pair(left, &err), &err);
	kiln_ok(kiln__os_socket_pair(right, &err), &err);
	kiln_ok(kiln__fdstream_new(&a, f.loop, left[1], &err), &err);
	kiln_ok(kiln__fdstream_new(&b, f.loop, right[1], &err), &err);
	kiln_ok(kiln__splice_new(&f.splice, a, b, on_end, &f, &err), &err);
	assert_int_equal(kiln__os_write(left[0], "unread", 6), 6);
	kiln_test_settle(f.loop);
	kiln__os_close(right[0]); /* with "unread" still in it: a reset */
	kiln__os_close(left[0]);
	kiln_test_run_until(f.loop, &f.ended);
	kiln_loop_free(f.loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(bytes_pass_both_ways_and_then_it_ends),
		kiln_test(a_slow_reader_holds_the_sender_back),
		kiln_test(half_close_leaves_the_other_direction),
		kiln_test(a_reader_that_went_away_does_not_cut_off_what_it_sent),
		kiln_test(freeing_closes_both_at_any_time),
		kiln_test(it_may_be_freed_after_its_end),
		kiln_test(sockets_that_vanish_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
