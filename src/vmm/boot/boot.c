/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"
#include "layout.h"
#include "protocol.h"
#include "relocate.h"
#include "vmlinux.h"

#include "err.h"
#include "os.h"

#include <inttypes.h>
#include <string.h>

static uint64_t mib_up(uint64_t bytes)
{
	return (bytes + (1 << 20) - 1) >> 20;
}

/* --- memory as the kernel is told of it -------------------------------------------- */

static void add_memory(struct kiln__boot_parts *parts, uint64_t base, uint64_t end, uint32_t type)
{
	parts->memory[parts->memory_count++] = (struct kiln__boot_memory){base, end - base, type};
}

static void describe_memory(const struct kiln__ram *ram, struct kiln__boot_parts *parts)
{
	const struct kiln__gmem *gmem = kiln__ram_gmem(ram);

	add_memory(parts, 0, KILN__LOW_RAM_END, KILN__MEMORY_RAM);
	add_memory(parts, KILN__ACPI_BASE, KILN__ACPI_BASE + KILN__ACPI_SIZE,
		   KILN__MEMORY_RESERVED);
	add_memory(parts, KILN__HIGH_RAM, kiln__ram_low_end(ram), KILN__MEMORY_RAM);
	if (gmem->count > 1)
		add_memory(parts, KILN__FOUR_GIB, KILN__FOUR_GIB + gmem->regions[1].size,
			   KILN__MEMORY_RAM);
}

/* --- parts ------------------------------------------------------------------------- */

static int write_cmdline(struct kiln__ram *ram, const char *cmdline, struct kiln__boot_parts *parts,
			 kiln_error *err)
{
	size_t len = cmdline ? strlen(cmdline) : 0;

	if (len > KILN__BOOT_MAX_CMDLINE)
		return kiln__fail(err, KILN_EINVAL,
				  "the kernel command line has %zu bytes: at most %d are possible",
				  len, KILN__BOOT_MAX_CMDLINE);
	parts->cmdline = KILN__BOOT_CMDLINE;
	if (len == 0)
		return 0; /* new memory is zero */
	kiln__gmem_write(kiln__ram_gmem(ram), KILN__BOOT_CMDLINE, cmdline, len);
	return 0;
}

/* At the end of RAM below the hole, so that the kernel has one piece of memory before it. */
static int load_initrd(struct kiln__ram *ram, const struct kiln__boot_file *from,
		       struct kiln__boot_parts *parts, kiln_error *err)
{
	uint64_t end = kiln__ram_low_end(ram);
	struct kiln__ram_file file;
	uint64_t at;
	int rc = kiln__ram_file_init(&file, "the initramfs", from->fd, from->start, from->len,
				     from->immutable, err);

	if (rc)
		return rc;
	if (file.len > end - KILN__HIGH_RAM) {
		kiln__fail(err, KILN_EINVAL,
			   "the initramfs of %" PRIu64 " MiB does not fit into memory of %" PRIu64
			   " MiB",
			   mib_up(file.len), kiln__ram_size(ram) >> 20);
		kiln__hint(err, "give the VM more memory");
		return KILN_EINVAL;
	}
	at = (end - file.len) & ~(uint64_t)(KILN__RAM_PAGE - 1);
	if (file.start % KILN__RAM_PAGE == 0)
		rc = kiln__ram_map_file(ram, at, &file, 0, file.len, err);
	else
		rc = kiln__ram_copy_file(ram, at, &file, 0, file.len, err);
	parts->initrd = at;
	parts->initrd_size = file.len;
	return rc;
}

/* --- the kernel -------------------------------------------------------------------- */

static int check_fit(const struct kiln__ram *ram, const struct kiln__vmlinux *kernel,
		     const struct kiln__boot_parts *parts, uint64_t limit, kiln_error *err)
{
	if (kernel->end <= limit)
		return 0;
	if (parts->initrd_size)
		kiln__fail(err, KILN_EINVAL,
			   "the kernel, up to %" PRIu64 " MiB, and the initramfs of %" PRIu64
			   " MiB do not fit into memory of %" PRIu64 " MiB",
			   mib_up(kernel->end), mib_up(parts->initrd_size),
			   kiln__ram_size(ram) >> 20);
	else
		kiln__fail(err, KILN_EINVAL,
			   "the kernel, up to %" PRIu64 " MiB, does not fit into memory of %" PRIu64
			   " MiB",
			   mib_up(kernel->end), kiln__ram_size(ram) >> 20);
	kiln__hint(err, "give the VM more memory");
	return KILN_EINVAL;
}

static int read_kernel(struct kiln__vmlinux *ret, const struct kiln__ram_file *file,
		       kiln_error *err)
{
	unsigned char head[KILN__KERNEL_HEAD] = {0};
	uint64_t len = file->len < sizeof(head) ? file->len : sizeof(head);
	ssize_t n = kiln__os_pread_full(file->fd, head, (size_t)len, file->start, err);

	if (n < 0)
		return kiln__prefix(err, "%s", file->name);
	return kiln__bzimage_is(head) ? kiln__bzimage_read(ret, file, head, err)
				      : kiln__vmlinux_read(ret, file, head, err);
}

/* A bzImage moves itself, and knows best where to. */
static bool is_moved(const struct kiln__boot_parts *parts, const struct kiln__vmlinux *kernel)
{
	return parts->random_base && !kernel->setup_len;
}

static int load_kernel(struct kiln__ram *ram, const struct kiln__boot_file *from,
		       const struct kiln__boot_parts *parts, struct kiln__vmlinux *kernel,
		       struct kiln__shift *shift, kiln_error *err)
{
	uint64_t limit = parts->initrd_size ? parts->initrd : kiln__ram_low_end(ram);
	struct kiln__ram_file file;
	int rc = kiln__ram_file_init(&file, "the kernel", from->fd, from->start, from->len,
				     from->immutable && !parts->random_base, err);

	if (!rc)
		rc = read_kernel(kernel, &file, err);
	if (!rc)
		rc = check_fit(ram, kernel, parts, limit, err);
	if (!rc && is_moved(parts, kernel))
		rc = kiln__relocate_choose(kernel, file.name, limit, shift, err);
	if (!rc)
		rc = kiln__vmlinux_load(ram, kernel, &file, shift->physical, err);
	if (!rc && is_moved(parts, kernel))
		rc = kiln__relocate_apply(ram, kernel, &file, shift, err);
	return rc;
}

static int prepare(struct kiln__ram *ram, const struct kiln__boot_parts *parts,
		   const struct kiln__vmlinux *kernel, const struct kiln__shift *shift,
		   struct kiln__boot_entry *ret, kiln_error *err)
{
	/* By PVH Linux first asks 256 leaves of CPUID whether it is on Xen, each an exit. */
	if (kernel->pvh_entry && !parts->random_base && !(kernel->linux_notes && kernel->entry)) {
		kiln__pvh_prepare(ram, parts, kernel->pvh_entry, ret);
	} else if (kernel->entry) {
		kiln__linux64_prepare(ram, parts, kernel, kernel->entry + shift->physical, ret);
	} else {
		kiln__fail(err, KILN_ENOTSUP,
			   "the kernel has neither a PVH entry nor a 64-bit one in its image");
		kiln__hint(err, "give a vmlinux or bzImage as Linux's build makes them");
		return KILN_ENOTSUP;
	}
	ret->kernel_base = kernel->base + shift->physical;
	ret->kernel_shift = shift->virtual;
	return 0;
}

int kiln__boot_load(struct kiln__ram *ram, const struct kiln__boot_options *options,
		    struct kiln__boot_entry *ret, kiln_error *err)
{
	struct kiln__boot_parts parts = {.rsdp = options->rsdp,
					 .random_base = options->random_base};
	struct kiln__shift shift = {0, 0};
	struct kiln__vmlinux kernel;
	int rc = write_cmdline(ram, options->cmdline, &parts, err);

	describe_memory(ram, &parts);
	if (!rc && options->initrd.fd != KILN_FD_NONE)
		rc = load_initrd(ram, &options->initrd, &parts, err);
	if (!rc)
		rc = load_kernel(ram, &options->kernel, &parts, &kernel, &shift, err);
	return rc ? rc : prepare(ram, &parts, &kernel, &shift, ret, err);
}
