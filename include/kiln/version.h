/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_VERSION_H
#define KILN_VERSION_H

#include <kiln/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is running: "0.1.0". Static. Any thread. */
KILN_PUBLIC const char *kiln_version(void);

#ifdef __cplusplus
}
#endif
#endif
