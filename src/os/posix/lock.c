/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on parts of a file: byte N stands for part N. These are open file
 * description locks (fcntl(2)), which like flock() belong to the open file and are
 * handed on with its descriptor, but can also be asked about without taking them.
 */
#include "os.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static struct flock byte_of(unsigned part, short type)
{
	return (struct flock){
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)part,
		.l_len = 1,
	};
}

int kiln__os_lock_part(kiln_fd fd, unsigned part, bool wait, kiln_error *err)
{
	struct flock lock = byte_of(part, F_WRLCK);
	int r;

	do
		r = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EAGAIN || errno == EACCES))
		return kiln__fail(err, KILN_EBUSY, "another process holds the lock");
	return r < 0 ? kiln__fail_errno(err, errno, "cannot lock") : 0;
}

/* On a descriptor that only reads, fcntl(2) gives shared locks alone. */
int kiln__os_hold_part(kiln_fd fd, unsigned part, kiln_error *err)
{
	struct flock lock = byte_of(part, F_RDLCK);
	int r;

	do
		r = fcntl(fd, F_OFD_SETLKW, &lock);
	while (r < 0 && errno == EINTR);
	return r < 0 ? kiln__fail_errno(err, errno, "cannot lock") : 0;
}

void kiln__os_unlock_part(kiln_fd fd, unsigned part)
{
	struct flock lock = byte_of(part, F_UNLCK);

	fcntl(fd, F_OFD_SETLK, &lock);
}

/* Locks of processes, which have a process number, are those of kiln__lockwait_new(), held for a
 * moment. */
int kiln__os_part_is_locked(kiln_fd fd, unsigned part, kiln_error *err)
{
	struct flock lock = byte_of(part, F_WRLCK);

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return kiln__fail_errno(err, errno, "cannot ask for a lock");
	return lock.l_type != F_UNLCK && lock.l_pid == -1;
}
