/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions when memory is out: whoever asked for one still has his stream, and no session. */
#include "kiln_test.h"
#include "mempair.h"
#include "nomem.h"
#include "session.h"

#include <stdlib.h>

static size_t on_output(void *data, int stream, const void *bytes, size_t len)
{
	(void)data;
	(void)stream;
	(void)bytes;
	return len;
}

static const struct kiln__session_handler handler = {.output = on_output};

typedef int (*make_fn)(struct kiln__session **ret, kiln_loop *loop, struct kiln__stream *stream,
		       kiln_error *err);

static int start(struct kiln__session **ret, kiln_loop *loop, struct kiln__stream *stream,
		 kiln_error *err)
{
	static char argv[] = "true";
	const struct kiln__agent_start what = {.argv = {argv, sizeof(argv)}};

	return kiln__session_start(ret, loop, stream, &what, &handler, NULL, err);
}

static int attach(struct kiln__session **ret, kiln_loop *loop, struct kiln__stream *stream,
		  kiln_error *err)
{
	const struct kiln__agent_attach what = {.id = 1};

	return kiln__session_attach(ret, loop, stream, &what, &handler, NULL, err);
}

/* Makes one with its first, second ... allocation failing, until none of its fails. */
static void fail_each(make_fn make)
{
	kiln_loop *loop;
	unsigned failures = 0;
	unsigned refused = 0;
	bool failed;

	assert_int_equal(kiln_loop_new(&loop, NULL), 0);
	do {
		struct kiln__stream *ends[2];
		struct kiln__session *session = NULL;
		kiln_error err = KILN_ERROR_INIT;
		int r;

		mempair_new(ends, loop, 4096, 4096);
		nomem_arm((long)failures);
		r = make(&session, loop, ends[0], &err);
		failed = nomem_disarm();
		if (r < 0) {
			assert_int_equal(r, KILN_ENOMEM);
			assert_null(session);
			kiln__stream_close(ends[0]);
			refused++;
		} else {
			assert_non_null(session);
			kiln__session_free(session);
		}
		kiln__stream_close(ends[1]);
		kiln_test_settle(loop);
		assert_true(r == 0 || failed);
		failures++;
	} while (failed);
	assert_true(refused >= 3);
	kiln_loop_free(loop);
}

static void a_start_without_memory_yields_no_session(void **state)
{
	(void)state;
	fail_each(start);
}

static void an_attachment_without_memory_yields_no_session(void **state)
{
	(void)state;
	fail_each(attach);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_start_without_memory_yields_no_session),
		kiln_test(an_attachment_without_memory_yields_no_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
