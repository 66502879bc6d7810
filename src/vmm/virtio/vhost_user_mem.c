/* SPDX-License-Identifier: Apache-2.0 */
/* Mapping and unmapping guest memory. */
#include "vhost_user_mem.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* mmap: guest memory is never executable. */
KILN__SYSCALLS(fstat, newfstatat, fstatfs, fcntl(1 = F_GET_SEALS), mmap(2 & 4 = 0), munmap);

/* What mmap's offset and length must be multiples of: larger for huge pages. */
static int map_unit(kiln_fd fd, uint64_t *ret, kiln_error *err)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return kiln__fail_errno(err, errno, "cannot inspect shared memory");
	*ret = (uint64_t)sysconf(_SC_PAGESIZE);
	if (fs.f_type == HUGETLBFS_MAGIC)
		*ret = (uint64_t)fs.f_bsize;
	return 0;
}

static int check_file(kiln_fd fd, const struct kiln__vu_region *region, kiln_error *err)
{
	struct stat st;
	uint64_t end;
	int seals;

	if (fstat(fd, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot inspect shared memory");
	if (!S_ISREG(st.st_mode))
		return kiln__fail(err, KILN_EPROTO, "shared memory is not a memory file");
	if (__builtin_add_overflow(region->mmap_offset, region->size, &end) ||
	    end > (uint64_t)st.st_size)
		return kiln__fail(err, KILN_EPROTO,
				  "shared memory 0x%" PRIx64 "+0x%" PRIx64
				  " lies beyond its file's end",
				  region->mmap_offset, region->size);
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return kiln__fail(err, KILN_EPROTO,
				  "shared memory is not sealed against shrinking");
	return 0;
}

static int map_region(struct kiln__vu_mem *mem, const struct kiln__vu_region *region, kiln_fd fd,
		      kiln_error *err)
{
	struct kiln__vu_map *map = &mem->maps[mem->count];
	uint64_t last_user;
	uint64_t unit = 1;
	uint64_t lead;
	uint64_t len;
	void *at;
	int r;

	if (region->size == 0 ||
	    __builtin_add_overflow(region->user_addr, region->size - 1, &last_user))
		return kiln__fail(err, KILN_EPROTO,
				  "a shared memory region is empty or wraps around");
	r = check_file(fd, region, err);
	if (r == 0)
		r = map_unit(fd, &unit, err);
	if (r < 0)
		return r;
	lead = region->mmap_offset % unit;
	/* Both below the file's size, so below 2^63. */
	len = (region->size + lead + unit - 1) / unit * unit;
	at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		  (off_t)(region->mmap_offset - lead));
	if (at == MAP_FAILED)
		return kiln__fail_errno(err, errno, "cannot map shared memory");
	*map = (struct kiln__vu_map){region->gpa, region->size, region->user_addr, at, len};
	mem->count++; /* from here on unmap takes care of it */
	return kiln__gmem_add(&mem->gmem, region->gpa, region->size, (unsigned char *)at + lead,
			      err);
}

int kiln__vu_mem_map(struct kiln__vu_mem *ret, const struct kiln__vu_region *regions,
		     const kiln_fd *fds, unsigned count, kiln_error *err)
{
	struct kiln__vu_mem mem;
	int r;

	memset(&mem, 0, sizeof(mem));
	for (unsigned i = 0; i < count; i++) {
		r = map_region(&mem, &regions[i], fds[i], err);
		if (r < 0) {
			kiln__vu_mem_unmap(&mem);
			return r;
		}
	}
	*ret = mem;
	return 0;
}

void kiln__vu_mem_unmap(struct kiln__vu_mem *mem)
{
	for (unsigned i = 0; i < mem->count; i++)
		munmap(mem->maps[i].mapping, mem->maps[i].mapping_len);
	memset(mem, 0, sizeof(*mem));
}

int kiln__vu_mem_gpa(const struct kiln__vu_mem *mem, uint64_t user_addr, uint64_t *ret_gpa)
{
	for (unsigned i = 0; i < mem->count; i++) {
		uint64_t offset = user_addr - mem->maps[i].user_addr;

		if (offset < mem->maps[i].size) {
			*ret_gpa = mem->maps[i].gpa + offset;
			return 0;
		}
	}
	return KILN_EINVAL;
}
