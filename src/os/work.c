/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking work on a thread of its own. The thread is detached: whoever abandons the
 * work does not wait for it, and the thread then clears up after itself. "lock" covers
 * what both sides look at; each call to the user is made without it.
 */
#include "os.h"

#include "err.h"
#include "thread.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct note {
	struct note *next;
	char text[];
};

struct kiln__work {
	const struct kiln__work_ops *ops;
	void *data;
	struct kiln__waker *waker;
	bool *abandoned_now; /* loop's thread: set by an abandoning callback */

	uv_mutex_t lock;
	struct note *notes; /* newest first */
	bool finished;
	bool abandoned;
};

static void free_notes(struct note *notes)
{
	while (notes) {
		struct note *note = notes;

		notes = note->next;
		free(note);
	}
}

static void release(struct kiln__work *work)
{
	free_notes(work->notes);
	uv_mutex_destroy(&work->lock);
	free(work);
}

static void work_main(void *data)
{
	struct kiln__work *work = data;
	bool abandoned;

	work->ops->run(work, work->data);
	uv_mutex_lock(&work->lock);
	work->finished = true;
	abandoned = work->abandoned;
	if (!abandoned)
		kiln__waker_wake(work->waker);
	uv_mutex_unlock(&work->lock);
	if (abandoned) {
		work->ops->drop(work->data);
		release(work);
	}
}

void kiln__work_tell(struct kiln__work *work, const char *text)
{
	size_t size = strlen(text) + 1;
	struct note *note = malloc(sizeof(*note) + size);

	if (!note)
		return;
	memcpy(note->text, text, size);
	uv_mutex_lock(&work->lock);
	note->next = work->notes;
	work->notes = note;
	if (!work->abandoned)
		kiln__waker_wake(work->waker);
	uv_mutex_unlock(&work->lock);
}

static struct note *reversed(struct note *notes)
{
	struct note *result = NULL;

	while (notes) {
		struct note *note = notes;

		notes = note->next;
		note->next = result;
		result = note;
	}
	return result;
}

static void on_wake(void *data)
{
	struct kiln__work *work = data;
	const struct kiln__work_ops *ops = work->ops;
	bool abandoned = false;
	struct note *notes;
	bool finished;

	uv_mutex_lock(&work->lock);
	notes = reversed(work->notes);
	work->notes = NULL;
	finished = work->finished;
	uv_mutex_unlock(&work->lock);
	work->abandoned_now = &abandoned;
	for (struct note *note = notes; note && !abandoned; note = note->next)
		ops->told(work->data, note->text);
	free_notes(notes);
	if (abandoned)
		return;
	work->abandoned_now = NULL;
	if (finished) {
		data = work->data;
		kiln__waker_free(work->waker);
		release(work);
		ops->done(data);
	}
}

int kiln__work_start(struct kiln__work **ret, kiln_loop *loop, const struct kiln__work_ops *ops,
		     void *data, kiln_error *err)
{
	struct kiln__work *work = calloc(1, sizeof(*work));
	int r;

	if (!work)
		return kiln__fail_nomem(err);
	work->ops = ops;
	work->data = data;
	if (uv_mutex_init(&work->lock) < 0) {
		free(work);
		return kiln__fail_nomem(err);
	}
	r = kiln__waker_new(&work->waker, loop, on_wake, work, err);
	if (r == 0)
		r = kiln__thread_start(work_main, work, err);
	if (r < 0) {
		kiln__waker_free(work->waker);
		release(work);
		return r;
	}
	*ret = work;
	return 0;
}

void kiln__work_abandon(struct kiln__work *work)
{
	bool finished;

	if (!work)
		return;
	if (work->abandoned_now)
		*work->abandoned_now = true;
	uv_mutex_lock(&work->lock);
	work->abandoned = true;
	kiln__waker_free(work->waker); /* not woken any more: that is done under the lock */
	finished = work->finished;
	uv_mutex_unlock(&work->lock);
	if (finished) {
		work->ops->drop(work->data);
		release(work);
	}
}
