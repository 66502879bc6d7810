/* SPDX-License-Identifier: Apache-2.0 */
/* Every backend there is: a new one is its folder and one line here. */
#include "backend.h"

#include "err.h"
#include "fake.h"
#ifdef KILN_HAVE_BUILTIN
#include "builtin.h"
#endif
#ifdef KILN_HAVE_QEMU
#include "cloud_hypervisor.h"
#include "firecracker.h"
#include "qemu.h"
#endif
#ifdef KILN_HAVE_VZ
#include "vz.h"
#endif

#include <string.h>

const struct kiln__backend *const kiln__backends[] = {
#ifdef KILN_HAVE_BUILTIN
	&kiln__backend_builtin,
#endif
#ifdef KILN_HAVE_QEMU
	&kiln__backend_qemu,
	&kiln__backend_firecracker,
	&kiln__backend_cloud_hypervisor,
#endif
#ifdef KILN_HAVE_VZ
	&kiln__backend_vz,
#endif
	&kiln__backend_fake,
	NULL,
};

const struct kiln__feature kiln__features[] = {
	{KILN__CAN_PAUSE, "pause"},     {KILN__CAN_POWER_KEY, "power-key"},
	{KILN__CAN_VSOCK, "vsock"},     {KILN__CAN_CONSOLE, "console"},
	{KILN__CAN_KVM, "kvm"},         {KILN__CAN_TCG, "tcg"},
	{KILN__CAN_FOREIGN, "foreign"}, {KILN__CAN_NETWORK, "network"},
	{KILN__CAN_PORTS, "ports"},     {KILN__CAN_FIRMWARE, "firmware"},
	{KILN__CAN_UPDATE, "update"},   {KILN__CAN_SNAPSHOT, "snapshot"},
	{KILN__CAN_VZ, "vz"},           {KILN__CAN_SHARE, "shares"},
	{KILN__CAN_ROSETTA, "rosetta"}, {KILN__CAN_NEST, "nested"},
	{KILN__CAN_NBD, "nbd"},         {KILN__CAN_CONSOLE_PORTS, "console-ports"},
	{KILN__CAN_SWITCH, "switch"},   {0, NULL},
};
