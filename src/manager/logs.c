/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following a log. The file is the truth; a directory watch says when to look at it
 * again, and an operation that waits for the VM's end says when for the last time.
 */
#include "follow.h"

#include "buf.h"
#include "err.h"
#include "logfmt.h"
#include "tail.h"

#include <stdlib.h>
#include <string.h>

struct logs {
	kiln_follower follower;
	enum kiln_logs_kind kind;
	void (*on_log)(void *data, int64_t time_ns, int fd, const void *bytes, size_t len);
	kiln_done_fn done;
	void *data;

	struct kiln__tail tail;
	struct kiln__log_reader reader;
	struct kiln__deferred *turn;
	struct kiln__dirwatch *watch; /* NULL: not following */
	struct kiln__op *end;         /* waits for the VM's end */
	bool last;                    /* nothing is written any more */
	bool over;                    /* @done has been called */
	bool *freed;                  /* set when it is freed in a callback */
};

static void logs_free(kiln_follower *follower)
{
	struct logs *logs = (struct logs *)follower;

	if (logs->freed)
		*logs->freed = true;
	if (logs->end)
		kiln__op_drop(logs->end);
	kiln__dirwatch_free(logs->watch);
	kiln__deferred_free(logs->turn);
	kiln__tail_done(&logs->tail);
	free(logs);
}

static void on_record(void *data, int64_t time_ns, int stream, const void *bytes, size_t len)
{
	struct logs *logs = data;

	if (!*logs->freed)
		logs->on_log(logs->data, time_ns, stream, bytes, len);
}

static int on_bytes(void *data, const void *bytes, size_t len, bool begins)
{
	struct logs *logs = data;
	bool *freed = logs->freed;
	kiln_error err;
	int r = 0;

	if (begins)
		logs->reader = (struct kiln__log_reader){0};
	if (logs->kind == KILN_LOGS_PROCESS)
		r = kiln__log_read(&logs->reader, bytes, len, on_record, logs, &err);
	else
		logs->on_log(logs->data, 0, 1, bytes, len);
	return *freed ? KILN_ECANCELED : r;
}

static void finish(struct logs *logs, int result, const kiln_error *err)
{
	logs->over = true;
	if (logs->done)
		logs->done(logs->data, result, err);
}

static void on_turn(void *data)
{
	struct logs *logs = data;
	bool freed = false;
	kiln_error err = {.code = KILN_EFORMAT, .message = "the log is damaged"};
	int r;

	if (logs->over)
		return;
	logs->freed = &freed;
	r = kiln__tail_read(&logs->tail, KILN__FOLLOW_TURN, on_bytes, logs, &err);
	if (freed)
		return;
	logs->freed = NULL;
	if (r < 0)
		finish(logs, r, &err);
	else if (r > 0)
		kiln__deferred_schedule(logs->turn);
	else if (logs->last)
		finish(logs, 0, NULL);
}

static void on_change(void *data, int directory, const char *name)
{
	struct logs *logs = data;

	(void)directory;
	(void)name;
	kiln__deferred_schedule(logs->turn);
}

/* The VM has ended, or has been removed: what is there is all there will be. */
static void on_end(void *data, int result, const kiln_error *err)
{
	struct logs *logs = data;

	(void)result;
	(void)err;
	logs->end = NULL;
	logs->last = true;
	kiln__deferred_schedule(logs->turn);
}

static int follow(struct logs *logs, kiln_vm *vm, kiln_error *err)
{
	int ignored;
	int r = kiln__dirwatch_new(&logs->watch, vm->manager->loop, on_change, logs, err);

	if (r == 0)
		r = kiln__dirwatch_add(logs->watch, vm->dir->state, &ignored, err);
	if (r < 0)
		return r;
	logs->last = false;
	logs->end = kiln__vm_wait_end(vm, on_end, logs);
	return logs->end ? 0 : kiln__fail_nomem(err);
}

int kiln_vm_logs(kiln_vm *vm, enum kiln_logs_kind kind, bool follow_it,
		 void (*on_log)(void *data, int64_t time_ns, int fd, const void *bytes, size_t len),
		 kiln_done_fn done, void *data, kiln_follower **ret_follower, kiln_error *err)
{
	static const char *const names[] = {
		[KILN_LOGS_PROCESS] = "log",
		[KILN_LOGS_CONSOLE] = "console.log",
		[KILN_LOGS_RUNNER] = "runner.log",
	};
	kiln__autofree char *path = NULL;
	struct logs *logs;
	int r;

	if ((unsigned)kind >= sizeof(names) / sizeof(names[0]))
		return kiln__fail(err, KILN_EINVAL, "there is no log of kind %d", (int)kind);
	path = kiln__strf("%s/%s", vm->dir->state, names[kind]);
	logs = calloc(1, sizeof(*logs));
	if (!path || !logs) {
		free(logs);
		return kiln__fail_nomem(err);
	}
	*logs = (struct logs){
		.follower.free = logs_free,
		.kind = kind,
		.on_log = on_log,
		.done = done,
		.data = data,
		.last = true,
	};
	r = kiln__tail_init(&logs->tail, path, err);
	if (r == 0)
		r = kiln__deferred_new(&logs->turn, vm->manager->loop, on_turn, logs, err);
	if (r == 0 && follow_it)
		r = follow(logs, vm, err);
	if (r < 0) {
		logs_free(&logs->follower);
		return r;
	}
	kiln__deferred_schedule(logs->turn);
	*ret_follower = &logs->follower;
	return 0;
}

void kiln_follower_free(kiln_follower *follower)
{
	if (follower)
		follower->free(follower);
}
