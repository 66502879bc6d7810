/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device of a stand-in's guest: kiln's own, by vhost-user to the QEMU at the other end of
 * the given descriptor, offered as a Unix socket as Firecracker and Cloud Hypervisor do.
 *
 *	standin-vsock FD CID PATH [restored]
 *
 * Says "ok" on standard output once PATH is listened at, or why it is not, and ends when QEMU
 * closes the connection. PATH stays behind, as both VMMs leave it to whoever removes it.
 * One thread; it trusts its arguments, QEMU and the peers no more than the library does.
 */
#include "vsock.h"
#include "os.h"
#include "vhost_user.h"
#include "vsock_relay.h"
#include "vsock_unix.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_LINKS 512

/* How long both VMMs let a connection wait for the guest, and how often it is tried here. */
#define EARLY_MS      2000
#define EARLY_STEP_MS 20

#define RESTORED_TRIES 10

/* A peer that came before the guest's driver did. */
struct early {
	struct kiln__timer *timer;
	unsigned tries;
	uint32_t port;
	kiln__port_done_fn done;
	void *done_data;
};

static struct kiln__vsock *device;
static kiln_loop *the_loop;
static bool restored;

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err);

static void try_again(void *data)
{
	struct early *early = data;

	kiln__vsock_connect(device, early->port, on_connected, early);
}

/*
 * A restored guest is told by an event of QEMU's that its connections are gone, and takes one that
 * is made at that moment for an old one: with the real VMMs the event comes first.
 */
static unsigned patience(const kiln_error *err)
{
	if (err->code == KILN_ESTATE)
		return EARLY_MS / EARLY_STEP_MS;
	return restored ? RESTORED_TRIES : 0;
}

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct early *early = data;

	if (err && early->tries++ < patience(err)) {
		kiln__timer_start(early->timer, EARLY_STEP_MS);
		return;
	}
	early->done(early->done_data, stream, err);
	kiln__timer_free(early->timer);
	free(early);
}

static void connect_port(void *data, uint32_t port, kiln__port_done_fn done, void *done_data)
{
	struct early *early = calloc(1, sizeof(*early));
	kiln_error err = KILN_ERROR_INIT;

	(void)data;
	if (!early || kiln__timer_new(&early->timer, the_loop, try_again, early, &err) < 0)
		abort();
	early->port = port;
	early->done = done;
	early->done_data = done_data;
	try_again(early);
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
	static struct relay relay;
	struct kiln__vhost_user *server;
	struct kiln__vsock_unix *service;
	kiln_fd fd = KILN_FD_NONE;
	int r;

	the_loop = loop;
	r = kiln__vsock_new(&device, loop, strtoull(argv[2], NULL, 10), err);

	if (r == 0)
		r = kiln__vsock_unix_new(&service, loop, argv[3], MAX_LINKS, connect_port, NULL,
					 err);
	if (r < 0)
		return r;
	kiln__vsock_listen(device, on_incoming, service);
	r = relay_start(&relay, loop, atoi(argv[1]), &fd, err);
	if (r == 0)
		r = kiln__vhost_user_new(&server, loop, fd, kiln__vsock_device(device), err);
	if (r < 0)
		return r;
	kiln__vhost_user_on_end(server, on_end, NULL);
	kiln__vsock_unix_accept(service);
	return 0;
}

int main(int argc, char **argv)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_loop *loop;
	int r;

	if (argc != 4 && argc != 5)
		return 2;
	restored = argc == 5;
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
