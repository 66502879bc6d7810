/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two layers of an image from anybody, split where the first two bytes say: applied one upon the
 * other, whatever they hold. Nothing may be in the tree that Linux could not have there, and all of
 * it must be found again from the root.
 */
#include "layer.h"
#include "plan.h"

#include "err.h"
#include "os.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static int apply(struct making *making, uint8_t index, const uint8_t *bytes, size_t len)
{
	struct plan plan = {.making = making, .layer = index};
	kiln_fd fd = memfd_create("layer", MFD_CLOEXEC);
	kiln_error err = KILN_ERROR_INIT;
	struct archive_entry *entry;
	struct layer layer;
	char digest[SHA256_TEXT];
	int r;

	CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0);
	r = layer_open(&layer, fd, "layer", 1u << 22, &err);
	while (r == 0 && (r = layer_next(&layer, &entry, &err)) > 0) {
		r = plan_entry(&plan, entry, &err);
		plan.position++;
	}
	if (r == 0)
		r = layer_finish(&layer, digest, &err);
	CHECK(r == 0 || (r == err.code && err.message[0]));
	layer_close(&layer);
	close(fd);
	return r;
}

static size_t check_dir(const struct inode *dir, unsigned depth)
{
	size_t count = 0;

	CHECK(depth < 2000);
	for (const struct entry *entry = dir->children; entry; entry = entry->sibling) {
		size_t len = strlen(entry->name);

		CHECK(len > 0 && len < 256 && !strchr(entry->name, '/'));
		CHECK(strcmp(entry->name, ".") && strcmp(entry->name, ".."));
		CHECK(strncmp(entry->name, ".wh.", 4));
		CHECK(entry->dir == dir);
		CHECK(!S_ISCHR(entry->inode->mode) || entry->inode->device != 0);
		count++;
		if (S_ISDIR(entry->inode->mode))
			count += check_dir(entry->inode, depth + 1);
	}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct making making = {.name = "image", .max_bytes = 1u << 22, .layered = true};
	kiln_error err = KILN_ERROR_INIT;
	struct plan plan = {.making = &making};
	struct inode **wanted = NULL;
	size_t split;

	if (len < 2)
		return 0;
	split = (size_t)(bytes[0] << 8 | bytes[1]) * 512;
	bytes += 2;
	len -= 2;
	if (split > len)
		split = len;
	CHECK(tree_init(&making.tree, 10000, &err) == 0);
	if (apply(&making, 0, bytes, split) == 0 &&
	    apply(&making, 1, bytes + split, len - split) == 0 &&
	    plan_wanted(&plan, 1, &wanted, &err) == 0)
		for (size_t i = 0; wanted[i] && wanted[i + 1]; i++)
			CHECK(wanted[i]->position < wanted[i + 1]->position);
	CHECK(check_dir(making.tree.root, 0) == making.tree.entry_count);
	free(wanted);
	tree_done(&making.tree);
	return 0;
}
