/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image says of its process put into a machine's configuration wherever that has not said
 * otherwise, by docker's rules: by the command when it makes a VM, and by the manager when one that
 * a program has made first starts.
 */
#ifndef KILN_MANAGER_IMAGECONF_H
#define KILN_MANAGER_IMAGECONF_H

#include <kiln/config.h>
#include <kiln/error.h>

#include "store.h"

#include <stdbool.h>

struct kiln__imageconf {
	bool no_entrypoint; /* the user wants the image's away, whether or not there is a new one */
	bool commanded;     /* a command follows, in place of the image's */
	bool no_health;     /* its health check is not wanted */
	bool publish_all;   /* each port that the image exposes, on one that is free */
};

/* Names @image by its digest as the root, too. @image: see kiln__image_get(), brief or whole. */
int kiln__imageconf_apply(kiln_config *config, const struct kiln__image *image,
			  const struct kiln__imageconf *how, kiln_error *err);

#endif
