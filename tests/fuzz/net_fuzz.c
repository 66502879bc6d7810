/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device between a hostile driver and a hostile peer at the other end of a stream
 * socket.
 */
#include "hostile.h"
#include "net.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct fuzz {
	struct hostile hostile; /* first */
	struct kiln__net *net;
	kiln_fd peer;
	unsigned broken;
};

static void on_broken(void *data, const kiln_error *err)
{
	struct fuzz *f = data;

	if (err->code >= 0 || f->broken++)
		abort();
}

static void request(struct hostile *hostile)
{
	uint8_t what = hostile_byte(hostile);
	uint32_t len = hostile_len(hostile) % 70000;
	struct vring_part parts[2] = {{hostile_room(hostile, 12), 12},
				      {hostile_room(hostile, len), len}};

	if (what & 64)
		parts[1].gpa = hostile_gpa(hostile);
	if (what & 32)
		parts[0] = (struct vring_part){hostile_gpa(hostile), hostile_len(hostile)};
	if (what & 1)
		hostile_send(hostile, 0, parts, 0, 2);
	else
		hostile_send(hostile, 1, parts, 2, 0);
}

static unsigned char bytes_of_peer[70000];

static void peer_sends(struct hostile *hostile, kiln_fd peer)
{
	uint32_t len = hostile_len(hostile) % 66000;
	uint32_t told = hostile_byte(hostile) & 7 ? len : hostile_u32(hostile);

	for (unsigned i = 0; i < 4; i++)
		bytes_of_peer[i] = (unsigned char)(told >> (24 - 8 * i));
	if (kiln__os_write(peer, bytes_of_peer, 4 + len) < 0)
		return;
}

static void host(struct hostile *hostile)
{
	struct fuzz *f = (struct fuzz *)(void *)hostile;

	switch (hostile_byte(hostile) & 7) {
	case 0:
		kiln__net_set_link(f->net, hostile_byte(hostile) & 1);
		break;
	case 1:
		kiln__os_shutdown_write(f->peer);
		break;
	case 2:
	case 3:
		if (kiln__os_read(f->peer, bytes_of_peer, sizeof(bytes_of_peer)) < 0)
			return;
		break;
	default:
		peer_sends(hostile, f->peer);
		kiln_loop_dispatch(hostile->loop);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct fuzz f = {.hostile = {.request = request, .host = host}};
	struct kiln__net_options options = {.mtu = 1500, .broken = on_broken, .data = &f};
	struct kiln__net_backend *backend = NULL;
	kiln_loop *loop = NULL;
	kiln_fd ends[2];

	if (kiln_loop_new(&loop, NULL) < 0 || kiln__os_socket_pair(ends, NULL) < 0 ||
	    kiln__os_set_nonblocking(ends[1], true, NULL) < 0 ||
	    kiln__net_stream_take(&backend, ends[0], NULL) < 0 ||
	    kiln__net_new(&f.net, loop, backend, &options, NULL) < 0)
		abort();
	f.peer = ends[1];
	hostile_run(&f.hostile, kiln__net_device(f.net), loop, bytes, len);
	kiln__net_free(f.net);
	kiln__os_close(f.peer);
	kiln_loop_free(loop);
	return 0;
}
