/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cloud Hypervisor as a backend: a process driven by its HTTP API.
 *
 * prepare() opens every file, listens at the API's socket, and spawns it with that, so that a
 * connection can be made at once and waits for nothing. The guest's console is a terminal of ours
 * as its stdin and stdout: it reads from one only if that is a terminal, and its other way, a
 * socket, loses what the guest writes before somebody has connected.
 *
 * What the guest does by itself is told by the event stream: a power-off (the process ends by
 * itself), a reset (it would boot again in the same process), a panic. An event that is no event
 * may have been any: one vm.info then puts things right.
 */
#include "cloud_hypervisor.h"

#include "apivmm.h"
#include "buf.h"
#include "change.h"
#include "cloud_hypervisor_config.h"
#include "err.h"
#include "events.h"
#include "serials.h"
#include "taps.h"
#include "virtiofsd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define ROOT "/api/v1/"

#define ROUND_PIECES 16 /* of 4 KiB: events are read before all else, since they do not wait */

/* In the directory of its sockets: see make_restore_dir(). */
#define RESTORE "restore"

struct kiln__instance {
	struct kiln__api_vmm api; /* first */
	kiln_fd event_fd;
	struct kiln__watch *event_watch;
	struct kiln__ch_events events;
	char *restore_dir; /* the snapshot it goes on from, with sockets of this life */
	struct kiln__deferred *rebooting; /* as was agreed */
	bool asks_info;                   /* a vm.info is under way */
	bool dumps;                       /* it has vm.coredump */
	struct kiln__cloud_hypervisor_taps taps;
	struct kiln__virtiofsd *virtiofsd;
	struct kiln__cloud_hypervisor_serials serials; /* for VMMs that give their own */
};

/* --- events
 * ----------------------------------------------------------------------------------------- */

/*
 * Told before the guest runs again, not after (the event "rebooted"): what it says first on its
 * console, its readiness perhaps, is the new boot's. Not from inside the reading of events, since
 * the machine may free the instance.
 */
static void on_agreed(void *data)
{
	struct kiln__instance *vm = data;

	if (!vm->api.ended)
		vm->api.host.rebooted(vm->api.host.data);
}

static void on_rebooting(struct kiln__instance *vm)
{
	if (vm->api.host.rebooting(vm->api.host.data))
		kiln__deferred_schedule(vm->rebooting);
	else
		kiln__api_put_down(&vm->api, KILN__END_RESET);
}

static void on_event(void *data, const char *source, const char *event, const json_t *properties)
{
	struct kiln__instance *vm = data;

	(void)properties;
	kiln__log(vm->api.host.log, KILN_LOG_DEBUG, "event: %s %s", source, event);
	if (strcmp(source, "guest") == 0 && strcmp(event, "panic") == 0) {
		kiln__api_panicked(&vm->api);
	} else if (strcmp(source, "vm") == 0 && strcmp(event, "rebooting") == 0) {
		on_rebooting(vm);
	}
}

/* The VMM lives, but its VM does not run: what would have told was lost. */
static void on_info(void *data, const struct kiln__http_answer *answer, const kiln_error *err)
{
	struct kiln__instance *vm = data;
	json_t *info = answer ? json_loadb(answer->body, answer->len, 0, NULL) : NULL;
	const char *state = json_string_value(json_object_get(info, "state"));

	vm->asks_info = false;
	if ((err && err->code == KILN_ENOENT) ||
	    (state && (strcmp(state, "Shutdown") == 0 || strcmp(state, "Created") == 0)))
		kiln__api_put_down(&vm->api, KILN__END_POWEROFF);
	json_decref(info);
}

static void on_malformed(void *data)
{
	struct kiln__instance *vm = data;

	if (!vm->api.runs || vm->asks_info)
		return;
	vm->asks_info = true;
	kiln__log(vm->api.host.log, KILN_LOG_WARN, "an event was lost, and is asked for");
	kiln__http_send(vm->api.http, &(struct kiln__http_request){
					      .method = "GET",
					      .target = ROOT "vm.info",
					      .deadline_ms = KILN__API_MS,
					      .done = on_info,
					      .data = vm,
				      });
}

static const struct kiln__ch_event_handler event_handler = {
	.event = on_event,
	.malformed = on_malformed,
};

static void read_events(struct kiln__instance *vm)
{
	char bytes[4096];

	for (int i = 0; i < ROUND_PIECES && vm->event_watch; i++) {
		ssize_t n = kiln__os_read(vm->event_fd, bytes, sizeof(bytes));

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			kiln__watch_set(vm->event_watch, 0);
			return;
		}
		kiln__ch_events_feed(&vm->events, bytes, (size_t)n, &event_handler, vm);
	}
}

static void on_events(void *data, int events)
{
	(void)events;
	read_events(data);
}

/* --- what is late ----------------------------------------------------------------------------
 */

/* How long it may take to halt a guest or let it go on, and then to say which it is. */
#define PAUSE_MS 10000
#define INFO_MS  5000

/* An operation that was not answered in time: what it comes to, the VMM is asked once. */
struct late {
	const char *wanted; /* the state that it was to lead to; static */
	kiln_error err;
	kiln_done_fn done;
	void *data;
};

/* Who resumes a machine to stop it waits for nothing: @done may be NULL. */
static void tell(kiln_done_fn done, void *data, const kiln_error *err)
{
	if (done)
		done(data, err ? err->code : 0, err);
}

static void on_late_info(void *data, const struct kiln__http_answer *answer, const kiln_error *err)
{
	struct late late = *(struct late *)data;
	json_t *info = answer ? json_loadb(answer->body, answer->len, 0, NULL) : NULL;
	const char *state = json_string_value(json_object_get(info, "state"));
	bool reached = state && strcmp(state, late.wanted) == 0;

	(void)err;
	free(data);
	json_decref(info);
	tell(late.done, late.data, reached ? NULL : &late.err);
}

/* Tells @done, if not NULL, how it ended with @err, which is NULL for success. */
static void settle(struct kiln__instance *vm, const char *wanted, const kiln_error *err,
		   kiln_done_fn done, void *data)
{
	struct late *late = err && err->code == KILN_ETIMEDOUT ? malloc(sizeof(*late)) : NULL;

	if (!late || vm->api.ended || !vm->api.http) {
		free(late);
		tell(done, data, err);
		return;
	}
	*late = (struct late){.wanted = wanted, .err = *err, .done = done, .data = data};
	kiln__log(vm->api.host.log, KILN_LOG_WARN, "%s; it is asked how it is", err->message);
	kiln__http_send(vm->api.http, &(struct kiln__http_request){
					      .method = "GET",
					      .target = ROOT "vm.info",
					      .deadline_ms = INFO_MS,
					      .done = on_late_info,
					      .data = late,
				      });
}

/* --- starting
 * ----------------------------------------------------------------------------------------- */

static bool has_feature(const json_t *ping, const char *name)
{
	const json_t *feature;
	size_t i;

	json_array_foreach (json_object_get(ping, "features"), i, feature)
		if (json_is_string(feature) && strcmp(json_string_value(feature), name) == 0)
			return true;
	return false;
}

static void on_version(struct kiln__api_vmm *api, const json_t *answer)
{
	((struct kiln__instance *)api)->dumps = has_feature(answer, "guest_debug");
}

/* What came with a version that this is, is asked for. */
static int first_steps(struct kiln__api_vmm *api, struct kiln__api_steps *steps, kiln_error *err)
{
	struct kiln__instance *vm = (struct kiln__instance *)api;

	if (vm->restore_dir) {
		kiln__cloud_hypervisor_restore(vm->restore_dir, steps);
		return 0;
	}
	if (api->version >= KILN__CLOUD_HYPERVISOR_PVPANIC &&
	    !json_object_get(api->config, "pvpanic") &&
	    json_object_set_new(api->config, "pvpanic", json_true()))
		return kiln__fail_nomem(err);
	kiln__cloud_hypervisor_create(&vm->taps, api->config, steps);
	kiln__api_add(steps, "PUT", NULL, ROOT "vm.boot");
	return 0;
}

static void settle_start(struct kiln__api_vmm *api, const kiln_error *err, kiln_done_fn done,
			 void *data)
{
	settle((struct kiln__instance *)api, "Running", err, done, data);
}

static void on_started(struct kiln__api_vmm *api)
{
	kiln__cloud_hypervisor_close_taps(&((struct kiln__instance *)api)->taps);
}

/* --- preparing
 * ------------------------------------------------------------------------------------------- */

/* --- snapshots
 * ----------------------------------------------------------------------------------------- */

#define CONFIG_MAX ((size_t)1 << 20)

/* The sockets of this life instead of those of the one that was written. */
static void replace_sockets(const struct kiln__instance *vm, json_t *config)
{
	json_t *vsock = json_object_get(config, "vsock");
	json_t *fs = json_object_get(config, "fs");

	if (json_is_object(vsock))
		json_object_set_new(vsock, "socket", json_string(vm->api.vsock_path));
	for (size_t i = 0; i < vm->api.host.spec->share_count; i++)
		json_object_set_new(
			json_array_get(fs, i), "socket",
			json_sprintf("%s/" KILN__CLOUD_HYPERVISOR_SHARE, vm->api.dir, i));
}

/* A snapshot's configuration with the sockets of this life. */
static int write_config(const struct kiln__instance *vm, const char *from, const char *to,
			kiln_error *err)
{
	kiln__autofree char *text = NULL;
	kiln__autofree char *changed = NULL;
	json_t *config;
	size_t len;
	int r = kiln__os_read_file(from, CONFIG_MAX, &text, &len, err);

	if (r < 0)
		return kiln__prefix(err, "snapshot"), r;
	config = json_loadb(text, len, 0, NULL);
	if (!json_is_object(config)) {
		json_decref(config);
		return kiln__fail(err, KILN_EFORMAT, "snapshot: %s is damaged", from);
	}
	replace_sockets(vm, config);
	changed = json_dumps(config, 0);
	json_decref(config);
	return changed ? kiln__os_replace_file(to, changed, strlen(changed), 0600, false, err)
		       : kiln__fail_nomem(err);
}

/* Its sockets' paths stand in the snapshot: a directory with that changed, and links to all else.
 */
static int make_restore_dir(struct kiln__instance *vm, kiln_error *err)
{
	const char *snapshot = vm->api.host.spec->snapshot;
	char **names;
	int r;

	if (!snapshot)
		return 0;
	vm->restore_dir = kiln__strf("%s/" RESTORE, vm->api.dir);
	if (!vm->restore_dir)
		return kiln__fail_nomem(err);
	kiln__os_remove_tree(vm->restore_dir, NULL);
	r = kiln__os_list_dir(snapshot, &names, err);
	if (r < 0)
		return kiln__prefix(err, "snapshot"), r;
	r = kiln__os_mkdir_p(vm->restore_dir, 0700, err);
	for (char **name = names; r == 0 && *name; name++) {
		kiln__autofree char *from = kiln__strf("%s/%s", snapshot, *name);
		kiln__autofree char *to = kiln__strf("%s/%s", vm->restore_dir, *name);

		if (!from || !to)
			r = kiln__fail_nomem(err);
		else if (strcmp(*name, "config.json") == 0)
			r = write_config(vm, from, to, err);
		else
			r = kiln__os_symlink_new(from, to, err);
	}
	kiln__os_free_names(names);
	return r;
}

static void forget_restore_dir(struct kiln__instance *vm)
{
	kiln__autofree char *path = vm->restore_dir ? kiln__api_file(&vm->api, RESTORE) : NULL;

	if (path)
		kiln__os_remove_tree(path, NULL);
	free(kiln__take(vm->restore_dir));
}

static int make_channels(struct kiln__instance *vm, kiln_error *err)
{
	kiln_fd listener;
	kiln_fd theirs;
	int r = kiln__os_local_listen(&listener, vm->api.api_path, err);

	if (r == 0)
		r = kiln__handles_add(&vm->api.handles, listener, KILN__CLOUD_HYPERVISOR_FD_API,
				      err);
	if (r == 0)
		r = kiln__vmm_pipe(&vm->event_fd, &theirs, err);
	if (r == 0)
		r = kiln__handles_add(&vm->api.handles, theirs, KILN__CLOUD_HYPERVISOR_FD_EVENTS,
				      err);
	if (r == 0)
		r = kiln__os_set_nonblocking(vm->event_fd, true, err);
	if (r == 0)
		r = kiln__watch_new(&vm->event_watch, vm->api.host.loop, vm->event_fd, on_events,
				    vm, err);
	if (r == 0)
		kiln__watch_set(vm->event_watch, KILN__READABLE);
	return r;
}

/* --- shares
 * ----------------------------------------------------------------------------------------- */

static void on_share_failed(void *data, const kiln_error *err)
{
	struct kiln__instance *vm = data;

	if (!vm->api.ended)
		kiln__api_fail(&vm->api, err);
}

/* It connects when it makes the VM. */
static int make_shares(struct kiln__instance *vm, kiln_error *err)
{
	size_t count = vm->api.host.spec->share_count;
	int r = count ? kiln__virtiofsd_new(&vm->virtiofsd, &vm->api.host, on_share_failed, vm, err)
		      : 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		kiln__autofree char *path =
			kiln__strf("%s/" KILN__CLOUD_HYPERVISOR_SHARE, vm->api.dir, i);

		r = path ? kiln__virtiofsd_listen(vm->virtiofsd, i, path, err)
			 : kiln__fail_nomem(err);
	}
	return r;
}

static void forget_shares(struct kiln__instance *vm)
{
	for (size_t i = 0; vm->virtiofsd && i < vm->api.host.spec->share_count; i++) {
		char name[32];
		kiln__autofree char *path = NULL;

		snprintf(name, sizeof(name), KILN__CLOUD_HYPERVISOR_SHARE, i);
		path = kiln__api_file(&vm->api, name);
		if (path)
			kiln__os_remove(path, NULL);
	}
	kiln__virtiofsd_free(kiln__take(vm->virtiofsd));
}

/* A terminal that changes nothing of what passes: our end, and the guest's. */
static int open_terminal(kiln_fd *ret, kiln_fd *ret_slave, kiln_error *err)
{
	kiln__autoclose kiln_fd master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	kiln__autoclose kiln_fd slave = KILN_FD_NONE;
	struct termios how;
	char name[64];

	if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 &&
	    ptsname_r(master, name, sizeof(name)) == 0)
		slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &how) < 0)
		return kiln__fail_errno(err, errno, "cannot make a terminal for the console");
	cfmakeraw(&how);
	how.c_oflag = 0; /* a VMM that asks for output processing gets none all the same */
	if (tcsetattr(slave, TCSANOW, &how) < 0)
		return kiln__fail_errno(err, errno, "cannot set up the console's terminal");
	*ret = kiln__take_fd(&master);
	*ret_slave = kiln__take_fd(&slave);
	return 0;
}

/* Whether it opens interfaces itself. */
static bool is_networked(const struct kiln__instance *vm)
{
	return vm->api.host.spec->network_count > 0 &&
	       !vm->api.host.spec->cloud_hypervisor.open_taps;
}

static int spawn(struct kiln__instance *vm, kiln_error *err)
{
	/* No option of its would hold the VM's id, by which a VMM is known (os.h, open_process). */
	kiln__autofree char *name = kiln__strf("cloud-hypervisor-%.12s", vm->api.host.id);
	const char *const argv[] = {name, "--api-socket", "fd=3", "--event-monitor", "fd=4", NULL};
	kiln_fd master = KILN_FD_NONE;
	kiln_fd slave = KILN_FD_NONE;
	int r = open_terminal(&master, &slave, err);

	if (r < 0)
		return r;
	r = kiln__api_take_console(&vm->api, master, err);
	if (r == 0)
		r = kiln__api_spawn(&vm->api, argv, is_networked(vm), slave, err);
	kiln__os_close(slave);
	return r;
}

static int cloud_hypervisor_prepare(struct kiln__instance *vm, kiln_error *err)
{
	const struct kiln__cloud_hypervisor *wanted = &vm->api.host.spec->cloud_hypervisor;
	int r = kiln__api_prepare(&vm->api, wanted->binary, wanted->preflight, err);

	if (r == 0)
		r = kiln__api_add_files(&vm->api, KILN__CLOUD_HYPERVISOR_FD_KERNEL,
					KILN__CLOUD_HYPERVISOR_FD_INITRD,
					KILN__CLOUD_HYPERVISOR_FD_DISK, err);
	if (r == 0)
		r = kiln__cloud_hypervisor_note_serials(&vm->serials, &vm->api.handles, err);
	if (r == 0)
		r = kiln__cloud_hypervisor_open_taps(&vm->taps, vm->api.host.spec, err);
	if (r == 0)
		r = make_restore_dir(vm, err);
	if (r == 0)
		r = make_shares(vm, err);
	if (r == 0)
		r = make_channels(vm, err);
	return r < 0 ? r : spawn(vm, err);
}

/* --- the contract
 * -------------------------------------------------------------------------------------------- */

/* What it has still said of its end, before that is judged. */
static void on_end(struct kiln__api_vmm *api)
{
	struct kiln__instance *vm = (struct kiln__instance *)api;

	forget_restore_dir(vm);
	forget_shares(vm);
	if (vm->event_watch)
		kiln__watch_set(vm->event_watch, 0);
}

static const struct kiln__api_kind kind = {
	.name = "Cloud Hypervisor",
	.program = "cloud-hypervisor",
	.home = "https://github.com/cloud-hypervisor/cloud-hypervisor",
	.form = &kiln__cloud_hypervisor_form,
	.first = KILN__CLOUD_HYPERVISOR_FIRST,
	.version_target = ROOT "vmm.ping",
	.version_member = "version",
	.config = kiln__cloud_hypervisor_config,
	.on_version = on_version,
	.first_steps = first_steps,
	.settle_start = settle_start,
	.on_started = on_started,
	.on_end = on_end,
};

static int cloud_hypervisor_open(struct kiln__instance **ret, const struct kiln__backend_host *host,
				 kiln_error *err)
{
	struct kiln__instance *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return kiln__fail_nomem(err);
	vm->event_fd = KILN_FD_NONE;
	vm->events.line_empty = false;
	r = kiln__api_open(&vm->api, host, &kind, err);
	if (r < 0) {
		free(vm);
		return r;
	}
	r = kiln__deferred_new(&vm->rebooting, host->loop, on_agreed, vm, err);
	if (r < 0) {
		kiln__api_done(&vm->api);
		free(vm);
		return r;
	}
	*ret = vm;
	return 0;
}

static void cloud_hypervisor_start(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	kiln__api_start(&vm->api, true, done, data);
}

static void cloud_hypervisor_shutdown(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	kiln__api_send(&vm->api, "PUT", ROOT "vm.power-button", NULL, KILN__API_MS, done, data);
}

struct pausing {
	struct kiln__instance *vm;
	const char *wanted;
	kiln_done_fn done;
	void *data;
};

static void on_pause_answered(void *data, int result, const kiln_error *err)
{
	struct pausing pausing = *(struct pausing *)data;

	(void)result;
	free(data);
	settle(pausing.vm, pausing.wanted, err, pausing.done, pausing.data);
}

static void call_pause(struct kiln__instance *vm, const char *target, const char *wanted,
		       kiln_done_fn done, void *data)
{
	struct pausing *pausing = malloc(sizeof(*pausing));
	kiln_error err;

	if (!pausing) {
		kiln__fail_nomem(&err);
		kiln__api_refuse(&err, done, data);
		return;
	}
	*pausing = (struct pausing){.vm = vm, .wanted = wanted, .done = done, .data = data};
	kiln__api_send(&vm->api, "PUT", target, NULL, PAUSE_MS, on_pause_answered, pausing);
}

static void cloud_hypervisor_pause(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	call_pause(vm, ROOT "vm.pause", "Paused", done, data);
}

static void cloud_hypervisor_resume(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	call_pause(vm, ROOT "vm.resume", "Running", done, data);
}

/* --- changes
 * ----------------------------------------------------------------------------------------- */

static struct kiln__cloud_hypervisor_facts facts_of(const struct kiln__instance *vm)
{
	return (struct kiln__cloud_hypervisor_facts){
		.version = vm->api.version,
		.dumps = vm->dumps,
		.networked = is_networked(vm),
		.config = vm->api.config,
	};
}

/* Sends what is in @steps, or tells why there is nothing: @r is negative. Frees @steps. */
static void run_or_refuse(struct kiln__instance *vm, struct kiln__api_steps *steps, int r,
			  const kiln_error *err, kiln_done_fn done, void *data)
{
	if (r < 0) {
		kiln__api_refuse(err, done, data);
		kiln__api_steps_done(steps);
	} else {
		kiln__api_run(&vm->api, steps, done, data);
	}
	free(steps);
}

static void cloud_hypervisor_update(struct kiln__instance *vm, const kiln_update *update,
				    kiln_done_fn done, void *data)
{
	struct kiln__cloud_hypervisor_facts facts = facts_of(vm);
	struct kiln__api_steps *steps = calloc(1, sizeof(*steps));
	kiln_error err;

	if (!steps) {
		kiln__fail_nomem(&err);
		kiln__api_refuse(&err, done, data);
		return;
	}
	run_or_refuse(vm, steps, kiln__cloud_hypervisor_resize(&facts, update, steps, &err), &err,
		      done, data);
}

static void cloud_hypervisor_change(struct kiln__instance *vm, const kiln_change *change,
				    const struct kiln__spec *parts, kiln_done_fn done, void *data)
{
	struct kiln__cloud_hypervisor_facts facts = facts_of(vm);
	struct kiln__api_steps *steps = calloc(1, sizeof(*steps));
	kiln_error err;

	if (!steps) {
		kiln__fail_nomem(&err);
		kiln__api_refuse(&err, done, data);
		return;
	}
	run_or_refuse(vm, steps, kiln__cloud_hypervisor_change(&facts, change, parts, steps, &err),
		      &err, done, data);
}

static bool cloud_hypervisor_counters(struct kiln__instance *vm, kiln__text_fn done, void *data)
{
	kiln__api_get(&vm->api, ROOT "vm.counters", NULL, done, data);
	return true;
}

static void cloud_hypervisor_snapshot(struct kiln__instance *vm, const char *directory,
				      const char *base, kiln_done_fn done, void *data)
{
	struct kiln__api_steps *steps = calloc(1, sizeof(*steps));
	kiln_error err;
	int r;

	if (!steps) {
		kiln__fail_nomem(&err);
		kiln__api_refuse(&err, done, data);
		return;
	}
	r = base ? kiln__fail(&err, KILN_ENOTSUP,
			      "base: Cloud Hypervisor writes whole snapshots only")
		 : 0;
	if (r == 0)
		kiln__cloud_hypervisor_snapshot(directory, steps);
	run_or_refuse(vm, steps, r, &err, done, data);
}

static const char *cloud_hypervisor_disk_serial(const struct kiln__instance *vm, const char *serial)
{
	return vm->api.version < KILN__CLOUD_HYPERVISOR_SERIAL
		       ? kiln__cloud_hypervisor_find_serial(&vm->serials, vm->api.host.spec, serial)
		       : serial;
}

static int cloud_hypervisor_keep(struct kiln__instance *vm, unsigned *count, kiln_error *err)
{
	int r = kiln__api_keep(vm, count, err);

	return r < 0 ? r : kiln__virtiofsd_keep(vm->virtiofsd, count, err);
}

static void cloud_hypervisor_free(struct kiln__instance *vm)
{
	if (!vm)
		return;
	forget_restore_dir(vm);
	forget_shares(vm);
	kiln__api_done(&vm->api);
	kiln__cloud_hypervisor_close_taps(&vm->taps);
	kiln__deferred_free(vm->rebooting);
	kiln__watch_free(vm->event_watch);
	kiln__os_close(vm->event_fd);
	kiln__ch_events_done(&vm->events);
	free(vm);
}

static void cloud_hypervisor_probe(const char *arch, struct kiln__probe *ret)
{
	kiln__api_probe(&kind, arch, ret);
}

const struct kiln__backend kiln__backend_cloud_hypervisor = {
	.name = "cloud-hypervisor",
	.summary = "Cloud Hypervisor as a process, by its API: KVM",
	.features = KILN__CAN_PAUSE | KILN__CAN_POWER_KEY | KILN__CAN_VSOCK | KILN__CAN_CONSOLE |
		    KILN__CAN_KVM | KILN__CAN_NETWORK | KILN__OWNS_VSOCK | KILN__BY_NAME_ONLY |
		    KILN__CAN_UPDATE | KILN__CAN_SNAPSHOT | KILN__CAN_SHARE,
	.fields = kiln__cloud_hypervisor_fields,
	.own_key = "cloud_hypervisor.config",
	.probe = cloud_hypervisor_probe,
	.check = kiln__cloud_hypervisor_check,
	.open = cloud_hypervisor_open,
	.prepare = cloud_hypervisor_prepare,
	.start = cloud_hypervisor_start,
	.shutdown = cloud_hypervisor_shutdown,
	.kill = kiln__api_kill,
	.pause = cloud_hypervisor_pause,
	.resume = cloud_hypervisor_resume,
	.update = cloud_hypervisor_update,
	.change = cloud_hypervisor_change,
	.changes = KILN__CLOUD_HYPERVISOR_CHANGES,
	.devices = kiln__cloud_hypervisor_devices,
	.counters = cloud_hypervisor_counters,
	.snapshot = cloud_hypervisor_snapshot,
	.connect = kiln__api_connect,
	.disk_serial = cloud_hypervisor_disk_serial,
	.moved = kiln__api_moved,
	.console_write = kiln__api_console_write,
	.accel = kiln__api_accel,
	.pid = kiln__api_pid,
	.keep = cloud_hypervisor_keep,
	.free = cloud_hypervisor_free,
};
