/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a runner, as an event: its process's. The connection to it ends sooner, and
 * an answer that the VM has stopped comes sooner still; but only when the process is
 * gone is its lock free, and the VM can be started again or removed.
 *
 * A runner is known by its process: our child, or the number that it wrote into the
 * state. While one is being started by another process neither is known: then the lock
 * itself is waited for, and its control socket, in case that comes up. That it listens
 * shows in no directory; but a runner listens before it writes its first state.
 */
#include "manager.h"

#include "err.h"
#include "log.h"

#include <stdlib.h>

struct kiln__end {
	kiln_vm *vm;
	struct kiln__child *child; /* it is ours; */
	kiln_fd process;           /* or somebody else's; */
	struct kiln__watch *watch;
	struct kiln__lockwait *lock; /* not known who; */
	struct kiln__deferred *now;  /* or gone already */
	struct kiln__dirwatch *socket;
};

void kiln__end_forget(struct kiln__end *end)
{
	if (!end)
		return;
	kiln__child_free(end->child);
	kiln__watch_free(end->watch);
	kiln__os_close(end->process);
	kiln__lockwait_free(end->lock);
	kiln__dirwatch_free(end->socket);
	kiln__deferred_free(end->now);
	free(end);
}

void kiln__end_wait(struct kiln__end *end)
{
	struct kiln__exit how;

	if (!end || !end->child)
		return;
	if (kiln__child_wait(end->child, KILN__RUNNER_END_MS, &how, NULL) < 0)
		kiln__child_kill(end->child);
}

static void on_gone(struct kiln__end *end)
{
	kiln_vm *vm = end->vm;
	kiln_error err;
	int r;

	vm->end = NULL;
	kiln__end_forget(end);
	kiln__vm_hold(vm);
	r = kiln__vmdir_settle(&vm->manager->home, vm->dir->id, false, true, &err);
	if (r < 0 && r != KILN_ENOENT)
		kiln__log(&vm->manager->home.log, KILN_LOG_WARN, "cannot clean up after VM %s: %s",
			  vm->dir->id, err.message);
	kiln__ops_runner_gone(vm);
	kiln__vm_let_go(vm);
}

static void on_child(void *data, struct kiln__exit how)
{
	(void)how; /* what became of the VM is on disk */
	on_gone(data);
}

static void on_process(void *data, int events)
{
	(void)events;
	on_gone(data);
}

static void on_now(void *data)
{
	on_gone(data);
}

static struct kiln__end *end_new(kiln_vm *vm)
{
	struct kiln__end *end = calloc(1, sizeof(*end));

	if (!end)
		return NULL;
	end->vm = vm;
	end->process = KILN_FD_NONE;
	return end;
}

static int watch_process(struct kiln__end *end, int64_t pid, kiln_error *err)
{
	kiln_vm *vm = end->vm;
	int r = kiln__os_open_process(&end->process, pid, vm->dir->id, err);

	if (r == KILN_ENOENT || r == KILN_EEXIST)
		return kiln__vmdir_wait_dead(vm->dir, vm->manager->loop, on_now, end, &end->lock,
					     err);
	if (r == 0)
		r = kiln__watch_new(&end->watch, vm->manager->loop, end->process, on_process, end,
				    err);
	if (r == 0)
		kiln__watch_set(end->watch, KILN__READABLE);
	return r;
}

static void on_socket(void *data, int directory, const char *name)
{
	struct kiln__end *end = data;
	int ignored;

	(void)directory;
	(void)name;
	/* It may be the VM's own directory that has appeared; adding one twice does nothing. */
	kiln__dirwatch_add(end->socket, end->vm->dir->runtime, &ignored, NULL);
	kiln__ops_reach_again(end->vm);
}

int kiln__end_await_socket(kiln_vm *vm, kiln_error *err)
{
	struct kiln__end *end;
	int ignored;
	int r = kiln__end_await(vm, err);

	if (r < 0)
		return r;
	end = vm->end;
	if (end->socket)
		return 0;
	r = kiln__dirwatch_new(&end->socket, vm->manager->loop, on_socket, end, err);
	if (r == 0)
		r = kiln__dirwatch_add(end->socket, vm->dir->runtime, &ignored, err);
	if (r == KILN_ENOENT) /* not made yet: that is soon, or the lock is soon given up */
		r = kiln__dirwatch_add(end->socket, vm->manager->home.runtime, &ignored, err);
	if (r == 0)
		r = kiln__dirwatch_add(end->socket, vm->dir->state, &ignored, err);
	return r < 0 ? r : 1;
}

int kiln__end_await(kiln_vm *vm, kiln_error *err)
{
	struct kiln__vmstate state;
	struct kiln__end *end;
	int alive;
	int r;

	if (vm->end)
		return 0;
	end = end_new(vm);
	if (!end)
		return kiln__fail_nomem(err);
	alive = kiln__vmdir_status(vm->dir, &state, NULL, err);
	r = alive < 0 ? alive : 0;
	if (alive > 0) {
		r = watch_process(end, state.pid, err);
	} else if (alive == 0) {
		r = kiln__deferred_new(&end->now, vm->manager->loop, on_now, end, err);
	}
	if (r < 0) {
		kiln__end_forget(end);
		return r;
	}
	if (end->now)
		kiln__deferred_schedule(end->now);
	vm->end = end;
	return 0;
}

int kiln__end_watch_child(kiln_vm *vm, struct kiln__child *child, kiln_error *err)
{
	struct kiln__end *end = end_new(vm);
	int r;

	if (!end)
		return kiln__fail_nomem(err);
	r = kiln__child_watch(child, vm->manager->loop, on_child, end, err);
	if (r < 0) {
		free(end);
		return r;
	}
	end->child = child;
	kiln__end_forget(vm->end);
	vm->end = end;
	return 0;
}
