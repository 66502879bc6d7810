/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP server that says anything. The first byte says how its bytes come: in pieces of that
 * many, 0 meaning at once. Cut in whatever way, they mean the same.
 */
#include "http.h"
#include "http_reply.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

/* What became of it: a code, or 0 and how many bytes the answer has taken. */
static int feed(struct kiln__http_reply *reply, const uint8_t *bytes, size_t len, size_t piece,
		size_t *ret_taken)
{
	kiln_error err = KILN_ERROR_INIT;
	size_t done = 0;

	while (done < len && reply->phase != KILN__HTTP_COMPLETE) {
		size_t n = len - done < piece ? len - done : piece;
		char *copy = malloc(n);
		ssize_t taken;

		CHECK(copy);
		memcpy(copy, bytes + done, n);
		taken = kiln__http_reply_feed(reply, copy, n, &err);
		free(copy);
		if (taken < 0) {
			CHECK(err.code == taken && err.message[0]);
			return (int)taken;
		}
		CHECK((size_t)taken <= n);
		CHECK(taken == (ssize_t)n || reply->phase == KILN__HTTP_COMPLETE);
		done += (size_t)taken;
	}
	*ret_taken = done;
	CHECK(reply->body.len <= KILN__HTTP_MAX_BODY);
	return kiln__http_reply_end(reply, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct kiln__http_reply whole = {.phase = KILN__HTTP_STATUS};
	struct kiln__http_reply cut = {.phase = KILN__HTTP_STATUS};
	size_t taken_whole = 0;
	size_t taken_cut = 0;
	char words[64];
	int r;

	if (!len)
		return 0;
	r = feed(&whole, bytes + 1, len - 1, len, &taken_whole);
	CHECK(feed(&cut, bytes + 1, len - 1, bytes[0] ? bytes[0] : 1, &taken_cut) == r);
	if (r == 0) {
		CHECK(whole.status >= 200 && whole.status <= 599 && whole.status == cut.status);
		CHECK(taken_whole == taken_cut && whole.closes == cut.closes);
		CHECK(whole.body.len == cut.body.len);
		CHECK(!whole.body.len || !memcmp(whole.body.data, cut.body.data, whole.body.len));
		kiln__http_words(whole.body.len ? whole.body.data : "", whole.body.len, words,
				 sizeof(words));
		CHECK(strlen(words) < sizeof(words));
	}
	kiln__http_reply_done(&whole);
	kiln__http_reply_done(&cut);
	return 0;
}
