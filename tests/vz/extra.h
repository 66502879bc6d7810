/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kiln's QEMU backend has no keys for: QEMU is given more arguments by a program of the
 * look-alike's in its place, virtiofsd serves directories, and a second monitor takes what is asked
 * of the balloon and of saved states. What waits for QEMU is called off the service's thread, by
 * one caller at a time: QEMU may itself wait for a device whose back end is on that thread (the
 * vsock device). All else is on the service's thread.
 */
#ifndef TESTS_VZ_EXTRA_H
#define TESTS_VZ_EXTRA_H

#include "service.h"

#include "loop.h"

struct extra;

/* Before QEMU starts; NULL: @error has the words. */
struct extra *extra_new(const struct service_plan *plan, char *error, size_t size);

/* Instead of QEMU; valid as long as @extra. */
const char *extra_program(const struct extra *extra);

/* Once QEMU is spawned: its second monitor, and a saved state is loaded. Waits. */
bool extra_reach(struct extra *extra, char *error, size_t size);

/* After that: joins sockets. */
bool extra_join(struct extra *extra, kiln_loop *loop, char *error, size_t size);

/* Both wait. */
bool extra_save(struct extra *extra, const char *path, char *error, size_t size);
void extra_balloon(struct extra *extra, uint64_t bytes);

void extra_free(struct extra *extra); /* NULL is allowed */

#endif
