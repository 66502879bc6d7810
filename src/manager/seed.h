/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seed: what cloud-init in a guest finds on a disk with the label cidata (its data source
 * NoCloud): who the machine is, its users, its networks, and kiln's agent.
 *
 * Pure but for files that the configuration names. Any thread.
 */
#ifndef KILN_MANAGER_SEED_H
#define KILN_MANAGER_SEED_H

#include <kiln/error.h>

#include "spec.h"

#include <stddef.h>

enum kiln__seed_file {
	KILN__SEED_META,
	KILN__SEED_USER,
	KILN__SEED_VENDOR,
	KILN__SEED_NETWORK,
	KILN__SEED_FILES,
};

/* Their names on the disk. */
extern const char *const kiln__seed_names[KILN__SEED_FILES];

struct kiln__seed_documents {
	struct {
		char *text; /* malloc'ed; NULL: there is none */
		size_t len;
	} files[KILN__SEED_FILES];
};

/*
 * What the machine @id, called @name, finds. The hardware addresses of its networks are set already
 * (kiln__machine_set_macs()).
 */
int kiln__seed_documents(const struct kiln__spec *spec, const char *id, const char *name,
			 struct kiln__seed_documents *ret, kiln_error *err);
void kiln__seed_documents_done(struct kiln__seed_documents *documents);

/* True if kiln-guest is to be on the disk and installed. */
bool kiln__seed_has_agent(const struct kiln__spec *spec);

/*
 * Makes the disk at @path, mode 0600, replacing what is there in one step. @guest is kiln-guest's
 * path, or NULL.
 */
int kiln__seed_make(const struct kiln__seed_documents *documents, const char *guest,
		    const char *path, kiln_error *err);

#endif
