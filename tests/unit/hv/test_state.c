/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's state: its parts as they are read and set, and the whole as a blob that another VM's
 * goes on from; blobs that are not what they should be are refused, whatever is wrong with them.
 */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

#define DEVICE 0x20000 /* where there is no memory */

#define MSR_LSTAR          0xc0000082u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_NONE           0x4b494c4eu /* no processor has this one */

#define VECTOR_BOUND 5
#define VECTOR_NMI   2

#define MSI_ADDRESS 0xfee00000u
#define VECTOR      0x40

static struct guest guest;
static struct guest other; /* where state is loaded */

static int begin(void **state)
{
	kiln_test_begin(state);
	guest_make(&guest, KILN_HV_IRQCHIP_NONE);
	return 0;
}

static int end(void **state)
{
	guest_drop(&guest);
	if (other.vm)
		guest_drop(&other);
	return kiln_test_end(state);
}

/* Tells the guest of all that there is. */
static void tell_cpuid(struct guest *to)
{
	static kiln_hv_x86_cpuid entries[KILN_HV_MAX_CPUID];
	kiln_error err = KILN_ERROR_INIT;
	int count = kiln_hv_x86_host_cpuid(guest_hv, entries, &err);

	kiln_ok(count, &err);
	kiln_ok(kiln_hv_x86_set_cpuid(to->vcpu, entries, (size_t)count, &err), &err);
}

/* --- parts ------------------------------------------------------------------------------------ */

static void msrs_read_back_as_they_were_set_and_one_that_is_not_there_is_named(void **state)
{
	kiln_hv_x86_msr msrs[] = {{MSR_LSTAR, 0xffff800000001000},
				  {MSR_KERNEL_GS_BASE, 0xffff888000002000}};
	kiln_hv_x86_msr bad[] = {{MSR_KERNEL_GS_BASE, 0x3000}, {MSR_NONE, 1}, {MSR_LSTAR, 2}};
	static kiln_hv_x86_msr many[KILN_HV_MAX_MSRS + 1];
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	tell_cpuid(&guest);
	kiln_ok(kiln_hv_x86_set_msrs(guest.vcpu, msrs, 2, &err), &err);
	msrs[0].value = msrs[1].value = 0;
	kiln_ok(kiln_hv_x86_get_msrs(guest.vcpu, msrs, 2, &err), &err);
	assert_int_equal(msrs[0].value, 0xffff800000001000);
	assert_int_equal(msrs[1].value, 0xffff888000002000);

	assert_int_equal(kiln_hv_x86_get_msrs(guest.vcpu, bad, 3, &err), KILN_EINVAL);
	assert_non_null(strstr(err.message, "0x4b494c4e"));
	assert_int_equal(bad[0].value, 0x3000);
	assert_int_equal(kiln_hv_x86_set_msrs(guest.vcpu, bad, 3, &err), KILN_EINVAL);
	assert_non_null(strstr(err.message, "0x4b494c4e"));
	kiln_ok(kiln_hv_x86_get_msrs(guest.vcpu, msrs, 2, &err), &err);
	assert_int_equal(msrs[0].value, 0xffff800000001000); /* behind the refused one */
	assert_int_equal(msrs[1].value, 0x3000);
	assert_int_equal(kiln_hv_x86_get_msrs(guest.vcpu, many, KILN_HV_MAX_MSRS + 1, &err),
			 KILN_EOVERFLOW);
}

/* SDM vol. 1, 10.5.1: where what is in FXSAVE's area. */
#define FXSAVE_FCW   0
#define FXSAVE_MXCSR 24
#define FXSAVE_ST0   32
#define FXSAVE_XMM0  160

#define A_FCW   0x027f     /* double precision, all exceptions masked */
#define A_MXCSR 0x00007fc0 /* round to zero, denormals are zeros, all masked */
#define AN_XMM  0x0badcafe

static void fill_fpu(uint8_t fpu[KILN_HV_X86_FPU_SIZE])
{
	const uint32_t xmm = AN_XMM, mxcsr = A_MXCSR;
	const uint16_t fcw = A_FCW;

	memset(fpu, 0, KILN_HV_X86_FPU_SIZE);
	for (size_t i = FXSAVE_XMM0; i < FXSAVE_XMM0 + 256; i++)
		fpu[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < 80; i++)
		fpu[FXSAVE_ST0 + i / 10 * 16 + i % 10] = (uint8_t)(i + 1);
	fpu[4] = 0xff; /* all eight registers are in use */
	memcpy(fpu + FXSAVE_FCW, &fcw, sizeof(fcw));
	memcpy(fpu + FXSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	memcpy(fpu + FXSAVE_XMM0, &xmm, sizeof(xmm));
}

/* But for the mask of MXCSR's bits, which is the processor's. */
static void assert_same_fpu(uint8_t a[KILN_HV_X86_FPU_SIZE], uint8_t b[KILN_HV_X86_FPU_SIZE])
{
	assert_memory_equal(a, b, FXSAVE_MXCSR + 4);
	assert_memory_equal(a + FXSAVE_ST0, b + FXSAVE_ST0, 128 + 256);
}

static void fpu_state_reads_back_as_it_was_set_and_is_the_guests(void **state)
{
	uint8_t set[KILN_HV_X86_FPU_SIZE];
	uint8_t got[KILN_HV_X86_FPU_SIZE];
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_x86_state registers;

	(void)state;
	tell_cpuid(&guest);
	fill_fpu(set);
	kiln_ok(kiln_hv_x86_set_fpu(guest.vcpu, set, &err), &err);
	kiln_ok(kiln_hv_x86_get_fpu(guest.vcpu, got, &err), &err);
	assert_same_fpu(set, got);

	guest_load(&guest, sse, GUEST_STACK);
	kiln_ok(kiln_hv_x86_get_state(guest.vcpu, &registers, &err), &err);
	registers.cr4 |= KILN_X86_CR4_OSFXSR;
	kiln_ok(kiln_hv_x86_set_state(guest.vcpu, &registers, &err), &err);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), AN_XMM);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), A_MXCSR);
	kiln_ok(kiln_hv_x86_get_fpu(guest.vcpu, got, &err), &err);
	assert_same_fpu(set, got);

	memset(set + FXSAVE_MXCSR, 0xff, 4); /* bits that no processor has */
	assert_int_equal(kiln_hv_x86_set_fpu(guest.vcpu, set, &err), KILN_EINVAL);
}

static void an_exception_that_is_set_is_delivered(void **state)
{
	kiln_hv_x86_events events = {.exception = true, .vector = VECTOR_BOUND};
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	guest_handle(&guest, plain_handlers);
	guest_load(&guest, touch, GUEST_STACK);
	kiln_ok(kiln_hv_x86_set_events(guest.vcpu, &events, &err), &err);
	kiln_ok(kiln_hv_x86_get_events(guest.vcpu, &events, &err), &err);
	assert_true(events.exception);
	assert_int_equal(events.vector, VECTOR_BOUND);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR_BOUND);
	kiln_ok(kiln_hv_x86_get_events(guest.vcpu, &events, &err), &err);
	assert_false(events.exception);
	guest_run_to_write(&guest, PORT_SAY); /* and the guest goes on */
	guest_run(&guest, KILN_HV_EXIT_HALT);

	events = (kiln_hv_x86_events){.exception = true, .vector = VECTOR_NMI};
	assert_int_equal(kiln_hv_x86_set_events(guest.vcpu, &events, &err), KILN_EINVAL);
}

static void an_nmi_that_is_set_is_delivered_and_masks_the_next(void **state)
{
	kiln_hv_x86_events events = {.nmi_pending = true};
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	guest_handle(&guest, plain_handlers);
	guest_load(&guest, touch, GUEST_STACK);
	kiln_ok(kiln_hv_x86_set_events(guest.vcpu, &events, &err), &err);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR_NMI);
	kiln_ok(kiln_hv_x86_get_events(guest.vcpu, &events, &err), &err);
	assert_false(events.nmi_pending);
	if (!events.nmi_masked)
		guest_cannot("it forgets that an NMI is being handled");
	guest_run_to_write(&guest, PORT_SAY);
	guest_run(&guest, KILN_HV_EXIT_HALT);
	kiln_ok(kiln_hv_x86_get_events(guest.vcpu, &events, &err), &err);
	assert_false(events.nmi_masked);
}

/* In the shadow of STI or MOV SS the guest takes no interrupt. */
static void a_shadow_that_is_set_keeps_interrupts_out(void **state)
{
	kiln_hv_x86_events events = {.shadow = true};
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_x86_state registers;

	(void)state;
	guest_handle(&guest, plain_handlers);
	guest_load(&guest, touch, GUEST_STACK);
	kiln_ok(kiln_hv_x86_get_state(guest.vcpu, &registers, &err), &err);
	registers.rflags |= 0x200; /* IF */
	kiln_ok(kiln_hv_x86_set_state(guest.vcpu, &registers, &err), &err);
	kiln_ok(kiln_hv_x86_set_events(guest.vcpu, &events, &err), &err);
	kiln_ok(kiln_hv_x86_get_events(guest.vcpu, &events, &err), &err);
	if (!events.shadow)
		guest_cannot("it keeps no interrupt shadow");
	assert_int_equal(kiln_hv_x86_interrupt(guest.vcpu, VECTOR, &err), KILN_EBUSY);
	events.shadow = false;
	kiln_ok(kiln_hv_x86_set_events(guest.vcpu, &events, &err), &err);
	kiln_ok(kiln_hv_x86_interrupt(guest.vcpu, VECTOR, &err), &err);
	kiln_ok(kiln_hv_x86_get_events(guest.vcpu, &events, &err), &err);
	assert_true(events.interrupt);
	assert_int_equal(events.interrupt_vector, VECTOR);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), VECTOR);
}

/* --- from one VM into another --------------------------------------------------------------------
 */

#define NUMBERS 10
#define SEED    7u
#define ANSWER  0x00c0ffeeu /* to PORT_ASK */

static uint32_t next_number(uint32_t number)
{
	return number * 1103515245 + 12345;
}

static void start_sequence(void)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_x86_state registers;

	tell_cpuid(&guest);
	guest_load(&guest, sequence, 0);
	kiln_ok(kiln_hv_x86_get_state(guest.vcpu, &registers, &err), &err);
	registers.gpr[KILN_X86_RAX] = SEED;
	registers.gpr[KILN_X86_RCX] = NUMBERS;
	kiln_ok(kiln_hv_x86_set_state(guest.vcpu, &registers, &err), &err);
}

/* Takes what runs in @guest, as it is, to a new VM in @other; the first one is gone then. */
static void move(enum kiln_hv_irqchip irqchip)
{
	static uint8_t memory[GUEST_MEMORY];
	kiln_error err = KILN_ERROR_INIT;
	void *vm = NULL, *vcpu = NULL;
	size_t vm_size = 0, vcpu_size = 0;

	kiln_ok(kiln_hv_vm_save(guest.vm, &vm, &vm_size, &err), &err);
	kiln_ok(kiln_hv_vcpu_save(guest.vcpu, &vcpu, &vcpu_size, &err), &err);
	kiln_ok(kiln_hv_vm_read(guest.vm, 0, memory, sizeof(memory), &err), &err);
	guest_drop(&guest);
	guest_make(&other, irqchip);
	kiln_ok(kiln_hv_vm_write(other.vm, 0, memory, sizeof(memory), &err), &err);
	kiln_ok(kiln_hv_vm_load(other.vm, vm, vm_size, &err), &err);
	kiln_ok(kiln_hv_vcpu_load(other.vcpu, vcpu, vcpu_size, &err), &err);
	free(vm);
	free(vcpu);
	guest_make(&guest, irqchip); /* for the next one */
}

/* Says what comes of the sequence from @i on, the last number in @number, and answers the question.
 */
static void finish_sequence(struct guest *in, unsigned i, uint32_t number)
{
	const uint32_t answer = ANSWER;

	for (; i < NUMBERS; i++) {
		number = next_number(number);
		assert_int_equal(guest_run_to_write(in, PORT_SAY), number);
	}
	guest_run(in, KILN_HV_EXIT_PORT);
	assert_false(in->exit.access.write);
	assert_int_equal(in->exit.access.address, PORT_ASK);
	memcpy(in->exit.access.data, &answer, sizeof(answer));
	assert_int_equal(guest_run_to_write(in, PORT_SAY), number ^ answer);
	guest_run(in, KILN_HV_EXIT_HALT);
}

/* At an exit whose access is not complete: it must be, and must not come again. */
static void a_computation_goes_on_in_another_vm(void **state)
{
	kiln_hv_x86_msr msr = {MSR_KERNEL_GS_BASE, 0xffff888000002000};
	uint8_t fpu[KILN_HV_X86_FPU_SIZE];
	uint8_t got[KILN_HV_X86_FPU_SIZE];
	kiln_error err = KILN_ERROR_INIT;
	uint32_t number = SEED;

	(void)state;
	start_sequence();
	fill_fpu(fpu);
	kiln_ok(kiln_hv_x86_set_fpu(guest.vcpu, fpu, &err), &err);
	kiln_ok(kiln_hv_x86_set_msrs(guest.vcpu, &msr, 1, &err), &err);
	for (unsigned i = 0; i < NUMBERS / 2; i++) {
		number = next_number(number);
		assert_int_equal(guest_run_to_write(&guest, PORT_SAY), number);
	}
	move(KILN_HV_IRQCHIP_NONE);
	finish_sequence(&other, NUMBERS / 2, number);
	msr.value = 0;
	kiln_ok(kiln_hv_x86_get_msrs(other.vcpu, &msr, 1, &err), &err);
	assert_int_equal(msr.value, 0xffff888000002000);
	kiln_ok(kiln_hv_x86_get_fpu(other.vcpu, got, &err), &err);
	assert_same_fpu(fpu, got);
}

static void an_answer_that_was_given_is_saved_with_the_state(void **state)
{
	const uint32_t answer = ANSWER;
	uint32_t number = SEED;

	(void)state;
	start_sequence();
	for (unsigned i = 0; i < NUMBERS; i++)
		number = guest_run_to_write(&guest, PORT_SAY);
	guest_run(&guest, KILN_HV_EXIT_PORT);
	memcpy(guest.exit.access.data, &answer, sizeof(answer));
	move(KILN_HV_IRQCHIP_NONE);
	assert_int_equal(guest_run_to_write(&other, PORT_SAY), number ^ answer);
	guest_run(&other, KILN_HV_EXIT_HALT);
}

/* The same vCPU, which has run on meanwhile, goes back to where it was. */
static void a_vcpu_goes_back_to_what_it_was(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	uint32_t number = SEED;
	void *blob = NULL;
	size_t size = 0;

	(void)state;
	start_sequence();
	number = guest_run_to_write(&guest, PORT_SAY);
	kiln_ok(kiln_hv_vcpu_save(guest.vcpu, &blob, &size, &err), &err);
	for (unsigned i = 0; i < 3; i++) {
		finish_sequence(&guest, 1, number);
		kiln_ok(kiln_hv_vcpu_load(guest.vcpu, blob, size, &err), &err);
	}
	guest_run_to_write(&guest, PORT_SAY); /* loaded over an access that was not complete */
	kiln_ok(kiln_hv_vcpu_load(guest.vcpu, blob, size, &err), &err);
	finish_sequence(&guest, 1, number);
	free(blob);
}

/* An instruction of two accesses: the state between them is nobody's. */
static void state_within_an_instruction_is_refused_and_nothing_is_lost(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_x86_state registers;
	void *blob = NULL;
	size_t size = 0;

	(void)state;
	guest_load(&guest, crossing, DEVICE);
	guest_run(&guest, KILN_HV_EXIT_MMIO);
	assert_int_equal(guest.exit.access.address, DEVICE + 0xffe);
	assert_int_equal(guest.exit.access.size, 2);
	memcpy(guest.exit.access.data, "\x11\x22", 2);
	kiln_ok(kiln_hv_x86_get_state(guest.vcpu, &registers, &err), &err);
	assert_int_equal(kiln_hv_vcpu_save(guest.vcpu, &blob, &size, &err), KILN_ESTATE);
	assert_int_equal(kiln_hv_vcpu_save(guest.vcpu, &blob, &size, &err), KILN_ESTATE);
	assert_int_equal(kiln_hv_x86_set_state(guest.vcpu, &registers, &err), KILN_ESTATE);
	assert_null(blob);
	guest_run(&guest, KILN_HV_EXIT_MMIO);
	assert_int_equal(guest.exit.access.address, DEVICE + 0x1000);
	memcpy(guest.exit.access.data, "\x33\x44", 2);
	kiln_ok(kiln_hv_vcpu_save(guest.vcpu, &blob, &size, &err), &err);
	free(blob);
	assert_int_equal(guest_run_to_write(&guest, PORT_SAY), 0x44332211);
	guest_run(&guest, KILN_HV_EXIT_HALT);
}

static void a_machine_with_its_interrupt_controller_goes_on_in_another_vm(void **state)
{
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	guest_drop(&guest);
	guest_make(&guest, KILN_HV_IRQCHIP_FULL);
	tell_cpuid(&guest);
	guest_handle(&guest, handlers);
	guest_load(&guest, apic, 0);
	guest_run_to_write(&guest, PORT_READY);
	kiln_ok(kiln_hv_vm_send_msi(guest.vm, MSI_ADDRESS, VECTOR, &err), &err); /* pending */
	guest_run_to_write(&guest, PORT_BELL);
	move(KILN_HV_IRQCHIP_FULL);
	assert_int_equal(guest_run_to_write(&other, PORT_SAY), VECTOR);
	kiln_ok(kiln_hv_vm_set_line(other.vm, LINE, true, &err), &err);
	kiln_ok(kiln_hv_vm_set_line(other.vm, LINE, false, &err), &err);
	assert_int_equal(guest_run_to_write(&other, PORT_SAY), VECTOR_LINE);
	kiln_hv_vcpu_note_pause(other.vcpu); /* it has no such clock: nothing happens */
	kiln_ok(kiln_hv_vm_send_msi(other.vm, MSI_ADDRESS, VECTOR + 1, &err), &err);
	assert_int_equal(guest_run_to_write(&other, PORT_SAY), VECTOR + 1);
}

#define EFER_SVME 0x1000u

static void a_guest_that_is_a_hypervisor_is_refused(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_x86_state registers;
	void *blob = NULL;
	size_t size = 0;

	(void)state;
	tell_cpuid(&guest);
	kiln_ok(kiln_hv_x86_get_state(guest.vcpu, &registers, &err), &err);
	registers.efer |= EFER_SVME;
	if (kiln_hv_x86_set_state(guest.vcpu, &registers, &err) < 0) {
		print_message("its guests cannot be hypervisors by AMD's extension\n");
		skip();
	}
	assert_int_equal(kiln_hv_vcpu_save(guest.vcpu, &blob, &size, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "hypervisor"));
	assert_null(blob);
}

/* --- blobs that are not what they should be
 * --------------------------------------------------------- */

/* The form that src/hv/kvm/state.h tells of. */
#define HEADER_SIZE  24
#define SECTION_SIZE 8 /* number and length, before the bytes */
#define AT_VERSION   8
#define AT_ARCH      10
#define AT_SUM       16

#define SECTION_FINGERPRINT 1
#define SECTION_CPUID       2

struct blob {
	uint8_t *bytes;
	size_t size;
};

static struct blob save_vcpu(void)
{
	kiln_error err = KILN_ERROR_INIT;
	struct blob blob = {NULL, 0};
	void *bytes = NULL;

	kiln_ok(kiln_hv_vcpu_save(guest.vcpu, &bytes, &blob.size, &err), &err);
	blob.bytes = bytes;
	return blob;
}

static uint32_t word_at(const struct blob *blob, size_t at)
{
	uint32_t word;

	assert_true(at + sizeof(word) <= blob->size);
	memcpy(&word, blob->bytes + at, sizeof(word));
	return word;
}

static size_t next_section(const struct blob *blob, size_t at)
{
	return at + SECTION_SIZE + ((word_at(blob, at + 4) + 7) & ~7u);
}

static size_t find_section(const struct blob *blob, uint32_t number)
{
	size_t at = HEADER_SIZE;

	while (word_at(blob, at) != number)
		at = next_section(blob, at);
	return at + SECTION_SIZE;
}

/* Makes the checksum (FNV-1a) right, as somebody who forges a blob would. */
static void forge(struct blob *blob)
{
	uint64_t sum = 0xcbf29ce484222325;

	for (size_t i = HEADER_SIZE; i < blob->size; i++)
		sum = (sum ^ blob->bytes[i]) * 0x100000001b3;
	memcpy(blob->bytes + AT_SUM, &sum, sizeof(sum));
}

static int load(const struct blob *blob, kiln_error *err)
{
	return kiln_hv_vcpu_load(guest.vcpu, blob->bytes, blob->size, err);
}

static void a_blob_that_is_cut_or_longer_is_refused(void **state)
{
	struct blob blob;
	struct blob cut;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	tell_cpuid(&guest);
	blob = save_vcpu();
	kiln_ok(load(&blob, &err), &err);
	for (size_t size = 0; size < blob.size; size++) {
		/* Of just this size, so that a sanitizer sees what is read behind it. */
		cut = (struct blob){malloc(size + !size), size};
		memcpy(cut.bytes, blob.bytes, size);
		assert_int_equal(load(&cut, &err), KILN_EFORMAT);
		free(cut.bytes);
	}
	cut = (struct blob){calloc(1, blob.size + 4), blob.size + 4};
	memcpy(cut.bytes, blob.bytes, blob.size);
	forge(&cut);
	assert_int_equal(load(&cut, &err), KILN_EFORMAT);
	free(cut.bytes);
	free(blob.bytes);
}

/* Where sections end, and within them, with the checksum made right: what is missing is told. */
static void a_blob_without_its_last_sections_is_refused(void **state)
{
	struct blob blob;
	struct blob cut;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	tell_cpuid(&guest);
	blob = save_vcpu();
	for (size_t at = HEADER_SIZE; at < blob.size; at = next_section(&blob, at)) {
		for (size_t more = 0; more < 16; more++) {
			cut = (struct blob){malloc(at + more), at + more};
			memcpy(cut.bytes, blob.bytes, cut.size);
			forge(&cut);
			assert_int_equal(load(&cut, &err), KILN_EFORMAT);
			free(cut.bytes);
		}
	}
	free(blob.bytes);
}

/* At an address that is no multiple of anything: as it may lie in a file that was read. */
static void a_blob_may_lie_anywhere(void **state)
{
	struct blob blob;
	struct blob odd;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	tell_cpuid(&guest);
	blob = save_vcpu();
	odd = (struct blob){malloc(blob.size + 1), blob.size};
	memcpy(odd.bytes + 1, blob.bytes, blob.size);
	odd.bytes++;
	kiln_ok(load(&odd, &err), &err);
	free(odd.bytes - 1);
	free(blob.bytes);
}

static void no_bit_that_flips_goes_unnoticed(void **state)
{
	struct blob blob;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	tell_cpuid(&guest);
	blob = save_vcpu();
	for (size_t bit = 0; bit < 8 * blob.size; bit += bit < 8 * HEADER_SIZE ? 1 : 9) {
		blob.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(load(&blob, &err), KILN_EFORMAT);
		blob.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	kiln_ok(load(&blob, &err), &err);
	free(blob.bytes);
}

/* With the checksum made right: whatever comes of it, it is a code, and the next load is sound. */
static void what_forges_its_structure_does_no_harm(void **state)
{
	struct blob blob;
	kiln_error err = KILN_ERROR_INIT;
	unsigned refused = 0, flipped = 0;

	(void)state;
	tell_cpuid(&guest);
	blob = save_vcpu();
	for (size_t next, at = HEADER_SIZE; at < blob.size; at = next) {
		next = next_section(&blob, at);
		for (size_t bit = 8 * at; bit < 8 * (at + SECTION_SIZE); bit++, flipped++) {
			blob.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			forge(&blob);
			refused += load(&blob, &err) < 0;
			blob.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	assert_true(flipped >= 64 * 9 && refused > flipped - flipped / 16);
	forge(&blob);
	kiln_ok(load(&blob, &err), &err);
	free(blob.bytes);
}

static void a_blob_of_another_kind_or_place_is_refused(void **state)
{
	struct blob blob;
	kiln_error err = KILN_ERROR_INIT;
	void *vm = NULL;
	size_t vm_size = 0;

	(void)state;
	blob = save_vcpu();
	kiln_ok(kiln_hv_vm_save(guest.vm, &vm, &vm_size, &err), &err);
	assert_int_equal(kiln_hv_vcpu_load(guest.vcpu, vm, vm_size, &err), KILN_EFORMAT);
	assert_non_null(strstr(err.message, "another object"));
	assert_int_equal(kiln_hv_vm_load(guest.vm, blob.bytes, blob.size, &err), KILN_EFORMAT);
	blob.bytes[AT_ARCH] ^= 3;
	assert_int_equal(load(&blob, &err), KILN_EFORMAT);
	assert_non_null(strstr(err.message, "another architecture"));
	blob.bytes[AT_ARCH] ^= 3;
	blob.bytes[AT_VERSION]++;
	assert_int_equal(load(&blob, &err), KILN_EFORMAT);
	assert_non_null(strstr(err.message, "version 2"));
	blob.bytes[AT_VERSION]--;

	/* And so is one of a machine with another interrupt controller. */
	guest_make(&other, KILN_HV_IRQCHIP_FULL);
	assert_int_equal(kiln_hv_vcpu_load(other.vcpu, blob.bytes, blob.size, &err), KILN_EINVAL);
	assert_int_equal(kiln_hv_vm_load(other.vm, vm, vm_size, &err), KILN_EINVAL);
	free(blob.bytes);
	free(vm);
	blob = (struct blob){NULL, 0};
	vm = NULL;
	kiln_ok(kiln_hv_vcpu_save(other.vcpu, &vm, &vm_size, &err), &err);
	assert_int_equal(kiln_hv_vcpu_load(guest.vcpu, vm, vm_size, &err), KILN_EINVAL);
	free(vm);
	vm = NULL;
	kiln_ok(kiln_hv_vm_save(other.vm, &vm, &vm_size, &err), &err);
	assert_int_equal(kiln_hv_vm_load(guest.vm, vm, vm_size, &err), KILN_EINVAL);
	free(vm);
}

/*
 * Sets a bit that no processor has, bit 0 of EDX of leaf 7, in what the state's had, and in what
 * its guest was told.
 */
static void add_feature(struct blob *blob, bool told)
{
	const size_t word = 4, edx = 24;
	size_t features = find_section(blob, SECTION_FINGERPRINT) + 16 + 4 + 4 * word;
	size_t cpuid = find_section(blob, SECTION_CPUID);
	size_t end = cpuid + word_at(blob, cpuid - 4);

	blob->bytes[features] |= 1;
	for (size_t at = cpuid; told && at < end; at += 40) /* struct kvm_cpuid_entry2 */
		if (word_at(blob, at) == 7 && word_at(blob, at + 4) == 0)
			blob->bytes[at + edx] |= 1;
}

static void a_state_of_another_processor_is_refused_by_name(void **state)
{
	struct blob blob;
	size_t vendor;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	tell_cpuid(&guest);
	blob = save_vcpu();
	add_feature(&blob, false);
	forge(&blob); /* of what it was not told, it does not know */
	kiln_ok(load(&blob, &err), &err);
	add_feature(&blob, true);
	forge(&blob);
	assert_int_equal(load(&blob, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "CPUID 7.edx, bits 0x1"));
	free(blob.bytes);

	blob = save_vcpu();
	vendor = find_section(&blob, SECTION_FINGERPRINT);
	memcpy(blob.bytes + vendor, "Geode\033by NSC, and more", 16);
	forge(&blob);
	assert_int_equal(load(&blob, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "Geode?by NSC")); /* fit for a terminal */
	free(blob.bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	static const struct CMUnitTest tests[] = {
		TEST(msrs_read_back_as_they_were_set_and_one_that_is_not_there_is_named),
		TEST(fpu_state_reads_back_as_it_was_set_and_is_the_guests),
		TEST(an_exception_that_is_set_is_delivered),
		TEST(an_nmi_that_is_set_is_delivered_and_masks_the_next),
		TEST(a_shadow_that_is_set_keeps_interrupts_out),
		TEST(a_computation_goes_on_in_another_vm),
		TEST(an_answer_that_was_given_is_saved_with_the_state),
		TEST(a_vcpu_goes_back_to_what_it_was),
		TEST(state_within_an_instruction_is_refused_and_nothing_is_lost),
		TEST(a_machine_with_its_interrupt_controller_goes_on_in_another_vm),
		TEST(a_guest_that_is_a_hypervisor_is_refused),
		TEST(a_blob_that_is_cut_or_longer_is_refused),
		TEST(a_blob_may_lie_anywhere),
		TEST(no_bit_that_flips_goes_unnoticed),
		TEST(what_forges_its_structure_does_no_harm),
		TEST(a_blob_without_its_last_sections_is_refused),
		TEST(a_blob_of_another_kind_or_place_is_refused),
		TEST(a_state_of_another_processor_is_refused_by_name),
	};
	kiln_error err = KILN_ERROR_INIT;
	int failed;

	if (guest_open(&err) < 0)
		return kiln_test_skip(err.message);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	kiln_hv_free(guest_hv);
	return failed;
}
