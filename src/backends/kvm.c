/* SPDX-License-Identifier: Apache-2.0 */
#include "kvm.h"

#include "cleanup.h"
#include "err.h"
#include "os.h"
#include "preflight.h"

#include <string.h>

int kiln__kvm_reason(const char *arch, kiln_error *reason)
{
	kiln__autofree char *directory = NULL;
	struct kiln__hv_report report;
	int r;

	if (strcmp(arch, kiln__os_arch()) != 0)
		return kiln__fail(reason, KILN_ENOTSUP, "KVM runs %s guests only, this one is %s",
				  kiln__os_arch(), arch);
	r = kiln__os_runtime_dir(&directory, reason);
	if (r == 0)
		r = kiln__hv_preflight_cached(&report, directory, NULL, reason);
	if (r < 0 || report.usable)
		return r;
	r = kiln__fail(reason, KILN_ENOTSUP, "%s", report.summary);
	kiln__hint(reason, "%s", report.hint);
	return r;
}
