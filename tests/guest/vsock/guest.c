/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of the vsock test's guest: loads the modules in /modules by name, says hello
 * to the host, and serves requests (pattern.h), a process each.
 */
#include "pattern.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static void load_modules(void)
{
	struct dirent **names;
	int count = scandir("/modules", &names, NULL, alphasort);
	char path[512];

	for (int i = 0; i < count; i++) {
		int fd;

		if (names[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/modules/%s", names[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (syscall(SYS_finit_module, fd, "", 0) < 0)
			printf("%s: %s\n", path, strerror(errno));
		close(fd);
	}
}

static int dial(uint32_t port)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int code = errno;

		close(fd);
		return -code;
	}
	return fd;
}

static int write_all(int fd, const void *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0)
			return -errno;
		bytes = (const char *)bytes + n;
		len -= (size_t)n;
	}
	return 0;
}

static unsigned char buffer[256 * 1024];

static void sink(int fd, uint64_t length, struct result *result)
{
	while (result->length < length) {
		ssize_t n = read(fd, buffer, sizeof(buffer));

		if (n < 0)
			result->status = -errno;
		if (n <= 0)
			return;
		result->wrong += pattern_wrong(buffer, (size_t)n, result->length);
		result->length += (uint64_t)n;
	}
}

static void source(int fd, uint64_t length, struct result *result)
{
	while (result->length < length && result->status == 0) {
		uint64_t n = length - result->length;

		if (n > sizeof(buffer))
			n = sizeof(buffer);
		pattern_fill(buffer, n, result->length);
		result->status = write_all(fd, buffer, n);
		result->length += n;
	}
}

static void echo(int fd)
{
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		if (write_all(fd, buffer, (size_t)n) < 0)
			return;
	shutdown(fd, SHUT_WR);
	while (read(fd, buffer, sizeof(buffer)) > 0)
		;
}

static void serve(int fd)
{
	struct result result = {0, 0, 0};
	struct request request;
	int other;

	if (recv(fd, &request, sizeof(request), MSG_WAITALL) != sizeof(request))
		return;
	switch (request.op) {
	case OP_SINK:
		sink(fd, request.length, &result);
		break;
	case OP_SOURCE:
		source(fd, request.length, &result);
		return;
	case OP_ECHO:
		echo(fd);
		return;
	case OP_COUNT:
		sink(fd, UINT64_MAX, &result);
		break;
	case OP_DIAL:
		other = dial(request.port);
		result.status = other < 0 ? other : 0;
		if (other >= 0) {
			source(other, request.length, &result);
			close(other);
		}
		break;
	case OP_HOLD:
		write_all(fd, "h", 1);
		sink(fd, UINT64_MAX, &result);
		return;
	}
	write_all(fd, &result, sizeof(result));
}

int main(void)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = GUEST_PORT};
	int listener;
	int hello;

	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	load_modules();
	signal(SIGCHLD, SIG_IGN);
	listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(listener, 256) < 0)
		printf("cannot listen: %s\n", strerror(errno));
	hello = dial(HELLO_PORT);
	printf("hello: %d\n", hello);
	write_all(hello, "hello", 5);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0) {
			printf("cannot accept: %s\n", strerror(errno));
			sleep(1);
			continue;
		}
		if (fork() == 0) {
			close(listener);
			serve(fd);
			close(fd);
			_exit(0);
		}
		close(fd);
	}
}
