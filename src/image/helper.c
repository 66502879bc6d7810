/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include "buf.h"
#include "err.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARGS 128

/* A number for a name of kiln/error.h; the helper is not trusted to say 0. */
static int code_of(const char *name)
{
	for (int code = KILN_EINVAL; code >= KILN_ESYSTEM; code--)
		if (name && !strcmp(kiln_error_name(code), name))
			return code;
	return KILN_ESYSTEM;
}

struct program {
	const char *name;
	const char *variable;
	bool unprivileged; /* it has no sandbox of its own */
};

static int failed(const char *name, const struct kiln__buf *text, struct kiln__exit how,
		  kiln_error *err)
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
		rc = kiln__fail(err, KILN_EDIED, "%s was killed by signal %d%s", name, how.code,
				how.code == 31   ? " (its sandbox forbids what it tried)"
				: how.code == 24 ? " (the input takes too long to read)"
						 : "");
	} else {
		rc = kiln__fail(err, KILN_EDIED, "%s ended with code %d: %.*s", name, how.code,
				(int)strcspn(line, "\n"), line);
	}
	json_decref(object);
	return rc;
}

static int call(const struct program *program, const struct kiln__helper *helper, json_t **ret,
		kiln_error *err)
{
	const char *const *argv = helper->argv;
	kiln__autobuf out = KILN__BUF_INIT, text = KILN__BUF_INIT;
	kiln__autofree char *path = NULL;
	const char *args[MAX_ARGS + 2];
	struct kiln__run run = {
		.argv = args,
		.fds = helper->fds,
		.fd_count = helper->fd_count,
		.unprivileged = program->unprivileged,
		.line = helper->line,
		.data = helper->data,
		.line_fd = helper->line_fd,
	};
	struct kiln__exit how;
	size_t count = 0;
	int rc;

	rc = kiln__os_find_helper(&path, program->name, program->variable, err);
	if (rc)
		return rc;
	for (args[0] = program->name; argv[count]; count++) {
		if (count == MAX_ARGS)
			return kiln__fail(err, KILN_EOVERFLOW, "too many arguments for %s",
					  program->name);
		args[count + 1] = argv[count];
	}
	args[count + 1] = NULL;
	run.path = path;
	rc = kiln__run(&run, &out, &text, &how, err);
	if (rc)
		return rc;
	if (how.signaled || how.code)
		return failed(program->name, &text, how, err);
	*ret = json_loadb(out.data ? out.data : "", out.len, 0, NULL);
	if (!json_is_object(*ret)) {
		json_decref(*ret);
		return kiln__fail(err, KILN_EPROTO, "%s printed no result", program->name);
	}
	return 0;
}

int kiln__helper_run(const struct kiln__helper *helper, json_t **ret, kiln_error *err)
{
	static const struct program program = {"kiln-image", "KILN_IMAGE", false};

	return call(&program, helper, ret, err);
}

int kiln__helper_call(const char *const *argv, const struct kiln__spawn_fd *fds, size_t fd_count,
		      json_t **ret, kiln_error *err)
{
	const struct kiln__helper helper = {.argv = argv, .fds = fds, .fd_count = fd_count};

	return kiln__helper_run(&helper, ret, err);
}

int kiln__download_call(const char *const *argv, const struct kiln__spawn_fd *fds, size_t fd_count,
			json_t **ret, kiln_error *err)
{
	static const struct program program = {"kiln-download", "KILN_DOWNLOAD", true};
	const struct kiln__helper helper = {.argv = argv, .fds = fds, .fd_count = fd_count};

	return call(&program, &helper, ret, err);
}
