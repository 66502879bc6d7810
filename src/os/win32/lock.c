/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks. They are mandatory here, so what is locked are single bytes far beyond the end:
 * the file itself can still be read and written. They belong to the open file and,
 * within this process, to all duplicates of its handle.
 */
#include "win32.h"

#include "err.h"

/* Where the bytes are: one for the whole file, and 2^32 for its parts. */
#define WHOLE 0x7fffffff
#define PARTS 0x7ffffffe

OVERLAPPED kiln__win32_part_place(unsigned part)
{
	return (OVERLAPPED){.Offset = part, .OffsetHigh = PARTS};
}

static bool lock(kiln_fd fd, DWORD where, DWORD part, DWORD flags)
{
	OVERLAPPED place = {.Offset = part, .OffsetHigh = where};

	return LockFileEx((HANDLE)fd, flags, 0, 1, 0, &place);
}

static void unlock(kiln_fd fd, DWORD where, DWORD part)
{
	OVERLAPPED place = {.Offset = part, .OffsetHigh = where};

	UnlockFileEx((HANDLE)fd, 0, 1, 0, &place);
}

static bool is_held(DWORD code)
{
	return code == ERROR_LOCK_VIOLATION || code == ERROR_IO_PENDING;
}

static int take(kiln_fd fd, DWORD where, DWORD part, bool wait, kiln_error *err)
{
	DWORD flags = LOCKFILE_EXCLUSIVE_LOCK | (wait ? 0 : LOCKFILE_FAIL_IMMEDIATELY);

	if (lock(fd, where, part, flags))
		return 0;
	if (is_held(GetLastError()))
		return kiln__fail(err, KILN_EBUSY, "another process holds the lock");
	return kiln__win32_fail(err, GetLastError(), "cannot lock");
}

int kiln__os_try_lock(kiln_fd fd, kiln_error *err)
{
	return take(fd, WHOLE, 0, false, err);
}

int kiln__os_try_lock_shared(kiln_fd fd, kiln_error *err)
{
	if (lock(fd, WHOLE, 0, LOCKFILE_FAIL_IMMEDIATELY))
		return 0;
	if (is_held(GetLastError()))
		return kiln__fail(err, KILN_EBUSY, "another process holds the lock");
	return kiln__win32_fail(err, GetLastError(), "cannot lock");
}

int kiln__os_lock(kiln_fd fd, kiln_error *err)
{
	return take(fd, WHOLE, 0, true, err);
}

void kiln__os_unlock(kiln_fd fd)
{
	unlock(fd, WHOLE, 0);
}

int kiln__os_lock_part(kiln_fd fd, unsigned part, bool wait, kiln_error *err)
{
	return take(fd, PARTS, part, wait, err);
}

int kiln__os_hold_part(kiln_fd fd, unsigned part, kiln_error *err)
{
	return take(fd, PARTS, part, true, err);
}

void kiln__os_unlock_part(kiln_fd fd, unsigned part)
{
	unlock(fd, PARTS, part);
}

/*
 * There is no asking without taking: a shared lock, which other askers can take too, for
 * a moment in which somebody who does not wait may be told that the part is held.
 */
int kiln__os_part_is_locked(kiln_fd fd, unsigned part, kiln_error *err)
{
	if (lock(fd, PARTS, part, LOCKFILE_FAIL_IMMEDIATELY)) {
		unlock(fd, PARTS, part);
		return 0;
	}
	if (is_held(GetLastError()))
		return 1;
	return kiln__win32_fail(err, GetLastError(), "cannot ask for a lock");
}
