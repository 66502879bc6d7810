/* SPDX-License-Identifier: Apache-2.0 */
#include "handles.h"

#include "err.h"
#include "source.h"

void kiln__handles_done(struct kiln__handles *handles)
{
	for (size_t i = 0; i < handles->count; i++)
		kiln__os_close(handles->fds[i].from);
	handles->count = 0;
}

int kiln__handles_add(struct kiln__handles *handles, kiln_fd fd, int number, kiln_error *err)
{
	if (handles->count == KILN__OS_MAX_FDS) {
		kiln__os_close(fd);
		return kiln__fail(err, KILN_EOVERFLOW, "too many descriptors for one VMM");
	}
	handles->fds[handles->count++] = (struct kiln__spawn_fd){.from = fd, .to = number};
	return 0;
}

int kiln__handles_add_source(struct kiln__handles *handles, const struct kiln__source *source,
			     int number, unsigned flags, const char *key, kiln_error *err)
{
	kiln_fd fd = KILN_FD_NONE;
	int r;

	if (source->fd != KILN_FD_NONE)
		r = kiln__os_dup(&fd, source->fd, err);
	else
		r = kiln__os_open(&fd, source->path, flags, err);
	if (r < 0)
		return kiln__prefix(err, "%s", key), r;
	return kiln__handles_add(handles, fd, number, err);
}

static int stage(const struct kiln__source *source, kiln_fd *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd in = KILN_FD_NONE;
	kiln__autoclose kiln_fd out = KILN_FD_NONE;
	uint64_t offset;
	uint64_t length;
	int r = kiln__source_open(source, &in, &offset, &length, err);

	if (r == 0)
		r = kiln__os_shared_memory(&out, "kiln-boot", length, err);
	if (r == 0)
		r = kiln__source_copy(in, offset, length, out, err);
	if (r == 0)
		*ret = kiln__take_fd(&out);
	return r;
}

static bool can_reopen(const struct kiln__source *source)
{
	struct kiln__os_stat st;
	int r = source->fd != KILN_FD_NONE ? kiln__os_fstat(source->fd, &st, NULL)
					   : kiln__os_stat(source->path, &st, NULL);

	return r < 0 ||
	       kiln__os_may_reopen(&st); /* what cannot be opened at all is told by who tries */
}

int kiln__handles_add_boot_file(struct kiln__handles *handles, const struct kiln__source *source,
				int number, const char *key, kiln_error *err)
{
	kiln_fd fd = KILN_FD_NONE;
	int r;

	if (!kiln__source_is_set(source))
		return 0;
	if (!kiln__source_is_range(source) && can_reopen(source))
		return kiln__handles_add_source(handles, source, number, KILN__OPEN_READ, key, err);
	r = stage(source, &fd, err);
	if (r < 0)
		return kiln__prefix(err, "%s", key), r;
	return kiln__handles_add(handles, fd, number, err);
}

int kiln__handles_add_disk(struct kiln__handles *handles, const struct kiln__source *source,
			   int number, bool writable, const char *key, kiln_error *err)
{
	int r = kiln__source_check_disk(source, key, err);

	if (r == 0)
		r = kiln__handles_add_source(handles, source, number,
					     writable ? KILN__OPEN_WRITE : KILN__OPEN_READ, key,
					     err);
	return r < 0 ? r
		     : kiln__source_lock(handles->fds[handles->count - 1].from, writable, key,
					 source, err);
}

int kiln__handles_add_channel(struct kiln__handles *handles, int number, kiln_fd *ret,
			      kiln_error *err)
{
	kiln_fd ends[2];
	int r = kiln__os_socket_pair(ends, err);

	if (r < 0)
		return r;
	r = kiln__handles_add(handles, ends[1], number, err);
	if (r < 0)
		kiln__os_close(ends[0]);
	else
		*ret = ends[0];
	return r;
}
