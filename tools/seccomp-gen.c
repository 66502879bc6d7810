/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiles a system-call filter at build time: seccomp-gen ARCH NAME OUTPUT SOURCE...
 *
 * Each source declares what it calls in comments of the form
 *
 *     syscalls: read write socket(0=1) ioctl(1=0x541b)
 *
 * where a condition says that an argument (counted from 0) must have that value. The
 * output is a C header with the BPF program as NAME. What is not declared fails with ENOSYS,
 * so that a newer C library takes its older way; what only an intruder calls kills the process.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const deadly[] = {
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "init_module",
	"finit_module", "kexec_load", "bpf", "mount", "umount2", "pivot_root", "chroot", "setns",
	"unshare", "userfaultfd", "perf_event_open", "add_key", "keyctl", "request_key",
};

static void die(const char *what, const char *which)
{
	fprintf(stderr, "seccomp-gen: %s: %s\n", what, which);
	exit(1);
}

/* One declaration: "name" or "name(argument=value)". */
static void allow(scmp_filter_ctx filter, const char *word)
{
	char name[64];
	struct scmp_arg_cmp condition = {0};
	unsigned argument;
	long long value;
	int fields = sscanf(word, "%63[a-z0-9_](%u=%lli)", name, &argument, &value);
	int number = fields >= 1 ? seccomp_syscall_resolve_name(name) : __NR_SCMP_ERROR;
	int rc;

	if (number == __NR_SCMP_ERROR || fields == 2)
		die("no such system call or condition", word);
	if (fields == 3)
		condition = (struct scmp_arg_cmp){argument, SCMP_CMP_EQ, (scmp_datum_t)value, 0};
	rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, fields == 3, &condition);
	/* -EACCES: the same rule again, with what would be the default's action; -EEXIST: twice. */
	if (rc && rc != -EEXIST && rc != -EDOM)
		die("cannot add a rule", word);
}

/* Reads the words behind "syscalls:" up to the end of the line or comment. */
static void read_source(scmp_filter_ctx filter, const char *path)
{
	char line[1024];
	FILE *file = fopen(path, "r");

	if (!file)
		die("cannot open", path);
	while (fgets(line, sizeof(line), file)) {
		char *at = strstr(line, "syscalls: ");

		if (!at)
			continue;
		at += strlen("syscalls: ");
		for (char *word = strtok(at, " \t\n"); word; word = strtok(NULL, " \t\n")) {
			if (strcmp(word, "*/") == 0)
				break;
			allow(filter, word);
		}
	}
	fclose(file);
}

static void print_program(scmp_filter_ctx filter, const char *name, const char *path)
{
	FILE *program = tmpfile();
	FILE *out = fopen(path, "w");
	unsigned char one[8]; /* struct sock_filter: u16 code, u8 jt, u8 jf, u32 k */
	unsigned count = 0;

	if (!program || !out || seccomp_export_bpf(filter, fileno(program)))
		die("cannot write", path);
	rewind(program);
	fprintf(out, "/* Made by tools/seccomp-gen.c. */\n#include <linux/filter.h>\n\n"
		     "static const struct sock_filter %s[] = {\n", name);
	for (; fread(one, sizeof(one), 1, program) == 1; count++)
		fprintf(out, "\t{0x%04x, %u, %u, 0x%08x},\n", one[0] | one[1] << 8, one[2], one[3],
			(unsigned)one[4] | (unsigned)one[5] << 8 | (unsigned)one[6] << 16 |
				(unsigned)one[7] << 24);
	fprintf(out, "};\n");
	if (fclose(out) || !count)
		die("cannot write", path);
	fclose(program);
}

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	uint32_t arch;

	if (argc < 5 || !filter)
		die("usage", "seccomp-gen ARCH NAME OUTPUT SOURCE...");
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
	for (int i = 4; i < argc; i++)
		read_source(filter, argv[i]);
	print_program(filter, argv[2], argv[3]);
	seccomp_release(filter);
	return 0;
}
