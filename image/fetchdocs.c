/* SPDX-License-Identifier: Apache-2.0 */
/* What leads to an image: an index, its manifest and configuration, each verified by its digest. */
#include "blob.h"
#include "fetch.h"

#include "err.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ACCEPT MANIFEST_OCI ", " MANIFEST_DOCKER ", " INDEX_OCI ", " INDEX_DOCKER

/* One document by its digest, from the store or the registry that is current; verified. */
static int get_document(struct fetch *fetch, const char *kind, const struct descriptor *which,
			size_t max, struct kiln__buf *ret, kiln_error *err)
{
	struct registry *registry = &fetch->registries[fetch->current];
	struct http_answer answer;
	char digest[SHA256_TEXT];
	char *text;
	size_t len;
	int r;

	kiln__buf_clear(ret);
	if (blob_present(fetch->request->dir, which->digest, which->size) &&
	    blob_read(fetch->request->dir, which->digest, max, &text, &len, NULL) == 0) {
		kiln__buf_add(ret, text, len);
		free(text);
		return ret->failed ? kiln__fail_nomem(err) : 0;
	}
	r = registry_get(registry, kind, which->digest, strcmp(kind, "manifests") ? NULL : ACCEPT,
			 which->size < max ? (size_t)which->size : max, ret, &answer, err);
	if (r == 0)
		http_answer_done(&answer);
	if (r == 0)
		r = sha256_of(ret->data ? ret->data : "", ret->len, digest, err);
	if (r == 0 && ret->len != which->size)
		r = kiln__fail(err, KILN_EFORMAT,
			       "it has %zu bytes where %" PRIu64 " were promised", ret->len,
			       which->size);
	if (r == 0 && strcmp(digest, which->digest))
		r = kiln__fail(err, KILN_EFORMAT, "its digest is %s, not the one that was promised",
			       digest);
	if (r < 0)
		kiln__prefix(err, "%s %s",
			     strcmp(kind, "manifests") ? "the configuration" : "the manifest",
			     which->digest);
	return r;
}

/* What the reference leads to, by its bytes; an answer that contradicts itself is refused. */
static int check_top(struct fetch *fetch, const struct http_answer *answer, kiln_error *err)
{
	const char *wanted = json_string_value(json_object_get(fetch->asked, "digest"));
	int r = sha256_of(fetch->text.data ? fetch->text.data : "", fetch->text.len, fetch->top,
			  err);

	if (r < 0)
		return r;
	if (wanted && strcmp(wanted, fetch->top))
		return kiln__fail(err, KILN_EFORMAT, "the manifest's digest is %s, not %s",
				  fetch->top, wanted);
	if (answer->digest && !strncmp(answer->digest, "sha256:", 7) &&
	    strcmp(answer->digest, fetch->top))
		return kiln__fail(err, KILN_EFORMAT,
				  "the manifest's digest is %s, the registry says %.80s",
				  fetch->top, answer->digest);
	return 0;
}

/* The manifest for this machine: what the reference leads to, or what that index names. */
static int get_manifest(struct fetch *fetch, kiln_error *err)
{
	struct registry *registry = &fetch->registries[fetch->current];
	const char *reference = json_string_value(json_object_get(fetch->asked, "reference"));
	const char *arch = fetch->request->arch;
	struct http_answer answer;
	int r = registry_get(registry, "manifests", reference, ACCEPT, MANIFEST_MAX, &fetch->text,
			     &answer, err);

	if (r < 0)
		return r;
	r = check_top(fetch, &answer, err);
	if (r == 0)
		r = manifest_kind(fetch->text.data ? fetch->text.data : "", fetch->text.len,
				  answer.media_type, err);
	if (r == 0) {
		fetch->self = (struct descriptor){.size = fetch->text.len};
		memcpy(fetch->self.digest, fetch->top, SHA256_TEXT);
		r = manifest_parse(fetch->text.data, fetch->text.len, answer.media_type,
				   &fetch->manifest, err);
	} else if (r > 0) {
		r = manifest_choose(fetch->text.data, fetch->text.len, arch, &fetch->self, err);
		if (r == 0)
			r = get_document(fetch, "manifests", &fetch->self, MANIFEST_MAX,
					 &fetch->text, err);
		if (r == 0)
			r = manifest_parse(fetch->text.data ? fetch->text.data : "",
					   fetch->text.len, fetch->self.media_type,
					   &fetch->manifest, err);
	}
	if (r == 0)
		memcpy(fetch->self.media_type, fetch->manifest.media_type,
		       sizeof(fetch->self.media_type));
	http_answer_done(&answer);
	return r;
}

/* From the first registry that has it. What all say is told of the last, which is no mirror. */
int fetch_manifest(struct fetch *fetch, json_t **ret, kiln_error *err)
{
	int r = KILN_EINVAL;

	for (fetch->current = 0; fetch->current < fetch->registry_count; fetch->current++) {
		manifest_done(&fetch->manifest);
		r = get_manifest(fetch, err);
		if (r == 0)
			r = get_document(fetch, "blobs", &fetch->manifest.config, CONFIG_MAX,
					 &fetch->config, err);
		if (r == 0)
			r = manifest_describe(&fetch->self, &fetch->manifest,
					      fetch->config.data ? fetch->config.data : "",
					      fetch->config.len, fetch->request->arch, ret, err);
		if (r == 0)
			return 0;
		kiln__prefix(err, "%s", fetch->registries[fetch->current].host);
	}
	return r;
}
