/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children: their process handles. The system's thread pool waits for one that is
 * watched and wakes the loop. There are no signals here: a child that we end gets an
 * exit code that says so, and one that faults the code of its exception.
 */
#include "spawn.h"

#include "err.h"

#include <stdlib.h>
#include <winternl.h>

/* Exit codes of children that we ended: a customer's code (bit 29), "K", the signal's number. */
#define ENDED_BY(signal) (0xE04B0000u | (signal))
#define NUMBER_KILL      9
#define NUMBER_TERMINATE 15
#define NUMBER_ABORT     6

struct kiln__child {
	struct kiln__win32_program program;
	bool ended;
	struct kiln__exit how;     /* once ended */
	struct kiln__waker *waker; /* while watched */
	HANDLE wait;
	void (*fn)(void *data, struct kiln__exit how);
	void *data;
};

int kiln__child_spawn(struct kiln__child **ret, const struct kiln__spawn *spawn, kiln_error *err)
{
	struct kiln__child *child = calloc(1, sizeof(*child));
	int r;

	if (!child)
		return kiln__fail_nomem(err);
	r = kiln__win32_spawn(spawn, &child->program, err);
	if (r < 0) {
		free(child);
		return r;
	}
	*ret = child;
	return 0;
}

bool kiln__child_is_offline(const struct kiln__child *child)
{
	(void)child;
	return false;
}

int64_t kiln__child_pid(const struct kiln__child *child)
{
	return child->program.id;
}

static struct kiln__exit decode(DWORD code)
{
	if ((code & 0xFFFF0000u) == ENDED_BY(0))
		return (struct kiln__exit){.signaled = true, .code = (int)(code & 0xFFFF)};
	/* An exception that nobody handled: severity "error" (NTSTATUS). */
	if (code >= 0xC0000000u)
		return (struct kiln__exit){.signaled = true, .code = NUMBER_ABORT};
	return (struct kiln__exit){.code = (int)code};
}

static bool has_ended(struct kiln__child *child, DWORD timeout_ms)
{
	DWORD code = 0;

	if (child->ended)
		return true;
	if (WaitForSingleObject(child->program.process, timeout_ms) != WAIT_OBJECT_0)
		return false;
	GetExitCodeProcess(child->program.process, &code);
	child->how = decode(code);
	child->ended = true;
	return true;
}

static void stop_watching(struct kiln__child *child)
{
	/* Returns when no call of on_signaled() is under way any more. */
	if (child->wait)
		UnregisterWaitEx(child->wait, INVALID_HANDLE_VALUE);
	kiln__waker_free(child->waker);
	child->wait = NULL;
	child->waker = NULL;
}

/* On a thread of the pool. */
static VOID CALLBACK on_signaled(PVOID data, BOOLEAN late)
{
	struct kiln__child *child = data;

	(void)late;
	kiln__waker_wake(child->waker);
}

static void on_woken(void *data)
{
	struct kiln__child *child = data;

	if (!has_ended(child, 0))
		return;
	stop_watching(child);
	child->fn(child->data, child->how);
}

int kiln__child_watch(struct kiln__child *child, kiln_loop *loop,
		      void (*fn)(void *data, struct kiln__exit how), void *data, kiln_error *err)
{
	int r;

	if (child->waker)
		return kiln__fail(err, KILN_ESTATE, "the child is watched already");
	r = kiln__waker_new(&child->waker, loop, on_woken, child, err);
	if (r < 0)
		return r;
	child->fn = fn;
	child->data = data;
	if (RegisterWaitForSingleObject(&child->wait, child->program.process, on_signaled, child,
					INFINITE, WT_EXECUTEONLYONCE))
		return 0;
	child->wait = NULL;
	r = kiln__win32_fail(err, GetLastError(), "cannot watch a process");
	stop_watching(child);
	return r;
}

int kiln__child_wait(struct kiln__child *child, int timeout_ms, struct kiln__exit *ret,
		     kiln_error *err)
{
	if (!has_ended(child, timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms))
		return kiln__fail(err, KILN_ETIMEDOUT, "process %lu still runs",
				  (unsigned long)child->program.id);
	*ret = child->how;
	return 0;
}

/* Nothing comes nearer: a console's Ctrl-Break reaches only who shares the console. */
void kiln__child_terminate(struct kiln__child *child)
{
	if (!child->ended)
		TerminateProcess(child->program.process, ENDED_BY(NUMBER_TERMINATE));
}

void kiln__child_kill(struct kiln__child *child)
{
	if (!child->ended)
		TerminateProcess(child->program.process, ENDED_BY(NUMBER_KILL));
}

void kiln__child_free(struct kiln__child *child)
{
	if (!child)
		return;
	stop_watching(child);
	/*
	 * The job of one that still runs stays open, to the end of this process: closing it
	 * would end the child now, and not closing it ends the child then, as was asked for.
	 */
	if (child->program.job && has_ended(child, 0))
		CloseHandle(child->program.job);
	CloseHandle(child->program.process);
	free(child);
}

/* --- this process and its parent ------------------------------------------------------------ */

static bool is_older(HANDLE process, HANDLE than)
{
	FILETIME made[2];
	FILETIME unused[3];

	return GetProcessTimes(process, &made[0], &unused[0], &unused[1], &unused[2]) &&
	       GetProcessTimes(than, &made[1], &unused[0], &unused[1], &unused[2]) &&
	       CompareFileTime(&made[0], &made[1]) <= 0;
}

static VOID CALLBACK on_parent_ended(PVOID data, BOOLEAN late)
{
	(void)data;
	(void)late;
	TerminateProcess(GetCurrentProcess(), ENDED_BY(NUMBER_KILL));
}

int kiln__os_die_with_parent(kiln_error *err)
{
	PROCESS_BASIC_INFORMATION info;
	HANDLE parent;
	HANDLE wait;

	if (NtQueryInformationProcess(GetCurrentProcess(), ProcessBasicInformation, &info,
				      sizeof(info), NULL) < 0)
		return kiln__fail(err, KILN_ESYSTEM, "cannot tell this process's parent");
	parent = OpenProcess(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION, FALSE,
			     (DWORD)(uintptr_t)info.InheritedFromUniqueProcessId);
	/* Gone already, or its number is another's by now. */
	if (!parent || !is_older(parent, GetCurrentProcess()))
		on_parent_ended(NULL, FALSE);
	/* Both stay for the life of this process. */
	if (!RegisterWaitForSingleObject(&wait, parent, on_parent_ended, NULL, INFINITE,
					 WT_EXECUTEONLYONCE))
		return kiln__win32_fail(err, GetLastError(),
					"cannot tie this process to its parent");
	return 0;
}

int kiln__os_adopt_orphans(kiln_error *err)
{
	return kiln__fail(err, KILN_ENOTSUP, "a process of Windows has no parent to lose");
}

int kiln__child_adopt(struct kiln__child **ret, int64_t pid, kiln_error *err)
{
	(void)ret;
	return kiln__fail(err, KILN_ENOENT, "process %lld is no child of this one", (long long)pid);
}

/* Nothing is confined here. */
int kiln__child_keep(struct kiln__child *child, unsigned *count, kiln_error *err)
{
	(void)child;
	(void)count;
	(void)err;
	return 0;
}
