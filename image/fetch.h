/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the role "fetch" (fetch.c): what leads to an image (fetchdocs.c), and its layers
 * (fetchlayers.c).
 */
#ifndef KILN_IMAGE_FETCH_H
#define KILN_IMAGE_FETCH_H

#include <kiln/error.h>

#include "http.h"
#include "manifest.h"
#include "program.h"
#include "registry.h"

#include "buf.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_REGISTRIES 16

struct job; /* one layer: fetchlayers.c */

struct fetch {
	const struct request *request;
	const json_t *asked;
	struct http *http;
	struct registry registries[MAX_REGISTRIES];
	unsigned registry_count;
	unsigned current; /* the one that had the manifest */
	struct manifest manifest;
	struct descriptor self;
	char top[SHA256_TEXT]; /* of the document that the reference leads to */
	struct kiln__buf text; /* of the manifest */
	struct kiln__buf config;
	struct job *jobs;
	size_t running;
	uint64_t total; /* bytes of layers that are not there yet */
	uint64_t have;
	int64_t told;
	kiln_error err; /* of a job */
};

/*
 * Finds the manifest for this machine in the first registry that has it, which is current then, and
 * the configuration: self, manifest, text, config; and the image's description, a new reference.
 */
int fetch_manifest(struct fetch *fetch, json_t **ret, kiln_error *err);

/* Gets the manifest's layers, those that are not there. The jobs are freed by who frees fetch. */
int fetch_layers(struct fetch *fetch, kiln_error *err);

#endif
