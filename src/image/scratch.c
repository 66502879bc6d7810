/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include "err.h"
#include "os.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096

struct chunk {           /* a run of bytes that are not zero, within one block */
	uint64_t offset; /* in the file system */
	uint32_t data;   /* in template_data */
	uint32_t len;
};

struct template
{ /* without and with a journal, each ascending by size */
	uint64_t size;
	uint32_t journal;
	uint32_t first; /* chunk */
	uint32_t count;
};

#include "ext4_templates.h"

static int write_block(kiln_fd fd, const char block[BLOCK], uint64_t offset, kiln_error *err)
{
	ssize_t put;

	do {
		put = pwrite(fd, block, BLOCK, (off_t)offset);
	} while (put < 0 && errno == EINTR);
	if (put == BLOCK)
		return 0;
	return kiln__fail_errno(err, put < 0 ? errno : ENOSPC, "cannot write");
}

/* Chunks ascend, so those of one block stand together: one write a block. */
static int write_template(kiln_fd fd, const struct template *template, kiln_error *err)
{
	char block[BLOCK];
	uint32_t i = template->first, end = template->first + template->count;
	int rc = 0;

	while (i < end && !rc) {
		uint64_t at = template_chunks[i].offset / BLOCK * BLOCK;

		memset(block, 0, sizeof(block));
		for (; i < end && template_chunks[i].offset < at + BLOCK; i++)
			memcpy(block + (template_chunks[i].offset - at),
			       template_data + template_chunks[i].data, template_chunks[i].len);
		rc = write_block(fd, block, at, err);
	}
	return rc;
}

static int create(const char *path, uint64_t size, bool journal, kiln_error *err)
{
	const struct template *template = NULL;
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int rc;

	if (size < KILN__SCRATCH_MIN || size > KILN__SCRATCH_MAX)
		return kiln__fail(
			err, KILN_EINVAL,
			"a disk with a file system has from 16 MiB to 16 TiB, not %" PRIu64
			" bytes",
			size);
	for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++)
		if (templates[i].size <= size && templates[i].journal == journal)
			template = &templates[i];
	rc = kiln__os_open(&fd, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE,
			   err);
	if (rc)
		return rc;
	if (ftruncate(fd, (off_t)(size / BLOCK * BLOCK)))
		rc = kiln__fail_errno(err, errno, "cannot make it %" PRIu64 " bytes large", size);
	if (!rc)
		rc = write_template(fd, template, err);
	if (rc) {
		kiln__prefix(err, "the disk %s", path);
		unlink(path);
	}
	return rc;
}

int kiln__scratch_create(const char *path, uint64_t size, kiln_error *err)
{
	return create(path, size, false, err);
}

int kiln__scratch_create_lasting(const char *path, uint64_t size, kiln_error *err)
{
	return create(path, size, true, err);
}
