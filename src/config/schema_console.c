/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of what is kept of a guest's and a process's output. */
#include "rows.h"

const struct kiln__key kiln__console_keys[] = {
	{
		.name = "limit",
		.type = KILN__TYPE_SIZE,
		.min = 4 * KIB,
		.max = TIB,
		.def = "1M",
		.field = FIELD(struct kiln__spec, console_limit),
		.doc = "How much of the console's output is kept; the oldest goes first.",
	},
	{
		.name = "serial",
		IS_FLAG(struct kiln__spec, serial),
		.doc = "The console is a serial port (a 16550, ttyS0) with the backend builtin "
		       "too, "
		       "which has a virtio console (hvc0) otherwise. On QEMU it always is one "
		       "(on arm64 a PL011, ttyAMA0), whatever stands here.",
	},
	{
		.name = "ports",
		.type = KILN__TYPE_LIST,
		.max = 16,
		.element = &kiln__console_port_element,
		.field = FIELD(struct kiln__spec, console_ports),
		.count = FIELD(struct kiln__spec, console_port_count),
		.stride = sizeof(struct kiln__console_port),
		.doc = "Ports of a virtio console device besides the console, for programs of the "
		       "guest's; with the backend vz.",
	},
	END,
};

const struct kiln__key kiln__log_keys[] = {
	{
		.name = "limit",
		.type = KILN__TYPE_SIZE,
		.min = 4 * KIB,
		.max = TIB,
		.def = "10M",
		.field = FIELD(struct kiln__spec, log_limit),
		.doc = "How much of the process's output is kept; the oldest goes first.",
	},
	END,
};
