/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a lock to be given up: a request for it, which the system answers when it
 * can be had. A thread of the pool then lets go of it and wakes the loop.
 */
#include "win32.h"

#include "err.h"

#include <stdlib.h>

struct kiln__lockwait {
	HANDLE file;
	HANDLE answered; /* an event */
	HANDLE wait;
	OVERLAPPED request;
	struct kiln__waker *waker;
	void (*fn)(void *data);
	void *data;
};

/* On a thread of the pool. */
static VOID CALLBACK on_answered(PVOID data, BOOLEAN late)
{
	struct kiln__lockwait *wait = data;
	OVERLAPPED place = wait->request;

	(void)late;
	place.hEvent = NULL;
	UnlockFileEx(wait->file, 0, 1, 0, &place);
	kiln__waker_wake(wait->waker);
}

static void on_wake(void *data)
{
	struct kiln__lockwait *wait = data;

	wait->fn(wait->data);
}

static int ask(struct kiln__lockwait *wait, unsigned part, kiln_error *err)
{
	wait->answered = CreateEventW(NULL, TRUE, FALSE, NULL);
	if (!wait->answered)
		return kiln__win32_fail(err, GetLastError(), "cannot wait for a lock");
	wait->request = kiln__win32_part_place(part);
	wait->request.hEvent = wait->answered;
	/* Shared, so that several may wait. Got at once, the event is set all the same. */
	if (!LockFileEx(wait->file, 0, 0, 1, 0, &wait->request) &&
	    GetLastError() != ERROR_IO_PENDING)
		return kiln__win32_fail(err, GetLastError(), "cannot wait for a lock");
	if (RegisterWaitForSingleObject(&wait->wait, wait->answered, on_answered, wait, INFINITE,
					WT_EXECUTEONLYONCE))
		return 0;
	wait->wait = NULL;
	return kiln__win32_fail(err, GetLastError(), "cannot wait for a lock");
}

int kiln__lockwait_new(struct kiln__lockwait **ret, kiln_loop *loop, const char *path,
		       unsigned part, void (*fn)(void *data), void *data, kiln_error *err)
{
	struct kiln__lockwait *wait = calloc(1, sizeof(*wait));
	kiln__autofree WCHAR *wide = NULL;
	int r = kiln__win32_path(&wide, path, err);

	if (!wait)
		return r < 0 ? r : kiln__fail_nomem(err);
	wait->fn = fn;
	wait->data = data;
	wait->file = INVALID_HANDLE_VALUE;
	if (r == 0) {
		wait->file = CreateFileW(wide, GENERIC_READ,
					 FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
					 NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
		if (wait->file == INVALID_HANDLE_VALUE)
			r = kiln__win32_fail(err, GetLastError(), "cannot open %s", path);
	}
	if (r == 0)
		r = kiln__waker_new(&wait->waker, loop, on_wake, wait, err);
	if (r == 0)
		r = ask(wait, part, err);
	if (r < 0) {
		kiln__lockwait_free(wait);
		return r;
	}
	*ret = wait;
	return 0;
}

void kiln__lockwait_free(struct kiln__lockwait *wait)
{
	DWORD len;

	if (!wait)
		return;
	/* Returns when no call of on_answered() is under way any more. */
	if (wait->wait)
		UnregisterWaitEx(wait->wait, INVALID_HANDLE_VALUE);
	if (wait->answered && CancelIoEx(wait->file, &wait->request))
		GetOverlappedResult(wait->file, &wait->request, &len, TRUE);
	if (wait->file != INVALID_HANDLE_VALUE)
		CloseHandle(wait->file);
	if (wait->answered)
		CloseHandle(wait->answered);
	kiln__waker_free(wait->waker);
	free(wait);
}
