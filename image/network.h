/* SPDX-License-Identifier: Apache-2.0 */
/* The role that has a network, apart from the others: it has its own filter of system calls. */
#ifndef KILN_IMAGE_NETWORK_H
#define KILN_IMAGE_NETWORK_H

#include <kiln/error.h>

#include "program.h"

/*
 * Reads the request, loads what the network needs of files (certificates) and enters the sandbox:
 * sockets of the Internet, files beneath request->dir if there is one, and those that names are
 * resolved by. Then command_fetch(), or with a file to write command_download().
 */
int network_run(struct request *request, kiln_error *err);

int command_fetch(const struct request *request, kiln_error *err);
int command_download(const struct request *request, kiln_error *err);

#endif
