/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who one is to a registry, by the files that Docker and containers' tools share
 * (containers-auth.json(5)), the first of these that has something to say:
 *
 *     $REGISTRY_AUTH_FILE, or ${XDG_RUNTIME_DIR}/containers/auth.json
 *     ${XDG_CONFIG_HOME}/containers/auth.json
 *     ${DOCKER_CONFIG}/config.json, by default ~/.docker/config.json
 *
 * In each of them a credential helper for the registry (credHelpers) comes first, then "auths", the
 * longest name first, then the store for all (credsStore). Helpers are programs of the user's,
 * docker-credential-NAME, and run with the user's rights: not in kiln-image.
 */
#ifndef KILN_IMAGE_AUTH_H
#define KILN_IMAGE_AUTH_H

#include <kiln/error.h>

struct kiln__login {
	char *user;
	char *password;
	char *identity; /* a token to get tokens by, instead of a password */
};

/* Overwrites what was secret. */
void kiln__login_done(struct kiln__login *login);

/* For HOST/PATH. 0 and an empty login where nothing is known of it. Blocks while a helper runs. */
int kiln__auth_find(const char *host, const char *path, struct kiln__login *ret, kiln_error *err);

/* Keeps a login in the first of the files above, mode 0600, or in its credential helper. */
int kiln__auth_save(const char *host, const char *user, const char *password, kiln_error *err);

/*
 * Forgets it there: 1 if there was one, else 0. What kiln__auth_find() finds nevertheless is in a
 * file that another tool has written: *@ret_still names it, malloc'ed, or is NULL.
 */
int kiln__auth_remove(const char *host, char **ret_still, kiln_error *err);

/* Where kiln__auth_save() writes, malloc'ed. */
int kiln__auth_file(char **ret, kiln_error *err);

#endif
