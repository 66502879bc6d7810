/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom a confined process may still signal. pidfd_send_signal(2) takes a directory of /proc in
 * place of a pidfd, which anybody can open; so the filter (KILN__SYSCALLS in kept.c) lets it have
 * these numbers alone. What they stand for cannot be changed: all of them are taken before the
 * filter is entered, and it lets none be closed (tools/seccomp-gen.c), which a new descriptor would
 * take.
 */
#ifndef KILN_OS_LINUX_KEPT_H
#define KILN_OS_LINUX_KEPT_H

#include <kiln/error.h>

/* A power of two, at a multiple of it, below the 64 that a process's first table of descriptors
 * has. A VMM, or a passt for each of as many networks as there may be. */
#define KILN__KEPT_FIRST 56
#define KILN__KEPT_COUNT 8
#define KILN__KEPT_MASK  -8

/* Takes those numbers that are free, by descriptors that are good for nothing. */
int kiln__linux_take_kept(kiln_error *err);

#endif
