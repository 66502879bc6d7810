/* SPDX-License-Identifier: Apache-2.0 */
/* The runner's life: launched by its first message, ended by its VM. See runner.h. */
#include "runner.h"

#include "buf.h"
#include "cleanup.h"
#include "err.h"
#include "handle.h"
#include "log.h"
#include "os.h"
#include "setup.h"
#include "timefmt.h"
#include "vmfiles.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Descriptors that suffice for all that clients and the guest may open. */
#define DESCRIPTORS 2048

#define FD_LAUNCH 3
#define FD_LOCK   4

/*
 * How long clients may take to fetch their last answers once the VM has ended; and the
 * process's last output, if the VM's end was asked for.
 */
#define LINGER_MS 5000

/* Whoever has connected meanwhile is served: the VM runs, or has failed, or lets wait. */
static void accept_clients(struct runner *runner)
{
	server_accept(runner->server);
	if (runner->vsock)
		kiln__vsock_unix_accept(runner->vsock);
}

/* After what the control connection has put off: it reads from then on. */
static void on_launching(void *data)
{
	struct runner *runner = data;

	server_launch(runner->server);
}

static void on_event(void *data, const kiln_event *event)
{
	struct runner *runner = data;

	if (kiln_machine_accel(runner->machine)[0])
		snprintf(runner->accel, sizeof(runner->accel), "%s",
			 kiln_machine_accel(runner->machine));
	if (kiln__machine_accel_reason(runner->machine)[0])
		snprintf(runner->accel_reason, sizeof(runner->accel_reason), "%s",
			 kiln__machine_accel_reason(runner->machine));
	runner_record(runner, event);
	if (event->from == KILN_STATE_STARTING)
		accept_clients(runner);
	server_event(runner->server, event);
	if (!runner->over)
		return;
	process_vm_ended(runner->process);
	kiln__timer_start(runner->linger, LINGER_MS);
	runner_maybe_end(runner);
}

static void on_agent_up(void *data)
{
	struct runner *runner = data;

	process_start(runner->process);
}

static void on_rebooted(void *data)
{
	struct runner *runner = data;

	process_rebooted(runner->process);
}

static void on_console(void *data, const void *bytes, size_t len)
{
	struct runner *runner = data;

	logfile_write(&runner->console, bytes, len);
	server_console(runner->server, bytes, len);
}

static void on_log(void *data, enum kiln_log_level level, const char *text)
{
	static const char *const names[] = {"debug", "info", "warning", "error"};
	struct runner *runner = data;
	char time[KILN__TIME_TEXT];
	kiln__autofree char *line = NULL;

	kiln__time_format(kiln__os_realtime_ns(), time);
	line = kiln__strf("%s %s %s\n", time, names[level], text);
	if (line)
		runner_diagnose(runner, level, line);
}

/* --- the end ------------------------------------------------------------------------------ */

static void check_end(void *data)
{
	struct runner *runner = data;

	bool waits;

	if (!runner->over)
		return;
	/* A client that is slow (a pager, a terminal held by Ctrl-S) is not to lose output. */
	if (runner->linger_over)
		waits = runner->patient && process_owes(runner->process);
	else
		waits = server_busy(runner->server) || process_busy(runner->process);
	if (!waits)
		kiln_loop_stop(runner->loop);
}

void runner_maybe_end(struct runner *runner)
{
	if (runner->over)
		kiln__deferred_schedule(runner->check);
}

static void on_saving(void *data)
{
	runner_save(data);
	accept_clients(data);
}

static void on_linger(void *data)
{
	struct runner *runner = data;

	runner->linger_over = true;
	check_end(runner);
}

void runner_hurry(struct runner *runner)
{
	runner->patient = false;
	runner_maybe_end(runner);
}

void runner_launcher_gone(struct runner *runner)
{
	if (!runner->machine)
		kiln_loop_stop(
			runner->loop); /* nothing was launched, and nobody is left to do it */
	else if (runner->foreground && process_is_over(runner->process))
		; /* its end is under way, with a deadline: disks that last are being unmounted */
	else if (runner->foreground)
		kiln_machine_kill(runner->machine, NULL, NULL);
	else if (runner->process)
		process_release(runner->process);
}

/* --- launch ---------------------------------------------------------------------------------- */

static int take_string(json_t *params, const char *key, char **ret, bool required, kiln_error *err)
{
	const char *text = json_string_value(json_object_get(params, key));

	if (!text)
		return required ? kiln__fail(err, KILN_EINVAL, "launch: %s is missing", key) : 0;
	*ret = strdup(text);
	return *ret ? 0 : kiln__fail_nomem(err);
}

/* A root image in place of what it was made of. */
static int put_root(json_t *config, json_t *image)
{
	static const char *const sources[] = {"directory", "tar", "image", "image_applied"};
	json_t *root = json_object_get(config, "root");

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		json_object_del(root, sources[i]);
	return json_object_set(root, "squashfs", image);
}

/*
 * The machine's document, with the files that image work has found or made put in: before it is
 * looked at, since each change afterwards would be looked at by itself.
 */
static int take_config(struct runner *runner, json_t *params, kiln_error *err)
{
	static const char *const files[] = {"kernel", "initrd"};
	const json_t *resolved = json_object_get(params, "resolved");
	json_t *config = json_object_get(params, "config");
	json_t *root = json_object_get(resolved, "root");
	int r = 0;

	if (!json_is_object(config))
		return kiln__fail(err, KILN_EINVAL, "launch: config is missing");
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		json_t *path = json_object_get(resolved, files[i]);

		if (path && json_object_set(config, files[i], path) < 0)
			r = kiln__fail_nomem(err);
	}
	if (r == 0 && root && put_root(config, root) < 0)
		r = kiln__fail(err, KILN_EINVAL, "launch: a root image of no root");
	return r < 0 ? r : kiln__config_of(config, &runner->config, err);
}

static int take_params(struct runner *runner, json_t *params, kiln_error *err)
{
	const char *created = json_string_value(json_object_get(params, "created"));
	int r = take_string(params, "dir", &runner->vm_dir, true, err);

	if (r == 0) {
		runner->dir = kiln__strf("%s/" KILN__VM_STATE, runner->vm_dir);
		r = runner->dir ? 0 : kiln__fail_nomem(err);
	}
	if (r == 0)
		r = take_string(params, "runtime_dir", &runner->runtime_dir, true, err);
	if (r == 0)
		r = take_string(params, "name", &runner->name, false, err);
	runner->foreground = json_is_true(json_object_get(params, "foreground"));
	runner->ephemeral = json_is_true(json_object_get(params, "ephemeral"));
	runner->attach_first = json_is_true(json_object_get(params, "attach"));
	runner->starting = true;
	runner->created_ns = created ? kiln__time_parse(created) : kiln__os_realtime_ns();
	return r;
}

static void connect_port(void *data, uint32_t port, kiln__port_done_fn done, void *done_data)
{
	struct runner *runner = data;

	kiln__machine_connect(runner->machine, port, done, done_data);
}

static bool on_incoming(void *data, uint32_t port, struct kiln__stream *stream)
{
	struct runner *runner = data;

	return kiln__vsock_unix_incoming(runner->vsock, port, stream);
}

/*
 * How many descriptors there may be: half of them are for the streams of the guest's
 * ports, of which the guest itself can make many; the others for clients and the rest.
 */
static unsigned descriptor_limit(void)
{
	unsigned limit = kiln__os_raise_descriptor_limit(DESCRIPTORS);

	return limit < DESCRIPTORS ? limit : DESCRIPTORS;
}

/* The guest's vsock ports as Unix sockets, for whoever talks to the guest without kiln. */
static int serve_vsock(struct runner *runner, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/vsock.sock", runner->runtime_dir);
	int r;

	if (!kiln__machine_spec(runner->machine)->vsock ||
	    kiln__machine_owns_vsock(runner->machine))
		return 0;
	if (!path)
		return kiln__fail_nomem(err);
	r = kiln__vsock_unix_new(&runner->vsock, runner->loop, path, descriptor_limit() / 2,
				 connect_port, runner, err);
	if (r == 0)
		kiln__machine_on_incoming(runner->machine, on_incoming, runner);
	return r;
}

static int serve(struct runner *runner, kiln_error *err)
{
	const struct kiln__spec *spec = kiln__machine_spec(runner->machine);
	int r;

	logfile_init(&runner->console, &runner->dir, "console.log", spec->console_limit);
	logfile_init(&runner->log, &runner->dir, "log", spec->log_limit);
	logfile_init(&runner->diagnostics, &runner->dir, "runner.log", 1 << 20);
	r = server_listen(runner->server, err);
	return r < 0 ? r : serve_vsock(runner, err);
}

static void on_started(void *data, int result, const kiln_error *err)
{
	struct kiln__control_call *call = data;

	if (result < 0)
		kiln__control_fail(call, err);
	else
		kiln__control_answer(call, NULL);
}

/* What the manager has found or made lies in the image cache. */
static void vouch(struct runner *runner, json_t *params)
{
	const json_t *resolved = json_object_get(params, "resolved");

	kiln__machine_vouch(runner->machine, json_object_get(resolved, "kernel"),
			    json_object_get(resolved, "initrd"));
}

/* The disk that takes the root's writes, new for this start and thrown away after it. */
static int add_overlay(struct runner *runner, json_t *params, kiln_error *err)
{
	const json_t *resolved = json_object_get(params, "resolved");
	const char *path = json_string_value(json_object_get(resolved, "overlay"));

	return path ? kiln__machine_add_scratch(runner->machine, path, err) : 0;
}

/* The seed and the volumes. */
static int add_own_disks(struct runner *runner, json_t *params, kiln_error *err)
{
	const json_t *disks = json_object_get(json_object_get(params, "resolved"), "disks");
	const json_t *at;
	size_t i;
	int r = 0;

	json_array_foreach (disks, i, at) {
		const struct kiln__disk disk = {
			.source = {.path = json_string_value(json_object_get(at, "path")),
				   .fd = KILN_FD_NONE},
			.serial = json_string_value(json_object_get(at, "serial")),
			.readonly = json_is_true(json_object_get(at, "readonly")),
			.discard = !json_is_true(json_object_get(at, "readonly")),
		};

		if (!disk.source.path || !disk.serial)
			return kiln__fail(err, KILN_EINVAL, "launch: a disk has no path or serial");
		r = kiln__machine_add_disk(runner->machine, &disk, err);
		if (r < 0)
			break;
	}
	return r;
}

/* What who started us has found out about KVM. */
static struct kiln__kvm_verdict kvm_verdict(const json_t *kvm)
{
	struct kiln__kvm_verdict verdict = {.known = json_is_true(kvm) || json_is_object(kvm)};

	if (json_is_object(kvm))
		kiln__control_error_parse(kvm, &verdict.why);
	return verdict;
}

static int launch(struct runner *runner, json_t *params, kiln_error *err)
{
	const struct kiln__kvm_verdict kvm = kvm_verdict(json_object_get(params, "kvm"));
	kiln_machine_options options = KILN_MACHINE_OPTIONS_INIT;
	int r = take_params(runner, params, err);

	if (r == 0)
		r = take_config(runner, params, err);
	if (r < 0)
		return r;
	options.id = runner->id;
	options.name = runner->name;
	options.on_event = on_event;
	options.on_console = on_console;
	options.data = runner;
	runner->logger = (kiln_log){.fn = on_log, .data = runner, .level = KILN_LOG_INFO};
	options.log = runner->logger;
	r = kiln__machine_new(&runner->machine, runner->loop, runner->config, &options, &kvm, err);
	if (r == 0) {
		vouch(runner, params);
		kiln__machine_keep_in(runner->machine, runner->dir);
	}
	if (r == 0)
		r = kiln__machine_set_runtime_dir(runner->machine, runner->runtime_dir, err);
	if (r == 0)
		r = add_overlay(runner, params, err);
	if (r == 0)
		r = add_own_disks(runner, params, err);
	if (r == 0)
		kiln__machine_on_agent_up(runner->machine, on_agent_up, runner);
	if (r == 0)
		kiln__machine_on_rebooted(runner->machine, on_rebooted, runner);
	if (r == 0)
		kiln__machine_on_leaving(runner->machine, runner_record_leaves, runner);
	if (r == 0)
		r = serve(runner, err);
	if (r == 0)
		r = process_new(&runner->process, runner, err);
	if (r == 0)
		r = health_new(&runner->health, runner, err);
	if (r == 0)
		r = kiln__machine_prepare(runner->machine, err);
	if (r == 0)
		r = runner_record_processes(runner,
					    json_is_true(json_object_get(params, "recorded")), err);
	if (r == 0)
		r = runner_jail(runner, err);
	return r;
}

void runner_launch(struct runner *runner, struct kiln__control_call *call, json_t *params)
{
	kiln_error err = KILN_ERROR_INIT;

	if (launch(runner, params, &err) < 0) {
		kiln__stage(&err, "launch");
		kiln__control_fail(call, &err);
		/* A machine that has begun has recorded its failure; one that has not is nobody's.
		 */
		if (!runner->over) {
			runner->over = true;
			kiln__timer_start(runner->linger, LINGER_MS);
		}
		accept_clients(runner);
		runner_maybe_end(runner);
		return;
	}
	kiln_machine_start(runner->machine, on_started, call);
}

/* --- main ----------------------------------------------------------------------------------------
 */

static int begin(struct runner *runner, kiln_error *err)
{
	kiln_fd launch_fd;
	int r = kiln__os_inherited(&launch_fd, FD_LAUNCH, err);

	if (r < 0)
		return r;
	r = kiln__os_inherited(&runner->lock, FD_LOCK, err);
	if (r == 0)
		r = kiln_loop_new(&runner->loop, err);
	if (r == 0)
		r = kiln__timer_new(&runner->linger, runner->loop, on_linger, runner, err);
	if (r == 0)
		r = kiln__timer_new(&runner->saving, runner->loop, on_saving, runner, err);
	if (r == 0)
		r = kiln__deferred_new(&runner->check, runner->loop, check_end, runner, err);
	if (r == 0)
		r = kiln__deferred_new(&runner->launching, runner->loop, on_launching, runner, err);
	if (r == 0)
		r = server_new(&runner->server, runner, launch_fd, err);
	else
		kiln__os_close(launch_fd);
	return r;
}

/*
 * What others could still find of it goes: its sockets, by who made them. The runtime
 * directory itself is the manager's; the lock goes last, with the process.
 */
static void finish(struct runner *runner)
{
	server_free(runner->server);
	health_free(runner->health);
	process_free(runner->process);
	kiln__vsock_unix_free(runner->vsock);
	kiln_machine_free(runner->machine);
	logfile_done(&runner->console);
	logfile_done(&runner->log);
	logfile_done(&runner->diagnostics);
	kiln__os_close(runner->events);
	kiln__buf_done(&runner->later);
	kiln__buf_done(&runner->untold);
	kiln__timer_free(runner->linger);
	kiln__timer_free(runner->saving);
	kiln__deferred_free(runner->check);
	kiln__deferred_free(runner->launching);
	kiln_config_free(runner->config);
	kiln_loop_free(runner->loop);
	free(runner->id);
	free(runner->name);
	free(runner->vm_dir);
	free(runner->dir);
	free(runner->runtime_dir);
	/* The lock goes with the process, and not before: free must mean gone. */
}

int main(int argc, char **argv)
{
	struct runner runner = {.lock = KILN_FD_NONE, .events = KILN_FD_NONE, .patient = true};
	kiln_error err = KILN_ERROR_INIT;

	if (argc != 2) {
		fprintf(stderr, "kiln-runner is started by kiln, with a VM's id\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);                /* a log that may not grow is no reason to die */
	json_object_seed(kiln__os_jail_begin()); /* it would open a device for one */
	runner.id = strdup(argv[1]);
	if (!runner.id || begin(&runner, &err) < 0) {
		fprintf(stderr, "kiln-runner: %s\n", err.message);
		return 1;
	}
	kiln__deferred_schedule(runner.launching);
	kiln_loop_run(runner.loop);
	finish(&runner);
	return 0;
}
