/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in machine's I/O APIC: what a guest reads of it, and the messages that edges become. */
#include "ioapic.h"

#include "kiln_test.h"

#include <string.h>

static struct {
	unsigned count;
	uint64_t address;
	uint32_t data;
} sent;

int __wrap_kiln_hv_vm_send_msi(kiln_hv_vm *vm, uint64_t address, uint32_t data, kiln_error *err);
int __wrap_kiln_hv_vm_send_msi(kiln_hv_vm *vm, uint64_t address, uint32_t data, kiln_error *err)
{
	(void)vm;
	(void)err;
	sent.count++;
	sent.address = address;
	sent.data = data;
	return 0;
}

struct fixture {
	struct kiln__bus bus;
	struct kiln__ioapic ioapic;
	_Alignas(8) uint8_t page[4096];
};

static void set_up(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	memset(&sent, 0, sizeof(sent));
	kiln__ioapic_init(&f->ioapic, &f->bus, NULL, f->page, 2);
}

static void write_at(struct fixture *f, unsigned offset, uint32_t value)
{
	struct kiln__bus_access access = {
		.offset = offset, .size = 4, .write = true, .value = value};

	f->bus.memory[0].fn(f->bus.memory[0].data, &access);
}

static void put(struct fixture *f, unsigned number, uint32_t value)
{
	write_at(f, 0, number);
	write_at(f, 0x10, value);
}

/* As a guest does: selects by a write, reads what lies in the page. */
static uint32_t get(struct fixture *f, unsigned number)
{
	uint32_t value;

	write_at(f, 0, number);
	assert_int_equal(f->page[0], number);
	memcpy(&value, f->page + 0x10, 4);
	return value;
}

static void it_says_what_it_is(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	assert_int_equal(f.bus.memory[0].base, 0xe0100000);
	assert_int_equal(get(&f, 1), 0x00010011); /* two pins */
	put(&f, 0, 0xffffffff);
	assert_int_equal(get(&f, 0), 0x0f000000);
	assert_int_equal(get(&f, 2), 0x0f000000);
	put(&f, 1, 0);
	assert_int_equal(get(&f, 1), 0x00010011);
	assert_int_equal(get(&f, 0x14), 0); /* there is no third pin */
	put(&f, 0x14, 0x1234);
	put(&f, 0xff, 0x1234);
	assert_int_equal(get(&f, 0x14) | get(&f, 0xff), 0);
}

static void entries_keep_what_may_be_written(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	for (unsigned pin = 0; pin < 2; pin++) {
		assert_int_equal(get(&f, 0x10 + 2 * pin), 0x10000);
		assert_int_equal(get(&f, 0x11 + 2 * pin), 0);
		put(&f, 0x10 + 2 * pin, 0xffffffff);
		put(&f, 0x11 + 2 * pin, 0xffffffff);
		assert_int_equal(get(&f, 0x10 + 2 * pin), 0x1afff);
		assert_int_equal(get(&f, 0x11 + 2 * pin), 0xff000000);
	}
	kiln__ioapic_reset(&f.ioapic);
	assert_int_equal(f.page[0], 0);
	assert_int_equal(get(&f, 0x12), 0x10000);
	assert_int_equal(get(&f, 0x13), 0);
}

static void an_edge_is_a_message(void **state)
{
	struct fixture f;
	kiln_error err;

	(void)state;
	set_up(&f);
	kiln_ok(kiln__ioapic_edge(&f.ioapic, 16, &err), &err);
	assert_int_equal(sent.count, 0); /* masked */
	put(&f, 0x11, 0x03000000);
	put(&f, 0x10, 0x00000131); /* lowest priority, physical */
	kiln_ok(kiln__ioapic_edge(&f.ioapic, 16, &err), &err);
	assert_int_equal(sent.count, 1);
	assert_int_equal(sent.address, 0xfee03000);
	assert_int_equal(sent.data, 0x131);
	put(&f, 0x13, 0xff000000);
	put(&f, 0x12, 0x00008841); /* logical; asks for levels */
	kiln_ok(kiln__ioapic_edge(&f.ioapic, 17, &err), &err);
	assert_int_equal(sent.count, 2);
	assert_int_equal(sent.address, 0xfeeff004);
	assert_int_equal(sent.data, 0x41);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kiln_test(it_says_what_it_is),
		kiln_test(entries_keep_what_may_be_written),
		kiln_test(an_edge_is_a_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
