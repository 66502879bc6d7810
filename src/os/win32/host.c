/* SPDX-License-Identifier: Apache-2.0 */
/* This host, its processes and its directories. */
#include "win32.h"

#include "buf.h"
#include "err.h"

#include <bcrypt.h>
#include <psapi.h>
#include <stdlib.h>
#include <string.h>

/* The longest path that there can be: UNICODE_STRING's length is 16 bits of bytes. */
#define PATH_CHARS 32768

static int give(char **ret, char *text, kiln_error *err)
{
	if (!text)
		return kiln__fail_nomem(err);
	*ret = text;
	return 0;
}

int kiln__os_exe_path(char **ret, kiln_error *err)
{
	kiln__autofree WCHAR *path = malloc(PATH_CHARS * sizeof(*path));
	DWORD len;

	if (!path)
		return kiln__fail_nomem(err);
	len = GetModuleFileNameW(NULL, path, PATH_CHARS);
	if (len == 0 || len == PATH_CHARS)
		return kiln__win32_fail(err, GetLastError(), "cannot find this executable");
	return give(ret, kiln__win32_utf8(path), err);
}

int kiln__os_find_program(char **ret, const char *name, kiln_error *err)
{
	kiln__autofree WCHAR *found = malloc(PATH_CHARS * sizeof(*found));
	kiln__autofree WCHAR *search = NULL;
	kiln__autofree WCHAR *wide = NULL;
	kiln__autofree char *path = NULL;
	DWORD len;
	int r = kiln__win32_path(&wide, name, err);

	if (r < 0)
		return r;
	/* Not SearchPath()'s own idea of where to look, which includes the current directory. */
	if (!strpbrk(name, "/\\")) {
		path = kiln__win32_env("PATH");
		search = path ? kiln__win32_wide(path) : NULL;
	}
	if (!found)
		return kiln__fail_nomem(err);
	len = SearchPathW(search, wide, L".exe", PATH_CHARS, found, NULL);
	if (len == 0 || len >= PATH_CHARS)
		return kiln__fail(err, KILN_ENOENT, "%s is not in the search path", name);
	return give(ret, kiln__win32_utf8(found), err);
}

char *kiln__os_env(const char *name)
{
	return kiln__win32_env(name);
}

void kiln__os_random(void *bytes, size_t len)
{
	unsigned char *at = bytes;

	while (len > 0) {
		ULONG n = len > 0x10000000 ? 0x10000000 : (ULONG)len;

		if (BCryptGenRandom(NULL, at, n, BCRYPT_USE_SYSTEM_PREFERRED_RNG) < 0)
			abort(); /* going on with no randomness is worse */
		at += n;
		len -= n;
	}
}

int64_t kiln__os_realtime_ns(void)
{
	FILETIME now;

	GetSystemTimePreciseAsFileTime(&now);
	/* 100 ns since 1601. */
	return ((int64_t)((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime) -
		INT64_C(116444736000000000)) *
	       100;
}

int64_t kiln__os_monotonic_ns(void)
{
	LARGE_INTEGER frequency;
	LARGE_INTEGER now;

	QueryPerformanceFrequency(&frequency);
	QueryPerformanceCounter(&now);
	/* In two parts: the product of the whole overflows after some minutes. */
	return now.QuadPart / frequency.QuadPart * 1000000000 +
	       now.QuadPart % frequency.QuadPart * 1000000000 / frequency.QuadPart;
}

uint64_t kiln__os_total_memory(void)
{
	MEMORYSTATUSEX status = {.dwLength = sizeof(status)};

	return GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
}

unsigned kiln__os_cpu_count(void)
{
	DWORD count = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);

	return count > 0 ? count : 1;
}

const char *kiln__os_arch(void)
{
	SYSTEM_INFO info;

	GetNativeSystemInfo(&info);
	switch (info.wProcessorArchitecture) {
	case PROCESSOR_ARCHITECTURE_AMD64:
		return "x86_64";
	case PROCESSOR_ARCHITECTURE_ARM64:
		return "aarch64";
	default:
		return "unknown";
	}
}

static uint64_t ticks(FILETIME time)
{
	return (uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime;
}

int kiln__os_process_usage(int64_t pid, struct kiln__os_usage *ret, kiln_error *err)
{
	PROCESS_MEMORY_COUNTERS_EX memory;
	FILETIME made;
	FILETIME ended;
	FILETIME kernel;
	FILETIME user;
	HANDLE process;
	int r = 0;

	if (pid <= 0 || pid > UINT32_MAX)
		return kiln__fail(err, KILN_EINVAL, "%lld is not a process", (long long)pid);
	process =
		OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_VM_READ, FALSE, (DWORD)pid);
	if (!process || !GetProcessTimes(process, &made, &ended, &kernel, &user) ||
	    !GetProcessMemoryInfo(process, (PROCESS_MEMORY_COUNTERS *)&memory, sizeof(memory)))
		r = kiln__win32_fail(err, GetLastError(), "cannot measure process %lld",
				     (long long)pid);
	else
		*ret = (struct kiln__os_usage){
			.cpu_ns = (ticks(kernel) + ticks(user)) * 100,
			.resident = memory.WorkingSetSize,
			.private_bytes = memory.PrivateUsage,
		};
	if (process)
		CloseHandle(process);
	return r;
}

/* $@variable if it is set, else the user's local application data + @below. */
static int directory(char **ret, const char *variable, const char *below, kiln_error *err)
{
	kiln__autofree char *chosen = kiln__win32_env(variable);
	kiln__autofree char *local = NULL;

	if (chosen)
		return give(ret, kiln__take(chosen), err);
	local = kiln__win32_env("LOCALAPPDATA");
	if (local)
		return give(ret, kiln__strf("%s\\%s", local, below), err);
	kiln__fail(err, KILN_EINVAL, "this user has no directory for application data");
	kiln__hint(err, "set LOCALAPPDATA, or %s", variable);
	return KILN_EINVAL;
}

int kiln__os_data_dir(char **ret, kiln_error *err)
{
	return directory(ret, "KILN_HOME", "kiln", err);
}

int kiln__os_runtime_dir(char **ret, kiln_error *err)
{
	/* Short: the path of a local socket has room for 108 bytes here too. */
	return directory(ret, "KILN_RUNTIME_DIR", "kiln-run", err);
}
