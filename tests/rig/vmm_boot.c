/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boots a stock kernel with kiln's loader and tables on a whole KVM, and prints what the kernel
 * says at its serial port until it ends:
 *
 *	vmm-boot KERNEL MEMORY_MIB CPUS pvh|random [INITRD]
 *
 * No more of a machine than that: KVM's own interrupt controllers, an empty PCI bus, a serial port
 * that only sends, and the registers of hardware-reduced ACPI. The power button is pressed when the
 * guest says "init: press".
 */
#include "acpi.h"
#include "boot.h"
#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX_CPUS  4
#define MAX_CPUID 100

static struct {
	int kvm;
	int vm;
	int cpus[MAX_CPUS];
	struct kvm_run *runs[MAX_CPUS];
	unsigned count;
	struct kiln__ram *ram;
	uint32_t events;
	unsigned long exits;
	size_t said; /* how much of what asks for the button the serial port has sent last */
	pthread_mutex_t lock; /* for all that the guest reaches */
} vm;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int call(int fd, unsigned long request, void *arg, const char *what)
{
	int n = ioctl(fd, request, arg);

	if (n < 0)
		die(what);
	return n;
}

/* --- the machine ---------------------------------------------------------------------------- */

static void map_memory(void)
{
	const struct kiln__gmem *gmem = kiln__ram_gmem(vm.ram);

	for (unsigned i = 0; i < gmem->count; i++) {
		struct kvm_userspace_memory_region region = {
			.slot = i,
			.guest_phys_addr = gmem->regions[i].gpa,
			.memory_size = gmem->regions[i].size,
			.userspace_addr = (uintptr_t)gmem->regions[i].host,
		};

		call(vm.vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
	}
}

static void set_cpuid(int cpu, unsigned id)
{
	union {
		struct kvm_cpuid2 head;
		unsigned char room[sizeof(struct kvm_cpuid2) +
				   MAX_CPUID * sizeof(struct kvm_cpuid_entry2)];
	} cpuid = {.head = {.nent = MAX_CPUID}};

	call(vm.kvm, KVM_GET_SUPPORTED_CPUID, &cpuid, "KVM_GET_SUPPORTED_CPUID");
	for (unsigned i = 0; i < cpuid.head.nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid.head.entries[i];

		if (entry->function == 1) {
			entry->ebx = (entry->ebx & 0xffff) | id << 24 | 1u << 16;
			entry->ecx |= 1u << 31 | 1u << 24; /* a hypervisor; TSC deadline timer */
		} else if (entry->function == 0xb || entry->function == 0x1f) {
			entry->edx = id;
		}
	}
	call(cpu, KVM_SET_CPUID2, &cpuid, "KVM_SET_CPUID2");
}

static void make_machine(unsigned cpus)
{
	int size;

	vm.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm.kvm < 0)
		die("/dev/kvm");
	vm.vm = call(vm.kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	call(vm.vm, KVM_CREATE_IRQCHIP, NULL, "KVM_CREATE_IRQCHIP");
	size = call(vm.kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE");
	map_memory();
	for (unsigned i = 0; i < cpus; i++) {
		vm.cpus[i] = ioctl(vm.vm, KVM_CREATE_VCPU, (unsigned long)i);
		if (vm.cpus[i] < 0)
			die("KVM_CREATE_VCPU");
		vm.runs[i] =
			mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vm.cpus[i], 0);
		set_cpuid(vm.cpus[i], i);
	}
	vm.count = cpus;
}

static struct kvm_segment segment(const struct kiln__boot_segment *from)
{
	return (struct kvm_segment){
		.base = from->base,
		.limit = from->limit,
		.selector = from->selector,
		.type = from->rights & 15,
		.s = from->rights >> 4 & 1,
		.present = from->rights >> 7 & 1,
		.l = from->rights >> 13 & 1,
		.db = from->rights >> 14 & 1,
		.g = from->rights >> 15 & 1,
	};
}

static void set_entry(const struct kiln__boot_entry *entry)
{
	struct kvm_regs regs = {
		.rip = entry->rip, .rbx = entry->rbx, .rsi = entry->rsi, .rflags = entry->rflags};
	struct kvm_sregs sregs;

	call(vm.cpus[0], KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
	sregs.cs = segment(&entry->code);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(&entry->data);
	sregs.tr = segment(&entry->task);
	sregs.gdt.base = entry->gdt_base;
	sregs.gdt.limit = entry->gdt_limit;
	sregs.idt.base = sregs.idt.limit = 0;
	sregs.cr0 = entry->cr0;
	sregs.cr3 = entry->cr3;
	sregs.cr4 = entry->cr4;
	sregs.efer = entry->efer;
	call(vm.cpus[0], KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
	call(vm.cpus[0], KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

/* --- running -------------------------------------------------------------------------------- */

static void press_power(void)
{
	struct kvm_irq_level level = {.irq = KILN__GED_GSI, .level = 1};

	vm.events |= KILN__EVENT_POWER;
	call(vm.vm, KVM_IRQ_LINE, &level, "KVM_IRQ_LINE");
	level.level = 0;
	call(vm.vm, KVM_IRQ_LINE, &level, "KVM_IRQ_LINE");
}

static void sent(char c)
{
	static const char word[] = "init: press";

	putchar(c);
	vm.said = c == word[vm.said] ? vm.said + 1 : c == word[0];
	if (vm.said < sizeof(word) - 1)
		return;
	vm.said = 0;
	press_power();
}

static void written(uint16_t port, const uint8_t *data)
{
	if (port == KILN__COM1_PORT) {
		sent((char)*data);
	} else if (port == KILN__PM_SLEEP_CTL && *data == (KILN__PM_S5_TYPE << 2 | 0x20)) {
		printf("vmm-boot: powered off\n");
		exit(0);
	} else if (port == KILN__PM_RESET && *data == KILN__PM_RESET_VALUE) {
		printf("vmm-boot: reset after %lu exits\n", vm.exits);
		exit(0);
	}
}

static void read_port(uint16_t port, uint8_t *data, uint32_t size)
{
	memset(data, 0xff, size);
	if (port == KILN__COM1_PORT + 5) {
		*data = 0x60; /* all sent */
	} else if (port == KILN__PM_EVENTS && size == 4) {
		memcpy(data, &vm.events, 4);
		vm.events = 0;
	}
}

static void on_port(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			written(run->io.port, data);
		else
			read_port(run->io.port, data, run->io.size);
	}
}

static void *run_cpu(void *data)
{
	unsigned index = (unsigned)(uintptr_t)data;
	struct kvm_run *run = vm.runs[index];

	for (;;) {
		if (ioctl(vm.cpus[index], KVM_RUN, NULL) < 0) {
			if (errno == EAGAIN || errno == EINTR) /* started by another, just now */
				continue;
			die("KVM_RUN");
		}
		pthread_mutex_lock(&vm.lock);
		vm.exits++;
		if (run->exit_reason == KVM_EXIT_IO) {
			on_port(run);
		} else if (run->exit_reason == KVM_EXIT_MMIO) {
			if (!run->mmio.is_write)
				memset(run->mmio.data, 0xff, run->mmio.len);
		} else {
			printf("vmm-boot: exit %u\n", run->exit_reason);
			exit(1);
		}
		pthread_mutex_unlock(&vm.lock);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const char *how = argc > 4 ? argv[4] : "";
	struct kiln__boot_options options = {
		.kernel = {.fd = argc > 1 ? open(argv[1], O_RDONLY) : -1, .immutable = true},
		.initrd = {.fd = argc > 5 ? open(argv[5], O_RDONLY) : -1, .immutable = true},
		.cmdline = getenv("CMDLINE") ? getenv("CMDLINE")
					     : "earlyprintk=serial,ttyS0,115200,keep panic=-1",
		.random_base = !strcmp(how, "random"),
	};
	struct kiln__acpi_options acpi = {.pci = true, .io_apic = 0xfec00000, .pvpanic = true};
	struct kiln__boot_entry entry;
	kiln_error err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 5 || options.kernel.fd < 0)
		return 2;
	acpi.cpus = (unsigned)atoi(argv[3]);
	if (kiln__ram_new(&vm.ram, strtoull(argv[2], NULL, 10) << 20, false, &err) ||
	    kiln__acpi_build(vm.ram, &acpi, &options.rsdp, &err) ||
	    kiln__boot_load(vm.ram, &options, &entry, &err)) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	printf("vmm-boot: %s at 0x%" PRIx64 ", base 0x%" PRIx64 ", shifted 0x%" PRIx64 "\n",
	       entry.protocol == KILN__BOOT_PVH ? "PVH" : "LINUX64", entry.rip, entry.kernel_base,
	       entry.kernel_shift);
	make_machine(acpi.cpus);
	set_entry(&entry);
	pthread_mutex_init(&vm.lock, NULL);
	for (uintptr_t i = 1; i < acpi.cpus; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, run_cpu, (void *)i))
			die("pthread_create");
	}
	run_cpu(NULL);
}
