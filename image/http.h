/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP as registries are spoken to, over libcurl: one document at a time, or several bodies at
 * once. https, and http where a call is insecure; proxies as the environment names them (curl(1)).
 * One thread, but for libcurl's resolver.
 *
 * Redirections are followed here, a bounded number of them, and what says who we are (a call's
 * authorization, its client certificate) stays at the origin that it was given for: a registry that
 * sends us elsewhere for a layer sends us without it, also should we be sent back. A form, which
 * has secrets in it, is not sent on at all.
 */
#ifndef KILN_IMAGE_HTTP_H
#define KILN_IMAGE_HTTP_H

#include <kiln/error.h>

#include "buf.h"
#include "cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes a second: less than that, for the whole timeout, is a failure. */
#define HTTP_SLOWEST 512

struct http;

struct http_options {
	const char *ca; /* certificates to trust, PEM, borrowed; NULL: none */
	size_t ca_len;
	unsigned timeout_s; /* without progress */
};

int http_new(struct http **ret, const struct http_options *options, kiln_error *err);
void http_free(struct http *http); /* NULL is allowed */

/* What was answered, whether well or not. */
struct http_answer {
	long status;
	char *media_type; /* without parameters; NULL: none */
	char *challenge;  /* WWW-Authenticate; of several, one of Bearer before others */
	char *digest;     /* Docker-Content-Digest */
	unsigned retry_after_s;
	struct kiln__buf text; /* of another status than success: its first bytes */
};

void http_answer_done(struct http_answer *answer);

/* PEM, each may be NULL. */
struct http_tls {
	const char *authorities; /* besides the system's, and along redirections */
	const char *certificate; /* who we are; not shown to other origins */
	const char *key;
};

struct http_call {
	const char *url;
	const struct http_tls *tls; /* read until the transfer is over; may be NULL */
	const char *authorization;  /* a header's value, or NULL; not sent on to other origins */
	const char *accept;         /* the same */
	const char *form;           /* posted, if not NULL; then redirections are answers */
	uint64_t from;              /* the first byte that is wanted of the body */
	/*
	 * Certificates are not checked, and http is fine: at the host and port that @insecure_at
	 * names, or that @url does if it is NULL, and on this machine. Never elsewhere.
	 */
	bool insecure;
	const char *insecure_at;
	bool document; /* is short: its whole transfer is bounded in time */
	/*
	 * The body of a success as it comes; before its first byte, @begin with the place where it
	 * begins: the one wanted, or 0. Failures end the transfer.
	 */
	int (*begin)(void *data, uint64_t from, kiln_error *err);
	int (*body)(void *data, const void *bytes, size_t len, kiln_error *err);
	void *data;
};

/*
 * Blocks until it is done. 0 if there was an answer, which the caller releases. *@ret_transient
 * tells of a failure whether trying again may help.
 */
int http_get(struct http *http, const struct http_call *call, struct http_answer *ret,
	     bool *ret_transient, kiln_error *err);

/* Begins a transfer, of which http_step() calls @done, once: @err is NULL if there was an answer.
 */
typedef void (*http_done_fn)(void *data, const struct http_answer *answer, bool transient,
			     const kiln_error *err);
int http_start(struct http *http, const struct http_call *call, http_done_fn done, kiln_error *err);

/*
 * Goes on with the transfers that there are; waits for up to @timeout_ms for something to do, and
 * with none for just as long.
 */
int http_step(struct http *http, int timeout_ms, kiln_error *err);

/* The same until @ms are over: the pause before another attempt. */
int http_pause(struct http *http, int ms, kiln_error *err);

/*
 * Whether a call that is insecure at @origin may be so at @url: at the same host and port, by
 * whichever scheme, or where nothing leaves this machine.
 */
bool http_may_be_insecure(const char *origin, const char *url);

/* Whether scheme, host and port are the same (RFC 6454, section 5); false for what is no URL. */
bool http_same_origin(const char *url, const char *other);

KILN__DEFINE_AUTOPTR(struct http, http_free)

#endif
