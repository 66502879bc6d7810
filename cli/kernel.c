/* SPDX-License-Identifier: Apache-2.0 */
/* kernel: the distribution's kernel, which VMs without one of their own boot, and its age. */
#include "cli.h"

#include "err.h"
#include "os.h"
#include "resolve.h"
#include "timefmt.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void on_progress(void *data, const char *text)
{
	const struct cli *cli = data;

	tell(cli, "%s", text);
}

static void print_list(const char *arch, const struct kiln__default_kernel *kernel)
{
	json_t *array = json_array();
	char fetched[KILN__TIME_TEXT];

	if (kernel) {
		kiln__time_format(kernel->fetched_ns, fetched);
		json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:s}", "arch", arch,
						       "release", kernel->release, "fetched",
						       fetched, "path", kernel->path));
	}
	print_json(array, NULL);
}

static void print_table(const char *arch, const struct kiln__default_kernel *kernel)
{
	static const char *const heads[] = {"ARCH", "RELEASE", "FETCHED", "PATH", NULL};
	struct table *table = table_new(heads);
	char ago[32];

	if (kernel) {
		table_add(table, "%s", arch);
		table_add(table, "%s", kernel->release[0] ? kernel->release : "-");
		table_add(table, "%s", format_ago(kernel->fetched_ns, ago, sizeof(ago)));
		table_add(table, "%s", kernel->path);
	}
	table_print(table);
}

static int list(const struct args *args, const struct kiln__home *home)
{
	const char *arch = kiln__os_arch();
	struct kiln__default_kernel kernel;
	kiln_error err = KILN_ERROR_INIT;
	int r = kiln__resolve_default_kernel(home, arch, &kernel, &err);

	if (r < 0 && r != KILN_ENOENT)
		return complain("kernel ls", &err);
	if (args_is(args, OPT_FORMAT, "json"))
		print_list(arch, r == 0 ? &kernel : NULL);
	else
		print_table(arch, r == 0 ? &kernel : NULL);
	if (r == 0)
		free(kernel.path);
	return 0;
}

static int pull(struct cli *cli, const struct kiln__home *home)
{
	struct kiln__default_kernel kernel;
	kiln_error err = KILN_ERROR_INIT;

	if (kiln__resolve_renew_kernel(home, kiln__os_arch(), on_progress, cli, &kernel, &err) < 0)
		return complain("kernel pull", &err);
	printf("%s\n", kernel.release[0] ? kernel.release : kernel.path);
	free(kernel.path);
	return 0;
}

int verb_kernel(struct cli *cli, const struct args *args)
{
	const char *what = args->positional[0];
	struct kiln__home home = {0};
	kiln_error err = KILN_ERROR_INIT;
	int code;

	cli_progress(cli, args);
	if (strcmp(what, "ls") != 0 && strcmp(what, "pull") != 0) {
		kiln__fail(&err, KILN_EINVAL, "kernel: there is no command \"%.40s\"", what);
		kiln__hint(&err, "see \"kiln kernel --help\"");
		return complain(NULL, &err);
	}
	if (kiln__home_init(&home, NULL, NULL, NULL, &err) < 0)
		return complain("kernel", &err);
	code = strcmp(what, "ls") == 0 ? list(args, &home) : pull(cli, &home);
	kiln__home_done(&home);
	return code;
}
