/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_CLOUD_HYPERVISOR_H
#define KILN_CLOUD_HYPERVISOR_H

#include "backend.h"

extern const struct kiln__backend kiln__backend_cloud_hypervisor;

#endif
