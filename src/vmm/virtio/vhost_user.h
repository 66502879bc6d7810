/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user back-end: gives a virtio device to a VMM in another process (QEMU,
 * Cloud Hypervisor ...), the front-end, over a connected local socket.
 */
#ifndef KILN_VMM_VHOST_USER_H
#define KILN_VMM_VHOST_USER_H

#include <kiln/error.h>

#include "fd.h"
#include "loop.h"
#include "virtio.h"

struct kiln__vhost_user;

/*
 * Serves @device to the front-end at the other end of @socket, which is owned from
 * here on (on failure it stays the caller's). The device is borrowed; nothing else may
 * attach to it until kiln__vhost_user_free(). On the loop's thread, like all of it.
 */
int kiln__vhost_user_new(struct kiln__vhost_user **ret, kiln_loop *loop, kiln_fd socket,
			 struct kiln__virtio *device, kiln_error *err);

/*
 * Who is told when the session is over, once: @err is NULL if the front-end closed it, else
 * what it did wrong. The device has been reset and guest memory unmapped by then.
 * @fn may free the server.
 */
void kiln__vhost_user_on_end(struct kiln__vhost_user *server,
			     void (*fn)(void *data, const kiln_error *err), void *data);

/* Ends the session, resets the device and parts from it. Not from a handler of the device. NULL is
 * allowed. */
void kiln__vhost_user_free(struct kiln__vhost_user *server);

#endif
