/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "kiln image" as its parts see it: image.c (pull, tag, and which part it is), imagelook.c,
 * imageremove.c, imagearchive.c.
 */
#ifndef KILN_CLI_IMAGE_H
#define KILN_CLI_IMAGE_H

#include "cli.h"

#include "images.h"
#include "store.h"

#include <jansson.h>

struct image_context {
	struct cli *cli;
	const struct args *args;
	struct kiln__images images;
	char **rest; /* arguments behind the subcommand, NULL-terminated */
	int count;
};

/* Digests are long: twelve digits tell images apart, and are accepted. */
const char *image_short_digest(const char *digest, char text[16]);

/* What --platform says, as uname has it: this machine's where it says nothing. */
int image_arch_of(const struct args *args, const char **ret, kiln_error *err);

/* The same of what is here already: NULL, any, where it says nothing. */
int image_wanted_arch(const struct args *args, const char **ret, kiln_error *err);

/* Calls @fn for each image that is named. */
int image_for_each(struct image_context *context,
		   int (*fn)(struct image_context *context, const struct kiln__image_entry *entry,
			     void *data, kiln_error *err),
		   void *data, kiln_error *err);

/* --- subcommands ----------------------------------------------------------------------------- */

int image_ls(struct image_context *context, kiln_error *err);
int image_df(struct image_context *context, kiln_error *err);
int image_inspect(struct image_context *context, kiln_error *err);
int image_history(struct image_context *context, kiln_error *err);
int image_rm(struct image_context *context, kiln_error *err);
int image_prune(struct image_context *context, kiln_error *err);
int image_load(struct image_context *context, kiln_error *err);
int image_import(struct image_context *context, kiln_error *err);
int image_save(struct image_context *context, kiln_error *err);

#endif
