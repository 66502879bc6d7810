/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests, indexes and configurations from a registry that nobody vouches for: the first byte
 * says which of them the rest is. What is accepted is within the bounds that its readers rely on.
 */
#include "manifest.h"
#include "reference.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void check_descriptor(const struct descriptor *found)
{
	CHECK(kiln__is_sha256(found->digest));
	CHECK(found->size <= LAYER_MAX);
	CHECK(memchr(found->media_type, '\0', sizeof(found->media_type)));
}

static void try_manifest(const char *text, size_t len)
{
	struct manifest manifest;
	kiln_error err = KILN_ERROR_INIT;
	int r = manifest_parse(text, len, NULL, &manifest, &err);

	if (r < 0) {
		CHECK(err.code == r && err.message[0]);
		return;
	}
	CHECK(manifest.layer_count <= MAX_LAYERS);
	check_descriptor(&manifest.config);
	for (size_t i = 0; i < manifest.layer_count; i++)
		check_descriptor(&manifest.layers[i]);
	manifest_done(&manifest);
}

static void try_index(const char *text, size_t len)
{
	struct descriptor chosen;
	kiln_error err = KILN_ERROR_INIT;

	manifest_kind(text, len, INDEX_OCI, &err);
	if (manifest_choose(text, len, "x86_64", &chosen, &err) == 0)
		check_descriptor(&chosen);
}

static void try_config(const char *text, size_t len, size_t layers)
{
	struct descriptor list[4] = {
		{.digest = DIGEST}, {.digest = DIGEST}, {.digest = DIGEST}, {.digest = DIGEST}};
	const struct descriptor self = {.digest = DIGEST};
	const struct manifest manifest = {
		.config = {.digest = DIGEST}, .layers = list, .layer_count = layers};
	kiln_error err = KILN_ERROR_INIT;
	json_t *about = NULL;

	if (manifest_describe(&self, &manifest, text, len, "x86_64", &about, &err) < 0)
		return;
	CHECK(kiln__is_sha256(json_string_value(json_object_get(about, "chain"))));
	CHECK(json_array_size(json_object_get(about, "diff_ids")) == layers);
	json_decref(about);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	const char *text = (const char *)bytes + 1;

	if (len < 1)
		return 0;
	if (bytes[0] == 'm')
		try_manifest(text, len - 1);
	else if (bytes[0] == 'i')
		try_index(text, len - 1);
	else
		try_config(text, len - 1, bytes[0] % 5);
	return 0;
}
