/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts of the host around KVM, from /proc, /sys and /dev, and the reasons why its
 * device cannot be opened.
 */
#include "preflight_internal.h"

#include "cleanup.h"
#include "err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}
#define autofile kiln__cleanup(close_file) FILE

static FILE *open_under(const char *root, const char *path)
{
	char full[512];

	if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
		return NULL;
	return fopen(full, "re");
}

static bool exists(const char *root, const char *path)
{
	char full[512];

	return snprintf(full, sizeof(full), "%s%s", root, path) < (int)sizeof(full) &&
	       access(full, F_OK) == 0;
}

/* "key<tabs>: value\n" of /proc/cpuinfo: the value, or NULL if this is another key. */
static const char *value_of(char *line, const char *key)
{
	size_t len = strlen(key);
	char *value;

	if (strncmp(line, key, len) != 0 || !strchr(" \t:", line[len]))
		return NULL;
	value = strchr(line, ':');
	if (!value)
		return NULL;
	value++;
	value += strspn(value, " \t");
	value[strcspn(value, "\n")] = '\0';
	return value;
}

static bool has_word(const char *list, const char *word, const char *separators)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len) {
		bool starts = at == list || strchr(separators, at[-1]);

		if (starts && (at[len] == '\0' || strchr(separators, at[len])))
			return true;
	}
	return false;
}

static void note_flags(struct kiln__hv_facts *facts, const char *flags)
{
	if (has_word(flags, "vmx", " "))
		strcpy(facts->extension, "vmx");
	else if (has_word(flags, "svm", " "))
		strcpy(facts->extension, "svm");
	facts->in_vm = has_word(flags, "hypervisor", " ") ? KILN__HV_YES : KILN__HV_NO;
}

/* The first processor's paragraph; there may be hundreds. */
static void read_cpuinfo(struct kiln__hv_facts *facts, const char *root)
{
	autofile *file = open_under(root, "/proc/cpuinfo");
	kiln__autofree char *line = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 1) {
		const char *value;

		if ((value = value_of(line, "vendor_id")))
			snprintf(facts->cpu_vendor, sizeof(facts->cpu_vendor), "%s", value);
		else if ((value = value_of(line, "model name")))
			snprintf(facts->cpu_model, sizeof(facts->cpu_model), "%s", value);
		else if ((value = value_of(line, "flags")))
			note_flags(facts, value);
		else if ((value = value_of(line, "CPU implementer")))
			snprintf(facts->cpu_vendor, sizeof(facts->cpu_vendor), "%s",
				 strtoul(value, NULL, 16) == 0x41 ? "ARM" : value);
		else if ((value = value_of(line, "CPU part")))
			snprintf(facts->cpu_model, sizeof(facts->cpu_model), "part %s", value);
	}
}

static void read_module(struct kiln__hv_facts *facts, const char *root)
{
	static const char *const modules[] = {"kvm_intel", "kvm_amd", "kvm_pvm"};

	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		char path[64];
		int c;

		snprintf(path, sizeof(path), "/sys/module/%s", modules[i]);
		if (!exists(root, path))
			continue;
		snprintf(facts->module, sizeof(facts->module), "%s", modules[i]);
		snprintf(path, sizeof(path), "/sys/module/%s/parameters/nested", modules[i]);

		autofile *file = open_under(root, path);

		c = file ? fgetc(file) : EOF;
		if (c == '1' || c == 'Y')
			facts->nests = KILN__HV_YES;
		else if (c == '0' || c == 'N')
			facts->nests = KILN__HV_NO;
		return;
	}
}

/* proc_pid_mountinfo(5): "... - cgroup2 SOURCE SUPER-OPTIONS". */
static void read_cgroup2(struct kiln__hv_facts *facts, const char *root)
{
	autofile *file = open_under(root, "/proc/self/mountinfo");
	kiln__autofree char *line = NULL;
	size_t size = 0;

	if (!file)
		return;
	facts->cgroup2 = KILN__HV_NO;
	facts->favordynmods = KILN__HV_NO;
	while (getline(&line, &size, file) > 0) {
		const char *options = strstr(line, " - cgroup2 ");

		if (!options)
			continue;
		facts->cgroup2 = KILN__HV_YES;
		if (has_word(options, "favordynmods", " ,\n"))
			facts->favordynmods = KILN__HV_YES;
	}
}

void kiln__hv_facts(struct kiln__hv_facts *ret, const char *root)
{
	if (!root)
		root = "";
	*ret = (struct kiln__hv_facts){
		.in_vm = KILN__HV_UNKNOWN,
		.nests = KILN__HV_UNKNOWN,
		.cgroup2 = KILN__HV_UNKNOWN,
		.favordynmods = KILN__HV_UNKNOWN,
	};
	read_cpuinfo(ret, root);
	read_module(ret, root);
	read_cgroup2(ret, root);
	ret->vhost_vsock = exists(root, "/dev/vhost-vsock") ? KILN__HV_YES : KILN__HV_NO;
	ret->vhost_net = exists(root, "/dev/vhost-net") ? KILN__HV_YES : KILN__HV_NO;
	ret->tun = exists(root, "/dev/net/tun") ? KILN__HV_YES : KILN__HV_NO;
}

/* --- why it does not open --------------------------------------------------------------- */

#if defined(__x86_64__)
static void explain_missing(const struct kiln__preflight *run, kiln_error *error)
{
	struct kiln__hv_facts facts;

	kiln__hv_facts(&facts, run->root);
	if (facts.module[0])
		kiln__hint(error,
			   "the kernel has %s loaded, so the device is only not visible here: a "
			   "container "
			   "needs it passed in (docker run --device %s)",
			   facts.module, run->device);
	else if (facts.extension[0])
		kiln__hint(error,
			   "the processor has %s, but KVM's module is not loaded: modprobe %s, and "
			   "see dmesg "
			   "if that fails",
			   facts.extension,
			   strcmp(facts.extension, "vmx") == 0 ? "kvm_intel" : "kvm_amd");
	else if (facts.in_vm == KILN__HV_YES)
		kiln__hint(
			error,
			"this host is a virtual machine whose processor shows neither vmx nor svm: "
			"turn on nested virtualization where it was made");
	else
		kiln__hint(error,
			   "the processor shows neither vmx nor svm: turn on virtualization (VT-x, "
			   "AMD-V, SVM) in the firmware's set-up");
}
#else
static void explain_missing(const struct kiln__preflight *run, kiln_error *error)
{
	(void)run;
	kiln__hint(error,
		   "the kernel has no KVM, was not entered at EL2, or (in a container) the device "
		   "was not passed in");
}
#endif

static void explain_refused(const struct kiln__preflight *run, kiln_error *error)
{
	struct stat st;

	if (error->os_errno == EPERM)
		kiln__hint(error,
			   "file permissions are not it: a container's device policy or a security "
			   "module "
			   "forbids %s",
			   run->device);
	else if (stat(run->device, &st) == 0 && st.st_gid != 0 && (st.st_mode & 060) == 060)
		kiln__hint(error,
			   "join the group that owns %s (gid %u, usually kvm): sudo usermod -aG "
			   "kvm USER, "
			   "then log in again",
			   run->device, (unsigned)st.st_gid);
	else
		kiln__hint(error,
			   "only its owner may use %s: sudo chgrp kvm %s && sudo chmod 660 %s, and "
			   "join "
			   "group kvm",
			   run->device, run->device, run->device);
}

void kiln__preflight_explain_open(const struct kiln__preflight *run, kiln_error *error)
{
	switch (error->os_errno) {
	case ENOENT:
	case ENOTDIR:
		explain_missing(run, error);
		break;
	case ENODEV:
	case ENXIO:
		kiln__hint(error,
			   "the node is there but nothing serves it: load KVM's module (modprobe "
			   "kvm_intel or kvm_amd)");
		break;
	case EACCES:
	case EPERM:
		error->hint[0] = '\0'; /* what follows knows more than kiln_hv_open() */
		explain_refused(run, error);
		break;
	default:
		break;
	}
}
