/* SPDX-License-Identifier: Apache-2.0 */
#include "ram.h"
#include "layout.h"

#include "err.h"
#include "os.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* mmap: guest memory is never executable by us. */
KILN__SYSCALLS(fstat, newfstatat, pread64, mmap(2 & 4 = 0), madvise, munmap, fallocate);

/*
 * Host addresses are the guest's plus a multiple of this, so that both have their large pages at
 * the same places: without that no hypervisor can map a large page as one.
 */
#define LARGE_PAGE ((uint64_t)2 << 20)

/* A 46-bit space of addresses is what any x86-64 host's process has half of. */
#define MAX_SIZE ((uint64_t)1 << 45)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Segments of a kernel and an initramfs, and pieces of them after the guest gave part back. */
#define MAX_MAPS 64

/* Where pages are a file's: whole pages. No two overlap. */
struct map {
	uint64_t gpa;
	uint64_t end;
};

struct kiln__ram {
	struct kiln__gmem gmem;
	unsigned char *reserved; /* all the addresses, guards included */
	size_t reserved_len;
	kiln_fd memfd;
	struct map maps[MAX_MAPS];
	unsigned map_count;
};

static uint64_t page_up(uint64_t value)
{
	return (value + KILN__RAM_PAGE - 1) & ~(uint64_t)(KILN__RAM_PAGE - 1);
}

static bool page_aligned(uint64_t value)
{
	return value % KILN__RAM_PAGE == 0;
}

/* --- the ranges -------------------------------------------------------------------- */

static int fail_map(uint64_t size, kiln_error *err)
{
	int why = errno;

	kiln__fail_errno(err, why, "cannot map %" PRIu64 " MiB of guest memory", size >> 20);
	if (why == ENOMEM)
		kiln__hint(err, "give the VM less memory; a limit on address space (ulimit -v) or "
				"vm.overcommit_memory=2 can stand against it");
	return why == ENOMEM ? KILN_ENOMEM : kiln__code_of_errno(why);
}

/* Makes reserved addresses the guest's memory at @gpa. */
static int add_range(struct kiln__ram *ram, uint64_t gpa, unsigned char *host, uint64_t size,
		     uint64_t offset, kiln_error *err)
{
	const int access = PROT_READ | PROT_WRITE;

	if (ram->memfd == KILN_FD_NONE) {
		if (mprotect(host, size, access) < 0)
			return fail_map(size, err);
	} else if (mmap(host, size, access, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, ram->memfd,
			(off_t)offset) == MAP_FAILED) {
		return fail_map(size, err);
	}
	return kiln__gmem_add(&ram->gmem, gpa, size, host, err);
}

/*
 * Large pages, the first too: what is written there before the guest runs is a few pages, but a
 * kernel uses nearly all of them, each a fault. A host that has no large pages, or allows none, is
 * no reason to fail. All addresses are left out of core dumps: what a guest remembers is not ours
 * to write to a disk.
 */
static void advise(struct kiln__ram *ram, unsigned char *low)
{
	unsigned char *end = ram->reserved + ram->reserved_len;

	madvise(low, (size_t)(end - low), MADV_HUGEPAGE);
	madvise(ram->reserved, ram->reserved_len, MADV_DONTDUMP);
}

static int map_ranges(struct kiln__ram *ram, uint64_t size, kiln_error *err)
{
	uint64_t low = size < KILN__HOLE_BASE ? size : KILN__HOLE_BASE;
	/* A guard and what aligning takes in front; a large page between; a guard behind. */
	uint64_t len = size + 3 * LARGE_PAGE;
	unsigned char *at;
	int rc;

	at = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return fail_map(size, err);
	ram->reserved = at;
	ram->reserved_len = len;
	at += LARGE_PAGE - (uintptr_t)at % LARGE_PAGE;
	rc = add_range(ram, 0, at, low, 0, err);
	if (!rc && size > low)
		rc = add_range(ram, KILN__FOUR_GIB, at + low + LARGE_PAGE, size - low, low, err);
	if (!rc)
		advise(ram, at);
	return rc;
}

int kiln__ram_new(struct kiln__ram **ret, uint64_t size, bool shared, kiln_error *err)
{
	struct kiln__ram *ram;
	int rc = 0;

	if (size < KILN__RAM_MIN || !page_aligned(size) || size > MAX_SIZE)
		return kiln__fail(err, KILN_EINVAL,
				  "%" PRIu64 " bytes of guest memory: whole pages from %u MiB to "
				  "%" PRIu64 " TiB are possible",
				  size, KILN__RAM_MIN >> 20, MAX_SIZE >> 40);
	ram = calloc(1, sizeof(*ram));
	if (!ram)
		return kiln__fail_nomem(err);
	ram->memfd = KILN_FD_NONE;
	if (shared)
		rc = kiln__os_shared_memory(&ram->memfd, "kiln-guest", size, err);
	if (!rc)
		rc = map_ranges(ram, size, err);
	if (rc) {
		kiln__ram_free(ram);
		return rc;
	}
	*ret = ram;
	return 0;
}

void kiln__ram_free(struct kiln__ram *ram)
{
	if (!ram)
		return;
	if (ram->reserved)
		munmap(ram->reserved, ram->reserved_len);
	kiln__os_close(ram->memfd);
	free(ram);
}

const struct kiln__gmem *kiln__ram_gmem(const struct kiln__ram *ram)
{
	return &ram->gmem;
}

uint64_t kiln__ram_size(const struct kiln__ram *ram)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < ram->gmem.count; i++)
		size += ram->gmem.regions[i].size;
	return size;
}

uint64_t kiln__ram_low_end(const struct kiln__ram *ram)
{
	return ram->gmem.regions[0].size;
}

kiln_fd kiln__ram_memfd(const struct kiln__ram *ram)
{
	return ram->memfd;
}

/* --- files ------------------------------------------------------------------------- */

int kiln__ram_file_init(struct kiln__ram_file *ret, const char *name, kiln_fd fd, uint64_t start,
			uint64_t len, bool immutable, kiln_error *err)
{
	struct stat st;
	uint64_t size;

	if (fstat(fd, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot inspect %s", name);
	if (!S_ISREG(st.st_mode))
		return kiln__fail(err, KILN_EFORMAT, "%s is not a regular file", name);
	size = (uint64_t)st.st_size;
	if (start >= size || len > size - start)
		return kiln__fail(err, KILN_EFORMAT,
				  "%s: its file of %" PRIu64 " bytes has no %" PRIu64
				  " bytes from byte %" PRIu64 " on",
				  name, size, len ? len : 1, start);
	*ret = (struct kiln__ram_file){name, fd, size, start, len ? len : size - start, immutable};
	return 0;
}

/* Checks both ends of a transfer; yields the host memory. */
static int locate(const struct kiln__ram *ram, uint64_t gpa, const struct kiln__ram_file *file,
		  uint64_t offset, uint64_t len, unsigned char **ret_host, kiln_error *err)
{
	if (offset > file->len || len > file->len - offset)
		return kiln__fail(err, KILN_EFORMAT,
				  "%s is cut short: it has %" PRIu64 " bytes and needs %" PRIu64,
				  file->name, file->len,
				  len > UINT64_MAX - offset ? UINT64_MAX : offset + len);
	*ret_host = len > SIZE_MAX ? NULL : kiln__gmem_ptr(&ram->gmem, gpa, (size_t)len);
	if (!*ret_host)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "%s: 0x%" PRIx64 "+0x%" PRIx64 " is not the guest's memory",
				  file->name, gpa, len);
	return 0;
}

static int copy(unsigned char *host, const struct kiln__ram_file *file, uint64_t offset,
		uint64_t len, kiln_error *err)
{
	ssize_t n = kiln__os_pread_full(file->fd, host, (size_t)len, file->start + offset, err);

	if (n < 0)
		return kiln__prefix(err, "%s", file->name);
	if ((uint64_t)n < len)
		return kiln__fail(err, KILN_EFORMAT, "%s was cut short while it was read",
				  file->name);
	return 0;
}

static const struct map *overlapping(const struct kiln__ram *ram, uint64_t gpa, uint64_t end)
{
	for (unsigned i = 0; i < ram->map_count; i++)
		if (ram->maps[i].gpa < end && gpa < ram->maps[i].end)
			return &ram->maps[i];
	return NULL;
}

static int map_pages(struct kiln__ram *ram, uint64_t gpa, unsigned char *host,
		     const struct kiln__ram_file *file, uint64_t offset, uint64_t len,
		     kiln_error *err)
{
	if (ram->map_count == MAX_MAPS)
		return kiln__fail(err, KILN_ENOSPC, "more than %d maps of files in guest memory",
				  MAX_MAPS);
	if (mmap(host, (size_t)len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
		 file->fd, (off_t)(file->start + offset)) == MAP_FAILED)
		return kiln__fail_errno(err, errno, "cannot map %s", file->name);
	ram->maps[ram->map_count++] = (struct map){gpa, page_up(gpa + len)};
	return 0;
}

int kiln__ram_map_file(struct kiln__ram *ram, uint64_t gpa, const struct kiln__ram_file *file,
		       uint64_t offset, uint64_t len, kiln_error *err)
{
	bool map = file->immutable && ram->memfd == KILN_FD_NONE;
	unsigned char *host;
	uint64_t rest;
	int rc;

	if (!page_aligned(gpa) || !page_aligned(file->start + offset))
		return kiln__fail(err, KILN_EINVAL, "%s: not at a page's beginning", file->name);
	rc = locate(ram, gpa, file, offset, len, &host, err);
	if (rc)
		return rc;
	if (overlapping(ram, gpa, page_up(gpa + len)))
		return kiln__fail(err, KILN_EEXIST, "%s would lie over another file", file->name);
	rc = map ? map_pages(ram, gpa, host, file, offset, len, err)
		 : copy(host, file, offset, len, err);
	if (rc)
		return rc;
	/* Past the file's own end a map reads as zero already: the page need not become ours. */
	rest = page_up(len) - len;
	if (rest && (!map || file->start + offset + len < file->size))
		memset(host + len, 0, (size_t)rest);
	return 0;
}

int kiln__ram_copy_file(struct kiln__ram *ram, uint64_t gpa, const struct kiln__ram_file *file,
			uint64_t offset, uint64_t len, kiln_error *err)
{
	unsigned char *host;
	int rc = locate(ram, gpa, file, offset, len, &host, err);

	return rc ? rc : copy(host, file, offset, len, err);
}

void kiln__ram_populate(struct kiln__ram *ram, uint64_t gpa, uint64_t len)
{
	unsigned char *host = kiln__gmem_ptr(&ram->gmem, gpa, (size_t)len);

	if (host)
		madvise(host, (size_t)len, MADV_POPULATE_WRITE);
}

/* --- giving back ------------------------------------------------------------------- */

/* Anonymous memory in place of a file's, of the kind around it: the kernel joins the two. */
static int replace_pages(unsigned char *host, size_t len, kiln_error *err)
{
	if (mmap(host, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return kiln__fail_errno(err, errno, "cannot give guest memory back");
	madvise(host, len, MADV_HUGEPAGE);
	madvise(host, len, MADV_DONTDUMP);
	return 0;
}

/* Takes [@gpa, @end) out of map @i. False if the pieces that remain cannot be kept count of. */
static bool cut(struct kiln__ram *ram, unsigned i, uint64_t gpa, uint64_t end)
{
	struct map *map = &ram->maps[i];
	struct map behind = {end, map->end};

	if (map->gpa < gpa && end < map->end) {
		if (ram->map_count == MAX_MAPS)
			return false;
		ram->maps[ram->map_count++] = behind;
		map->end = gpa;
	} else if (map->gpa < gpa) {
		map->end = gpa;
	} else if (end < map->end) {
		*map = behind;
	} else {
		*map = ram->maps[--ram->map_count];
	}
	return true;
}

static int discard_maps(struct kiln__ram *ram, uint64_t gpa, uint64_t end, unsigned char *host,
			kiln_error *err)
{
	int rc = 0;

	/* From the last: cutting moves only what has been seen, or adds what lies outside. */
	for (unsigned i = ram->map_count; i-- > 0 && !rc;) {
		uint64_t from = ram->maps[i].gpa > gpa ? ram->maps[i].gpa : gpa;
		uint64_t to = ram->maps[i].end < end ? ram->maps[i].end : end;

		if (from < to && cut(ram, i, from, to))
			rc = replace_pages(host + (from - gpa), (size_t)(to - from), err);
	}
	return rc;
}

int kiln__ram_discard(struct kiln__ram *ram, uint64_t gpa, uint64_t len, kiln_error *err)
{
	unsigned char *host = len > SIZE_MAX ? NULL : kiln__gmem_ptr(&ram->gmem, gpa, (size_t)len);
	uint64_t from = page_up(gpa);
	uint64_t end = (gpa + len) & ~(uint64_t)(KILN__RAM_PAGE - 1);
	int rc = 0;

	if (!host)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "0x%" PRIx64 "+0x%" PRIx64 " is not the guest's memory", gpa,
				  len);
	if (from >= end)
		return 0;
	host += from - gpa;
	if (ram->memfd != KILN_FD_NONE) {
		uint64_t low = kiln__ram_low_end(ram);
		uint64_t at = from < low ? from : from - KILN__FOUR_GIB + low;

		if (fallocate(ram->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
			      (off_t)(end - from)) < 0)
			return kiln__fail_errno(err, errno, "cannot give guest memory back");
		return 0;
	}
	rc = discard_maps(ram, from, end, host, err);
	if (!rc && madvise(host, (size_t)(end - from), MADV_DONTNEED) < 0)
		rc = kiln__fail_errno(err, errno, "cannot give guest memory back");
	return rc;
}
