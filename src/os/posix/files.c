/* SPDX-License-Identifier: Apache-2.0 */
/* Files that get their name last, where the system has them. */
#include "files.h"

#include "err.h"
#include "posix.h"

#include <errno.h>

int kiln__os_open_unnamed(kiln_fd *ret, const char *directory, kiln_error *err)
{
	int fd = kiln__posix_open_unnamed(directory);

	if (fd >= 0) {
		*ret = fd;
		return 0;
	}
	/* EISDIR: a kernel or file system that does not know the flag (open(2)). */
	if (fd == -EOPNOTSUPP || fd == -ENOTSUP || fd == -EISDIR || fd == -EINVAL)
		return kiln__fail(err, KILN_ENOTSUP, "files in %s have names", directory);
	return kiln__fail_errno(err, -fd, "cannot make a file in %s", directory);
}

int kiln__os_give_name(kiln_fd fd, const char *path, kiln_error *err)
{
	int r = kiln__posix_give_name(fd, path);

	return r < 0 ? kiln__fail_errno(err, -r, "cannot make %s", path) : 0;
}
