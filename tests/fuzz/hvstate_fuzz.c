/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blob of a vCPU's or VM's state from anybody: as it is, and as the sections behind a header that
 * is right, with a checksum. What is found in it lies in it; what is added to one is found in it
 * again.
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static void check_sections(const uint8_t *blob, size_t size)
{
	kiln_error err = KILN_ERROR_INIT;

	for (uint32_t number = 0; number < 32; number++) {
		size_t len = SIZE_MAX;
		const uint8_t *found = kiln__blob_find(blob, size, number, &len);
		uint8_t *copy;

		if (!found) {
			CHECK(kiln__blob_get(blob, size, number, NULL, 0, &err) == KILN_EFORMAT);
			continue;
		}
		CHECK(found >= blob && len <= size - (size_t)(found - blob));
		copy = malloc(len + 1);
		CHECK(copy && kiln__blob_get(blob, size, number, copy, len, &err) == 0);
		CHECK(memcmp(copy, found, len) == 0);
		CHECK(kiln__blob_get(blob, size, number, copy, len + 1, &err) == KILN_EFORMAT);
		free(copy);
	}
}

static int check(const void *blob, size_t size, enum kiln__blob_kind kind)
{
	kiln_error err = KILN_ERROR_INIT;
	int code = kiln__blob_check(blob, size, kind, &err);

	CHECK(code == 0 || (code == KILN_EFORMAT && err.code == code && err.message[0]));
	if (code == 0)
		check_sections(blob, size);
	return code;
}

/* The input as whatever is behind a header. */
static void check_forged(const uint8_t *bytes, size_t len)
{
	kiln__autobuf buf = KILN__BUF_INIT;
	kiln__autofree void *blob = NULL;
	kiln_error err = KILN_ERROR_INIT;
	size_t size = 0;

	kiln__blob_begin(&buf, KILN__BLOB_VCPU);
	kiln__buf_add(&buf, bytes, len);
	CHECK(kiln__blob_finish(&buf, &blob, &size, &err) == 0);
	check(blob, size, KILN__BLOB_VCPU);
	CHECK(check(blob, size, KILN__BLOB_VM) < 0);
}

/* The input as sections to be added: a length and as many bytes each. */
static void check_round_trip(const uint8_t *bytes, size_t len)
{
	kiln__autobuf buf = KILN__BUF_INIT;
	kiln__autofree void *blob = NULL;
	const uint8_t *added[32];
	size_t lengths[32];
	kiln_error err = KILN_ERROR_INIT;
	size_t size = 0, found_len;
	uint32_t n = 0;

	kiln__blob_begin(&buf, KILN__BLOB_VM);
	for (size_t at = 0; at < len && n < 32; at += 1 + lengths[n++]) {
		added[n] = bytes + at + 1;
		lengths[n] = bytes[at] < len - at - 1 ? bytes[at] : len - at - 1;
		kiln__blob_add(&buf, n, added[n], lengths[n]);
	}
	CHECK(kiln__blob_finish(&buf, &blob, &size, &err) == 0);
	CHECK(check(blob, size, KILN__BLOB_VM) == 0);
	for (uint32_t i = 0; i < n; i++) {
		const void *found = kiln__blob_find(blob, size, i, &found_len);

		CHECK(found && found_len == lengths[i] && (uintptr_t)found % 8 == 0);
		CHECK(memcmp(found, added[i], found_len) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	check(bytes, len, KILN__BLOB_VCPU);
	check(bytes, len, KILN__BLOB_VM);
	check_forged(bytes, len);
	check_round_trip(bytes, len);
	return 0;
}
