/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes in directories, by ReadDirectoryChangesW(). Each directory has one request
 * with the system; when it is answered, the thread pool wakes the loop, which tells what
 * came and asks again.
 */
#include "win32.h"

#include "err.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define CHANGES                                                                                    \
	(FILE_NOTIFY_CHANGE_FILE_NAME | FILE_NOTIFY_CHANGE_DIR_NAME | FILE_NOTIFY_CHANGE_SIZE |    \
	 FILE_NOTIFY_CHANGE_LAST_WRITE)

struct directory {
	struct directory *next;
	struct kiln__dirwatch *owner;
	int number;
	HANDLE handle;
	HANDLE answered; /* an event */
	HANDLE wait;
	OVERLAPPED request;
	_Alignas(DWORD) unsigned char changes[8192];
};

struct kiln__dirwatch {
	struct directory *directories;
	int last; /* the number last given */
	struct kiln__waker *waker;
	void (*fn)(void *data, int directory, const char *name);
	void *data;
	bool *gone; /* set if it is freed while it tells */
};

static bool ask(struct directory *directory)
{
	directory->request = (OVERLAPPED){.hEvent = directory->answered};
	return ReadDirectoryChangesW(directory->handle, directory->changes,
				     sizeof(directory->changes), FALSE, CHANGES, NULL,
				     &directory->request, NULL);
}

/* On a thread of the pool. */
static VOID CALLBACK on_answered(PVOID data, BOOLEAN late)
{
	const struct directory *directory = data;

	(void)late;
	kiln__waker_wake(directory->owner->waker);
}

/* The next change's name, malloc'ed; *at moves on, to the end if it was the last. */
static char *take_name(const unsigned char *changes, DWORD len, DWORD *at)
{
	const size_t head = offsetof(FILE_NOTIFY_INFORMATION, FileName);
	const FILE_NOTIFY_INFORMATION *change = (const void *)(changes + *at);
	WCHAR name[MAX_PATH + 1] = {0};

	if (len - *at < head || change->FileNameLength > len - *at - head ||
	    change->FileNameLength > sizeof(name) - sizeof(name[0])) {
		*at = len;
		return NULL;
	}
	memcpy(name, change->FileName, change->FileNameLength);
	*at = change->NextEntryOffset ? *at + change->NextEntryOffset : len;
	return kiln__win32_utf8(name);
}

/* Returns false if the watch is gone. Names are told after the next request is under way. */
static bool tell(struct kiln__dirwatch *watch, struct directory *directory)
{
	unsigned char changes[sizeof(directory->changes)];
	int number = directory->number;
	bool gone = false;
	DWORD len = 0;
	DWORD at = 0;

	if (!GetOverlappedResult(directory->handle, &directory->request, &len, FALSE))
		return true; /* not answered yet, or removed */
	memcpy(changes, directory->changes, len);
	ask(directory);
	watch->gone = &gone;
	if (len == 0) /* more than the buffer has room for */
		watch->fn(watch->data, number, NULL);
	while (!gone && at < len) {
		kiln__autofree char *name = take_name(changes, len, &at);

		watch->fn(watch->data, number, name);
	}
	if (!gone)
		watch->gone = NULL;
	return !gone;
}

static void on_woken(void *data)
{
	struct kiln__dirwatch *watch = data;

	/* By number: the callback may add and remove. */
	for (int number = 1; number <= watch->last; number++) {
		struct directory *directory = watch->directories;

		while (directory && directory->number != number)
			directory = directory->next;
		if (directory && HasOverlappedIoCompleted(&directory->request) &&
		    !tell(watch, directory))
			return;
	}
}

int kiln__dirwatch_new(struct kiln__dirwatch **ret, kiln_loop *loop,
		       void (*fn)(void *data, int directory, const char *name), void *data,
		       kiln_error *err)
{
	struct kiln__dirwatch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return kiln__fail_nomem(err);
	watch->fn = fn;
	watch->data = data;
	r = kiln__waker_new(&watch->waker, loop, on_woken, watch, err);
	if (r < 0) {
		free(watch);
		return r;
	}
	*ret = watch;
	return 0;
}

static void free_directory(struct directory *directory)
{
	DWORD len;

	if (directory->wait)
		UnregisterWaitEx(directory->wait, INVALID_HANDLE_VALUE);
	/* The system writes into the request until it says that it has ended. */
	if (CancelIoEx(directory->handle, &directory->request) || GetLastError() != ERROR_NOT_FOUND)
		GetOverlappedResult(directory->handle, &directory->request, &len, TRUE);
	CloseHandle(directory->handle);
	if (directory->answered)
		CloseHandle(directory->answered);
	free(directory);
}

int kiln__dirwatch_add(struct kiln__dirwatch *watch, const char *path, int *ret_directory,
		       kiln_error *err)
{
	kiln__autofree WCHAR *wide = NULL;
	struct directory *directory;
	HANDLE handle;
	int r = kiln__win32_path(&wide, path, err);

	if (r < 0)
		return r;
	handle = CreateFileW(
		wide, FILE_LIST_DIRECTORY, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
		NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OVERLAPPED, NULL);
	if (handle == INVALID_HANDLE_VALUE)
		return kiln__win32_fail(err, GetLastError(), "cannot watch %s", path);
	directory = calloc(1, sizeof(*directory));
	if (!directory) {
		CloseHandle(handle);
		return kiln__fail_nomem(err);
	}
	directory->owner = watch;
	directory->number = watch->last + 1;
	directory->handle = handle;
	directory->answered = CreateEventW(NULL, FALSE, FALSE, NULL);
	if (!directory->answered || !ask(directory) ||
	    !RegisterWaitForSingleObject(&directory->wait, directory->answered, on_answered,
					 directory, INFINITE, WT_EXECUTEDEFAULT)) {
		r = kiln__win32_fail(err, GetLastError(), "cannot watch %s", path);
		free_directory(directory);
		return r;
	}
	directory->next = watch->directories;
	watch->directories = directory;
	*ret_directory = ++watch->last;
	return 0;
}

void kiln__dirwatch_remove(struct kiln__dirwatch *watch, int number)
{
	for (struct directory **at = &watch->directories; *at; at = &(*at)->next) {
		struct directory *directory = *at;

		if (directory->number != number)
			continue;
		*at = directory->next;
		free_directory(directory);
		return;
	}
}

void kiln__dirwatch_free(struct kiln__dirwatch *watch)
{
	if (!watch)
		return;
	if (watch->gone)
		*watch->gone = true;
	while (watch->directories)
		kiln__dirwatch_remove(watch, watch->directories->number);
	kiln__waker_free(watch->waker);
	free(watch);
}
