/* SPDX-License-Identifier: Apache-2.0 */
/* How library code fills a kiln_error. Every function returns the code, so that "return
 * kiln__fail(...)" reads well. */
#ifndef KILN_BASE_ERR_H
#define KILN_BASE_ERR_H

#include <kiln/error.h>

/* Fills @err (NULL is allowed) and returns @code. Stage and hint become empty. */
int kiln__fail(kiln_error *err, int code, const char *fmt, ...) KILN_PRINTF(3, 4);

/*
 * The same from an operating-system error number: the code is derived from
 * @os_errno (ENOENT to KILN_ENOENT and so on, else KILN_ESYSTEM), the message
 * becomes "<fmt>: <strerror>".
 */
int kiln__fail_errno(kiln_error *err, int os_errno, const char *fmt, ...) KILN_PRINTF(3, 4);

/* Out of memory, without allocating. */
int kiln__fail_nomem(kiln_error *err);

/* Sets the stage if none is set yet. Returns err->code (0 for NULL). */
int kiln__stage(kiln_error *err, const char *stage);

/* Sets the hint if none is set yet. Returns err->code (0 for NULL). */
int kiln__hint(kiln_error *err, const char *fmt, ...) KILN_PRINTF(2, 3);

/* Puts "<fmt>: " before the message. Returns err->code (0 for NULL). */
int kiln__prefix(kiln_error *err, const char *fmt, ...) KILN_PRINTF(2, 3);

/* The KILN_E... code that stands for an errno value. */
int kiln__code_of_errno(int os_errno);

#endif
