/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"
#include "cache.h"
#include "os.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static struct kiln__cache *cache;

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/kiln-cache-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	return kiln__cache_new(&cache, dir, NULL);
}

static int teardown(void **state)
{
	(void)state;
	kiln__cache_free(cache);
	return kiln__os_remove_tree(dir, NULL);
}

static char *inside(const char *name)
{
	char *path = kiln__strf("%s/%s", dir, name);

	assert_non_null(path);
	return path;
}

static void assert_empty(const char *folder)
{
	kiln__autofree char *path = inside(folder);
	char **names;

	assert_int_equal(kiln__os_list_dir(path, &names, NULL), 0);
	if (names[0])
		fail_msg("%s still has %s", folder, names[0]);
	kiln__os_free_names(names);
}

static void assert_contents(const char *path, const char *expected)
{
	kiln__autofree char *text = NULL;
	size_t len;

	assert_int_equal(kiln__os_read_file(path, 1000, &text, &len, NULL), 0);
	assert_string_equal(text, expected);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t put = write(fd, text, strlen(text));

	return close(fd) || put != (ssize_t)strlen(text) ? KILN_EIO : 0;
}

struct counting {
	int calls;
	int result;
	const char *text;
};

static int make_file(void *data, const char *path, kiln_error *err)
{
	struct counting *counting = data;

	(void)err;
	counting->calls++;
	if (write_file(path, counting->text))
		return KILN_EIO;
	return counting->result;
}

static void an_object_is_made_once(void **state)
{
	struct counting counting = {.text = "hello"};
	kiln__autofree char *first = NULL, *second = NULL;

	(void)state;
	assert_int_equal(kiln__cache_get(cache, "a-1", make_file, &counting, &first, NULL), 0);
	assert_int_equal(kiln__cache_get(cache, "a-1", make_file, &counting, &second, NULL), 0);
	assert_int_equal(counting.calls, 1);
	assert_string_equal(first, second);
	assert_contents(first, "hello");
	assert_empty("tmp");
	assert_empty("lock");
}

static void a_failed_maker_leaves_nothing(void **state)
{
	struct counting counting = {.text = "half", .result = KILN_EFORMAT};
	kiln_error err = KILN_ERROR_INIT;
	char *path = NULL;

	(void)state;
	assert_int_equal(kiln__cache_get(cache, "a-1", make_file, &counting, &path, &err),
			 KILN_EFORMAT);
	assert_null(path);
	assert_empty("objects");
	assert_empty("tmp");
	assert_empty("lock");
}

static int make_dir(void *data, const char *path, kiln_error *err)
{
	kiln__autofree char *file = kiln__strf("%s/sub/file", path),
			    *sub = kiln__strf("%s/sub", path);

	(void)data;
	assert_int_equal(kiln__os_mkdir_p(sub, 0700, err), 0);
	return write_file(file, "in a directory");
}

static void directories_are_objects_too(void **state)
{
	kiln__autofree char *path = NULL, *file = NULL;

	(void)state;
	assert_int_equal(kiln__cache_get(cache, "d-1", make_dir, NULL, &path, NULL), 0);
	file = kiln__strf("%s/sub/file", path);
	assert_contents(file, "in a directory");
	assert_empty("tmp");
}

static void records_lead_to_objects(void **state)
{
	struct counting counting = {.text = "one"};
	kiln__autofree char *path = NULL, *found = NULL, *again = NULL;
	char *none = NULL;

	(void)state;
	assert_int_equal(kiln__cache_find(cache, "r", &none, NULL), KILN_ENOENT);
	assert_int_equal(kiln__cache_get(cache, "a-1", make_file, &counting, &path, NULL), 0);
	assert_int_equal(kiln__cache_record(cache, "r", "a-1", NULL), 0);
	assert_int_equal(kiln__cache_find(cache, "r", &found, NULL), 0);
	assert_string_equal(found, path);
	/* Replaced, it leads elsewhere; where the object is gone, it leads nowhere. */
	assert_int_equal(kiln__cache_record(cache, "r", "a-2", NULL), 0);
	assert_int_equal(kiln__cache_find(cache, "r", &none, NULL), KILN_ENOENT);
	assert_int_equal(kiln__cache_record(cache, "r", "a-1", NULL), 0);
	assert_int_equal(kiln__cache_find(cache, "r", &again, NULL), 0);
	assert_null(none);
	assert_empty("tmp");
	assert_empty("lock");
}

static void a_record_out_of_the_cache_is_a_miss(void **state)
{
	kiln__autofree char *index = inside("index"), *link = inside("index/r");
	char *found = NULL;

	(void)state;
	assert_int_equal(kiln__os_mkdir_p(index, 0700, NULL), 0);
	assert_int_equal(symlink("../objects/../../etc/passwd", link), 0);
	assert_int_equal(kiln__cache_find(cache, "r", &found, NULL), KILN_ENOENT);
	assert_null(found);
}

/* --- several processes ------------------------------------------------------------------ */

struct gate {
	int started; /* write end: a maker is inside */
	int go;      /* read end: at its end, makers go on */
	int count;   /* one byte appended by each maker */
};

static int make_slowly(void *data, const char *path, kiln_error *err)
{
	struct gate *gate = data;
	char byte = 'm';

	(void)err;
	if (write_file(path, "slow") || write(gate->count, &byte, 1) != 1 ||
	    write(gate->started, &byte, 1) != 1)
		return KILN_EIO;
	return read(gate->go, &byte, 1) == 0 ? 0 : KILN_EIO;
}

static void ten_concurrent_makers_make_it_once(void **state)
{
	kiln__autofree char *count_path = inside("count");
	int started[2], go[2], status;
	pid_t children[10];
	struct gate gate;
	struct stat info;
	char byte;

	(void)state;
	assert_int_equal(pipe2(started, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	gate.started = started[1];
	gate.go = go[0];
	gate.count = open(count_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	for (int i = 0; i < 10; i++) {
		children[i] = fork();
		if (!children[i]) {
			char *path = NULL;

			close(go[1]);
			_exit(kiln__cache_get(cache, "a-1", make_slowly, &gate, &path, NULL) ||
			      !path);
		}
	}
	/* One is inside; closing the gate's last writer lets it go on. */
	assert_int_equal(read(started[0], &byte, 1), 1);
	close(go[1]);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(fstat(gate.count, &info), 0);
	assert_int_equal(info.st_size, 1);
	assert_empty("tmp");
	assert_empty("lock");
	close(started[0]);
	close(started[1]);
	close(go[0]);
	close(gate.count);
}

static void a_killed_maker_leaves_nothing_visible(void **state)
{
	struct counting counting = {.text = "other"};
	kiln__autofree char *object = inside("objects/a-1"), *temporary = inside("tmp/a-1"),
			    *path = NULL;
	int started[2], go[2], status;
	struct gate gate;
	pid_t child;
	char byte;

	(void)state;
	assert_int_equal(pipe2(started, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	gate = (struct gate){started[1], go[0], started[1]};
	child = fork();
	if (!child) {
		kiln__cache_get(cache, "a-1", make_slowly, &gate, &path, NULL);
		_exit(0);
	}
	assert_int_equal(read(started[0], &byte, 1), 1);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(access(temporary, F_OK), 0);
	assert_int_not_equal(access(object, F_OK), 0);
	/* The next maker, of anything, cleans up. */
	assert_int_equal(kiln__cache_get(cache, "b-1", make_file, &counting, &path, NULL), 0);
	assert_int_not_equal(access(object, F_OK), 0);
	assert_empty("tmp");
	assert_empty("lock");
	close(started[0]);
	close(started[1]);
	close(go[0]);
	close(go[1]);
}

static void a_maker_at_work_is_not_swept_away(void **state)
{
	kiln__autofree char *object = inside("objects/a-1");
	int started[2], go[2], status;
	struct gate gate;
	pid_t child;
	char byte;

	(void)state;
	assert_int_equal(pipe2(started, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	gate = (struct gate){started[1], go[0], started[1]};
	child = fork();
	if (!child) {
		char *path = NULL;

		close(go[1]);
		_exit(kiln__cache_get(cache, "a-1", make_slowly, &gate, &path, NULL) != 0);
	}
	assert_int_equal(read(started[0], &byte, 1), 1);
	kiln__cache_sweep(cache);
	close(go[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_contents(object, "slow");
	close(started[0]);
	close(started[1]);
	close(go[0]);
}

/* --- a full disk --------------------------------------------------------------------------- */

static int make_large(void *data, const char *path, kiln_error *err)
{
	static const char block[65536];
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int rc = kiln__os_open(&fd, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE, err);

	(void)data;
	for (int i = 0; i < 64 && !rc; i++)
		rc = kiln__os_write_full(fd, block, sizeof(block), err);
	return rc;
}

/* In a mount namespace of its own; 77 where this host does not allow one. */
static int on_a_small_disk(void)
{
	kiln_error err = KILN_ERROR_INIT;
	char *path = NULL;

	if (unshare(geteuid() ? CLONE_NEWNS | CLONE_NEWUSER : CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", dir, "tmpfs", 0, "mode=700,size=1m"))
		return 77;
	if (kiln__cache_get(cache, "a-1", make_large, NULL, &path, &err) != KILN_ENOSPC)
		return 1;
	if (!strstr(err.message, "full disk") || !strstr(err.hint, dir))
		return 2;
	assert_empty("objects");
	assert_empty("tmp");
	assert_empty("lock");
	return 0;
}

static void a_full_disk_is_said_and_leaves_nothing(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (!child)
		_exit(on_a_small_disk());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("no mount namespace here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static int make_when_told(void *data, const char *path, kiln_error *err)
{
	const int *pipes = data;
	char c;

	assert_int_equal(write(pipes[1], "", 1), 1); /* it is being made */
	assert_int_equal(read(pipes[2], &c, 1), 1);
	return kiln__os_mkdir(path, 0700, err);
}

static void a_dropped_object_waits_for_its_maker(void **state)
{
	kiln__autofree char *object = inside("objects/lists");
	char *path = NULL;
	int there[2];
	int go[2];
	int how;
	pid_t maker;
	pid_t dropper;
	char c;

	(void)state;
	assert_int_equal(kiln__cache_drop(cache, "lists", NULL), 0); /* absent */
	assert_int_equal(pipe2(there, O_CLOEXEC) | pipe2(go, O_CLOEXEC), 0);
	maker = fork();
	if (maker == 0) {
		const int pipes[] = {there[0], there[1], go[0]};

		_exit(kiln__cache_get(cache, "lists", make_when_told, (void *)(uintptr_t)pipes,
				      &path, NULL) != 0);
	}
	assert_int_equal(read(there[0], &c, 1), 1);
	dropper = fork();
	if (dropper == 0)
		_exit(kiln__cache_drop(cache, "lists", NULL) != 0);
	assert_int_equal(waitpid(dropper, &how, WNOHANG), 0);
	assert_int_equal(write(go[1], "", 1), 1);
	assert_int_equal(waitpid(maker, &how, 0), maker);
	assert_int_equal(how, 0);
	assert_int_equal(waitpid(dropper, &how, 0), dropper);
	assert_int_equal(how, 0);
	assert_int_equal(access(object, F_OK), -1);
	assert_empty("tmp");
	assert_empty("lock");
	for (int i = 0; i < 2; i++) {
		close(there[i]);
		close(go[i]);
	}
}

/* KILN_IMAGE_CACHE=/tmp/x, made by somebody else before: his kernel would be booted. */
static void a_directory_that_others_may_write_is_no_cache(void **state)
{
	kiln__autofree char *link = kiln__strf("%s-link", dir);
	struct kiln__cache *other = NULL;

	(void)state;
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(kiln__cache_new(&other, dir, NULL), KILN_EACCES);
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(symlink(dir, link), 0);
	assert_int_equal(kiln__cache_new(&other, link, NULL), KILN_EACCES);
	assert_int_equal(unlink(link), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(dir, 65534, 65534), 0);
		assert_int_equal(kiln__cache_new(&other, dir, NULL), KILN_EACCES);
		assert_int_equal(chown(dir, 0, 0), 0);
	}
	assert_null(other);
	assert_int_equal(kiln__cache_new(&other, dir, NULL), 0);
	kiln__cache_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_object_is_made_once),
		TEST(a_failed_maker_leaves_nothing),
		TEST(directories_are_objects_too),
		TEST(records_lead_to_objects),
		TEST(a_record_out_of_the_cache_is_a_miss),
		TEST(ten_concurrent_makers_make_it_once),
		TEST(a_killed_maker_leaves_nothing_visible),
		TEST(a_maker_at_work_is_not_swept_away),
		TEST(a_full_disk_is_said_and_leaves_nothing),
		TEST(a_directory_that_others_may_write_is_no_cache),
		TEST(a_dropped_object_waits_for_its_maker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
