/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_CONFIG_HANDLE_H
#define KILN_CONFIG_HANDLE_H

#include <kiln/config.h>

#include <jansson.h>

struct kiln__spec;

/* The canonical document (accept.h) in a handle: borrowed, not to be changed. */
json_t *kiln__config_doc(const kiln_config *config);

/*
 * What the whole must fulfil. Of the document: every object has the keys it must
 * have, and one of those that exclude each other. Of the rest: keys agree with each
 * other and with this host.
 */
int kiln__check_document(json_t *doc, kiln_error *err);
int kiln__check_spec(const struct kiln__spec *spec, json_t *doc, kiln_error *err);

#endif
