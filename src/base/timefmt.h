/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_TIMEFMT_H
#define KILN_BASE_TIMEFMT_H

#include <stdint.h>

#define KILN__TIME_TEXT 48

/* RFC 3339 in UTC with nanoseconds: "2026-01-31T23:59:59.123456789Z". */
void kiln__time_format(int64_t realtime_ns, char text[KILN__TIME_TEXT]);

/* The reverse, with or without a fraction; -1 if it is none. */
int64_t kiln__time_parse(const char *text);

#endif
