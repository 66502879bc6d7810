/* SPDX-License-Identifier: Apache-2.0 */
#include "power.h"

#include "conn.h"
#include "err.h"
#include "mounts.h"
#include "root.h"
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/input.h>

#define TERM_MS 2000 /* for all processes but the main one, which had its own time */
#define KILL_MS 2000
#define TAKE_MS 1000 /* for the host to take the statuses of what has just ended */

enum phase {
	PHASE_NONE,
	PHASE_MAIN, /* the main process has its stop signal */
	PHASE_TERM,
	PHASE_KILL,
	PHASE_TAKE,
};

static struct {
	enum phase phase;
	bool restart;
	bool by_reset;
	bool timed_out; /* this phase */
} power;

static void go_on(struct agent *agent);

_Noreturn void power_end(bool restart)
{
	unmount_all();
	root_finish();
	sync();
	reboot(restart || power.by_reset ? RB_AUTOBOOT : RB_POWER_OFF);
	for (;;) /* no such call in this kernel, or no right to it: there is nothing left to do */
		pause();
}

void power_end_by_reset(void)
{
	power.by_reset = true;
}

/* Whether a process is left that PID 1 would have to reap some day: that is, any at all. */
static bool processes_left(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Whether the host is about to take the status of something that has ended. */
static bool statuses_left(const struct agent *agent)
{
	for (const struct session *s = agent->sessions; s; s = s->next)
		if (s->conn)
			return true;
	return false;
}

static void on_deadline(void *data)
{
	power.timed_out = true;
	go_on(data);
}

static void enter(struct agent *agent, enum phase phase, uint32_t ms)
{
	power.phase = phase;
	power.timed_out = false;
	evloop_deadline(&agent->loop, ms, on_deadline, agent);
}

/* Whether what the phase waits for has happened. */
static bool phase_over(const struct agent *agent)
{
	switch (power.phase) {
	case PHASE_NONE:
		return false;
	case PHASE_MAIN:
		return power.timed_out || !agent->main || agent->main->exited;
	case PHASE_TERM:
	case PHASE_KILL:
		return power.timed_out || !processes_left();
	case PHASE_TAKE:
		return power.timed_out || !statuses_left(agent);
	}
	return true;
}

static void next_phase(struct agent *agent)
{
	switch (power.phase) {
	case PHASE_MAIN:
		enter(agent, PHASE_TERM, TERM_MS);
		kill(-1, SIGTERM);
		kill(-1, SIGCONT);
		break;
	case PHASE_TERM:
		enter(agent, PHASE_KILL, KILL_MS);
		kill(-1, SIGKILL);
		break;
	case PHASE_KILL:
		enter(agent, PHASE_TAKE, TAKE_MS);
		break;
	default:
		power_end(power.restart);
	}
}

static void go_on(struct agent *agent)
{
	while (phase_over(agent))
		next_phase(agent);
}

int power_shutdown(struct agent *agent, const struct kiln__agent_shutdown *how,
		   enum kiln__agent_cause cause, kiln_error *err)
{
	const struct kiln__agent_event_shutdown event = {how->action, cause};
	uint32_t grace = how->grace_ms ? how->grace_ms : agent->stop_grace_ms;
	bool main_runs = agent->main && !agent->main->exited;

	(void)err;
	if (power.phase != PHASE_NONE)
		return 0; /* it is on its way */
	power.restart = how->action == KILN__AGENT_REBOOT;
	agent_event(agent, KILN__AGENT_EVENT_SHUTDOWN, &kiln__agent_event_shutdown_record, &event);
	agent->on_change = go_on;
	/* With no time at all it goes on from the loop: the answer to a request is sent before. */
	enter(agent, PHASE_MAIN, main_runs ? grace : 0);
	if (main_runs) {
		kill(agent->main->pid, (int)agent->stop_signal);
		kill(agent->main->pid, SIGCONT);
	}
	return 0;
}

void power_signal(struct agent *agent, uint32_t signal)
{
	/* The kernel sends SIGINT for Ctrl-Alt-Del; the others are what busybox's commands send. */
	bool restart = signal == SIGINT || signal == SIGTERM;
	const struct kiln__agent_shutdown how = {
		.action = restart ? KILN__AGENT_REBOOT : KILN__AGENT_POWEROFF,
	};

	power_shutdown(agent, &how,
		       signal == SIGINT ? KILN__AGENT_CAUSE_KEYS : KILN__AGENT_CAUSE_GUEST, NULL);
}

/* --- the power button ------------------------------------------------------------------ */

#define BUTTONS_MAX 4 /* ACPI has a fixed one and one as a device; some machines add their own */

static struct source buttons[BUTTONS_MAX] = {
	{.fd = -1},
	{.fd = -1},
	{.fd = -1},
	{.fd = -1},
};

static void on_button(void *data, uint32_t events)
{
	const struct kiln__agent_shutdown how = {.action = KILN__AGENT_POWEROFF};
	struct agent *agent = data;
	struct input_event event;

	(void)events;
	for (int i = 0; i < BUTTONS_MAX; i++) {
		while (buttons[i].fd >= 0 &&
		       read(buttons[i].fd, &event, sizeof(event)) == (ssize_t)sizeof(event))
			if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1)
				power_shutdown(agent, &how, KILN__AGENT_CAUSE_BUTTON, NULL);
	}
}

static bool has_power_key(int fd)
{
	uint8_t keys[KEY_MAX / 8 + 1] = {0};

	return ioctl(fd, EVIOCGBIT(EV_KEY, sizeof(keys)), keys) >= 0 &&
	       (keys[KEY_POWER / 8] >> (KEY_POWER % 8) & 1);
}

void power_watch_button(struct agent *agent)
{
	char path[32];
	int count = 0;
	int fd;

	/* The kernel numbers them from 0 without a gap: nothing is unplugged here. */
	for (int i = 0; count < BUTTONS_MAX; i++) {
		snprintf(path, sizeof(path), "/dev/input/event%d", i);
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			return;
		if (!has_power_key(fd)) {
			close(fd);
			continue;
		}
		buttons[count] = (struct source){.fd = fd, .fn = on_button, .data = agent};
		source_want(&agent->loop, &buttons[count++], EPOLLIN);
	}
}

void power_forget_button(struct agent *agent)
{
	for (int i = 0; i < BUTTONS_MAX; i++)
		source_close(&agent->loop, &buttons[i]);
}
