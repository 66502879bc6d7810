/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration's handle.
 *
 * It holds one JSON document in canonical form (accept.h): only what was set,
 * already checked value by value. So reading a document is accepting it whole,
 * setting is accepting one value and hanging it in, and printing is putting the keys
 * into the schema's order. A change is made in one step that either happens or does
 * not: what is to be hung in is built apart, down from the first part of the path that
 * is not there yet.
 *
 * No threads, no state besides the handle. Documents and values are not trusted.
 */
#include <kiln/config.h>

#include "accept.h"
#include "buf.h"
#include "cleanup.h"
#include "err.h"
#include "handle.h"
#include "os.h"
#include "path.h"

#include <stdlib.h>
#include <string.h>

/* A text given out by kiln_config_get(). */
struct handed {
	struct handed *next;
	char text[];
};

/* Behind a pointer, so that a const handle can still remember what it gave out. */
struct handout {
	struct handed *first;
};

struct kiln_config {
	json_t *doc;
	struct handout *handout;
};

static const struct kiln__where top = {NULL, NULL, 0};

static void forget_handed(struct handout *handout)
{
	struct handed *next;

	for (struct handed *text = handout->first; text; text = next) {
		next = text->next;
		free(text);
	}
	handout->first = NULL;
}

/* Takes @doc over, also on failure. */
static int wrap(json_t *doc, kiln_config **ret_config, kiln_error *err)
{
	struct kiln_config *config = calloc(1, sizeof(*config));
	struct handout *handout = calloc(1, sizeof(*handout));

	if (!config || !handout || !doc) {
		free(config);
		free(handout);
		json_decref(doc);
		return kiln__fail_nomem(err);
	}
	config->doc = doc;
	config->handout = handout;
	*ret_config = config;
	return 0;
}

int kiln_config_new(kiln_config **ret_config, kiln_error *err)
{
	return wrap(json_object(), ret_config, err);
}

void kiln_config_free(kiln_config *config)
{
	if (!config)
		return;
	forget_handed(config->handout);
	free(config->handout);
	json_decref(config->doc);
	free(config);
}

int kiln_config_copy(const kiln_config *config, kiln_config **ret_config, kiln_error *err)
{
	return wrap(json_deep_copy(config->doc), ret_config, err);
}

json_t *kiln__config_doc(const kiln_config *config)
{
	return config->doc;
}

int kiln_config_parse(const char *json, size_t len, kiln_config **ret_config, kiln_error *err)
{
	kiln__autojson *theirs = NULL;
	json_t *ours;
	int rc;

	rc = kiln__parse_json(json, len, &top, &theirs, err);
	if (rc == 0)
		rc = kiln__accept(&kiln__schema, theirs, &top, &ours, err);
	if (rc < 0)
		return rc;
	return wrap(ours, ret_config, err);
}

int kiln_config_load(const char *path, kiln_config **ret_config, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	size_t len;
	int rc;

	rc = kiln__os_read_file(path, KILN__MAX_DOCUMENT, &text, &len, err);
	if (rc < 0) {
		kiln__stage(err, "config");
		return rc;
	}
	rc = kiln_config_parse(text, len, ret_config, err);
	if (rc < 0)
		kiln__prefix(err, "%s", path);
	return rc;
}

int kiln__config_of(json_t *doc, kiln_config **ret_config, kiln_error *err)
{
	json_t *ours;
	int rc = kiln__accept(&kiln__schema, doc, &top, &ours, err);

	return rc < 0 ? rc : wrap(ours, ret_config, err);
}

int kiln__config_put(kiln_config *config, const char *name, json_t *value, kiln_error *err)
{
	const struct kiln__key *key = kiln__schema_find(&kiln__schema, name, strlen(name));
	const struct kiln__where where = {NULL, name, 0};
	json_t *ours;
	int rc;

	if (!key)
		return kiln__refuse_key(err, NULL, &kiln__schema, name);
	rc = kiln__accept(key, value, &where, &ours, err);
	if (rc < 0)
		return rc;
	forget_handed(config->handout);
	if (kiln__is_empty(key, ours)) {
		json_decref(ours);
		json_object_del(config->doc, name);
		return 0;
	}
	return json_object_set_new(config->doc, name, ours) ? kiln__fail_nomem(err) : 0;
}

/* --- setting ---------------------------------------------------------------------------- */

/* The value for the end of @path, as a new reference; NULL if it says that nothing is there. */
static int accept_value(const struct kiln__path *path, const char *text, json_t **ret,
			kiln_error *err)
{
	static const struct kiln__key entry = {.type = KILN__TYPE_STRING, .max = KILN__MAX_TEXT};
	const struct kiln__step *last = &path->steps[path->count - 1];
	const struct kiln__key *key = last->key ? last->key : &entry;
	int rc;

	rc = kiln__accept_text(key, text, &last->where, ret, err);
	if (rc < 0)
		return rc;
	if (last->kind == KILN__STEP_MEMBER && kiln__is_empty(key, *ret)) {
		json_decref(*ret);
		*ret = NULL;
	}
	return 0;
}

/* The last step of a path that leads from something which is there. */
static size_t attach_step(const struct kiln__path *path)
{
	size_t step = path->count - 1;

	while (!path->steps[step].in)
		step--;
	return step;
}

/* Refuses what would come at the end of @path where a list or map is as long as it may be. */
static int check_room(const struct kiln__path *path, kiln_error *err)
{
	size_t step = attach_step(path);
	const struct kiln__key *key = step > 0 ? path->steps[step - 1].key : &kiln__schema;
	json_t *in = path->steps[step].in;

	if (key->type == KILN__TYPE_OBJECT ||
	    json_array_size(in) + json_object_size(in) < (size_t)key->max)
		return 0;
	return kiln__refuse(err, KILN_EOVERFLOW, path->steps[step].where.up,
			    "must have at most %lld elements", (long long)key->max);
}

/* Puts @value (taken over) at a step's place in @container. All or nothing. */
static int put(json_t *container, const struct kiln__step *step, json_t *value)
{
	if (step->kind != KILN__STEP_ELEMENT)
		return json_object_set_new(container, step->name, value);
	if (step->index < json_array_size(container))
		return json_array_set_new(container, step->index, value);
	return json_array_append_new(container, value);
}

/* Hangs @value (taken over) in at the end of @path, with what is missing on the way. */
static int hang_in(const struct kiln__path *path, json_t *value, kiln_error *err)
{
	size_t attach = attach_step(path);
	json_t *container;

	for (size_t step = path->count - 1; step > attach; step--) {
		container =
			path->steps[step].kind == KILN__STEP_ELEMENT ? json_array() : json_object();
		if (!container) {
			json_decref(value);
			return kiln__fail_nomem(err);
		}
		if (put(container, &path->steps[step], value) < 0) {
			json_decref(container);
			return kiln__fail_nomem(err);
		}
		value = container;
	}
	if (put(path->steps[attach].in, &path->steps[attach], value) < 0)
		return kiln__fail_nomem(err);
	return 0;
}

/* Takes out what is at the end of @path, and the containers that are empty without it. */
static void take_out(const struct kiln__path *path)
{
	const struct kiln__step *step;

	for (size_t i = path->count; i-- > 0;) {
		step = &path->steps[i];
		if (step->kind == KILN__STEP_ELEMENT)
			json_array_remove(step->in, step->index);
		else
			json_object_del(step->in, step->name);
		/* An element of a list stays, however empty: its number means something. */
		if (i == 0 || path->steps[i - 1].kind == KILN__STEP_ELEMENT ||
		    !kiln__is_empty(path->steps[i - 1].key, step->in))
			return;
	}
}

/* "NAME=value" for a map whose path is followed by "[]". */
static int set_pair(kiln_config *config, const struct kiln__path *path, const char *text,
		    kiln_error *err)
{
	const struct kiln__where *where = &path->steps[path->count - 1].where;
	const char *equals = text ? strchr(text, '=') : NULL;
	char map[KILN__MAX_PATH];
	kiln__autofree char *name = NULL;
	kiln__autofree char *entry = NULL;
	int rc;

	if (!equals)
		return kiln__refuse(err, KILN_EINVAL, where, "must be set to NAME=VALUE");
	name = kiln__strf("%.*s", (int)(equals - text), text);
	entry = kiln__strf("%s.%s", kiln__where_print(where, map, sizeof(map)), name ? name : "");
	if (!name || !entry)
		return kiln__fail_nomem(err);
	rc = kiln__accept_name(path->steps[path->count - 2].key, name, where, err);
	return rc < 0 ? rc : kiln_config_set(config, entry, equals + 1, err);
}

int kiln_config_set(kiln_config *config, const char *path, const char *value, kiln_error *err)
{
	struct kiln__path at;
	const struct kiln__step *last;
	json_t *old, *new = NULL;
	int rc;

	rc = kiln__path_parse(&at, path, err);
	if (rc < 0)
		return rc;
	last = &at.steps[at.count - 1];
	if (last->kind == KILN__STEP_PAIR)
		return set_pair(config, &at, value, err);
	if (!value && last->kind == KILN__STEP_APPEND)
		return kiln__refuse(err, KILN_EINVAL, last->where.up, "[] cannot be unset");
	rc = kiln__path_follow(&at, config->doc, &old, err);
	if (rc == 0 && value)
		rc = accept_value(&at, value, &new, err);
	if (rc < 0)
		return rc;
	forget_handed(config->handout);
	if (!new) {
		if (old)
			take_out(&at);
		return 0;
	}
	if (!old)
		rc = check_room(&at, err);
	if (rc < 0) {
		json_decref(new);
		return rc;
	}
	return hang_in(&at, new, err);
}

/* --- getting and printing ------------------------------------------------------------------ */

static int ordered_object(const struct kiln__key *key, json_t *value, json_t **ret,
			  kiln_error *err);

/* @value with its keys in the schema's order: a new reference, parts shared with @value. */
static int ordered(const struct kiln__key *key, json_t *value, json_t **ret, kiln_error *err)
{
	kiln__autojson *list = NULL;
	json_t *element;
	int rc;

	if (key->type == KILN__TYPE_OBJECT)
		return ordered_object(key, value, ret, err);
	if (key->type != KILN__TYPE_LIST || key->element->type != KILN__TYPE_OBJECT) {
		*ret = json_incref(value);
		return 0;
	}
	list = json_array();
	if (!list)
		return kiln__fail_nomem(err);
	for (size_t i = 0; i < json_array_size(value); i++) {
		rc = ordered(key->element, json_array_get(value, i), &element, err);
		if (rc < 0)
			return rc;
		if (json_array_append_new(list, element) < 0)
			return kiln__fail_nomem(err);
	}
	*ret = kiln__take(list);
	return 0;
}

static int ordered_object(const struct kiln__key *key, json_t *value, json_t **ret, kiln_error *err)
{
	kiln__autojson *object = json_object();
	json_t *theirs, *member;
	int rc;

	if (!object)
		return kiln__fail_nomem(err);
	for (const struct kiln__key *child = key->keys; child->name; child++) {
		theirs = json_object_get(value, child->name);
		if (!theirs)
			continue;
		rc = ordered(child, theirs, &member, err);
		if (rc < 0)
			return rc;
		if (json_object_set_new(object, child->name, member) < 0)
			return kiln__fail_nomem(err);
	}
	*ret = kiln__take(object);
	return 0;
}

int kiln_config_print(const kiln_config *config, char **ret_json, kiln_error *err)
{
	kiln__autojson *doc = NULL;
	kiln__autofree char *text = NULL;
	kiln__autobuf buf = KILN__BUF_INIT;
	int rc;

	rc = ordered(&kiln__schema, config->doc, &doc, err);
	if (rc < 0)
		return rc;
	text = json_dumps(doc, JSON_INDENT(2));
	if (!text)
		return kiln__fail_nomem(err);
	kiln__buf_addf(&buf, "%s\n", text);
	if (buf.failed)
		return kiln__fail_nomem(err);
	if (buf.len > KILN__MAX_DOCUMENT)
		return kiln__refuse(err, KILN_EOVERFLOW, &top,
				    "the configuration is longer than %d bytes",
				    KILN__MAX_DOCUMENT);
	*ret_json = kiln__buf_steal(&buf);
	return 0;
}

/* Gives @text out from storage of the handle's, which takes over nothing. */
static int hand_out(const kiln_config *config, const char *text, const char **ret, kiln_error *err)
{
	size_t size = strlen(text) + 1;
	struct handed *handed;

	for (handed = config->handout->first; handed; handed = handed->next)
		if (strcmp(handed->text, text) == 0)
			break;
	if (!handed) {
		handed = malloc(sizeof(*handed) + size);
		if (!handed)
			return kiln__fail_nomem(err);
		memcpy(handed->text, text, size);
		handed->next = config->handout->first;
		config->handout->first = handed;
	}
	*ret = handed->text;
	return 0;
}

/* A value as the text that kiln_config_set() takes. */
static int hand_out_value(const kiln_config *config, const struct kiln__key *key, json_t *value,
			  const char **ret, kiln_error *err)
{
	kiln__autojson *tidy = NULL;
	kiln__autofree char *text = NULL;
	int rc;

	if (json_is_string(value))
		return hand_out(config, json_string_value(value), ret, err);
	rc = ordered(key, value, &tidy, err);
	if (rc < 0)
		return rc;
	text = json_dumps(tidy, JSON_COMPACT | JSON_ENCODE_ANY);
	return text ? hand_out(config, text, ret, err) : kiln__fail_nomem(err);
}

/* The default of what is not there, as a new reference, or KILN_ENOENT. */
static int default_value(const struct kiln__path *path, json_t **ret, kiln_error *err)
{
	const struct kiln__step *last = &path->steps[path->count - 1];
	const char *text = last->key ? kiln__schema_default(last->key) : NULL;

	for (size_t i = 0; i < path->count; i++)
		if (path->steps[i].kind == KILN__STEP_ELEMENT &&
		    path->steps[i].index >= json_array_size(path->steps[i].in))
			return kiln__refuse(err, KILN_ENOENT, &path->steps[i].where,
					    "there is no such element");
	if (!text)
		return kiln__refuse(err, KILN_ENOENT, &last->where, "is not set");
	return kiln__accept_text(last->key, text, &last->where, ret, err);
}

int kiln_config_get(const kiln_config *config, const char *path, const char **ret_value,
		    kiln_error *err)
{
	kiln__autojson *assumed = NULL;
	struct kiln__path at;
	const struct kiln__step *last;
	json_t *value;
	int rc;

	rc = kiln__path_parse(&at, path, err);
	if (rc < 0)
		return rc;
	last = &at.steps[at.count - 1];
	if (last->kind == KILN__STEP_PAIR)
		return kiln__refuse(err, KILN_EINVAL, &last->where, "[] names nothing to get");
	rc = kiln__path_follow(&at, config->doc, &value, err);
	if (rc == 0 && !value) {
		rc = default_value(&at, &assumed, err);
		value = assumed;
	}
	return rc < 0 ? rc : hand_out_value(config, last->key, value, ret_value, err);
}
