/* SPDX-License-Identifier: Apache-2.0 */
#include "logfile.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "syscalls.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

KILN__SYSCALLS(writev);

int logfile_init(struct logfile *log, const char *path, uint64_t limit, kiln_error *err)
{
	kiln__autofree char *own = kiln__strf("%s", path);
	kiln__autofree char *old = kiln__strf("%s.1", path);

	if (!own || !old)
		return kiln__fail_nomem(err);
	*log = (struct logfile){
		.path = kiln__take(own),
		.old_path = kiln__take(old),
		.fd = KILN_FD_NONE,
		.limit = limit,
	};
	return 0;
}

static int open_file(struct logfile *log)
{
	struct kiln__os_stat st;
	kiln_fd fd;
	int r = kiln__os_open(&fd, log->path,
			      KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_APPEND, NULL);

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
	if (kiln__os_rename(log->path, log->old_path, NULL) == 0)
		open_file(log);
}

/* Room for @len more bytes, in a new file if need be. */
static bool make_room(struct logfile *log, size_t len)
{
	if (!log->path || (log->fd == KILN_FD_NONE && open_file(log) < 0))
		return false;
	if (log->size && log->size + len > log->limit / 2)
		rotate(log);
	return log->size + len <= log->limit;
}

void logfile_write(struct logfile *log, const void *bytes, size_t len)
{
	if (make_room(log, len) && kiln__os_write_full(log->fd, bytes, len, NULL) == 0)
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
	if (!log->path)
		return;
	kiln__os_close(log->fd);
	free(log->path);
	free(log->old_path);
	*log = (struct logfile){.fd = KILN_FD_NONE};
}
