/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is there a QEMU here, and what can it accelerate with? KVM is used only where the
 * preflight has shown that it runs stock kernels; that answer is kept between runs.
 */
#include "probe.h"

#include "err.h"
#include "kvm.h"
#include "os.h"
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *arch;
	const char *program;
	const char *package;
} programs[] = {
	{"x86_64", "qemu-system-x86_64", "qemu-system-x86"},
	{"aarch64", "qemu-system-aarch64", "qemu-system-arm"},
};

int kiln__qemu_find(const char *configured, const char *arch, char **ret, kiln_error *err)
{
	const char *program = NULL;
	const char *package = NULL;
	struct kiln__os_stat st;

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (strcmp(programs[i].arch, arch) == 0) {
			program = programs[i].program;
			package = programs[i].package;
		}
	if (!program)
		return kiln__fail(err, KILN_ENOTSUP, "no QEMU is known for %s guests", arch);
	if (configured) {
		if (kiln__os_stat(configured, &st, err) < 0)
			return kiln__prefix(err, "qemu.binary"), KILN_ENOENT;
		*ret = strdup(configured);
		return *ret ? 0 : kiln__fail_nomem(err);
	}
	if (kiln__os_find_program(ret, program, err) == 0)
		return 0;
	kiln__fail(err, KILN_ENOENT, "%s is not installed", program);
	return kiln__hint(err, "install it (Debian and Ubuntu: apt-get install %s)", package),
	       KILN_ENOENT;
}

int kiln__qemu_use_kvm(const struct kiln__spec *spec, kiln_error *reason, kiln_error *err)
{
	kiln_error why = KILN_ERROR_INIT;

	if (strcmp(spec->accel, "tcg") == 0)
		return 0;
	if (kiln__kvm_reason_for(spec, &why) == 0)
		return 1;
	if (reason)
		*reason = why;
	if (strcmp(spec->accel, "auto") == 0)
		return 0;
	if (err)
		*err = why;
	kiln__prefix(err, "accel: kvm does not work here");
	return why.code;
}

/* The first line of --version, without its prefix. */
static void read_version(const char *binary, struct kiln__probe *ret)
{
	kiln__autofree char *text = NULL;
	const char *at;

	if (kiln__os_run_capture(binary, (const char *const[]){binary, "--version", NULL}, 5000,
				 &text, NULL) < 0)
		return;
	at = strstr(text, "version ");
	at = at ? at + strlen("version ") : text;
	snprintf(ret->version, sizeof(ret->version), "%.*s", (int)strcspn(at, "\n"), at);
}

void kiln__qemu_probe(const char *arch, struct kiln__probe *ret)
{
	kiln__autofree char *binary = NULL;

	*ret = (struct kiln__probe){.usable = false};
	if (kiln__qemu_find(NULL, arch, &binary, &ret->reason) < 0)
		return;
	ret->usable = true;
	read_version(binary, ret);
	snprintf(ret->accel, sizeof(ret->accel), "%s",
		 kiln__kvm_reason(arch, false, &ret->reason) == 0 ? "kvm" : "tcg");
}
