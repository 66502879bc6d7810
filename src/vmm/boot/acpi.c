/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables lie one after another, each at a multiple of 16: RSDP, XSDT, and those that the XSDT
 * names. Sections cited are ACPI 6.4's.
 */
#include "acpi.h"
#include "aml.h"
#include "layout.h"

#include "err.h"

#include <stddef.h>
#include <string.h>

/* All of them; with 64 processors they have 1.6 KiB. */
#define TABLES_SIZE 4096

#define OEM_ID "KILN  "

struct header { /* 5.2.6 */
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct header) == 36, "table 5.4");

struct register_address { /* 5.2.3.2 */
	uint8_t space;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} __attribute__((packed));

/* One byte at a port. */
#define PORT(address)                                                                              \
	{                                                                                          \
		1, 8, 0, 1, address                                                                \
	}

struct tables {
	unsigned char bytes[TABLES_SIZE];
	size_t len;
	bool full;
};

static uint64_t address_of(size_t at)
{
	return KILN__ACPI_BASE + at;
}

/* All bytes with it add up to zero (5.2.5.3, 5.2.6). */
static uint8_t checksum(const unsigned char *bytes, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return (uint8_t)-sum;
}

static void append(struct tables *tables, const void *bytes, size_t len)
{
	if (len > sizeof(tables->bytes) - tables->len) {
		tables->full = true;
		return;
	}
	memcpy(tables->bytes + tables->len, bytes, len);
	tables->len += len;
}

static size_t begin(struct tables *tables, const char *signature, uint8_t revision)
{
	struct header header = {
		.revision = revision,
		.oem_id = OEM_ID,
		.oem_table_id = "KILNVMM ",
		.oem_revision = 1,
		.creator_id = "KILN",
		.creator_revision = 1,
	};
	size_t at;

	tables->len = (tables->len + 15) & ~(size_t)15;
	at = tables->len;
	memcpy(header.signature, signature, sizeof(header.signature));
	append(tables, &header, sizeof(header));
	return at;
}

/* The table at @at, of @length bytes, is complete. */
static void finish(struct tables *tables, size_t at, uint32_t length)
{
	unsigned char *table = tables->bytes + at;

	if (tables->full)
		return;
	memcpy(table + offsetof(struct header, length), &length, sizeof(length));
	table[offsetof(struct header, checksum)] = checksum(table, length);
}

/* The table that began at @at ends here. Returns its address. */
static uint64_t end(struct tables *tables, size_t at)
{
	finish(tables, at, (uint32_t)(tables->len - at));
	return address_of(at);
}

/* --- DSDT: what there is ----------------------------------------------------------- */

static size_t device(struct kiln__aml *aml, const char *name, const char *id)
{
	size_t opened = kiln__aml_device(aml, name);

	kiln__aml_id(aml, "_HID", id);
	return opened;
}

/* One bus without bridges; every resource in the window below 4 GiB. */
static void add_pci(struct kiln__aml *aml)
{
	size_t root = device(aml, "PCI0", "PNP0A08");
	size_t resources;

	kiln__aml_id(aml, "_CID", "PNP0A03");
	kiln__aml_name_int(aml, "_UID", 0);
	kiln__aml_name_int(aml, "_SEG", 0);
	kiln__aml_name_int(aml, "_BBN", 0);
	resources = kiln__aml_resources(aml);
	kiln__aml_bus_window(aml, 0, 0);
	kiln__aml_memory_window(aml, KILN__PCI_MMIO_BASE, KILN__PCI_MMIO_SIZE);
	kiln__aml_close_resources(aml, resources);
	kiln__aml_close(aml, root);
}

/* Linux trusts MCFG only where this reserves the space (PCI Firmware Specification 3.2, 4.1.2). */
static void add_motherboard(struct kiln__aml *aml, bool pci)
{
	size_t board = device(aml, "BRD0", "PNP0C02");
	size_t resources;

	kiln__aml_name_int(aml, "_UID", 0);
	resources = kiln__aml_resources(aml);
	if (pci)
		kiln__aml_memory_fixed(aml, KILN__ECAM_BASE, KILN__ECAM_SIZE);
	kiln__aml_ports(aml, KILN__PM_PORT, KILN__PM_SIZE);
	kiln__aml_close_resources(aml, resources);
	kiln__aml_close(aml, board);
}

/* If (Local0 & @event) { Notify (@button, 0x80) }: it was pressed (5.6.6). */
static void notify(struct kiln__aml *aml, unsigned event, const char *button)
{
	size_t branch = kiln__aml_if(aml);

	kiln__aml_ops(aml, 0x7b, 0x60); /* And (Local0, */
	kiln__aml_int(aml, event);
	kiln__aml_ops(aml, 0x00); /* ), stored nowhere */
	kiln__aml_ops(aml, 0x86);
	kiln__aml_path(aml, button);
	kiln__aml_int(aml, 0x80);
	kiln__aml_close(aml, branch);
}

/* Buttons that the generic event device (5.6.9) tells of: its selector is read, which clears it. */
static void add_events(struct kiln__aml *aml)
{
	size_t events, resources, method;

	kiln__aml_close(aml, device(aml, "PWRB", "PNP0C0C"));
	kiln__aml_close(aml, device(aml, "SLPB", "PNP0C0E"));
	events = device(aml, "GED0", "ACPI0013");
	kiln__aml_name_int(aml, "_UID", 0);
	resources = kiln__aml_resources(aml);
	kiln__aml_interrupt(aml, KILN__GED_GSI);
	kiln__aml_close_resources(aml, resources);
	kiln__aml_port_field(aml, "EREG", "EVTS", KILN__PM_EVENTS, 4);
	method = kiln__aml_method(aml, "_EVT", 1, true);
	kiln__aml_ops(aml, 0x70); /* Store (EVTS, Local0) */
	kiln__aml_path(aml, "EVTS");
	kiln__aml_ops(aml, 0x60);
	notify(aml, KILN__EVENT_POWER, "\\_SB_.PWRB");
	notify(aml, KILN__EVENT_SLEEP, "\\_SB_.SLPB");
	kiln__aml_close(aml, method);
	kiln__aml_close(aml, events);
}

#define NO_GSI UINT32_MAX

/* A device at a few ports. */
static void add_ports(struct kiln__aml *aml, const char *name, const char *id, uint16_t port,
		      uint8_t count, uint32_t gsi)
{
	size_t opened = device(aml, name, id);
	size_t resources;

	kiln__aml_name_int(aml, "_UID", 0);
	resources = kiln__aml_resources(aml);
	kiln__aml_ports(aml, port, count);
	if (gsi != NO_GSI)
		kiln__aml_interrupt(aml, gsi);
	kiln__aml_close_resources(aml, resources);
	kiln__aml_close(aml, opened);
}

static uint64_t add_dsdt(struct tables *tables, const struct kiln__acpi_options *options)
{
	size_t at = begin(tables, "DSDT", 2); /* 2: integers of 64 bits */
	struct kiln__aml aml = {tables->bytes, sizeof(tables->bytes), tables->len, false};
	size_t scope, package;

	kiln__aml_name(&aml, "\\_S5_"); /* 7.4.2.6 */
	package = kiln__aml_package(&aml, 4);
	kiln__aml_int(&aml, KILN__PM_S5_TYPE);
	kiln__aml_ops(&aml, 0, 0, 0);
	kiln__aml_close(&aml, package);
	scope = kiln__aml_scope(&aml, "\\_SB_");
	if (options->pci)
		add_pci(&aml);
	add_motherboard(&aml, options->pci);
	add_events(&aml);
	if (options->pvpanic)
		add_ports(&aml, "PEVT", "QEMU0001", KILN__PVPANIC_PORT, 1, NO_GSI);
	if (options->serial)
		add_ports(&aml, "COM1", "PNP0501", KILN__COM1_PORT, 8, KILN__COM1_GSI);
	if (options->rtc)
		add_ports(&aml, "RTC0", "PNP0B00", KILN__RTC_PORT, 2, NO_GSI);
	kiln__aml_close(&aml, scope);
	tables->len = aml.len;
	tables->full |= aml.full;
	return end(tables, at);
}

/* --- FADT (5.2.9): what there is not ----------------------------------------------- */

struct fadt {
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved;
	uint8_t profile;
	unsigned char fixed_hardware[63]; /* from SCI_INT to CENTURY: all 0 */
	uint16_t boot_flags;
	uint8_t reserved2;
	uint32_t flags;
	struct register_address reset;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor;
	uint64_t x_facs;
	uint64_t x_dsdt;
	struct register_address x_fixed_hardware[8];
	struct register_address sleep_control;
	struct register_address sleep_status;
	char hypervisor[8];
} __attribute__((packed));
_Static_assert(offsetof(struct fadt, boot_flags) == 109 - 36, "table 5.9");
_Static_assert(offsetof(struct fadt, sleep_control) == 244 - 36, "table 5.9");
_Static_assert(sizeof(struct fadt) == 276 - 36, "table 5.9");

/* IAPC_BOOT_ARCH (table 5.11); LEGACY_DEVICES and 8042 are not set. */
#define NO_VGA      (1u << 2)
#define NO_CMOS_RTC (1u << 5)

/* Table 5.10. A set bit says of a button that it is not of the fixed hardware. */
#define WBINVD          (1u << 0)
#define NO_PWR_BUTTON   (1u << 4)
#define NO_SLP_BUTTON   (1u << 5)
#define NO_RTC_WAKE     (1u << 6)
#define RESET_REG       (1u << 10)
#define HW_REDUCED_ACPI (1u << 20)

static uint64_t add_fadt(struct tables *tables, const struct kiln__acpi_options *options,
			 uint64_t dsdt)
{
	const struct fadt fadt = {
		.dsdt = (uint32_t)dsdt,
		.x_dsdt = dsdt,
		.boot_flags = (uint16_t)(NO_VGA | (options->rtc ? 0 : NO_CMOS_RTC)),
		.flags = WBINVD | NO_PWR_BUTTON | NO_SLP_BUTTON | NO_RTC_WAKE | RESET_REG |
			 HW_REDUCED_ACPI,
		.reset = PORT(KILN__PM_RESET),
		.reset_value = KILN__PM_RESET_VALUE,
		.minor = 4,
		.sleep_control = PORT(KILN__PM_SLEEP_CTL),
		.sleep_status = PORT(KILN__PM_SLEEP_STATUS),
		.hypervisor = "KILN",
	};
	size_t at = begin(tables, "FACP", 6);

	append(tables, &fadt, sizeof(fadt));
	return end(tables, at);
}

/* --- MADT (5.2.12) and MCFG (PCI Firmware Specification 3.2, table 4-2) ------------ */

struct local_apic { /* 5.2.12.2 */
	uint8_t type;
	uint8_t length;
	uint8_t processor;
	uint8_t id;
	uint32_t flags; /* 1: enabled */
} __attribute__((packed));

struct io_apic { /* 5.2.12.3 */
	uint8_t type;
	uint8_t length;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t first_gsi;
} __attribute__((packed));

/* No overrides: there is no legacy interrupt whose line another could be. */
static uint64_t add_madt(struct tables *tables, const struct kiln__acpi_options *options)
{
	const struct io_apic io_apic = {
		.type = 1,
		.length = sizeof(io_apic),
		.address = options->io_apic,
		.first_gsi = options->first_gsi,
	};
	const uint32_t start[2] = {KILN__LAPIC_BASE, 0}; /* flags 0: and no pair of 8259s */
	size_t at = begin(tables, "APIC", 5);

	append(tables, start, sizeof(start));
	for (unsigned i = 0; i < options->cpus; i++) {
		uint8_t id = options->apic_ids ? options->apic_ids[i] : (uint8_t)i;
		const struct local_apic apic = {0, sizeof(apic), (uint8_t)i, id, 1};

		append(tables, &apic, sizeof(apic));
	}
	append(tables, &io_apic, sizeof(io_apic));
	return end(tables, at);
}

struct mcfg {
	uint64_t reserved;
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus;
	uint8_t last_bus;
	uint32_t reserved2;
} __attribute__((packed));

static uint64_t add_mcfg(struct tables *tables)
{
	const struct mcfg mcfg = {.base = KILN__ECAM_BASE};
	size_t at = begin(tables, "MCFG", 1);

	append(tables, &mcfg, sizeof(mcfg));
	return end(tables, at);
}

/* --- RSDP, XSDT, and the only code ------------------------------------------------- */

struct rsdp { /* 5.2.5.3 */
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct rsdp) == 36, "table 5.3");

#define XSDT_COUNT 3 /* at most; the last is left out where there is no PCI */

static void write_rsdp(struct tables *tables, uint64_t xsdt)
{
	struct rsdp rsdp = {
		.signature = "RSD PTR ",
		.oem_id = OEM_ID,
		.revision = 2,
		.length = sizeof(rsdp),
		.xsdt = xsdt,
	};

	rsdp.checksum = checksum((const unsigned char *)&rsdp, 20);
	rsdp.extended_checksum = checksum((const unsigned char *)&rsdp, sizeof(rsdp));
	memcpy(tables->bytes, &rsdp, sizeof(rsdp));
}

/*
 * Linux takes no reset register on hardware-reduced ACPI, but EFI's service (reboot_init() in
 * arch/x86/kernel/reboot.c); and where there is no EFI, it jumps in real mode to where a BIOS
 * begins. Sixteen bytes of firmware do there what it meant.
 */
static void write_reset_vector(struct kiln__ram *ram)
{
	static const unsigned char code[] = {
		0xba,
		KILN__PM_RESET & 0xff,
		KILN__PM_RESET >> 8, /* mov dx, KILN__PM_RESET */
		0xb0,
		KILN__PM_RESET_VALUE, /* mov al, its value */
		0xee,                 /* out dx, al */
		0xf4,
		0xeb,
		0xfd, /* hlt, for ever */
	};

	kiln__gmem_write(kiln__ram_gmem(ram), KILN__RESET_VECTOR, code, sizeof(code));
}

static int check(const struct kiln__acpi_options *options, kiln_error *err)
{
	if (options->cpus < 1 || options->cpus > KILN__ACPI_MAX_CPUS)
		return kiln__fail(err, KILN_EINVAL, "%u processors: 1 to %d are possible",
				  options->cpus, KILN__ACPI_MAX_CPUS);
	for (unsigned i = 0; options->apic_ids && i < options->cpus; i++)
		if (options->apic_ids[i] == 255)
			return kiln__fail(err, KILN_EINVAL,
					  "processor %u cannot have the APIC id 255, which means "
					  "all of them",
					  i);
	return 0;
}

int kiln__acpi_build(struct kiln__ram *ram, const struct kiln__acpi_options *options,
		     uint64_t *ret_rsdp, kiln_error *err)
{
	struct tables tables = {.len = sizeof(struct rsdp)};
	uint64_t named[XSDT_COUNT] = {0};
	size_t size = (options->pci ? XSDT_COUNT : XSDT_COUNT - 1) * sizeof(named[0]);
	size_t xsdt;
	int rc = check(options, err);

	if (rc)
		return rc;
	xsdt = begin(&tables, "XSDT", 1);
	tables.len += size; /* filled in below, when they are known */
	named[0] = add_fadt(&tables, options, add_dsdt(&tables, options));
	named[1] = add_madt(&tables, options);
	if (options->pci)
		named[2] = add_mcfg(&tables);
	if (tables.full)
		return kiln__fail(err, KILN_EOVERFLOW, "the ACPI tables have more than %d bytes",
				  TABLES_SIZE);
	memcpy(tables.bytes + xsdt + sizeof(struct header), named, size);
	finish(&tables, xsdt, (uint32_t)(sizeof(struct header) + size));
	write_rsdp(&tables, address_of(xsdt));
	kiln__gmem_write(kiln__ram_gmem(ram), KILN__ACPI_BASE, tables.bytes, tables.len);
	write_reset_vector(ram);
	*ret_rsdp = KILN__ACPI_BASE;
	return 0;
}
