/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_QEMU_H
#define KILN_QEMU_H

#include "backend.h"

extern const struct kiln__backend kiln__backend_qemu;

#endif
