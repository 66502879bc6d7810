/* SPDX-License-Identifier: Apache-2.0 */
#include "modules.h"

#include "err.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIST_MAX 16384

/* include/linux/module_signature.h: what is appended to a signed module, last the text. */
#define SIGNATURE_TEXT "~Module signature appended~\n"
#define SIGNATURE_LENGTH                                                                           \
	12 /* of the fields before the text; the signature's own length is the last, big-endian */

/* How much of a module's file is the module, without its signature. */
static size_t unsigned_length(const uint8_t *bytes, size_t len)
{
	const size_t tail = SIGNATURE_LENGTH + strlen(SIGNATURE_TEXT);
	const uint8_t *text = bytes + len - strlen(SIGNATURE_TEXT);
	size_t signature;

	if (len < tail || memcmp(text, SIGNATURE_TEXT, strlen(SIGNATURE_TEXT)) != 0)
		return len;
	signature =
		(size_t)text[-4] << 24 | (size_t)text[-3] << 16 | (size_t)text[-2] << 8 | text[-1];
	return signature <= len - tail ? len - tail - signature : len;
}

/*
 * Loads a module as if it were not signed. Checking signatures takes two thirds of the
 * time of loading modules, and these came from the host, as the kernel did. A kernel
 * that insists on signatures says so, and gets the file as it is.
 */
static int load_unsigned(int fd, const char *parameters)
{
	static bool insists;
	struct stat st;
	void *bytes;
	long r = -1;
	int error;

	if (insists || fstat(fd, &st) < 0 || st.st_size == 0)
		return -EKEYREJECTED;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -EKEYREJECTED;
	r = syscall(SYS_init_module, bytes, unsigned_length(bytes, (size_t)st.st_size), parameters);
	error = r < 0 ? errno : 0;
	munmap(bytes, (size_t)st.st_size);
	insists = error == EKEYREJECTED || error == ENOKEY || error == EPERM;
	return -error;
}

static int load(const char *name, const char *parameters, kiln_error *err)
{
	char path[PATH_MAX];
	int error;
	int fd;

	snprintf(path, sizeof(path), "/modules/%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot open %s", path);
	error = -load_unsigned(fd, parameters);
	if (error == EKEYREJECTED || error == ENOKEY || error == EPERM)
		error = syscall(SYS_finit_module, fd, parameters, 0) < 0 ? errno : 0;
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
