/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the seed and of volumes into a configuration: see configure.c. */
#include "cli.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

#define MAX_KEY_FILE (64 * 1024)

/* --- directories of the host -------------------------------------------------- */

/* SOURCE[:DIR][:ro]: without DIR the guest mounts it itself, by its tag. */
int enter_share(kiln_config *config, const char *value, kiln_error *err)
{
	kiln__autofree char *text = strdup(value);
	char *target = text ? strchr(text, ':') : NULL;
	kiln__autofree char *source = NULL;
	char *how = NULL;
	json_t *share;
	int r;

	if (!text)
		return kiln__fail_nomem(err);
	if (target)
		*target++ = '\0';
	how = target ? strchr(target, ':') : NULL;
	if (how)
		*how++ = '\0';
	if (target && strcmp(target, "ro") == 0 && !how) {
		how = target;
		target = NULL;
	}
	if (how && strcmp(how, "ro") != 0 && strcmp(how, "rw") != 0) {
		kiln__fail(err, KILN_EINVAL, "must be SOURCE[:DIR][:ro], not \"%.80s\"", value);
		return KILN_EINVAL;
	}
	r = absolute_path(text, &source, err);
	if (r < 0)
		return r;
	share = json_pack("{s:s, s:b}", "source", source, "readonly", how && how[1] == 'o');
	if (target)
		json_object_set_new(share, "target", json_string(target));
	return config_set_json(config, "shares[]", share, err);
}

/* --- volumes ----------------------------------------------------------------- */

/* NAME:DIR[:ro]. What begins like a path is a directory of the host, as docker has it: a share. */
int enter_volume(kiln_config *config, const char *value, kiln_error *err)
{
	kiln__autofree char *text = strdup(value);
	char *path = text ? strchr(text, ':') : NULL;
	char *how;

	if (!text)
		return kiln__fail_nomem(err);
	if (text[0] == '/' && !path) {
		kiln__fail(err, KILN_ENOTSUP,
			   "not supported yet by this version: volumes without a name (\"%.80s\")",
			   value);
		kiln__hint(err, "give it one: -v NAME:%.80s", value);
		return KILN_ENOTSUP;
	}
	if (text[0] == '/' || text[0] == '.' || text[0] == '~')
		return enter_share(config, value, err);
	if (!path || path == text) {
		kiln__fail(err, KILN_EINVAL, "must be NAME:DIR[:ro], not \"%.80s\"", value);
		return KILN_EINVAL;
	}
	*path++ = '\0';
	how = strchr(path, ':');
	if (how)
		*how++ = '\0';
	if (how && strcmp(how, "ro") != 0 && strcmp(how, "rw") != 0) {
		kiln__fail(err, KILN_ENOTSUP, "a volume has no option \"%.40s\"", how);
		kiln__hint(err, "it has ro and rw");
		return KILN_ENOTSUP;
	}
	return config_set_json(config, "volumes[]",
			       json_pack("{s:s, s:s, s:b}", "name", text, "path", path, "readonly",
					 how && how[1] == 'o'),
			       err);
}

/* --- the seed ---------------------------------------------------------------- */

static size_t list_size(const kiln_config *config, const char *key)
{
	const char *text;
	json_t *list;
	size_t size;

	if (kiln_config_get(config, key, &text, NULL) < 0)
		return 0;
	list = json_loads(text, 0, NULL);
	size = json_array_size(list);
	json_decref(list);
	return size;
}

static int add_user(kiln_config *config, const char *name, kiln_error *err)
{
	return config_set_json(config, "seed.users[]",
			       json_pack("{s:s, s:b}", "name", name, "sudo", 1), err);
}

/* A key goes to the last user that was added; without one, to the image's own. */
static int add_key(kiln_config *config, const char *key, kiln_error *err)
{
	size_t users = list_size(config, "seed.users");
	char path[64] = "seed.ssh_keys[]";

	if (users)
		snprintf(path, sizeof(path), "seed.users[%zu].ssh_keys[]", users - 1);
	return kiln_config_set(config, path, key, err);
}

/* A key by itself, or a file of them, one a line, as ~/.ssh/id_ed25519.pub is. */
static int add_keys(kiln_config *config, const char *value, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	char *rest, *line;
	size_t len, count = 0;
	int r;

	if (strchr(value, ' '))
		return add_key(config, value, err);
	r = kiln__os_read_file(value, MAX_KEY_FILE, &text, &len, err);
	for (rest = text; r == 0 && (line = strsep(&rest, "\n"));) {
		line[strcspn(line, "\r")] = '\0';
		if (!line[0] || line[0] == '#')
			continue;
		if (strncmp(line, "-----BEGIN", 10) == 0) {
			kiln__fail(err, KILN_EINVAL, "%s is a private key", value);
			kiln__hint(err, "give the public one, most often %s.pub", value);
			return KILN_EINVAL;
		}
		r = add_key(config, line, err);
		count++;
	}
	if (r == 0 && !count)
		r = kiln__fail(err, KILN_EFORMAT, "%s has no key", value);
	return r;
}

/* SOURCE:DIR[:OPTIONS]; the source may have a colon itself, the directory begins with a slash. */
static int add_mount(kiln_config *config, const char *value, kiln_error *err)
{
	kiln__autofree char *text = strdup(value);
	char *path = text ? strstr(text, ":/") : NULL;
	char *options;
	json_t *mount;

	if (!text)
		return kiln__fail_nomem(err);
	if (!path || path == text) {
		kiln__fail(err, KILN_EINVAL, "must be SOURCE:DIR[:OPTIONS], not \"%.80s\"", value);
		return KILN_EINVAL;
	}
	*path++ = '\0';
	options = strchr(path, ':');
	if (options)
		*options++ = '\0';
	mount = json_pack("{s:s, s:s, s:s*}", "source", text, "path", path, "options", options);
	return config_set_json(config, "seed.mounts[]", mount, err);
}

static int set_seed_file(kiln_config *config, const struct given *given, kiln_error *err)
{
	kiln__autofree char *path = NULL;
	struct kiln__os_stat st;
	int r = absolute_path(given->value, &path, err);

	if (r == 0)
		r = kiln__os_stat(path, &st, err);
	if (r == 0 && st.is_directory)
		r = kiln__fail(err, KILN_EINVAL, "%s is a directory", path);
	return r < 0 ? r : kiln_config_set(config, given->option->key, path, err);
}

int enter_seed(kiln_config *config, const struct given *given, kiln_error *err)
{
	switch (given->option->id) {
	case OPT_ADD_USER:
		return add_user(config, given->value, err);
	case OPT_SSH_KEY:
		return add_keys(config, given->value, err);
	case OPT_SEED_MOUNT:
		return add_mount(config, given->value, err);
	case OPT_USER_DATA:
	case OPT_META_DATA:
	case OPT_NETWORK_CONFIG:
		return set_seed_file(config, given, err);
	default:
		return kiln_config_set(config, given->option->key, given->value, err);
	}
}
