/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"
#include "os.h"
#include "scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/kiln-scratch-test-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return kiln__os_remove_tree(dir, NULL);
}

/* What e2fsck says: 0 is a clean file system. */
static int check(const char *path)
{
	static const char *const programs[] = {"/usr/sbin/e2fsck", "/sbin/e2fsck"};

	for (size_t i = 0; i < 2; i++) {
		kiln__autofree char *command =
			kiln__strf("%s -f -n %s >/dev/null 2>&1", programs[i], path);

		if (!access(programs[i], X_OK))
			return system(command);
	}
	print_message("no e2fsck here\n");
	return 0;
}

/* linux/fs/ext4/ext4.h: s_feature_compat, and in it EXT4_FEATURE_COMPAT_HAS_JOURNAL. */
static bool has_journal(const char *path)
{
	uint8_t features[4] = {0};
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, features, sizeof(features), 1024 + 0x5c), sizeof(features));
	close(fd);
	return features[0] & 4;
}

static void disks_of_all_sizes_are_sparse_and_clean(void **state)
{
	static const uint64_t sizes[] = {16 << 20,   (16 << 20) + 12345, 300 << 20,
					 5ull << 30, 16ull << 30,        1ull << 40};
	kiln__autofree char *path = kiln__strf("%s/disk", dir);
	struct stat info;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		bool lasting = i % 2;
		uint64_t size = sizes[i / 2];

		if (lasting ? kiln__scratch_create_lasting(path, size, &err)
			    : kiln__scratch_create(path, size, &err)) {
			if (err.code == KILN_EOVERFLOW) /* larger than this file system's files */
				continue;
			fail_msg("%s", err.message);
		}
		assert_int_equal(stat(path, &info), 0);
		assert_int_equal(info.st_size, size / 4096 * 4096);
		assert_true(info.st_blocks * 512 < 1 << 20);
		assert_int_equal(info.st_mode & 0777, 0600);
		assert_int_equal(check(path), 0);
		assert_int_equal(has_journal(path), lasting);
		assert_int_equal(unlink(path), 0);
	}
}

static void wrong_sizes_and_existing_files_are_refused(void **state)
{
	kiln__autofree char *path = kiln__strf("%s/disk", dir);
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_int_equal(kiln__scratch_create(path, KILN__SCRATCH_MIN - 1, &err), KILN_EINVAL);
	assert_int_equal(kiln__scratch_create(path, KILN__SCRATCH_MAX + 1, &err), KILN_EINVAL);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(kiln__scratch_create(path, KILN__SCRATCH_MIN, &err), 0);
	assert_int_equal(kiln__scratch_create(path, KILN__SCRATCH_MIN, &err), KILN_EEXIST);
	assert_int_equal(access(path, F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(disks_of_all_sizes_are_sparse_and_clean),
		TEST(wrong_sizes_and_existing_files_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
