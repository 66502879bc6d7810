/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM gives each VM a kernel thread and puts that into the cgroups of who makes the VM. Where
 * cgroup2 is mounted without favordynmods, this waits for an RCU grace period, some ten
 * milliseconds: but all who come while one is under way wait for the same (kernel/rcu/sync.c). So a
 * VM is made here for nobody, early, by the process that will have a runner make one.
 */
#include "hasten.h"

#include "err.h"
#include "os.h"
#include "thread.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void make_one(void *data)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0ul);

	(void)data;
	if (vm >= 0)
		close(vm);
	kiln__os_close(kvm);
}

int kiln__hv_hasten(kiln_error *err)
{
	int r = kiln__thread_start(make_one, NULL, err);

	/* Where there is one processor the wait is to begin now, and not when this thread waits. */
	if (r == 0)
		sched_yield();
	return r;
}
