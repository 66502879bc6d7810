/* SPDX-License-Identifier: Apache-2.0 */
#include "failure.h"

#include <kiln/hv_x86.h>

#include "err.h"

#include <stdio.h>

/* SDM vol. 3, 6.15, interrupt 8: a fault while delivering a double fault shuts the processor down.
 */
static const char *describe(const kiln_hv_exit *exit, char *text, size_t size)
{
	if (exit->kind == KILN_HV_EXIT_SHUTDOWN)
		return "the guest's kernel crashed: triple fault";
	kiln_hv_exit_describe(exit, text, size);
	return text;
}

void kiln__vcpu_failure(kiln_hv_vcpu *vcpu, unsigned index, const kiln_hv_exit *exit,
			kiln_error *ret)
{
	kiln_hv_x86_state s;
	char text[160];
	const char *what = describe(exit, text, sizeof(text));

	if (kiln_hv_x86_get_state(vcpu, &s, NULL) < 0) {
		kiln__fail(ret, KILN_EDIED, "%s, on vCPU %u", what, index);
		return;
	}
	kiln__fail(
		ret, KILN_EDIED,
		"%s, on vCPU %u at rip=%llx cs=%x rsp=%llx rflags=%llx cr0=%llx cr2=%llx cr3=%llx "
		"cr4=%llx efer=%llx rax=%llx rdi=%llx rsi=%llx",
		what, index, (unsigned long long)s.rip, s.cs.selector,
		(unsigned long long)s.gpr[KILN_X86_RSP], (unsigned long long)s.rflags,
		(unsigned long long)s.cr0, (unsigned long long)s.cr2, (unsigned long long)s.cr3,
		(unsigned long long)s.cr4, (unsigned long long)s.efer,
		(unsigned long long)s.gpr[KILN_X86_RAX], (unsigned long long)s.gpr[KILN_X86_RDI],
		(unsigned long long)s.gpr[KILN_X86_RSI]);
}
