/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio memory balloon (virtio 1.2, section 5.5). Five queues: 0 inflate, 1 deflate, 2
 * statistics, 4 free page reporting. Queue 3 is that of free page hints
 * (VIRTIO_BALLOON_F_FREE_PAGE_HINT), which are not offered; but Linux before 6.11 counts only the
 * queues it has, and so reports free pages by queue 3, or by 2 where it did not take the
 * statistics. Whichever it sets up is right.
 *
 * Pages are given back by the caller's function, on the loop's thread: madvise(2) and the like, so
 * pages that lie together are given back together, and lists are worked off in bounded rounds. No
 * threads, no timers: statistics are asked for when somebody wants them.
 *
 * Trusts nothing: page numbers outside of memory are ignored, reported ranges are cut to whole
 * pages. The worst that a guest can do is to lose the contents of its own memory. A guest whose
 * pages are poisoned (VIRTIO_BALLOON_F_PAGE_POISON) with something else than zero keeps those that
 * it reports (5.5.6.6: they would come back as zeros).
 *
 * MUST_TELL_HOST is not offered: a page that is used again without a word is simply there again.
 */
#include "balloon.h"

#include "err.h"
#include "le.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICE_ID 5 /* section 5 */

enum {
	INFLATE,
	DEFLATE,
	STATS,
	HINTS,
	REPORTING,
	QUEUES,
};

/* Feature bits (5.5.3). */
#define F_STATS_VQ       (1ULL << 1)
#define F_DEFLATE_ON_OOM (1ULL << 2)
#define F_PAGE_POISON    (1ULL << 4)
#define F_PAGE_REPORTING (1ULL << 5)

#define PAGE_SHIFT   12 /* of the protocol, whatever the guest's pages are (5.5.6) */
#define ROUND_CHAINS 16
#define BATCH_PAGES  256u
#define MAX_PAGES    4096u /* of one list, the rest is ignored: Linux sends 256 at a time */
#define MAX_STATS    64u   /* entries looked at */

struct config {
	uint32_t num_pages;
	uint32_t actual;
	uint32_t free_page_hint_cmd_id;
	uint32_t poison_val;
};

struct kiln__balloon {
	struct kiln__virtio virtio; /* first */
	struct kiln__balloon_options options;
	struct kiln__deferred *again;
	struct config config; /* in the guest's byte order */
	uint64_t host_page;
	bool stats_held; /* the guest's buffer, which is given back to ask for news */
	uint16_t stats_head;
	kiln__balloon_stats_fn stats_done;
	void *stats_data;
};

static struct kiln__balloon *balloon_of(struct kiln__virtio *dev)
{
	return (struct kiln__balloon *)(void *)dev;
}

/* --- giving memory back --------------------------------------------------------------- */

/* [gpa, gpa + len) is in guest memory: as much of it as is whole pages goes. */
static void discard(struct kiln__balloon *balloon, uint64_t gpa, uint64_t len)
{
	uint64_t mask = balloon->host_page - 1;
	uint64_t begin = (gpa + mask) & ~mask;
	uint64_t end = (gpa + len) & ~mask;

	if (begin < end && begin >= gpa)
		balloon->options.discard(balloon->options.data, begin, end - begin);
}

/* A run of pages, as far as they are memory. */
static void discard_pages(struct kiln__balloon *balloon, uint64_t first, uint64_t count)
{
	const struct kiln__gmem *mem = balloon->virtio.queues[INFLATE].mem;
	uint64_t gpa = first << PAGE_SHIFT;
	uint64_t len = count << PAGE_SHIFT;

	if (kiln__gmem_contains(mem, gpa, len)) {
		discard(balloon, gpa, len);
		return;
	}
	for (uint64_t i = 0; count > 1 && i < count; i++)
		discard_pages(balloon, first + i, 1);
}

/* Pages that follow each other, up or down, become one run. */
static void inflate(struct kiln__balloon *balloon, const struct kiln__chain *chain)
{
	uint32_t pages[BATCH_PAGES];
	uint64_t first = 0;
	uint64_t count = 0;
	size_t at = 0;
	size_t n;

	while (at < MAX_PAGES * sizeof(pages[0]) &&
	       (n = kiln__chain_read(chain, at, pages, sizeof(pages)) / sizeof(pages[0])) > 0) {
		at += n * sizeof(pages[0]);
		for (size_t i = 0; i < n; i++) {
			uint64_t page = KILN__LE32(pages[i]);

			if (count > 0 && page == first + count) {
				count++;
			} else if (count > 0 && page + 1 == first) {
				first--;
				count++;
			} else {
				discard_pages(balloon, first, count);
				first = page;
				count = 1;
			}
		}
	}
	discard_pages(balloon, first, count);
}

/* 5.5.6.7: the buffers of the chain are the free pages themselves. */
static void report(struct kiln__balloon *balloon, unsigned queue, const struct kiln__chain *chain)
{
	const struct kiln__gmem *mem = balloon->virtio.queues[queue].mem;
	uint64_t gpa;

	if ((balloon->virtio.features & F_PAGE_POISON) && balloon->config.poison_val)
		return;
	for (unsigned i = 0; i < chain->writable_count; i++)
		if (kiln__gmem_gpa(mem, chain->writable[i].host, &gpa))
			discard(balloon, gpa, chain->writable[i].len);
}

/* --- statistics ------------------------------------------------------------------------ */

static void end_stats(struct kiln__balloon *balloon, const struct kiln__balloon_stats *stats,
		      int code)
{
	kiln__balloon_stats_fn done = balloon->stats_done;
	kiln_error err = KILN_ERROR_INIT;

	balloon->stats_done = NULL;
	if (!done)
		return;
	if (code < 0)
		kiln__fail(&err, code, "the guest's balloon driver has gone");
	done(balloon->stats_data, stats, code < 0 ? &err : NULL);
}

/* 5.5.6.3: entries of a 16-bit tag and a 64-bit value, packed. */
static void read_stats(const struct kiln__chain *chain, struct kiln__balloon_stats *ret)
{
	unsigned char entry[10];

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < MAX_STATS; i++) {
		uint16_t tag;
		uint64_t value;

		if (kiln__chain_read(chain, i * sizeof(entry), entry, sizeof(entry)) <
		    sizeof(entry))
			return;
		memcpy(&tag, entry, sizeof(tag));
		memcpy(&value, entry + sizeof(tag), sizeof(value));
		tag = KILN__LE16(tag);
		if (tag >= KILN__BALLOON_STATS)
			continue;
		ret->known |= 1u << tag;
		ret->values[tag] = KILN__LE64(value);
	}
}

/* Gives the guest's buffer back, which asks for a new one. */
static void give_stats_back(struct kiln__balloon *balloon)
{
	if (!balloon->stats_held)
		return;
	balloon->stats_held = false;
	kiln__queue_push(&balloon->virtio.queues[STATS], balloon->stats_head, 0);
}

/* A driver puts up one buffer; if there are more, the older ones go back. */
static void take_stats(struct kiln__balloon *balloon, const struct kiln__chain *chain)
{
	struct kiln__balloon_stats stats;

	give_stats_back(balloon);
	balloon->stats_held = true;
	balloon->stats_head = chain->head;
	read_stats(chain, &stats);
	/* The first one, which a driver puts up when it begins, nobody has asked for. */
	if (balloon->stats_done)
		end_stats(balloon, &stats, 0);
}

void kiln__balloon_request_stats(struct kiln__balloon *balloon, kiln__balloon_stats_fn done,
				 void *data)
{
	kiln_error err = KILN_ERROR_INIT;

	if (balloon->stats_done)
		kiln__fail(&err, KILN_EBUSY, "the guest was asked for its statistics already");
	else if (!balloon->stats_held)
		kiln__fail(&err, KILN_ESTATE, "the guest's balloon driver gives no statistics");
	if (err.code) {
		done(data, NULL, &err);
		return;
	}
	balloon->stats_done = done;
	balloon->stats_data = data;
	give_stats_back(balloon);
	kiln__virtio_notify(&balloon->virtio, STATS);
}

void kiln__balloon_cancel_stats(struct kiln__balloon *balloon)
{
	balloon->stats_done = NULL;
}

/* --- queues ------------------------------------------------------------------------------ */

/* What a queue is for, with what the driver took. */
static unsigned role_of(const struct kiln__balloon *balloon, unsigned queue)
{
	if (queue == HINTS || (queue == STATS && !(balloon->virtio.features & F_STATS_VQ)))
		return REPORTING;
	return queue;
}

/* What is wrong with a chain, or NULL. */
static const char *take_chain(struct kiln__balloon *balloon, unsigned queue,
			      const struct kiln__chain *chain)
{
	unsigned role = role_of(balloon, queue);

	if (role == REPORTING ? chain->read_len > 0 : chain->write_len > 0)
		return "a balloon buffer in the wrong direction";
	if (role == REPORTING && !(balloon->virtio.features & F_PAGE_REPORTING))
		return "free page reporting was not negotiated";
	if (role == STATS) {
		take_stats(balloon, chain);
		return NULL;
	}
	if (role == INFLATE)
		inflate(balloon, chain);
	else if (role == REPORTING)
		report(balloon, queue, chain);
	kiln__queue_push(&balloon->virtio.queues[queue], chain->head, 0);
	return NULL;
}

static void process(struct kiln__balloon *balloon, unsigned index)
{
	struct kiln__queue *queue = &balloon->virtio.queues[index];
	unsigned count = 0;

	kiln__queue_kicks_off(queue);
	while (kiln__virtio_usable(&balloon->virtio, index)) {
		struct kiln__chain chain;
		int r;

		if (count++ == ROUND_CHAINS) {
			kiln__deferred_schedule(balloon->again);
			break;
		}
		do {
			r = kiln__queue_pop(queue, &chain);
		} while (r == 0 && kiln__queue_kicks_on(queue));
		if (r == 0)
			break;
		if (r > 0) {
			const char *fault = take_chain(balloon, index, &chain);

			if (!fault)
				continue;
			kiln__queue_break(queue, fault);
		}
		kiln__virtio_fail(&balloon->virtio, index);
	}
	kiln__virtio_notify(&balloon->virtio, index);
}

static void on_again(void *data)
{
	for (unsigned i = 0; i < QUEUES; i++)
		process(data, i);
}

/* --- the device ------------------------------------------------------------------------- */

static void config_read(struct kiln__virtio *dev, uint32_t offset, void *bytes, uint32_t len)
{
	memcpy(bytes, (unsigned char *)&balloon_of(dev)->config + offset, len);
}

/* 5.5.4: the driver writes "actual" and "poison_val", and nothing else. */
static void config_write(struct kiln__virtio *dev, uint32_t offset, const void *bytes, uint32_t len)
{
	struct kiln__balloon *balloon = balloon_of(dev);
	struct config config = balloon->config;
	uint32_t before = config.actual;

	memcpy((unsigned char *)&config + offset, bytes, len);
	balloon->config.actual = config.actual;
	if (dev->features & F_PAGE_POISON)
		balloon->config.poison_val = config.poison_val;
	if (config.actual != before && balloon->options.resized)
		balloon->options.resized(balloon->options.data, kiln__balloon_actual(balloon));
}

static void notified(struct kiln__virtio *dev, unsigned queue)
{
	process(balloon_of(dev), queue);
}

/* No chain is held by a queue that does not run: it is all in the ring then. */
static void stopping(struct kiln__virtio *dev, unsigned queue)
{
	if (queue != STATS)
		return;
	give_stats_back(balloon_of(dev));
	kiln__virtio_notify(dev, STATS);
}

static void reset(struct kiln__virtio *dev)
{
	struct kiln__balloon *balloon = balloon_of(dev);

	balloon->config.actual = 0;
	balloon->config.poison_val = 0;
	end_stats(balloon, NULL, KILN_EDIED);
}

static const uint16_t queue_sizes[QUEUES] = {128, 128, 16, 128, 128};

static const struct kiln__virtio_ops virtio_ops = {
	.name = "balloon",
	.id = DEVICE_ID,
	.queue_count = QUEUES,
	.queue_sizes = queue_sizes,
	.features = KILN__VIRTIO_RING_FEATURES | F_STATS_VQ | F_DEFLATE_ON_OOM | F_PAGE_POISON |
		    F_PAGE_REPORTING,
	.config_size = sizeof(struct config),
	.config_read = config_read,
	.config_write = config_write,
	.notified = notified,
	.stopping = stopping,
	.reset = reset,
};

int kiln__balloon_new(struct kiln__balloon **ret, kiln_loop *loop,
		      const struct kiln__balloon_options *options, kiln_error *err)
{
	struct kiln__balloon *balloon = calloc(1, sizeof(*balloon));
	int r;

	if (!balloon)
		return kiln__fail_nomem(err);
	kiln__virtio_init(&balloon->virtio, &virtio_ops);
	balloon->options = *options;
	balloon->host_page = (uint64_t)sysconf(_SC_PAGESIZE);
	r = kiln__deferred_new(&balloon->again, loop, on_again, balloon, err);
	if (r < 0) {
		free(balloon);
		return r;
	}
	*ret = balloon;
	return 0;
}

void kiln__balloon_free(struct kiln__balloon *balloon)
{
	if (!balloon)
		return;
	kiln__virtio_done(&balloon->virtio);
	end_stats(balloon, NULL, KILN_EDIED);
	kiln__deferred_free(balloon->again);
	free(balloon);
}

struct kiln__virtio *kiln__balloon_device(struct kiln__balloon *balloon)
{
	return &balloon->virtio;
}

int kiln__balloon_set_target(struct kiln__balloon *balloon, uint64_t bytes, kiln_error *err)
{
	uint32_t pages;

	if (bytes >> PAGE_SHIFT > UINT32_MAX)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "balloon: %" PRIu64 " bytes are more than can be asked for",
				  bytes);
	pages = KILN__LE32((uint32_t)(bytes >> PAGE_SHIFT));
	if (pages == balloon->config.num_pages)
		return 0;
	balloon->config.num_pages = pages;
	kiln__virtio_config_changed(&balloon->virtio);
	return 0;
}

uint64_t kiln__balloon_target(const struct kiln__balloon *balloon)
{
	return (uint64_t)KILN__LE32(balloon->config.num_pages) << PAGE_SHIFT;
}

uint64_t kiln__balloon_actual(const struct kiln__balloon *balloon)
{
	return (uint64_t)KILN__LE32(balloon->config.actual) << PAGE_SHIFT;
}
