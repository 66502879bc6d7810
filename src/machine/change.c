/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be asked of a running machine by kiln_machine_change(): whether it is well formed, and
 * whether the backend can do it, before it is asked. Pure.
 */
#include "backend.h"

#include "err.h"

#include <jansson.h>
#include <string.h>

#define MAX_ID 64

const char *const kiln__change_names[] = {
	[KILN_CHANGE_ADD] = "add",
	[KILN_CHANGE_REMOVE] = "remove",
	[KILN_CHANGE_RESIZE_DISK] = "resize-disk",
	[KILN_CHANGE_RESIZE_ZONE] = "resize-zone",
	[KILN_CHANGE_NMI] = "nmi",
	[KILN_CHANGE_DUMP] = "dump",
	[KILN_CHANGE_RESET] = "reset",
	[KILN_CHANGE_POWER_BUTTON] = "power-button",
	NULL,
};

#define KINDS (sizeof(kiln__change_names) / sizeof(kiln__change_names[0]) - 1)

const char *kiln__change_name(enum kiln_change_kind kind)
{
	return (unsigned)kind < KINDS ? kiln__change_names[kind] : "?";
}

/* What kiln has words of its own for, and the list of the document that has such. */
static const struct {
	const char *device;
	const char *list;
} own_words[] = {{"disk", "disks"}, {"net", "networks"}};

static const char *list_of(const char *device)
{
	for (size_t i = 0; i < sizeof(own_words) / sizeof(own_words[0]); i++)
		if (strcmp(own_words[i].device, device) == 0)
			return own_words[i].list;
	return NULL;
}

static bool is_id(const char *text)
{
	size_t len = text ? strlen(text) : 0;

	return len && len <= MAX_ID && text[0] != '.' && text[0] != '_' &&
	       strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") ==
		       len;
}

static int check_id(const kiln_change *change, kiln_error *err)
{
	if (change->kind > KILN_CHANGE_RESIZE_ZONE || is_id(change->id))
		return 0;
	return kiln__fail(err, KILN_EINVAL,
			  "%s: id: must be at most %d letters, digits, '-', '_' and '.', beginning "
			  "with one of the first three",
			  kiln__change_names[change->kind], MAX_ID);
}

static bool has_device(const struct kiln__backend *backend, const char *device)
{
	for (const char *const *d = backend->devices; d && *d; d++)
		if (strcmp(*d, device) == 0)
			return true;
	return false;
}

/* A document with nothing in it but that one element of that list. */
static int parse_parts(const kiln_change *change, const char *list, struct kiln__spec **ret,
		       kiln_error *err)
{
	json_error_t why;
	json_t *element = json_loads(change->config, JSON_REJECT_DUPLICATES, &why);
	kiln__autofree char *text = NULL;
	kiln_config *config = NULL;
	json_t *document;
	int r;

	if (!json_is_object(element)) {
		json_decref(element);
		return kiln__fail(err, KILN_EINVAL, "add %s: config: no JSON object: %s",
				  change->device, why.text);
	}
	document = json_pack("{s:[o]}", list, element);
	text = json_dumps(document, JSON_COMPACT);
	json_decref(document);
	r = text ? kiln_config_parse(text, strlen(text), &config, err) : kiln__fail_nomem(err);
	if (r == 0)
		r = kiln__config_spec(config, ret, err);
	kiln_config_free(config);
	return r < 0 ? (kiln__prefix(err, "add %s", change->device), r) : 0;
}

static int check_add(const struct kiln__backend *backend, const kiln_change *change,
		     struct kiln__spec **ret, kiln_error *err)
{
	const char *list = change->device ? list_of(change->device) : NULL;

	if (!change->device || !has_device(backend, change->device)) {
		kiln__fail(err, KILN_ENOTSUP, "add: the %s backend adds no device of kind '%.32s'",
			   backend->name, change->device ? change->device : "");
		return kiln__hint(err, "kiln backends --format json lists those that it does"),
		       KILN_ENOTSUP;
	}
	if (list && !change->config)
		return kiln__fail(err, KILN_EINVAL, "add %s: config: is missing", change->device);
	if (!list && change->config)
		return kiln__fail(err, KILN_EINVAL, "add %s: config: kiln has no words for it",
				  change->device);
	if (!list && !change->own)
		return kiln__fail(err, KILN_EINVAL, "add %s: own: is missing", change->device);
	return list ? parse_parts(change, list, ret, err) : 0;
}

/* The button is shutdown(), which has been there before. */
bool kiln__change_can(const struct kiln__backend *backend, enum kiln_change_kind kind)
{
	return kind == KILN_CHANGE_POWER_BUTTON ? backend->features & KILN__CAN_POWER_KEY
						: backend->changes & 1u << kind;
}

int kiln__change_check(const struct kiln__backend *backend, const kiln_change *change,
		       struct kiln__spec **ret_parts, kiln_error *err)
{
	int r;

	*ret_parts = NULL;
	if ((unsigned)change->kind >= KINDS)
		return kiln__fail(err, KILN_EINVAL, "there is no such change");
	if (!kiln__change_can(backend, change->kind)) {
		kiln__fail(err, KILN_ENOTSUP, "%s: the %s backend cannot do that",
			   kiln__change_names[change->kind], backend->name);
		return kiln__hint(err, "kiln backends lists what each can do"), KILN_ENOTSUP;
	}
	r = check_id(change, err);
	if (r == 0 && change->kind == KILN_CHANGE_DUMP && (!change->file || change->file[0] != '/'))
		r = kiln__fail(err, KILN_EINVAL, "dump: file: must be an absolute path");
	if (r == 0 && change->kind == KILN_CHANGE_ADD)
		r = check_add(backend, change, ret_parts, err);
	return r;
}
