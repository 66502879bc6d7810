/* SPDX-License-Identifier: Apache-2.0 */
#include "handoff.h"

#include "err.h"
#include "init.h"
#include "power.h"
#include "service.h"
#include "spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

static _Noreturn void become_init(const char *init)
{
	char *argv[] = {(char *)(uintptr_t)init, NULL};
	char home[] = "HOME=/";
	char term[] = "TERM=linux";
	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char *env[] = {home, term, path, NULL};
	sigset_t none;

	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(init, argv, env);
	fatal("cannot execute %s: errno %d", init, errno);
}

int hand_off(struct agent *agent, const char *init, kiln_error *err)
{
	int pid;

	if (access(init, X_OK) < 0) {
		kiln__fail_errno(err, errno, "the root's init %s", init);
		return kiln__stage(err, "init");
	}
	pid = fork();
	if (pid < 0)
		return kiln__fail_errno(err, errno, "cannot start a process");
	if (pid > 0)
		become_init(init); /* this process, being PID 1 */
	setsid();
	power_forget_button(agent);
	agent->ops = &service_ops;
	agent->on_signal = service_signal;
	agent->on_change = NULL;
	protect_from_oom();
	return agent_watch_signals(agent, err);
}
