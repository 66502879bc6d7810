/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes ACPI Machine Language (ACPI 6.4, chapter 20) and resource templates (6.4), as much of
 * them as the tables of a virtual machine have. Into memory of the caller's; what does not fit is
 * left out and remembered, so that only the end needs a check.
 *
 * What contains other things is opened and closed:
 *
 *	size_t device = kiln__aml_device(aml, "COM1");
 *	...
 *	kiln__aml_close(aml, device);
 */
#ifndef KILN_VMM_BOOT_AML_H
#define KILN_VMM_BOOT_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kiln__aml {
	unsigned char *bytes;
	size_t max;
	size_t len;
	bool full; /* something did not fit */
};

/* --- values ------------------------------------------------------------------------ */

/* Bytes as they are: opcodes, ArgN, LocalN, field flags. */
void kiln__aml_bytes(struct kiln__aml *aml, const void *bytes, size_t len);
#define kiln__aml_ops(aml, ...)                                                                    \
	kiln__aml_bytes(aml, (const unsigned char[]){__VA_ARGS__},                                 \
			sizeof((const unsigned char[]){__VA_ARGS__}))

void kiln__aml_int(struct kiln__aml *aml, uint64_t value); /* in its shortest encoding */
void kiln__aml_string(struct kiln__aml *aml, const char *text);
void kiln__aml_path(struct kiln__aml *aml, const char *path); /* "_HID", "\\_SB_.PWRB" */

/* --- declarations ------------------------------------------------------------------ */

/* Name (@name, what follows). */
void kiln__aml_name(struct kiln__aml *aml, const char *name);
void kiln__aml_name_int(struct kiln__aml *aml, const char *name, uint64_t value);

/* Name (_HID or _CID, @id): a PNP id such as "PNP0A08" compressed (6.1.5), any other as text. */
void kiln__aml_id(struct kiln__aml *aml, const char *name, const char *id);

/* Each returns what to close it with. */
size_t kiln__aml_scope(struct kiln__aml *aml, const char *path);
size_t kiln__aml_device(struct kiln__aml *aml, const char *name);
size_t kiln__aml_method(struct kiln__aml *aml, const char *name, unsigned args, bool serialized);
size_t kiln__aml_if(struct kiln__aml *aml); /* the condition follows */
size_t kiln__aml_package(struct kiln__aml *aml, unsigned count);
void kiln__aml_close(struct kiln__aml *aml, size_t opened);

/* OperationRegion (@region, SystemIO, ...) with one field of @bytes (1, 2 or 4) over all of it. */
void kiln__aml_port_field(struct kiln__aml *aml, const char *region, const char *field,
			  uint16_t port, unsigned bytes);

/* --- resources --------------------------------------------------------------------- */

/* Name (_CRS, ResourceTemplate () { what follows }). */
size_t kiln__aml_resources(struct kiln__aml *aml);
void kiln__aml_close_resources(struct kiln__aml *aml, size_t opened);

void kiln__aml_ports(struct kiln__aml *aml, uint16_t first, uint8_t count);
void kiln__aml_interrupt(struct kiln__aml *aml, uint32_t gsi); /* edge, active high, exclusive */
void kiln__aml_memory_fixed(struct kiln__aml *aml, uint32_t base, uint32_t size);

/* What a bridge hands down. */
void kiln__aml_bus_window(struct kiln__aml *aml, uint16_t first, uint16_t last);
void kiln__aml_memory_window(struct kiln__aml *aml, uint32_t base, uint32_t size);

#endif
