/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a record of leaves may have removed: what bears the VM's name, and nothing else, whoever
 * wrote it.
 */
#include "kiln_test.h"

#include "buf.h"
#include "leaves.h"
#include "os.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ID "0123456789abcdef0123456789abcdef"

static const char *make(const char *name)
{
	const char *path = kiln_test_path(name);
	kiln_error err;

	kiln_ok(kiln__os_mkdir_p(path, 0700, &err), &err);
	return path;
}

static bool is_there(const char *path)
{
	struct kiln__os_stat st;

	return kiln__os_stat(path, &st, NULL) == 0;
}

/* A process with this for its root directory, when it has that. */
static pid_t start_rooted(const char *root)
{
	int ends[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		if (chroot(root) < 0 || write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static bool removes(char kind, const char *path)
{
	kiln__autofree char *text = kiln__strf("%c %s\n", kind, path);

	return kiln__os_remove_leaves(text, ID, 10000, NULL) == 0;
}

static void a_tree_of_its_name_goes_with_what_is_around_it_if_that_is_empty(void **state)
{
	const char *around = make("base/vmm");
	const char *tree = make("base/vmm/" ID);
	kiln__autofree char *text = kiln__strf("t %s\nd %s\n", tree, around);

	(void)state;
	make("base/vmm/" ID "/root/dev");
	assert_int_equal(kiln__os_remove_leaves(text, ID, 0, NULL), 0);
	assert_false(is_there(around));
	assert_true(is_there(kiln_test_path("base")));
	assert_int_equal(kiln__os_remove_leaves(text, ID, 0, NULL), 0); /* again: nothing to do */
	make("base/vmm/another");
	make("base/vmm/" ID);
	assert_int_equal(kiln__os_remove_leaves(text, ID, 0, NULL), 0);
	assert_false(is_there(tree));
	assert_true(is_there(around));
	assert_int_equal(kiln__os_remove_leaves("", ID, 0, NULL), 0);
}

/* Whatever its name, its user, its namespaces: what it has for its root is what it is known by. */
static void who_has_it_for_a_root_is_ended(void **state)
{
	const char *root = make("base/vmm/" ID "/root");
	const char *other = make("base/vmm/other/root");
	pid_t in, beside;
	int how;

	(void)state;
	if (geteuid() != 0)
		skip();
	in = start_rooted(root);
	beside = start_rooted(other);
	assert_false(removes('r', other));
	assert_false(removes('r', make("base/vmm/x" ID "/root")));
	assert_int_equal(kill(in, 0), 0);
	assert_true(removes('r', root));
	assert_int_equal(waitpid(in, &how, 0), in);
	assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
	assert_int_equal(waitpid(beside, &how, WNOHANG), 0);
	kill(beside, SIGKILL);
	waitpid(beside, &how, 0);
}

static void nothing_of_another_name_is_touched(void **state)
{
	const char *victim = make("victim");
	const char *other = make("victim/other");
	kiln__autofree char *climbs = kiln__strf("%s/" ID "/../../victim", victim);
	kiln__autofree char *ends = kiln__strf("%s/" ID "/..", victim);
	kiln__autofree char *suffix = kiln__strf("%s" ID, victim);
	kiln__autofree char *later = kiln__strf("t %s/" ID "\nt %s\n", victim, other);

	(void)state;
	make("victim/" ID);
	assert_false(removes('t', victim));
	assert_false(removes('g', victim));
	assert_false(removes('d', other)); /* around nothing that was removed */
	assert_false(removes('t', climbs));
	assert_false(removes('t', ends));
	assert_false(removes('t', suffix));
	assert_false(removes('x', kiln_test_path("victim/" ID)));
	assert_int_equal(kiln__os_remove_leaves("t relative/" ID "\n", ID, 0, NULL), KILN_EFORMAT);
	assert_int_equal(kiln__os_remove_leaves("t", ID, 0, NULL), KILN_EFORMAT);
	assert_true(is_there(kiln_test_path("victim/" ID)));
	assert_int_equal(kiln__os_remove_leaves(later, ID, 0, NULL), KILN_EFORMAT);
	assert_true(is_there(other));
}

static void what_stays_is_named_and_ends_it(void **state)
{
	const char *full = make("full/" ID);
	const char *later = make("later/" ID);
	kiln__autofree char *text = kiln__strf("g %s\nt %s\n", full, later);
	kiln_error err;

	(void)state;
	make("full/" ID "/entry"); /* rmdir(2) refuses it, as it does a cgroup in use */
	assert_true(kiln__os_remove_leaves(text, ID, 0, &err) < 0);
	assert_non_null(strstr(err.message, full));
	assert_true(is_there(later));
	kiln_ok(kiln__os_remove(kiln_test_path("full/" ID "/entry"), &err), &err);
	kiln_ok(kiln__os_remove_leaves(text, ID, 0, &err), &err);
	assert_false(is_there(full) || is_there(later));
}

/* --- cgroups, where this user may make one ------------------------------------------------ */

#define HEAVY_BYTES ((size_t)64 << 20)

/* A new cgroup of version 2, or NULL. */
static char *make_group(void)
{
	static const char *const tops[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
		kiln__autofree char *around = kiln__strf("%s/kiln-test-%d", tops[i], getpid());
		kiln__autofree char *kills = kiln__strf("%s/" ID "/cgroup.kill", around);
		char *group = kiln__strf("%s/" ID, around);

		if (kiln__os_mkdir_p(group, 0755, NULL) == 0 && is_there(kills))
			return group;
		kiln__os_remove(group, NULL);
		kiln__os_remove(around, NULL);
		free(group);
	}
	return NULL;
}

/* A process in @group that takes a while to end: it has much memory to give back. */
static pid_t start_in(const char *group)
{
	kiln__autofree char *procs = kiln__strf("%s/cgroup.procs", group);
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = open(procs, O_WRONLY);
		char *memory = malloc(HEAVY_BYTES);

		if (fd < 0 || !memory || write(fd, "0", 1) != 1)
			_exit(1);
		memset(memory, 1, HEAVY_BYTES);
		if (write(ready[1], memory + HEAVY_BYTES / 2, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void assert_killed(pid_t pid)
{
	int how = 0;

	assert_int_equal(waitpid(pid, &how, 0), pid);
	assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void the_processes_of_a_cgroup_are_ended_and_waited_for(void **state)
{
	kiln__autofree char *group = make_group();
	kiln__autofree char *text = group ? kiln__strf("g %s\n", group) : NULL;
	kiln_error err = KILN_ERROR_INIT;
	pid_t pid;

	(void)state;
	if (!group) {
		kiln_test_skip("no cgroup of version 2 can be made here");
		return;
	}
	pid = start_in(group);
	kiln_ok(kiln__os_remove_leaves(text, ID, 10000, &err), &err);
	assert_false(is_there(group));
	assert_killed(pid);
	/* With no time to wait it stays, and that is said; unless it was quicker than we are. */
	kiln_ok(kiln__os_mkdir(group, 0755, &err), &err);
	pid = start_in(group);
	if (kiln__os_remove_leaves(text, ID, 0, &err) < 0) {
		assert_int_equal(err.code, KILN_EBUSY);
		assert_non_null(strstr(err.message, "have not ended"));
		assert_true(is_there(group));
	}
	assert_killed(pid);
	kiln_ok(kiln__os_remove_leaves(text, ID, 10000, &err), &err);
	*strrchr(group, '/') = '\0';
	kiln_ok(kiln__os_remove(group, &err), &err);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_tree_of_its_name_goes_with_what_is_around_it_if_that_is_empty),
		kiln_test(who_has_it_for_a_root_is_ended),
		kiln_test(nothing_of_another_name_is_touched),
		kiln_test(what_stays_is_named_and_ends_it),
		kiln_test(the_processes_of_a_cgroup_are_ended_and_waited_for),
	};

	return cmocka_run_group_tests_name("os_leaves", tests, NULL, NULL);
}
