/* SPDX-License-Identifier: Apache-2.0 */
/* Process 1 of the VMM benchmark: says by a port that it has begun, then powers off or, with "idle"
 * as the kernel's last argument, does nothing. */
#include <string.h>
#include <sys/io.h>
#include <sys/reboot.h>
#include <unistd.h>

#define PORT 0xf5 /* nobody's: an exit to whoever runs the VM */

int main(int argc, char **argv)
{
	if (iopl(3) == 0)
		outb(1, PORT);
	if (argc > 1 && strcmp(argv[argc - 1], "idle") == 0)
		for (;;)
			pause();
	reboot(RB_AUTOBOOT);
	return 1;
}
