/* SPDX-License-Identifier: Apache-2.0 */
#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int code;
	const char *name;
	const char *text;
} codes[] = {
#define KILN_ERROR_CODE_ROW(name, value, text) {value, #name, text},
	KILN_ERROR_CODES(KILN_ERROR_CODE_ROW)
#undef KILN_ERROR_CODE_ROW
};

const char *kiln_error_name(int code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code)
			return codes[i].name;
	return code == 0 ? "OK" : "EUNKNOWN";
}

const char *kiln_error_text(int code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code)
			return codes[i].text;
	return code == 0 ? "success" : "unknown error";
}

int kiln__code_of_errno(int os_errno)
{
	switch (os_errno) {
	case EINVAL:
	case EISDIR:
		return KILN_EINVAL;
	case ENOMEM:
		return KILN_ENOMEM;
	case EIO:
	case EPIPE:
	case ECONNRESET:
		return KILN_EIO;
	case ENOENT:
	case ENOTDIR:
		return KILN_ENOENT;
	case EEXIST:
		return KILN_EEXIST;
	case EBUSY:
	case ENOTEMPTY:
	case ETXTBSY:
		return KILN_EBUSY;
	case EACCES:
	case EPERM:
	case EROFS:
		return KILN_EACCES;
	case ENOSYS:
	case ENOTSUP:
		return KILN_ENOTSUP;
	case ETIMEDOUT:
		return KILN_ETIMEDOUT;
	case ENOSPC:
#ifdef EDQUOT
	case EDQUOT:
#endif
		return KILN_ENOSPC;
	case ENOEXEC:
		return KILN_ENOEXEC;
	case EOVERFLOW:
	case ERANGE:
	case EFBIG:
	case ENAMETOOLONG:
		return KILN_EOVERFLOW;
	default:
		return KILN_ESYSTEM;
	}
}

KILN_PRINTF(4, 0)
static void fill(kiln_error *err, int code, int os_errno, const char *fmt, va_list args)
{
	*err = (kiln_error){.code = code, .os_errno = os_errno};
	vsnprintf(err->message, sizeof(err->message), fmt, args);
}

int kiln__fail(kiln_error *err, int code, const char *fmt, ...)
{
	va_list args;

	if (err) {
		va_start(args, fmt);
		fill(err, code, 0, fmt, args);
		va_end(args);
	}
	return code;
}

int kiln__fail_errno(kiln_error *err, int os_errno, const char *fmt, ...)
{
	int code = kiln__code_of_errno(os_errno);
	va_list args;
	size_t used;

	if (err) {
		va_start(args, fmt);
		fill(err, code, os_errno, fmt, args);
		va_end(args);
		used = strlen(err->message);
		snprintf(err->message + used, sizeof(err->message) - used, ": %s",
			 strerror(os_errno));
	}
	return code;
}

int kiln__fail_nomem(kiln_error *err)
{
	return kiln__fail(err, KILN_ENOMEM, "out of memory");
}

int kiln__stage(kiln_error *err, const char *stage)
{
	if (!err)
		return 0;
	if (!err->stage[0])
		snprintf(err->stage, sizeof(err->stage), "%s", stage);
	return err->code;
}

int kiln__hint(kiln_error *err, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return 0;
	if (!err->hint[0]) {
		va_start(args, fmt);
		vsnprintf(err->hint, sizeof(err->hint), fmt, args);
		va_end(args);
	}
	return err->code;
}

int kiln__prefix(kiln_error *err, const char *fmt, ...)
{
	char old[sizeof(err->message)];
	va_list args;
	size_t used;

	if (!err)
		return 0;
	memcpy(old, err->message, sizeof(old));
	va_start(args, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	used = strlen(err->message);
	/* The tail of a long old message is what gives way. */
	snprintf(err->message + used, sizeof(err->message) - used, ": %.*s", (int)(sizeof(old) - 3),
		 old);
	return err->code;
}
