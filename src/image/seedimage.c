/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libarchive's writer of ISO 9660 wants a directory for a temporary file: it gets one beside the
 * image, which is then removed with the image half made if anything fails.
 */
#include "seedimage.h"

#include "buf.h"
#include "err.h"
#include "helper.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>

#define FD_OUTPUT 3
#define FD_DIR    4
#define FD_INPUTS 5

static int call(const struct kiln__seed_entry *entries, size_t count, kiln_fd output, kiln_fd dir,
		kiln_error *err)
{
	struct kiln__spawn_fd fds[KILN__SEED_MAX_FILES + 2] = {{output, FD_OUTPUT}, {dir, FD_DIR}};
	const char *argv[5 + 3 * KILN__SEED_MAX_FILES + 1] = {"seed", "--output", "3",
							      "--output-dir", "4"};
	char numbers[KILN__SEED_MAX_FILES][8];
	json_t *result = NULL;
	size_t n = 5;
	int r;

	if (count > KILN__SEED_MAX_FILES)
		return kiln__fail(err, KILN_EOVERFLOW, "too many files for a seed");
	for (size_t i = 0; i < count; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "%d", FD_INPUTS + (int)i);
		fds[i + 2] = (struct kiln__spawn_fd){entries[i].fd, FD_INPUTS + (int)i};
		argv[n++] = "--input";
		argv[n++] = numbers[i];
	}
	for (size_t i = 0; i < count; i++)
		argv[n++] = entries[i].name;
	r = kiln__helper_call(argv, fds, count + 2, &result, err);
	json_decref(result);
	return r;
}

int kiln__seed_image(const char *path, const struct kiln__seed_entry *entries, size_t count,
		     kiln_error *err)
{
	uint64_t number;
	kiln__autofree char *work = NULL;
	kiln__autofree char *image = NULL;
	kiln__autoclose kiln_fd dir = KILN_FD_NONE;
	kiln__autoclose kiln_fd output = KILN_FD_NONE;
	int r;

	kiln__os_random(&number, sizeof(number));
	work = kiln__strf("%s" KILN__OS_TEMPORARY "%016llx", path, (unsigned long long)number);
	image = work ? kiln__strf("%s/image", work) : NULL;
	if (!image)
		return kiln__fail_nomem(err);
	r = kiln__os_mkdir(work, 0700, err);
	if (r < 0)
		return r;
	r = kiln__os_open(&dir, work, KILN__OPEN_READ | KILN__OPEN_DIRECTORY, err);
	if (r == 0)
		r = kiln__os_open(&output, image,
				  KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE, err);
	if (r == 0)
		r = call(entries, count, output, dir, err);
	if (r == 0)
		r = kiln__os_rename(image, path, err);
	kiln__os_remove_tree(work, NULL);
	return r;
}
