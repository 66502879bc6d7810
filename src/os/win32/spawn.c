/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting programs. A child gets the handles it is named and no other
 * (PROC_THREAD_ATTRIBUTE_HANDLE_LIST); their numbers travel as the C runtime's own
 * parents and children exchange them (STARTUPINFO's lpReserved2: a count, a byte of
 * flags for each descriptor, then the handles). A program tied to us is born in a job
 * that is killed when its last handle is closed, which we alone hold.
 */
#include "spawn.h"

#include "buf.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NUMBER 255

/* The C runtime's flags of a descriptor. */
#define CRT_OPEN   0x01
#define CRT_PIPE   0x08
#define CRT_DEVICE 0x40

struct plan {
	const struct kiln__spawn *spawn;
	HANDLE by_number[MAX_NUMBER + 1]; /* inheritable duplicates, ours; NULL: none */
	HANDLE list[MAX_NUMBER + 1];      /* the same, packed */
	size_t count;
	int top;
	HANDLE job;
	WCHAR *path;
	WCHAR *command;
	WCHAR *env;
	WCHAR *cwd;
	struct kiln__buf crt;
	LPPROC_THREAD_ATTRIBUTE_LIST attributes;
};

/* --- words ------------------------------------------------------------------------ */

/*
 * One argument as CommandLineToArgvW() and the C runtime take it apart: backslashes are
 * themselves but before a quotation mark, where each is doubled.
 */
static void add_argument(struct kiln__buf *command, const char *argument)
{
	size_t backslashes = 0;

	if (command->len)
		kiln__buf_addc(command, ' ');
	if (argument[0] && !strpbrk(argument, " \t\n\v\"")) {
		kiln__buf_adds(command, argument);
		return;
	}
	kiln__buf_addc(command, '"');
	for (; *argument; argument++) {
		size_t extra = *argument == '"' ? backslashes + 1 : 0;

		backslashes = *argument == '\\' ? backslashes + 1 : 0;
		while (extra-- > 0)
			kiln__buf_addc(command, '\\');
		kiln__buf_addc(command, *argument);
	}
	while (backslashes-- > 0)
		kiln__buf_addc(command, '\\');
	kiln__buf_addc(command, '"');
}

/* NUL-terminated strings, one after the other, and an empty one at the end, in UTF-16. */
static WCHAR *make_env(const char *const *env)
{
	WCHAR *block = calloc(2, sizeof(*block));
	size_t len = 0;

	for (; block && *env; env++) {
		kiln__autofree WCHAR *wide = kiln__win32_wide(*env);
		size_t more = wide ? wcslen(wide) + 1 : 0;
		WCHAR *grown = wide ? realloc(block, (len + more + 1) * sizeof(*block)) : NULL;

		if (!grown) {
			free(block);
			return NULL;
		}
		block = grown;
		memcpy(block + len, wide, more * sizeof(*block));
		len += more;
		block[len] = 0;
	}
	return block;
}

static int make_words(struct plan *plan, kiln_error *err)
{
	const struct kiln__spawn *spawn = plan->spawn;
	kiln__autobuf command = KILN__BUF_INIT;
	int r = kiln__win32_path(&plan->path, spawn->path, err);

	if (r == 0 && spawn->cwd)
		r = kiln__win32_path(&plan->cwd, spawn->cwd, err);
	if (r < 0)
		return r;
	for (const char *const *argument = spawn->argv; *argument; argument++)
		add_argument(&command, *argument);
	if (command.failed || !command.data)
		return kiln__fail(err, KILN_EINVAL, "cannot start %s: no arguments", spawn->path);
	plan->command = kiln__win32_wide(command.data);
	if (spawn->env)
		plan->env = make_env(spawn->env);
	if (!plan->command || (spawn->env && !plan->env))
		return kiln__fail(err, KILN_EINVAL, "cannot start %s: arguments are not UTF-8",
				  spawn->path);
	return 0;
}

/* --- handles ------------------------------------------------------------------------- */

static int put_handle(struct plan *plan, int number, HANDLE handle, kiln_error *err)
{
	HANDLE copy;

	if (number < 0 || number > MAX_NUMBER || plan->by_number[number])
		return kiln__fail(err, KILN_EINVAL, "descriptor number %d is out of range", number);
	if (!DuplicateHandle(GetCurrentProcess(), handle, GetCurrentProcess(), &copy, 0, TRUE,
			     DUPLICATE_SAME_ACCESS))
		return kiln__win32_fail(err, GetLastError(),
					"cannot start %s: handing over handles", plan->spawn->path);
	plan->by_number[number] = copy;
	plan->list[plan->count++] = copy;
	if (number > plan->top)
		plan->top = number;
	return 0;
}

static int put_handles(struct plan *plan, kiln_error *err)
{
	const struct kiln__spawn *spawn = plan->spawn;
	HANDLE null;
	int r = 0;

	plan->top = 2;
	for (size_t i = 0; r == 0 && i < spawn->fd_count; i++)
		r = put_handle(plan, spawn->fds[i].to, (HANDLE)spawn->fds[i].from, err);
	if (r < 0)
		return r;
	null = CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
			   NULL, OPEN_EXISTING, 0, NULL);
	if (null == INVALID_HANDLE_VALUE)
		return kiln__win32_fail(err, GetLastError(), "cannot open the null device");
	for (int number = 0; r == 0 && number <= 2; number++)
		if (!plan->by_number[number])
			r = put_handle(plan, number, null, err);
	CloseHandle(null);
	return r;
}

static char crt_flags(HANDLE handle)
{
	if (!handle)
		return 0;
	switch (GetFileType(handle)) {
	case FILE_TYPE_PIPE:
		return CRT_OPEN | CRT_PIPE;
	case FILE_TYPE_CHAR:
		return CRT_OPEN | CRT_DEVICE;
	default:
		return CRT_OPEN;
	}
}

static int make_crt(struct plan *plan, kiln_error *err)
{
	int count = plan->top + 1;

	kiln__buf_add(&plan->crt, &count, sizeof(count));
	for (int number = 0; number < count; number++)
		kiln__buf_addc(&plan->crt, crt_flags(plan->by_number[number]));
	for (int number = 0; number < count; number++) {
		HANDLE handle = plan->by_number[number];

		if (!handle)
			handle = INVALID_HANDLE_VALUE;
		kiln__buf_add(&plan->crt, &handle, sizeof(handle));
	}
	return plan->crt.failed ? kiln__fail_nomem(err) : 0;
}

/* --- attributes -------------------------------------------------------------------------- */

static int make_job(struct plan *plan, kiln_error *err)
{
	JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {
		.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
	};

	plan->job = CreateJobObjectW(NULL, NULL);
	if (!plan->job || !SetInformationJobObject(plan->job, JobObjectExtendedLimitInformation,
						   &limits, sizeof(limits)))
		return kiln__win32_fail(err, GetLastError(), "cannot make a job");
	return 0;
}

static int make_attributes(struct plan *plan, kiln_error *err)
{
	DWORD wanted = plan->job ? 2 : 1;
	SIZE_T size = 0;
	bool ok;

	InitializeProcThreadAttributeList(NULL, wanted, 0, &size);
	plan->attributes = malloc(size);
	if (!plan->attributes)
		return kiln__fail_nomem(err);
	if (!InitializeProcThreadAttributeList(plan->attributes, wanted, 0, &size)) {
		free(plan->attributes);
		plan->attributes = NULL;
		return kiln__win32_fail(err, GetLastError(), "cannot start %s", plan->spawn->path);
	}
	ok = UpdateProcThreadAttribute(plan->attributes, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
				       plan->list, plan->count * sizeof(plan->list[0]), NULL, NULL);
	if (ok && plan->job)
		ok = UpdateProcThreadAttribute(plan->attributes, 0, PROC_THREAD_ATTRIBUTE_JOB_LIST,
					       &plan->job, sizeof(plan->job), NULL, NULL);
	return ok ? 0 : kiln__win32_fail(err, GetLastError(), "cannot start %s", plan->spawn->path);
}

static int start(struct plan *plan, struct kiln__win32_program *ret, kiln_error *err)
{
	DWORD flags = CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
	PROCESS_INFORMATION made;
	STARTUPINFOEXW startup = {
		.StartupInfo =
			{
				.cb = sizeof(startup),
				.dwFlags = STARTF_USESTDHANDLES,
				.hStdInput = plan->by_number[0],
				.hStdOutput = plan->by_number[1],
				.hStdError = plan->by_number[2],
				.cbReserved2 = (WORD)plan->crt.len,
				.lpReserved2 = (BYTE *)plan->crt.data,
			},
		.lpAttributeList = plan->attributes,
	};

	if (plan->spawn->new_session)
		flags |= DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP;
	if (!CreateProcessW(plan->path, plan->command, NULL, NULL, TRUE, flags, plan->env,
			    plan->cwd, &startup.StartupInfo, &made))
		return kiln__win32_fail(err, GetLastError(), "cannot execute %s",
					plan->spawn->path);
	CloseHandle(made.hThread);
	ret->process = made.hProcess;
	ret->id = made.dwProcessId;
	ret->job = plan->job;
	plan->job = NULL;
	return 0;
}

static void forget(struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		CloseHandle(plan->list[i]);
	if (plan->attributes)
		DeleteProcThreadAttributeList(plan->attributes);
	if (plan->job)
		CloseHandle(plan->job);
	free(plan->attributes);
	free(plan->path);
	free(plan->command);
	free(plan->env);
	free(plan->cwd);
	kiln__buf_done(&plan->crt);
}

int kiln__win32_spawn(const struct kiln__spawn *spawn, struct kiln__win32_program *ret,
		      kiln_error *err)
{
	struct plan plan = {.spawn = spawn};
	int r;

	if (spawn->detached && spawn->die_with_parent)
		return kiln__fail(err, KILN_EINVAL,
				  "a detached process cannot end with its parent");
	r = make_words(&plan, err);
	if (r == 0)
		r = put_handles(&plan, err);
	if (r == 0)
		r = make_crt(&plan, err);
	if (r == 0 && spawn->die_with_parent)
		r = make_job(&plan, err);
	if (r == 0)
		r = make_attributes(&plan, err);
	if (r == 0)
		r = start(&plan, ret, err);
	forget(&plan);
	return r;
}
