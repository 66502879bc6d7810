/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preflight on KVM: opens the device, checks its features, makes a VM and
 * lets the architecture's part run its guest code in it, step by step.
 *
 * It all happens on the caller's thread. A guest that never exits is kicked by the
 * vCPU's deadline timer (vcpu.c), so neither a second process nor a signal handler is
 * needed to bound it: a forked child could be killed just as well, but would copy the
 * address space of whatever program embeds this library, and could do little that is
 * safe after a fork among threads. What is not bounded are system calls other than
 * KVM_RUN, in which no guest code runs.
 */
#include "preflight_internal.h"

#include "buf.h"
#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_DEVICE      "/dev/kvm"
#define DEFAULT_DEADLINE_MS 1000

static void copy_line(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
	for (; *to; to++)
		if ((unsigned char)*to < ' ' || *to == 0x7f)
			*to = ' ';
}

void kiln__preflight_add(struct kiln__preflight *run, const char *name,
			 enum kiln__hv_check_state state, const char *hint, const char *fmt, ...)
{
	struct kiln__hv_report *report = run->report;
	struct kiln__hv_check *check;
	char detail[sizeof(check->detail)];
	va_list args;

	if (report->count == KILN__HV_MAX_CHECKS)
		return;
	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	check = &report->checks[report->count++];
	check->state = state;
	copy_line(check->name, sizeof(check->name), name);
	copy_line(check->detail, sizeof(check->detail), detail);
	copy_line(check->hint, sizeof(check->hint), hint);
}

/* Shortage and slowness are of the moment, not of the host. */
static bool may_pass(const kiln_error *error)
{
	return error->code == KILN_ENOMEM || error->code == KILN_EBUSY ||
	       error->code == KILN_ETIMEDOUT || error->os_errno == EMFILE ||
	       error->os_errno == ENFILE;
}

bool kiln__preflight_call(struct kiln__preflight *run, const char *name, int code,
			  const kiln_error *error, const char *hint)
{
	if (code >= 0) {
		kiln__preflight_add(run, name, KILN__HV_CHECK_OK, NULL, "%s", "");
		return true;
	}
	if (may_pass(error))
		run->final = false;
	kiln__preflight_add(run, name, KILN__HV_CHECK_FAILED, hint, "%s", error->message);
	return false;
}

static const char *whose_fault(const struct kiln__preflight *run)
{
	struct kiln__hv_facts facts;

	kiln__hv_facts(&facts, run->root);
	if (strcmp(facts.module, "kvm_pvm") == 0)
		return "this KVM (kvm_pvm) emulates the guest's kernel mode without hardware "
		       "support; use a "
		       "host with AMD-V or VT-x, or let kiln emulate (TCG)";
	if (facts.in_vm == KILN__HV_YES)
		return "this host is a virtual machine whose hypervisor nests incompletely; use "
		       "another host, "
		       "or let kiln emulate (TCG)";
	return "the kernel's KVM does not behave as this processor does; update the kernel, or let "
	       "kiln "
	       "emulate (TCG)";
}

bool kiln__preflight_guest_call(struct kiln__preflight *run, const char *name, int code,
				const kiln_error *error)
{
	return kiln__preflight_call(run, name, code, error, code < 0 ? whose_fault(run) : NULL);
}

static bool open_device(struct kiln__preflight *run)
{
	kiln_error error = KILN_ERROR_INIT;
	int code = kiln_hv_open(&run->hv, run->device, &error);

	/* What cannot be opened is found out again as fast as a record is read. */
	if (code < 0) {
		run->final = false;
		kiln__preflight_explain_open(run, &error);
	}
	run->report->opens = code >= 0;
	return kiln__preflight_call(run, "open", code, &error, error.hint);
}

static bool check_features(struct kiln__preflight *run)
{
	kiln_error error = KILN_ERROR_INIT;
	int code = kiln_hv_check_features(run->hv, &error);

	return kiln__preflight_call(run, "features", code, &error,
				    "the kernel's KVM is too old or was built without them");
}

static bool create_vm(struct kiln__preflight *run)
{
	kiln_error error = KILN_ERROR_INIT;
	int code = kiln_hv_vm_new(&run->vm, run->hv, NULL, &error);
	const char *hint = "see the kernel's log (dmesg) for KVM's own words";

	if (code == KILN_EBUSY)
		hint = "another hypervisor (VirtualBox, VMware ...) holds the processor's "
		       "virtualization "
		       "extensions: stop its VMs";
	else if (code == KILN_ENOMEM)
		hint = "free some memory and try again";
	return kiln__preflight_call(run, "create-vm", code, &error, hint);
}

/* So that a report always has the same checks. */
static void skip_rest(struct kiln__preflight *run)
{
	static const char *const host_checks[] = {"open", "features", "create-vm"};
	size_t hosts = sizeof(host_checks) / sizeof(host_checks[0]);
	const char *const *name = kiln__preflight_guest_checks;

	for (size_t i = run->report->count; i < hosts; i++)
		kiln__preflight_add(run, host_checks[i], KILN__HV_CHECK_SKIPPED, NULL,
				    "not reached");
	for (size_t i = hosts; i < run->report->count && *name; i++)
		name++;
	for (; *name; name++)
		kiln__preflight_add(run, *name, KILN__HV_CHECK_SKIPPED, NULL, "not reached");
}

static void conclude(struct kiln__preflight *run)
{
	struct kiln__hv_report *report = run->report;
	const struct kiln__hv_check *first = NULL;
	kiln__autobuf names = KILN__BUF_INIT;
	kiln__autobuf text = KILN__BUF_INIT;

	for (size_t i = 0; i < report->count; i++) {
		const struct kiln__hv_check *check = &report->checks[i];

		if (check->state != KILN__HV_CHECK_FAILED)
			continue;
		kiln__buf_addf(&names, "%s%s", first ? ", " : "", check->name);
		first = first ? first : check;
	}
	report->usable = !first;
	if (!first)
		kiln__buf_adds(&text, "KVM runs stock kernels");
	else if (!report->opens)
		kiln__buf_addf(&text, "no KVM: %s", first->detail);
	else
		kiln__buf_addf(&text, "%s opens but cannot run stock kernels: %s (%s)", run->device,
			       first->detail, names.data ? names.data : first->name);
	copy_line(report->summary, sizeof(report->summary), text.data);
	if (first)
		copy_line(report->hint, sizeof(report->hint), first->hint);
}

void kiln__preflight_run(struct kiln__hv_report *ret,
			 const struct kiln__hv_preflight_options *options, bool *ret_final)
{
	struct kiln__preflight run = {
		.report = ret,
		.root = options && options->root ? options->root : "",
		.device = options && options->device ? options->device : DEFAULT_DEVICE,
		.deadline_ms = options && options->deadline_ms ? options->deadline_ms
							       : DEFAULT_DEADLINE_MS,
		.final = true,
	};

	*ret = (struct kiln__hv_report){0};
	if (open_device(&run) && check_features(&run) && create_vm(&run))
		kiln__preflight_guest(&run);
	skip_rest(&run);
	kiln_hv_vm_free(run.vm);
	kiln_hv_free(run.hv);
	conclude(&run);
	*ret_final = run.final;
}

int kiln__hv_preflight(struct kiln__hv_report *ret,
		       const struct kiln__hv_preflight_options *options, kiln_error *err)
{
	bool final;

	(void)err;
	kiln__preflight_run(ret, options, &final);
	return 0;
}
