/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop, kill, pause, resume, restart, rm, wait: one operation on each of several VMs.
 * One that fails does not keep the others from being tried.
 */
#include "cli.h"

#include "buf.h"
#include "cleanup.h"
#include "disk.h"
#include "err.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

/* --- stop, restart ----------------------------------------------------------- */

static int get_timeout(const struct args *args, uint64_t *ret, kiln_error *err)
{
	const char *text = args_value(args, OPT_TIMEOUT);

	*ret = KILN_STOP_TIMEOUT_CONFIGURED;
	return text ? parse_duration(text, ret, err) : 0;
}

static int stop(kiln_vm *vm, const void *data, const char *name, kiln_error *err)
{
	return print_name(kiln_vm_stop_sync(vm, *(const uint64_t *)data, -1, err), name);
}

int verb_stop(struct cli *cli, const struct args *args)
{
	kiln_error err = KILN_ERROR_INIT;
	uint64_t timeout;

	if (args_has(args, OPT_POWER_BUTTON))
		return press_button(cli, args);
	if (get_timeout(args, &timeout, &err) < 0)
		return complain("stop", &err);
	return for_each_vm(cli, args, stop, &timeout);
}

static int restart(kiln_vm *vm, const void *data, const char *name, kiln_error *err)
{
	int r = kiln_vm_restart_sync(vm, *(const uint64_t *)data, -1, err);

	if (r == 0)
		r = kiln_vm_wait_sync(vm, KILN_STATE_READY, -1, err);
	return print_name(r, name);
}

int verb_restart(struct cli *cli, const struct args *args)
{
	kiln_error err = KILN_ERROR_INIT;
	uint64_t timeout;

	if (get_timeout(args, &timeout, &err) < 0)
		return complain("restart", &err);
	return for_each_vm(cli, args, restart, &timeout);
}

/* --- kill, pause, resume, rm ------------------------------------------------- */

static int kill_one(kiln_vm *vm, const void *data, const char *name, kiln_error *err)
{
	int number = *(const int *)data;

	return print_name(number ? kiln_vm_signal_sync(vm, number, -1, err)
				 : kiln_vm_kill_sync(vm, -1, err),
			  name);
}

int verb_kill(struct cli *cli, const struct args *args)
{
	const char *text = args_value(args, OPT_SIGNAL);
	kiln_error err = KILN_ERROR_INIT;
	int number = 0;

	if (text && parse_signal(text, &number, &err) < 0)
		return complain("kill", &err);
	return for_each_vm(cli, args, kill_one, &number);
}

static int pause_one(kiln_vm *vm, const void *data, const char *name, kiln_error *err)
{
	(void)data;
	return print_name(kiln_vm_pause_sync(vm, -1, err), name);
}

int verb_pause(struct cli *cli, const struct args *args)
{
	return for_each_vm(cli, args, pause_one, NULL);
}

/* --- snapshot ---------------------------------------------------------------- */

/*
 * What has not changed since: sharing its blocks where the file system can. Before the VM is
 * paused, which it need not be for that.
 */
static int copy_memory(const char *base, const char *directory, kiln_error *err)
{
	kiln__autofree char *from = kiln__strf("%s/memory", base);
	kiln__autofree char *to = kiln__strf("%s/memory", directory);
	int r;

	if (!from || !to)
		return kiln__fail_nomem(err);
	r = kiln__disk_copy(from, to, err);
	return r < 0 ? kiln__prefix(err, "--base"), r : 0;
}

static int snapshot(kiln_vm *vm, const char *directory, const void *base, kiln_error *err)
{
	return kiln_vm_snapshot_sync(vm, directory, base, -1, err);
}

static int take_snapshot(kiln_vm *vm, const char *directory, const void *given, kiln_error *err)
{
	kiln__autofree char *base = NULL;
	int r = given ? absolute_path(given, &base, err) : 0;

	if (r == 0)
		r = kiln__os_mkdir_p(directory, 0700, err);
	if (r == 0 && base)
		r = copy_memory(base, directory, err);
	return r < 0 ? r : while_paused(vm, snapshot, directory, base, err);
}

int verb_snapshot(struct cli *cli, const struct args *args)
{
	return for_vm_and_path(cli, args, take_snapshot, args_value(args, OPT_BASE));
}

static int resume(kiln_vm *vm, const void *data, const char *name, kiln_error *err)
{
	(void)data;
	return print_name(kiln_vm_resume_sync(vm, -1, err), name);
}

int verb_resume(struct cli *cli, const struct args *args)
{
	return for_each_vm(cli, args, resume, NULL);
}

static bool is_over(kiln_vm *vm)
{
	kiln_vm_info info = KILN_VM_INFO_INIT;

	return kiln_vm_status(vm, &info, NULL) == 0 &&
	       (info.state == KILN_STATE_STOPPED || info.state == KILN_STATE_FAILED ||
		info.state == KILN_STATE_CREATED);
}

int verb_rm(struct cli *cli, const struct args *args)
{
	bool force = args_has(args, OPT_FORCE);
	kiln_error err = KILN_ERROR_INIT;
	int code = 0;

	if (cli_manager(cli, &err) < 0)
		return complain(NULL, &err);
	for (int i = 0; i < args->count; i++) {
		const char *name = args->positional[i];
		kiln_vm *vm = NULL;
		int r = cli_find(cli, name, &vm, &err);

		if (r == 0) {
			r = kiln_vm_remove_sync(vm, force, -1, &err);
			if (r == KILN_EBUSY && !is_over(vm)) /* else something of it is left */
				kiln__hint(&err, "stop it first, or use --force");
		}
		/* As with rm(1): what is to be gone is. */
		if (r < 0 && !(force && r == KILN_ENOENT))
			code = complain(name, &err);
		else if (r == 0)
			printf("%s\n", name);
		kiln_vm_free(vm);
	}
	return code;
}

/* --- wait -------------------------------------------------------------------- */

static int wait_one(kiln_vm *vm, const void *data, const char *name, kiln_error *err)
{
	enum kiln_state until = *(const enum kiln_state *)data;
	kiln_vm_info info = KILN_VM_INFO_INIT;
	int r = kiln_vm_wait_sync(vm, until, -1, err);

	(void)name;
	if (r < 0 || until != KILN_STATE_STOPPED)
		return r;
	r = kiln_vm_status(vm, &info, err);
	/* Of one that was never started there is nothing to say. */
	if (r == 0 && info.state == KILN_STATE_CREATED) {
		kiln__fail(err, KILN_ESTATE, "it was never started");
		return kiln__hint(err, "start it first");
	}
	if (r == 0) {
		printf("%d\n", kiln_exit_status(info.exit));
		fflush(stdout);
	}
	return r;
}

int verb_wait(struct cli *cli, const struct args *args)
{
	enum kiln_state until = KILN_STATE_STOPPED;

	if (args_is(args, OPT_UNTIL, "running"))
		until = KILN_STATE_RUNNING;
	else if (args_is(args, OPT_UNTIL, "ready"))
		until = KILN_STATE_READY;
	return for_each_vm(cli, args, wait_one, &until);
}
