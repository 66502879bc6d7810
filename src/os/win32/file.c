/* SPDX-License-Identifier: Apache-2.0 */
/* Files: opening, looking at, reading whole, replacing, sharing. */
#include "win32.h"

#include "buf.h"
#include "err.h"

#include <stdio.h>
#include <string.h>
#include <winternl.h>

/* Whoever opens a file lets others read, write and remove it meanwhile, as elsewhere. */
#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)

/* 100 ns since 1601, at 1970. */
#define EPOCH_DIFFERENCE INT64_C(116444736000000000)

static DWORD wanted_access(unsigned flags)
{
	DWORD access = GENERIC_READ;

	if (flags & KILN__OPEN_APPEND)
		access |= FILE_APPEND_DATA | SYNCHRONIZE;
	else if (flags & KILN__OPEN_WRITE)
		access |= GENERIC_WRITE;
	return access;
}

static DWORD wanted_disposition(unsigned flags)
{
	if (flags & KILN__OPEN_CREATE) {
		if (flags & KILN__OPEN_EXCLUSIVE)
			return CREATE_NEW;
		return flags & KILN__OPEN_TRUNCATE ? CREATE_ALWAYS : OPEN_ALWAYS;
	}
	return flags & KILN__OPEN_TRUNCATE ? TRUNCATE_EXISTING : OPEN_EXISTING;
}

static bool is_directory(HANDLE file)
{
	FILE_STANDARD_INFO info;

	return GetFileInformationByHandleEx(file, FileStandardInfo, &info, sizeof(info)) &&
	       info.Directory;
}

static bool is_link(HANDLE file)
{
	FILE_BASIC_INFO info;

	return !GetFileInformationByHandleEx(file, FileBasicInfo, &info, sizeof(info)) ||
	       (info.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT);
}

int kiln__os_open(kiln_fd *ret, const char *path, unsigned flags, kiln_error *err)
{
	kiln__autofree WCHAR *wide = NULL;
	HANDLE file;
	int r = kiln__win32_path(&wide, path, err);

	if (r < 0)
		return r;
	file = CreateFileW(wide, wanted_access(flags), SHARE_ALL, NULL, wanted_disposition(flags),
			   FILE_FLAG_BACKUP_SEMANTICS |
				   (flags & KILN__OPEN_HOSTILE ? FILE_FLAG_OPEN_REPARSE_POINT : 0),
			   NULL);
	if (file == INVALID_HANDLE_VALUE)
		return kiln__win32_fail(err, GetLastError(), "cannot open %s", path);
	if ((flags & KILN__OPEN_HOSTILE) && is_link(file)) {
		CloseHandle(file);
		return kiln__fail(err, KILN_EACCES, "cannot open %s: a link", path);
	}
	if ((flags & KILN__OPEN_DIRECTORY) && !is_directory(file)) {
		CloseHandle(file);
		return kiln__fail(err, KILN_ENOENT, "cannot open %s: not a directory", path);
	}
	*ret = (kiln_fd)file;
	return 0;
}

/* --- beneath a directory ---------------------------------------------------------- */

/* Not in every winternl.h: refuse every link, junction and mount point on the way. */
#ifndef OBJ_DONT_REPARSE
#define OBJ_DONT_REPARSE 0x1000
#endif
#define STATUS_REPARSE_POINT_ENCOUNTERED ((NTSTATUS)0xC000050B)

/*
 * "a/./b" as the NT object manager wants it, which knows neither "." nor ".."; NULL if it leads up.
 */
static WCHAR *plain_relative(const char *path)
{
	kiln__autobuf plain = KILN__BUF_INIT;

	if (path[0] == '/' || path[0] == '\\' || strchr(path, ':'))
		return NULL;
	while (*path) {
		size_t len = strcspn(path, "/\\");

		if (len == 2 && path[0] == '.' && path[1] == '.')
			return NULL;
		if (len > 0 && !(len == 1 && path[0] == '.')) {
			if (plain.len)
				kiln__buf_addc(&plain, '\\');
			kiln__buf_add(&plain, path, len);
		}
		path += len;
		path += strspn(path, "/\\");
	}
	return plain.failed ? NULL : kiln__win32_wide(plain.data ? plain.data : "");
}

static ULONG nt_disposition(unsigned flags)
{
	if (flags & KILN__OPEN_CREATE) {
		if (flags & KILN__OPEN_EXCLUSIVE)
			return FILE_CREATE;
		return flags & KILN__OPEN_TRUNCATE ? FILE_OVERWRITE_IF : FILE_OPEN_IF;
	}
	return flags & KILN__OPEN_TRUNCATE ? FILE_OVERWRITE : FILE_OPEN;
}

int kiln__os_open_beneath(kiln_fd *ret, kiln_fd root, const char *path, unsigned flags,
			  kiln_error *err)
{
	kiln__autofree WCHAR *plain = plain_relative(path);
	ULONG options = FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_FOR_BACKUP_INTENT;
	UNICODE_STRING name;
	OBJECT_ATTRIBUTES attributes;
	IO_STATUS_BLOCK status;
	HANDLE file;
	NTSTATUS nt;

	if (!plain)
		return kiln__fail(err, KILN_EACCES, "%s leads out of its directory", path);
	if (flags & KILN__OPEN_DIRECTORY)
		options |= FILE_DIRECTORY_FILE;
	RtlInitUnicodeString(&name, plain);
	InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_DONT_REPARSE,
				   (HANDLE)root, NULL);
	nt = NtCreateFile(&file, wanted_access(flags) | SYNCHRONIZE, &attributes, &status, NULL,
			  FILE_ATTRIBUTE_NORMAL, SHARE_ALL, nt_disposition(flags), options, NULL,
			  0);
	if (nt == STATUS_REPARSE_POINT_ENCOUNTERED)
		return kiln__fail(err, KILN_EACCES, "%s contains a link", path);
	if (nt < 0)
		return kiln__win32_fail(err, RtlNtStatusToDosError(nt), "cannot open %s", path);
	*ret = (kiln_fd)file;
	return 0;
}

/* --- looking ------------------------------------------------------------------------- */

int kiln__os_fstat(kiln_fd fd, struct kiln__os_stat *ret, kiln_error *err)
{
	BY_HANDLE_FILE_INFORMATION info;
	FILE_STANDARD_INFO standard;
	int64_t time;

	if (!GetFileInformationByHandle((HANDLE)fd, &info) ||
	    !GetFileInformationByHandleEx((HANDLE)fd, FileStandardInfo, &standard,
					  sizeof(standard)))
		return kiln__win32_fail(err, GetLastError(), "cannot look at an open file");
	time = (int64_t)((uint64_t)info.ftLastWriteTime.dwHighDateTime << 32 |
			 info.ftLastWriteTime.dwLowDateTime);
	*ret = (struct kiln__os_stat){
		.size = (uint64_t)standard.EndOfFile.QuadPart,
		.allocated = (uint64_t)standard.AllocationSize.QuadPart,
		.mtime_ns = (time - EPOCH_DIFFERENCE) * 100,
		.device = info.dwVolumeSerialNumber,
		.inode = (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow,
		.is_file = !standard.Directory,
		.is_directory = standard.Directory,
		.read_by_owner = true,
		.read_by_others = true,
	};
	return 0;
}

bool kiln__os_may_reopen(const struct kiln__os_stat *st)
{
	return st->read_by_others;
}

int kiln__os_stat(const char *path, struct kiln__os_stat *ret, kiln_error *err)
{
	kiln__autofree WCHAR *wide = NULL;
	HANDLE file;
	int r = kiln__win32_path(&wide, path, err);

	if (r < 0)
		return r;
	file = CreateFileW(wide, FILE_READ_ATTRIBUTES, SHARE_ALL, NULL, OPEN_EXISTING,
			   FILE_FLAG_BACKUP_SEMANTICS, NULL);
	if (file == INVALID_HANDLE_VALUE)
		return kiln__win32_fail(err, GetLastError(), "cannot look at %s", path);
	r = kiln__os_fstat((kiln_fd)file, ret, err);
	CloseHandle(file);
	return r;
}

int kiln__os_read_file(const char *path, size_t max, char **ret, size_t *ret_len, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = kiln__os_open(&fd, path, KILN__OPEN_READ, err);

	return r < 0 ? r : kiln__os_read_open(fd, path, max, ret, ret_len, err);
}

int kiln__os_read_open(kiln_fd fd, const char *name, size_t max, char **ret, size_t *ret_len,
		       kiln_error *err)
{
	kiln__autobuf text = KILN__BUF_INIT;
	ssize_t n;

	do {
		if (kiln__buf_reserve(&text, 4096) < 0)
			return kiln__fail_nomem(err);
		n = kiln__os_read(fd, text.data + text.len, 4096);
		if (n < 0)
			return kiln__fail_errno(err, (int)-n, "cannot read %s", name);
		text.len += (size_t)n;
		if (text.len > max)
			return kiln__fail(err, KILN_EOVERFLOW, "%s is larger than %zu bytes", name,
					  max);
	} while (n > 0);
	if (ret_len)
		*ret_len = text.len;
	*ret = kiln__buf_steal(&text);
	return *ret ? 0 : kiln__fail_nomem(err);
}

/* --- replacing ---------------------------------------------------------------------------- */

/* Not in every winbase.h: FileRenameInfoEx, of Windows 10 1709, and its flags. */
#define RENAME_INFO_EX ((FILE_INFO_BY_HANDLE_CLASS)22)
#define RENAME_REPLACE 0x1
#define RENAME_POSIX   0x2

/* Over a file that others have open, too, as elsewhere: its handles go on to show the old one. */
static bool rename_posix(const WCHAR *from, const WCHAR *to)
{
	size_t len = wcslen(to) * sizeof(*to);
	size_t size = sizeof(FILE_RENAME_INFO) + len;
	kiln__autofree FILE_RENAME_INFO *info = calloc(1, size);
	HANDLE file;
	bool ok;

	if (!info)
		return false;
	file = CreateFileW(from, DELETE | SYNCHRONIZE, SHARE_ALL, NULL, OPEN_EXISTING,
			   FILE_FLAG_BACKUP_SEMANTICS, NULL);
	if (file == INVALID_HANDLE_VALUE)
		return false;
	/* The flags lie where ReplaceIfExists does. */
	*(DWORD *)(void *)info = RENAME_REPLACE | RENAME_POSIX;
	info->FileNameLength = (DWORD)len;
	memcpy(info->FileName, to, len);
	ok = SetFileInformationByHandle(file, RENAME_INFO_EX, info, (DWORD)size);
	CloseHandle(file);
	return ok;
}

static int rename_wide(const WCHAR *from, const WCHAR *to)
{
	if (rename_posix(from, to))
		return 0;
	/* Written through: the directory entry survives a power cut as soon as this returns. */
	return MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) ? 0 : -1;
}

int kiln__os_rename(const char *from, const char *to, kiln_error *err)
{
	kiln__autofree WCHAR *wide_from = NULL;
	kiln__autofree WCHAR *wide_to = NULL;
	int r = kiln__win32_path(&wide_from, from, err);

	if (r == 0)
		r = kiln__win32_path(&wide_to, to, err);
	if (r == 0 && rename_wide(wide_from, wide_to) < 0)
		r = kiln__win32_fail(err, GetLastError(), "cannot rename %s to %s", from, to);
	return r;
}

/* Beside @path: a rename works within one volume. */
static char *temporary_name(const char *path)
{
	size_t directory = strlen(path);
	uint64_t number;

	while (directory > 0 && path[directory - 1] != '/' && path[directory - 1] != '\\')
		directory--;
	kiln__os_random(&number, sizeof(number));
	return kiln__strf("%.*s" KILN__OS_TEMPORARY "%016llx", (int)directory, path,
			  (unsigned long long)number);
}

int kiln__os_replace_file(const char *path, const void *bytes, size_t len, unsigned mode,
			  bool durable, kiln_error *err)
{
	kiln__autofree char *temporary = temporary_name(path);
	kiln_fd fd;
	int r;

	(void)mode; /* rights are inherited from the directory here */
	if (!temporary)
		return kiln__fail_nomem(err);
	r = kiln__os_open(&fd, temporary,
			  KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE, err);
	if (r == 0) {
		r = kiln__os_write_full(fd, bytes, len, err);
		if (r == 0 && durable)
			r = kiln__os_sync(fd, err);
		kiln__os_close(fd);
		if (r == 0)
			r = kiln__os_rename(temporary, path, err);
		if (r < 0)
			kiln__os_remove(temporary, NULL);
	}
	if (r < 0)
		kiln__prefix(err, "cannot write %s", path);
	return r;
}

int kiln__os_link_new(const char *from, const char *to, kiln_error *err)
{
	kiln__autofree WCHAR *wide_from = NULL;
	kiln__autofree WCHAR *wide_to = NULL;
	int r = kiln__win32_path(&wide_from, from, err);

	if (r == 0)
		r = kiln__win32_path(&wide_to, to, err);
	if (r == 0 && !CreateHardLinkW(wide_to, wide_from, NULL))
		r = kiln__win32_fail(err, GetLastError(), "cannot link %s to %s", from, to);
	return r;
}

/* Names are journaled and, by rename_wide(), written through: nothing is left to do here. */
int kiln__os_sync_dir(const char *path, kiln_error *err)
{
	struct kiln__os_stat st;

	return kiln__os_stat(path, &st, err);
}

/* --- sharing ---------------------------------------------------------------------------- */

int kiln__os_shared_memory(kiln_fd *ret, const char *label, uint64_t size, kiln_error *err)
{
	HANDLE section = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE,
					    (DWORD)(size >> 32), (DWORD)size, NULL);

	(void)label;
	if (!section)
		return kiln__win32_fail(err, GetLastError(),
					"cannot make %llu bytes of shared memory",
					(unsigned long long)size);
	*ret = (kiln_fd)section;
	return 0;
}
