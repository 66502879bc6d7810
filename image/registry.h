/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One registry, or mirror of one, by Docker's Registry HTTP API V2, which OCI's distribution-spec
 * has taken over: where it answers, and who we are to it. A token is kept until it is refused.
 */
#ifndef KILN_IMAGE_REGISTRY_H
#define KILN_IMAGE_REGISTRY_H

#include <kiln/error.h>

#include "buf.h"
#include "http.h"

#include <jansson.h>
#include <stdbool.h>

struct registry {
	struct http *http; /* borrowed, like all texts that are const */
	const char *host;
	const char *path;     /* of the repository */
	const char *user;     /* NULL: nobody in particular */
	const char *password; /* with a user */
	const char *identity; /* or a token that tokens are got by */
	struct http_tls tls;
	bool insecure;
	bool plain;          /* by http: https did not answer, and need not */
	bool settled;        /* which of the two is known */
	char *authorization; /* the header's value for now */
	unsigned generation; /* counts the values that it had */
};

/*
 * From the object {"host", "path", "insecure", "user", "password", "identity", "authorities",
 * "certificate", "key"}, borrowed.
 */
int registry_init(struct registry *registry, struct http *http, const json_t *object,
		  kiln_error *err);
void registry_done(struct registry *registry);

/* "https://HOST/v2/PATH/KIND/WHICH", malloc'ed. */
char *registry_url(const struct registry *registry, const char *kind, const char *which);

/*
 * A document of at most @max bytes, with retries and authentication. The answer is released by
 * the caller, and @ret by kiln__buf_done(). Another status than success is a failure:
 * KILN_ENOENT, KILN_EACCES ...
 */
int registry_get(struct registry *registry, const char *kind, const char *which, const char *accept,
		 size_t max, struct kiln__buf *ret, struct http_answer *answer, kiln_error *err);

/*
 * After a 401 to a request that was sent with the authorization of @generation: gets another,
 * unless there is a newer one already.
 */
int registry_authorize(struct registry *registry, const struct http_answer *answer,
		       unsigned generation, kiln_error *err);

/* Whoever this registry says we are not: asks it, as for login. KILN_EACCES if it refuses. */
int registry_check_login(struct registry *registry, kiln_error *err);

/* Why an answer is no success. */
int registry_refused(const struct registry *registry, const struct http_answer *answer,
		     kiln_error *err);

/* Whether an answer may be another one later. */
bool registry_is_busy(long status);

/* How long to wait before the attempt that follows @attempt (from 0), in ms. */
int registry_backoff(unsigned attempt, unsigned retry_after_s);

#endif
