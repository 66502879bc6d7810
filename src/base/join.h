/* SPDX-License-Identifier: Apache-2.0 */
/* Texts one behind the other: paths, most of all. */
#ifndef KILN_BASE_JOIN_H
#define KILN_BASE_JOIN_H

/*
 * The texts up to a NULL, one behind the other, malloc'ed; NULL when out of memory. What printf
 * does with them costs ten times as much, which counts where paths are made on each start.
 */
char *kiln__join(const char *first, ...) __attribute__((sentinel));

#endif
