/* SPDX-License-Identifier: Apache-2.0 */
/* Where distributions put UEFI for QEMU: code and variables in one file, as -bios takes it. */
#include "probe.h"

#include "err.h"
#include "os.h"

#include <string.h>

static const struct {
	const char *arch;
	const char *path;
} places[] = {
	{"x86_64", "/usr/share/ovmf/OVMF.fd"}, /* Debian and Ubuntu */
	{"x86_64", "/usr/share/edk2/x64/OVMF.4m.fd"},
	{"x86_64", "/usr/share/qemu/ovmf-x86_64.bin"},
	{"aarch64", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"}, /* Debian and Ubuntu */
	{"aarch64", "/usr/share/edk2/aarch64/QEMU_EFI.fd"},
	{"aarch64", "/usr/share/qemu/qemu-uefi-aarch64.bin"},
};

const char *kiln__qemu_find_uefi(const char *arch, kiln_error *err)
{
	struct kiln__os_stat st;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (strcmp(places[i].arch, arch) == 0 &&
		    kiln__os_stat(places[i].path, &st, NULL) == 0)
			return places[i].path;
	kiln__fail(err, KILN_ENOENT, "firmware: there is no UEFI for QEMU on this host");
	kiln__hint(err,
		   "install it (Debian and Ubuntu: apt-get install %s), or name it by "
		   "qemu.firmware",
		   strcmp(arch, "aarch64") == 0 ? "qemu-efi-aarch64" : "ovmf");
	return NULL;
}
