/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every unit test program uses beside cmocka: a table entry that fails a
 * test which leaks a descriptor, a directory of the test's own, and waiting on a
 * loop with a deadline.
 *
 *	static const struct CMUnitTest tests[] = {
 *		kiln_test(rule_that_it_proves),
 *	};
 *	return cmocka_run_group_tests(tests, NULL, NULL);
 */
#ifndef KILN_TEST_H
#define KILN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <kiln/error.h>
#include <kiln/loop.h>

#include <stdbool.h>

int kiln_test_begin(void **state);
int kiln_test_end(void **state);

#define kiln_test(name)                                                                            \
	{                                                                                          \
#name, name, kiln_test_begin, kiln_test_end, NULL                                  \
	}

/* No event that a test waits for takes nearly this long, not even under a sanitizer. */
/*
 * Says what a test has shown and how often, for the list at the end of `make check` and
 * `make soak`: "a hundred VMs ...".
 */
void kiln_test_shown(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define KILN_TEST_DEADLINE_MS 20000

/* Fails the test with the error's text unless @result >= 0. */
#define kiln_ok(result, err) kiln_test_ok((result), (err), #result, __FILE__, __LINE__)
void kiln_test_ok(long long result, const kiln_error *err, const char *what, const char *file,
		  int line);

/*
 * A directory made for the running test, removed with all in it when the test ends.
 * Its path is short, so that sockets fit in. kiln_test_path() yields the path of @name
 * in it, valid until the test ends (at most 16 of them).
 */
const char *kiln_test_dir(void);
const char *kiln_test_path(const char *name);

/* Dispatches @loop until *@done; fails the test at the deadline. */
void kiln_test_run_until(kiln_loop *loop, const bool *done);

/* Dispatches what is ready now, and what that makes ready, without waiting. */
void kiln_test_settle(kiln_loop *loop);

/* Whether this is Wine, which does not have all that Windows has. */
bool kiln_test_on_wine(void);

/* Prints why to stdout and yields 77, Meson's exit code of a skipped test. */
int kiln_test_skip(const char *why);

#endif
