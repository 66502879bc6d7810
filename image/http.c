/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include "err.h"
#include "os.h"
#include "reference.h"
#include "syscalls.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* libcurl, libcrypto and the C library's resolver. No local sockets but pairs of its own. */
KILN__SYSCALLS(socket(0 = 2), socket(0 = 10), socketpair(0 = 1));
KILN__SYSCALLS(connect, sendto(4 = 0), recvfrom, sendmsg, sendmmsg, recvmsg, poll, ppoll, bind);
KILN__SYSCALLS(getsockname, getpeername, getsockopt, setsockopt, shutdown, ioctl(1 = 0x541b));
KILN__SYSCALLS(fcntl(1 = 1), fcntl(1 = 2), fcntl(1 = 3), fcntl(1 = 4), pipe2, eventfd2);
KILN__SYSCALLS(clock_nanosleep, getuid, geteuid, getgid, getegid, uname, rt_sigaction);
KILN__SYSCALLS(openat, newfstatat, fstat, lseek, read, write, close, set_robust_list, rseq);

#define MAX_REDIRECTIONS 8
#define MAX_ERROR_TEXT   4096
#define MAX_HEADER       8192
#define MAX_RETRY_AFTER  120

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

void http_answer_done(struct http_answer *answer)
{
	free(answer->media_type);
	free(answer->challenge);
	free(answer->digest);
	kiln__buf_done(&answer->text);
	*answer = (struct http_answer){.status = 0};
}

int http_new(struct http **ret, const struct http_options *options, kiln_error *err)
{
	struct http *http = calloc(1, sizeof(*http));

	if (http)
		http->multi = curl_multi_init();
	if (!http || !http->multi) {
		free(http);
		return kiln__fail_nomem(err);
	}
	http->options = *options;
	*ret = http;
	return 0;
}

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

static void transfer_free(struct transfer *transfer)
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

void http_free(struct http *http)
{
	struct transfer *transfer;

	if (!http)
		return;
	while ((transfer = http->transfers)) {
		http->transfers = transfer->next;
		curl_multi_remove_handle(http->multi, transfer->easy);
		transfer_free(transfer);
	}
	curl_multi_cleanup(http->multi);
	free(http);
}

/* --- what comes ----------------------------------------------------------------------------- */

/* The value of a header line if it is @name's: without blanks around it, malloc'ed. */
static char *header_value(const char *line, size_t len, const char *name)
{
	size_t skip = strlen(name);

	if (len <= skip || line[skip] != ':' || strncasecmp(line, name, skip))
		return NULL;
	line += skip + 1;
	len -= skip + 1;
	while (len && (*line == ' ' || *line == '\t'))
		line++, len--;
	while (len && strchr(" \t\r\n", line[len - 1]))
		len--;
	return strndup(line, len);
}

static void keep(char **at, char *value)
{
	if (!value)
		return;
	free(*at);
	*at = value;
}

static void keep_challenge(struct http_answer *answer, char *value)
{
	if (value && answer->challenge && strncasecmp(value, "Bearer", 6))
		free(value);
	else
		keep(&answer->challenge, value);
}

static size_t on_header(char *line, size_t size, size_t count, void *data)
{
	struct transfer *transfer = data;
	struct http_answer *answer = &transfer->answer;
	size_t len = size * count;
	char *value;

	if (len > MAX_HEADER)
		return 0;
	/* A proxy's answer, or one that is not the last, may come first. */
	if (len > 5 && !strncmp(line, "HTTP/", 5)) {
		http_answer_done(answer);
		free(transfer->location);
		transfer->location = NULL;
		transfer->range_from = UINT64_MAX;
	}
	keep(&transfer->location, header_value(line, len, "Location"));
	value = header_value(line, len, "Content-Type");
	if (value)
		value[strcspn(value, "; \t")] = '\0';
	keep(&answer->media_type, value);
	keep(&answer->digest, header_value(line, len, "Docker-Content-Digest"));
	keep_challenge(answer, header_value(line, len, "WWW-Authenticate"));
	value = header_value(line, len, "Retry-After");
	if (value && *value >= '0' && *value <= '9') {
		unsigned long seconds = strtoul(value, NULL, 10);

		answer->retry_after_s =
			seconds > MAX_RETRY_AFTER ? MAX_RETRY_AFTER : (unsigned)seconds;
	}
	free(value);
	value = header_value(line, len, "Content-Range");
	if (value && !strncasecmp(value, "bytes ", 6))
		transfer->range_from = strtoull(value + 6, NULL, 10);
	free(value);
	return len;
}

/* From where on the body comes: what was asked for, or all of it. */
static int begin(struct transfer *transfer, long status)
{
	uint64_t from = status == 206 ? transfer->range_from : 0;

	transfer->begun = true;
	if (from != 0 && from != transfer->call.from)
		return kiln__fail(&transfer->err, KILN_EPROTO,
				  "the bytes from %" PRIu64 " on were asked for, others came",
				  transfer->call.from);
	return transfer->call.begin
		       ? transfer->call.begin(transfer->call.data, from, &transfer->err)
		       : 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *data)
{
	struct transfer *transfer = data;
	size_t len = size * count;
	long status = 0;
	int r = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200 && status != 206) {
		size_t room = MAX_ERROR_TEXT - transfer->answer.text.len;

		kiln__buf_add(&transfer->answer.text, bytes, len < room ? len : room);
		/* An endless page of an error is cut, which is no failure of its own. */
		return transfer->answer.text.len == MAX_ERROR_TEXT ? 0 : len;
	}
	if (!transfer->begun)
		r = begin(transfer, status);
	if (r == 0)
		r = transfer->call.body(transfer->call.data, bytes, len, &transfer->err);
	return r < 0 ? 0 : len;
}

/* --- a transfer ------------------------------------------------------------------------------- */

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

static int prepare(struct transfer *transfer, kiln_error *err)
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
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
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

static struct transfer *transfer_new(struct http *http, const struct http_call *call,
				     http_done_fn done)
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

/* --- redirections ---------------------------------------------------------------------------- */

static bool same_part(CURLU *url, CURLU *other, CURLUPart part)
{
	char *a = NULL;
	char *b = NULL;
	bool same = curl_url_get(url, part, &a, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		    curl_url_get(other, part, &b, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		    strcasecmp(a, b) == 0;

	curl_free(a);
	curl_free(b);
	return same;
}

bool http_same_origin(const char *url, const char *other)
{
	CURLU *a = curl_url();
	CURLU *b = curl_url();
	bool same = a && b && curl_url_set(a, CURLUPART_URL, url, 0) == CURLUE_OK &&
		    curl_url_set(b, CURLUPART_URL, other, 0) == CURLUE_OK &&
		    same_part(a, b, CURLUPART_SCHEME) && same_part(a, b, CURLUPART_HOST) &&
		    same_part(a, b, CURLUPART_PORT);

	curl_url_cleanup(a);
	curl_url_cleanup(b);
	return same;
}

static bool same_place(CURLU *url, CURLU *other)
{
	return same_part(url, other, CURLUPART_HOST) && same_part(url, other, CURLUPART_PORT);
}

static bool is_on_this_machine(CURLU *url)
{
	char *host = NULL;
	bool is = curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		  kiln__reference_is_loopback(host);

	curl_free(host);
	return is;
}

bool http_may_be_insecure(const char *origin, const char *url)
{
	CURLU *a = curl_url();
	CURLU *b = curl_url();
	bool may = a && b && curl_url_set(a, CURLUPART_URL, origin, 0) == CURLUE_OK &&
		   curl_url_set(b, CURLUPART_URL, url, 0) == CURLUE_OK &&
		   (same_place(a, b) || is_on_this_machine(b));

	curl_url_cleanup(a);
	curl_url_cleanup(b);
	return may;
}

/* What @location means in an answer from @url (RFC 9110, section 10.2.2), malloc'ed. */
static int resolve(const char *url, const char *location, char **ret, kiln_error *err)
{
	CURLU *parsed = curl_url();
	char *text = NULL;
	bool good = parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
		    curl_url_set(parsed, CURLUPART_URL, location, 0) == CURLUE_OK &&
		    curl_url_get(parsed, CURLUPART_URL, &text, 0) == CURLUE_OK;

	curl_url_cleanup(parsed);
	*ret = good ? strdup(text) : NULL;
	curl_free(text);
	if (good)
		return *ret ? 0 : kiln__fail_nomem(err);
	return kiln__fail(err, KILN_EPROTO, "it redirects to \"%.200s\", which is no such address",
			  location);
}

static bool is_redirected(const struct transfer *transfer, CURLcode code)
{
	long status = 0;

	/* What cut an endless page off has seen its header. */
	if (code != CURLE_OK &&
	    (code != CURLE_WRITE_ERROR || transfer->answer.text.len != MAX_ERROR_TEXT))
		return false;
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	return transfer->location && !transfer->call.form &&
	       (status == 301 || status == 302 || status == 303 || status == 307 || status == 308);
}

/* The next request of a transfer that was redirected. */
static int follow(struct transfer *transfer, kiln_error *err)
{
	char *url;
	int r;

	if (++transfer->redirections > MAX_REDIRECTIONS)
		return kiln__fail(err, KILN_EPROTO, "it redirects more than %d times",
				  MAX_REDIRECTIONS);
	r = resolve(transfer->url, transfer->location, &url, err);
	if (r < 0)
		return r;
	transfer->away |= !http_same_origin(transfer->origin, url);
	free(transfer->url);
	transfer->url = url;
	if (strncasecmp(url, "https://", 8) != 0 && !is_insecure(transfer))
		return kiln__fail(err, KILN_EPROTO, "it redirects to \"%.200s\", which is no https",
				  url);
	request_done(transfer);
	return prepare(transfer, err);
}

/* --- how it ended ---------------------------------------------------------------------------- */

static bool is_transient(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return true;
	default:
		return false;
	}
}

static int code_of(CURLcode code)
{
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return KILN_ETIMEDOUT;
	case CURLE_OUT_OF_MEMORY:
		return KILN_ENOMEM;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		return KILN_EPROTO;
	default:
		return KILN_EIO;
	}
}

/* 0 if there was an answer. */
static int judge(struct transfer *transfer, CURLcode code, bool *ret_transient, kiln_error *err)
{
	struct http_answer *answer = &transfer->answer;
	const char *text = transfer->text[0] ? transfer->text : curl_easy_strerror(code);
	long proxy = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &answer->status);
	curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &proxy);
	*ret_transient = false;
	if (transfer->err.code) {
		*err = transfer->err;
		return err->code;
	}
	if (code == CURLE_WRITE_ERROR && answer->text.len == MAX_ERROR_TEXT)
		code = CURLE_OK;
	if (code == CURLE_OK)
		return 0;
	*ret_transient = is_transient(code);
	if (proxy >= 400)
		return kiln__fail(err, KILN_EIO, "the proxy refuses, with status %ld", proxy);
	return kiln__fail(err, code_of(code), "%s", text);
}

int http_get(struct http *http, const struct http_call *call, struct http_answer *ret,
	     bool *ret_transient, kiln_error *err)
{
	struct transfer *transfer = transfer_new(http, call, NULL);
	CURLcode code = CURLE_OK;
	int r;

	*ret_transient = false;
	if (!transfer)
		return kiln__fail_nomem(err);
	r = prepare(transfer, err);
	while (r == 0) {
		code = curl_easy_perform(transfer->easy);
		if (!is_redirected(transfer, code))
			break;
		r = follow(transfer, err);
	}
	if (r == 0)
		r = judge(transfer, code, ret_transient, err);
	if (r == 0) {
		*ret = transfer->answer;
		transfer->answer = (struct http_answer){.status = 0};
	}
	transfer_free(transfer);
	return r;
}

int http_start(struct http *http, const struct http_call *call, http_done_fn done, kiln_error *err)
{
	struct transfer *transfer = transfer_new(http, call, done);
	int r;

	if (!transfer)
		return kiln__fail_nomem(err);
	r = prepare(transfer, err);
	if (r == 0 && curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK)
		r = kiln__fail_nomem(err);
	if (r < 0) {
		transfer_free(transfer);
		return r;
	}
	transfer->next = http->transfers;
	http->transfers = transfer;
	return 0;
}

/* One request of a transfer is over, and with it the transfer unless it was redirected. */
static void finish(struct http *http, struct transfer *transfer, CURLcode code)
{
	struct transfer **at = &http->transfers;
	kiln_error err = KILN_ERROR_INIT;
	bool transient = false;
	int r;

	curl_multi_remove_handle(http->multi, transfer->easy);
	if (is_redirected(transfer, code)) {
		r = follow(transfer, &err);
		if (r == 0 && curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK)
			r = kiln__fail_nomem(&err);
		if (r == 0)
			return;
	} else {
		r = judge(transfer, code, &transient, &err);
	}
	while (*at != transfer)
		at = &(*at)->next;
	*at = transfer->next;
	transfer->done(transfer->call.data, &transfer->answer, transient, r < 0 ? &err : NULL);
	transfer_free(transfer);
}

int http_step(struct http *http, int timeout_ms, kiln_error *err)
{
	CURLMcode code;
	CURLMsg *message;
	int running;
	int left;

	code = curl_multi_perform(http->multi, &running);
	if (code == CURLM_OK && timeout_ms && (running || !http->transfers))
		code = curl_multi_poll(http->multi, NULL, 0, timeout_ms, NULL);
	if (code == CURLM_OK)
		code = curl_multi_perform(http->multi, &running);
	if (code != CURLM_OK)
		return kiln__fail(err, KILN_ESYSTEM, "libcurl: %s", curl_multi_strerror(code));
	while ((message = curl_multi_info_read(http->multi, &left))) {
		struct transfer *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		finish(http, transfer, message->data.result);
	}
	return 0;
}

int http_pause(struct http *http, int ms, kiln_error *err)
{
	const int64_t until = kiln__os_monotonic_ns() + INT64_C(1000000) * ms;
	int r = 0;

	while (r == 0) {
		int64_t left = (until - kiln__os_monotonic_ns() + 999999) / 1000000;

		if (left <= 0)
			break;
		r = http_step(http, (int)left, err);
	}
	return r;
}
