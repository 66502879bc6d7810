/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiles a system-call filter at build time: seccomp-gen ARCH NAME OUTPUT PROGRAM
 *
 * PROGRAM is an ELF file with the lists of src/base/syscalls.h in its section
 * .kiln.syscalls, each ended by a NUL byte. OUTPUT becomes a C source with the BPF program as NAME,
 * a struct kiln__jail_filter. What is not declared fails with ENOSYS, so that a newer C library
 * takes its older way; what only an intruder calls kills the process.
 */
#include <elf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CONDITIONS 6 /* a system call has no more arguments */

static const char *const deadly[] = {
	"execve",
	"execveat",
	"ptrace",
	"process_vm_readv",
	"process_vm_writev",
	"init_module",
	"finit_module",
	"kexec_load",
	"bpf",
	"mount",
	"umount2",
	"pivot_root",
	"chroot",
	"setns",
	"unshare",
	"userfaultfd",
	"perf_event_open",
	"add_key",
	"keyctl",
	"request_key",
};

#define MAX_CALLS 256

/* What has been declared so far, and whether with conditions. */
static struct {
	int number;
	bool conditional;
} calls[MAX_CALLS];
static size_t call_count;

static void die(const char *what, const char *which)
{
	fprintf(stderr, "seccomp-gen: %s: %s\n", what, which);
	exit(1);
}

/* --- declarations ---------------------------------------------------------------- */

static void note_call(int number, bool conditional, const char *word)
{
	for (size_t i = 0; i < call_count; i++) {
		if (calls[i].number != number)
			continue;
		if (calls[i].conditional != conditional)
			die("declared with and without a condition", word);
		return;
	}
	if (call_count == MAX_CALLS)
		die("too many system calls", word);
	calls[call_count].number = number;
	calls[call_count++].conditional = conditional;
}

/*
 * The descriptors by which signals may be sent, compared like (number & mask) == value. What they
 * stand for is not to change, so they cannot be closed, and no call that is let through puts
 * another in the place of an open one.
 */
static struct {
	bool any;
	uint32_t mask;
	uint32_t value;
} kept;

static const char *const replacing[] = {"dup2", "dup3", "close_range", "pidfd_getfd"};

static void note_kept(const struct scmp_arg_cmp *conditions, unsigned count)
{
	const struct scmp_arg_cmp *number = &conditions[0];

	if (count != 1 || number->arg != 0)
		die("signals go by fixed descriptors alone", "pidfd_send_signal");
	kept.any = true;
	kept.mask = number->op == SCMP_CMP_EQ ? UINT32_MAX : (uint32_t)number->datum_a;
	kept.value = (uint32_t)(number->op == SCMP_CMP_EQ ? number->datum_a : number->datum_b);
}

static void refuse_replacing(void)
{
	for (size_t i = 0; kept.any && i < sizeof(replacing) / sizeof(replacing[0]); i++)
		for (size_t j = 0; j < call_count; j++)
			if (calls[j].number == seccomp_syscall_resolve_name(replacing[i]))
				die("beside kept descriptors there cannot be", replacing[i]);
}

static void refuse_deadly(const char *name)
{
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		if (strcmp(name, deadly[i]) == 0)
			die("no confined process may have this", name);
}

/* One condition, "ARGUMENT = VALUE" or "ARGUMENT & MASK = VALUE"; returns what follows it. */
static const char *read_condition(const char *at, struct scmp_arg_cmp *ret, const char *word)
{
	unsigned long long mask;
	unsigned long long value;
	unsigned argument;
	int len = 0;

	if (sscanf(at, " %u = %lli%n", &argument, (long long *)&value, &len) == 2 && len)
		*ret = (struct scmp_arg_cmp){argument, SCMP_CMP_EQ, value, 0};
	else if (sscanf(at, " %u & %lli = %lli%n", &argument, (long long *)&mask,
			(long long *)&value, &len) == 3 &&
		 len)
		*ret = (struct scmp_arg_cmp){argument, SCMP_CMP_MASKED_EQ, mask, value};
	else
		die("bad condition", word);
	if (argument >= MAX_CONDITIONS)
		die("no such argument", word);
	at += len;
	return at + strspn(at, " ");
}

/* One declaration: "name" or "name(conditions)". */
static void allow(scmp_filter_ctx filter, char *word)
{
	struct scmp_arg_cmp conditions[MAX_CONDITIONS];
	unsigned count = 0;
	char *open = strchr(word, '(');
	char name[64];
	int number;
	int rc;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, " ("), word);
	refuse_deadly(name);
	number = seccomp_syscall_resolve_name(name);
	if (number == __NR_SCMP_ERROR)
		die("no such system call", word);
	if (open) {
		const char *at = open + 1;

		do {
			if (count == MAX_CONDITIONS)
				die("too many conditions", word);
			at = read_condition(at, &conditions[count++], word);
		} while (*at != ')' && *at);
		if (strcmp(at, ")") != 0)
			die("bad condition", word);
	}
	note_call(number, count > 0, word);
	if (strcmp(name, "pidfd_send_signal") == 0)
		note_kept(conditions, count);
	rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, conditions);
	/* -EEXIST: declared twice; -EDOM: this architecture has no such call. */
	if (rc && rc != -EEXIST && rc != -EDOM)
		die("cannot add a rule", word);
}

/* The declarations of one list: separated by commas, which no condition contains. */
static void read_list(scmp_filter_ctx filter, char *list)
{
	for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
		size_t len;

		word += strspn(word, " ");
		len = strlen(word);
		while (len && word[len - 1] == ' ')
			word[--len] = '\0';
		if (len)
			allow(filter, word);
	}
}

/* --- the program ------------------------------------------------------------------- */

static unsigned char *read_whole(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "rb");
	unsigned char *bytes;
	long size;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0)
		die("cannot open", path);
	rewind(file);
	bytes = malloc((size_t)size + 1);
	if (!bytes || fread(bytes, 1, (size_t)size, file) != (size_t)size)
		die("cannot read", path);
	bytes[size] = '\0';
	fclose(file);
	*ret_size = (size_t)size;
	return bytes;
}

/* Finds the section of the lists; the build's own output is trusted to be well-formed. */
static void read_program(scmp_filter_ctx filter, const char *path)
{
	size_t size;
	unsigned char *bytes = read_whole(path, &size);
	const Elf64_Ehdr *elf = (const Elf64_Ehdr *)bytes;
	const Elf64_Shdr *sections;
	const char *names;

	if (size < sizeof(*elf) || memcmp(elf->e_ident, ELFMAG, SELFMAG) ||
	    elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_shoff >= size)
		die("not a 64-bit ELF file", path);
	sections = (const Elf64_Shdr *)(bytes + elf->e_shoff);
	names = (const char *)bytes + sections[elf->e_shstrndx].sh_offset;
	for (unsigned i = 0; i < elf->e_shnum; i++) {
		char *list = (char *)bytes + sections[i].sh_offset;
		char *end = list + sections[i].sh_size;

		if (strcmp(names + sections[i].sh_name, ".kiln.syscalls") != 0)
			continue;
		while (list < end) {
			char *next = list + strlen(list) + 1;

			read_list(filter, list);
			list = next;
		}
	}
	if (!call_count)
		die("declares no system calls", path);
	free(bytes);
}

static void print_one(FILE *out, unsigned code, unsigned jump, unsigned otherwise, uint32_t k)
{
	fprintf(out, "\t{0x%04x, %u, %u, 0x%08x},\n", code, jump, otherwise, (unsigned)k);
}

/*
 * Ahead of all else: close() of a kept descriptor is refused. The kernel takes the lower half of
 * the argument for the number, where libseccomp compares the whole. Returns how many instructions
 * that is. Another architecture's numbers are killed for behind it, whatever they are here.
 */
static unsigned print_kept(FILE *out, uint32_t arch)
{
	int number = seccomp_syscall_resolve_name_arch(arch, "close");

	if (!kept.any)
		return 0;
	print_one(out, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
	print_one(out, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, (uint32_t)number);
	print_one(out, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, args));
	print_one(out, BPF_ALU | BPF_AND | BPF_K, 0, 0, kept.mask);
	print_one(out, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, kept.value);
	print_one(out, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ENOSYS);
	return 6;
}

static void print_program(scmp_filter_ctx filter, uint32_t arch, const char *name, const char *path)
{
	FILE *program = tmpfile();
	FILE *out = fopen(path, "w");
	unsigned char one[8]; /* struct sock_filter: u16 code, u8 jt, u8 jf, u32 k */
	unsigned count;

	if (!program || !out || seccomp_export_bpf(filter, fileno(program)))
		die("cannot write", path);
	rewind(program);
	fprintf(out, "/* Made by tools/seccomp-gen.c. */\n#include \"jail.h\"\n\n"
		     "#include <linux/filter.h>\n\n"
		     "static const struct sock_filter program[] = {\n");
	count = print_kept(out, arch);
	for (; fread(one, sizeof(one), 1, program) == 1; count++)
		print_one(out, (unsigned)(one[0] | one[1] << 8), one[2], one[3],
			  (uint32_t)one[4] | (uint32_t)one[5] << 8 | (uint32_t)one[6] << 16 |
				  (uint32_t)one[7] << 24);
	fprintf(out,
		"};\n\nextern const struct kiln__jail_filter %s;\n"
		"const struct kiln__jail_filter %s = {program, %u};\n",
		name, name, count);
	if (fclose(out) || !count)
		die("cannot write", path);
	fclose(program);
}

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	uint32_t arch;

	if (argc != 5 || !filter)
		die("usage", "seccomp-gen ARCH NAME OUTPUT PROGRAM");
	arch = seccomp_arch_resolve_name(argv[1]);
	if (!arch)
		die("no such architecture", argv[1]);
	if (arch != seccomp_arch_native() &&
	    (seccomp_arch_remove(filter, SCMP_ARCH_NATIVE) || seccomp_arch_add(filter, arch)))
		die("cannot filter for", argv[1]);
	seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS,
				 seccomp_syscall_resolve_name(deadly[i]), 0);
	read_program(filter, argv[4]);
	refuse_replacing();
	print_program(filter, arch, argv[2], argv[3]);
	seccomp_release(filter);
	return 0;
}
