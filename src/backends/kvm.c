/* SPDX-License-Identifier: Apache-2.0 */
#include "kvm.h"

#include "cleanup.h"
#include "err.h"
#include "os.h"
#include "preflight.h"
#include "spec.h"

#include <string.h>

int kiln__kvm_reason(const char *arch, bool quick, kiln_error *reason)
{
	const struct kiln__hv_preflight_options options = {.only_recorded = quick};
	kiln__autofree char *directory = NULL;
	struct kiln__hv_report report;
	int r;

	if (strcmp(arch, kiln__os_arch()) != 0)
		return kiln__fail(reason, KILN_ENOTSUP, "KVM runs %s guests only, this one is %s",
				  kiln__os_arch(), arch);
	r = kiln__os_runtime_dir(&directory, reason);
	if (r == 0)
		r = kiln__hv_preflight_cached(&report, directory, &options, reason);
	if (r < 0 || report.usable)
		return r;
	r = kiln__fail(reason, KILN_ENOTSUP, "%s", report.summary);
	kiln__hint(reason, "%s", report.hint);
	return r;
}

int kiln__kvm_reason_for(const struct kiln__spec *spec, kiln_error *reason)
{
	if (!spec->kvm.known)
		return kiln__kvm_reason(spec->arch, false, reason);
	if (spec->kvm.why.code && reason)
		*reason = spec->kvm.why;
	return spec->kvm.why.code;
}
