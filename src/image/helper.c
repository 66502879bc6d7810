/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include "buf.h"
#include "err.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME     "kiln-image"
#define MAX_ARGS 128

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
		rc = kiln__fail(err, KILN_EDIED, NAME " was killed by signal %d%s", how.code,
				how.code == 31   ? " (its sandbox forbids what it tried)"
				: how.code == 24 ? " (the input takes too long to read)"
						 : "");
	} else {
		rc = kiln__fail(err, KILN_EDIED, NAME " ended with code %d: %.*s", how.code,
				(int)strcspn(line, "\n"), line);
	}
	json_decref(object);
	return rc;
}

int kiln__helper_run(const struct kiln__helper *helper, json_t **ret, kiln_error *err)
{
	const char *const *argv = helper->argv;
	kiln__autobuf out = KILN__BUF_INIT, text = KILN__BUF_INIT;
	kiln__autofree char *path = NULL;
	const char *args[MAX_ARGS + 2];
	struct kiln__run run = {
		.argv = args,
		.fds = helper->fds,
		.fd_count = helper->fd_count,
		.line = helper->line,
		.data = helper->data,
		.line_fd = helper->line_fd,
	};
	struct kiln__exit how;
	size_t count = 0;
	int rc;

	rc = kiln__os_find_helper(&path, NAME, "KILN_IMAGE", err);
	if (rc)
		return rc;
	for (args[0] = NAME; argv[count]; count++) {
		if (count == MAX_ARGS)
			return kiln__fail(err, KILN_EOVERFLOW, "too many arguments for %s", NAME);
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
		return kiln__fail(err, KILN_EPROTO, "%s printed no result", NAME);
	}
	return 0;
}

int kiln__helper_call(const char *const *argv, const struct kiln__spawn_fd *fds, size_t fd_count,
		      json_t **ret, kiln_error *err)
{
	const struct kiln__helper helper = {.argv = argv, .fds = fds, .fd_count = fd_count};

	return kiln__helper_run(&helper, ret, err);
}

int kiln__helper_request(const json_t *request, kiln_fd *ret, kiln_error *err)
{
	kiln__autofree char *text = json_dumps(request, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;
	int r;

	if (!text)
		return kiln__fail(err, KILN_EINVAL, "a name or login is not UTF-8");
	r = kiln__os_shared_memory(ret, "request", len, err);
	if (r == 0)
		r = kiln__os_pwrite_full(*ret, text, len, 0, err);
	kiln__wipe(text, len);
	return r;
}

json_int_t kiln__helper_timeout(void)
{
	kiln__autofree char *text = kiln__os_env("KILN_PULL_TIMEOUT");
	long seconds = text ? strtol(text, NULL, 10) : 0;

	return seconds > 0 && seconds <= 3600 ? seconds : 0;
}
