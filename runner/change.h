/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol's "change" as kiln_machine_change() wants it. */
#ifndef KILN_RUNNER_CHANGE_H
#define KILN_RUNNER_CHANGE_H

#include <kiln/machine.h>

#include <jansson.h>

struct runner_change {
	kiln_change change; /* borrows from the parameters, and from what follows */
	char *config;
	char *own;
};

/* KILN_EINVAL names what is wrong; to be released in any case. */
int runner_change_take(struct runner_change *ret, const json_t *params, kiln_error *err);
void runner_change_done(struct runner_change *change);

#endif
