/* SPDX-License-Identifier: Apache-2.0 */
#include "modules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char dep[] = "kernel/net/vmw_vsock/vsock.ko:\n"
			  "kernel/net/vmw_vsock/vmw_vsock_virtio_transport_common.ko.xz: "
			  "kernel/net/vmw_vsock/vsock.ko\n"
			  "kernel/net/vmw_vsock/vmw_vsock_virtio_transport.ko.xz: "
			  "kernel/net/vmw_vsock/vmw_vsock_virtio_transport_common.ko.xz "
			  "kernel/net/vmw_vsock/vsock.ko kernel/drivers/virtio/virtio.ko\n"
			  "kernel/drivers/virtio/virtio.ko:\n"
			  "kernel/drivers/net/virtio-net.ko: kernel/drivers/virtio/virtio.ko\n";
static const char builtin[] = "kernel/fs/ext4/ext4.ko\nkernel/lib/crc32c.ko\n";

static int read_nothing(void *data, const char *path, struct kiln__buf *ret, kiln_error *err)
{
	(void)data;
	(void)path;
	(void)ret;
	(void)err;
	fail_msg("dependencies known from modules.dep were asked for");
	return KILN_EIO;
}

/* A module's dependencies by path: pairs of path and names. */
static int read_table(void *data, const char *path, struct kiln__buf *ret, kiln_error *err)
{
	const char *const *pairs = data;

	(void)err;
	for (; *pairs; pairs += 2)
		if (!strcmp(pairs[0], path))
			kiln__buf_adds(ret, pairs[1]);
	return 0;
}

static struct kiln__modules *setup(void)
{
	struct kiln__modules *modules;

	assert_int_equal(kiln__modules_new(&modules, NULL), 0);
	assert_int_equal(kiln__modules_add_dep(modules, dep, strlen(dep), NULL), 0);
	assert_int_equal(kiln__modules_add_builtin(modules, builtin, strlen(builtin), NULL), 0);
	return modules;
}

static void expect(struct kiln__modules *modules, const char *const *wanted,
		   const char *const *paths)
{
	const char **got;
	size_t i;

	assert_int_equal(kiln__modules_resolve(modules, wanted, read_nothing, NULL, &got, NULL), 0);
	for (i = 0; paths[i]; i++) {
		assert_non_null(got[i]);
		assert_string_equal(got[i], paths[i]);
	}
	assert_null(got[i]);
	free(got);
}

static void dependencies_come_first_and_once(void **state)
{
	struct kiln__modules *modules = setup();

	(void)state;
	expect(modules, (const char *[]){"virtio_net", "vmw_vsock_virtio_transport", "vsock", NULL},
	       (const char *[]){"kernel/drivers/virtio/virtio.ko",
				"kernel/drivers/net/virtio-net.ko", "kernel/net/vmw_vsock/vsock.ko",
				"kernel/net/vmw_vsock/vmw_vsock_virtio_transport_common.ko.xz",
				"kernel/net/vmw_vsock/vmw_vsock_virtio_transport.ko.xz", NULL});
	/* A second resolve starts afresh; '-' and '_' are one. */
	expect(modules, (const char *[]){"virtio-net", NULL},
	       (const char *[]){"kernel/drivers/virtio/virtio.ko",
				"kernel/drivers/net/virtio-net.ko", NULL});
	kiln__modules_free(modules);
}

static void what_is_built_in_needs_no_file(void **state)
{
	struct kiln__modules *modules = setup();

	(void)state;
	expect(modules, (const char *[]){"ext4", "crc32c", NULL}, (const char *[]){NULL});
	kiln__modules_free(modules);
}

static void a_missing_module_is_named_unless_optional(void **state)
{
	struct kiln__modules *modules = setup();
	kiln_error err = KILN_ERROR_INIT;
	const char **got = NULL;

	(void)state;
	assert_int_equal(kiln__modules_resolve(modules, (const char *[]){"nosuch", NULL},
					       read_nothing, NULL, &got, &err),
			 KILN_ENOENT);
	assert_non_null(strstr(err.message, "'nosuch'"));
	assert_null(got);
	expect(modules, (const char *[]){"nosuch?", "vsock?", NULL},
	       (const char *[]){"kernel/net/vmw_vsock/vsock.ko", NULL});
	kiln__modules_free(modules);
}

static void without_modules_dep_the_modules_tell(void **state)
{
	static const char order[] = "kernel/a.ko\nkernel/b.ko\nkernel/c-d.ko\n";
	const char *pairs[] = {"kernel/a.ko", "c_d,b", "kernel/c-d.ko", "b", NULL};
	struct kiln__modules *modules;
	const char **got;

	(void)state;
	assert_int_equal(kiln__modules_new(&modules, NULL), 0);
	assert_int_equal(kiln__modules_add_order(modules, order, strlen(order), NULL), 0);
	assert_int_equal(kiln__modules_resolve(modules, (const char *[]){"a", NULL}, read_table,
					       pairs, &got, NULL),
			 0);
	assert_string_equal(got[0], "kernel/b.ko");
	assert_string_equal(got[1], "kernel/c-d.ko");
	assert_string_equal(got[2], "kernel/a.ko");
	assert_null(got[3]);
	free(got);
	kiln__modules_free(modules);
}

static void cycles_and_endless_depth_are_refused(void **state)
{
	static const char cycle[] = "kernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\n";
	struct kiln__modules *modules;
	kiln_error err = KILN_ERROR_INIT;
	kiln__autobuf deep = KILN__BUF_INIT;
	const char **got;

	(void)state;
	assert_int_equal(kiln__modules_new(&modules, NULL), 0);
	assert_int_equal(kiln__modules_add_dep(modules, cycle, strlen(cycle), NULL), 0);
	assert_int_equal(kiln__modules_resolve(modules, (const char *[]){"a", NULL}, read_nothing,
					       NULL, &got, &err),
			 KILN_EFORMAT);
	kiln__modules_free(modules);

	for (int i = 0; i < 1000; i++)
		kiln__buf_addf(&deep, "m%d.ko: m%d.ko\n", i, i + 1);
	assert_int_equal(kiln__modules_new(&modules, NULL), 0);
	assert_int_equal(kiln__modules_add_dep(modules, deep.data, deep.len, NULL), 0);
	assert_int_equal(kiln__modules_resolve(modules, (const char *[]){"m0", NULL}, read_nothing,
					       NULL, &got, &err),
			 KILN_EFORMAT);
	kiln__modules_free(modules);
}

static void paths_that_leave_the_directory_are_refused(void **state)
{
	static const char *const bad[] = {
		"/etc/shadow.ko:", "../x.ko:", "kernel/../../x.ko:", "kernel/..:", "x", ":",
		"kernel/:"};
	kiln_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct kiln__modules *modules;

		assert_int_equal(kiln__modules_new(&modules, NULL), 0);
		assert_int_equal(kiln__modules_add_dep(modules, bad[i], strlen(bad[i]), &err),
				 KILN_EFORMAT);
		kiln__modules_free(modules);
	}
}

static void put(uint8_t *at, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static void modinfo_is_found_and_checked(void **state)
{
	static const char names[] = "\0.modinfo";
	static const char info[] = "license=GPL\0depends=vsock,virtio\0name=x";
	uint8_t elf[512] = "\x7f"
			   "ELF\2\1\1";
	kiln__autobuf out = KILN__BUF_INIT;

	(void)state;
	put(elf + 40, 64, 8); /* e_shoff */
	put(elf + 58, 64, 2); /* e_shentsize */
	put(elf + 60, 2, 2);  /* e_shnum */
	put(elf + 62, 0, 2);  /* e_shstrndx */
	put(elf + 64 + 24, 192, 8);
	put(elf + 64 + 32, sizeof(names), 8);
	put(elf + 128, 1, 4);
	put(elf + 128 + 24, 256, 8);
	put(elf + 128 + 32, sizeof(info), 8);
	memcpy(elf + 192, names, sizeof(names));
	memcpy(elf + 256, info, sizeof(info));
	assert_int_equal(kiln__module_depends("x.ko", elf, sizeof(elf), &out, NULL), 0);
	assert_string_equal(out.data, "vsock,virtio");
	/* Cut anywhere before the section's end, it is refused, not read beyond. */
	for (size_t len = 0; len < 256 + sizeof(info); len++) {
		uint8_t *cut = malloc(len ? len : 1);

		memcpy(cut, elf, len);
		assert_int_equal(kiln__module_depends("x.ko", cut, len, &out, NULL), KILN_EFORMAT);
		free(cut);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dependencies_come_first_and_once),
		cmocka_unit_test(what_is_built_in_needs_no_file),
		cmocka_unit_test(a_missing_module_is_named_unless_optional),
		cmocka_unit_test(without_modules_dep_the_modules_tell),
		cmocka_unit_test(cycles_and_endless_depth_are_refused),
		cmocka_unit_test(paths_that_leave_the_directory_are_refused),
		cmocka_unit_test(modinfo_is_found_and_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
