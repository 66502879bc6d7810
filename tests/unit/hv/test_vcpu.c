/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisor port, with guests of a few bytes that any KVM runs. */
#include "kiln_test.h"

#include <kiln/hv.h>
#if defined(__x86_64__)
#include <kiln/hv_x86.h>
#else
#include <kiln/hv_arm64.h>
#endif

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY_SIZE 0x10000
#define ENTRY       0x1000

static kiln_hv *hv;
static kiln_hv_vm *vm;
static kiln_hv_vcpu *vcpu;
static uint8_t *memory;

static void ok(int code, const kiln_error *err)
{
	if (code < 0)
		fail_msg("%s", err->message);
}

/* A VM with 64 KiB at 0 and one vCPU. */
static int make_vm(void **state)
{
	kiln_error err = KILN_ERROR_INIT;

	kiln_test_begin(state);
	ok(kiln_hv_vm_new(&vm, hv, NULL, &err), &err);
	memory =
		mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	ok(kiln_hv_vm_map(vm, 0, memory, MEMORY_SIZE, 0, &err), &err);
	ok(kiln_hv_vcpu_new(&vcpu, vm, 0, &err), &err);
	return 0;
}

static int drop_vm(void **state)
{
	kiln_hv_vcpu_free(vcpu);
	kiln_hv_vm_free(vm);
	munmap(memory, MEMORY_SIZE);
	return kiln_test_end(state);
}

/* Puts a guest at ENTRY and the vCPU there: in real mode on x86. */
static void load(const void *code, size_t len)
{
	kiln_error err = KILN_ERROR_INIT;

	memcpy(memory + ENTRY, code, len);
#if defined(__x86_64__)
	kiln_hv_x86_state state;

	ok(kiln_hv_x86_get_state(vcpu, &state, &err), &err);
	state.cs.base = 0;
	state.cs.selector = 0;
	state.rip = ENTRY;
	ok(kiln_hv_x86_set_state(vcpu, &state, &err), &err);
#else
	ok(kiln_hv_arm64_start(vcpu, ENTRY, MEMORY_SIZE, &err), &err);
#endif
}

static void load_spin(void)
{
#if defined(__x86_64__)
	static const uint8_t code[] = {0xeb, 0xfe}; /* jmp . */
#else
	static const uint8_t code[] = {0x00, 0x00, 0x00, 0x14}; /* b . */
#endif
	load(code, sizeof(code));
}

static void run_expecting(enum kiln_hv_exit_kind kind, kiln_hv_exit *exit)
{
	kiln_error err = KILN_ERROR_INIT;
	char text[160];

	ok(kiln_hv_vcpu_run(vcpu, exit, &err), &err);
	if (exit->kind != kind) {
		kiln_hv_exit_describe(exit, text, sizeof(text));
		fail_msg("exit %d, not %d: %s", exit->kind, kind, text);
	}
}

static bool kick_pending(void)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, SIGRTMAX);
}

static bool kick_blocked(void)
{
	sigset_t set;

	pthread_sigmask(SIG_SETMASK, NULL, &set);
	return sigismember(&set, SIGRTMAX);
}

static void *kick_it(void *started)
{
	sem_wait(started);
	kiln_hv_vcpu_kick(vcpu);
	return NULL;
}

static void a_kick_from_another_thread_ends_a_run(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_exit exit;
	pthread_t thread;
	sem_t started;

	(void)state;
	load_spin();
	ok(kiln_hv_vcpu_attach(vcpu, &err), &err);
	sem_init(&started, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, kick_it, &started), 0);
	sem_post(&started);
	run_expecting(KILN_HV_EXIT_KICKED, &exit);
	pthread_join(thread, NULL);
	kiln_hv_vcpu_detach(vcpu);
	sem_destroy(&started);
}

static void a_kick_before_the_run_is_not_lost_and_told_once(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_exit exit;

	(void)state;
	load_spin();
	ok(kiln_hv_vcpu_attach(vcpu, &err), &err);
	kiln_hv_vcpu_kick(vcpu);
	kiln_hv_vcpu_kick(vcpu);
	run_expecting(KILN_HV_EXIT_KICKED, &exit);
	assert_false(kick_pending());
	kiln_hv_vcpu_detach(vcpu);
}

static void a_deadline_ends_a_guest_that_never_exits(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_exit exit;

	(void)state;
	load_spin();
	ok(kiln_hv_vcpu_attach(vcpu, &err), &err);
	for (int i = 0; i < 3; i++) {
		ok(kiln_hv_vcpu_deadline(vcpu, 20, &err), &err);
		run_expecting(KILN_HV_EXIT_KICKED, &exit);
	}
	kiln_hv_vcpu_detach(vcpu);
}

/* The deadline's signal comes when the kick's has been taken: it must be taken, too, or it would
 * end every run from then on, and detaching the process. */
static void a_deadline_behind_a_kick_is_told_and_leaves_no_signal(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_exit exit;

	(void)state;
	load_spin();
	ok(kiln_hv_vcpu_attach(vcpu, &err), &err);
	ok(kiln_hv_vcpu_deadline(vcpu, 200, &err), &err);
	kiln_hv_vcpu_kick(vcpu);
	run_expecting(KILN_HV_EXIT_KICKED, &exit);
	assert_false(kick_pending());
	run_expecting(KILN_HV_EXIT_KICKED, &exit);
	assert_false(kick_pending());
	kiln_hv_vcpu_detach(vcpu);
}

static void what_needs_a_thread_is_refused_without_one(void **state)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_exit exit;

	(void)state;
	assert_int_equal(kiln_hv_vcpu_run(vcpu, &exit, &err), KILN_ESTATE);
	assert_int_equal(kiln_hv_vcpu_deadline(vcpu, 10, &err), KILN_ESTATE);
	ok(kiln_hv_vcpu_attach(vcpu, &err), &err);
	assert_int_equal(kiln_hv_vcpu_attach(vcpu, &err), KILN_ESTATE);
	kiln_hv_vcpu_detach(vcpu);
	kiln_hv_vcpu_detach(vcpu); /* nothing more to do */
	ok(kiln_hv_vcpu_attach(vcpu, &err), &err);
	kiln_hv_vcpu_detach(vcpu);
}

static void capabilities_are_told_as_far_as_there_is_room(void **state)
{
	kiln_hv_capabilities all = KILN_HV_CAPABILITIES_INIT;
	kiln_hv_capabilities some = {.size = offsetof(kiln_hv_capabilities, max_maps)};
	kiln_hv_vm_options options = {.size = sizeof(options), .irqchip = KILN_HV_IRQCHIP_FULL + 1};
	kiln_hv_vm *other = NULL;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	ok(kiln_hv_get_capabilities(hv, &all, &err), &err);
	assert_true(all.max_vcpus > 0);
	assert_true(all.max_maps > 1);
	assert_int_equal(all.size, sizeof(all));
	some.max_maps = 77;
	ok(kiln_hv_get_capabilities(hv, &some, &err), &err);
	assert_int_equal(some.max_vcpus, all.max_vcpus);
	assert_int_equal(some.max_maps, 77);
	some.size = 0;
	assert_int_equal(kiln_hv_get_capabilities(hv, &some, &err), KILN_EINVAL);

	assert_int_equal(kiln_hv_vm_new(&other, hv, &options, &err), KILN_ENOTSUP);
	options = (kiln_hv_vm_options){.irqchip = KILN_HV_IRQCHIP_NONE};
	assert_int_equal(kiln_hv_vm_new(&other, hv, &options, &err), KILN_EINVAL);
	assert_null(other);
}

static void what_is_no_hypervisor_is_refused(void **state)
{
	kiln_hv *other = NULL;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_int_equal(kiln_hv_open(&other, "/nowhere/kvm", &err), KILN_ENOENT);
	assert_int_equal(kiln_hv_open(&other, "/nowhere/kvm", NULL), KILN_ENOENT);
	assert_int_equal(kiln_hv_open(&other, "/dev/null", &err), KILN_ENOTSUP);
	assert_null(other);
}

static void more_vcpus_than_kvm_has_are_refused(void **state)
{
	kiln_hv_capabilities has = {.size = sizeof(has)};
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_vcpu *other = NULL;

	(void)state;
	ok(kiln_hv_get_capabilities(hv, &has, &err), &err);
	assert_true(kiln_hv_vcpu_new(&other, vm, has.max_vcpus + 5000, &err) < 0);
	assert_null(other);
	assert_non_null(strstr(err.message, "refuses a vCPU"));
	assert_non_null(strstr(err.hint, "fewer"));
}

static void detaching_restores_the_threads_mask_and_leaves_no_signal(void **state)
{
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_false(kick_blocked());
	ok(kiln_hv_vcpu_attach(vcpu, &err), &err);
	assert_true(kick_blocked());
	kiln_hv_vcpu_kick(
		vcpu); /* nobody runs it any more: were it left, it would end this process */
	kiln_hv_vcpu_detach(vcpu);
	assert_false(kick_blocked());
	assert_false(kick_pending());
}

static void an_access_outside_memory_is_a_decoded_exit(void **state)
{
#if defined(__x86_64__)
	/* mov $0x5f0,%dx; in %dx,%al; inc %ax; out %al,%dx; hlt */
	static const uint8_t code[] = {0xba, 0xf0, 0x05, 0xec, 0x40, 0xee, 0xf4};
	const enum kiln_hv_exit_kind kind = KILN_HV_EXIT_PORT;
	const uint64_t address = 0x5f0;
	const uint32_t size = 1;
#else
	/* ldr w1, [x0]; add w1, w1, #1; str w1, [x0]; b . */
	static const uint32_t code[] = {0xb9400001, 0x11000421, 0xb9000001, 0x14000000};
	const enum kiln_hv_exit_kind kind = KILN_HV_EXIT_MMIO;
	const uint64_t address = MEMORY_SIZE;
	const uint32_t size = 4;
#endif
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_exit exit;

	(void)state;
	load(code, sizeof(code));
	ok(kiln_hv_vcpu_attach(vcpu, &err), &err);
	run_expecting(kind, &exit);
	assert_int_equal(exit.access.address, address);
	assert_int_equal(exit.access.size, size);
	assert_int_equal(exit.access.count, 1);
	assert_false(exit.access.write);
	memset(exit.access.data, 0, size);
	exit.access.data[0] = 41;
	run_expecting(kind, &exit);
	assert_true(exit.access.write);
	assert_int_equal(exit.access.data[0], 42);
#if defined(__x86_64__)
	run_expecting(KILN_HV_EXIT_HALT, &exit);
#endif
	kiln_hv_vcpu_detach(vcpu);
}

#if defined(__x86_64__)
static void state_reads_back_as_it_was_set(void **state)
{
	kiln_hv_x86_state set;
	kiln_hv_x86_state got;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	ok(kiln_hv_x86_get_state(vcpu, &set, &err), &err);
	for (unsigned i = 0; i < KILN_X86_GPRS; i++)
		set.gpr[i] = 0x1111111111111111u * (i + 1);
	set.rip = 0x1234;
	set.rflags = KILN_X86_RFLAGS_FIXED | 1;
	set.es = (kiln_hv_x86_segment){.base = 0x5000,
				       .limit = 0xffffffff,
				       .selector = 0x500,
				       .rights = KILN_X86_RIGHTS_DATA};
	set.gdt = (kiln_hv_x86_table){.base = 0x2000, .limit = 0x27};
	ok(kiln_hv_x86_set_state(vcpu, &set, &err), &err);
	ok(kiln_hv_x86_get_state(vcpu, &got, &err), &err);
	assert_memory_equal(set.gpr, got.gpr, sizeof(set.gpr));
	assert_int_equal(got.rip, 0x1234);
	assert_int_equal(got.rflags, KILN_X86_RFLAGS_FIXED | 1);
	assert_int_equal(got.es.base, 0x5000);
	assert_int_equal(got.es.limit, 0xffffffff);
	assert_int_equal(got.es.rights, KILN_X86_RIGHTS_DATA);
	assert_int_equal(got.gdt.base, 0x2000);
	assert_int_equal(got.gdt.limit, 0x27);
}
#endif

static void memory_maps_once_and_unmaps_where_it_was(void **state)
{
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_int_equal(kiln_hv_vm_map(vm, 0x8000, memory, 0x10000, 0, &err), KILN_EEXIST);
	assert_int_equal(kiln_hv_vm_map(vm, 0x20000, memory, 0, 0, &err), KILN_EOVERFLOW);
	assert_int_equal(kiln_hv_vm_map(vm, UINT64_MAX - 0xfff, memory, 0x2000, 0, &err),
			 KILN_EOVERFLOW);
	assert_int_equal(kiln_hv_vm_unmap(vm, 0x1000, &err), KILN_ENOENT);
	ok(kiln_hv_vm_unmap(vm, 0, &err), &err);
	ok(kiln_hv_vm_map(vm, 0x8000, memory, 0x8000, KILN_HV_MAP_READONLY, &err), &err);
	assert_int_equal(kiln_hv_vm_unmap(vm, 0, &err), KILN_ENOENT);
	ok(kiln_hv_vm_unmap(vm, 0x8000, &err), &err);
}

static void failures_are_described_by_kind_and_bytes(void **state)
{
	kiln_hv_exit exit = {
		.kind = KILN_HV_EXIT_FAILED,
		.failure = {.kind = KILN_HV_FAILURE_EMULATION, .insn_len = 2, .insn = {0x0f, 0xc7}},
	};
	char text[160];

	(void)state;
	kiln_hv_exit_describe(&exit, text, sizeof(text));
	assert_string_equal(text, "KVM internal error: emulation failure, instruction bytes 0f c7");
	exit.failure = (kiln_hv_failure){.kind = KILN_HV_FAILURE_ENTRY, .code = 0x80000021};
	kiln_hv_exit_describe(&exit, text, sizeof(text));
	assert_non_null(strstr(text, "0x80000021"));
	kiln_hv_exit_describe(&exit, text, 8); /* cut, not overrun */
	assert_int_equal(strlen(text), 7);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_vm, drop_vm)
	static const struct CMUnitTest tests[] = {
		TEST(a_kick_from_another_thread_ends_a_run),
		TEST(a_kick_before_the_run_is_not_lost_and_told_once),
		TEST(a_deadline_ends_a_guest_that_never_exits),
		TEST(a_deadline_behind_a_kick_is_told_and_leaves_no_signal),
		TEST(what_needs_a_thread_is_refused_without_one),
		TEST(capabilities_are_told_as_far_as_there_is_room),
		TEST(what_is_no_hypervisor_is_refused),
		TEST(more_vcpus_than_kvm_has_are_refused),
		TEST(detaching_restores_the_threads_mask_and_leaves_no_signal),
		TEST(an_access_outside_memory_is_a_decoded_exit),
#if defined(__x86_64__)
		TEST(state_reads_back_as_it_was_set),
#endif
		TEST(memory_maps_once_and_unmaps_where_it_was),
		cmocka_unit_test(failures_are_described_by_kind_and_bytes),
	};
	kiln_error err = KILN_ERROR_INIT;
	int failed;

	if (kiln_hv_open(&hv, NULL, &err) < 0) {
		return kiln_test_skip(err.message);
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	kiln_hv_free(hv);
	return failed;
}
