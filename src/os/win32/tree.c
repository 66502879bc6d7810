/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: making, listing, removing. A link found in a tree is removed itself, never followed.
 */
#include "win32.h"

#include "buf.h"
#include "err.h"

#include <aclapi.h>
#include <sddl.h>
#include <stdlib.h>
#include <string.h>

int kiln__os_mkdir(const char *path, unsigned mode, kiln_error *err)
{
	kiln__autofree WCHAR *wide = NULL;
	int r = kiln__win32_path(&wide, path, err);

	(void)mode;
	if (r < 0)
		return r;
	if (!CreateDirectoryW(wide, NULL))
		return kiln__win32_fail(err, GetLastError(), "cannot make directory %s", path);
	return 0;
}

static bool is_directory(const WCHAR *path)
{
	DWORD attributes = GetFileAttributesW(path);

	return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY);
}

static bool ensure_directory(const WCHAR *path, SECURITY_ATTRIBUTES *security)
{
	DWORD code;

	if (is_directory(path) || CreateDirectoryW(path, security))
		return true;
	code = GetLastError();
	if (code == ERROR_ALREADY_EXISTS && is_directory(path))
		return true;
	SetLastError(code);
	return false;
}

static int make_all(const char *path, SECURITY_ATTRIBUTES *security, kiln_error *err)
{
	kiln__autofree WCHAR *wide = NULL;
	int r = kiln__win32_path(&wide, path, err);

	if (r < 0)
		return r;
	for (WCHAR *at = wide; *at; at++) {
		/* Neither the drive's root nor a doubled or last separator. */
		if (*at != L'\\' || at == wide || at[-1] == L':' || at[-1] == L'\\' || !at[1])
			continue;
		*at = 0;
		if (!ensure_directory(wide, NULL))
			return kiln__win32_fail(err, GetLastError(), "cannot make directory %s",
						path);
		*at = L'\\';
	}
	if (!ensure_directory(wide, security))
		return kiln__win32_fail(err, GetLastError(), "cannot make directory %s", path);
	return 0;
}

int kiln__os_mkdir_p(const char *path, unsigned mode, kiln_error *err)
{
	(void)mode;
	return make_all(path, NULL, err);
}

/* Whether this user, or the administrators in whose name it acts, own the directory. */
static bool is_own(WCHAR *path)
{
	union {
		TOKEN_OWNER owner;
		char space[sizeof(TOKEN_OWNER) + SECURITY_MAX_SID_SIZE];
	} token;
	PSECURITY_DESCRIPTOR descriptor = NULL;
	HANDLE process = NULL;
	PSID owner = NULL;
	DWORD len;
	bool own;

	own = OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &process) &&
	      GetTokenInformation(process, TokenOwner, &token, sizeof(token), &len) &&
	      GetNamedSecurityInfoW(path, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION, &owner, NULL,
				    NULL, NULL, &descriptor) == ERROR_SUCCESS &&
	      EqualSid(owner, token.owner.Owner);
	if (process)
		CloseHandle(process);
	LocalFree(descriptor);
	return own;
}

int kiln__os_make_private_dir(const char *path, kiln_error *err)
{
	/*
	 * Full control to the owner, the system and administrators; nothing inherited from above.
	 */
	static const WCHAR rights[] = L"D:P(A;OICI;FA;;;OW)(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
	SECURITY_ATTRIBUTES security = {.nLength = sizeof(security)};
	int r;

	if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(
		    rights, SDDL_REVISION_1, &security.lpSecurityDescriptor, NULL))
		return kiln__win32_fail(err, GetLastError(), "cannot make directory %s", path);
	r = make_all(path, &security, err);
	LocalFree(security.lpSecurityDescriptor);
	return r < 0 ? r : kiln__os_check_private_dir(path, err);
}

int kiln__os_check_private_dir(const char *path, kiln_error *err)
{
	kiln__autofree WCHAR *wide = NULL;
	int r = kiln__win32_path(&wide, path, err);

	if (r < 0)
		return r;
	if (GetFileAttributesW(wide) == INVALID_FILE_ATTRIBUTES)
		return kiln__win32_fail(err, GetLastError(), "cannot look at %s", path);
	if ((GetFileAttributesW(wide) & FILE_ATTRIBUTE_REPARSE_POINT) || !is_own(wide))
		return kiln__fail(err, KILN_EACCES,
				  "%s is not a directory that only this user may write", path);
	return 0;
}

int kiln__os_claim_private_dir(const char *path, kiln_error *err)
{
	return kiln__os_check_private_dir(path, err);
}

/* True if @path is gone now, whatever it was: a file, an empty directory, or a link to either. */
static bool remove_one(const WCHAR *path)
{
	DWORD attributes = GetFileAttributesW(path);

	if (attributes == INVALID_FILE_ATTRIBUTES)
		return GetLastError() == ERROR_FILE_NOT_FOUND ||
		       GetLastError() == ERROR_PATH_NOT_FOUND;
	if (attributes & FILE_ATTRIBUTE_READONLY)
		SetFileAttributesW(path, attributes & ~(DWORD)FILE_ATTRIBUTE_READONLY);
	if (attributes & FILE_ATTRIBUTE_DIRECTORY ? RemoveDirectoryW(path) : DeleteFileW(path))
		return true;
	return GetLastError() == ERROR_FILE_NOT_FOUND;
}

int kiln__os_remove(const char *path, kiln_error *err)
{
	kiln__autofree WCHAR *wide = NULL;
	int r = kiln__win32_path(&wide, path, err);

	if (r < 0)
		return r;
	if (!remove_one(wide))
		return kiln__win32_fail(err, GetLastError(), "cannot remove %s", path);
	return 0;
}

/* "directory\name", malloc'ed. */
static WCHAR *join(const WCHAR *directory, const WCHAR *name)
{
	size_t first = wcslen(directory);
	size_t second = wcslen(name);
	WCHAR *path = malloc((first + second + 2) * sizeof(*path));

	if (!path) {
		SetLastError(ERROR_NOT_ENOUGH_MEMORY);
		return NULL;
	}
	memcpy(path, directory, first * sizeof(*path));
	path[first] = L'\\';
	memcpy(path + first + 1, name, (second + 1) * sizeof(*path));
	return path;
}

static bool is_dots(const WCHAR *name)
{
	return wcscmp(name, L".") == 0 || wcscmp(name, L"..") == 0;
}

static bool remove_tree(const WCHAR *path);

static bool empty_directory(const WCHAR *path)
{
	kiln__autofree WCHAR *pattern = join(path, L"*");
	WIN32_FIND_DATAW entry;
	HANDLE find = pattern ? FindFirstFileW(pattern, &entry) : INVALID_HANDLE_VALUE;
	bool ok = true;
	DWORD code;

	if (find == INVALID_HANDLE_VALUE)
		return false;
	do {
		kiln__autofree WCHAR *inner = NULL;

		if (is_dots(entry.cFileName))
			continue;
		inner = join(path, entry.cFileName);
		ok = inner && remove_tree(inner);
	} while (ok && FindNextFileW(find, &entry));
	code = GetLastError();
	FindClose(find);
	SetLastError(code);
	return ok && code == ERROR_NO_MORE_FILES;
}

/* Paths are at most 32,767 characters long here, which bounds the depth. */
static bool remove_tree(const WCHAR *path)
{
	DWORD attributes = GetFileAttributesW(path);

	if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) &&
	    !(attributes & FILE_ATTRIBUTE_REPARSE_POINT) && !empty_directory(path))
		return false;
	return remove_one(path);
}

int kiln__os_remove_tree(const char *path, kiln_error *err)
{
	kiln__autofree WCHAR *wide = NULL;
	int r = kiln__win32_path(&wide, path, err);

	if (r < 0)
		return r;
	if (!remove_tree(wide))
		return kiln__win32_fail(err, GetLastError(), "cannot remove what is in %s", path);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void kiln__os_free_names(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}

/* Appends to the list, which stays NULL-terminated. */
static bool add_name(char ***names, size_t count, const WCHAR *name)
{
	char **grown = realloc(*names, (count + 2) * sizeof(*grown));

	if (!grown)
		return false;
	*names = grown;
	grown[count] = kiln__win32_utf8(name);
	grown[count + 1] = NULL;
	return grown[count];
}

int kiln__os_list_dir(const char *path, char ***ret_names, kiln_error *err)
{
	kiln__autofree WCHAR *wide = NULL;
	kiln__autofree WCHAR *pattern = NULL;
	char **names = calloc(1, sizeof(*names));
	WIN32_FIND_DATAW entry;
	size_t count = 0;
	HANDLE find;
	bool ok = names;
	int r = kiln__win32_path(&wide, path, err);

	pattern = r == 0 ? join(wide, L"*") : NULL;
	find = pattern ? FindFirstFileW(pattern, &entry) : INVALID_HANDLE_VALUE;
	if (find == INVALID_HANDLE_VALUE) {
		free(names);
		return r < 0 ? r : kiln__win32_fail(err, GetLastError(), "cannot list %s", path);
	}
	do {
		if (is_dots(entry.cFileName))
			continue;
		ok = ok && add_name(&names, count, entry.cFileName);
		count += ok;
	} while (ok && FindNextFileW(find, &entry));
	FindClose(find);
	if (!ok) {
		kiln__os_free_names(names);
		return kiln__fail_nomem(err);
	}
	qsort(names, count, sizeof(*names), compare_names);
	*ret_names = names;
	return 0;
}
