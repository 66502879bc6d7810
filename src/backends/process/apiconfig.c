/* SPDX-License-Identifier: Apache-2.0 */
#include "apiconfig.h"

#include "err.h"
#include "os.h"
#include "source.h"

#include <stdio.h>
#include <string.h>

#define PATH_SIZE 256
#define MAX_DEPTH 16

static const struct kiln__api_field *find(const struct kiln__api_form *form, const char *path)
{
	for (const struct kiln__api_field *f = form->fields; f->path; f++)
		if (strcmp(f->path, path) == 0)
			return f;
	return NULL;
}

/* The id of an element of a list, or NULL. */
static const char *id_of(const struct kiln__api_form *form, const json_t *element)
{
	for (const char *const *id = form->ids; *id; id++)
		if (json_is_string(json_object_get(element, *id)))
			return json_string_value(json_object_get(element, *id));
	return NULL;
}

static json_t *find_element(const struct kiln__api_form *form, const json_t *list, const char *id)
{
	json_t *element;
	size_t i;

	json_array_foreach (list, i, element) {
		const char *its = id_of(form, element);

		if (its && strcmp(its, id) == 0)
			return element;
	}
	return NULL;
}

static bool is_id(const struct kiln__api_form *form, const char *name)
{
	for (const char *const *id = form->ids; *id; id++)
		if (strcmp(*id, name) == 0)
			return true;
	return false;
}

/* --- merging -----------------------------------------------------------------------------------
 */

static int merge_object(const struct kiln__api_form *form, json_t *into, const json_t *from,
			const char *path, int depth, kiln_error *err);

static int merge_element(const struct kiln__api_form *form, json_t *list, json_t *element,
			 const char *path, int depth, kiln_error *err)
{
	const struct kiln__api_field *field = find(form, path);
	const char *id = json_is_object(element) ? id_of(form, element) : NULL;
	json_t *into = id ? find_element(form, list, id) : NULL;
	json_t *made;
	int r;

	if (!field && json_is_object(element))
		return kiln__fail(err, KILN_EINVAL, "%s: %s has no objects in %s", form->key,
				  form->name, path);
	if (field && field->instead && !into) {
		kiln__fail(err, KILN_EINVAL, "%s: %s: there is no '%s' to be changed", form->key,
			   path, id ? id : "(without an id)");
		return kiln__hint(err, "%s of the machine makes them", field->instead), KILN_EINVAL;
	}
	if (!json_is_object(element))
		return json_array_append(list, element) ? kiln__fail_nomem(err) : 0;
	if (into)
		return merge_object(form, into, element, path, depth, err);
	made = json_object();
	r = made ? merge_object(form, made, element, path, depth, err) : kiln__fail_nomem(err);
	if (r == 0 && json_array_append(list, made))
		r = kiln__fail_nomem(err);
	json_decref(made);
	return r;
}

static int merge_list(const struct kiln__api_form *form, json_t *into, const char *name,
		      json_t *list, const char *path, int depth, kiln_error *err)
{
	json_t *ours = json_object_get(into, name);
	char inner[PATH_SIZE];
	json_t *element;
	size_t i;
	int r = 0;

	if (snprintf(inner, sizeof(inner), "%s[]", path) >= (int)sizeof(inner))
		return kiln__fail(err, KILN_EINVAL, "%s: too deep", form->key);
	if (!ours) {
		ours = json_array();
		if (json_object_set_new(into, name, ours))
			return kiln__fail_nomem(err);
	}
	json_array_foreach (list, i, element) {
		r = merge_element(form, ours, element, inner, depth, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int merge_member(const struct kiln__api_form *form, json_t *into, const char *name,
			json_t *value, const char *path, int depth, kiln_error *err)
{
	const struct kiln__api_field *field = find(form, path);
	json_t *ours = json_object_get(into, name);

	if (!field) {
		kiln__fail(err, KILN_EINVAL, "%s: %s has no field %s", form->key, form->name, path);
		return kiln__hint(err, "its API document lists them"), KILN_EINVAL;
	}
	if (field->instead) {
		kiln__fail(err, KILN_EINVAL, "%s: %s is told by kiln", form->key, path);
		return kiln__hint(err, "the machine's key for it is: %s", field->instead),
		       KILN_EINVAL;
	}
	if (field->free || (!json_is_object(value) && !json_is_array(value)))
		return json_object_set(into, name, value) ? kiln__fail_nomem(err) : 0;
	if (json_is_array(value))
		return merge_list(form, into, name, value, path, depth + 1, err);
	if (!json_is_object(ours)) {
		ours = json_object();
		if (json_object_set_new(into, name, ours))
			return kiln__fail_nomem(err);
	}
	return merge_object(form, ours, value, path, depth + 1, err);
}

static int merge_object(const struct kiln__api_form *form, json_t *into, const json_t *from,
			const char *path, int depth, kiln_error *err)
{
	const char *name;
	json_t *value;
	int r;

	json_object_foreach ((json_t *)(uintptr_t)from, name, value) {
		char inner[PATH_SIZE];

		if (depth > MAX_DEPTH || snprintf(inner, sizeof(inner), "%s%s%s", path,
						  *path ? "." : "", name) >= (int)sizeof(inner))
			return kiln__fail(err, KILN_EINVAL, "%s: too deep", form->key);
		if (depth && is_id(form, name) && json_object_get(into, name))
			continue; /* it was found by that */
		r = merge_member(form, into, name, value, inner, depth, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int kiln__api_merge(const struct kiln__api_form *form, json_t *config, const char *text,
		    kiln_error *err)
{
	json_error_t why;
	json_t *from;
	int r;

	if (!text)
		return 0;
	from = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(from))
		r = kiln__fail(err, KILN_EINVAL, "%s: no JSON object: %s", form->key, why.text);
	else
		r = merge_object(form, config, from, "", 0, err);
	json_decref(from);
	return r;
}

int kiln__api_finish(const struct kiln__api_form *form, json_t *config, bool is_built,
		     const char *text, json_t **ret, kiln_error *err)
{
	int r = is_built ? kiln__api_merge(form, config, text, err) : kiln__fail_nomem(err);

	if (r < 0) {
		json_decref(config);
		return r;
	}
	*ret = config;
	return 0;
}

/* --- versions ------------------------------------------------------------------------------------
 */

static int check_value(const struct kiln__api_form *form, const json_t *value, const char *path,
		       unsigned version, kiln_error *err)
{
	const struct kiln__api_field *field = find(form, path);
	char inner[PATH_SIZE];
	const char *name;
	json_t *member;
	size_t i;
	int r = 0;

	if (field && field->since > version)
		return kiln__fail(err, KILN_ENOTSUP, "%s: %s needs %s %u.%u, this is %u.%u",
				  form->key, path, form->name, field->since / 1000,
				  field->since % 1000, version / 1000, version % 1000);
	if (field && field->free)
		return 0;
	json_object_foreach ((json_t *)(uintptr_t)value, name, member) {
		snprintf(inner, sizeof(inner), "%s%s%s", path, *path ? "." : "", name);
		r = check_value(form, member, inner, version, err);
		if (r < 0)
			return r;
	}
	json_array_foreach (value, i, member) {
		snprintf(inner, sizeof(inner), "%s[]", path);
		r = check_value(form, member, inner, version, err);
		if (r < 0)
			return r;
	}
	return 0;
}

unsigned kiln__api_version(const char *text)
{
	unsigned major;
	unsigned minor = 0;

	if (*text == 'v')
		text++;
	if (*text < '0' || *text > '9' || sscanf(text, "%3u.%3u", &major, &minor) < 1)
		return 0;
	return major * 1000 + minor;
}

bool kiln__api_is_id(const char *text)
{
	size_t len = text ? strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					 "0123456789_")
			  : 0;

	return len >= 1 && len <= 64 && !text[len];
}

int kiln__api_check_version(const struct kiln__api_form *form, const json_t *config,
			    unsigned version, kiln_error *err)
{
	return version ? check_value(form, config, "", version, err) : 0;
}

/* --- the machine's own document
 * -------------------------------------------------------------------- */

static int refuse_range(const struct kiln__source *source, const char *key, const char *backend,
			kiln_error *err)
{
	if (!kiln__source_is_range(source))
		return 0;
	kiln__fail(err, KILN_ENOTSUP, "%s: the %s backend takes whole files only, no range", key,
		   backend);
	return kiln__hint(err, "copy it to a file of its own; builtin and qemu take ranges"),
	       KILN_ENOTSUP;
}

static int check_disks(const struct kiln__spec *spec, const char *backend, kiln_error *err)
{
	char key[32];
	int r = refuse_range(&spec->root.source, "root", backend, err);

	for (size_t i = 0; r == 0 && i < spec->disk_count; i++) {
		snprintf(key, sizeof(key), "disks[%zu]", i);
		r = refuse_range(&spec->disks[i].source, key, backend, err);
	}
	return r;
}

static int check_networks(const struct kiln__spec *spec, const char *backend, kiln_error *err)
{
	for (size_t i = 0; i < spec->network_count; i++)
		if (spec->networks[i].kind != KILN__NETWORK_TAP) {
			kiln__fail(err, KILN_ENOTSUP,
				   "networks[%zu].kind: the %s backend has tap only", i, backend);
			return kiln__hint(err, "make a TAP interface, or use builtin or qemu"),
			       KILN_ENOTSUP;
		}
	if (spec->port_count) {
		kiln__fail(err, KILN_ENOTSUP,
			   "ports: the %s backend has no user network to publish ports through",
			   backend);
		return kiln__hint(err, "use builtin or qemu"), KILN_ENOTSUP;
	}
	return 0;
}

int kiln__api_check_spec(const struct kiln__spec *spec, const char *backend, kiln_error *err)
{
	int r;

	if (strcmp(spec->arch, kiln__os_arch()) != 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "arch: the %s backend runs %s guests only, this one is %s",
				  backend, kiln__os_arch(), spec->arch);
	if (strcmp(spec->accel, "tcg") == 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "accel: the %s backend does not emulate; qemu does", backend);
	r = check_disks(spec, backend, err);
	return r < 0 ? r : check_networks(spec, backend, err);
}

int kiln__api_check_disk_count(const struct kiln__spec *spec, size_t max, kiln_error *err)
{
	if (spec->disk_count + (spec->root.kind != KILN__ROOT_NONE) <= max)
		return 0;
	return kiln__fail(err, KILN_EINVAL, "disks: at most %zu, the root included", max);
}

/* --- parts of a configuration
 * -------------------------------------------------------------------- */

json_t *kiln__api_path(const char *folder, int number)
{
	return json_sprintf("%s/%d", folder, number);
}

int kiln__api_set(json_t *config, const char *section, json_t *value)
{
	if (json_is_array(value) && json_array_size(value) == 0) {
		json_decref(value);
		return 0;
	}
	return json_object_set_new(config, section, value);
}

/* Takes @list: it, or NULL if @r says that it is not whole. */
static json_t *whole(json_t *list, int r)
{
	if (r == 0)
		return list;
	json_decref(list);
	return NULL;
}

json_t *kiln__api_disks(const struct kiln__spec *spec, const char *folder, int first,
			kiln__api_disk_fn disk)
{
	struct kiln__disk root = {
		.readonly = !kiln__root_is_writable(&spec->root),
		.serial = KILN__ROOT_SERIAL,
	};
	json_t *list = json_array();
	int r = list ? 0 : -1;

	if (r == 0 && spec->root.kind != KILN__ROOT_NONE)
		r = json_array_append_new(
			list, disk(json_string("root"), kiln__api_path(folder, first++), &root));
	for (size_t i = 0; r == 0 && i < spec->disk_count; i++)
		r = json_array_append_new(list,
					  disk(json_sprintf("disk%zu", i),
					       kiln__api_path(folder, first++), &spec->disks[i]));
	return whole(list, r);
}

json_t *kiln__api_networks(const struct kiln__spec *spec, const char *id, const char *interface,
			   const char *mac)
{
	json_t *list = json_array();
	int r = list ? 0 : -1;

	for (size_t i = 0; r == 0 && i < spec->network_count; i++)
		r = json_array_append_new(list, json_pack("{s:o, s:s, s:o}", id,
							  json_sprintf("net%zu", i), interface,
							  spec->networks[i].interface, mac,
							  kiln__api_mac(spec->networks[i].mac)));
	return whole(list, r);
}

json_t *kiln__api_mac(const uint8_t mac[6])
{
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
			    mac[5]);
}
