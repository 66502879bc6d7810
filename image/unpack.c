/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bzImage unpacks itself inside the guest, which costs seconds under emulation
 * and tens of milliseconds on hardware, each time it boots. Done here it costs that once.
 */
#include "unpack.h"

#include "cleanup.h"
#include "err.h"
#include "input.h"

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

/* The ELF-64 object file format, figures 1 and 9; <elf.h> is not everywhere. */
struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, segments_at, sections_at;
	uint32_t flags;
	uint16_t size, segment_size, segments, section_size, sections, names;
};

struct elf_segment {
	uint32_t type, flags;
	uint64_t offset, virtual, physical, file_size, memory_size, align;
};

#define ELF_LOAD 1 /* PT_LOAD */

/*
 * The vmlinux of a build has its .bss in the file, as zeros. What a segment ends with in whole
 * pages of zeros is taken out of its file size (the bytes stay where they are): a VMM that maps
 * the file then gives the guest fresh memory there, instead of a copy of each of its pages.
 * kiln__kernel_identify() has seen that all of this lies within the file.
 */
static void trim_segments(uint8_t *bytes)
{
	struct elf_header header;
	struct elf_segment segment;

	memcpy(&header, bytes, sizeof(header));
	for (unsigned i = 0; i < header.segments; i++) {
		uint8_t *at = bytes + header.segments_at + i * sizeof(segment);
		uint64_t size;

		memcpy(&segment, at, sizeof(segment));
		if (segment.type != ELF_LOAD || segment.file_size > segment.memory_size)
			continue;
		size = segment.file_size;
		while (size && !bytes[segment.offset + size - 1])
			size--;
		size = (size + PAGE - 1) / PAGE * PAGE;
		if (size < segment.file_size)
			segment.file_size = size;
		memcpy(at, &segment, sizeof(segment));
	}
}

/* Of a segment that lies at pages, the first long run of pages of zeros: its end, or 0. */
static uint64_t find_gap(const uint8_t *bytes, const struct elf_segment *segment,
			 uint64_t *ret_begin)
{
	static const uint8_t zeros[PAGE];
	uint64_t run = 0;

	if (segment->offset % PAGE || segment->physical % PAGE)
		return 0;
	for (uint64_t at = 0; at + PAGE <= segment->file_size; at += PAGE) {
		if (!memcmp(bytes + segment->offset + at, zeros, PAGE)) {
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
static bool has_room(const uint8_t *bytes, size_t len, const struct elf_header *header)
{
	static const uint8_t zeros[sizeof(struct elf_segment)];
	uint64_t end = header->segments_at + header->segments * sizeof(struct elf_segment);
	struct elf_segment segment;

	if (header->segments == UINT16_MAX || len - end < sizeof(zeros) ||
	    memcmp(bytes + end, zeros, sizeof(zeros)) ||
	    (header->sections_at >= header->segments_at &&
	     header->sections_at < end + sizeof(zeros)))
		return false;
	for (unsigned i = 0; i < header->segments; i++) {
		memcpy(&segment, bytes + header->segments_at + i * sizeof(segment),
		       sizeof(segment));
		if (segment.file_size && segment.offset < end + sizeof(zeros))
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
	struct elf_header header;
	struct elf_segment segment, rest;

	memcpy(&header, bytes, sizeof(header));
	for (unsigned i = 0; i < header.segments; i++) {
		uint8_t *table = bytes + header.segments_at;
		uint64_t begin, end;

		memcpy(&segment, table + i * sizeof(segment), sizeof(segment));
		if (segment.type != ELF_LOAD || segment.file_size > segment.memory_size ||
		    !has_room(bytes, len, &header))
			continue;
		end = find_gap(bytes, &segment, &begin);
		if (!end)
			continue;
		rest = segment;
		rest.offset += end;
		rest.virtual += end;
		rest.physical += end;
		rest.file_size -= end;
		rest.memory_size -= end;
		segment.file_size = begin;
		segment.memory_size = end;
		memcpy(table + i * sizeof(segment), &segment, sizeof(segment));
		memcpy(table + header.segments * sizeof(rest), &rest, sizeof(rest));
		header.segments++;
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
