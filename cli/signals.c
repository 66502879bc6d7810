/* SPDX-License-Identifier: Apache-2.0 */
#include "signals.h"

#include "err.h"
#include "inherited.h"
#include "loop.h"
#include "os.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct signals {
	kiln_fd fd;
	struct kiln__watch *watch;
	sigset_t before;
	void (*fn)(void *data, int number);
	void *data;
};

static void on_signal(void *data, int events)
{
	struct signals *signals = data;
	int number = kiln__os_next_signal(signals->fd);

	/* One a round: the function may free us. */
	(void)events;
	if (number)
		signals->fn(signals->data, number);
}

static const int told[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGWINCH, SIGCONT};
#define TOLD (sizeof(told) / sizeof(told[0]))

/* A blocked signal is queued even if it is ignored, so those must be left out. */
static size_t choose(int ret[TOLD], sigset_t *ret_set)
{
	struct sigaction action;
	size_t count = 0;

	sigemptyset(ret_set);
	for (size_t i = 0; i < TOLD; i++)
		if (sigaction(told[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
			sigaddset(ret_set, told[i]);
			ret[count++] = told[i];
		}
	return count;
}

int signals_new(struct signals **ret, kiln_loop *loop, void (*fn)(void *data, int number),
		void *data, kiln_error *err)
{
	struct signals *signals = calloc(1, sizeof(*signals));
	int numbers[TOLD];
	sigset_t set;
	size_t count;
	int r;

	if (!signals)
		return kiln__fail_nomem(err);
	signals->fn = fn;
	signals->data = data;
	count = choose(numbers, &set);
	r = kiln__os_signal_events(&signals->fd, numbers, count, err);
	if (r < 0) {
		free(signals);
		return r;
	}
	r = kiln__watch_new(&signals->watch, loop, signals->fd, on_signal, signals, err);
	if (r < 0) {
		kiln__os_close(signals->fd);
		free(signals);
		return r;
	}
	sigprocmask(SIG_BLOCK, &set, &signals->before);
	kiln__watch_set(signals->watch, KILN__READABLE);
	*ret = signals;
	return 0;
}

void signals_free(struct signals *signals)
{
	if (!signals)
		return;
	kiln__watch_free(signals->watch);
	kiln__os_close(signals->fd);
	sigprocmask(SIG_SETMASK, &signals->before, NULL);
	free(signals);
}

_Noreturn void signals_die(int number)
{
	sigset_t set;

	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
	_exit(128 + number);
}
