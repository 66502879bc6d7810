/* SPDX-License-Identifier: Apache-2.0 */
#include "certs.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

/* Of all files of one registry: what a request to kiln-image has room for. */
#define MAX_FILE ((size_t)64 << 10)

void kiln__certs_done(struct kiln__certs *certs)
{
	if (certs->key)
		kiln__wipe(certs->key, strlen(certs->key));
	free(certs->authorities);
	free(certs->certificate);
	free(certs->key);
	*certs = (struct kiln__certs){NULL};
}

/* The name without @suffix, malloc'ed, if it has that. */
static char *stem(const char *name, const char *suffix)
{
	size_t len = strlen(name);
	size_t end = strlen(suffix);

	return len > end && strcmp(name + len - end, suffix) == 0 ? strndup(name, len - end) : NULL;
}

static int read_at(const char *dir, const char *name, const char *suffix, char **ret,
		   kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/%s%s", dir, name, suffix);
	size_t len;

	return path ? kiln__os_read_file(path, MAX_FILE, ret, &len, err) : kiln__fail_nomem(err);
}

static int add_authority(const char *dir, const char *name, struct kiln__certs *ret,
			 kiln_error *err)
{
	kiln__autofree char *text = NULL;
	char *both;
	int r = read_at(dir, name, "", &text, err);

	if (r < 0)
		return r;
	both = kiln__strf("%s%s\n", ret->authorities ? ret->authorities : "", text);
	if (!both)
		return kiln__fail_nomem(err);
	free(ret->authorities);
	ret->authorities = both;
	if (strlen(both) > MAX_FILE)
		return kiln__fail(err, KILN_EOVERFLOW, "%s: more than %zu bytes of authorities",
				  dir, MAX_FILE);
	return 0;
}

/* The first pair is the one. */
static int take_pair(const char *dir, const char *name, struct kiln__certs *ret, kiln_error *err)
{
	int r;

	if (ret->certificate)
		return 0;
	r = read_at(dir, name, ".cert", &ret->certificate, err);
	if (r == 0)
		r = read_at(dir, name, ".key", &ret->key, err);
	if (r == KILN_ENOENT)
		return kiln__fail(err, KILN_EFORMAT, "%s: %s.cert and %s.key belong together", dir,
				  name, name);
	return r;
}

static int read_folder(const char *dir, char *const *names, struct kiln__certs *ret,
		       kiln_error *err)
{
	int r = 0;

	for (; r == 0 && *names; names++) {
		kiln__autofree char *authority = stem(*names, ".crt");
		kiln__autofree char *cert = stem(*names, ".cert");
		kiln__autofree char *key = stem(*names, ".key");

		if (authority)
			r = add_authority(dir, *names, ret, err);
		else if (cert || key)
			r = take_pair(dir, cert ? cert : key, ret, err);
	}
	return r;
}

int kiln__certs_find(const char *host, struct kiln__certs *ret, kiln_error *err)
{
	kiln__autofree char *home = kiln__os_env("HOME");
	kiln__autofree char *own = kiln__strf("%s/.config/containers", home ? home : "");
	const char *const places[] = {own, "/etc/containers", "/etc/docker"};
	struct kiln__certs certs = {NULL};
	int r = 0;

	if (!own)
		return kiln__fail_nomem(err);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		kiln__autofree char *dir = kiln__strf("%s/certs.d/%s", places[i], host);
		char **names = NULL;

		if (!dir)
			return kiln__fail_nomem(err);
		if (*dir != '/' || kiln__os_list_dir(dir, &names, NULL) < 0)
			continue;
		r = read_folder(dir, names, &certs, err);
		kiln__os_free_names(names);
		break;
	}
	if (r < 0)
		kiln__certs_done(&certs);
	else
		*ret = certs;
	return r;
}
