/* SPDX-License-Identifier: Apache-2.0 */
/* Diagnostics: the library never prints; whoever wants its messages gives a logger. */
#ifndef KILN_LOG_H
#define KILN_LOG_H

#include <kiln/error.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kiln_log_level {
	KILN_LOG_DEBUG = 0, /* for kiln's developers */
	KILN_LOG_INFO = 1,  /* what happens in the life of a machine */
	KILN_LOG_WARN = 2,  /* worked, but not as one would wish (TCG instead of KVM) */
	KILN_LOG_ERROR = 3, /* something failed that no function result can carry */
};

/*
 * A logger: a value, copied where it is given. @fn is called on the thread that
 * logs (the loop's, or a backend's own) with one line without a newline; @text
 * is valid during the call only. @fn == NULL drops everything.
 */
typedef struct kiln_log {
	void (*fn)(void *data, enum kiln_log_level level, const char *text);
	void *data;
	enum kiln_log_level level; /* messages below this level are not made */
} kiln_log;

#define KILN_LOG_INIT                                                                              \
	{                                                                                          \
		0, 0, KILN_LOG_INFO                                                                \
	}

#ifdef __cplusplus
}
#endif
#endif
