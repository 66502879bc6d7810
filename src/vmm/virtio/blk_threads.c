/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine for where there is no io_uring: threads that block. They are started one by one, as
 * operations find none idle, and wait for the next once they are there. "lock" covers the
 * two lists and the counts; the loop's thread is woken once for whatever has ended meanwhile.
 */
#include "blk_engine.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

KILN__SYSCALLS(preadv, pwritev, pwritev2, fdatasync, fallocate);
/* A thread (0x10000 = CLONE_THREAD), and what the C library does in it. */
KILN__SYSCALLS(clone(0 & 0x7e030000 = 0x10000), set_robust_list, rseq);

#define MAX_THREADS 4

struct list {
	struct kiln__blk_op *first;
	struct kiln__blk_op **end;
};

struct threads {
	struct kiln__blk_engine engine;
	kiln_fd fd;
	struct kiln__waker *waker;
	pthread_mutex_t lock;
	pthread_cond_t work;  /* something to do, or to quit */
	pthread_cond_t ended; /* something is in "over" */
	struct list todo;
	struct list over;
	unsigned idle;
	unsigned waiting; /* in todo */
	bool quit;
	unsigned count;
	pthread_t ids[MAX_THREADS];
};

static struct threads *threads_of(struct kiln__blk_engine *engine)
{
	return (struct threads *)(void *)engine;
}

static void append(struct list *list, struct kiln__blk_op *op)
{
	op->next = NULL;
	*list->end = op;
	list->end = &op->next;
}

static struct kiln__blk_op *take(struct list *list)
{
	struct kiln__blk_op *op = list->first;

	if (!op)
		return NULL;
	list->first = op->next;
	if (!list->first)
		list->end = &list->first;
	return op;
}

static ssize_t perform(kiln_fd fd, const struct kiln__blk_op *op)
{
	int count = (int)(op->iov_count < KILN__BLK_MAX_IOV ? op->iov_count : KILN__BLK_MAX_IOV);

	switch (op->kind) {
	case KILN__BLK_READ:
		return preadv(fd, op->iov, count, (off_t)op->offset);
	case KILN__BLK_WRITE:
		if (op->durable)
			return pwritev2(fd, op->iov, count, (off_t)op->offset, RWF_DSYNC);
		return pwritev(fd, op->iov, count, (off_t)op->offset);
	case KILN__BLK_FLUSH:
		return fdatasync(fd);
	case KILN__BLK_PUNCH:
		return fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, (off_t)op->offset,
				 (off_t)op->length);
	case KILN__BLK_ZERO:
		return fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE, (off_t)op->offset,
				 (off_t)op->length);
	}
	errno = EINVAL;
	return -1;
}

static void *thread_main(void *data)
{
	struct threads *threads = data;
	struct kiln__blk_op *op;

	pthread_mutex_lock(&threads->lock);
	while (!threads->quit) {
		ssize_t n;

		op = take(&threads->todo);
		if (!op) {
			threads->idle++;
			pthread_cond_wait(&threads->work, &threads->lock);
			threads->idle--;
			continue;
		}
		threads->waiting--;
		pthread_mutex_unlock(&threads->lock);
		do {
			n = perform(threads->fd, op);
		} while (n < 0 && errno == EINTR);
		op->result = n < 0 ? -errno : (int)n; /* the kernel does less than 2 GiB at once */
		pthread_mutex_lock(&threads->lock);
		if (!threads->over.first)
			kiln__waker_wake(threads->waker);
		append(&threads->over, op);
		pthread_cond_signal(&threads->ended);
	}
	pthread_mutex_unlock(&threads->lock);
	return NULL;
}

/* One thread more, which takes no signals: these are for the program's own. */
static int add_thread(struct threads *threads)
{
	sigset_t all;
	sigset_t mask;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	code = pthread_create(&threads->ids[threads->count], NULL, thread_main, threads);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (code == 0)
		threads->count++;
	return code;
}

static void queue(struct kiln__blk_engine *engine, struct kiln__blk_op *op)
{
	struct threads *threads = threads_of(engine);

	pthread_mutex_lock(&threads->lock);
	append(&threads->todo, op);
	threads->waiting++;
	pthread_mutex_unlock(&threads->lock);
}

static void submit(struct kiln__blk_engine *engine)
{
	struct threads *threads = threads_of(engine);
	struct kiln__blk_op *op;

	pthread_mutex_lock(&threads->lock);
	pthread_cond_broadcast(&threads->work);
	while (threads->waiting > threads->idle && threads->count < MAX_THREADS &&
	       add_thread(threads) == 0 && threads->waiting > threads->count)
		;
	/* No thread to be had at all: then they fail. */
	while (threads->count == 0 && (op = take(&threads->todo))) {
		threads->waiting--;
		op->result = -EAGAIN;
		append(&threads->over, op);
	}
	pthread_mutex_unlock(&threads->lock);
}

static struct kiln__blk_op *reap(struct kiln__blk_engine *engine)
{
	struct threads *threads = threads_of(engine);
	struct kiln__blk_op *op;

	pthread_mutex_lock(&threads->lock);
	op = take(&threads->over);
	pthread_mutex_unlock(&threads->lock);
	return op;
}

static void wait_for_one(struct kiln__blk_engine *engine)
{
	struct threads *threads = threads_of(engine);

	pthread_mutex_lock(&threads->lock);
	while (!threads->over.first)
		pthread_cond_wait(&threads->ended, &threads->lock);
	pthread_mutex_unlock(&threads->lock);
}

static void threads_free(struct kiln__blk_engine *engine)
{
	struct threads *threads = threads_of(engine);

	pthread_mutex_lock(&threads->lock);
	threads->quit = true;
	pthread_cond_broadcast(&threads->work);
	pthread_mutex_unlock(&threads->lock);
	for (unsigned i = 0; i < threads->count; i++)
		pthread_join(threads->ids[i], NULL);
	kiln__waker_free(threads->waker);
	pthread_cond_destroy(&threads->work);
	pthread_cond_destroy(&threads->ended);
	pthread_mutex_destroy(&threads->lock);
	free(threads);
}

static const struct kiln__blk_engine_ops threads_ops = {
	.queue = queue,
	.submit = submit,
	.reap = reap,
	.wait = wait_for_one,
	.free = threads_free,
};

int kiln__blk_threads_new(struct kiln__blk_engine **ret, kiln_loop *loop, kiln_fd fd,
			  kiln__call_fn ready, void *data, kiln_error *err)
{
	struct threads *threads = calloc(1, sizeof(*threads));
	int r;

	if (!threads)
		return kiln__fail_nomem(err);
	threads->engine.ops = &threads_ops;
	threads->fd = fd;
	threads->todo.end = &threads->todo.first;
	threads->over.end = &threads->over.first;
	pthread_mutex_init(&threads->lock, NULL);
	pthread_cond_init(&threads->work, NULL);
	pthread_cond_init(&threads->ended, NULL);
	r = kiln__waker_new(&threads->waker, loop, ready, data, err);
	if (r < 0) {
		threads_free(&threads->engine);
		return r;
	}
	*ret = &threads->engine;
	return 0;
}
