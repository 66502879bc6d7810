/* SPDX-License-Identifier: Apache-2.0 */
/* A VMM as a child process: what it prints, and its end. */
#include "kiln_test.h"
#include "process.h"

#include <string.h>
#include <unistd.h>

struct seen {
	struct kiln__process_vmm *vmm;
	bool ended;
	struct kiln__exit how;
	bool late;
};

static void on_ended(void *data, struct kiln__exit how)
{
	struct seen *seen = data;

	seen->ended = true;
	seen->how = how;
}

static const struct kiln__process_handler handler = {.ended = on_ended};

static void spawn(struct seen *seen, kiln_loop *loop, const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	const struct kiln__process_plan plan = {.path = "/bin/sh", .argv = argv};
	kiln_error err;

	kiln_ok(kiln__vmm_spawn(&seen->vmm, loop, NULL, &plan, &handler, seen, &err), &err);
}

static void its_end_comes_with_its_last_words(void **state)
{
	struct seen seen = {0};
	kiln_loop *loop;
	kiln_error err;

	(void)state;
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	spawn(&seen, loop,
	      "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done; exit 3");
	kiln_test_run_until(loop, &seen.ended);
	assert_int_equal(seen.how.code, 3);
	kiln__vmm_fail(seen.vmm, "it", seen.how, &err);
	assert_string_equal(err.message, "it exited with code 3: line 2998: line 2999");
	kiln__vmm_free(seen.vmm);
	kiln_test_settle(loop);
	kiln_loop_free(loop);
}

static void on_timer(void *data)
{
	((struct seen *)data)->late = true;
}

/* It prints faster than we read: everything else on the loop has its turn all the same. */
static void one_that_prints_without_end_holds_nothing_up(void **state)
{
	struct kiln__timer *timer;
	struct seen seen = {0};
	kiln_loop *loop;
	kiln_error err;

	(void)state;
	alarm(KILN_TEST_DEADLINE_MS / 1000); /* a loop that is held up does not look at deadlines */
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	kiln_ok(kiln__timer_new(&timer, loop, on_timer, &seen, &err), &err);
	spawn(&seen, loop, "cat /dev/zero & exec cat /dev/zero");
	kiln__timer_start(timer, 50);
	kiln_test_run_until(loop, &seen.late);
	kiln__vmm_kill(seen.vmm);
	kiln_test_run_until(loop, &seen.ended);
	kiln__vmm_free(seen.vmm);
	kiln__timer_free(timer);
	kiln_test_settle(loop);
	kiln_loop_free(loop);
	alarm(0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(its_end_comes_with_its_last_words),
		kiln_test(one_that_prints_without_end_holds_nothing_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
