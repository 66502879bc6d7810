/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor port on KVM (Documentation/virt/kvm/api.rst in Linux).
 *
 * Each object owns one descriptor; a vCPU also the page that it shares with the
 * kernel (struct kvm_run). Nothing here starts a thread.
 *
 *   kvm.c     hypervisor and VMs         memory.c   guest memory
 *   vcpu.c    running, kicks             irq.c      interrupts, doorbells
 *   exit.c    what a run ended with      state.c    state as a blob
 *   x86_64.c, x86_64_state.c, aarch64.c  the architecture's part
 *
 * The kernel is trusted, the guest is not: what an exit holds is bounded by the
 * kernel, and handed on as it came.
 */
#include "internal.h"

#include "buf.h"
#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICE "/dev/kvm"

int kiln__kvm_ioctl(int fd, unsigned long request, unsigned long arg)
{
	int n;

	do
		n = ioctl(fd, request, arg);
	while (n < 0 && errno == EINTR);
	return n;
}

int kiln__kvm_cap(const kiln_hv *hv, int cap)
{
	int n = kiln__kvm_ioctl(hv->fd, KVM_CHECK_EXTENSION, (unsigned long)cap);

	return n > 0 ? n : 0;
}

/* --- the hypervisor --------------------------------------------------------------- */

static int open_device(const char *path, kiln_error *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int code = errno;
	int version;

	if (fd < 0) {
		version = kiln__fail_errno(err, code, "cannot open %s", path);
		if (code == EACCES)
			kiln__hint(err, "let this user use it: it belongs to the group kvm on most "
					"systems");
		return version;
	}
	version = kiln__kvm_ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version == KVM_API_VERSION)
		return fd;
	close(fd);
	if (version < 0)
		return kiln__fail(err, KILN_ENOTSUP, "%s is not KVM's device", path);
	kiln__fail(err, KILN_ENOTSUP, "%s speaks version %d of the KVM interface, not %d", path,
		   version, KVM_API_VERSION);
	kiln__hint(err, "a Linux kernel of 2.6.22 or later is needed");
	return KILN_ENOTSUP;
}

int kiln_hv_open(kiln_hv **ret, const char *device, kiln_error *err)
{
	const char *path = device ? device : DEVICE;
	int fd = open_device(path, err);
	kiln_hv *hv;
	int size;

	if (fd < 0)
		return fd;
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

void kiln_hv_free(kiln_hv *hv)
{
	if (!hv)
		return;
	close(hv->fd);
	free(hv);
}

int kiln_hv_get_capabilities(const kiln_hv *hv, kiln_hv_capabilities *ret, kiln_error *err)
{
	unsigned slots = (unsigned)kiln__kvm_cap(hv, KVM_CAP_NR_MEMSLOTS);
	unsigned vcpus = (unsigned)kiln__kvm_cap(hv, KVM_CAP_MAX_VCPUS);
	kiln_hv_capabilities found = {
		.irqchip = kiln__kvm_irqchip(hv),
		.max_maps = slots && slots < KILN__KVM_MAX_SLOTS ? slots : KILN__KVM_MAX_SLOTS,
		.readonly_maps = kiln__kvm_cap(hv, KVM_CAP_READONLY_MEM),
		.dirty_log = true, /* of every KVM */
		.notify = kiln__kvm_cap(hv, KVM_CAP_IOEVENTFD) && kiln__kvm_cap(hv, KVM_CAP_IRQFD),
		.paravirtual_clock = kiln__kvm_cap(hv, KVM_CAP_ADJUST_CLOCK),
		.nested = kiln__kvm_is_nested(hv),
	};

	if (ret->size < sizeof(ret->size))
		return kiln__fail(err, KILN_EINVAL, "kiln_hv_capabilities without a size");
	/* api.rst: without KVM_CAP_MAX_VCPUS it is KVM_CAP_NR_VCPUS, without that 4. */
	if (!vcpus)
		vcpus = (unsigned)kiln__kvm_cap(hv, KVM_CAP_NR_VCPUS);
	found.max_vcpus = vcpus ? vcpus : 4;
	found.size = ret->size;
	memcpy(ret, &found, ret->size < sizeof(found) ? ret->size : sizeof(found));
	return 0;
}

static const struct kiln__kvm_feature features[] = {
	{KVM_CAP_USER_MEMORY, "user-memory"},
	{KVM_CAP_SYNC_MMU, "sync-mmu"},
	{KVM_CAP_READONLY_MEM, "readonly-mem"},
	{KVM_CAP_IRQCHIP, "irqchip"},
	{KVM_CAP_IRQFD, "irqfd"},
	{KVM_CAP_IOEVENTFD, "ioeventfd"},
	{KVM_CAP_MP_STATE, "mp-state"},
	{KVM_CAP_IMMEDIATE_EXIT, "immediate-exit"},
	{0, NULL},
};

static void add_missing(const kiln_hv *hv, const struct kiln__kvm_feature *list,
			struct kiln__buf *missing)
{
	for (; list->name; list++)
		if (!kiln__kvm_cap(hv, list->cap))
			kiln__buf_addf(missing, "%s%s", missing->len ? ", " : "", list->name);
}

int kiln_hv_check_features(const kiln_hv *hv, kiln_error *err)
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

static int set_up(kiln_hv_vm *vm, kiln_error *err)
{
	int code = kiln__kvm_vm_setup(vm, err);

	if (code < 0 || vm->irqchip == KILN_HV_IRQCHIP_NONE)
		return code;
	return kiln__kvm_irqchip_new(vm, err);
}

int kiln_hv_vm_new(kiln_hv_vm **ret, kiln_hv *hv, const kiln_hv_vm_options *options,
		   kiln_error *err)
{
	kiln_hv_vm_options given = KILN_HV_VM_OPTIONS_INIT;
	kiln_hv_vm *vm;
	int code;

	if (options && options->size < sizeof(options->size))
		return kiln__fail(err, KILN_EINVAL, "kiln_hv_vm_options without a size");
	if (options)
		memcpy(&given, options,
		       options->size < sizeof(given) ? options->size : sizeof(given));
	/* Whether KVM has one of that kind, making it tells. */
	if (given.irqchip > KILN_HV_IRQCHIP_FULL)
		return kiln__fail(err, KILN_ENOTSUP,
				  "this KVM has no such interrupt controller of its own");
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return kiln__fail_nomem(err);
	vm->hv = hv;
	vm->irqchip = given.irqchip;
	vm->fd = kiln__kvm_ioctl(hv->fd, KVM_CREATE_VM, kiln__kvm_vm_type(hv));
	if (vm->fd < 0) {
		code = kiln__fail_errno(err, errno, "KVM_CREATE_VM");
		free(vm);
		return code;
	}
	code = set_up(vm, err);
	if (code < 0) {
		kiln_hv_vm_free(vm);
		return code;
	}
	*ret = vm;
	return 0;
}

void kiln_hv_vm_free(kiln_hv_vm *vm)
{
	if (!vm)
		return;
	close(vm->fd);
	kiln__kvm_free_memory(vm);
	kiln__kvm_free_routes(vm);
	free(vm);
}
