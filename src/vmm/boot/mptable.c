/* SPDX-License-Identifier: Apache-2.0 */
/* Sections are those of the MultiProcessor Specification 1.4. */
#include "mptable.h"
#include "layout.h"

#include <stddef.h>
#include <string.h>

struct pointer { /* 4.1 */
	char signature[4];
	uint32_t table;
	uint8_t length; /* in sixteen bytes */
	uint8_t revision;
	uint8_t checksum;
	uint8_t features[5];
};
_Static_assert(sizeof(struct pointer) == 16, "table 4-1");

struct table { /* 4.2 */
	char signature[4];
	uint16_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[8];
	char product[12];
	uint32_t oem_table;
	uint16_t oem_table_length;
	uint16_t entries;
	uint32_t local_apic;
	uint16_t extended_length;
	uint8_t extended_checksum;
	uint8_t reserved;
};
_Static_assert(sizeof(struct table) == 44, "table 4-2");

#define REVISION 4 /* 1.4 */

static uint8_t checksum(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *at++);
	return (uint8_t)-sum;
}

void kiln__mptable_write(struct kiln__ram *ram)
{
	struct {
		struct pointer pointer;
		struct table table;
	} both = {
		.pointer = {.signature = "_MP_",
			    .table = KILN__MP_BASE + sizeof(struct pointer),
			    .length = 1,
			    .revision = REVISION},
		.table = {.signature = "PCMP",
			  .length = sizeof(struct table),
			  .revision = REVISION,
			  .oem = "KILN    ",
			  .product = "KILNVMM     ",
			  .local_apic = KILN__LAPIC_BASE},
	};

	both.pointer.checksum = checksum(&both.pointer, sizeof(both.pointer));
	both.table.checksum = checksum(&both.table, sizeof(both.table));
	kiln__gmem_write(kiln__ram_gmem(ram), KILN__MP_BASE, &both, sizeof(both));
}
