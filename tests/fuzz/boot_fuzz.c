/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel from anybody, with an initramfs, loaded into a small guest. Input: a byte of flags
 * (random base, kernel not immutable, memory in shared RAM, an initramfs), a byte of where the
 * kernel's range begins in the file, then the file. What is accepted must start in what was loaded
 * and must have touched nothing but what it was given.
 */
#include "boot.h"
#include "layout.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB    ((uint64_t)1 << 20)
#define MEMORY (18 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

enum {
	RANDOM_BASE = 1,
	MUTABLE = 2,
	SHARED = 4,
	INITRD = 8,
};

static kiln_fd make_file(const uint8_t *bytes, size_t len)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	CHECK(fd >= 0 && kiln__os_write_full(fd, bytes, len, NULL) == 0);
	return fd;
}

static void check_entry(const struct kiln__ram *ram, const struct kiln__boot_entry *entry)
{
	const struct kiln__gmem *gmem = kiln__ram_gmem(ram);

	CHECK(entry->rip >= KILN__HIGH_RAM && entry->rip >= entry->kernel_base);
	CHECK(kiln__gmem_contains(gmem, entry->rip, 1));
	CHECK((entry->protocol == KILN__BOOT_PVH) == (entry->rbx != 0));
	CHECK((entry->protocol == KILN__BOOT_LINUX64) == (entry->rsi != 0));
	CHECK(kiln__gmem_contains(gmem, entry->rbx | entry->rsi, 4096));
}

/*
 * Nothing lies where the firmware's tables are, and every page can be read: of the many that no
 * seed comes near, a sample, for the sake of speed.
 */
static void check_memory(const struct kiln__ram *ram)
{
	const unsigned char *memory = kiln__gmem_ptr(kiln__ram_gmem(ram), 0, (size_t)MEMORY);
	unsigned sum = 0;

	CHECK(memory);
	for (uint64_t at = KILN__LOW_RAM_END; at < KILN__HIGH_RAM; at += 4096)
		sum |= memory[at];
	CHECK(sum == 0);
	for (uint64_t at = KILN__HIGH_RAM; at < MEMORY; at += at < 16 * MIB ? 65536 : 4096)
		sum += memory[at];
	__asm__ volatile("" : : "r"(sum));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct kiln__boot_options options = {
		.initrd.fd = KILN_FD_NONE, .cmdline = "quiet", .rsdp = KILN__ACPI_BASE};
	struct kiln__boot_entry entry;
	kiln_error err = KILN_ERROR_INIT;
	struct kiln__ram *ram;
	uint8_t flags;
	int rc;

	if (len < 2)
		return 0;
	flags = bytes[0];
	CHECK(kiln__ram_new(&ram, MEMORY, flags & SHARED, &err) == 0);
	options.kernel = (struct kiln__boot_file){
		.fd = make_file(bytes + 2, len - 2),
		.start = bytes[1] % 8 ? bytes[1] : 0,
		.immutable = !(flags & MUTABLE),
	};
	options.random_base = flags & RANDOM_BASE;
	if (flags & INITRD)
		options.initrd = options.kernel;
	rc = kiln__boot_load(ram, &options, &entry, &err);
	if (rc)
		CHECK(rc < 0 && err.code == rc && err.message[0]);
	else
		check_entry(ram, &entry);
	check_memory(ram);
	kiln__os_close(options.kernel.fd);
	kiln__ram_free(ram);
	return 0;
}
