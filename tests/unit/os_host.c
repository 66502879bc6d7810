/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "buf.h"
#include "os.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <process.h>
#else
#include <unistd.h>
#endif

static void this_executable_is_found(void **state)
{
	kiln__autofree char *path = NULL;
	struct kiln__os_stat st;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_exe_path(&path, &err), &err);
	assert_non_null(strstr(path, "test-os_host"));
	kiln_ok(kiln__os_stat(path, &st, &err), &err);
	assert_true(st.is_file);
}

static void helpers_are_found_beside_this_executable(void **state)
{
	kiln__autofree char *exe = NULL;
	char *path;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_exe_path(&exe, &err), &err);
	kiln_ok(kiln__os_find_helper(&path, strrchr(exe, exe[0] == '/' ? '/' : '\\') + 1,
				     "KILN_TEST_HELPER", &err),
		&err);
	assert_non_null(strstr(path, "test-os_host"));
	free(path);
	assert_int_equal(
		kiln__os_find_helper(&path, "nowhere/kiln-nothing", "KILN_TEST_HELPER", &err),
		KILN_ENOENT);
	assert_int_equal(kiln__os_find_helper(&path, "kiln-nothing", "KILN_TEST_HELPER", NULL),
			 KILN_ENOENT);
	assert_non_null(strstr(err.message, "kiln-nothing is not installed"));
	assert_non_null(strstr(err.hint, "KILN_TEST_HELPER"));
#ifndef _WIN32
	setenv("KILN_TEST_HELPER", "/elsewhere/it", 1);
	kiln_ok(kiln__os_find_helper(&path, "kiln-nothing", "KILN_TEST_HELPER", &err), &err);
	unsetenv("KILN_TEST_HELPER");
	assert_string_equal(path, "/elsewhere/it");
	free(path);
#endif
}

static void randomness_differs_and_fills_all(void **state)
{
	unsigned char seen[64] = {0};

	(void)state;
	for (int round = 0; round < 32; round++) {
		unsigned char bytes[64];

		kiln__os_random(bytes, sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes); i++)
			seen[i] |= bytes[i];
	}
	for (size_t i = 0; i < sizeof(seen); i++)
		assert_int_not_equal(seen[i], 0);
}

static void clocks_run_and_keep_their_unit(void **state)
{
	int64_t before = kiln__os_monotonic_ns();

	(void)state;
	assert_true(kiln__os_monotonic_ns() >= before);
	/* Between 2020 and 2200. */
	assert_true(kiln__os_realtime_ns() > INT64_C(1577836800) * 1000000000);
	assert_true(kiln__os_realtime_ns() < INT64_C(7258118400) * 1000000000);
}

static void the_host_has_processors_memory_and_a_kind(void **state)
{
	(void)state;
	assert_in_range(kiln__os_cpu_count(), 1, 100000);
	assert_true(kiln__os_total_memory() > 64 << 20);
	assert_true(strcmp(kiln__os_arch(), "x86_64") == 0 ||
		    strcmp(kiln__os_arch(), "aarch64") == 0);
}

static int64_t this_process(void)
{
#ifdef _WIN32
	return _getpid();
#else
	return getpid();
#endif
}

static void usage_grows_with_what_a_process_uses(void **state)
{
	const size_t size = 32 << 20;
	struct kiln__os_usage before;
	struct kiln__os_usage after;
	kiln_error err;
	char *memory;

	(void)state;
	kiln_ok(kiln__os_process_usage(this_process(), &before, &err), &err);
	memory = malloc(size);
	assert_non_null(memory);
	memset(memory, 1, size);
	assert_int_equal(memory[size / 2], 1);
	kiln_ok(kiln__os_process_usage(this_process(), &after, &err), &err);
	assert_true(after.resident >= before.resident + size / 2);
	if (!kiln_test_on_wine())
		assert_true(after.private_bytes >= before.private_bytes + size / 2);
	assert_true(after.cpu_ns >= before.cpu_ns);
	free(memory);
	assert_true(kiln__os_process_usage(-1, &after, &err) < 0);
	assert_true(kiln__os_process_usage(INT32_MAX, &after, &err) < 0);
}

#ifndef _WIN32
static void directories_come_from_the_environment(void **state)
{
	char *path;
	kiln_error err;

	(void)state;
	setenv("KILN_HOME", "/k/home", 1);
	kiln_ok(kiln__os_data_dir(&path, &err), &err);
	assert_string_equal(path, "/k/home");
	free(path);
	unsetenv("KILN_HOME");
	setenv("HOME", "/h", 1);
	setenv("XDG_DATA_HOME", "relative/is/ignored", 1);
	kiln_ok(kiln__os_data_dir(&path, &err), &err);
#ifdef __linux__
	assert_string_equal(path, "/h/.local/share/kiln");
#endif
	free(path);
	setenv("KILN_RUNTIME_DIR", "/k/run", 1);
	kiln_ok(kiln__os_runtime_dir(&path, &err), &err);
	assert_string_equal(path, "/k/run");
	free(path);
	setenv("KILN_RUNTIME_DIR", "run", 1);
	assert_int_equal(kiln__os_runtime_dir(&path, &err), KILN_EINVAL);
	assert_non_null(strstr(err.message, "KILN_RUNTIME_DIR"));
	unsetenv("KILN_RUNTIME_DIR");
	setenv("KILN_HOME", "../home", 1);
	assert_int_equal(kiln__os_data_dir(&path, &err), KILN_EINVAL);
	assert_non_null(strstr(err.message, "KILN_HOME"));
	assert_non_null(strstr(err.message, "../home"));
	unsetenv("KILN_HOME");
#ifdef __linux__
	setenv("XDG_RUNTIME_DIR", "/usr", 1);
	kiln_ok(kiln__os_runtime_dir(&path, &err), &err);
	assert_string_equal(path, "/usr/kiln");
	free(path);
	setenv("XDG_RUNTIME_DIR", "/absent/runtime", 1);
	assert_int_equal(kiln__os_runtime_dir(&path, &err), KILN_ENOENT);
	assert_non_null(strstr(err.message, "XDG_RUNTIME_DIR"));
	setenv("XDG_RUNTIME_DIR", "relative/is/ignored", 1);
	kiln_ok(kiln__os_runtime_dir(&path, &err), &err);
	assert_null(strstr(path, "ignored"));
	free(path);
	unsetenv("HOME");
	assert_int_equal(kiln__os_data_dir(&path, &err), KILN_EINVAL);
	assert_non_null(strstr(err.hint, "KILN_HOME"));
#endif
}

static void programs_are_searched_for_as_a_shell_does(void **state)
{
	kiln__autofree char *search = kiln__strf("/absent::%s:/bin", kiln_test_dir());
	kiln__autofree char *found = NULL;
	const char *path = kiln_test_path("tool");
	char *none;
	kiln_error err;

	(void)state;
	setenv("PATH", search, 1);
	kiln_ok(kiln__os_replace_file(path, "#!/bin/sh\n", 10, 0600, false, &err), &err);
	assert_int_equal(kiln__os_find_program(&none, "tool", &err), KILN_ENOENT);
	kiln_ok(kiln__os_replace_file(path, "#!/bin/sh\n", 10, 0700, false, &err), &err);
	kiln_ok(kiln__os_find_program(&found, "tool", &err), &err);
	assert_string_equal(found, path);
	assert_int_equal(kiln__os_find_program(&none, "absent", &err), KILN_ENOENT);
	assert_int_equal(kiln__os_find_program(&none, kiln_test_dir(), &err), KILN_ENOENT);
}

static void a_program_is_run_for_what_it_prints(void **state)
{
	const char *const good[] = {"sh", "-c", "echo out; echo err >&2", NULL};
	const char *const bad[] = {"sh", "-c", "echo why; exit 3", NULL};
	const char *const slow[] = {"sh", "-c", "read x < /dev/zero", NULL};
	char *text = NULL;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_run_capture("/bin/sh", good, KILN_TEST_DEADLINE_MS, &text, &err), &err);
	assert_string_equal(text, "out\nerr\n");
	free(text);
	assert_int_equal(kiln__os_run_capture("/bin/sh", bad, KILN_TEST_DEADLINE_MS, &text, &err),
			 KILN_EDIED);
	assert_string_equal(text, "why\n");
	free(text);
	assert_int_equal(kiln__os_run_capture("/bin/sh", slow, 1, &text, &err), KILN_ETIMEDOUT);
	assert_int_equal(kiln__os_run_capture("/absent", slow, 1, &text, &err), KILN_ENOENT);
}
#endif

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(this_executable_is_found),
		kiln_test(helpers_are_found_beside_this_executable),
		kiln_test(randomness_differs_and_fills_all),
		kiln_test(clocks_run_and_keep_their_unit),
		kiln_test(the_host_has_processors_memory_and_a_kind),
		kiln_test(usage_grows_with_what_a_process_uses),
#ifndef _WIN32
		kiln_test(directories_come_from_the_environment),
		kiln_test(programs_are_searched_for_as_a_shell_does),
		kiln_test(a_program_is_run_for_what_it_prints),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
