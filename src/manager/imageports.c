/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports that an image exposes, published each on a free one of the host, by docker's rules
 * (ExposedPorts of image-spec's config.md; ranges as docker's "EXPOSE" and "--expose" have them).
 */
#include "imageports.h"

#include "buf.h"
#include "cleanup.h"
#include "err.h"
#include "handle.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PORT_MAX 65535

struct range {
	unsigned first;
	unsigned last;
	const char *protocol; /* "tcp", "udp", "sctp" */
};

/* A number from 1 to 65535 at @*at, which moves behind it; 0: there is none. */
static unsigned number(const char **at)
{
	unsigned long value = 0;
	const char *digit = *at;

	for (; *digit >= '0' && *digit <= '9' && digit - *at < 5; digit++)
		value = value * 10 + (unsigned long)(*digit - '0');
	if (digit == *at || value > PORT_MAX)
		return 0;
	*at = digit;
	return (unsigned)value;
}

static const char *protocol_of(const char *text)
{
	static const char *const known[] = {"tcp", "udp", "sctp"};

	if (!*text)
		return known[0];
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcasecmp(text, known[i]) == 0)
			return known[i];
	return NULL;
}

/* PORT[-PORT][/PROTOCOL] */
static bool parse(const char *text, struct range *ret)
{
	ret->first = ret->last = number(&text);
	if (*text == '-') {
		text++;
		ret->last = number(&text);
	}
	ret->protocol = *text == '/' ? protocol_of(text + 1) : *text ? NULL : "tcp";
	return ret->first && ret->first <= ret->last && ret->protocol;
}

/* Also by the user, who has chosen where. */
static bool is_published(const kiln_config *config, unsigned port, const char *protocol)
{
	const json_t *ports = json_object_get(kiln__config_doc(config), "ports");
	const json_t *item;
	size_t i;

	json_array_foreach (ports, i, item) {
		const char *found = json_string_value(json_object_get(item, "protocol"));

		if (json_integer_value(json_object_get(item, "guest_port")) == (json_int_t)port &&
		    strcmp(found ? found : "tcp", protocol) == 0)
			return true;
	}
	return false;
}

static int publish_one(kiln_config *config, unsigned port, const char *protocol, kiln_error *err)
{
	kiln__autofree char *value = NULL;

	if (is_published(config, port, protocol))
		return 0;
	value = kiln__strf("{\"guest_port\":%u,\"protocol\":\"%s\"}", port, protocol);
	return value ? kiln_config_set(config, "ports[]", value, err) : kiln__fail_nomem(err);
}

static int publish(kiln_config *config, const char *text, kiln_error *err)
{
	struct range range;
	int r = 0;

	if (!parse(text, &range)) {
		kiln__fail(err, KILN_EINVAL, "it exposes \"%.80s\", which is no port", text);
		kiln__hint(err, "publish those that are needed by -p instead");
		return KILN_EINVAL;
	}
	if (strcmp(range.protocol, "sctp") == 0) {
		kiln__fail(err, KILN_ENOTSUP,
			   "it exposes \"%.80s\", and ports of SCTP cannot be published", text);
		kiln__hint(err, "publish the others by -p; SCTP goes by --network tap:INTERFACE");
		return KILN_ENOTSUP;
	}
	for (unsigned port = range.first; r == 0 && port <= range.last; port++)
		r = publish_one(config, port, range.protocol, err);
	if (r < 0)
		kiln__prefix(err, "it exposes \"%.80s\"", text);
	return r;
}

int kiln__imageports_publish(kiln_config *config, const json_t *ports, kiln_error *err)
{
	const json_t *item;
	size_t i;

	json_array_foreach (ports, i, item) {
		int r = publish(config, json_string_value(item), err);

		if (r < 0)
			return r;
	}
	return 0;
}
