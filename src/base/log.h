/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_LOG_H
#define KILN_BASE_LOG_H

#include <kiln/log.h>

/* Formats and hands one line to the logger, if it wants this level. @log may be NULL. */
void kiln__log(const kiln_log *log, enum kiln_log_level level, const char *fmt, ...)
	KILN_PRINTF(3, 4);

#endif
