/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes that are interrupted or do less than they could, as a kernel may have them. A
 * program linked with shortio_dep has its calls pass through here; what happens to each is
 * drawn from a seed. Without shortio_start() nothing happens, unless the environment has
 * KILN_TEST_SHORTIO=SEED: then streams are disturbed from the beginning.
 */
#ifndef TESTS_LIB_SHORTIO_H
#define TESTS_LIB_SHORTIO_H

#include <stdbool.h>
#include <stdint.h>

/* Sockets, pipes and terminals; with @files regular files, too. */
void shortio_start(uint32_t seed, bool files);
void shortio_stop(void);

/* How many calls were interrupted or cut short since shortio_start(). */
unsigned long shortio_count(void);

#endif
