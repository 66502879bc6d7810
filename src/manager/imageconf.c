/* SPDX-License-Identifier: Apache-2.0 */
#include "imageconf.h"
#include "imageports.h"

#include "buf.h"
#include "cleanup.h"
#include "err.h"
#include "handle.h"
#include "join.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

KILN__DEFINE_AUTOPTR(json_t, json_decref)
#define autojson kiln__cleanup(json_decref_autop) json_t

/* A copy of the document's member; an empty one if there is none. A new reference. */
static json_t *member(const kiln_config *config, const char *name)
{
	json_t *object = json_object_get(kiln__config_doc(config), name);

	return object ? json_deep_copy(object) : json_object();
}

/* What the image sets stays unless the user has set the same. */
static void merge_env(json_t *process, const json_t *list)
{
	json_t *env = json_object_get(process, "env");
	const json_t *item;
	size_t i;

	if (!json_array_size(list))
		return;
	if (!env) {
		env = json_object();
		json_object_set_new(process, "env", env);
	}
	json_array_foreach (list, i, item) {
		const char *pair = json_string_value(item);
		size_t len = pair ? strcspn(pair, "=") : 0;
		kiln__autofree char *name = len ? strndup(pair, len) : NULL;

		if (name && !json_object_get(env, name))
			json_object_set_new(env, name,
					    json_string(pair[len] ? pair + len + 1 : ""));
	}
}

/* A label whose name the configuration does not know is only seen by "kiln image inspect". */
static void merge_labels(kiln_config *config, const json_t *from)
{
	const char *key;
	json_t *value;
	autojson *labels = json_object_size(from) ? member(config, "labels") : NULL;

	json_object_foreach ((json_t *)from, key, value) {
		kiln__autofree char *pair = NULL;

		if (json_object_get(labels, key))
			continue;
		pair = kiln__strf("%s=%s", key, json_string_value(value));
		if (pair)
			kiln_config_set(config, "labels[]", pair, NULL);
	}
}

/* A new entrypoint takes the image's command away with its entrypoint; a command takes the command.
 */
static void merge_command(const struct kiln__imageconf *how, json_t *process, const json_t *image)
{
	json_t *entrypoint = json_object_get(image, "entrypoint");
	json_t *command = json_object_get(image, "cmd");

	if (how->no_entrypoint || json_object_get(process, "entrypoint"))
		return;
	if (json_array_size(entrypoint))
		json_object_set(process, "entrypoint", entrypoint);
	if (!how->commanded && !json_object_get(process, "args") && json_array_size(command))
		json_object_set(process, "args", command);
}

static void merge_text(json_t *process, const char *key, const char *prefix, const char *text)
{
	kiln__autofree char *value = text && *text ? kiln__strf("%s%s", prefix, text) : NULL;

	if (value && !json_object_get(process, key))
		json_object_set_new(process, key, json_string(value));
}

/* Docker's: ["CMD", ARGUMENT...], ["CMD-SHELL", TEXT], ["NONE"]. Stolen by the caller; or NULL. */
static json_t *health_command(const json_t *test)
{
	const char *kind = json_string_value(json_array_get(test, 0));
	json_t *command = NULL;

	if (!kind || json_array_size(test) < 2)
		return NULL;
	if (strcmp(kind, "CMD-SHELL") == 0)
		command = json_pack("[s, s]", "/bin/sh", "-c");
	else if (strcmp(kind, "CMD") == 0)
		command = json_array();
	for (size_t i = 1; command && i < json_array_size(test); i++)
		json_array_append(command, json_array_get(test, i));
	return command;
}

static int set_if_unset(kiln_config *config, const char *key, json_t *value, kiln_error *err)
{
	autojson *taken = value;
	kiln__autofree char *text = json_dumps(taken, JSON_COMPACT | JSON_ENCODE_ANY);
	const char *there;

	if (!text)
		return kiln__fail_nomem(err);
	return kiln_config_get(config, key, &there, NULL) == 0
		       ? 0
		       : kiln_config_set(config, key, text, err);
}

/* Times are docker's, in ns; 0 is the default. */
static int merge_health(kiln_config *config, const json_t *from, kiln_error *err)
{
	static const struct {
		const char *theirs;
		const char *ours;
		json_int_t unit;
	} numbers[] = {{"Interval", "health.interval", 1000000},
		       {"Timeout", "health.timeout", 1000000},
		       {"StartPeriod", "health.start_period", 1000000},
		       {"Retries", "health.retries", 1}};
	json_t *command = health_command(json_object_get(from, "Test"));
	const bool known = command != NULL;
	int r = known ? set_if_unset(config, "health.command", command, err) : 0;

	for (size_t i = 0; r == 0 && known && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		json_int_t value = json_integer_value(json_object_get(from, numbers[i].theirs));

		if (value >= numbers[i].unit)
			r = set_if_unset(config, numbers[i].ours,
					 json_integer(value / numbers[i].unit), err);
	}
	return r;
}

static bool is_mounted(const kiln_config *config, const char *list, const char *path)
{
	for (unsigned i = 0;; i++) {
		kiln__autofree char *key = kiln__strf("%s[%u].path", list, i);
		const char *there;

		if (!key || kiln_config_get(config, key, &there, NULL) < 0)
			return false;
		if (strcmp(there, path) == 0)
			return true;
	}
}

/*
 * Where the root can be written to, a volume without a name is a part of it: both go with the VM,
 * and what the image has in it is there. Where it cannot, a volume is empty memory.
 */
static int merge_volumes(kiln_config *config, const json_t *volumes, kiln_error *err)
{
	const char *kind;
	const json_t *item;
	size_t i;
	int r = 0;

	if (!json_array_size(volumes) ||
	    kiln_config_get(config, "root.overlay.kind", &kind, NULL) < 0 ||
	    strcmp(kind, "none") != 0)
		return 0;
	json_array_foreach (volumes, i, item) {
		const char *path = json_string_value(item);
		autojson *object = NULL;
		kiln__autofree char *text = NULL;

		if (!path || is_mounted(config, "volumes", path) ||
		    is_mounted(config, "tmpfs", path))
			continue;
		object = json_pack("{s:s, s:s, s:b}", "path", path, "mode", "0755", "exec", 1);
		text = object ? json_dumps(object, JSON_COMPACT) : NULL;
		r = text ? kiln_config_set(config, "tmpfs[]", text, err) : kiln__fail_nomem(err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int merge_process(const struct kiln__imageconf *how, kiln_config *config,
			 const json_t *image, kiln_error *err)
{
	const char *cwd = json_string_value(json_object_get(image, "cwd"));
	autojson *process = member(config, "process");

	merge_env(process, json_object_get(image, "env"));
	merge_command(how, process, image);
	merge_text(process, "cwd", cwd && cwd[0] != '/' ? "/" : "", cwd);
	merge_text(process, "user", "", json_string_value(json_object_get(image, "user")));
	merge_text(process, "stop_signal", "",
		   json_string_value(json_object_get(image, "stop_signal")));
	return json_object_size(process) ? kiln__config_put(config, "process", process, err) : 0;
}

/* NAME@DIGEST */
static int set_root(kiln_config *config, const struct kiln__image *image, kiln_error *err)
{
	kiln__autofree char *name = strndup(image->name, strcspn(image->name, "@"));
	kiln__autofree char *pinned = name ? kiln__join(name, "@", image->digest, NULL) : NULL;
	autojson *root = member(config, "root");

	if (!pinned || json_object_set_new(root, "image", json_string(pinned)) ||
	    json_object_set_new(root, "image_applied", json_true()))
		return kiln__fail_nomem(err);
	return kiln__config_put(config, "root", root, err);
}

int kiln__imageconf_apply(kiln_config *config, const struct kiln__image *image,
			  const struct kiln__imageconf *how, kiln_error *err)
{
	const json_t *process = json_object_get(image->about, "process");
	int r = set_root(config, image, err);

	merge_labels(config, json_object_get(process, "labels"));
	if (r == 0)
		r = merge_process(how, config, process, err);
	if (r == 0 && !how->no_health)
		r = merge_health(config, json_object_get(process, "healthcheck"), err);
	if (r == 0)
		r = merge_volumes(config, json_object_get(process, "volumes"), err);
	if (r == 0 && how->publish_all)
		r = kiln__imageports_publish(config, json_object_get(process, "ports"), err);
	if (r < 0)
		kiln__prefix(err, "%s", image->name);
	return r;
}
