/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of keys as a JSON Schema (draft 2020-12). Not part of the library: it
 * makes docs/machine.schema.json, which is what the library carries, and a test holds
 * the two together.
 */
#ifndef KILN_CONFIG_PUBLISH_H
#define KILN_CONFIG_PUBLISH_H

/* malloc'ed; NULL when out of memory. */
char *kiln__publish_schema(void);

#endif
