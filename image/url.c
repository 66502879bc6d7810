/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses: whether two are of one origin, and where one leads from another. */
#include "transfer.h"

#include "err.h"
#include "reference.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

int http_resolve(const char *url, const char *location, char **ret, kiln_error *err)
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
