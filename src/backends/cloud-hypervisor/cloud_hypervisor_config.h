/* SPDX-License-Identifier: Apache-2.0 */
/* What Cloud Hypervisor is told of a machine: the VmConfig of vm.create. Pure functions. */
#ifndef KILN_CLOUD_HYPERVISOR_CONFIG_H
#define KILN_CLOUD_HYPERVISOR_CONFIG_H

#include "apiconfig.h"

/* The first version that kiln runs. */
#define KILN__CLOUD_HYPERVISOR_FIRST   30000
#define KILN__CLOUD_HYPERVISOR_PVPANIC 34000

/* Descriptors in its numbering; paths of files are /proc/self/fd/N. */
#define KILN__CLOUD_HYPERVISOR_FD_API    3
#define KILN__CLOUD_HYPERVISOR_FD_EVENTS 4
#define KILN__CLOUD_HYPERVISOR_FD_KERNEL 5
#define KILN__CLOUD_HYPERVISOR_FD_INITRD 6
#define KILN__CLOUD_HYPERVISOR_FD_DISK   7 /* and up: the root, then disks in their order */

#define KILN__CLOUD_HYPERVISOR_MAX_DISKS 9

/* virtiofsd serves one request queue of this length. */
#define KILN__CLOUD_HYPERVISOR_FS_QUEUES     1
#define KILN__CLOUD_HYPERVISOR_FS_QUEUE_SIZE 1024

/* The socket of a share, in the directory of the machine's sockets; also its device's id. */
#define KILN__CLOUD_HYPERVISOR_SHARE "share%zu"

extern const struct kiln__api_field kiln__cloud_hypervisor_fields[];
extern const struct kiln__api_form kiln__cloud_hypervisor_form;

/* Refuses by key what Cloud Hypervisor cannot do: the backend's check(). */
int kiln__cloud_hypervisor_check(const struct kiln__spec *spec, kiln_error *err);

/*
 * The VmConfig; @vsock is the path of the vsock device's socket, and beside that are those of
 * shares. A new reference.
 */
int kiln__cloud_hypervisor_config(const struct kiln__spec *spec, const char *vsock, json_t **ret,
				  kiln_error *err);

#endif
