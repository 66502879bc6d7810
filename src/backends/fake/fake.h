/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake backend: machines that run nothing, in memory, on any system. For trying
 * out and testing what stands on top of machines; its faults are asked for by the
 * configuration (fake.*).
 */
#ifndef KILN_FAKE_H
#define KILN_FAKE_H

#include "backend.h"

extern const struct kiln__backend kiln__backend_fake;

#endif
