/* SPDX-License-Identifier: Apache-2.0 */
/* Signals of the guest, which is Linux whatever the host is: signal(7), x86 and ARM. */
#include "check.h"
#include "spec.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RTMIN 34 /* what is left by the C library's threads */
#define RTMAX 64

static const char *const names[] = {
	[1] = "HUP",     [2] = "INT",   [3] = "QUIT",   [4] = "ILL",   [5] = "TRAP",
	[6] = "ABRT",    [7] = "BUS",   [8] = "FPE",    [9] = "KILL",  [10] = "USR1",
	[11] = "SEGV",   [12] = "USR2", [13] = "PIPE",  [14] = "ALRM", [15] = "TERM",
	[16] = "STKFLT", [17] = "CHLD", [18] = "CONT",  [19] = "STOP", [20] = "TSTP",
	[21] = "TTIN",   [22] = "TTOU", [23] = "URG",   [24] = "XCPU", [25] = "XFSZ",
	[26] = "VTALRM", [27] = "PROF", [28] = "WINCH", [29] = "IO",   [30] = "PWR",
	[31] = "SYS",
};

/* @text is "" or a sign and a number: what is added to @base, within the real-time signals. */
static unsigned real_time(unsigned base, char sign, const char *text)
{
	char *end;
	unsigned long more;

	if (!*text)
		return base;
	if (*text != sign || text[1] < '0' || text[1] > '9')
		return 0;
	more = strtoul(text + 1, &end, 10);
	if (*end || more > RTMAX - RTMIN)
		return 0;
	return sign == '+' ? base + (unsigned)more : base - (unsigned)more;
}

unsigned kiln__signal_number(const char *text)
{
	char *end;

	if (*text >= '0' && *text <= '9') {
		unsigned long number = strtoul(text, &end, 10);

		return *end || number > RTMAX ? 0 : (unsigned)number;
	}
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	if (strncasecmp(text, "RTMIN", 5) == 0)
		return real_time(RTMIN, '+', text + 5);
	if (strncasecmp(text, "RTMAX", 5) == 0)
		return real_time(RTMAX, '-', text + 5);
	for (unsigned i = 1; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(names[i], text) == 0)
			return i;
	return 0;
}

const char *kiln__check_signal(const char *text)
{
	return kiln__signal_number(text) ? NULL
					 : "must be a signal of Linux, as SIGQUIT, RTMIN+3 or 15";
}
