/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int read_small_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int error;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	error = errno;
	close(fd);
	if (n < 0)
		return -error;
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return (int)n;
}

static int write_all(const char *path, int flags, const char *text)
{
	int fd = open(path, flags | O_WRONLY | O_CLOEXEC, 0644);
	size_t len = strlen(text);
	ssize_t n;
	int error;

	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	error = n < 0 ? errno : ENOSPC;
	close(fd);
	return n == (ssize_t)len ? 0 : -error;
}

int write_small_file(const char *path, const char *text)
{
	return write_all(path, 0, text);
}

int replace_file(const char *path, const char *text)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	return write_all(path, O_CREAT | O_EXCL, text);
}
