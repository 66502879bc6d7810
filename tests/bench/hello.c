/* SPDX-License-Identifier: Apache-2.0 */
/* The bench's bare init: one line, and the end. */
#include <fcntl.h>
#include <sys/reboot.h>
#include <unistd.h>

int main(void)
{
	static const char line[] = "FIRST-BYTE\n";
	int console = open("/dev/console", O_RDWR);

	if (console < 0 || write(console, line, sizeof(line) - 1) < 0)
		return 1;
	reboot(RB_AUTOBOOT);
	return 1;
}
