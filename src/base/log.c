/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>

void kiln__log(const kiln_log *log, enum kiln_log_level level, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	if (!log || !log->fn || level < log->level)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log->fn(log->data, level, text);
}
