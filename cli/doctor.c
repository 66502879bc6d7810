/* SPDX-License-Identifier: Apache-2.0 */
/* doctor, backends, version, schema: what there is here. */
#include "cli.h"
#include "host.h"

#include "backend.h"
#include "buf.h"
#include "err.h"
#include "os.h"
#include "printable.h"
#include "resolve.h"
#include "timefmt.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* What says that it was told: gone with the next boot, as the runtime directory is. */
static char *emulation_told(void)
{
	kiln__autofree char *runtime = NULL;

	return kiln__os_runtime_dir(&runtime, NULL) < 0 ? NULL
							: kiln__strf("%s/emulation-told", runtime);
}

void tell_emulation(const struct cli *cli, kiln_vm *vm)
{
	kiln__autofree char *told = cli->silent ? NULL : emulation_told();
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln_vm_info info = KILN_VM_INFO_INIT;
	struct kiln__os_stat st;
	char reason[512];

	if (!told || kiln__os_stat(told, &st, NULL) == 0)
		return;
	if (kiln_vm_status(vm, &info, NULL) < 0 || !info.accel_reason[0])
		return;
	snprintf(reason, sizeof(reason), "%s", info.accel_reason);
	fprintf(stderr,
		"kiln: emulating, slowly, without KVM: %s\n"
		"      said once after each boot of this host; kiln doctor tells more\n",
		kiln__printable(reason));
	kiln__os_open(&fd, told, KILN__OPEN_WRITE | KILN__OPEN_CREATE, NULL);
}

/* Prints a line of a report: a mark, what, and why; a hint behind it. */
void print_line(const char *mark, const char *what, const char *detail, const char *hint)
{
	printf("  %-8s %s%s%s\n", mark, what, detail[0] ? ": " : "", detail);
	if (hint[0])
		printf("  %-8s   %s\n", "", hint);
}

/* --- doctor ------------------------------------------------------------------ */

struct health {
	struct host *host;
	struct kernel_found {
		struct kiln__default_kernel found; /* no path: none yet */
		kiln_error why;
	} kernel;
};

/* What a running machine may be asked, by kiln_machine_change(). */
static json_t *changes_json(const struct kiln__backend *backend)
{
	json_t *list = json_array();

	for (unsigned i = 0; kiln__change_names[i]; i++)
		if (kiln__change_can(backend, (enum kiln_change_kind)i))
			json_array_append_new(list, json_string(kiln__change_names[i]));
	return list;
}

static json_t *devices_json(const struct kiln__backend *backend)
{
	json_t *list = json_array();

	for (const char *const *d = backend->devices; d && *d; d++)
		json_array_append_new(list, json_string(*d));
	return list;
}

static json_t *probe_json(const struct kiln__backend *backend)
{
	struct kiln__probe probe = {0};
	json_t *features = json_array();

	backend->probe(kiln__os_arch(), &probe);
	for (const struct kiln__feature *f = kiln__features; f->name; f++)
		if (backend->features & f->bit)
			json_array_append_new(features, json_string(f->name));
	return json_pack("{s:s, s:s, s:b, s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "name",
			 backend->name, "summary", backend->summary, "usable", probe.usable,
			 "version", probe.version, "accel", probe.accel, "reason",
			 probe.reason.message, "hint", probe.reason.hint, "features", features,
			 "changes", changes_json(backend), "devices", devices_json(backend));
}

static void print_backends(void)
{
	printf("\nBackends:\n");
	for (const struct kiln__backend *const *b = kiln__backends; *b; b++) {
		struct kiln__probe probe = {0};
		char what[128];

		(*b)->probe(kiln__os_arch(), &probe);
		snprintf(what, sizeof(what), "%s%s%s%s%s", (*b)->name, probe.version[0] ? " " : "",
			 probe.version, probe.accel[0] ? ", by " : "", probe.accel);
		print_line(probe.usable ? "ok" : "no", what, probe.reason.message,
			   probe.reason.hint);
	}
}

/* Kernels for VMs get security updates about monthly. */
#define OLD_NS (INT64_C(45) * 86400 * 1000000000)

static bool is_old(const struct kiln__default_kernel *kernel)
{
	return kiln__os_realtime_ns() - kernel->fetched_ns > OLD_NS;
}

static void print_kernel(const struct kernel_found *kernel)
{
	char ago[32];
	char detail[64];

	printf("\nKernel:\n");
	if (!kernel->found.path) {
		print_line("no", kernel->why.message, "", kernel->why.hint);
		return;
	}
	snprintf(detail, sizeof(detail), "fetched %s",
		 format_ago(kernel->found.fetched_ns, ago, sizeof(ago)));
	print_line("ok", kernel->found.path, detail,
		   is_old(&kernel->found) ? "\"kiln kernel pull\" gets the newest" : "");
}

static void print_health(const struct health *health)
{
	host_print(health->host);
	print_backends();
	print_kernel(&health->kernel);
}

static json_t *health_json(const struct health *health)
{
	json_t *object = host_json(health->host);
	const struct kiln__default_kernel *found = &health->kernel.found;
	json_t *kernel = found->path ? json_string(found->path) : json_null();
	char fetched[KILN__TIME_TEXT] = "";

	if (found->path)
		kiln__time_format(found->fetched_ns, fetched);
	json_object_set_new(object, "kernel",
			    json_pack("{s:o, s:s, s:s}", "path", kernel, "release", found->release,
				      "fetched", fetched));
	for (const struct kiln__backend *const *b = kiln__backends; *b; b++)
		json_object_set_new(object, (*b)->name, probe_json(*b));
	return object;
}

/* What a VM without a kernel of its own boots. Nothing is downloaded for the sake of a report. */
static void find_kernel(struct kernel_found *ret)
{
	struct kiln__home home = {0};
	int r = kiln__home_init(&home, NULL, NULL, NULL, &ret->why);

	if (r == 0)
		r = kiln__resolve_default_kernel(&home, kiln__os_arch(), &ret->found, &ret->why);
	if (r < 0)
		kiln__hint(&ret->why, "the first run without --kernel downloads one");
	kiln__home_done(&home);
}

/* Fails if nothing here can run a VM: emulation counts. */
static int verdict(void)
{
	for (const struct kiln__backend *const *b = kiln__backends; *b; b++) {
		struct kiln__probe probe = {0};

		if (strcmp((*b)->name, "fake") == 0)
			continue;
		(*b)->probe(kiln__os_arch(), &probe);
		if (probe.usable)
			return 0;
	}
	return EXIT_KILN;
}

int verb_doctor(struct cli *cli, const struct args *args)
{
	struct health health = {0};
	kiln_error err = KILN_ERROR_INIT;

	(void)cli;
	/* Asked by somebody who wonders: found out anew, not read from the record. */
	if (host_look(&health.host, &err) < 0)
		return complain("doctor", &err);
	find_kernel(&health.kernel);
	if (args_is(args, OPT_FORMAT, "json"))
		print_json(health_json(&health), NULL);
	else
		print_health(&health);
	free(health.kernel.found.path);
	free(health.host);
	return verdict();
}

/* --- backends ---------------------------------------------------------------- */

static void add_features(struct table *table, const struct kiln__backend *backend)
{
	kiln__autobuf text = KILN__BUF_INIT;

	for (const struct kiln__feature *f = kiln__features; f->name; f++)
		if (backend->features & f->bit)
			kiln__buf_addf(&text, "%s%s", text.len ? " " : "", f->name);
	for (unsigned i = 0; kiln__change_names[i]; i++)
		if (kiln__change_can(backend, (enum kiln_change_kind)i))
			kiln__buf_addf(&text, " %s", kiln__change_names[i]);
	table_add(table, "%s", text.len ? text.data : "-");
}

static void add_row(struct table *table, const char *what, bool can)
{
	table_add(table, "%s", what);
	table_add(table, "%s", can ? "yes" : "no");
}

/* All that one can do or not, as its check() and the machine decide it. */
static void print_abilities(const struct kiln__backend *backend)
{
	static const char *const heads[] = {"ABILITY", "", NULL};
	struct table *table = table_new(heads);

	for (const struct kiln__feature *f = kiln__features; f->name; f++)
		add_row(table, f->name, backend->features & f->bit);
	for (unsigned i = 0; kiln__change_names[i]; i++)
		add_row(table, kiln__change_names[i],
			kiln__change_can(backend, (enum kiln_change_kind)i));
	for (const char *const *d = backend->devices; d && *d; d++) {
		table_add(table, "add %s", *d);
		table_add(table, "yes");
	}
	table_print(table);
}

/* Of its own configuration: by which key of kiln's it is said, and since when there is such. */
static void print_fields(const struct kiln__backend *backend)
{
	static const char *const heads[] = {"FIELD", "SAID BY", "SINCE", NULL};
	struct table *table;

	if (!backend->fields)
		return;
	putchar('\n');
	table = table_new(heads);
	for (const struct kiln__own_field *f = backend->fields; f->path; f++) {
		table_add(table, "%s", f->path);
		table_add(table, "%s", f->instead ? f->instead : backend->own_key);
		if (f->since)
			table_add(table, "%u.%u", f->since / 1000, f->since % 1000);
		else
			table_add(table, "-");
	}
	table_print(table);
}

static json_t *fields_json(const struct kiln__backend *backend)
{
	json_t *list = json_array();

	for (const struct kiln__own_field *f = backend->fields; f && f->path; f++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:i}", "path", f->path, "key",
						      f->instead ? f->instead : backend->own_key,
						      "since", (int)f->since));
	return list;
}

static int show_backend(const char *name, bool as_json)
{
	const struct kiln__backend *backend;
	kiln_error err = KILN_ERROR_INIT;
	json_t *object;

	if (kiln__backend_find(name, &backend, &err) < 0)
		return complain("backends", &err);
	if (as_json) {
		object = probe_json(backend);
		json_object_set_new(object, "fields", fields_json(backend));
		print_json(object, NULL);
		return 0;
	}
	print_abilities(backend);
	print_fields(backend);
	return 0;
}

int verb_backends(struct cli *cli, const struct args *args)
{
	static const char *const heads[] = {"NAME", "USABLE", "ACCEL", "VERSION", "CAN", NULL};
	bool as_json = args_is(args, OPT_FORMAT, "json");
	struct table *table;
	json_t *array;

	(void)cli;
	if (args->count)
		return show_backend(args->positional[0], as_json);
	table = as_json ? NULL : table_new(heads);
	array = as_json ? json_array() : NULL;
	for (const struct kiln__backend *const *b = kiln__backends; *b; b++) {
		struct kiln__probe probe = {0};

		if (as_json) {
			json_array_append_new(array, probe_json(*b));
			continue;
		}
		(*b)->probe(kiln__os_arch(), &probe);
		table_add(table, "%s", (*b)->name);
		table_add(table, "%s", probe.usable ? "yes" : "no");
		table_add(table, "%s", probe.accel[0] ? probe.accel : "-");
		table_add(table, "%s", probe.version[0] ? probe.version : "-");
		add_features(table, *b);
	}
	if (as_json)
		print_json(array, NULL);
	else
		table_print(table);
	return 0;
}

/* --- version, schema --------------------------------------------------------- */

int verb_version(struct cli *cli, const struct args *args)
{
	(void)cli;
	if (args_is(args, OPT_FORMAT, "json"))
		print_json(
			json_pack("{s:s, s:s}", "version", KILN_VERSION, "arch", kiln__os_arch()),
			NULL);
	else
		printf("kiln %s\n", KILN_VERSION);
	return 0;
}

int verb_schema(struct cli *cli, const struct args *args)
{
	(void)cli;
	(void)args;
	fputs(kiln_config_schema(), stdout);
	return 0;
}
