/* SPDX-License-Identifier: Apache-2.0 */
/* Symbolic links. */
#include "posix.h"

#include "err.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

int kiln__os_symlink_new(const char *target, const char *path, kiln_error *err)
{
	if (symlink(target, path) < 0)
		return kiln__fail_errno(err, errno, "cannot make link %s", path);
	return 0;
}

int kiln__os_read_link(const char *path, char **ret_target, kiln_error *err)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target));
	char *copy;

	if (n < 0)
		return kiln__fail_errno(err, errno, "cannot read link %s", path);
	if ((size_t)n == sizeof(target))
		return kiln__fail(err, KILN_EOVERFLOW, "link %s is too long", path);
	copy = strndup(target, (size_t)n);
	if (!copy)
		return kiln__fail_nomem(err);
	*ret_target = copy;
	return 0;
}
