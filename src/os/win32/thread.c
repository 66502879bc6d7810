/* SPDX-License-Identifier: Apache-2.0 */
#include "thread.h"

#include "win32.h"

#include "err.h"

#include <stdlib.h>

struct start {
	void (*fn)(void *data);
	void *data;
};

static DWORD WINAPI thread_main(LPVOID data)
{
	struct start start = *(struct start *)data;

	free(data);
	start.fn(start.data);
	return 0;
}

int kiln__thread_start(void (*fn)(void *data), void *data, kiln_error *err)
{
	struct start *start = malloc(sizeof(*start));
	HANDLE thread;

	if (!start)
		return kiln__fail_nomem(err);
	*start = (struct start){fn, data};
	thread = CreateThread(NULL, 0, thread_main, start, 0, NULL);
	if (!thread) {
		free(start);
		return kiln__win32_fail(err, GetLastError(), "cannot make a thread");
	}
	CloseHandle(thread);
	return 0;
}
