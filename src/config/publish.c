/* SPDX-License-Identifier: Apache-2.0 */
#include "publish.h"

#include "accept.h"
#include "buf.h"
#include "cleanup.h"

#include <stdlib.h>
#include <string.h>

/* A tool of the build's: it may give up when out of memory. Parts are taken over. */
static json_t *schema_of(const struct kiln__key *key);

/* Adds @value (taken over) under @name. */
static void add(json_t *object, const char *name, json_t *value)
{
	if (json_object_set_new(object, name, value) < 0)
		abort();
}

static json_t *describe(const struct kiln__key *key)
{
	kiln__autobuf text = KILN__BUF_INIT;
	json_t *schema = json_object();

	kiln__buf_adds(&text, key->doc);
	if (key->def_doc)
		kiln__buf_addf(&text, " Default: %s.", key->def_doc);
	add(schema, "description", json_string(text.data));
	return schema;
}

static json_t *string_with_pattern(const char *pattern)
{
	return json_pack("{s:s,s:s}", "type", "string", "pattern", pattern);
}

static void add_number(json_t *schema, const struct kiln__key *key)
{
	json_t *number;

	number = json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum", (json_int_t)key->min,
			   "maximum", (json_int_t)key->max);
	if (key->multiple)
		add(number, "multipleOf", json_integer(key->multiple));
	if (key->type == KILN__TYPE_SIZE)
		add(schema, "oneOf",
		    json_pack("[o,o]", number,
			      string_with_pattern("^[0-9]+([Bb]|[KMGTkmgt]([Ii]?[Bb])?)?$")));
	else if (key->type == KILN__TYPE_DURATION)
		add(schema, "oneOf",
		    json_pack("[o,o]", number,
			      string_with_pattern("^([0-9]+|(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?"
						  "([0-9]+s)?([0-9]+ms)?)$")));
	else
		json_object_update_new(schema, number);
}

static void add_string(json_t *schema, const struct kiln__key *key)
{
	add(schema, "type", json_string("string"));
	if (key->min > 0)
		add(schema, "minLength", json_integer(key->min));
	add(schema, "maxLength", json_integer(key->max));
	if (key->pattern)
		add(schema, "pattern", json_string(key->pattern));
	if (key->type == KILN__TYPE_IP)
		add(schema, "anyOf",
		    json_pack("[{s:s},{s:s}]", "format", "ipv4", "format", "ipv6"));
}

static void add_choices(json_t *schema, const struct kiln__key *key)
{
	json_t *choices = json_array();

	for (size_t i = 0; key->choices[i]; i++)
		json_array_append_new(choices, json_string(key->choices[i]));
	add(schema, "enum", choices);
}

static void add_list(json_t *schema, const struct kiln__key *key)
{
	add(schema, "type", json_string("array"));
	add(schema, "maxItems", json_integer(key->max));
	add(schema, "items", schema_of(key->element));
}

static void add_map(json_t *schema, const struct kiln__key *key)
{
	json_t *object, *list;

	object = json_pack("{s:s,s:I,s:{s:s},s:{s:s,s:i}}", "type", "object", "maxProperties",
			   (json_int_t)key->max, "propertyNames", "pattern", key->name_pattern,
			   "additionalProperties", "type", "string", "maxLength", KILN__MAX_TEXT);
	list = json_pack("{s:s,s:I,s:o}", "type", "array", "maxItems", (json_int_t)key->max,
			 "items", string_with_pattern("^[^=]+="));
	add(schema, "oneOf", json_pack("[o,o]", object, list));
}

static json_t *object_body(const struct kiln__key *key)
{
	json_t *properties = json_object();
	json_t *required = json_array();
	json_t *one_of = json_array();
	json_t *body;

	for (const struct kiln__key *child = key->keys; child->name; child++) {
		if (kiln__schema_is_absent(child))
			continue;
		add(properties, child->name, schema_of(child));
		if (child->required)
			json_array_append_new(required, json_string(child->name));
		if (child->exclusive)
			json_array_append_new(one_of,
					      json_pack("{s:[s]}", "required", child->name));
	}
	body = json_pack("{s:s,s:o,s:b}", "type", "object", "properties", properties,
			 "additionalProperties", 0);
	if (json_array_size(required))
		add(body, "required", json_incref(required));
	if (json_array_size(one_of))
		add(body, "oneOf", json_incref(one_of));
	json_decref(required);
	json_decref(one_of);
	return body;
}

static void add_object(json_t *schema, const struct kiln__key *key)
{
	static const char port[] =
		"^((([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]*|[0-9]+):)?[0-9]+(/(tcp|udp))?$";

	if (key->shorthand == KILN__SHORT_NONE)
		json_object_update_new(schema, object_body(key));
	else
		add(schema, "oneOf",
		    json_pack(
			    "[o,o]", object_body(key),
			    string_with_pattern(key->shorthand == KILN__SHORT_PORT ? port : "^/")));
}

/* The default in canonical form: what a document would hold in its place. */
static void add_default(json_t *schema, const struct kiln__key *key)
{
	const struct kiln__where here = {NULL, key->name, 0};
	json_t *value;

	if (key->def && kiln__accept_text(key, key->def, &here, &value, NULL) == 0)
		add(schema, "default", value);
}

static json_t *schema_of(const struct kiln__key *key)
{
	json_t *schema = describe(key);

	switch (key->type) {
	case KILN__TYPE_OBJECT:
		add_object(schema, key);
		break;
	case KILN__TYPE_LIST:
		add_list(schema, key);
		break;
	case KILN__TYPE_MAP:
		add_map(schema, key);
		break;
	case KILN__TYPE_BOOL:
		add(schema, "type", json_string("boolean"));
		break;
	case KILN__TYPE_INTEGER:
	case KILN__TYPE_FD:
	case KILN__TYPE_SIZE:
	case KILN__TYPE_DURATION:
		add_number(schema, key);
		break;
	case KILN__TYPE_CHOICE:
	case KILN__TYPE_ENUM:
		add_choices(schema, key);
		break;
	default:
		add_string(schema, key);
	}
	add_default(schema, key);
	return schema;
}

char *kiln__publish_schema(void)
{
	kiln__autojson *schema = json_object();
	kiln__autofree char *text = NULL;

	add(schema, "$schema", json_string("https://json-schema.org/draft/2020-12/schema"));
	add(schema, "title", json_string("kiln machine configuration"));
	json_object_update_new(schema, schema_of(&kiln__schema));
	text = json_dumps(schema, JSON_INDENT(2));
	return text ? kiln__strf("%s\n", text) : NULL;
}
