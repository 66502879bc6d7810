/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: one convention for the whole library.
 *
 * A function that can fail returns 0 or a count on success and a negative
 * KILN_E... code on failure, and takes as its last parameter a caller-owned
 * kiln_error, or NULL where the caller needs only the code. On failure the
 * error is filled whole; results behind ret_ pointers stay untouched.
 * On success the error is not written to.
 */
#ifndef KILN_ERROR_H
#define KILN_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KILN_PUBLIC            __attribute__((visibility("default")))
#define KILN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define KILN_PUBLIC
#define KILN_PRINTF(fmt, args)
#endif

/* Codes are part of the ABI: values are never reused or renumbered. */
#define KILN_ERROR_CODES(X)                                                                        \
	X(EINVAL, -1, "invalid argument or configuration")                                         \
	X(ENOMEM, -2, "out of memory")                                                             \
	X(EIO, -3, "input/output error")                                                           \
	X(ENOENT, -4, "no such object")                                                            \
	X(EEXIST, -5, "object exists already")                                                     \
	X(EBUSY, -6, "object is in use")                                                           \
	X(EACCES, -7, "permission denied")                                                         \
	X(ENOTSUP, -8, "not supported here")                                                       \
	X(ESTATE, -9, "not possible in this state")                                                \
	X(ETIMEDOUT, -10, "deadline passed")                                                       \
	X(ECANCELED, -11, "operation canceled")                                                    \
	X(EPROTO, -12, "protocol violated by the other side")                                      \
	X(EFORMAT, -13, "file has an unusable format")                                             \
	X(ENOSPC, -14, "no space left")                                                            \
	X(EDIED, -15, "the process or virtual machine died")                                       \
	X(ENOEXEC, -16, "command cannot be executed")                                              \
	X(ENOCMD, -17, "command not found")                                                        \
	X(EOVERFLOW, -18, "value or size out of range")                                            \
	X(ESYSTEM, -19, "operating system call failed")

enum kiln_error_code {
	KILN_OK = 0,
#define KILN_ERROR_CODE_ENUM(name, value, text) KILN_##name = value,
	KILN_ERROR_CODES(KILN_ERROR_CODE_ENUM)
#undef KILN_ERROR_CODE_ENUM
};

/*
 * What went wrong, why, and what to do. All strings are NUL-terminated and
 * truncated to fit; empty where there is nothing to say. The struct is a plain
 * value: copy it, keep it on the stack, nothing in it needs freeing.
 */
typedef struct kiln_error {
	int code;          /* a negative KILN_E... code; 0 if unset */
	int os_errno;      /* the operating system's code behind it; 0 if none */
	char stage[32];    /* the stage of the life cycle, e.g. "config", "kernel", "start" */
	char message[512]; /* one line: what failed, on which object, and why */
	char hint[256];    /* one line: what to do about it */
} kiln_error;

/* clang-format off */
#define KILN_ERROR_INIT {0, 0, {0}, {0}, {0}}
/* clang-format on */

/* The symbolic name of @code without its prefix ("EINVAL"), "OK" for 0, "EUNKNOWN" else. Static.
 * Any thread. */
KILN_PUBLIC const char *kiln_error_name(int code);

/* A short English description of @code. Static storage. Any thread. */
KILN_PUBLIC const char *kiln_error_text(int code);

#ifdef __cplusplus
}
#endif
#endif
