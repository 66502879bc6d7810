/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar is that of distribution's "reference" (regexp.go), which the OCI's has taken over. */
#include "reference.h"

#include "buf.h"
#include "err.h"

#include <string.h>

static bool is_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool kiln__is_sha256(const char *text)
{
	if (!text || strncmp(text, "sha256:", 7) != 0 || strlen(text) != KILN__SHA256_TEXT)
		return false;
	for (text += 7; *text; text++)
		if (!is_hex(*text))
			return false;
	return true;
}

/* --- domains ---------------------------------------------------------------------- */

/* One or more digits at the end, at most 65535. */
static bool is_port(const char *text, size_t len)
{
	unsigned long port = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned long)(text[i] - '0');
	}
	return port > 0 && port <= 65535;
}

/* Labels of letters, digits and inner hyphens, separated by dots. */
static bool is_host(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool edge = i == 0 || i + 1 == len || text[i - 1] == '.' || text[i + 1] == '.';

		if (text[i] == '.' ? edge && (i == 0 || i + 1 == len || text[i - 1] == '.')
				   : !is_alnum(text[i]) && !(text[i] == '-' && !edge))
			return false;
	}
	return len > 0;
}

/* "[" hexadecimal digits and colons "]": as an address it is the resolver's to judge. */
static size_t bracketed(const char *text, size_t len)
{
	size_t at = 1;

	while (at < len &&
	       (is_hex(text[at]) || (text[at] >= 'A' && text[at] <= 'F') || text[at] == ':'))
		at++;
	return at > 1 && at < len && text[at] == ']' ? at + 1 : 0;
}

bool kiln__reference_is_domain(const char *text, size_t len)
{
	const char *colon;
	size_t host;

	if (len && text[0] == '[') {
		host = bracketed(text, len);
		if (!host)
			return false;
	} else {
		colon = memchr(text, ':', len);
		host = colon ? (size_t)(colon - text) : len;
		if (!is_host(text, host))
			return false;
	}
	return host == len || (text[host] == ':' && is_port(text + host + 1, len - host - 1));
}

bool kiln__reference_is_loopback(const char *domain)
{
	size_t host = domain[0] == '[' ? strcspn(domain, "]") + 1 : strcspn(domain, ":");

	if (host == 9 && strncmp(domain, "localhost", 9) == 0)
		return true;
	if (host == 5 && strncmp(domain, "[::1]", 5) == 0)
		return true;
	/* An address, not a name that begins like one. */
	return strncmp(domain, "127.", 4) == 0 && strspn(domain, "0123456789.") == host;
}

static bool looks_like_domain(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == '.' || text[i] == ':' || (text[i] >= 'A' && text[i] <= 'Z'))
			return true;
	return len == 9 && strncmp(text, "localhost", 9) == 0;
}

/* --- paths, tags, digests ----------------------------------------------------------- */

/* How long a separator begins at @text: ".", "_", "__" or any number of "-". */
static size_t separator(const char *text, size_t len)
{
	size_t run = 0;

	if (len && text[0] == '.')
		return 1;
	if (len && text[0] == '_')
		return len > 1 && text[1] == '_' ? 2 : 1;
	while (run < len && text[run] == '-')
		run++;
	return run;
}

static bool is_component(const char *text, size_t len)
{
	size_t at = 0;

	while (at < len && is_lower(text[at])) {
		size_t skip;

		while (at < len && is_lower(text[at]))
			at++;
		if (at == len)
			return true;
		skip = separator(text + at, len - at);
		if (!skip)
			return false;
		at += skip;
	}
	return false;
}

static bool is_path(const char *text, size_t len)
{
	while (len) {
		const char *slash = memchr(text, '/', len);
		size_t part = slash ? (size_t)(slash - text) : len;

		if (!is_component(text, part))
			return false;
		if (!slash)
			return true;
		text += part + 1;
		len -= part + 1;
	}
	return false;
}

static bool is_tag(const char *text, size_t len)
{
	if (len == 0 || len > KILN__REFERENCE_TAG_MAX || text[0] == '.' || text[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(text[i]) && text[i] != '_' && text[i] != '.' && text[i] != '-')
			return false;
	return true;
}

/* The first @len bytes, as a text; whoever calls has seen that there is room. */
static void copy(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	to[len] = '\0';
}

static int set_digest(struct kiln__reference *ret, const char *text, const char *whole,
		      kiln_error *err)
{
	if (kiln__is_sha256(text)) {
		copy(ret->digest, text, KILN__SHA256_TEXT);
		return 0;
	}
	if (strncmp(text, "sha512:", 7) == 0) {
		kiln__fail(err, KILN_ENOTSUP, "\"%.200s\": digests of SHA-512 are not supported",
			   whole);
		kiln__hint(err, "name the image by a tag or by its sha256 digest");
		return KILN_ENOTSUP;
	}
	kiln__fail(err, KILN_EINVAL, "\"%.200s\": what follows the \"@\" is no digest", whole);
	kiln__hint(err, "a digest is sha256: and 64 hexadecimal digits in lower case");
	return KILN_EINVAL;
}

/* --- the whole ------------------------------------------------------------------------ */

static int wrong(const char *text, const char *what, kiln_error *err)
{
	kiln__fail(err, KILN_EINVAL, "\"%.200s\" is no name of an image: %s", text, what);
	kiln__hint(err, "write [REGISTRY[:PORT]/]NAME[:TAG][@DIGEST], the name in lower case");
	return KILN_EINVAL;
}

static int set_name(struct kiln__reference *ret, const char *name, size_t len, const char *text,
		    kiln_error *err)
{
	const char *slash = memchr(name, '/', len);
	size_t domain = slash ? (size_t)(slash - name) : 0;
	const char *prefix = "";

	ret->bare = !slash || !looks_like_domain(name, domain);
	if (ret->bare) {
		strcpy(ret->domain, KILN__REFERENCE_DOCKER);
	} else {
		if (!kiln__reference_is_domain(name, domain))
			return wrong(text, "what stands before the first \"/\" is no registry",
				     err);
		if (domain > KILN__REFERENCE_NAME_MAX)
			return wrong(text, "it is too long", err);
		copy(ret->domain, name, domain);
		name += domain + 1;
		len -= domain + 1;
		if (strcmp(ret->domain, "index.docker.io") == 0)
			strcpy(ret->domain, KILN__REFERENCE_DOCKER);
	}
	if (!is_path(name, len))
		return wrong(text,
			     "a path has parts of lower-case letters, digits and single . _ or -",
			     err);
	if (strcmp(ret->domain, KILN__REFERENCE_DOCKER) == 0 && !memchr(name, '/', len))
		prefix = "library/";
	if (strlen(ret->domain) + 1 + strlen(prefix) + len > KILN__REFERENCE_NAME_MAX)
		return wrong(text, "its name has more than 255 bytes", err);
	copy(stpcpy(ret->path, prefix), name, len);
	return 0;
}

/* 64 hexadecimal digits alone are an id, not a name: distribution refuses them as one. */
static bool is_id(const char *text)
{
	return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

int kiln__reference_parse(struct kiln__reference *ret, const char *text, kiln_error *err)
{
	struct kiln__reference found = {.bare = false};
	size_t name = strcspn(text, "@");
	const char *last;
	size_t tag = 0;
	int r;

	if (is_id(text))
		return wrong(text, "it is an id", err);
	/* As a name and a tag it would be asked of docker.io; nobody means that. */
	if (kiln__is_sha256(text)) {
		kiln__fail(err, KILN_EINVAL, "%s is a digest without the name of an image", text);
		kiln__hint(err, "write the name before it: NAME@sha256:...");
		return KILN_EINVAL;
	}
	if (text[name]) {
		r = set_digest(&found, text + name + 1, text, err);
		if (r < 0)
			return r;
	}
	/* A colon behind the last slash begins the tag; one before it, a port. */
	last = kiln__buf_behind_last(text, '/', name);
	last = memchr(last, ':', name - (size_t)(last - text));
	if (last) {
		tag = name - (size_t)(last - text) - 1;
		if (!is_tag(last + 1, tag))
			return wrong(text, "a tag has up to 128 letters, digits, and _ . -", err);
		copy(found.tag, last + 1, tag);
		name = (size_t)(last - text);
	} else if (!found.digest[0]) {
		strcpy(found.tag, "latest");
	}
	r = set_name(&found, text, name, text, err);
	if (r == 0)
		*ret = found;
	return r;
}

void kiln__reference_print(const struct kiln__reference *reference,
			   char ret[KILN__REFERENCE_TEXT_MAX])
{
	/* Each part is as long as its array at most, and so is the sum. */
	char *at = stpcpy(stpcpy(stpcpy(ret, reference->domain), "/"), reference->path);

	if (reference->tag[0])
		at = stpcpy(stpcpy(at, ":"), reference->tag);
	if (reference->digest[0])
		stpcpy(stpcpy(at, "@"), reference->digest);
}

int kiln__reference_in(const struct kiln__reference *bare, const char *domain,
		       struct kiln__reference *ret, kiln_error *err)
{
	const char *path = bare->path;
	struct kiln__reference found;
	const char *suffix = "";

	if (strncmp(path, "library/", 8) == 0 && !strchr(path + 8, '/') &&
	    strcmp(domain, KILN__REFERENCE_DOCKER) != 0)
		path += 8;
	else if (!strchr(path, '/') && strcmp(domain, KILN__REFERENCE_DOCKER) == 0)
		suffix = "library/";
	if (strlen(domain) + 1 + strlen(suffix) + strlen(path) > KILN__REFERENCE_NAME_MAX)
		return wrong(path, "its name has more than 255 bytes", err);
	found = *bare;
	strcpy(found.domain, domain);
	strcpy(found.path, suffix);
	strcat(found.path, path);
	*ret = found;
	return 0;
}
