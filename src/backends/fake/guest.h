/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the inside of a fake machine does: it answers on vsock ports, with an echo
 * service and an agent that speaks the real protocol (src/proto/agentmsg.h) and "runs"
 * a handful of programs of its own:
 *
 *	true, false, exit N, signal N   end at once
 *	echo WORD..., err WORD...       write to stdout or stderr
 *	cat                             stdin to stdout, until its end
 *	sleep                           until it is signaled
 *
 * Anything else is not found. All on the loop's thread.
 */
#ifndef KILN_FAKE_GUEST_H
#define KILN_FAKE_GUEST_H

#include "loop.h"
#include "stream.h"

#include <kiln/error.h>

#include <stdbool.h>
#include <stdint.h>

#define KILN__FAKE_ECHO_PORT 7 /* RFC 862's number */

struct kiln__fake_guest;

/* @power: the guest powers off or (@reset) resets itself. From the loop; the guest may not be freed
 * in it. */
int kiln__fake_guest_new(struct kiln__fake_guest **ret, kiln_loop *loop,
			 void (*power)(void *data, bool reset), void *data, kiln_error *err);

/* Ends all connections. NULL is allowed. */
void kiln__fake_guest_free(struct kiln__fake_guest *guest);

/* Whether something listens on this vsock port. */
bool kiln__fake_guest_listens(uint32_t port);

/* A connection to a port that something listens on. Takes @stream, which is the caller's on
 * failure. */
int kiln__fake_guest_accept(struct kiln__fake_guest *guest, uint32_t port,
			    struct kiln__stream *stream, kiln_error *err);

/* The agent's connection to the host's boot port: says hello. Takes @stream as above. */
int kiln__fake_guest_boot(struct kiln__fake_guest *guest, struct kiln__stream *stream,
			  kiln_error *err);

/* A frozen guest reads nothing, so it does nothing. */
void kiln__fake_guest_freeze(struct kiln__fake_guest *guest, bool frozen);

#endif
