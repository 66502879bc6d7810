/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "buf.h"
#include "loop.h"
#include "os.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/stat.h>
#endif

#define MAX_FDS   1024
#define MAX_PATHS 256 /* full counts make dozens of VMs in one test */

static struct {
	unsigned long count;
	bool open[MAX_FDS];
	char *directory;
	char *paths[MAX_PATHS];
	size_t path_count;
} now;

static void ignore(void *data)
{
	(void)data;
}

/*
 * What libraries open once for the whole process (libuv's signal pipe, Winsock)
 * would look like a leak of the first test.
 */
static void open_once(void)
{
	static bool done;
	kiln_loop *loop;
	struct kiln__waker *waker;

	if (done || kiln_loop_new(&loop, NULL) < 0)
		return;
	if (kiln__waker_new(&waker, loop, ignore, NULL, NULL) == 0)
		kiln__waker_free(waker);
	kiln_loop_free(loop);
	done = true;
}

#ifdef _WIN32
/*
 * Files, sockets and devices: what a handle is else (threads of a pool ...) comes and goes by
 * itself.
 */
static unsigned long count_open(bool open[MAX_FDS])
{
	unsigned long count = 0;

	for (int i = 1; i < MAX_FDS; i++) {
		open[i] = GetFileType((HANDLE)((intptr_t)i * 4)) != FILE_TYPE_UNKNOWN;
		count += open[i];
	}
	return count;
}

static void tell_leak(int fd)
{
	print_error("handle 0x%x was leaked\n", (unsigned)fd * 4);
}

static const char *temporary_root(void)
{
	static char path[MAX_PATH + 1];

	DWORD len = GetTempPathA(sizeof(path), path);

	/* It ends with a separator. */
	if (len > 0)
		path[len - 1] = '\0';
	return path;
}
#else
static unsigned long count_open(bool open[MAX_FDS])
{
	unsigned long count = 0;

	for (int fd = 0; fd < MAX_FDS; fd++) {
		open[fd] = fcntl(fd, F_GETFD) >= 0;
		count += open[fd];
	}
	return count;
}

static void tell_leak(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0)
		print_error("descriptor %d (mode 0%o, inode %llu) was leaked\n", fd,
			    (unsigned)st.st_mode, (unsigned long long)st.st_ino);
}

static const char *temporary_root(void)
{
	return "/tmp";
}
#endif

int kiln_test_begin(void **state)
{
	(void)state;
	open_once();
	now.count = count_open(now.open);
	return 0;
}

static int remove_directory(void)
{
	kiln_error err = KILN_ERROR_INIT;
	int r = 0;

	if (now.directory)
		r = kiln__os_remove_tree(now.directory, &err);
	if (r < 0)
		print_error("%s\n", err.message);
	free(now.directory);
	now.directory = NULL;
	for (size_t i = 0; i < now.path_count; i++)
		free(now.paths[i]);
	now.path_count = 0;
	return r;
}

int kiln_test_end(void **state)
{
	bool open[MAX_FDS] = {false};
	unsigned long count;
	int r = remove_directory();

	(void)state;
	count = count_open(open);
	for (int fd = 0; fd < MAX_FDS; fd++)
		if (open[fd] && !now.open[fd])
			tell_leak(fd);
	if (count != now.count) {
		print_error("%lu descriptors open before the test, %lu after\n", now.count, count);
		return -1;
	}
	return r < 0 ? -1 : 0;
}

void kiln_test_ok(long long result, const kiln_error *err, const char *what, const char *file,
		  int line)
{
	if (result >= 0)
		return;
	print_error("%s: %s: %s\n", what, kiln_error_name((int)result), err ? err->message : "");
	_fail(file, line);
}

const char *kiln_test_dir(void)
{
	uint32_t number;
	kiln_error err;

	if (now.directory)
		return now.directory;
	kiln__os_random(&number, sizeof(number));
	now.directory = kiln__strf("%s/kt-%08x", temporary_root(), (unsigned)number);
	assert_non_null(now.directory);
	kiln_ok(kiln__os_mkdir(now.directory, 0700, &err), &err);
	return now.directory;
}

const char *kiln_test_path(const char *name)
{
	char *path = kiln__strf("%s/%s", kiln_test_dir(), name);

	assert_non_null(path);
	assert_true(now.path_count < MAX_PATHS);
	now.paths[now.path_count++] = path;
	return path;
}

static void expired(void *data)
{
	*(bool *)data = true;
}

void kiln_test_run_until(kiln_loop *loop, const bool *done)
{
	struct kiln__timer *deadline;
	bool late = false;
	kiln_error err;

	kiln_ok(kiln__timer_new(&deadline, loop, expired, &late, &err), &err);
	kiln__timer_start(deadline, KILN_TEST_DEADLINE_MS);
	while (!*done && !late)
		kiln_loop_step(loop);
	kiln__timer_free(deadline);
	if (!*done)
		fail_msg("what the test waits for has not happened");
}

static void count_down(void *data)
{
	--*(int *)data;
}

void kiln_test_settle(kiln_loop *loop)
{
	struct kiln__deferred *round;
	int left = 4;
	kiln_error err;

	kiln_ok(kiln__deferred_new(&round, loop, count_down, &left, &err), &err);
	while (left > 0) {
		kiln__deferred_schedule(round);
		kiln_loop_step(loop);
	}
	kiln__deferred_free(round);
}

void kiln_test_shown(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("shown: ", stdout);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
	fflush(stdout);
}

bool kiln_test_on_wine(void)
{
#ifdef _WIN32
	return GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version");
#else
	return false;
#endif
}

int kiln_test_skip(const char *why)
{
	printf("skipped: %s\n", why);
	return 77;
}
