/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int read_small_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;
	int error;

	if (fd < 0)
		return -errno;
	/* The kernel's own files come in pieces of a page at most. */
	do {
		n = read(fd, buf + len, size - 1 - len);
		if (n > 0)
			len += (size_t)n;
	} while (n > 0 && len < size - 1);
	error = errno;
	close(fd);
	if (n < 0)
		return -error;
	if (len > 0 && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return (int)len;
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
