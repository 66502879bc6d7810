/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration that a VMM with an API is told, as JSON: what kiln makes of a machine, and what
 * the machine's document has besides, in the VMM's own words. One table of the VMM's fields decides
 * what may stand there, which is what its API document has; "kiln backends" prints from it.
 */
#ifndef KILN_PROCESS_APICONFIG_H
#define KILN_PROCESS_APICONFIG_H

#include <kiln/error.h>

#include "backend.h"
#include "spec.h"

#include <jansson.h>
#include <stdbool.h>

#define kiln__api_field kiln__own_field /* backend.h */

struct kiln__api_form {
	const char *key;  /* for messages: "firecracker.config" */
	const char *name; /* "Firecracker" */
	const struct kiln__api_field *fields;
	const char *const *ids; /* by which elements of lists are told apart; NULL-terminated */
};

/*
 * Parses and merges @text (NULL: nothing) into @config: objects member by member, lists element by
 * element. Refused by path: what the VMM does not have, and what kiln says itself.
 */
int kiln__api_merge(const struct kiln__api_form *form, json_t *config, const char *text,
		    kiln_error *err);

/* Refuses by its path what @config has and VMMs of @version do not: 0 is any version. */
int kiln__api_check_version(const struct kiln__api_form *form, const json_t *config,
			    unsigned version, kiln_error *err);

/* Refuses by key what no VMM takes that is told paths: ranges of files; guests of other machines.
 */
int kiln__api_check_spec(const struct kiln__spec *spec, const char *backend, kiln_error *err);

/* "02:00:00:00:00:01" */
json_t *kiln__api_mac(const uint8_t mac[6]);

#endif
