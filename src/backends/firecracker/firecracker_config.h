/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Firecracker is told of a machine: its configuration, in the form of its configuration file,
 * and the requests that say the same. Pure functions.
 */
#ifndef KILN_FIRECRACKER_CONFIG_H
#define KILN_FIRECRACKER_CONFIG_H

#include "apiconfig.h"
#include "apivmm.h"

/* The first version that kiln runs. */
#define KILN__FIRECRACKER_FIRST 1007
#define KILN__FIRECRACKER_PCI   1013

/* Descriptors in Firecracker's numbering; paths of files are /proc/self/fd/N. */
#define KILN__FIRECRACKER_FD_LOG    3
#define KILN__FIRECRACKER_FD_KERNEL 4
#define KILN__FIRECRACKER_FD_INITRD 5
#define KILN__FIRECRACKER_FD_CONFIG 6 /* without an API */
#define KILN__FIRECRACKER_FD_DISK   7 /* and up: the root, then disks in their order */

#define KILN__FIRECRACKER_MAX_DISKS 9

extern const struct kiln__api_field kiln__firecracker_fields[];
extern const struct kiln__api_form kiln__firecracker_form;

/* The same of what can be changed while it runs (kiln_update.config). */
extern const struct kiln__api_field kiln__firecracker_runtime_fields[];
extern const struct kiln__api_form kiln__firecracker_runtime_form;

/* Refuses by key what Firecracker cannot do: the backend's check(). */
int kiln__firecracker_check(const struct kiln__spec *spec, kiln_error *err);

/*
 * The configuration, as "--config-file" takes it, but for "serial" and "mmds", which no file has in
 * older versions. @vsock is the path of the vsock device's socket. A new reference.
 */
int kiln__firecracker_config(const struct kiln__spec *spec, const char *vsock, json_t **ret,
			     kiln_error *err);

/*
 * Instead of those, the requests by which a new process goes on from a snapshot: @vsock is its
 * vsock device's socket, or NULL. KILN_ENOTSUP if @version cannot be told of that.
 */
int kiln__firecracker_load(const struct kiln__spec *spec, const char *vsock, bool tracks,
			   unsigned version, struct kiln__api_steps *steps, kiln_error *err);

/* The request that writes one. */
/* @base: NULL, or what of the memory has changed since that is written over a copy of it. */
void kiln__firecracker_save(const char *directory, const char *base, struct kiln__api_steps *steps);

/* Whether a configuration has the dirty pages of its machine known. */
bool kiln__firecracker_tracks(const json_t *config);

/*
 * The requests of a change (firecracker_update.c): of a machine that was told @config, by a VMM of
 * @version. Refuses by name what cannot be.
 */
int kiln__firecracker_update(const struct kiln__spec *spec, const json_t *config, unsigned version,
			     const kiln_update *update, struct kiln__api_steps *steps,
			     kiln_error *err);

/* The requests that say what @config says, and, last, the one that starts the guest. */
void kiln__firecracker_requests(const json_t *config, struct kiln__api_steps *steps);

#endif
