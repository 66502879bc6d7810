/* SPDX-License-Identifier: Apache-2.0 */
/* PID 1 of an arm64 guest that has a KVM of its own: makes the preflight there and tells how it
 * went. */
#include "preflight.h"

#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

static void report(void)
{
	struct kiln__hv_report report;

	if (kiln__hv_preflight(&report, NULL, NULL) < 0)
		return;
	for (size_t i = 0; i < report.count; i++)
		printf("%d %-12s %s\n", report.checks[i].state, report.checks[i].name,
		       report.checks[i].detail);
	printf("%s: %s\n", report.usable ? "works" : "broken", report.summary);
}

int main(void)
{
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	report();
	fflush(stdout);
	reboot(RB_POWER_OFF);
	return 1;
}
