/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager with directories of its own and what is in them: what the tests of managers share.
 * RUNNER is the runner's path.
 */
#ifndef KILN_TEST_MANAGER_HOME_H
#define KILN_TEST_MANAGER_HOME_H

#include "buf.h"
#include "kiln_test.h"
#include "os.h"

#include <kiln/manager.h>

#include <stdlib.h>
#include <string.h>

static kiln_manager *manager;
static const char *home;
static const char *runtime;

static inline kiln_manager *open_another(void)
{
	kiln_manager_options options = KILN_MANAGER_OPTIONS_INIT;
	kiln_manager *another;
	kiln_error err;

	options.home = home;
	options.runtime_dir = runtime;
	options.runner = RUNNER;
	kiln_ok(kiln_manager_new(&another, NULL, &options, &err), &err);
	return another;
}

static inline void open_manager(void)
{
	home = kiln_test_path("home");
	runtime = kiln_test_path("run");
	manager = open_another();
}

static inline kiln_vm *create_from(kiln_manager *in, const char *name, const char *json,
				   bool ephemeral)
{
	kiln_create_options options = KILN_CREATE_OPTIONS_INIT;
	kiln_config *config;
	kiln_vm *vm = NULL;
	kiln_error err;

	kiln_ok(kiln_config_parse(json, strlen(json), &config, &err), &err);
	options.name = name;
	options.ephemeral = ephemeral;
	kiln_ok(kiln_manager_create(in, config, &options, &vm, &err), &err);
	kiln_config_free(config);
	return vm;
}

static inline kiln_vm_info status(kiln_vm *vm)
{
	kiln_vm_info info = KILN_VM_INFO_INIT;
	kiln_error err;

	kiln_ok(kiln_vm_status(vm, &info, &err), &err);
	return info;
}

static inline size_t entries(const char *dir)
{
	char **names;
	size_t n = 0;

	if (kiln__os_list_dir(dir, &names, NULL) < 0)
		return 0;
	while (names[n])
		n++;
	kiln__os_free_names(names);
	return n;
}

/* Runners of this build. Those that have ended have no executable any more. */
static inline size_t runners(void)
{
	char **pids;
	size_t count = 0;

	assert_int_equal(kiln__os_list_dir("/proc", &pids, NULL), 0);
	for (size_t i = 0; pids[i]; i++) {
		kiln__autofree char *path = kiln__strf("/proc/%s/exe", pids[i]);
		char *exe;

		if (kiln__os_read_link(path, &exe, NULL) < 0)
			continue;
		count += strcmp(exe, RUNNER) == 0;
		free(exe);
	}
	kiln__os_free_names(pids);
	return count;
}

#endif
