/* SPDX-License-Identifier: Apache-2.0 */
#include "join.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

char *kiln__join(const char *first, ...)
{
	size_t len = 0;
	va_list args;
	char *text, *at;

	va_start(args, first);
	for (const char *part = first; part; part = va_arg(args, const char *))
		len += strlen(part);
	va_end(args);
	text = at = malloc(len + 1);
	if (!text)
		return NULL;
	va_start(args, first);
	for (const char *part = first; part; part = va_arg(args, const char *)) {
		len = strlen(part);
		memcpy(at, part, len);
		at += len;
	}
	va_end(args);
	*at = '\0';
	return text;
}
