/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State as a blob: a header with a checksum, then sections, each a number, a length and bytes
 * padded to eight. Little-endian as the processors that it is of; read back with every bound
 * checked, since it may come from a file, and from somebody who can reckon a checksum.
 */
#ifndef KILN_HV_KVM_STATE_H
#define KILN_HV_KVM_STATE_H

#include <kiln/error.h>

#include "buf.h"

#include <stddef.h>
#include <stdint.h>

#define KILN__BLOB_VERSION 1

enum kiln__blob_kind {
	KILN__BLOB_VM = 1,
	KILN__BLOB_VCPU = 2,
};

/* Begins a blob; what fails later is noted in @blob. */
void kiln__blob_begin(struct kiln__buf *blob, enum kiln__blob_kind kind);
void kiln__blob_add(struct kiln__buf *blob, uint32_t section, const void *bytes, size_t len);

/* Hands it over, malloc'ed. */
int kiln__blob_finish(struct kiln__buf *blob, void **ret, size_t *ret_size, kiln_error *err);

/* Whether these bytes are a whole blob of this kind, version and architecture: KILN_EFORMAT if not.
 */
int kiln__blob_check(const void *blob, size_t size, enum kiln__blob_kind kind, kiln_error *err);

/* A section of a blob that was checked, and its length; NULL if there is none. Aligned to eight. */
const void *kiln__blob_find(const void *blob, size_t size, uint32_t section, size_t *ret_len);

/* Copies a section of exactly @len bytes; KILN_EFORMAT if it is missing or of another length. */
int kiln__blob_get(const void *blob, size_t size, uint32_t section, void *ret, size_t len,
		   kiln_error *err);

#endif
