/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file by https, and its digest: disk images by name, and the vendors' lists of what those must
 * be. A second task of the role that has a network, with the sandbox of the first and one file to
 * write, which it goes on with where an earlier attempt has ended.
 *
 * The request:
 *   url      https; certificates are always checked, and redirections lead to https alone
 *   kind     "sha256" or "sha512"
 *   max      the most bytes that it may have
 *   digest   what it must be, if that is known: a file that goes on from before and then is
 *            something else is got anew, once
 */
#include "attempts.h"
#include "hash.h"
#include "http.h"
#include "network.h"
#include "program.h"
#include "registry.h"
#include "report.h"

#include "err.h"
#include "os.h"
#include "syscalls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

KILN__SYSCALLS(pread64, pwrite64, ftruncate, fstat);

#define CHUNK    ((size_t)1 << 18)
#define MAX_HEX  (2 * HASH_MAX + 1)
#define MAX_SIZE (UINT64_C(1) << 50)

struct download {
	const struct request *request;
	const char *url;
	struct hash *digest;
	uint64_t size; /* bytes that are in the file, and in the digest */
	uint64_t max;
};

static int restart(struct download *download, kiln_error *err)
{
	download->size = 0;
	if (!hash_begin(download->digest))
		return kiln__fail(err, KILN_ESYSTEM, "no digest can be computed");
	return kiln__os_set_size(download->request->output, 0, err);
}

static int add_to_digest(struct download *download, const void *bytes, size_t len, kiln_error *err)
{
	if (!hash_add(download->digest, bytes, len))
		return kiln__fail(err, KILN_ESYSTEM, "no digest can be computed");
	download->size += len;
	return 0;
}

/* What is there from before is part of the digest. */
static int take_up(struct download *download, kiln_error *err)
{
	kiln__autofree char *bytes = malloc(CHUNK);
	ssize_t got;
	int r = bytes ? 0 : kiln__fail_nomem(err);

	while (r == 0) {
		got = kiln__os_pread_full(download->request->output, bytes, CHUNK, download->size,
					  err);
		if (got <= 0)
			return (int)got;
		if ((size_t)got > download->max - download->size)
			return restart(download, err);
		r = add_to_digest(download, bytes, (size_t)got, err);
	}
	return r;
}

/* --- what comes ---------------------------------------------------------------------------- */

static int on_begin(void *data, uint64_t from, kiln_error *err)
{
	struct download *download = data;

	return from == download->size ? 0 : restart(download, err);
}

/* What is all zeros stays a hole. */
static bool is_zero(const char *bytes, size_t len)
{
	return len && bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static int on_bytes(void *data, const void *bytes, size_t len, kiln_error *err)
{
	struct download *download = data;
	kiln_fd to = download->request->output;
	int r;

	if (len > download->max - download->size)
		return kiln__fail(err, KILN_EOVERFLOW, "it is longer than %llu bytes",
				  (unsigned long long)download->max);
	if (is_zero(bytes, len))
		r = kiln__os_set_size(to, download->size + len, err);
	else
		r = kiln__os_pwrite_full(to, bytes, len, download->size, err);
	return r < 0 ? r : add_to_digest(download, bytes, len, err);
}

/* --- the transfer -------------------------------------------------------------------------- */

/* 0: it is here; 1: to be tried again. */
static int judge(struct download *download, const struct http_answer *answer, kiln_error *err)
{
	if (answer->status == 200 || answer->status == 206)
		return 0;
	/* There is no such range: what was there from before was another file's. */
	if (answer->status == 416 && download->size) {
		int r = restart(download, err);

		return r < 0 ? r : 1;
	}
	if (registry_is_busy(answer->status)) {
		kiln__fail(err, KILN_EIO, "the server answers %ld", answer->status);
		return 1;
	}
	return kiln__fail(err, answer->status == 404 ? KILN_ENOENT : KILN_EIO,
			  "the server answers %ld", answer->status);
}

static int attempt(struct download *download, unsigned *ret_after_s, kiln_error *err)
{
	const struct http_call call = {
		.url = download->url,
		.from = download->size,
		.begin = on_begin,
		.body = on_bytes,
		.data = download,
	};
	struct http_answer answer;
	bool transient;
	int r = http_get(download->request->http, &call, &answer, &transient, err);

	*ret_after_s = 0;
	if (r < 0)
		return transient ? 1 : r;
	*ret_after_s = answer.retry_after_s;
	r = judge(download, &answer, err);
	http_answer_done(&answer);
	return r;
}

static int transfer(struct download *download, kiln_error *err)
{
	struct attempts attempts;
	unsigned after_s;
	int r;

	attempts_begin(&attempts, download->size, kiln__os_monotonic_ns());
	for (;;) {
		r = attempt(download, &after_s, err);
		if (r <= 0)
			return r;
		if (!attempts_failed(&attempts, download->size, kiln__os_monotonic_ns()))
			return err->code ? err->code : kiln__fail(err, KILN_EIO, "it does not end");
		r = http_pause(download->request->http,
			       registry_backoff(attempts.failures - 1, after_s), err);
		if (r < 0)
			return r;
	}
}

static int finish(struct download *download, char ret[MAX_HEX], kiln_error *err)
{
	unsigned char bytes[HASH_MAX];
	unsigned len = 0;

	if (!hash_so_far(download->digest, bytes, &len))
		return kiln__fail(err, KILN_ESYSTEM, "no digest can be computed");
	for (unsigned i = 0; i < len; i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

static int run(struct download *download, const char *wanted, char ret[MAX_HEX], kiln_error *err)
{
	uint64_t had;
	int r = take_up(download, err);

	had = download->size;
	if (r == 0)
		r = finish(download, ret, err);
	if (r < 0 || (had && wanted && strcmp(ret, wanted) == 0))
		return r; /* whoever was killed had only to say so */
	r = transfer(download, err);
	if (r == 0)
		r = finish(download, ret, err);
	if (r < 0 || !had || !wanted || strcmp(ret, wanted) == 0)
		return r;
	r = restart(download, err);
	if (r == 0)
		r = transfer(download, err);
	return r < 0 ? r : finish(download, ret, err);
}

int command_download(const struct request *request, kiln_error *err)
{
	const json_t *asked = request->asked;
	const char *kind = json_string_value(json_object_get(asked, "kind"));
	json_int_t max = json_integer_value(json_object_get(asked, "max"));
	struct download download = {
		.request = request,
		.url = json_string_value(json_object_get(asked, "url")),
	};
	char hex[MAX_HEX] = "";
	int r;

	if (!download.url || strncmp(download.url, "https://", 8) != 0 || max <= 0 ||
	    (uint64_t)max > MAX_SIZE)
		return kiln__fail(err, KILN_EINVAL, "the request names nothing to be downloaded");
	download.max = (uint64_t)max;
	download.digest = hash_new(kind && strcmp(kind, "sha256") == 0 ? HASH_SHA256 : HASH_SHA512);
	if (!download.digest)
		r = kiln__fail_nomem(err);
	else
		r = run(&download, json_string_value(json_object_get(asked, "digest")), hex, err);
	if (r < 0)
		kiln__prefix(err, "%s", download.url);
	hash_free(download.digest);
	return r < 0 ? r
		     : report_result(json_pack("{s:I, s:s}", "size", (json_int_t)download.size,
					       "digest", hex),
				     err);
}
