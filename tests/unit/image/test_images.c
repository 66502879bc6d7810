/* SPDX-License-Identifier: Apache-2.0 */
/* The library's side with the real kiln-image ($KILN_IMAGE). */
#include "buf.h"
#include "images.h"
#include "os.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static struct kiln__cache *cache;
static struct kiln__images images;
static int progressed;

static void progress(void *data, const char *text)
{
	(void)data;
	(void)text;
	progressed++;
}

static int setup(void **state)
{
	kiln__autofree char *path = NULL;

	(void)state;
	strcpy(dir, "/tmp/kiln-images-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	path = kiln__strf("%s/cache", dir);
	images = (struct kiln__images){.progress = progress};
	if (kiln__cache_new(&cache, path, NULL))
		return -1;
	images.cache = cache;
	progressed = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kiln__cache_free(cache);
	return kiln__os_remove_tree(dir, NULL);
}

static char *put(const char *name, const void *bytes, size_t len)
{
	char *path = kiln__strf("%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
	return path;
}

/* Until the file's change time lies before the clock's tick, so that a record is made of it. */
static void settle(const char *path)
{
	struct timespec now;
	struct stat info;

	assert_int_equal(stat(path, &info), 0);
	do {
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	} while (now.tv_sec == info.st_ctim.tv_sec && now.tv_nsec <= info.st_ctim.tv_nsec);
}

static void assert_nothing_left(void)
{
	static const char *const folders[] = {"objects", "index", "tmp", "lock"};

	for (size_t i = 0; i < 4; i++) {
		kiln__autofree char *path = kiln__strf("%s/cache/%s", dir, folders[i]);
		char **names;

		if (kiln__os_list_dir(path, &names, NULL))
			continue;
		if (names[0])
			fail_msg("%s has %s", path, names[0]);
		kiln__os_free_names(names);
	}
}

/* --- kernels ------------------------------------------------------------------------------ */

static void le(uint8_t *at, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

#define ELF_SIZE 512

static void make_vmlinux(uint8_t elf[ELF_SIZE])
{
	memset(elf, 0, ELF_SIZE);
	memcpy(elf,
	       "\x7f"
	       "ELF\2\1\1",
	       7);
	le(elf + 16, 2, 2);
	le(elf + 18, 62, 2);
	le(elf + 32, 64, 8);
	le(elf + 54, 56, 2);
	le(elf + 56, 2, 2);
	le(elf + 64, 1, 4);
	le(elf + 64 + 16, 0xffffffff81000000, 8);
	le(elf + 64 + 32, ELF_SIZE, 8);
	le(elf + 120, 4, 4);
	le(elf + 120 + 8, 200, 8);
	le(elf + 120 + 32, 20, 8);
	le(elf + 200, 4, 4);
	le(elf + 204, 4, 4);
	le(elf + 208, 18, 4);
	memcpy(elf + 212, "Xen", 4);
	strcpy((char *)elf + 256, "Linux version 6.1.2-test (gcc)");
}

static int get_kernel(const char *path, const char *arch, struct kiln__kernel *ret, kiln_error *err)
{
	struct kiln__kernel_request request = {
		.origin = KILN__KERNEL_FILE, .path = path, .fd = KILN_FD_NONE, .arch = arch};

	return kiln__kernel_get(&images, &request, ret, err);
}

static void a_kernel_is_unpacked_once(void **state)
{
	uint8_t elf[ELF_SIZE];
	struct kiln__kernel kernel, again;
	kiln__autofree char *path = NULL;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	make_vmlinux(elf);
	path = put("vmlinux", elf, sizeof(elf));
	settle(path);
	if (get_kernel(path, "x86_64", &kernel, &err))
		fail_msg("%s", err.message);
	assert_string_equal(kernel.release, "6.1.2-test");
	assert_string_equal(kernel.format, "elf");
	assert_true(kernel.pvh);
	assert_null(kernel.modules);
	assert_int_equal(progressed, 1);
	/* A hit starts no process: without a helper it works as well. */
	setenv("KILN_IMAGE", "/proc/no-such", 1);
	assert_int_equal(get_kernel(path, "x86_64", &again, &err), 0);
	assert_string_equal(again.image, kernel.image);
	assert_int_equal(progressed, 1);
	kiln__kernel_done(&kernel);
	kiln__kernel_done(&again);
}

/* Beside a kernel there may be modules that anybody has put there. */
static void modules_beside_a_kernel_are_its_owners(void **state)
{
	uint8_t elf[ELF_SIZE];
	struct kiln__kernel kernel;
	kiln__autofree char *build = kiln__strf("%s/build", dir);
	kiln__autofree char *modules = kiln__strf("%s/lib/modules/6.1.2-test", dir);
	kiln__autofree char *path = NULL;
	kiln__autofree char *list = NULL;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	make_vmlinux(elf);
	assert_int_equal(kiln__os_mkdir_p(modules, 0755, NULL), 0);
	assert_int_equal(mkdir(build, 0755), 0);
	path = put("build/vmlinux", elf, sizeof(elf));
	list = put("lib/modules/6.1.2-test/modules.order", "", 0);
	assert_int_equal(get_kernel(path, "x86_64", &kernel, &err), 0);
	assert_non_null(kernel.modules);
	kiln__kernel_done(&kernel);
	assert_int_equal(chmod(modules, 0777), 0);
	assert_int_equal(get_kernel(path, "x86_64", &kernel, &err), 0);
	assert_null(kernel.modules);
	kiln__kernel_done(&kernel);
	if (geteuid() != 0)
		return;
	assert_int_equal(chmod(modules, 0755), 0);
	assert_int_equal(chown(modules, 65534, 65534), 0);
	assert_int_equal(get_kernel(path, "x86_64", &kernel, &err), 0);
	assert_null(kernel.modules);
	kiln__kernel_done(&kernel);
	assert_int_equal(chown(path, 65534, 65534), 0); /* his kernel was wanted */
	assert_int_equal(get_kernel(path, "x86_64", &kernel, &err), 0);
	assert_non_null(kernel.modules);
	kiln__kernel_done(&kernel);
}

static void expect_refusal(const char *path, const char *arch, int code, const char *text)
{
	struct kiln__kernel kernel;
	kiln_error err = KILN_ERROR_INIT;

	assert_int_equal(get_kernel(path, arch, &kernel, &err), code);
	if (!strstr(err.message, text) || !strstr(err.message, path))
		fail_msg("'%s' does not say '%s' of %s", err.message, text, path);
	assert_string_equal(err.stage, "kernel");
	assert_nothing_left();
}

static void bad_kernels_are_named_and_leave_nothing(void **state)
{
	uint8_t elf[ELF_SIZE];
	kiln__autofree char *text = NULL, *cut = NULL, *other = NULL, *empty = NULL;

	(void)state;
	make_vmlinux(elf);
	text = put("text", "hello, I am no kernel\n", 22);
	cut = put("cut", elf, sizeof(elf) - 10);
	le(elf + 18, 183, 2);
	other = put("other", elf, sizeof(elf));
	empty = put("empty", "", 0);
	expect_refusal(text, "x86_64", KILN_EFORMAT, "text, not a kernel");
	expect_refusal(cut, "x86_64", KILN_EFORMAT, "truncated");
	expect_refusal(other, "x86_64", KILN_EFORMAT, "is an arm64 kernel, the machine is x86_64");
	expect_refusal(empty, "x86_64", KILN_EFORMAT, "empty");
	expect_refusal("/proc/no-such/vmlinuz", "x86_64", KILN_ENOENT, "No such file");
	expect_refusal(dir, "x86_64", KILN_EINVAL, "is a directory");
}

/* --- initramfs ------------------------------------------------------------------------------ */

static size_t size_of(const char *path)
{
	struct stat info;

	assert_int_equal(stat(path, &info), 0);
	return (size_t)info.st_size;
}

static void an_initramfs_is_named_by_what_is_in_it(void **state)
{
	kiln__autofree char *first = NULL, *second = NULL, *third = NULL, *init = NULL,
			    *image = NULL;
	kiln__autofree char *modules = kiln__strf("%s/modules", dir), *order = NULL;
	const char *const none[] = {"absent?", NULL}, *const absent[] = {"absent", NULL};
	struct kiln__kernel kernel = {.release = "6.1.2-test"};
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_int_equal(mkdir(modules, 0755), 0);
	kernel.image = image = put("image", "kernel", 6);
	kernel.modules = modules;
	order = put("modules/modules.order", "", 0);
	init = put("init", "one", 3);
	if (kiln__initramfs_get(&images, &kernel, init, none, &first, &err))
		fail_msg("%s", err.message);
	/* The same contents in a new file: the same object. */
	unlink(init);
	free(init);
	init = put("init", "one", 3);
	assert_int_equal(kiln__initramfs_get(&images, &kernel, init, none, &second, NULL), 0);
	assert_string_equal(first, second);
	free(kiln__take(second));
	free(init);
	init = put("init", "other", 5);
	assert_int_equal(kiln__initramfs_get(&images, &kernel, init, none, &third, NULL), 0);
	assert_string_not_equal(first, third);
	assert_int_equal(size_of(third) % 4, 0);
	assert_int_equal(kiln__initramfs_get(&images, &kernel, init, absent, &second, &err),
			 KILN_ENOENT);
	assert_non_null(strstr(err.message, "'absent'"));
}

/* --- roots --------------------------------------------------------------------------- */

static char *make_root(void)
{
	char *root = kiln__strf("%s/root", dir);

	assert_int_equal(mkdir(root, 0755), 0);
	free(put("root/file", "contents", 8));
	return root;
}

static void a_directory_is_made_again_when_it_changes(void **state)
{
	kiln__autofree char *root = make_root(), *first = NULL, *second = NULL, *third = NULL;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	if (kiln__root_image_get(&images, root, KILN_FD_NONE, &first, &err))
		fail_msg("%s", err.message);
	assert_int_equal(kiln__root_image_get(&images, root, KILN_FD_NONE, &second, NULL), 0);
	assert_string_equal(first, second);
	assert_int_equal(progressed, 1);
	free(put("root/file", "CONTENTS", 8));
	assert_int_equal(kiln__root_image_get(&images, root, KILN_FD_NONE, &third, NULL), 0);
	assert_string_not_equal(first, third);
	assert_int_equal(size_of(first) % 4096, 0);
}

static void a_squashfs_is_taken_as_it_is(void **state)
{
	kiln__autofree char *file = put("r.sqfs", "hsqs....", 8), *path = NULL;

	(void)state;
	assert_int_equal(kiln__root_image_get(&images, file, KILN_FD_NONE, &path, NULL), 0);
	assert_string_equal(path, file);
	assert_nothing_left();
}

static void what_is_no_archive_is_refused(void **state)
{
	kiln__autofree char *text = put("text", "this is no tar archive\n", 23),
			    *empty = put("empty", "", 0);
	kiln__autofree char *path = NULL;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_int_equal(kiln__root_image_get(&images, text, KILN_FD_NONE, &path, &err),
			 KILN_EFORMAT);
	assert_non_null(strstr(err.message, text));
	assert_int_equal(kiln__root_image_get(&images, empty, KILN_FD_NONE, &path, &err),
			 KILN_EFORMAT);
	assert_non_null(strstr(err.message, "is empty"));
	assert_int_equal(kiln__root_image_get(&images, "/proc/no-such", KILN_FD_NONE, &path, &err),
			 KILN_ENOENT);
	assert_string_equal(err.stage, "root");
	assert_nothing_left();
}

static int full_disk(const char *root)
{
	kiln__autofree char *target = kiln__strf("%s/cache", dir), *path = NULL;
	kiln__autofree char *random = malloc(4 << 20), *file = NULL;
	kiln_error err = KILN_ERROR_INIT;
	int rc;

	kiln__os_random(random, 4 << 20);
	file = put("root/large", random, 4 << 20);
	if (kiln__os_mkdir_p(target, 0700, NULL) ||
	    unshare(geteuid() ? CLONE_NEWNS | CLONE_NEWUSER : CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", target, "tmpfs", 0, "mode=700,size=1m"))
		return 77;
	rc = kiln__root_image_get(&images, root, KILN_FD_NONE, &path, &err);
	if (rc != KILN_ENOSPC || !strstr(err.message, "full disk"))
		return 1;
	assert_nothing_left();
	return 0;
}

static void a_disk_that_fills_up_is_said_and_leaves_nothing(void **state)
{
	kiln__autofree char *root = make_root();
	pid_t child = fork();
	int status;

	(void)state;
	if (!child)
		_exit(full_disk(root));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("no mount namespace here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_missing_helper_is_said(void **state)
{
	kiln__autofree char *root = make_root(), *path = NULL;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	setenv("KILN_IMAGE", "/proc/no-such", 1);
	assert_int_equal(kiln__root_image_get(&images, root, KILN_FD_NONE, &path, &err),
			 KILN_ENOENT);
	assert_nothing_left();
}

static char *helper;

static int setup_helper(void **state)
{
	setenv("KILN_IMAGE", helper, 1);
	return setup(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_helper, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_kernel_is_unpacked_once),
		TEST(modules_beside_a_kernel_are_its_owners),
		TEST(bad_kernels_are_named_and_leave_nothing),
		TEST(an_initramfs_is_named_by_what_is_in_it),
		TEST(a_directory_is_made_again_when_it_changes),
		TEST(a_squashfs_is_taken_as_it_is),
		TEST(what_is_no_archive_is_refused),
		TEST(a_disk_that_fills_up_is_said_and_leaves_nothing),
		TEST(a_missing_helper_is_said),
	};
	int failed;

	if (!getenv("KILN_IMAGE")) {
		puts("KILN_IMAGE does not name the helper program");
		return 77;
	}
	helper = strdup(getenv("KILN_IMAGE"));
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(helper);
	return failed;
}
