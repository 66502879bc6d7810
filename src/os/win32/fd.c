/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: kernel handles and sockets, told apart by asking. */
#include "win32.h"

#include "err.h"

#include <errno.h>
#include <string.h>

static HANDLE handle(kiln_fd fd)
{
	return (HANDLE)fd;
}

bool kiln__os_is_socket(kiln_fd fd)
{
	int type;
	int len = sizeof(type);

	/* Files and sections need not be asked: sockets look like pipes. */
	return GetFileType(handle(fd)) == FILE_TYPE_PIPE &&
	       getsockopt((SOCKET)fd, SOL_SOCKET, SO_TYPE, (char *)&type, &len) == 0;
}

void kiln__os_close(kiln_fd fd)
{
	int saved = errno;

	if (fd == KILN_FD_NONE)
		return;
	if (kiln__os_is_socket(fd))
		closesocket((SOCKET)fd);
	else
		CloseHandle(handle(fd));
	errno = saved;
}

static DWORD clamp(size_t len)
{
	return len > 0x40000000 ? 0x40000000 : (DWORD)len;
}

static ssize_t socket_result(int n)
{
	return n < 0 ? -kiln__win32_errno((DWORD)WSAGetLastError()) : n;
}

ssize_t kiln__os_read(kiln_fd fd, void *bytes, size_t len)
{
	DWORD n;

	if (kiln__os_is_socket(fd))
		return socket_result(recv((SOCKET)fd, bytes, (int)clamp(len), 0));
	if (ReadFile(handle(fd), bytes, clamp(len), &n, NULL))
		return n;
	/* The end of a pipe is an error here. */
	if (GetLastError() == ERROR_BROKEN_PIPE || GetLastError() == ERROR_HANDLE_EOF)
		return 0;
	return -kiln__win32_errno(GetLastError());
}

ssize_t kiln__os_write(kiln_fd fd, const void *bytes, size_t len)
{
	DWORD n;

	if (kiln__os_is_socket(fd))
		return socket_result(send((SOCKET)fd, bytes, (int)clamp(len), 0));
	if (WriteFile(handle(fd), bytes, clamp(len), &n, NULL))
		return n;
	return -kiln__win32_errno(GetLastError());
}

ssize_t kiln__os_read_full(kiln_fd fd, void *bytes, size_t len, kiln_error *err)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = kiln__os_read(fd, (char *)bytes + done, len - done);

		if (n < 0)
			return kiln__fail_errno(err, (int)-n, "cannot read");
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int kiln__os_write_full(kiln_fd fd, const void *bytes, size_t len, kiln_error *err)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = kiln__os_write(fd, (const char *)bytes + done, len - done);

		if (n < 0)
			return kiln__fail_errno(err, (int)-n, "cannot write");
		done += (size_t)n;
	}
	return 0;
}

int kiln__os_append_full(kiln_fd file, const void *bytes, size_t len, kiln_error *err)
{
	return kiln__os_write_full(file, bytes, len, err);
}

/*
 * Reading and writing at an offset moves the position here; it is put back. Two threads
 * that mix both on one handle would not have been served by the position anyway.
 */
struct place {
	HANDLE handle;
	LARGE_INTEGER position;
};

static int enter_place(struct place *place, kiln_fd fd, uint64_t offset, size_t len,
		       kiln_error *err)
{
	LARGE_INTEGER nowhere = {0};
	uint64_t end;

	if (__builtin_add_overflow(offset, len, &end) || end > INT64_MAX)
		return kiln__fail(err, KILN_EOVERFLOW, "file offset out of range");
	place->handle = handle(fd);
	if (!SetFilePointerEx(place->handle, nowhere, &place->position, FILE_CURRENT))
		return kiln__win32_fail(err, GetLastError(), "cannot seek");
	return 0;
}

static void leave_place(const struct place *place)
{
	SetFilePointerEx(place->handle, place->position, NULL, FILE_BEGIN);
}

static OVERLAPPED at_offset(uint64_t offset)
{
	return (OVERLAPPED){.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
}

ssize_t kiln__os_pread_full(kiln_fd fd, void *bytes, size_t len, uint64_t offset, kiln_error *err)
{
	struct place place;
	size_t done = 0;
	int r = enter_place(&place, fd, offset, len, err);

	if (r < 0)
		return r;
	while (done < len) {
		OVERLAPPED at = at_offset(offset + done);
		DWORD n = 0;

		if (!ReadFile(place.handle, (char *)bytes + done, clamp(len - done), &n, &at) &&
		    GetLastError() != ERROR_HANDLE_EOF) {
			r = kiln__win32_fail(err, GetLastError(), "cannot read");
			break;
		}
		if (n == 0)
			break;
		done += n;
	}
	leave_place(&place);
	return r < 0 ? r : (ssize_t)done;
}

int kiln__os_pwrite_full(kiln_fd fd, const void *bytes, size_t len, uint64_t offset,
			 kiln_error *err)
{
	struct place place;
	size_t done = 0;
	int r = enter_place(&place, fd, offset, len, err);

	if (r < 0)
		return r;
	while (done < len) {
		OVERLAPPED at = at_offset(offset + done);
		DWORD n = 0;

		if (!WriteFile(place.handle, (const char *)bytes + done, clamp(len - done), &n,
			       &at)) {
			r = kiln__win32_fail(err, GetLastError(), "cannot write");
			break;
		}
		done += n;
	}
	leave_place(&place);
	return r;
}

int kiln__os_set_size(kiln_fd fd, uint64_t size, kiln_error *err)
{
	FILE_END_OF_FILE_INFO info = {.EndOfFile.QuadPart = (LONGLONG)size};

	if (size > INT64_MAX)
		return kiln__fail(err, KILN_EOVERFLOW, "file offset out of range");
	if (!SetFileInformationByHandle(handle(fd), FileEndOfFileInfo, &info, sizeof(info)))
		return kiln__win32_fail(err, GetLastError(), "cannot set a file's size");
	return 0;
}

int kiln__os_sync(kiln_fd fd, kiln_error *err)
{
	if (!FlushFileBuffers(handle(fd)))
		return kiln__win32_fail(err, GetLastError(), "cannot sync");
	return 0;
}

/* Handles are bounded by memory alone. */
unsigned kiln__os_raise_descriptor_limit(unsigned wanted)
{
	return wanted;
}

int kiln__os_set_nonblocking(kiln_fd fd, bool on, kiln_error *err)
{
	u_long value = on;

	/* Of what kiln reads in a loop only sockets can be so. */
	if (ioctlsocket((SOCKET)fd, (long)FIONBIO, &value) != 0)
		return kiln__win32_fail(err, (DWORD)WSAGetLastError(),
					"cannot make a descriptor %sblocking", on ? "non-" : "");
	return 0;
}

int kiln__os_dup(kiln_fd *ret, kiln_fd fd, kiln_error *err)
{
	HANDLE copy;

	if (fd == KILN_FD_NONE)
		return kiln__win32_fail(err, ERROR_INVALID_HANDLE, "cannot duplicate a descriptor");
	if (!DuplicateHandle(GetCurrentProcess(), handle(fd), GetCurrentProcess(), &copy, 0, FALSE,
			     DUPLICATE_SAME_ACCESS))
		return kiln__win32_fail(err, GetLastError(), "cannot duplicate a descriptor");
	*ret = (kiln_fd)copy;
	return 0;
}

/* The handle that the parent gave as @number, by the block that spawn.c describes; or none. */
static HANDLE handed_over(int number)
{
	static const DWORD standard[] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
	STARTUPINFOW startup = {.cb = sizeof(startup)};
	HANDLE found = INVALID_HANDLE_VALUE;
	size_t place;
	int count;

	GetStartupInfoW(&startup);
	if (startup.lpReserved2 && startup.cbReserved2 >= sizeof(count)) {
		memcpy(&count, startup.lpReserved2, sizeof(count));
		place = sizeof(count) + (size_t)count + (size_t)number * sizeof(found);
		if (count > 0 && number >= 0 && number < count &&
		    place + sizeof(found) <= startup.cbReserved2)
			memcpy(&found, startup.lpReserved2 + place, sizeof(found));
	} else if (number >= 0 && number <= 2) {
		found = GetStdHandle(standard[number]);
	}
	return found ? found : INVALID_HANDLE_VALUE;
}

int kiln__os_inherited(kiln_fd *ret, int number, kiln_error *err)
{
	HANDLE found = handed_over(number);
	int r = kiln__win32_start_sockets(err);

	if (r < 0)
		return r;
	if (found == INVALID_HANDLE_VALUE || GetFileType(found) == FILE_TYPE_UNKNOWN)
		return kiln__fail(err, KILN_ENOENT, "descriptor %d was not handed over", number);
	/* The C library goes on to use the standard streams. */
	if (number <= 2)
		return kiln__os_dup(ret, (kiln_fd)found, err);
	if (!SetHandleInformation(found, HANDLE_FLAG_INHERIT, 0))
		return kiln__win32_fail(err, GetLastError(), "cannot take over descriptor %d",
					number);
	*ret = (kiln_fd)found;
	return 0;
}
