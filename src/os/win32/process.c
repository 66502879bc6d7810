/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that are not our children, by their handles, which hold on to the number.
 * A handle is signaled when the process has ended; loops here do not wait for that.
 */
#include "win32.h"

#include "err.h"
#include "leaves.h"

#include <stdlib.h>
#include <string.h>
#include <winternl.h>

/* Not in winternl.h: ProcessCommandLineInformation, of Windows 8.1; yields a UNICODE_STRING. */
#define COMMAND_LINE ((PROCESSINFOCLASS)60)

static bool has_word(HANDLE process, const char *word)
{
	kiln__autofree UNICODE_STRING *line = NULL;
	kiln__autofree WCHAR *wide = NULL;
	kiln__autofree char *text = NULL;
	ULONG size = 0;

	NtQueryInformationProcess(process, COMMAND_LINE, NULL, 0, &size);
	line = size ? malloc(size) : NULL;
	if (!line || NtQueryInformationProcess(process, COMMAND_LINE, line, size, &size) < 0)
		return false;
	wide = calloc(line->Length / sizeof(*wide) + 1, sizeof(*wide));
	if (!wide)
		return false;
	memcpy(wide, line->Buffer, line->Length);
	text = kiln__win32_utf8(wide);
	return text && strstr(text, word);
}

int kiln__os_open_process(kiln_fd *ret, int64_t pid, const char *word, kiln_error *err)
{
	HANDLE process;

	if (pid <= 0 || pid > UINT32_MAX)
		return kiln__fail(err, KILN_ENOENT, "there is no process %lld", (long long)pid);
	process = OpenProcess(SYNCHRONIZE | PROCESS_TERMINATE | PROCESS_QUERY_LIMITED_INFORMATION,
			      FALSE, (DWORD)pid);
	if (!process && GetLastError() == ERROR_INVALID_PARAMETER)
		return kiln__fail(err, KILN_ENOENT, "process %lld has ended", (long long)pid);
	if (!process)
		return kiln__win32_fail(err, GetLastError(), "cannot open process %lld",
					(long long)pid);
	if (!has_word(process, word) || WaitForSingleObject(process, 0) == WAIT_OBJECT_0) {
		CloseHandle(process);
		return kiln__fail(err, KILN_ENOENT, "process %lld is none of this machine",
				  (long long)pid);
	}
	*ret = (kiln_fd)process;
	return 0;
}

int kiln__os_end_process(kiln_fd process, int timeout_ms, kiln_error *err)
{
	DWORD code = 0;

	/* Refused if it has ended already. */
	if (!TerminateProcess((HANDLE)process, ERROR_PROCESS_ABORTED))
		code = GetLastError();
	if (WaitForSingleObject((HANDLE)process, (DWORD)timeout_ms) == WAIT_OBJECT_0)
		return 0;
	if (code)
		return kiln__win32_fail(err, code, "cannot kill a process");
	return kiln__fail(err, KILN_ETIMEDOUT, "a killed process has not ended");
}

int kiln__os_end_group(const char *path, int64_t until_ns, kiln_error *err)
{
	(void)until_ns;
	return kiln__fail(err, KILN_ENOTSUP, "%s is no cgroup: Windows has none", path);
}
