/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What os/posix, shared by Linux and macOS, asks of the system's own folder:
 * the few places where two Unixes differ below an equal contract.
 */
#ifndef KILN_OS_POSIX_H
#define KILN_OS_POSIX_H

#include "os.h"
#include "system.h"

#include <sys/stat.h>

struct sockaddr_un;

/* Makes a file's (or directory's) contents survive a power cut. 0 or a negative errno. */
int kiln__posix_sync(int fd);

/*
 * A file in @directory that has no name yet, so that nothing is left of it if this
 * process is killed; and its name, once it is complete. A negative errno where the
 * system or file system has no such thing: the caller then uses a named temporary.
 */
int kiln__posix_open_unnamed(const char *directory);
int kiln__posix_give_name(int fd, const char *path);

/*
 * Renames @from to @to, replacing it, without anything being written to disk because of that
 * where the system can. 0 or a negative errno.
 */
int kiln__posix_rename_unsynced(const char *from, const char *to);

/* open()'s flags for KILN__OPEN_..., close-on-exec included. */
int kiln__posix_open_flags(unsigned flags);

/*
 * A new stream socket, close-on-exec, that never raises SIGPIPE. A descriptor or a negative errno.
 */
int kiln__posix_local_socket(bool nonblocking);

/* accept(), close-on-exec, blocking. A descriptor or a negative errno. */
int kiln__posix_accept(int listener);

/* Binds @fd with mode 0600 before anybody can connect. 0 or a negative errno. */
int kiln__posix_bind_private(int fd, const struct sockaddr_un *addr);

/* The value of environment variable @name if it may be trusted, else NULL. */
const char *kiln__posix_env(const char *name);

/* The same if it is an absolute path, else NULL. */
const char *kiln__posix_absolute_env(const char *name);

/*
 * The directory that one of kiln's own variables names: 1 and *ret, malloc'ed; 0 if it is unset or
 * empty; KILN_EINVAL if it is relative, which would be another directory in each process.
 */
int kiln__posix_own_dir(const char *name, char **ret, kiln_error *err);

/* *ret = @text; out of memory if that is NULL. */
int kiln__posix_give(char **ret, char *text, kiln_error *err);

/* The directory part of @path, malloc'ed: "." if it has none. NULL when out of memory. */
char *kiln__posix_dirname(const char *path);

#endif
