/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware tables, found as a guest finds them: from the RSDP on. What AML says is iasl's to
 * judge (vmm_acpi_iasl.py), for which this program writes the tables into a directory:
 *
 *	test-vmm_acpi DIRECTORY CPUS [pvpanic|serial|rtc]...
 */
#include "kiln_test.h"

#include "acpi.h"
#include "aml.h"
#include "layout.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)

static struct kiln__ram *make(const struct kiln__acpi_options *options, uint64_t *ret_rsdp)
{
	struct kiln__ram *ram;
	kiln_error err;

	kiln_ok(kiln__ram_new(&ram, 16 * MIB, false, &err), &err);
	kiln_ok(kiln__acpi_build(ram, options, ret_rsdp, &err), &err);
	return ram;
}

static const unsigned char *at(const struct kiln__ram *ram, uint64_t gpa, size_t len)
{
	assert_true(gpa >= KILN__ACPI_BASE && gpa + len <= KILN__ACPI_BASE + KILN__ACPI_SIZE);
	return kiln__gmem_ptr(kiln__ram_gmem(ram), gpa, len);
}

static uint64_t get(const unsigned char *bytes, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, bytes + offset, size);
	return value;
}

static unsigned sum(const unsigned char *bytes, size_t len)
{
	unsigned total = 0;

	while (len--)
		total += *bytes++;
	return total & 255;
}

static const unsigned char *table(const struct kiln__ram *ram, uint64_t gpa)
{
	const unsigned char *bytes = at(ram, gpa, 36);
	size_t len = get(bytes, 4, 4);

	assert_true(len >= 36);
	assert_int_equal(sum(at(ram, gpa, len), len), 0);
	assert_int_equal(gpa % 16, 0);
	return bytes;
}

/* By way of the XSDT. */
static const unsigned char *find(const struct kiln__ram *ram, uint64_t rsdp, const char *signature)
{
	const unsigned char *xsdt = table(ram, get(at(ram, rsdp, 36), 24, 8));

	assert_memory_equal(xsdt, "XSDT", 4);
	for (unsigned i = 36; i < get(xsdt, 4, 4); i += 8) {
		const unsigned char *bytes = table(ram, get(xsdt, i, 8));

		if (!memcmp(bytes, signature, 4))
			return bytes;
	}
	return NULL;
}

static void the_rsdp_is_where_it_is_looked_for(void **state)
{
	const struct kiln__acpi_options options = {.cpus = 1, .pci = true};
	uint64_t rsdp;
	struct kiln__ram *ram = make(&options, &rsdp);
	const unsigned char *bytes = at(ram, rsdp, 36);

	(void)state;
	assert_true(rsdp >= 0xe0000 && rsdp <= 0xfffff && rsdp % 16 == 0); /* 5.2.5.1 */
	assert_memory_equal(bytes, "RSD PTR ", 8);
	assert_int_equal(bytes[15], 2);
	assert_int_equal(get(bytes, 20, 4), 36);
	assert_int_equal(sum(bytes, 20), 0);
	assert_int_equal(sum(bytes, 36), 0);
	kiln__ram_free(ram);
}

static void the_fadt_denies_what_is_not_there(void **state)
{
	uint64_t rsdp;

	(void)state;
	for (int rtc = 0; rtc < 2; rtc++) {
		const struct kiln__acpi_options options = {.cpus = 1, .rtc = rtc};
		struct kiln__ram *ram = make(&options, &rsdp);
		const unsigned char *fadt = find(ram, rsdp, "FACP");

		assert_int_equal(get(fadt, 4, 4), 276);
		assert_int_equal(fadt[8], 6);
		assert_int_equal(fadt[131], 4);
		assert_true(get(fadt, 112, 4) & 1u << 20); /* HW_REDUCED_ACPI */
		assert_true(get(fadt, 112, 4) & 1u << 10); /* RESET_REG_SUP */
		assert_int_equal(get(fadt, 109, 2), rtc ? 0x04 : 0x24);
		/* Space, width, offset, access: one byte at a port. */
		assert_int_equal(get(fadt, 116, 4), 0x01000801);
		assert_int_equal(get(fadt, 120, 8), KILN__PM_RESET);
		assert_int_equal(fadt[128], KILN__PM_RESET_VALUE);
		assert_int_equal(get(fadt, 244, 4), 0x01000801);
		assert_int_equal(get(fadt, 248, 8), KILN__PM_SLEEP_CTL);
		assert_int_equal(get(fadt, 256, 4), 0x01000801);
		assert_int_equal(get(fadt, 260, 8), KILN__PM_SLEEP_STATUS);
		/* No fixed hardware: interrupt, command port, event and timer blocks. */
		for (unsigned i = 46; i < 109; i++)
			assert_int_equal(fadt[i], 0);
		for (unsigned i = 148; i < 244; i++)
			assert_int_equal(fadt[i], 0);
		assert_int_equal(get(fadt, 40, 4), get(fadt, 140, 8));
		assert_memory_equal(table(ram, get(fadt, 140, 8)), "DSDT", 4);
		kiln__ram_free(ram);
	}
}

static void the_madt_names_every_processor(void **state)
{
	static const unsigned counts[] = {1, 4, 64};
	uint8_t ids[64];
	uint64_t rsdp;

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		ids[i] = (uint8_t)(254 - 2 * i);
	for (unsigned run = 0; run < 6; run++) {
		const struct kiln__acpi_options options = {.cpus = counts[run / 2],
							   .apic_ids = run % 2 ? ids : NULL,
							   .io_apic = KILN__IOAPIC_BASE,
							   .first_gsi = KILN__FIRST_GSI,
							   .pci = true,
							   .pvpanic = true,
							   .serial = true,
							   .rtc = true};
		struct kiln__ram *ram = make(&options, &rsdp);
		const unsigned char *madt = find(ram, rsdp, "APIC");
		unsigned offset = 44;

		assert_int_equal(get(madt, 36, 4), KILN__LAPIC_BASE);
		assert_int_equal(get(madt, 40, 4), 0);
		assert_int_equal(get(madt, 4, 4), 44 + options.cpus * 8 + 12);
		for (unsigned i = 0; i < options.cpus; i++, offset += 8) {
			assert_int_equal(get(madt, offset, 2), 0x0800);
			assert_int_equal(madt[offset + 2], i);
			assert_int_equal(madt[offset + 3], run % 2 ? ids[i] : i);
			assert_int_equal(get(madt, offset + 4, 4), 1);
		}
		assert_int_equal(get(madt, offset, 2), 0x0c01);
		assert_int_equal(get(madt, offset + 4, 4), KILN__IOAPIC_BASE);
		assert_int_equal(get(madt, offset + 8, 4), KILN__FIRST_GSI);
		kiln__ram_free(ram);
	}
}

static void the_mcfg_has_one_bus(void **state)
{
	const struct kiln__acpi_options options = {.cpus = 1, .pci = true};
	uint64_t rsdp;
	struct kiln__ram *ram = make(&options, &rsdp);
	const unsigned char *mcfg = find(ram, rsdp, "MCFG");

	(void)state;
	assert_int_equal(get(mcfg, 4, 4), 60);
	assert_int_equal(get(mcfg, 44, 8), KILN__ECAM_BASE);
	assert_int_equal(get(mcfg, 52, 8), 0);
	assert_int_equal(KILN__ECAM_SIZE, 1 << 20);
	kiln__ram_free(ram);
}

static void without_devices_there_is_no_bus(void **state)
{
	const struct kiln__acpi_options options = {.cpus = 1};
	uint64_t rsdp;
	struct kiln__ram *ram = make(&options, &rsdp);
	const unsigned char *xsdt = table(ram, get(at(ram, rsdp, 36), 24, 8));

	(void)state;
	assert_int_equal(get(xsdt, 4, 4), 36 + 2 * 8);
	assert_null(find(ram, rsdp, "MCFG"));
	kiln__ram_free(ram);
}

static void the_reset_vector_resets(void **state)
{
	static const unsigned char code[] = {0xba, 0x02, 0x06, 0xb0, 0x01, 0xee, 0xf4, 0xeb, 0xfd};
	const struct kiln__acpi_options options = {.cpus = 1, .pci = true};
	uint64_t rsdp;
	struct kiln__ram *ram = make(&options, &rsdp);

	(void)state;
	assert_memory_equal(at(ram, 0xffff0, 16), code, sizeof(code));
	kiln__ram_free(ram);
}

static void processors_that_cannot_be_are_refused(void **state)
{
	const uint8_t ids[] = {0, 255};
	struct kiln__acpi_options options = {.cpus = 0};
	struct kiln__ram *ram;
	uint64_t rsdp = 7;
	kiln_error err;

	(void)state;
	kiln_ok(kiln__ram_new(&ram, 16 * MIB, false, &err), &err);
	assert_int_equal(kiln__acpi_build(ram, &options, &rsdp, &err), KILN_EINVAL);
	options.cpus = 65;
	assert_int_equal(kiln__acpi_build(ram, &options, &rsdp, &err), KILN_EINVAL);
	options.cpus = 2;
	options.apic_ids = ids;
	assert_int_equal(kiln__acpi_build(ram, &options, &rsdp, &err), KILN_EINVAL);
	assert_non_null(strstr(err.message, "processor 1"));
	assert_int_equal(rsdp, 7);
	kiln__ram_free(ram);
}

/* --- AML itself -------------------------------------------------------------------- */

static void lengths_have_their_shortest_encoding(void **state)
{
	static unsigned char bytes[1 << 21], filler[1 << 21];
	/* The contents' size, without a name of four bytes; the encoding of that and itself. */
	const struct {
		size_t len;
		size_t size;
		unsigned char encoded[4];
	} cases[] = {
		{58, 1, {0x3f}},
		{59, 2, {0x41, 0x04}},
		{4089, 2, {0x4f, 0xff}},
		{4090, 3, {0x81, 0x00, 0x01}},
		{1048568, 3, {0x8f, 0xff, 0xff}},
		{1048569, 4, {0xc1, 0x00, 0x00, 0x01}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kiln__aml aml = {bytes, sizeof(bytes), 0, false};
		size_t opened = kiln__aml_scope(&aml, "_SB_");

		kiln__aml_bytes(&aml, filler, cases[i].len);
		kiln__aml_close(&aml, opened);
		assert_false(aml.full);
		assert_int_equal(aml.len, 1 + cases[i].size + 4 + cases[i].len);
		assert_memory_equal(bytes + 1, cases[i].encoded, cases[i].size);
		assert_memory_equal(bytes + 1 + cases[i].size, "_SB_", 4);
	}
}

static void integers_have_their_shortest_encoding(void **state)
{
	const struct {
		uint64_t value;
		size_t len;
		unsigned char bytes[9];
	} cases[] = {
		{0, 1, {0}},
		{1, 1, {1}},
		{2, 2, {0x0a, 2}},
		{255, 2, {0x0a, 255}},
		{256, 3, {0x0b, 0, 1}},
		{65536, 5, {0x0c, 0, 0, 1, 0}},
		{UINT64_C(1) << 32, 9, {0x0e, 0, 0, 0, 0, 1, 0, 0, 0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned char bytes[16];
		struct kiln__aml aml = {bytes, sizeof(bytes), 0, false};

		kiln__aml_int(&aml, cases[i].value);
		assert_int_equal(aml.len, cases[i].len);
		assert_memory_equal(bytes, cases[i].bytes, cases[i].len);
	}
}

static void what_does_not_fit_is_remembered(void **state)
{
	unsigned char bytes[64] = {0};
	size_t needs = 0;

	(void)state;
	for (size_t max = 0; max < sizeof(bytes); max++) {
		struct kiln__aml aml = {bytes, max, 0, false};
		size_t device = kiln__aml_device(&aml, "DEV0");
		size_t resources = kiln__aml_resources(&aml);

		kiln__aml_ports(&aml, 0x3f8, 8);
		kiln__aml_close_resources(&aml, resources);
		kiln__aml_close(&aml, device);
		assert_true(aml.len <= max);
		assert_int_equal(bytes[max], 0);
		if (!aml.full && !needs)
			needs = max;
		assert_true(aml.full == !needs);
		memset(bytes, 0, sizeof(bytes));
	}
	/* Device 2+1+4, Name 1+4, Buffer 1+1+2, IO 8, end 2. */
	assert_int_equal(needs, 26);
}

/* --- for iasl ---------------------------------------------------------------------- */

static void write_table(const char *dir, const unsigned char *bytes)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%.4s.aml", dir, (const char *)bytes);
	file = fopen(path, "wbe");
	if (!file || fwrite(bytes, get(bytes, 4, 4), 1, file) != 1 || fclose(file))
		abort();
}

static int write_tables(int argc, char **argv)
{
	struct kiln__acpi_options options = {.cpus = (unsigned)atoi(argv[2]), .pci = true};
	struct kiln__ram *ram;
	uint64_t rsdp;

	for (int i = 3; i < argc; i++) {
		options.pvpanic |= !strcmp(argv[i], "pvpanic");
		options.serial |= !strcmp(argv[i], "serial");
		options.rtc |= !strcmp(argv[i], "rtc");
	}
	ram = make(&options, &rsdp);
	write_table(argv[1], table(ram, get(at(ram, rsdp, 36), 24, 8)));
	write_table(argv[1], find(ram, rsdp, "FACP"));
	write_table(argv[1], find(ram, rsdp, "APIC"));
	write_table(argv[1], find(ram, rsdp, "MCFG"));
	write_table(argv[1], table(ram, get(find(ram, rsdp, "FACP"), 140, 8)));
	kiln__ram_free(ram);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(the_rsdp_is_where_it_is_looked_for),
		kiln_test(the_fadt_denies_what_is_not_there),
		kiln_test(the_madt_names_every_processor),
		kiln_test(the_mcfg_has_one_bus),
		kiln_test(without_devices_there_is_no_bus),
		kiln_test(the_reset_vector_resets),
		kiln_test(processors_that_cannot_be_are_refused),
		kiln_test(lengths_have_their_shortest_encoding),
		kiln_test(integers_have_their_shortest_encoding),
		kiln_test(what_does_not_fit_is_remembered),
	};

	if (argc > 2)
		return write_tables(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
