/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting until a port is listened on. The kernel has no event of its own for that, but
 * it can trace listen(2): a trace instance that nobody else sees, filtered to calls that
 * succeeded, whose pipe becomes readable with each. Where the kernel cannot trace system
 * calls there is a look every 50 ms, the only place where the agent looks by the clock.
 */
#include "waitport.h"

#include "conn.h"
#include "err.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define WAITS_MAX 8
#define LOOK_NS   50000000

#define TRACING  "/sys/kernel/tracing"
#define INSTANCE TRACING "/instances/kiln-guest"
#define LISTEN   INSTANCE "/events/syscalls/sys_exit_listen"

static struct wait {
	struct conn *conn; /* NULL: free */
	uint16_t tag;
	struct kiln__agent_wait_port what;
} waits[WAITS_MAX];

static struct source events = {.fd = -1};
static bool mounted; /* tracefs, by this */

/* proc_net_tcp(5): "sl local:port remote:port state ...", hexadecimal; 0A is listening. */
static bool listens_in(const char *table, uint32_t port)
{
	FILE *file = fopen(table, "re");
	char line[256];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		unsigned local;
		unsigned state;

		found = sscanf(line, " %*[0-9]: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x", &local, &state) ==
				2 &&
			local == port && state == 0x0a;
	}
	if (file)
		fclose(file);
	return found;
}

/* A port that cannot be bound has an owner. (It may be about to listen still: its first client
 * waits that long.) */
static bool vsock_taken(uint32_t port)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool taken;

	if (fd < 0)
		return false;
	taken = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno == EADDRINUSE;
	close(fd);
	return taken;
}

static bool listened_on(const struct kiln__agent_wait_port *what)
{
	if (what->vsock)
		return vsock_taken(what->port);
	return listens_in("/proc/net/tcp", what->port) || listens_in("/proc/net/tcp6", what->port);
}

/* --- events --------------------------------------------------------------------------- */

static int open_trace(void)
{
	if (access(TRACING "/instances", F_OK) < 0)
		mounted = mount("tracefs", TRACING, "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
				NULL) == 0;
	if (mkdir(INSTANCE, 0700) < 0 && errno != EEXIST)
		return -1;
	/* Readable at the first event, not when the buffer is half full. */
	if (write_small_file(INSTANCE "/buffer_percent", "0") < 0 ||
	    write_small_file(LISTEN "/filter", "ret == 0") < 0 ||
	    write_small_file(LISTEN "/enable", "1") < 0)
		return -1;
	return open(INSTANCE "/trace_pipe", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static int open_timer(void)
{
	const struct itimerspec every = {{0, LOOK_NS}, {0, LOOK_NS}};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd >= 0)
		timerfd_settime(fd, 0, &every, NULL);
	return fd;
}

static void stop_events(struct agent *agent)
{
	source_close(&agent->loop, &events);
	if (access(INSTANCE, F_OK) == 0) {
		write_small_file(LISTEN "/enable", "0");
		rmdir(INSTANCE);
	}
	if (mounted)
		umount2(TRACING, 0);
	mounted = false;
}

static bool any_wait(void)
{
	for (size_t i = 0; i < WAITS_MAX; i++)
		if (waits[i].conn)
			return true;
	return false;
}

static void on_event(void *data, uint32_t ready)
{
	struct agent *agent = data;
	char drop[4096];

	(void)ready;
	while (read(events.fd, drop, sizeof(drop)) > 0)
		;
	for (size_t i = 0; i < WAITS_MAX; i++) {
		struct conn *conn = waits[i].conn;

		if (!conn || !listened_on(&waits[i].what))
			continue;
		waits[i].conn = NULL;
		conn_send(conn, KILN__AGENT_OK, 0, waits[i].tag, NULL, NULL);
		conn_flush(conn);
	}
	if (!any_wait())
		stop_events(agent);
}

static int start_events(struct agent *agent, kiln_error *err)
{
	int fd;

	if (events.fd >= 0)
		return 0;
	fd = open_trace();
	if (fd < 0) {
		stop_events(agent);
		fd = open_timer();
	}
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot wait for a port");
	events = (struct source){.fd = fd, .fn = on_event, .data = agent};
	source_want(&agent->loop, &events, EPOLLIN);
	return 0;
}

int wait_port(struct agent *agent, struct conn *conn, uint16_t tag,
	      const struct kiln__agent_wait_port *what, kiln_error *err)
{
	size_t i = 0;
	int r;

	while (i < WAITS_MAX && waits[i].conn)
		i++;
	if (i == WAITS_MAX)
		return kiln__fail(err, KILN_EBUSY, "too many ports are waited for");
	r = start_events(agent, err); /* before the first look, so that nothing is missed */
	if (r < 0)
		return r;
	if (listened_on(what)) {
		if (!any_wait())
			stop_events(agent);
		conn_send(conn, KILN__AGENT_OK, 0, tag, NULL, NULL);
		return 0;
	}
	waits[i] = (struct wait){conn, tag, *what};
	return 0;
}

void wait_port_forget(struct agent *agent, const struct conn *conn)
{
	for (size_t i = 0; i < WAITS_MAX; i++)
		if (waits[i].conn == conn)
			waits[i].conn = NULL;
	if (events.fd >= 0 && !any_wait())
		stop_events(agent);
}
