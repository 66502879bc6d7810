/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_VSOCK_H
#define KILN_GUEST_VSOCK_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stdint.h>

/* A listening socket, non-blocking; or a negative KILN_E... code. */
int vsock_listen(uint32_t port, kiln_error *err);

/*
 * Begins to connect to the host. A non-blocking socket, or a negative errno;
 * *ret_connecting: it becomes writable once the outcome is known.
 */
int vsock_connect_host(uint32_t port, bool *ret_connecting);

/* Whether the peer of a connection is the host. */
bool vsock_is_host(int fd);

#endif
