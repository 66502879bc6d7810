/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of kiln-image and what they are given. */
#ifndef KILN_IMAGE_PROGRAM_H
#define KILN_IMAGE_PROGRAM_H

#include <kiln/error.h>

#include "fd.h"
#include "squash.h"

#include <jansson.h>

#include <stdint.h>

#define MAX_INPUTS 8

struct http;

/* Numbers of inherited descriptors, KILN_FD_NONE where not given. */
struct request {
	const char *name;           /* --name: what messages call the input */
	kiln_fd inputs[MAX_INPUTS]; /* --input: files to read */
	unsigned input_count;
	kiln_fd dir;                  /* --dir: a directory to read */
	kiln_fd output;               /* --output: the empty file to write */
	kiln_fd output_dir;           /* --output-dir: the empty directory to fill */
	kiln_fd progress;             /* --progress: a pipe for lines about it */
	kiln_fd asked_fd;             /* --request: a file with a JSON object, which is */
	json_t *asked;                /* this one once it is read */
	struct http *http;            /* of the role with a network */
	const char *arch;             /* --arch: of the machine, as uname says it */
	struct squash_options squash; /* --compress, --block, --threads */
	uint64_t max_entries;         /* --max-entries */
	uint64_t max_bytes;           /* --max-bytes */
	const char *const *names;     /* the other arguments */
};

int command_root(const struct request *request, kiln_error *err);
int command_kernel(const struct request *request, kiln_error *err);
int command_package(const struct request *request, kiln_error *err);
int command_seed(const struct request *request, kiln_error *err);
int command_initramfs(const struct request *request, kiln_error *err);
int command_layers(const struct request *request, kiln_error *err);
int command_load(const struct request *request, kiln_error *err);
int command_save(const struct request *request, kiln_error *err);

#endif
