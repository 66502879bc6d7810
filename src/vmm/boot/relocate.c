/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table (arch/x86/tools/relocs.c of Linux) is of 32-bit words. Each list begins with a zero
 * and goes on with the linked virtual addresses, of which these are the lower halves, of values in
 * the kernel's image:
 *
 *	0, 64-bit values to add to, 0, [32-bit values to subtract from, 0,] 32-bit values to add to
 *
 * The middle list, of references relative to per-CPU data, was dropped in Linux 6.15.
 */
#include "relocate.h"
#include "layout.h"

#include "err.h"
#include "os.h"

#include <inttypes.h>
#include <string.h>

/* arch/x86/include/asm/page_64_types.h: where the kernel's image is mapped, and how much of that a
 * kernel that can be moved has for itself. */
#define START_KERNEL_MAP  UINT64_C(0xffffffff80000000)
#define KERNEL_IMAGE_SIZE ((uint64_t)1 << 30)

#define KERNEL_ALIGN ((uint64_t)2 << 20) /* the least of CONFIG_PHYSICAL_ALIGN on x86-64 */

/* The decompressor, too, takes no lower place than the linked one, or than this (6.1: 512 MiB). */
#define LOWEST_MAX ((uint64_t)512 << 20)

#define MAX_TABLE ((uint64_t)64 << 20)

/* --- where to ---------------------------------------------------------------------- */

/* An aligned place for @size bytes from @first up and below @limit; 0 if there is none. */
static uint64_t choose(uint64_t first, uint64_t size, uint64_t limit, uint64_t random)
{
	first = (first + KERNEL_ALIGN - 1) & ~(KERNEL_ALIGN - 1);
	if (first > limit || size > limit - first)
		return 0;
	return first + random % ((limit - first - size) / KERNEL_ALIGN + 1) * KERNEL_ALIGN;
}

int kiln__relocate_choose(const struct kiln__vmlinux *kernel, const char *name, uint64_t limit,
			  struct kiln__shift *ret, kiln_error *err)
{
	uint64_t size = kernel->end - kernel->base;
	uint64_t lowest = kernel->base < LOWEST_MAX ? kernel->base : LOWEST_MAX;
	uint64_t random[2], physical, virtual;

	if (kernel->base % KERNEL_ALIGN != 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "%s cannot be moved to a random base: it is linked to lie at "
				  "0x%" PRIx64,
				  name, kernel->base);
	kiln__os_random(random, sizeof(random));
	physical = choose(lowest, size, limit, random[0]);
	virtual = choose(kernel->base, size, KERNEL_IMAGE_SIZE, random[1]);
	if (!physical || !virtual)
		return kiln__fail(err, KILN_EINVAL,
				  "%s of %" PRIu64 " MiB in memory fits nowhere below 0x%" PRIx64,
				  name, size >> 20, limit);
	*ret = (struct kiln__shift){physical - kernel->base, virtual - kernel->base};
	return 0;
}

/* --- the table --------------------------------------------------------------------- */

struct relocs {
	const uint32_t *words;
	size_t count;
	unsigned lists;
};

static int read_table(struct relocs *ret, uint32_t **ret_words, const struct kiln__vmlinux *kernel,
		      const struct kiln__ram_file *file, kiln_error *err)
{
	uint64_t len = file->len - kernel->file_end;
	kiln__autofree uint32_t *words = NULL;
	unsigned lists = 0;
	ssize_t n;

	if (len < 2 * sizeof(uint32_t)) {
		kiln__fail(
			err, KILN_ENOTSUP,
			"%s cannot be moved to a random base: no table of relocations follows it",
			file->name);
		kiln__hint(err, "give the bzImage of a kernel with CONFIG_RANDOMIZE_BASE");
		return KILN_ENOTSUP;
	}
	if (len % sizeof(uint32_t) != 0 || len > MAX_TABLE)
		return kiln__fail(err, KILN_EFORMAT,
				  "%s: what follows it is no table of relocations", file->name);
	words = malloc((size_t)len);
	if (!words)
		return kiln__fail_nomem(err);
	n = kiln__os_pread_full(file->fd, words, (size_t)len, file->start + kernel->file_end, err);
	if (n < 0)
		return kiln__prefix(err, "%s", file->name);
	for (size_t i = 0; i < (size_t)n / sizeof(uint32_t); i++)
		lists += words[i] == 0;
	if ((uint64_t)n < len || words[0] != 0 || (lists != 2 && lists != 3))
		return kiln__fail(err, KILN_EFORMAT, "%s: its table of relocations is damaged",
				  file->name);
	*ret = (struct relocs){words, (size_t)len / sizeof(uint32_t), lists};
	*ret_words = kiln__take(words);
	return 0;
}

/* In list number @list of @lists: the value's size, and what is added to it. */
static unsigned kind_of(unsigned list, unsigned lists, uint64_t shift, uint64_t *ret_add)
{
	*ret_add = lists == 3 && list == 2 ? -shift : shift;
	return list == 1 ? 8 : 4;
}

static void add(unsigned char *at, unsigned size, uint64_t value)
{
	uint64_t sum = 0;

	memcpy(&sum, at, size);
	sum += value;
	memcpy(at, &sum, size);
}

int kiln__relocate_apply(struct kiln__ram *ram, const struct kiln__vmlinux *kernel,
			 const struct kiln__ram_file *file, const struct kiln__shift *shift,
			 kiln_error *err)
{
	const uint64_t size = kernel->end - kernel->base;
	unsigned char *image =
		kiln__gmem_ptr(kiln__ram_gmem(ram), kernel->base + shift->physical, (size_t)size);
	kiln__autofree uint32_t *words = NULL;
	struct relocs relocs = {0};
	unsigned list = 0, width = 0;
	uint64_t value = 0;
	int rc = read_table(&relocs, &words, kernel, file, err);

	if (rc)
		return rc;
	if (!image)
		return kiln__fail(err, KILN_EOVERFLOW, "%s does not lie in memory", file->name);
	for (size_t i = 0; i < relocs.count; i++) {
		/* Sign-extended, a virtual address; less the map's start, a physical one. */
		uint64_t at = (uint64_t)(int64_t)(int32_t)relocs.words[i] - START_KERNEL_MAP -
			      kernel->base;

		if (relocs.words[i] == 0) {
			width = kind_of(++list, relocs.lists, shift->virtual, &value);
			continue;
		}
		if (at > size || size - at < width)
			return kiln__fail(err, KILN_EFORMAT,
					  "%s: its table of relocations names 0x%" PRIx32
					  ", which is outside the kernel",
					  file->name, relocs.words[i]);
		add(image + at, width, value);
	}
	return 0;
}
