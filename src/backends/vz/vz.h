/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_VZ_H
#define KILN_VZ_H

#include "backend.h"

extern const struct kiln__backend kiln__backend_vz;

#endif
