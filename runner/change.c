/* SPDX-License-Identifier: Apache-2.0 */
#include "change.h"

#include "change_names.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

static int take_kind(kiln_change *ret, const char *name, kiln_error *err)
{
	for (int i = 0; name && kiln__change_names[i]; i++)
		if (strcmp(kiln__change_names[i], name) == 0) {
			ret->kind = (enum kiln_change_kind)i;
			return 0;
		}
	return kiln__fail(err, KILN_EINVAL, "change: there is no '%.32s'", name ? name : "");
}

static int take_text(const char **ret, const json_t *params, const char *key, kiln_error *err)
{
	const json_t *value = json_object_get(params, key);

	if (value && !json_is_string(value))
		return kiln__fail(err, KILN_EINVAL, "%s: must be a text", key);
	*ret = json_string_value(value);
	return 0;
}

static int take_object(char **ret, const json_t *params, const char *key, kiln_error *err)
{
	const json_t *value = json_object_get(params, key);

	if (!value)
		return 0;
	if (!json_is_object(value))
		return kiln__fail(err, KILN_EINVAL, "%s: must be an object", key);
	*ret = json_dumps(value, JSON_COMPACT);
	return *ret ? 0 : kiln__fail_nomem(err);
}

static int take_bytes(uint64_t *ret, const json_t *params, kiln_error *err)
{
	const json_t *value = json_object_get(params, "bytes");

	if (value && (!json_is_integer(value) || json_integer_value(value) < 0))
		return kiln__fail(err, KILN_EINVAL, "bytes: must be a number");
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

int runner_change_take(struct runner_change *ret, const json_t *params, kiln_error *err)
{
	kiln_change *change = &ret->change;
	const char *kind = NULL;
	int r;

	*ret = (struct runner_change){.change = KILN_CHANGE_INIT};
	r = take_text(&kind, params, "change", err);
	if (r == 0)
		r = take_kind(change, kind, err);
	if (r == 0)
		r = take_text(&change->device, params, "device", err);
	if (r == 0)
		r = take_text(&change->id, params, "id", err);
	if (r == 0)
		r = take_text(&change->file, params, "file", err);
	if (r == 0)
		r = take_object(&ret->config, params, "config", err);
	if (r == 0)
		r = take_object(&ret->own, params, "own", err);
	if (r == 0)
		r = take_bytes(&change->bytes, params, err);
	change->config = ret->config;
	change->own = ret->own;
	return r;
}

void runner_change_done(struct runner_change *change)
{
	free(change->config);
	free(change->own);
	*change = (struct runner_change){.config = NULL};
}
