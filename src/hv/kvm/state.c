/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const char magic[8] = "KILNKVM"; /* what is in the sections is KVM's */

#if defined(__x86_64__)
#define ARCH 1
#elif defined(__aarch64__)
#define ARCH 2
#endif

struct header {
	char magic[8];
	uint16_t version;
	uint16_t arch;
	uint32_t kind;
	uint64_t sum; /* of all that follows */
};

struct section {
	uint32_t number;
	uint32_t len;
};

/* FNV-1a of 64 bits: finds what was damaged, not what was forged. */
static uint64_t sum_of(const uint8_t *bytes, size_t len)
{
	uint64_t sum = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3;
	return sum;
}

#define PADDED(len) (((len) + 7) & ~(size_t)7)

void kiln__blob_begin(struct kiln__buf *blob, enum kiln__blob_kind kind)
{
	struct header header = {.version = KILN__BLOB_VERSION, .arch = ARCH, .kind = kind};

	memcpy(header.magic, magic, sizeof(magic));
	kiln__buf_add(blob, &header, sizeof(header));
}

void kiln__blob_add(struct kiln__buf *blob, uint32_t number, const void *bytes, size_t len)
{
	static const uint8_t zeros[8];
	const struct section section = {.number = number, .len = (uint32_t)len};

	kiln__buf_add(blob, &section, sizeof(section));
	kiln__buf_add(blob, bytes, len);
	kiln__buf_add(blob, zeros, PADDED(len) - len);
}

int kiln__blob_finish(struct kiln__buf *blob, void **ret, size_t *ret_size, kiln_error *err)
{
	size_t size = blob->len;
	bool failed = blob->failed;
	char *bytes = kiln__buf_steal(blob);
	uint64_t sum;

	if (failed || !bytes)
		return kiln__fail_nomem(err);
	sum = sum_of((uint8_t *)bytes + sizeof(struct header), size - sizeof(struct header));
	memcpy(bytes + offsetof(struct header, sum), &sum, sizeof(sum));
	*ret = bytes;
	*ret_size = size;
	return 0;
}

/* The section at *@at, which is moved behind it; false at the end, or where it does not fit. */
static bool next(const uint8_t *blob, size_t size, size_t *at, struct section *ret)
{
	if (size - *at < sizeof(*ret))
		return false;
	memcpy(ret, blob + *at, sizeof(*ret));
	if (PADDED((size_t)ret->len) > size - *at - sizeof(*ret))
		return false;
	*at += sizeof(*ret) + PADDED((size_t)ret->len);
	return true;
}

int kiln__blob_check(const void *blob, size_t size, enum kiln__blob_kind kind, kiln_error *err)
{
	struct header header;
	struct section section;
	size_t at = sizeof(header);

	if (size < sizeof(header) || memcmp(blob, magic, sizeof(magic)) != 0)
		return kiln__fail(err, KILN_EFORMAT, "this is no state of a virtual machine");
	memcpy(&header, blob, sizeof(header));
	if (header.version != KILN__BLOB_VERSION)
		return kiln__fail(err, KILN_EFORMAT, "the state is of version %u, not %d",
				  header.version, KILN__BLOB_VERSION);
	if (header.arch != ARCH || header.kind != kind)
		return kiln__fail(err, KILN_EFORMAT, "the state is of another %s",
				  header.arch != ARCH ? "architecture" : "object");
	if (header.sum != sum_of((const uint8_t *)blob + at, size - at))
		return kiln__fail(err, KILN_EFORMAT, "the state is damaged: its checksum is wrong");
	while (next(blob, size, &at, &section))
		;
	if (at != size)
		return kiln__fail(err, KILN_EFORMAT, "the state is damaged at byte %zu", at);
	return 0;
}

const void *kiln__blob_find(const void *blob, size_t size, uint32_t number, size_t *ret_len)
{
	struct section section;
	size_t at = sizeof(struct header);
	size_t begin = at;

	while (next(blob, size, &at, &section)) {
		if (section.number == number) {
			*ret_len = section.len;
			return (const uint8_t *)blob + begin + sizeof(section);
		}
		begin = at;
	}
	return NULL;
}

int kiln__blob_get(const void *blob, size_t size, uint32_t number, void *ret, size_t len,
		   kiln_error *err)
{
	size_t found = 0;
	const void *bytes = kiln__blob_find(blob, size, number, &found);

	if (!bytes || found != len)
		return kiln__fail(err, KILN_EFORMAT, "section %u of the state is %s", number,
				  bytes ? "of another size" : "missing");
	memcpy(ret, bytes, len);
	return 0;
}
