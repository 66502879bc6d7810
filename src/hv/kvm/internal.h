/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the KVM port share. */
#ifndef KILN_HV_KVM_INTERNAL_H
#define KILN_HV_KVM_INTERNAL_H

#include "hv.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define KILN__KVM_MAX_SLOTS 64

struct kiln__hv {
	int fd;
	size_t run_size; /* of a vCPU's shared page */
};

struct kiln__kvm_slot {
	uint64_t address;
	uint64_t size; /* 0: free */
};

struct kiln__hv_vm {
	int fd;
	struct kiln__hv *hv;
	struct kiln__kvm_slot slots[KILN__KVM_MAX_SLOTS];
};

struct kiln__hv_vcpu {
	int fd;
	struct kiln__hv_vm *vm;
	struct kvm_run *run;
	size_t run_size;
	bool attached;
	bool has_timer;
	pid_t tid;          /* of the thread attached to */
	atomic_bool kicked; /* a kick signal may be pending in that thread */
	sigset_t old_mask;  /* of that thread */
	timer_t timer;
};

/* ioctl(2), again while it is interrupted. The result, or -1 with errno. */
int kiln__kvm_ioctl(int fd, unsigned long request, unsigned long arg);
#define kiln__kvm_ioctl_p(fd, request, pointer)                                                    \
	kiln__kvm_ioctl(fd, request, (unsigned long)(pointer))

/* What a VM must be made with on this architecture (KVM_CREATE_VM's type), and what it needs before
 * vCPUs. */
unsigned long kiln__kvm_vm_type(const struct kiln__hv *hv);
int kiln__kvm_vm_setup(struct kiln__hv_vm *vm, kiln_error *err);

struct kiln__kvm_feature {
	int cap;
	const char *name;
};
extern const struct kiln__kvm_feature kiln__kvm_arch_features[]; /* ends with a NULL name */

#endif
