/* SPDX-License-Identifier: Apache-2.0 */
#include "pci.h"

#include "err.h"
#include "layout.h"
#include "le.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Header type 0 (PCI Local Bus 3.0, 6.1, figure 6-1). */
#define VENDOR    0x00u
#define STATUS    0x06u
#define REVISION  0x08u
#define LATENCY   0x0cu
#define SUBSYSTEM 0x2cu
#define CAP_LIST  0x34u
#define INTERRUPT 0x3cu

#define STATUS_CAP_LIST 0x10u
#define FIRST_CAP       0x40u
#define CAP_MSIX        0x11u

/* What the guest may change: memory decoding, bus mastering, INTx off; cache line and latency; the
 * interrupt line, which is software's own. */
#define COMMAND_WRITABLE 0x0406u

/*
 * The first BARs' addresses, at the end of the window, so that their pages, configuration space and
 * the I/O APIC are one piece: a slot of KVM's. In front of them those of the third BARs, whose
 * pages are another. The second BARs' are at the window's beginning.
 */
#define BAR0_SIZE   (KILN__PCI_MAX_FUNCTIONS * KILN__PCI_PAGE)
#define BAR0_BASE   (KILN__ECAM_BASE - BAR0_SIZE)
#define BAR1_BASE   KILN__PCI_MMIO_BASE
#define TABLE_SIZE  (KILN__PCI_MAX_FUNCTIONS * KILN__PCI_PAGE)
#define TABLE_BASE  (BAR0_BASE - TABLE_SIZE)
#define READ_SIZE   (BAR0_SIZE + KILN__ECAM_SIZE + KILN__IOAPIC_SIZE)
#define MEMORY_SIZE (TABLE_SIZE + READ_SIZE)
_Static_assert(KILN__PCI_MMIO_BASE + KILN__PCI_MMIO_SIZE == KILN__ECAM_BASE &&
		       KILN__ECAM_BASE + KILN__ECAM_SIZE == KILN__IOAPIC_BASE,
	       "one piece");

#define FUNCTION_STRIDE (8 * KILN__PCI_PAGE) /* a slot's eight functions */

struct kiln__pci {
	kiln_hv_vm *vm;
	uint8_t *tables; /* KILN__PCI_MAX_FUNCTIONS pages; behind them */
	uint8_t *pages;  /* as many; behind them */
	uint8_t *ecam;   /* KILN__ECAM_SIZE; behind it the I/O APIC's page */
	bool has_tables; /* the guest has: the loop's thread's, as is the next */
	bool watched;
	struct kiln__pci_function *functions[KILN__PCI_MAX_FUNCTIONS]; /* borrowed */
	unsigned count;                                                /* slots taken */
	pthread_mutex_t lock;
};

static uint32_t get32(const uint8_t *config, unsigned offset)
{
	return kiln__load32((const uint32_t *)(const void *)(config + offset));
}

static void put32(uint8_t *config, unsigned offset, uint32_t value)
{
	kiln__store32((uint32_t *)(void *)(config + offset), value);
}

/* --- configuration space -------------------------------------------------------------- */

/* Which bits of four bytes of the header or of a capability may be written. */
static uint32_t writable(const struct kiln__pci_function *fn, unsigned offset)
{
	if (offset == KILN__PCI_COMMAND)
		return COMMAND_WRITABLE;
	if (offset == LATENCY)
		return 0x0000ffffu;
	if (offset == INTERRUPT)
		return 0x000000ffu;
	if (!fn)
		return 0;
	if (offset >= KILN__PCI_BAR && offset < KILN__PCI_BAR + 4 * KILN__PCI_BARS)
		return ~(KILN__PCI_PAGE - 1);
	if (fn->msix && offset == fn->msix)
		return 0xc0000000u; /* enable, and mask all (6.8.2.3) */
	if (fn->window && offset == fn->window + 4u)
		return 0x000000ffu; /* the BAR; then offset, length, data */
	if (fn->window && offset > fn->window + 4u && offset < fn->window + 20u)
		return UINT32_MAX;
	return 0;
}

static void write_config(struct kiln__pci *pci, unsigned slot, unsigned offset, uint32_t value,
			 uint32_t lanes)
{
	struct kiln__pci_function *fn = pci->functions[slot];
	uint8_t *config = pci->ecam + (size_t)slot * FUNCTION_STRIDE;
	uint32_t mask = writable(fn, offset) & lanes;

	if (mask)
		put32(config, offset, (get32(config, offset) & ~mask) | (value & mask));
	if (fn && fn->configured)
		fn->configured(fn, offset);
}

/* ECAM (PCI Express 3.0, 7.2.2): the function in bits 12 to 19, the register in the lower twelve.
 */
static void on_ecam(void *data, struct kiln__bus_access *access)
{
	struct kiln__pci *pci = data;
	unsigned slot = (unsigned)(access->offset / FUNCTION_STRIDE);
	unsigned offset = (unsigned)(access->offset % FUNCTION_STRIDE);
	unsigned shift = offset % 4 * 8;
	uint32_t lanes = access->size >= 4 ? UINT32_MAX : (1u << 8 * access->size) - 1;

	if (!access->write) { /* only where its memory could not be mapped */
		memcpy(&access->value, pci->ecam + access->offset, access->size);
		return;
	}
	/* Only functions 0 are there; wider or crossing accesses are not for configuration space.
	 */
	if (slot >= pci->count || offset >= 256 || access->size + offset % 4 > 4)
		return;
	pthread_mutex_lock(&pci->lock);
	write_config(pci, slot, offset & ~3u, (uint32_t)access->value << shift, lanes << shift);
	pthread_mutex_unlock(&pci->lock);
}

uint64_t kiln__pci_bar(const struct kiln__pci_function *fn, unsigned bar)
{
	if (!(get32(fn->config, KILN__PCI_COMMAND) & KILN__PCI_COMMAND_MEMORY))
		return 0;
	return get32(fn->config, KILN__PCI_BAR + 4 * bar) & ~(KILN__PCI_PAGE - 1);
}

/* --- behind the BARs ---------------------------------------------------------------------- */

static void on_window(void *data, struct kiln__bus_access *access)
{
	struct kiln__pci *pci = data;
	uint64_t address = KILN__PCI_MMIO_BASE + access->offset;

	for (unsigned slot = 0; slot < pci->count; slot++) {
		struct kiln__pci_function *fn = pci->functions[slot];

		for (unsigned bar = 0; bar < KILN__PCI_BARS; bar++) {
			uint64_t base = kiln__pci_bar(fn, bar);

			if (!base || address < base || address - base >= KILN__PCI_PAGE ||
			    address - base + access->size > KILN__PCI_PAGE)
				continue;
			access->offset = address - base;
			fn->access(fn, bar, access);
			return;
		}
	}
}

/* --- making ------------------------------------------------------------------------------- */

static void fill_header(uint8_t *config, const struct kiln__pci_identity *identity)
{
	put32(config, VENDOR, (uint32_t)identity->device << 16 | identity->vendor);
	put32(config, REVISION, identity->class_revision);
	put32(config, SUBSYSTEM, (uint32_t)identity->subsystem << 16 | identity->subsystem_vendor);
}

static void reset_header(struct kiln__pci *pci, unsigned slot)
{
	struct kiln__pci_function *fn = pci->functions[slot];

	put32(fn->config, KILN__PCI_BAR, BAR0_BASE + slot * KILN__PCI_PAGE);
	put32(fn->config, KILN__PCI_BAR + 4, BAR1_BASE + slot * KILN__PCI_PAGE);
	put32(fn->config, KILN__PCI_BAR + 4 * KILN__PCI_TABLE_BAR,
	      TABLE_BASE + slot * KILN__PCI_PAGE);
	/* Not decoding yet: a driver switches off what decodes for as long as it looks at each BAR.
	 */
	put32(fn->config, KILN__PCI_COMMAND, (uint32_t)STATUS_CAP_LIST << 16);
	put32(fn->config, LATENCY, 0);
	put32(fn->config, INTERRUPT, 0);
	if (fn->msix)
		put32(fn->config, fn->msix, get32(fn->config, fn->msix) & ~0xc0000000u);
}

/* Where it cannot be mapped, all accesses come here: as right. */
static void map_tables(struct kiln__pci *pci, unsigned flags)
{
	if (pci->has_tables && kiln_hv_vm_unmap(pci->vm, TABLE_BASE, NULL) < 0)
		return;
	pci->has_tables =
		kiln_hv_vm_map(pci->vm, TABLE_BASE, pci->tables, TABLE_SIZE, flags, NULL) == 0;
	pci->watched = flags & KILN_HV_MAP_READONLY;
}

void kiln__pci_watch_tables(struct kiln__pci *pci)
{
	if (!pci->watched)
		map_tables(pci, KILN_HV_MAP_READONLY);
}

void kiln__pci_reset(struct kiln__pci *pci)
{
	if (pci->watched)
		map_tables(pci, 0);
	pthread_mutex_lock(&pci->lock);
	for (unsigned slot = 0; slot < pci->count; slot++)
		reset_header(pci, slot);
	pthread_mutex_unlock(&pci->lock);
}

static uint8_t *new_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

int kiln__pci_new(struct kiln__pci **ret, kiln_hv_vm *vm, struct kiln__bus *bus, kiln_error *err)
{
	struct kiln__pci *pci = calloc(1, sizeof(*pci));
	int r;

	if (!pci)
		return kiln__fail_nomem(err);
	pci->vm = vm;
	pci->tables = new_memory(MEMORY_SIZE);
	if (!pci->tables) {
		free(pci);
		return kiln__fail_errno(err, errno, "cannot map PCI's memory");
	}
	pci->pages = pci->tables + TABLE_SIZE;
	pci->ecam = pci->pages + BAR0_SIZE;
	pthread_mutex_init(&pci->lock, NULL);
	r = kiln_hv_vm_map(vm, BAR0_BASE, pci->pages, READ_SIZE, KILN_HV_MAP_READONLY, err);
	if (r < 0) {
		kiln__pci_free(pci);
		return r;
	}
	kiln__bus_add_memory(bus, KILN__ECAM_BASE, KILN__ECAM_SIZE, on_ecam, pci);
	kiln__bus_add_memory(bus, KILN__PCI_MMIO_BASE, KILN__PCI_MMIO_SIZE, on_window, pci);
	*ret = pci;
	return 0;
}

uint8_t *kiln__pci_ioapic_page(struct kiln__pci *pci)
{
	return pci->ecam + KILN__ECAM_SIZE;
}

void kiln__pci_free(struct kiln__pci *pci)
{
	if (!pci)
		return;
	munmap(pci->tables, MEMORY_SIZE);
	pthread_mutex_destroy(&pci->lock);
	free(pci);
}

int kiln__pci_add(struct kiln__pci *pci, struct kiln__pci_function *fn,
		  const struct kiln__pci_identity *identity, kiln_error *err)
{
	if (pci->count == KILN__PCI_MAX_FUNCTIONS)
		return kiln__fail(err, KILN_ENOSPC, "no PCI slot is left: there are %d",
				  KILN__PCI_MAX_FUNCTIONS);
	if (!pci->has_tables && !pci->watched)
		map_tables(pci, 0);
	fn->pci = pci;
	fn->slot = pci->count;
	fn->config = pci->ecam + (size_t)fn->slot * FUNCTION_STRIDE;
	fn->page = pci->pages + (size_t)fn->slot * KILN__PCI_PAGE;
	fn->table = pci->tables + (size_t)fn->slot * KILN__PCI_PAGE;
	fn->free_cap = FIRST_CAP;
	fill_header(fn->config, identity);
	pci->functions[pci->count++] = fn;
	reset_header(pci, fn->slot);
	return 0;
}

unsigned kiln__pci_add_cap(struct kiln__pci_function *fn, const void *cap, uint8_t len)
{
	uint8_t at = fn->free_cap;

	memcpy(fn->config + at, cap, len);
	fn->config[at + 1] = 0;
	if (fn->last_cap)
		fn->config[fn->last_cap + 1] = at;
	else
		fn->config[CAP_LIST] = at;
	fn->last_cap = at;
	fn->free_cap = (uint8_t)((at + len + 3) & ~3);
	if (fn->config[at] == CAP_MSIX)
		fn->msix = at;
	return at;
}
