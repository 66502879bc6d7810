/* SPDX-License-Identifier: Apache-2.0 */
#include "path.h"

#include "check.h"
#include "err.h"

#include <stdio.h>
#include <string.h>

static int refuse_syntax(kiln_error *err, const char *text, const char *why)
{
	char quoted[KILN__QUOTED];

	kiln__fail(err, KILN_EINVAL, "%s is not a key's path: %s", kiln__quote(text, quoted), why);
	kiln__stage(err, "config");
	kiln__hint(err, "paths look like cpus, disks[0].path, disks[].path, labels.NAME");
	return KILN_EINVAL;
}

/* "[N]" or "[]" at *text, which moves behind it. False if it is neither. */
static bool parse_index(struct kiln__step *step, char **text)
{
	char *close = strchr(*text, ']');
	int64_t index;

	if (**text != '[' || !close)
		return false;
	*close = '\0';
	if (close == *text + 1) {
		step->kind = KILN__STEP_APPEND;
	} else if (kiln__parse_integer(*text + 1, &index) && index >= 0 && index <= UINT16_MAX) {
		step->kind = KILN__STEP_ELEMENT;
		step->index = (size_t)index;
		step->where.index = step->index;
	} else {
		return false;
	}
	*text = close + 1;
	return true;
}

/* The name of a member of @object at *text, which moves behind it. */
static int parse_member(struct kiln__step *step, const struct kiln__key *object, char **text,
			const char *whole, kiln_error *err)
{
	size_t len = strcspn(*text, ".[");
	char name[KILN__MAX_PATH];

	if (len == 0)
		return refuse_syntax(err, whole, "a name is missing");
	snprintf(name, sizeof(name), "%.*s", (int)len, *text);
	step->kind = KILN__STEP_MEMBER;
	step->key = kiln__schema_find(object, name, len);
	if (!step->key || kiln__schema_is_absent(step->key))
		return kiln__refuse_key(err, step->where.up, object, name);
	step->name = step->key->name;
	step->where.name = step->name;
	*text += len;
	return 0;
}

/* What follows a map: "[]" or the entry's name, up to the end. */
static int parse_entry(struct kiln__step *step, const struct kiln__key *map, char **text,
		       const char *whole, kiln_error *err)
{
	if (strcmp(*text, "[]") == 0) {
		step->kind = KILN__STEP_PAIR;
		step->where = *step->where.up;
	} else if (**text == '.') {
		step->kind = KILN__STEP_ENTRY;
		step->name = *text + 1;
		step->where.name = step->name;
	} else {
		return refuse_syntax(err, whole, "a map is followed by .NAME or []");
	}
	*text += strlen(*text);
	return step->kind == KILN__STEP_ENTRY
		       ? kiln__accept_name(map, step->name, step->where.up, err)
		       : 0;
}

/* One step from @from at *text. */
static int parse_step(struct kiln__step *step, const struct kiln__key *from, char **text,
		      const char *whole, kiln_error *err)
{
	switch (from->type) {
	case KILN__TYPE_OBJECT:
		if (from != &kiln__schema && *(*text)++ != '.')
			return refuse_syntax(err, whole, "an object is followed by .NAME");
		return parse_member(step, from, text, whole, err);
	case KILN__TYPE_LIST:
		step->key = from->element;
		if (!parse_index(step, text))
			return refuse_syntax(err, whole, "a list is followed by [INDEX] or []");
		return 0;
	case KILN__TYPE_MAP:
		return parse_entry(step, from, text, whole, err);
	default:
		return refuse_syntax(err, whole, "there is nothing below a single value");
	}
}

int kiln__path_parse(struct kiln__path *path, const char *text, kiln_error *err)
{
	const struct kiln__key *from = &kiln__schema;
	const struct kiln__where *up = &path->root;
	struct kiln__step *step;
	char *rest = path->text;
	int rc;

	*path = (struct kiln__path){.count = 0};
	if (strlen(text) >= sizeof(path->text))
		return refuse_syntax(err, text, "it is too long");
	memcpy(path->text, text, strlen(text) + 1);
	do {
		if (path->count == KILN__MAX_STEPS)
			return refuse_syntax(err, text, "it is too deep");
		step = &path->steps[path->count++];
		step->where.up = up;
		rc = parse_step(step, from, &rest, text, err);
		if (rc < 0)
			return rc;
		up = &step->where;
		from = step->key;
	} while (*rest);
	return 0;
}

int kiln__path_follow(struct kiln__path *path, json_t *doc, json_t **ret, kiln_error *err)
{
	json_t *value = doc;
	size_t length;

	for (size_t i = 0; i < path->count; i++) {
		struct kiln__step *step = &path->steps[i];

		step->in = value;
		length = json_array_size(value); /* 0 if absent */
		switch (step->kind) {
		case KILN__STEP_MEMBER:
		case KILN__STEP_ENTRY:
			value = json_object_get(value, step->name);
			break;
		case KILN__STEP_APPEND:
			step->index = step->where.index = length;
			step->kind = KILN__STEP_ELEMENT;
			value = NULL;
			break;
		case KILN__STEP_ELEMENT:
			if (step->index > length)
				return kiln__refuse(err, KILN_ENOENT, &step->where,
						    "there are only %zu elements", length);
			value = json_array_get(value, step->index);
			break;
		case KILN__STEP_PAIR:
			value = NULL;
			break;
		}
	}
	*ret = value;
	return 0;
}
