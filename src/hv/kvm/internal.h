/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the KVM port share. */
#ifndef KILN_HV_KVM_INTERNAL_H
#define KILN_HV_KVM_INTERNAL_H

#include <kiln/hv.h>

#include "hv_cleanup.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#define KILN__KVM_MAX_SLOTS 64

struct kiln_hv {
	int fd;
	size_t run_size; /* of a vCPU's shared page */
};

struct kiln__kvm_slot {
	uint64_t address;
	uint64_t size; /* 0: free */
	void *host;
	unsigned flags; /* KILN_HV_MAP_... */
	bool owned;     /* made by kiln_hv_vm_add_memory() */
};

struct kiln__kvm_routes; /* irq.c */

struct kiln_hv_vm {
	int fd;
	kiln_hv *hv;
	enum kiln_hv_irqchip irqchip;
	struct kiln__kvm_slot slots[KILN__KVM_MAX_SLOTS];
	struct kiln__kvm_routes *routes; /* NULL before the first */
};

struct kiln_hv_vcpu {
	int fd;
	kiln_hv_vm *vm;
	struct kvm_run *run;
	size_t run_size;
	bool attached;
	bool has_timer;
	bool unfinished;   /* the last exit was an access that the next KVM_RUN completes */
	bool untold;       /* run holds an exit that kiln_hv_vcpu_run() has yet to report */
	pid_t tid;         /* of the thread attached to */
	sigset_t old_mask; /* of that thread */
	timer_t kicker;
	timer_t timer; /* made by the first deadline */
};

/* ioctl(2), again while it is interrupted. The result, or -1 with errno. */
int kiln__kvm_ioctl(int fd, unsigned long request, unsigned long arg);
#define kiln__kvm_ioctl_p(fd, request, pointer)                                                    \
	kiln__kvm_ioctl(fd, request, (unsigned long)(pointer))

/* The value of a capability (api.rst, KVM_CHECK_EXTENSION); 0: there is none. */
int kiln__kvm_cap(const kiln_hv *hv, int cap);

/* What a run has ended with. */
void kiln__kvm_decode_exit(struct kvm_run *run, kiln_hv_exit *ret);

/*
 * Completes the access that the last exit reported, so that the state read or set next is that
 * between two instructions (api.rst, the note at KVM_EXIT_MMIO). KILN_ESTATE if the instruction
 * makes a further one: that is what the next run reports.
 */
int kiln__kvm_finish_access(kiln_hv_vcpu *vcpu, kiln_error *err);

void kiln__kvm_free_memory(kiln_hv_vm *vm);
void kiln__kvm_free_routes(kiln_hv_vm *vm);

/* --- per architecture ------------------------------------------------------------------ */

/* What a VM must be made with on this architecture (KVM_CREATE_VM's type), and what it needs before
 * vCPUs. */
unsigned long kiln__kvm_vm_type(const kiln_hv *hv);
int kiln__kvm_vm_setup(kiln_hv_vm *vm, kiln_error *err);

/* The most that this port can have of it here; and how to make it. */
enum kiln_hv_irqchip kiln__kvm_irqchip(const kiln_hv *hv);
int kiln__kvm_irqchip_new(kiln_hv_vm *vm, kiln_error *err);
bool kiln__kvm_is_nested(const kiln_hv *hv);

struct kiln__kvm_feature {
	int cap;
	const char *name;
};
extern const struct kiln__kvm_feature kiln__kvm_arch_features[]; /* ends with a NULL name */

#endif
