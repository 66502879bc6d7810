/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.h"
#include "base64.h"

#include "attempts.h"

#include "err.h"
#include "os.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_TOKEN_ANSWER (1u << 20)
#define MAX_TOKEN        65536
#define FIRST_PAUSE_MS   250
#define MAX_PAUSE_MS     8000

/* --- settings -------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && *text ? text : NULL;
}

int registry_init(struct registry *registry, struct http *http, const json_t *object,
		  kiln_error *err)
{
	*registry = (struct registry){
		.http = http,
		.host = text_of(object, "host"),
		.path = text_of(object, "path"),
		.user = text_of(object, "user"),
		.password = text_of(object, "password"),
		.identity = text_of(object, "identity"),
		.tls = {text_of(object, "authorities"), text_of(object, "certificate"),
			text_of(object, "key")},
		.insecure = json_is_true(json_object_get(object, "insecure")),
	};
	if (!registry->host || !registry->path)
		return kiln__fail(err, KILN_EINVAL, "the request names no registry");
	return 0;
}

void registry_done(struct registry *registry)
{
	if (registry->authorization)
		kiln__wipe(registry->authorization, strlen(registry->authorization));
	free(registry->authorization);
	registry->authorization = NULL;
}

static const char *scheme(const struct registry *registry)
{
	return registry->plain ? "http" : "https";
}

/* The name that docker.io has as a host. */
static const char *host_of(const struct registry *registry)
{
	return strcmp(registry->host, "docker.io") == 0 ? "registry-1.docker.io" : registry->host;
}

char *registry_url(const struct registry *registry, const char *kind, const char *which)
{
	if (!kind)
		return kiln__strf("%s://%s/v2/", scheme(registry), host_of(registry));
	return kiln__strf("%s://%s/v2/%s/%s/%s", scheme(registry), host_of(registry),
			  registry->path, kind, which);
}

/* --- answers --------------------------------------------------------------------------------- */

bool registry_is_busy(long status)
{
	return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
	       status == 504;
}

int registry_backoff(unsigned attempt, unsigned retry_after_s)
{
	int ms = FIRST_PAUSE_MS;
	uint16_t random;

	for (; attempt && ms < MAX_PAUSE_MS; attempt--)
		ms *= 2;
	/* Not all who were refused together come back together. */
	kiln__os_random(&random, sizeof(random));
	ms += (int)(random % (unsigned)ms) / 2;
	return retry_after_s * 1000 > (unsigned)ms ? (int)retry_after_s * 1000 : ms;
}

/* What the registry itself says: {"errors": [{"code", "message"}]}, distribution-spec, "Error
 * Codes". */
static void say_why(const struct http_answer *answer, char *text, size_t size)
{
	json_t *object =
		answer->text.data ? json_loadb(answer->text.data, answer->text.len, 0, NULL) : NULL;
	const json_t *first = json_array_get(json_object_get(object, "errors"), 0);
	const char *code = text_of(first, "code");
	const char *message = text_of(first, "message");

	text[0] = '\0';
	if (code || message)
		snprintf(text, size, ": %.60s%s%.200s", code ? code : "",
			 code && message ? ", " : "", message ? message : "");
	json_decref(object);
}

int registry_refused(const struct registry *registry, const struct http_answer *answer,
		     kiln_error *err)
{
	char why[280];

	say_why(answer, why, sizeof(why));
	switch (answer->status) {
	case 401:
	case 403:
		kiln__fail(err, KILN_EACCES, "the registry refuses access (%ld)%s", answer->status,
			   why);
		kiln__hint(err,
			   "\"kiln login %s\", if it needs that; it may also have no such image",
			   registry->host);
		return KILN_EACCES;
	case 404:
		return kiln__fail(err, KILN_ENOENT, "the registry has no such thing (404)%s", why);
	case 429:
		kiln__fail(err, KILN_EBUSY, "the registry limits how often it may be asked (429)%s",
			   why);
		kiln__hint(err, "wait, or log in: \"kiln login %s\"", registry->host);
		return KILN_EBUSY;
	default:
		return kiln__fail(err, KILN_EPROTO, "the registry answers with status %ld%s",
				  answer->status, why);
	}
}

/* --- tokens ---------------------------------------------------------------------------------- */

/* The value of KEY="VALUE" in a challenge, malloc'ed. RFC 9110, section 11.2: or a bare token. */
static char *parameter(const char *challenge, const char *key)
{
	size_t len = strlen(key);

	for (const char *at = challenge; *at;) {
		const char *name;
		size_t name_len;
		kiln__autobuf value = KILN__BUF_INIT;

		at += strspn(at, " ,\t");
		name = at;
		name_len = strcspn(at, "= ,\t");
		at += name_len;
		if (*at != '=')
			continue;
		at++;
		if (*at == '"') {
			for (at++; *at && *at != '"'; at++) {
				if (*at == '\\' && at[1])
					at++;
				kiln__buf_addc(&value, *at);
			}
			at += *at == '"';
		} else {
			size_t bare = strcspn(at, " ,\t");

			kiln__buf_add(&value, at, bare);
			at += bare;
		}
		if (name_len == len && !strncasecmp(name, key, len))
			return value.data ? kiln__buf_steal(&value) : strdup("");
	}
	return NULL;
}

static char *basic(const char *user, const char *password)
{
	kiln__autofree char *both = kiln__strf("%s:%s", user, password ? password : "");
	kiln__autofree char *text = both ? kiln__base64_encode(both) : NULL;
	char *value = text ? kiln__strf("Basic %s", text) : NULL;

	if (both)
		kiln__wipe(both, strlen(both));
	if (text)
		kiln__wipe(text, strlen(text));
	return value;
}

static int collect(void *data, const void *bytes, size_t len, kiln_error *err)
{
	struct kiln__buf *buf = data;

	if (len > MAX_TOKEN_ANSWER - buf->len)
		return kiln__fail(err, KILN_EOVERFLOW, "the answer is too long");
	kiln__buf_add(buf, bytes, len);
	return buf->failed ? kiln__fail_nomem(err) : 0;
}

/* "&key=value", escaped; nothing for NULL. */
static void add_field(struct kiln__buf *buf, const char *key, const char *value)
{
	char *escaped = value ? curl_easy_escape(NULL, value, 0) : NULL;

	if (escaped)
		kiln__buf_addf(buf, "%s%s=%s", buf->len ? "&" : "", key, escaped);
	curl_free(escaped);
}

static int take_token(struct registry *registry, const struct kiln__buf *answer, kiln_error *err)
{
	json_t *object = answer->data ? json_loadb(answer->data, answer->len, 0, NULL) : NULL;
	const char *token = text_of(object, "token");
	char *value = NULL;
	int r = 0;

	if (!token)
		token = text_of(object, "access_token");
	if (!token || strlen(token) > MAX_TOKEN ||
	    strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij"
			  "klmnopqrstuvwxyz0123456789-._~+/=:|") != strlen(token))
		r = kiln__fail(err, KILN_EPROTO,
			       "the registry's token server gives no usable token");
	else
		value = kiln__strf("Bearer %s", token);
	if (r == 0 && !value)
		r = kiln__fail_nomem(err);
	if (r == 0) {
		registry_done(registry);
		registry->authorization = value;
		registry->generation++;
	}
	json_decref(object);
	return r;
}

/*
 * distribution's "Token Authentication Specification", and its OAuth2 variant for identity tokens.
 * The name and password are for the token server, wherever the registry says that it is (Docker Hub
 * has it on a host of its own); the client certificate is for the registry alone.
 */
static int ask_token(struct registry *registry, const char *realm, const char *fields, bool post,
		     kiln_error *err)
{
	kiln__autofree char *url =
		post ? strdup(realm)
		     : kiln__strf("%s%s%s", realm, strchr(realm, '?') ? "&" : "?", fields);
	kiln__autofree char *user =
		!post && registry->user ? basic(registry->user, registry->password) : NULL;
	kiln__autofree char *base = registry_url(registry, NULL, NULL);
	bool same = base && http_same_origin(base, realm);
	const struct http_tls tls = {
		.authorities = registry->tls.authorities,
		.certificate = same ? registry->tls.certificate : NULL,
		.key = same ? registry->tls.key : NULL,
	};
	kiln__autobuf body = KILN__BUF_INIT;
	struct http_call call = {
		.url = url,
		.authorization = user,
		.form = post ? fields : NULL,
		.tls = &tls,
		.insecure = registry->insecure,
		.insecure_at = base,
		.document = true,
		.body = collect,
		.data = &body,
	};
	struct http_answer answer;
	unsigned after_s;
	bool transient;
	int r;

	if (!url || !base || (!post && registry->user && !user))
		return kiln__fail_nomem(err);
	for (unsigned attempt = 0;; attempt++) {
		kiln__buf_clear(&body);
		r = http_get(registry->http, &call, &answer, &transient, err);
		if (r < 0 && (!transient || attempt + 1 == ATTEMPTS_MAX)) {
			kiln__prefix(err, "the token server %.200s", realm);
			return r;
		}
		if (r == 0 && !(registry_is_busy(answer.status) && attempt + 1 < ATTEMPTS_MAX))
			break;
		after_s = r == 0 ? answer.retry_after_s : 0;
		if (r == 0)
			http_answer_done(&answer);
		r = http_pause(registry->http, registry_backoff(attempt, after_s), err);
		if (r < 0)
			return r;
	}
	if (answer.status == 200)
		r = take_token(registry, &body, err);
	else
		r = registry_refused(registry, &answer, err);
	if (user)
		kiln__wipe(user, strlen(user));
	http_answer_done(&answer);
	return r;
}

static int bearer(struct registry *registry, const char *challenge, kiln_error *err)
{
	kiln__autofree char *realm = parameter(challenge, "realm");
	kiln__autofree char *service = parameter(challenge, "service");
	kiln__autofree char *scope = parameter(challenge, "scope");
	kiln__autobuf fields = KILN__BUF_INIT;
	bool secure = realm && strncasecmp(realm, "https://", 8) == 0;
	kiln__autofree char *base = registry_url(registry, NULL, NULL);
	bool plain = realm && strncasecmp(realm, "http://", 7) == 0 && base && registry->insecure &&
		     http_may_be_insecure(base, realm);

	/*
	 * A secret goes nowhere by a way that anybody may read, unless the user has said so, which
	 * is said of the registry and not of whom it sends us to.
	 */
	if (!secure && !plain)
		return kiln__fail(
			err, KILN_EPROTO,
			"the registry sends us for a token to \"%.200s\", which is no https",
			realm ? realm : "");
	add_field(&fields, "service", service);
	add_field(&fields, "scope", scope);
	if (registry->identity) {
		add_field(&fields, "grant_type", "refresh_token");
		add_field(&fields, "client_id", "kiln");
		add_field(&fields, "refresh_token", registry->identity);
	} else if (registry->user) {
		add_field(&fields, "account", registry->user);
	}
	if (fields.failed)
		return kiln__fail_nomem(err);
	return ask_token(registry, realm, fields.data ? fields.data : "",
			 registry->identity != NULL, err);
}

int registry_authorize(struct registry *registry, const struct http_answer *answer,
		       unsigned generation, kiln_error *err)
{
	const char *challenge = answer->challenge ? answer->challenge : "";

	if (generation != registry->generation)
		return 0;
	if (strncasecmp(challenge, "Bearer ", 7) == 0)
		return bearer(registry, challenge + 7, err);
	/* Sent once already, it will not be better the second time. */
	if (strncasecmp(challenge, "Basic", 5) == 0 && registry->user && !registry->authorization) {
		registry->authorization = basic(registry->user, registry->password);
		registry->generation++;
		return registry->authorization ? 0 : kiln__fail_nomem(err);
	}
	return registry_refused(registry, answer, err);
}

/* --- documents ------------------------------------------------------------------------------- */

struct document {
	struct kiln__buf *buf;
	size_t max;
};

static int add_to_document(void *data, const void *bytes, size_t len, kiln_error *err)
{
	struct document *document = data;

	if (len > document->max - document->buf->len)
		return kiln__fail(err, KILN_EOVERFLOW, "the answer has more than %zu bytes",
				  document->max);
	kiln__buf_add(document->buf, bytes, len);
	return document->buf->failed ? kiln__fail_nomem(err) : 0;
}

/* One request, by https or, where that may be and https does not answer, by http. */
static int attempt(struct registry *registry, const char *kind, const char *which,
		   struct http_call *call, struct http_answer *answer, bool *ret_transient,
		   kiln_error *err)
{
	for (;;) {
		kiln__autofree char *url = registry_url(registry, kind, which);
		int r;

		if (!url)
			return kiln__fail_nomem(err);
		call->url = url;
		call->authorization = registry->authorization;
		r = http_get(registry->http, call, answer, ret_transient, err);
		if (r == 0) {
			registry->settled = true;
			return 0;
		}
		if (registry->settled || registry->plain || !registry->insecure)
			return r;
		registry->plain = true;
	}
}

static int get(struct registry *registry, const char *kind, const char *which, const char *accept,
	       struct document *document, struct http_answer *answer, kiln_error *err)
{
	struct http_call call = {
		.accept = accept,
		.tls = &registry->tls,
		.insecure = registry->insecure,
		.document = true,
		.body = add_to_document,
		.data = document,
	};
	unsigned refusals = 0;
	unsigned failures = 0;
	bool transient;

	for (;;) {
		unsigned generation = registry->generation;
		int r;

		kiln__buf_clear(document->buf);
		r = attempt(registry, kind, which, &call, answer, &transient, err);
		if (r < 0 && (!transient || ++failures == ATTEMPTS_MAX))
			return r;
		if (r < 0) {
			r = http_pause(registry->http, registry_backoff(failures - 1, 0), err);
			if (r < 0)
				return r;
			continue;
		}
		if (answer->status == 401 && ++refusals < 3)
			r = registry_authorize(registry, answer, generation, err);
		else if (registry_is_busy(answer->status) && ++failures < ATTEMPTS_MAX)
			r = http_pause(registry->http,
				       registry_backoff(failures - 1, answer->retry_after_s), err);
		else
			return 0;
		http_answer_done(answer);
		if (r < 0)
			return r;
	}
}

int registry_get(struct registry *registry, const char *kind, const char *which, const char *accept,
		 size_t max, struct kiln__buf *ret, struct http_answer *answer, kiln_error *err)
{
	struct document document = {ret, max};
	int r = get(registry, kind, which, accept, &document, answer, err);

	if (r < 0)
		return r;
	if (answer->status != 200) {
		r = registry_refused(registry, answer, err);
		http_answer_done(answer);
	}
	return r;
}

int registry_check_login(struct registry *registry, kiln_error *err)
{
	kiln__autobuf body = KILN__BUF_INIT;
	struct http_answer answer;
	int r = registry_get(registry, NULL, NULL, NULL, 65536, &body, &answer, err);

	if (r == 0)
		http_answer_done(&answer);
	return r;
}
