/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts into a guest, doorbells out of it, and kicks.
 *
 * A thread that is to act while the guest spins or is halted learns that it is by a doorbell, which
 * the guest rings just before: so nothing here waits for time to pass.
 */
#include "guest.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MSI_ADDRESS 0xfee00000u /* SDM vol. 3, 11.11.1: to the APIC with number 0 */
#define MSI_NOBODY  0xfee3f000u /* to one that no vCPU has */
#define VECTOR      0x40        /* as a message's data: fixed, edge */
#define DEVICE      0x20000     /* where there is no memory */

static struct guest guest;
static int bell = -1; /* what the guest rings at PORT_BELL */

static void make(enum kiln_hv_irqchip irqchip)
{
	const kiln_hv_doorbell doorbell = {.address = PORT_BELL, .size = 1, .port = true};
	kiln_error err = KILN_ERROR_INIT;

	bell = eventfd(0, EFD_CLOEXEC);
	assert_true(bell >= 0);
	guest_make(&guest, irqchip);
	kiln_ok(kiln_hv_vm_add_doorbell(guest.vm, &doorbell, bell, &err), &err);
}

static int begin(void **state)
{
	kiln_test_begin(state);
	make(KILN_HV_IRQCHIP_NONE);
	return 0;
}

static int begin_with_irqchip(void **state)
{
	kiln_test_begin(state);
	make(KILN_HV_IRQCHIP_FULL);
	return 0;
}

static int end(void **state)
{
	guest_drop(&guest);
	close(bell);
	return kiln_test_end(state);
}

/* How often an eventfd was written to since; 0: not. */
static uint64_t rung(int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	uint64_t count = 0;

	assert_true(poll(&readable, 1, 0) >= 0);
	if (readable.revents & POLLIN)
		assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	return count;
}

/* --- a thread that does something once the guest has rung ---------------------------------- */

static void (*deed)(void);

static void *do_it_when_rung(void *unused)
{
	uint64_t count;

	(void)unused;
	if (read(bell, &count, sizeof(count)) == sizeof(count))
		deed();
	return NULL;
}

static pthread_t start(void (*what)(void))
{
	pthread_t thread;

	deed = what;
	assert_int_equal(pthread_create(&thread, NULL, do_it_when_rung, NULL), 0);
	return thread;
}

static void kick(void)
{
	kiln_hv_vcpu_kick(guest.vcpu);
}

static void a_kick_ends_a_run_of_a_guest_that_spins(void **state)
{
	pthread_t thread;

	(void)state;
	guest_load(&guest, spin, 0);
	thread = start(kick);
	guest_run(&guest, KILN_HV_EXIT_KICKED);
	pthread_join(thread, NULL);
}

/* Halted in the kernel, that is: no run ends by a halt there. */
static void a_kick_ends_a_run_of_a_guest_that_is_halted(void **state)
{
	pthread_t thread;

	(void)state;
	guest_load(&guest, halted, 0);
	thread = start(kick);
	guest_run(&guest, KILN_HV_EXIT_KICKED);
	pthread_join(thread, NULL);
}

/* --- interrupts ------------------------------------------------------------------------------ */

/* A guest with handlers, as far as that it waits for what comes. */
static void start_apic_guest(void)
{
	guest_handle(&guest, handlers);
	guest_load(&guest, apic, 0);
	guest_run_to_write(&guest, PORT_READY);
}

static void a_message_reaches_the_guests_handler(void **state)
{
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	start_apic_guest();
	kiln_ok(kiln_hv_vm_send_msi(guest.vm, MSI_ADDRESS, VECTOR, &err), &err);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR);
	kiln_ok(kiln_hv_vm_send_msi(guest.vm, MSI_NOBODY, VECTOR, &err), &err);
	kiln_ok(kiln_hv_vm_send_msi(guest.vm, MSI_ADDRESS, VECTOR + 5, &err), &err);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR + 5);
}

static void send_message(void)
{
	kiln_hv_vm_send_msi(guest.vm, MSI_ADDRESS, VECTOR + 1, NULL);
}

static void a_message_wakes_a_halted_guest(void **state)
{
	pthread_t thread;

	(void)state;
	start_apic_guest();
	thread = start(send_message);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR + 1);
	pthread_join(thread, NULL);
}

static void pulse_line(void)
{
	kiln_error err = KILN_ERROR_INIT;

	kiln_ok(kiln_hv_vm_set_line(guest.vm, LINE, true, &err), &err);
	kiln_ok(kiln_hv_vm_set_line(guest.vm, LINE, false, &err), &err);
}

static void a_line_reaches_the_guest_by_its_io_apic_with_routes_and_without(void **state)
{
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	start_apic_guest();
	pulse_line();
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR_LINE);
	kiln_ok(kiln_hv_vm_set_route(guest.vm, 0, MSI_ADDRESS, VECTOR, &err), &err);
	pulse_line();
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR_LINE);
	/* A line that there is not must not be a route. */
	assert_int_equal(kiln_hv_vm_set_line(guest.vm, 24, true, &err), KILN_EOVERFLOW);
	pulse_line();
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR_LINE);
}

static int irq = -1;

static void write_irq(void)
{
	const uint64_t one = 1;

	(void)!write(irq, &one, sizeof(one));
}

static void an_interrupt_by_descriptor_wakes_a_halted_guest(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	pthread_t thread;

	(void)state;
	irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	start_apic_guest();
	kiln_ok(kiln_hv_vm_set_route(guest.vm, 3, MSI_ADDRESS, VECTOR + 3, &err), &err);
	kiln_ok(kiln_hv_vm_add_irq(guest.vm, 3, irq, &err), &err);
	thread = start(write_irq);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR + 3);
	pthread_join(thread, NULL);

	/* A route that changes takes its descriptor along; one that goes, not. */
	kiln_ok(kiln_hv_vm_set_route(guest.vm, 3, MSI_ADDRESS, VECTOR + 4, &err), &err);
	write_irq();
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR + 4);
	assert_int_equal(kiln_hv_vm_add_irq(guest.vm, 3, irq, &err), KILN_EBUSY);
	kiln_ok(kiln_hv_vm_remove_irq(guest.vm, 3, irq, &err), &err);
	write_irq();
	kiln_ok(kiln_hv_vm_send_msi(guest.vm, MSI_ADDRESS, VECTOR, &err), &err);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR);
	close(irq);
}

static void routes_that_are_not_there_are_refused(void **state)
{
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_int_equal(
		kiln_hv_vm_set_route(guest.vm, KILN_HV_MAX_ROUTES, MSI_ADDRESS, VECTOR, &err),
		KILN_EOVERFLOW);
	assert_int_equal(kiln_hv_vm_add_irq(guest.vm, 0, bell, &err), KILN_ENOENT);
	for (unsigned i = 0; i < KILN_HV_MAX_ROUTES; i++)
		kiln_ok(kiln_hv_vm_set_route(guest.vm, i, MSI_ADDRESS, i, &err), &err);
	assert_int_equal(kiln_hv_vm_add_irq(guest.vm, KILN_HV_MAX_ROUTES, bell, &err), KILN_ENOENT);
	assert_true(kiln_hv_vm_add_irq(guest.vm, 0, -1, &err) < 0);
}

/* Without the I/O APIC, which is the caller's then. */
static void local_apics_alone_take_messages_but_no_lines(void **state)
{
	kiln_hv_vm_options options = KILN_HV_VM_OPTIONS_INIT;
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_vm *vm = NULL;

	(void)state;
	options.irqchip = KILN_HV_IRQCHIP_LOCAL;
	if (kiln_hv_vm_new(&vm, guest_hv, &options, &err) < 0)
		guest_cannot(err.message);
	kiln_hv_vm_free(vm);
	guest_drop(&guest);
	guest_make(&guest, KILN_HV_IRQCHIP_LOCAL);
	guest_handle(&guest, handlers);
	guest_load(&guest, lapic, 0);
	guest_run_to_write(&guest, PORT_READY);
	kiln_ok(kiln_hv_vm_send_msi(guest.vm, MSI_ADDRESS, VECTOR, &err), &err);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR);
	irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	kiln_ok(kiln_hv_vm_set_route(guest.vm, 0, MSI_ADDRESS, VECTOR + 2, &err), &err);
	kiln_ok(kiln_hv_vm_add_irq(guest.vm, 0, irq, &err), &err);
	write_irq();
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR + 2);
	close(irq);
	assert_int_equal(kiln_hv_vm_set_line(guest.vm, LINE, true, &err), KILN_ENOTSUP);
	assert_int_equal(kiln_hv_x86_interrupt(guest.vcpu, VECTOR, &err), KILN_ENOTSUP);
}

static void a_vm_without_a_controller_has_no_messages_or_lines(void **state)
{
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_int_equal(kiln_hv_vm_send_msi(guest.vm, MSI_ADDRESS, VECTOR, &err), KILN_ENOTSUP);
	assert_int_equal(kiln_hv_vm_set_line(guest.vm, LINE, true, &err), KILN_ENOTSUP);
	assert_int_equal(kiln_hv_vm_set_route(guest.vm, 0, MSI_ADDRESS, VECTOR, &err),
			 KILN_ENOTSUP);
}

/* Then the caller delivers interrupts, and is told when the guest takes them. */
static void an_interrupt_of_the_callers_waits_until_the_guest_takes_it(void **state)
{
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	guest_handle(&guest, plain_handlers);
	guest_load(&guest, late, 0);
	guest_run_to_write(&guest, PORT_READY);
	assert_int_equal(kiln_hv_x86_interrupt(guest.vcpu, VECTOR, &err), KILN_EBUSY);
	guest_run(&guest, KILN_HV_EXIT_KICKED);
	kiln_ok(kiln_hv_x86_interrupt(guest.vcpu, VECTOR, &err), &err);
	assert_int_equal(kiln_hv_x86_interrupt(guest.vcpu, VECTOR + 1, &err), KILN_EBUSY);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR);
}

/* --- doorbells ---------------------------------------------------------------------------------
 */

static void a_doorbell_is_rung_without_an_exit(void **state)
{
	const kiln_hv_doorbell memory = {.address = DEVICE, .size = 4};
	const kiln_hv_doorbell ring = {.address = PORT_BELL, .size = 1, .port = true};
	int fd = eventfd(0, EFD_CLOEXEC);
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	kiln_ok(kiln_hv_vm_add_doorbell(guest.vm, &memory, fd, &err), &err);
	assert_int_equal(kiln_hv_vm_add_doorbell(guest.vm, &memory, fd, &err), KILN_EEXIST);
	guest_load(&guest, ring, DEVICE);
	guest_run(&guest, KILN_HV_EXIT_MMIO); /* the write of two bytes rings no bell of four */
	assert_int_equal(guest.exit.access.size, 2);
	assert_int_equal(rung(bell), 3);
	assert_int_equal(rung(fd), 0);
	guest_run(&guest, KILN_HV_EXIT_HALT);
	assert_int_equal(rung(fd), 1);

	kiln_ok(kiln_hv_vm_remove_doorbell(guest.vm, &ring, bell, &err), &err);
	assert_int_equal(kiln_hv_vm_remove_doorbell(guest.vm, &ring, bell, &err), KILN_ENOENT);
	guest_load(&guest, ring, DEVICE);
	assert_int_equal(guest_run_to_write(&guest, PORT_BELL), 1);
	assert_int_equal(rung(bell), 0);
	close(fd);
}

static void a_doorbell_that_matches_is_rung_by_its_value_alone(void **state)
{
	const kiln_hv_doorbell two = {
		.address = PORT_BELL, .size = 1, .port = true, .match = true, .value = 2};
	const kiln_hv_doorbell any = {.address = PORT_BELL, .size = 1, .port = true};
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	kiln_ok(kiln_hv_vm_remove_doorbell(guest.vm, &any, bell, &err), &err);
	kiln_ok(kiln_hv_vm_add_doorbell(guest.vm, &two, bell, &err), &err);
	guest_load(&guest, ring, DEVICE);
	assert_int_equal(guest_run_to_write(&guest, PORT_BELL), 1);
	assert_int_equal(rung(bell), 0);
	assert_int_equal(guest_run_to_write(&guest, PORT_BELL), 3);
	assert_int_equal(rung(bell), 1);
}

static void a_doorbell_of_any_size_is_rung_by_each(void **state)
{
	const kiln_hv_doorbell any = {.address = DEVICE};
	const kiln_hv_doorbell odd = {.address = DEVICE + 8, .size = 3};
	int fd = eventfd(0, EFD_CLOEXEC);
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	kiln_ok(kiln_hv_vm_add_doorbell(guest.vm, &any, fd, &err), &err);
	assert_int_equal(kiln_hv_vm_add_doorbell(guest.vm, &odd, fd, &err), KILN_EINVAL);
	guest_load(&guest, ring, DEVICE);
	guest_run(&guest, KILN_HV_EXIT_HALT);
	assert_int_equal(rung(fd), 2);
	close(fd);
}

int main(void)
{
#define TEST(name)         cmocka_unit_test_setup_teardown(name, begin, end)
#define TEST_IRQCHIP(name) cmocka_unit_test_setup_teardown(name, begin_with_irqchip, end)
	static const struct CMUnitTest tests[] = {
		TEST(a_kick_ends_a_run_of_a_guest_that_spins),
		TEST_IRQCHIP(a_kick_ends_a_run_of_a_guest_that_is_halted),
		TEST_IRQCHIP(a_message_reaches_the_guests_handler),
		TEST_IRQCHIP(a_message_wakes_a_halted_guest),
		TEST_IRQCHIP(a_line_reaches_the_guest_by_its_io_apic_with_routes_and_without),
		TEST_IRQCHIP(an_interrupt_by_descriptor_wakes_a_halted_guest),
		TEST_IRQCHIP(routes_that_are_not_there_are_refused),
		TEST(local_apics_alone_take_messages_but_no_lines),
		TEST(a_vm_without_a_controller_has_no_messages_or_lines),
		TEST(an_interrupt_of_the_callers_waits_until_the_guest_takes_it),
		TEST(a_doorbell_is_rung_without_an_exit),
		TEST(a_doorbell_that_matches_is_rung_by_its_value_alone),
		TEST(a_doorbell_of_any_size_is_rung_by_each),
	};
	kiln_error err = KILN_ERROR_INIT;
	int failed;

	if (guest_open(&err) < 0)
		return kiln_test_skip(err.message);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	kiln_hv_free(guest_hv);
	return failed;
}
