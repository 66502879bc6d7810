/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are records of what happened: whole, also after a crash or on a full disk. */
#include "os.h"

#include "buf.h"
#include "err.h"

#include <string.h>

/* Over what is there, and blanks over what is left of that: the file takes no more room than it
 * has. */
static int overwrite(const char *path, const char *text, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln__autobuf padded = KILN__BUF_INIT;
	struct kiln__os_stat st;
	int r = kiln__os_open(&fd, path, KILN__OPEN_WRITE | KILN__OPEN_HOSTILE, err);

	if (r == 0)
		r = kiln__os_fstat(fd, &st, err);
	if (r < 0)
		return r;
	kiln__buf_adds(&padded, text);
	while (!padded.failed && padded.len < st.size)
		kiln__buf_addc(&padded, ' ');
	if (padded.failed)
		return kiln__fail_nomem(err);
	return kiln__os_pwrite_full(fd, padded.data, padded.len, 0, err);
}

int kiln__os_save_record(const char *path, const char *text, bool durable, kiln_error *err)
{
	int r = kiln__os_replace_file(path, text, strlen(text), 0600, durable, err);

	return r < 0 && overwrite(path, text, NULL) == 0 ? 0 : r;
}

int kiln__os_open_lines(kiln_fd *ret, const char *path, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct kiln__os_stat st;
	char last;
	int r = kiln__os_open(
		&fd, path,
		KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_APPEND | KILN__OPEN_HOSTILE, err);

	if (r == 0)
		r = kiln__os_fstat(fd, &st, err);
	if (r < 0)
		return r;
	/* Whoever wrote the last was killed, or had no room: his line is his alone. */
	if (st.size > 0 && kiln__os_pread_full(fd, &last, 1, st.size - 1, NULL) == 1 &&
	    last != '\n')
		kiln__os_write_full(fd, "\n", 1, NULL);
	*ret = kiln__take_fd(&fd);
	return 0;
}
