/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio entropy device (virtio 1.2, section 5.4): one queue of buffers to be filled. They are
 * filled in place from getrandom(2), which does not block once the host is up. No threads.
 *
 * A request gets at most MAX_BYTES (5.4.6.2 allows fewer than there is room for), and so many
 * are answered before others on the loop have their turn: a guest that asks without end
 * takes its share of the loop, no more.
 *
 * A request that comes while nothing else of the guest is active, and long after the last answer,
 * is left for a while. What asks so slowly is Linux's own khwrngd, for which a guest in which
 * nothing happens would wake its VMM every few seconds; no time is promised (5.4.6). It is answered
 * as soon as any other device is used, on either side: so who comes by a console or a connection
 * and reads finds what the driver has asked ahead. The first requests, from which a guest's
 * generator is seeded, are answered at once.
 */
#include "rng.h"

#include "err.h"
#include "os.h"

#include <stdlib.h>

#define DEVICE_ID      4 /* section 5 */
#define MAX_BYTES      4096u
#define ROUND_REQUESTS 16
#define FIRST_REQUESTS 2

static const struct kiln__rng_pace usual_pace = {.quiet = 100, .wait = 20000};

struct kiln__rng {
	struct kiln__virtio virtio; /* first */
	kiln_loop *loop;
	struct kiln__rng_pace pace;
	struct kiln__deferred *again;
	struct kiln__timer *later;
	unsigned answered;    /* since the reset, as far as they are first ones */
	uint64_t answered_at; /* kiln__loop_now() */
	uint64_t active_at;   /* when another device was used last */
};

/* Returns how much was filled. */
static uint32_t fill(const struct kiln__chain *chain)
{
	size_t done = 0;

	for (unsigned i = 0; i < chain->writable_count && done < MAX_BYTES; i++) {
		size_t n = chain->writable[i].len;

		if (n > MAX_BYTES - done)
			n = MAX_BYTES - done;
		kiln__os_random(chain->writable[i].host, n);
		done += n;
	}
	return (uint32_t)done;
}

static void process(struct kiln__rng *rng)
{
	struct kiln__queue *queue = &rng->virtio.queues[0];
	unsigned count = 0;

	kiln__queue_kicks_off(queue);
	while (kiln__virtio_usable(&rng->virtio, 0)) {
		struct kiln__chain chain;
		int r;

		if (count++ == ROUND_REQUESTS) {
			kiln__deferred_schedule(rng->again);
			break;
		}
		do {
			r = kiln__queue_pop(queue, &chain);
		} while (r == 0 && kiln__queue_kicks_on(queue));
		if (r == 0)
			break;
		if (r > 0 && chain.read_len) {
			kiln__queue_break(queue, "an entropy buffer that the device is to read");
			r = KILN_EPROTO;
		}
		if (r < 0) {
			kiln__virtio_fail(&rng->virtio, 0);
			break;
		}
		kiln__queue_push(queue, chain.head, fill(&chain));
		rng->answered += rng->answered < FIRST_REQUESTS;
	}
	rng->answered_at = kiln__loop_now(rng->loop);
	kiln__virtio_notify(&rng->virtio, 0);
}

static void on_again(void *data)
{
	process(data);
}

static bool may_wait(const struct kiln__rng *rng)
{
	uint64_t now = kiln__loop_now(rng->loop);

	return rng->answered == FIRST_REQUESTS && now - rng->answered_at >= rng->pace.quiet &&
	       now - rng->active_at >= rng->pace.quiet;
}

static void notified(struct kiln__virtio *dev, unsigned queue)
{
	struct kiln__rng *rng = (struct kiln__rng *)(void *)dev;

	if (kiln__timer_armed(rng->later))
		return;
	if (!may_wait(rng)) {
		process(rng);
		return;
	}
	kiln__queue_kicks_off(&dev->queues[queue]);
	kiln__timer_start(rng->later, rng->pace.wait);
}

static void reset(struct kiln__virtio *dev)
{
	struct kiln__rng *rng = (struct kiln__rng *)(void *)dev;

	kiln__timer_stop(rng->later);
	rng->answered = 0;
}

void kiln__rng_others_active(struct kiln__rng *rng)
{
	rng->active_at = kiln__loop_now(rng->loop);
	if (!kiln__timer_armed(rng->later))
		return;
	kiln__timer_stop(rng->later);
	process(rng);
}

static const uint16_t queue_sizes[] = {64};

static const struct kiln__virtio_ops virtio_ops = {
	.name = "rng",
	.id = DEVICE_ID,
	.queue_count = 1,
	.queue_sizes = queue_sizes,
	.features = KILN__VIRTIO_RING_FEATURES,
	.notified = notified,
	.reset = reset,
};

int kiln__rng_new(struct kiln__rng **ret, kiln_loop *loop, const struct kiln__rng_pace *pace,
		  kiln_error *err)
{
	struct kiln__rng *rng = calloc(1, sizeof(*rng));
	int r;

	if (!rng)
		return kiln__fail_nomem(err);
	rng->loop = loop;
	rng->pace = pace ? *pace : usual_pace;
	kiln__virtio_init(&rng->virtio, &virtio_ops);
	r = kiln__deferred_new(&rng->again, loop, on_again, rng, err);
	if (r == 0)
		r = kiln__timer_new(&rng->later, loop, on_again, rng, err);
	if (r < 0) {
		kiln__rng_free(rng);
		return r;
	}
	*ret = rng;
	return 0;
}

void kiln__rng_free(struct kiln__rng *rng)
{
	if (!rng)
		return;
	kiln__virtio_done(&rng->virtio);
	kiln__deferred_free(rng->again);
	kiln__timer_free(rng->later);
	free(rng);
}

struct kiln__virtio *kiln__rng_device(struct kiln__rng *rng)
{
	return &rng->virtio;
}
