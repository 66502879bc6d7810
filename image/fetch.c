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
 *
 * Layers that another process is writing are waited for at the end, with nothing of one's own
 * in work, so that nobody waits in a circle.
 */
#include "attempts.h"
#include "blob.h"
#include "http.h"
#include "manifest.h"
#include "network.h"
#include "program.h"
#include "registry.h"
#include "report.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REGISTRIES 16
#define MAX_PARALLEL   16
#define PROGRESS_NS    INT64_C(100000000)

#define ACCEPT MANIFEST_OCI ", " MANIFEST_DOCKER ", " INDEX_OCI ", " INDEX_DOCKER

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_ELSEWHERE, JOB_DONE };

struct job { /* one layer */
	struct fetch *fetch;
	const struct descriptor *layer;
	enum job_state state;
	struct blob *blob;
	unsigned registry; /* which is asked */
	unsigned generation;
	unsigned refusals;
	struct attempts attempts;
	int64_t not_before;
};

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

/* --- progress -------------------------------------------------------------------------------- */

static void tell(struct fetch *fetch, bool now)
{
	int64_t time = kiln__os_monotonic_ns();
	char line[160];
	size_t done = 0;
	int len;

	if (fetch->request->progress == KILN_FD_NONE || (!now && time - fetch->told < PROGRESS_NS))
		return;
	fetch->told = time;
	for (size_t i = 0; i < fetch->manifest.layer_count; i++)
		done += fetch->jobs[i].state == JOB_DONE;
	len = snprintf(line, sizeof(line),
		       "{\"layers\":%zu,\"layers_done\":%zu,\"bytes\":%" PRIu64
		       ",\"total\":%" PRIu64 "}\n",
		       fetch->manifest.layer_count, done, fetch->have, fetch->total);
	/* Who does not read it misses it: the bytes are what counts. */
	kiln__os_write(fetch->request->progress, line, (size_t)len);
}

/* --- documents ------------------------------------------------------------------------------- */

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
static int find_manifest(struct fetch *fetch, json_t **ret, kiln_error *err)
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

/* --- layers ---------------------------------------------------------------------------------- */

static void settle(struct job *job)
{
	blob_free(job->blob);
	job->blob = NULL;
	job->state = JOB_DONE;
	tell(job->fetch, false);
}

static int on_begin(void *data, uint64_t from, kiln_error *err)
{
	struct job *job = data;

	if (from == blob_length(job->blob))
		return 0;
	job->fetch->have -= blob_length(job->blob);
	return blob_restart(job->blob, err);
}

static int on_bytes(void *data, const void *bytes, size_t len, kiln_error *err)
{
	struct job *job = data;
	int r = blob_add(job->blob, bytes, len, err);

	if (r == 0)
		job->fetch->have += len;
	tell(job->fetch, false);
	return r;
}

static int fail_job(struct job *job, const kiln_error *why)
{
	struct fetch *fetch = job->fetch;

	if (!fetch->err.code) {
		fetch->err = *why;
		kiln__prefix(&fetch->err, "%s: the layer %s", fetch->registries[job->registry].host,
			     job->layer->digest);
	}
	return why->code;
}

/* Another registry of the list may have it, or have it whole; else that was it. */
static void give_up(struct job *job, const kiln_error *why)
{
	kiln_error err;

	if (job->registry + 1 == job->fetch->registry_count) {
		fail_job(job, why);
		return;
	}
	job->registry++;
	job->refusals = 0;
	attempts_begin(&job->attempts, 0, kiln__os_monotonic_ns());
	if (!job->blob)
		return;
	job->fetch->have -= blob_length(job->blob);
	if (blob_restart(job->blob, &err) < 0)
		fail_job(job, &err);
}

static void finish(struct job *job)
{
	kiln_error err = KILN_ERROR_INIT;
	uint64_t length = blob_length(job->blob);

	if (blob_finish(job->blob, NULL, NULL, &err) == 0) {
		settle(job);
		return;
	}
	/* What was wrong is gone, and so is what was wrong of it from before. */
	blob_free(job->blob);
	job->blob = NULL;
	job->fetch->have -= length;
	give_up(job, &err);
}

/* False: that was the last attempt. */
static bool pause_job(struct job *job, unsigned retry_after_s)
{
	int64_t now = kiln__os_monotonic_ns();

	if (!attempts_failed(&job->attempts, job->blob ? blob_length(job->blob) : 0, now))
		return false;
	job->not_before = now + INT64_C(1000000) *
					registry_backoff(job->attempts.failures - 1, retry_after_s);
	return true;
}

static void on_answer(struct job *job, const struct http_answer *answer)
{
	struct registry *registry = &job->fetch->registries[job->registry];
	kiln_error err = KILN_ERROR_INIT;

	if (answer->status == 200 || answer->status == 206) {
		finish(job);
	} else if (answer->status == 416 && blob_length(job->blob)) {
		/* The range is not to be had: from the start. */
		job->fetch->have -= blob_length(job->blob);
		if (blob_restart(job->blob, &err) < 0)
			fail_job(job, &err);
	} else if (answer->status == 401 && ++job->refusals < 3) {
		if (registry_authorize(registry, answer, job->generation, &err) < 0)
			give_up(job, &err);
	} else if (!registry_is_busy(answer->status) || !pause_job(job, answer->retry_after_s)) {
		registry_refused(registry, answer, &err);
		give_up(job, &err);
	}
}

static void on_done(void *data, const struct http_answer *answer, bool transient,
		    const kiln_error *err)
{
	struct job *job = data;
	struct registry *registry = &job->fetch->registries[job->registry];

	job->fetch->running--;
	job->state = JOB_WAITING;
	if (!err)
		registry->settled = true;
	if (!err)
		on_answer(job, answer);
	else if (!registry->settled && !registry->plain && registry->insecure)
		registry->plain = true; /* asked for the first time: see registry.h */
	else if (!transient || !pause_job(job, 0))
		give_up(job, err);
}

static int begin_blob(struct job *job, bool wait, kiln_error *err)
{
	struct fetch *fetch = job->fetch;
	int r;

	if (job->blob)
		return 0;
	r = blob_begin(&job->blob, fetch->request->dir, job->layer->digest, job->layer->size, wait,
		       err);
	if (r == 1) {
		fetch->have += job->layer->size;
		settle(job);
		return 1;
	}
	if (r < 0)
		return r;
	fetch->have += blob_length(job->blob);
	attempts_begin(&job->attempts, blob_length(job->blob), kiln__os_monotonic_ns());
	return 0;
}

static int start_job(struct job *job, bool wait, kiln_error *err)
{
	struct fetch *fetch = job->fetch;
	struct registry *registry = &fetch->registries[job->registry];
	kiln__autofree char *url = NULL;
	struct http_call call = {.tls = &registry->tls,
				 .insecure = registry->insecure,
				 .begin = on_begin,
				 .body = on_bytes,
				 .data = job};
	int r = begin_blob(job, wait, err);

	if (r == KILN_EBUSY)
		job->state = JOB_ELSEWHERE;
	if (r != 0)
		return r == KILN_EBUSY || r > 0 ? 0 : r;
	if (blob_length(job->blob) == job->layer->size) {
		finish(job); /* whoever was killed had only to name it */
		return 0;
	}
	url = registry_url(registry, "blobs", job->layer->digest);
	if (!url)
		return kiln__fail_nomem(err);
	call.url = url;
	call.from = blob_length(job->blob);
	call.authorization = registry->authorization;
	job->generation = registry->generation;
	r = http_start(fetch->http, &call, on_done, err);
	if (r == 0) {
		job->state = JOB_RUNNING;
		fetch->running++;
	}
	return r;
}

/* Starts what may be started; *ret_ms is until the next may be, -1: none waits. */
static int start_jobs(struct fetch *fetch, unsigned parallel, int *ret_ms, kiln_error *err)
{
	int64_t now = kiln__os_monotonic_ns();
	int r = 0;

	*ret_ms = -1;
	for (size_t i = 0; r == 0 && i < fetch->manifest.layer_count; i++) {
		struct job *job = &fetch->jobs[i];
		int64_t ms;

		if (job->state != JOB_WAITING || fetch->running >= parallel)
			continue;
		if (job->not_before <= now) {
			r = start_job(job, false, err);
			if (job->state == JOB_WAITING)
				*ret_ms = 0;
			continue;
		}
		ms = (job->not_before - now) / 1000000 + 1;
		if (*ret_ms < 0 || ms < *ret_ms)
			*ret_ms = (int)ms;
	}
	return r;
}

/* One that another process writes: waited for, and then it is there, or ours to write. */
static int wait_elsewhere(struct fetch *fetch, bool *ret_found, kiln_error *err)
{
	*ret_found = false;
	for (size_t i = 0; i < fetch->manifest.layer_count; i++) {
		if (fetch->jobs[i].state != JOB_ELSEWHERE)
			continue;
		*ret_found = true;
		fetch->jobs[i].state = JOB_WAITING;
		return start_job(&fetch->jobs[i], true, err);
	}
	return 0;
}

static int run_jobs(struct fetch *fetch, unsigned parallel, kiln_error *err)
{
	bool more = true;
	int ms;
	int r = 0;

	while (r == 0 && !fetch->err.code && more) {
		r = start_jobs(fetch, parallel, &ms, err);
		if (r < 0 || fetch->err.code)
			break;
		if (fetch->running)
			r = http_step(fetch->http, ms < 0 || ms > 1000 ? 1000 : ms, err);
		else if (ms >= 0)
			r = http_pause(fetch->http, ms, err); /* before the next attempt */
		else
			r = wait_elsewhere(fetch, &more, err);
	}
	if (r == 0 && fetch->err.code) {
		*err = fetch->err;
		r = err->code;
	}
	return r;
}

static int get_layers(struct fetch *fetch, kiln_error *err)
{
	json_int_t parallel = json_integer_value(json_object_get(fetch->asked, "parallel"));
	int r;

	fetch->jobs = calloc(fetch->manifest.layer_count + 1, sizeof(*fetch->jobs));
	if (!fetch->jobs)
		return kiln__fail_nomem(err);
	for (size_t i = 0; i < fetch->manifest.layer_count; i++) {
		struct job *job = &fetch->jobs[i];

		*job = (struct job){
			.fetch = fetch,
			.layer = &fetch->manifest.layers[i],
			.registry = fetch->current,
		};
		if (blob_present(fetch->request->dir, job->layer->digest, job->layer->size))
			job->state = JOB_DONE;
		else
			fetch->total += job->layer->size;
		/* A layer may be there twice, which is an empty one as a rule. */
		for (size_t k = 0; k < i && job->state != JOB_DONE; k++)
			if (!strcmp(fetch->manifest.layers[k].digest, job->layer->digest)) {
				job->state = JOB_DONE;
				fetch->total -= job->layer->size;
			}
	}
	tell(fetch, true);
	r = run_jobs(fetch, parallel < 1 || parallel > MAX_PARALLEL ? 4 : (unsigned)parallel, err);
	if (r == 0)
		tell(fetch, true);
	for (size_t i = 0; i < fetch->manifest.layer_count; i++)
		blob_free(fetch->jobs[i].blob);
	return r;
}

/* --- the whole ------------------------------------------------------------------------------- */

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
	int r = find_manifest(fetch, ret, err);

	if (r == 0)
		r = get_layers(fetch, err);
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
