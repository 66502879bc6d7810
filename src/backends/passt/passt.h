/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passt, which gives a VM a network without any right on the host: its command line. It is a
 * process of its own, at the other end of a stream socket (src/vmm/virtio/net_stream.c).
 */
#ifndef KILN_PASST_H
#define KILN_PASST_H

#include <kiln/error.h>

#include "spec.h"

/*
 * The arguments for network number @network of a configuration, malloc'ed, NULL-terminated; free
 * with kiln__passt_argv_free(). @fd is the number by which passt inherits its end of the socket
 * pair. @as_root: this process is root's, but what it spawns has no right to become another user,
 * as passt would. Ports are published through the first network. KILN_ENOTSUP: a port wants any
 * free host port, which passt cannot choose. A pure function.
 */
int kiln__passt_argv(char ***ret, const char *binary, const struct kiln__spec *spec, size_t network,
		     int fd, bool as_root, kiln_error *err);
void kiln__passt_argv_free(char **argv);

#endif
