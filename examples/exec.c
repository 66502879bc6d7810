/* SPDX-License-Identifier: Apache-2.0 */
/* exec ROOT COMMAND...: boots a VM from a root, runs a command in it, shows what it wrote. */
#include <kiln/manager.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int fail(const kiln_error *err)
{
	fprintf(stderr, "%s%s%s\n", err->message, err->hint[0] ? "\n" : "", err->hint);
	return 125;
}

static int run(kiln_vm *vm, const char *const *command, kiln_error *err)
{
	kiln_start_options start = KILN_START_OPTIONS_INIT;
	kiln_exec_options options = KILN_EXEC_OPTIONS_INIT;
	kiln_exec_result result = KILN_EXEC_RESULT_INIT;

	start.foreground = true; /* the VM ends with this process, however that ends */
	options.argv = command;
	if (kiln_vm_start_sync(vm, &start, 60000, err) < 0 ||
	    kiln_vm_wait_sync(vm, KILN_STATE_READY, 60000, err) < 0 ||
	    kiln_vm_exec_sync(vm, &options, 1 << 20, &result, 60000, err) < 0)
		return fail(err);
	fwrite(result.out, 1, result.out_len, stdout);
	fwrite(result.err, 1, result.err_len, stderr);
	kiln_exec_result_done(&result);
	return kiln_exit_status(result.exit);
}

int main(int argc, char **argv)
{
	kiln_create_options create = KILN_CREATE_OPTIONS_INIT;
	char *root = argc < 3 ? NULL : realpath(argv[1], NULL);
	kiln_error err = KILN_ERROR_INIT;
	kiln_manager *manager = NULL;
	kiln_config *config = NULL;
	kiln_vm *vm = NULL;
	const char *key;
	struct stat st;
	int code, ok;

	if (!root || stat(root, &st) < 0)
		return fprintf(stderr, "usage: exec ROOT COMMAND...\n"), 2;
	create.ephemeral = true;
	key = S_ISDIR(st.st_mode) ? "root.directory" : "root.tar";
	ok = kiln_manager_new(&manager, NULL, NULL, &err) == 0 &&
	     kiln_config_new(&config, &err) == 0 && kiln_config_set(config, key, root, &err) == 0 &&
	     kiln_manager_create(manager, config, &create, &vm, &err) == 0;
	code = ok ? run(vm, (const char *const *)argv + 2, &err) : fail(&err);
	kiln_vm_free(vm);
	kiln_config_free(config);
	kiln_manager_free(manager);
	free(root);
	return code;
}
