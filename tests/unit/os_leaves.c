/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a record of leaves may have removed: what bears the VM's name, and nothing else, whoever
 * wrote it.
 */
#include "kiln_test.h"

#include "buf.h"
#include "leaves.h"
#include "os.h"

#include <signal.h>
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
static pid_t start_in(const char *root)
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

	return kiln__os_remove_leaves(text, ID);
}

static void a_tree_of_its_name_goes_with_what_is_around_it_if_that_is_empty(void **state)
{
	const char *around = make("base/vmm");
	const char *tree = make("base/vmm/" ID);
	kiln__autofree char *text = kiln__strf("t %s\nd %s\n", tree, around);

	(void)state;
	make("base/vmm/" ID "/root/dev");
	assert_true(kiln__os_remove_leaves(text, ID));
	assert_false(is_there(around));
	assert_true(is_there(kiln_test_path("base")));
	assert_true(kiln__os_remove_leaves(text, ID)); /* again: nothing to do */
	make("base/vmm/another");
	make("base/vmm/" ID);
	assert_true(kiln__os_remove_leaves(text, ID));
	assert_false(is_there(tree));
	assert_true(is_there(around));
	assert_true(kiln__os_remove_leaves("", ID));
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
	in = start_in(root);
	beside = start_in(other);
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
	assert_false(kiln__os_remove_leaves("t relative/" ID "\n", ID));
	assert_false(kiln__os_remove_leaves("t", ID));
	assert_true(is_there(kiln_test_path("victim/" ID)));
	assert_false(kiln__os_remove_leaves(later, ID));
	assert_true(is_there(other));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_tree_of_its_name_goes_with_what_is_around_it_if_that_is_empty),
		kiln_test(who_has_it_for_a_root_is_ended),
		kiln_test(nothing_of_another_name_is_touched),
	};

	return cmocka_run_group_tests_name("os_leaves", tests, NULL, NULL);
}
