/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kiln-image: everything that parses archives, kernels and modules, in a process
 * of its own, so that libkiln and its users link no archive library and a hostile
 * image meets a program that can do nothing. libkiln starts it on a cache miss
 * (src/image/helper.c).
 *
 * All it works on are descriptors that it inherits, named by number. Before the first byte of input
 * is read it gives up everything else: see sandbox.c. One thread, but for libsquashfs's compression
 * workers.
 *
 * fetch is the one role that has a network, with a sandbox of its own (network.c); it unpacks
 * nothing.
 *
 * kiln-image root --input N|--dir N --output N
 *         a squashfs of a tar archive or a directory
 * kiln-image kernel --input N --output N --arch A
 *         the kernel that VMMs boot, of any kernel image
 * kiln-image package --input N... --output-dir N --arch A
 *         the same, and modules, of packages
 * kiln-image initramfs --input N [--dir N] --output N MODULE...
 *         init and modules as an initramfs
 * kiln-image fetch --dir N --request N [--progress N]
 *         an image of a registry into the store
 * kiln-image layers --dir N --output N DIGEST
 *         a squashfs of an image in the store
 * kiln-image load --input N|--dir N --output-dir N KIND [NAME]
 *         an archive's or a directory's images into the store
 * kiln-image save --dir N --output N DIGEST NAME
 *         an image of the store as an archive
 * kiln-image seed --input N... --output N --output-dir N NAME...
 *         files as an ISO 9660 image
 */
#include "network.h"
#include "program.h"
#include "report.h"
#include "sandbox.h"

#include "err.h"
#include "os.h"

#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

extern const struct kiln__jail_filter image_filter; /* made at build time */

/* Weak: the program that the filter of the other roles is made of has no network. */
extern int network_run(struct request *request, kiln_error *err) __attribute__((weak));

/* With the programs' and libraries' own pages less than 200 MiB, whatever an image is made of. */
#define LAYERS_MEMORY (UINT64_C(184) << 20)

static const struct command {
	const char *name;
	int (*run)(const struct request *request, kiln_error *err);
	bool reads_all; /* --dir is a tree of the user's */
	bool replaces;  /* in --output-dir */
	uint64_t memory;
} commands[] = {
	{"root", command_root, .reads_all = true},
	{"kernel", command_kernel, .reads_all = true},
	{"package", command_package, .reads_all = true},
	{"initramfs", command_initramfs, .reads_all = true},
	{"layers", command_layers, .memory = LAYERS_MEMORY},
	{"load", command_load, .reads_all = true, .replaces = true},
	{"save", command_save},
	{"seed", command_seed, .reads_all = true},
};

static int parse_number(const char *option, const char *text, uint64_t max, uint64_t *ret,
			kiln_error *err)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value > max)
		return kiln__fail(err, KILN_EINVAL, "--%s: '%s' is not a number from 0 to %llu",
				  option, text, (unsigned long long)max);
	*ret = value;
	return 0;
}

static int parse_fd(const char *option, const char *text, kiln_fd *ret, kiln_error *err)
{
	uint64_t number = 0;
	int rc = parse_number(option, text, 1 << 20, &number, err);

	if (!rc)
		*ret = (kiln_fd)number;
	return rc;
}

/* none, lz4, zstd or zstd:LEVEL */
static int parse_compression(const char *text, struct squash_options *ret, kiln_error *err)
{
	uint64_t level;
	int rc;

	if (!strcmp(text, "none")) {
		ret->compression = SQUASH_NONE;
	} else if (!strcmp(text, "lz4")) {
		ret->compression = SQUASH_LZ4;
	} else if (!strncmp(text, "zstd", 4) && (!text[4] || text[4] == ':')) {
		ret->compression = SQUASH_ZSTD;
		if (text[4]) {
			rc = parse_number("compress", text + 5, 22, &level, err);
			if (rc)
				return rc;
			ret->level = level ? (unsigned)level : 1;
		}
	} else {
		return kiln__fail(err, KILN_EINVAL,
				  "--compress: '%s' is not none, lz4 or zstd[:LEVEL]", text);
	}
	return 0;
}

static int parse_block(const char *text, unsigned *ret, kiln_error *err)
{
	uint64_t size;
	int rc = parse_number("block", text, 1 << 20, &size, err);

	if (!rc && (size < 4096 || (size & (size - 1))))
		rc = kiln__fail(err, KILN_EINVAL,
				"--block: not a power of two from 4096 to 1048576");
	if (!rc)
		*ret = (unsigned)size;
	return rc;
}

static int apply(const char *option, const char *value, struct request *request, kiln_error *err)
{
	uint64_t number = 0;
	int rc;

	if (!strcmp(option, "name"))
		request->name = value;
	else if (!strcmp(option, "arch"))
		request->arch = value;
	else if (!strcmp(option, "dir"))
		return parse_fd(option, value, &request->dir, err);
	else if (!strcmp(option, "output"))
		return parse_fd(option, value, &request->output, err);
	else if (!strcmp(option, "request"))
		return parse_fd(option, value, &request->asked_fd, err);
	else if (!strcmp(option, "progress"))
		return parse_fd(option, value, &request->progress, err);
	else if (!strcmp(option, "output-dir"))
		return parse_fd(option, value, &request->output_dir, err);
	else if (!strcmp(option, "compress"))
		return parse_compression(value, &request->squash, err);
	else if (!strcmp(option, "block"))
		return parse_block(value, &request->squash.block_size, err);
	else if (!strcmp(option, "max-entries"))
		return parse_number(option, value, UINT32_MAX - 1, &request->max_entries, err);
	else if (!strcmp(option, "max-bytes"))
		return parse_number(option, value, INT64_MAX, &request->max_bytes, err);
	else if (!strcmp(option, "threads")) {
		rc = parse_number(option, value, 64, &number, err);
		if (rc)
			return rc;
		request->squash.threads = number ? (unsigned)number : 1;
	} else { /* input */
		if (request->input_count == MAX_INPUTS)
			return kiln__fail(err, KILN_EINVAL, "more than %d inputs", MAX_INPUTS);
		return parse_fd(option, value, &request->inputs[request->input_count++], err);
	}
	return 0;
}

static int parse(int argc, char **argv, struct request *request, kiln_error *err)
{
	static const char *const names[] = {
		"name",  "input",   "dir",         "output",    "output-dir", "arch",    "compress",
		"block", "threads", "max-entries", "max-bytes", "request",    "progress"};
	struct option options[sizeof(names) / sizeof(names[0]) + 1] = {0};
	int which, found, rc;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		options[i] = (struct option){names[i], required_argument, NULL, 0};
	opterr = 0;
	while ((found = getopt_long(argc, argv, "", options, &which)) != -1) {
		if (found)
			return kiln__fail(err, KILN_EINVAL, "unknown option or missing value: %s",
					  argv[optind - 1]);
		rc = apply(names[which], optarg, request, err);
		if (rc)
			return rc;
	}
	request->names = (const char *const *)argv + optind;
	return 0;
}

static int confine(const struct command *command, const struct request *request, kiln_error *err)
{
	struct kiln__jail_place places[2];
	struct sandbox sandbox = {
		.places = places,
		.threads = request->squash.threads,
		.memory = command->memory,
		.reads_all = command->reads_all && request->dir != KILN_FD_NONE,
		.filter = &image_filter,
	};
	unsigned rights =
		KILN__JAIL_MAKE | KILN__JAIL_READ; /* libarchive reads its temporary file again */

	if (command->replaces)
		rights |= KILN__JAIL_REMOVE;
	if (request->dir != KILN_FD_NONE)
		places[sandbox.place_count++] =
			(struct kiln__jail_place){request->dir, KILN__JAIL_READ};
	if (request->output_dir != KILN_FD_NONE)
		places[sandbox.place_count++] =
			(struct kiln__jail_place){request->output_dir, rights};
	return sandbox_enter(&sandbox, err);
}

static int run(int argc, char **argv, kiln_error *err)
{
	struct request request = {
		.name = "the input",
		.dir = KILN_FD_NONE,
		.output = KILN_FD_NONE,
		.output_dir = KILN_FD_NONE,
		.progress = KILN_FD_NONE,
		.asked_fd = KILN_FD_NONE,
		.arch = kiln__os_arch(),
		.squash = {SQUASH_LZ4, 1, 131072, kiln__os_cpu_count()},
		.max_entries = 4000000,
		.max_bytes = 64ull << 30,
	};
	int rc = argc >= 2 ? parse(argc - 1, argv + 1, &request, err) : 0;

	if (rc)
		return rc;
	if (argc >= 2 && (!strcmp(argv[1], "fetch") || !strcmp(argv[1], "download")) && network_run)
		return network_run(&request, err);
	for (size_t i = 0; argc >= 2 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		rc = confine(&commands[i], &request, err);
		return rc ? rc : commands[i].run(&request, err);
	}
	return kiln__fail(err, KILN_EINVAL, "kiln-image ROLE ...: libkiln runs it");
}

int main(int argc, char **argv)
{
	kiln_error err = KILN_ERROR_INIT;

	/* A file that may not grow any more is an error like a full disk. */
	signal(SIGXFSZ, SIG_IGN);
	/* Names in pax archives are UTF-8; in the C locale libarchive could not hand them out. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		setlocale(LC_CTYPE, "UTF-8"); /* as macOS calls it */
	return run(argc, argv, &err) ? report_failure(&err) : 0;
}
