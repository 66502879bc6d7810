/* SPDX-License-Identifier: Apache-2.0 */
/* A transfer's requests: what is sent, to whom, with whose name, and where a redirection leads. */
#include "transfer.h"

#include "err.h"
#include "os.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_REDIRECTIONS 8

/* What one request of it has. */
static void request_done(struct transfer *transfer)
{
	if (transfer->easy)
		curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->headers);
	http_answer_done(&transfer->answer);
	transfer->easy = NULL;
	transfer->headers = NULL;
}

void transfer_free(struct transfer *transfer)
{
	request_done(transfer);
	if (transfer->authorization)
		kiln__wipe(transfer->authorization, strlen(transfer->authorization));
	free(transfer->authorization);
	free(transfer->accept);
	free(transfer->origin);
	free(transfer->insecure_at);
	free(transfer->url);
	free(transfer->location);
	free(transfer);
}

static int add_header(struct transfer *transfer, const char *name, const char *value,
		      kiln_error *err)
{
	kiln__autofree char *line = value ? kiln__strf("%s: %s", name, value) : NULL;
	struct curl_slist *more = line ? curl_slist_append(transfer->headers, line) : NULL;

	if (line)
		kiln__wipe(line, strlen(line));
	if (!value)
		return 0;
	if (!more)
		return kiln__fail_nomem(err);
	transfer->headers = more;
	return 0;
}

static bool is_insecure(const struct transfer *transfer)
{
	return transfer->call.insecure &&
	       http_may_be_insecure(transfer->insecure_at ? transfer->insecure_at
							  : transfer->origin,
				    transfer->url);
}

static void set_security(struct transfer *transfer, CURL *easy)
{
	const struct http_options *options = &transfer->http->options;
	bool insecure = is_insecure(transfer);
	struct curl_blob ca = {(void *)(uintptr_t)options->ca, options->ca_len, CURL_BLOB_NOCOPY};

	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, insecure ? "http,https" : "https");
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, insecure ? 0L : 2L);
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (options->ca)
		curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
}

static void set_blob(CURL *easy, CURLoption option, const char *text)
{
	struct curl_blob blob = {(void *)(uintptr_t)text, strlen(text), CURL_BLOB_COPY};

	curl_easy_setopt(easy, option, &blob);
}

/* What one registry has of its own. */
static int set_tls(struct transfer *transfer, CURL *easy, kiln_error *err)
{
	const struct http_options *options = &transfer->http->options;
	const struct http_tls *tls = transfer->call.tls;
	kiln__autobuf all = KILN__BUF_INIT;

	if (!tls)
		return 0;
	if (tls->authorities) {
		kiln__buf_add(&all, options->ca ? options->ca : "", options->ca_len);
		kiln__buf_addf(&all, "\n%s", tls->authorities);
		if (all.failed)
			return kiln__fail_nomem(err);
		set_blob(easy, CURLOPT_CAINFO_BLOB, all.data);
	}
	if (tls->certificate && tls->key && !transfer->away) {
		set_blob(easy, CURLOPT_SSLCERT_BLOB, tls->certificate);
		set_blob(easy, CURLOPT_SSLKEY_BLOB, tls->key);
	}
	return 0;
}

static void set_limits(struct transfer *transfer, CURL *easy)
{
	long timeout = (long)transfer->http->options.timeout_s;

	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, timeout);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)HTTP_SLOWEST);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, timeout);
	if (transfer->call.document)
		curl_easy_setopt(easy, CURLOPT_TIMEOUT, 2 * timeout);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 262144L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
}

int transfer_prepare(struct transfer *transfer, kiln_error *err)
{
	const struct http_call *call = &transfer->call;
	CURL *easy = curl_easy_init();
	char range[32];
	int r;

	transfer->easy = easy;
	if (!easy)
		return kiln__fail_nomem(err);
	r = add_header(transfer, "Authorization", transfer->away ? NULL : transfer->authorization,
		       err);
	if (r == 0)
		r = add_header(transfer, "Accept", transfer->accept, err);
	if (r < 0)
		return r;
	set_security(transfer, easy);
	r = set_tls(transfer, easy, err);
	if (r < 0)
		return r;
	set_limits(transfer, easy);
	curl_easy_setopt(easy, CURLOPT_URL, transfer->url);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "kiln/" KILN_VERSION);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->text);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, transfer_on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, transfer_on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	if (call->form)
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, call->form);
	if (call->from) {
		snprintf(range, sizeof(range), "%" PRIu64 "-", call->from);
		curl_easy_setopt(easy, CURLOPT_RANGE, range);
	}
	return 0;
}

struct transfer *transfer_new(struct http *http, const struct http_call *call, http_done_fn done)
{
	struct transfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer)
		return NULL;
	transfer->http = http;
	transfer->call = *call;
	transfer->done = done;
	transfer->range_from = UINT64_MAX;
	transfer->origin = strdup(call->url);
	transfer->url = strdup(call->url);
	transfer->authorization = call->authorization ? strdup(call->authorization) : NULL;
	transfer->accept = call->accept ? strdup(call->accept) : NULL;
	transfer->insecure_at = call->insecure_at ? strdup(call->insecure_at) : NULL;
	transfer->call.url = transfer->call.authorization = transfer->call.accept = NULL;
	transfer->call.insecure_at = NULL;
	if (!call->insecure_at == !transfer->insecure_at && transfer->origin && transfer->url &&
	    !call->authorization == !transfer->authorization && !call->accept == !transfer->accept)
		return transfer;
	transfer_free(transfer);
	return NULL;
}

/* The next request of a transfer that was redirected. */
int transfer_follow(struct transfer *transfer, kiln_error *err)
{
	char *url;
	int r;

	if (++transfer->redirections > MAX_REDIRECTIONS)
		return kiln__fail(err, KILN_EPROTO, "it redirects more than %d times",
				  MAX_REDIRECTIONS);
	r = http_resolve(transfer->url, transfer->location, &url, err);
	if (r < 0)
		return r;
	transfer->away |= !http_same_origin(transfer->origin, url);
	free(transfer->url);
	transfer->url = url;
	if (strncasecmp(url, "https://", 8) != 0 && !is_insecure(transfer))
		return kiln__fail(err, KILN_EPROTO, "it redirects to \"%.200s\", which is no https",
				  url);
	request_done(transfer);
	return transfer_prepare(transfer, err);
}
