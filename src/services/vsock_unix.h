/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's vsock ports as Unix sockets, in Firecracker's convention.
 *
 * To the guest: connect to the socket at PATH, send "CONNECT <port>\n", read
 * "OK <number>\n" (any number), and from there on talk to the guest's port. If the guest
 * refuses, the connection is closed without an answer.
 * From the guest: a connection to host port N is joined to the socket at PATH_N, and
 * refused if nobody listens there.
 */
#ifndef KILN_SERVICES_VSOCK_UNIX_H
#define KILN_SERVICES_VSOCK_UNIX_H

#include <kiln/error.h>

#include "loop.h"
#include "stream.h"

#include <stdbool.h>
#include <stdint.h>

struct kiln__vsock_unix;

/* How to reach a port of the guest: @done is called once, from inside the call or later. */
typedef void (*kiln__port_done_fn)(void *data, struct kiln__stream *stream, const kiln_error *err);
typedef void (*kiln__port_connect_fn)(void *data, uint32_t port, kiln__port_done_fn done,
				      void *done_data);

/*
 * Listens at @path, which must not exist, for this user alone (mode 0600). At most
 * @max_links connections are there at a time, both directions together, each with a
 * descriptor: more wait, or are refused if they come from the guest.
 * Connections wait until kiln__vsock_unix_accept().
 * KILN_EOVERFLOW if @path plus the longest "_N" is too long for a socket.
 */
int kiln__vsock_unix_new(struct kiln__vsock_unix **ret, kiln_loop *loop, const char *path,
			 unsigned max_links, kiln__port_connect_fn connect, void *data,
			 kiln_error *err);

void kiln__vsock_unix_accept(struct kiln__vsock_unix *service);

/* This process has a root of its own now, in which the socket lies in @directory. */
int kiln__vsock_unix_moved(struct kiln__vsock_unix *service, const char *directory,
			   kiln_error *err);

/* The guest connects to @port: true takes @stream, false refuses. For kiln__vsock_listen() and the
 * like. */
bool kiln__vsock_unix_incoming(struct kiln__vsock_unix *service, uint32_t port,
			       struct kiln__stream *stream);

/* Closes everything and removes the socket's file. Not from inside connect() or its done(). NULL is
 * allowed. */
void kiln__vsock_unix_free(struct kiln__vsock_unix *service);

#endif
