/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_FIRECRACKER_H
#define KILN_FIRECRACKER_H

#include "backend.h"

extern const struct kiln__backend kiln__backend_firecracker;

#endif
