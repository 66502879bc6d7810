/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user messages from a hostile front-end, which shares real memory (with a ring in it)
 * and real events. Input: messages, each a request, flags, the payload's length in two bytes,
 * which descriptors come with it, then the payload; request 255 kicks, 254 writes memory.
 */
#include "loop.h"
#include "os.h"
#include "vhost_user.h"
#include "vhost_user_msg.h"
#include "vring.h"
#include "vsock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY       65536
#define MAX_MESSAGES 64
#define MAX_FDS      9

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct {
	kiln_fd memfd;
	unsigned char *memory;
	kiln_fd event;
} shared;

static struct {
	kiln_loop *loop;
	kiln_fd socket;
	bool ended;
	const uint8_t *at;
	const uint8_t *end;
} f;

static void set_up_once(void)
{
	if (shared.memory)
		return;
	if (kiln__os_shared_memory(&shared.memfd, "fuzz", MEMORY, NULL) < 0)
		abort();
	shared.memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, shared.memfd, 0);
	shared.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (shared.memory == MAP_FAILED || shared.event < 0)
		abort();
}

static uint8_t next(void)
{
	return f.at < f.end ? *f.at++ : 0;
}

static void on_end(void *data, const kiln_error *err)
{
	(void)data;
	(void)err;
	if (f.ended)
		abort();
	f.ended = true;
}

/* What the other side may have in its rings: takes it from the input. */
static void write_memory(void)
{
	size_t at = (size_t)next() << 8;
	size_t n = next();

	at |= next();
	if (n > (size_t)(f.end - f.at))
		n = (size_t)(f.end - f.at);
	if (n > MEMORY - at)
		n = MEMORY - at;
	memcpy(shared.memory + at, f.at, n);
	f.at += n;
}

static void send_message(uint8_t request)
{
	unsigned char bytes[12 + 4096];
	struct kiln__vu_header header = {request, next(), 0};
	kiln_fd fds[MAX_FDS];
	uint8_t which;
	size_t count;
	size_t size;

	header.size = next();
	header.size |= (uint32_t)next() << 8;
	which = next();
	count = which & 15 ? (which & 15) % (MAX_FDS + 1) : 0;
	for (size_t i = 0; i < count; i++)
		fds[i] = which & 16 ? shared.event : which & 32 ? f.socket : shared.memfd;
	size = header.size < 4096 ? header.size : 4096;
	if (size > (size_t)(f.end - f.at))
		size = (size_t)(f.end - f.at);
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), f.at, size);
	f.at += size;
	kiln__os_send_fds(f.socket, bytes, sizeof(header) + size, fds, count);
}

static void drain(void)
{
	unsigned char bytes[1024];

	while (recv(f.socket, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void run(void)
{
	uint64_t one = 1;

	for (unsigned i = 0; i < MAX_MESSAGES && f.at < f.end && !f.ended; i++) {
		uint8_t request = next();

		if (request == 255) {
			if (write(shared.event, &one, sizeof(one)) < 0)
				drain();
		} else if (request == 254) {
			write_memory();
		} else {
			send_message(request);
		}
		for (unsigned j = 0; j < 4 && !f.ended; j++)
			kiln_loop_dispatch(f.loop);
		drain();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct kiln__vhost_user *server;
	struct kiln__vsock *vsock;
	uint64_t count;
	kiln_fd ends[2];

	set_up_once();
	memset(shared.memory, 0, MEMORY);
	while (read(shared.event, &count, sizeof(count)) > 0)
		;
	memset(&f, 0, sizeof(f));
	f.at = bytes;
	f.end = bytes + len;
	if (kiln_loop_new(&f.loop, NULL) < 0 || kiln__vsock_new(&vsock, f.loop, 3, NULL) < 0 ||
	    kiln__os_socket_pair(ends, NULL) < 0 ||
	    kiln__os_set_nonblocking(ends[1], true, NULL) < 0 ||
	    kiln__vhost_user_new(&server, f.loop, ends[0], kiln__vsock_device(vsock), NULL) < 0)
		abort();
	kiln__vhost_user_on_end(server, on_end, NULL);
	f.socket = ends[1];
	run();
	kiln__vhost_user_free(server);
	kiln__vsock_free(vsock);
	kiln__os_close(f.socket);
	kiln_loop_free(f.loop);
	return 0;
}
