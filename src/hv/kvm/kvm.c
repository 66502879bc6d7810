/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor port on KVM (Documentation/virt/kvm/api.rst in Linux).
 *
 * Each object owns one descriptor; a vCPU also the page that it shares with the
 * kernel (struct kvm_run). Nothing here starts a thread.
 *
 * Kicking a vCPU out of the guest takes a signal, and a library may not install a
 * handler. So the thread that runs a vCPU keeps the signal blocked, and
 * KVM_SET_SIGNAL_MASK unblocks it just inside KVM_RUN: there a pending signal makes
 * KVM_RUN return -EINTR, before or while the guest runs, and stays pending. It is
 * then taken off the queue here and no handler ever runs. Deadlines are a POSIX
 * timer that sends the same signal to the same thread.
 *
 * The kernel is trusted, the guest is not: what an exit holds is bounded by the
 * kernel, and handed on as it came.
 */
#include "internal.h"

#include "buf.h"
#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEVICE      "/dev/kvm"
#define KICK_SIGNAL SIGRTMAX

#ifndef sigev_notify_thread_id /* glibc before 2.38 does not name it */
#define sigev_notify_thread_id _sigev_un._tid
#endif

int kiln__kvm_ioctl(int fd, unsigned long request, unsigned long arg)
{
	int n;

	do
		n = ioctl(fd, request, arg);
	while (n < 0 && errno == EINTR);
	return n;
}

/* --- the hypervisor --------------------------------------------------------------- */

int kiln__hv_open(struct kiln__hv **ret, const char *device, kiln_error *err)
{
	const char *path = device ? device : DEVICE;
	struct kiln__hv *hv;
	int version;
	int size;
	int fd;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot open %s", path);
	version = kiln__kvm_ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		close(fd);
		if (version < 0)
			return kiln__fail(err, KILN_ENOTSUP, "%s is not KVM's device", path);
		kiln__fail(err, KILN_ENOTSUP, "%s speaks version %d of the KVM interface, not %d",
			   path, version, KVM_API_VERSION);
		kiln__hint(err, "a Linux kernel of 2.6.22 or later is needed");
		return KILN_ENOTSUP;
	}
	size = kiln__kvm_ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run)) {
		close(fd);
		return kiln__fail(err, KILN_ENOTSUP, "%s shares %d bytes per vCPU, fewer than %zu",
				  path, size, sizeof(struct kvm_run));
	}
	hv = calloc(1, sizeof(*hv));
	if (!hv) {
		close(fd);
		return kiln__fail_nomem(err);
	}
	hv->fd = fd;
	hv->run_size = (size_t)size;
	*ret = hv;
	return 0;
}

void kiln__hv_free(struct kiln__hv *hv)
{
	if (!hv)
		return;
	close(hv->fd);
	free(hv);
}

static const struct kiln__kvm_feature features[] = {
	{KVM_CAP_USER_MEMORY, "user-memory"},
	{KVM_CAP_SYNC_MMU, "sync-mmu"},
	{KVM_CAP_READONLY_MEM, "readonly-mem"},
	{KVM_CAP_IRQCHIP, "irqchip"},
	{KVM_CAP_IRQFD, "irqfd"},
	{KVM_CAP_IOEVENTFD, "ioeventfd"},
	{KVM_CAP_MP_STATE, "mp-state"},
	{0, NULL},
};

static void add_missing(const struct kiln__hv *hv, const struct kiln__kvm_feature *list,
			struct kiln__buf *missing)
{
	for (; list->name; list++)
		if (kiln__kvm_ioctl(hv->fd, KVM_CHECK_EXTENSION, (unsigned long)list->cap) <= 0)
			kiln__buf_addf(missing, "%s%s", missing->len ? ", " : "", list->name);
}

int kiln__hv_check_features(const struct kiln__hv *hv, kiln_error *err)
{
	kiln__autobuf missing = KILN__BUF_INIT;

	add_missing(hv, features, &missing);
	add_missing(hv, kiln__kvm_arch_features, &missing);
	if (missing.failed)
		return kiln__fail_nomem(err);
	if (missing.len)
		return kiln__fail(err, KILN_ENOTSUP, "KVM lacks %s", missing.data);
	return 0;
}

/* --- partitions --------------------------------------------------------------------- */

int kiln__hv_vm_new(struct kiln__hv_vm **ret, struct kiln__hv *hv, kiln_error *err)
{
	struct kiln__hv_vm *vm = calloc(1, sizeof(*vm));
	int code;

	if (!vm)
		return kiln__fail_nomem(err);
	vm->hv = hv;
	vm->fd = kiln__kvm_ioctl(hv->fd, KVM_CREATE_VM, kiln__kvm_vm_type(hv));
	if (vm->fd < 0) {
		code = kiln__fail_errno(err, errno, "KVM_CREATE_VM");
		free(vm);
		return code;
	}
	code = kiln__kvm_vm_setup(vm, err);
	if (code < 0) {
		kiln__hv_vm_free(vm);
		return code;
	}
	*ret = vm;
	return 0;
}

void kiln__hv_vm_free(struct kiln__hv_vm *vm)
{
	if (!vm)
		return;
	close(vm->fd);
	free(vm);
}

static int set_slot(struct kiln__hv_vm *vm, size_t slot, uint64_t address, void *host,
		    uint64_t size, unsigned flags, kiln_error *err)
{
	struct kvm_userspace_memory_region region = {
		.slot = (uint32_t)slot,
		.flags = flags & KILN__HV_MAP_READONLY ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = address,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	if (kiln__kvm_ioctl_p(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_USER_MEMORY_REGION");
	return 0;
}

int kiln__hv_vm_map(struct kiln__hv_vm *vm, uint64_t address, void *host, uint64_t size,
		    unsigned flags, kiln_error *err)
{
	size_t slot = KILN__KVM_MAX_SLOTS;
	uint64_t end;
	int code;

	if (size == 0 || __builtin_add_overflow(address, size, &end))
		return kiln__fail(err, KILN_EOVERFLOW, "guest memory wraps around");
	for (size_t i = 0; i < KILN__KVM_MAX_SLOTS; i++) {
		const struct kiln__kvm_slot *old = &vm->slots[i];

		if (old->size == 0)
			slot = slot < i ? slot : i;
		else if (address < old->address + old->size && old->address < end)
			return kiln__fail(err, KILN_EEXIST, "guest memory is mapped already");
	}
	if (slot == KILN__KVM_MAX_SLOTS)
		return kiln__fail(err, KILN_EOVERFLOW, "too many pieces of guest memory");
	code = set_slot(vm, slot, address, host, size, flags, err);
	if (code < 0)
		return code;
	vm->slots[slot] = (struct kiln__kvm_slot){.address = address, .size = size};
	return 0;
}

int kiln__hv_vm_unmap(struct kiln__hv_vm *vm, uint64_t address, kiln_error *err)
{
	for (size_t i = 0; i < KILN__KVM_MAX_SLOTS; i++) {
		int code;

		if (vm->slots[i].size == 0 || vm->slots[i].address != address)
			continue;
		code = set_slot(vm, i, address, NULL, 0, 0, err);
		if (code == 0)
			vm->slots[i].size = 0;
		return code;
	}
	return kiln__fail(err, KILN_ENOENT, "no guest memory is mapped there");
}

/* --- virtual processors ---------------------------------------------------------------- */

int kiln__hv_vcpu_new(struct kiln__hv_vcpu **ret, struct kiln__hv_vm *vm, unsigned index,
		      kiln_error *err)
{
	struct kiln__hv_vcpu *vcpu = calloc(1, sizeof(*vcpu));
	void *page;
	int code;

	if (!vcpu)
		return kiln__fail_nomem(err);
	vcpu->vm = vm;
	vcpu->run_size = vm->hv->run_size;
	vcpu->fd = kiln__kvm_ioctl(vm->fd, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0) {
		code = kiln__fail_errno(err, errno, "KVM_CREATE_VCPU");
		free(vcpu);
		return code;
	}
	page = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (page == MAP_FAILED) {
		code = kiln__fail_errno(err, errno, "cannot map the vCPU");
		close(vcpu->fd);
		free(vcpu);
		return code;
	}
	vcpu->run = page;
	*ret = vcpu;
	return 0;
}

void kiln__hv_vcpu_free(struct kiln__hv_vcpu *vcpu)
{
	if (!vcpu)
		return;
	kiln__hv_vcpu_detach(vcpu);
	munmap(vcpu->run, vcpu->run_size);
	close(vcpu->fd);
	free(vcpu);
}

/* The mask inside KVM_RUN: this thread's, without the kick signal. */
static int set_run_mask(struct kiln__hv_vcpu *vcpu, kiln_error *err)
{
	union {
		struct kvm_signal_mask kvm;
		uint8_t bytes[sizeof(struct kvm_signal_mask) + 8];
	} arg;
	sigset_t mask = vcpu->old_mask;

	/* The kernel's own set has 64 signals, which both glibc and musl keep first in theirs. */
	sigdelset(&mask, KICK_SIGNAL);
	arg.kvm.len = 8;
	memcpy(arg.bytes + sizeof(struct kvm_signal_mask), &mask, 8);
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_SIGNAL_MASK, &arg) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_SIGNAL_MASK");
	return 0;
}

int kiln__hv_vcpu_attach(struct kiln__hv_vcpu *vcpu, kiln_error *err)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = KICK_SIGNAL,
	};
	sigset_t kick;
	int status;
	int code;

	vcpu->tid = gettid();
	event.sigev_notify_thread_id = vcpu->tid;
	if (timer_create(CLOCK_MONOTONIC, &event, &vcpu->timer) < 0)
		return kiln__fail_errno(err, errno, "cannot make a timer");
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	status = pthread_sigmask(SIG_BLOCK, &kick, &vcpu->old_mask);
	if (status != 0) {
		timer_delete(vcpu->timer);
		return kiln__fail_errno(err, status, "cannot block a signal");
	}
	code = set_run_mask(vcpu, err);
	if (code < 0) {
		pthread_sigmask(SIG_SETMASK, &vcpu->old_mask, NULL);
		timer_delete(vcpu->timer);
		return code;
	}
	vcpu->attached = true;
	return 0;
}

/* Takes pending kicks off this thread's queue; costs a system call only if there may be one. */
static void drain_kicks(struct kiln__hv_vcpu *vcpu)
{
	const struct timespec now = {0};
	sigset_t kick;

	if (!atomic_exchange(&vcpu->kicked, false))
		return;
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	while (sigtimedwait(&kick, NULL, &now) > 0)
		;
}

void kiln__hv_vcpu_detach(struct kiln__hv_vcpu *vcpu)
{
	if (!vcpu->attached)
		return;
	timer_delete(vcpu->timer);
	drain_kicks(vcpu);
	pthread_sigmask(SIG_SETMASK, &vcpu->old_mask, NULL);
	vcpu->attached = false;
}

void kiln__hv_vcpu_kick(struct kiln__hv_vcpu *vcpu)
{
	atomic_store(&vcpu->kicked, true);
	syscall(SYS_tgkill, getpid(), vcpu->tid, KICK_SIGNAL);
}

int kiln__hv_vcpu_deadline(struct kiln__hv_vcpu *vcpu, unsigned ms, kiln_error *err)
{
	struct itimerspec when = {
		.it_value = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
	};

	/* It may fire from now on, and nobody is there to note it when it does. */
	if (ms)
		atomic_store(&vcpu->kicked, true);
	if (timer_settime(vcpu->timer, 0, &when, NULL) < 0)
		return kiln__fail_errno(err, errno, "cannot arm a timer");
	return 0;
}

static void decode_failure(const struct kvm_run *run, struct kiln__hv_failure *ret)
{
	*ret = (struct kiln__hv_failure){.kind = KILN__HV_FAILURE_INTERNAL};
	if (run->exit_reason == KVM_EXIT_FAIL_ENTRY) {
		ret->kind = KILN__HV_FAILURE_ENTRY;
		ret->code = run->fail_entry.hardware_entry_failure_reason;
	} else if (run->exit_reason != KVM_EXIT_INTERNAL_ERROR) {
		ret->kind = KILN__HV_FAILURE_UNKNOWN;
		ret->code = run->exit_reason;
	} else if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		ret->code = run->internal.suberror;
	} else {
		ret->kind = KILN__HV_FAILURE_EMULATION;
		ret->code = run->internal.suberror;
		/* api.rst, emulation_failure: flags are there with one word of data, the bytes with
		 * three. */
		if (run->emulation_failure.ndata >= 3 &&
		    run->emulation_failure.flags &
			    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES &&
		    run->emulation_failure.insn_size <= KILN__HV_MAX_INSN) {
			ret->insn_len = run->emulation_failure.insn_size;
			memcpy(ret->insn, run->emulation_failure.insn_bytes, ret->insn_len);
		}
	}
}

static void decode_exit(struct kvm_run *run, struct kiln__hv_exit *ret)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		ret->kind = KILN__HV_EXIT_PORT;
		ret->access = (struct kiln__hv_access){
			.address = run->io.port,
			.size = run->io.size,
			.count = run->io.count,
			.write = run->io.direction == KVM_EXIT_IO_OUT,
			.data = (uint8_t *)run + run->io.data_offset,
		};
		return;
	case KVM_EXIT_MMIO:
		ret->kind = KILN__HV_EXIT_MMIO;
		ret->access = (struct kiln__hv_access){
			.address = run->mmio.phys_addr,
			.size = run->mmio.len,
			.count = 1,
			.write = run->mmio.is_write,
			.data = run->mmio.data,
		};
		return;
	case KVM_EXIT_HLT:
		ret->kind = KILN__HV_EXIT_HALT;
		return;
	case KVM_EXIT_INTR:
		ret->kind = KILN__HV_EXIT_KICKED;
		return;
	case KVM_EXIT_SHUTDOWN:
		ret->kind = KILN__HV_EXIT_SHUTDOWN;
		return;
	case KVM_EXIT_SYSTEM_EVENT:
		if (run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN)
			ret->kind = KILN__HV_EXIT_SHUTDOWN;
		else if (run->system_event.type == KVM_SYSTEM_EVENT_RESET)
			ret->kind = KILN__HV_EXIT_RESET;
		else
			break;
		return;
	default:
		break;
	}
	ret->kind = KILN__HV_EXIT_FAILED;
	decode_failure(run, &ret->failure);
}

int kiln__hv_vcpu_run(struct kiln__hv_vcpu *vcpu, struct kiln__hv_exit *ret, kiln_error *err)
{
	for (;;) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
			decode_exit(vcpu->run, ret);
			break;
		}
		if (errno == EAGAIN) /* a processor that waits to be started was woken */
			continue;
		if (errno != EINTR)
			return kiln__fail_errno(err, errno, "KVM_RUN");
		ret->kind = KILN__HV_EXIT_KICKED;
		break;
	}
	if (ret->kind == KILN__HV_EXIT_KICKED)
		drain_kicks(vcpu);
	return 0;
}

/* --- words for people -------------------------------------------------------------------- */

static void describe_failure(const struct kiln__hv_failure *failure, char *text, size_t size)
{
	char bytes[KILN__HV_MAX_INSN * 3 + 1] = "";

	for (uint32_t i = 0; i < failure->insn_len; i++)
		snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, " %02x", failure->insn[i]);
	switch (failure->kind) {
	case KILN__HV_FAILURE_EMULATION:
		snprintf(text, size, "KVM internal error: emulation failure%s%s",
			 failure->insn_len ? ", instruction bytes" : "", bytes);
		break;
	case KILN__HV_FAILURE_ENTRY:
		snprintf(text, size,
			 "the processor refused to enter the guest (hardware reason 0x%llx)",
			 (unsigned long long)failure->code);
		break;
	case KILN__HV_FAILURE_INTERNAL:
		snprintf(text, size, "KVM internal error, suberror %llu",
			 (unsigned long long)failure->code);
		break;
	case KILN__HV_FAILURE_UNKNOWN:
		snprintf(text, size, "unexpected KVM exit, reason %llu",
			 (unsigned long long)failure->code);
		break;
	}
}

void kiln__hv_exit_describe(const struct kiln__hv_exit *exit, char *text, size_t size)
{
	const struct kiln__hv_access *access = &exit->access;

	switch (exit->kind) {
	case KILN__HV_EXIT_PORT:
		snprintf(text, size, "%s port 0x%llx, %u bytes",
			 access->write ? "write to" : "read of",
			 (unsigned long long)access->address, access->size);
		break;
	case KILN__HV_EXIT_MMIO:
		snprintf(text, size, "%s unmapped memory at 0x%llx, %u bytes",
			 access->write ? "write to" : "read of",
			 (unsigned long long)access->address, access->size);
		break;
	case KILN__HV_EXIT_HALT:
		snprintf(text, size, "the guest halted");
		break;
	case KILN__HV_EXIT_SHUTDOWN:
		snprintf(text, size, "the guest shut down (on x86: triple fault)");
		break;
	case KILN__HV_EXIT_RESET:
		snprintf(text, size, "the guest reset itself");
		break;
	case KILN__HV_EXIT_KICKED:
		snprintf(text, size, "interrupted");
		break;
	case KILN__HV_EXIT_FAILED:
		describe_failure(&exit->failure, text, size);
		break;
	}
}
