/* SPDX-License-Identifier: Apache-2.0 */
/* Taking connections, when there is room and when there is none. */
#include "acceptor.h"
#include "kiln_test.h"
#include "os.h"

#include <sys/resource.h>
#include <unistd.h>

struct taken {
	struct kiln__acceptor *acceptor;
	unsigned count;
	unsigned enough; /* then it takes no more */
	bool some;
};

static void take(void *data, kiln_fd fd)
{
	struct taken *taken = data;

	kiln__os_close(fd);
	taken->some = true;
	if (++taken->count == taken->enough)
		kiln__acceptor_set(taken->acceptor, false);
}

static kiln_loop *open_acceptor(struct taken *taken, const char *path)
{
	kiln_fd listener;
	kiln_loop *loop;
	kiln_error err;

	kiln_ok(kiln_loop_new(&loop, &err), &err);
	kiln_ok(kiln__os_local_listen(&listener, path, &err), &err);
	kiln_ok(kiln__acceptor_new(&taken->acceptor, loop, listener, take, taken, &err), &err);
	kiln__acceptor_set(taken->acceptor, true);
	return loop;
}

static void close_acceptor(struct taken *taken, kiln_loop *loop)
{
	kiln__acceptor_free(taken->acceptor);
	kiln_test_settle(loop);
	kiln_loop_free(loop);
}

static void what_there_is_no_room_for_waits(void **state)
{
	const char *path = kiln_test_path("sock");
	struct taken taken = {.enough = 1};
	kiln_fd fds[2];
	kiln_loop *loop = open_acceptor(&taken, path);
	kiln_error err;

	(void)state;
	kiln_ok(kiln__os_local_connect(&fds[0], path, &err), &err);
	kiln_ok(kiln__os_local_connect(&fds[1], path, &err), &err);
	kiln_test_settle(loop);
	assert_int_equal(taken.count, 1);
	kiln__acceptor_set(taken.acceptor, true);
	kiln_test_settle(loop);
	assert_int_equal(taken.count, 2);
	kiln__os_close(fds[0]);
	kiln__os_close(fds[1]);
	close_acceptor(&taken, loop);
}

/* A waiting connection that cannot be taken is readiness for ever: it must not be looked at for
 * ever. */
static void without_descriptors_the_loop_sleeps_and_tries_again(void **state)
{
	const char *path = kiln_test_path("sock");
	struct taken taken = {0};
	kiln_loop *loop = open_acceptor(&taken, path);
	struct rlimit before;
	struct rlimit none;
	kiln_error err;
	kiln_fd fd;

	(void)state;
	kiln_ok(kiln__os_local_connect(&fd, path, &err), &err);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (int i = 0; i < 10; i++)
		kiln_loop_dispatch(loop);
	assert_int_equal(taken.count, 0);
	assert_true(kiln_loop_timeout(loop) > 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	kiln_test_run_until(loop, &taken.some);
	assert_int_equal(taken.count, 1);
	kiln__os_close(fd);
	close_acceptor(&taken, loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(what_there_is_no_room_for_waits),
		kiln_test(without_descriptors_the_loop_sleeps_and_tries_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
