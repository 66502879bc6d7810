/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"

#include "acpi.h"
#include "buf.h"
#include "err.h"
#include "layout.h"
#include "log.h"
#include "mptable.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

/*
 * Until a driver of its own is there, the kernel writes what is critical or worse to a port that
 * is not announced: nothing, in a good boot. It is told not to look for serial ports where there
 * might be some.
 */
#define EARLY_CONSOLE "console=hvc0 earlycon=uart8250,io,0x3f8 8250.nr_uarts=0"
/* And not to look for faults that ours has not. */
#define SERIAL_CONSOLE "console=ttyS0 8250.skip_txen_test=1"
/*
 * a: by ACPI, where Linux expects EFI. The level stands before the early console, which begins by
 * repeating all that was said until then: its banner alone would be hundreds of exits. noearly: no
 * looking for chipsets with known faults, by ports that nobody is at. trust_cpu: what distributions
 * build in; a kernel that has no seed from its beginning on mixes one anew for each number.
 */
#define CMDLINE "panic=-1 reboot=a loglevel=3 pci=noearly random.trust_cpu=on"
#define NO_PCI  " pci=off" /* no looking for it by ports */
/*
 * A kernel that finds one processor takes the lock prefixes out of its text, thousands: each page
 * of it is then this VM's own, and no longer shared with all who run that kernel.
 */
#define ONE_CPU " noreplace-smp"

/* --- parts -------------------------------------------------------------------------- */

static int make_vm(struct kiln__board *b, kiln_error *err)
{
	kiln_hv_vm_options options = KILN_HV_VM_OPTIONS_INIT;
	int r = kiln_hv_open(&b->hv, NULL, err);

	options.irqchip = KILN_HV_IRQCHIP_LOCAL; /* ioapic.h says why */
	if (r == 0)
		r = kiln_hv_vm_new(&b->vm, b->hv, &options, err);
	return r < 0 ? r : kiln__cpuid_get(&b->cpuid, b->hv, err);
}

static int map_ram(struct kiln__board *b, kiln_error *err)
{
	const struct kiln__gmem *mem = kiln__ram_gmem(b->ram);
	int r = 0;

	for (unsigned i = 0; r == 0 && i < mem->count; i++)
		r = kiln_hv_vm_map(b->vm, mem->regions[i].gpa, mem->regions[i].host,
				   mem->regions[i].size, 0, err);
	return r;
}

static int open_file(const struct kiln__source *source, const char *key, kiln_fd *ret,
		     kiln_error *err)
{
	int r;

	if (!kiln__source_is_set(source))
		return 0;
	if (source->fd != KILN_FD_NONE)
		r = kiln__os_dup(ret, source->fd, err);
	else
		r = kiln__os_open(ret, source->path, KILN__OPEN_READ, err);
	return r < 0 ? (kiln__prefix(err, "%s", key), r) : 0;
}

static struct kiln__boot_file boot_file(const struct kiln__source *source, kiln_fd fd)
{
	return (struct kiln__boot_file){
		.fd = fd,
		.start = source->offset,
		.len = source->length,
		.immutable = source->immutable,
	};
}

static int load(struct kiln__board *b, kiln_error *err)
{
	const struct kiln__spec *spec = b->host->spec;
	kiln__autofree char *cmdline =
		kiln__strf(CMDLINE "%s%s %s%s%s", spec->cpus == 1 ? ONE_CPU : "",
			   kiln__devices_any(spec) ? "" : NO_PCI,
			   spec->serial ? SERIAL_CONSOLE : EARLY_CONSOLE, spec->cmdline ? " " : "",
			   spec->cmdline ? spec->cmdline : "");
	const struct kiln__acpi_options acpi = {
		.cpus = spec->cpus,
		.io_apic = KILN__IOAPIC_BASE,
		.first_gsi = KILN__FIRST_GSI,
		.pci = kiln__devices_any(spec),
		.pvpanic = true,
		.serial = spec->serial,
	};
	struct kiln__boot_options boot = {
		.kernel = boot_file(&spec->kernel, b->kernel),
		.initrd = boot_file(&spec->initrd, b->initrd),
		.cmdline = cmdline,
	};
	int r;

	if (!cmdline)
		return kiln__fail_nomem(err);
	kiln__mptable_write(b->ram);
	r = kiln__acpi_build(b->ram, &acpi, &boot.rsdp, err);
	return r < 0 ? r : kiln__boot_load(b->ram, &boot, &b->entry, err);
}

static void on_serial(void *data, uint8_t byte)
{
	kiln__mailbox_put(data, byte);
}

static void on_fault(void *data, const char *device, const char *what)
{
	const struct kiln__backend_host *host = data;

	kiln__log(host->log, KILN_LOG_WARN, "the guest's driver of virtio-%s: %s", device, what);
}

/* --- the board ------------------------------------------------------------------------- */

int kiln__board_check(const struct kiln__spec *spec, kiln_error *err)
{
	if (!kiln__source_is_set(&spec->kernel))
		return kiln__fail(err, KILN_EINVAL, "kernel: the builtin backend needs one");
	if (spec->cpus > KILN__MAX_VCPUS)
		return kiln__fail(err, KILN_EINVAL, "cpus: at most %d", KILN__MAX_VCPUS);
	return kiln__devices_check(spec, err);
}

static bool may_restart(const struct kiln__board *b)
{
	return strcmp(b->host->spec->on_reboot, "restart") == 0;
}

static int make_devices(struct kiln__board *b, kiln_error *err)
{
	const struct kiln__virtio_bus bus = {
		.vm = b->vm,
		.loop = b->host->loop,
		.pci = b->pci,
		.mem = kiln__ram_gmem(b->ram),
		.fault = on_fault,
		.data = (void *)b->host,
	};

	return kiln__devices_init(&b->devices, b->host, &bus, b->ram, err);
}

int kiln__board_init(struct kiln__board *b, const struct kiln__backend_host *host,
		     struct kiln__mailbox *box, const struct kiln__pm_handler *pm_handler,
		     void *pm_data, kiln_error *err)
{
	const struct kiln__spec *spec = host->spec;
	int r;

	*b = (struct kiln__board){.host = host, .kernel = KILN_FD_NONE, .initrd = KILN_FD_NONE};
	r = open_file(&spec->kernel, "kernel", &b->kernel, err);
	if (r == 0)
		r = open_file(&spec->initrd, "initrd", &b->initrd, err);
	if (r == 0)
		r = kiln__ram_new(&b->ram, spec->memory, false, err);
	if (r == 0)
		r = load(b, err);
	if (r == 0)
		r = make_vm(b, err);
	if (r == 0)
		r = map_ram(b, err);
	if (r == 0)
		r = kiln__pci_new(&b->pci, b->vm, &b->bus, err);
	if (r < 0)
		return r;
	kiln__ioapic_init(&b->ioapic, &b->bus, b->vm, kiln__pci_ioapic_page(b->pci),
			  spec->serial ? 2 : 1);
	kiln__pm_init(&b->pm, &b->bus, &b->ioapic, pm_handler, pm_data);
	kiln__uart_init(&b->uart, &b->bus, &b->ioapic, spec->serial, on_serial, box);
	r = make_devices(b, err);
	if (r == 0 && may_restart(b))
		r = kiln_hv_vm_save(b->vm, &b->vm_state.bytes, &b->vm_state.size, err);
	return r;
}

int kiln__board_reset(struct kiln__board *b, kiln_error *err)
{
	const struct kiln__gmem *mem = kiln__ram_gmem(b->ram);
	int r = 0;

	kiln__devices_reset(&b->devices);
	kiln__pci_reset(b->pci);
	kiln__ioapic_reset(&b->ioapic);
	kiln__pm_reset(&b->pm);
	kiln__uart_reset(&b->uart);
	for (unsigned i = 0; r == 0 && i < mem->count; i++)
		r = kiln__ram_discard(b->ram, mem->regions[i].gpa, mem->regions[i].size, err);
	if (r == 0)
		r = kiln_hv_vm_load(b->vm, b->vm_state.bytes, b->vm_state.size, err);
	return r < 0 ? r : load(b, err);
}

static kiln_hv_x86_segment segment(const struct kiln__boot_segment *from)
{
	return (kiln_hv_x86_segment){from->base, from->limit, from->selector, from->rights};
}

/* What the boot protocol says of the first processor; the others wait for its call (SDM vol.
 * 3, 8.4). */
static int enter_boot(const struct kiln__board *b, kiln_hv_vcpu *vcpu, kiln_error *err)
{
	const struct kiln__boot_entry *entry = &b->entry;
	kiln_hv_x86_segment data = segment(&entry->data);
	const kiln_hv_x86_state state = {
		.gpr = {[KILN_X86_RBX] = entry->rbx, [KILN_X86_RSI] = entry->rsi},
		.rip = entry->rip,
		.rflags = entry->rflags,
		.cr0 = entry->cr0,
		.cr3 = entry->cr3,
		.cr4 = entry->cr4,
		.efer = entry->efer,
		.cs = segment(&entry->code),
		.ds = data,
		.es = data,
		.fs = data,
		.gs = data,
		.ss = data,
		.tr = segment(&entry->task),
		.gdt = {.base = entry->gdt_base, .limit = entry->gdt_limit},
	};

	return kiln_hv_x86_set_state(vcpu, &state, err);
}

int kiln__board_init_cpu(struct kiln__board *b, unsigned index, kiln_hv_vcpu *vcpu, kiln_error *err)
{
	struct kiln__blob *first = &b->cpu_states[index];
	int r;

	if (first->bytes) {
		r = kiln_hv_vcpu_load(vcpu, first->bytes, first->size, err);
	} else {
		r = kiln__cpu_init(vcpu, &b->cpuid, index, b->host->spec->cpus, err);
		if (r == 0 && may_restart(b))
			r = kiln_hv_vcpu_save(vcpu, &first->bytes, &first->size, err);
	}
	return r < 0 || index != 0 ? r : enter_boot(b, vcpu, err);
}

void kiln__board_done(struct kiln__board *b)
{
	kiln__devices_done(&b->devices);
	kiln_hv_vm_free(b->vm);
	kiln__pci_free(b->pci);
	kiln__ram_free(b->ram);
	kiln_hv_free(b->hv);
	kiln__os_close(b->kernel);
	kiln__os_close(b->initrd);
	free(b->vm_state.bytes);
	for (unsigned i = 0; i < KILN__MAX_VCPUS; i++)
		free(b->cpu_states[i].bytes);
	*b = (struct kiln__board){.kernel = KILN_FD_NONE, .initrd = KILN_FD_NONE};
}
