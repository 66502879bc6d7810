/* SPDX-License-Identifier: Apache-2.0 */
#include "tail.h"

#include "buf.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)16 * 1024)

int kiln__tail_init(struct kiln__tail *tail, const char *path, kiln_error *err)
{
	*tail = (struct kiln__tail){.fd = KILN_FD_NONE};
	tail->path = strdup(path);
	tail->old_path = kiln__strf("%s.1", path);
	if (tail->path && tail->old_path)
		return 0;
	kiln__tail_done(tail);
	return kiln__fail_nomem(err);
}

void kiln__tail_done(struct kiln__tail *tail)
{
	kiln__os_close(tail->fd);
	free(tail->path);
	free(tail->old_path);
	*tail = (struct kiln__tail){.fd = KILN_FD_NONE};
}

static bool is_open_on(const struct kiln__tail *tail, const struct kiln__os_stat *st)
{
	return tail->fd != KILN_FD_NONE && tail->file.device == st->device &&
	       tail->file.inode == st->inode;
}

/*
 * Opens the file that follows the one that is open, now that this one is read to its
 * end. Returns 1 if there is one, 0 if not. Where what is open is neither of the two files, it
 * has been replaced, and the older of them follows.
 */
static int open_next(struct kiln__tail *tail, kiln_error *err)
{
	struct kiln__os_stat old;
	struct kiln__os_stat now;
	bool has_old = kiln__os_stat(tail->old_path, &old, NULL) == 0;
	bool has_now = kiln__os_stat(tail->path, &now, NULL) == 0;
	const char *next;
	kiln_fd fd;
	int r;

	if (has_now && is_open_on(tail, &now))
		return 0;
	if (has_old && !is_open_on(tail, &old))
		next = tail->old_path;
	else if (has_now)
		next = tail->path;
	else
		return 0;
	r = kiln__os_open(&fd, next, KILN__OPEN_READ | KILN__OPEN_HOSTILE, err);
	if (r < 0)
		return r == KILN_ENOENT ? 1 : r; /* moved since: look again */
	kiln__os_close(tail->fd);
	tail->fd = fd;
	tail->begins = true;
	r = kiln__os_fstat(fd, &tail->file, err);
	return r < 0 ? r : 1;
}

int kiln__tail_read(struct kiln__tail *tail, size_t most,
		    int (*fn)(void *data, const void *bytes, size_t len, bool begins), void *data,
		    kiln_error *err)
{
	char bytes[CHUNK];
	bool moved = false; /* a file follows, but its writer may have added to this one before */
	size_t done = 0;
	int r;

	while (done < most) {
		ssize_t n = tail->fd == KILN_FD_NONE
				    ? 0
				    : kiln__os_read(tail->fd, bytes, sizeof(bytes));

		if (n < 0)
			return kiln__fail_errno(err, (int)-n, "cannot read %s", tail->path);
		if (n > 0) {
			r = fn(data, bytes, (size_t)n, tail->begins);
			if (r < 0)
				return r;
			tail->begins = false;
			done += (size_t)n;
			continue;
		}
		if (!moved && tail->fd != KILN_FD_NONE) {
			struct kiln__os_stat now;

			if (kiln__os_stat(tail->path, &now, NULL) < 0 || is_open_on(tail, &now))
				return 0;
			moved = true; /* nothing is written to ours any more: once more to its end
				       */
			continue;
		}
		r = open_next(tail, err);
		if (r <= 0)
			return r;
		moved = false;
	}
	return 1;
}
