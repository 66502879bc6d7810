/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Module lists and modules from anybody. The first byte chooses: a modules.dep or a modules.order
 * with a first line that names what is wanted, or a module. What is resolved must be
 * relative paths, each once.
 */
#include "modules.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

/* Dependencies as good as any: the path's own last letters. */
static int read_depends(void *data, const char *path, struct kiln__buf *ret, kiln_error *err)
{
	size_t len = strlen(path);

	(void)data;
	(void)err;
	kiln__buf_adds(ret, path + (len > 2 ? len - 2 : 0));
	return 0;
}

static void check_paths(const char *const *paths)
{
	for (size_t i = 0; paths[i]; i++) {
		CHECK(paths[i][0] && paths[i][0] != '/');
		for (size_t j = 0; j < i; j++)
			CHECK(paths[i] != paths[j]);
	}
}

static void resolve(const char *text, size_t len, bool dep)
{
	const char *end = memchr(text, '\n', len);
	struct kiln__modules *modules;
	const char **paths;
	kiln_error err = KILN_ERROR_INIT;
	int rc;

	if (!end || kiln__modules_new(&modules, &err))
		return;
	len -= (size_t)(end + 1 - text);
	rc = dep ? kiln__modules_add_dep(modules, end + 1, len, &err)
		 : kiln__modules_add_order(modules, end + 1, len, &err);
	if (!rc) {
		char *name = strndup(text, (size_t)(end - text));
		const char *const wanted[] = {name, "a", NULL};

		rc = kiln__modules_resolve(modules, wanted, read_depends, NULL, &paths, &err);
		if (!rc) {
			check_paths(paths);
			free(paths);
		}
		free(name);
	}
	CHECK(!rc || (err.code == rc && err.message[0]));
	kiln__modules_free(modules);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	kiln__autobuf depends = KILN__BUF_INIT;

	if (!len)
		return 0;
	if (bytes[0] == 'd' || bytes[0] == 'o')
		resolve((const char *)bytes + 1, len - 1, bytes[0] == 'd');
	else
		kiln__module_depends("input", bytes + 1, len - 1, &depends, NULL);
	return 0;
}
