/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's event loop: epoll, one deadline, one thing to do when idle. */
#ifndef KILN_GUEST_EVLOOP_H
#define KILN_GUEST_EVLOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* A descriptor that is watched. Embedded in what it belongs to; zero it and set fd, fn, data. */
struct source {
	int fd;
	uint32_t wanted; /* set by source_want() alone */
	void (*fn)(void *data, uint32_t events);
	void *data;
};

struct evloop {
	int epoll;
	bool stop;
	int64_t deadline_ns; /* of CLOCK_MONOTONIC; 0: none */
	void (*on_deadline)(void *data);
	void *deadline_data;
	void (*idle)(void *data); /* runs once, when there is nothing else to do */
	void *idle_data;
};

int evloop_init(struct evloop *loop); /* 0 or a negative errno */

/*
 * Watches for EPOLLIN, EPOLLOUT, or 0: then the descriptor is not in the epoll set
 * at all, so that a hang-up nobody can act on yet does not spin the loop.
 */
void source_want(struct evloop *loop, struct source *source, uint32_t events);

/* Stops watching and closes. A source without a descriptor (fd < 0) is left alone. */
void source_close(struct evloop *loop, struct source *source);

/*
 * Runs until loop->stop. One event is taken from the kernel at a time, so a handler
 * may free whatever it likes, itself included.
 */
void evloop_run(struct evloop *loop);

/* One round that does not block. Returns whether an event was handled. */
bool evloop_poll(struct evloop *loop);

/* @fn runs in @ms milliseconds, in place of what was set before. */
void evloop_deadline(struct evloop *loop, uint64_t ms, void (*fn)(void *data), void *data);

int64_t monotonic_ns(void);

#endif
