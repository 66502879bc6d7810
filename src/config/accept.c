/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking and normalising values. Documents may come from anybody: depth is bounded
 * before the parser sees them, lengths by the schema, and what is quoted in a
 * message is cut and freed of control characters (a terminal may show it).
 */
#include "accept.h"

#include "buf.h"
#include "check.h"
#include "cleanup.h"
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- messages ----------------------------------------------------------------------- */

const char *kiln__where_print(const struct kiln__where *where, char *out, size_t size)
{
	size_t used;

	out[0] = '\0';
	if (!where->up)
		return out;
	kiln__where_print(where->up, out, size);
	used = strlen(out);
	if (where->name)
		snprintf(out + used, size - used, "%s%s", used ? "." : "", where->name);
	else
		snprintf(out + used, size - used, "[%zu]", where->index);
	return out;
}

int kiln__refuse(kiln_error *err, int code, const struct kiln__where *where, const char *fmt, ...)
{
	char path[KILN__MAX_PATH];
	char message[sizeof(err->message)];
	va_list args;

	if (!err)
		return code;
	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	kiln__where_print(where, path, sizeof(path));
	kiln__fail(err, code, "%s%s%s", path, *path ? ": " : "", message);
	kiln__stage(err, "config");
	return code;
}

const char *kiln__quote(const char *text, char out[KILN__QUOTED])
{
	size_t used = 0;

	out[used++] = '"';
	for (; *text && used < KILN__QUOTED - 5; text++)
		out[used++] = *text >= ' ' && *text <= '~' ? *text : '?';
	if (*text) {
		memcpy(out + used, "...", 3);
		used += 3;
	}
	out[used++] = '"';
	out[used] = '\0';
	return out;
}

int kiln__refuse_key(kiln_error *err, const struct kiln__where *where,
		     const struct kiln__key *object, const char *name)
{
	const struct kiln__key *key = kiln__schema_find(object, name, strlen(name));
	const struct kiln__where here = {where, name, 0};
	char path[KILN__MAX_PATH];
	char near[KILN__MAX_PATH];
	char quoted[KILN__QUOTED];

	if (key && key->type == KILN__TYPE_LATER) {
		kiln__where_print(&here, path, sizeof(path));
		kiln__fail(err, KILN_ENOTSUP, "not supported yet by this version: %s", path);
		kiln__hint(err, "%s", key->doc ? key->doc : "leave it out");
		kiln__stage(err, "config");
		return KILN_ENOTSUP;
	}
	kiln__where_print(where, path, sizeof(path));
	kiln__schema_nearest(object, path, name, near, sizeof(near));
	kiln__refuse(err, KILN_EINVAL, where, "unknown key %s", kiln__quote(name, quoted));
	if (key)
		kiln__hint(err, "%s", key->doc);
	else if (*near)
		kiln__hint(err, "did you mean %s?", near);
	else
		kiln__hint(err, "see kiln-config(5), or \"kiln schema\", for the keys");
	return KILN_EINVAL;
}

static const char *kind_of(json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a number";
	case JSON_REAL:
		return "a number with a fraction or exponent";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	default:
		return "null";
	}
}

static int refuse_kind(kiln_error *err, const struct kiln__where *where, const char *must,
		       json_t *value)
{
	return kiln__refuse(err, KILN_EINVAL, where, "must be %s, not %s", must, kind_of(value));
}

/* The result of a jansson constructor, which fails only for want of memory. */
static int made(json_t *json, json_t **ret, kiln_error *err)
{
	if (!json)
		return kiln__fail_nomem(err);
	*ret = json;
	return 0;
}

/* --- numbers --------------------------------------------------------------------------- */

/* A bound or value of a number as the messages write it. */
static const char *print_number(const struct kiln__key *key, int64_t value, char *out, size_t size)
{
	if (key->type == KILN__TYPE_SIZE)
		return kiln__format_size(out, size, value);
	if (key->type == KILN__TYPE_DURATION)
		return kiln__format_duration(out, size, value);
	snprintf(out, size, "%lld", (long long)value);
	return out;
}

static int accept_number(const struct kiln__key *key, int64_t value,
			 const struct kiln__where *where, json_t **ret, kiln_error *err)
{
	char is[32], bound[32];

	if (value < key->min || value > key->max)
		return kiln__refuse(err, KILN_EOVERFLOW, where, "must be at %s %s, not %s",
				    value < key->min ? "least" : "most",
				    print_number(key, value < key->min ? key->min : key->max, bound,
						 sizeof(bound)),
				    print_number(key, value, is, sizeof(is)));
	if (key->multiple && value % key->multiple != 0)
		return kiln__refuse(err, KILN_EINVAL, where, "must be a multiple of %s, not %s",
				    print_number(key, key->multiple, bound, sizeof(bound)),
				    print_number(key, value, is, sizeof(is)));
	return made(json_integer(value), ret, err);
}

static const char *number_in_words(const struct kiln__key *key)
{
	switch (key->type) {
	case KILN__TYPE_SIZE:
		return "a size (a number of bytes, or with a unit: \"512M\")";
	case KILN__TYPE_DURATION:
		return "a duration (a number of milliseconds, or with a unit: \"10s\")";
	case KILN__TYPE_FD:
		return "a descriptor's number";
	default:
		return "a whole number";
	}
}

static int accept_number_text(const struct kiln__key *key, const char *text,
			      const struct kiln__where *where, json_t **ret, kiln_error *err)
{
	char quoted[KILN__QUOTED];
	int64_t value;
	bool good;

	if (key->type == KILN__TYPE_SIZE)
		good = kiln__parse_size(text, &value);
	else if (key->type == KILN__TYPE_DURATION)
		good = kiln__parse_duration(text, &value);
	else
		good = kiln__parse_integer(text, &value);
	if (!good)
		return kiln__refuse(err, KILN_EINVAL, where, "must be %s, not %s",
				    number_in_words(key), kiln__quote(text, quoted));
	return accept_number(key, value, where, ret, err);
}

/* --- texts ------------------------------------------------------------------------------- */

static int refuse_choice(const struct kiln__key *key, const char *text,
			 const struct kiln__where *where, kiln_error *err)
{
	kiln__autobuf list = KILN__BUF_INIT;
	char quoted[KILN__QUOTED];

	for (size_t i = 0; key->choices[i]; i++) {
		if (i > 0)
			kiln__buf_adds(&list, key->choices[i + 1] ? ", " : " or ");
		kiln__buf_addf(&list, "\"%s\"", key->choices[i]);
	}
	if (list.failed)
		return kiln__fail_nomem(err);
	return kiln__refuse(err, KILN_EINVAL, where, "must be %s, not %s", list.data,
			    kiln__quote(text, quoted));
}

static int check_length(const struct kiln__key *key, const char *text,
			const struct kiln__where *where, kiln_error *err)
{
	size_t len = strlen(text);

	if (len == 0 && key->min > 0)
		return kiln__refuse(err, KILN_EINVAL, where, "must not be empty");
	if (len > (size_t)key->max)
		return kiln__refuse(err, KILN_EOVERFLOW, where,
				    "must have at most %lld bytes, not %zu", (long long)key->max,
				    len);
	return 0;
}

/* Checks a text whose length is good; *text may become @room, the canonical form. */
static const char *check_text(const struct kiln__key *key, const char **text,
			      char room[KILN__IP_MAX])
{
	uint8_t mac[6];

	switch (key->type) {
	case KILN__TYPE_IP:
		if (!kiln__canonical_ip(*text, room))
			return "must be an IPv4 or IPv6 address";
		*text = room;
		return NULL;
	case KILN__TYPE_MAC:
		if (!kiln__parse_mac(*text, mac))
			return "must be a unicast MAC address such as 52:54:00:12:34:56";
		snprintf(room, KILN__IP_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
			 mac[2], mac[3], mac[4], mac[5]);
		*text = room;
		return NULL;
	default:
		return key->check ? key->check(*text) : NULL;
	}
}

static int accept_string(const struct kiln__key *key, const char *text,
			 const struct kiln__where *where, json_t **ret, kiln_error *err)
{
	char quoted[KILN__QUOTED];
	char room[KILN__IP_MAX];
	const char *must;
	int rc;

	if (key->type == KILN__TYPE_CHOICE || key->type == KILN__TYPE_ENUM) {
		for (size_t i = 0; key->choices[i]; i++)
			if (strcmp(key->choices[i], text) == 0)
				return made(json_string(text), ret, err);
		return refuse_choice(key, text, where, err);
	}
	if (!kiln__is_utf8(text))
		return kiln__refuse(err, KILN_EINVAL, where, "must be UTF-8");
	rc = check_length(key, text, where, err);
	if (rc < 0)
		return rc;
	must = check_text(key, &text, room);
	if (must)
		return kiln__refuse(err, KILN_EINVAL, where, "%s, not %s", must,
				    kiln__quote(text, quoted));
	return made(json_string(text), ret, err);
}

/* --- short forms ------------------------------------------------------------------------ */

static int expand_path(const char *text, const struct kiln__where *where, json_t **ret,
		       kiln_error *err)
{
	if (!kiln__is_utf8(text))
		return kiln__refuse(err, KILN_EINVAL, where, "must be UTF-8");
	return made(json_pack("{s:s}", "path", text), ret, err);
}

/* One port number of docker's form into @object; nothing for an empty text. */
static int add_port(json_t *object, const char *name, const char *text)
{
	int64_t value;

	if (!*text)
		return 0;
	if (!kiln__parse_integer(text, &value))
		return KILN_EINVAL;
	return json_object_set_new(object, name, json_integer(value)) < 0 ? KILN_ENOMEM : 0;
}

static int add_word(json_t *object, const char *name, const char *text)
{
	return json_object_set_new(object, name, json_string(text)) < 0 ? KILN_ENOMEM : 0;
}

/* Takes [[ip:]host_port:]guest_port[/protocol] apart, in place; IPv6 stands in brackets. */
static int split_port(char *text, json_t *object)
{
	char *slash = strchr(text, '/');
	char *guest, *host;
	int rc = 0;

	if (slash) {
		*slash = '\0';
		rc = add_word(object, "protocol", slash + 1);
	}
	guest = strrchr(text, ':');
	if (!guest)
		return rc < 0 ? rc : *text ? add_port(object, "guest_port", text) : KILN_EINVAL;
	*guest++ = '\0';
	if (rc == 0)
		rc = *guest ? add_port(object, "guest_port", guest) : KILN_EINVAL;
	host = strrchr(text, ':');
	if (host && rc == 0) {
		*host++ = '\0';
		if (*text == '[' && host - text > 2 && host[-2] == ']') {
			host[-2] = '\0';
			text++;
		} else if (strchr(text, ':')) {
			return KILN_EINVAL;
		}
		rc = *text ? add_word(object, "host_ip", text) : KILN_EINVAL;
	}
	if (!host && !*text)
		return KILN_EINVAL;
	return rc < 0 ? rc : add_port(object, "host_port", host ? host : text);
}

static int expand_port(const char *text, const struct kiln__where *where, json_t **ret,
		       kiln_error *err)
{
	kiln__autojson *object = json_object();
	char copy[128];
	char quoted[KILN__QUOTED];
	int rc = KILN_EINVAL;

	if (!object)
		return kiln__fail_nomem(err);
	if (strlen(text) < sizeof(copy) && kiln__is_utf8(text)) {
		snprintf(copy, sizeof(copy), "%s", text);
		rc = split_port(copy, object);
	}
	if (rc == KILN_ENOMEM)
		return kiln__fail_nomem(err);
	if (rc < 0) {
		kiln__refuse(err, rc, where, "must be [[IP:]HOST_PORT:]PORT[/PROTOCOL], not %s",
			     kiln__quote(text, quoted));
		if (strchr(text, '-'))
			kiln__hint(err, "ranges are not supported yet: name each port");
		return rc;
	}
	*ret = kiln__take(object);
	return 0;
}

static int expand(const struct kiln__key *key, const char *text, const struct kiln__where *where,
		  json_t **ret, kiln_error *err)
{
	kiln__autojson *object = NULL;
	int rc;

	if (key->shorthand == KILN__SHORT_PORT)
		rc = expand_port(text, where, &object, err);
	else
		rc = expand_path(text, where, &object, err);
	return rc < 0 ? rc : kiln__accept(key, object, where, ret, err);
}

/* --- objects, lists, maps ---------------------------------------------------------------- */

bool kiln__is_empty(const struct kiln__key *key, json_t *value)
{
	if (key->type == KILN__TYPE_LIST)
		return json_array_size(value) == 0;
	if (key->type == KILN__TYPE_OBJECT || key->type == KILN__TYPE_MAP)
		return json_object_size(value) == 0;
	return false;
}

static int accept_object(const struct kiln__key *key, json_t *value,
			 const struct kiln__where *where, json_t **ret, kiln_error *err)
{
	kiln__autojson *object = NULL;
	const struct kiln__key *member;
	const char *name;
	json_t *theirs, *ours;
	int rc;

	if (json_is_string(value) && key->shorthand != KILN__SHORT_NONE)
		return expand(key, json_string_value(value), where, ret, err);
	if (!json_is_object(value))
		return refuse_kind(err, where,
				   key->shorthand == KILN__SHORT_NONE ? "an object"
								      : "an object or a string",
				   value);
	object = json_object();
	if (!object)
		return kiln__fail_nomem(err);
	json_object_foreach (value, name, theirs) {
		const struct kiln__where here = {where, name, 0};

		member = kiln__schema_find(key, name, strlen(name));
		if (!member || kiln__schema_is_absent(member))
			return kiln__refuse_key(err, where, key, name);
		rc = kiln__accept(member, theirs, &here, &ours, err);
		if (rc < 0)
			return rc;
		if (kiln__is_empty(member, ours))
			json_decref(ours);
		else if (json_object_set_new(object, name, ours) < 0)
			return kiln__fail_nomem(err);
	}
	*ret = kiln__take(object);
	return 0;
}

static int refuse_length(const struct kiln__key *key, size_t count, const struct kiln__where *where,
			 kiln_error *err)
{
	return kiln__refuse(err, KILN_EOVERFLOW, where, "must have at most %lld elements, not %zu",
			    (long long)key->max, count);
}

static int accept_list(const struct kiln__key *key, json_t *value, const struct kiln__where *where,
		       json_t **ret, kiln_error *err)
{
	kiln__autojson *list = NULL;
	json_t *ours;
	int rc;

	if (!json_is_array(value))
		return refuse_kind(err, where, "a list", value);
	if (json_array_size(value) > (size_t)key->max)
		return refuse_length(key, json_array_size(value), where, err);
	list = json_array();
	if (!list)
		return kiln__fail_nomem(err);
	for (size_t i = 0; i < json_array_size(value); i++) {
		const struct kiln__where here = {where, NULL, i};

		rc = kiln__accept(key->element, json_array_get(value, i), &here, &ours, err);
		if (rc < 0)
			return rc;
		if (json_array_append_new(list, ours) < 0)
			return kiln__fail_nomem(err);
	}
	*ret = kiln__take(list);
	return 0;
}

/* What a map holds under its names. */
static const struct kiln__key map_text = {.type = KILN__TYPE_STRING, .max = KILN__MAX_TEXT};

int kiln__accept_name(const struct kiln__key *key, const char *name,
		      const struct kiln__where *where, kiln_error *err)
{
	const char *must = key->check_name(name);
	char quoted[KILN__QUOTED];

	if (must)
		return kiln__refuse(err, KILN_EINVAL, where, "%s, not %s", must,
				    kiln__quote(name, quoted));
	return 0;
}

static int accept_entry(const struct kiln__key *key, json_t *map, const char *name,
			const char *text, const struct kiln__where *where, kiln_error *err)
{
	const struct kiln__where here = {where, name, 0};
	json_t *ours;
	int rc;

	rc = kiln__accept_name(key, name, where, err);
	if (rc == 0)
		rc = accept_string(&map_text, text, &here, &ours, err);
	if (rc < 0)
		return rc;
	return json_object_set_new(map, name, ours) < 0 ? kiln__fail_nomem(err) : 0;
}

static int accept_pair(const struct kiln__key *key, const char *text,
		       const struct kiln__where *where, json_t *map, kiln_error *err)
{
	const char *equals = strchr(text, '=');
	kiln__autofree char *name = NULL;
	char quoted[KILN__QUOTED];

	if (!equals)
		return kiln__refuse(err, KILN_EINVAL, where, "must be NAME=VALUE, not %s",
				    kiln__quote(text, quoted));
	name = kiln__strf("%.*s", (int)(equals - text), text);
	if (!name)
		return kiln__fail_nomem(err);
	return accept_entry(key, map, name, equals + 1, where, err);
}

static int accept_map(const struct kiln__key *key, json_t *value, const struct kiln__where *where,
		      json_t **ret, kiln_error *err)
{
	kiln__autojson *map = json_object();
	const char *name;
	json_t *theirs;
	int rc;

	if (!map)
		return kiln__fail_nomem(err);
	if (json_is_array(value)) {
		for (size_t i = 0; i < json_array_size(value); i++) {
			const struct kiln__where here = {where, NULL, i};

			theirs = json_array_get(value, i);
			if (!json_is_string(theirs))
				return refuse_kind(err, &here, "a string", theirs);
			rc = accept_pair(key, json_string_value(theirs), &here, map, err);
			if (rc < 0)
				return rc;
		}
	} else if (json_is_object(value)) {
		json_object_foreach (value, name, theirs) {
			const struct kiln__where here = {where, name, 0};

			if (!json_is_string(theirs))
				return refuse_kind(err, &here, "a string", theirs);
			rc = accept_entry(key, map, name, json_string_value(theirs), where, err);
			if (rc < 0)
				return rc;
		}
	} else {
		return refuse_kind(err, where, "an object, or a list of \"NAME=VALUE\"", value);
	}
	if (json_object_size(map) > (size_t)key->max)
		return refuse_length(key, json_object_size(map), where, err);
	*ret = kiln__take(map);
	return 0;
}

/* --- any value ------------------------------------------------------------------------------ */

int kiln__accept(const struct kiln__key *key, json_t *value, const struct kiln__where *where,
		 json_t **ret, kiln_error *err)
{
	switch (key->type) {
	case KILN__TYPE_OBJECT:
		return accept_object(key, value, where, ret, err);
	case KILN__TYPE_LIST:
		return accept_list(key, value, where, ret, err);
	case KILN__TYPE_MAP:
		return accept_map(key, value, where, ret, err);
	case KILN__TYPE_BOOL:
		if (!json_is_boolean(value))
			return refuse_kind(err, where, "true or false", value);
		return made(json_boolean(json_is_true(value)), ret, err);
	case KILN__TYPE_SIZE:
	case KILN__TYPE_DURATION:
		if (json_is_string(value))
			return accept_number_text(key, json_string_value(value), where, ret, err);
		__attribute__((fallthrough));
	case KILN__TYPE_INTEGER:
	case KILN__TYPE_FD:
		if (!json_is_integer(value))
			return refuse_kind(err, where, number_in_words(key), value);
		return accept_number(key, json_integer_value(value), where, ret, err);
	default:
		if (!json_is_string(value))
			return refuse_kind(err, where, "a string", value);
		return accept_string(key, json_string_value(value), where, ret, err);
	}
}

static int accept_json_text(const struct kiln__key *key, const char *text,
			    const struct kiln__where *where, json_t **ret, kiln_error *err)
{
	kiln__autojson *value = NULL;
	char quoted[KILN__QUOTED];
	int rc;

	if (*text == '{' || (*text == '[' && key->type != KILN__TYPE_OBJECT)) {
		rc = kiln__parse_json(text, strlen(text), where, &value, err);
		return rc < 0 ? rc : kiln__accept(key, value, where, ret, err);
	}
	if (key->shorthand != KILN__SHORT_NONE)
		return expand(key, text, where, ret, err);
	kiln__refuse(err, KILN_EINVAL, where, "must be %s, not %s",
		     key->type == KILN__TYPE_LIST ? "a list" : "an object",
		     kiln__quote(text, quoted));
	if (key->type == KILN__TYPE_OBJECT)
		kiln__hint(err, "set its keys one by one, or give it as JSON");
	else
		kiln__hint(err, "append to it by [], or give it as JSON");
	return KILN_EINVAL;
}

int kiln__accept_text(const struct kiln__key *key, const char *text,
		      const struct kiln__where *where, json_t **ret, kiln_error *err)
{
	char quoted[KILN__QUOTED];

	switch (key->type) {
	case KILN__TYPE_OBJECT:
	case KILN__TYPE_LIST:
	case KILN__TYPE_MAP:
		return accept_json_text(key, text, where, ret, err);
	case KILN__TYPE_BOOL:
		if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
			return kiln__refuse(err, KILN_EINVAL, where,
					    "must be true or false, not %s",
					    kiln__quote(text, quoted));
		return made(json_boolean(*text == 't'), ret, err);
	case KILN__TYPE_SIZE:
	case KILN__TYPE_DURATION:
	case KILN__TYPE_INTEGER:
	case KILN__TYPE_FD:
		return accept_number_text(key, text, where, ret, err);
	default:
		return accept_string(key, text, where, ret, err);
	}
}

/* --- JSON ------------------------------------------------------------------------------- */

/* How deep objects and lists are nested, at most, whether or not the rest is JSON. */
static size_t nesting(const char *text, size_t len)
{
	size_t depth = 0, deepest = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		if (in_string) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				in_string = false;
		} else if (text[i] == '"') {
			in_string = true;
		} else if (text[i] == '{' || text[i] == '[') {
			if (++depth > deepest)
				deepest = depth;
		} else if ((text[i] == '}' || text[i] == ']') && depth > 0) {
			depth--;
		}
	}
	return deepest;
}

int kiln__parse_json(const char *text, size_t len, const struct kiln__where *where, json_t **ret,
		     kiln_error *err)
{
	enum json_error_code code;
	json_error_t error;
	json_t *value;

	if (len > KILN__MAX_DOCUMENT)
		return kiln__refuse(err, KILN_EOVERFLOW, where,
				    "the document is longer than %d bytes", KILN__MAX_DOCUMENT);
	if (nesting(text, len) > KILN__MAX_NESTING)
		return kiln__refuse(err, KILN_EINVAL, where,
				    "not a configuration: nested deeper than %d",
				    KILN__MAX_NESTING);
	value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (value) {
		*ret = value;
		return 0;
	}
	code = json_error_code(&error);
	/* The parser does not name every allocation that fails, but it names everything else. */
	if (code == json_error_out_of_memory || !error.text[0])
		return kiln__fail_nomem(err);
	for (char *c = error.text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (code == json_error_null_character || code == json_error_null_byte_in_key)
		snprintf(error.text, sizeof(error.text), "NUL characters are not allowed");
	return kiln__refuse(err, KILN_EINVAL, where, "not JSON: line %d, column %d: %s", error.line,
			    error.column, error.text);
}
