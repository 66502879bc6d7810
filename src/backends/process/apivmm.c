/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMM is a child and dies with this process. Its end is the one event that settles everything:
 * what is pending of its API waits for it where the connection broke, since only then its last
 * words are known, and ended() is told when it is reaped. A VMM that gives up its API and lives on
 * cannot be managed, and is killed after a moment.
 */
#include "apivmm.h"

#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "kvm.h"
#include "program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* How long a VMM without its API may take to end by itself, and so to say why. */
#define CLOSED_MS 2000

#define API_SOCKET   "api.sock"
#define VSOCK_SOCKET "vsock.sock"

/* In the runtime directory, of one in a jail: what its user, who is another, may write to. */
#define JAIL_DIR "vmm"

/* --- the end ---------------------------------------------------------------------------------- */

char *kiln__api_file(const struct kiln__api_vmm *vm, const char *name)
{
	return kiln__strf("%s/%s", vm->here ? vm->here : vm->dir, name);
}

static void remove_file(const struct kiln__api_vmm *vm, const char *name)
{
	kiln__autofree char *path = kiln__api_file(vm, name);

	if (path)
		kiln__os_remove(path, NULL);
}

/* Where programs look for it: beside the directory that it is in. */
static char *vsock_link(const struct kiln__api_vmm *vm)
{
	const char *dir = vm->here ? vm->here : vm->dir;

	return kiln__strf("%.*s/" VSOCK_SOCKET, (int)(strlen(dir) - strlen("/" JAIL_DIR)), dir);
}

static void remove_files(struct kiln__api_vmm *vm)
{
	kiln__autofree char *outer = NULL;

	if (vm->api_path)
		remove_file(vm, API_SOCKET);
	if (vm->dialer) { /* the VMM's own, which it leaves behind */
		kiln__vsock_dialer_free(kiln__take(vm->dialer));
		remove_file(vm, VSOCK_SOCKET);
	}
	if (vm->dir && vm->inside) {
		kiln__autofree char *path = vsock_link(vm);

		if (path)
			kiln__os_remove(path, NULL);
		kiln__os_remove(vm->here ? vm->here : vm->dir, NULL);
	}
	if (!vm->owns_dir)
		return;
	outer = vm->inside
			? kiln__strf("%.*s", (int)(strlen(vm->dir) - strlen("/" JAIL_DIR)), vm->dir)
			: strdup(vm->dir);
	if (outer)
		kiln__os_remove(outer, NULL);
}

/* How it ended, of all that is known; false: it is an error. */
static bool judge(const struct kiln__api_vmm *vm, struct kiln__exit how, enum kiln__end *ret)
{
	if (vm->killed && !vm->why.code)
		*ret = KILN__END_KILLED;
	else if (vm->end_known && vm->put_down)
		*ret = vm->end;
	else if (!vm->why.code && !how.signaled && how.code == 0)
		*ret = vm->end_known ? vm->end : vm->silent_end;
	else
		return false;
	return true;
}

static void complete_start(struct kiln__api_vmm *vm, const kiln_error *err)
{
	kiln_done_fn done = vm->started;

	vm->started = NULL;
	vm->runs = !err;
	if (vm->kind->on_started)
		vm->kind->on_started(vm);
	if (done)
		done(vm->started_data, err ? err->code : 0, err);
}

/* With a request of it under way it is that which ends; before the first there is none. */
static void end_start(struct kiln__api_vmm *vm, const kiln_error *err)
{
	if (!vm->http || !kiln__http_count(vm->http))
		complete_start(vm, err);
}

static void on_vmm_ended(void *data, struct kiln__exit how)
{
	struct kiln__api_vmm *vm = data;
	enum kiln__end end = KILN__END_FAILED;
	kiln_error err = KILN_ERROR_INIT;

	vm->ended = true;
	vm->runs = false;
	if (vm->why.code)
		err = vm->why;
	else if (!judge(vm, how, &end))
		kiln__vmm_fail(vm->vmm, vm->kind->name, how, &err);
	else
		kiln__fail(&err, KILN_EDIED, "%s has ended", vm->kind->name);
	kiln__timer_stop(vm->closed);
	kiln__handles_done(&vm->handles); /* of one in a jail */
	if (vm->kind->on_end)
		vm->kind->on_end(vm);
	end_start(vm, &err);
	if (vm->http)
		kiln__http_end(vm->http, &err);
	remove_files(vm);
	vm->host.ended(vm->host.data, end, end == KILN__END_FAILED ? &err : NULL);
}

static const struct kiln__process_handler process_handler = {.ended = on_vmm_ended};

static void on_lost(void *data, const kiln_error *why)
{
	struct kiln__api_vmm *vm = data;

	if (vm->ended)
		return;
	kiln__log(vm->host.log, KILN_LOG_WARN, "%s", why->message);
	kiln__timer_start(vm->closed, CLOSED_MS);
}

static const struct kiln__http_handler http_handler = {.lost = on_lost};

static void on_closed_long(void *data)
{
	struct kiln__api_vmm *vm = data;
	kiln_error err;

	kiln__fail(&err, KILN_EIO, "%s has closed its API without an answer", vm->kind->name);
	kiln__api_fail(vm, &err);
}

static void on_killing(void *data)
{
	struct kiln__api_vmm *vm = data;

	if (vm->vmm)
		kiln__vmm_kill(vm->vmm);
}

void kiln__api_kill(struct kiln__instance *instance)
{
	struct kiln__api_vmm *vm = (struct kiln__api_vmm *)instance;

	vm->killed = true;
	kiln__deferred_schedule(vm->killing);
}

void kiln__api_put_down(struct kiln__api_vmm *vm, enum kiln__end end)
{
	vm->end = end;
	vm->end_known = true;
	vm->put_down = true;
	kiln__deferred_schedule(vm->killing);
}

void kiln__api_fail(struct kiln__api_vmm *vm, const kiln_error *err)
{
	if (!vm->why.code)
		vm->why = *err;
	kiln__deferred_schedule(vm->killing);
}

void kiln__api_panicked(struct kiln__api_vmm *vm)
{
	if (vm->has_panicked)
		return;
	vm->has_panicked = true;
	vm->host.panicked(vm->host.data);
}

/* --- the console ------------------------------------------------------------------------------ */

static size_t on_console_data(void *data, const void *bytes, size_t len)
{
	struct kiln__api_vmm *vm = data;

	vm->host.console(vm->host.data, bytes, len);
	return len;
}

static void on_console_error(void *data, const kiln_error *err)
{
	(void)data;
	(void)err; /* the VMM's end is noticed by its process */
}

static const struct kiln__stream_handler console_handler = {
	.on_data = on_console_data,
	.on_error = on_console_error,
};

int kiln__api_take_console(struct kiln__api_vmm *vm, kiln_fd fd, kiln_error *err)
{
	int r;

	kiln__stream_close(kiln__take(vm->console));
	r = kiln__fdstream_new(&vm->console, vm->host.loop, fd, err);
	if (r < 0) {
		kiln__os_close(fd);
		return r;
	}
	kiln__stream_set_handler(vm->console, &console_handler, vm);
	kiln__stream_resume(vm->console);
	return 0;
}

size_t kiln__api_console_write(struct kiln__instance *instance, const void *bytes, size_t len)
{
	struct kiln__api_vmm *vm = (struct kiln__api_vmm *)instance;
	ssize_t n = vm->console && !vm->ended ? kiln__stream_write(vm->console, bytes, len) : 0;

	return n > 0 ? (size_t)n : 0;
}

/* --- opening and preparing ----------------------------------------------------------------------
 */

int kiln__api_open(struct kiln__api_vmm *vm, const struct kiln__backend_host *host,
		   const struct kiln__api_kind *kind, kiln_error *err)
{
	int r;

	vm->host = *host;
	vm->kind = kind;
	vm->silent_end = KILN__END_POWEROFF;
	r = kiln__deferred_new(&vm->killing, host->loop, on_killing, vm, err);
	if (r == 0)
		r = kiln__timer_new(&vm->closed, host->loop, on_closed_long, vm, err);
	if (r < 0)
		kiln__api_done(vm);
	return r;
}

int kiln__api_find(const char *configured, const char *program, const char *home, char **ret,
		   kiln_error *err)
{
	struct kiln__os_stat st;

	if (configured) {
		if (kiln__os_stat(configured, &st, err) < 0)
			return kiln__prefix(err, "binary of %s", program), KILN_ENOENT;
		*ret = strdup(configured);
		return *ret ? 0 : kiln__fail_nomem(err);
	}
	if (kiln__os_find_program(ret, program, err) == 0)
		return 0;
	kiln__fail(err, KILN_ENOENT, "%s is not installed", program);
	kiln__hint(err, "install it (%s) where PATH leads, or name it in the configuration", home);
	return KILN_ENOENT;
}

/* Everybody's to write to, and nobody's to come to: the directory around it is this user's alone.
 */
static int enter_jail_dir(struct kiln__api_vmm *vm, kiln_error *err)
{
	char *dir;
	int r;

	if (!vm->inside)
		return 0;
	dir = kiln__strf("%s/" JAIL_DIR, vm->dir);
	if (!dir)
		return kiln__fail_nomem(err);
	kiln__os_remove_tree(dir, NULL);
	r = kiln__os_mkdir(dir, 0777, err);
	if (r == 0 && chmod(dir, 0777) < 0) /* whatever the umask */
		r = kiln__fail_errno(err, errno, "cannot open %s to a jail", dir);
	free(vm->dir);
	vm->dir = dir;
	return r;
}

/* The machine's runtime directory; for one that has none, its own. */
static int find_dir(struct kiln__api_vmm *vm, kiln_error *err)
{
	kiln__autofree char *runtime = NULL;
	int r;

	if (vm->host.runtime_dir) {
		vm->dir = strdup(vm->host.runtime_dir);
		return vm->dir ? enter_jail_dir(vm, err) : kiln__fail_nomem(err);
	}
	r = kiln__os_runtime_dir(&runtime, err);
	if (r == 0)
		r = kiln__os_make_private_dir(runtime, err);
	if (r < 0)
		return r;
	vm->dir = kiln__strf("%s/%s", runtime, vm->host.id);
	if (!vm->dir)
		return kiln__fail_nomem(err);
	vm->owns_dir = true;
	kiln__os_remove_tree(vm->dir, NULL); /* of a life that ended without a word */
	r = kiln__os_make_private_dir(vm->dir, err);
	return r < 0 ? r : enter_jail_dir(vm, err);
}

static bool on_incoming(void *data, uint32_t port, struct kiln__stream *stream)
{
	struct kiln__api_vmm *vm = data;

	return vm->host.incoming(vm->host.data, port, 0, stream);
}

static int link_vsock(const struct kiln__api_vmm *vm, kiln_error *err)
{
	kiln__autofree char *path = vsock_link(vm);

	if (!path)
		return kiln__fail_nomem(err);
	kiln__os_remove(path, NULL);
	return kiln__os_symlink_new(JAIL_DIR "/" VSOCK_SOCKET, path, err);
}

/* The names of its sockets, and what is connected to them from here. */
static int make_sockets(struct kiln__api_vmm *vm, kiln_error *err)
{
	int r = 0;
	const char *seen = vm->inside ? vm->inside : vm->dir;
	kiln__autofree char *api = kiln__api_file(vm, API_SOCKET);
	kiln__autofree char *vsock = kiln__api_file(vm, VSOCK_SOCKET);

	vm->api_path = kiln__strf("%s/" API_SOCKET, seen);
	vm->vsock_path = kiln__strf("%s/" VSOCK_SOCKET, seen);
	if (!vm->api_path || !vm->vsock_path || !api || !vsock)
		return kiln__fail_nomem(err);
	kiln__os_remove(api, NULL);
	kiln__os_remove(vsock, NULL);
	if (vm->host.spec->vsock)
		r = kiln__vsock_dialer_new(&vm->dialer, vm->host.loop, vsock, vm->host.listen_ports,
					   on_incoming, vm, err);
	if (r == 0 && vm->dialer && vm->inside)
		r = kiln__vsock_dialer_open(vm->dialer, err);
	if (r == 0 && vm->dialer && vm->inside)
		r = link_vsock(vm, err);
	if (r == 0)
		r = kiln__http_new(&vm->http, vm->host.loop, api, vm->kind->name, &http_handler, vm,
				   err);
	if (r == 0 && vm->inside)
		kiln__http_expect(vm->http, vm->user);
	if (r == 0 && vm->inside && vm->dialer)
		kiln__vsock_dialer_expect(vm->dialer, vm->user);
	return r;
}

int kiln__api_prepare(struct kiln__api_vmm *vm, const char *configured, bool preflight,
		      kiln_error *err)
{
	int r = kiln__api_find(configured, vm->kind->program, vm->kind->home, &vm->binary, err);

	if (r < 0)
		return r;
	r = preflight ? kiln__kvm_reason_for(vm->host.spec, err) : 0;
	if (r < 0)
		return kiln__prefix(err, "backend: %s cannot run guests here", vm->kind->name), r;
	r = find_dir(vm, err);
	if (r == 0)
		r = make_sockets(vm, err);
	return r < 0 ? r : vm->kind->config(vm->host.spec, vm->vsock_path, &vm->config, err);
}

static int add_disks(struct kiln__api_vmm *vm, int first, kiln_error *err)
{
	const struct kiln__spec *spec = vm->host.spec;
	int r = 0;

	if (spec->root.kind != KILN__ROOT_NONE)
		r = kiln__handles_add_disk(&vm->handles, &spec->root.source, first++,
					   kiln__root_is_writable(&spec->root), "root", err);
	for (size_t i = 0; r == 0 && i < spec->disk_count; i++) {
		char key[32];

		snprintf(key, sizeof(key), "disks[%zu]", i);
		r = kiln__handles_add_disk(&vm->handles, &spec->disks[i].source, first++,
					   !spec->disks[i].readonly, key, err);
	}
	return r;
}

int kiln__api_add_files(struct kiln__api_vmm *vm, int kernel, int initrd, int disk, kiln_error *err)
{
	const struct kiln__spec *spec = vm->host.spec;
	int r = 0;

	if (spec->firmware == KILN__FIRMWARE_NONE)
		r = kiln__handles_add_boot_file(&vm->handles, &spec->kernel, kernel, "kernel", err);
	if (r == 0)
		r = kiln__handles_add_boot_file(&vm->handles, &spec->initrd, initrd, "initrd", err);
	return r < 0 ? r : add_disks(vm, disk, err);
}

static bool has_low_port(const struct kiln__spec *spec)
{
	for (size_t i = 0; i < spec->port_count; i++)
		if (spec->ports[i].host_port < 1024)
			return true;
	return false;
}

int kiln__api_spawn(struct kiln__api_vmm *vm, const char *const *argv, bool network,
		    kiln_fd console, kiln_error *err)
{
	int r = kiln__vmm_spawn(&vm->vmm, vm->host.loop, vm->host.log,
				&(struct kiln__process_plan){
					.path = vm->binary,
					.argv = argv,
					.fds = vm->handles.fds,
					.fd_count = vm->handles.count,
					.offline = !network,
					.low_ports = network && has_low_port(vm->host.spec),
					.has_console = console != KILN_FD_NONE,
					.console = console,
				},
				&process_handler, vm, err);

	kiln__handles_done(&vm->handles);
	return r;
}

int kiln__api_spawn_jailed(struct kiln__api_vmm *vm, struct kiln__process_plan plan,
			   kiln_fd console, kiln_error *err)
{
	plan.keeps_rights = true;
	plan.has_console = console != KILN_FD_NONE;
	plan.console = console;
	return kiln__vmm_spawn(&vm->vmm, vm->host.loop, vm->host.log, &plan, &process_handler, vm,
			       err);
}

/* --- requests -----------------------------------------------------------------------------------
 */

void kiln__api_add(struct kiln__api_steps *steps, const char *method, json_t *body,
		   const char *target, ...)
{
	struct kiln__api_step *step = &steps->items[steps->count];
	va_list args;
	int len;

	if (steps->failed || steps->count == KILN__API_MAX_STEPS) {
		steps->failed = true;
		json_decref(body);
		return;
	}
	*step = (struct kiln__api_step){
		.method = method, .body = body, .fd = KILN_FD_NONE, .deadline_ms = KILN__API_MS};
	va_start(args, target);
	len = vsnprintf(step->target, sizeof(step->target), target, args);
	va_end(args);
	steps->count++;
	if (len < 0 || (size_t)len >= sizeof(step->target))
		steps->failed = true;
}

void kiln__api_steps_done(struct kiln__api_steps *steps)
{
	for (size_t i = 0; i < steps->count; i++)
		json_decref(steps->items[i].body);
	*steps = (struct kiln__api_steps){.count = 0};
}

struct run {
	struct kiln__api_vmm *vm;
	struct kiln__api_steps steps;
	size_t at;
	kiln_done_fn done;
	void *data;
};

static void run_end(struct run *run, const kiln_error *err)
{
	kiln_done_fn done = run->done;
	void *data = run->data;

	kiln__api_steps_done(&run->steps);
	free(run);
	if (done)
		done(data, err ? err->code : 0, err);
}

static void run_next(struct run *run);

static void on_answer(void *data, const struct kiln__http_answer *answer, const kiln_error *err)
{
	struct run *run = data;

	(void)answer;
	if (err) {
		run_end(run, err);
		return;
	}
	run->at++;
	run_next(run);
}

static void run_next(struct run *run)
{
	struct kiln__api_step *step = &run->steps.items[run->at];
	kiln__autofree char *body = NULL;
	kiln_error err;

	if (run->at == run->steps.count) {
		run_end(run, NULL);
		return;
	}
	if (step->body && !(body = json_dumps(step->body, JSON_COMPACT))) {
		kiln__fail_nomem(&err);
		run_end(run, &err);
		return;
	}
	kiln__http_send(run->vm->http, &(struct kiln__http_request){
					       .method = step->method,
					       .target = step->target,
					       .body = body,
					       .fds = &step->fd,
					       .fd_count = step->fd != KILN_FD_NONE,
					       .deadline_ms = step->deadline_ms,
					       .done = on_answer,
					       .data = run,
				       });
}

void kiln__api_run(struct kiln__api_vmm *vm, struct kiln__api_steps *steps, kiln_done_fn done,
		   void *data)
{
	struct run *run = calloc(1, sizeof(*run));
	kiln_error err;

	if (!run || steps->failed || !vm->http || vm->ended) {
		if (vm->ended || !vm->http)
			kiln__fail(&err, KILN_EDIED, "%s has ended", vm->kind->name);
		else
			kiln__fail_nomem(&err);
		free(run);
		kiln__api_steps_done(steps);
		if (done)
			done(data, err.code, &err);
		return;
	}
	*run = (struct run){.vm = vm, .steps = *steps, .done = done, .data = data};
	*steps = (struct kiln__api_steps){.count = 0};
	run_next(run);
}

/* Who waits for what a GET is answered. */
struct getting {
	const char *wrap;
	kiln__text_fn done;
	void *data;
};

static void on_got(void *data, const struct kiln__http_answer *answer, const kiln_error *err)
{
	struct getting getting = *(struct getting *)data;
	kiln__autofree char *wrapped = NULL;
	kiln_error nomem;

	free(data);
	if (answer && getting.wrap) {
		wrapped = kiln__strf("{\"%s\": %s}", getting.wrap, answer->body);
		if (!wrapped)
			kiln__fail_nomem(&nomem);
		getting.done(getting.data, wrapped, wrapped ? NULL : &nomem);
	} else {
		getting.done(getting.data, answer ? answer->body : NULL, err);
	}
}

void kiln__api_get(struct kiln__api_vmm *vm, const char *target, const char *wrap,
		   kiln__text_fn done, void *data)
{
	struct getting *getting = malloc(sizeof(*getting));
	kiln_error err;

	if (!getting || vm->ended) {
		free(getting);
		kiln__fail(&err, KILN_EDIED, "%s has ended", vm->kind->name);
		done(data, NULL, &err);
		return;
	}
	*getting = (struct getting){.wrap = wrap, .done = done, .data = data};
	kiln__http_send(vm->http, &(struct kiln__http_request){
					  .method = "GET",
					  .target = target,
					  .deadline_ms = KILN__API_MS,
					  .done = on_got,
					  .data = getting,
				  });
}

void kiln__api_refuse(const kiln_error *err, kiln_done_fn done, void *data)
{
	if (done)
		done(data, err->code, err);
}

void kiln__api_send(struct kiln__api_vmm *vm, const char *method, const char *target, json_t *body,
		    uint64_t deadline_ms, kiln_done_fn done, void *data)
{
	struct kiln__api_steps *steps = calloc(1, sizeof(*steps));
	kiln_error err;

	if (!steps) {
		json_decref(body);
		kiln__fail_nomem(&err);
		kiln__api_refuse(&err, done, data);
		return;
	}
	kiln__api_add(steps, method, body, "%s", target);
	steps->items[0].deadline_ms = deadline_ms;
	kiln__api_run(vm, steps, done, data);
	free(steps);
}

/* --- the start --------------------------------------------------------------------------------
 */

static void on_settled(void *data, int result, const kiln_error *err)
{
	(void)result;
	complete_start(data, err);
}

static void on_steps_done(void *data, int result, const kiln_error *err)
{
	struct kiln__api_vmm *vm = data;

	if (vm->kind->settle_start)
		vm->kind->settle_start(vm, err, on_settled, vm);
	else
		on_settled(vm, result, err);
}

static void run_first_steps(struct kiln__api_vmm *vm)
{
	struct kiln__api_steps *steps = calloc(1, sizeof(*steps));
	kiln_error err;
	int r = steps ? vm->kind->first_steps(vm, steps, &err) : kiln__fail_nomem(&err);

	if (r == 0) {
		kiln__api_run(vm, steps, on_steps_done, vm);
	} else {
		if (steps)
			kiln__api_steps_done(steps);
		complete_start(vm, &err);
	}
	free(steps);
}

static int check_version(struct kiln__api_vmm *vm, const char *body, size_t len, kiln_error *err)
{
	const struct kiln__api_kind *kind = vm->kind;
	json_t *json = json_loadb(body, len, 0, NULL);
	const char *text = json_string_value(json_object_get(json, kind->version_member));
	unsigned version = text ? kiln__api_version(text) : 0;
	char first[16];
	int r;

	snprintf(first, sizeof(first), kind->first % 1000 ? "%u.%u" : "%u", kind->first / 1000,
		 kind->first % 1000);
	if (!version)
		r = kiln__fail(err, KILN_EFORMAT, "%s does not say its version", kind->name);
	else if (version < kind->first)
		r = kiln__fail(err, KILN_ENOTSUP, "this is %s %s: kiln needs %s or later",
			       kind->name, text, first);
	else
		r = kiln__api_check_version(kind->form, vm->config, version, err);
	vm->version = version;
	if (kind->on_version)
		kind->on_version(vm, json);
	json_decref(json);
	return r;
}

static void on_version(void *data, const struct kiln__http_answer *answer, const kiln_error *err)
{
	struct kiln__api_vmm *vm = data;
	kiln_error why;

	if (!err && check_version(vm, answer->body, answer->len, &why) < 0)
		err = &why;
	if (err)
		complete_start(vm, err);
	else
		run_first_steps(vm);
}

void kiln__api_up(struct kiln__api_vmm *vm)
{
	if (!vm->started)
		return;
	kiln__http_send(vm->http, &(struct kiln__http_request){
					  .method = "GET",
					  .target = vm->kind->version_target,
					  .deadline_ms = KILN__API_MS,
					  .done = on_version,
					  .data = vm,
				  });
}

void kiln__api_start(struct kiln__api_vmm *vm, bool is_up, kiln_done_fn done, void *data)
{
	kiln_error err;

	if (vm->ended) {
		kiln__fail(&err, KILN_EDIED, "%s has ended", vm->kind->name);
		kiln__api_refuse(&err, done, data);
		return;
	}
	vm->started = done;
	vm->started_data = data;
	if (is_up)
		kiln__api_up(vm);
}

/* --- the contract
 * --------------------------------------------------------------------------------- */

void kiln__api_connect(struct kiln__instance *instance, uint32_t port, kiln__connect_fn done,
		       void *data)
{
	struct kiln__api_vmm *vm = (struct kiln__api_vmm *)instance;
	kiln_error err;

	if (vm->dialer) {
		kiln__vsock_dial(vm->dialer, port, done, data);
		return;
	}
	if (vm->ended)
		kiln__fail(&err, KILN_EDIED, "%s has ended", vm->kind->name);
	else
		kiln__fail(&err, KILN_ENOTSUP, "the machine has no vsock device");
	done(data, NULL, &err);
}

const char *kiln__api_accel(const struct kiln__instance *instance)
{
	return ((const struct kiln__api_vmm *)instance)->binary ? "kvm" : "";
}

int kiln__api_keep(struct kiln__instance *instance, unsigned *count, kiln_error *err)
{
	return kiln__vmm_keep(((struct kiln__api_vmm *)instance)->vmm, count, err);
}

int64_t kiln__api_pid(const struct kiln__instance *instance)
{
	const struct kiln__api_vmm *vm = (const struct kiln__api_vmm *)instance;

	return vm->vmm ? kiln__vmm_pid(vm->vmm) : 0;
}

int kiln__api_moved(struct kiln__instance *instance, const char *dir, kiln_error *err)
{
	struct kiln__api_vmm *vm = (struct kiln__api_vmm *)instance;
	char *here = kiln__strf("%s%s", dir, vm->inside ? "/" JAIL_DIR : "");
	kiln__autofree char *api = kiln__strf("%s/" API_SOCKET, here ? here : "");
	kiln__autofree char *vsock = kiln__strf("%s/" VSOCK_SOCKET, here ? here : "");
	int r;

	if (!api || !vsock || !here) {
		free(here);
		return kiln__fail_nomem(err);
	}
	free(vm->here);
	vm->here = here;
	r = kiln__http_moved(vm->http, api, err);
	return r == 0 && vm->dialer ? kiln__vsock_dialer_moved(vm->dialer, vsock, err) : r;
}

void kiln__api_done(struct kiln__api_vmm *vm)
{
	kiln_error err;

	/* First, since what it completes may call back in here: kill, mostly. */
	kiln__fail(&err, KILN_ECANCELED, "%s: canceled", vm->kind->name);
	end_start(vm, &err);
	kiln__http_free(kiln__take(vm->http));
	kiln__deferred_free(kiln__take(vm->killing));
	kiln__timer_free(kiln__take(vm->closed));
	kiln__vmm_free(kiln__take(vm->vmm));
	kiln__handles_done(&vm->handles);
	kiln__stream_close(kiln__take(vm->console));
	if (!vm->ended)
		remove_files(vm);
	json_decref(vm->config);
	free(vm->binary);
	free(vm->dir);
	free(vm->here);
	free(vm->api_path);
	free(vm->vsock_path);
}

/* --- what there is here
 * ----------------------------------------------------------------------------- */

void kiln__api_probe(const struct kiln__api_kind *kind, const char *arch, struct kiln__probe *ret)
{
	kiln__autofree char *binary = NULL;
	kiln__autofree char *text = NULL;
	const char *at;

	*ret = (struct kiln__probe){.usable = false};
	snprintf(ret->accel, sizeof(ret->accel), "kvm");
	if (kiln__api_find(NULL, kind->program, kind->home, &binary, &ret->reason) < 0)
		return;
	if (kiln__os_run_capture(binary, (const char *const[]){binary, "--version", NULL}, 5000,
				 &text, NULL) == 0) {
		at = strpbrk(text,
			     "0123456789"); /* "Firecracker v1.7.0", "cloud-hypervisor v40.0" */
		snprintf(ret->version, sizeof(ret->version), "%.*s",
			 at ? (int)strcspn(at, " \n") : 0, at ? at : "");
	}
	ret->usable = kiln__kvm_reason(arch, false, &ret->reason) == 0;
}
