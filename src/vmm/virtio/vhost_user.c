/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user back-end. The front-end sets the device up by messages (features,
 * memory, rings), handled one at a time as they arrive; after that it is silent, and
 * kicks and notifications go by event descriptors, from and to the guest directly.
 * An idle session makes no system call.
 *
 * The front-end is as hostile as its guest: lengths and descriptor counts are checked
 * by one table, each ring's setting when it starts, guest memory when it is mapped.
 * Events are taken as eventfds only (a pipe could raise SIGPIPE). What breaks
 * the protocol's framing ends the session; a request that fails is answered so where the
 * front-end asked for an answer, and ends the session where it did not. The worst that
 * a front-end can do is to stall or end its own device.
 *
 * Pause and reset look alike: the front-end stops the rings (GET_VRING_BASE) and later sets
 * them up anew. If they then go on where they stopped, the guest was paused, and the device goes on
 * with it; if not, its driver began anew, and the device is reset. (The protocol's STATUS feature
 * is no help: QEMU sends a reset in both cases.)
 */
#include "vhost_user.h"

#include "err.h"
#include "os.h"
#include "syscalls.h"
#include "vhost_user_mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

KILN__SYSCALLS(write);

/* So many messages at most before others on the loop have their turn. */
#define MAX_MESSAGES 8

#define MAX_FDS KILN__VU_MAX_REGIONS

#define PROTOCOL_FEATURES                                                                          \
	(KILN__VU_PROTOCOL_F_MQ | KILN__VU_PROTOCOL_F_REPLY_ACK | KILN__VU_PROTOCOL_F_RESET_DEVICE)

/* Where a ring is: what tells a pause from a reset. */
struct place {
	uint16_t base; /* chains taken */
	uint64_t desc; /* the front-end's addresses */
	uint64_t avail;
	uint64_t used;
};

struct ring {
	struct kiln__vhost_user *server;
	unsigned index;
	uint16_t size;      /* 0: not told */
	struct place place; /* where it starts, or stopped */
	struct place left;  /* where it last stopped */
	bool has_addr;
	bool has_left;
	bool enabled;
	kiln_fd kick; /* its presence is what starts the ring */
	kiln_fd call;
	kiln_fd error;
	struct kiln__watch *watch; /* of kick, while the ring runs */
};

struct kiln__vhost_user {
	kiln_loop *loop;
	struct kiln__virtio *device;
	kiln_fd socket;
	struct kiln__watch *watch;
	void (*on_end)(void *data, const kiln_error *err);
	void *on_end_data;

	struct kiln__vu_msg msg; /* being received: msg_len bytes of it are here */
	size_t msg_len;
	kiln_fd fds[MAX_FDS];
	size_t fd_count;

	uint64_t features;      /* accepted, without the protocol's own bit */
	uint64_t left_features; /* when a ring last stopped */
	bool protocol;          /* VHOST_USER_F_PROTOCOL_FEATURES was accepted */
	uint64_t protocol_features;
	bool was_running; /* a ring has run since the last reset */
	bool ended;
	struct kiln__vu_mem mem;
	struct ring rings[KILN__VIRTIO_MAX_QUEUES];
};

/* --- rings ---------------------------------------------------------------------- */

static bool running(const struct ring *ring)
{
	return ring->watch != NULL;
}

static void replace_fd(kiln_fd *at, kiln_fd fd)
{
	kiln__os_close(*at);
	*at = fd;
}

static void stop_ring(struct ring *ring)
{
	struct kiln__vhost_user *server = ring->server;

	if (!running(ring))
		return;
	kiln__watch_free(ring->watch);
	ring->watch = NULL;
	/* The device may put back what it has not dealt with: only then it is known how far it
	 * came. */
	kiln__virtio_queue_stop(server->device, ring->index);
	ring->place.base = server->device->queues[ring->index].next_avail;
	ring->left = ring->place;
	ring->has_left = true;
	server->left_features = server->features;
}

static void stop_rings(struct kiln__vhost_user *server)
{
	for (unsigned i = 0; i < server->device->ops->queue_count; i++)
		stop_ring(&server->rings[i]);
}

/* Forgets what the front-end said of the rings. */
static void clear_rings(struct kiln__vhost_user *server)
{
	stop_rings(server);
	for (unsigned i = 0; i < KILN__VIRTIO_MAX_QUEUES; i++) {
		struct ring *ring = &server->rings[i];

		replace_fd(&ring->kick, KILN_FD_NONE);
		replace_fd(&ring->call, KILN_FD_NONE);
		replace_fd(&ring->error, KILN_FD_NONE);
		*ring = (struct ring){.server = server,
				      .index = i,
				      .kick = KILN_FD_NONE,
				      .call = KILN_FD_NONE,
				      .error = KILN_FD_NONE};
	}
}

static void reset_device(struct kiln__vhost_user *server)
{
	stop_rings(server);
	server->was_running = false;
	kiln__virtio_reset(server->device);
}

static bool same_place(const struct place *a, const struct place *b)
{
	return a->base == b->base && a->desc == b->desc && a->avail == b->avail &&
	       a->used == b->used;
}

/* Whether all rings that are set up go on where they stopped. */
static bool goes_on(const struct kiln__vhost_user *server)
{
	if (server->features != server->left_features)
		return false;
	for (unsigned i = 0; i < server->device->ops->queue_count; i++) {
		const struct ring *ring = &server->rings[i];

		if (ring->has_left && ring->has_addr && !same_place(&ring->place, &ring->left))
			return false;
	}
	return true;
}

static bool any_running(const struct kiln__vhost_user *server)
{
	for (unsigned i = 0; i < server->device->ops->queue_count; i++)
		if (running(&server->rings[i]))
			return true;
	return false;
}

static void end(struct kiln__vhost_user *server, const kiln_error *err);

static void on_kick(void *data, int events)
{
	struct ring *ring = data;
	uint64_t count;
	ssize_t n = kiln__os_read(ring->kick, &count, sizeof(count));

	(void)events;
	if (n == sizeof(count)) {
		kiln__virtio_kick(ring->server->device, ring->index);
	} else if (n != -EAGAIN) {
		kiln_error err;

		kiln__fail(&err, KILN_EPROTO,
			   "vhost-user: ring %u: the kick descriptor is no eventfd", ring->index);
		end(ring->server, &err);
	}
}

static int locate_ring(struct ring *ring, kiln_error *err)
{
	struct kiln__vhost_user *server = ring->server;
	struct kiln__queue *queue = &server->device->queues[ring->index];

	if (kiln__vu_mem_gpa(&server->mem, ring->place.desc, &queue->desc_gpa) < 0 ||
	    kiln__vu_mem_gpa(&server->mem, ring->place.avail, &queue->avail_gpa) < 0 ||
	    kiln__vu_mem_gpa(&server->mem, ring->place.used, &queue->used_gpa) < 0)
		return kiln__fail(err, KILN_EPROTO, "vhost-user: ring %u is not in shared memory",
				  ring->index);
	queue->size = ring->size;
	return 0;
}

/* Starts the ring if everything it needs has been said. Not being ready is no failure. */
static int start_ring(struct ring *ring, kiln_error *err)
{
	struct kiln__vhost_user *server = ring->server;
	int r;

	if (running(ring) || !ring->enabled || ring->kick == KILN_FD_NONE || !ring->has_addr ||
	    ring->size == 0 || server->mem.count == 0)
		return 0;
	if (!any_running(server) && server->was_running && !goes_on(server))
		reset_device(server);
	r = locate_ring(ring, err);
	if (r == 0)
		r = kiln__virtio_negotiate(server->device, server->features, err);
	if (r == 0)
		r = kiln__watch_new(&ring->watch, server->loop, ring->kick, on_kick, ring, err);
	if (r < 0)
		return r;
	server->was_running = true;
	r = kiln__virtio_queue_start(server->device, ring->index, &server->mem.gmem,
				     ring->place.base, err);
	if (r < 0) {
		kiln__watch_free(ring->watch);
		ring->watch = NULL;
		return r;
	}
	kiln__watch_set(ring->watch, KILN__READABLE);
	return 0;
}

static int start_rings(struct kiln__vhost_user *server, kiln_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < server->device->ops->queue_count; i++)
		r = start_ring(&server->rings[i], err);
	return r;
}

/* --- from the device ------------------------------------------------------------------ */

static void signal_event(kiln_fd fd)
{
	uint64_t one = 1;

	/* A full counter (EAGAIN) tells the other side as well. Not kiln__os_write(): it would try
	 * send() first. */
	if (fd != KILN_FD_NONE && write(fd, &one, sizeof(one)) < 0)
		return;
}

static void notify(void *data, unsigned queue)
{
	struct kiln__vhost_user *server = data;

	signal_event(server->rings[queue].call);
}

/* The protocol has no DEVICE_NEEDS_RESET; the error event is what comes near. QEMU logs it. */
static void needs_reset(void *data, unsigned queue, const char *fault)
{
	struct kiln__vhost_user *server = data;

	(void)fault;
	signal_event(server->rings[queue].error);
}

/*
 * No config_changed: the protocol tells of it over a second socket (SET_BACKEND_REQ_FD), which no
 * device needs here; QEMU asks for configuration space when its guest reads it. No queue_fds: a
 * back-end in the kernel is the front-end's business.
 */
static const struct kiln__virtio_transport transport = {
	.notify = notify,
	.needs_reset = needs_reset,
};

/* --- requests --------------------------------------------------------------------------- */

static int find_ring(struct kiln__vhost_user *server, uint64_t index, struct ring **ret,
		     kiln_error *err)
{
	if (index >= server->device->ops->queue_count)
		return kiln__fail(err, KILN_EPROTO, "vhost-user: there is no ring %" PRIu64, index);
	*ret = &server->rings[index];
	return 0;
}

/* A ring that is to be set up, so must not run. */
static int find_stopped(struct kiln__vhost_user *server, uint64_t index, struct ring **ret,
			kiln_error *err)
{
	int r = find_ring(server, index, ret, err);

	if (r == 0 && running(*ret))
		r = kiln__fail(err, KILN_EPROTO, "vhost-user: ring %" PRIu64 " runs", index);
	return r;
}

static int do_get_features(struct kiln__vhost_user *server, kiln_error *err)
{
	(void)err;
	server->msg.u64 = server->device->ops->features | KILN__VU_F_PROTOCOL_FEATURES;
	return 0;
}

/* "If VHOST_USER_F_PROTOCOL_FEATURES has not been negotiated, the ring starts directly in the
 * enabled state." */
static void enable_without_protocol(struct kiln__vhost_user *server)
{
	for (unsigned i = 0; !server->protocol && i < server->device->ops->queue_count; i++)
		server->rings[i].enabled = true;
}

static int do_set_features(struct kiln__vhost_user *server, kiln_error *err)
{
	uint64_t features = server->msg.u64 & ~KILN__VU_F_PROTOCOL_FEATURES;

	if (features & ~server->device->ops->features)
		return kiln__fail(err, KILN_EPROTO,
				  "vhost-user: features 0x%" PRIx64
				  " were accepted but not offered",
				  features & ~server->device->ops->features);
	if (any_running(server) && features != server->features)
		return kiln__fail(err, KILN_EPROTO, "vhost-user: features change while rings run");
	server->features = features;
	server->protocol = server->msg.u64 & KILN__VU_F_PROTOCOL_FEATURES;
	enable_without_protocol(server);
	return 0;
}

/* Of configuration space is only spoken where there is one: QEMU warns else. */
static uint64_t protocol_features(const struct kiln__vhost_user *server)
{
	return PROTOCOL_FEATURES |
	       (server->device->ops->config_size ? KILN__VU_PROTOCOL_F_CONFIG : 0);
}

static int do_get_protocol_features(struct kiln__vhost_user *server, kiln_error *err)
{
	(void)err;
	server->msg.u64 = protocol_features(server);
	return 0;
}

static int do_set_protocol_features(struct kiln__vhost_user *server, kiln_error *err)
{
	uint64_t unknown = server->msg.u64 & ~protocol_features(server);

	if (unknown)
		return kiln__fail(err, KILN_EPROTO,
				  "vhost-user: protocol features 0x%" PRIx64
				  " were accepted but not offered",
				  unknown);
	server->protocol_features = server->msg.u64;
	return 0;
}

static int do_nothing(struct kiln__vhost_user *server, kiln_error *err)
{
	(void)server;
	(void)err;
	return 0;
}

/* Deprecated: "ignore this message, or use it to disable all rings". */
static int do_reset_owner(struct kiln__vhost_user *server, kiln_error *err)
{
	(void)err;
	for (unsigned i = 0; i < server->device->ops->queue_count; i++) {
		stop_ring(&server->rings[i]);
		server->rings[i].enabled = false;
	}
	return 0;
}

static int do_reset_device(struct kiln__vhost_user *server, kiln_error *err)
{
	(void)err;
	clear_rings(server);
	reset_device(server);
	enable_without_protocol(server);
	return 0;
}

static int do_get_queue_num(struct kiln__vhost_user *server, kiln_error *err)
{
	(void)err;
	server->msg.u64 = server->device->ops->queue_count;
	return 0;
}

static int do_set_mem_table(struct kiln__vhost_user *server, kiln_error *err)
{
	struct kiln__vu_memory table = server->msg.memory;
	struct kiln__vu_mem mem;
	uint32_t count = table.count;
	int r;

	/* Both forms are in use: the regions there are, and always room for eight. */
	if (count > KILN__VU_MAX_REGIONS || server->fd_count != count ||
	    (server->msg.header.size != KILN__VU_MEMORY_HEADER + count * sizeof(table.regions[0]) &&
	     server->msg.header.size != sizeof(table)))
		return kiln__fail(
			err, KILN_EPROTO,
			"vhost-user: a memory table of %u regions, %zu descriptors, %u bytes",
			count, server->fd_count, server->msg.header.size);
	r = kiln__vu_mem_map(&mem, table.regions, server->fds, count, err);
	if (r < 0)
		return r;
	stop_rings(server);
	kiln__vu_mem_unmap(&server->mem);
	server->mem = mem;
	return start_rings(server, err);
}

static int do_set_vring_num(struct kiln__vhost_user *server, kiln_error *err)
{
	struct kiln__vu_state state = server->msg.state;
	struct ring *ring = NULL;
	int r = find_stopped(server, state.index, &ring, err);

	if (r < 0)
		return r;
	if (state.num == 0 || state.num > server->device->queues[state.index].max_size ||
	    (state.num & (state.num - 1)))
		return kiln__fail(err, KILN_EPROTO, "vhost-user: ring %u cannot have %u entries",
				  state.index, state.num);
	ring->size = (uint16_t)state.num;
	return 0;
}

static int do_set_vring_addr(struct kiln__vhost_user *server, kiln_error *err)
{
	struct kiln__vu_addr addr = server->msg.addr;
	struct ring *ring = NULL;
	int r = find_stopped(server, addr.index, &ring, err);

	if (r < 0)
		return r;
	if (addr.flags)
		return kiln__fail(err, KILN_ENOTSUP,
				  "vhost-user: ring %u: logging is not supported", addr.index);
	ring->place.desc = addr.desc;
	ring->place.avail = addr.avail;
	ring->place.used = addr.used;
	ring->has_addr = true;
	return start_ring(ring, err);
}

static int do_set_vring_base(struct kiln__vhost_user *server, kiln_error *err)
{
	struct kiln__vu_state state = server->msg.state;
	struct ring *ring = NULL;
	int r = find_stopped(server, state.index, &ring, err);

	if (r < 0)
		return r;
	if (state.num > UINT16_MAX)
		return kiln__fail(err, KILN_EPROTO, "vhost-user: ring %u cannot start at %u",
				  state.index, state.num);
	ring->place.base = (uint16_t)state.num;
	return 0;
}

static int do_get_vring_base(struct kiln__vhost_user *server, kiln_error *err)
{
	struct ring *ring = NULL;
	int r = find_ring(server, server->msg.state.index, &ring, err);

	if (r < 0)
		return r;
	stop_ring(ring);
	replace_fd(&ring->kick, KILN_FD_NONE); /* the next one starts it */
	server->msg.state.num = ring->place.base;
	return 0;
}

static int do_set_vring_enable(struct kiln__vhost_user *server, kiln_error *err)
{
	struct kiln__vu_state state = server->msg.state;
	struct ring *ring = NULL;
	int r = find_ring(server, state.index, &ring, err);

	if (r < 0)
		return r;
	if (state.num > 1)
		return kiln__fail(err, KILN_EPROTO, "vhost-user: ring %u: enable is 0 or 1, not %u",
				  state.index, state.num);
	ring->enabled = state.num;
	if (ring->enabled)
		return start_ring(ring, err);
	stop_ring(ring);
	return 0;
}

/* The descriptor of a kick, call or error message: none, or one eventfd, non-blocking from here on.
 */
static int take_event(struct kiln__vhost_user *server, struct ring **ret_ring, kiln_fd *ret_fd,
		      kiln_error *err)
{
	uint64_t value = server->msg.u64;
	bool none = value & KILN__VU_RING_NOFD;
	struct stat st;
	int r;

	if (value & ~(uint64_t)(KILN__VU_RING_MASK | KILN__VU_RING_NOFD) ||
	    server->fd_count != (none ? 0 : 1))
		return kiln__fail(err, KILN_EPROTO,
				  "vhost-user: event 0x%" PRIx64 " with %zu descriptors", value,
				  server->fd_count);
	r = find_ring(server, value & KILN__VU_RING_MASK, ret_ring, err);
	if (r < 0)
		return r;
	if (none) {
		*ret_fd = KILN_FD_NONE;
		return 0;
	}
	/* An anonymous inode has no type: neither pipe, nor socket, nor file. */
	if (fstat(server->fds[0], &st) < 0 || (st.st_mode & S_IFMT))
		return kiln__fail(err, KILN_EPROTO,
				  "vhost-user: an event descriptor is no eventfd");
	r = kiln__os_set_nonblocking(server->fds[0], true, err);
	if (r == 0)
		*ret_fd = kiln__take_fd(&server->fds[0]);
	return r;
}

static int do_set_vring_kick(struct kiln__vhost_user *server, kiln_error *err)
{
	struct ring *ring = NULL;
	kiln_fd fd = KILN_FD_NONE;
	int r = take_event(server, &ring, &fd, err);

	if (r < 0)
		return r;
	stop_ring(ring);
	replace_fd(&ring->kick, fd);
	if (fd == KILN_FD_NONE)
		return kiln__fail(err, KILN_ENOTSUP,
				  "vhost-user: ring %u without kicks is not supported",
				  ring->index);
	return start_ring(ring, err);
}

static int do_set_vring_call(struct kiln__vhost_user *server, kiln_error *err)
{
	struct ring *ring = NULL;
	kiln_fd fd = KILN_FD_NONE;
	int r = take_event(server, &ring, &fd, err);

	if (r < 0)
		return r;
	replace_fd(&ring->call, fd);
	/* What was pushed before may have gone to nobody: a notification too many is allowed. */
	if (running(ring))
		signal_event(ring->call);
	return 0;
}

static int do_set_vring_err(struct kiln__vhost_user *server, kiln_error *err)
{
	struct ring *ring = NULL;
	kiln_fd fd = KILN_FD_NONE;
	int r = take_event(server, &ring, &fd, err);

	if (r == 0)
		replace_fd(&ring->error, fd);
	return r;
}

static int check_config(struct kiln__vhost_user *server, kiln_error *err)
{
	const struct kiln__vu_config *config = &server->msg.config;

	if (server->msg.header.size < KILN__VU_CONFIG_HEADER ||
	    config->size > KILN__VU_MAX_CONFIG ||
	    server->msg.header.size != KILN__VU_CONFIG_HEADER + config->size)
		return kiln__fail(err, KILN_EPROTO,
				  "vhost-user: configuration of impossible length");
	return 0;
}

static int do_get_config(struct kiln__vhost_user *server, kiln_error *err)
{
	struct kiln__vu_config *config = &server->msg.config;
	int r = check_config(server, err);

	if (r < 0)
		return r;
	/* "Uses zero length of payload to indicate an error." */
	if (kiln__virtio_config_read(server->device, config->offset, config->bytes, config->size,
				     NULL) < 0)
		server->msg.header.size = 0;
	return 0;
}

static int do_set_config(struct kiln__vhost_user *server, kiln_error *err)
{
	const struct kiln__vu_config *config = &server->msg.config;
	int r = check_config(server, err);

	if (r < 0)
		return r;
	return kiln__virtio_config_write(server->device, config->offset, config->bytes,
					 config->size, err);
}

/* --- messages ------------------------------------------------------------------------------- */

#define ANY_SIZE UINT32_MAX /* its handler checks */

static const struct request {
	const char *name;
	uint32_t size;    /* of the payload */
	uint32_t max_fds; /* of descriptors with it; its handler checks fewer */
	uint32_t reply;   /* size of the reply's payload; ANY_SIZE: as header.size says; 0: no reply
			     of its own */
	int (*handle)(struct kiln__vhost_user *server, kiln_error *err);
} requests[] = {
#define REQUEST(request, size, fds, reply, handle)                                                 \
	[KILN__VU_##request] = {#request, size, fds, reply, handle}
	REQUEST(GET_FEATURES, 0, 0, 8, do_get_features),
	REQUEST(SET_FEATURES, 8, 0, 0, do_set_features),
	REQUEST(SET_OWNER, 0, 0, 0, do_nothing),
	REQUEST(RESET_OWNER, 0, 0, 0, do_reset_owner),
	REQUEST(SET_MEM_TABLE, ANY_SIZE, MAX_FDS, 0, do_set_mem_table),
	REQUEST(SET_VRING_NUM, 8, 0, 0, do_set_vring_num),
	REQUEST(SET_VRING_ADDR, sizeof(struct kiln__vu_addr), 0, 0, do_set_vring_addr),
	REQUEST(SET_VRING_BASE, 8, 0, 0, do_set_vring_base),
	REQUEST(GET_VRING_BASE, 8, 0, 8, do_get_vring_base),
	REQUEST(SET_VRING_KICK, 8, 1, 0, do_set_vring_kick),
	REQUEST(SET_VRING_CALL, 8, 1, 0, do_set_vring_call),
	REQUEST(SET_VRING_ERR, 8, 1, 0, do_set_vring_err),
	REQUEST(GET_PROTOCOL_FEATURES, 0, 0, 8, do_get_protocol_features),
	REQUEST(SET_PROTOCOL_FEATURES, 8, 0, 0, do_set_protocol_features),
	REQUEST(GET_QUEUE_NUM, 0, 0, 8, do_get_queue_num),
	REQUEST(SET_VRING_ENABLE, 8, 0, 0, do_set_vring_enable),
	REQUEST(GET_CONFIG, ANY_SIZE, 0, ANY_SIZE, do_get_config),
	REQUEST(SET_CONFIG, ANY_SIZE, 0, 0, do_set_config),
	REQUEST(RESET_DEVICE, 0, 0, 0, do_reset_device),
#undef REQUEST
};

static int reply(struct kiln__vhost_user *server, uint32_t size, kiln_error *err)
{
	size_t len = sizeof(server->msg.header) + size;
	ssize_t n;

	server->msg.header.flags = KILN__VU_VERSION | KILN__VU_REPLY;
	server->msg.header.size = size;
	n = kiln__os_write(server->socket, &server->msg, len);
	/* A front-end waits for each reply: a full socket is none that keeps the protocol. */
	if (n != (ssize_t)len)
		return kiln__fail(err, KILN_EPROTO,
				  "vhost-user: the front-end does not take replies");
	return 0;
}

static void close_fds(struct kiln__vhost_user *server)
{
	for (size_t i = 0; i < server->fd_count; i++)
		kiln__os_close(server->fds[i]);
	server->fd_count = 0;
}

static int check_message(const struct kiln__vhost_user *server, const struct request *request,
			 kiln_error *err)
{
	const struct kiln__vu_header *header = &server->msg.header;

	if (!request)
		return kiln__fail(err, KILN_ENOTSUP, "vhost-user: request %u is not supported",
				  header->request);
	if (request->size != ANY_SIZE && header->size != request->size)
		return kiln__fail(err, KILN_EPROTO, "vhost-user: %s with %u bytes instead of %u",
				  request->name, header->size, request->size);
	if (server->fd_count > request->max_fds)
		return kiln__fail(err, KILN_EPROTO, "vhost-user: %s with %zu descriptors",
				  request->name, server->fd_count);
	return 0;
}

/* Handles the message that is complete. A negative result ends the session. */
static int handle_message(struct kiln__vhost_user *server, kiln_error *err)
{
	uint32_t number = server->msg.header.request;
	bool wants_ack = (server->msg.header.flags & KILN__VU_NEED_REPLY) &&
			 (server->protocol_features & KILN__VU_PROTOCOL_F_REPLY_ACK);
	const struct request *request = NULL;
	int r;

	if (number < sizeof(requests) / sizeof(requests[0]) && requests[number].handle)
		request = &requests[number];
	r = check_message(server, request, err);
	if (r == 0)
		r = request->handle(server, err);
	close_fds(server);
	if (r == 0 && request->reply)
		return reply(server,
			     request->reply == ANY_SIZE ? server->msg.header.size : request->reply,
			     err);
	if (!wants_ack || (request && request->reply))
		return r;
	server->msg.u64 = r < 0;
	return reply(server, sizeof(server->msg.u64), err);
}

static int check_header(const struct kiln__vhost_user *server, kiln_error *err)
{
	const struct kiln__vu_header *header = &server->msg.header;

	if ((header->flags & KILN__VU_VERSION_MASK) != KILN__VU_VERSION ||
	    (header->flags & KILN__VU_REPLY))
		return kiln__fail(err, KILN_EPROTO, "vhost-user: message flags 0x%x",
				  header->flags);
	if (header->size > sizeof(server->msg) - sizeof(*header))
		return kiln__fail(err, KILN_EPROTO, "vhost-user: request %u with %u bytes",
				  header->request, header->size);
	return 0;
}

/* How many bytes the message has, as far as is known. */
static size_t message_size(const struct kiln__vhost_user *server)
{
	if (server->msg_len < sizeof(server->msg.header))
		return sizeof(server->msg.header);
	return sizeof(server->msg.header) + server->msg.header.size;
}

/* Receives once. 1: something came; 0: nothing now; KILN_EDIED: the front-end has closed. */
static int receive(struct kiln__vhost_user *server, size_t want, kiln_error *err)
{
	size_t count = MAX_FDS - server->fd_count;
	ssize_t n =
		kiln__os_recv_fds(server->socket, (char *)&server->msg + server->msg_len,
				  want - server->msg_len, server->fds + server->fd_count, &count);

	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return kiln__fail_errno(err, (int)-n, "vhost-user: connection lost");
	server->fd_count += count;
	if (n == 0)
		return server->msg_len
			       ? kiln__fail(err, KILN_EPROTO, "vhost-user: message cut short")
			       : KILN_EDIED;
	server->msg_len += (size_t)n;
	return 1;
}

/* Receives up to one whole message and handles it. 1: one was; 0: more of it must come. */
static int pump(struct kiln__vhost_user *server, kiln_error *err)
{
	size_t want = message_size(server);
	int r;

	do {
		r = receive(server, want, err);
		if (r <= 0)
			return r;
		if (server->msg_len == sizeof(server->msg.header)) {
			r = check_header(server, err);
			if (r < 0)
				return r;
		}
		want = message_size(server);
	} while (server->msg_len < want);
	server->msg_len = 0;
	r = handle_message(server, err);
	return r < 0 ? r : 1;
}

static void on_readable(void *data, int events)
{
	struct kiln__vhost_user *server = data;
	kiln_error err = KILN_ERROR_INIT;
	int r = 1;

	(void)events;
	/* A front-end sends what needs no reply in one go; it gets its turn, no more. */
	for (int i = 0; r > 0 && i < MAX_MESSAGES; i++)
		r = pump(server, &err);
	if (r == KILN_EDIED && err.code == 0)
		end(server, NULL);
	else if (r < 0)
		end(server, &err);
}

/* --- making and freeing -------------------------------------------------------------- */

/* Everything of the session, but not the server. */
static void tear_down(struct kiln__vhost_user *server)
{
	kiln__watch_free(server->watch);
	server->watch = NULL;
	close_fds(server);
	clear_rings(server);
	kiln__virtio_reset(server->device);
	kiln__vu_mem_unmap(&server->mem);
	kiln__os_close(server->socket);
	server->socket = KILN_FD_NONE;
}

static void end(struct kiln__vhost_user *server, const kiln_error *err)
{
	if (server->ended)
		return;
	server->ended = true;
	tear_down(server);
	if (server->on_end)
		server->on_end(server->on_end_data, err);
}

int kiln__vhost_user_new(struct kiln__vhost_user **ret, kiln_loop *loop, kiln_fd socket,
			 struct kiln__virtio *device, kiln_error *err)
{
	struct kiln__vhost_user *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return kiln__fail_nomem(err);
	server->loop = loop;
	server->device = device;
	server->socket = socket;
	for (unsigned i = 0; i < KILN__VIRTIO_MAX_QUEUES; i++)
		server->rings[i].kick = server->rings[i].call = server->rings[i].error =
			KILN_FD_NONE;
	clear_rings(server);
	r = kiln__os_set_nonblocking(socket, true, err);
	if (r == 0)
		r = kiln__watch_new(&server->watch, loop, socket, on_readable, server, err);
	if (r < 0) {
		free(server);
		return r;
	}
	kiln__watch_set(server->watch, KILN__READABLE);
	kiln__virtio_attach(device, &transport, server);
	*ret = server;
	return 0;
}

void kiln__vhost_user_on_end(struct kiln__vhost_user *server,
			     void (*fn)(void *data, const kiln_error *err), void *data)
{
	server->on_end = fn;
	server->on_end_data = data;
}

void kiln__vhost_user_free(struct kiln__vhost_user *server)
{
	if (!server)
		return;
	if (!server->ended)
		tear_down(server);
	kiln__virtio_attach(server->device, NULL, NULL);
	free(server);
}
