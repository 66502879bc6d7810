/* SPDX-License-Identifier: Apache-2.0 */
#include "kiln_test.h"

#include "loop.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

static kiln_loop *loop;

/* What a watch has told since it was last asked for a name. */
struct seen {
	const char *wanted; /* sets told when this name, or an unknown one, has come */
	bool told;
	bool free_it;
	int calls;
	int directory;
	struct kiln__dirwatch *watch;
};

static void on_change(void *data, int directory, const char *name)
{
	struct seen *seen = data;

	seen->calls++;
	seen->directory = directory;
	if (!name || (seen->wanted && strcmp(name, seen->wanted) == 0))
		seen->told = true;
	if (seen->free_it) {
		kiln__dirwatch_free(seen->watch);
		seen->watch = NULL;
	}
}

static int setup(void **state)
{
	int r = kiln_test_begin(state);

	return r < 0 ? r : kiln_loop_new(&loop, NULL);
}

static int teardown(void **state)
{
	kiln_loop_free(loop);
	return kiln_test_end(state);
}

static void open_watch(struct seen *seen)
{
	kiln_error err;

	*seen = (struct seen){0};
	kiln_ok(kiln__dirwatch_new(&seen->watch, loop, on_change, seen, &err), &err);
}

static int add(struct seen *seen, const char *name)
{
	int directory;
	kiln_error err;

	kiln_ok(kiln__os_mkdir_p(kiln_test_path(name), 0700, &err), &err);
	kiln_ok(kiln__dirwatch_add(seen->watch, kiln_test_path(name), &directory, &err), &err);
	return directory;
}

static void put(const char *path)
{
	kiln_error err;

	kiln_ok(kiln__os_replace_file(path, "x", 1, 0600, false, &err), &err);
}

static void wait_for(struct seen *seen, const char *name)
{
	seen->wanted = name;
	kiln_test_run_until(loop, &seen->told);
	seen->told = false;
}

static void entries_made_written_and_removed_are_told(void **state)
{
	struct seen seen;
	kiln_fd fd;
	int directory;
	kiln_error err;

	(void)state;
	open_watch(&seen);
	directory = add(&seen, "a");
	seen.wanted = "file";
	put(kiln_test_path("a/file"));
	wait_for(&seen, "file");
	assert_int_equal(seen.directory, directory);
	kiln_ok(kiln__os_open(&fd, kiln_test_path("a/file"), KILN__OPEN_WRITE, &err), &err);
	kiln_ok(kiln__os_write_full(fd, "written", 7, &err), &err);
	kiln__os_close(fd);
	wait_for(&seen, "file");
	kiln_ok(kiln__os_remove(kiln_test_path("a/file"), &err), &err);
	wait_for(&seen, "file");
	kiln__dirwatch_free(seen.watch);
}

static void directories_are_told_apart_and_a_removed_one_is_silent(void **state)
{
	struct seen seen;
	int a;
	int b;

	(void)state;
	open_watch(&seen);
	a = add(&seen, "a");
	b = add(&seen, "b");
	assert_int_not_equal(a, b);
	seen.wanted = "in-b";
	put(kiln_test_path("b/in-b"));
	wait_for(&seen, "in-b");
	assert_int_equal(seen.directory, b);
	kiln__dirwatch_remove(seen.watch, b);
	kiln_test_settle(loop);
	put(kiln_test_path("b/silent"));
	put(kiln_test_path("a/loud"));
	do {
		wait_for(&seen, "loud");
	} while (seen.directory != a);
	kiln__dirwatch_remove(seen.watch, a);
	kiln__dirwatch_remove(seen.watch, a);
	kiln__dirwatch_free(seen.watch);
}

static void a_watch_may_be_freed_from_its_callback(void **state)
{
	struct seen seen;

	(void)state;
	open_watch(&seen);
	add(&seen, "a");
	seen.free_it = true;
	seen.wanted = "one";
	put(kiln_test_path("a/one"));
	put(kiln_test_path("a/two"));
	while (seen.watch)
		kiln_loop_step(loop);
	kiln_test_settle(loop);
	assert_int_equal(seen.calls, 1);
}

static void what_is_no_directory_is_refused(void **state)
{
	struct seen seen;
	int directory = 4711;

	(void)state;
	open_watch(&seen);
	assert_int_equal(kiln__dirwatch_add(seen.watch, kiln_test_path("absent"), &directory, NULL),
			 KILN_ENOENT);
	assert_int_equal(directory, 4711);
	kiln__dirwatch_free(seen.watch);
	kiln__dirwatch_free(NULL);
}

#define watch_test(name)                                                                           \
	{                                                                                          \
#name, name, setup, teardown, NULL                                                 \
	}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		watch_test(entries_made_written_and_removed_are_told),
		watch_test(directories_are_told_apart_and_a_removed_one_is_silent),
		watch_test(a_watch_may_be_freed_from_its_callback),
		watch_test(what_is_no_directory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
