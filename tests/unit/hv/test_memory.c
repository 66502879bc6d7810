/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: every kind, as the guest and this process see it, and what is refused. */
#include "guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE  0x1000
#define PLACE 0x20000 /* of what a test adds: behind the guest's own memory */

static struct guest guest;

static int begin(void **state)
{
	kiln_test_begin(state);
	guest_make(&guest, KILN_HV_IRQCHIP_NONE);
	return 0;
}

static int end(void **state)
{
	guest_drop(&guest);
	return kiln_test_end(state);
}

/* A file of @size bytes, the second of which is 0x33. */
static int new_file(const char *name, off_t size)
{
	int fd = open(kiln_test_path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(pwrite(fd, "\x22\x33", 2, 0), 2);
	return fd;
}

static uint8_t byte_at(int fd, off_t offset)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	return byte;
}

static void add(enum kiln_hv_memory_kind kind, int fd, uint64_t offset, uint64_t size,
		unsigned flags, uint8_t **ret)
{
	kiln_error err = KILN_ERROR_INIT;
	void *host = NULL;

	kiln_ok(kiln_hv_vm_add_memory(guest.vm, PLACE, size, kind, fd, offset, flags, &host, &err),
		&err);
	assert_non_null(host);
	*ret = host;
}

/* The guest writes 0x5a to the first byte of PLACE and says the second. */
static void touch_and_say(uint8_t expected)
{
	guest_load(&guest, touch, PLACE);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), expected);
	guest_run(&guest, KILN_HV_EXIT_HALT);
}

static void anonymous_memory_is_zeros_that_the_guest_can_write(void **state)
{
	uint8_t *host;

	(void)state;
	add(KILN_HV_MEMORY_ANONYMOUS, -1, 0, PAGE, 0, &host);
	assert_int_equal(host[0], 0);
	touch_and_say(0);
	assert_int_equal(host[0], 0x5a);
}

static void shared_memory_takes_the_guests_writes_to_its_file(void **state)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	uint8_t *host;

	(void)state;
	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	assert_int_equal(pwrite(fd, "\x22\x33", 2, PAGE), 2);
	add(KILN_HV_MEMORY_SHARED, fd, PAGE, PAGE, 0, &host);
	touch_and_say(0x33);
	assert_int_equal(host[0], 0x5a);
	assert_int_equal(byte_at(fd, PAGE), 0x5a);
	assert_int_equal(pwrite(fd, "\x44", 1, PAGE + 1), 1); /* and the other way */
	touch_and_say(0x44);
	close(fd);
}

static void a_private_map_keeps_the_guests_writes_from_its_file(void **state)
{
	int fd = new_file("image", PAGE + 100); /* the last page is a part of one */
	int readable = open(kiln_test_path("image"), O_RDONLY | O_CLOEXEC);
	uint8_t *host;

	(void)state;
	add(KILN_HV_MEMORY_FILE, readable, 0, 2 * PAGE, 0, &host);
	close(readable); /* it is not needed any more */
	touch_and_say(0x33);
	assert_int_equal(host[0], 0x5a);
	assert_int_equal(byte_at(fd, 0), 0x22);
	close(fd);
}

static void a_file_that_ends_too_early_is_refused(void **state)
{
	int fd = new_file("short", PAGE + 100);
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_int_equal(kiln_hv_vm_add_memory(guest.vm, PLACE, 3 * PAGE, KILN_HV_MEMORY_FILE, fd,
					       0, 0, NULL, &err),
			 KILN_EOVERFLOW);
	assert_non_null(strstr(err.message, "ends at 4196"));
	assert_int_equal(kiln_hv_vm_add_memory(guest.vm, PLACE, 2 * PAGE, KILN_HV_MEMORY_SHARED, fd,
					       PAGE, 0, NULL, &err),
			 KILN_EOVERFLOW);
	assert_int_equal(kiln_hv_vm_add_memory(guest.vm, PLACE, PAGE, KILN_HV_MEMORY_FILE, fd,
					       UINT64_MAX - PAGE + 1, 0, NULL, &err),
			 KILN_EOVERFLOW);
	assert_int_equal(kiln_hv_vm_add_memory(guest.vm, PLACE, PAGE, KILN_HV_MEMORY_FILE, fd, 5, 0,
					       NULL, &err),
			 KILN_EINVAL);
	close(fd);
	assert_true(kiln_hv_vm_add_memory(guest.vm, PLACE, PAGE, KILN_HV_MEMORY_FILE, -1, 0, 0,
					  NULL, &err) < 0);
	assert_int_equal(kiln_hv_vm_unmap(guest.vm, PLACE, &err), KILN_ENOENT);
}

static void a_write_to_read_only_memory_is_an_exit_and_a_read_is_none(void **state)
{
	uint8_t *host;

	(void)state;
	add(KILN_HV_MEMORY_ANONYMOUS, -1, 0, PAGE, KILN_HV_MAP_READONLY, &host);
	host[1] = 0x77;
	guest_load(&guest, touch, PLACE);
	guest_run(&guest, KILN_HV_EXIT_MMIO);
	assert_true(guest.exit.access.write);
	assert_int_equal(guest.exit.access.address, PLACE);
	assert_int_equal(guest.exit.access.size, 1);
	assert_int_equal(guest.exit.access.data[0], 0x5a);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), 0x77);
	guest_run(&guest, KILN_HV_EXIT_HALT);
	assert_int_equal(host[0], 0);
}

static void what_is_read_and_written_goes_across_maps_or_not_at_all(void **state)
{
	uint8_t bytes[64];
	uint8_t back[64];
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i + 1);
	kiln_ok(kiln_hv_vm_add_memory(guest.vm, GUEST_MEMORY, PAGE, KILN_HV_MEMORY_ANONYMOUS, -1, 0,
				      KILN_HV_MAP_READONLY, NULL, &err),
		&err);
	kiln_ok(kiln_hv_vm_write(guest.vm, GUEST_MEMORY - 30, bytes, sizeof(bytes), &err), &err);
	kiln_ok(kiln_hv_vm_read(guest.vm, GUEST_MEMORY - 30, back, sizeof(back), &err), &err);
	assert_memory_equal(bytes, back, sizeof(bytes));
	kiln_ok(kiln_hv_vm_read(guest.vm, GUEST_MEMORY, back, 1, &err), &err);
	assert_int_equal(back[0], 31);

	/* Half of it has no memory: nothing is written, and nothing read. */
	assert_int_equal(kiln_hv_vm_write(guest.vm, GUEST_MEMORY + PAGE - 30, bytes, 31, &err),
			 KILN_EOVERFLOW);
	assert_non_null(strstr(err.message, "0x11000"));
	kiln_ok(kiln_hv_vm_read(guest.vm, GUEST_MEMORY + PAGE - 30, back, 30, &err), &err);
	assert_int_equal(back[0], 0);
	memset(back, 9, sizeof(back));
	assert_int_equal(kiln_hv_vm_read(guest.vm, GUEST_MEMORY + PAGE - 1, back, 2, &err),
			 KILN_EOVERFLOW);
	assert_int_equal(back[0], 9);
	assert_int_equal(kiln_hv_vm_read(guest.vm, UINT64_MAX - 3, back, 8, &err), KILN_EOVERFLOW);
	assert_int_equal(kiln_hv_vm_read(guest.vm, 0, back, SIZE_MAX, &err), KILN_EOVERFLOW);
	kiln_ok(kiln_hv_vm_read(guest.vm, UINT64_MAX, back, 0, &err), &err);
}

static void the_dirty_log_has_the_pages_that_the_guest_wrote_to_once(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_x86_state registers;
	uint64_t bitmap[2] = {0};
	uint8_t *host;

	(void)state;
	add(KILN_HV_MEMORY_ANONYMOUS, -1, 0, 70 * PAGE, KILN_HV_MAP_LOG_DIRTY, &host);
	host[5 * PAGE] = 1; /* of this process: not noted */
	guest_load(&guest, dirty, PLACE);
	kiln_ok(kiln_hv_x86_get_state(guest.vcpu, &registers, &err), &err);
	registers.gpr[KILN_X86_RCX] = 3;
	registers.gpr[KILN_X86_RSI] = 2 * PAGE;
	kiln_ok(kiln_hv_x86_set_state(guest.vcpu, &registers, &err), &err);
	guest_run(&guest, KILN_HV_EXIT_HALT);
	assert_int_equal(kiln_hv_vm_dirty_log(guest.vm, PLACE, bitmap, 1, &err), KILN_EOVERFLOW);
	kiln_ok(kiln_hv_vm_dirty_log(guest.vm, PLACE, bitmap, 2, &err), &err);
	assert_int_equal(bitmap[0], 7 << 2);
	assert_int_equal(bitmap[1], 0);
	kiln_ok(kiln_hv_vm_dirty_log(guest.vm, PLACE, bitmap, 2, &err), &err);
	assert_int_equal(bitmap[0], 0);
	/* Its own memory has none, and elsewhere there is no memory. */
	assert_int_equal(kiln_hv_vm_dirty_log(guest.vm, 0, bitmap, 2, &err), KILN_ESTATE);
	assert_int_equal(kiln_hv_vm_dirty_log(guest.vm, PAGE, bitmap, 2, &err), KILN_ENOENT);
}

static void what_is_no_place_for_memory_is_refused(void **state)
{
	static uint8_t pages[2 * PAGE] __attribute__((aligned(PAGE)));
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_vm *vm = guest.vm;

	(void)state;
	assert_int_equal(kiln_hv_vm_map(vm, PAGE, pages, PAGE, 0, &err), KILN_EEXIST);
	assert_int_equal(kiln_hv_vm_map(vm, PLACE, pages, 0, 0, &err), KILN_EOVERFLOW);
	assert_int_equal(kiln_hv_vm_map(vm, UINT64_MAX - PAGE + 1, pages, PAGE, 0, &err),
			 KILN_EOVERFLOW);
	assert_int_equal(kiln_hv_vm_map(vm, PLACE + 1, pages, PAGE, 0, &err), KILN_EINVAL);
	assert_int_equal(kiln_hv_vm_map(vm, PLACE, pages, PAGE + 1, 0, &err), KILN_EINVAL);
	assert_int_equal(kiln_hv_vm_map(vm, PLACE, pages + 1, PAGE, 0, &err), KILN_EINVAL);
	assert_int_equal(kiln_hv_vm_map(vm, PLACE, pages, PAGE, 4, &err), KILN_EINVAL);
	assert_int_equal(kiln_hv_vm_add_memory(vm, PLACE, UINT64_MAX - PLACE - PAGE + 1,
					       KILN_HV_MEMORY_ANONYMOUS, -1, 0, 0, NULL, &err),
			 KILN_ENOMEM);
}

/* As many as the capability says, and no more; each can be taken away and made again. */
static void there_are_as_many_maps_as_the_capability_says(void **state)
{
	kiln_hv_capabilities can = KILN_HV_CAPABILITIES_INIT;
	kiln_error err = KILN_ERROR_INIT;
	uint64_t n = 1; /* the guest's own */

	(void)state;
	kiln_ok(kiln_hv_get_capabilities(guest_hv, &can, &err), &err);
	for (; n < can.max_maps; n++)
		kiln_ok(kiln_hv_vm_add_memory(guest.vm, PLACE + n * PAGE, PAGE,
					      KILN_HV_MEMORY_ANONYMOUS, -1, 0, 0, NULL, &err),
			&err);
	assert_int_equal(kiln_hv_vm_add_memory(guest.vm, PLACE + n * PAGE, PAGE,
					       KILN_HV_MEMORY_ANONYMOUS, -1, 0, 0, NULL, &err),
			 KILN_EOVERFLOW);
	kiln_ok(kiln_hv_vm_unmap(guest.vm, PLACE + 2 * PAGE, &err), &err);
	kiln_ok(kiln_hv_vm_add_memory(guest.vm, PLACE + n * PAGE, PAGE, KILN_HV_MEMORY_ANONYMOUS,
				      -1, 0, 0, NULL, &err),
		&err);
}

/* Memory that was the VM's is gone from this process, too. */
static void unmapped_memory_is_gone(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	uint8_t *host;
	unsigned char resident;

	(void)state;
	add(KILN_HV_MEMORY_ANONYMOUS, -1, 0, PAGE, 0, &host);
	kiln_ok(kiln_hv_vm_unmap(guest.vm, PLACE, &err), &err);
	assert_int_equal(mincore(host, PAGE, &resident), -1);
	guest_load(&guest, touch, PLACE);
	guest_run(&guest, KILN_HV_EXIT_MMIO);
	assert_int_equal(guest.exit.access.address, PLACE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	static const struct CMUnitTest tests[] = {
		TEST(anonymous_memory_is_zeros_that_the_guest_can_write),
		TEST(shared_memory_takes_the_guests_writes_to_its_file),
		TEST(a_private_map_keeps_the_guests_writes_from_its_file),
		TEST(a_file_that_ends_too_early_is_refused),
		TEST(a_write_to_read_only_memory_is_an_exit_and_a_read_is_none),
		TEST(what_is_read_and_written_goes_across_maps_or_not_at_all),
		TEST(the_dirty_log_has_the_pages_that_the_guest_wrote_to_once),
		TEST(what_is_no_place_for_memory_is_refused),
		TEST(there_are_as_many_maps_as_the_capability_says),
		TEST(unmapped_memory_is_gone),
	};
	kiln_error err = KILN_ERROR_INIT;
	int failed;

	if (guest_open(&err) < 0)
		return kiln_test_skip(err.message);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	kiln_hv_free(guest_hv);
	return failed;
}
