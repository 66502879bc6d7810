/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop over libuv. Each object embeds its uv handle; free marks it closing
 * and lets libuv's close callback release the memory, in this round or the next.
 * Deferred calls are a list of our own behind one idle handle: in the order asked
 * for, and one that asks again from its own call waits for the next round, so that
 * it cannot keep events from being seen (a timer of 0 ms could, in libuv before 1.45).
 */
#include "loop.h"

#include "err.h"
#include "syscalls.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* libuv's, once the loop is made; the ioctl is FIONBIO, of what begins to be watched. */
KILN__SYSCALLS(epoll_wait, epoll_pwait, epoll_ctl, clock_gettime, ioctl(1 = 0x5421), close);

/* A list of deferred calls, circular, with a head that is not one of them. */
struct link {
	struct link *next;
	struct link *previous;
};

struct kiln_loop {
	uv_loop_t uv; /* first: handles lead back to the loop by it */
	uv_idle_t idle;
	struct link scheduled;
	bool stepping;
};

struct kiln__timer {
	uv_timer_t uv;
	kiln__call_fn fn;
	void *data;
};

struct kiln__watch {
	uv_poll_t uv;
	int events;
	void (*fn)(void *data, int events);
	void *data;
};

struct kiln__deferred {
	struct link link; /* first; to itself while not scheduled */
	kiln_loop *loop;
	kiln__call_fn fn;
	void *data;
};

struct kiln__waker {
	uv_async_t uv;
	kiln__call_fn fn;
	void *data;
};

static int fail_uv(kiln_error *err, int status, const char *what)
{
	return kiln__fail(err, status == UV_ENOMEM ? KILN_ENOMEM : KILN_ESYSTEM, "%s: %s", what,
			  uv_strerror(status));
}

/* The handle is the first member of each object, so it is also what was allocated. */
static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

static void list_init(struct link *list)
{
	list->next = list->previous = list;
}

static void list_append(struct link *list, struct link *link)
{
	link->previous = list->previous;
	link->next = list;
	list->previous->next = link;
	list->previous = link;
}

static void list_remove(struct link *link)
{
	link->next->previous = link->previous;
	link->previous->next = link->next;
	list_init(link);
}

/*
 * Before each callback. libuv goes on to block after the timers of a round have
 * run; kiln_loop_step() has done its duty then, and a stopped loop does not block.
 */
static void enter(uv_loop_t *uv)
{
	if (((kiln_loop *)uv)->stepping)
		uv_stop(uv);
}

int kiln_loop_new(kiln_loop **ret_loop, kiln_error *err)
{
	kiln_loop *loop = calloc(1, sizeof(*loop));
	int status;

	if (!loop)
		return kiln__fail_nomem(err);
	status = uv_loop_init(&loop->uv);
	if (status < 0) {
		free(loop);
		return fail_uv(err, status, "cannot make an event loop");
	}
	uv_idle_init(&loop->uv, &loop->idle);
	list_init(&loop->scheduled);
	*ret_loop = loop;
	return 0;
}

static void insist_on_closing(uv_handle_t *handle, void *data)
{
	(void)data;
	if (!uv_is_closing(handle))
		abort(); /* something was not freed before its loop: a bug of the caller */
}

void kiln_loop_free(kiln_loop *loop)
{
	if (!loop)
		return;
	uv_close((uv_handle_t *)&loop->idle, NULL);
	uv_walk(&loop->uv, insist_on_closing, NULL);
	/* On Windows a handle closes only when the system has given back what it was asked. */
	while (uv_loop_close(&loop->uv) == UV_EBUSY)
		uv_run(&loop->uv, UV_RUN_ONCE);
	free(loop);
}

int kiln_loop_fd(const kiln_loop *loop)
{
	return uv_backend_fd(&loop->uv);
}

int kiln_loop_timeout(const kiln_loop *loop)
{
	if (!uv_loop_alive(&loop->uv))
		return -1; /* libuv says 0 of a loop with nothing attached */
	uv_update_time((uv_loop_t *)&loop->uv);
	return uv_backend_timeout(&loop->uv);
}

int kiln_loop_dispatch(kiln_loop *loop)
{
	return uv_run(&loop->uv, UV_RUN_NOWAIT) != 0;
}

int kiln_loop_step(kiln_loop *loop)
{
	int alive;

	loop->stepping = true;
	alive = uv_run(&loop->uv, UV_RUN_ONCE) != 0;
	loop->stepping = false;
	return alive;
}

void kiln_loop_run(kiln_loop *loop)
{
	uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void kiln_loop_stop(kiln_loop *loop)
{
	uv_stop(&loop->uv);
}

uint64_t kiln__loop_now(const kiln_loop *loop)
{
	uv_update_time((uv_loop_t *)&loop->uv);
	return uv_now(&loop->uv);
}

static void on_timer(uv_timer_t *uv)
{
	struct kiln__timer *timer = (struct kiln__timer *)uv;

	enter(uv->loop);
	timer->fn(timer->data);
}

int kiln__timer_new(struct kiln__timer **ret, kiln_loop *loop, kiln__call_fn fn, void *data,
		    kiln_error *err)
{
	struct kiln__timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return kiln__fail_nomem(err);
	uv_timer_init(&loop->uv, &timer->uv);
	timer->fn = fn;
	timer->data = data;
	*ret = timer;
	return 0;
}

void kiln__timer_free(struct kiln__timer *timer)
{
	if (timer)
		uv_close((uv_handle_t *)&timer->uv, on_closed);
}

void kiln__timer_start(struct kiln__timer *timer, uint64_t ms)
{
	uv_update_time(timer->uv.loop);
	uv_timer_start(&timer->uv, on_timer, ms, 0);
}

void kiln__timer_stop(struct kiln__timer *timer)
{
	uv_timer_stop(&timer->uv);
}

bool kiln__timer_armed(const struct kiln__timer *timer)
{
	return uv_is_active((const uv_handle_t *)&timer->uv);
}

static int uv_events(int events)
{
	return (events & KILN__READABLE ? UV_READABLE : 0) |
	       (events & KILN__WRITABLE ? UV_WRITABLE : 0);
}

static void on_poll(uv_poll_t *uv, int status, int events)
{
	struct kiln__watch *watch = (struct kiln__watch *)uv;
	int seen = 0;

	if (status < 0) {
		/*
		 * libuv has stopped the poll; but what is still to be read must go on to be told.
		 */
		seen = watch->events;
		uv_poll_start(uv, uv_events(seen), on_poll);
	}
	if (events & (UV_READABLE | UV_DISCONNECT))
		seen |= KILN__READABLE;
	if (events & UV_WRITABLE)
		seen |= KILN__WRITABLE;
	seen &= watch->events;
	if (!seen)
		return;
	enter(uv->loop);
	watch->fn(watch->data, seen);
}

int kiln__watch_new(struct kiln__watch **ret, kiln_loop *loop, kiln_fd fd,
		    void (*fn)(void *data, int events), void *data, kiln_error *err)
{
	struct kiln__watch *watch = calloc(1, sizeof(*watch));
	int status;

	if (!watch)
		return kiln__fail_nomem(err);
	/* On POSIX a socket is a descriptor like any other, and this is uv_poll_init(). */
	status = uv_poll_init_socket(&loop->uv, &watch->uv, (uv_os_sock_t)fd);
	if (status < 0) {
		free(watch);
		return fail_uv(err, status, "cannot watch a descriptor");
	}
	watch->fn = fn;
	watch->data = data;
	*ret = watch;
	return 0;
}

void kiln__watch_free(struct kiln__watch *watch)
{
	if (watch)
		uv_close((uv_handle_t *)&watch->uv, on_closed);
}

void kiln__watch_set(struct kiln__watch *watch, int events)
{
	if (events == watch->events)
		return;
	watch->events = events;
	if (events)
		uv_poll_start(&watch->uv, uv_events(events), on_poll);
	else
		uv_poll_stop(&watch->uv);
}

/* Runs what was scheduled before this round; what is scheduled meanwhile stays for the next. */
static void on_idle(uv_idle_t *uv)
{
	kiln_loop *loop = (kiln_loop *)uv->loop;
	struct link round = loop->scheduled;

	enter(uv->loop);
	round.next->previous = round.previous->next = &round;
	list_init(&loop->scheduled);
	uv_idle_stop(uv);
	while (round.next != &round) {
		struct kiln__deferred *deferred = (struct kiln__deferred *)round.next;

		list_remove(&deferred->link);
		deferred->fn(deferred->data);
	}
}

int kiln__deferred_new(struct kiln__deferred **ret, kiln_loop *loop, kiln__call_fn fn, void *data,
		       kiln_error *err)
{
	struct kiln__deferred *deferred = calloc(1, sizeof(*deferred));

	if (!deferred)
		return kiln__fail_nomem(err);
	list_init(&deferred->link);
	deferred->loop = loop;
	deferred->fn = fn;
	deferred->data = data;
	*ret = deferred;
	return 0;
}

void kiln__deferred_schedule(struct kiln__deferred *deferred)
{
	if (deferred->link.next != &deferred->link)
		return;
	list_append(&deferred->loop->scheduled, &deferred->link);
	uv_idle_start(&deferred->loop->idle, on_idle);
}

void kiln__deferred_free(struct kiln__deferred *deferred)
{
	if (!deferred)
		return;
	list_remove(&deferred->link);
	if (deferred->loop->scheduled.next == &deferred->loop->scheduled)
		uv_idle_stop(&deferred->loop->idle);
	free(deferred);
}

static void on_wake(uv_async_t *uv)
{
	struct kiln__waker *waker = (struct kiln__waker *)uv;

	enter(uv->loop);
	waker->fn(waker->data);
}

int kiln__waker_new(struct kiln__waker **ret, kiln_loop *loop, kiln__call_fn fn, void *data,
		    kiln_error *err)
{
	struct kiln__waker *waker = calloc(1, sizeof(*waker));
	int status;

	if (!waker)
		return kiln__fail_nomem(err);
	status = uv_async_init(&loop->uv, &waker->uv, on_wake);
	if (status < 0) {
		free(waker);
		return fail_uv(err, status, "cannot make a wake-up handle");
	}
	waker->fn = fn;
	waker->data = data;
	*ret = waker;
	return 0;
}

void kiln__waker_wake(struct kiln__waker *waker)
{
	uv_async_send(&waker->uv);
}

void kiln__waker_free(struct kiln__waker *waker)
{
	if (waker)
		uv_close((uv_handle_t *)&waker->uv, on_closed);
}
