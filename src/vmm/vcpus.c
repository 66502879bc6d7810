/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One lock guards what the threads and the loop share; a vCPU takes it only to park and to tell of
 * an end. "mode" is also read without it at each exit.
 */
#include "vcpus.h"

#include "err.h"
#include "failure.h"
#include "syscalls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Making and ending threads, as the C library does it where clone3 is not to be had. */
KILN__SYSCALLS(clone(0 & 0x7e030000 = 0x10000), set_robust_list, rseq, set_tid_address);
KILN__SYSCALLS(sigaltstack, sched_getaffinity, sched_yield);

#define STACK_SIZE (256u << 10)

/*
 * The loop looks after this time whether the boot processor has begun, and is woken for it only if
 * it has not by then: woken at once, it could take the processor from under the guest's first
 * instruction.
 */
#define BEGUN_MS 1

enum mode {
	MODE_RUN,
	MODE_PARK, /* for a pause, or for what comes after a reset */
	MODE_QUIT,
};

struct cpu {
	struct kiln__vcpus *all;
	unsigned index;
	pthread_t thread;
	bool has_thread;
	kiln_hv_vcpu *vcpu; /* while its thread has it; changed under the lock */
	unsigned life;      /* which restart its state is of */
};

struct kiln__vcpus {
	kiln_hv_vm *vm;
	const struct kiln__bus *bus;
	const struct kiln__vcpus_handler *handler;
	void *data;
	struct kiln__waker *waker;
	unsigned count;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* mode, life */
	atomic_int mode;
	unsigned life;
	unsigned parked;
	unsigned running; /* threads */
	struct kiln__timer *look;
	bool started; /* the boot processor was about to run */
	bool looked;  /* and it was not yet: the loop waits to be woken */
	bool started_told;
	bool pausing; /* somebody waits for paused() */
	bool ending;
	bool ended_told;
	enum kiln__vcpus_end end;
	kiln_error why;
	struct cpu cpus[];
};

/* --- shared: under the lock ------------------------------------------------------------- */

static void set_mode(struct kiln__vcpus *v, enum mode mode)
{
	atomic_store(&v->mode, (int)mode);
	pthread_cond_broadcast(&v->changed);
	for (unsigned i = 0; mode != MODE_RUN && i < v->count; i++)
		if (v->cpus[i].vcpu)
			kiln_hv_vcpu_kick(v->cpus[i].vcpu);
}

/* The first end is the one that counts; a reset parks them, all else ends them. */
static void end_locked(struct kiln__vcpus *v, enum kiln__vcpus_end how, const kiln_error *why)
{
	if (v->ending && !(v->end == KILN__VCPUS_RESET && how == KILN__VCPUS_STOPPED))
		return;
	v->ending = true;
	v->end = how;
	if (why)
		v->why = *why;
	set_mode(v, how == KILN__VCPUS_RESET ? MODE_PARK : MODE_QUIT);
}

void kiln__vcpus_end_guest(struct kiln__vcpus *v, enum kiln__vcpus_end how)
{
	pthread_mutex_lock(&v->lock);
	end_locked(v, how, NULL);
	pthread_mutex_unlock(&v->lock);
}

/* --- a vCPU's thread ----------------------------------------------------------------------- */

static void fail(struct kiln__vcpus *v, const kiln_error *why)
{
	pthread_mutex_lock(&v->lock);
	end_locked(v, KILN__VCPUS_FAILED, why);
	pthread_mutex_unlock(&v->lock);
}

/* Until it may run again (true) or is to end. */
static bool park(struct cpu *cpu)
{
	struct kiln__vcpus *v = cpu->all;
	bool go;

	pthread_mutex_lock(&v->lock);
	v->parked++;
	kiln__waker_wake(v->waker);
	while (atomic_load(&v->mode) == MODE_PARK)
		pthread_cond_wait(&v->changed, &v->lock);
	v->parked--;
	go = atomic_load(&v->mode) == MODE_RUN;
	pthread_mutex_unlock(&v->lock);
	if (go)
		kiln_hv_vcpu_note_pause(cpu->vcpu);
	return go;
}

static void handle(struct cpu *cpu, const kiln_hv_exit *exit)
{
	kiln_error why;

	switch (exit->kind) {
	case KILN_HV_EXIT_PORT:
	case KILN_HV_EXIT_MMIO:
		kiln__bus_exit(cpu->all->bus, exit);
		return;
	case KILN_HV_EXIT_KICKED:
		return;
	case KILN_HV_EXIT_RESET:
		kiln__vcpus_end_guest(cpu->all, KILN__VCPUS_RESET);
		return;
	case KILN_HV_EXIT_HALT:
	case KILN_HV_EXIT_SHUTDOWN:
	case KILN_HV_EXIT_FAILED:
		kiln__vcpu_failure(cpu->vcpu, cpu->index, exit, &why);
		fail(cpu->all, &why);
		return;
	}
}

static int init(struct cpu *cpu, kiln_error *err)
{
	struct kiln__vcpus *v = cpu->all;
	int r = v->handler->init(v->data, cpu->index, cpu->vcpu, err);
	bool waits = false;

	cpu->life = v->life;
	if (r == 0 && cpu->index == 0 && !v->started) {
		pthread_mutex_lock(&v->lock);
		v->started = true;
		waits = v->looked;
		pthread_mutex_unlock(&v->lock);
	}
	if (waits)
		kiln__waker_wake(v->waker);
	return r;
}

static int run(struct cpu *cpu, kiln_error *err)
{
	struct kiln__vcpus *v = cpu->all;
	kiln_hv_exit exit;
	int r = init(cpu, err);

	while (r == 0) {
		if (atomic_load_explicit(&v->mode, memory_order_relaxed) != MODE_RUN) {
			if (!park(cpu))
				return 0;
			if (cpu->life != v->life) {
				r = init(cpu, err);
				continue;
			}
		}
		r = kiln_hv_vcpu_run(cpu->vcpu, &exit, err);
		if (r == 0)
			handle(cpu, &exit);
	}
	return r;
}

static int make(struct cpu *cpu, kiln_error *err)
{
	kiln_hv_vcpu *vcpu;
	int r = kiln_hv_vcpu_new(&vcpu, cpu->all->vm, cpu->index, err);

	if (r < 0)
		return r;
	r = kiln_hv_vcpu_attach(vcpu, err);
	if (r < 0) {
		kiln_hv_vcpu_free(vcpu);
		return r;
	}
	pthread_mutex_lock(&cpu->all->lock);
	cpu->vcpu = vcpu;
	pthread_mutex_unlock(&cpu->all->lock);
	return 0;
}

static void *thread_main(void *data)
{
	struct cpu *cpu = data;
	struct kiln__vcpus *v = cpu->all;
	kiln_hv_vcpu *vcpu;
	kiln_error err;
	int r = make(cpu, &err);

	if (r == 0)
		r = run(cpu, &err);
	if (r < 0)
		fail(v, &err);
	pthread_mutex_lock(&v->lock);
	vcpu = cpu->vcpu;
	cpu->vcpu = NULL; /* nobody kicks it from here on */
	pthread_mutex_unlock(&v->lock);
	kiln_hv_vcpu_free(vcpu);
	pthread_mutex_lock(&v->lock);
	v->running--;
	pthread_mutex_unlock(&v->lock);
	kiln__waker_wake(v->waker);
	return NULL;
}

/* --- the loop's thread ------------------------------------------------------------------------ */

static void join(struct kiln__vcpus *v)
{
	for (unsigned i = 0; i < v->count; i++) {
		if (v->cpus[i].has_thread)
			pthread_join(v->cpus[i].thread, NULL);
		v->cpus[i].has_thread = false;
	}
}

/* What there is to tell now, one at a time: what is told may change all of it, but not free it. */
static void on_wake(void *data)
{
	struct kiln__vcpus *v = data;
	bool started, paused, ended;
	enum kiln__vcpus_end how;
	bool quiet;

	pthread_mutex_lock(&v->lock);
	started = v->started && !v->started_told;
	v->started_told |= started;
	quiet = v->parked == v->running;
	how = v->end;
	ended = v->ending && !v->ended_told && (how == KILN__VCPUS_RESET ? quiet : v->running == 0);
	v->ended_told |= ended;
	paused = v->pausing && !v->ending && quiet;
	if (paused)
		v->pausing = false;
	pthread_mutex_unlock(&v->lock);
	if (started)
		v->handler->started(v->data);
	if (paused)
		v->handler->paused(v->data);
	if (ended && how != KILN__VCPUS_RESET)
		join(v);
	if (ended)
		v->handler->ended(v->data, how, how == KILN__VCPUS_FAILED ? &v->why : NULL);
}

static void on_look(void *data)
{
	struct kiln__vcpus *v = data;

	pthread_mutex_lock(&v->lock);
	v->looked = true;
	pthread_mutex_unlock(&v->lock);
	on_wake(v);
}

int kiln__vcpus_new(struct kiln__vcpus **ret, kiln_loop *loop, kiln_hv_vm *vm,
		    const struct kiln__bus *bus, unsigned count,
		    const struct kiln__vcpus_handler *handler, void *data, kiln_error *err)
{
	struct kiln__vcpus *v = calloc(1, sizeof(*v) + count * sizeof(v->cpus[0]));
	int r;

	if (!v)
		return kiln__fail_nomem(err);
	v->vm = vm;
	v->bus = bus;
	v->handler = handler;
	v->data = data;
	v->count = count;
	for (unsigned i = 0; i < count; i++)
		v->cpus[i] = (struct cpu){.all = v, .index = i};
	r = kiln__timer_new(&v->look, loop, on_look, v, err);
	if (r == 0)
		r = kiln__waker_new(&v->waker, loop, on_wake, v, err);
	if (r < 0) {
		kiln__timer_free(v->look);
		free(v);
		return r;
	}
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	*ret = v;
	return 0;
}

int kiln__vcpus_start(struct kiln__vcpus *v, kiln_error *err)
{
	pthread_attr_t attr;
	int status = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_mutex_lock(&v->lock);
	for (unsigned i = 0; status == 0 && i < v->count; i++) {
		status = pthread_create(&v->cpus[i].thread, &attr, thread_main, &v->cpus[i]);
		v->cpus[i].has_thread = status == 0;
		v->running += status == 0;
	}
	if (status)
		end_locked(v, KILN__VCPUS_STOPPED, NULL);
	pthread_mutex_unlock(&v->lock);
	kiln__timer_start(v->look, BEGUN_MS);
	pthread_attr_destroy(&attr);
	return status ? kiln__fail_errno(err, status, "cannot start a vCPU's thread") : 0;
}

bool kiln__vcpus_has_threads(const struct kiln__vcpus *v)
{
	return v && v->cpus[0].has_thread;
}

void kiln__vcpus_pause(struct kiln__vcpus *v)
{
	pthread_mutex_lock(&v->lock);
	v->pausing = true;
	if (!v->ending)
		set_mode(v, MODE_PARK);
	pthread_mutex_unlock(&v->lock);
	kiln__waker_wake(v->waker);
}

void kiln__vcpus_resume(struct kiln__vcpus *v)
{
	pthread_mutex_lock(&v->lock);
	v->pausing = false;
	if (!v->ending)
		set_mode(v, MODE_RUN);
	pthread_mutex_unlock(&v->lock);
}

void kiln__vcpus_stop(struct kiln__vcpus *v)
{
	pthread_mutex_lock(&v->lock);
	if (v->ending && v->end == KILN__VCPUS_RESET)
		v->ended_told = false;
	end_locked(v, KILN__VCPUS_STOPPED, NULL);
	pthread_mutex_unlock(&v->lock);
	kiln__waker_wake(v->waker);
}

void kiln__vcpus_restart(struct kiln__vcpus *v)
{
	pthread_mutex_lock(&v->lock);
	if (v->ending && v->end == KILN__VCPUS_RESET && v->ended_told) {
		v->ending = v->ended_told = false;
		v->life++;
		set_mode(v, MODE_RUN);
	}
	pthread_mutex_unlock(&v->lock);
}

void kiln__vcpus_free(struct kiln__vcpus *v)
{
	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	v->ending = true;
	set_mode(v, MODE_QUIT);
	pthread_mutex_unlock(&v->lock);
	join(v);
	kiln__timer_free(v->look);
	kiln__waker_free(v->waker);
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	free(v);
}
