/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio network device (virtio 1.2, section 5.1). Two queues: 0 to the guest, 1 from it.
 *
 * From the guest: frames go to the back-end straight from guest memory, a bounded number a round,
 * with kicks off meanwhile; when the back-end is full, the chain goes back into the queue, which
 * waits until the descriptor is writable. To the guest: a frame is received into the next buffer,
 * and into a bounce buffer behind it what that does not hold; with VIRTIO_NET_F_MRG_RXBUF the rest
 * then goes to further buffers. So what fits its buffer is not copied. Without buffers nothing is
 * received: the descriptor is not watched until the guest has put some up, and the sender sees the
 * back-pressure. Nothing is dropped but what can never fit.
 *
 * Where the transport has descriptors for kicks and interrupts, and the back-end one of
 * /dev/vhost-net, the kernel does all of this, and this file nothing, from the start of both queues
 * until one stops (net_vhost.c).
 *
 * No threads. The bounce buffer is made with the first frame that needs one. Trusts neither the
 * guest nor what comes from the network: headers of the guest's go to the kernel, which checks
 * them.
 */
#include "net.h"

#include "err.h"
#include "le.h"
#include "net_vhost.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_ID    1 /* section 5 */
#define QUEUE_SIZE   256
#define ROUND_FRAMES 64

enum { RX, TX, QUEUES };

#define NUM_BUFFERS 10u /* where that is in the header (5.1.6) */

#define MIN_BUFFER (KILN__NET_HEADER + 14u)
#define MAX_IOV    (QUEUE_SIZE + KILN__GMEM_MAX_REGIONS + 1)

#define S_LINK_UP 1u

struct config {
	uint8_t mac[6];
	uint16_t status;
	uint16_t max_virtqueue_pairs;
	uint16_t mtu;
};

/* A buffer of the guest's that a frame lies in, not yet given back. */
struct filled {
	uint16_t head;
	uint32_t len;
};

struct kiln__net {
	struct kiln__virtio virtio; /* first */
	struct kiln__virtio_ops ops;
	struct kiln__net_options options;
	kiln_loop *loop;
	struct kiln__net_backend *backend;
	struct kiln__watch *watch; /* made with the first queue */
	struct kiln__deferred *again;
	struct kiln__net_vhost *vhost; /* while the kernel does the work */
	struct config config;
	unsigned char *bounce; /* KILN__NET_MAX_FRAME bytes */
	size_t waiting;        /* bytes of a frame in it that found no room */
	bool starved;          /* no receive buffers: do not read */
	bool full;             /* the back-end: do not send */
	bool failed;           /* the back-end: for good */
	bool link;
};

static struct kiln__net *net_of(struct kiln__virtio *dev)
{
	return (struct kiln__net *)(void *)dev;
}

/* --- the back-end's state --------------------------------------------------------------- */

static void set_status(struct kiln__net *net)
{
	uint16_t status = net->link && !net->failed ? KILN__LE16(S_LINK_UP) : 0;

	if (net->config.status == status)
		return;
	net->config.status = status;
	kiln__virtio_config_changed(&net->virtio);
}

static void fail_backend(struct kiln__net *net)
{
	kiln_error err;

	if (net->failed)
		return;
	net->failed = true;
	set_status(net);
	kiln__fail(&err, KILN_EDIED, "net: the other end of the guest's network has gone");
	if (net->options.broken)
		net->options.broken(net->options.data, &err);
}

/* Watches for what is waited for. */
static void update_watch(struct kiln__net *net)
{
	int events = 0;

	if (!net->watch)
		return;
	if (!net->failed && !net->vhost && net->link) {
		if (!net->starved && kiln__virtio_usable(&net->virtio, RX))
			events |= KILN__READABLE;
		if (net->full)
			events |= KILN__WRITABLE;
	}
	kiln__watch_set(net->watch, events);
}

/* --- to the guest --------------------------------------------------------------------------- */

/* The next receive buffer: 1, 0 or negative as kiln__queue_pop(). */
static int next_buffer(struct kiln__net *net, struct kiln__chain *ret)
{
	struct kiln__queue *queue = &net->virtio.queues[RX];
	int r;

	do {
		r = kiln__queue_pop(queue, ret);
	} while (r == 0 && kiln__queue_kicks_on(queue));
	if (r > 0 && (ret->read_len || ret->write_len < MIN_BUFFER)) {
		kiln__queue_break(queue, "a receive buffer that holds no frame");
		r = KILN_EPROTO;
	}
	if (r < 0)
		kiln__virtio_fail(&net->virtio, RX);
	return r;
}

/* A byte of the header that was written into a chain; it may lie in any of the pieces. */
static unsigned char *byte_at(const struct kiln__chain *chain, size_t at)
{
	for (unsigned i = 0; i < chain->writable_count; i++) {
		if (at < chain->writable[i].len)
			return chain->writable[i].host + at;
		at -= chain->writable[i].len;
	}
	return NULL;
}

/*
 * Lays out the frame of @len bytes whose bytes from @done on are in the bounce buffer (with what is
 * before them, or not: those are in @chain, the first buffer). 1: the guest has it; 0: not enough
 * buffers, none is used; KILN_EOVERFLOW: it can never fit.
 */
static int spread(struct kiln__net *net, struct kiln__chain *chain, size_t len, size_t done,
		  unsigned char *num_buffers[2])
{
	struct kiln__queue *queue = &net->virtio.queues[RX];
	bool mergeable = net->virtio.features & KILN__NET_F_MRG_RXBUF;
	struct filled filled[QUEUE_SIZE];
	unsigned count = 0;

	filled[count++] = (struct filled){chain->head, (uint32_t)done};
	while (done < len) {
		size_t n;
		int r = 0;

		if (!mergeable || count == queue->size) {
			kiln__queue_unpop(queue, count);
			return KILN_EOVERFLOW;
		}
		r = next_buffer(net, chain);
		if (r <= 0) {
			kiln__queue_unpop(queue, count);
			return 0;
		}
		n = kiln__chain_write(chain, 0, net->bounce + done, len - done);
		filled[count++] = (struct filled){chain->head, (uint32_t)n};
		done += n;
	}
	/* 5.1.6.4: 1 without MRG_RXBUF, too. */
	*num_buffers[0] = (unsigned char)count;
	*num_buffers[1] = (unsigned char)(count >> 8);
	for (unsigned i = 0; i < count; i++)
		kiln__queue_push(queue, filled[i].head, filled[i].len);
	return 1;
}

static bool have_bounce(struct kiln__net *net)
{
	if (!net->bounce)
		net->bounce = malloc(KILN__NET_MAX_FRAME);
	return net->bounce != NULL;
}

/* The chain's pieces, then the bounce buffer from there on. Returns how many vectors. */
static int receive_iov(struct kiln__net *net, const struct kiln__chain *chain, struct iovec *iov)
{
	unsigned count = chain->writable_count;

	for (unsigned i = 0; i < count; i++)
		iov[i] = (struct iovec){chain->writable[i].host, chain->writable[i].len};
	if (chain->write_len < KILN__NET_MAX_FRAME)
		iov[count++] = (struct iovec){net->bounce + chain->write_len,
					      KILN__NET_MAX_FRAME - chain->write_len};
	return (int)count;
}

/* A frame that found no room is all in the bounce buffer: what lies in @chain goes there. */
static void keep(struct kiln__net *net, const struct kiln__span *spans, unsigned count, size_t len)
{
	size_t at = 0;

	for (unsigned i = 0; i < count && at < len; i++) {
		size_t n = spans[i].len < len - at ? spans[i].len : len - at;

		memcpy(net->bounce + at, spans[i].host, n);
		at += n;
	}
}

/* Receives one frame. 1: the guest has it, or it was dropped; 0: no more now, or no room. */
static int receive_one(struct kiln__net *net)
{
	struct kiln__queue *queue = &net->virtio.queues[RX];
	struct kiln__net_backend *backend = net->backend;
	unsigned char *num_buffers[2];
	struct iovec iov[MAX_IOV];
	struct kiln__chain chain;
	size_t done;
	ssize_t n;
	int r = next_buffer(net, &chain);

	if (r <= 0 || !have_bounce(net)) {
		net->starved = true;
		if (r > 0)
			kiln__queue_unpop(queue, 1);
		return 0;
	}
	num_buffers[0] = byte_at(&chain, NUM_BUFFERS);
	num_buffers[1] = byte_at(&chain, NUM_BUFFERS + 1);
	if (net->waiting) {
		n = (ssize_t)net->waiting;
		done = kiln__chain_write(&chain, 0, net->bounce, net->waiting);
	} else {
		n = backend->ops->receive(backend, iov, receive_iov(net, &chain, iov));
		done = n > 0 && (size_t)n > chain.write_len ? chain.write_len : (size_t)n;
	}
	if (n < MIN_BUFFER) { /* none, or none that is a frame */
		kiln__queue_unpop(queue, 1);
		if (n == -EPIPE)
			fail_backend(net);
		return n >= 0;
	}
	/* Before the pieces of the next buffer take the place of this one's in the queue. */
	if (!net->waiting && done < (size_t)n)
		keep(net, chain.writable, chain.writable_count, done);
	r = spread(net, &chain, (size_t)n, done, num_buffers);
	net->waiting = r == 0 ? (size_t)n : 0;
	if (r == 0)
		net->starved = true;
	return r != 0;
}

static void process_rx(struct kiln__net *net)
{
	unsigned count = 0;

	kiln__queue_kicks_off(&net->virtio.queues[RX]);
	while (kiln__virtio_usable(&net->virtio, RX) && !net->starved && !net->failed &&
	       net->link) {
		if (count++ == ROUND_FRAMES) {
			/* The back-end may have read more than it has given: that wakes nobody. */
			kiln__deferred_schedule(net->again);
			break;
		}
		if (receive_one(net) == 0)
			break;
	}
	kiln__virtio_notify(&net->virtio, RX);
	update_watch(net);
}

/* --- from the guest ------------------------------------------------------------------------- */

/* Sends one frame. 1: done with it; 0: it has to wait. */
static int send_one(struct kiln__net *net, const struct kiln__chain *chain)
{
	struct kiln__net_backend *backend = net->backend;
	struct iovec iov[MAX_IOV];
	int r;

	if (net->failed || !net->link || chain->read_len > KILN__NET_MAX_FRAME)
		return 1; /* nobody hears it */
	for (unsigned i = 0; i < chain->readable_count; i++)
		iov[i] = (struct iovec){chain->readable[i].host, chain->readable[i].len};
	r = backend->ops->send(backend, iov, (int)chain->readable_count);
	if (r == -EPIPE)
		fail_backend(net);
	return r != -EAGAIN;
}

/* What was gathered goes out; then full, if not all of it could. */
static void flush(struct kiln__net *net)
{
	int r = 0;

	if (net->backend->ops->flush && !net->failed)
		r = net->backend->ops->flush(net->backend);
	if (r == -EPIPE)
		fail_backend(net);
	if (r == -EAGAIN)
		net->full = true;
}

static void process_tx(struct kiln__net *net)
{
	struct kiln__queue *queue = &net->virtio.queues[TX];
	unsigned count = 0;
	struct kiln__chain chain;
	int r;

	kiln__queue_kicks_off(queue);
	while (kiln__virtio_usable(&net->virtio, TX) && !net->full) {
		if (count++ == ROUND_FRAMES) {
			kiln__deferred_schedule(net->again);
			break;
		}
		do {
			r = kiln__queue_pop(queue, &chain);
		} while (r == 0 && kiln__queue_kicks_on(queue));
		if (r > 0 && (chain.write_len || chain.read_len < MIN_BUFFER)) {
			kiln__queue_break(queue, "a transmit buffer that holds no frame");
			r = KILN_EPROTO;
		}
		if (r < 0)
			kiln__virtio_fail(&net->virtio, TX);
		if (r <= 0)
			break;
		if (send_one(net, &chain) == 0) {
			kiln__queue_unpop(queue, 1);
			net->full = true;
			break;
		}
		kiln__queue_push(queue, chain.head, 0);
	}
	flush(net);
	kiln__virtio_notify(&net->virtio, TX);
	update_watch(net);
}

/* --- events ---------------------------------------------------------------------------------- */

static void on_backend(void *data, int events)
{
	struct kiln__net *net = data;

	if (events & KILN__WRITABLE) {
		net->full = false;
		process_tx(net);
	}
	if (events & KILN__READABLE)
		process_rx(net);
}

static void on_again(void *data)
{
	struct kiln__net *net = data;

	if (net->vhost)
		return;
	process_tx(net);
	process_rx(net);
}

/* With the first queue: what the driver accepted is known, and the back-end is told. */
static bool get_ready(struct kiln__net *net)
{
	if (net->watch)
		return true;
	if (!(net->virtio.features & KILN__VIRTIO_F_VERSION_1)) {
		/* Its header would be shorter by two bytes. */
		kiln__queue_break(&net->virtio.queues[RX], "a driver of before virtio 1.0");
		kiln__virtio_fail(&net->virtio, RX);
		return false;
	}
	if (net->backend->ops->negotiated(net->backend, net->virtio.features) < 0)
		fail_backend(net);
	return kiln__watch_new(&net->watch, net->loop, net->backend->fd, on_backend, net, NULL) ==
	       0;
}

/* Both queues run: the kernel takes over, if it can. */
static void try_vhost(struct kiln__net *net)
{
	if (net->vhost || net->failed || net->waiting || net->backend->vhost == KILN_FD_NONE ||
	    !kiln__virtio_usable(&net->virtio, RX) || !kiln__virtio_usable(&net->virtio, TX))
		return;
	if (kiln__net_vhost_start(&net->vhost, net->backend->vhost, net->backend->fd, &net->virtio,
				  NULL) < 0)
		net->vhost = NULL; /* then it is done here */
	update_watch(net);
}

static void notified(struct kiln__virtio *dev, unsigned queue)
{
	struct kiln__net *net = net_of(dev);

	if (!get_ready(net))
		return;
	try_vhost(net);
	if (net->vhost)
		return;
	if (queue == TX) {
		process_tx(net);
		return;
	}
	net->starved = false;
	process_rx(net);
}

static void stopping(struct kiln__virtio *dev, unsigned queue)
{
	struct kiln__net *net = net_of(dev);

	(void)queue;
	/* The kernel stops both, and this file goes on with the one that runs. */
	kiln__net_vhost_stop(net->vhost);
	net->vhost = NULL;
	if (net->watch)
		kiln__watch_set(net->watch, 0);
	if (queue == RX)
		net->starved = true;
	kiln__deferred_schedule(net->again);
}

static void reset(struct kiln__virtio *dev)
{
	struct kiln__net *net = net_of(dev);

	kiln__watch_free(net->watch);
	net->watch = NULL;
	net->waiting = 0;
	net->full = false;
	net->starved = true;
}

/* --- the device ---------------------------------------------------------------------------------
 */

static void config_read(struct kiln__virtio *dev, uint32_t offset, void *bytes, uint32_t len)
{
	memcpy(bytes, (unsigned char *)&net_of(dev)->config + offset, len);
}

static const uint16_t queue_sizes[QUEUES] = {QUEUE_SIZE, QUEUE_SIZE};

static const struct kiln__virtio_ops virtio_ops = {
	.name = "net",
	.id = DEVICE_ID,
	.queue_count = QUEUES,
	.queue_sizes = queue_sizes,
	.own_interrupts = true,
	.features = KILN__VIRTIO_RING_FEATURES | KILN__NET_F_MAC | KILN__NET_F_MRG_RXBUF |
		    KILN__NET_F_STATUS,
	.config_size = sizeof(struct config),
	.config_read = config_read,
	.notified = notified,
	.stopping = stopping,
	.reset = reset,
};

int kiln__net_new(struct kiln__net **ret, kiln_loop *loop, struct kiln__net_backend *backend,
		  const struct kiln__net_options *options, kiln_error *err)
{
	struct kiln__net *net = calloc(1, sizeof(*net));
	int r;

	if (!net)
		return kiln__fail_nomem(err);
	net->ops = virtio_ops;
	net->ops.features |= backend->features;
	if (options->mtu)
		net->ops.features |= KILN__NET_F_MTU;
	net->options = *options;
	net->loop = loop;
	net->link = true;
	net->starved = true;
	memcpy(net->config.mac, options->mac, sizeof(options->mac));
	net->config.max_virtqueue_pairs = KILN__LE16(1);
	net->config.mtu = KILN__LE16(options->mtu);
	net->config.status = KILN__LE16(S_LINK_UP);
	kiln__virtio_init(&net->virtio, &net->ops);
	r = kiln__deferred_new(&net->again, loop, on_again, net, err);
	if (r < 0) {
		free(net);
		return r;
	}
	net->backend = backend;
	*ret = net;
	return 0;
}

void kiln__net_free(struct kiln__net *net)
{
	if (!net)
		return;
	kiln__virtio_done(&net->virtio);
	kiln__watch_free(net->watch);
	kiln__deferred_free(net->again);
	kiln__net_backend_free(net->backend);
	free(net->bounce);
	free(net);
}

struct kiln__virtio *kiln__net_device(struct kiln__net *net)
{
	return &net->virtio;
}

void kiln__net_set_link(struct kiln__net *net, bool up)
{
	if (net->link == up)
		return;
	net->link = up;
	set_status(net);
	kiln__deferred_schedule(net->again);
}

bool kiln__net_is_in_kernel(const struct kiln__net *net)
{
	return net->vhost != NULL;
}
