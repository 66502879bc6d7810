/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of keys for people: as a JSON Schema (draft 2020-12), docs/machine.schema.json,
 * and as a part of a manual page, docs/man/config-keys.scd. Not part of the library; tests
 * hold those files and the table together.
 */
#ifndef KILN_CONFIG_PUBLISH_H
#define KILN_CONFIG_PUBLISH_H

/* malloc'ed; NULL when out of memory. */
char *kiln__publish_schema(void);
char *kiln__publish_man(void);

#endif
