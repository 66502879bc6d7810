/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's vsock ports, at a VMM that has them as Unix sockets in Firecracker's convention (the
 * client's side of src/services/vsock_unix.h): connections to the guest by "CONNECT port", those of
 * the guest at listeners beside it.
 */
#ifndef KILN_PROCESS_VSOCK_DIAL_H
#define KILN_PROCESS_VSOCK_DIAL_H

#include <kiln/error.h>

#include "loop.h"
#include "stream.h"

#include <stdbool.h>
#include <stdint.h>

struct kiln__vsock_dialer;

typedef void (*kiln__dialed_fn)(void *data, struct kiln__stream *stream, const kiln_error *err);

/*
 * For the VMM's socket at @path, which need not be there yet. Listens at @path_N for each of
 * @ports, which end with 0 (NULL: none); @incoming takes what comes, or refuses it.
 */
int kiln__vsock_dialer_new(struct kiln__vsock_dialer **ret, kiln_loop *loop, const char *path,
			   const uint32_t *ports,
			   bool (*incoming)(void *data, uint32_t port, struct kiln__stream *stream),
			   void *data, kiln_error *err);

/* Every user may connect from the guest's side, as far as he gets to the directory: a VMM in a
 * jail. */
int kiln__vsock_dialer_open(struct kiln__vsock_dialer *dialer, kiln_error *err);

/* Who serves the VMM's socket is @user, whatever else stands at its path. */
void kiln__vsock_dialer_expect(struct kiln__vsock_dialer *dialer, uint32_t user);

/* The VMM's socket is at @path from now on, and our own beside it, to this process. */
int kiln__vsock_dialer_moved(struct kiln__vsock_dialer *dialer, const char *path, kiln_error *err);

/*
 * A stream to @port of the guest: @done once, from inside or later. KILN_EIO if nothing listens
 * there.
 */
void kiln__vsock_dial(struct kiln__vsock_dialer *dialer, uint32_t port, kiln__dialed_fn done,
		      void *data);

/* Fails what is pending with KILN_ECANCELED, and removes the listeners' files. NULL is allowed. */
void kiln__vsock_dialer_free(struct kiln__vsock_dialer *dialer);

#endif
