/* SPDX-License-Identifier: Apache-2.0 */
#include "http_reply.h"

#include "err.h"

#include <string.h>
#include <strings.h>

void kiln__http_reply_reset(struct kiln__http_reply *reply)
{
	struct kiln__buf body = reply->body;
	struct kiln__buf line = reply->line;

	kiln__buf_clear(&body);
	kiln__buf_clear(&line);
	*reply = (struct kiln__http_reply){.body = body, .line = line};
}

void kiln__http_reply_done(struct kiln__http_reply *reply)
{
	kiln__buf_done(&reply->body);
	kiln__buf_done(&reply->line);
}

static int malformed(kiln_error *err, const char *what)
{
	return kiln__fail(err, KILN_EFORMAT, "not an HTTP answer: %s", what);
}

/* --- the head ------------------------------------------------------------------------------- */

/* "HTTP/1.1 204 No Content"; what follows the number is for people, and may be missing. */
static int take_status(struct kiln__http_reply *reply, const char *line, kiln_error *err)
{
	if (strncmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
	    line[8] != ' ')
		return malformed(err, "its first line is no status");
	reply->status = 0;
	for (int i = 9; i < 12; i++) {
		if (line[i] < '0' || line[i] > '9')
			return malformed(err, "its status is no number");
		reply->status = reply->status * 10 + (line[i] - '0');
	}
	if ((line[12] != ' ' && line[12]) || reply->status < 100 || reply->status > 599)
		return malformed(err, "its status is none of HTTP's");
	reply->closes = line[7] == '0'; /* HTTP/1.0 */
	reply->phase = KILN__HTTP_HEAD;
	reply->lines = 0;
	return 0;
}

static int take_length(struct kiln__http_reply *reply, const char *value, kiln_error *err)
{
	uint64_t length = 0;
	size_t digits = strspn(value, "0123456789");

	if (!digits || value[digits] || digits > 18)
		return malformed(err, "its Content-Length is no number");
	for (size_t i = 0; i < digits; i++)
		length = length * 10 + (uint64_t)(value[i] - '0');
	if (reply->has_length && length != reply->left)
		return malformed(err, "it has two lengths");
	reply->has_length = true;
	reply->left = length;
	return 0;
}

/* RFC 9112, 5: a name, a colon, a value with optional white space around it. */
static int take_header(struct kiln__http_reply *reply, char *line, kiln_error *err)
{
	char *value = strchr(line, ':');
	size_t len;

	if (!value || value == line || line[0] == ' ' || line[0] == '\t' || value[-1] == ' ' ||
	    value[-1] == '\t')
		return malformed(err, "a line of its head has no name");
	*value++ = '\0';
	value += strspn(value, " \t");
	len = strlen(value);
	while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		value[--len] = '\0';
	if (strcasecmp(line, "Content-Length") == 0)
		return take_length(reply, value, err);
	if (strcasecmp(line, "Transfer-Encoding") == 0) {
		if (strcasecmp(value, "chunked") != 0 || reply->chunked)
			return malformed(err, "its Transfer-Encoding is not \"chunked\"");
		reply->chunked = true;
	} else if (strcasecmp(line, "Connection") == 0) {
		reply->closes = strcasecmp(value, "close") == 0 ||
				(reply->closes && strcasecmp(value, "keep-alive") != 0);
	}
	return 0;
}

static void complete(struct kiln__http_reply *reply)
{
	reply->phase = KILN__HTTP_COMPLETE;
}

/* RFC 9112, 6.3: how long the body is. */
static int end_head(struct kiln__http_reply *reply, kiln_error *err)
{
	if (reply->chunked && reply->has_length)
		return malformed(err, "it has a length and chunks");
	if (reply->status < 200) { /* "100 Continue": the answer is still to come */
		if (reply->chunked || reply->left)
			return malformed(err, "what is no answer yet has a body");
		kiln__http_reply_reset(reply);
	} else if (reply->status == 204 || reply->status == 304) {
		/* Firecracker says "Content-Length: 0" to some of these. */
		if (reply->chunked || reply->left)
			return malformed(err, "an answer without a body has one");
		complete(reply);
	} else if (reply->chunked) {
		reply->phase = KILN__HTTP_CHUNK;
	} else if (reply->left > KILN__HTTP_MAX_BODY) {
		return kiln__fail(err, KILN_EFORMAT,
				  "an HTTP answer of %llu bytes is longer than any that is due",
				  (unsigned long long)reply->left);
	} else if (reply->has_length && !reply->left) {
		complete(reply);
	} else if (reply->has_length) {
		reply->phase = KILN__HTTP_BODY;
	} else {
		reply->phase = KILN__HTTP_TO_END;
		reply->closes = true;
	}
	return 0;
}

/* --- chunks (RFC 9112, 7.1) ---------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int take_chunk(struct kiln__http_reply *reply, const char *line, kiln_error *err)
{
	uint64_t length = 0;
	size_t i = 0;

	for (; hex_digit(line[i]) >= 0; i++) {
		if (i == 8)
			return malformed(err, "a chunk is too long");
		length = length << 4 | (uint64_t)hex_digit(line[i]);
	}
	if (!i || (line[i] && line[i] != ';' && line[i] != ' ' && line[i] != '\t'))
		return malformed(err, "a chunk's length is no number");
	if (length > KILN__HTTP_MAX_BODY - reply->body.len)
		return malformed(err, "its chunks are more than any answer has");
	reply->left = length;
	reply->lines = 0;
	reply->phase = length ? KILN__HTTP_CHUNK_DATA : KILN__HTTP_TRAILER;
	return 0;
}

/* --- lines and bytes ------------------------------------------------------------------------- */

static int take_line(struct kiln__http_reply *reply, char *line, kiln_error *err)
{
	if (++reply->lines > KILN__HTTP_MAX_LINES)
		return malformed(err, "its head does not end");
	switch (reply->phase) {
	case KILN__HTTP_STATUS:
		return take_status(reply, line, err);
	case KILN__HTTP_HEAD:
		return *line ? take_header(reply, line, err) : end_head(reply, err);
	case KILN__HTTP_CHUNK:
		return take_chunk(reply, line, err);
	case KILN__HTTP_CHUNK_END:
		reply->phase = KILN__HTTP_CHUNK;
		reply->lines = 0;
		return *line ? malformed(err, "a chunk is longer than it says") : 0;
	default: /* the trailer, which nobody needs */
		if (!*line)
			complete(reply);
		return 0;
	}
}

/* Takes bytes up to a line's end. */
static ssize_t feed_line(struct kiln__http_reply *reply, const char *bytes, size_t len,
			 kiln_error *err)
{
	const char *end = memchr(bytes, '\n', len);
	size_t n = end ? (size_t)(end - bytes) : len;
	int r;

	if (reply->line.len + n > KILN__HTTP_MAX_LINE)
		return malformed(err, "a line of it does not end");
	kiln__buf_add(&reply->line, bytes, n);
	if (reply->line.failed)
		return kiln__fail_nomem(err);
	if (!end)
		return (ssize_t)n;
	if (reply->line.len && reply->line.data[reply->line.len - 1] == '\r')
		reply->line.data[--reply->line.len] = '\0';
	if (reply->line.len && memchr(reply->line.data, '\0', reply->line.len))
		return malformed(err, "a line of it has a NUL");
	r = take_line(reply, reply->line.len ? reply->line.data : (char[]){""}, err);
	kiln__buf_clear(&reply->line);
	return r < 0 ? r : (ssize_t)n + 1;
}

static ssize_t feed_body(struct kiln__http_reply *reply, const char *bytes, size_t len,
			 kiln_error *err)
{
	bool to_end = reply->phase == KILN__HTTP_TO_END;
	size_t n = to_end || len < reply->left ? len : (size_t)reply->left;

	if (n > KILN__HTTP_MAX_BODY - reply->body.len)
		return malformed(err, "its body does not end");
	kiln__buf_add(&reply->body, bytes, n);
	if (reply->body.failed)
		return kiln__fail_nomem(err);
	if (to_end)
		return (ssize_t)n;
	reply->left -= n;
	if (reply->left == 0 && reply->phase == KILN__HTTP_CHUNK_DATA)
		reply->phase = KILN__HTTP_CHUNK_END;
	else if (reply->left == 0)
		complete(reply);
	return (ssize_t)n;
}

ssize_t kiln__http_reply_feed(struct kiln__http_reply *reply, const void *bytes, size_t len,
			      kiln_error *err)
{
	const char *at = bytes;
	size_t done = 0;

	while (done < len && reply->phase != KILN__HTTP_COMPLETE) {
		bool in_body = reply->phase == KILN__HTTP_BODY ||
			       reply->phase == KILN__HTTP_TO_END ||
			       reply->phase == KILN__HTTP_CHUNK_DATA;
		ssize_t n = in_body ? feed_body(reply, at + done, len - done, err)
				    : feed_line(reply, at + done, len - done, err);

		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int kiln__http_reply_end(struct kiln__http_reply *reply, kiln_error *err)
{
	if (reply->phase == KILN__HTTP_TO_END)
		complete(reply);
	if (reply->phase == KILN__HTTP_COMPLETE)
		return 0;
	return kiln__fail(err, KILN_EDIED, "the connection ended %s",
			  reply->phase == KILN__HTTP_STATUS && !reply->line.len
				  ? "without an answer"
				  : "in the middle of an answer");
}
