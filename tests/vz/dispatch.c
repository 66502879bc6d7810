/* SPDX-License-Identifier: Apache-2.0 */
/* Serial queues as libdispatch has them, one thread each: as much as src/backends/vz uses. */
#include <dispatch/dispatch.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct item {
	struct item *next;
	void (*fn)(void *data);
	void *data;
	bool *done; /* of who waits */
};

struct kiln__dispatch_queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct item *first;
	struct item **last;
	bool released;
	struct kiln__dispatch_queue *next; /* to be served, or idle */
};

/*
 * Threads are used again, and never end: GNUstep keeps descriptors of each. One without a queue
 * waits here for the next.
 */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct kiln__dispatch_queue *queues; /* not served yet */
	unsigned threads;
	unsigned idle;
	unsigned queued;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static __thread dispatch_queue_t current;

dispatch_queue_t lookalike_current_queue(void)
{
	return current;
}

static struct item *take(dispatch_queue_t queue)
{
	struct item *item;

	pthread_mutex_lock(&queue->lock);
	while (!queue->first && !queue->released)
		pthread_cond_wait(&queue->changed, &queue->lock);
	item = queue->first;
	if (item) {
		queue->first = item->next;
		if (!queue->first)
			queue->last = &queue->first;
	}
	pthread_mutex_unlock(&queue->lock);
	return item;
}

static void serve(dispatch_queue_t queue)
{
	struct item *item;

	current = queue;
	while ((item = take(queue))) {
		item->fn(item->data);
		pthread_mutex_lock(&queue->lock);
		if (item->done) {
			*item->done = true;
			pthread_cond_broadcast(&queue->changed);
		}
		pthread_mutex_unlock(&queue->lock);
		free(item);
	}
	current = NULL;
	pthread_cond_destroy(&queue->changed);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}

static void *work(void *data)
{
	(void)data;
	for (;;) {
		dispatch_queue_t queue;

		pthread_mutex_lock(&pool.lock);
		pool.idle++;
		pthread_cond_broadcast(&pool.changed);
		while (!pool.queues)
			pthread_cond_wait(&pool.changed, &pool.lock);
		queue = pool.queues;
		pool.queues = queue->next;
		pool.queued--;
		pool.idle--;
		pthread_mutex_unlock(&pool.lock);
		serve(queue);
	}
	return NULL;
}

dispatch_queue_t dispatch_queue_create(const char *label, void *attributes)
{
	dispatch_queue_t queue = calloc(1, sizeof(*queue));
	pthread_t thread;

	(void)label;
	(void)attributes;
	if (!queue)
		return NULL;
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->changed, NULL);
	queue->last = &queue->first;
	pthread_mutex_lock(&pool.lock);
	queue->next = pool.queues;
	pool.queues = queue;
	pool.queued++;
	if (pool.queued > pool.idle) {
		if (pthread_create(&thread, NULL, work, NULL) != 0)
			abort();
		pthread_detach(thread);
		pool.threads++;
	}
	pthread_cond_broadcast(&pool.changed);
	pthread_mutex_unlock(&pool.lock);
	return queue;
}

static void append(dispatch_queue_t queue, void *data, void (*fn)(void *data), bool *done)
{
	struct item *item = calloc(1, sizeof(*item));

	if (!item)
		abort();
	*item = (struct item){.fn = fn, .data = data, .done = done};
	*queue->last = item;
	queue->last = &item->next;
	pthread_cond_broadcast(&queue->changed);
}

void dispatch_async_f(dispatch_queue_t queue, void *data, void (*fn)(void *data))
{
	pthread_mutex_lock(&queue->lock);
	append(queue, data, fn, NULL);
	pthread_mutex_unlock(&queue->lock);
}

void dispatch_sync_f(dispatch_queue_t queue, void *data, void (*fn)(void *data))
{
	bool done = false;

	if (queue == current) {
		fprintf(stderr, "lookalike: dispatch_sync_f on the queue itself: a deadlock\n");
		abort();
	}
	pthread_mutex_lock(&queue->lock);
	append(queue, data, fn, &done);
	while (!done)
		pthread_cond_wait(&queue->changed, &queue->lock);
	pthread_mutex_unlock(&queue->lock);
}

void dispatch_release(dispatch_queue_t queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->released = true;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

void lookalike_await_idle_queues(void)
{
	pthread_mutex_lock(&pool.lock);
	while (pool.idle < pool.threads)
		pthread_cond_wait(&pool.changed, &pool.lock);
	pthread_mutex_unlock(&pool.lock);
}
