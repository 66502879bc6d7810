/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_HV_HASTEN_H
#define KILN_HV_HASTEN_H

#include <kiln/error.h>

/*
 * Where making a VM waits for a grace period of the kernel's (struct kiln__hv_report, "waits"):
 * begins one, on a thread that ends by itself. A VM that any process makes meanwhile waits for what
 * is left of it.
 */
int kiln__hv_hasten(kiln_error *err);

#endif
