/* SPDX-License-Identifier: Apache-2.0 */
#include "aml.h"

#include <string.h>

void kiln__aml_bytes(struct kiln__aml *aml, const void *bytes, size_t len)
{
	if (len > aml->max - aml->len) {
		aml->full = true;
		return;
	}
	memcpy(aml->bytes + aml->len, bytes, len);
	aml->len += len;
}

/* Little-endian, as all of AML. */
static void number(struct kiln__aml *aml, uint64_t value, unsigned size)
{
	unsigned char bytes[8];

	for (unsigned i = 0; i < size; i++)
		bytes[i] = (unsigned char)(value >> (8 * i));
	kiln__aml_bytes(aml, bytes, size);
}

/* Makes room for @len bytes at @at, and writes them there. */
static void insert(struct kiln__aml *aml, size_t at, const void *bytes, size_t len)
{
	if (aml->full || len > aml->max - aml->len) {
		aml->full = true;
		return;
	}
	memmove(aml->bytes + at + len, aml->bytes + at, aml->len - at);
	memcpy(aml->bytes + at, bytes, len);
	aml->len += len;
}

/* --- values (20.2.2, 20.2.3) ------------------------------------------------------- */

void kiln__aml_int(struct kiln__aml *aml, uint64_t value)
{
	if (value <= 1) {
		number(aml, value, 1); /* ZeroOp, OneOp */
	} else if (value <= UINT8_MAX) {
		kiln__aml_ops(aml, 0x0a);
		number(aml, value, 1);
	} else if (value <= UINT16_MAX) {
		kiln__aml_ops(aml, 0x0b);
		number(aml, value, 2);
	} else if (value <= UINT32_MAX) {
		kiln__aml_ops(aml, 0x0c);
		number(aml, value, 4);
	} else {
		kiln__aml_ops(aml, 0x0e);
		number(aml, value, 8);
	}
}

void kiln__aml_string(struct kiln__aml *aml, const char *text)
{
	kiln__aml_ops(aml, 0x0d);
	kiln__aml_bytes(aml, text, strlen(text) + 1);
}

/* Segments of exactly four characters, separated by dots; two and more have a prefix. */
void kiln__aml_path(struct kiln__aml *aml, const char *path)
{
	size_t segments;

	if (*path == '\\') {
		kiln__aml_bytes(aml, path, 1);
		path++;
	}
	segments = (strlen(path) + 1) / 5;
	if (segments == 2)
		kiln__aml_ops(aml, 0x2e);
	else if (segments > 2)
		kiln__aml_ops(aml, 0x2f, (unsigned char)segments);
	for (; segments; segments--, path += 5)
		kiln__aml_bytes(aml, path, 4);
}

/* --- what contains other things ---------------------------------------------------- */

/* PkgLength (20.2.4) counts itself: its shortest encoding for @len bytes after it. Returns its
 * size. */
static size_t package_length(unsigned char bytes[4], size_t len)
{
	size_t size = len + 1 < 1u << 6 ? 1 : len + 2 < 1u << 12 ? 2 : len + 3 < 1u << 20 ? 3 : 4;

	len += size;
	if (size == 1) {
		bytes[0] = (unsigned char)len;
		return 1;
	}
	bytes[0] = (unsigned char)((size - 1) << 6 | (len & 15));
	for (size_t i = 1; i < size; i++)
		bytes[i] = (unsigned char)(len >> (8 * i - 4));
	return size;
}

void kiln__aml_close(struct kiln__aml *aml, size_t opened)
{
	unsigned char bytes[4];
	size_t size = package_length(bytes, aml->len - opened);

	insert(aml, opened, bytes, size);
}

size_t kiln__aml_scope(struct kiln__aml *aml, const char *path)
{
	size_t opened;

	kiln__aml_ops(aml, 0x10);
	opened = aml->len;
	kiln__aml_path(aml, path);
	return opened;
}

size_t kiln__aml_device(struct kiln__aml *aml, const char *name)
{
	size_t opened;

	kiln__aml_ops(aml, 0x5b, 0x82);
	opened = aml->len;
	kiln__aml_path(aml, name);
	return opened;
}

size_t kiln__aml_method(struct kiln__aml *aml, const char *name, unsigned args, bool serialized)
{
	size_t opened;

	kiln__aml_ops(aml, 0x14);
	opened = aml->len;
	kiln__aml_path(aml, name);
	kiln__aml_ops(aml, (unsigned char)(args | (serialized ? 8 : 0)));
	return opened;
}

size_t kiln__aml_if(struct kiln__aml *aml)
{
	kiln__aml_ops(aml, 0xa0);
	return aml->len;
}

size_t kiln__aml_package(struct kiln__aml *aml, unsigned count)
{
	size_t opened;

	kiln__aml_ops(aml, 0x12);
	opened = aml->len;
	kiln__aml_ops(aml, (unsigned char)count);
	return opened;
}

/* --- declarations (20.2.5) --------------------------------------------------------- */

void kiln__aml_name(struct kiln__aml *aml, const char *name)
{
	kiln__aml_ops(aml, 0x08);
	kiln__aml_path(aml, name);
}

void kiln__aml_name_int(struct kiln__aml *aml, const char *name, uint64_t value)
{
	kiln__aml_name(aml, name);
	kiln__aml_int(aml, value);
}

static unsigned hex(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

void kiln__aml_id(struct kiln__aml *aml, const char *name, const char *id)
{
	uint32_t maker, product = 0;

	kiln__aml_name(aml, name);
	if (strncmp(id, "PNP", 3) != 0) {
		kiln__aml_string(aml, id);
		return;
	}
	/* Three letters of five bits, four digits: big-endian (19.3.4, EISAID). */
	maker = (uint32_t)((id[0] - '@') << 10 | (id[1] - '@') << 5 | (id[2] - '@'));
	for (const char *c = id + 3; *c; c++)
		product = product << 4 | hex(*c);
	kiln__aml_ops(aml, 0x0c, (unsigned char)(maker >> 8), (unsigned char)maker,
		      (unsigned char)(product >> 8), (unsigned char)product);
}

#define SYSTEM_IO 1

void kiln__aml_port_field(struct kiln__aml *aml, const char *region, const char *field,
			  uint16_t port, unsigned bytes)
{
	unsigned char access = bytes == 4 ? 3 : (unsigned char)bytes; /* Byte-, Word-, DWordAcc */
	unsigned char length[4];
	size_t opened;

	kiln__aml_ops(aml, 0x5b, 0x80);
	kiln__aml_path(aml, region);
	kiln__aml_ops(aml, SYSTEM_IO);
	kiln__aml_int(aml, port);
	kiln__aml_int(aml, bytes);
	kiln__aml_ops(aml, 0x5b, 0x81);
	opened = aml->len;
	kiln__aml_path(aml, region);
	kiln__aml_ops(aml, access); /* NoLock, Preserve */
	kiln__aml_path(aml, field);
	/* In bits; encoded as a PkgLength that does not count itself: 32 at most is one byte. */
	length[0] = (unsigned char)(bytes * 8);
	kiln__aml_bytes(aml, length, 1);
	kiln__aml_close(aml, opened);
}

/* --- resources (6.4) --------------------------------------------------------------- */

size_t kiln__aml_resources(struct kiln__aml *aml)
{
	kiln__aml_name(aml, "_CRS");
	kiln__aml_ops(aml, 0x11); /* BufferOp */
	return aml->len;
}

void kiln__aml_close_resources(struct kiln__aml *aml, size_t opened)
{
	unsigned char bytes[8];
	struct kiln__aml size = {bytes, sizeof(bytes), 0, false};

	kiln__aml_ops(aml, 0x79, 0); /* end tag; no checksum */
	kiln__aml_int(&size, aml->len - opened);
	insert(aml, opened, bytes, size.len);
	kiln__aml_close(aml, opened);
}

void kiln__aml_ports(struct kiln__aml *aml, uint16_t first, uint8_t count)
{
	kiln__aml_ops(aml, 0x47, 0x01); /* 6.4.2.5: all 16 bits decoded */
	number(aml, first, 2);
	number(aml, first, 2);
	kiln__aml_ops(aml, 1, count); /* alignment, length */
}

void kiln__aml_interrupt(struct kiln__aml *aml, uint32_t gsi)
{
	/* 6.4.3.6: consumer, edge, active high, exclusive; one. */
	kiln__aml_ops(aml, 0x89, 6, 0, 0x03, 1);
	number(aml, gsi, 4);
}

void kiln__aml_memory_fixed(struct kiln__aml *aml, uint32_t base, uint32_t size)
{
	kiln__aml_ops(aml, 0x86, 9, 0, 0x01); /* 6.4.3.4: read and write */
	number(aml, base, 4);
	number(aml, size, 4);
}

/* 6.4.3.5: a producer's range that neither end of can move. */
#define WINDOW_FLAGS 0x0c

void kiln__aml_bus_window(struct kiln__aml *aml, uint16_t first, uint16_t last)
{
	kiln__aml_ops(aml, 0x88, 13, 0, 2, WINDOW_FLAGS, 0); /* 6.4.3.5.3: bus numbers */
	number(aml, 0, 2);                                   /* granularity */
	number(aml, first, 2);
	number(aml, last, 2);
	number(aml, 0, 2); /* translation */
	number(aml, (uint64_t)last - first + 1, 2);
}

void kiln__aml_memory_window(struct kiln__aml *aml, uint32_t base, uint32_t size)
{
	kiln__aml_ops(aml, 0x87, 23, 0, 0, WINDOW_FLAGS, 1); /* 6.4.3.5.2: memory, read and write */
	number(aml, 0, 4);
	number(aml, base, 4);
	number(aml, (uint64_t)base + size - 1, 4);
	number(aml, 0, 4);
	number(aml, size, 4);
}
