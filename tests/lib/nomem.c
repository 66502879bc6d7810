/* SPDX-License-Identifier: Apache-2.0 */
#include "nomem.h"

#include "kiln_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_posix_memalign(void **ret, size_t align, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __wrap_posix_memalign(void **ret, size_t align, size_t size);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);

/* How many allocations of this thread still succeed; negative: all. */
static _Thread_local long allowed = -1;
static _Thread_local bool failed;
static atomic_long live;

/* Where to set a breakpoint, to see who it is that gets no memory. */
static __attribute__((noinline)) bool nomem_here(void)
{
	failed = true; /* and "allowed" is -1: one failure at a time */
	return true;
}

static bool fails(void)
{
	if (allowed < 0 || allowed-- > 0)
		return false;
	return nomem_here();
}

static void *counted(void *block)
{
	if (block)
		atomic_fetch_add(&live, 1);
	return block;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
	void *block = fails() ? NULL : __real_realloc(old, size);

	return old ? block : counted(block);
}

int __wrap_posix_memalign(void **ret, size_t align, size_t size)
{
	int code = fails() ? ENOMEM : __real_posix_memalign(ret, align, size);

	if (code == 0)
		counted(*ret);
	return code;
}

void __wrap_free(void *block)
{
	if (block)
		atomic_fetch_sub(&live, 1);
	__real_free(block);
}

char *__wrap_strdup(const char *text)
{
	return __wrap_strndup(text, strlen(text));
}

char *__wrap_strndup(const char *text, size_t max)
{
	size_t len = strnlen(text, max);
	char *copy = __wrap_malloc(len + 1);

	if (copy) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

/* libuv aborts when it cannot grow its table of watchers: its memory does not run out here. */
__attribute__((constructor)) static void spare_libuv(void)
{
	uv_replace_allocator(__real_malloc, __real_realloc, __real_calloc, __real_free);
}

void *nomem_spared_malloc(size_t size)
{
	return counted(__real_malloc(size));
}

void nomem_arm(long count)
{
	allowed = count;
	failed = false;
}

bool nomem_disarm(void)
{
	allowed = -1;
	return failed;
}

long nomem_suspend(void)
{
	long suspended = allowed;

	allowed = -1;
	return suspended;
}

void nomem_resume(long suspended)
{
	allowed = suspended;
}

long nomem_live(void)
{
	return atomic_load(&live);
}

static int descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void check(long n, int result, const kiln_error *err, enum nomem_rule rule)
{
	if (result == 0 && rule != NOMEM_TOLD)
		return;
	if (result >= 0)
		fail_msg("allocation %ld failed, and nobody said so", n);
	if (rule != NOMEM_SURVIVED && result != KILN_ENOMEM)
		fail_msg("allocation %ld failed, and was told as %s (%s)", n,
			 kiln_error_name(result), err->message);
	if (err->code != result || !err->message[0])
		fail_msg("allocation %ld failed with %s, but the error says %s, '%s'", n,
			 kiln_error_name(result), kiln_error_name(err->code), err->message);
}

void nomem_each(nomem_fn fn, void *data, enum nomem_rule rule)
{
	bool one_failed = true;
	kiln_error err = KILN_ERROR_INIT;
	long n;

	/* Once without, for what is allocated or opened once and for all. */
	kiln_ok(fn(data, &err), &err);
	for (n = 0; one_failed; n++) {
		long live_before = nomem_live();
		int open_before = descriptors();
		int result;

		err = (kiln_error)KILN_ERROR_INIT;
		nomem_arm(n);
		result = fn(data, &err);
		one_failed = nomem_disarm();
		if (one_failed)
			check(n, result, &err, rule);
		else
			kiln_ok(result, &err);
		if (nomem_live() != live_before)
			fail_msg("allocation %ld failed, and %ld blocks were leaked", n,
				 nomem_live() - live_before);
		if (descriptors() != open_before)
			fail_msg("allocation %ld failed, and %d descriptors were leaked", n,
				 descriptors() - open_before);
	}
	assert_true(n > 1); /* it does allocate */
}
