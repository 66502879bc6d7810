/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An object ends where its braces do. An empty line inside one, which no pretty-printed object has,
 * means that it was cut short: what follows is looked at anew.
 */
#include "events.h"

#include <string.h>

static void reset(struct kiln__ch_events *events)
{
	kiln__buf_clear(&events->text);
	events->depth = 0;
	events->in_string = events->escaped = false;
}

static void take_object(struct kiln__ch_events *events,
			const struct kiln__ch_event_handler *handler, void *data)
{
	json_t *object = events->text.failed ? NULL
					     : json_loadb(events->text.data, events->text.len,
							  JSON_REJECT_DUPLICATES, NULL);
	const char *source = json_string_value(json_object_get(object, "source"));
	const char *event = json_string_value(json_object_get(object, "event"));
	const json_t *properties = json_object_get(object, "properties");

	reset(events);
	if (source && event)
		handler->event(data, source, event, json_is_object(properties) ? properties : NULL);
	else
		handler->malformed(data);
	json_decref(object);
}

static void give_up(struct kiln__ch_events *events, const struct kiln__ch_event_handler *handler,
		    void *data)
{
	reset(events);
	handler->malformed(data);
}

/* Between objects: blanks are nothing, and anything else is told once. */
static void take_outside(struct kiln__ch_events *events, char c,
			 const struct kiln__ch_event_handler *handler, void *data)
{
	if (c == '{') {
		events->skipping = false;
		events->depth = 1;
		kiln__buf_addc(&events->text, c);
	} else if (c != ' ' && c != '\t' && c != '\r' && c != '\n' && !events->skipping) {
		events->skipping = true;
		handler->malformed(data);
	}
}

static void take_inside(struct kiln__ch_events *events, char c,
			const struct kiln__ch_event_handler *handler, void *data)
{
	kiln__buf_addc(&events->text, c);
	if (events->in_string) {
		if (events->escaped)
			events->escaped = false;
		else if (c == '\\')
			events->escaped = true;
		else if (c == '"')
			events->in_string = false;
	} else if (c == '"') {
		events->in_string = true;
	} else if (c == '{') {
		events->depth++;
	} else if (c == '}' && --events->depth == 0) {
		take_object(events, handler, data);
		return;
	}
	if (events->text.len > KILN__CH_MAX_EVENT)
		give_up(events, handler, data);
}

void kiln__ch_events_feed(struct kiln__ch_events *events, const void *bytes, size_t len,
			  const struct kiln__ch_event_handler *handler, void *data)
{
	const char *text = bytes;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '\n' && events->line_empty && events->depth)
			give_up(events, handler, data);
		if (c == '\n')
			events->line_empty = true;
		else if (c != ' ' && c != '\t' && c != '\r')
			events->line_empty = false;
		if (events->depth)
			take_inside(events, c, handler, data);
		else
			take_outside(events, c, handler, data);
	}
}

void kiln__ch_events_done(struct kiln__ch_events *events)
{
	kiln__buf_done(&events->text);
}
