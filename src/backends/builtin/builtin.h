/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BACKENDS_BUILTIN_H
#define KILN_BACKENDS_BUILTIN_H

#include "backend.h"

extern const struct kiln__backend kiln__backend_builtin;

#endif
