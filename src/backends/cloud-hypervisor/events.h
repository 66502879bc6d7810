/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cloud Hypervisor's event stream (--event-monitor): pretty-printed JSON objects with an empty line
 * behind each, on a descriptor that does not wait for its reader, so that an event may be lost or
 * cut short. Pure: bytes in, events out.
 */
#ifndef KILN_CLOUD_HYPERVISOR_EVENTS_H
#define KILN_CLOUD_HYPERVISOR_EVENTS_H

#include "buf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define KILN__CH_MAX_EVENT 65536 /* bytes */

struct kiln__ch_events {
	struct kiln__buf text; /* of the object that is being read */
	unsigned depth;        /* of its braces */
	bool in_string;
	bool escaped;
	bool line_empty; /* nothing but blanks so far */
	bool skipping;   /* what cannot be an object, up to an empty line or a brace */
};

struct kiln__ch_event_handler {
	/* @properties may be NULL; all borrowed. */
	void (*event)(void *data, const char *source, const char *event, const json_t *properties);
	/* What came was no event: one or more are lost. */
	void (*malformed)(void *data);
};

/* All zero is its beginning. */
void kiln__ch_events_feed(struct kiln__ch_events *events, const void *bytes, size_t len,
			  const struct kiln__ch_event_handler *handler, void *data);
void kiln__ch_events_done(struct kiln__ch_events *events);

#endif
