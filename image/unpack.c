/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bzImage unpacks itself inside the guest, which costs seconds under emulation
 * and tens of milliseconds on hardware, each time it boots. Done here it costs that once.
 */
#include "unpack.h"

#include "cleanup.h"
#include "err.h"
#include "input.h"

#include <elf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WRAPPINGS 4 /* gzip around zboot around an Image is three */

#define SIZE_BYTES 4

#define PAGE      ((uint64_t)4096)
#define GAP_PAGES 32 /* what makes a segment of its own worth while */

/*
 * The vmlinux in a bzImage's payload, and the table of relocations behind it. Whatever the
 * compression, the payload's last four bytes are the unpacked size (scripts/Makefile.lib,
 * "size_append"): a part of gzip's own format, but garbage behind the others', which their
 * decoders take for a damaged block.
 */
static int unpack_bzimage(const char *name, const uint8_t *bytes,
			  const struct kiln__kernel_info *info, struct unpacked *ret,
			  kiln_error *err)
{
	const uint8_t *payload = bytes + info->payload_offset;
	size_t size = (size_t)info->payload_size;
	kiln__autofree uint8_t *inner = NULL;
	size_t inner_len, expected = 0;
	bool gzip;
	int rc;

	if (size <= SIZE_BYTES)
		return kiln__fail(err, KILN_EFORMAT, "%s is damaged: its payload is empty", name);
	for (unsigned i = 0; i < SIZE_BYTES; i++)
		expected |= (size_t)payload[size - SIZE_BYTES + i] << (8 * i);
	gzip = payload[0] == 0x1f && payload[1] == 0x8b;
	rc = input_unpack(name, payload, gzip ? size : size - SIZE_BYTES, MAX_KERNEL_SIZE, false,
			  &inner, &inner_len, err);
	if (rc)
		return rc;
	if (inner_len != expected)
		return kiln__fail(err, KILN_EFORMAT,
				  "%s is damaged: its payload unpacks to %zu bytes instead of %zu",
				  name, inner_len, expected);
	rc = kiln__kernel_identify(name, inner, expected, &ret->info, err);
	if (rc)
		return rc;
	ret->bytes = kiln__take(inner);
	ret->len = expected;
	memcpy(ret->info.release, info->release, sizeof(info->release));
	return 0;
}

/* One wrapping off: @bytes is replaced by what is inside. */
static int unwrap(const char *name, const struct kiln__kernel_info *info, uint8_t **bytes,
		  size_t *len, kiln_error *err)
{
	bool zboot = info->format == KILN__KERNEL_ZBOOT;
	const uint8_t *payload = *bytes + (zboot ? info->payload_offset : 0);
	size_t size = zboot ? (size_t)info->payload_size : *len;
	uint8_t *inner;
	size_t inner_len;
	int rc;

	if (info->compression && !strcmp(info->compression, "lzo"))
		return kiln__fail(err, KILN_ENOTSUP,
				  "%s is compressed with LZO, which kiln does not unpack", name);
	rc = input_unpack(name, payload, size, MAX_KERNEL_SIZE, true, &inner, &inner_len, err);
	if (rc)
		return rc;
	free(*bytes);
	*bytes = inner;
	*len = inner_len;
	return 0;
}

/*
 * The vmlinux of a build has its .bss in the file, as zeros. What a segment ends with in whole
 * pages of zeros is taken out of its file size (the bytes stay where they are): a VMM that maps
 * the file then gives the guest fresh memory there, instead of a copy of each of its pages.
 * kiln__kernel_identify() has seen that all of this lies within the file.
 */
static void trim_segments(uint8_t *bytes)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	memcpy(&header, bytes, sizeof(header));
	for (unsigned i = 0; i < header.e_phnum; i++) {
		uint8_t *at = bytes + header.e_phoff + i * sizeof(segment);
		uint64_t size;

		memcpy(&segment, at, sizeof(segment));
		if (segment.p_type != PT_LOAD || segment.p_filesz > segment.p_memsz)
			continue;
		size = segment.p_filesz;
		while (size && !bytes[segment.p_offset + size - 1])
			size--;
		size = (size + PAGE - 1) / PAGE * PAGE;
		if (size < segment.p_filesz)
			segment.p_filesz = size;
		memcpy(at, &segment, sizeof(segment));
	}
}

/* Of a segment that lies at pages, the first long run of pages of zeros: its end, or 0. */
static uint64_t find_gap(const uint8_t *bytes, const Elf64_Phdr *segment, uint64_t *ret_begin)
{
	static const uint8_t zeros[PAGE];
	uint64_t run = 0;

	if (segment->p_offset % PAGE || segment->p_paddr % PAGE)
		return 0;
	for (uint64_t at = 0; at + PAGE <= segment->p_filesz; at += PAGE) {
		if (!memcmp(bytes + segment->p_offset + at, zeros, PAGE)) {
			run++;
			continue;
		}
		if (run >= GAP_PAGES) {
			*ret_begin = at - run * PAGE;
			return at;
		}
		run = 0;
	}
	return 0;
}

/* Whether the table of segments can have one more: nothing lies behind it. */
static bool has_room(const uint8_t *bytes, size_t len, const Elf64_Ehdr *header)
{
	static const uint8_t zeros[sizeof(Elf64_Phdr)];
	uint64_t end = header->e_phoff + header->e_phnum * sizeof(Elf64_Phdr);
	Elf64_Phdr segment;

	if (len - end < sizeof(zeros) || memcmp(bytes + end, zeros, sizeof(zeros)) ||
	    (header->e_shoff >= header->e_phoff && header->e_shoff < end + sizeof(zeros)))
		return false;
	for (unsigned i = 0; i < header->e_phnum; i++) {
		memcpy(&segment, bytes + header->e_phoff + i * sizeof(segment), sizeof(segment));
		if (segment.p_filesz && segment.p_offset < end + sizeof(zeros))
			return false;
	}
	return true;
}

/*
 * Between a kernel's text and its constants there are up to two MiB of zeros, in one segment, which
 * it frees when it has booted, and writes to for that. Such a segment becomes two, for the same
 * reason as above.
 */
static void split_segments(uint8_t *bytes, size_t len)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment, rest;

	memcpy(&header, bytes, sizeof(header));
	for (unsigned i = 0; i < header.e_phnum; i++) {
		uint8_t *table = bytes + header.e_phoff;
		uint64_t begin, end;

		memcpy(&segment, table + i * sizeof(segment), sizeof(segment));
		if (segment.p_type != PT_LOAD || segment.p_filesz > segment.p_memsz ||
		    !has_room(bytes, len, &header))
			continue;
		end = find_gap(bytes, &segment, &begin);
		if (!end)
			continue;
		rest = segment;
		rest.p_offset += end;
		rest.p_vaddr += end;
		rest.p_paddr += end;
		rest.p_filesz -= end;
		rest.p_memsz -= end;
		segment.p_filesz = begin;
		segment.p_memsz = end;
		memcpy(table + i * sizeof(segment), &segment, sizeof(segment));
		memcpy(table + header.e_phnum * sizeof(rest), &rest, sizeof(rest));
		header.e_phnum++;
		memcpy(bytes, &header, sizeof(header));
	}
}

static int finish(const char *name, uint8_t **bytes, size_t len, struct kiln__kernel_info *info,
		  struct unpacked *ret, kiln_error *err)
{
	struct unpacked inner = {0};
	int rc;

	if (info->format == KILN__KERNEL_ELF && !strcmp(info->arch, "aarch64")) {
		kiln__fail(err, KILN_ENOTSUP, "%s is an arm64 vmlinux, which no VMM boots", name);
		kiln__hint(err, "give the Image of the same build (arch/arm64/boot/Image)");
		return KILN_ENOTSUP;
	}
	if (info->format == KILN__KERNEL_BZIMAGE) {
		rc = unpack_bzimage(name, *bytes, info, &inner, err);
		if (rc && rc != KILN_ENOTSUP)
			return rc;
		if (!rc && inner.info.format == KILN__KERNEL_ELF && inner.info.pvh) {
			trim_segments(inner.bytes);
			split_segments(inner.bytes, inner.len);
			*ret = inner;
			return 0;
		}
		free(inner.bytes);
	}
	if (info->format == KILN__KERNEL_ELF) {
		trim_segments(*bytes);
		split_segments(*bytes, len);
	}
	if (!info->release[0])
		kiln__kernel_find_release(*bytes, len, info->release);
	*ret = (struct unpacked){kiln__take(*bytes), len, *info};
	return 0;
}

int unpack_kernel(const char *name, uint8_t *given, size_t len, const char *arch,
		  struct unpacked *ret, kiln_error *err)
{
	kiln__autofree uint8_t *bytes = given;
	struct kiln__kernel_info info;
	int rc;

	for (unsigned i = 0; i < MAX_WRAPPINGS; i++) {
		rc = kiln__kernel_identify(name, bytes, len, &info, err);
		if (!rc)
			rc = kiln__kernel_check_arch(name, &info, arch, err);
		if (rc)
			return rc;
		if (info.format != KILN__KERNEL_ZBOOT && info.format != KILN__KERNEL_COMPRESSED)
			return finish(name, &bytes, len, &info, ret, err);
		rc = unwrap(name, &info, &bytes, &len, err);
		if (rc)
			return rc;
	}
	return kiln__fail(err, KILN_EFORMAT, "%s is compressed more than %d times", name,
			  MAX_WRAPPINGS);
}

json_t *unpack_describe(const struct unpacked *unpacked)
{
	return json_pack("{s:s, s:s, s:s, s:b, s:I}", "format",
			 kiln__kernel_format_name(unpacked->info.format), "arch",
			 unpacked->info.arch, "release", unpacked->info.release, "pvh",
			 unpacked->info.pvh, "size", (json_int_t)unpacked->len);
}
