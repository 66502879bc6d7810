/* SPDX-License-Identifier: Apache-2.0 */
/* The manager and its handles: see manager.h. */
#include "manager.h"

#include "err.h"
#include "resolve.h"

#include <stdlib.h>
#include <string.h>

/* --- the manager ------------------------------------------------------------------------- */

/* What a command left half made that was killed while it made an image. */
static void sweep_images(const struct kiln__home *home)
{
	struct kiln__cache *cache;

	if (kiln__resolve_cache(home, &cache, NULL) < 0)
		return;
	kiln__cache_sweep(cache);
	kiln__cache_free(cache);
}

int kiln_manager_new(kiln_manager **ret_manager, kiln_loop *loop,
		     const kiln_manager_options *options, kiln_error *err)
{
	kiln_manager_options given = KILN_MANAGER_OPTIONS_INIT;
	kiln_manager *manager = calloc(1, sizeof(*manager));
	int r;

	if (!manager)
		return kiln__fail_nomem(err);
	if (options)
		memcpy(&given, options,
		       options->size < sizeof(given) ? options->size : sizeof(given));
	manager->loop = loop;
	r = kiln__home_init(&manager->home, given.home, given.runtime_dir, &given.log, err);
	if (r == 0 && !loop) {
		r = kiln_loop_new(&manager->loop, err);
		manager->owns_loop = r == 0;
	}
	if (r == 0 && given.runner) {
		manager->runner = strdup(given.runner);
		r = manager->runner ? 0 : kiln__fail_nomem(err);
	}
	if (r == 0)
		r = kiln__home_sweep(&manager->home, err);
	if (r == 0)
		sweep_images(&manager->home);
	if (r < 0) {
		kiln_manager_free(manager);
		return r;
	}
	*ret_manager = manager;
	return 0;
}

void kiln_manager_free(kiln_manager *manager)
{
	if (!manager)
		return;
	if (manager->owns_loop)
		kiln_loop_free(manager->loop);
	kiln__home_done(&manager->home);
	free(manager->runner);
	free(manager);
}

kiln_loop *kiln_manager_loop(const kiln_manager *manager)
{
	return manager->loop;
}

/* --- handles --------------------------------------------------------------------------------- */

/* A handle on @dir, which it takes, also on failure. */
static int vm_new(kiln_manager *manager, struct kiln__vmdir *dir, kiln_vm **ret, kiln_error *err)
{
	kiln_vm *vm = calloc(1, sizeof(*vm));
	int r = vm ? 0 : kiln__fail_nomem(err);

	if (r == 0)
		r = kiln__deferred_new(&vm->teller, manager->loop, kiln__ops_tell, vm, err);
	if (r < 0) {
		kiln__vmdir_free(dir);
		free(vm);
		return r;
	}
	vm->manager = manager;
	vm->dir = dir;
	vm->refs = 1;
	vm->next = manager->vms;
	manager->vms = vm;
	*ret = vm;
	return 0;
}

/* An ephemeral VM goes with its creator, unless it lives: then whoever sees its end removes it. */
static void remove_ephemeral(kiln_vm *vm)
{
	char id[KILN__ID_TEXT];

	memcpy(id, vm->dir->id, sizeof(id));
	kiln__vmdir_free(kiln__take(vm->dir)); /* with the lock that says that it has an owner */
	kiln__vmdir_settle(&vm->manager->home, id, true, true, NULL);
}

static void release(kiln_vm *vm)
{
	kiln_vm **at;

	for (at = &vm->manager->vms; *at != vm; at = &(*at)->next)
		;
	*at = vm->next;
	if (vm->foreground)
		kiln__end_wait(vm->end);
	kiln__end_forget(vm->end);
	kiln__deferred_free(vm->teller);
	if (vm->dir && vm->dir->owner != KILN_FD_NONE)
		remove_ephemeral(vm);
	kiln__vmdir_free(vm->dir);
	kiln_config_free(vm->made);
	free(vm->made_text);
	free(vm);
}

void kiln__vm_hold(kiln_vm *vm)
{
	vm->held++;
}

void kiln__vm_let_go(kiln_vm *vm)
{
	if (--vm->held == 0 && vm->refs == 0)
		release(vm);
}

void kiln_vm_free(kiln_vm *vm)
{
	if (!vm || --vm->refs > 0)
		return;
	vm->held++;
	kiln__ops_cancel(vm);
	kiln__start_abandon(vm->start);
	kiln__control_free(kiln__take(vm->control));
	kiln__control_free(kiln__take(vm->lifeline));
	kiln__vm_let_go(vm);
}

const char *kiln_vm_id(const kiln_vm *vm)
{
	return vm->dir->id;
}

const char *kiln_vm_name(const kiln_vm *vm)
{
	return vm->dir->name;
}

int kiln_manager_create(kiln_manager *manager, const kiln_config *config,
			const kiln_create_options *options, kiln_vm **ret_vm, kiln_error *err)
{
	kiln_create_options given = KILN_CREATE_OPTIONS_INIT;
	kiln__autofree char *text = NULL;
	struct kiln__vmdir *dir;
	int r;

	if (options)
		memcpy(&given, options,
		       options->size < sizeof(given) ? options->size : sizeof(given));
	if (given.name) {
		r = kiln__check_name(given.name, err);
		if (r < 0)
			return r;
	}
	r = kiln_config_validate(config, err);
	if (r == 0)
		r = kiln_config_print(config, &text, err);
	if (r == 0)
		r = kiln__vmdir_create(&dir, &manager->home, given.name, given.ephemeral, text,
				       err);
	if (r < 0) {
		kiln__stage(err, "create");
		return r;
	}
	r = vm_new(manager, dir, ret_vm, err);
	if (r == 0 && kiln_config_copy(config, &(*ret_vm)->made, NULL) == 0)
		(*ret_vm)->made_text = kiln__take(text);
	return r;
}

int kiln_manager_find(kiln_manager *manager, const char *name_or_id, kiln_vm **ret_vm,
		      kiln_error *err)
{
	char id[KILN__ID_TEXT];
	struct kiln__vmdir *dir;
	int r = kiln__home_find(&manager->home, name_or_id, id, err);

	if (r < 0)
		return r;
	for (kiln_vm *vm = manager->vms; vm; vm = vm->next) {
		if (strcmp(vm->dir->id, id) == 0 && vm->refs > 0) {
			vm->refs++;
			*ret_vm = vm;
			return 0;
		}
	}
	r = kiln__vmdir_open(&dir, &manager->home, id, err);
	if (r == KILN_ENOENT)
		return kiln__fail(err, KILN_ENOENT, "there is no VM \"%s\"", name_or_id);
	return r < 0 ? r : vm_new(manager, dir, ret_vm, err);
}

/* --- what is known ---------------------------------------------------------------------------- */

static void fill_info(const struct kiln__vmdir *dir, const struct kiln__vmstate *state,
		      kiln_vm_info *info)
{
	*info = (kiln_vm_info){
		.size = sizeof(*info),
		.id = dir->id,
		.name = dir->name ? dir->name : "",
		.state = state->state,
		.exit = state->exit,
		.failure = state->failure,
		.backend = state->backend,
		.accel = state->accel,
		.accel_reason = state->accel_reason,
		.created_ns = dir->created_ns,
		.started_ns = state->started_ns,
		.ready_ns = state->ready_ns,
		.finished_ns = state->finished_ns,
		.pid = state->pid,
		.ephemeral = dir->ephemeral,
	};
}

int kiln_vm_status(kiln_vm *vm, kiln_vm_info *ret_info, kiln_error *err)
{
	struct kiln__vmstate state;
	kiln_vm_info info;
	int r = kiln__vmdir_status(vm->dir, &state, NULL, err);

	if (r < 0)
		return r;
	memcpy(vm->backend, state.backend, sizeof(vm->backend));
	memcpy(vm->accel, state.accel, sizeof(vm->accel));
	memcpy(vm->accel_reason, state.accel_reason, sizeof(vm->accel_reason));
	fill_info(vm->dir, &state, &info);
	info.backend = vm->backend;
	info.accel = vm->accel;
	info.accel_reason = vm->accel_reason;
	info.size = ret_info->size < sizeof(info) ? ret_info->size : sizeof(info);
	memcpy(ret_info, &info, info.size);
	return 0;
}

int kiln_vm_config(kiln_vm *vm, kiln_config **ret_config, kiln_error *err)
{
	return kiln__vmdir_parse_config(vm->dir, ret_config, NULL, err);
}

struct listed {
	struct kiln__vmdir *dir;
	struct kiln__vmstate state;
};

static int compare_age(const void *a, const void *b)
{
	const struct listed *x = a;
	const struct listed *y = b;

	if (x->dir->created_ns != y->dir->created_ns)
		return x->dir->created_ns < y->dir->created_ns ? -1 : 1;
	return strcmp(x->dir->id, y->dir->id);
}

/* Looks at each; those that go meanwhile, or never were, are passed over. Of others all is shown
 * that is known. */
static size_t look_at_all(const struct kiln__home *home, char **ids, struct listed *list)
{
	size_t count = 0;

	for (size_t i = 0; ids[i]; i++) {
		struct listed *at = &list[count];
		kiln_error err;
		int r;

		if (kiln__vmdir_open(&at->dir, home, ids[i], NULL) < 0)
			continue;
		r = kiln__vmdir_status(at->dir, &at->state, NULL, &err);
		if (r == KILN_ENOENT) {
			kiln__vmdir_free(at->dir);
			continue;
		}
		if (r < 0)
			at->state =
				(struct kiln__vmstate){.state = KILN_STATE_FAILED, .failure = err};
		count++;
	}
	return count;
}

int kiln_manager_list(kiln_manager *manager, int (*fn)(void *data, const kiln_vm_info *info),
		      void *data, kiln_error *err)
{
	kiln__autofree struct listed *list = NULL;
	size_t count = 0;
	kiln_vm_info info;
	char **ids;
	int r = kiln__home_list(&manager->home, &ids, err);

	if (r < 0)
		return r;
	while (ids[count])
		count++;
	list = calloc(count + 1, sizeof(*list));
	count = list ? look_at_all(&manager->home, ids, list) : 0;
	kiln__os_free_names(ids);
	if (!list)
		return kiln__fail_nomem(err);
	qsort(list, count, sizeof(*list), compare_age);
	for (size_t i = 0; i < count; i++) {
		if (r == 0) {
			fill_info(list[i].dir, &list[i].state, &info);
			r = fn(data, &info);
		}
		kiln__vmdir_free(list[i].dir);
	}
	return r;
}
