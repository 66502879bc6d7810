/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include "buf.h"
#include "err.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ARGS 128

static int find_helper(char **ret, kiln_error *err)
{
	static const char *const places[] = {"kiln-image", "../libexec/kiln/kiln-image"};
	const char *given = secure_getenv("KILN_IMAGE");
	kiln__autofree char *exe = NULL;
	char *slash;
	int rc;

	if (given && *given) {
		*ret = strdup(given);
		return *ret ? 0 : kiln__fail_nomem(err);
	}
	rc = kiln__os_exe_path(&exe, err);
	if (rc)
		return rc;
	slash = strrchr(exe, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		kiln__autofree char *path = kiln__strf("%s/%s", exe, places[i]);

		if (path && !access(path, X_OK)) {
			*ret = kiln__take(path);
			return 0;
		}
	}
#ifdef KILN_LIBEXECDIR
	if (!access(KILN_LIBEXECDIR "/kiln-image", X_OK)) {
		*ret = strdup(KILN_LIBEXECDIR "/kiln-image");
		return *ret ? 0 : kiln__fail_nomem(err);
	}
#endif
	kiln__fail(err, KILN_ENOENT, "the program kiln-image is missing: it is not beside %s", exe);
	kiln__hint(err, "install all of kiln, or let KILN_IMAGE name the program");
	return KILN_ENOENT;
}

/* A number for a name of kiln/error.h; the helper is not trusted to say 0. */
static int code_of(const char *name)
{
	for (int code = KILN_EINVAL; code >= KILN_ESYSTEM; code--)
		if (name && !strcmp(kiln_error_name(code), name))
			return code;
	return KILN_ESYSTEM;
}

static int failed(const struct kiln__buf *text, struct kiln__exit how, kiln_error *err)
{
	const char *line = text->data ? text->data : "";
	json_t *object = json_loadb(line, text->len, JSON_DISABLE_EOF_CHECK, NULL);
	const char *code = json_string_value(json_object_get(object, "code"));
	const char *message = json_string_value(json_object_get(object, "message"));
	const char *hint = json_string_value(json_object_get(object, "hint"));
	int rc;

	if (code && message) {
		rc = kiln__fail(err, code_of(code), "%s", message);
		if (hint && *hint)
			kiln__hint(err, "%s", hint);
	} else if (how.signaled) {
		rc = kiln__fail(err, KILN_EDIED, "kiln-image was killed by signal %d%s", how.code,
				how.code == 31   ? " (its sandbox forbids what it tried)"
				: how.code == 24 ? " (the input takes too long to read)"
						 : "");
	} else {
		rc = kiln__fail(err, KILN_EDIED, "kiln-image ended with code %d: %.*s", how.code,
				(int)strcspn(line, "\n"), line);
	}
	json_decref(object);
	return rc;
}

int kiln__helper_call(const char *const *argv, const struct kiln__spawn_fd *fds, size_t fd_count,
		      json_t **ret, kiln_error *err)
{
	kiln__autobuf out = KILN__BUF_INIT, text = KILN__BUF_INIT;
	kiln__autofree char *path = NULL;
	const char *args[MAX_ARGS + 2];
	struct kiln__run run = {.argv = args, .fds = fds, .fd_count = fd_count};
	struct kiln__exit how;
	size_t count = 0;
	int rc;

	rc = find_helper(&path, err);
	if (rc)
		return rc;
	for (args[0] = "kiln-image"; argv[count]; count++) {
		if (count == MAX_ARGS)
			return kiln__fail(err, KILN_EOVERFLOW, "too many arguments for kiln-image");
		args[count + 1] = argv[count];
	}
	args[count + 1] = NULL;
	run.path = path;
	rc = kiln__run(&run, &out, &text, &how, err);
	if (rc)
		return rc;
	if (how.signaled || how.code)
		return failed(&text, how, err);
	*ret = json_loadb(out.data ? out.data : "", out.len, 0, NULL);
	if (!json_is_object(*ret)) {
		json_decref(*ret);
		return kiln__fail(err, KILN_EPROTO, "kiln-image printed no result");
	}
	return 0;
}
