/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Firecracker as a backend: a process driven by its HTTP API.
 *
 * prepare() opens every file and spawns it; each goes to it as an inherited descriptor, which it
 * opens by /proc/self/fd/N. Its API's socket appears some time later: a watch on the directory,
 * there before the process is, tells. Between the socket's bind(), which that shows, and its
 * listen(), which nothing shows, a connection is refused; that alone is tried again, after a
 * moment.
 *
 * Without the API (firecracker.api = false) the configuration is a pipe that Firecracker reads to
 * its end, so that writing it is what starts the guest.
 *
 * Its console is its stdin and stdout, its log a pipe. It ends with exit code 0 when the guest
 * resets, and never when it powers off: kiln-guest ends it by a reset, and a reset is taken for the
 * end that it is.
 */
#include "firecracker.h"

#include "err.h"
#include "firecracker_config.h"
#include "jailer.h"
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How soon a refused connection is tried again, at first and at most. */
#define RETRY_FIRST_MS 1
#define RETRY_MAX_MS   50

#define VERSION_MS 5000

struct kiln__instance {
	struct kiln__api_vmm api;   /* first */
	struct kiln__fc_jail *jail; /* NULL: it is in none */
	struct kiln__dirwatch *appears;
	struct kiln__timer *retry;
	uint64_t retry_ms;
	kiln_fd config_pipe; /* without an API */
	kiln_fd config_read; /* its other end, so that writing raises no signal if it has died */
	bool is_up;          /* the API's socket takes connections */
	char *last_snapshot; /* the directory of it, or NULL: what changed since is known */
	char *next_snapshot; /* which becomes that when it is written */
	kiln_done_fn saved;
	void *saved_data;
	char serials[KILN__FIRECRACKER_MAX_DISKS][21];
};

/* --- the start
 * ------------------------------------------------------------------------------------
 */

static int first_steps(struct kiln__api_vmm *api, struct kiln__api_steps *steps, kiln_error *err)
{
	struct kiln__instance *vm = (struct kiln__instance *)api;
	const struct kiln__spec *spec = api->host.spec;

	if (spec->snapshot) {
		vm->last_snapshot = strdup(spec->snapshot);
		return kiln__firecracker_load(spec, spec->vsock ? api->vsock_path : NULL,
					      kiln__firecracker_tracks(api->config), api->version,
					      steps, err);
	}
	kiln__firecracker_requests(api->config, steps);
	return 0;
}

static void on_end(struct kiln__api_vmm *api)
{
	struct kiln__instance *vm = (struct kiln__instance *)api;

	kiln__timer_stop(vm->retry);
	kiln__jailer_free(kiln__take(vm->jail));
}

static const struct kiln__api_kind kind = {
	.name = "Firecracker",
	.program = "firecracker",
	.home = "https://github.com/firecracker-microvm/firecracker",
	.form = &kiln__firecracker_form,
	.first = KILN__FIRECRACKER_FIRST,
	.version_target = "/version",
	.version_member = "firecracker_version",
	.config = kiln__firecracker_config,
	.first_steps = first_steps,
	.on_end = on_end,
};

/* --- the API's socket
 * ------------------------------------------------------------------------------ */

static void try_connect(struct kiln__instance *vm)
{
	kiln_error err;
	int r;

	if (vm->is_up || vm->api.ended)
		return;
	r = kiln__http_connect(vm->api.http, &err);
	if (r == KILN_ENOENT)
		return; /* not there yet */
	if (r == KILN_EDIED) {
		kiln__timer_start(vm->retry, vm->retry_ms);
		vm->retry_ms = vm->retry_ms * 2 < RETRY_MAX_MS ? vm->retry_ms * 2 : RETRY_MAX_MS;
		return;
	}
	if (r < 0) {
		kiln__api_fail(&vm->api, &err);
		return;
	}
	vm->is_up = true;
	kiln__timer_stop(vm->retry);
	kiln__dirwatch_free(kiln__take(vm->appears));
	kiln__api_up(&vm->api);
}

static void on_retry(void *data)
{
	try_connect(data);
}

static void on_appears(void *data, int directory, const char *name)
{
	struct kiln__instance *vm = data;

	(void)directory;
	if ((!name || strcmp(name, "api.sock") == 0) && !kiln__timer_armed(vm->retry))
		try_connect(vm);
}

/* --- preparing
 * --------------------------------------------------------------------------------------- */

/* As Firecracker makes it: device, device type and inode as decimal numbers, the first 20 digits.
 */
static int note_serials(struct kiln__instance *vm, kiln_error *err)
{
	for (size_t i = 0; i < vm->api.handles.count; i++) {
		const struct kiln__spawn_fd *fd = &vm->api.handles.fds[i];
		struct kiln__os_stat st;
		char text[80];
		int r;

		if (fd->to < KILN__FIRECRACKER_FD_DISK)
			continue;
		r = kiln__os_fstat(fd->from, &st, err);
		if (r < 0)
			return r;
		snprintf(text, sizeof(text), "%llu%llu%llu", (unsigned long long)st.device,
			 (unsigned long long)st.device_type, (unsigned long long)st.inode);
		snprintf(vm->serials[fd->to - KILN__FIRECRACKER_FD_DISK], 21, "%.20s", text);
	}
	return 0;
}

/* The API's socket is watched for; or the configuration gets its pipe. */
static int make_control(struct kiln__instance *vm, kiln_error *err)
{
	kiln_fd theirs;
	int ignored;
	int r;

	if (!vm->api.host.spec->firecracker.api) {
		r = kiln__vmm_pipe(&theirs, &vm->config_pipe, err);
		if (r == 0)
			r = kiln__handles_add(&vm->api.handles, theirs, KILN__FIRECRACKER_FD_CONFIG,
					      err);
		if (r == 0)
			r = kiln__os_dup(&vm->config_read, theirs, err);
		return r < 0 ? r : kiln__os_set_nonblocking(vm->config_pipe, true, err);
	}
	r = kiln__dirwatch_new(&vm->appears, vm->api.host.loop, on_appears, vm, err);
	return r < 0 ? r : kiln__dirwatch_add(vm->appears, vm->api.dir, &ignored, err);
}

static int spawn(struct kiln__instance *vm, kiln_fd console, kiln_error *err)
{
	const struct kiln__spec *spec = vm->api.host.spec;
	const char *argv[16];
	size_t n = 0;

	argv[n++] = vm->api.binary;
	argv[n++] = "--id";
	argv[n++] = vm->api.host.id;
	argv[n++] = "--log-path";
	argv[n++] = "/proc/self/fd/3"; /* KILN__FIRECRACKER_FD_LOG */
	argv[n++] = "--level";
	argv[n++] = "Warning";
	if (spec->firecracker.pci)
		argv[n++] = "--enable-pci";
	if (spec->firecracker.api) {
		argv[n++] = "--api-sock";
		argv[n++] = vm->api.api_path;
	} else {
		argv[n++] = "--no-api";
		argv[n++] = "--config-file";
		argv[n++] = "/proc/self/fd/6"; /* KILN__FIRECRACKER_FD_CONFIG */
	}
	argv[n] = NULL;
	return kiln__api_spawn(&vm->api, argv, spec->network_count > 0, console, err);
}

static int spawn_with_channels(struct kiln__instance *vm, kiln_error *err)
{
	kiln_fd log = KILN_FD_NONE;
	kiln_fd theirs = KILN_FD_NONE;
	kiln_fd console[2];
	int r = kiln__vmm_pipe(&log, &theirs, err);

	if (r == 0)
		r = kiln__handles_add(&vm->api.handles, theirs, KILN__FIRECRACKER_FD_LOG, err);
	if (r == 0)
		r = kiln__os_socket_pair(console, err);
	if (r < 0) {
		kiln__os_close(log);
		return r;
	}
	r = kiln__api_take_console(&vm->api, console[0], err);
	if (r == 0)
		r = spawn(vm, console[1], err);
	kiln__os_close(console[1]);
	if (r < 0) {
		kiln__os_close(log);
		return r;
	}
	return kiln__vmm_add_log(vm->api.vmm, vm->api.host.loop, log, err);
}

static int spawn_jailed(struct kiln__instance *vm, kiln_error *err)
{
	const char *const options[] = {
		"--api-sock",
		vm->api.api_path,
		"--log-path",
		KILN__JAIL_LOG,
		"--level",
		"Warning",
		vm->api.host.spec->firecracker.pci ? "--enable-pci" : NULL,
		NULL,
	};
	kiln_fd console[2];
	int r = kiln__jailer_prepare(&vm->jail, &vm->api, err);

	if (r == 0)
		r = kiln__os_socket_pair(console, err);
	if (r < 0)
		return r;
	r = kiln__api_take_console(&vm->api, console[0], err);
	if (r == 0)
		r = kiln__jailer_spawn(vm->jail, &vm->api, options, console[1], err);
	kiln__os_close(console[1]);
	return r < 0 ? r
		     : kiln__vmm_add_log(vm->api.vmm, vm->api.host.loop,
					 kiln__jailer_take_log(vm->jail), err);
}

/* An option that it does not know would end it with a complaint about arguments. */
static int check_option(const struct kiln__instance *vm, kiln_error *err)
{
	const char *const argv[] = {vm->api.binary, "--version", NULL};
	kiln__autofree char *text = NULL;
	const char *at;
	unsigned version;
	int r;

	if (!vm->api.host.spec->firecracker.pci)
		return 0;
	r = kiln__os_run_capture(vm->api.binary, argv, VERSION_MS, &text, err);
	if (r < 0)
		return r;
	at = strpbrk(text, "0123456789");
	version = at ? kiln__api_version(at) : 0;
	if (version >= KILN__FIRECRACKER_PCI)
		return 0;
	return kiln__fail(err, KILN_ENOTSUP,
			  "firecracker.pci: needs Firecracker 1.13, this is %u.%u", version / 1000,
			  version % 1000);
}

static int firecracker_prepare(struct kiln__instance *vm, kiln_error *err)
{
	const struct kiln__firecracker *wanted = &vm->api.host.spec->firecracker;
	int r;

	vm->api.inside = wanted->jailer.enabled ? KILN__JAIL_SOCKETS : NULL;
	vm->api.user = wanted->jailer.uid;
	r = kiln__api_prepare(&vm->api, wanted->binary, wanted->preflight, err);

	if (r == 0)
		r = check_option(vm, err);
	if (r == 0)
		r = kiln__api_add_files(&vm->api, KILN__FIRECRACKER_FD_KERNEL,
					KILN__FIRECRACKER_FD_INITRD, KILN__FIRECRACKER_FD_DISK,
					err);
	if (r == 0)
		r = note_serials(vm, err);
	if (r == 0)
		r = make_control(vm, err);
	if (r < 0)
		return r;
	return wanted->jailer.enabled ? spawn_jailed(vm, err) : spawn_with_channels(vm, err);
}

/* --- the contract
 * -------------------------------------------------------------------------------------- */

static int firecracker_open(struct kiln__instance **ret, const struct kiln__backend_host *host,
			    kiln_error *err)
{
	struct kiln__instance *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return kiln__fail_nomem(err);
	vm->config_pipe = vm->config_read = KILN_FD_NONE;
	vm->retry_ms = RETRY_FIRST_MS;
	r = kiln__api_open(&vm->api, host, &kind, err);
	if (r == 0) {
		r = kiln__timer_new(&vm->retry, host->loop, on_retry, vm, err);
		if (r < 0)
			kiln__api_done(&vm->api);
	}
	if (r < 0) {
		free(vm);
		return r;
	}
	*ret = vm;
	return 0;
}

/* The pipe takes it all: a configuration is far smaller than a pipe, or is refused. */
static void start_by_file(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	char *text = json_dumps(vm->api.config, JSON_COMPACT);
	kiln_error err = KILN_ERROR_INIT;
	size_t len = text ? strlen(text) : 0;

	if (!text)
		kiln__fail_nomem(&err);
	else if (write(vm->config_pipe, text, len) != (ssize_t)len)
		kiln__fail_errno(&err, errno, "cannot tell Firecracker its configuration");
	free(text);
	kiln__os_close(kiln__take_fd(&vm->config_pipe));
	if (done)
		done(data, err.code, err.code ? &err : NULL);
}

static void firecracker_start(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	if (vm->api.host.spec->firecracker.api || vm->api.ended)
		kiln__api_start(&vm->api, vm->is_up, done, data);
	else
		start_by_file(vm, done, data);
}

/* False, and @done told, where there is no API to be asked. */
static bool has_api(struct kiln__instance *vm, const char *what, kiln_done_fn done, void *data)
{
	kiln_error err;

	if (vm->api.host.spec->firecracker.api)
		return true;
	kiln__fail(&err, KILN_ENOTSUP, "firecracker.api: without its API Firecracker cannot %s",
		   what);
	kiln__api_refuse(&err, done, data);
	return false;
}

static void send(struct kiln__instance *vm, const char *method, json_t *body, const char *target,
		 kiln_done_fn done, void *data)
{
	kiln__api_send(&vm->api, method, target, body, KILN__API_MS, done, data);
}

/* x86_64 only, and for a guest with a keyboard driver: whose kernel takes it as "reboot". */
static void firecracker_shutdown(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	kiln_error err;

	if (strcmp(vm->api.host.spec->arch, "x86_64") != 0) {
		kiln__fail(&err, KILN_ENOTSUP, "Firecracker has Ctrl-Alt-Del on x86_64 only");
		kiln__api_refuse(&err, done, data);
		return;
	}
	if (has_api(vm, "press Ctrl-Alt-Del", done, data))
		send(vm, "PUT", json_pack("{s:s}", "action_type", "SendCtrlAltDel"), "/actions",
		     done, data);
}

static void firecracker_pause(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	if (has_api(vm, "pause", done, data))
		send(vm, "PATCH", json_pack("{s:s}", "state", "Paused"), "/vm", done, data);
}

static void firecracker_resume(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	if (has_api(vm, "resume", done, data))
		send(vm, "PATCH", json_pack("{s:s}", "state", "Resumed"), "/vm", done, data);
}

/* --- changes
 * -------------------------------------------------------------------------------------- */

static void firecracker_update(struct kiln__instance *vm, const kiln_update *update,
			       kiln_done_fn done, void *data)
{
	struct kiln__api_steps *steps;
	kiln_error err;
	int r;

	if (!has_api(vm, "be changed", done, data))
		return;
	steps = calloc(1, sizeof(*steps));
	r = steps ? kiln__firecracker_update(vm->api.host.spec, vm->api.config, vm->api.version,
					     update, steps, &err)
		  : kiln__fail_nomem(&err);
	if (r == 0) {
		kiln__api_run(&vm->api, steps, done, data);
	} else {
		if (steps)
			kiln__api_steps_done(steps);
		kiln__api_refuse(&err, done, data);
	}
	free(steps);
}

/* The balloon's statistics, if its configuration has the guest say them. */
static bool firecracker_counters(struct kiln__instance *vm, kiln__text_fn done, void *data)
{
	const json_t *balloon = json_object_get(vm->api.config, "balloon");
	const json_t *interval = json_object_get(balloon, "stats_polling_interval_s");

	if (json_integer_value(interval) <= 0 || !vm->api.host.spec->firecracker.api)
		return false;
	kiln__api_get(&vm->api, "/balloon/statistics", "balloon", done, data);
	return true;
}

/* --- snapshots
 * ----------------------------------------------------------------------------------------- */

static int check_snapshot(const struct kiln__instance *vm, const char *base, kiln_error *err)
{
	if (vm->jail)
		return kiln__fail(err, KILN_ENOTSUP,
				  "firecracker.jailer: a jailed VMM reaches no directory for a "
				  "snapshot");
	if (vm->next_snapshot)
		return kiln__fail(err, KILN_EBUSY, "another snapshot is being written");
	if (!base)
		return 0;
	if (!kiln__firecracker_tracks(vm->api.config)) {
		kiln__fail(err, KILN_ENOTSUP,
			   "base: what has changed since is known of a machine that tracks it");
		return kiln__hint(err, "firecracker.config "
				       "{\"machine-config\":{\"track_dirty_pages\":true}}"),
		       KILN_ENOTSUP;
	}
	if (vm->last_snapshot && strcmp(vm->last_snapshot, base) == 0)
		return 0;
	kiln__fail(err, KILN_EINVAL, "base: the last snapshot of this machine is %s",
		   vm->last_snapshot ? vm->last_snapshot : "none");
	return kiln__hint(err, "only what has changed since the last is known"), KILN_EINVAL;
}

/* Whatever was written in part has reset what is known of changes. */
static void on_saved(void *data, int result, const kiln_error *err)
{
	struct kiln__instance *vm = data;
	kiln_done_fn done = vm->saved;

	free(vm->last_snapshot);
	vm->last_snapshot = kiln__take(vm->next_snapshot);
	if (err)
		free(kiln__take(vm->last_snapshot));
	vm->saved = NULL;
	done(vm->saved_data, result, err);
}

static void firecracker_snapshot(struct kiln__instance *vm, const char *directory, const char *base,
				 kiln_done_fn done, void *data)
{
	struct kiln__api_steps *steps;
	kiln_error err;

	if (!has_api(vm, "write a snapshot", done, data))
		return;
	if (check_snapshot(vm, base, &err) < 0) {
		kiln__api_refuse(&err, done, data);
		return;
	}
	steps = calloc(1, sizeof(*steps));
	vm->next_snapshot = strdup(directory);
	if (!steps || !vm->next_snapshot) {
		free(steps);
		free(kiln__take(vm->next_snapshot));
		kiln__fail_nomem(&err);
		kiln__api_refuse(&err, done, data);
		return;
	}
	vm->saved = done;
	vm->saved_data = data;
	kiln__firecracker_save(directory, base, steps);
	kiln__api_run(&vm->api, steps, on_saved, vm);
	free(steps);
}

static const char *firecracker_disk_serial(const struct kiln__instance *vm, const char *serial)
{
	const struct kiln__spec *spec = vm->api.host.spec;
	size_t first = spec->root.kind != KILN__ROOT_NONE;

	if (strcmp(serial, KILN__ROOT_SERIAL) == 0)
		return vm->serials[0];
	for (size_t i = 0; i < spec->disk_count; i++)
		if (spec->disks[i].serial && strcmp(spec->disks[i].serial, serial) == 0)
			return vm->serials[first + i];
	return serial;
}

/*
 * Where the VMM is another user's, a signal takes a right that the runner keeps for it, and its
 * cgroup none.
 */
static void firecracker_kill(struct kiln__instance *vm)
{
	kiln__api_kill(vm);
	if (vm->jail)
		kiln__jailer_kill(vm->jail);
}

static void firecracker_free(struct kiln__instance *vm)
{
	if (!vm)
		return;
	kiln__api_done(&vm->api);
	kiln__jailer_free(vm->jail);
	kiln__dirwatch_free(vm->appears);
	kiln__timer_free(vm->retry);
	kiln__os_close(vm->config_pipe);
	kiln__os_close(vm->config_read);
	free(vm->last_snapshot);
	free(vm->next_snapshot);
	free(vm);
}

static void firecracker_probe(const char *arch, struct kiln__probe *ret)
{
	kiln__api_probe(&kind, arch, ret);
}

const struct kiln__backend kiln__backend_firecracker = {
	.name = "firecracker",
	.summary = "Firecracker as a process, by its API: KVM",
	.features = KILN__CAN_PAUSE | KILN__CAN_POWER_KEY | KILN__CAN_VSOCK | KILN__CAN_CONSOLE |
		    KILN__CAN_KVM | KILN__CAN_NETWORK | KILN__ENDS_BY_RESET | KILN__OWNS_VSOCK |
		    KILN__BY_NAME_ONLY | KILN__CAN_UPDATE | KILN__CAN_SNAPSHOT,
	.fields = kiln__firecracker_fields,
	.own_key = "firecracker.config",
	.probe = firecracker_probe,
	.check = kiln__firecracker_check,
	.open = firecracker_open,
	.prepare = firecracker_prepare,
	.start = firecracker_start,
	.shutdown = firecracker_shutdown,
	.kill = firecracker_kill,
	.pause = firecracker_pause,
	.resume = firecracker_resume,
	.update = firecracker_update,
	.counters = firecracker_counters,
	.snapshot = firecracker_snapshot,
	.connect = kiln__api_connect,
	.disk_serial = firecracker_disk_serial,
	.moved = kiln__api_moved,
	.console_write = kiln__api_console_write,
	.accel = kiln__api_accel,
	.pid = kiln__api_pid,
	.keep = kiln__api_keep,
	.free = firecracker_free,
};
