/* SPDX-License-Identifier: Apache-2.0 */
/* As much of libdispatch as src/backends/vz uses, for Linux: ../../dispatch.c. */
#ifndef TESTS_VZ_DISPATCH_DISPATCH_H
#define TESTS_VZ_DISPATCH_DISPATCH_H

#include <stdbool.h>

typedef struct kiln__dispatch_queue *dispatch_queue_t;
dispatch_queue_t dispatch_queue_create(const char *label, void *attributes);
void dispatch_async_f(dispatch_queue_t queue, void *data, void (*fn)(void *data));
void dispatch_sync_f(dispatch_queue_t queue, void *data, void (*fn)(void *data));
void dispatch_release(dispatch_queue_t queue);

/* The queue that this thread serves, or NULL. */
dispatch_queue_t lookalike_current_queue(void);

/* Waits until all that were released have gone. */
void lookalike_await_idle_queues(void);

#endif
