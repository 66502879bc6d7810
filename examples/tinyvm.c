/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual machine on <kiln/hv.h>: a processor, 64 KiB of memory, and this program as its devices.
 * It runs a program in real mode, where processors begin, then one in 64-bit mode. */
#include <kiln/error.h>
#include <kiln/hv.h>
#include <kiln/hv_x86.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CONSOLE 0xe9     /* a port: characters that are written there are printed */
#define NUMBERS 0xea     /* likewise, numbers of 32 bits */
#define DEVICE  0x200000 /* a register in memory space, behind all memory */
#define MEMORY  0x10000  /* bytes of memory, in which lie: */
#define PROGRAM 0x1000
#define TABLES  0x2000 /* three page tables of a page each (Intel SDM vol. 3, 4.5) */
#define PRESENT 0x3    /* an entry that is there and may be written through */
#define LARGE   0x80   /* it is of a page of 2 MiB */

/* The programs: each says what it has to say, and halts. */
extern const uint8_t real_mode[], long_mode[], programs_end[];
__asm__(".pushsection .rodata; .code16\n"
	"real_mode: mov $0x1000 + text - real_mode, %si\n" /* PROGRAM is where it runs */
	"1:	lodsb; test %al, %al; jz 2f\n"
	"	out %al, $0xe9; jmp 1b\n" /* CONSOLE */
	"2:	hlt\n"
	"text:	.asciz \"Hello from real mode\\n\"\n"
	".code64\n"
	"long_mode: xor %eax, %eax\n"
	"	mov $100, %ecx\n"
	"1:	add %rcx, %rax; loop 1b\n" /* 100 + 99 + ... + 1 */
	"	out %eax, $0xea\n"         /* NUMBERS */
	"	mov %rax, 0x200000; hlt\n" /* DEVICE */
	"programs_end:\n"
	".popsection\n");

/* What the program asks of its devices. False: there is no such device. */
static bool serve(const kiln_hv_exit *exit)
{
	const kiln_hv_access *access = &exit->access;
	uint64_t value = 0;

	if (!access->write || access->size > sizeof(value))
		return false;
	memcpy(&value, access->data, access->size);
	if (exit->kind == KILN_HV_EXIT_PORT && access->address == CONSOLE)
		return fwrite(access->data, access->size, access->count, stdout) > 0;
	if (exit->kind == KILN_HV_EXIT_PORT && access->address == NUMBERS)
		return printf("64-bit mode adds up to %" PRIu64 "\n", value) > 0;
	return exit->kind == KILN_HV_EXIT_MMIO && access->address == DEVICE &&
	       printf("and stores %" PRIu64 " in a device\n", value) > 0;
}

/* Puts a program into memory and runs it until it halts. */
static int run(kiln_hv_vm *vm, kiln_hv_vcpu *vcpu, const kiln_hv_x86_state *state,
	       const uint8_t *begin, const uint8_t *end, kiln_error *err)
{
	kiln_hv_exit exit;

	if (kiln_hv_vm_write(vm, PROGRAM, begin, (size_t)(end - begin), err) < 0 ||
	    kiln_hv_x86_set_state(vcpu, state, err) < 0)
		return err->code;
	while (kiln_hv_vcpu_run(vcpu, &exit, err) == 0 && exit.kind != KILN_HV_EXIT_HALT) {
		if (exit.kind == KILN_HV_EXIT_KICKED || serve(&exit)) /* KICKED: nothing to do */
			continue;
		kiln_hv_exit_describe(&exit, err->message, sizeof(err->message));
		return err->code = KILN_ENOTSUP;
	}
	return err->code; /* 0 as long as nothing has failed */
}

/* Real mode is what a new processor is in; but there is no memory where it would begin. Then 64-bit
 * mode, as a whole, without the steps by which one gets there: it needs page tables, but no
 * descriptors, as nothing loads a segment. */
static int run_both(kiln_hv_vm *vm, kiln_hv_vcpu *vcpu, kiln_error *err)
{
	static const uint64_t tables[][512] = {{(TABLES + 0x1000) | PRESENT},
					       {(TABLES + 0x2000) | PRESENT},
					       {PRESENT | LARGE, DEVICE | PRESENT | LARGE}};
	const kiln_hv_x86_segment data = {.limit = UINT32_MAX, .rights = KILN_X86_RIGHTS_DATA};
	kiln_hv_x86_state state;

	if (kiln_hv_vm_write(vm, TABLES, tables, sizeof(tables), err) < 0 ||
	    kiln_hv_x86_get_state(vcpu, &state, err) < 0)
		return err->code;
	state.cs.base = state.cs.selector = 0;
	state.rip = PROGRAM;
	if (run(vm, vcpu, &state, real_mode, long_mode, err) < 0)
		return err->code;
	state.cr0 = KILN_X86_CR0_PE | KILN_X86_CR0_ET | KILN_X86_CR0_PG;
	state.cr3 = TABLES;
	state.cr4 = KILN_X86_CR4_PAE;
	state.efer = KILN_X86_EFER_LME | KILN_X86_EFER_LMA;
	state.cs = (kiln_hv_x86_segment){.limit = UINT32_MAX, .rights = KILN_X86_RIGHTS_CODE64};
	state.ds = state.es = state.fs = state.gs = state.ss = data;
	return run(vm, vcpu, &state, long_mode, programs_end, err);
}

int main(void)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_hv_vcpu *vcpu = NULL;
	kiln_hv_vm *vm = NULL;
	kiln_hv *hv = NULL;
	bool ok;

	ok = kiln_hv_open(&hv, NULL, &err) == 0 && kiln_hv_vm_new(&vm, hv, NULL, &err) == 0 &&
	     kiln_hv_vm_add_memory(vm, 0, MEMORY, KILN_HV_MEMORY_ANONYMOUS, -1, 0, 0, NULL, &err) ==
		     0 &&
	     kiln_hv_vcpu_new(&vcpu, vm, 0, &err) == 0 && kiln_hv_vcpu_attach(vcpu, &err) == 0 &&
	     run_both(vm, vcpu, &err) == 0;
	if (!ok)
		fprintf(stderr, "%s\n%s\n", err.message, err.hint);
	kiln_hv_vcpu_free(vcpu);
	kiln_hv_vm_free(vm);
	kiln_hv_free(hv);
	return ok ? 0 : 1;
}
