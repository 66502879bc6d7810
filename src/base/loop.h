/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop from inside: timers, descriptor watches, deferred calls and wake-ups.
 *
 * The objects here are freed by one call, from any callback, their own included;
 * libuv's two-step close is hidden. No callback runs after the free.
 * All of it is for the loop's thread only, but kiln__waker_wake().
 */
#ifndef KILN_BASE_LOOP_H
#define KILN_BASE_LOOP_H

#include <kiln/loop.h>

#include "cleanup.h"
#include "fd.h"

#include <stdbool.h>
#include <stdint.h>

typedef void (*kiln__call_fn)(void *data);

/* --- timers ---------------------------------------------------------------- */

struct kiln__timer;

/* An idle timer. @fn runs once each time it expires. */
int kiln__timer_new(struct kiln__timer **ret, kiln_loop *loop, kiln__call_fn fn, void *data,
		    kiln_error *err);
void kiln__timer_free(struct kiln__timer *timer); /* NULL is allowed */

/* (Re)arms the timer: @fn runs once, @ms milliseconds from now (of the loop's clock, refreshed). */
void kiln__timer_start(struct kiln__timer *timer, uint64_t ms);
void kiln__timer_stop(struct kiln__timer *timer);
bool kiln__timer_armed(const struct kiln__timer *timer);

/* --- descriptor watches ----------------------------------------------------- */

#define KILN__READABLE 1
#define KILN__WRITABLE 2

struct kiln__watch;

/*
 * Watches @fd (a socket, pipe, eventfd, pidfd ...: whatever can be polled; not a
 * regular file). Borrowed: it must stay open until the watch is freed. No event
 * is asked for until kiln__watch_set(). An error or hang-up is reported as
 * whatever was asked for, so that the next read or write shows it.
 */
int kiln__watch_new(struct kiln__watch **ret, kiln_loop *loop, kiln_fd fd,
		    void (*fn)(void *data, int events), void *data, kiln_error *err);
void kiln__watch_free(struct kiln__watch *watch); /* NULL is allowed */

/* Sets the events wanted (KILN__READABLE | KILN__WRITABLE, or 0). Costs a system call only on
 * change. */
void kiln__watch_set(struct kiln__watch *watch, int events);

/* --- calls ------------------------------------------------------------------- */

struct kiln__deferred;

/*
 * A call that can be asked to run once from the loop's next round, before it
 * blocks: what keeps completions from running inside the call that caused them.
 * Several run in the order they were scheduled. Must be freed before the loop.
 */
int kiln__deferred_new(struct kiln__deferred **ret, kiln_loop *loop, kiln__call_fn fn, void *data,
		       kiln_error *err);
void kiln__deferred_schedule(struct kiln__deferred *deferred);
void kiln__deferred_free(struct kiln__deferred *deferred); /* NULL is allowed; cancels */

/* A wake-up that another thread may send: @fn then runs on the loop's thread; several may fold into
 * one. */
struct kiln__waker;
int kiln__waker_new(struct kiln__waker **ret, kiln_loop *loop, kiln__call_fn fn, void *data,
		    kiln_error *err);
void kiln__waker_wake(struct kiln__waker *waker); /* any thread */
void kiln__waker_free(struct kiln__waker *waker); /* NULL is allowed */

/* Milliseconds of the loop's monotonic clock, as of now. */
uint64_t kiln__loop_now(const kiln_loop *loop);

KILN__DEFINE_AUTOPTR(kiln_loop, kiln_loop_free)

#endif
