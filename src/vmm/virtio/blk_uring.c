/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The io_uring engine: one ring for one file. Operations of a batch go to the kernel by one
 * system call; that call is also the last for those that are over when it returns (reads of
 * what is cached). For the others the loop watches the ring's own descriptor, which is readable
 * while there are completions: an eventfd beside it would cost a read more for each wake-up.
 *
 * What an io_uring does passes no system-call filter. So the ring is made disabled, restricted
 * (IORING_REGISTER_RESTRICTIONS, Linux 5.10) to the five operations below on its one registered
 * file, and only then enabled: whoever can write to its memory can do to the disk what the
 * guest can do anyway, and nothing else. A kernel that cannot restrict it gets threads instead.
 * Once a process is confined it makes no ring any more (io_uring_setup is not among the calls
 * below): else whoever had taken it over could make one without restrictions. Who wants a ring
 * in a confined process makes it before: kiln__blk_prepare().
 *
 * Own system calls and not liburing: of its interface five functions would be used, and the
 * restrictions are three lines either way; it would be a library more to load, or to build.
 *
 * No threads here; the kernel's, for what blocks, are bounded below and go when idle. The rings
 * are shared with the kernel, which is trusted.
 */
#include "blk_engine.h"

#include "err.h"
#include "os.h"
#include "syscalls.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

KILN__SYSCALLS(io_uring_enter, munmap, close);

/* Kernel threads for what cannot be done without blocking; as many as blk_threads.c has. */
#define MAX_WORKERS 4u

struct uring {
	struct kiln__blk_engine engine;
	kiln_fd fd;
	struct kiln__watch *watch;
	kiln__call_fn ready;
	void *data;
	void *rings;
	size_t rings_len;
	struct io_uring_sqe *sqes;
	size_t sqes_len;
	uint32_t *sq_head;
	uint32_t *sq_tail;
	uint32_t sq_mask;
	uint32_t *cq_head;
	uint32_t *cq_tail;
	uint32_t cq_mask;
	struct io_uring_cqe *cqes;
	unsigned queued;           /* entries that the kernel has not taken yet */
	unsigned under_way;        /* entries that it has */
	struct kiln__blk_op *lost; /* that the kernel did not want */
};

static struct uring *uring_of(struct kiln__blk_engine *engine)
{
	return (struct uring *)(void *)engine;
}

static void queue(struct kiln__blk_engine *engine, struct kiln__blk_op *op)
{
	struct uring *uring = uring_of(engine);
	uint32_t tail = *uring->sq_tail; /* only this thread writes it */
	struct io_uring_sqe *sqe = &uring->sqes[tail & uring->sq_mask];

	memset(sqe, 0, sizeof(*sqe));
	sqe->flags = IOSQE_FIXED_FILE; /* file number 0, the only one */
	sqe->user_data = (uint64_t)(uintptr_t)op;
	sqe->off = op->offset;
	switch (op->kind) {
	case KILN__BLK_READ:
	case KILN__BLK_WRITE:
		sqe->opcode = op->kind == KILN__BLK_READ ? IORING_OP_READV : IORING_OP_WRITEV;
		sqe->addr = (uint64_t)(uintptr_t)op->iov;
		sqe->len = op->iov_count < KILN__BLK_MAX_IOV ? op->iov_count : KILN__BLK_MAX_IOV;
		if (op->durable)
			sqe->rw_flags = RWF_DSYNC;
		break;
	case KILN__BLK_FLUSH:
		sqe->opcode = IORING_OP_FSYNC;
		sqe->off = 0; /* with len 0: all of the file */
		sqe->fsync_flags = IORING_FSYNC_DATASYNC;
		break;
	case KILN__BLK_PUNCH:
	case KILN__BLK_ZERO:
		sqe->opcode = IORING_OP_FALLOCATE; /* the length is in addr, the mode in len */
		sqe->addr = op->length;
		sqe->len =
			FALLOC_FL_KEEP_SIZE |
			(op->kind == KILN__BLK_PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
		break;
	}
	__atomic_store_n(uring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	uring->queued++;
}

/* Takes back what the kernel will not take: it gets an error as its result. */
static void take_back(struct uring *uring, int error)
{
	uint32_t tail = *uring->sq_tail;

	for (; uring->queued > 0; uring->queued--) {
		struct io_uring_sqe *sqe = &uring->sqes[--tail & uring->sq_mask];
		struct kiln__blk_op *op = (struct kiln__blk_op *)(uintptr_t)sqe->user_data;

		op->result = -error;
		op->next = uring->lost;
		uring->lost = op;
	}
	__atomic_store_n(uring->sq_tail, tail, __ATOMIC_RELEASE);
}

/* Hands over what is queued and waits for @wait completions. */
static void enter(struct uring *uring, unsigned wait)
{
	do {
		long n = syscall(SYS_io_uring_enter, uring->fd, uring->queued, wait,
				 wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0);

		if (n >= 0) {
			uring->queued -= (unsigned)n;
			uring->under_way += (unsigned)n;
		} else if (errno == EINTR) {
			continue;
		} else if ((errno == EAGAIN || errno == EBUSY) && uring->under_way > 0) {
			return; /* no memory now: the next completion takes them along */
		} else {
			take_back(uring, errno);
		}
	} while (uring->queued > 0);
}

static void submit(struct kiln__blk_engine *engine)
{
	enter(uring_of(engine), 0);
}

static bool has_completion(const struct uring *uring)
{
	return uring->lost || __atomic_load_n(uring->cq_tail, __ATOMIC_ACQUIRE) != *uring->cq_head;
}

static struct kiln__blk_op *reap(struct kiln__blk_engine *engine)
{
	struct uring *uring = uring_of(engine);
	uint32_t head = *uring->cq_head; /* only this thread writes it */
	struct kiln__blk_op *op = uring->lost;
	const struct io_uring_cqe *cqe;

	if (op) {
		uring->lost = op->next;
		return op;
	}
	if (!has_completion(uring))
		return NULL;
	cqe = &uring->cqes[head & uring->cq_mask];
	op = (struct kiln__blk_op *)(uintptr_t)cqe->user_data;
	op->result = cqe->res;
	__atomic_store_n(uring->cq_head, head + 1, __ATOMIC_RELEASE);
	uring->under_way--;
	return op;
}

static void wait_for_one(struct kiln__blk_engine *engine)
{
	struct uring *uring = uring_of(engine);

	while (!has_completion(uring))
		enter(uring, 1);
}

static void on_readable(void *data, int events)
{
	struct uring *uring = data;

	(void)events;
	if (uring->queued > 0)
		enter(uring, 0);
	uring->ready(uring->data);
}

static void uring_free(struct kiln__blk_engine *engine)
{
	struct uring *uring = uring_of(engine);

	kiln__watch_free(uring->watch);
	if (uring->sqes)
		munmap(uring->sqes, uring->sqes_len);
	if (uring->rings)
		munmap(uring->rings, uring->rings_len);
	kiln__os_close(uring->fd);
	free(uring);
}

static const struct kiln__blk_engine_ops uring_ops = {
	.queue = queue,
	.submit = submit,
	.reap = reap,
	.wait = wait_for_one,
	.free = uring_free,
};

/* --- making ----------------------------------------------------------------------- */

static int map_rings(struct uring *uring, const struct io_uring_params *params)
{
	size_t sq_len = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	size_t cq_len = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	unsigned char *at;
	void *sqes;

	uring->rings_len = sq_len > cq_len ? sq_len : cq_len;
	at = mmap(NULL, uring->rings_len, PROT_READ | PROT_WRITE, MAP_SHARED, uring->fd,
		  IORING_OFF_SQ_RING);
	if (at == MAP_FAILED)
		return -errno;
	uring->rings = at;
	uring->sqes_len = params->sq_entries * sizeof(struct io_uring_sqe);
	sqes = mmap(NULL, uring->sqes_len, PROT_READ | PROT_WRITE, MAP_SHARED, uring->fd,
		    IORING_OFF_SQES);
	if (sqes == MAP_FAILED)
		return -errno;
	uring->sqes = sqes;
	uring->sq_head = (uint32_t *)(void *)(at + params->sq_off.head);
	uring->sq_tail = (uint32_t *)(void *)(at + params->sq_off.tail);
	uring->sq_mask = params->sq_entries - 1;
	uring->cq_head = (uint32_t *)(void *)(at + params->cq_off.head);
	uring->cq_tail = (uint32_t *)(void *)(at + params->cq_off.tail);
	uring->cq_mask = params->cq_entries - 1;
	uring->cqes = (struct io_uring_cqe *)(void *)(at + params->cq_off.cqes);
	/* Entry i of the submission ring is always entry i of the table. */
	for (uint32_t i = 0; i < params->sq_entries; i++)
		((uint32_t *)(void *)(at + params->sq_off.array))[i] = i;
	return 0;
}

static int register_with(kiln_fd fd, unsigned what, const void *arg, unsigned count)
{
	return syscall(SYS_io_uring_register, fd, what, arg, count) < 0 ? -errno : 0;
}

/* The ring gets its file, gives up all else, and goes into operation. */
static int restrict_ring(kiln_fd ring, kiln_fd file)
{
	static const uint8_t allowed[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
					  IORING_OP_FALLOCATE};
	struct io_uring_restriction rules[sizeof(allowed) + 2];
	unsigned workers[2] = {MAX_WORKERS, 1};
	unsigned count = 0;
	int r;

	memset(rules, 0, sizeof(rules));
	for (size_t i = 0; i < sizeof(allowed); i++)
		rules[count++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP,
							       .sqe_op = allowed[i]};
	rules[count++] = (struct io_uring_restriction){
		.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_FIXED_FILE};
	rules[count++] = (struct io_uring_restriction){
		.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE};
	r = register_with(ring, IORING_REGISTER_FILES, &file, 1);
	if (r == 0)
		r = register_with(ring, IORING_REGISTER_RESTRICTIONS, rules, count);
	if (r < 0)
		return r;
	/* From Linux 5.15 on; before, there may be more of them. */
	register_with(ring, IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 2);
	return register_with(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int set_up(struct uring *uring, kiln_fd file, unsigned depth)
{
	struct io_uring_params params;
	int r;

	memset(&params, 0, sizeof(params));
	params.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP;
	uring->fd = (kiln_fd)syscall(SYS_io_uring_setup, depth, &params);
	if (uring->fd < 0)
		return -errno;
	if (!(params.features & IORING_FEAT_SINGLE_MMAP))
		return -ENOSYS;
	r = restrict_ring(uring->fd, file);
	return r < 0 ? r : map_rings(uring, &params);
}

int kiln__blk_uring_new(struct kiln__blk_engine **ret, kiln_loop *loop, kiln_fd fd, unsigned depth,
			kiln__call_fn ready, void *data, kiln_error *err)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	int r;

	if (!uring)
		return kiln__fail_nomem(err);
	uring->engine.ops = &uring_ops;
	uring->ready = ready;
	uring->data = data;
	r = set_up(uring, fd, depth);
	if (r < 0) {
		r = kiln__fail_errno(err, -r, "blk: cannot make an io_uring");
	} else {
		r = kiln__watch_new(&uring->watch, loop, uring->fd, on_readable, uring, err);
	}
	if (r < 0) {
		uring_free(&uring->engine);
		return r;
	}
	kiln__watch_set(uring->watch, KILN__READABLE);
	*ret = &uring->engine;
	return 0;
}
