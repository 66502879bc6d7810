/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents of an image: index (or Docker's list), manifest and configuration, which come
 * from registries and archives that nobody vouches for. Pure functions over bytes.
 *
 * OCI image-spec 1.1 (image-index.md, manifest.md, config.md) and Docker's image manifest version
 * 2, schema 2. Digests are SHA-256.
 */
#ifndef KILN_IMAGE_MANIFEST_H
#define KILN_IMAGE_MANIFEST_H

#include <kiln/error.h>

#include "sha256.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANIFEST_MAX (4u << 20) /* what registries accept of a manifest */
#define CONFIG_MAX   (8u << 20)
#define MAX_LAYERS   127 /* Docker's limit */
#define LAYER_MAX    (UINT64_C(64) << 30)

#define MANIFEST_OCI    "application/vnd.oci.image.manifest.v1+json"
#define MANIFEST_DOCKER "application/vnd.docker.distribution.manifest.v2+json"
#define INDEX_OCI       "application/vnd.oci.image.index.v1+json"
#define INDEX_DOCKER    "application/vnd.docker.distribution.manifest.list.v2+json"
#define CONFIG_OCI      "application/vnd.oci.image.config.v1+json"
#define LAYER_TAR       "application/vnd.oci.image.layer.v1.tar"
#define LAYER_GZIP      "application/vnd.oci.image.layer.v1.tar+gzip"
#define LAYER_ZSTD      "application/vnd.oci.image.layer.v1.tar+zstd"

struct descriptor {
	char digest[SHA256_TEXT];
	uint64_t size;
	char media_type[96];
};

/* As a document has it; a new reference. */
json_t *descriptor_json(const struct descriptor *descriptor);

struct manifest {
	char media_type[96];
	struct descriptor config;
	struct descriptor *layers;
	size_t layer_count;
};

void manifest_done(struct manifest *manifest);

/*
 * What a document is, by its own words and by what it was sent as (@media_type, may be NULL).
 * 1: an index, 0: a manifest; KILN_ENOTSUP names what is neither.
 */
int manifest_kind(const char *text, size_t len, const char *media_type, kiln_error *err);

/* Picks from an index the manifest for @arch, as uname has it. KILN_ENOENT lists what there is. */
int manifest_choose(const char *text, size_t len, const char *arch, struct descriptor *ret,
		    kiln_error *err);

int manifest_parse(const char *text, size_t len, const char *media_type, struct manifest *ret,
		   kiln_error *err);

/*
 * What kiln keeps of an image, from its manifest and configuration, which must be for @arch
 * (NULL: any) and name as many layers as the manifest has:
 *
 *   manifest {digest, size, mediaType}, config {digest, size}, layers [{digest, size, mediaType}],
 *   diff_ids ["sha256:..."], chain "sha256:...", arch, created,
 *   process {entrypoint, cmd, env, user, cwd, stop_signal, ports, volumes, labels, healthcheck},
 *   history [{created, created_by, comment, empty}]
 *
 * A new reference.
 */
int manifest_describe(const struct descriptor *self, const struct manifest *manifest,
		      const char *config, size_t config_len, const char *arch, json_t **ret,
		      kiln_error *err);

#endif
