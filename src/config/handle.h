/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_CONFIG_HANDLE_H
#define KILN_CONFIG_HANDLE_H

#include <kiln/config.h>

#include <jansson.h>

struct kiln__spec;

/* The canonical document (accept.h) in a handle: borrowed, not to be changed. */
json_t *kiln__config_doc(const kiln_config *config);

/* A configuration of a document that is JSON already; @doc stays the caller's. */
int kiln__config_of(json_t *doc, kiln_config **ret_config, kiln_error *err);

/* kiln_config_set() of a whole member of the document, by its value; @value stays the caller's. */
int kiln__config_put(kiln_config *config, const char *name, json_t *value, kiln_error *err);

/*
 * What the whole must fulfil. Of the document: every object has the keys it must
 * have, and one of those that exclude each other. Of the rest: keys agree with each
 * other and with this host.
 */
int kiln__check_document(json_t *doc, kiln_error *err);
int kiln__check_spec(const struct kiln__spec *spec, json_t *doc, kiln_error *err);

#endif
