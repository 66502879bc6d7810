/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One transfer by HTTP as its parts see it: http.c (those that there are, and their end),
 * transfer.c (its requests, of which a redirection brings one more), answer.c (what comes, and what
 * it means), url.c (where it leads).
 */
#ifndef KILN_IMAGE_TRANSFER_H
#define KILN_IMAGE_TRANSFER_H

#include <kiln/error.h>

#include "http.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http {
	CURLM *multi;
	struct http_options options;
	struct transfer *transfers;
};

struct transfer {
	struct http *http;
	struct http_call call;
	http_done_fn done; /* NULL: http_get() waits for it */
	CURL *easy;
	struct curl_slist *headers;
	/* The call's, which are borrowed no longer than it begins. */
	char *origin; /* its URL */
	char *authorization;
	char *accept;
	char *insecure_at;
	char *url; /* where it is now: there, or where a redirection has led */
	unsigned redirections;
	bool away;      /* from the call's origin, and so nobody in particular */
	char *location; /* of an answer that redirects */
	struct http_answer answer;
	bool begun;          /* the body of a success */
	uint64_t range_from; /* as the answer says; UINT64_MAX: it says nothing */
	kiln_error err;      /* of who takes the body */
	char text[CURL_ERROR_SIZE];
	struct transfer *next;
};

/* The call is copied, but for what it says is borrowed for longer. NULL when out of memory. */
struct transfer *transfer_new(struct http *http, const struct http_call *call, http_done_fn done);
void transfer_free(struct transfer *transfer);

/* Makes its next request: easy. */
int transfer_prepare(struct transfer *transfer, kiln_error *err);

/* Whether a request that has ended so leads on; then its next one, or why there is none. */
bool transfer_is_redirected(const struct transfer *transfer, CURLcode code);
int transfer_follow(struct transfer *transfer, kiln_error *err);

/* libcurl's: CURLOPT_HEADERFUNCTION, CURLOPT_WRITEFUNCTION. */
size_t transfer_on_header(char *line, size_t size, size_t count, void *data);
size_t transfer_on_body(char *bytes, size_t size, size_t count, void *data);

/* What has come of one that ended with @code: 0 if there was an answer. */
int transfer_judge(struct transfer *transfer, CURLcode code, bool *ret_transient, kiln_error *err);

/* What @location means in an answer from @url (RFC 9110, section 10.2.2), malloc'ed. */
int http_resolve(const char *url, const char *location, char **ret, kiln_error *err);

#endif
