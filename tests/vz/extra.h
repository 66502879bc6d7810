/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kiln's QEMU backend has no keys for: QEMU is given more arguments by a program of the
 * look-alike's in its place, virtiofsd serves directories, and a second monitor takes what is asked
 * of the balloon and of saved states. All on the service's thread; what waits, waits there.
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

/* Once QEMU is there: joins sockets, and loads a saved state. */
bool extra_join(struct extra *extra, kiln_loop *loop, char *error, size_t size);

bool extra_save(struct extra *extra, const char *path, char *error, size_t size);
void extra_balloon(struct extra *extra, uint64_t bytes);

void extra_free(struct extra *extra); /* NULL is allowed */

#endif
