/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event stream of anything, cut in pieces as its first byte says: the same events come of it
 * however it is cut, and a good event behind an empty line is never lost.
 */
#include "events.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

struct seen {
	unsigned events;
	unsigned malformed;
	unsigned sum;
	bool last_is_ours;
};

static void on_event(void *data, const char *source, const char *event, const json_t *properties)
{
	struct seen *seen = data;

	CHECK(!properties || json_is_object(properties));
	seen->events++;
	seen->sum = seen->sum * 31 + (unsigned)(strlen(source) + strlen(event) * 7);
	seen->last_is_ours = strcmp(source, "us") == 0 && strcmp(event, "here") == 0;
}

static void on_malformed(void *data)
{
	struct seen *seen = data;

	seen->malformed++;
}

static const struct kiln__ch_event_handler handler = {
	.event = on_event,
	.malformed = on_malformed,
};

static struct seen feed(const uint8_t *bytes, size_t len, size_t piece)
{
	static const char ours[] = "\n\n{\n  \"source\": \"us\",\n  \"event\": \"here\"\n}\n\n";
	struct kiln__ch_events events = {.depth = 0};
	struct seen seen = {.events = 0};

	for (size_t done = 0; done < len; done += piece) {
		size_t n = len - done < piece ? len - done : piece;
		char *copy = malloc(n);

		CHECK(copy);
		memcpy(copy, bytes + done, n);
		kiln__ch_events_feed(&events, copy, n, &handler, &seen);
		free(copy);
	}
	kiln__ch_events_feed(&events, ours, sizeof(ours) - 1, &handler, &seen);
	CHECK(seen.last_is_ours);
	kiln__ch_events_done(&events);
	return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct seen whole, cut;

	if (!len)
		return 0;
	whole = feed(bytes + 1, len - 1, len);
	cut = feed(bytes + 1, len - 1, bytes[0] ? bytes[0] : 1);
	CHECK(whole.events == cut.events && whole.malformed == cut.malformed &&
	      whole.sum == cut.sum);
	return 0;
}
