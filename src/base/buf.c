/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *storage(const struct kiln__buf *buf)
{
	return buf->data ? buf->data - buf->head : NULL;
}

/* The contents from the storage's first byte on. */
static void move_to_front(struct kiln__buf *buf)
{
	if (buf->head == 0)
		return;
	memmove(buf->data - buf->head, buf->data, buf->len + 1);
	buf->data -= buf->head;
	buf->cap += buf->head;
	buf->head = 0;
}

void kiln__buf_done(struct kiln__buf *buf)
{
	free(storage(buf));
	*buf = (struct kiln__buf)KILN__BUF_INIT;
}

void kiln__buf_clear(struct kiln__buf *buf)
{
	buf->len = 0;
	move_to_front(buf);
	buf->failed = false;
	if (buf->data)
		buf->data[0] = '\0';
}

int kiln__buf_reserve(struct kiln__buf *buf, size_t more)
{
	size_t need;
	size_t cap;
	char *data;

	if (buf->failed)
		return KILN_ENOMEM;
	if (__builtin_add_overflow(buf->len, more, &need) || __builtin_add_overflow(need, 1, &need))
		goto fail;
	if (need <= buf->cap)
		return 0;
	/* What is moved is paid for by what was dropped, or by the doubling. */
	if (buf->head >= buf->len) {
		move_to_front(buf);
		if (need <= buf->cap)
			return 0;
	}
	move_to_front(buf);
	cap = buf->cap ? buf->cap : 32;
	do {
		if (__builtin_mul_overflow(cap, 2, &cap))
			goto fail;
	} while (cap < need);
	data = realloc(buf->data, cap);
	if (!data)
		goto fail;
	buf->data = data;
	buf->cap = cap;
	return 0;
fail:
	buf->failed = true;
	return KILN_ENOMEM;
}

void kiln__buf_add(struct kiln__buf *buf, const void *data, size_t len)
{
	if (kiln__buf_reserve(buf, len) < 0)
		return;
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void kiln__buf_adds(struct kiln__buf *buf, const char *text)
{
	kiln__buf_add(buf, text, strlen(text));
}

void kiln__buf_addc(struct kiln__buf *buf, char c)
{
	kiln__buf_add(buf, &c, 1);
}

void kiln__buf_vaddf(struct kiln__buf *buf, const char *fmt, va_list args)
{
	va_list again;
	int n;

	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0) {
		buf->failed = true;
		return;
	}
	if (kiln__buf_reserve(buf, (size_t)n) < 0)
		return;
	vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, args);
	buf->len += (size_t)n;
}

void kiln__buf_addf(struct kiln__buf *buf, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	kiln__buf_vaddf(buf, fmt, args);
	va_end(args);
}

void kiln__buf_drop(struct kiln__buf *buf, size_t n)
{
	if (n == 0)
		return;
	buf->data += n;
	buf->head += n;
	buf->cap -= n;
	buf->len -= n;
	if (buf->len == 0)
		move_to_front(buf);
}

char *kiln__buf_steal(struct kiln__buf *buf)
{
	char *data;

	if (kiln__buf_reserve(buf, 0) < 0) {
		kiln__buf_done(buf);
		return NULL;
	}
	move_to_front(buf);
	data = buf->data;
	data[buf->len] = '\0';
	*buf = (struct kiln__buf)KILN__BUF_INIT;
	return data;
}

char *kiln__strf(const char *fmt, ...)
{
	struct kiln__buf buf = KILN__BUF_INIT;
	va_list args;

	va_start(args, fmt);
	kiln__buf_vaddf(&buf, fmt, args);
	va_end(args);
	return kiln__buf_steal(&buf);
}

const char *kiln__buf_behind_last(const char *text, char c, size_t len)
{
	while (len && text[len - 1] != c)
		len--;
	return text + len;
}
