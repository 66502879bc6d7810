/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory of a VM on KVM: a slot for each mapping (api.rst, KVM_SET_USER_MEMORY_REGION). */
#include "internal.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Also while the guest runs. */
KILN__SYSCALLS(ioctl(1 = 0x4020ae46));
_Static_assert(KVM_SET_USER_MEMORY_REGION == 0x4020ae46, "as declared");

#define PAGE_SHIFT 12 /* the smallest; the dirty log goes by the host's pages */

static unsigned page_shift(void)
{
	unsigned shift = PAGE_SHIFT;

	while (1l << shift < sysconf(_SC_PAGESIZE))
		shift++;
	return shift;
}

static int set_slot(kiln_hv_vm *vm, size_t slot, const struct kiln__kvm_slot *to, kiln_error *err)
{
	struct kvm_userspace_memory_region region = {
		.slot = (uint32_t)slot,
		.flags = (to->flags & KILN_HV_MAP_READONLY ? KVM_MEM_READONLY : 0) |
			 (to->flags & KILN_HV_MAP_LOG_DIRTY ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = to->address,
		.memory_size = to->size,
		.userspace_addr = (uintptr_t)to->host,
	};

	int code;

	if (kiln__kvm_ioctl_p(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) == 0)
		return 0;
	code = errno;
	if (to->flags & KILN_HV_MAP_READONLY && !kiln__kvm_cap(vm->hv, KVM_CAP_READONLY_MEM))
		return kiln__fail(err, KILN_ENOTSUP, "this KVM has no read-only memory");
	return kiln__fail_errno(err, code,
				"KVM_SET_USER_MEMORY_REGION, 0x%" PRIx64 " bytes at 0x%" PRIx64,
				to->size, to->address);
}

/* What can be told before anything is made. */
static int check(uint64_t address, uint64_t size, unsigned flags, kiln_error *err)
{
	const uint64_t in_page = ((uint64_t)1 << page_shift()) - 1;
	uint64_t end;

	if (size == 0 || __builtin_add_overflow(address, size, &end))
		return kiln__fail(err, KILN_EOVERFLOW, "guest memory is empty or wraps around");
	if ((address | size) & in_page)
		return kiln__fail(err, KILN_EINVAL, "guest memory is not of whole pages");
	if (flags & ~(unsigned)(KILN_HV_MAP_READONLY | KILN_HV_MAP_LOG_DIRTY))
		return kiln__fail(err, KILN_EINVAL, "unknown flags 0x%x of guest memory", flags);
	return 0;
}

static int find_free(const kiln_hv_vm *vm, uint64_t address, uint64_t size, size_t *ret,
		     kiln_error *err)
{
	size_t slot = KILN__KVM_MAX_SLOTS;
	uint64_t end = address + size;

	for (size_t i = 0; i < KILN__KVM_MAX_SLOTS; i++) {
		const struct kiln__kvm_slot *old = &vm->slots[i];

		if (old->size == 0)
			slot = slot < i ? slot : i;
		else if (address < old->address + old->size && old->address < end)
			return kiln__fail(err, KILN_EEXIST, "guest memory is mapped already");
	}
	if (slot == KILN__KVM_MAX_SLOTS)
		return kiln__fail(err, KILN_EOVERFLOW, "too many pieces of guest memory");
	*ret = slot;
	return 0;
}

static int map(kiln_hv_vm *vm, const struct kiln__kvm_slot *wanted, kiln_error *err)
{
	size_t slot = 0;
	int code = find_free(vm, wanted->address, wanted->size, &slot, err);

	if (code == 0)
		code = set_slot(vm, slot, wanted, err);
	if (code == 0)
		vm->slots[slot] = *wanted;
	return code;
}

int kiln_hv_vm_map(kiln_hv_vm *vm, uint64_t address, void *host, uint64_t size, unsigned flags,
		   kiln_error *err)
{
	const struct kiln__kvm_slot wanted = {
		.address = address, .size = size, .host = host, .flags = flags};
	int code = check(address, size, flags, err);

	return code < 0 ? code : map(vm, &wanted, err);
}

/* Pages behind a file's last would raise SIGBUS in this process. */
static int check_file(int fd, uint64_t offset, uint64_t size, kiln_error *err)
{
	const uint64_t in_page = ((uint64_t)1 << page_shift()) - 1;
	struct stat st;
	uint64_t end;

	if (fstat(fd, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot look at the file of guest memory");
	if (__builtin_add_overflow(offset, size, &end) || end > INT64_MAX)
		return kiln__fail(err, KILN_EOVERFLOW, "guest memory is beyond any file's end");
	/* The last page may be a part of one: it is filled up with zeros. */
	if (S_ISREG(st.st_mode) && end > (((uint64_t)st.st_size + in_page) & ~in_page))
		return kiln__fail(err, KILN_EOVERFLOW,
				  "the file of guest memory ends at %" PRId64 ", before %" PRIu64,
				  (int64_t)st.st_size, end);
	return 0;
}

int kiln_hv_vm_add_memory(kiln_hv_vm *vm, uint64_t address, uint64_t size,
			  enum kiln_hv_memory_kind kind, intptr_t descriptor, uint64_t offset,
			  unsigned flags, void **ret_host, kiln_error *err)
{
	struct kiln__kvm_slot wanted = {
		.address = address, .size = size, .flags = flags, .owned = true};
	int how = kind == KILN_HV_MEMORY_SHARED ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE;
	int fd = kind == KILN_HV_MEMORY_ANONYMOUS ? -1 : (int)descriptor;
	int code = check(address, size, flags, err);

	if (code == 0 && kind != KILN_HV_MEMORY_ANONYMOUS)
		code = check_file(fd, offset, size, err);
	if (code < 0)
		return code;
	if (kind == KILN_HV_MEMORY_ANONYMOUS)
		how |= MAP_ANONYMOUS;
	wanted.host = mmap(NULL, size, PROT_READ | PROT_WRITE, how, fd, fd < 0 ? 0 : (off_t)offset);
	if (wanted.host == MAP_FAILED)
		return kiln__fail_errno(err, errno, "cannot map %" PRIu64 " bytes of guest memory",
					size);
	code = map(vm, &wanted, err);
	if (code < 0)
		munmap(wanted.host, size);
	else if (ret_host)
		*ret_host = wanted.host;
	return code;
}

static struct kiln__kvm_slot *find_slot(kiln_hv_vm *vm, uint64_t address, kiln_error *err)
{
	for (size_t i = 0; i < KILN__KVM_MAX_SLOTS; i++)
		if (vm->slots[i].size && vm->slots[i].address == address)
			return &vm->slots[i];
	kiln__fail(err, KILN_ENOENT, "no guest memory is mapped there");
	return NULL;
}

static void forget(struct kiln__kvm_slot *slot)
{
	if (slot->owned)
		munmap(slot->host, slot->size);
	*slot = (struct kiln__kvm_slot){0};
}

int kiln_hv_vm_unmap(kiln_hv_vm *vm, uint64_t address, kiln_error *err)
{
	struct kiln__kvm_slot *slot = find_slot(vm, address, err);
	const struct kiln__kvm_slot none = {.address = address};
	int code;

	if (!slot)
		return KILN_ENOENT;
	code = set_slot(vm, (size_t)(slot - vm->slots), &none, err);
	if (code == 0)
		forget(slot);
	return code;
}

void kiln__kvm_free_memory(kiln_hv_vm *vm)
{
	for (size_t i = 0; i < KILN__KVM_MAX_SLOTS; i++)
		if (vm->slots[i].size)
			forget(&vm->slots[i]);
}

/* --- contents ---------------------------------------------------------------------------- */

/* Where @address lies in this process, and how many of @len bytes there; 0: nowhere. */
static size_t run_of(const kiln_hv_vm *vm, uint64_t address, size_t len, uint8_t **ret)
{
	for (size_t i = 0; i < KILN__KVM_MAX_SLOTS; i++) {
		const struct kiln__kvm_slot *slot = &vm->slots[i];
		uint64_t offset = address - slot->address; /* too large where it wraps */

		if (offset >= slot->size)
			continue;
		*ret = (uint8_t *)slot->host + offset;
		return len < slot->size - offset ? len : (size_t)(slot->size - offset);
	}
	return 0;
}

static int copy(const kiln_hv_vm *vm, uint64_t address, uint8_t *out, const uint8_t *in, size_t len,
		kiln_error *err)
{
	uint8_t *host;
	size_t n;

	for (size_t done = 0; done < len; done += n) {
		n = run_of(vm, address + done, len - done, &host);
		if (n == 0)
			return kiln__fail(err, KILN_EOVERFLOW,
					  "no guest memory is mapped at 0x%" PRIx64,
					  address + done);
	}
	for (size_t done = 0; done < len; done += n) {
		n = run_of(vm, address + done, len - done, &host);
		if (out)
			memcpy(out + done, host, n);
		else
			memcpy(host, in + done, n);
	}
	return 0;
}

int kiln_hv_vm_read(const kiln_hv_vm *vm, uint64_t address, void *bytes, size_t len,
		    kiln_error *err)
{
	return copy(vm, address, bytes, NULL, len, err);
}

int kiln_hv_vm_write(kiln_hv_vm *vm, uint64_t address, const void *bytes, size_t len,
		     kiln_error *err)
{
	return copy(vm, address, NULL, bytes, len, err);
}

int kiln_hv_vm_dirty_log(kiln_hv_vm *vm, uint64_t address, uint64_t *bitmap, size_t words,
			 kiln_error *err)
{
	struct kiln__kvm_slot *slot = find_slot(vm, address, err);
	struct kvm_dirty_log log = {.dirty_bitmap = bitmap};

	if (!slot)
		return KILN_ENOENT;
	if (!(slot->flags & KILN_HV_MAP_LOG_DIRTY))
		return kiln__fail(err, KILN_ESTATE, "what is written to this memory is not noted");
	if (words < ((slot->size >> page_shift()) + 63) / 64)
		return kiln__fail(err, KILN_EOVERFLOW, "the dirty log needs a larger bitmap");
	log.slot = (uint32_t)(slot - vm->slots);
	if (kiln__kvm_ioctl_p(vm->fd, KVM_GET_DIRTY_LOG, &log) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_DIRTY_LOG");
	return 0;
}
