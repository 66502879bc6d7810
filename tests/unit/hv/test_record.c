/* SPDX-License-Identifier: Apache-2.0 */
/* The preflight's record: made once, found again, and worth nothing once anything is different. */
#include "kiln_test.h"
#include "tree.h"

#include "preflight.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD "run/kvm-preflight"

static struct tree tree;

static int make_tree(void **state)
{
	tree_make(&tree);
	return kiln_test_begin(state);
}

static int drop_tree(void **state)
{
	tree_remove(&tree);
	return kiln_test_end(state);
}

static void lookup(struct kiln__hv_report *ret, const char *root)
{
	struct kiln__hv_preflight_options options = {.root = root};

	assert_int_equal(kiln__hv_preflight_cached(ret, tree_at(&tree, "run"), &options, NULL), 0);
}

static size_t read_record(char *text, size_t size)
{
	FILE *file = fopen(tree_at(&tree, RECORD), "re");
	size_t n;

	assert_non_null(file);
	n = fread(text, 1, size - 1, file);
	fclose(file);
	text[n] = '\0';
	return n;
}

static void write_record(const char *text, size_t len)
{
	FILE *file = fopen(tree_at(&tree, RECORD), "we");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	fclose(file);
}

/* Skips where there is no device at all: then there is nothing to record. */
static void need_device(void)
{
	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		print_message("/dev/kvm cannot be opened here\n");
		skip();
	}
}

static void the_second_lookup_reads_what_the_first_found(void **state)
{
	struct kiln__hv_report first;
	struct kiln__hv_report second;
	struct stat st;

	(void)state;
	need_device();
	lookup(&first, NULL);
	assert_false(first.cached);
	assert_int_equal(stat(tree_at(&tree, RECORD), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	lookup(&second, NULL);
	assert_true(second.cached);
	second.cached = false;
	assert_int_equal(first.usable, second.usable);
	assert_true(second.opens);
	assert_string_equal(first.summary, second.summary);
	assert_string_equal(first.hint, second.hint);
	assert_int_equal(first.count, second.count);
	for (size_t i = 0; i < first.count; i++) {
		assert_string_equal(first.checks[i].name, second.checks[i].name);
		assert_int_equal(first.checks[i].state, second.checks[i].state);
		assert_string_equal(first.checks[i].detail, second.checks[i].detail);
		assert_string_equal(first.checks[i].hint, second.checks[i].hint);
	}
}

static void a_damaged_record_counts_as_none_and_is_replaced(void **state)
{
	static char good[32768], bad[32768];
	struct kiln__hv_report report;
	size_t len;

	(void)state;
	need_device();
	lookup(&report, NULL);
	len = read_record(good, sizeof(good));
	for (size_t i = 0; i < 24; i++) {
		size_t at = i * (len - 1) / 23;

		memcpy(bad, good, len);
		bad[at] = (char)(bad[at] ^ 1);
		write_record(bad, len);
		lookup(&report, NULL);
		assert_false(report.cached);
		write_record(good, at); /* cut short */
		lookup(&report, NULL);
		assert_false(report.cached);
		lookup(&report, NULL);
		assert_true(report.cached);
	}
	memset(bad, '\n', sizeof(bad));
	write_record(bad, sizeof(bad));
	lookup(&report, NULL);
	assert_false(report.cached);
}

static void another_boot_makes_it_anew(void **state)
{
	struct kiln__hv_report report;

	(void)state;
	need_device();
	tree_write(&tree, "proc/sys/kernel/random/boot_id",
		   "11111111-1111-1111-1111-111111111111\n");
	lookup(&report, tree.path);
	assert_false(report.cached);
	lookup(&report, tree.path);
	assert_true(report.cached);
	tree_write(&tree, "proc/sys/kernel/random/boot_id",
		   "22222222-2222-2222-2222-222222222222\n");
	lookup(&report, tree.path);
	assert_false(report.cached);
	assert_int_equal(unlink(tree_at(&tree, "proc/sys/kernel/random/boot_id")), 0);
	lookup(&report, tree.path);
	assert_false(report.cached);
}

static void a_device_that_does_not_open_is_not_recorded(void **state)
{
	struct kiln__hv_preflight_options options = {.device = "/dev/null"};
	struct kiln__hv_report report;

	(void)state;
	assert_int_equal(kiln__hv_preflight_cached(&report, tree_at(&tree, "run"), &options, NULL),
			 0);
	assert_false(report.opens);
	assert_int_equal(access(tree_at(&tree, RECORD), F_OK), -1);
	options.device = tree_at(&tree, "missing");
	assert_int_equal(kiln__hv_preflight_cached(&report, tree_at(&tree, "run"), &options, NULL),
			 0);
	assert_false(report.opens);
	assert_int_equal(access(tree_at(&tree, RECORD), F_OK), -1);
}

static void a_directory_that_cannot_be_written_is_no_error(void **state)
{
	struct kiln__hv_report report;

	(void)state;
	tree_write(&tree, "run", "a file is in the way");
	lookup(&report, NULL);
	assert_false(report.cached);
	assert_true(report.count > 0);
}

static void a_record_that_another_user_could_have_left_is_none(void **state)
{
	struct kiln__hv_report report;

	(void)state;
	need_device();
	lookup(&report, NULL);
	lookup(&report, NULL);
	assert_true(report.cached);
	assert_int_equal(chmod(tree_at(&tree, "run"), 0777), 0);
	lookup(&report, NULL);
	assert_false(report.cached);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_tree, drop_tree)
	static const struct CMUnitTest tests[] = {
		TEST(the_second_lookup_reads_what_the_first_found),
		TEST(a_damaged_record_counts_as_none_and_is_replaced),
		TEST(another_boot_makes_it_anew),
		TEST(a_device_that_does_not_open_is_not_recorded),
		TEST(a_directory_that_cannot_be_written_is_no_error),
		TEST(a_record_that_another_user_could_have_left_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
