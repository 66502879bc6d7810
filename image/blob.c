/* SPDX-License-Identifier: Apache-2.0 */
#include "blob.h"
#include "input.h"

#include "err.h"
#include "files.h"
#include "os.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

KILN__SYSCALLS(openat, newfstatat, fstat, flock, renameat, unlinkat, fdatasync, ftruncate, lseek);
KILN__SYSCALLS(read, write, close, getrandom);

#define CHUNK (1u << 18)

struct blob {
	kiln_fd dir; /* borrowed */
	kiln_fd fd;
	bool named;
	char name[SHA256_TEXT]; /* "sha256:...", of one that is named */
	char partial[96];
	uint64_t size; /* promised; of an unnamed one, the most it may have */
	uint64_t length;
	struct sha256 *sha;
};

/* The file's name within the directory: the digits alone. */
static const char *file_of(const char *digest)
{
	return digest + 7;
}

bool blob_present(kiln_fd dir, const char *digest, uint64_t size)
{
	struct stat info;

	return fstatat(dir, file_of(digest), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(info.st_mode) && (size == BLOB_ANY_SIZE || (uint64_t)info.st_size == size);
}

static int make(struct blob **ret, kiln_fd dir, uint64_t size, kiln_error *err)
{
	struct blob *blob = calloc(1, sizeof(*blob));
	int r;

	if (!blob)
		return kiln__fail_nomem(err);
	blob->dir = dir;
	blob->fd = KILN_FD_NONE;
	blob->size = size;
	r = sha256_new(&blob->sha, err);
	if (r < 0) {
		blob_free(blob);
		return r;
	}
	*ret = blob;
	return 0;
}

/* Opens and locks the partial file; 1 if the blob has come meanwhile. */
static int take(struct blob *blob, bool wait, kiln_error *err)
{
	for (;;) {
		int r;

		if (blob_present(blob->dir, blob->name, blob->size))
			return 1;
		blob->fd = openat(blob->dir, blob->partial,
				  O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (blob->fd < 0)
			return kiln__fail_errno(err, errno, "cannot write %s", blob->name);
		do {
			r = flock(blob->fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
		} while (r < 0 && errno == EINTR);
		if (r < 0 && errno == EWOULDBLOCK)
			return kiln__fail(err, KILN_EBUSY, "%s is being downloaded", blob->name);
		if (r < 0)
			return kiln__fail_errno(err, errno, "cannot lock %s", blob->name);
		if (kiln__os_is_at(blob->fd, blob->dir, blob->partial))
			return 0;
		close(blob->fd);
		blob->fd = KILN_FD_NONE;
	}
}

/* What is there from before is part of the digest. */
static int take_up(struct blob *blob, kiln_error *err)
{
	kiln__autofree uint8_t *bytes = malloc(CHUNK);
	ssize_t got;

	if (!bytes)
		return kiln__fail_nomem(err);
	while ((got = kiln__os_read(blob->fd, bytes, CHUNK)) > 0) {
		sha256_add(blob->sha, bytes, (size_t)got);
		blob->length += (uint64_t)got;
	}
	if (got < 0)
		return kiln__fail_errno(err, (int)-got, "cannot read %s", blob->name);
	return blob->length > blob->size ? blob_restart(blob, err) : 0;
}

int blob_begin(struct blob **ret, kiln_fd dir, const char *digest, uint64_t size, bool wait,
	       kiln_error *err)
{
	kiln__cleanup(blob_free_autop) struct blob *blob = NULL;
	int r = make(&blob, dir, size, err);

	if (r < 0)
		return r;
	blob->named = true;
	snprintf(blob->name, sizeof(blob->name), "%s", digest);
	snprintf(blob->partial, sizeof(blob->partial), "%s.partial", file_of(digest));
	r = take(blob, wait, err);
	if (r == 0)
		r = take_up(blob, err);
	if (r == 0)
		*ret = kiln__take(blob);
	return r;
}

int blob_begin_unnamed(struct blob **ret, kiln_fd dir, uint64_t max, kiln_error *err)
{
	kiln__cleanup(blob_free_autop) struct blob *blob = NULL;
	uint64_t number;
	int r = make(&blob, dir, max, err);

	if (r < 0)
		return r;
	kiln__os_random(&number, sizeof(number));
	snprintf(blob->partial, sizeof(blob->partial), "%016" PRIx64 ".partial", number);
	blob->fd = openat(dir, blob->partial, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			  0600);
	if (blob->fd < 0)
		return kiln__fail_errno(err, errno, "cannot write to the image store");
	if (flock(blob->fd, LOCK_EX | LOCK_NB))
		return kiln__fail_errno(err, errno, "cannot lock a file of the image store");
	*ret = kiln__take(blob);
	return 0;
}

uint64_t blob_length(const struct blob *blob)
{
	return blob->length;
}

int blob_add(struct blob *blob, const void *bytes, size_t len, kiln_error *err)
{
	int r;

	if (len > blob->size - blob->length)
		return kiln__fail(err, KILN_EOVERFLOW, "it has more than the %" PRIu64 " bytes %s",
				  blob->size,
				  blob->named ? "that were promised" : "that are allowed");
	r = output_write(blob->fd, bytes, len, err);
	if (r < 0)
		return r;
	sha256_add(blob->sha, bytes, len);
	blob->length += len;
	return 0;
}

int blob_restart(struct blob *blob, kiln_error *err)
{
	char unused[SHA256_TEXT];

	sha256_finish(blob->sha, unused);
	blob->length = 0;
	if (ftruncate(blob->fd, 0) || lseek(blob->fd, 0, SEEK_SET) < 0)
		return kiln__fail_errno(err, errno, "cannot write to the image store");
	return 0;
}

static int verify(struct blob *blob, const char *digest, kiln_error *err)
{
	if (!blob->named)
		return 0;
	if (blob->length != blob->size)
		return kiln__fail(err, KILN_EFORMAT,
				  "it has %" PRIu64 " bytes where %" PRIu64 " were promised",
				  blob->length, blob->size);
	if (strcmp(digest, blob->name) != 0)
		return kiln__fail(err, KILN_EFORMAT, "its digest is %s, not %s as promised", digest,
				  blob->name);
	return 0;
}

int blob_finish(struct blob *blob, char ret_digest[SHA256_TEXT], uint64_t *ret_size,
		kiln_error *err)
{
	char digest[SHA256_TEXT];
	int r;

	sha256_finish(blob->sha, digest);
	r = verify(blob, digest, err);
	if (r == 0) {
		r = kiln__os_sync(blob->fd, err);
		if (r < 0)
			kiln__prefix(err, "cannot write to the image store");
	}
	if (r == 0 && renameat(blob->dir, blob->partial, blob->dir, file_of(digest)))
		r = kiln__fail_errno(err, errno, "cannot write to the image store");
	if (r < 0) {
		unlinkat(blob->dir, blob->partial, 0);
		blob->named = true; /* nothing is left to be removed */
		return r;
	}
	blob->named = true;
	if (ret_digest)
		memcpy(ret_digest, digest, SHA256_TEXT);
	if (ret_size)
		*ret_size = blob->length;
	return 0;
}

void blob_free(struct blob *blob)
{
	if (!blob)
		return;
	if (blob->fd >= 0 && !blob->named)
		unlinkat(blob->dir, blob->partial, 0);
	if (blob->fd >= 0)
		close(blob->fd);
	sha256_free(blob->sha);
	free(blob);
}

int blob_open(kiln_fd dir, const char *digest, kiln_fd *ret, kiln_error *err)
{
	kiln_fd fd = openat(dir, file_of(digest), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return kiln__fail_errno(err, errno, "the image store lacks %s", digest);
	*ret = fd;
	return 0;
}

int blob_read(kiln_fd dir, const char *digest, size_t max, char **ret, size_t *ret_len,
	      kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln__autofree uint8_t *bytes = NULL;
	char found[SHA256_TEXT];
	struct input input;
	size_t len;
	int r = blob_open(dir, digest, &fd, err);

	if (r < 0)
		return r;
	input_init(&input, fd, digest);
	r = input_read_all(&input, max, &bytes, &len, err);
	input_done(&input);
	if (r == 0)
		r = sha256_of(bytes, len, found, err);
	if (r == 0 && strcmp(found, digest) != 0)
		r = kiln__fail(err, KILN_EFORMAT,
			       "the image store is damaged: %s has the digest %s", digest, found);
	if (r < 0)
		return r;
	*ret = (char *)kiln__take(bytes);
	*ret_len = len;
	return 0;
}

int blob_put(kiln_fd dir, const void *bytes, size_t len, char ret_digest[SHA256_TEXT],
	     kiln_error *err)
{
	kiln__cleanup(blob_free_autop) struct blob *blob = NULL;
	char digest[SHA256_TEXT];
	int r = sha256_of(bytes, len, digest, err);

	if (r == 0)
		r = blob_begin(&blob, dir, digest, len, true, err);
	if (r == 0)
		r = blob_restart(blob, err);
	if (r == 0)
		r = blob_add(blob, bytes, len, err);
	if (r == 0)
		r = blob_finish(blob, NULL, NULL, err);
	if (r < 0)
		return r;
	memcpy(ret_digest, digest, SHA256_TEXT);
	return 0;
}
