/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that only some backends have: refused by their paths where the backend's features say so. */
#include "backend.h"

#include "err.h"

#include <stdio.h>

/* The path of the first key that needs one of the features in @lacking, in @key; NULL: none. */
static const char *find(const struct kiln__spec *spec, unsigned lacking, char *key, size_t size)
{
	if (spec->rosetta.enabled && (lacking & KILN__CAN_ROSETTA))
		return "rosetta";
	if (spec->nested && (lacking & KILN__CAN_NEST))
		return "nested";
	if (spec->console_port_count && (lacking & KILN__CAN_CONSOLE_PORTS))
		return "console.ports";
	for (size_t i = 0; i < spec->disk_count && (lacking & KILN__CAN_NBD); i++)
		if (spec->disks[i].url) {
			snprintf(key, size, "disks[%zu].url", i);
			return key;
		}
	for (size_t i = 0; i < spec->network_count && (lacking & KILN__CAN_SWITCH); i++)
		if (spec->networks[i].kind == KILN__NETWORK_SOCKET) {
			snprintf(key, size, "networks[%zu].kind: socket", i);
			return key;
		}
	return NULL;
}

int kiln__backend_check(const struct kiln__backend *backend, const struct kiln__spec *spec,
			kiln_error *err)
{
	char text[48];
	bool no_shares = spec->share_count && !(backend->features & KILN__CAN_SHARE);
	const char *key = no_shares ? "shares" : find(spec, ~backend->features, text, sizeof(text));

	if (!key)
		return backend->check(spec, err);
	kiln__fail(err, KILN_ENOTSUP, "%s: the %s backend does not have it", key, backend->name);
	kiln__hint(err, no_shares ? "qemu and cloud-hypervisor have, and vz on macOS"
				  : "the backend vz has, on macOS");
	return KILN_ENOTSUP;
}
