/* SPDX-License-Identifier: Apache-2.0 */
/* Symbolic links, which ordinary users may make where developer mode is on. */
#include "win32.h"

#include "err.h"

#include <stddef.h>
#include <string.h>
#include <winioctl.h>

/* Not in every winbase.h: of Windows 10 1703. */
#ifndef SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE
#define SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE 0x2
#endif

/* REPARSE_DATA_BUFFER of a symbolic link, [MS-FSCC] 2.1.2.4: offsets and lengths are of bytes. */
struct reparse {
	ULONG tag;
	USHORT size;
	USHORT reserved;
	USHORT substitute_offset;
	USHORT substitute_length;
	USHORT print_offset;
	USHORT print_length;
	ULONG flags;
	WCHAR names[1];
};

int kiln__os_symlink_new(const char *target, const char *path, kiln_error *err)
{
	kiln__autofree WCHAR *wide_target = NULL;
	kiln__autofree WCHAR *wide_path = NULL;
	DWORD code;
	int r = kiln__win32_path(&wide_target, target, err);

	if (r == 0)
		r = kiln__win32_path(&wide_path, path, err);
	if (r < 0)
		return r;
	if (CreateSymbolicLinkW(wide_path, wide_target,
				SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE))
		return 0;
	code = GetLastError();
	r = kiln__win32_fail(err, code, "cannot make link %s", path);
	if (code == ERROR_PRIVILEGE_NOT_HELD) {
		r = KILN_EACCES;
		if (err)
			err->code = r;
		kiln__hint(err, "switch on Windows' developer mode");
	}
	return r;
}

int kiln__os_read_link(const char *path, char **ret_target, kiln_error *err)
{
	union {
		struct reparse link;
		unsigned char space[MAXIMUM_REPARSE_DATA_BUFFER_SIZE];
	} buffer;
	kiln__autofree WCHAR *wide = NULL;
	const size_t names = offsetof(struct reparse, names);
	WCHAR *target;
	HANDLE file;
	DWORD len = 0;
	bool ok;
	int r = kiln__win32_path(&wide, path, err);

	if (r < 0)
		return r;
	file = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
			   OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT,
			   NULL);
	if (file == INVALID_HANDLE_VALUE)
		return kiln__win32_fail(err, GetLastError(), "cannot read link %s", path);
	ok = DeviceIoControl(file, FSCTL_GET_REPARSE_POINT, NULL, 0, &buffer, sizeof(buffer) - 2,
			     &len, NULL);
	r = ok ? 0 : kiln__win32_fail(err, GetLastError(), "cannot read link %s", path);
	CloseHandle(file);
	if (r < 0)
		return r;
	if (buffer.link.tag != IO_REPARSE_TAG_SYMLINK ||
	    names + buffer.link.print_offset + buffer.link.print_length > len)
		return kiln__fail(err, KILN_EINVAL, "%s is not a symbolic link", path);
	target = (WCHAR *)(void *)((char *)buffer.link.names + buffer.link.print_offset);
	target[buffer.link.print_length / sizeof(*target)] = 0;
	*ret_target = kiln__win32_utf8(target);
	return *ret_target ? 0 : kiln__fail_nomem(err);
}
