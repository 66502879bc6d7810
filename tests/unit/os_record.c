/* SPDX-License-Identifier: Apache-2.0 */
/* Records: on a full disk, and after whoever wrote them was killed. */
#include "kiln_test.h"

#include "cleanup.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

static void assert_contents(const char *path, const char *expected)
{
	kiln__autofree char *text = NULL;
	kiln_error err;

	kiln_ok(kiln__os_read_file(path, 1 << 20, &text, NULL, &err), &err);
	assert_string_equal(text, expected);
}

static void a_record_is_replaced(void **state)
{
	const char *path = kiln_test_path("state.json");
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_save_record(path, "{\"a\": 1}", false, &err), &err);
	kiln_ok(kiln__os_save_record(path, "{}", true, &err), &err);
	assert_contents(path, "{}");
}

static void append(const char *path, const char *text)
{
	kiln_error err;
	kiln_fd fd;

	kiln_ok(kiln__os_open_lines(&fd, path, &err), &err);
	kiln_ok(kiln__os_write_full(fd, text, strlen(text), &err), &err);
	kiln__os_close(fd);
}

static void a_line_that_was_cut_off_is_not_glued_to_the_next(void **state)
{
	const char *path = kiln_test_path("events");

	(void)state;
	append(path, "one\n");
	append(path, "two\nthr");
	append(path, "four\n");
	assert_contents(path, "one\ntwo\nthr\nfour\n");
}

#ifdef __linux__
/* In a mount namespace of its own: exit code 0, 1 if the rule does not hold, 77 if there can be
 * none. */
static int save_on_a_full_disk(const char *dir)
{
	static char filler[65536];
	char path[256];
	char fill[256];
	char *text;
	kiln_fd fd;
	int ok;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=256k") < 0)
		return 77;
	snprintf(path, sizeof(path), "%s/state.json", dir);
	snprintf(fill, sizeof(fill), "%s/fill", dir);
	if (kiln__os_save_record(path, "{\"state\": \"running\"}", false, NULL) < 0 ||
	    kiln__os_open(&fd, fill, KILN__OPEN_WRITE | KILN__OPEN_CREATE, NULL) < 0)
		return 1;
	while (kiln__os_write(fd, filler, sizeof(filler)) > 0)
		;
	if (kiln__os_replace_file(path, "{}", 2, 0600, false, NULL) == 0)
		return 1; /* it is not full */
	if (kiln__os_save_record(path, "{\"state\": \"off\"}", true, NULL) < 0 ||
	    kiln__os_read_file(path, 4096, &text, NULL, NULL) < 0)
		return 1;
	ok = strcmp(text, "{\"state\": \"off\"}    ") == 0;
	free(text);
	return ok ? 0 : 1;
}

static void on_a_full_disk_a_record_is_written_in_place(void **state)
{
	const char *dir = kiln_test_dir();
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(save_on_a_full_disk(dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip(); /* no mount namespace for this user */
	assert_int_equal(WEXITSTATUS(status), 0);
}
#endif

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_record_is_replaced),
		kiln_test(a_line_that_was_cut_off_is_not_glued_to_the_next),
#ifdef __linux__
		kiln_test(on_a_full_disk_a_record_is_written_in_place),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
