/* SPDX-License-Identifier: Apache-2.0 */
#include "modules.h"

#include "err.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIST_MAX 16384

static int load(const char *name, const char *parameters, kiln_error *err)
{
	char path[PATH_MAX];
	int error = 0;
	int fd;

	snprintf(path, sizeof(path), "/modules/%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot open %s", path);
	if (syscall(SYS_finit_module, fd, parameters, 0) < 0)
		error = errno;
	close(fd);
	if (error && error != EEXIST && error != ENODEV)
		return kiln__fail_errno(err, error, "cannot load the module %s", name);
	return 0;
}

static int load_line(char *line, void (*step)(void *data, const char *name), void *data,
		     kiln_error *err)
{
	bool optional = *line == '-';
	char *name = line + optional;
	char *parameters = strchr(name, ' ');
	int r;

	if (parameters)
		*parameters++ = '\0';
	if (!*name)
		return 0;
	r = load(name, parameters ? parameters : "", err);
	if (r < 0 && !optional)
		return r;
	step(data, name);
	return 0;
}

int load_modules(void (*step)(void *data, const char *name), void *data, kiln_error *err)
{
	char list[LIST_MAX];
	int len = read_small_file("/modules/order", list, sizeof(list));
	char *end;
	int r = 0;

	if (len == -ENOENT)
		return 0;
	if (len < 0)
		return kiln__fail_errno(err, -len, "cannot read /modules/order");
	if (len >= LIST_MAX - 2)
		return kiln__fail(err, KILN_EOVERFLOW, "/modules/order is too long");
	for (char *line = list; r == 0 && line; line = end) {
		end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		r = load_line(line, step, data, err);
	}
	return r;
}
