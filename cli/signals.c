/* SPDX-License-Identifier: Apache-2.0 */
#include "signals.h"

#include "err.h"
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct signals {
	int fd;
	struct kiln__watch *watch;
	sigset_t before;
	void (*fn)(void *data, int number);
	void *data;
};

static void on_signal(void *data, int events)
{
	struct signals *signals = data;
	struct signalfd_siginfo info;

	/* One a round: the function may free us. */
	(void)events;
	if (read(signals->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		signals->fn(signals->data, (int)info.ssi_signo);
}

/* A blocked signal is queued even if it is ignored, so those must be left out. */
static void choose(sigset_t *set)
{
	static const int numbers[] = {SIGHUP,  SIGINT,  SIGQUIT,  SIGUSR1,
				      SIGUSR2, SIGTERM, SIGWINCH, SIGCONT};
	struct sigaction action;

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(set, numbers[i]);
}

int signals_new(struct signals **ret, kiln_loop *loop, void (*fn)(void *data, int number),
		void *data, kiln_error *err)
{
	struct signals *signals = calloc(1, sizeof(*signals));
	sigset_t set;
	int r;

	if (!signals)
		return kiln__fail_nomem(err);
	signals->fn = fn;
	signals->data = data;
	choose(&set);
	signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals->fd < 0) {
		r = kiln__fail_errno(err, errno, "signalfd");
		free(signals);
		return r;
	}
	r = kiln__watch_new(&signals->watch, loop, signals->fd, on_signal, signals, err);
	if (r < 0) {
		close(signals->fd);
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
	close(signals->fd);
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
