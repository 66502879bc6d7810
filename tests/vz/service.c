/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include "extra.h"
#include "lookalike.h"

#include "backend.h"
#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "list.h"
#include "loop.h"
#include "os.h"
#include "qemu.h"
#include "spec.h"
#include "splice.h"

#include <kiln/config.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LISTENED 64

struct job {
	struct kiln__list link;
	void (*fn)(struct job *job);
	bool done;
};

/* One for the process, which lives as long: QEMU ends with the thread that started it. */
static struct {
	kiln_loop *loop;
	struct kiln__waker *waker;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct kiln__list jobs;
	atomic_int pid;
} service = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* A guest's connection on its way to a socket. */
struct carried {
	struct kiln__list link;
	struct kiln__splice *splice;
};

struct service_vm {
	const struct service_callbacks *callbacks;
	void *data;
	service_done started;
	void *start;
	struct kiln__spec *spec;
	struct kiln__instance *instance;
	struct extra *extra; /* NULL: QEMU does without */
	struct kiln__stream *console_in;
	struct kiln__stream *console_out;
	struct kiln__list carried;
	uint32_t listened[MAX_LISTENED];
	size_t listened_count;
	bool gone;
};

static void on_wake(void *data)
{
	(void)data;
	pthread_mutex_lock(&service.lock);
	while (!kiln__list_empty(&service.jobs)) {
		struct job *job = kiln__list_entry(service.jobs.next, struct job, link);

		kiln__list_remove(&job->link);
		pthread_mutex_unlock(&service.lock);
		job->fn(job);
		pthread_mutex_lock(&service.lock);
		job->done = true;
		pthread_cond_broadcast(&service.changed);
	}
	pthread_mutex_unlock(&service.lock);
}

static void run_job(struct job *job)
{
	pthread_mutex_lock(&service.lock);
	job->done = false;
	kiln__list_append(&service.jobs, &job->link);
	kiln__waker_wake(service.waker);
	while (!job->done)
		pthread_cond_wait(&service.changed, &service.lock);
	pthread_mutex_unlock(&service.lock);
}

static void *serve(void *data)
{
	(void)data;
	kiln_loop_run(service.loop);
	return NULL;
}

void service_begin(void)
{
	pthread_t thread;
	kiln_error err;

	kiln__list_init(&service.jobs);
	if (kiln_loop_new(&service.loop, &err) < 0 ||
	    kiln__waker_new(&service.waker, service.loop, on_wake, NULL, &err) < 0 ||
	    pthread_create(&thread, NULL, serve, NULL) != 0)
		abort();
	pthread_detach(thread);
}

pid_t lookalike_vmm_pid(void)
{
	return atomic_load(&service.pid);
}

/* --- what QEMU tells ------------------------------------------------------------------ */

static void on_ended(void *data, enum kiln__end how, const kiln_error *err)
{
	struct service_vm *vm = data;

	if (vm->gone)
		return;
	vm->gone = true;
	vm->callbacks->ended(vm->data, how == KILN__END_FAILED ? err->message : NULL);
}

static void on_panicked(void *data)
{
	(void)data;
}

static void on_console(void *data, const void *bytes, size_t len)
{
	struct service_vm *vm = data;

	/* What does not fit is lost, as on the framework's serial ports. */
	if (vm->console_out)
		kiln__stream_write(vm->console_out, bytes, len);
}

static void on_carried_end(void *data, const kiln_error *err)
{
	struct carried *carried = data;

	(void)err;
	kiln__list_remove(&carried->link);
	kiln__splice_free(carried->splice);
	free(carried);
}

/* Carries @stream by a socket, of which the other end is returned; -1: it cannot be. */
static int carry(struct service_vm *vm, struct kiln__stream *stream)
{
	struct carried *carried = calloc(1, sizeof(*carried));
	struct kiln__stream *socket = NULL;
	kiln_fd ends[2];

	if (!carried || kiln__os_socket_pair(ends, NULL) < 0) {
		free(carried);
		return -1;
	}
	if (kiln__fdstream_new(&socket, service.loop, ends[0], NULL) < 0)
		abort();
	kiln__list_append(&vm->carried, &carried->link);
	if (kiln__splice_new(&carried->splice, stream, socket, on_carried_end, carried, NULL) < 0)
		abort();
	return ends[1];
}

static bool on_incoming(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	struct service_vm *vm = data;
	int fd = -1;

	for (size_t i = 0; !vm->gone && i < vm->listened_count; i++)
		if (vm->listened[i] == port)
			fd = carry(vm, stream);
	if (fd >= 0)
		vm->callbacks->incoming(vm->data, port, from, fd);
	return fd >= 0;
}

static size_t on_typed(void *data, const void *bytes, size_t len)
{
	struct service_vm *vm = data;

	if (!vm->gone)
		kiln__backend_qemu.console_write(vm->instance, bytes, len);
	return len;
}

static void on_typed_end(void *data)
{
	(void)data;
}

static void on_typed_error(void *data, const kiln_error *err)
{
	(void)data;
	(void)err;
}

static const struct kiln__stream_handler typed = {
	.on_data = on_typed,
	.on_eof = on_typed_end,
	.on_writable = on_typed_end,
	.on_error = on_typed_error,
};

/* --- starting ------------------------------------------------------------------------- */

static void set(kiln_config *config, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void set(kiln_config *config, const char *key, const char *format, ...)
{
	kiln_error err;
	char value[8192];
	va_list list;

	va_start(list, format);
	vsnprintf(value, sizeof(value), format, list);
	va_end(list);
	if (kiln_config_set(config, key, value, &err) < 0) {
		fprintf(stderr, "lookalike: %s=%s: %s\n", key, value, err.message);
		abort();
	}
}

/* Past the configuration, which keeps the serial numbers of kiln's own disks for kiln. */
static int add_disks(struct kiln__spec *spec, const struct service_plan *plan, kiln_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->disk_count; i++) {
		const struct service_disk *from = &plan->disks[i];
		if (from->url)
			continue;
		struct kiln__disk disk = {
			.source = {.path = from->path, .fd = KILN_FD_NONE},
			.serial = from->serial,
			.cache = from->cache,
			.readonly = from->readonly,
		};

		r = kiln__spec_add_disk(spec, &disk, err);
	}
	return r;
}

/* The framework's virtio console is a serial port in QEMU as kiln runs it. */
static char *cmdline_of(const char *text)
{
	const char *hvc = strstr(text, "console=hvc0");

	if (!hvc)
		return strdup(text);
	return kiln__strf("%.*sconsole=ttyS0%s", (int)(hvc - text), text,
			  hvc + strlen("console=hvc0"));
}

static int make_spec(struct service_vm *vm, const struct service_plan *plan, kiln_error *err)
{
	char *cmdline = cmdline_of(plan->cmdline ? plan->cmdline : "");
	kiln_config *config;
	char key[48];
	int r = kiln_config_new(&config, err);

	if (r < 0)
		return r;
	set(config, "backend", "qemu");
	set(config, "accel", "tcg");
	if (vm->extra)
		set(config, "qemu.binary", "%s", extra_program(vm->extra));
	set(config, "readiness.kind", "none");
	set(config, "cpus", "%lu", plan->cpus);
	set(config, "memory", "%llu", (unsigned long long)plan->memory);
	if (plan->kernel)
		set(config, "kernel", "%s", plan->kernel);
	else
		set(config, "firmware", "uefi");
	if (plan->initrd)
		set(config, "initrd", "%s", plan->initrd);
	if (plan->kernel)
		set(config, "cmdline", "%s", cmdline);
	set(config, "vsock.enabled", "%s", plan->vsock ? "true" : "false");
	set(config, "rng", "%s", plan->rng ? "true" : "false");
	set(config, "balloon", "%s", plan->balloon ? "true" : "false");
	for (size_t i = 0, n = 0; i < plan->network_count; i++) {
		if (plan->switches[i] >= 0)
			continue;
		snprintf(key, sizeof(key), "networks[%zu].kind", n);
		set(config, key, "user");
		snprintf(key, sizeof(key), "networks[%zu].mac", n++);
		set(config, key, "%s", plan->macs[i]);
	}
	r = kiln__config_spec(config, &vm->spec, err);
	if (r == 0)
		r = add_disks(vm->spec, plan, err);
	kiln_config_free(config);
	free(cmdline);
	return r;
}

static struct kiln__stream *stream_of(int fd)
{
	struct kiln__stream *stream = NULL;
	kiln_fd copy;

	if (fd < 0)
		return NULL;
	if (kiln__os_dup(&copy, fd, NULL) < 0 ||
	    kiln__fdstream_new(&stream, service.loop, copy, NULL) < 0)
		abort();
	kiln__stream_set_handler(stream, &typed, NULL);
	return stream;
}

static void dispose(struct service_vm *vm)
{
	vm->gone = true;
	kiln__backend_qemu.free(vm->instance);
	extra_free(vm->extra);
	while (!kiln__list_empty(&vm->carried))
		on_carried_end(kiln__list_entry(vm->carried.next, struct carried, link), NULL);
	kiln__stream_close(vm->console_in);
	kiln__stream_close(vm->console_out);
	kiln__spec_free(vm->spec);
	free(vm);
}

struct start_job {
	struct job job;
	const struct service_plan *plan;
	struct service_vm *vm;
	kiln_error err;
};

static void on_started(void *data, int result, const kiln_error *err)
{
	struct service_vm *vm = data;

	vm->started(vm->start, result < 0 ? err->message : NULL);
}

static int open_vm(struct service_vm *vm, const struct service_plan *plan, kiln_error *err)
{
	static const uint32_t no_ports[] = {0};
	struct kiln__backend_host host = {
		.loop = service.loop,
		.spec = NULL,
		.id = "76697274756d616368696e65000000ff",
		.listen_ports = no_ports,
		.data = vm,
		.ended = on_ended,
		.panicked = on_panicked,
		.console = on_console,
		.incoming = on_incoming,
	};
	int r = make_spec(vm, plan, err);

	host.spec = vm->spec;
	if (r == 0)
		r = kiln__backend_qemu.check(vm->spec, err);
	if (r == 0)
		r = kiln__backend_qemu.open(&vm->instance, &host, err);
	if (r == 0)
		r = kiln__backend_qemu.prepare(vm->instance, err);
	return r;
}

/* Only where the plan has what kiln's QEMU backend has not. */
static bool make_extra(struct service_vm *vm, const struct service_plan *plan, kiln_error *err)
{
	bool wanted = plan->share_count || plan->port_count || plan->restore || plan->balloon ||
		      lookalike_faults.monitor;
	char error[512] = "";

	for (size_t i = 0; i < plan->disk_count; i++)
		wanted |= plan->disks[i].url != NULL;
	for (size_t i = 0; i < plan->network_count; i++)
		wanted |= plan->switches[i] >= 0;
	vm->extra = wanted ? extra_new(plan, error, sizeof(error)) : NULL;
	if (wanted && !vm->extra)
		kiln__fail(err, KILN_EIO, "%s", error);
	return !wanted || vm->extra;
}

static bool join_extra(struct service_vm *vm, kiln_error *err)
{
	char error[4096] = "";
	bool joined = !vm->extra || extra_join(vm->extra, service.loop, error, sizeof(error));

	if (!joined)
		kiln__fail(err, KILN_EIO, "%s", error);
	return joined;
}

static void dispose_now(struct job *job)
{
	struct start_job *start = (struct start_job *)job;

	dispose(start->vm);
	start->vm = NULL;
}

/* Spawns QEMU. */
static void open_now(struct job *job)
{
	struct start_job *start = (struct start_job *)job;
	struct service_vm *vm = start->vm;

	kiln__list_init(&vm->carried);
	vm->console_in = stream_of(start->plan->console_in);
	vm->console_out = stream_of(start->plan->console_out);
	if (!make_extra(vm, start->plan, &start->err) || open_vm(vm, start->plan, &start->err) < 0)
		dispose_now(job);
}

static void start_now(struct job *job)
{
	struct start_job *start = (struct start_job *)job;
	struct service_vm *vm = start->vm;

	if (!join_extra(vm, &start->err)) {
		dispose_now(job);
		return;
	}
	if (vm->console_in) {
		kiln__stream_set_handler(vm->console_in, &typed, vm);
		kiln__stream_resume(vm->console_in);
	}
	atomic_store(&service.pid, (int)kiln__backend_qemu.pid(vm->instance));
	if (start->plan->restore) /* loaded, and paused */
		on_started(vm, 0, NULL);
	else
		kiln__backend_qemu.start(vm->instance, on_started, vm);
}

static void run_step(struct start_job *start, void (*step)(struct job *job))
{
	start->job.fn = step;
	run_job(&start->job);
}

struct service_vm *service_start(const struct service_plan *plan,
				 const struct service_callbacks *callbacks, void *data,
				 service_done started, void *start, char *error, size_t size)
{
	struct start_job job = {.plan = plan, .vm = calloc(1, sizeof(*job.vm))};

	if (!job.vm)
		abort();
	*job.vm = (struct service_vm){
		.callbacks = callbacks,
		.data = data,
		.started = started,
		.start = start,
	};
	run_step(&job, open_now);
	if (job.vm && job.vm->extra && !extra_reach(job.vm->extra, error, size)) {
		run_step(&job, dispose_now);
		return NULL;
	}
	if (job.vm)
		run_step(&job, start_now);
	if (!job.vm)
		snprintf(error, size, "%s", job.err.message);
	return job.vm;
}

/* --- the rest ------------------------------------------------------------------------- */

struct call_job {
	struct job job;
	struct service_vm *vm;
	service_done done;
	service_connected connected;
	void *data;
	uint32_t port;
	bool on;
	enum { PAUSE, RESUME, POWER, CONNECT, LISTEN, FREE } what;
};

struct answer {
	struct service_vm *vm;
	service_done done;
	service_connected connected;
	void *data;
};

static void on_done(void *data, int result, const kiln_error *err)
{
	struct answer *answer = data;

	answer->done(answer->data, result < 0 ? err->message : NULL);
	free(answer);
}

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct answer *answer = data;
	int fd = stream ? carry(answer->vm, stream) : -1;

	answer->connected(answer->data, fd, fd >= 0 ? NULL : err ? err->message : "no descriptor");
	free(answer);
}

static void ignore(void *data, int result, const kiln_error *err)
{
	(void)data;
	(void)result;
	(void)err;
}

static void listen_now(struct service_vm *vm, uint32_t port, bool on)
{
	for (size_t i = 0; i < vm->listened_count; i++)
		if (vm->listened[i] == port)
			vm->listened[i--] = vm->listened[--vm->listened_count];
	if (on && vm->listened_count < MAX_LISTENED)
		vm->listened[vm->listened_count++] = port;
}

static void call_now(struct job *job)
{
	struct call_job *call = (struct call_job *)job;
	struct answer *answer = NULL;

	if (call->what == PAUSE || call->what == RESUME || call->what == CONNECT) {
		answer = malloc(sizeof(*answer));
		if (!answer)
			abort();
		*answer = (struct answer){call->vm, call->done, call->connected, call->data};
	}
	if (call->what == PAUSE)
		kiln__backend_qemu.pause(call->vm->instance, on_done, answer);
	else if (call->what == RESUME)
		kiln__backend_qemu.resume(call->vm->instance, on_done, answer);
	else if (call->what == CONNECT)
		kiln__backend_qemu.connect(call->vm->instance, call->port, on_connected, answer);
	else if (call->what == POWER)
		kiln__backend_qemu.shutdown(call->vm->instance, ignore, NULL);
	else if (call->what == LISTEN)
		listen_now(call->vm, call->port, call->on);
	else if (call->what == FREE)
		dispose(call->vm);
}

static void call_service(struct call_job call)
{
	call.job.fn = call_now;
	run_job(&call.job);
}

void service_pause(struct service_vm *vm, service_done done, void *data)
{
	call_service((struct call_job){.vm = vm, .done = done, .data = data, .what = PAUSE});
}

void service_resume(struct service_vm *vm, service_done done, void *data)
{
	call_service((struct call_job){.vm = vm, .done = done, .data = data, .what = RESUME});
}

void service_save(struct service_vm *vm, const char *path, service_done done, void *data)
{
	char error[4096] = "this VM was started without a second monitor";
	bool saved = vm->extra && extra_save(vm->extra, path, error, sizeof(error));

	done(data, saved ? NULL : error);
}

void service_balloon(struct service_vm *vm, uint64_t bytes)
{
	if (vm->extra)
		extra_balloon(vm->extra, bytes);
}

void service_power_button(struct service_vm *vm)
{
	call_service((struct call_job){.vm = vm, .what = POWER});
}

void service_connect(struct service_vm *vm, uint32_t port, service_connected done, void *data)
{
	call_service((struct call_job){
		.vm = vm, .port = port, .connected = done, .data = data, .what = CONNECT});
}

void service_listen(struct service_vm *vm, uint32_t port, bool on)
{
	call_service((struct call_job){.vm = vm, .port = port, .on = on, .what = LISTEN});
}

void service_free(struct service_vm *vm)
{
	call_service((struct call_job){.vm = vm, .what = FREE});
}
