/* SPDX-License-Identifier: Apache-2.0 */
#include "evloop.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

int64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int evloop_init(struct evloop *loop)
{
	*loop = (struct evloop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
	return loop->epoll < 0 ? -errno : 0;
}

void source_want(struct evloop *loop, struct source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};
	int op = EPOLL_CTL_MOD;

	if (source->wanted == events || source->fd < 0)
		return;
	if (events == 0)
		op = EPOLL_CTL_DEL;
	else if (source->wanted == 0)
		op = EPOLL_CTL_ADD;
	/* Fails only for want of kernel memory; the descriptor then stays silent. */
	if (epoll_ctl(loop->epoll, op, source->fd, &event) == 0)
		source->wanted = events;
}

void source_close(struct evloop *loop, struct source *source)
{
	if (source->fd < 0)
		return;
	source_want(loop, source, 0);
	close(source->fd);
	source->fd = -1;
	source->wanted = 0;
}

static bool wait_one(struct evloop *loop, int timeout)
{
	struct epoll_event event;
	struct source *source;

	if (epoll_wait(loop->epoll, &event, 1, timeout) != 1)
		return false;
	source = event.data.ptr;
	source->fn(source->data, event.events);
	return true;
}

bool evloop_poll(struct evloop *loop)
{
	return wait_one(loop, 0);
}

static int timeout_ms(struct evloop *loop)
{
	int64_t left;

	if (loop->idle)
		return 0;
	if (loop->deadline_ns == 0)
		return -1;
	left = (loop->deadline_ns - monotonic_ns() + 999999) / 1000000;
	if (left < 0)
		return 0;
	return left > 3600000 ? 3600000 : (int)left;
}

void evloop_run(struct evloop *loop)
{
	while (!loop->stop) {
		bool had_event = wait_one(loop, timeout_ms(loop));

		if (!had_event && loop->idle) {
			void (*idle)(void *data) = loop->idle;

			loop->idle = NULL;
			idle(loop->idle_data);
		}
		if (loop->deadline_ns && monotonic_ns() >= loop->deadline_ns) {
			loop->deadline_ns = 0;
			loop->on_deadline(loop->deadline_data);
		}
	}
}

void evloop_deadline(struct evloop *loop, uint64_t ms, void (*fn)(void *data), void *data)
{
	loop->deadline_ns = monotonic_ns() + (int64_t)ms * 1000000;
	loop->on_deadline = fn;
	loop->deadline_data = data;
}
