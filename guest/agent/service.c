/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include "clock.h"
#include "err.h"
#include "spawn.h"
#include "vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * systemd(1): signals to PID 1, RTMIN+4 and RTMIN+5 by the C library that systemd has: glibc keeps
 * the kernel's first two for itself, musl one more.
 */
#define GLIBC_SIGRTMIN   34
#define SYSTEMD_POWEROFF (GLIBC_SIGRTMIN + 4)
#define SYSTEMD_REBOOT   (GLIBC_SIGRTMIN + 5)

static int refuse(kiln_error *err, const char *what)
{
	return kiln__fail(err, KILN_ENOTSUP,
			  "this machine has its own init: the agent does not set its %s", what);
}

/* Time, entropy and name are the host's to give; the rest is the machine's own business. */
static int service_setup(struct agent *agent, const struct kiln__agent_setup *setup,
			 struct kiln__agent_setup_done *ret, kiln_error *err)
{
	int r;

	(void)agent;
	(void)ret;
	if (setup->root.kind != KILN__AGENT_ROOT_NONE || setup->init)
		return refuse(err, "root");
	if (setup->mount_count)
		return refuse(err, "mounts");
	if (setup->interface_count || setup->dns.len || setup->search.len)
		return refuse(err, "network");
	if (setup->machine_id)
		return refuse(err, "machine id");
	r = apply_entropy(&setup->entropy, err);
	if (r == 0)
		r = apply_clock(setup->clock_ns, err);
	if (r == 0 && setup->hostname && sethostname(setup->hostname, strlen(setup->hostname)) < 0)
		r = kiln__fail_errno(err, errno, "cannot set the host name");
	return r;
}

/* Other inits than systemd have their command in common, not their signals. */
static int run_command(const char *path, kiln_error *err)
{
	const struct kiln__agent_start start = {
		.argv = {path, strlen(path) + 1},
		.detach = true,
	};
	struct spawned spawned;

	return spawn(&start, &spawned, err);
}

static int service_shutdown(struct agent *agent, const struct kiln__agent_shutdown *how,
			    enum kiln__agent_cause cause, kiln_error *err)
{
	const struct kiln__agent_event_shutdown event = {how->action, cause};
	bool reboot = how->action == KILN__AGENT_REBOOT;
	int r;

	if (access("/run/systemd/system", F_OK) == 0)
		r = kill(1, reboot ? SYSTEMD_REBOOT : SYSTEMD_POWEROFF) == 0
			    ? 0
			    : kiln__fail_errno(err, errno, "cannot tell systemd to shut down");
	else
		r = run_command(reboot ? "/sbin/reboot" : "/sbin/poweroff", err);
	if (r < 0)
		return r;
	agent_event(agent, KILN__AGENT_EVENT_SHUTDOWN, &kiln__agent_event_shutdown_record, &event);
	return 0;
}

const struct agent_ops service_ops = {
	.features = KILN__AGENT_FEATURE_POWER,
	.setup = service_setup,
	.shutdown = service_shutdown,
};

void service_signal(struct agent *agent, uint32_t signal)
{
	if (signal == SIGTERM || signal == SIGINT)
		agent->loop.stop = true;
}

static int listen_unix(const char *path, kiln_error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path))
		return kiln__fail(err, KILN_EOVERFLOW, "%s: too long for a socket's path", path);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot make a socket");
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0) {
		kiln__fail_errno(err, errno, "cannot listen at %s", path);
		close(fd);
		return err->code;
	}
	return fd;
}

static int usage(void)
{
	fputs("usage: kiln-guest agent [--listen-unix PATH] [--fd N]\n"
	      "Answers the host on vsock; with an option, on a Unix socket or on an open one "
	      "instead.\n",
	      stderr);
	return 2;
}

static int adopt(struct agent *agent, const char *number)
{
	int fd = atoi(number);

	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -1;
	return agent_adopt(agent, fd, true);
}

int service_main(int argc, char **argv)
{
	static struct agent agent;
	kiln_error err = KILN_ERROR_INIT;
	bool vsock = argc == 2;
	int fd = -1;

	if (agent_init(&agent, &service_ops, &err) < 0)
		goto fail;
	agent.on_signal = service_signal;
	agent.ready = true;
	agent.wants_boot = vsock;
	agent.booted = true;
	for (int i = 2; i < argc; i += 2) {
		if (i + 1 < argc && strcmp(argv[i], "--listen-unix") == 0)
			fd = listen_unix(argv[i + 1], &err);
		else if (i + 1 == argc || strcmp(argv[i], "--fd") != 0 ||
			 adopt(&agent, argv[i + 1]) < 0)
			return usage();
		if (err.code)
			goto fail;
	}
	if (vsock)
		fd = vsock_listen(KILN__AGENT_PORT, &err);
	if (err.code)
		goto fail;
	protect_from_oom();
	agent_listen(&agent, fd, vsock);
	agent_accept(&agent);
	agent_connect_boot(&agent);
	evloop_run(&agent.loop);
	return 0;
fail:
	fprintf(stderr, "kiln-guest: %s\n", err.message);
	return 1;
}
