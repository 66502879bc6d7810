/* SPDX-License-Identifier: Apache-2.0 */
/* What doctor says of this host, and of the hypervisor that kiln itself uses here, if any. */
#ifndef KILN_CLI_HOST_H
#define KILN_CLI_HOST_H

#include <kiln/error.h>

#include <jansson.h>

struct host;

/* Found out now, not read from a record; freed by free(). */
int host_look(struct host **ret, kiln_error *err);
void host_print(const struct host *host);
json_t *host_json(const struct host *host); /* an object, or NULL */

/* Prints a line of a report: a mark, what, and why; a hint behind it. */
void print_line(const char *mark, const char *what, const char *detail, const char *hint);

#endif
