/* SPDX-License-Identifier: Apache-2.0 */
#include "console_scan.h"

#include <stdio.h>
#include <string.h>

/* What the kernel prints (kernel/panic.c), and kiln-guest when it cannot go on. */
static const char *const last_words[] = {
	"Kernel panic - not syncing: ",
	"kiln-guest: fatal: ",
};

static void copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%.*s", (int)(size - 1), from);
}

/* A marker counts at a line's start, behind the kernel's time stamp too ("[    1.234567] "). */
static const char *skip_stamp(const char *line)
{
	const char *end;

	if (line[0] != '[')
		return line;
	end = strchr(line, ']');
	return end && end[1] == ' ' ? end + 2 : line;
}

static bool is_marker(const char *line, const char *marker)
{
	size_t len = strlen(marker);

	return strncmp(line, marker, len) == 0 && (line[len] == '\0' || line[len] == ' ');
}

static bool take_line(struct kiln__console_scan *scan)
{
	const char *line = skip_stamp(scan->line);

	copy(scan->last, sizeof(scan->last), scan->line);
	if (!scan->ready && (is_marker(line, "KILN_READY") || is_marker(line, "VMRS_READY"))) {
		scan->ready = true;
		if (line[0] == 'V' && line[strlen("VMRS_READY")] == ' ')
			copy(scan->address, sizeof(scan->address), line + strlen("VMRS_READY "));
		return true;
	}
	for (size_t i = 0; !scan->panic[0] && i < sizeof(last_words) / sizeof(last_words[0]); i++)
		if (strncmp(line, last_words[i], strlen(last_words[i])) == 0) {
			copy(scan->panic, sizeof(scan->panic), line + strlen(last_words[i]));
			return true;
		}
	return false;
}

bool kiln__console_scan(struct kiln__console_scan *scan, const void *bytes, size_t len)
{
	const unsigned char *at = bytes;
	bool changed = false;

	for (size_t i = 0; i < len; i++) {
		if (at[i] == '\n' || at[i] == '\r') {
			scan->line[scan->len] = '\0';
			if (scan->len && take_line(scan))
				changed = true;
			scan->len = 0;
		} else if (scan->len < sizeof(scan->line) - 1) {
			scan->line[scan->len++] = at[i] < ' ' || at[i] > '~' ? ' ' : (char)at[i];
		}
	}
	return changed;
}
