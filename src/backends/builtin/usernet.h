/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network without rights on the host: passt, a process of this VM's own at the other end of a
 * socket, which ends when this process does.
 */
#ifndef KILN_BACKENDS_BUILTIN_USERNET_H
#define KILN_BACKENDS_BUILTIN_USERNET_H

#include "backend.h"
#include "net_backend.h"

struct kiln__usernet;

/* Whether there can be one for network number @network of this configuration: passt is installed,
 * and can publish its ports. */
int kiln__usernet_check(const struct kiln__spec *spec, size_t network, kiln_error *err);

/* Starts passt; *@ret_backend is the device's end. */
int kiln__usernet_new(struct kiln__usernet **ret, const struct kiln__backend_host *host,
		      size_t network, struct kiln__net_backend **ret_backend, kiln_error *err);
int kiln__usernet_keep(struct kiln__usernet *net, unsigned *count,
		       kiln_error *err);            /* backend.h, keep() */
void kiln__usernet_free(struct kiln__usernet *net); /* NULL is allowed */

#endif
