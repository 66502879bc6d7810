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
#include "cloud_hypervisor_config.h"
#include "err.h"
#include "events.h"

#include <errno.h>
#include <fcntl.h>
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

/* --- starting
 * ----------------------------------------------------------------------------------------- */

static int restore(struct kiln__instance *vm, struct kiln__api_steps *steps)
{
	kiln__api_add(steps, "PUT",
		      json_pack("{s:o}", "source_url", json_sprintf("file://%s", vm->restore_dir)),
		      ROOT "vm.restore");
	steps->items[0].deadline_ms = KILN__API_MEMORY_MS;
	kiln__api_add(steps, "PUT", NULL, ROOT "vm.resume");
	return 0;
}

/* What came with a version that this is, is asked for. */
static int first_steps(struct kiln__api_vmm *api, struct kiln__api_steps *steps, kiln_error *err)
{
	struct kiln__instance *vm = (struct kiln__instance *)api;

	if (vm->restore_dir)
		return restore(vm, steps);
	if (api->version >= KILN__CLOUD_HYPERVISOR_PVPANIC &&
	    !json_object_get(api->config, "pvpanic") &&
	    json_object_set_new(api->config, "pvpanic", json_true()))
		return kiln__fail_nomem(err);
	kiln__api_add(steps, "PUT", json_incref(api->config), ROOT "vm.create");
	kiln__api_add(steps, "PUT", NULL, ROOT "vm.boot");
	return 0;
}

/* --- preparing
 * ------------------------------------------------------------------------------------------- */

/* --- snapshots
 * ----------------------------------------------------------------------------------------- */

#define CONFIG_MAX ((size_t)1 << 20)

/* A snapshot's configuration with the vsock device's socket of this life. */
static int write_config(const struct kiln__instance *vm, const char *from, const char *to,
			kiln_error *err)
{
	kiln__autofree char *text = NULL;
	kiln__autofree char *changed = NULL;
	json_t *config;
	json_t *vsock;
	size_t len;
	int r = kiln__os_read_file(from, CONFIG_MAX, &text, &len, err);

	if (r < 0)
		return kiln__prefix(err, "snapshot"), r;
	config = json_loadb(text, len, 0, NULL);
	if (!json_is_object(config)) {
		json_decref(config);
		return kiln__fail(err, KILN_EFORMAT, "snapshot: %s is damaged", from);
	}
	vsock = json_object_get(config, "vsock");
	if (json_is_object(vsock))
		json_object_set_new(vsock, "socket", json_string(vm->api.vsock_path));
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
		r = kiln__api_spawn(&vm->api, argv, vm->api.host.spec->network_count > 0, slave,
				    err);
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
		r = make_restore_dir(vm, err);
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
	.first_steps = first_steps,
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

static void cloud_hypervisor_pause(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	kiln__api_send(&vm->api, "PUT", ROOT "vm.pause", NULL, KILN__API_MS, done, data);
}

static void cloud_hypervisor_resume(struct kiln__instance *vm, kiln_done_fn done, void *data)
{
	kiln__api_send(&vm->api, "PUT", ROOT "vm.resume", NULL, KILN__API_MS, done, data);
}

/* --- changes
 * ----------------------------------------------------------------------------------------- */

static uint64_t configured(const struct kiln__instance *vm, const char *section, const char *name)
{
	return (uint64_t)json_integer_value(
		json_object_get(json_object_get(vm->api.config, section), name));
}

static int check_update(const struct kiln__instance *vm, const kiln_update *update, kiln_error *err)
{
	uint64_t cpus = configured(vm, "cpus", "max_vcpus");
	uint64_t memory =
		configured(vm, "memory", "size") + configured(vm, "memory", "hotplug_size");

	if (update->config)
		return kiln__fail(
			err, KILN_ENOTSUP,
			"config: Cloud Hypervisor is not told its own words while it runs");
	if (update->cpus != KILN_UPDATE_KEEP && (update->cpus == 0 || update->cpus > cpus)) {
		kiln__fail(err, KILN_ENOTSUP, "cpus: this machine can have 1 to %llu",
			   (unsigned long long)cpus);
		return kiln__hint(err, "give it room: cloud_hypervisor.config "
				       "{\"cpus\":{\"max_vcpus\":N}}"),
		       KILN_ENOTSUP;
	}
	if (update->memory != KILN_UPDATE_KEEP && update->memory > memory) {
		kiln__fail(err, KILN_ENOTSUP, "memory: this machine can have %llu MiB at most",
			   (unsigned long long)(memory >> 20));
		return kiln__hint(err, "give it room: cloud_hypervisor.config "
				       "{\"memory\":{\"hotplug_size\":BYTES}}"),
		       KILN_ENOTSUP;
	}
	if (update->balloon != KILN_UPDATE_KEEP && !json_object_get(vm->api.config, "balloon")) {
		kiln__fail(err, KILN_ENOTSUP, "balloon: this machine has none");
		return kiln__hint(err, "give it one: balloon = true"), KILN_ENOTSUP;
	}
	return 0;
}

static int set_size(json_t *body, const char *name, uint64_t value)
{
	return value == KILN_UPDATE_KEEP
		       ? 0
		       : json_object_set_new(body, name, json_integer((json_int_t)value));
}

static void cloud_hypervisor_update(struct kiln__instance *vm, const kiln_update *update,
				    kiln_done_fn done, void *data)
{
	json_t *body = json_object();
	kiln_error err = KILN_ERROR_INIT;

	if (set_size(body, "desired_vcpus", update->cpus) ||
	    set_size(body, "desired_ram", update->memory) ||
	    set_size(body, "desired_balloon", update->balloon))
		kiln__fail_nomem(&err);
	else
		check_update(vm, update, &err);
	if (err.code) {
		json_decref(body);
		kiln__api_refuse(&err, done, data);
		return;
	}
	kiln__api_send(&vm->api, "PUT", ROOT "vm.resize", body, KILN__API_MS, done, data);
}

static void cloud_hypervisor_snapshot(struct kiln__instance *vm, const char *directory,
				      kiln_done_fn done, void *data)
{
	kiln__api_send(&vm->api, "PUT", ROOT "vm.snapshot",
		       json_pack("{s:o}", "destination_url", json_sprintf("file://%s", directory)),
		       KILN__API_MEMORY_MS, done, data);
}

static void cloud_hypervisor_free(struct kiln__instance *vm)
{
	if (!vm)
		return;
	forget_restore_dir(vm);
	kiln__api_done(&vm->api);
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
		    KILN__CAN_UPDATE | KILN__CAN_SNAPSHOT,
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
	.snapshot = cloud_hypervisor_snapshot,
	.connect = kiln__api_connect,
	.moved = kiln__api_moved,
	.console_write = kiln__api_console_write,
	.accel = kiln__api_accel,
	.pid = kiln__api_pid,
	.free = cloud_hypervisor_free,
};
