/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image out of a registry into the store's directory of blobs. This is the one role of
 * kiln-image that has a network, and it unpacks nothing: bytes go to files under the digests that
 * were promised, and only manifests and configurations, short JSON, are looked into.
 *
 * The request (a JSON object by a descriptor, since there are secrets in it):
 *   name       for messages
 *   reference  a tag or a digest
 *   digest     what the document it leads to must have, or absent
 *   arch       as uname has it
 *   registries asked in this order, mirrors first: objects of host, path, insecure, user, password,
 *              identity, authorities, certificate, key
 *   parallel   how many layers at a time
 *   login      true: nothing but whether the first of them lets this user in
 */
#include "fetch.h"
#include "blob.h"
#include "network.h"
#include "report.h"

#include "err.h"
#include "os.h"

#include <stdlib.h>

static int keep_documents(struct fetch *fetch, kiln_error *err)
{
	char digest[SHA256_TEXT];
	int r = 0;

	if (!blob_present(fetch->request->dir, fetch->manifest.config.digest, fetch->config.len))
		r = blob_put(fetch->request->dir, fetch->config.data, fetch->config.len, digest,
			     err);
	if (r == 0 && !blob_present(fetch->request->dir, fetch->self.digest, fetch->text.len))
		r = blob_put(fetch->request->dir, fetch->text.data, fetch->text.len, digest, err);
	return r;
}

static int fetch_image(struct fetch *fetch, json_t **ret, kiln_error *err)
{
	int r = fetch_manifest(fetch, ret, err);

	if (r == 0)
		r = fetch_layers(fetch, err);
	if (r == 0)
		r = keep_documents(fetch, err);
	/* What the store's index comes to name is there after a power cut. */
	if (r == 0)
		r = kiln__os_sync(fetch->request->dir, err);
	if (r == 0 && (json_object_set_new(*ret, "top", json_string(fetch->top)) ||
		       json_object_set_new(*ret, "registry",
					   json_string(fetch->registries[fetch->current].host))))
		r = kiln__fail_nomem(err);
	return r;
}

static int init(struct fetch *fetch, kiln_error *err)
{
	const json_t *registries = json_object_get(fetch->asked, "registries"), *item;
	size_t i;
	int r = 0;

	if (json_array_size(registries) < 1 || json_array_size(registries) > MAX_REGISTRIES)
		return kiln__fail(err, KILN_EINVAL, "one to %d registries can be asked",
				  MAX_REGISTRIES);
	json_array_foreach (registries, i, item) {
		r = registry_init(&fetch->registries[i], fetch->http, item, err);
		if (r < 0)
			return r;
		fetch->registry_count++;
	}
	return 0;
}

int command_fetch(const struct request *request, kiln_error *err)
{
	const char *name = json_string_value(json_object_get(request->asked, "name"));
	struct fetch fetch = {.request = request, .asked = request->asked, .http = request->http};
	json_t *result = NULL;
	int r = init(&fetch, err);

	if (r == 0 && json_is_true(json_object_get(request->asked, "login"))) {
		r = registry_check_login(&fetch.registries[0], err);
		result = json_object();
	} else if (r == 0) {
		r = fetch_image(&fetch, &result, err);
	}
	if (r < 0 && name)
		kiln__prefix(err, "%s", name);
	for (unsigned i = 0; i < fetch.registry_count; i++)
		registry_done(&fetch.registries[i]);
	manifest_done(&fetch.manifest);
	kiln__buf_done(&fetch.text);
	kiln__buf_done(&fetch.config);
	free(fetch.jobs);
	if (r < 0) {
		json_decref(result);
		return r;
	}
	return report_result(result, err);
}
