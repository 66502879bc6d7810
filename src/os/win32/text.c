/* SPDX-License-Identifier: Apache-2.0 */
/* Errors and strings between Windows and the rest of kiln. */
#include "win32.h"

#include "buf.h"
#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	DWORD code;
	int os_errno;
} errnos[] = {
	{ERROR_FILE_NOT_FOUND, ENOENT},
	{ERROR_PATH_NOT_FOUND, ENOENT},
	{ERROR_INVALID_DRIVE, ENOENT},
	{ERROR_BAD_NETPATH, ENOENT},
	{ERROR_INVALID_NAME, ENOENT},
	{ERROR_DIRECTORY, ENOTDIR},
	{ERROR_ACCESS_DENIED, EACCES},
	{ERROR_SHARING_VIOLATION, EBUSY},
	{ERROR_LOCK_VIOLATION, EBUSY},
	{ERROR_WRITE_PROTECT, EROFS},
	{ERROR_FILE_EXISTS, EEXIST},
	{ERROR_ALREADY_EXISTS, EEXIST},
	{ERROR_DIR_NOT_EMPTY, ENOTEMPTY},
	{ERROR_NOT_ENOUGH_MEMORY, ENOMEM},
	{ERROR_OUTOFMEMORY, ENOMEM},
	{ERROR_INVALID_HANDLE, EBADF},
	{ERROR_INVALID_PARAMETER, EINVAL},
	{ERROR_DISK_FULL, ENOSPC},
	{ERROR_HANDLE_DISK_FULL, ENOSPC},
	{ERROR_BROKEN_PIPE, EPIPE},
	{ERROR_NO_DATA, EPIPE},
	{ERROR_BAD_EXE_FORMAT, ENOEXEC},
	{ERROR_EXE_MACHINE_TYPE_MISMATCH, ENOEXEC},
	{ERROR_FILENAME_EXCED_RANGE, ENAMETOOLONG},
	{ERROR_NOT_SUPPORTED, ENOTSUP},
	{ERROR_CALL_NOT_IMPLEMENTED, ENOTSUP},
	{ERROR_INVALID_FUNCTION, ENOTSUP},
	{ERROR_SEM_TIMEOUT, ETIMEDOUT},
	{WSAEWOULDBLOCK, EAGAIN},
	{WSAEINTR, EINTR},
	{WSAEINVAL, EINVAL},
	{WSAEACCES, EACCES},
	{WSAEADDRINUSE, EADDRINUSE},
	{WSAEAFNOSUPPORT, ENOTSUP},
	{WSAEPROTONOSUPPORT, ENOTSUP},
	{WSAEOPNOTSUPP, ENOTSUP},
	{WSAECONNREFUSED, ECONNREFUSED},
	{WSAECONNRESET, ECONNRESET},
	{WSAECONNABORTED, ECONNRESET},
	{WSAENETRESET, ECONNRESET},
	{WSAESHUTDOWN, EPIPE},
	{WSAENOTCONN, EPIPE},
	{WSAENOTSOCK, ENOTSOCK},
	{WSAEMFILE, EMFILE},
	{WSAENOBUFS, ENOMEM},
	{WSAETIMEDOUT, ETIMEDOUT},
};

int kiln__win32_errno(DWORD code)
{
	for (size_t i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++)
		if (errnos[i].code == code)
			return errnos[i].os_errno;
	return code ? EIO : 0;
}

int kiln__win32_fail(kiln_error *err, DWORD code, const char *fmt, ...)
{
	int r = kiln__code_of_errno(kiln__win32_errno(code));
	char what[sizeof(err->message)];
	WCHAR wide[256] = {0};
	kiln__autofree char *text = NULL;
	va_list args;
	DWORD len;

	if (!err)
		return r;
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	len = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, code,
			     0, wide, sizeof(wide) / sizeof(wide[0]), NULL);
	/* Its sentences end with a full stop and a line break. */
	while (len > 0 && (wide[len - 1] <= ' ' || wide[len - 1] == '.'))
		wide[--len] = 0;
	text = kiln__win32_utf8(wide);
	if (text && text[0])
		kiln__fail(err, r, "%s: %s", what, text);
	else
		kiln__fail(err, r, "%s: error %lu", what, (unsigned long)code);
	err->os_errno = (int)code;
	return r;
}

WCHAR *kiln__win32_wide(const char *text)
{
	int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
	WCHAR *wide;

	if (n <= 0)
		return NULL;
	wide = malloc((size_t)n * sizeof(*wide));
	if (wide)
		MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, n);
	return wide;
}

char *kiln__win32_utf8(const WCHAR *text)
{
	int n = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
	char *utf8;

	if (n <= 0)
		return NULL;
	utf8 = malloc((size_t)n);
	if (utf8)
		WideCharToMultiByte(CP_UTF8, 0, text, -1, utf8, n, NULL, NULL);
	return utf8;
}

int kiln__win32_path(WCHAR **ret, const char *path, kiln_error *err)
{
	WCHAR *wide = kiln__win32_wide(path);

	if (!wide)
		return kiln__fail(err, KILN_EINVAL, "a path is not UTF-8");
	for (WCHAR *at = wide; *at; at++)
		if (*at == L'/')
			*at = L'\\';
	*ret = wide;
	return 0;
}

char *kiln__win32_env(const char *name)
{
	kiln__autofree WCHAR *wide_name = kiln__win32_wide(name);
	kiln__autofree WCHAR *value = NULL;
	DWORD len;

	if (!wide_name)
		return NULL;
	len = GetEnvironmentVariableW(wide_name, NULL, 0);
	if (len == 0)
		return NULL;
	value = malloc(len * sizeof(*value));
	if (!value || GetEnvironmentVariableW(wide_name, value, len) >= len)
		return NULL;
	return kiln__win32_utf8(value);
}
