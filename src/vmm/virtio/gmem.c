/* SPDX-License-Identifier: Apache-2.0 */
#include "gmem.h"

#include "err.h"

#include <inttypes.h>
#include <string.h>

int kiln__gmem_add(struct kiln__gmem *mem, uint64_t gpa, uint64_t size, void *host, kiln_error *err)
{
	uint64_t last;
	unsigned at = 0;

	/* The last byte, not the end: a region may reach to the very top. */
	if (size == 0 || __builtin_add_overflow(gpa, size - 1, &last) || size > SIZE_MAX)
		return kiln__fail(err, KILN_EINVAL,
				  "guest memory region 0x%" PRIx64 "+0x%" PRIx64
				  " is empty or wraps around",
				  gpa, size);
	if (mem->count == KILN__GMEM_MAX_REGIONS)
		return kiln__fail(err, KILN_ENOSPC, "more than %d guest memory regions",
				  KILN__GMEM_MAX_REGIONS);
	while (at < mem->count && mem->regions[at].gpa < gpa)
		at++;
	if ((at > 0 && gpa - mem->regions[at - 1].gpa < mem->regions[at - 1].size) ||
	    (at < mem->count && mem->regions[at].gpa <= last))
		return kiln__fail(err, KILN_EINVAL,
				  "guest memory region 0x%" PRIx64 "+0x%" PRIx64
				  " overlaps another",
				  gpa, size);
	memmove(&mem->regions[at + 1], &mem->regions[at],
		(mem->count - at) * sizeof(mem->regions[0]));
	mem->regions[at] = (struct kiln__gmem_region){gpa, size, host};
	mem->count++;
	return 0;
}

size_t kiln__gmem_run(const struct kiln__gmem *mem, uint64_t gpa, size_t len, void **ret_host)
{
	for (unsigned i = 0; i < mem->count; i++) {
		const struct kiln__gmem_region *region = &mem->regions[i];
		uint64_t offset =
			gpa - region->gpa; /* wraps below the region: then it is too large */

		if (offset >= region->size)
			continue;
		if (len > region->size - offset)
			len = (size_t)(region->size - offset);
		*ret_host = region->host + offset;
		return len;
	}
	return 0;
}

void *kiln__gmem_ptr(const struct kiln__gmem *mem, uint64_t gpa, size_t len)
{
	void *host;

	if (len == 0 || kiln__gmem_run(mem, gpa, len, &host) != len)
		return NULL;
	return host;
}

bool kiln__gmem_gpa(const struct kiln__gmem *mem, const void *host, uint64_t *ret_gpa)
{
	for (unsigned i = 0; i < mem->count; i++) {
		const struct kiln__gmem_region *region = &mem->regions[i];
		uintptr_t offset = (uintptr_t)host - (uintptr_t)region->host;

		if (offset < region->size) {
			*ret_gpa = region->gpa + offset;
			return true;
		}
	}
	return false;
}

bool kiln__gmem_contains(const struct kiln__gmem *mem, uint64_t gpa, uint64_t len)
{
	void *host;

	while (len > 0) {
		size_t run =
			kiln__gmem_run(mem, gpa, len > SIZE_MAX ? SIZE_MAX : (size_t)len, &host);

		if (run == 0)
			return false;
		len -= run;
		if (len > 0 && __builtin_add_overflow(gpa, run, &gpa))
			return false;
	}
	return true;
}

int kiln__gmem_read(const struct kiln__gmem *mem, uint64_t gpa, void *bytes, size_t len)
{
	unsigned char *to = bytes;
	void *host = NULL;

	if (!kiln__gmem_contains(mem, gpa, len))
		return KILN_EOVERFLOW;
	while (len > 0) {
		size_t run = kiln__gmem_run(mem, gpa, len, &host);

		memcpy(to, host, run);
		to += run;
		gpa += run;
		len -= run;
	}
	/* The guest may change its copy: what follows must use ours, not fetch it again. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return 0;
}

int kiln__gmem_write(const struct kiln__gmem *mem, uint64_t gpa, const void *bytes, size_t len)
{
	const unsigned char *from = bytes;
	void *host = NULL;

	if (!kiln__gmem_contains(mem, gpa, len))
		return KILN_EOVERFLOW;
	while (len > 0) {
		size_t run = kiln__gmem_run(mem, gpa, len, &host);

		memcpy(host, from, run);
		from += run;
		gpa += run;
		len -= run;
	}
	return 0;
}
