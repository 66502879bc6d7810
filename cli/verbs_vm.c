/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs share that do something with a VM, or with each of several. */
#include "cli.h"

#include "cleanup.h"

#include <stdio.h>

int for_each_vm(struct cli *cli, const struct args *args, each_vm_fn fn, const void *data)
{
	kiln_error err = KILN_ERROR_INIT;
	int code = 0;

	if (cli_manager(cli, &err) < 0)
		return complain(NULL, &err);
	for (int i = 0; i < args->count; i++) {
		const char *name = args->positional[i];
		kiln_vm *vm = NULL;
		int r = cli_find(cli, name, &vm, &err);

		if (r == 0)
			r = fn(vm, data, name, &err);
		if (r < 0)
			code = complain(name, &err);
		kiln_vm_free(vm);
	}
	return code;
}

int print_name(int r, const char *name)
{
	if (r == 0)
		printf("%s\n", name);
	return r;
}

int for_vm_and_path(struct cli *cli, const struct args *args, vm_path_fn fn, const void *data)
{
	const char *name = args->positional[0];
	kiln__autofree char *path = NULL;
	kiln_error err = KILN_ERROR_INIT;
	kiln_vm *vm = NULL;
	int r = cli_manager(cli, &err);

	if (r == 0)
		r = cli_find(cli, name, &vm, &err);
	if (r == 0)
		r = absolute_path(args->positional[1], &path, &err);
	if (r == 0)
		r = fn(vm, path, data, &err);
	kiln_vm_free(vm);
	if (r < 0)
		return complain(name, &err);
	printf("%s\n", path);
	return 0;
}

int while_paused(kiln_vm *vm, vm_path_fn fn, const char *path, const void *data, kiln_error *err)
{
	kiln_vm_info info = KILN_VM_INFO_INIT;
	kiln_error why;
	bool runs;
	int r = kiln_vm_status(vm, &info, err);

	if (r < 0)
		return r;
	runs = info.state == KILN_STATE_RUNNING || info.state == KILN_STATE_READY;
	r = runs ? kiln_vm_pause_sync(vm, -1, err) : 0;
	if (r < 0)
		return r;
	r = fn(vm, path, data, err);
	if (runs && kiln_vm_resume_sync(vm, -1, &why) < 0 && r == 0) {
		*err = why;
		r = why.code;
	}
	return r;
}
