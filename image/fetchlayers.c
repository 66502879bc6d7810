/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of an image: several at a time, from one registry or, where that fails, from the next;
 * each goes on where it was cut off. Those that another process is writing are waited for at the
 * end, with nothing of one's own in work, so that nobody waits in a circle.
 */
#include "attempts.h"
#include "blob.h"
#include "fetch.h"

#include "err.h"
#include "os.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PARALLEL 16
#define PROGRESS_NS  INT64_C(100000000)

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

/* --- one layer
 * -------------------------------------------------------------------------------------- */
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

int fetch_layers(struct fetch *fetch, kiln_error *err)
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
