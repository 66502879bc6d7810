/* SPDX-License-Identifier: Apache-2.0 */
/* What comes of a request: header and body as libcurl hands them over, and what its end means. */
#include "transfer.h"

#include "err.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_ERROR_TEXT  4096
#define MAX_HEADER      8192
#define MAX_RETRY_AFTER 120

void http_answer_done(struct http_answer *answer)
{
	free(answer->media_type);
	free(answer->challenge);
	free(answer->digest);
	kiln__buf_done(&answer->text);
	*answer = (struct http_answer){.status = 0};
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

size_t transfer_on_header(char *line, size_t size, size_t count, void *data)
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

size_t transfer_on_body(char *bytes, size_t size, size_t count, void *data)
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

/* --- how it ended ---------------------------------------------------------------------------- */

bool transfer_is_redirected(const struct transfer *transfer, CURLcode code)
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
int transfer_judge(struct transfer *transfer, CURLcode code, bool *ret_transient, kiln_error *err)
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
