/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the document to plain C. The table says for each key which field its value
 * goes to; only what no single key can say is done by hand at the end: a process's argv
 * out of two lists, and the two maps.
 */
#include "spec.h"

#include "accept.h"
#include "buf.h"
#include "check.h"
#include "err.h"
#include "handle.h"
#include "schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRMWARE_READY_MS 600000

/* Docker's. */
#define HEALTH_MS      30000
#define HEALTH_RETRIES 3

/* All of a spec's memory hangs on it. */
struct block {
	struct block *next;
	_Alignas(max_align_t) char bytes[];
};

struct box {
	struct kiln__spec spec; /* first: what callers hold */
	struct block *blocks;
};

static void *allocate(struct box *box, size_t count, size_t size)
{
	struct block *block;
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes) ||
	    __builtin_add_overflow(bytes, sizeof(*block), &bytes))
		return NULL;
	block = calloc(1, bytes);
	if (!block)
		return NULL;
	block->next = box->blocks;
	box->blocks = block;
	return block->bytes;
}

void kiln__spec_free(struct kiln__spec *spec)
{
	struct box *box = (struct box *)spec;
	struct block *next;

	if (!box)
		return;
	for (struct block *block = box->blocks; block; block = next) {
		next = block->next;
		free(block);
	}
	free(box);
}

static const char *copy_text(struct box *box, const char *text, size_t len)
{
	char *copy = allocate(box, len + 1, 1);

	if (copy)
		memcpy(copy, text, len);
	return copy;
}

int kiln__spec_add_disk(struct kiln__spec *spec, const struct kiln__disk *disk, kiln_error *err)
{
	struct box *box = (struct box *)spec;
	struct kiln__disk *disks = allocate(box, spec->disk_count + 1, sizeof(*disks));
	const char *path = copy_text(box, disk->source.path, strlen(disk->source.path));
	const char *serial = copy_text(box, disk->serial, strlen(disk->serial));

	if (!disks || !path || !serial)
		return kiln__fail_nomem(err);
	if (spec->disk_count)
		memcpy(disks, spec->disks, spec->disk_count * sizeof(*disks));
	disks[spec->disk_count] = *disk;
	disks[spec->disk_count].source.path = path;
	disks[spec->disk_count].serial = serial;
	disks[spec->disk_count].own = true;
	spec->disks = disks;
	spec->disk_count++;
	return 0;
}

const char *kiln__spec_share_tag(const struct kiln__spec *spec, size_t index, char *text)
{
	if (spec->shares[index].tag)
		snprintf(text, KILN__TAG_MAX, "%s", spec->shares[index].tag);
	else
		snprintf(text, KILN__TAG_MAX, "share%zu", index);
	return text;
}

int kiln__spec_add_scratch(struct kiln__spec *spec, const char *path, kiln_error *err)
{
	return kiln__spec_add_disk(spec,
				   &(struct kiln__disk){
					   .source = {.path = path, .fd = KILN_FD_NONE},
					   .serial = KILN__OVERLAY_SERIAL,
					   .cache = "unsafe",
					   .discard = true,
					   .scratch = true,
				   },
				   err);
}

/* --- fields ------------------------------------------------------------------------------ */

static void store_unsigned(void *field, size_t size, uint64_t value)
{
	uint8_t u8 = (uint8_t)value;
	uint16_t u16 = (uint16_t)value;
	uint32_t u32 = (uint32_t)value;

	switch (size) {
	case 1:
		memcpy(field, &u8, 1);
		break;
	case 2:
		memcpy(field, &u16, 2);
		break;
	case 4:
		memcpy(field, &u32, 4);
		break;
	default:
		memcpy(field, &value, sizeof(value));
	}
}

static uint64_t choice_index(const struct kiln__key *key, const char *text)
{
	uint64_t i = 0;

	while (key->choices[i] && strcmp(key->choices[i], text) != 0)
		i++;
	return i;
}

static int fill_string(struct box *box, const struct kiln__key *key, json_t *value, void *field,
		       kiln_error *err)
{
	const char *text = json_string_value(value);
	const char *copy;
	uint8_t mac[6];

	if (key->type == KILN__TYPE_ENUM) {
		store_unsigned(field, key->field.size, choice_index(key, text));
		return 0;
	}
	if (key->type == KILN__TYPE_MAC) {
		if (kiln__parse_mac(text, mac))
			memcpy(field, mac, sizeof(mac));
		return 0;
	}
	copy = copy_text(box, text, json_string_length(value));
	if (!copy)
		return kiln__fail_nomem(err);
	memcpy(field, &copy, sizeof(copy));
	return 0;
}

/* A single value into its field. Where there is none and no default, the field stays empty. */
static int fill_scalar(struct box *box, const struct kiln__key *key, json_t *value, void *field,
		       kiln_error *err)
{
	kiln_fd fd = value ? (kiln_fd)json_integer_value(value) : KILN_FD_NONE;

	if (key->type == KILN__TYPE_FD)
		memcpy(field, &fd, sizeof(fd));
	else if (json_is_boolean(value))
		store_unsigned(field, key->field.size, json_is_true(value));
	else if (json_is_integer(value))
		store_unsigned(field, key->field.size, (uint64_t)json_integer_value(value));
	else if (value)
		return fill_string(box, key, value, field, err);
	return 0;
}

/* The texts of @lists one after the other, as a NULL-terminated array; NULL if there are none. */
static int fill_texts(struct box *box, json_t *const lists[], size_t count, const char *const **ret,
		      kiln_error *err)
{
	const char **texts;
	json_t *text;
	size_t total = 0, n = 0;

	for (size_t k = 0; k < count; k++)
		total += json_array_size(lists[k]);
	if (total == 0)
		return 0;
	texts = allocate(box, total + 1, sizeof(*texts));
	if (!texts)
		return kiln__fail_nomem(err);
	for (size_t k = 0; k < count; k++)
		for (size_t i = 0; i < json_array_size(lists[k]); i++) {
			text = json_array_get(lists[k], i);
			texts[n] =
				copy_text(box, json_string_value(text), json_string_length(text));
			if (!texts[n++])
				return kiln__fail_nomem(err);
		}
	*ret = texts;
	return 0;
}

static int fill_object(struct box *box, const struct kiln__key *object, json_t *value, char *base,
		       kiln_error *err);

static int fill_list(struct box *box, const struct kiln__key *key, json_t *list, char *base,
		     kiln_error *err)
{
	size_t count = json_array_size(list);
	const char *const *texts = NULL;
	char *array = NULL;
	int rc;

	if (key->element->type != KILN__TYPE_OBJECT) {
		rc = fill_texts(box, &list, 1, &texts, err);
		memcpy(base + key->field.offset, &texts, sizeof(texts));
		return rc;
	}
	if (count > 0) {
		array = allocate(box, count, key->stride);
		if (!array)
			return kiln__fail_nomem(err);
	}
	for (size_t i = 0; i < count; i++) {
		rc = fill_object(box, key->element, json_array_get(list, i),
				 array + i * key->stride, err);
		if (rc < 0)
			return rc;
	}
	memcpy(base + key->field.offset, &array, sizeof(array));
	memcpy(base + key->count.offset, &count, sizeof(count));
	return 0;
}

/* One member, or its default, into the struct at @base. */
static int fill_member(struct box *box, const struct kiln__key *key, json_t *value, char *base,
		       kiln_error *err)
{
	const char *def = kiln__schema_default(key);
	kiln__autojson *assumed = NULL;
	int rc;

	if (key->mark.used) {
		if (!value)
			return 0;
		store_unsigned(base + key->mark.offset, sizeof(int), (uint64_t)key->mark.value);
	}
	if (key->type == KILN__TYPE_OBJECT)
		return fill_object(box, key, value,
				   key->field.used ? base + key->field.offset : base, err);
	if (!key->field.used)
		return 0;
	if (key->type == KILN__TYPE_LIST)
		return fill_list(box, key, value, base, err);
	if (!value && def) {
		const struct kiln__where here = {NULL, key->name, 0};

		rc = kiln__accept_text(key, def, &here, &assumed, err);
		if (rc < 0)
			return rc;
		value = assumed;
	}
	return fill_scalar(box, key, value, base + key->field.offset, err);
}

static int fill_object(struct box *box, const struct kiln__key *object, json_t *value, char *base,
		       kiln_error *err)
{
	int rc;

	for (const struct kiln__key *key = object->keys; key->name; key++) {
		rc = fill_member(box, key, json_object_get(value, key->name), base, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- what is not in the table ---------------------------------------------------------------- */

static int fill_env(struct box *box, json_t *map, const char *const **ret, kiln_error *err)
{
	const char **env;
	const char *name;
	json_t *value;
	size_t n = 0;

	if (json_object_size(map) == 0)
		return 0;
	env = allocate(box, json_object_size(map) + 1, sizeof(*env));
	if (!env)
		return kiln__fail_nomem(err);
	json_object_foreach (map, name, value) {
		kiln__autofree char *pair = kiln__strf("%s=%s", name, json_string_value(value));

		env[n] = pair ? copy_text(box, pair, strlen(pair)) : NULL;
		if (!env[n++])
			return kiln__fail_nomem(err);
	}
	*ret = env;
	return 0;
}

static int fill_labels(struct box *box, json_t *map, kiln_error *err)
{
	struct kiln__label *label;
	const char *name;
	json_t *value;

	if (json_object_size(map) == 0)
		return 0;
	box->spec.labels = allocate(box, json_object_size(map), sizeof(*box->spec.labels));
	if (!box->spec.labels)
		return kiln__fail_nomem(err);
	json_object_foreach (map, name, value) {
		label = &box->spec.labels[box->spec.label_count++];
		label->key = copy_text(box, name, strlen(name));
		label->value = copy_text(box, json_string_value(value), json_string_length(value));
		if (!label->key || !label->value)
			return kiln__fail_nomem(err);
	}
	return 0;
}

static int fill(struct box *box, json_t *doc, kiln_error *err)
{
	json_t *process = json_object_get(doc, "process");
	json_t *const argv[] = {json_object_get(process, "entrypoint"),
				json_object_get(process, "args")};
	int rc;

	box->spec.root.source.fd = KILN_FD_NONE; /* which of the sources fills it is not known */
	rc = fill_object(box, &kiln__schema, doc, (char *)&box->spec, err);
	if (rc == 0)
		rc = fill_texts(box, argv, 2, &box->spec.process.argv, err);
	if (rc == 0)
		rc = fill_env(box, json_object_get(process, "env"), &box->spec.process.env, err);
	if (rc == 0)
		rc = fill_env(box, json_object_get(json_object_get(doc, "seed"), "env"),
			      &box->spec.seed.env, err);
	if (rc == 0)
		rc = fill_labels(box, json_object_get(doc, "labels"), err);
	if (!box->spec.health.interval_ms)
		box->spec.health.interval_ms = HEALTH_MS;
	if (!box->spec.health.timeout_ms)
		box->spec.health.timeout_ms = HEALTH_MS;
	if (!box->spec.health.retries)
		box->spec.health.retries = HEALTH_RETRIES;
	box->spec.seed.asked = json_object_get(doc, "seed") != NULL;
	/* A whole distribution starts, by emulation perhaps, and cloud-init in it. */
	if (box->spec.firmware != KILN__FIRMWARE_NONE &&
	    !json_object_get(json_object_get(doc, "readiness"), "timeout"))
		box->spec.readiness.timeout_ms = FIRMWARE_READY_MS;
	return rc;
}

int kiln__config_spec(const kiln_config *config, struct kiln__spec **ret_spec, kiln_error *err)
{
	json_t *doc = kiln__config_doc(config);
	struct box *box;
	int rc;

	rc = kiln__check_document(doc, err);
	if (rc < 0)
		return rc;
	box = calloc(1, sizeof(*box));
	if (!box)
		return kiln__fail_nomem(err);
	rc = fill(box, doc, err);
	if (rc == 0)
		rc = kiln__check_spec(&box->spec, doc, err);
	if (rc < 0) {
		kiln__spec_free(&box->spec);
		return rc;
	}
	*ret_spec = &box->spec;
	return 0;
}

int kiln_config_validate(const kiln_config *config, kiln_error *err)
{
	struct kiln__spec *spec;
	int rc;

	rc = kiln__config_spec(config, &spec, err);
	if (rc < 0)
		return rc;
	kiln__spec_free(spec);
	return 0;
}
