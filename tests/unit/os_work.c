/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking work on a thread: what it tells and its end come on the loop; abandoned, it clears up.
 */
#include "kiln_test.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct job {
	struct kiln__work *work;
	uv_sem_t go;      /* run() waits for it */
	uv_sem_t dropped; /* drop() has been called */
	uv_thread_t loop_thread;
	char told[64];
	bool ran_elsewhere;
	bool abandon_when_told;
	bool done;
};

static void run(struct kiln__work *work, void *data)
{
	struct job *job = data;
	uv_thread_t self = uv_thread_self();

	job->ran_elsewhere = !uv_thread_equal(&self, &job->loop_thread);
	kiln__work_tell(work, "one ");
	uv_sem_wait(&job->go);
	kiln__work_tell(work, "two ");
	kiln__work_tell(work, "three");
}

static void told(void *data, const char *text)
{
	struct job *job = data;

	strcat(job->told, text);
	if (job->abandon_when_told)
		kiln__work_abandon(job->work);
	uv_sem_post(&job->go);
}

static void done(void *data)
{
	struct job *job = data;
	uv_thread_t self = uv_thread_self();

	assert_true(uv_thread_equal(&self, &job->loop_thread));
	job->done = true;
}

static void drop(void *data)
{
	uv_sem_post(&((struct job *)data)->dropped);
}

static const struct kiln__work_ops ops = {run, told, done, drop};

static void begin(struct job *job, kiln_loop **ret_loop)
{
	kiln_error err;

	*job = (struct job){.loop_thread = uv_thread_self()};
	assert_int_equal(uv_sem_init(&job->go, 0), 0);
	assert_int_equal(uv_sem_init(&job->dropped, 0), 0);
	kiln_ok(kiln_loop_new(ret_loop, &err), &err);
	kiln_ok(kiln__work_start(&job->work, *ret_loop, &ops, job, &err), &err);
}

static void finish(struct job *job, kiln_loop *loop)
{
	kiln_loop_free(loop);
	uv_sem_destroy(&job->go);
	uv_sem_destroy(&job->dropped);
}

static void work_tells_in_order_and_is_done(void **state)
{
	kiln_loop *loop;
	struct job job;

	(void)state;
	begin(&job, &loop);
	kiln_test_run_until(loop, &job.done);
	assert_true(job.ran_elsewhere);
	assert_string_equal(job.told, "one two three");
	finish(&job, loop);
}

static void abandoned_work_is_dropped_when_it_ends(void **state)
{
	kiln_loop *loop;
	struct job job;

	(void)state;
	begin(&job, &loop);
	kiln__work_abandon(job.work);
	uv_sem_post(&job.go);
	uv_sem_wait(&job.dropped);
	kiln_test_settle(loop);
	assert_string_equal(job.told, "");
	assert_false(job.done);
	finish(&job, loop);
}

static void work_may_be_abandoned_by_what_it_tells(void **state)
{
	kiln_loop *loop;
	struct job job;

	(void)state;
	begin(&job, &loop);
	job.abandon_when_told = true;
	while (!job.told[0])
		kiln_loop_step(loop);
	uv_sem_wait(&job.dropped);
	kiln_test_settle(loop);
	assert_string_equal(job.told, "one ");
	assert_false(job.done);
	finish(&job, loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(work_tells_in_order_and_is_done),
		kiln_test(abandoned_work_is_dropped_when_it_ends),
		kiln_test(work_may_be_abandoned_by_what_it_tells),
	};

	return cmocka_run_group_tests_name("os_work", tests, NULL, NULL);
}
