/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtiofsd, which serves a directory of the host to a VM by vhost-user: one process a share. It
 * is given a listening socket, takes the first connection, and ends when that does: with the VMM,
 * and with this process.
 *
 * On the loop's thread. What it trusts: the configuration. virtiofsd is what faces the guest: it
 * shuts itself into the directory.
 */
#ifndef KILN_VIRTIOFSD_H
#define KILN_VIRTIOFSD_H

#include "backend.h"

struct kiln__virtiofsd;

/* One of them has failed, which its guest does not survive: @err says how. At most once each. */
typedef void kiln__virtiofsd_fn(void *data, const kiln_error *err);

/*
 * Whether the shares of a configuration can be served: names by key what cannot. KILN_ENOENT: there
 * is no virtiofsd, or a directory is none.
 */
int kiln__virtiofsd_check(const struct kiln__spec *spec, kiln_error *err);

/*
 * Serves all shares of @host's configuration, of which there is at least one. @host is borrowed for
 * as long as they are.
 */
int kiln__virtiofsd_new(struct kiln__virtiofsd **ret, const struct kiln__backend_host *host,
			kiln__virtiofsd_fn *failed, void *data, kiln_error *err);

/* Starts number @index at @path, a socket's that is not there yet. Who removes it is the caller. */
int kiln__virtiofsd_listen(struct kiln__virtiofsd *virtiofsd, size_t index, const char *path,
			   kiln_error *err);

/* The same with nothing left at @path: @ret is connected to it, the caller's. */
int kiln__virtiofsd_connect(struct kiln__virtiofsd *virtiofsd, size_t index, const char *path,
			    kiln_fd *ret, kiln_error *err);

/* For the backend's keep(). */
int kiln__virtiofsd_keep(struct kiln__virtiofsd *virtiofsd, unsigned *count, kiln_error *err);

/* Ends those that still run. NULL is allowed. */
void kiln__virtiofsd_free(struct kiln__virtiofsd *virtiofsd);

#endif
