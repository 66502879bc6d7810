/* SPDX-License-Identifier: Apache-2.0 */
#include "auth.h"
#include "base64.h"

#include "buf.h"
#include "cleanup.h"
#include "err.h"
#include "files.h"
#include "os.h"
#include "run.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE (1u << 20)

KILN__DEFINE_AUTOPTR(json_t, json_decref)
#define autojson kiln__cleanup(json_decref_autop) json_t

static void wipe(char **text)
{
	if (*text)
		kiln__wipe(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void kiln__login_done(struct kiln__login *login)
{
	wipe(&login->user);
	wipe(&login->password);
	wipe(&login->identity);
}

/* --- the files ------------------------------------------------------------------------------- */

static char *below(const char *variable, const char *home_part, const char *rest)
{
	kiln__autofree char *given = kiln__os_env(variable);
	kiln__autofree char *home = NULL;

	if (given && given[0] == '/')
		return kiln__strf("%s/%s", given, rest);
	if (!home_part)
		return NULL;
	home = kiln__os_env("HOME");
	return home && home[0] == '/' ? kiln__strf("%s/%s/%s", home, home_part, rest) : NULL;
}

#define FILES 3

/* Of those that are not there to be named, NULL. */
static void list_files(char *ret[FILES])
{
	char *given = kiln__os_env("REGISTRY_AUTH_FILE");

	if (given && !*given) {
		free(given);
		given = NULL;
	}
	ret[0] = given ? given : below("XDG_RUNTIME_DIR", NULL, "containers/auth.json");
	ret[1] = below("XDG_CONFIG_HOME", ".config", "containers/auth.json");
	ret[2] = below("DOCKER_CONFIG", ".docker", "config.json");
}

static void free_files(char *files[FILES])
{
	for (size_t i = 0; i < FILES; i++)
		free(files[i]);
}

/* NULL, and success, of a file that is not there. */
static int load(const char *path, json_t **ret, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	json_error_t where;
	size_t len;
	int r = kiln__os_read_file(path, MAX_FILE, &text, &len, err);

	*ret = NULL;
	if (r == KILN_ENOENT)
		return 0;
	if (r < 0)
		return r;
	*ret = json_loadb(text, len, 0, &where);
	kiln__wipe(text, len);
	if (json_is_object(*ret))
		return 0;
	json_decref(*ret);
	*ret = NULL;
	return kiln__fail(err, KILN_EFORMAT, "%s is no JSON object (line %d)", path, where.line);
}

/* --- credential helpers ---------------------------------------------------------------------- */

/* A file without a name: nobody need read it meanwhile, however long it is. */
static int helper_input(const char *text, kiln_fd *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = kiln__os_shared_memory(&fd, "credentials", strlen(text), err);

	if (r == 0)
		r = kiln__os_pwrite_full(fd, text, strlen(text), 0, err);
	if (r == 0)
		*ret = kiln__take_fd(&fd);
	return r;
}

/* Runs docker-credential-NAME VERB with @input; what it printed is added to @out. */
static int run_helper(const char *name, const char *verb, const char *input, struct kiln__buf *out,
		      kiln_error *err)
{
	kiln__autofree char *program = kiln__strf("docker-credential-%s", name);
	kiln__autofree char *path = NULL;
	kiln__autoclose kiln_fd in = KILN_FD_NONE;
	kiln__autobuf diagnostics = KILN__BUF_INIT;
	const char *const argv[] = {program, verb, NULL};
	struct kiln__spawn_fd fds[1];
	struct kiln__run run = {.argv = argv, .fds = fds, .fd_count = 1};
	struct kiln__exit how;
	int r;

	if (!program)
		return kiln__fail_nomem(err);
	if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "_-.") != strlen(name))
		return kiln__fail(err, KILN_EINVAL, "\"%.60s\" is no name of a credential helper",
				  name);
	r = kiln__os_find_program(&path, program, err);
	if (r == 0)
		r = helper_input(input, &in, err);
	if (r < 0)
		return r;
	fds[0] = (struct kiln__spawn_fd){in, 0};
	run.path = path;
	r = kiln__run(&run, out, &diagnostics, &how, err);
	if (r < 0)
		return r;
	if (!how.signaled && how.code == 0)
		return 0;
	/* The protocol has no code for it but these words. */
	if (out->data && strstr(out->data, "credentials not found"))
		return KILN_ENOENT;
	return kiln__fail(err, KILN_EIO, "%s %s failed: %.*s", program, verb,
			  (int)strcspn(out->data ? out->data : "", "\n"),
			  out->data ? out->data : "");
}

static const char *server_of(const char *host)
{
	return strcmp(host, "docker.io") == 0 ? "https://index.docker.io/v1/" : host;
}

static int ask_helper(const char *name, const char *host, struct kiln__login *ret, kiln_error *err)
{
	kiln__autobuf out = KILN__BUF_INIT;
	autojson *object = NULL;
	const char *user, *secret;
	int r = run_helper(name, "get", server_of(host), &out, err);

	if (r == KILN_ENOENT)
		return 0;
	if (r == 0)
		object = json_loadb(out.data ? out.data : "", out.len, 0, NULL);
	user = json_string_value(json_object_get(object, "Username"));
	secret = json_string_value(json_object_get(object, "Secret"));
	if (r == 0 && (!user || !secret))
		r = kiln__fail(err, KILN_EPROTO, "docker-credential-%s gives no login", name);
	if (out.data)
		kiln__wipe(out.data, out.len);
	if (r < 0)
		return r;
	if (strcmp(user, "<token>") == 0) {
		ret->identity = strdup(secret);
		return ret->identity ? 0 : kiln__fail_nomem(err);
	}
	ret->user = strdup(user);
	ret->password = strdup(secret);
	return ret->user && ret->password ? 0 : kiln__fail_nomem(err);
}

/* --- entries --------------------------------------------------------------------------------- */

/* How a key of "auths" names a registry: older ones are URLs. malloc'ed. */
static char *plain_key(const char *key)
{
	const char *at = strstr(key, "://");
	char *plain = strdup(at ? at + 3 : key);
	size_t len = plain ? strlen(plain) : 0;

	while (len && plain[len - 1] == '/')
		plain[--len] = '\0';
	if (at && len > 3 && (!strcmp(plain + len - 3, "/v1") || !strcmp(plain + len - 3, "/v2")))
		plain[len - 3] = '\0';
	if (plain && (!strcmp(plain, "index.docker.io") || !strcmp(plain, "registry-1.docker.io")))
		strcpy(plain, "docker.io");
	return plain;
}

/* The entry whose key is exactly @name. */
static json_t *entry_of(const json_t *table, const char *name)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)table, key, value) {
		kiln__autofree char *plain = plain_key(key);

		if (plain && strcmp(plain, name) == 0)
			return value;
	}
	return NULL;
}

/* Under whatever key it is: how many there were. */
static unsigned drop_entries(json_t *table, const char *name)
{
	unsigned count = 0;
	const char *key;
	json_t *value;
	void *next;

	json_object_foreach_safe(table, next, key, value)
	{
		kiln__autofree char *plain = plain_key(key);

		if (plain && strcmp(plain, name) == 0 && json_object_del(table, key) == 0)
			count++;
	}
	return count;
}

static int take_entry(const json_t *entry, const char *file, struct kiln__login *ret,
		      kiln_error *err)
{
	const char *packed = json_string_value(json_object_get(entry, "auth"));
	const char *identity = json_string_value(json_object_get(entry, "identitytoken"));
	kiln__autofree char *both = packed ? kiln__base64_decode(packed) : NULL;
	char *colon = both ? strchr(both, ':') : NULL;

	if (packed && *packed && !colon)
		return kiln__fail(err, KILN_EFORMAT, "%s has an \"auth\" that is none", file);
	if (identity && *identity) {
		ret->identity = strdup(identity);
	} else if (colon) {
		*colon = '\0';
		ret->user = strdup(both);
		ret->password = strdup(colon + 1);
		kiln__wipe(both, strlen(colon + 1) + (size_t)(colon + 1 - both));
	}
	return 0;
}

/* From HOST/a/b over HOST/a to HOST. */
static json_t *longest_entry(const json_t *auths, const char *host, const char *path)
{
	kiln__autofree char *name = kiln__strf("%s/%s", host, path);

	while (name) {
		json_t *entry = entry_of(auths, name);
		char *slash = strrchr(name, '/');

		if (entry || !slash)
			return entry;
		*slash = '\0';
	}
	return NULL;
}

static int find_in(const json_t *object, const char *file, const char *host, const char *path,
		   struct kiln__login *ret, kiln_error *err)
{
	const char *helper =
		json_string_value(entry_of(json_object_get(object, "credHelpers"), host));
	const char *store = json_string_value(json_object_get(object, "credsStore"));
	json_t *entry;
	int r = 0;

	if (helper)
		r = ask_helper(helper, host, ret, err);
	if (r < 0 || ret->user || ret->identity)
		return r;
	entry = longest_entry(json_object_get(object, "auths"), host, path);
	if (entry)
		r = take_entry(entry, file, ret, err);
	if (r < 0 || ret->user || ret->identity || !store || !*store)
		return r;
	return ask_helper(store, host, ret, err);
}

int kiln__auth_find(const char *host, const char *path, struct kiln__login *ret, kiln_error *err)
{
	struct kiln__login login = {NULL};
	char *files[FILES];
	int r = 0;

	list_files(files);
	for (size_t i = 0; i < FILES && r == 0 && !login.user && !login.identity; i++) {
		autojson *object = NULL;

		if (!files[i])
			continue;
		r = load(files[i], &object, err);
		if (r == 0 && object)
			r = find_in(object, files[i], host, path, &login, err);
	}
	free_files(files);
	if (r < 0)
		kiln__login_done(&login);
	else
		*ret = login;
	return r;
}

/* --- login, logout --------------------------------------------------------------------------- */

int kiln__auth_file(char **ret, kiln_error *err)
{
	char *files[FILES];

	list_files(files);
	*ret = files[0] ? kiln__take(files[0]) : files[1] ? kiln__take(files[1]) : NULL;
	free_files(files);
	if (*ret)
		return 0;
	kiln__fail(err, KILN_ENOENT, "there is no place for a file of logins");
	kiln__hint(err, "set HOME, or REGISTRY_AUTH_FILE");
	return KILN_ENOENT;
}

/*
 * Until *@ret is closed, no other kiln reads the file to change it. Beside it, since the file is
 * replaced; what the containers' tools do meanwhile is theirs to say.
 */
static int lock(const char *path, kiln_fd *ret, kiln_error *err)
{
	kiln__autofree char *beside = kiln__strf("%s.lock", path);
	kiln__autofree char *dir = strdup(path);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	char *slash = dir ? strrchr(dir, '/') : NULL;
	int r = 0;

	if (!beside || !dir)
		return kiln__fail_nomem(err);
	if (slash && slash != dir) {
		*slash = '\0';
		r = kiln__os_mkdir_p(dir, 0700, err);
	}
	if (r == 0)
		r = kiln__os_open(&fd, beside, KILN__OPEN_WRITE | KILN__OPEN_CREATE, err);
	if (r == 0)
		r = kiln__os_lock_part(fd, 0, true, err);
	if (r == 0)
		*ret = kiln__take_fd(&fd);
	return r;
}

static int save(const char *path, const json_t *object, kiln_error *err)
{
	kiln__autofree char *text = json_dumps(object, JSON_INDENT(8));
	int r;

	if (!text)
		return kiln__fail_nomem(err);
	r = kiln__os_replace_file(path, text, strlen(text), 0600, true, err);
	kiln__wipe(text, strlen(text));
	return r;
}

/* The helper that the file gives this registry to, or NULL. */
static const char *helper_for(const json_t *object, const char *host)
{
	const char *helper =
		json_string_value(entry_of(json_object_get(object, "credHelpers"), host));
	const char *store = json_string_value(json_object_get(object, "credsStore"));

	return helper ? helper : store && *store ? store : NULL;
}

static int save_by_helper(const char *helper, const char *host, const char *user,
			  const char *password, kiln_error *err)
{
	autojson *object = json_pack("{s:s, s:s, s:s}", "ServerURL", server_of(host), "Username",
				     user, "Secret", password);
	kiln__autofree char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	kiln__autobuf out = KILN__BUF_INIT;
	int r = text ? run_helper(helper, "store", text, &out, err) : kiln__fail_nomem(err);

	if (text)
		kiln__wipe(text, strlen(text));
	return r;
}

int kiln__auth_save(const char *host, const char *user, const char *password, kiln_error *err)
{
	kiln__autofree char *path = NULL, *both = NULL, *packed = NULL;
	kiln__autoclose kiln_fd locked = KILN_FD_NONE;
	autojson *object = NULL;
	json_t *auths;
	int r = kiln__auth_file(&path, err);

	if (r == 0)
		r = lock(path, &locked, err);
	if (r == 0)
		r = load(path, &object, err);
	if (r < 0)
		return r;
	if (object && helper_for(object, host))
		return save_by_helper(helper_for(object, host), host, user, password, err);
	if (!object)
		object = json_object();
	auths = json_object_get(object, "auths");
	if (!json_is_object(auths)) {
		auths = json_object();
		json_object_set_new(object, "auths", auths);
	}
	/* Not only under this key: which of two is found is nobody's choice. */
	drop_entries(auths, host);
	both = kiln__strf("%s:%s", user, password);
	packed = both ? kiln__base64_encode(both) : NULL;
	if (!packed || json_object_set_new(auths, host, json_pack("{s:s}", "auth", packed)))
		r = kiln__fail_nomem(err);
	if (both)
		kiln__wipe(both, strlen(both));
	if (r == 0)
		r = save(path, object, err);
	if (packed)
		kiln__wipe(packed, strlen(packed));
	return r;
}

/* Removes what find_in() would find, but for the stores of helpers: 1 if there was something. */
static int remove_entries(const char *path, json_t *object, const char *host, kiln_error *err)
{
	int r;

	if (!drop_entries(json_object_get(object, "auths"), host))
		return 0;
	r = save(path, object, err);
	return r < 0 ? r : 1;
}

static int erase_by_helper(const json_t *object, const char *host, kiln_error *err)
{
	kiln__autobuf out = KILN__BUF_INIT;
	const char *helper = helper_for(object, host);
	int r = helper ? run_helper(helper, "erase", server_of(host), &out, err) : KILN_ENOENT;

	return r == KILN_ENOENT ? 0 : r < 0 ? r : 1;
}

/* What other tools have kept is theirs; a helper that does not answer has nothing. */
static char *find_still(const char *host)
{
	char *files[FILES];
	char *found = NULL;

	list_files(files);
	for (size_t i = 0; i < FILES && !found; i++) {
		struct kiln__login login = {NULL};
		autojson *object = NULL;

		if (files[i] && load(files[i], &object, NULL) == 0 && object &&
		    find_in(object, files[i], host, "", &login, NULL) == 0 &&
		    (login.user || login.identity))
			found = kiln__take(files[i]);
		kiln__login_done(&login);
	}
	free_files(files);
	return found;
}

int kiln__auth_remove(const char *host, char **ret_still, kiln_error *err)
{
	kiln__autofree char *path = NULL;
	kiln__autoclose kiln_fd locked = KILN_FD_NONE;
	autojson *object = NULL;
	struct kiln__os_stat st;
	int removed = 0;
	int erased = 0;
	int r = kiln__auth_file(&path, err);

	if (r == 0 && kiln__os_stat(path, &st, NULL) == 0)
		r = lock(path, &locked, err);
	if (r == 0)
		r = load(path, &object, err);
	if (r == 0 && object)
		r = removed = remove_entries(path, object, host, err);
	if (r >= 0 && object)
		r = erased = erase_by_helper(object, host, err);
	if (r < 0)
		return r;
	*ret_still = find_still(host);
	return removed || erased;
}
