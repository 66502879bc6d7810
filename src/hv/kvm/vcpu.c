/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU on KVM, and how it is kicked out of the guest.
 *
 * Kicking takes a signal, and a library may not install a handler. So the thread that
 * runs a vCPU keeps the signal blocked, and KVM_SET_SIGNAL_MASK unblocks it just inside
 * KVM_RUN: there a pending signal makes KVM_RUN return -EINTR, before or while the guest
 * runs, and stays pending. It is then taken off the queue here and no handler ever runs.
 * The signal is sent by a POSIX timer of that thread's, set to go off at once for a kick and later
 * for a deadline: tgkill(2) could reach other processes, a timer cannot.
 */
#include "internal.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KICK_SIGNAL SIGRTMAX

KILN__SYSCALLS(timer_create, timer_settime, timer_delete, rt_sigtimedwait, gettid, close, munmap);
KILN__SYSCALLS(ioctl(1 = 0xae41), ioctl(1 = 0x4004ae8b), ioctl(1 = 0xae80), ioctl(1 = 0xaead));
KILN__SYSCALLS(mmap(2 & 4 = 0));
_Static_assert(KVM_CREATE_VCPU == 0xae41 && KVM_SET_SIGNAL_MASK == 0x4004ae8b &&
		       KVM_RUN == 0xae80 && KVM_KVMCLOCK_CTRL == 0xaead,
	       "as declared");

#ifndef sigev_notify_thread_id /* glibc before 2.38 does not name it */
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* --- virtual processors ---------------------------------------------------------------- */

int kiln_hv_vcpu_new(kiln_hv_vcpu **ret, kiln_hv_vm *vm, unsigned index, kiln_error *err)
{
	kiln_hv_vcpu *vcpu = calloc(1, sizeof(*vcpu));
	void *page;
	int code;

	if (!vcpu)
		return kiln__fail_nomem(err);
	vcpu->vm = vm;
	vcpu->run_size = vm->hv->run_size;
	vcpu->fd = kiln__kvm_ioctl(vm->fd, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0) {
		int refused = errno;

		code = kiln__fail_errno(err, refused, "KVM refuses a vCPU, number %u", index);
		if (refused == EINVAL || refused == E2BIG) /* the first for what is no number */
			kiln__hint(err, "KVM here has room for fewer in a VM: ask for fewer");
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

void kiln_hv_vcpu_free(kiln_hv_vcpu *vcpu)
{
	if (!vcpu)
		return;
	kiln_hv_vcpu_detach(vcpu);
	munmap(vcpu->run, vcpu->run_size);
	close(vcpu->fd);
	free(vcpu);
}

/* The mask inside KVM_RUN: this thread's, without the kick signal. */
static int set_run_mask(kiln_hv_vcpu *vcpu, kiln_error *err)
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

static int new_timer(kiln_hv_vcpu *vcpu, timer_t *ret, kiln_error *err)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = KICK_SIGNAL,
	};

	event.sigev_notify_thread_id = vcpu->tid;
	if (timer_create(CLOCK_MONOTONIC, &event, ret) < 0)
		return kiln__fail_errno(err, errno, "cannot make a timer");
	return 0;
}

int kiln_hv_vcpu_attach(kiln_hv_vcpu *vcpu, kiln_error *err)
{
	sigset_t kick;
	int status;
	int code;

	if (vcpu->attached)
		return kiln__fail(err, KILN_ESTATE, "the vCPU is attached already");
	vcpu->tid = gettid();
	code = new_timer(vcpu, &vcpu->kicker, err);
	if (code < 0)
		return code;
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	status = pthread_sigmask(SIG_BLOCK, &kick, &vcpu->old_mask);
	if (status != 0) {
		timer_delete(vcpu->kicker);
		return kiln__fail_errno(err, status, "cannot block a signal");
	}
	code = set_run_mask(vcpu, err);
	if (code < 0) {
		pthread_sigmask(SIG_SETMASK, &vcpu->old_mask, NULL);
		timer_delete(vcpu->kicker);
		return code;
	}
	vcpu->attached = true;
	return 0;
}

/*
 * Takes pending kicks off this thread's queue: one a timer at most. Always looked for, never
 * remembered in a flag: one that is set before the signal is there could be cleared before, too,
 * and a signal that nobody takes ends every run that follows.
 */
static void drain_kicks(void)
{
	const struct timespec now = {0};
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	while (sigtimedwait(&kick, NULL, &now) > 0)
		;
}

void kiln_hv_vcpu_detach(kiln_hv_vcpu *vcpu)
{
	if (!vcpu->attached)
		return;
	timer_delete(vcpu->kicker);
	if (vcpu->has_timer)
		timer_delete(vcpu->timer);
	vcpu->has_timer = false;
	drain_kicks();
	pthread_sigmask(SIG_SETMASK, &vcpu->old_mask, NULL);
	vcpu->attached = false;
}

void kiln_hv_vcpu_kick(kiln_hv_vcpu *vcpu)
{
	/* A timer reaches no thread but its own, so a filter can allow it. */
	const struct itimerspec now = {.it_value = {.tv_nsec = 1}};

	timer_settime(vcpu->kicker, 0, &now, NULL);
}

int kiln_hv_vcpu_deadline(kiln_hv_vcpu *vcpu, unsigned ms, kiln_error *err)
{
	struct itimerspec when = {
		.it_value = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
	};
	int code;

	if (!vcpu->attached)
		return kiln__fail(err, KILN_ESTATE, "the vCPU is not attached to a thread");
	if (!vcpu->has_timer) {
		code = ms ? new_timer(vcpu, &vcpu->timer, err) : 0;
		if (!ms || code < 0)
			return code;
		vcpu->has_timer = true;
	}
	if (timer_settime(vcpu->timer, 0, &when, NULL) < 0)
		return kiln__fail_errno(err, errno, "cannot arm a timer");
	return 0;
}

static void report(kiln_hv_vcpu *vcpu, kiln_hv_exit *ret)
{
	*ret = (kiln_hv_exit){0};
	kiln__kvm_decode_exit(vcpu->run, ret);
	vcpu->unfinished = ret->kind == KILN_HV_EXIT_PORT || ret->kind == KILN_HV_EXIT_MMIO;
	vcpu->untold = false;
}

int kiln_hv_vcpu_run(kiln_hv_vcpu *vcpu, kiln_hv_exit *ret, kiln_error *err)
{
	if (!vcpu->attached)
		return kiln__fail(err, KILN_ESTATE, "the vCPU is not attached to a thread");
	while (!vcpu->untold && ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
		if (errno == EAGAIN) /* a processor that waits to be started was woken */
			continue;
		if (errno != EINTR)
			return kiln__fail_errno(err, errno, "KVM_RUN");
		vcpu->run->exit_reason = KVM_EXIT_INTR;
		break;
	}
	report(vcpu, ret);
	if (ret->kind == KILN_HV_EXIT_KICKED)
		drain_kicks();
	return 0;
}

int kiln__kvm_finish_access(kiln_hv_vcpu *vcpu, kiln_error *err)
{
	int n;

	if (!vcpu->unfinished)
		return 0;
	vcpu->run->immediate_exit = 1;
	n = vcpu->untold ? 0 : ioctl(vcpu->fd, KVM_RUN, 0);
	vcpu->run->immediate_exit = 0;
	if (n == 0) {
		vcpu->untold = true;
		return kiln__fail(
			err, KILN_ESTATE,
			"the vCPU is within an instruction that has not ended: run it on");
	}
	if (errno != EINTR)
		return kiln__fail_errno(err, errno, "KVM_RUN");
	vcpu->unfinished = false;
	return 0;
}

void kiln_hv_vcpu_note_pause(kiln_hv_vcpu *vcpu)
{
	kiln__kvm_ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0); /* EINVAL: no such clock in the guest */
}
