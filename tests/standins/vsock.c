/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device of a stand-in's guest: kiln's own, by vhost-user to the QEMU at the other end of
 * the given descriptor, offered as a Unix socket as Firecracker and Cloud Hypervisor do.
 *
 *	standin-vsock FD CID PATH
 *
 * Says "ok" on standard output once PATH is listened at, or why it is not, and ends when QEMU
 * closes the connection. PATH stays behind, as both VMMs leave it to whoever removes it.
 * One thread; it trusts its arguments, QEMU and the peers no more than the library does.
 */
#include "vsock.h"
#include "os.h"
#include "vhost_user.h"
#include "vsock_unix.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_LINKS 512

static void connect_port(void *data, uint32_t port, kiln__port_done_fn done, void *done_data)
{
	kiln__vsock_connect(data, port, done, done_data);
}

static bool on_incoming(void *data, uint32_t port, uint32_t from, struct kiln__stream *stream)
{
	(void)from;
	return kiln__vsock_unix_incoming(data, port, stream);
}

static void on_end(void *data, const kiln_error *err)
{
	(void)data;
	if (err)
		fprintf(stderr, "vsock: %s\n", err->message);
	_exit(err ? 1 : 0);
}

static int serve(kiln_loop *loop, char **argv, kiln_error *err)
{
	struct kiln__vhost_user *server;
	struct kiln__vsock_unix *service;
	struct kiln__vsock *vsock;
	int r = kiln__vsock_new(&vsock, loop, strtoull(argv[2], NULL, 10), err);

	if (r == 0)
		r = kiln__vsock_unix_new(&service, loop, argv[3], MAX_LINKS, connect_port, vsock,
					 err);
	if (r < 0)
		return r;
	kiln__vsock_listen(vsock, on_incoming, service);
	r = kiln__vhost_user_new(&server, loop, atoi(argv[1]), kiln__vsock_device(vsock), err);
	if (r == 0)
		kiln__vhost_user_on_end(server, on_end, NULL);
	return r;
}

int main(int argc, char **argv)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_loop *loop;
	int r;

	if (argc != 4)
		return 2;
	kiln__os_raise_descriptor_limit(4 * MAX_LINKS);
	r = kiln_loop_new(&loop, &err);
	if (r == 0)
		r = serve(loop, argv, &err);
	if (r < 0) {
		printf("%s\n", err.message);
		return 1;
	}
	printf("ok\n");
	fflush(stdout);
	kiln_loop_run(loop);
	return 1;
}
