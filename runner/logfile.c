/* SPDX-License-Identifier: Apache-2.0 */
#include "logfile.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "syscalls.h"

#include <stdbool.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

KILN__SYSCALLS(writev);

void logfile_init(struct logfile *log, char *const *dir, const char *name, uint64_t limit)
{
	*log = (struct logfile){.dir = dir, .name = name, .fd = KILN_FD_NONE, .limit = limit};
}

static int open_file(struct logfile *log)
{
	kiln__autofree char *path = kiln__strf("%s/%s", *log->dir, log->name);
	struct kiln__os_stat st;
	kiln_fd fd;
	int r;

	if (!path)
		return KILN_ENOMEM;
	r = kiln__os_open(&fd, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_APPEND,
			  NULL);
	if (r == 0)
		r = kiln__os_fstat(fd, &st, NULL);
	if (r < 0)
		return r;
	kiln__os_close(log->fd);
	log->fd = fd;
	log->size = st.size;
	return 0;
}

/* If the new file cannot be opened it goes on in the renamed one: bounded by the next try. */
static void rotate(struct logfile *log)
{
	kiln__autofree char *path = kiln__strf("%s/%s", *log->dir, log->name);
	kiln__autofree char *old = kiln__strf("%s/%s.1", *log->dir, log->name);

	if (path && old && kiln__os_rename(path, old, NULL) == 0)
		open_file(log);
}

/* Room for @len more bytes, in a new file if need be. */
static bool make_room(struct logfile *log, size_t len)
{
	if (!log->name || (log->fd == KILN_FD_NONE && open_file(log) < 0))
		return false;
	if (log->size && log->size + len > log->limit / 2)
		rotate(log);
	return log->size + len <= log->limit;
}

void logfile_write(struct logfile *log, const void *bytes, size_t len)
{
	if (make_room(log, len) && kiln__os_append_full(log->fd, bytes, len, NULL) == 0)
		log->size += len;
}

void logfile_write_record(struct logfile *log, const char *head, const void *bytes, size_t len)
{
	size_t head_len = strlen(head);
	struct iovec parts[] = {
		{(void *)(uintptr_t)head, head_len},
		{(void *)(uintptr_t)bytes, len},
		{(void *)(uintptr_t) "\n", 1},
	};
	ssize_t n;

	if (!make_room(log, head_len + len + 1))
		return;
	n = writev(log->fd, parts, 3);
	if (n == (ssize_t)(head_len + len + 1))
		log->size += (uint64_t)n;
	else if (n > 0) /* a full disk: a record is there whole or not at all */
		kiln__os_set_size(log->fd, log->size, NULL);
}

void logfile_done(struct logfile *log)
{
	if (!log->name)
		return;
	kiln__os_close(log->fd);
	*log = (struct logfile){.fd = KILN_FD_NONE};
}
