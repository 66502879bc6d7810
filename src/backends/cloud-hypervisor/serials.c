/* SPDX-License-Identifier: Apache-2.0 */
#include "serials.h"

#include "os.h"

#include <stdio.h>
#include <string.h>

/* Device, device type and inode as decimal numbers, the first 20 digits: as Firecracker's. */
int kiln__cloud_hypervisor_note_serials(struct kiln__cloud_hypervisor_serials *ret,
					const struct kiln__handles *handles, kiln_error *err)
{
	for (size_t i = 0; i < handles->count; i++) {
		const struct kiln__spawn_fd *fd = &handles->fds[i];
		struct kiln__os_stat st;
		char text[80];
		int at = fd->to - KILN__CLOUD_HYPERVISOR_FD_DISK;
		int r;

		if (at < 0 || at >= KILN__CLOUD_HYPERVISOR_MAX_DISKS)
			continue;
		r = kiln__os_fstat(fd->from, &st, err);
		if (r < 0)
			return r;
		snprintf(text, sizeof(text), "%llu%llu%llu", (unsigned long long)st.device,
			 (unsigned long long)st.device_type, (unsigned long long)st.inode);
		snprintf(ret->of[at], sizeof(ret->of[at]), "%.20s", text);
	}
	return 0;
}

const char *kiln__cloud_hypervisor_find_serial(const struct kiln__cloud_hypervisor_serials *serials,
					       const struct kiln__spec *spec, const char *serial)
{
	size_t first = spec->root.kind != KILN__ROOT_NONE;

	if (first && strcmp(serial, KILN__ROOT_SERIAL) == 0)
		return serials->of[0];
	for (size_t i = 0; i < spec->disk_count; i++)
		if (spec->disks[i].serial && strcmp(spec->disks[i].serial, serial) == 0)
			return serials->of[first + i];
	return serial;
}
