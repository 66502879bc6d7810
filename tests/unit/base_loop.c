/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "loop.h"
#include "os.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

/* A string that the calls take as their data: alive until the end of its block. */
#define text(string) ((char[]){string})

static kiln_loop *loop;
static char trace[64];

static void note(void *data)
{
	size_t used = strlen(trace);

	snprintf(trace + used, sizeof(trace) - used, "%s", (const char *)data);
}

static int setup(void **state)
{
	int r = kiln_test_begin(state);

	trace[0] = '\0';
	return r < 0 ? r : kiln_loop_new(&loop, NULL);
}

static int teardown(void **state)
{
	kiln_loop_free(loop);
	return kiln_test_end(state);
}

static struct kiln__timer *timer(kiln__call_fn fn, void *data)
{
	struct kiln__timer *made;
	kiln_error err;

	kiln_ok(kiln__timer_new(&made, loop, fn, data, &err), &err);
	return made;
}

static struct kiln__deferred *deferred(kiln__call_fn fn, void *data)
{
	struct kiln__deferred *made;
	kiln_error err;

	kiln_ok(kiln__deferred_new(&made, loop, fn, data, &err), &err);
	return made;
}

/* --- timers ---------------------------------------------------------------- */

static void timers_run_once_each_in_order_of_time(void **state)
{
	struct kiln__timer *late = timer(note, text("b"));
	struct kiln__timer *early = timer(note, text("a"));
	uint64_t before = kiln__loop_now(loop);

	(void)state;
	assert_false(kiln__timer_armed(early));
	kiln__timer_start(late, 20);
	kiln__timer_start(early, 1);
	assert_true(kiln__timer_armed(early));
	assert_in_range(kiln_loop_timeout(loop), 0, 1);
	kiln_loop_run(loop);
	assert_string_equal(trace, "ab");
	assert_false(kiln__timer_armed(late));
	assert_true(kiln__loop_now(loop) - before >= 20);
	kiln__timer_free(late);
	kiln__timer_free(early);
}

static void a_stopped_timer_does_not_run(void **state)
{
	struct kiln__timer *stopped = timer(note, text("s"));
	struct kiln__timer *other = timer(note, text("o"));

	(void)state;
	kiln__timer_start(stopped, 1);
	kiln__timer_start(other, 3);
	kiln__timer_stop(stopped);
	kiln_loop_run(loop);
	assert_string_equal(trace, "o");
	kiln__timer_free(stopped);
	kiln__timer_free(other);
}

static struct kiln__timer *pair[2];

static void free_both(void *data)
{
	note(data);
	kiln__timer_free(pair[0]);
	kiln__timer_free(pair[1]);
}

static void a_callback_may_free_its_own_timer_and_another_due_one(void **state)
{
	(void)state;
	pair[0] = timer(free_both, text("1"));
	pair[1] = timer(free_both, text("2"));
	kiln__timer_start(pair[0], 0);
	kiln__timer_start(pair[1], 0);
	kiln_loop_run(loop);
	assert_string_equal(trace, "1");
}

static void rearm(void *data)
{
	note(text("."));
	if (strlen(trace) < 3)
		kiln__timer_start(*(struct kiln__timer **)data, 1);
}

static void a_timer_may_be_rearmed_from_its_callback(void **state)
{
	struct kiln__timer *again;

	(void)state;
	again = timer(rearm, &again);
	kiln__timer_start(again, 1);
	kiln_loop_run(loop);
	assert_string_equal(trace, "...");
	kiln__timer_free(again);
}

/* --- deferred calls ---------------------------------------------------------- */

static void deferred_calls_run_from_the_loop_in_order_and_once(void **state)
{
	struct kiln__deferred *a = deferred(note, text("a"));
	struct kiln__deferred *b = deferred(note, text("b"));
	struct kiln__deferred *c = deferred(note, text("c"));

	(void)state;
	kiln__deferred_schedule(a);
	kiln__deferred_schedule(b);
	kiln__deferred_schedule(c);
	kiln__deferred_schedule(a);
	kiln__deferred_free(b);
	assert_string_equal(trace, "");
	assert_int_equal(kiln_loop_timeout(loop), 0);
	kiln_loop_run(loop);
	assert_string_equal(trace, "ac");
	kiln__deferred_free(a);
	kiln__deferred_free(c);
}

static int rounds;

static void again(void *data)
{
	rounds++;
	kiln__deferred_schedule(*(struct kiln__deferred **)data);
}

static void a_deferred_call_that_asks_again_starves_nobody(void **state)
{
	struct kiln__deferred *self;
	struct kiln__timer *due = timer(note, text("t"));

	(void)state;
	self = deferred(again, &self);
	kiln__deferred_schedule(self);
	kiln__timer_start(due, 0);
	rounds = 0;
	kiln_loop_dispatch(loop);
	assert_int_equal(rounds, 1);
	kiln_loop_dispatch(loop);
	assert_int_equal(rounds, 2);
	assert_string_equal(trace, "t");
	kiln__deferred_free(self);
	kiln__timer_free(due);
	kiln_loop_dispatch(loop);
	assert_int_equal(rounds, 2);
}

static struct kiln__deferred *victim;

static void free_victim(void *data)
{
	note(data);
	kiln__deferred_free(victim);
	victim = NULL;
}

static void a_deferred_call_may_free_one_of_the_same_round_and_itself(void **state)
{
	struct kiln__deferred *killer = deferred(free_victim, text("k"));

	(void)state;
	victim = deferred(note, text("v"));
	kiln__deferred_schedule(killer);
	kiln__deferred_schedule(victim);
	kiln_loop_run(loop);
	assert_string_equal(trace, "k");
	victim = killer;
	kiln__deferred_schedule(killer);
	kiln_loop_run(loop);
	assert_string_equal(trace, "kk");
}

/* --- stepping ------------------------------------------------------------------ */

static void set(void *data)
{
	*(bool *)data = true;
}

static void a_step_ends_once_a_timer_or_deferred_call_has_run(void **state)
{
	struct kiln__timer *distant = timer(note, text("far"));
	struct kiln__timer *due;
	struct kiln__deferred *call;
	bool done = false;
	uint64_t before = kiln__loop_now(loop);

	(void)state;
	/* With something else attached the loop would block after these, for an hour. */
	kiln__timer_start(distant, 3600 * 1000);
	call = deferred(set, &done);
	kiln__deferred_schedule(call);
	kiln_loop_step(loop);
	assert_true(done);
	done = false;
	due = timer(set, &done);
	kiln__timer_start(due, 0);
	kiln_loop_step(loop);
	assert_true(done);
	assert_true(kiln__loop_now(loop) - before < KILN_TEST_DEADLINE_MS);
	kiln__timer_free(distant);
	kiln__timer_free(due);
	kiln__deferred_free(call);
}

static void stop_it(void *data)
{
	note(text("s"));
	kiln_loop_stop(loop);
	(void)data;
}

static void stopping_ends_the_run_though_something_is_attached(void **state)
{
	struct kiln__timer *distant = timer(note, text("far"));
	struct kiln__deferred *stop = deferred(stop_it, NULL);

	(void)state;
	kiln__timer_start(distant, 3600 * 1000);
	kiln__deferred_schedule(stop);
	kiln_loop_run(loop);
	assert_string_equal(trace, "s");
	assert_int_equal(kiln_loop_dispatch(loop), 1);
	kiln__timer_free(distant);
	kiln__deferred_free(stop);
	kiln_loop_dispatch(loop);
	assert_int_equal(kiln_loop_dispatch(loop), 0);
}

/* --- watches --------------------------------------------------------------------- */

struct end {
	kiln_fd fd;
	struct kiln__watch *watch;
	int calls;
	int events;
	bool called;
	bool free_it;
	bool read_one;
};

static void on_event(void *data, int events)
{
	struct end *end = data;
	char byte;

	end->calls++;
	end->events = events;
	end->called = true;
	if (end->read_one)
		kiln__os_read(end->fd, &byte, 1);
	if (end->free_it) {
		kiln__watch_free(end->watch);
		end->watch = NULL;
	}
}

static void open_pair(struct end *a, struct end *b)
{
	kiln_fd fds[2];
	kiln_error err;

	kiln_ok(kiln__os_socket_pair(fds, &err), &err);
	*a = (struct end){.fd = fds[0]};
	*b = (struct end){.fd = fds[1]};
	kiln_ok(kiln__watch_new(&a->watch, loop, a->fd, on_event, a, &err), &err);
	kiln_ok(kiln__watch_new(&b->watch, loop, b->fd, on_event, b, &err), &err);
}

static void close_end(struct end *end)
{
	kiln__watch_free(end->watch);
	kiln__os_close(end->fd);
}

static void a_watch_tells_what_was_asked_for_and_nothing_else(void **state)
{
	struct end a;
	struct end b;

	(void)state;
	open_pair(&a, &b);
	kiln_test_settle(loop);
	assert_int_equal(a.calls, 0);
	kiln__watch_set(a.watch, KILN__WRITABLE);
	kiln_test_run_until(loop, &a.called);
	assert_int_equal(a.events, KILN__WRITABLE);
	a.called = false;
	kiln__watch_set(a.watch, KILN__READABLE);
	assert_int_equal(kiln__os_write(b.fd, "x", 1), 1);
	a.calls = 0;
	kiln_test_run_until(loop, &a.called);
	assert_int_equal(a.events, KILN__READABLE);
	kiln__watch_set(a.watch, 0);
	a.calls = 0;
	kiln_test_settle(loop);
	assert_int_equal(a.calls, 0);
	assert_int_equal(b.calls, 0);
	close_end(&a);
	close_end(&b);
}

static void a_hang_up_is_told_as_readable(void **state)
{
	struct end a;
	struct end b;
	char byte;

	(void)state;
	open_pair(&a, &b);
	kiln__watch_set(a.watch, KILN__READABLE);
	close_end(&b);
	kiln_test_run_until(loop, &a.called);
	assert_int_equal(kiln__os_read(a.fd, &byte, 1), 0);
	close_end(&a);
}

static void what_came_before_an_error_is_still_told(void **state)
{
	struct end a;
	struct end b;

	(void)state;
	open_pair(&a, &b);
	a.read_one = true;
	/* Closing with input unread is an error at the other end, whose own input remains. */
	assert_int_equal(kiln__os_write(a.fd, "unread", 6), 6);
	assert_int_equal(kiln__os_write(b.fd, "abc", 3), 3);
	close_end(&b);
	kiln__watch_set(a.watch, KILN__READABLE);
	for (int i = 0; i < 3; i++) {
		a.called = false;
		kiln_test_run_until(loop, &a.called);
	}
	assert_true(a.calls >= 3);
	close_end(&a);
}

static void a_watch_may_be_freed_from_its_callback(void **state)
{
	struct end a;
	struct end b;

	(void)state;
	open_pair(&a, &b);
	a.free_it = true;
	assert_int_equal(kiln__os_write(b.fd, "x", 1), 1);
	kiln__watch_set(a.watch, KILN__READABLE | KILN__WRITABLE);
	kiln_test_run_until(loop, &a.called);
	kiln_test_settle(loop);
	assert_int_equal(a.calls, 1);
	close_end(&a);
	close_end(&b);
}

/* --- other threads, other loops ------------------------------------------------------ */

static void wake_from_thread(void *data)
{
	kiln__waker_wake(data);
	kiln__waker_wake(data);
}

static void a_waker_wakes_from_another_thread(void **state)
{
	struct kiln__waker *waker;
	uv_thread_t thread;
	bool woken = false;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__waker_new(&waker, loop, set, &woken, &err), &err);
	assert_int_equal(uv_thread_create(&thread, wake_from_thread, waker), 0);
	kiln_test_run_until(loop, &woken);
	uv_thread_join(&thread);
	kiln__waker_free(waker);
}

#ifndef _WIN32
static void the_descriptor_of_a_loop_embeds_it_in_another(void **state)
{
	struct end a;
	struct end b;
	struct end inner = {0};
	kiln_loop *outer;
	kiln_error err;

	(void)state;
	open_pair(&a, &b);
	kiln_ok(kiln_loop_new(&outer, &err), &err);
	kiln__watch_set(a.watch, KILN__READABLE);
	kiln_loop_dispatch(loop); /* registers the watch */
	assert_int_equal(kiln_loop_timeout(loop), -1);
	kiln_ok(kiln__watch_new(&inner.watch, outer, kiln_loop_fd(loop), on_event, &inner, &err),
		&err);
	kiln__watch_set(inner.watch, KILN__READABLE);
	kiln_test_settle(outer);
	assert_int_equal(inner.calls, 0);
	assert_int_equal(kiln__os_write(b.fd, "x", 1), 1);
	kiln_test_run_until(outer, &inner.called);
	kiln_loop_dispatch(loop);
	assert_true(a.called);
	kiln__watch_free(inner.watch);
	kiln_loop_free(outer);
	close_end(&a);
	close_end(&b);
}
#endif

#define loop_test(name)                                                                            \
	{                                                                                          \
#name, name, setup, teardown, NULL                                                 \
	}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		loop_test(timers_run_once_each_in_order_of_time),
		loop_test(a_stopped_timer_does_not_run),
		loop_test(a_callback_may_free_its_own_timer_and_another_due_one),
		loop_test(a_timer_may_be_rearmed_from_its_callback),
		loop_test(deferred_calls_run_from_the_loop_in_order_and_once),
		loop_test(a_deferred_call_that_asks_again_starves_nobody),
		loop_test(a_deferred_call_may_free_one_of_the_same_round_and_itself),
		loop_test(a_step_ends_once_a_timer_or_deferred_call_has_run),
		loop_test(stopping_ends_the_run_though_something_is_attached),
		loop_test(a_watch_tells_what_was_asked_for_and_nothing_else),
		loop_test(a_hang_up_is_told_as_readable),
		loop_test(what_came_before_an_error_is_still_told),
		loop_test(a_watch_may_be_freed_from_its_callback),
		loop_test(a_waker_wakes_from_another_thread),
#ifndef _WIN32
		loop_test(the_descriptor_of_a_loop_embeds_it_in_another),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
