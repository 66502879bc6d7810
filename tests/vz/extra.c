/* SPDX-License-Identifier: Apache-2.0 */
#include "extra.h"

#include "buf.h"
#include "err.h"
#include "fdstream.h"
#include "os.h"
#include "splice.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define VIRTIOFSD "/usr/lib/qemu/virtiofsd"
#define WAIT_MS   20000
#define MAX_FRAME 65536

/* Frames between the framework's side of a switch's socket and QEMU. */
struct pump {
	int fds[2];
	struct kiln__watch *watches[2];
	int unused;
};

struct extra {
	char dir[64];
	char program[80];
	pid_t daemons[SERVICE_MAX];
	size_t daemon_count;
	struct pump pumps[SERVICE_MAX];
	size_t pump_count;
	struct {
		int listener;
		int fd; /* a duplicate of the framework's */
		struct kiln__splice *splice;
	} ports[SERVICE_MAX];
	size_t port_count;
	char restore[4096];
	int listener; /* QEMU's second monitor comes to it */
	int qmp;
};

extern char **environ;

static bool say(char *error, size_t size, const char *what)
{
	snprintf(error, size, "%s: %s", what, strerror(errno));
	return false;
}

/* --- sockets -------------------------------------------------------------------------- */

static struct sockaddr_un address(const struct extra *extra, const char *name, size_t index)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.60s/%.20s%zu", extra->dir, name, index);
	return addr;
}

static int listen_at(const struct extra *extra, const char *name, size_t index)
{
	struct sockaddr_un addr = address(extra, name, index);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0)
		abort();
	return fd;
}

static int connect_to(const struct extra *extra, const char *name, int type)
{
	struct sockaddr_un addr = address(extra, name, 0);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int accept_in_time(int listener)
{
	struct pollfd poller = {.fd = listener, .events = POLLIN};

	return poll(&poller, 1, WAIT_MS) == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
}

/* --- the second monitor --------------------------------------------------------------- */

/* Reads lines up to one that has @wanted or an error; whether it has @wanted. */
static bool await(struct extra *extra, const char *wanted, char *line, size_t size)
{
	struct pollfd poller = {.fd = extra->qmp, .events = POLLIN};
	size_t len = 0;

	while (poll(&poller, 1, WAIT_MS) == 1 && read(extra->qmp, line + len, 1) == 1) {
		if (line[len] != '\n') {
			len += len + 2 < size;
			continue;
		}
		line[len] = '\0';
		if (strstr(line, wanted))
			return true;
		if (strstr(line, "\"error\""))
			return false;
		len = 0;
	}
	snprintf(line, size, "the monitor is silent");
	return false;
}

static bool ask(struct extra *extra, const char *wanted, char *line, size_t size, const char *fmt,
		...) __attribute__((format(printf, 5, 6)));
static bool ask(struct extra *extra, const char *wanted, char *line, size_t size, const char *fmt,
		...)
{
	char command[4096];
	va_list list;
	int len;

	va_start(list, fmt);
	len = vsnprintf(command, sizeof(command), fmt, list);
	va_end(list);
	return write(extra->qmp, command, (size_t)len) == len && await(extra, wanted, line, size);
}

void extra_balloon(struct extra *extra, uint64_t bytes)
{
	char line[4096];

	if (!ask(extra, "\"return\"", line, sizeof(line),
		 "{\"execute\":\"balloon\",\"arguments\":{\"value\":%llu}}\n",
		 (unsigned long long)bytes))
		fprintf(stderr, "lookalike: balloon: %s\n", line);
}

static bool copy(int from, int to)
{
	char bytes[65536];
	ssize_t n;

	while ((n = read(from, bytes, sizeof(bytes))) > 0)
		for (ssize_t done = 0, k; done < n; done += k)
			if ((k = write(to, bytes + done, (size_t)(n - done))) <= 0)
				return false;
	return n == 0;
}

/* Until the stream of a saved state is at its end, or QEMU tells why not. */
static bool await_migrated(struct extra *extra, char *line, size_t size)
{
	do {
		if (!await(extra, "\"MIGRATION\"", line, size) || strstr(line, "\"failed\""))
			return false;
	} while (!strstr(line, "\"completed\""));
	return true;
}

bool extra_save(struct extra *extra, const char *path, char *error, size_t size)
{
	int listener = listen_at(extra, "save", 0);
	int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int from = -1;
	bool ok = to >= 0 && ask(extra, "\"return\"", error, size,
				 "{\"execute\":\"migrate\",\"arguments\":{\"uri\":"
				 "\"unix:%s/save0\"}}\n",
				 extra->dir);

	if (ok)
		from = accept_in_time(listener);
	ok = ok && from >= 0 && copy(from, to) && await_migrated(extra, error, size);
	close(from);
	close(to);
	close(listener);
	return ok;
}

static bool load(struct extra *extra, char *error, size_t size)
{
	int from = open(extra->restore, O_RDONLY | O_CLOEXEC);
	int to = connect_to(extra, "load", SOCK_STREAM);
	bool ok = from >= 0 && to >= 0 && copy(from, to);

	if (!ok)
		say(error, size, "the saved state");
	close(from);
	close(to);
	return ok && await_migrated(extra, error, size);
}

/* --- what QEMU is told ---------------------------------------------------------------- */

static bool serve_directory(struct extra *extra, const struct service_share *share, size_t index)
{
	struct sockaddr_un addr = address(extra, "fs", index);
	char socket_arg[160];
	char source[4200];
	char *argv[] = {(char *)VIRTIOFSD,        socket_arg,   (char *)"-o", source, (char *)"-o",
			(char *)"sandbox=chroot", (char *)"-f", NULL};
	posix_spawn_file_actions_t actions;
	struct stat st;
	int r;

	snprintf(socket_arg, sizeof(socket_arg), "--socket-path=%s", addr.sun_path);
	snprintf(source, sizeof(source), "source=%.4000s", share->path);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	r = posix_spawn(&extra->daemons[extra->daemon_count], VIRTIOFSD, &actions, NULL, argv,
			environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return false;
	extra->daemon_count++;
	for (int i = 0; i < WAIT_MS / 10 && stat(addr.sun_path, &st) < 0; i++)
		poll(NULL, 0, 10);
	return stat(addr.sun_path, &st) == 0;
}

static bool add_shares(struct extra *extra, const struct service_plan *plan, FILE *file)
{
	for (size_t i = 0; i < plan->share_count; i++) {
		if (!serve_directory(extra, &plan->shares[i], i))
			return false;
		fprintf(file, " -chardev socket,id=fs%zu,path=%s/fs%zu", i, extra->dir, i);
		fprintf(file, " -device vhost-user-fs-device,chardev=fs%zu,tag='%s'", i,
			plan->shares[i].tag);
	}
	return true;
}

static void add_network_disks(const struct service_plan *plan, FILE *file)
{
	for (size_t i = 0; i < plan->disk_count; i++)
		if (plan->disks[i].url)
			fprintf(file,
				" -drive if=none,id=nbd%zu,format=raw,readonly=%s,file='%s'"
				" -device virtio-blk-device,drive=nbd%zu,serial='%s'",
				i, plan->disks[i].readonly ? "on" : "off", plan->disks[i].url, i,
				plan->disks[i].serial);
}

static void add_switches(struct extra *extra, const struct service_plan *plan, FILE *file)
{
	for (size_t i = 0; i < plan->network_count; i++) {
		struct sockaddr_un addr = address(extra, "ours", i);
		struct pump *pump = &extra->pumps[extra->pump_count];

		if (plan->switches[i] < 0)
			continue;
		pump->fds[0] = fcntl(plan->switches[i], F_DUPFD_CLOEXEC, 0);
		pump->fds[1] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (bind(pump->fds[1], (struct sockaddr *)&addr, sizeof(addr)) < 0)
			abort();
		for (int k = 0; k < 2; k++)
			fcntl(pump->fds[k], F_SETFL, O_RDWR | O_NONBLOCK);
		extra->pump_count++;
		fprintf(file,
			" -netdev dgram,id=sw%zu,local.type=unix,local.path=%s/its%zu,"
			"remote.type=unix,remote.path=%s/ours%zu"
			" -device virtio-net-device,netdev=sw%zu,mac=%s",
			i, extra->dir, extra->pump_count - 1, extra->dir, i, i, plan->macs[i]);
	}
}

static void add_ports(struct extra *extra, const struct service_plan *plan, FILE *file)
{
	if (plan->port_count)
		fprintf(file, " -device virtio-serial-device");
	for (size_t i = 0; i < plan->port_count; i++) {
		const struct service_port *port = &plan->ports[i];

		extra->ports[i].listener = -1;
		extra->ports[i].fd = -1;
		extra->port_count = i + 1;
		if (port->file) {
			fprintf(file, " -chardev file,id=cp%zu,append=on,path='%s'", i, port->file);
		} else {
			extra->ports[i].listener = listen_at(extra, "cp", i);
			extra->ports[i].fd = fcntl(port->fd, F_DUPFD_CLOEXEC, 0);
			fprintf(file, " -chardev socket,id=cp%zu,path=%s/cp%zu", i, extra->dir, i);
		}
		fprintf(file, " -device virtserialport,chardev=cp%zu,name='%s'", i, port->name);
	}
}

struct extra *extra_new(const struct service_plan *plan, char *error, size_t size)
{
	struct extra *extra = calloc(1, sizeof(*extra));
	FILE *file;
	bool ok;

	if (!extra)
		abort();
	extra->qmp = -1;
	extra->listener = -1;
	snprintf(extra->dir, sizeof(extra->dir), "/tmp/kiln-lookalike-XXXXXX");
	if (!mkdtemp(extra->dir))
		abort();
	extra->listener = listen_at(extra, "qmp", 0);
	snprintf(extra->program, sizeof(extra->program), "%s/qemu", extra->dir);
	snprintf(extra->restore, sizeof(extra->restore), "%s", plan->restore ? plan->restore : "");
	file = fopen(extra->program, "w");
	if (!file)
		abort();
	fprintf(file,
		"#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin exec qemu-system-x86_64 \"$@\"");
	fprintf(file, " -qmp unix:%s/qmp0,server=off", extra->dir);
	ok = add_shares(extra, plan, file);
	add_network_disks(plan, file);
	add_switches(extra, plan, file);
	add_ports(extra, plan, file);
	if (plan->restore)
		fprintf(file, " -incoming unix:%s/load0", extra->dir);
	fprintf(file, "\n");
	fclose(file);
	chmod(extra->program, 0700);
	if (ok)
		return extra;
	snprintf(error, size, "virtiofsd does not serve a directory");
	extra_free(extra);
	return NULL;
}

const char *extra_program(const struct extra *extra)
{
	return extra->program;
}

/* --- joining -------------------------------------------------------------------------- */

static void pump_from(struct pump *pump, int k)
{
	char frame[MAX_FRAME];
	ssize_t n;

	while ((n = recv(pump->fds[k], frame, sizeof(frame), MSG_DONTWAIT)) > 0)
		send(pump->fds[1 - k], frame, (size_t)n, MSG_DONTWAIT); /* or it is lost */
}

static void on_switch(void *data, int events)
{
	(void)events;
	pump_from(data, 0);
}

static void on_qemu(void *data, int events)
{
	(void)events;
	pump_from(data, 1);
}

static bool join_switch(struct extra *extra, size_t index, kiln_loop *loop)
{
	struct sockaddr_un addr = address(extra, "its", index);
	struct pump *pump = &extra->pumps[index];

	if (connect(pump->fds[1], (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    kiln__watch_new(&pump->watches[0], loop, pump->fds[0], on_switch, pump, NULL) < 0 ||
	    kiln__watch_new(&pump->watches[1], loop, pump->fds[1], on_qemu, pump, NULL) < 0)
		return false;
	kiln__watch_set(pump->watches[0], KILN__READABLE);
	kiln__watch_set(pump->watches[1], KILN__READABLE);
	return true;
}

static void on_port_end(void *data, const kiln_error *err)
{
	(void)data;
	(void)err; /* freed with all */
}

static bool join_port(struct extra *extra, size_t index, kiln_loop *loop)
{
	struct kiln__stream *streams[2] = {NULL};
	int fd;

	if (extra->ports[index].listener < 0)
		return true;
	fd = accept_in_time(extra->ports[index].listener);
	if (fd < 0 || kiln__fdstream_new(&streams[0], loop, fd, NULL) < 0 ||
	    kiln__fdstream_new(&streams[1], loop, extra->ports[index].fd, NULL) < 0)
		return false;
	extra->ports[index].fd = -1;
	return kiln__splice_new(&extra->ports[index].splice, streams[0], streams[1], on_port_end,
				NULL, NULL) == 0;
}

bool extra_reach(struct extra *extra, char *error, size_t size)
{
	extra->qmp = accept_in_time(extra->listener);
	if (extra->qmp < 0) {
		snprintf(error, size, "QEMU has not opened its second monitor");
		return false;
	}
	return await(extra, "\"QMP\"", error, size) &&
	       ask(extra, "\"return\"", error, size, "{\"execute\":\"qmp_capabilities\"}\n") &&
	       ask(extra, "\"return\"", error, size,
		   "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
		   "[{\"capability\":\"events\",\"state\":true}]}}\n") &&
	       (!extra->restore[0] || load(extra, error, size));
}

bool extra_join(struct extra *extra, kiln_loop *loop, char *error, size_t size)
{
	for (size_t i = 0; i < extra->pump_count; i++)
		if (!join_switch(extra, i, loop))
			return say(error, size, "a switch");
	for (size_t i = 0; i < extra->port_count; i++)
		if (!join_port(extra, i, loop))
			return say(error, size, "a port");
	return true;
}

void extra_free(struct extra *extra)
{
	if (!extra)
		return;
	for (size_t i = 0; i < extra->pump_count; i++)
		for (int k = 0; k < 2; k++) {
			kiln__watch_free(extra->pumps[i].watches[k]);
			close(extra->pumps[i].fds[k]);
		}
	for (size_t i = 0; i < extra->port_count; i++) {
		kiln__splice_free(extra->ports[i].splice);
		if (extra->ports[i].listener >= 0)
			close(extra->ports[i].listener);
		if (extra->ports[i].fd >= 0)
			close(extra->ports[i].fd);
	}
	for (size_t i = 0; i < extra->daemon_count; i++) {
		kill(extra->daemons[i], SIGKILL);
		waitpid(extra->daemons[i], NULL, 0);
	}
	if (extra->qmp >= 0)
		close(extra->qmp);
	if (extra->listener >= 0)
		close(extra->listener);
	kiln__os_remove_tree(extra->dir, NULL);
	free(extra);
}
